"""The errors that callers may catch.

ServiceError
├── ItemNotFoundError           404
└── DatabaseUnavailableError    503
"""

from typing import ClassVar


class ServiceError(Exception):
    """An answer other than success. `status`, `slug` and `title` are the problem's type; the message is its detail."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}


class ItemNotFoundError(ServiceError):
    """No item has the id that was asked for."""

    status = 404
    slug = "item-not-found"
    title = "Item not found"

    def __init__(self, item_id: int) -> None:
        super().__init__(f"There is no item {item_id}.")


class DatabaseUnavailableError(ServiceError):
    """PostgreSQL could not do the work now; nothing was changed, or the connection was lost before that was known."""

    status = 503
    slug = "database-unavailable"
    title = "Database unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}
