"""Writes that depend on the item's tag: PostgreSQL decides, in the statement that writes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.client import HTTPConnection
from threading import Barrier
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from httpx2 import Response
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import literal_column, select, text
from sqlmodel import Session
from starlette.testclient import TestClient

from service.crud.items import TAG
from service.testing.live import LiveServer
from service.web.conditional import version_tag
from tests.api.conftest import AssertQueries, both_paths
from tests.factories import ItemFactory

WIDGET = {"name": "Widget", "price": 2}
STALE = '"1-0"'
Write = Callable[..., Response]


@pytest.fixture
def address(client: TestClient) -> str:
    """An item, called "Old"."""
    return client.post("/items/", json={"name": "Old", "price": 1}).headers["Location"]


@pytest.fixture(params=["PUT", "PATCH", "DELETE"])
def write(request: pytest.FixtureRequest, client: TestClient) -> Write:
    """Writes to an address by each method, under the given headers."""

    def send(address: str, headers: dict[str, str] | list[tuple[str, str]]) -> Response:
        return client.request(
            request.param, address, json=None if request.param == "DELETE" else WIDGET, headers=headers
        )

    return send


def tag_of(client: TestClient, address: str) -> str:
    return client.get(address).headers["ETag"]


def assert_refused(client: TestClient, answer: Response, address: str, tag: str) -> None:
    item_id = address.removeprefix("/items/")
    assert answer.status_code == 412
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["ETag"] == tag
    assert answer.json() == {
        "type": "/problems/precondition-failed",
        "title": "Precondition failed",
        "status": 412,
        "detail": f"Item {item_id} is not as the request requires it to be. Read it anew, then decide.",
        "instance": address,
    }
    assert client.get(address).json()["name"] == "Old"
    assert tag_of(client, address) == tag


@pytest.mark.parametrize("pattern", ["{tag}", "*", '"x", {tag}', '{tag} ,W/"x"', '"a,b",,{tag}'])
def test_a_write_happens_when_if_match_names_the_tag(
    client: TestClient, address: str, write: Write, pattern: str
) -> None:
    answer = write(address, {"If-Match": pattern.format(tag=tag_of(client, address))})

    assert answer.status_code == 200
    left = client.get(address)
    assert left.status_code == 404 or (left.json()["name"], left.json()["version"]) == ("Widget", 2)


@pytest.mark.parametrize("pattern", [STALE, "W/{tag}", '"x", W/{tag}', '""', '"*"', "", '"{tag_without_quotes}x"'])
def test_a_write_is_refused_when_if_match_does_not_name_the_tag(
    client: TestClient, address: str, write: Write, pattern: str
) -> None:
    tag = tag_of(client, address)

    answer = write(address, {"If-Match": pattern.format(tag=tag, tag_without_quotes=tag.strip('"'))})

    assert_refused(client, answer, address, tag)


def test_the_tag_before_a_change_is_stale(client: TestClient, address: str, write: Write) -> None:
    before = tag_of(client, address)
    changed = client.patch(address, json={"price": 3})

    answer = write(address, {"If-Match": before})

    assert_refused(client, answer, address, changed.headers["ETag"])


def test_a_list_in_several_lines_is_one_list(client: TestClient, address: str, write: Write) -> None:
    tag = tag_of(client, address)

    assert write(address, [("If-Match", STALE), ("If-Match", tag)]).status_code == 200


@pytest.mark.parametrize("pattern", ["*", "{tag}", "W/{tag}", '"x", {tag}'])
def test_a_write_is_refused_when_if_none_match_names_the_tag(
    client: TestClient, address: str, write: Write, pattern: str
) -> None:
    tag = tag_of(client, address)

    answer = write(address, {"If-None-Match": pattern.format(tag=tag)})

    assert_refused(client, answer, address, tag)


def test_a_write_happens_when_if_none_match_does_not_name_the_tag(address: str, write: Write) -> None:
    assert write(address, {"If-None-Match": STALE}).status_code == 200


def test_both_conditions_have_to_be_met(client: TestClient, address: str, write: Write) -> None:
    tag = tag_of(client, address)

    assert_refused(client, write(address, {"If-Match": tag, "If-None-Match": tag}), address, tag)
    assert_refused(client, write(address, {"If-Match": STALE, "If-None-Match": STALE}), address, tag)


@pytest.mark.parametrize("headers", [{}, {"If-Match": STALE}, {"If-Match": "*"}, {"If-None-Match": "*"}], ids=str)
def test_a_missing_item_is_404_under_any_condition(
    client: TestClient, address: str, write: Write, headers: dict[str, str]
) -> None:
    client.delete(address)

    assert write(address, headers).status_code == 404


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("field", ["1-a", '"1-a', "'1-a'", '*, "1-a"', '"a" "b"'])
def test_a_condition_that_cannot_be_read_is_400(
    client: TestClient, address: str, write: Write, header: str, field: str
) -> None:
    answer = write(address, {header: field})

    assert answer.status_code == 400
    assert answer.json() == {
        "type": "/problems/malformed-precondition",
        "title": "Malformed precondition",
        "status": 400,
        "detail": f'{header} must be * or a list of entity tags as ETag has them, in quotes: "1-63d2a9b2c0f40".',
        "instance": address,
    }
    assert client.get(address).json()["name"] == "Old"


@pytest.mark.parametrize("header", ["If-Unmodified-Since", "If-Modified-Since"])
def test_dates_are_ignored_as_no_answer_tells_one(client: TestClient, address: str, write: Write, header: str) -> None:
    assert "Last-Modified" not in client.get(address).headers

    assert write(address, {header: "Sat, 29 Oct 1994 19:43:31 GMT"}).status_code == 200


def test_an_invalid_body_is_told_before_a_stale_tag(client: TestClient, address: str) -> None:
    assert client.put(address, json={"name": ""}, headers={"If-Match": STALE}).status_code == 422


def test_the_tag_of_an_answer_is_the_condition_of_the_next_write(client: TestClient, address: str) -> None:
    tag = tag_of(client, address)
    for price in range(5):
        answer = client.put(address, json={"name": "Widget", "price": price}, headers={"If-Match": tag})

        assert answer.status_code == 200
        tag = answer.headers["ETag"]


def test_a_condition_costs_no_query(
    client: TestClient, address: str, write: Write, assert_queries: AssertQueries
) -> None:
    tag = tag_of(client, address)

    with assert_queries(1):
        assert write(address, {"If-Match": tag}).status_code == 200


@both_paths
@pytest.mark.db(isolation="clone")
def test_a_tag_is_compared_with_the_row_and_not_with_the_cache(
    client: TestClient, session: Session, address: str, write: Write
) -> None:
    cached = tag_of(client, address)
    session.execute(text("SET app.fenced = '1'"))  # so that nobody tells the cache
    session.execute(text("UPDATE item SET price = 7"))
    session.commit()
    assert tag_of(client, address) == cached

    answer = write(address, {"If-Match": cached})

    assert answer.status_code == 412
    assert answer.headers["ETag"] != cached


@pytest.mark.db(isolation="clone")
@pytest.mark.usefixtures("session")
def test_of_50_clients_with_one_tag_one_wins(live_server: LiveServer) -> None:
    item = ItemFactory.create()
    address, tag = f"/items/{item.id}", version_tag(1, item.updated_at)
    place = urlsplit(live_server.url).netloc
    start = Barrier(50)

    def replace(number: int) -> int:
        connection = HTTPConnection(place, timeout=30)
        connection.connect()
        start.wait()
        headers = {"If-Match": tag, "Content-Type": "application/json"}
        connection.request("PUT", address, f'{{"name": "{number}", "price": 1}}', headers)
        status = connection.getresponse().status
        connection.close()
        return status

    with ThreadPoolExecutor(50) as threads:
        statuses = list(threads.map(replace, range(50)))

    assert sorted(statuses) == [200] + [412] * 49
    connection = HTTPConnection(place, timeout=30)
    connection.request("GET", address)
    body = connection.getresponse().read()
    connection.close()
    assert f'"name":"{statuses.index(200)}"'.encode() in body
    assert b'"version":2' in body


def test_a_service_may_require_if_match(client: TestClient, app: FastAPI, address: str, write: Write) -> None:
    app.state.require_if_match = True

    for headers in ({}, {"If-None-Match": STALE}, {"If-Unmodified-Since": "Sat, 29 Oct 2044 19:43:31 GMT"}):
        answer = write(address, headers)
        assert answer.status_code == 428
        assert answer.json() == {
            "type": "/problems/precondition-required",
            "title": "Precondition required",
            "status": 428,
            "detail": "Send the item's ETag as If-Match, or * to change it whatever it is now.",
            "instance": address,
        }
    assert client.get(address).json()["name"] == "Old"
    assert client.post("/items/", json=WIDGET).status_code == 200
    assert write(address, {"If-Match": tag_of(client, address)}).status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    version=st.integers(1, 2**63 - 1),
    changed_at=st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
)
@example(version=1, changed_at=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@example(version=1, changed_at=datetime(2262, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
def test_postgresql_writes_tags_as_we_do(session: Session, version: int, changed_at: datetime) -> None:
    row = text("SELECT CAST(:version AS bigint) AS version, CAST(:changed_at AS timestamptz) AS updated_at")
    item = row.bindparams(version=version, changed_at=changed_at).columns().subquery("item")

    written = session.execute(select(literal_column(str(TAG))).select_from(item)).scalar_one()

    assert written == version_tag(version, changed_at)
