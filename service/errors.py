"""The errors that callers may catch, which are also the table of problem types: `list_problem_types`.

ServiceError
├── MalformedPreconditionError  400
├── ItemNotFoundError           404
├── IdempotencyKeyInUseError    409
├── ChangesExpiredError         410
├── PreconditionFailedError     412
├── RejectedLinesError          422
├── IdempotencyKeyReusedError   422
├── PreconditionRequiredError   428
├── DatabaseUnavailableError    503
└── NotReadyError               503

Those that come from HTTP itself are in `service.web.refusals`.
"""

from collections.abc import Iterable, Mapping, Sequence
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


class MalformedPreconditionError(ServiceError):
    """If-Match or If-None-Match is neither `*` nor a list of entity tags."""

    status = 400
    slug = "malformed-precondition"
    title = "Malformed precondition"
    remedy = "Send `*`, or the item's `ETag` exactly as an answer had it, its quotes included."

    def __init__(self, header: str) -> None:
        super().__init__(f'{header} must be * or a list of entity tags as ETag has them, in quotes: "1-63d2a9b2c0f40".')


class ItemNotFoundError(ServiceError):
    """No item has the id that was asked for."""

    status = 404
    slug = "item-not-found"
    title = "Item not found"
    remedy = "Look the id up in `GET /items/`. If it was there before, somebody has deleted the item; ids never return."

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
        named = "" if rejected == len(lines) else f"; the first {len(lines)} are named"
        super().__init__(f"{count} rejected, so nothing was imported{named}.")
        self.extensions = {"rejected": rejected, "errors": lines}


class PreconditionRequiredError(ServiceError):
    """This service takes changes of an item only with the tag of the version that they are meant for."""

    status = 428
    slug = "precondition-required"
    title = "Precondition required"

    def __init__(self, name: str) -> None:
        super().__init__(f"Send the item's ETag as {name}, or * to change it whatever it is now.")


class IdempotencyKeyInUseError(ServiceError):
    """The first request with this Idempotency-Key has not been answered yet."""

    status = 409
    slug = "idempotency-key-in-use"
    title = "Idempotency key in use"
    headers: Mapping[str, str] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is still running. Send it again later.")


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
