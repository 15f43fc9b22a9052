"""`GET /items/export`: all items in one file."""

import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import Session
from starlette.testclient import TestClient

from tests.factories import ItemFactory

TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def export(client: TestClient, file_format: str) -> bytes:
    answer = client.get("/items/export", params={"format": file_format})
    assert answer.status_code == 200, answer.text
    return answer.content


def test_an_export_is_the_items_as_the_api_tells_them(client: TestClient, session: Session) -> None:
    for values in (
        {"name": 'A "quoted" \\ name', "description": "tab\t, line\n, \x01\x02\x1f\x7f, ü 😀, \\n, \\.", "price": 0},
        {"name": "B", "description": "", "price": 9999999999.99},
        {"name": "C", "price": 10.50},
        {"name": "\\.", "price": 100},
    ):
        assert client.post("/items/", json=values).status_code == 200
    session.execute(text("UPDATE item SET created_at = '2026-01-02T03:04:05.000600Z' WHERE name = 'B'"))
    session.execute(text("UPDATE item SET created_at = '2026-01-02T03:04:05+02' WHERE name = 'C'"))
    session.commit()

    answer = client.get("/items/export")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="items.ndjson"'
    *lines, rest = answer.content.split(b"\n")
    assert (len(lines), rest) == (4, b"")
    # Byte for byte.
    assert b"[" + b",".join(lines) + b"]" == client.get("/items/?limit=1000").content


def test_an_export_as_csv_has_a_header_and_tells_null_from_empty(client: TestClient) -> None:
    items = [
        client.post("/items/", json=values).json()
        for values in ({"name": 'A, "B"', "description": "two\nlines", "price": 1.5}, {"name": "C", "price": 2})
    ]
    items += [client.post("/items/", json={"name": "D", "description": "", "price": 0.01}).json()]

    answer = client.get("/items/export", params={"format": "csv"})

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="items.csv"'
    ends = [f"{item['created_at']},{item['updated_at']},1\n" for item in items]
    assert answer.text == (
        "id,name,description,price,created_at,updated_at,version\n"
        f'{items[0]["id"]},"A, ""B""","two\nlines",1.50,{ends[0]}'
        f"{items[1]['id']},C,,2.00,{ends[1]}"
        f'{items[2]["id"]},D,"",0.01,{ends[2]}'
    )


@pytest.mark.parametrize(
    ("file_format", "empty"), [("ndjson", b""), ("csv", b"id,name,description,price,created_at,updated_at,version\n")]
)
def test_an_export_of_nothing_is_an_empty_file(client: TestClient, file_format: str, empty: bytes) -> None:
    assert export(client, file_format) == empty


def test_an_unknown_format_is_422(client: TestClient) -> None:
    answer = client.get("/items/export?format=xml")

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": "format", "detail": "Input should be 'ndjson' or 'csv'"}]


@pytest.mark.parametrize("file_format", ["ndjson", "csv"])
def test_head_tells_of_an_export_without_making_it(client: TestClient, file_format: str) -> None:
    answer = client.head("/items/export", params={"format": file_format})

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == TYPES[file_format]
    assert answer.headers["Content-Disposition"] == f'attachment; filename="items.{file_format}"'
    assert "Content-Length" not in answer.headers


def test_an_export_takes_the_filters_of_the_list(client: TestClient) -> None:
    for name, price in (("%(a)s", 1), ("A", 2), ("%(a)s", 3)):
        client.post("/items/", json={"name": name, "price": price})

    answer = client.get("/items/export", params={"name": "%(a)s", "min_price": "1.50", "q": "a s"})

    assert [json.loads(line)["price"] for line in answer.text.splitlines()] == [3.0]


@pytest.mark.parametrize("query", ["limit=1", "sort=name", "cursor=x", "format=xml", "min_price=2&max_price=1"])
def test_an_export_refuses_what_is_no_filter(client: TestClient, query: str) -> None:
    assert client.get(f"/items/export?{query}").status_code == 422


# Any characters, and often those that mean something in a file.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from('"\\,\r\n N'), max_size=40
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "name": TEXTS.filter(bool),
            "description": st.none() | TEXTS,
            "price": st.decimals(0, Decimal("9999999999.99"), places=2),
        }
    ),
    min_size=8,
    max_size=20,
)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["ndjson", "csv"])
@settings(
    max_examples=10,
    deadline=None,
    # To shrink a file would take minutes, and it is told which item came back as another.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(items=ITEMS)
def test_an_export_can_be_imported_as_it_is(
    client: TestClient, session: Session, file_format: str, items: list[dict[str, object]]
) -> None:
    session.execute(text("DELETE FROM item"))
    session.add_all(ItemFactory.build(**values) for values in items)
    session.commit()
    file, before = export(client, file_format), client.get("/items/?limit=1000").json()

    def bring_back() -> list[dict[str, object]]:
        headers = {"Content-Type": TYPES[file_format]}
        answer = client.post("/items/import", content=file, headers=headers)
        assert answer.status_code == 200, answer.text
        assert sum(answer.json().values()) == len(items)
        after: list[dict[str, object]] = client.get("/items/?limit=1000").json()
        return after

    changing = ("created_at", "updated_at", "version")
    for version in (2, 1):
        for old, new in zip(before, bring_back(), strict=True):
            assert {**old, **{name: new[name] for name in changing}} == new
            assert new["version"] == version
        session.execute(text("DELETE FROM item"))
        session.commit()
