"""Every error answer is a problem document (RFC 9457)."""

import http
import logging
from collections.abc import Mapping
from inspect import getdoc
from types import UnionType
from typing import Any
from urllib.parse import quote

import psycopg
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from service.errors import DatabaseUnavailableError, ServiceError
from service.exact_json import point_to
from service.retries import is_conflict
from service.web.refusals import AddressNotFoundError, InvalidRequestError, MalformedRequestError, UnexpectedError

log = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
MEDIA_TYPE = "application/problem+json"
# psycopg's names for a server that is gone, going, full, or too slow; InternalError is a server that turned read-only.
# Its own classes come from COPY, which SQLAlchemy does not know of.
DATABASE_TROUBLE = (
    OperationalError,
    InterfaceError,
    InternalError,
    PoolTimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.InternalError,
)

# Pydantic's names for a value that is no object.
NO_OBJECT = {"model_type", "model_attributes_type"}


class Fault(BaseModel):
    """One fault of a request."""

    pointer: str = Field(description="a JSON pointer into the body (RFC 6901), or a parameter's name")
    detail: str


class Problem(BaseModel):
    """What every answer of 400 and above holds (RFC 9457)."""

    type: str = Field(description="the kind of problem: the address of a page that explains it")
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path that was asked for")
    errors: list[Fault] | None = Field(default=None, description="with status 422: each fault of the request")


Responses = dict[int | str, dict[str, Any]]


def describe_problems(*statuses: int, model: type[Problem] | UnionType = Problem) -> Responses:
    """What a route or router takes as `responses`, to document the problems that it answers with."""
    return {status: {"model": model} for status in statuses}


def problem(request: HTTPConnection, error: ServiceError) -> JSONResponse:
    """The problem document of `error`."""
    content = {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": str(error),
        "instance": _instance(request),
    }
    return JSONResponse(content | dict(error.extensions), error.status, error.headers, MEDIA_TYPE)


def closing_problem(request: HTTPConnection, error: ServiceError) -> JSONResponse:
    """The same, and the end of the connection: what else the client sends on it is not read as a request."""
    answer = problem(request, error)
    answer.headers["Connection"] = "close"
    return answer


def _instance(request: HTTPConnection) -> str:
    # Not `request.url`, which cannot be made for every Host that a client may send.
    return quote(request.scope["path"])


def summarize(kind: type[ServiceError]) -> str:
    """What happened: the first paragraph of the docstring."""
    return " ".join((getdoc(kind) or "").partition("\n\n")[0].split())


def add_problem_handlers(app: FastAPI) -> None:
    """Let `app` answer every exception with a problem document."""
    app.add_exception_handler(ServiceError, _answer_service_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    for trouble in DATABASE_TROUBLE:
        app.add_exception_handler(trouble, _answer_database_trouble)
    app.add_exception_handler(IntegrityError, _answer_integrity_error)
    app.add_exception_handler(Exception, _answer_unexpected)


# The handlers are `async def` because Starlette runs plain ones in a thread. Their second parameter has Starlette's
# type; each is registered for the narrower one that it asserts.


async def _answer_service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101
    return problem(request, error)


async def _answer_database_trouble(request: Request, error: Exception) -> JSONResponse:
    log.error("database.unavailable", extra={"error": str(getattr(error, "orig", None) or error)})
    return problem(request, DatabaseUnavailableError("PostgreSQL could not do the work in time. Try again."))


async def _answer_integrity_error(request: Request, error: Exception) -> JSONResponse:
    """Ids that others gave out were in the way at every try; the next request gets beyond them."""
    if isinstance(error, IntegrityError) and is_conflict(error):
        return await _answer_database_trouble(request, error)
    raise error


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return problem(request, to_invalid_request(error))


def to_invalid_request(error: RequestValidationError) -> InvalidRequestError:
    """What FastAPI found, as the error that callers know."""
    return InvalidRequestError(_describe_fault(fault) for fault in error.errors())


def _describe_fault(fault: Mapping[str, Any]) -> tuple[str, str]:
    """Where, as `Fault` tells it, and what: a sentence, never the input."""
    part, *path = fault["loc"]
    # Pydantic's own words name classes.
    detail = "must be a JSON object" if fault["type"] in NO_OBJECT else fault["msg"]
    return point_to(path) if part == "body" else str(path[0]), detail


async def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    """What the framework raises has a status, and gets the type that it lacks."""
    assert isinstance(error, HTTPException)  # noqa: S101
    match error.status_code:
        case http.HTTPStatus.BAD_REQUEST:
            return problem(request, MalformedRequestError(error.detail))
        case http.HTTPStatus.NOT_FOUND:
            return problem(request, AddressNotFoundError("Nothing is served at this path."))
    # It raises no others here; an extension might, and RFC 9457 has a type for what only has a status.
    content = {"type": "about:blank", "title": http.HTTPStatus(error.status_code).phrase, "status": error.status_code}
    content |= {"detail": error.detail, "instance": _instance(request)}
    return JSONResponse(content, error.status_code, error.headers, MEDIA_TYPE)


async def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", exc_info=error)
    answer = problem(request, UnexpectedError(f"The fault is in the log, under this answer's {REQUEST_ID_HEADER}."))
    # Starlette answers these outside of every middleware, so the request id must be added here.
    answer.headers[REQUEST_ID_HEADER] = correlation_id.get() or ""
    return answer
