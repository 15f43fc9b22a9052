"""Entity tags and the requests that depend on them (RFC 9110, sections 8.8.3 and 13; RFC 9111, section 5.2.1)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from starlette.datastructures import Headers

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def version_tag(version: int, changed_at: datetime) -> str:
    """The strong tag of a row: its version, and when it got it, for a row that was deleted and stored anew."""
    # Whole numbers: a float of seconds cannot tell every microsecond from the next. Masked as PostgreSQL's to_hex does.
    microseconds = (changed_at - _EPOCH) // timedelta(microseconds=1)
    return f'"{version}-{microseconds & 0xFFFFFFFFFFFFFFFF:x}"'


def content_tag(body: bytes, *headers: str) -> str:
    """The strong tag of an answer that has no version of its own; some of its `headers` may count as well."""
    return f'"{blake2b("".join(headers).encode() + body, digest_size=16).hexdigest()}"'


def _field(headers: Mapping[str, str], name: str) -> str | None:
    """All lines of a header as one (RFC 9110, section 5.3)."""
    lines = headers.getlist(name) if isinstance(headers, Headers) else filter(None, [headers.get(name)])
    return ", ".join(lines) or None


def is_unchanged(tag: str, headers: Mapping[str, str]) -> bool:
    """Whether the client already has the answer with the strong `tag`: If-None-Match names it, or anything."""
    given = _field(headers, "if-none-match")
    return given is not None and (given.strip() == "*" or tag in _TAG.findall(given))


def forbids_cache(headers: Mapping[str, str]) -> bool:
    """Whether the client asks for an answer from the source."""
    given = _field(headers, "cache-control")
    return given is not None and any(part.strip().lower() in ("no-cache", "no-store") for part in given.split(","))
