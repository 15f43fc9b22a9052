"""Opaque cursors: how far a client has come. And the links that carry them.

A cursor is the URL-safe base64 of a digest and of a position in JSON. The digest covers the format's version, the scope
(what the client walks through, and in which order) and the position. So a damaged cursor, one from another filter or
sort, and one from a release with another format are told apart from ours, all in the same way. It has no key: a secret
would have to be shared by all workers, and a forged cursor gains nothing. It is a position, checked like any other
input, from which its maker could have read on anyway; what may be read, the request itself decides.
"""

import binascii
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import TypeAdapter

from service.web.refusals import InvalidCursorError

FORMAT = "1"
DIGEST_BYTES = 8
# The longest come from the change feed, when hundreds of transactions are under way; an address holds them.
MAX_CURSOR_LENGTH = 6000

Position = TypeVar("Position")


def make_cursor(position: Position, shape: TypeAdapter[Position], scope: str) -> str:
    """A cursor to `position`, for whoever goes on within `scope`."""
    content = shape.dump_json(position)
    return urlsafe_b64encode(_digest(content, scope) + content).decode().rstrip("=")


def read_cursor(cursor: str, shape: TypeAdapter[Position], scope: str) -> Position:
    """The position; raises InvalidCursorError for all that `make_cursor` did not make for this `scope`."""
    if len(cursor) > MAX_CURSOR_LENGTH:
        raise InvalidCursorError
    try:
        decoded = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:  # the latter for what is not ASCII
        raise InvalidCursorError from error
    digest, content = decoded[:DIGEST_BYTES], decoded[DIGEST_BYTES:]
    if digest != _digest(content, scope):
        raise InvalidCursorError
    try:
        return shape.validate_json(content)
    except ValueError as error:
        raise InvalidCursorError from error


def next_link(path: str, parameters: Iterable[tuple[str, str]], **changed: str) -> str:
    """What a `Link` header says of the next page (RFC 8288): it is at `path` with `parameters`, some `changed`."""
    kept = [(name, value) for name, value in parameters if name not in changed]
    return f'<{path}?{urlencode([*kept, *changed.items()])}>; rel="next"'


def _digest(content: bytes, scope: str) -> bytes:
    return blake2b(f"{FORMAT}\n{scope}\n".encode() + content, digest_size=DIGEST_BYTES).digest()
