"""What a path can be asked to do: OPTIONS for all, and 405 with all that it takes (RFC 9110, 9.3.7 and 15.5.6)."""

from http import HTTPMethod, HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.routing import Match

from service.web.media_types import JSON, MERGE_PATCH
from service.web.problems import problem
from service.web.refusals import MethodNotAllowedError

# RFC 5789, 3.1: what PATCH takes is told with what the path takes.
PATCH_TYPES = f"{MERGE_PATCH}, {JSON}"


def add_method_handler(app: FastAPI) -> None:
    """Let `app` answer OPTIONS, which no route has, and every other method that a path lacks."""
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, _answer_other_method)


async def _answer_other_method(request: Request, _: Exception) -> Response:
    methods = _find_methods(request)
    if request.method != HTTPMethod.OPTIONS:
        return problem(request, MethodNotAllowedError(methods))
    accepted = {"Accept-Patch": PATCH_TYPES} if HTTPMethod.PATCH in methods else {}
    return Response(status_code=204, headers={"Allow": ", ".join(methods), **accepted})


def _find_methods(request: Request) -> list[str]:
    """All that the path takes. Routes are one for each method, and Starlette names only those of the first."""
    return [method.value for method in HTTPMethod if method is HTTPMethod.OPTIONS or _is_taken(request, method)]


def _is_taken(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
