"""The OpenAPI document is valid, complete and true; the page that shows it needs no other server."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from service.main import create_app
from service.preconditions import TAGS, parse_if_match
from service.web.docs_pages import ASSETS
from tests.api.hostile_input import ENDPOINTS

DOCUMENT: dict[str, Any] = create_app().openapi()
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
TAGGED = {"create_item", "get_item", "replace_item", "update_item", "list_items"}
KEYWORDS_OF_PYDANTIC = re.compile(r'"(ge|gt|le|lt|multiple_of|min_length|max_length)":')


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to; the value itself if it is none."""
    if "$ref" not in value:
        return value
    found: Any = DOCUMENT
    for step in value["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return resolve(found)


def schema_of(answer: dict[str, Any]) -> object:
    """The one schema of an answer."""
    [content] = resolve(answer)["content"].values()
    return content["schema"]


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
        assert ("Retry-After" in answer["headers"]) is (status in {"409", "503"})
        assert ("ETag" in answer["headers"]) is (status == "412" or (status < "400" and name in TAGGED))


@pytest.mark.parametrize("name", [name for name, (_, _, each) in OPERATIONS.items() if "requestBody" in each])
def test_an_operation_with_a_body_says_what_it_refuses(name: str) -> None:
    operation = OPERATIONS[name][2]

    assert {"413", "415"} <= set(operation["responses"])
    assert all("schema" in each for each in operation["requestBody"]["content"].values())


@pytest.mark.parametrize("name", [name for name, (_, _, each) in OPERATIONS.items() if "parameters" in each])
def test_a_parameter_is_described_and_never_null(name: str) -> None:
    for parameter in OPERATIONS[name][2]["parameters"]:
        assert parameter["description"]
        assert parameter["schema"].get("type") or set(parameter["schema"]) >= {"$ref"}


@settings(deadline=None)
@given(st.text('"W/*, \t!a\x7f\x80\xff', max_size=12))
@example("")
@example('W/"a" ,, "b"\t')
@example(" * ")
@example("*,")
@example('"a" "b"')
def test_the_pattern_of_a_precondition_fits_what_is_understood(field: str) -> None:
    try:
        parse_if_match(field)
    except ValueError:
        is_understood = False
    else:
        is_understood = True

    assert bool(re.search(TAGS, field)) is is_understood


def test_the_first_operation_that_is_refused_is_described(client: TestClient) -> None:
    answers = OPERATIONS["apply_batch"][2]["responses"]
    schema = {"$ref": "#/components/schemas/BatchProblem"}
    described = {status for status, each in answers.items() if status >= "400" and schema_of(each) == schema}
    problem = client.post("/items/batch", json={"operations": [{"op": "delete", "id": 0}]}).json()

    assert described == {"404", "412", "422", "428"}
    assert problem["index"] == 0
    assert list(OAS31Validator({**schema, **DOCUMENT}).iter_errors(problem)) == []


def test_the_files_that_it_shows_can_be_imported(client: TestClient) -> None:
    content = OPERATIONS["import_items"][2]["requestBody"]["content"]
    files = [(media_type, each["value"]) for media_type, kind in content.items() for each in kind["examples"].values()]

    answers = [client.post("/items/import", content=text, headers={"Content-Type": kind}) for kind, text in files]

    assert {media_type for media_type, _ in files} == set(content)
    assert [answer.json() for answer in answers] == [{"created": 2, "updated": 0, "rejected": 0}] * len(files)


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
    for link in links.values():
        operation = OPERATIONS[link["operationId"]][2]
        assert set(link["parameters"]) <= {parameter["name"] for parameter in operation["parameters"]}


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
