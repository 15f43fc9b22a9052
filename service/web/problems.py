"""Every error answer is a problem document (RFC 9457)."""

import http
import logging
from collections.abc import Mapping
from typing import Any

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.errors import DatabaseUnavailableError, ServiceError

log = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
MEDIA_TYPE = "application/problem+json"
METHOD_NOT_ALLOWED = 405
# psycopg's names for a server that is gone, going, full, or too slow; InternalError is a server that turned read-only.
DATABASE_TROUBLE = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)


class Fault(BaseModel):
    """One fault of a request."""

    pointer: str = Field(description="a JSON pointer into the body (RFC 6901), or a parameter's name")
    detail: str


class Problem(BaseModel):
    """What every answer of 400 and above holds (RFC 9457)."""

    type: str = Field(description="the kind of problem, as an address; about:blank when the status says it all")
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path that was asked for")
    errors: list[Fault] | None = Field(default=None, description="with status 422: each fault of the request")


Responses = dict[int | str, dict[str, Any]]


def describe_problems(*statuses: int, model: type[Problem] = Problem) -> Responses:
    """What a route or router takes as `responses`, to document the problems that it answers with."""
    return {status: {"model": model} for status in statuses}


class ProblemAPI(FastAPI):
    """FastAPI, but its OpenAPI document tells the media type that problems have."""

    def openapi(self) -> dict[str, Any]:
        """The document."""
        document = super().openapi()
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        for content in (
            answer["content"]
            for operation in operations
            for status, answer in operation["responses"].items()
            if status >= "400" and "application/json" in answer["content"]
        ):
            content[MEDIA_TYPE] = content.pop("application/json")
        return document


def problem(  # noqa: PLR0913  # the members of RFC 9457
    request: Request,
    status: int,
    *,
    detail: str,
    slug: str | None = None,
    title: str | None = None,
    extensions: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document. Without a slug its type is `about:blank`: the status says it all."""
    content: dict[str, Any] = {
        "type": f"/problems/{slug}" if slug else "about:blank",
        "title": title or http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
    }
    return JSONResponse(content | dict(extensions or {}), status, headers, MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Let `app` answer every exception with a problem document."""
    app.add_exception_handler(ServiceError, _answer_service_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    for trouble in DATABASE_TROUBLE:
        app.add_exception_handler(trouble, _answer_database_trouble)
    app.add_exception_handler(Exception, _answer_unexpected)


# The handlers are `async def` because Starlette runs plain ones in a thread. Their second parameter has Starlette's
# type; each is registered for the narrower one that it asserts.


async def _answer_service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101
    return problem(
        request,
        error.status,
        detail=str(error),
        slug=error.slug,
        title=error.title,
        extensions=error.extensions,
        headers=error.headers,
    )


async def _answer_database_trouble(request: Request, error: Exception) -> JSONResponse:
    log.error("database.unavailable", extra={"error": str(getattr(error, "orig", None) or error)})
    detail = "PostgreSQL could not do the work in time. Try again."
    return await _answer_service_error(request, DatabaseUnavailableError(detail))


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return problem(
        request,
        422,
        slug="invalid-request",
        title="Invalid request",
        detail="The request does not have the shape that this address takes; `errors` names each fault.",
        extensions={"errors": [_describe_fault(fault) for fault in error.errors()]},
    )


def _describe_fault(fault: Mapping[str, Any]) -> dict[str, str]:
    """Where, as `Fault` tells it, and what: a sentence, never the input."""
    part, *path = fault["loc"]
    if fault["type"] == "json_invalid":  # its place is an offset in bytes
        return {"pointer": "", "detail": "The body is not JSON that can be read."}
    if part != "body":
        return {"pointer": str(path[0]), "detail": fault["msg"]}
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return {"pointer": "".join(f"/{step}" for step in escaped), "detail": fault["msg"]}


async def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = {"Allow": ", ".join(_find_methods(request))} if error.status_code == METHOD_NOT_ALLOWED else error.headers
    return problem(request, error.status_code, detail=error.detail, headers=headers)


def _find_methods(request: Request) -> list[str]:
    """All that the path takes. Routes are one for each method, and Starlette names only those of the first."""
    return [
        method.value
        for method in http.HTTPMethod
        if any(
            route.matches({**request.scope, "method": method.value})[0] is Match.FULL for route in request.app.routes
        )
    ]


async def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", exc_info=error)
    # Starlette answers these outside of every middleware, so the request id must be added here.
    headers = {REQUEST_ID_HEADER: correlation_id.get() or ""}
    return problem(
        request, 500, detail=f"The fault is in the log, under this answer's {REQUEST_ID_HEADER}.", headers=headers
    )
