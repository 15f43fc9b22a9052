"""Lists of items over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from service.dependencies import CatalogueDep
from service.feed import FEED_POSITION, NOW, Change, ChangePage, ChangesQuery
from service.filters import ListQuery, position_shape
from service.routers.cached import CONDITIONAL, read_answer, represent_first_page, represent_page
from service.schemas import ItemRead
from service.web.conditional import forbids_cache
from service.web.cursors import make_cursor, next_link, read_cursor
from service.web.openapi import describe_headers
from service.web.problems import Responses, describe_problems
from service.web.strict_route import StrictRoute

router = APIRouter(prefix="/items", tags=["items"], route_class=StrictRoute, responses=describe_problems(400, 422, 503))

PAGE_HEADERS = ("ETag", "Cache-Status", "Link", "X-Total-Count")
PAGE: Responses = {
    200: {"description": "A page of items.", "headers": describe_headers(*PAGE_HEADERS)},
    304: {
        "description": "The client has it already, as `If-None-Match` says.",
        "headers": describe_headers(*PAGE_HEADERS),
    },
}
CHANGED: Responses = {
    200: {
        "description": "A page of changes.",
        "headers": describe_headers("Link", "X-Next-Cursor", "Cache-Control"),
        "links": {
            "list_changes": {
                "operationId": "list_changes",
                "parameters": {"since": "$response.header.X-Next-Cursor"},
            }
        },
    },
    **describe_problems(410),
}


@router.head("/", include_in_schema=False)
@router.get("/", response_model=list[ItemRead], responses=PAGE, openapi_extra=CONDITIONAL)
def list_items(request: Request, catalogue: CatalogueDep, query: Annotated[ListQuery, Query()]) -> Response:
    """List items, oldest first unless sorted otherwise, in pages: follow `Link` until there is none."""
    if not request.scope["query_string"]:
        cached = catalogue.list_first_page(may_use_cache=not forbids_cache(request.headers))
        return read_answer(request, represent_first_page(cached.value), cached)
    after = None if query.cursor is None else read_cursor(query.cursor, position_shape(query.sort), query.scope)
    page = catalogue.list_page(query, after)
    return read_answer(request, represent_page(page, query, tuple(request.query_params.multi_items())))


CHANGES_PATH = "/items/changes"
CHANGES = TypeAdapter(list[Change])


@router.head("/changes", include_in_schema=False)
@router.get("/changes", response_model=list[Change], responses=CHANGED)
def list_changes(request: Request, catalogue: CatalogueDep, query: Annotated[ChangesQuery, Query()]) -> Response:
    """List what was changed and deleted since a cursor: for each item in the order of the commits, none left out.

    Keep `X-Next-Cursor` and send it as `since` next time. To begin: take the cursor of `since=now`, then read the whole
    list, then go on from that cursor.
    """
    if query.since == NOW:
        page = ChangePage([], catalogue.find_feed_end(), more=False)
    else:
        here = None if query.since is None else read_cursor(query.since, FEED_POSITION, CHANGES_PATH)
        page = catalogue.list_changes(here, limit=query.limit)
    cursor = make_cursor(page.end, FEED_POSITION, CHANGES_PATH)
    headers = {"X-Next-Cursor": cursor, "Cache-Control": "no-store"}
    if page.more:
        headers["Link"] = next_link(CHANGES_PATH, request.query_params.multi_items(), since=cursor)
    return Response(CHANGES.dump_json(page.changes), media_type="application/json", headers=headers)
