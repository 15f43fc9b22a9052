"""NDJSON: a JSON object on each line. Blank lines are skipped."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from service.transfer.lines import Line, Record


class _RepeatedKeyError(ValueError):
    pass


def read_ndjson(lines: Iterable[Line]) -> Iterator[Record]:
    """One record for each line that is not blank."""
    for number, content in lines:
        if content and not content.isspace():
            yield _read_record(number, content)


def _read_record(number: int, content: bytes) -> Record:
    try:
        fields = _DECODER.decode(content.decode())
    except UnicodeDecodeError:
        return Record(number, content, fault="The line is not UTF-8.")
    except _RepeatedKeyError:
        return Record(number, content, fault="The line has a key twice in one object.")
    except (RecursionError, ValueError):  # nested too deeply; a whole number of thousands of digits
        return Record(number, content, fault="The line is not JSON that can be read.")
    if not isinstance(fields, dict):
        return Record(number, content, fault="The line must be a JSON object.")
    return Record(number, content, fields)


def _read_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(members)
    if len(read) != len(members):
        raise _RepeatedKeyError
    return read


def _read_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits, say
        return Decimal("NaN")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_read_object, parse_float=_read_number, parse_constant=_refuse_constant)
