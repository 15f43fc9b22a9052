"""The table of problem types, the pages that `type` leads to, and the chapter that is made from the same table."""

from http import HTTPStatus

import pytest
from starlette.testclient import TestClient

from service.errors import ServiceError, list_problem_types
from service.web.problems import summarize
from tests.documents import DOCUMENTS, ROOT

KINDS = {kind.slug: kind for kind in list_problem_types()}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_type_of_each_problem_is_the_address_of_a_page(
    client: TestClient, kind: type[ServiceError], method: str
) -> None:
    response = client.request(method, f"/problems/{kind.slug}")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    for text in (kind.title, f"{kind.status} {HTTPStatus(kind.status).phrase}", "What happened", "What to do"):
        assert (text in response.text) is (method == "GET")


def test_each_type_says_what_happened_and_what_to_do() -> None:
    assert [kind.slug for kind in KINDS.values() if not (kind.title and summarize(kind) and kind.remedy)] == []
    assert len(KINDS) == len(list_problem_types())
    assert [kind.slug for kind in KINDS.values() if kind.status < 400] == []


def test_one_page_lists_all_of_them(client: TestClient) -> None:
    page = client.get("/problems/").text

    assert [slug for slug in KINDS if f'"{slug}"' not in page] == []


def test_a_page_of_no_problem_is_a_problem(client: TestClient) -> None:
    response = client.get("/problems/none-of-ours")

    assert response.status_code == 404
    assert response.json() == {
        "type": "/problems/address-not-found",
        "title": "Address not found",
        "status": 404,
        "detail": "There is no such kind of problem; `/problems/` lists all.",
        "instance": "/problems/none-of-ours",
    }


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_is_written_from_the_code_is_up_to_date(path: str) -> None:
    written = (ROOT / path).read_text(encoding="utf-8")

    assert written == DOCUMENTS[path](), "Run `tox run -e docs`; a breaking change belongs into CHANGELOG.md."
