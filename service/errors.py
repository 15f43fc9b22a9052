"""The errors that callers may catch.

ServiceError
├── InvalidCursorError          400
├── ItemNotFoundError           404
├── ChangesExpiredError         410
└── DatabaseUnavailableError    503
"""

from typing import ClassVar


class ServiceError(Exception):
    """An answer other than success. `status`, `slug` and `title` are the problem's type; the message is its detail."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}


class InvalidCursorError(ServiceError):
    """A cursor is damaged, or was made for another filter or sort, or by a release with another format."""

    status = 400
    slug = "invalid-cursor"
    title = "Invalid cursor"

    def __init__(self) -> None:
        super().__init__(
            "The cursor is damaged, or belongs to another filter, sort or release. Start again without a cursor."
        )


class ItemNotFoundError(ServiceError):
    """No item has the id that was asked for."""

    status = 404
    slug = "item-not-found"
    title = "Item not found"

    def __init__(self, item_id: int) -> None:
        super().__init__(f"There is no item {item_id}.")


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


class DatabaseUnavailableError(ServiceError):
    """PostgreSQL could not do the work now; nothing was changed, or the connection was lost before that was known."""

    status = 503
    slug = "database-unavailable"
    title = "Database unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}
