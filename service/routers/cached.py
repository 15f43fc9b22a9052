"""Reads that the cache may answer: which addresses they have, and what an answer made from an entry looks like."""

from functools import lru_cache

from fastapi import Request, Response

from service.cache import Cached
from service.config import MAX_ID
from service.entries import LIST_KEY, Page, decode_item, decode_list, item_key
from service.filters import ListQuery, position_shape
from service.schemas import ItemRead
from service.web.cached_reads import CachedRoute, Representation
from service.web.conditional import content_tag, is_unchanged, version_tag
from service.web.cursors import make_cursor, next_link
from service.web.openapi import describe_headers
from service.web.problems import Responses

LIST_PATH = "/items/"
MAX_DIGITS = len(str(MAX_ID)) - 1
# So many items a process answers without looking into their entries anew: some 20 MB if all are as long as they may be.
HOT_ITEMS = 256
CACHE_STATUS = {
    "hit": "service; hit",
    "stored": "service; fwd=miss; stored",
    "miss": "service; fwd=miss",
    "bypass": "service; fwd=bypass",
    "refused": "service; fwd=request",
}
DEFAULT_QUERY = ListQuery()
CONDITIONAL = {
    "parameters": [
        {
            "name": "If-None-Match",
            "in": "header",
            "description": "entity tags that the client has already, or `*`",
            "schema": {"type": "string"},
            "example": '"1-64a2f0c1b7e40"',
        }
    ]
}
READ: Responses = {
    200: {"description": "What was asked for.", "headers": describe_headers("ETag", "Cache-Status")},
    304: {
        "description": "The client has it already, as `If-None-Match` says.",
        "headers": describe_headers("ETag", "Cache-Status"),
    },
}


def find_cached_route(path: str) -> CachedRoute | None:
    """Where the answer to a GET of `path`, without a query, is cached."""
    if path == LIST_PATH:
        return CachedRoute(LIST_KEY, _represent_cached_page)
    digits = path.removeprefix(LIST_PATH)
    # Only the form that `item_key` makes: other digits of the same number are the application's to answer.
    if digits != path and digits.isascii() and digits.isdigit() and digits[0] != "0" and len(digits) <= MAX_DIGITS:
        return CachedRoute(item_key(int(digits)), _represent_cached_item)
    return None


def represent_page(page: Page, query: ListQuery, parameters: tuple[tuple[str, str], ...]) -> Representation:
    """A page, with the address of the next, which keeps the request's `parameters`.

    The entity tag covers the headers too: to be told "not modified" must not hide a page that has come after this one.
    """
    headers = []
    if page.end is not None:
        cursor = make_cursor(page.end, position_shape(query.sort), query.scope)
        headers.append(("link", next_link(LIST_PATH, parameters, cursor=cursor)))
    if page.total is not None:
        headers.append(("x-total-count", str(page.total)))
    return Representation(page.body, content_tag(page.body, *(value for _, value in headers)), tuple(headers))


@lru_cache(maxsize=2)
def represent_first_page(page: Page) -> Representation:
    """The page that is asked for without parameters."""
    return represent_page(page, DEFAULT_QUERY, ())


def represent_item(item: ItemRead) -> Representation:
    """One item."""
    return Representation(item.model_dump_json().encode(), version_tag(item.version, item.updated_at))


def read_answer(request: Request, found: Representation, cached: Cached[object] | None = None) -> Response:
    """The answer to a GET or HEAD; Cache-Status says where `cached` came from."""
    headers = {"ETag": found.tag, **dict(found.headers)}
    if cached is not None:
        status = CACHE_STATUS[cached.source]
        headers["Cache-Status"] = f"{status}; detail={cached.detail}" if cached.detail else status
    if is_unchanged(found.tag, request.headers):
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type="application/json", headers=headers)


def _represent_cached_page(payload: bytes) -> Representation:
    return represent_first_page(decode_list(payload))


# To validate an entry costs more than to answer with it, and the bytes of hot entries come again and again.
@lru_cache(maxsize=HOT_ITEMS)
def _represent_cached_item(payload: bytes) -> Representation:
    return represent_item(decode_item(payload))
