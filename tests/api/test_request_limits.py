"""How much of a request is read, and what kinds of body."""

import tracemalloc

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import ClientWith
from tests.api.hostile_input import ITEM, JSON
from tests.api.raw_requests import HOST, RawRequest, send

MEBIBYTE = 2**20
PADDED = ITEM[:-1] + b" " * (MEBIBYTE - len(ITEM)) + b"}"


def test_a_body_of_just_the_limit_is_read(client: TestClient) -> None:
    assert client.post("/items/", content=PADDED, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("headers", [(), ((b"content-length", b"1048577"),)], ids=["chunked", "declared"])
def test_a_body_of_one_byte_more_is_refused(client: TestClient, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    answer = send(client, RawRequest("POST", b"/items/", headers=(HOST, JSON, *headers), chunks=(PADDED, b" ")))

    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answer.json == {
        "type": "/problems/body-too-large",
        "title": "Body too large",
        "status": 413,
        "detail": "The body may have at most 1,048,576 bytes.",
        "instance": "/items/",
    }


def test_a_body_without_end_is_read_on_but_not_kept(client: TestClient) -> None:
    chunk = b" " * 65_536
    request = RawRequest("POST", b"/items/", headers=(HOST, JSON), chunks=(chunk,) * 1600)

    tracemalloc.start()
    answer = send(client, request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert answer.status == 413
    assert answer.chunks_read == 1600
    assert peak < 8 * MEBIBYTE


@pytest.mark.db(isolation="clone")
def test_the_limit_is_a_setting(client_with: ClientWith) -> None:
    response = client_with(max_body_bytes=2048).post(
        "/items/", content=ITEM[:-1] + b" " * 2048 + b"}", headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 413
    assert response.json()["detail"] == "The body may have at most 2,048 bytes."


@pytest.mark.parametrize(
    "media_type",
    [
        *("application/json", "application/json;charset=utf-8", "application/json; charset=UTF-8", "Application/JSON"),
        *('application/json; charset="utf-8"', "application/json; charset=us-ascii", "application/json; q=1; a=b"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_json_may_have_parameters(client: TestClient, media_type: str, method: str) -> None:
    address = client.post("/items/", content=ITEM, headers={"Content-Type": "application/json"}).headers["Location"]

    response = client.request(
        method, "/items/" if method == "POST" else address, content=ITEM, headers={"Content-Type": media_type}
    )

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("POST", {"Content-Type": "text/plain"}, {"Accept": "application/json", "Accept-Post": "application/json"}),
        ("PUT", {"Content-Type": "text/plain"}, {"Accept": "application/json"}),
        (
            "PUT",
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            {"Accept-Encoding": "identity"},
        ),
    ],
    ids=["POST", "PUT", "compressed"],
)
def test_a_body_of_another_kind_is_told_what_would_be_read(
    client: TestClient, method: str, headers: dict[str, str], expected: dict[str, str]
) -> None:
    address = client.post("/items/", content=ITEM, headers={"Content-Type": "application/json"}).headers["Location"]

    response = client.request(method, "/items/" if method == "POST" else address, content=ITEM, headers=headers)

    assert response.status_code == 415
    names = ("Accept", "Accept-Post", "Accept-Patch", "Accept-Encoding")
    assert {name: response.headers[name] for name in names if name in response.headers} == expected
    assert response.json()["type"] == "/problems/unsupported-media-type"


def test_identity_is_no_compression(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "identity"}

    assert client.post("/items/", content=ITEM, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/items/", "/health/live"])
def test_a_body_that_nobody_reads_is_ignored(client: TestClient, path: str) -> None:
    response = client.request("GET", path, content=b"\xff\0", headers={"Content-Type": "text/nonsense"})

    assert response.status_code == 200


@pytest.mark.parametrize("member", ['"%d": 1', '"%d": NaN', '"%d": "\\u0000"', '"x": %d'], ids=ascii)
def test_of_many_faults_an_answer_names_a_hundred(client: TestClient, member: str) -> None:
    content = "{" + ", ".join(member % number for number in range(50_000)) + "}"

    response = client.post("/items/", content=content, headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    assert len(response.json()["errors"]) == (1 if member.startswith('"x"') else 100)


@pytest.mark.parametrize("host", ["example.org", "example.org:8000", "127.0.0.1", "[::1]:8000", "a_b.example", "x:"])
def test_a_host_is_a_name_or_an_address(client: TestClient, host: str) -> None:
    assert client.get("/health/live", headers={"Host": host}).status_code == 200


def test_http_1_0_needs_no_host(client: TestClient) -> None:
    assert send(client, RawRequest("GET", b"/health/live", headers=(), http_version="1.0")).status == 200
