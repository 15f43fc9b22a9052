"""The lines that `POST /items/import` rejects: each is named, and nothing is imported."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.transfers import CSV, NDJSON, lines


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


def test_a_rejected_line_is_told_in_full_and_nothing_is_imported(client: TestClient) -> None:
    answer = client.post(
        "/items/import", content=b'{"name": "A", "price": 1}\n{"name": "B", "price": "2"}\n', headers=NDJSON
    )

    assert answer.status_code == 422
    assert answer.json() == {
        "type": "/problems/rejected-lines",
        "title": "Rejected lines",
        "status": 422,
        "detail": "1 line was rejected, so nothing was imported.",
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
        (b'{"name": "A", "price": NaN}', "/price", "price: must be a number that JSON has"),
        (b'{"name": "A", "price": ' + b"9" * 5000 + b"}", "/price", "price: must be a whole number that 64 bits hold"),
        (b'{"name": "A\0", "price": 1}', "", "The line is not JSON that can be read."),
        (b'{"name": "\xff", "price": 1}', "", "The line is not UTF-8."),
        (b'{"name": "A", "name": "B", "price": 1}', "/name", "name: must be given once"),
        (b"[]", "", "The line must be a JSON object."),
        (b"null", "", "The line must be a JSON object."),
        (b'{"price": 1}', "/name", "name: Field required"),
        (b'{"name": "", "price": 1}', "/name", "name: String should have at least 1 character"),
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
        (b'{"name": "A", "price": 1e99999999999999999999}', "/price", "price: must be a number of fewer digits"),
        (b'{"name": "A", "price": true}', "/price", "price: must be a JSON number"),
        (b'{"name": "A", "price": 1, "id": 0}', "/id", "id: Input should be greater than or equal to 1"),
        (
            b'{"name": "A", "price": 1, "id": 9223372036854775808}',
            "/id",
            "id: must be a whole number that 64 bits hold",
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
        (b"A,-1,", "/price", "price: must lie between 0 and 9999999999.99"),
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
    assert body["detail"] == "305 lines were rejected, so nothing was imported; the first 100 are named."
