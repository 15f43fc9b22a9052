"""The OpenAPI document is valid, complete and true; the page that shows it needs no other server."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from service.main import create_app
from service.web.docs_pages import ASSETS
from tests.api.hostile_input import ENDPOINTS

DOCUMENT: dict[str, Any] = create_app().openapi()
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
KEYWORDS_OF_PYDANTIC = re.compile(r'"(ge|gt|le|lt|multiple_of|min_length|max_length)":')


@pytest.fixture
def has_fast_path() -> bool:
    """Hits of the cache have nothing to do with these."""
    return True


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to; the value itself if it is none."""
    if "$ref" not in value:
        return value
    found: Any = DOCUMENT
    for step in value["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return resolve(found)


def find_examples(value: object, place: str = "#") -> Iterator[tuple[str, dict[str, Any], object]]:
    """Each example of the document: its place, its schema, itself."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from find_examples(each, f"{place}/{number}")
    elif isinstance(value, dict):
        schema = value.get("schema", value)
        given = value.get("examples", [])
        values = [each["value"] for each in given.values()] if isinstance(given, dict) else given
        for example in [*values, *([value["example"]] if "example" in value else [])]:
            yield place, schema, example
        for name, each in value.items():
            yield from find_examples(each, f"{place}/{name}")


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_its_examples_are_valid() -> None:
    examples = list(find_examples(DOCUMENT))
    wrong = {
        place: [error.message for error in OAS31Validator({**schema, **DOCUMENT}).iter_errors(example)]
        for place, schema, example in examples
    }

    assert len(examples) > 20
    assert {place: errors for place, errors in wrong.items() if errors} == {}


def test_it_speaks_json_schema_and_not_pydantic() -> None:
    assert KEYWORDS_OF_PYDANTIC.findall(json.dumps(DOCUMENT)) == []


def test_an_operation_has_the_name_of_its_function() -> None:
    assert [name for name in OPERATIONS if not re.fullmatch("[a-z]+(_[a-z]+)*", name)] == []
    assert len(OPERATIONS) == sum(len(methods) for methods in DOCUMENT["paths"].values())


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_described_with_its_headers(name: str) -> None:
    answers = {status: resolve(answer) for status, answer in OPERATIONS[name][2]["responses"].items()}

    assert {"200", "400", "414", "422", "431", "500"} <= set(answers)
    for status, answer in answers.items():
        assert answer["description"] not in ("", "Successful Response" if status != "200" else "")
        assert "X-Request-ID" in answer["headers"]
        assert all(resolve(header)["description"] for header in answer["headers"].values())
        if status >= "400":
            assert set(answer["content"]) == {"application/problem+json"}
        assert ("Retry-After" in answer["headers"]) is (status == "503" and name != "ready")


@pytest.mark.parametrize("name", [name for name, (_, _, each) in OPERATIONS.items() if "requestBody" in each])
def test_an_operation_with_a_body_says_what_it_refuses(name: str) -> None:
    operation = OPERATIONS[name][2]

    assert {"413", "415"} <= set(operation["responses"])
    assert all("schema" in each for each in operation["requestBody"]["content"].values())


def test_every_operation_is_tried_with_the_hostile_inputs() -> None:
    tried = {(endpoint.method.lower(), endpoint.path) for endpoint in ENDPOINTS}

    operations = {(method, re.sub(r"{\w+}", "{id}", path)) for method, path, _ in OPERATIONS.values()}
    assert operations - tried == set(), "Each is a line in tests/api/hostile_input.py."


def test_what_is_created_links_to_what_can_be_done_with_it() -> None:
    links = OPERATIONS["create_item"][2]["responses"]["200"]["links"]

    assert {link["operationId"] for link in links.values()} == {
        "get_item",
        "replace_item",
        "update_item",
        "delete_item",
    }
    assert {link["operationId"] for link in links.values()} <= set(OPERATIONS)


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")

    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert set(loaded) == {"docs/start.js", *(f"docs/{name}" for name in ASSETS)}
    assert [client.request(method, f"/{path}").status_code for path in loaded for method in ("GET", "HEAD")] == [
        200
    ] * 8
    assert 'url: "openapi.json"' in client.get("/docs/start.js").text


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..", "%2e%2e%2fcore.py", "none"])
def test_no_other_file_of_the_package_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/docs/{name}").status_code == 404
