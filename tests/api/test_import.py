"""`POST /items/import`: all of a file, or nothing."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from fastapi import FastAPI
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.models import Item
from tests.factories import ItemFactory
from tests.waiting import wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def has_fast_path() -> bool:
    """Only the reads after an import could tell, and they have their own tests."""
    return True


Row = tuple[int | None, str, str | None, Decimal, int | None]


def stored(session: Session) -> list[Row]:
    session.expire_all()
    items = session.exec(select(Item).order_by(col(Item.id))).all()
    return [(item.id, item.name, item.description, item.price, item.version) for item in items]


def lines(*items: object) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def counts(created: int, updated: int = 0) -> dict[str, int]:
    return {"created": created, "updated": updated, "rejected": 0}


def import_ndjson(client: TestClient, content: bytes | str, **parameters: str) -> dict[str, object]:
    answer = client.post("/items/import", content=content, headers=NDJSON, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


def rejections(
    client: TestClient, content: bytes | str, headers: dict[str, str] = NDJSON
) -> list[tuple[int, str, str]]:
    """Line, pointer and reason of each rejected line; nothing was imported."""
    answer = client.post("/items/import", content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["rejected"] == len(body["errors"])
    assert client.get("/items/").json() == []
    return [(error["line"], error["pointer"], error["detail"]) for error in body["errors"]]


@pytest.mark.parametrize(
    "media_type", ["application/x-ndjson", "application/ndjson", "Application/JSONL; charset=UTF-8"]
)
def test_ndjson_becomes_items_in_its_order(client: TestClient, session: Session, media_type: str) -> None:
    content = lines({"name": "B", "price": 10.1}, {"price": 0, "description": "", "name": "A"})

    answer = client.post("/items/import", content=content, headers={"Content-Type": media_type})

    assert (answer.status_code, answer.json()) == (200, counts(2))
    assert [row[1:] for row in stored(session)] == [
        ("B", None, Decimal("10.10"), 1),
        ("A", "", Decimal("0.00"), 1),
    ]


def test_csv_becomes_items_in_its_order(client: TestClient, session: Session) -> None:
    content = 'price,name,description\r\n10.1,"B ""x"", y",\r\n0,Ä,""\r\n7.00,C,"two\r\nlines"\r\n'

    answer = client.post("/items/import", content=content, headers=CSV)

    assert (answer.status_code, answer.json()) == (200, counts(3))
    assert [row[1:] for row in stored(session)] == [
        ('B "x", y', None, Decimal("10.10"), 1),
        ("Ä", "", Decimal("0.00"), 1),
        ("C", "two\r\nlines", Decimal("7.00"), 1),
    ]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b'\xef\xbb\xbf{"name": "A", "price": 1}', NDJSON),
        (b'\r\n{"name": "A", "price": 1}\r\n \t\n\n', NDJSON),
        (b"\xef\xbb\xbfname,price\nA,1", CSV),
        (b"\nname,price\r\n\r\n\nA,1\r\n\n", CSV),
    ],
    ids=["NDJSON with a mark", "NDJSON with blank lines", "CSV with a mark", "CSV with blank lines"],
)
def test_marks_blank_lines_and_a_missing_last_line_feed_do_not_matter(
    client: TestClient, session: Session, content: bytes, headers: dict[str, str]
) -> None:
    answer = client.post("/items/import", content=content, headers=headers)

    assert (answer.status_code, answer.json()) == (200, counts(1))
    assert [row[1:] for row in stored(session)] == [("A", None, Decimal("1.00"), 1)]


@pytest.mark.parametrize(("content", "headers"), [(b"", NDJSON), (b"\n\n", NDJSON), (b"", CSV), (b"name,price\n", CSV)])
def test_a_file_without_items_is_imported(client: TestClient, content: bytes, headers: dict[str, str]) -> None:
    answer = client.post("/items/import", content=content, headers=headers)

    assert (answer.status_code, answer.json()) == (200, counts(0))


def test_an_item_whose_id_is_given_is_replaced_or_created(client: TestClient, session: Session) -> None:
    item = ItemFactory.create(name="Old")
    assert item.id is not None

    told = import_ndjson(
        client,
        lines(
            {"name": "Far", "price": 3, "id": item.id + 5},
            {"name": "New", "price": 2, "id": item.id},
            {"name": "Next", "price": 1, "id": None},
        ),
    )

    assert told == counts(2, 1)
    assert stored(session) == [
        (item.id, "New", None, Decimal("2.00"), 2),
        (item.id + 5, "Far", None, Decimal("3.00"), 1),
        (item.id + 6, "Next", None, Decimal("1.00"), 1),
    ]


@pytest.mark.db(isolation="clone")  # no rollback takes a sequence back
@pytest.mark.parametrize("distance", [1, 1000, 1001, 10**12])
def test_later_items_get_ids_beyond_the_given_ones(client: TestClient, distance: int) -> None:
    last = client.post("/items/", json={"name": "A", "price": 1}).json()["id"]

    import_ndjson(client, lines({"name": "B", "price": 1, "id": last + distance}))

    assert client.post("/items/", json={"name": "C", "price": 1}).json()["id"] == last + distance + 1


def test_a_low_id_takes_no_id_back(client: TestClient) -> None:
    last = client.post("/items/", json={"name": "A", "price": 1}).json()["id"]
    client.delete(f"/items/{last}")

    assert import_ndjson(client, lines({"name": "B", "price": 1, "id": last})) == counts(1)

    assert client.post("/items/", json={"name": "C", "price": 1}).json()["id"] == last + 1


@pytest.mark.db(isolation="clone")
def test_the_largest_id_leaves_room_for_items_to_come(client: TestClient) -> None:
    assert import_ndjson(client, lines({"name": "B", "price": 1, "id": 2**63 - 1})) == counts(1)

    assert client.get(f"/items/{2**63 - 1}").json()["name"] == "B"
    assert client.post("/items/", json={"name": "C", "price": 1}).json()["id"] < 1000
    assert import_ndjson(client, lines({"name": "C", "price": 2, "id": 2**63 - 1})) == counts(0, 1)


@pytest.mark.db(isolation="clone")
@pytest.mark.parametrize("count", [1, 101], ids=["few items", "more than are fenced"])
def test_an_import_replaces_what_reads_had_cached(client: TestClient, count: int) -> None:
    ItemFactory.create_batch(count)
    address = "/items/1"
    for path in (address, "/items/"):
        # The rows were written past the service, so the epoch has yet to settle.
        wait_until(lambda path=path: client.get(path).headers["Cache-Status"] == "service; hit", seconds=10)  # type: ignore[misc]
    item = client.get(address)

    new = [{"id": item_id, "name": "New", "price": 2} for item_id in range(1, count + 1)]
    assert import_ndjson(client, lines(*new, {"name": "Last", "price": 3})) == counts(1, count)

    changed = client.get(address)
    assert (changed.json()["name"], changed.json()["version"]) == ("New", 2)
    names = [each["name"] for each in client.get("/items/").json()]
    assert names == ["New", "Last"] if count == 1 else ["New"] * 100
    assert client.get(address, headers={"If-None-Match": item.headers["ETag"]}).status_code == 200


def test_a_dry_run_counts_and_changes_nothing(client: TestClient, session: Session) -> None:
    item = ItemFactory.create(name="Old")
    before = stored(session)
    assert item.id is not None
    content = lines(
        {"name": "A", "price": 1, "id": item.id},
        {"name": "B", "price": 1, "id": item.id + 9},
        {"name": "C", "price": 1},
    )

    assert import_ndjson(client, content, dry_run="true") == counts(2, 1)

    assert stored(session) == before
    assert import_ndjson(client, content) == counts(2, 1)


def test_a_dry_run_reports_rejected_lines_as_an_import_does(client: TestClient) -> None:
    content = b'{"name": "A", "price": 1}\nno\n'

    answers = [
        client.post("/items/import", content=content, headers=NDJSON, params={"dry_run": dry_run})
        for dry_run in ("true", "false")
    ]

    assert answers[0].status_code == 422
    assert answers[0].json() == answers[1].json()


def test_a_rejected_line_is_told_in_full_and_nothing_is_imported(client: TestClient) -> None:
    answer = client.post(
        "/items/import", content=b'{"name": "A", "price": 1}\n{"name": "B", "price": "2"}\n', headers=NDJSON
    )

    assert answer.status_code == 422
    assert answer.json() == {
        "type": "/problems/rejected-lines",
        "title": "Rejected lines",
        "status": 422,
        "detail": "1 line was rejected, so nothing was imported; `errors` names the first 1.",
        "instance": "/items/import",
        "rejected": 1,
        "errors": [
            {
                "line": 2,
                "pointer": "/2/price",
                "detail": "price: must be a JSON number",
                "content": '{"name": "B", "price": "2"}',
            }
        ],
    }
    assert client.get("/items/").json() == []


@pytest.mark.parametrize(
    ("line", "pointer", "detail"),
    [
        (b"{", "", "The line is not JSON that can be read."),
        (b"{} {}", "", "The line is not JSON that can be read."),
        (b"[" * 100_000, "", "The line is not JSON that can be read."),
        (b'{"name": "A", "price": NaN}', "", "The line is not JSON that can be read."),
        (b'{"name": "A", "price": ' + b"9" * 5000 + b"}", "", "The line is not JSON that can be read."),
        (b'{"name": "A\0", "price": 1}', "", "The line is not JSON that can be read."),
        (b'{"name": "\xff", "price": 1}', "", "The line is not UTF-8."),
        (b'{"name": "A", "name": "B", "price": 1}', "", "The line has a key twice in one object."),
        (b"[]", "", "The line must be a JSON object."),
        (b"null", "", "The line must be a JSON object."),
        (b'{"price": 1}', "/name", "name: Field required"),
        (b'{"name": "  ", "price": 1}', "/name", "name: must not consist of white space only"),
        (
            b'{"name": "\\u0000", "price": 1}',
            "/name",
            "name: must not contain the character U+0000, which PostgreSQL cannot store",
        ),
        (b'{"name": "A", "price": 0.001}', "/price", "price: must have at most 2 digits after the point"),
        (
            b'{"name": "A", "price": 10.990000000000000001}',
            "/price",
            "price: must have at most 2 digits after the point",
        ),
        (b'{"name": "A", "price": 1e99999999999999999999}', "/price", "price: Input should be a finite number"),
        (b'{"name": "A", "price": true}', "/price", "price: must be a JSON number"),
        (b'{"name": "A", "price": 1, "id": 0}', "/id", "id: Input should be greater than or equal to 1"),
        (
            b'{"name": "A", "price": 1, "id": 9223372036854775808}',
            "/id",
            "id: Input should be less than or equal to 9223372036854775807",
        ),
        (b'{"name": "A", "price": 1, "id": 1.0}', "/id", "id: Input should be a valid integer"),
        (b'{"name": "A", "price": 1, "a/~": 1}', "/a~1~0", "a/~: Extra inputs are not permitted"),
    ],
)
def test_a_line_of_ndjson_must_be_an_item(client: TestClient, line: bytes, pointer: str, detail: str) -> None:
    assert rejections(client, b'{"name": "A", "price": 1}\n' + line) == [(2, f"/2{pointer}", detail)]


@pytest.mark.parametrize(
    ("line", "pointer"), [(rb'{"name": "\ud800", "price": 1}', "/1/name"), (rb'{"\ud800": 1}', "/1")]
)
def test_half_a_surrogate_pair_is_rejected(client: TestClient, line: bytes, pointer: str) -> None:
    assert [rejected[:2] for rejected in rejections(client, line)] == [(1, pointer)]


QUOTE = "A field with a quote, or with a carriage return, must be quoted; a quote in it is doubled."


@pytest.mark.parametrize(
    ("record", "pointer", "detail"),
    [
        (b"A", "", "The record has 1 fields, the header 3."),
        (b"A,1,1,", "", "The record has 4 fields, the header 3."),
        (b'A"B,1,', "", QUOTE),
        (b'"A"B,1,', "", QUOTE),
        (b'A"B",1,"', "", QUOTE),
        (b"A\rB,1,", "", QUOTE),
        (b"\xff,1,", "", "The line is not UTF-8."),
        (b",1,", "/name", "name: Field required"),
        (b'"",1,', "/name", "name: String should have at least 1 character"),
        (b"A,,", "/price", "price: Field required"),
        (b"A,1e2,", "/price", "price: must be a JSON number"),
        ("A,\u0661,".encode(), "/price", "price: must be a JSON number"),
        (b"A,-1,", "/price", "price: Input should be greater than or equal to 0"),
        (b"A,1,x", "/id", "id: Input should be a valid integer"),
        (b"A,1,9223372036854775808", "/id", "id: Input should be less than or equal to 9223372036854775807"),
    ],
)
def test_a_record_of_csv_must_be_an_item(client: TestClient, record: bytes, pointer: str, detail: str) -> None:
    content = b'name,price,id\n"B\n",1,\n' + record + b"\nC,1,\n"

    assert rejections(client, content, CSV) == [(4, f"/4{pointer}", detail)]


REST = " The rest of the file was not read."
KNOWN = "created_at, description, id, name, price, updated_at, version"


@pytest.mark.parametrize(
    ("content", "line", "detail"),
    [
        (b"name,description\nA,B\n", 1, "The header must name the column price, as in name,description,price."),
        (b"A,1\nB,2\n", 1, "The header must name the column name, as in name,description,price."),
        (b"name,price,name\n", 1, "The header names a column twice."),
        (b"name,price,colour\n", 1, f"The header names a column that items do not have; they have {KNOWN}."),
        (b"name,price,\n", 1, f"The header names a column that items do not have; they have {KNOWN}."),
        ("name,price\n".encode("utf-16"), 1, "The line is not UTF-8."),
        (b'name,price\nA,1\n"B,1\nC,1\n', 3, "The quoted field is not closed."),
        (b'name,price\nA,1\n"' + b"\n" * 1_100_000, 3, "The line is longer than 1,048,576 bytes."),
    ],
)
def test_a_fault_that_hides_the_rest_of_csv_ends_the_reading(
    client: TestClient, content: bytes, line: int, detail: str
) -> None:
    assert rejections(client, content, CSV) == [(line, f"/{line}", detail + REST)]


@pytest.mark.parametrize("headers", [NDJSON, CSV])
def test_a_line_that_is_too_long_ends_the_reading(client: TestClient, headers: dict[str, str]) -> None:
    def send() -> Iterator[bytes]:
        yield b"\n"
        for _ in range(2000):
            yield b"x" * 1000

    answer = client.post("/items/import", content=send(), headers=headers)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "line": 2,
            "pointer": "/2",
            "detail": "The line is longer than 1,048,576 bytes." + REST,
            "content": "x" * 200 + "…",
        }
    ]


def test_the_longest_item_fits_into_a_line(client: TestClient, session: Session) -> None:
    longest = {"name": "😀" * 200, "description": "😀" * 10_000, "price": 9999999999.99}

    assert import_ndjson(client, lines(longest)) == counts(1)

    assert [row[1:] for row in stored(session)] == [("😀" * 200, "😀" * 10_000, Decimal("9999999999.99"), 1)]


def test_the_second_line_with_an_id_is_rejected(client: TestClient) -> None:
    content = lines(*({"name": "A", "price": 1, "id": item_id} for item_id in (5, 6, 5, 7, 6, 5))) + b"no\n"

    assert rejections(client, content) == [
        (3, "/3/id", "id: line 1 has the same; a file may name an item once"),
        (5, "/5/id", "id: line 2 has the same; a file may name an item once"),
        (6, "/6/id", "id: line 1 has the same; a file may name an item once"),
        (7, "/7", "The line is not JSON that can be read."),
    ]


def test_the_content_of_a_rejected_line_can_always_be_told(client: TestClient) -> None:
    content = b'{"name": "A", "price": 1, "id": 1, "version": "\xc3\xa4"}\n' * 2 + b"\xff\0" + b"\xc3\xa4" * 300

    answer = client.post("/items/import", content=content, headers=NDJSON)

    assert [error["content"] for error in answer.json()["errors"]] == [
        '{"name": "A", "price": 1, "id": 1, "version": "ä"}',
        "\ufffd\ufffd" + "ä" * 198 + "…",
    ]


def test_the_first_hundred_rejected_lines_are_named_and_all_are_counted(client: TestClient) -> None:
    repeated = lines({"name": "A", "price": 1, "id": 1}) * 3
    content = repeated + b"no\n" * 300 + repeated

    body = client.post("/items/import", content=content, headers=NDJSON).json()

    assert [error["line"] for error in body["errors"]] == list(range(2, 102))
    assert body["rejected"] == 305
    assert body["detail"] == "305 lines were rejected, so nothing was imported; `errors` names the first 100."


@pytest.mark.db(isolation="clone")
def test_imports_beside_ordinary_writes_lose_no_change_and_double_none(client: TestClient) -> None:
    ids = list(range(1, 21))
    ItemFactory.create_batch(len(ids))
    file = lines(*({"id": item_id, "name": "Imported", "price": 1} for item_id in ids), {"name": "More", "price": 1})

    def replace(number: int) -> tuple[int, int]:
        item_id = ids[number % len(ids)]
        return item_id, client.put(f"/items/{item_id}", json={"name": "Put", "price": 2}).status_code

    def create(_: int) -> int:
        return client.post("/items/", json={"name": "Posted", "price": 3}).status_code

    def run_import(_: int) -> int:
        return client.post("/items/import", content=file, headers=NDJSON).status_code

    with ThreadPoolExecutor(6) as threads:
        imports = threads.map(run_import, range(6))
        replaced, created = threads.map(replace, range(60)), threads.map(create, range(30))
        imported, puts, posts = list(imports), list(replaced), list(created)

    # On a busy machine one may wait for a lock for too long; what was acknowledged counts.
    assert {*imported, *posts, *(status for _, status in puts)} <= {200, 503}
    items = client.get("/items/?limit=1000").json()
    assert len(items) == len(ids) + imported.count(200) + posts.count(200)
    changes = Counter(item_id for item_id, status in puts if status == 200)
    assert {item["id"]: item["version"] for item in items[: len(ids)]} == {
        item_id: 1 + imported.count(200) + changes[item_id] for item_id in ids
    }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "text/csv; charset=latin-1"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "nonsense"},
        {"Content-Type": "text/csv", "Content-Encoding": "gzip"},
    ],
)
def test_another_kind_of_body_is_415(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/items/import", content=b"name,price\nA,1\n", headers=headers)

    accepted = "application/x-ndjson, application/ndjson, application/jsonl, text/csv"
    assert answer.status_code == 415
    assert answer.headers["Accept"] == accepted
    assert answer.json() == {
        "type": "/problems/unsupported-media-type",
        "title": "Unsupported media type",
        "status": 415,
        "detail": f"An import takes {accepted}, in UTF-8 and not compressed.",
        "instance": "/items/import",
    }


def test_more_imports_than_may_run_at_once_are_turned_away(client: TestClient, app: FastAPI) -> None:
    app.state.transfers.imports.acquire()
    app.state.transfers.imports.acquire()
    try:
        answer = client.post("/items/import", content=b"", headers=NDJSON)
    finally:
        app.state.transfers.imports.release(2)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["type"] == "/problems/transfers-busy"
    assert import_ndjson(client, b"") == counts(0)
