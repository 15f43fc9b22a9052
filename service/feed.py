"""Where a client stands in the feed of changes.

Transactions commit in another order than they begin, or than they draw numbers from a sequence. So "all after number n"
would miss what a transaction with a smaller number commits later. A client therefore stands at a snapshot: it has what
was committed when PostgreSQL took it, and is told next what is committed now and was not then.
"""

from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter

from service.config import DEFAULT_LIMIT, MAX_ID
from service.filters import Cursor, Limit
from service.schemas import Id, ItemRead

# For `since`: pass by all that was changed so far.
NOW = "now"


class Snapshot(NamedTuple):
    """What was committed at a moment: all transactions before number `following` but those still `running` then."""

    following: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """A pg_snapshot as PostgreSQL prints it: the oldest that runs, the following, all that run."""
        _, following, running = text.split(":")
        return cls(int(following), tuple(int(number) for number in running.split(",") if number))

    def shows(self, number: int) -> bool:
        """Whether the transaction was committed, or undone."""
        return number < self.following and number not in self.running

    def includes(self, earlier: "Snapshot") -> bool:
        """Whether all is shown that `earlier` shows."""
        return earlier.following <= self.following and not any(map(earlier.shows, self.running))


NOTHING = Snapshot(1)
_NUMBERS = TypeAdapter(Annotated[list[Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]], Field(min_length=1)])


def _expand(value: object) -> Snapshot:
    following, *distances = _NUMBERS.validate_python(value)
    if any(distance >= following for distance in distances):
        raise ValueError("not a snapshot")
    return Snapshot(following, tuple(following - distance for distance in distances))


def _shorten(snapshot: Snapshot) -> list[int]:
    """Small numbers, for hundreds of transactions may be running."""
    return [snapshot.following, *(snapshot.following - number for number in snapshot.running)]


ShortSnapshot = Annotated[Snapshot, BeforeValidator(_expand), PlainSerializer(_shorten)]


class FeedPosition(NamedTuple):
    """What a client has of the feed of one database: all that `seen` shows.

    In the middle of a long answer, also what `until` shows up to the number `seq`.
    """

    feed: Annotated[str, Field(max_length=100)]
    seen: ShortSnapshot
    until: ShortSnapshot | None = None
    seq: Annotated[int, Field(strict=True, ge=0, le=MAX_ID)] = 0


FEED_POSITION: TypeAdapter[FeedPosition] = TypeAdapter(FeedPosition)


class ChangesQuery(BaseModel):
    """Some of the feed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Cursor | None = Field(
        default=None,
        description="what `X-Next-Cursor` said last; `now` passes by what was changed so far; absent, all that is kept",
    )
    limit: Limit = Field(default=DEFAULT_LIMIT, description="the most changes to answer with")


class Change(BaseModel):
    """A change of one item. For a copy of the catalogue: store `item`, or drop what has this `id` if it is null."""

    id: Id
    version: int = Field(description="the version that the change made; of a deletion, the last there was")
    deleted: bool
    item: ItemRead | None = Field(description="the item as it is now; null if it is gone, by this change or a later")


class ChangePage(NamedTuple):
    """Changes, for each item in the order of their commits; and where to go on, at once if there are `more`."""

    changes: list[Change]
    end: FeedPosition
    more: bool
