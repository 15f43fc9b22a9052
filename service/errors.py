"""The errors that callers may catch.

ServiceError
├── InvalidCursorError          400
├── MalformedPreconditionError  400
├── ItemNotFoundError           404
├── PreconditionFailedError     412
├── PreconditionRequiredError   428
└── DatabaseUnavailableError    503
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self


class ServiceError(Exception):
    """An answer other than success. `status`, `slug` and `title` are the problem's type; the message is its detail."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    headers: Mapping[str, str] = {}
    extensions: Mapping[str, Any] = {}

    def in_operation(self, index: int) -> Self:
        """This error, as what stopped the batch at its operation `index`."""
        self.extensions = {"index": index, "pointer": f"/operations/{index}"}
        return self


class MalformedPreconditionError(ServiceError):
    """If-Match or If-None-Match is neither `*` nor a list of entity tags."""

    status = 400
    slug = "malformed-precondition"
    title = "Malformed precondition"

    def __init__(self, header: str) -> None:
        super().__init__(f'{header} must be * or a list of entity tags as ETag has them, in quotes: "1-63d2a9b2c0f40".')


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


class PreconditionFailedError(ServiceError):
    """The item is not in a state that the precondition allows; nothing was changed. `ETag` tells its state."""

    status = 412
    slug = "precondition-failed"
    title = "Precondition failed"

    def __init__(self, item_id: int, tag: str) -> None:
        super().__init__(f"Item {item_id} is not as the request requires it to be. Read it anew, then decide.")
        self.headers = {"ETag": tag}


class PreconditionRequiredError(ServiceError):
    """This service takes changes of an item only with the tag of the version that they are meant for."""

    status = 428
    slug = "precondition-required"
    title = "Precondition required"

    def __init__(self, name: str) -> None:
        super().__init__(f"Send the item's ETag as {name}, or * to change it whatever it is now.")


class DatabaseUnavailableError(ServiceError):
    """PostgreSQL could not do the work now; nothing was changed, or the connection was lost before that was known."""

    status = 503
    slug = "database-unavailable"
    title = "Database unavailable"
    headers: Mapping[str, str] = {"Retry-After": "1"}
