"""Items over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.cache import Cached
from service.config import DEFAULT_LIMIT, MAX_ID, MAX_LIMIT
from service.dependencies import CatalogueDep
from service.schemas import Digits, ItemRead, ItemWrite, Message
from service.web.conditional import content_tag, version_tag

router = APIRouter(prefix="/items", tags=["items"])

ItemId = Annotated[Digits, Path(ge=1, le=MAX_ID)]
Limit = Annotated[Digits, Query(ge=1, le=MAX_LIMIT, description="the longest list to answer with")]

CACHE_STATUS = {
    "hit": "service; hit",
    "miss": "service; fwd=miss; stored",
    "bypass": "service; fwd=bypass; detail=redis-down",
}


@router.post("/", response_model=ItemRead)
def create_item(values: ItemWrite, request: Request, catalogue: CatalogueDep) -> Response:
    """Create an item."""
    item = catalogue.create_item(values)
    answer = _item_answer(item)
    answer.headers["Location"] = request.app.url_path_for("get_item", item_id=item.id)
    return answer


@router.get("/", response_model=list[ItemRead])
def list_items(catalogue: CatalogueDep, limit: Limit = DEFAULT_LIMIT) -> Response:
    """List the oldest items, oldest first."""
    page = catalogue.list_items(limit=limit)
    headers = {"ETag": content_tag(page.value), **_cache_status(page)}
    return Response(page.value, media_type="application/json", headers=headers)


@router.get("/{item_id}", response_model=ItemRead)
def get_item(item_id: ItemId, catalogue: CatalogueDep) -> Response:
    """Get one item."""
    found = catalogue.get_item(item_id)
    return _item_answer(found.value, _cache_status(found))


@router.put("/{item_id}", response_model=ItemRead)
def replace_item(item_id: ItemId, values: ItemWrite, catalogue: CatalogueDep) -> Response:
    """Replace all of an item; an absent description removes the old one."""
    return _item_answer(catalogue.replace_item(item_id, values))


@router.delete("/{item_id}")
def delete_item(item_id: ItemId, catalogue: CatalogueDep) -> Message:
    """Delete an item."""
    catalogue.delete_item(item_id)
    return Message(message="Item deleted successfully")


def _item_answer(item: ItemRead, headers: dict[str, str] | None = None) -> Response:
    tag = version_tag(item.version, item.updated_at)
    return Response(item.model_dump_json(), media_type="application/json", headers={"ETag": tag, **(headers or {})})


def _cache_status(cached: Cached[object]) -> dict[str, str]:
    status = CACHE_STATUS.get(cached.source)
    return {"Cache-Status": status} if status else {}
