"""The OpenAPI document: what FastAPI finds in the routes, and what is true of every answer of this service.

Routers describe what is theirs (`describe_problems`, `describe_headers`); nobody repeats what every operation has.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from service.errors import list_problem_types
from service.web.problems import MEDIA_TYPE, REQUEST_ID_HEADER, summarize

Document = dict[str, Any]

# What an answer may tell beside its body.
HEADERS = {
    REQUEST_ID_HEADER: ("the id under which the log has this request; a client may send one", "string", "6f2b9c1e4d"),
    "ETag": ("the strong entity tag of what is answered (RFC 9110, section 8.8.3)", "string", '"1-64a2f0c1b7e40"'),
    "Location": ("the address of what was created", "string", "/items/1"),
    "Link": ('the address of the next page, as rel="next" (RFC 8288)', "string", '</items/?cursor=x>; rel="next"'),
    "X-Next-Cursor": ("what to send as `since` next time", "string", "Zm9sbG93IG1l"),
    "X-Total-Count": ("how many there are on all pages together", "integer", 1000),
    "Cache-Status": ("whether the cache gave the answer (RFC 9211)", "string", "service; hit"),
    "Cache-Control": ("whether the answer may be kept (RFC 9111)", "string", "no-store"),
    "Retry-After": ("seconds after which it makes sense to try again", "integer", 1),
    "Content-Disposition": ("a name for the file", "string", 'attachment; filename="items.csv"'),
    "Accept": ("the media types that are read here (RFC 9110, section 12.5.1)", "string", "application/json"),
    "Accept-Post": ("the media types that POST reads here", "string", "application/json"),
    "Accept-Patch": ("the media types that PATCH reads here (RFC 5789)", "string", "application/merge-patch+json"),
    "Accept-Encoding": ("the content codings that are read here: none", "string", "identity"),
    "Connection": ("the connection ends with this answer", "string", "close"),
    "Idempotency-Replayed": ("the answer is the one that an earlier request with this key got", "boolean", True),
}
PROBLEM_HEADERS = {
    **dict.fromkeys((400, 408, 413, 414, 431), ("Connection",)),
    409: ("Retry-After",),
    412: ("ETag",),
    415: ("Accept", "Accept-Post", "Accept-Patch", "Accept-Encoding"),
    503: ("Retry-After",),
}
# Any request may be answered so, one with a body also with these.
COMMON_PROBLEMS = (400, 414, 422, 431, 500)
BODY_PROBLEMS = (408, 413, 415)


def describe_headers(*names: str) -> Document:
    """What an answer in a route's `responses` takes as `headers`."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


class DocumentedAPI(FastAPI):
    """FastAPI with the complete document."""

    def openapi(self) -> Document:
        """The document, made once."""
        if not self.openapi_schema:
            complete(super().openapi())
        return super().openapi()


def complete(document: Document) -> None:
    """Add what is the same for every operation."""
    components = document.setdefault("components", {})
    components["headers"] = {name: _describe_header(*header) for name, header in HEADERS.items()}
    components["responses"] = {str(kind.status): _describe_problem(kind.status) for kind in list_problem_types()}
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        _complete_parameters(operation)
        _complete_body(operation)
        _complete_answers(operation, components["responses"])


def _describe_header(description: str, kind: str, example: object) -> Document:
    return {"description": description, "schema": {"type": kind}, "example": example}


def _describe_problem(status: int) -> Document:
    kinds = [kind for kind in list_problem_types() if kind.status == status]
    examples: Document = {}
    for kind in kinds:
        value = {"type": f"/problems/{kind.slug}", "title": kind.title, "status": status, "detail": summarize(kind)}
        value["instance"] = "/items/1"
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            value["errors"] = [{"pointer": "/price", "detail": "must be a JSON number"}]
        examples[kind.slug] = {"summary": kind.title, "value": value}
    return {
        "description": " ".join(summarize(kind) for kind in kinds),
        "headers": describe_headers(REQUEST_ID_HEADER, *PROBLEM_HEADERS.get(status, ())),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


def _complete_parameters(operation: Document) -> None:
    """What may be left out is None in Python, but no address and no header can hold a null."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        if {"type": "null"} in schema.get("anyOf", ()):
            [present] = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
            schema |= present


def _complete_body(operation: Document) -> None:
    """Give each media type that a route accepts the schema of the first that has one."""
    content = operation.get("requestBody", {}).get("content", {})
    described: Document = next((each for each in content.values() if each), {})
    for media_type, each in content.items():
        content[media_type] = each or dict(described)


def _complete_answers(operation: Document, problems: Document) -> None:
    answers = operation["responses"]
    for status in (*COMMON_PROBLEMS, *(BODY_PROBLEMS if "requestBody" in operation else ())):
        answers.setdefault(str(status), {})
    for status, answer in answers.items():
        if status < "400":
            answer.setdefault("headers", {}).update(describe_headers(REQUEST_ID_HEADER))
        elif _has_own_model(answer):
            answers[status] = {**problems[status], "content": {MEDIA_TYPE: next(iter(answer["content"].values()))}}
        else:
            answers[status] = {"$ref": f"#/components/responses/{status}"}
    operation["responses"] = dict(sorted(answers.items()))


def _has_own_model(answer: Document) -> bool:
    references = [each.get("schema", {}).get("$ref", "") for each in answer.get("content", {}).values()]
    return any(not reference.endswith(("/Problem", "/HTTPValidationError")) for reference in references)
