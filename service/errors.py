"""The errors that callers may catch, which are also the table of problem types: `list_problem_types`.

ServiceError
├── MalformedRequestError       400
├── MalformedPreconditionError  400
├── InvalidCursorError          400
├── InvalidIdempotencyKeyError  400
├── BrokenUploadError           400
├── ItemNotFoundError           404
├── AddressNotFoundError        404
├── MethodNotAllowedError       405
├── RequestTimeoutError         408
├── IdempotencyKeyInUseError    409
├── ChangesExpiredError         410
├── PreconditionFailedError     412
├── BodyTooLargeError           413
├── AddressTooLongError         414
├── UnsupportedMediaTypeError   415
├── RejectedLinesError          422
├── InvalidRequestError         422
├── IdempotencyKeyReusedError   422
├── PreconditionRequiredError   428
├── HeadersTooLargeError        431
├── UnexpectedError             500
├── DatabaseUnavailableError    503
├── NotReadyError               503
└── TransfersBusyError          503
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Self

MAX_FAULTS = 100  # that one answer names


class ServiceError(Exception):
    """An answer other than success. `status`, `slug` and `title` are the problem's type; the message is its detail.

    Each subclass is a problem type with a page at `/problems/<slug>`: the first paragraph of its docstring says what
    happened, `remedy` what to do. `headers` and `extensions` (more members of the document) may differ by instance.
    """

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    remedy: ClassVar[str] = "Read `detail`, which is about your request, and do what it says."
    headers: Mapping[str, str] = {}
    extensions: Mapping[str, Any] = {}

    def in_operation(self, index: int) -> Self:
        """This error, as what stopped the batch at its operation `index`."""
        self.extensions = {**self.extensions, "index": index, "pointer": f"/operations/{index}"}
        return self


def list_problem_types() -> list[type[ServiceError]]:
    """Every kind of problem that an answer may name, by status and slug."""
    return sorted(_subclasses(ServiceError), key=lambda kind: (kind.status, kind.slug))


def _subclasses(kind: type[ServiceError]) -> Iterable[type[ServiceError]]:
    for each in kind.__subclasses__():
        if hasattr(each, "slug"):
            yield each
        yield from _subclasses(each)


class MalformedRequestError(ServiceError):
    """The request is not well-formed HTTP, so that nobody can say what it asks for."""

    status = 400
    slug = "malformed-request"
    title = "Malformed request"
    remedy = "Use an HTTP library, or compare what was sent with RFC 9112. To send the same bytes again does not help."


class MalformedPreconditionError(ServiceError):
    """If-Match or If-None-Match is neither `*` nor a list of entity tags."""

    status = 400
    slug = "malformed-precondition"
    title = "Malformed precondition"
    remedy = "Send `*`, or the item's `ETag` exactly as an answer had it, its quotes included."

    def __init__(self, header: str) -> None:
        super().__init__(f'{header} must be * or a list of entity tags as ETag has them, in quotes: "1-63d2a9b2c0f40".')


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


class ItemNotFoundError(ServiceError):
    """No item has the id that was asked for."""

    status = 404
    slug = "item-not-found"
    title = "Item not found"
    remedy = "Look the id up in `GET /items/`. If it was there before, somebody has deleted the item; ids never return."

    def __init__(self, item_id: int) -> None:
        super().__init__(f"There is no item {item_id}.")


class RequestTimeoutError(ServiceError):
    """The client sent nothing more of a body that it had begun; nothing was changed."""

    status = 408
    slug = "request-timeout"
    title = "Request timeout"


class ChangesExpiredError(ServiceError):
    """Changes after the cursor are no longer kept, or the cursor is of another database, as after a restore."""

    status = 410
    slug = "changes-expired"
    title = "Changes expired"

    def __init__(self) -> None:
        super().__init__(
            "The changes after this cursor are not kept any more. Begin with `since=now`, read the whole list, and then"
            " go on from that cursor."
        )


class PreconditionFailedError(ServiceError):
    """The item is not in a state that the precondition allows; nothing was changed. `ETag` tells its state."""

    status = 412
    slug = "precondition-failed"
    title = "Precondition failed"

    def __init__(self, item_id: int, tag: str) -> None:
        super().__init__(f"Item {item_id} is not as the request requires it to be. Read it anew, then decide.")
        self.headers = {"ETag": tag}


class RejectedLinesError(ServiceError):
    """Lines of an import are not items; nothing was imported."""

    status = 422
    slug = "rejected-lines"
    title = "Rejected lines"

    def __init__(self, lines: Sequence[Mapping[str, Any]], rejected: int) -> None:
        """`lines` are the first of the `rejected` ones, each with `line`, `pointer`, `detail` and `content`."""
        count = "1 line was" if rejected == 1 else f"{rejected:,} lines were"
        super().__init__(f"{count} rejected, so nothing was imported; `errors` names the first {len(lines)}.")
        self.extensions = {"rejected": rejected, "errors": lines}


class PreconditionRequiredError(ServiceError):
    """This service takes changes of an item only with the tag of the version that they are meant for."""

    status = 428
    slug = "precondition-required"
    title = "Precondition required"

    def __init__(self, name: str) -> None:
        super().__init__(f"Send the item's ETag as {name}, or * to change it whatever it is now.")


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


class IdempotencyKeyInUseError(ServiceError):
    """The first request with this Idempotency-Key has not been answered yet."""

    status = 409
    slug = "idempotency-key-in-use"
    title = "Idempotency key in use"
    headers: Mapping[str, str] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is still running. Send it again later.")


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


class IdempotencyKeyReusedError(ServiceError):
    """The Idempotency-Key belongs to a request of another path or payload."""

    status = 422
    slug = "idempotency-key-reused"
    title = "Idempotency key reused"
    extensions: Mapping[str, Any] = {
        "errors": [{"pointer": "Idempotency-Key", "detail": "belongs to a request of another path or payload"}]
    }

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was sent with another request. Each request needs a key of its own.")


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


class DatabaseUnavailableError(ServiceError):
    """PostgreSQL could not do the work now; nothing was changed, or the connection was lost before that was known."""

    status = 503
    slug = "database-unavailable"
    title = "Database unavailable"
    remedy = "Send the request again after the seconds that the header `Retry-After` names."
    headers: Mapping[str, str] = {"Retry-After": "1"}


class NotReadyError(ServiceError):
    """This process cannot serve requests now; the document tells each part by itself."""

    status = 503
    slug = "not-ready"
    title = "Not ready"
    remedy = "Send requests to another replica. Start PostgreSQL, or run `alembic upgrade head`, as the parts say."
    headers: Mapping[str, str] = {"Retry-After": "1"}

    def __init__(self, detail: str, parts: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.extensions = parts


class TransfersBusyError(ServiceError):
    """This process runs as many imports, or exports, as it may at once."""

    status = 503
    slug = "transfers-busy"
    title = "Transfers busy"
    headers: Mapping[str, str] = {"Retry-After": "5"}
