"""Lists of items over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.dependencies import CatalogueDep
from service.filters import ListQuery, position_shape
from service.routers.cached import read_answer, represent_first_page, represent_page
from service.schemas import ItemRead
from service.web.conditional import forbids_cache
from service.web.cursors import read_cursor
from service.web.problems import describe_problems

router = APIRouter(prefix="/items", tags=["items"], responses=describe_problems(400, 422, 503))

PAGE_HEADERS: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Link": {
                "description": 'the next page, with `rel="next"` (RFC 8288); absent on the last',
                "schema": {"type": "string"},
            },
            "X-Total-Count": {
                "description": "with `include_total=true`: how many items match",
                "schema": {"type": "integer", "minimum": 0},
            },
        }
    }
}


@router.head("/", include_in_schema=False)
@router.get("/", response_model=list[ItemRead], responses=PAGE_HEADERS)
def list_items(request: Request, catalogue: CatalogueDep, query: Annotated[ListQuery, Query()]) -> Response:
    """List items, oldest first unless sorted otherwise, in pages: follow `Link` until there is none."""
    if not request.scope["query_string"]:
        cached = catalogue.list_first_page(may_use_cache=not forbids_cache(request.headers))
        return read_answer(request, represent_first_page(cached.value), cached)
    after = None if query.cursor is None else read_cursor(query.cursor, position_shape(query.sort), query.scope)
    page = catalogue.list_page(query, after)
    return read_answer(request, represent_page(page, query, tuple(request.query_params.multi_items())))
