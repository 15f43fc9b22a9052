"""The operations of a batch, and what it answers. Each means what the request of the same kind on one item means."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from service.config import MAX_OPERATIONS
from service.models import Item
from service.preconditions import TAGS, UNCONDITIONAL, Precondition, parse_if_match
from service.schemas import Id, ItemPatch, ItemRead, ItemWrite


def _check_tags(field: str) -> str:
    try:
        parse_if_match(field)
    except ValueError as error:
        raise PydanticCustomError("tags", "must be * or a list of entity tags, in quotes") from error
    return field


IfMatch = Annotated[
    str,
    Field(strict=True),
    AfterValidator(_check_tags),
    WithJsonSchema({"type": "string", "pattern": TAGS}),
]


class CreateOperation(BaseModel):
    """Create an item, as POST does."""

    model_config = ConfigDict(extra="forbid")

    op: Literal["create"]
    item: ItemWrite


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: Annotated[Id, Field(strict=True)]
    if_match: IfMatch | None = Field(default=None, description="as the header: the ETag that the item must have, or *")

    @property
    def condition(self) -> Precondition:
        """What has to be true of the item."""
        return UNCONDITIONAL if self.if_match is None else Precondition(one_of=parse_if_match(self.if_match))


class ReplaceOperation(_Change):
    """Set all of an item, as PUT does."""

    op: Literal["replace"]
    item: ItemWrite

    def values_for(self, _current: Item) -> dict[str, Any]:
        """The item's columns afterwards."""
        return self.item.model_dump()


class UpdateOperation(_Change):
    """Set some fields of an item, as PATCH does."""

    op: Literal["update"]
    item: ItemPatch

    def values_for(self, current: Item) -> dict[str, Any]:
        """The item's columns afterwards; none if the patch changes nothing."""
        changes = self.item.changes()
        return changes and current.model_dump(include=set(ItemWrite.model_fields)) | changes


class DeleteOperation(_Change):
    """Delete an item, as DELETE does."""

    op: Literal["delete"]


ChangeOperation = ReplaceOperation | UpdateOperation | DeleteOperation
KINDS: dict[str, type[BaseModel]] = {
    "create": CreateOperation,
    "replace": ReplaceOperation,
    "update": UpdateOperation,
    "delete": DeleteOperation,
}


def _choose_kind(value: object, _union: ValidatorFunctionWrapHandler) -> BaseModel:
    """What the union does, which documents it. But that tells faults under paths with the kind, which no body has."""
    name = value.get("op") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in KINDS:
        raise PydanticCustomError("op", "must be an object whose `op` is create, replace, update or delete")
    return KINDS[name].model_validate(value)


Operation = Annotated[CreateOperation | ChangeOperation, Field(discriminator="op"), WrapValidator(_choose_kind)]


class Batch(BaseModel):
    """Operations that are done all or not at all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "operations": [
                        {"op": "create", "item": {"name": "Widget", "price": 10.99}},
                        {"op": "replace", "id": 1, "item": {"name": "Gadget", "price": 2.5}},
                        {"op": "update", "id": 2, "if_match": '"1-63d2a9b2c0f40"', "item": {"price": 9.99}},
                        {"op": "delete", "id": 3},
                    ]
                }
            ]
        },
    )

    operations: Annotated[list[Operation], Field(min_length=1, max_length=MAX_OPERATIONS)]


class OperationResult(BaseModel):
    """What one operation did, as the request of its kind answers; `etag` and `item` are null after a deletion."""

    op: Literal["create", "replace", "update", "delete"]
    id: Id
    status: Literal[200] = 200
    etag: str | None = None
    item: ItemRead | None = None


class BatchResult(BaseModel):
    """What the operations did, in their order."""

    results: list[OperationResult]
