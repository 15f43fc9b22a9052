"""Items over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Request, Response
from pydantic import Field

from service.catalogue import Catalogue
from service.config import MAX_ID
from service.dependencies import TURN, CatalogueDep, OnceDep, PreconditionDep
from service.errors import ItemNotFoundError
from service.routers.cached import CACHE_STATUS, CONDITIONAL, READ, read_answer, represent_item
from service.schemas import IN_DIGITS, ItemPatch, ItemRead, ItemWrite, Message
from service.web.conditional import forbids_cache
from service.web.digits import DIGITS
from service.web.idempotency import KEY_HEADER
from service.web.media_types import JSON, MERGE_PATCH, accepts
from service.web.openapi import describe_headers
from service.web.problems import Responses, describe_problems
from service.web.strict_route import StrictRoute

router = APIRouter(prefix="/items", tags=["items"], route_class=StrictRoute, responses=describe_problems(422, 503))
NOT_FOUND = describe_problems(404)
NOT_CHANGED = describe_problems(404, 412, 428)
WRITTEN: Responses = {200: {"description": "The item as it is now.", "headers": describe_headers("ETag")}}
# What can be done with an item that was created, for programs that read the document.
THIS_ITEM = {"item_id": "$response.body#/id"}
THIS_VERSION = {**THIS_ITEM, "If-Match": "$response.header.ETag"}
LINKS = {
    "get_item": {"operationId": "get_item", "parameters": THIS_ITEM},
    **{
        operation: {"operationId": operation, "parameters": THIS_VERSION}
        for operation in ("replace_item", "update_item", "delete_item")
    },
}
CREATED: Responses = {
    200: {
        "description": "The new item.",
        "headers": describe_headers("ETag", "Location", "Idempotency-Replayed"),
        "links": LINKS,
    }
}

# Digits only: other addresses below /items/ have routes, methods and an `Allow` of their own.
ITEM_PATH = f"/{{item_id:{DIGITS}}}"
ItemId = Annotated[int, Field(ge=1, le=MAX_ID), IN_DIGITS, Path(description="as the item's `id` has it")]
MergePatch = Annotated[ItemPatch, Body(media_type=MERGE_PATCH)]
ALSO_JSON = {"requestBody": {"content": {JSON: {"schema": {"$ref": "#/components/schemas/ItemPatch"}}}}}


@router.post("/", response_model=ItemRead, responses=CREATED | describe_problems(409), openapi_extra=KEY_HEADER)
def create_item(values: ItemWrite, request: Request, once: OnceDep) -> Response:
    """Create an item."""

    def create(catalogue: Catalogue) -> Response:
        item = catalogue.create_item(values)
        answer = _item_answer(item)
        answer.headers["Location"] = request.app.url_path_for("get_item", item_id=item.id)
        return answer

    return once(create)


@router.head(ITEM_PATH, include_in_schema=False)
@router.get(ITEM_PATH, response_model=ItemRead, responses=READ | NOT_FOUND, openapi_extra=CONDITIONAL)
def get_item(request: Request, item_id: ItemId, catalogue: CatalogueDep) -> Response:
    """Get one item."""
    may_use_cache = not forbids_cache(request.headers)
    try:
        found = catalogue.get_item(item_id, may_use_cache=may_use_cache)
    except ItemNotFoundError as error:
        # That there is none is never stored.
        error.headers = {"Cache-Status": CACHE_STATUS["miss" if may_use_cache else "refused"]}
        raise
    return read_answer(request, represent_item(found.value), found)


@router.put(ITEM_PATH, response_model=ItemRead, responses=WRITTEN | NOT_CHANGED, dependencies=[TURN])
def replace_item(item_id: ItemId, values: ItemWrite, catalogue: CatalogueDep, condition: PreconditionDep) -> Response:
    """Replace all of an item; an absent description removes the old one."""
    return _item_answer(catalogue.replace_item(item_id, values, condition))


@router.patch(
    ITEM_PATH,
    response_model=ItemRead,
    responses=WRITTEN | NOT_CHANGED,
    openapi_extra=ALSO_JSON,
    dependencies=[TURN],
)
@accepts(MERGE_PATCH, JSON)
def update_item(item_id: ItemId, patch: MergePatch, catalogue: CatalogueDep, condition: PreconditionDep) -> Response:
    """Change some fields of an item by a JSON merge patch (RFC 7396); the others stay as they are."""
    return _item_answer(catalogue.update_item(item_id, patch, condition))


@router.delete(ITEM_PATH, responses=NOT_CHANGED, dependencies=[TURN])
def delete_item(item_id: ItemId, catalogue: CatalogueDep, condition: PreconditionDep) -> Message:
    """Delete an item."""
    catalogue.delete_item(item_id, condition)
    return Message(message="Item deleted successfully")


def _item_answer(item: ItemRead) -> Response:
    found = represent_item(item)
    return Response(found.body, media_type="application/json", headers={"ETag": found.tag})
