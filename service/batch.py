"""What a batch does in the transaction of its caller: lock, check, and one statement for each kind of change."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from service import crud
from service.errors import ItemNotFoundError, PreconditionFailedError
from service.models import Item
from service.operations import ChangeOperation, CreateOperation, DeleteOperation, OperationResult
from service.schemas import ItemRead
from service.web.conditional import version_tag

Operations = Sequence[CreateOperation | ChangeOperation]


def run_batch(session: Session, operations: Operations) -> list[OperationResult]:
    """Do them all, in four statements at most; raises for the first that cannot be done, before anything is written."""
    changes = [operation for operation in operations if not isinstance(operation, CreateOperation)]
    found = {item.id: item for item in crud.lock_items(session, [change.id for change in changes])}
    _check(operations, found)
    created = iter(crud.insert_items(session, [each.item for each in operations if isinstance(each, CreateOperation)]))
    crud.update_items(session, _merge(changes, found))
    crud.delete_items(session, [change.id for change in changes if isinstance(change, DeleteOperation)])
    return [
        _describe(operation, next(created) if isinstance(operation, CreateOperation) else found[operation.id])
        for operation in operations
    ]


def _check(operations: Operations, found: Mapping[int | None, Item]) -> None:
    """Nothing can change between this and the statements that write: the rows are locked."""
    for index, operation in enumerate(operations):
        if isinstance(operation, CreateOperation):
            continue
        if operation.id not in found:
            raise ItemNotFoundError(operation.id).in_operation(index)
        tag = _tag_of(ItemRead.model_validate(found[operation.id]))
        wanted = operation.condition.one_of
        if wanted is not None and tag not in wanted:
            raise PreconditionFailedError(operation.id, tag).in_operation(index)


def _merge(changes: Sequence[ChangeOperation], found: Mapping[int | None, Item]) -> dict[int, dict[str, Any]]:
    """The columns of each item that changes, as they are to be; a patch that names nothing is no change."""
    merged = {
        change.id: change.values_for(found[change.id]) for change in changes if not isinstance(change, DeleteOperation)
    }
    return {item_id: values for item_id, values in merged.items() if values}


def _describe(operation: CreateOperation | ChangeOperation, item: Item) -> OperationResult:
    if isinstance(operation, DeleteOperation):
        return OperationResult(op="delete", id=operation.id)
    read = ItemRead.model_validate(item)
    return OperationResult(op=operation.op, id=read.id, etag=_tag_of(read), item=read)


def _tag_of(item: ItemRead) -> str:
    return version_tag(item.version, item.updated_at)
