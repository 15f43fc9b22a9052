"""StrictRoute beside routes that this service does not have, or not yet."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Query, Request
from pydantic import BaseModel
from starlette.testclient import TestClient

from service.web.media_types import JSON, MERGE_PATCH, accepts
from service.web.problems import add_problem_handlers
from service.web.strict_route import StrictRoute

router = APIRouter(route_class=StrictRoute)


class Filter(BaseModel):
    """Parameters that stand in a model."""

    name: str = ""
    tag: list[str] = []


def find_page(page: int = 1) -> int:
    """Take a parameter for the endpoint that depends on this."""
    return page


@router.get("/things")
def list_things(wanted: Annotated[Filter, Query()], page: Annotated[int, Depends(find_page)]) -> dict[str, object]:
    """Answer with what was asked for."""
    return {"name": wanted.name, "tag": wanted.tag, "page": page}


@router.patch("/things")
@accepts(MERGE_PATCH, JSON)
def change_thing(changes: Annotated[dict[str, object], Body()]) -> dict[str, object]:
    """Answer with what was sent."""
    return changes


@router.post("/things")
@accepts("application/x-ndjson", "text/csv")
async def import_things(request: Request) -> int:
    """Count bytes as they come."""
    return sum([len(chunk) async for chunk in request.stream()])


@pytest.fixture(scope="module")
def things() -> TestClient:
    """A client of an application with these routes alone."""
    app = FastAPI()
    add_problem_handlers(app)
    app.include_router(router)
    return TestClient(app)


def test_parameters_of_models_and_dependencies_are_known(things: TestClient) -> None:
    response = things.get("/things?name=x&tag=a&tag=b&page=2")

    assert response.json() == {"name": "x", "tag": ["a", "b"], "page": 2}


@pytest.mark.parametrize(
    ("query", "pointer"), [("names=x", "names"), ("name=x&name=y", "name"), ("page=1&page=1", "page")]
)
def test_a_parameter_that_is_unknown_or_given_twice_is_named(things: TestClient, query: str, pointer: str) -> None:
    response = things.get(f"/things?{query}")

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize("media_type", [MERGE_PATCH, JSON, f"{MERGE_PATCH}; charset=utf-8"])
def test_a_route_reads_what_it_says_that_it_accepts(things: TestClient, media_type: str) -> None:
    response = things.patch("/things", content=b'{"name": null}', headers={"Content-Type": media_type})

    assert response.json() == {"name": None}


def test_a_route_that_reads_a_stream_checks_its_kind_and_nothing_else(things: TestClient) -> None:
    response = things.post(
        "/things", content=iter([b"{", b"\xff\0"]), headers={"Content-Type": "text/csv; header=present"}
    )

    assert response.json() == 3


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("PATCH", {"Accept": f"{MERGE_PATCH}, {JSON}", "Accept-Patch": f"{MERGE_PATCH}, {JSON}"}),
        ("POST", {"Accept": "application/x-ndjson, text/csv", "Accept-Post": "application/x-ndjson, text/csv"}),
    ],
)
def test_another_kind_is_refused_with_all_that_would_be_read(
    things: TestClient, method: str, expected: dict[str, str]
) -> None:
    response = things.request(method, "/things", content=b"{}", headers={"Content-Type": "text/plain"})

    assert response.status_code == 415
    assert {name: response.headers[name] for name in expected} == expected
