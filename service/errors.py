"""The errors that callers may catch.

ServiceError
├── BrokenUploadError           400
├── ItemNotFoundError           404
├── RequestTimeoutError         408
├── UnsupportedMediaTypeError   415
├── RejectedLinesError          422
├── DatabaseUnavailableError    503
└── TransfersBusyError          503
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ServiceError(Exception):
    """An answer other than success. `status`, `slug` and `title` are the problem's type; the message is its detail."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    headers: Mapping[str, str] = {}
    extensions: Mapping[str, Any] = {}


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

    def __init__(self, item_id: int) -> None:
        super().__init__(f"There is no item {item_id}.")


class RequestTimeoutError(ServiceError):
    """The client sent nothing more of a body that it had begun; nothing was changed."""

    status = 408
    slug = "request-timeout"
    title = "Request timeout"


class UnsupportedMediaTypeError(ServiceError):
    """The body is of a kind, in a character set or under a compression that this address does not read."""

    status = 415
    slug = "unsupported-media-type"
    title = "Unsupported media type"

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


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


class DatabaseUnavailableError(ServiceError):
    """PostgreSQL could not do the work now; nothing was changed, or the connection was lost before that was known."""

    status = 503
    slug = "database-unavailable"
    title = "Database unavailable"
    headers: Mapping[str, str] = {"Retry-After": "1"}


class TransfersBusyError(ServiceError):
    """This process runs as many imports, or exports, as it may at once."""

    status = 503
    slug = "transfers-busy"
    title = "Transfers busy"
    headers: Mapping[str, str] = {"Retry-After": "5"}
