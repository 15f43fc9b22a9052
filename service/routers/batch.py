"""Many changes in one request, all of them or none."""

from fastapi import APIRouter, Request

from service.dependencies import CatalogueDep
from service.errors import PreconditionRequiredError
from service.operations import Batch, BatchResult, CreateOperation
from service.web.exact_json import ExactRoute
from service.web.problems import describe_problems

router = APIRouter(prefix="/items", tags=["items"], route_class=ExactRoute, responses=describe_problems(422, 503))


@router.post("/batch", responses=describe_problems(404, 412, 428))
def apply_batch(batch: Batch, request: Request, catalogue: CatalogueDep) -> BatchResult:
    """Create, replace, update and delete up to 1,000 items, all of them or none.

    A problem that one operation causes names the first such by its `index`, and by a `pointer` to it.
    """
    if request.app.state.require_if_match:
        _require_if_match(batch)
    return BatchResult(results=catalogue.apply_batch(batch.operations))


def _require_if_match(batch: Batch) -> None:
    for index, operation in enumerate(batch.operations):
        if not isinstance(operation, CreateOperation) and operation.if_match is None:
            raise PreconditionRequiredError("if_match").in_operation(index)
