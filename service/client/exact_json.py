"""JSON in which prices are exact: Decimals on this side, numbers on the other, and no float between."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

LINES_PER_CHUNK = 500


def encode(value: object) -> str:
    """JSON, with Decimals written out digit by digit; ValueError for NaN and infinities, which JSON does not have."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is not a price")
        return f"{value:f}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(name)}:{encode(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(encode, value)) + "]"
    return json.dumps(value, allow_nan=False)


def encode_lines(values: Iterable[object]) -> Iterator[bytes]:
    """NDJSON, some hundred lines at a time."""
    lines = (f"{encode(each)}\n" for each in values)
    while chunk := "".join(islice(lines, LINES_PER_CHUNK)):
        yield chunk.encode()


def decode(text: str | bytes) -> Any:  # noqa: ANN401  # whatever the service said
    """The value of a JSON text; numbers with a point are Decimals."""
    return json.loads(text, parse_float=Decimal)


def encode_query(query: Mapping[str, object]) -> dict[str, str]:
    """Parameters of an address."""
    return {name: _encode_parameter(value) for name, value in query.items()}


def _encode_parameter(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else encode(value)
