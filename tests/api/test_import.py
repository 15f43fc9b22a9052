"""`POST /items/import`: all of a file, or nothing."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.models import Item
from tests.factories import ItemFactory
from tests.transfers import CSV, NDJSON, counts, import_ndjson, lines
from tests.waiting import wait_until

Row = tuple[int | None, str, str | None, Decimal, int | None]


def stored(session: Session) -> list[Row]:
    session.expire_all()
    items = session.exec(select(Item).order_by(col(Item.id))).all()
    return [(item.id, item.name, item.description, item.price, item.version) for item in items]


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


def test_the_longest_item_fits_into_a_line(client: TestClient, session: Session) -> None:
    longest = {"name": "😀" * 200, "description": "😀" * 10_000, "price": 9999999999.99}

    assert import_ndjson(client, lines(longest)) == counts(1)

    assert [row[1:] for row in stored(session)] == [("😀" * 200, "😀" * 10_000, Decimal("9999999999.99"), 1)]


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
    ],
)
def test_another_kind_of_body_is_415(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/items/import", content=b"name,price\nA,1\n", headers=headers)

    assert answer.status_code == 415
    assert answer.headers["Accept"] == "application/x-ndjson, application/ndjson, application/jsonl, text/csv"
    assert answer.json()["type"] == "/problems/unsupported-media-type"


def test_a_compressed_body_is_415(client: TestClient) -> None:
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}

    answer = client.post("/items/import", content=b"name,price\nA,1\n", headers=headers)

    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
