"""Many changes in one request, all of them or none."""

from fastapi import APIRouter, Request, Response

from service.catalogue import Catalogue
from service.dependencies import OnceDep
from service.errors import PreconditionRequiredError
from service.operations import Batch, BatchResult, CreateOperation
from service.web.idempotency import KEY_HEADER
from service.web.media_types import JSON
from service.web.openapi import describe_headers
from service.web.problems import Responses, describe_problems
from service.web.strict_route import StrictRoute

router = APIRouter(prefix="/items", tags=["items"], route_class=StrictRoute, responses=describe_problems(422, 503))
APPLIED: Responses = {
    200: {"description": "What each operation did.", "headers": describe_headers("Idempotency-Replayed")}
}


@router.post(
    "/batch",
    response_model=BatchResult,
    responses=APPLIED | describe_problems(404, 409, 412, 428),
    openapi_extra=KEY_HEADER,
)
def apply_batch(batch: Batch, request: Request, once: OnceDep) -> Response:
    """Create, replace, update and delete up to 1,000 items, all of them or none.

    A problem that one operation causes names the first such by its `index`, and by a `pointer` to it.
    """
    if request.app.state.require_if_match:
        _require_if_match(batch)

    def apply(catalogue: Catalogue) -> Response:
        result = BatchResult(results=catalogue.apply_batch(batch.operations))
        return Response(result.model_dump_json(), media_type=JSON)

    return once(apply)


def _require_if_match(batch: Batch) -> None:
    for index, operation in enumerate(batch.operations):
        if not isinstance(operation, CreateOperation) and operation.if_match is None:
            raise PreconditionRequiredError("if_match").in_operation(index)
