"""The list: its filters, sorts, pages and totals."""

import pytest
from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.models import Item
from tests.api.conftest import both_paths
from tests.api.lists import SORTS, ids, next_address, walk
from tests.factories import ItemFactory


def faults(response: Response) -> list[str]:
    assert (response.status_code, response.headers["Content-Type"]) == (422, "application/problem+json")
    return [error["pointer"] for error in response.json()["errors"]]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 5, 6, 12, 13])
def test_pages_follow_each_other_in_every_order(client: TestClient, shelf: list[Item], sort: str, limit: int) -> None:
    pages = walk(client, f"/items/?sort={sort}&limit={limit}")

    column = sort.removeprefix("-")
    ordered = sorted(shelf, key=lambda item: (getattr(item, column), item.id), reverse=sort.startswith("-"))
    assert [item["id"] for page in pages for item in page] == [item.id for item in ordered]
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= limit


@both_paths
@pytest.mark.db(isolation="clone")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_first_page_without_parameters_leads_to_the_second(
    client: TestClient, session: Session, method: str
) -> None:
    session.add_all(ItemFactory.build_batch(101))
    session.commit()
    known = list(session.exec(select(Item.id).order_by(col(Item.id))))

    stored = client.request(method, "/items/")
    # Not always the next one: a write from outside may void, once, what was stored right after it.
    answers = (client.request(method, "/items/") for _ in range(1000))
    hit = next(answer for answer in answers if answer.headers["Cache-Status"] == "service; hit")

    assert stored.headers["Link"] == hit.headers["Link"]
    assert stored.headers["ETag"] == hit.headers["ETag"]
    second = client.get(next_address(hit) or "")
    assert ids(second) == known[100:]
    assert "Link" not in second.headers


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_list_that_ends_has_no_next_page(client: TestClient, count: int) -> None:
    ItemFactory.create_batch(count)

    assert ["Link" in client.get("/items/").headers for _ in range(2)] == [False, False]


@pytest.mark.db(isolation="clone")
def test_a_page_that_was_the_last_is_changed_by_the_first_item_after_it(client: TestClient, session: Session) -> None:
    session.add_all(ItemFactory.build_batch(100))
    session.commit()
    for address in ("/items/", "/items/?limit=100"):
        before = client.get(address)
        client.post("/items/", json={"name": "one more", "price": 1})

        after = client.get(address, headers={"If-None-Match": before.headers["ETag"]})

        assert (after.status_code, after.content) == (200, before.content)
        assert next_address(after)
        client.delete(f"/items/{client.get('/items/?sort=-id&limit=1').json()[0]['id']}")


@pytest.mark.usefixtures("shelf")
def test_a_next_page_keeps_all_parameters(client: TestClient) -> None:
    parameters = {
        "limit": "1",
        "sort": "-price",
        "q": '"name 1" or name',
        "min_price": "0",
        "max_price": "1.00",
        "updated_since": "2026-01-01T01:00:00+01:00",
        "include_total": "true",
    }

    response = client.get("/items/", params=parameters)

    address = next_address(response) or ""
    assert address.startswith("/items/?limit=1&sort=-price&q=%22name+1%22+or+name&min_price=0&max_price=1.00&")
    assert "&updated_since=2026-01-01T01%3A00%3A00%2B01%3A00&include_total=true&cursor=" in address
    assert client.get(address).headers["X-Total-Count"] == "12"


@pytest.mark.parametrize("address", ["/items/?limit=5", "/items/?limit=100", "/items/?sort=-name&include_total=true"])
@pytest.mark.usefixtures("shelf")
def test_every_page_has_a_strong_tag(client: TestClient, address: str) -> None:
    found, head = client.get(address), client.head(address)

    unchanged = client.get(address, headers={"If-None-Match": f"W/{found.headers['ETag']}"})

    assert found.headers["ETag"].startswith('"')
    assert (head.content, head.headers["ETag"], head.headers.get("Link")) == (
        b"",
        found.headers["ETag"],
        found.headers.get("Link"),
    )
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert [unchanged.headers.get(name) for name in ("ETag", "Link", "X-Total-Count")] == [
        found.headers.get(name) for name in ("ETag", "Link", "X-Total-Count")
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=name 1", [2, 5, 8, 11]),
        ("name=NAME 1", []),
        ("name=name", []),
        ("min_price=0.1", [5, 6, 7, 8, 9, 10, 11, 12]),
        ("max_price=0.10", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("min_price=0.1&max_price=0.1", [5, 6, 7, 8]),
        ("min_price=0.1&max_price=0.1&name=name 1", [5, 8]),
        ("min_price=9999999999.99", []),
        ("updated_since=2026-01-02T00:00:00Z", [2, 4, 6, 8, 10, 12]),
        ("updated_since=2026-01-02T01:00:00%2B01:00", [2, 4, 6, 8, 10, 12]),
        ("updated_since=2026-01-02T00:00:00.000001Z", []),
        ("updated_since=0001-01-01T00:00:00Z", list(range(1, 13))),
        ("q=1 name", [2, 5, 8, 11]),
        ("q=name -1", [1, 3, 4, 6, 7, 9, 10, 12]),
    ],
)
def test_a_filter_leaves_what_it_describes(
    client: TestClient, shelf: list[Item], query: str, expected: list[int]
) -> None:
    response = client.get(f"/items/?{query}&include_total=true")

    assert ids(response) == [shelf[number - 1].id for number in expected]
    assert response.headers["X-Total-Count"] == str(len(expected))


@pytest.mark.usefixtures("shelf")
def test_the_total_is_told_when_it_is_asked_for(client: TestClient) -> None:
    totals = [
        client.get(address).headers.get("X-Total-Count")
        for address in (
            "/items/",
            "/items/?limit=1",
            "/items/?include_total=false",
            "/items/?limit=1&include_total=true",
        )
    ]

    assert totals == [None, None, None, "12"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kettle", ["Kettle"]),
        ("STEEL", ["Kettle", "Teapot"]),
        ("steel kettle", ["Kettle"]),
        ("kettle or pan", ["Kettle", "Pan"]),
        ('"brushed steel"', ["Teapot"]),
        ('"steel brushed"', []),
        ("steel -kettle", ["Teapot"]),
        ("ket", []),
        ("größe", ["Größe"]),
        ("視野無限廣", ["Größe"]),
        ("!!!", []),
    ],
)
@pytest.mark.usefixtures("session")
def test_a_search_is_for_words_of_name_and_description(client: TestClient, query: str, found: list[str]) -> None:
    for name, description in {
        "Kettle": "1.7 l, steel",
        "Teapot": "Brushed steel.",
        "Pan": None,
        "Größe": "視野無限廣",
    }.items():
        ItemFactory.create(name=name, description=description)

    assert [item["name"] for item in client.get("/items/", params={"q": query}).json()] == found


@pytest.mark.usefixtures("session")
def test_a_search_follows_a_change(client: TestClient) -> None:
    address = client.post("/items/", json={"name": "Kettle", "price": 1}).headers["Location"]

    client.put(address, json={"name": "Pan", "price": 1})

    assert [len(client.get("/items/", params={"q": word}).json()) for word in ("kettle", "pan")] == [0, 1]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "'",
            '"',
            "\\",
            ":",
            "&",
            "|",
            "!",
            "<->",
            "a:*",
            "(",
            ")",
            "a & | b",
            "-",
            "--",
            "or",
            "or or",
            "a or",
            "-a",
        ),
        *('"', '"a', 'a"', '""', "<1>", "a:b:c", "\x01", "\u202e", "\U0010ffff", "%", "a\\'b", "$1", "😀", "x" * 200),
        *(
            "'" * 200,
            '"' * 199,
            "- " * 20,
            "-" * 20,
            "a-" * 100,
            "1.7e5",
            "http://a.b/c?d=e#f",
            "a@b.c",
            "/a/b",
            "&amp;",
            "<b>",
        ),
    ],
    ids=ascii,
)
def test_no_search_is_a_syntax_error(client: TestClient, query: str) -> None:
    assert client.get("/items/", params={"q": query}).status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=75, derandomize=True)
@given(st.lists(st.sampled_from([*"-\"!:()|&<>'_\\ \x01.1aé視", "or ", "<->"]), min_size=1).map("".join))
def test_no_mixture_of_signs_is_a_syntax_error(client: TestClient, query: str) -> None:
    assert client.get("/items/", params={"q": query}).status_code in {200, 422}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        *((f"limit={limit}", "limit") for limit in ("0", "1001", "-1", "", "1.0", "ten", "%D9%A3", "9" * 30)),
        *((f"sort={sort}", "sort") for sort in ("", "-", "version", "--id", "%2Bid", "ID", "id,name", "description")),
        *((f"q={words}", "q") for words in ("", "+", "%00", "a%00b", "%E3%80%80", "x" * 201, "-" * 21)),
        *((f"name={name}", "name") for name in ("", "%00", "x" * 201)),
        *((f"min_price={price}", "min_price") for price in ("", "-1", "1e3", "NaN", "Infinity", "0.001", "1_0")),
        *((f"max_price={price}", "max_price") for price in ("x", "10000000000", "1.", ".5", "%D9%A3", "9" * 999)),
        ("min_price=2&max_price=1.99", "max_price"),
        *(
            (f"updated_since={time}", "updated_since")
            for time in (
                *("", "yesterday", "2026-11-25", "1764028800", "2026-11-25T08:00:00", "2026-11-25T08:00Z", "20261125"),
                *("2026-11-25T08:00:00+01:00", "2026-13-01T00:00:00Z", "2026-11-25T24:00:01Z", "0000-01-01T00:00:00Z"),
                *("9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00%2B01:00", "2026-11-25T08:00:00%2B25:00", "%00"),
            )
        ),
        *((f"include_total={value}", "include_total") for value in ("", "maybe", "2")),
        ("page=2", "page"),
        ("offset=1", "offset"),
        ("Limit=1", "Limit"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused_by_name(client: TestClient, query: str, pointer: str) -> None:
    response = client.get(f"/items/?{query}")

    assert faults(response) == [pointer]
    assert response.json()["errors"][0]["detail"]
