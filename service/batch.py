"""What a batch does in the transaction of its caller: lock, check, and few statements for many changes."""

from collections.abc import Iterator, Mapping, Sequence
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
    """Do them all, one after the other as far as anybody can tell; raises for the first that cannot be done.

    At most four statements where each is on an item of its own; one on the item of an earlier one begins anew.
    """
    ids = [operation.id for operation in operations if not isinstance(operation, CreateOperation)]
    found = {item.id: item for item in crud.lock_items(session, ids)}
    tags = {item_id: _tag_of(ItemRead.model_validate(item)) for item_id, item in found.items()}
    results: list[OperationResult] = []
    for part in _split(operations):
        _check(part, found, tags, first=len(results))
        results += _run(session, part, found)
    return results


def _split(operations: Operations) -> Iterator[Operations]:
    """Parts, none of which has two operations on one item."""
    start, seen = 0, set[int]()
    for index, operation in enumerate(operations):
        if isinstance(operation, CreateOperation):
            continue
        if operation.id in seen:
            yield operations[start:index]
            start, seen = index, set()
        seen.add(operation.id)
    yield operations[start:]


def _check(
    operations: Operations, found: Mapping[int | None, Item], tags: Mapping[int | None, str], *, first: int
) -> None:
    """Nothing can change between this and the statements that write: the rows are locked.

    Who is refused is told one of `tags`, by which others know the item: what earlier operations made of it goes.
    """
    for index, operation in enumerate(operations, first):
        if isinstance(operation, CreateOperation):
            continue
        if operation.id not in found:
            raise ItemNotFoundError(operation.id).in_operation(index)
        wanted = operation.condition.one_of
        if wanted is not None and _tag_of(ItemRead.model_validate(found[operation.id])) not in wanted:
            raise PreconditionFailedError(operation.id, tags[operation.id]).in_operation(index)


def _run(session: Session, operations: Operations, found: dict[int | None, Item]) -> list[OperationResult]:
    """One statement for each kind of change; what they delete is `found` no longer."""
    changes = [operation for operation in operations if not isinstance(operation, CreateOperation)]
    deleted = [change.id for change in changes if isinstance(change, DeleteOperation)]
    created = iter(crud.insert_items(session, [each.item for each in operations if isinstance(each, CreateOperation)]))
    crud.update_items(session, _merge(changes, found))
    crud.delete_items(session, deleted)
    items = [next(created) if isinstance(each, CreateOperation) else found[each.id] for each in operations]
    for item_id in deleted:
        del found[item_id]
    return list(map(_describe, operations, items))


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
