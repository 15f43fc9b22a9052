"""Which items, in which order, from where on: what the parameters of a list say. These validate."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from service.config import DEFAULT_LIMIT, MAX_ID, MAX_LIMIT, MAX_PRICE
from service.schemas import IN_DIGITS, NOT_BLANK, ItemRead, Name, check_amount, check_not_blank, check_storable

CENT = Decimal("0.01")
MAX_SEARCH_LENGTH = 200
# PostgreSQL's parser has room for 32 that follow each other, and fails at the next.
MAX_EXCLUSIONS = 20
_EXCLUSION = re.compile(r"(?<!\w)-|-(?!\w)")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _require_decimal(value: object) -> object:
    # Decimal() also takes "1_0", "+1", " 1 " and digits of other scripts.
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise PydanticCustomError("decimal", "must be a decimal number, such as 10.99")
    return value


def _require_rfc_3339(value: object) -> object:
    # Pydantic also takes seconds since 1970, and days.
    if isinstance(value, str) and not _RFC_3339.fullmatch(value):
        raise PydanticCustomError(
            "rfc_3339",
            "must be a time with an offset (RFC 3339), such as 2026-11-25T08:00:00Z; a + in an address is written %2B",
        )
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise PydanticCustomError("time_range", "must lie in the years 1 to 9999 of UTC") from error


def _to_cents(value: Decimal) -> Decimal:
    return value.quantize(CENT)


def _check_exclusions(value: str) -> str:
    if len(_EXCLUSION.findall(value)) > MAX_EXCLUSIONS:
        raise PydanticCustomError("exclusions", "must not leave out more than {most} words", {"most": MAX_EXCLUSIONS})
    return value


PriceBound = Annotated[
    Decimal,
    Field(allow_inf_nan=True),  # `check_amount` refuses them, in the same words as other numbers
    BeforeValidator(_require_decimal),
    AfterValidator(check_amount),
    AfterValidator(_to_cents),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": float(MAX_PRICE), "multipleOf": 0.01}),
]
Moment = Annotated[datetime, BeforeValidator(_require_rfc_3339), AfterValidator(_to_utc)]
Search = Annotated[
    str,
    StringConstraints(max_length=MAX_SEARCH_LENGTH),
    AfterValidator(check_storable),
    AfterValidator(check_not_blank),
    AfterValidator(_check_exclusions),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_SEARCH_LENGTH, "pattern": NOT_BLANK}),
]
# Of these characters are all cursors; who reads them, refuses others.
Cursor = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"})]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), IN_DIGITS]
Sort = Literal[
    "id", "-id", "name", "-name", "price", "-price", "created_at", "-created_at", "updated_at", "-updated_at"
]


class ItemFilter(BaseModel):
    """Which items. What is absent leaves all of them in; what is there has to hold all at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Search | None = Field(
        default=None,
        description='words in name or description, in any order; takes "words in a row", `or` and up to 20 -without',
    )
    name: Name | None = Field(default=None, description="the whole name, exactly")
    min_price: PriceBound | None = Field(default=None, description="this price or more")
    max_price: PriceBound | None = Field(default=None, description="this price or less; not below `min_price`")
    updated_since: Moment | None = Field(default=None, description="changed at this time (RFC 3339) or later")

    @field_validator("max_price")
    @classmethod
    def _check_price_range(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        least = info.data.get("min_price")
        if value is not None and least is not None and value < least:
            raise PydanticCustomError("price_range", "must not be less than min_price")
        return value


class ListQuery(ItemFilter):
    """One page of a list."""

    limit: Limit = Field(default=DEFAULT_LIMIT, description="the longest page to answer with; may differ between pages")
    sort: Sort = Field(default="id", description="what to sort by, - in front for descending; the id breaks ties")
    cursor: Cursor | None = Field(
        default=None, description="where the page begins, as a `Link` said; belongs to its filter and sort"
    )
    include_total: bool = Field(default=False, description="count all items that match, in `X-Total-Count`")

    @property
    def scope(self) -> str:
        """What a cursor is bound to: the same for queries that walk through the same items in the same order."""
        selection = self.model_dump_json(exclude={"limit", "cursor", "include_total"}, exclude_none=True)
        return f"items {selection}"


# Where a page ends, and so where the next begins: the sort's value, if it is not the id, and the id.
_Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
ItemPosition = tuple[Any, ...]
POSITIONS: dict[str, TypeAdapter[ItemPosition]] = {
    "id": TypeAdapter(tuple[_Id]),
    "name": TypeAdapter(tuple[Name, _Id]),
    "price": TypeAdapter(tuple[PriceBound, _Id]),
    "created_at": TypeAdapter(tuple[Moment, _Id]),
    "updated_at": TypeAdapter(tuple[Moment, _Id]),
}


def sort_columns(sort: Sort) -> list[str]:
    """The columns that order the rows; all in the direction of the sort, so that one index serves both directions."""
    return list(dict.fromkeys([sort.removeprefix("-"), "id"]))


def position_shape(sort: Sort) -> TypeAdapter[ItemPosition]:
    """How positions in the list of this sort are written and checked."""
    return POSITIONS[sort.removeprefix("-")]


def position_of(item: ItemRead, sort: Sort) -> ItemPosition:
    """Where the item stands in the list of this sort."""
    return tuple(getattr(item, column) for column in sort_columns(sort))
