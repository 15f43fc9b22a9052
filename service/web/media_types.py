"""What kinds of body a route reads (RFC 9110, sections 8.3, 8.4 and 15.5.16)."""

from collections.abc import Callable, Iterable, Mapping
from email.message import Message
from typing import Any, TypeVar

from starlette.datastructures import Headers

from service.web.refusals import UnsupportedMediaTypeError

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
CHARSETS = ("utf-8", "utf8", "us-ascii")
# RFC 5789 names the one, the Linked Data Platform the other; RFC 9110 takes Accept for all.
ACCEPT_HEADERS = {"PATCH": "Accept-Patch", "POST": "Accept-Post"}

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def accepts(*media_types: str) -> Callable[[Endpoint], Endpoint]:
    """Say which kinds of body an endpoint reads, the preferred one first; it stands below the router's decorator.

    Without it an endpoint reads application/json if it has a body parameter, and ignores the body if it has none.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["accepts"] = media_types
        return endpoint

    return mark


def check_media_type(method: str, headers: Headers, accepted: Iterable[str]) -> None:
    """Raise UnsupportedMediaTypeError for a body of another kind, in another character set, or compressed."""
    codings = [coding.strip().lower() for value in headers.getlist("content-encoding") for coding in value.split(",")]
    if any(coding not in ("", "identity") for coding in codings):
        detail = "The body is compressed; send it as it is, without Content-Encoding."
        raise UnsupportedMediaTypeError(detail, {"Accept-Encoding": "identity"})
    kind, charset = _read_content_type(headers.getlist("content-type"))
    if kind not in accepted:
        offer = " or ".join(accepted)
        raise UnsupportedMediaTypeError(f"Content-Type must be {offer}.", _describe(method, accepted))
    if charset not in CHARSETS:
        raise UnsupportedMediaTypeError("The body must be in UTF-8.", _describe(method, accepted))


def _read_content_type(given: list[str]) -> tuple[str, str]:
    """The media type, and the character set; none of ours for a header that is missing, repeated or malformed."""
    message = Message()
    message["Content-Type"] = given[0] if len(given) == 1 else ""
    charset = message.get_param("charset", CHARSETS[0])
    return message.get_content_type(), charset.lower() if isinstance(charset, str) else ""


def read_media_type(headers: Headers) -> str:
    """The media type of a body that `check_media_type` lets through."""
    return _read_content_type(headers.getlist("content-type"))[0]


def _describe(method: str, accepted: Iterable[str]) -> Mapping[str, str]:
    offer = ", ".join(accepted)
    return {"Accept": offer} | ({ACCEPT_HEADERS[method]: offer} if method in ACCEPT_HEADERS else {})
