"""What a record may hold, and the report of those that were rejected."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from service.config import MAX_ID
from service.errors import RejectedLinesError
from service.exact_json import point_to
from service.schemas import ItemWrite
from service.transfer.csv_records import read_csv
from service.transfer.lines import MAX_FIELD_LENGTH, Line, Record, UnreadableRestError, split_lines
from service.transfer.ndjson import read_ndjson

# What the report names, and how much of each line.
MAX_REPORTED_LINES = 100
MAX_CONTENT_LENGTH = 200


class Format(StrEnum):
    """How items are written in a file."""

    NDJSON = "ndjson"
    CSV = "csv"


READERS: dict[Format, Callable[[Iterable[Line]], Iterator[Record]]] = {Format.NDJSON: read_ndjson, Format.CSV: read_csv}


class ItemImport(ItemWrite):
    """An item in a file: with an `id`, the item of that id is replaced, or created if there is none.

    What an export has besides may be there and counts for nothing: times and versions are the database's to set.
    """

    id: Annotated[int, Field(strict=True, ge=1, le=MAX_ID)] | None = None
    created_at: Any = None
    updated_at: Any = None
    version: Any = None


class ImportCounts(NamedTuple):
    """What an import did, in items."""

    created: int
    updated: int


class StagedRow(NamedTuple):
    """A valid line, as the staging table has it; the content is kept where only the whole file tells a fault."""

    line: int
    id: int | None
    name: str
    description: str | None
    price: Decimal
    content: str | None


@dataclass(frozen=True, slots=True, order=True)
class RejectedLine:
    """A line that cannot be imported; `pointer` is a JSON pointer into the file as a list of lines."""

    line: int
    pointer: str
    detail: str
    content: str


def read_records(chunks: Iterable[bytes], file_format: Format) -> Iterator[Record]:
    """The records of a file in their order. A fault is a record too; after one that hides the rest there is none."""
    try:
        yield from READERS[file_format](split_lines(chunks))
    except UnreadableRestError as error:
        yield Record(error.number, error.content, fault=str(error))


@dataclass
class Intake:
    """Takes valid records in and keeps count of the others."""

    rejected: int = 0
    reported: list[RejectedLine] = field(default_factory=list)

    def accept(self, records: Iterable[Record]) -> Iterator[StagedRow]:
        """The valid ones."""
        validate = ItemImport.model_validate
        for number, content, fields, fault, pointer in records:
            if fields is None:
                self.reject(number, pointer, fault, show(content))
                continue
            try:
                item = validate(fields)
            except ValidationError as error:
                self.reject(number, *_describe(error), show(content))
                continue
            kept = None if item.id is None else show(content)
            yield StagedRow(number, item.id, item.name, item.description, item.price, kept)

    def reject(self, number: int, pointer: str, detail: str, content: str) -> None:
        """Count a line; those that come first are reported."""
        self.rejected += 1
        if len(self.reported) < MAX_REPORTED_LINES:
            self.reported.append(RejectedLine(number, f"/{number}{pointer}", detail, content))

    def reject_repeated(self, lines: Iterable[Sequence[Any]], count: int) -> None:
        """Count `count` lines more. The first of them are `lines`: number, line that has the same id, content."""
        self.rejected += count
        for number, first, content in lines:
            detail = f"id: line {first} has the same; a file may name an item once"
            self.reported.append(RejectedLine(number, f"/{number}/id", detail, content))
        self.reported = sorted(self.reported)[:MAX_REPORTED_LINES]

    def check(self) -> None:
        """Raise RejectedLinesError if there was any."""
        if self.rejected:
            raise RejectedLinesError([asdict(line) for line in self.reported], self.rejected)


def show(content: bytes) -> str:
    """The beginning of a line, as a person can read it: what is not UTF-8, or cannot be stored, is replaced."""
    # A character has at most 4 bytes.
    text = content[: 4 * MAX_CONTENT_LENGTH + 4].decode(errors="replace").rstrip("\r").replace("\0", "\ufffd")
    return text if len(text) <= MAX_CONTENT_LENGTH else f"{text[:MAX_CONTENT_LENGTH]}…"


def _describe(error: ValidationError) -> tuple[str, str]:
    """The place of the first fault, and all of them in words."""
    # Without a place it is a key that is no text: half a surrogate pair, which cannot be told either.
    faults = [
        (str(fault["loc"][0])[:MAX_FIELD_LENGTH] if fault["loc"] else "", fault["msg"])
        for fault in error.errors(include_url=False, include_input=False)
    ]
    described = "; ".join(f"{name}: {message}" if name else message for name, message in faults)
    return point_to(name for name, _ in faults[:1] if name), described
