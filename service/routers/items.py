"""Items over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.config import MAX_ID
from service.dependencies import CatalogueDep
from service.routers.cached import read_answer, represent_item
from service.schemas import Digits, ItemRead, ItemWrite, Message
from service.web.conditional import forbids_cache
from service.web.exact_json import ExactRoute
from service.web.problems import describe_problems

router = APIRouter(prefix="/items", tags=["items"], route_class=ExactRoute, responses=describe_problems(422, 503))
NOT_FOUND = describe_problems(404)

ItemId = Annotated[Digits, Path(ge=1, le=MAX_ID)]


@router.post("/", response_model=ItemRead)
def create_item(values: ItemWrite, request: Request, catalogue: CatalogueDep) -> Response:
    """Create an item."""
    item = catalogue.create_item(values)
    answer = _item_answer(item)
    answer.headers["Location"] = request.app.url_path_for("get_item", item_id=item.id)
    return answer


@router.head("/{item_id}", include_in_schema=False)
@router.get("/{item_id}", response_model=ItemRead, responses=NOT_FOUND)
def get_item(request: Request, item_id: ItemId, catalogue: CatalogueDep) -> Response:
    """Get one item."""
    found = catalogue.get_item(item_id, may_use_cache=not forbids_cache(request.headers))
    return read_answer(request, represent_item(found.value), found)


@router.put("/{item_id}", response_model=ItemRead, responses=NOT_FOUND)
def replace_item(item_id: ItemId, values: ItemWrite, catalogue: CatalogueDep) -> Response:
    """Replace all of an item; an absent description removes the old one."""
    return _item_answer(catalogue.replace_item(item_id, values))


@router.delete("/{item_id}", responses=NOT_FOUND)
def delete_item(item_id: ItemId, catalogue: CatalogueDep) -> Message:
    """Delete an item."""
    catalogue.delete_item(item_id)
    return Message(message="Item deleted successfully")


def _item_answer(item: ItemRead) -> Response:
    found = represent_item(item)
    return Response(found.body, media_type="application/json", headers={"ETag": found.tag})
