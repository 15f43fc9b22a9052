"""The errors that callers may catch.

ServiceError
├── InvalidIdempotencyKeyError  400
├── ItemNotFoundError           404
├── IdempotencyKeyInUseError    409
├── IdempotencyKeyReusedError   422
└── DatabaseUnavailableError    503
"""

from typing import Any, ClassVar


class ServiceError(Exception):
    """An answer other than success. `status`, `slug` and `title` are the problem's type; the message is its detail.

    `extensions` are further members of the document.
    """

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}
    extensions: ClassVar[dict[str, Any]] = {}


class ItemNotFoundError(ServiceError):
    """No item has the id that was asked for."""

    status = 404
    slug = "item-not-found"
    title = "Item not found"

    def __init__(self, item_id: int) -> None:
        super().__init__(f"There is no item {item_id}.")


class InvalidIdempotencyKeyError(ServiceError):
    """The header Idempotency-Key is not one key that can be stored."""

    status = 400
    slug = "invalid-idempotency-key"
    title = "Invalid idempotency key"


class IdempotencyKeyInUseError(ServiceError):
    """The first request with this Idempotency-Key has not been answered yet."""

    status = 409
    slug = "idempotency-key-in-use"
    title = "Idempotency key in use"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is still running. Send it again later.")


class IdempotencyKeyReusedError(ServiceError):
    """The Idempotency-Key belongs to a request of another path or payload."""

    status = 422
    slug = "idempotency-key-reused"
    title = "Idempotency key reused"
    extensions: ClassVar[dict[str, Any]] = {
        "errors": [{"pointer": "Idempotency-Key", "detail": "belongs to a request of another path or payload"}]
    }

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was sent with another request. Each request needs a key of its own.")


class DatabaseUnavailableError(ServiceError):
    """PostgreSQL could not do the work now; nothing was changed, or the connection was lost before that was known."""

    status = 503
    slug = "database-unavailable"
    title = "Database unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}
