"""Many changes in one request, all of them or none."""

import re

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field

from service.catalogue import Catalogue
from service.dependencies import OnceDep
from service.errors import PreconditionRequiredError, ServiceError
from service.operations import Batch, BatchResult, CreateOperation
from service.web.idempotency import KEY_HEADER
from service.web.media_types import JSON
from service.web.openapi import describe_headers
from service.web.problems import Problem, Responses, describe_problems, to_invalid_request
from service.web.refusals import InvalidRequestError
from service.web.strict_route import Handler, StrictRoute

IN_OPERATION = re.compile(r"/operations/([0-9]+)(?:/|\Z)")


class BatchProblem(Problem):
    """A problem that may be of one operation."""

    index: int | None = Field(default=None, ge=0, description="the first operation that has the problem, from 0")
    pointer: str | None = Field(default=None, description="a JSON pointer to that operation")


class BatchRoute(StrictRoute):
    """Names the first operation of which the body says what it must not."""

    def get_route_handler(self) -> Handler:
        """The strict handler, whose refusals get an `index`."""
        handle = super().get_route_handler()

        async def handle_batch(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                raise _name_operation(to_invalid_request(error)) from None
            except InvalidRequestError as error:
                raise _name_operation(error) from None

        return handle_batch


def _name_operation(error: InvalidRequestError) -> ServiceError:
    places = (IN_OPERATION.match(fault["pointer"]) for fault in error.extensions["errors"])
    indexes = [int(place[1]) for place in places if place]
    return error.in_operation(min(indexes)) if indexes else error


router = APIRouter(prefix="/items", tags=["items"], route_class=BatchRoute, responses=describe_problems(503))
APPLIED: Responses = {
    200: {"description": "What each operation did.", "headers": describe_headers("Idempotency-Replayed")},
    **describe_problems(404, 412, 422, 428, model=BatchProblem),
    **describe_problems(409),
}


@router.post(
    "/batch",
    response_model=BatchResult,
    responses=APPLIED,
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
