"""Items over HTTP."""

from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.cache import Cached
from service.catalogue import Catalogue
from service.config import DEFAULT_LIMIT, MAX_ID, MAX_LIMIT
from service.dependencies import TURN, CatalogueDep, OnceDep
from service.entries import LIST_KEY, decode_item, decode_list, item_key
from service.schemas import Digits, ItemRead, ItemWrite, Message
from service.web.cached_reads import CachedRoute, Representation
from service.web.conditional import content_tag, forbids_cache, is_unchanged, version_tag
from service.web.exact_json import ExactRoute
from service.web.idempotency import KEY_HEADER
from service.web.problems import describe_problems

router = APIRouter(prefix="/items", tags=["items"], route_class=ExactRoute, responses=describe_problems(422, 503))
NOT_FOUND = describe_problems(404)

LIST_PATH = "/items/"
MAX_DIGITS = len(str(MAX_ID)) - 1
# So many items a process answers without looking into their entries anew: some 20 MB if all are as long as they may be.
HOT_ITEMS = 256

ItemId = Annotated[Digits, Path(ge=1, le=MAX_ID)]
Limit = Annotated[Digits, Query(ge=1, le=MAX_LIMIT, description="the longest list to answer with")]

CACHE_STATUS = {
    "hit": "service; hit",
    "stored": "service; fwd=miss; stored",
    "miss": "service; fwd=miss",
    "bypass": "service; fwd=bypass",
    "refused": "service; fwd=request",
}


@router.post("/", response_model=ItemRead, responses=describe_problems(400, 409), openapi_extra=KEY_HEADER)
def create_item(values: ItemWrite, request: Request, once: OnceDep) -> Response:
    """Create an item."""

    def create(catalogue: Catalogue) -> Response:
        item = catalogue.create_item(values)
        answer = _item_answer(item)
        answer.headers["Location"] = request.app.url_path_for("get_item", item_id=item.id)
        return answer

    return once(create)


@router.head("/", include_in_schema=False)
@router.get("/", response_model=list[ItemRead])
def list_items(request: Request, catalogue: CatalogueDep, limit: Limit = DEFAULT_LIMIT) -> Response:
    """List the oldest items, oldest first."""
    page = catalogue.list_items(limit=limit, may_use_cache=not forbids_cache(request.headers))
    return _read_answer(request, _represent_page(page.value), page)


@router.head("/{item_id}", include_in_schema=False)
@router.get("/{item_id}", response_model=ItemRead, responses=NOT_FOUND)
def get_item(request: Request, item_id: ItemId, catalogue: CatalogueDep) -> Response:
    """Get one item."""
    found = catalogue.get_item(item_id, may_use_cache=not forbids_cache(request.headers))
    return _read_answer(request, _represent_item(found.value), found)


@router.put("/{item_id}", response_model=ItemRead, responses=NOT_FOUND, dependencies=[TURN])
def replace_item(item_id: ItemId, values: ItemWrite, catalogue: CatalogueDep) -> Response:
    """Replace all of an item; an absent description removes the old one."""
    return _item_answer(catalogue.replace_item(item_id, values))


@router.delete("/{item_id}", responses=NOT_FOUND, dependencies=[TURN])
def delete_item(item_id: ItemId, catalogue: CatalogueDep) -> Message:
    """Delete an item."""
    catalogue.delete_item(item_id)
    return Message(message="Item deleted successfully")


def find_cached_route(path: str) -> CachedRoute | None:
    """Where the answer to a GET of `path`, without a query, is cached."""
    if path == LIST_PATH:
        return CachedRoute(LIST_KEY, _represent_cached_page)
    digits = path.removeprefix(LIST_PATH)
    # Only the form that `item_key` makes: other digits of the same number are the application's to answer.
    if digits != path and digits.isascii() and digits.isdigit() and digits[0] != "0" and len(digits) <= MAX_DIGITS:
        return CachedRoute(item_key(int(digits)), _represent_cached_item)
    return None


def _represent_cached_page(payload: bytes) -> Representation:
    return _represent_page(decode_list(payload))


# To validate an entry costs more than to answer with it, and the bytes of hot entries come again and again.
@lru_cache(maxsize=HOT_ITEMS)
def _represent_cached_item(payload: bytes) -> Representation:
    return _represent_item(decode_item(payload))


@lru_cache(maxsize=2)
def _represent_page(body: bytes) -> Representation:
    return Representation(body, content_tag(body))


def _represent_item(item: ItemRead) -> Representation:
    return Representation(item.model_dump_json().encode(), version_tag(item.version, item.updated_at))


def _read_answer(request: Request, found: Representation, cached: Cached[object]) -> Response:
    headers = {"ETag": found.tag}
    if status := CACHE_STATUS.get(cached.source):
        headers["Cache-Status"] = f"{status}; detail={cached.detail}" if cached.detail else status
    if is_unchanged(found.tag, request.headers):
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type="application/json", headers=headers)


def _item_answer(item: ItemRead) -> Response:
    found = _represent_item(item)
    return Response(found.body, media_type="application/json", headers={"ETag": found.tag})
