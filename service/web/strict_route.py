"""A route that refuses what it does not understand, before the endpoint and its dependencies run."""

from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from anyio import to_thread
from fastapi import Request, Response
from fastapi._compat import field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Cookie, Header, Path
from fastapi.routing import APIRoute

from service.exact_json import UnreadableJsonError, point_to, read_json
from service.web.media_types import JSON, check_media_type
from service.web.refusals import InvalidRequestError
from service.web.strict_query import find_query_faults

# Longer bodies are read in a thread: the longest may take most of a second, in which the event loop answers others.
LONG_BODY_BYTES = 64 * 1024

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ExactRequest(Request):
    """A request whose JSON was read already, exactly."""

    value: object = None

    async def json(self) -> Any:  # noqa: ANN401  # whatever the client sent
        """The body."""
        # FastAPI lets pydantic read the attributes of what is no built-in: 1.5 would be an object without members.
        return float(self.value) if isinstance(self.value, Decimal) else self.value


class StrictRoute(APIRoute):
    """Refuses unknown and repeated query parameters, bodies of another kind than `accepts` says, and inexact JSON."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401  # FastAPI's
        super().__init__(path, endpoint, **options)
        if hasattr(endpoint, "accepts"):
            body = {"required": True, "content": {media_type: {} for media_type in find_accepted(self)}}
            self.openapi_extra = {"requestBody": body, **(self.openapi_extra or {})}

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, behind the checks."""
        handle = super().get_route_handler()
        known = _find_parameters(self.dependant)
        accepted = find_accepted(self)

        async def handle_strictly(given: Request) -> Response:
            if faults := list(find_query_faults(given.scope["query_string"], known)):
                raise InvalidRequestError(faults)
            request = ExactRequest(given.scope, given.receive)
            if accepted:
                await _check_body(request, accepted, is_json=self.body_field is not None)
            return await handle(request)

        return handle_strictly


def find_accepted(route: APIRoute) -> tuple[str, ...]:
    """The media types of the bodies that a route reads; none if it reads no body."""
    default = (JSON,) if route.body_field else ()
    accepted: tuple[str, ...] = getattr(route.endpoint, "accepts", default)
    return accepted


async def _check_body(request: ExactRequest, accepted: tuple[str, ...], *, is_json: bool) -> None:
    if not is_json:  # the endpoint reads it as a stream
        check_media_type(request.method, request.headers, accepted)
        return
    # Only a body that is empty, which the reading tells, needs no type.
    body = await request.body()
    if body or "content-type" in request.headers:
        check_media_type(request.method, request.headers, accepted)
    try:
        request.value = read_json(body) if len(body) <= LONG_BODY_BYTES else await to_thread.run_sync(read_json, body)
    except UnreadableJsonError as error:
        raise InvalidRequestError([(point_to(place), reason) for place, reason in error.faults]) from None


def _find_parameters(dependant: Dependant) -> dict[str, bool]:
    """The query parameters that a route and its dependencies take, and whether each may be given repeatedly."""
    fields = [field for field in get_flat_params(dependant) if not isinstance(field.field_info, Path | Header | Cookie)]
    return {field.alias: field_annotation_is_sequence(field.field_info.annotation) for field in fields}
