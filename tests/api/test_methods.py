"""What each path can be asked to do: OPTIONS, HEAD, and 405 with all that the path takes."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.api.conftest import both_paths
from tests.factories import ItemFactory

ALLOWED = {
    "/items/": "GET, HEAD, OPTIONS, POST",
    "/items/1": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/items/batch": "OPTIONS, POST",
    "/items/import": "OPTIONS, POST",
    "/items/export": "GET, HEAD, OPTIONS",
    "/items/changes": "GET, HEAD, OPTIONS",
    "/health/live": "GET, HEAD, OPTIONS",
    "/health/ready": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
    "/openapi.json": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize(("path", "allowed"), ALLOWED.items(), ids=ALLOWED)
def test_options_tells_what_a_path_takes(client: TestClient, path: str, allowed: str) -> None:
    response = client.options(path)

    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Allow"] == allowed
    assert response.headers["X-Request-ID"]


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "NONSENSE"]
LACKED = [
    (method, path, allowed)
    for path, allowed in ALLOWED.items()
    for method in METHODS
    if method not in allowed.split(", ")
]


@pytest.mark.parametrize(("method", "path", "allowed"), LACKED)
def test_a_method_that_a_path_lacks_is_a_problem_that_names_all_the_others(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)

    assert response.status_code == 405
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Allow"] == allowed
    assert response.json() == {
        "type": "/problems/method-not-allowed",
        "title": "Method not allowed",
        "status": 405,
        "detail": f"This address takes {allowed}.",
        "instance": path,
    }


@pytest.mark.parametrize("path", [path for path, allowed in ALLOWED.items() if "HEAD" not in allowed])
def test_head_of_a_path_without_get_is_405_without_a_body(client: TestClient, path: str) -> None:
    response = client.head(path)

    assert (response.status_code, response.headers["Allow"], response.content) == (405, ALLOWED[path], b"")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_a_path_that_does_not_exist_takes_no_method(client: TestClient, method: str) -> None:
    response = client.request(method, "/nowhere")

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_options_tells_in_which_form_a_patch_comes(client: TestClient) -> None:
    assert client.options("/items/1").headers["Accept-Patch"] == "application/merge-patch+json, application/json"
    assert "Accept-Patch" not in client.options("/items/").headers


def test_every_path_that_takes_get_takes_head(client: TestClient, app: FastAPI) -> None:
    paths = [path.replace("{item_id}", "1") for path in app.openapi()["paths"]]

    allowed = {path: client.options(path).headers["Allow"].split(", ") for path in paths}

    assert [path for path, methods in allowed.items() if "GET" in methods and "HEAD" not in methods] == []


@both_paths
@pytest.mark.db(isolation="clone")
@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("path", ["/items/", "/items/{id}"])
def test_head_of_what_is_cached_answers_as_get_would_without_the_body(client: TestClient, path: str) -> None:
    item = ItemFactory.create()

    assert_head_answers_as_get(client, path.format(id=item.id))


@pytest.mark.db(isolation="clone")  # readiness asks on a connection of its own
def test_head_answers_as_get_would_without_the_body(client: TestClient) -> None:
    for path in ("/items/0", "/health/live", "/health/ready", "/metrics"):
        assert_head_answers_as_get(client, path)


def assert_head_answers_as_get(client: TestClient, path: str) -> None:
    own = {"x-request-id", "cache-status", "content-length" if path == "/metrics" else ""}

    answers = [client.request(method, path) for method in ("GET", "HEAD")]

    got, head = ({name: value for name, value in answer.headers.items() if name not in own} for answer in answers)
    assert answers[0].status_code == answers[1].status_code
    assert answers[1].content == b""
    assert got == head


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["one", "{id}a", "{id}.0", "-{id}", " {id}", "{id}%0A", "٣", "%00", "{id};a"])
def test_what_is_not_digits_is_no_address_of_an_item(client: TestClient, name: str) -> None:
    item = ItemFactory.create()

    answers = [
        client.request(method, f"/items/{name.format(id=item.id)}") for method in ("GET", "PUT", "PATCH", "OPTIONS")
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/problem+json"}
    assert client.get(f"/items/{item.id}").status_code == 200


def test_the_documentation_shows_the_path_of_an_item_without_its_pattern(app: FastAPI) -> None:
    document = app.openapi()

    assert "/items/{item_id}" in document["paths"]
    parameter, *_ = document["paths"]["/items/{item_id}"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("item_id", "path", True)
    assert parameter["schema"]["type"] == "integer"
