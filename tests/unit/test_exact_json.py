"""Bodies that are small beside what a naive reader makes of them."""

import tracemalloc

import pytest

from service.errors import MAX_FAULTS
from service.exact_json import UnreadableJsonError, read_json

DEPTH = 400


def test_a_fault_deep_inside_is_told_with_its_place() -> None:
    with pytest.raises(UnreadableJsonError) as refused:
        read_json(b'{"a": [1, {"b": NaN, "c\\u0000": 1}], "d": "\\ud800"}')

    assert refused.value.faults == [
        (("a", 1, "b"), "must be a number that JSON has"),
        (("a", 1), "the name of a member must not contain the character U+0000, which PostgreSQL cannot store"),
        (("d",), "must not contain half of a surrogate pair, which is no character"),
    ]


def test_faults_without_number_deep_inside_take_little_memory() -> None:
    body = b"[" * DEPTH + b"NaN" + b",NaN" * 10_000 + b"]" * DEPTH
    tracemalloc.start()

    with pytest.raises(UnreadableJsonError) as refused:
        read_json(body)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(refused.value.faults) == MAX_FAULTS
    assert peak_bytes < 50 * len(body)
