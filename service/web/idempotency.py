"""The header Idempotency-Key: how it is read, what tells one request from another, how an answer is kept and replayed.

As draft-ietf-httpapi-idempotency-key-header has it, but a key is any visible ASCII, and quotes are part of it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from service.config import MAX_KEY_LENGTH
from service.web.refusals import InvalidIdempotencyKeyError

if TYPE_CHECKING:
    from hashlib import _Hash

HEADER = "Idempotency-Key"
REPLAYED = ("idempotency-replayed", "true")
_KEY = re.compile(rb"[!-~]{1,%d}" % MAX_KEY_LENGTH)
# A route's `openapi_extra`.
KEY_HEADER: dict[str, Any] = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "description": "any unique text: within 24 hours a repeat of the request gets the answer of the first",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": "^[!-~]+$"},
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A request's key. `fingerprint` tells the request from others; who streams the body may make it wait for the end.

    It is called before the answer is stored, or, for a repeat, instead of doing the work.
    """

    key: str
    fingerprint: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer without what each answer gets anew, its date and request id."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    is_repeat: bool = False


def find_key(request: Request) -> str | None:
    """The request's key; raises InvalidIdempotencyKeyError."""
    given = [value.strip(b" \t") for name, value in request.headers.raw if name == b"idempotency-key"]
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidIdempotencyKeyError(
            f"Send one header {HEADER} with 1 to {MAX_KEY_LENGTH} visible ASCII characters, a UUID for example."
        )
    return given[0].decode()


def begin_fingerprint(request: Request) -> "_Hash":
    """A digest of all of the request but its body, which is to be added as it was sent."""
    scope = request.scope
    content_type = request.headers.get("content-type", "")
    parts = [scope["method"].encode(), scope["raw_path"], scope["query_string"], content_type.encode("latin-1")]
    # None of them can hold a NUL.
    return sha256(b"".join(part + b"\0" for part in parts))


def keep(response: Response) -> Answer:
    """What is stored of `response`."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    return Answer(response.status_code, headers, bytes(response.body))


def replay(answer: Answer) -> Response:
    """The response that was kept; a repeat says that it is one."""
    response = Response(answer.body, answer.status)
    headers = [*answer.headers, REPLAYED] if answer.is_repeat else answer.headers
    response.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return response
