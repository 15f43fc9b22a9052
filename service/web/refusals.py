"""Requests that are refused as HTTP, whatever they ask for. See `service.errors` for what a refusal is.

ServiceError
├── MalformedRequestError       400
├── InvalidCursorError          400
├── InvalidIdempotencyKeyError  400
├── BrokenUploadError           400
├── AddressNotFoundError        404
├── MethodNotAllowedError       405
├── RequestTimeoutError         408
├── BodyTooLargeError           413
├── AddressTooLongError         414
├── UnsupportedMediaTypeError   415
├── InvalidRequestError         422
├── HeadersTooLargeError        431
├── UnexpectedError             500
└── TransfersBusyError          503
"""

from collections.abc import Iterable, Mapping
from itertools import islice

from service.errors import MAX_FAULTS, ServiceError


class MalformedRequestError(ServiceError):
    """The request is not well-formed HTTP, so that nobody can say what it asks for."""

    status = 400
    slug = "malformed-request"
    title = "Malformed request"
    remedy = "Use an HTTP library, or compare what was sent with RFC 9112. To send the same bytes again does not help."


class InvalidCursorError(ServiceError):
    """A cursor is damaged, or was made for another filter or sort, or by a release with another format."""

    status = 400
    slug = "invalid-cursor"
    title = "Invalid cursor"
    remedy = "Start again without `cursor`, and follow the addresses in `Link` as they are."

    def __init__(self) -> None:
        super().__init__(
            "The cursor is damaged, or belongs to another filter, sort or release. Start again without a cursor."
        )


class InvalidIdempotencyKeyError(ServiceError):
    """The header Idempotency-Key is not one key that can be stored."""

    status = 400
    slug = "invalid-idempotency-key"
    title = "Invalid idempotency key"


class BrokenUploadError(ServiceError):
    """The connection ended before the body did; nothing was changed."""

    status = 400
    slug = "broken-upload"
    title = "Broken upload"


class AddressNotFoundError(ServiceError):
    """Nothing is served at this path."""

    status = 404
    slug = "address-not-found"
    title = "Address not found"
    remedy = "Compare the path with those in `/docs`, letter by letter; `/openapi.json` has them for programs."


class MethodNotAllowedError(ServiceError):
    """The path exists, but not with this method."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"
    remedy = "Use one of the methods that the header `Allow` of the answer lists."

    def __init__(self, allowed: Iterable[str]) -> None:
        listing = ", ".join(allowed)
        super().__init__(f"This address takes {listing}.")
        self.headers = {"Allow": listing}


class RequestTimeoutError(ServiceError):
    """The client sent nothing more, or too little, of a body before the server stopped waiting; nothing was changed."""

    status = 408
    slug = "request-timeout"
    title = "Request timeout"


class BodyTooLargeError(ServiceError):
    """The body has more bytes than the service reads in one request; nothing was changed."""

    status = 413
    slug = "body-too-large"
    title = "Body too large"
    remedy = "Send less at once, in several requests. The operator sets the limit with `MAX_BODY_BYTES`."

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body may have at most {limit:,} bytes.")


class AddressTooLongError(ServiceError):
    """The path and the query together have more bytes than any request here needs."""

    status = 414
    slug = "address-too-long"
    title = "Address too long"
    remedy = "Leave out what the query repeats; what does not fit into it belongs into a body."


class UnsupportedMediaTypeError(ServiceError):
    """The body is of a kind, in a character set or under a compression that this address does not read."""

    status = 415
    slug = "unsupported-media-type"
    title = "Unsupported media type"
    remedy = (
        "Send one of the media types that the header `Accept` of the answer lists, in UTF-8 and not compressed, and"
        " name it in `Content-Type`."
    )

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


class InvalidRequestError(ServiceError):
    """The request was read, but its body, query or path holds what this address does not take; nothing was changed."""

    status = 422
    slug = "invalid-request"
    title = "Invalid request"
    remedy = (
        "Correct each fault that `errors` names: `pointer` is the place, a JSON pointer into the body or the name of a"
        " parameter, and `detail` what it must be."
    )

    def __init__(self, faults: Iterable[tuple[str, str]]) -> None:
        """`faults` are pairs of a place, as `pointer` tells it, and a sentence about what must be there."""
        super().__init__("The request does not have the shape that this address takes; `errors` names each fault.")
        first = islice(faults, MAX_FAULTS)
        self.extensions = {"errors": [{"pointer": pointer, "detail": detail} for pointer, detail in first]}


class HeadersTooLargeError(ServiceError):
    """The headers have more bytes than any request here needs."""

    status = 431
    slug = "headers-too-large"
    title = "Headers too large"
    remedy = "Send fewer or shorter headers; often it is cookies that were meant for somebody else."


class UnexpectedError(ServiceError):
    """The fault is in the service, not in the request; what was begun is undone."""

    status = 500
    slug = "unexpected"
    title = "Unexpected error"
    remedy = "Try again later. Tell the operator the `X-Request-ID` of the answer: the log has the cause under it."


class TransfersBusyError(ServiceError):
    """This process runs as many imports, or exports, as it may at once."""

    status = 503
    slug = "transfers-busy"
    title = "Transfers busy"
    headers: Mapping[str, str] = {"Retry-After": "5"}

    def __init__(self) -> None:
        super().__init__("As many transfers as may run at once are running. Try again in some seconds.")
