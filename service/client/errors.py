"""What calls raise, made from problem documents (RFC 9457).

ClientError
├── TransportError                no answer that could be used
└── ApiError                      an answer of 300 or above
    ├── InvalidRequestError       422
    ├── NotFoundError             404
    ├── ConflictError             409
    ├── GoneError                 410
    ├── PreconditionFailedError   412
    └── UnavailableError          502, 503, 504
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

QUOTED_CHARACTERS = 200


class ClientError(Exception):
    """Any failure of a call."""

    may_have_been_done: bool = False
    """Whether one of the tries of a write got no definite answer: look at the item before you write again."""


class TransportError(ClientError):
    """No connection, no answer in time, one that broke off, or one that is not the service's."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request: a JSON pointer into the body (RFC 6901), or a parameter's name; and what is wrong.

    A fault of an import has the number of its line, from 1, and how the line begins.
    """

    pointer: str
    detail: str
    line: int | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What the service said. `extensions` holds the members that RFC 9457 does not name."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    errors: tuple[Fault, ...] = ()
    extensions: dict[str, Any] = field(default_factory=dict)


class ApiError(ClientError):
    """An answer of 300 or above: what it said, its X-Request-ID, and how long it asks to wait (Retry-After)."""

    def __init__(
        self, problem: Problem, request_id: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(problem, request_id, retry_after_seconds)
        self.problem = problem
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        faults = "".join(f" {fault.pointer}: {fault.detail}." for fault in self.problem.errors)
        request_id = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.problem.status} {self.problem.title}: {self.problem.detail}{faults}{request_id}"


class InvalidRequestError(ApiError):
    """The request is not one that the service takes; `problem.errors` names each fault."""


class NotFoundError(ApiError):
    """There is nothing of that id, or at that address."""


class ConflictError(ApiError):
    """Somebody else is at it: a request with the same Idempotency-Key that still runs, or a locked row."""


class GoneError(ApiError):
    """The changes after a cursor are not kept any more; read the whole list anew."""


class PreconditionFailedError(ApiError):
    """The item was changed since it was read. With `may_have_been_done`, perhaps by this very call."""


class UnavailableError(ApiError):
    """The service, or a gateway before it, cannot answer now."""


_KINDS: dict[int, type[ApiError]] = {
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    412: PreconditionFailedError,
    422: InvalidRequestError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def read_error(response: requests.Response) -> ApiError:
    """The error that `response`, of status 300 or above, stands for, even if a gateway gave it."""
    kind = _KINDS.get(response.status_code, ApiError)
    return kind(_read_problem(response), response.headers.get("X-Request-ID"), _read_retry_after(response))


def _read_problem(response: requests.Response) -> Problem:
    media_type = response.headers.get("Content-Type", "no media type")
    if media_type.startswith("application/problem+json"):
        with suppress(KeyError, TypeError, ValueError):  # a gateway's, of another shape
            return _make_problem(response.status_code, {**json.loads(response.content)})
    detail = f"The answer is no problem document, but {media_type}: {response.text[:QUOTED_CHARACTERS]}"
    return _make_problem(response.status_code, {"title": response.reason, "detail": detail})


def _make_problem(status: int, members: dict[str, Any]) -> Problem:
    return Problem(
        type=members.pop("type", "about:blank"),
        title=members.pop("title"),
        status=members.pop("status", status),
        detail=members.pop("detail"),
        instance=members.pop("instance", ""),
        errors=tuple(map(_make_fault, members.pop("errors", ()))),
        extensions=members,
    )


def _make_fault(members: dict[str, Any]) -> Fault:
    return Fault(members["pointer"], members["detail"], members.get("line"), members.get("content"))


def _read_retry_after(response: requests.Response) -> float | None:
    given = response.headers.get("Retry-After")
    try:
        return None if given is None else Retry().parse_retry_after(given)
    except (InvalidHeader, OverflowError, ValueError):
        return None
