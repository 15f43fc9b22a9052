"""The shapes of requests and answers. These validate."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from service.config import MAX_DESCRIPTION_LENGTH, MAX_ID, MAX_NAME_LENGTH, MAX_PRICE

SMALLEST_EXPONENT = -2  # of a price: cents


def check_storable(value: str) -> str:
    """Text that PostgreSQL can hold."""
    if "\0" in value:
        raise PydanticCustomError("nul", "must not contain the character U+0000, which PostgreSQL cannot store")
    return value


def check_not_blank(value: str) -> str:
    """Text in which there is something to see."""
    if not value.strip():
        raise PydanticCustomError("blank", "must not consist of white space only")
    return value


def _require_number(value: object) -> object:
    # A Decimal field would also take "10.99"; the contract says number.
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise PydanticCustomError("number", "must be a JSON number")
    return value


def check_amount(value: Decimal) -> Decimal:
    """An amount that an item may cost, without fractions of a cent, however many zeros are written."""
    # Pydantic's own bounds would be told as Python writes Decimals.
    if not value.is_finite() or not 0 <= value <= MAX_PRICE:
        raise PydanticCustomError("amount", "must lie between 0 and {most}", {"most": str(MAX_PRICE)})
    # Arithmetic, and pydantic's own check with it, rounds what has more than 28 digits.
    _, digits, exponent = value.as_tuple()
    if isinstance(exponent, int) and exponent < SMALLEST_EXPONENT and any(digits[exponent - SMALLEST_EXPONENT :]):
        raise PydanticCustomError("places", "must have at most 2 digits after the point")
    return value


def _require_digits(value: object) -> object:
    # int() and pydantic also take " 7", "+7", "7_0" and digits of other scripts.
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise PydanticCustomError("digits", "must be a whole number in ASCII digits")
    return value


# For what stands in an address, as against a body; the bounds come before it, or OpenAPI would not have them.
IN_DIGITS = BeforeValidator(_require_digits)

# The same for readers of the document, in a form that every dialect of regular expressions reads alike.
STORABLE = r"^[^\u0000]*$"
WHITE_SPACE = r"\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
NOT_BLANK = rf"^[^\u0000]*[^\u0000{WHITE_SPACE}][^\u0000]*$"

# The bound is exclusive because FastAPI documents bounds as floats: 2**63 is one, 2**63 - 1 is not.
Id = Annotated[
    int,
    Field(ge=1, le=MAX_ID),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "exclusiveMaximum": MAX_ID + 1}),
]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH, strict=True),
    AfterValidator(check_storable),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH, "pattern": STORABLE}),
]
Description = Annotated[
    str,
    StringConstraints(max_length=MAX_DESCRIPTION_LENGTH, strict=True),
    AfterValidator(check_storable),
    WithJsonSchema({"type": "string", "maxLength": MAX_DESCRIPTION_LENGTH, "pattern": STORABLE}),
]
# Decimal inside, a JSON number outside: up to 15 digits a float prints the decimal that it was made from.
AS_NUMBER = PlainSerializer(float, return_type=float, when_used="json")
NUMBER_SCHEMA = WithJsonSchema({"type": "number", "minimum": 0, "maximum": float(MAX_PRICE), "multipleOf": 0.01})
StoredPrice = Annotated[Decimal, Field(ge=0, le=MAX_PRICE, allow_inf_nan=False), AS_NUMBER, NUMBER_SCHEMA]
Price = Annotated[
    Decimal,
    Field(allow_inf_nan=True),  # `check_amount` refuses them, in the same words as other numbers
    BeforeValidator(_require_number),
    AfterValidator(check_amount),
    AS_NUMBER,
    NUMBER_SCHEMA,
]
Timestamp = Annotated[datetime, AfterValidator(lambda value: value.astimezone(UTC))]


class ItemWrite(BaseModel):
    """What a client sends to create an item, or to replace all of one: an absent description means none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "Widget", "description": "A useful widget", "price": 10.99}]},
    )

    name: Name
    description: Description | None = None
    price: Price


class ItemPatch(BaseModel):
    """A merge patch of an item (RFC 7396): what is absent stays as it is, a null description removes it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"price": 9.99, "description": None}]})

    # What these make is never used: only the fields that were sent count. A default value would be documented as one.
    name: Name = Field(default_factory=str)
    description: Description | None = Field(default_factory=lambda: None)
    price: Price = Field(default_factory=Decimal)

    def changes(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(exclude_unset=True)


EXAMPLE: JsonDict = {
    "id": 1,
    "name": "Widget",
    "description": "A useful widget",
    "price": 10.99,
    "created_at": "2026-11-23T16:00:00.000000Z",
    "updated_at": "2026-11-23T16:00:00.000000Z",
    "version": 1,
}


class ItemRead(BaseModel):
    """An item as clients see it; times are RFC 3339 in UTC."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [EXAMPLE]})

    id: Id
    name: str
    description: str | None
    # Checked when it was written, and by the database: a list would pay a hundred times for a second look.
    price: StoredPrice
    created_at: Timestamp
    updated_at: Timestamp
    version: int = Field(ge=1, description="1 at first, and 1 more after each change")


class Message(BaseModel):
    """A sentence for a person."""

    message: str
