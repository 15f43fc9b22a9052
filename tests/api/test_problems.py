"""Every answer of 400 and above is a problem document, and says nothing that the client sent."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from tests.api.conftest import ClientWith, both_paths

SECRET = "hunter2-hunter2"  # noqa: S105  # stands for anything that a client would not like to see in a log


@pytest.fixture
def broken_table(engine: Engine) -> Iterator[None]:
    """The table lacks a column that the code expects, as after a migration that nobody planned for."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE item RENAME COLUMN description TO summary"))
    yield
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE item RENAME COLUMN summary TO description"))


def test_a_route_that_does_not_exist_is_a_problem(client: TestClient) -> None:
    response = client.get("/nowhere")

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "/problems/address-not-found",
        "title": "Address not found",
        "status": 404,
        "detail": "Nothing is served at this path.",
        "instance": "/nowhere",
    }


def test_an_invalid_request_names_each_fault_by_its_place(client: TestClient) -> None:
    response = client.post("/items/", json={"name": "", "price": "free", "a/b~c": 1})

    body = response.json()
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert {name: body[name] for name in body if name != "errors"} == {
        "type": "/problems/invalid-request",
        "title": "Invalid request",
        "status": 422,
        "detail": "The request does not have the shape that this address takes; `errors` names each fault.",
        "instance": "/items/",
    }
    assert [error["pointer"] for error in body["errors"]] == ["/name", "/price", "/a~1b~0c"]
    assert all(set(error) == {"pointer", "detail"} and error["detail"] for error in body["errors"])


def test_a_fault_in_the_path_names_the_parameter(client: TestClient) -> None:
    assert [error["pointer"] for error in client.get("/items/0").json()["errors"]] == ["item_id"]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/name", "/price"]),
        ({"name": "Widget"}, ["/price"]),
        ({"price": 1}, ["/name"]),
        ({"name": "Widget", "price": 1, "id": 1}, ["/id"]),
        (
            {"name": "Widget", "price": 1, "version": 1, "created_at": "2026-01-01T00:00:00Z"},
            ["/version", "/created_at"],
        ),
        ({"name": "Widget", "price": 1, "Description": "x"}, ["/Description"]),
        ([], [""]),
        ("Widget", [""]),
        (None, [""]),
        (1, [""]),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_has_the_fields_of_an_item_and_no_others(
    client: TestClient, method: str, body: object, pointers: list[str]
) -> None:
    response = client.request(method, "/items/" if method == "POST" else "/items/1", json=body)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == pointers


@pytest.mark.parametrize(
    ("content", "pointer", "detail"),
    [
        (b"{", "", "The body is not JSON: it cannot be read from line 1, column 2 on."),
        (SECRET.encode(), "", "The body is not JSON: it cannot be read from line 1, column 1 on."),
        (b'{"name":\n"x" "price": 1}', "", "The body is not JSON: it cannot be read from line 2, column 5 on."),
        (b'{"name": "\xff\xfe", "price": 1}', "", "The body is not UTF-8."),
        (b"\xed\xa0\x80", "", "The body is not UTF-8."),
        (b" \n", "", "The body is empty; it must be JSON."),
        (b"[" * 100_000, "", "The body is nested too deeply."),
        (b'{"name": "x", "price": ' + b"1" * 5_000 + b"}", "/price", "must be a whole number that 64 bits hold"),
        (b'{"name": "x", "price": NaN}', "/price", "must be a number that JSON has"),
        (b'{"name": "x", "price": 1, "price": 1}', "/price", "must be given once"),
    ],
    ids=range(10),
)
def test_a_body_that_is_not_json_is_a_problem(client: TestClient, content: bytes, pointer: str, detail: str) -> None:
    response = client.post("/items/", content=content, headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["errors"] == [{"pointer": pointer, "detail": detail}]


@pytest.mark.parametrize(
    ("member", "pointer", "detail"),
    [
        ('"price": {}', "/price", "must be a JSON number"),
        ('"price": null', "/price", "must be a JSON number"),
        ('"price": "10.99"', "/price", "must be a JSON number"),
        ('"price": -0.01', "/price", "must lie between 0 and 9999999999.99"),
        ('"price": 1e999', "/price", "must lie between 0 and 9999999999.99"),
    ],
)
def test_a_fault_is_told_in_words_of_json(client: TestClient, member: str, pointer: str, detail: str) -> None:
    content = f'{{"name": "x", {member}}}'

    response = client.post("/items/", content=content, headers={"Content-Type": "application/json"})

    assert response.json()["errors"] == [{"pointer": pointer, "detail": detail}]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/items/", [], ""),
        ("/items/batch", "x", ""),
        ("/items/batch", {"operations": [{"op": "create", "item": []}]}, "/operations/0/item"),
    ],
)
def test_what_is_no_object_is_told_so_without_names_of_the_program(
    client: TestClient, path: str, body: object, pointer: str
) -> None:
    response = client.post(path, json=body)

    assert response.json()["errors"] == [{"pointer": pointer, "detail": "must be a JSON object"}]


@pytest.mark.parametrize(
    "content",
    [
        *("", "\0", '"', "NaN", "Infinity", "1e999999999", '{"\\ud800": 1}', '{"\\u0000": 1}'),
        '{"name": NaN, "price": 1}',
        '{"name": "x", "price": 1, "other": -Infinity}',
        f'{{"name": {"[" * 900}{"]" * 900}, "price": 1}}',
    ],
    ids=range(11),
)
def test_no_body_is_a_fault_of_ours(client: TestClient, content: str) -> None:
    response = client.post("/items/", content=content, headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["errors"]


@pytest.mark.parametrize(
    "request_body",
    [
        {"name": [SECRET], "price": 1},
        {"name": SECRET * 20, "price": 1},
        {"name": "Widget", "price": SECRET},
        {"name": "Widget", "description": f"{SECRET}\0", "price": 1},
        {"name": "Widget", "price": 1, "unknown": SECRET},
        [SECRET],
        SECRET,
    ],
    ids=range(7),
)
def test_an_invalid_request_is_not_repeated_in_its_answer(
    client: TestClient, caplog: pytest.LogCaptureFixture, request_body: object
) -> None:
    response = client.post("/items/", json=request_body)

    assert response.status_code == 422
    assert SECRET not in response.text
    assert SECRET not in caplog.text


@both_paths
@pytest.mark.db(isolation="clone")
def test_every_answer_has_a_request_id_of_its_own(client: TestClient) -> None:
    paths = ["/items/", "/items/1", "/items/zero", "/nowhere", "/health/live", "/health/ready"]

    ids = [client.get(path).headers["X-Request-ID"] for path in paths * 3]

    assert all(ids)
    assert len(set(ids)) == len(ids)


def test_a_clients_request_id_is_kept(client: TestClient) -> None:
    given = "7f3c3ee0-8c0b-4d5e-9d6c-2f0f5a0f7a11"

    response = client.get("/items/", headers={"X-Request-ID": given})

    assert response.headers["X-Request-ID"].replace("-", "") == given.replace("-", "")


@pytest.mark.db(isolation="clone")
@pytest.mark.usefixtures("broken_table")
def test_a_fault_of_ours_is_a_problem_that_points_to_the_log(
    client_with: ClientWith, caplog: pytest.LogCaptureFixture
) -> None:
    response = client_with().post("/items/", json={"name": SECRET, "price": 1})

    request_id = response.headers["X-Request-ID"]
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "/problems/unexpected",
        "title": "Unexpected error",
        "status": 500,
        "detail": "The fault is in the log, under this answer's X-Request-ID.",
        "instance": "/items/",
    }
    assert request_id
    assert "UndefinedColumn" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.db(isolation="clone")
def test_a_service_that_answered_500_serves_the_next_request(client_with: ClientWith, engine: Engine) -> None:
    client = client_with()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE item RENAME TO thing"))
    failed = [client.get("/items/").status_code, client.post("/items/", json={"name": "x", "price": 1}).status_code]
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE thing RENAME TO item"))

    assert failed == [500, 500]
    assert client.post("/items/", json={"name": "x", "price": 1}).status_code == 200
    assert client.get("/items/").status_code == 200
