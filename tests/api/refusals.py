"""Hooks of schemathesis: why a request of the documented shape may be refused, and which bodies are sent as text."""

import re
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

# These depend on what is stored, or on what was sent before.
OF_STATE = {
    "idempotency-key-in-use",
    "idempotency-key-reused",
    "invalid-cursor",
    "changes-expired",
    "item-not-found",
    "precondition-failed",
    "rejected-lines",
}
# These no schema can say: pointers and sentences.
OF_SHAPE = re.compile(
    r"max_price must not be less than min_price"
    # 1.0 is a whole number to JSON Schema. Here it is not: most who send it have it from arithmetic.
    r"|/operations/\d+/id Input should be a valid integer"
    r"|q must not leave out more than 20 words"
)

schemathesis.serializer.alias(["application/x-ndjson", "application/ndjson", "application/jsonl"], "text/plain")


@schemathesis.check
def what_has_the_documented_shape_is_refused_for_no_reason_of_shape(
    _context: CheckContext, response: Response, case: Case[Any]
) -> None:
    """The statuses that schemathesis.toml allows are allowed for these reasons only."""
    if response.status_code < 400 or case.meta is None or case.meta.generation.mode.is_negative:
        return
    problem = response.json()
    kind = problem["type"].removeprefix("/problems/")
    faults = [f"{fault['pointer']} {fault['detail']}" for fault in problem.get("errors", ())]
    is_beyond_schemas = kind == "invalid-request" and faults and all(map(OF_SHAPE.fullmatch, faults))
    assert kind in OF_STATE or is_beyond_schemas, f"{kind}: {faults}"
