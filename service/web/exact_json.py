"""JSON as it was written: numbers are exact, and what two readers would understand differently is refused (RFC 8259).

Refused are members that are given twice, numbers that JSON does not have or that no 64 bits hold, nesting that no
schema here asks for, and characters that cannot be stored or sent on. Nothing here knows of HTTP.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import NoReturn

Place = tuple[str | int, ...]

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
MAX_INTEGER_TEXT = len(str(-MAX_INTEGER))  # Python itself refuses to read some thousands of digits
DEPTH_FAULT = f"must not be nested deeper than {MAX_DEPTH} levels"


class UnreadableJsonError(ValueError):
    """The text is not JSON, or not JSON that everybody reads alike; `faults` are places and sentences about them."""

    def __init__(self, faults: list[tuple[Place, str]]) -> None:
        self.faults = faults
        super().__init__(faults)


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands for a value that was read and must not be used."""

    reason: str


def read_json(body: bytes) -> object:
    """The value, with Decimals for numbers that have a point or an exponent; raises UnreadableJsonError."""
    if not body.strip(b" \t\r\n"):
        _refuse("The body is empty; it must be JSON.")
    try:
        value = json.loads(
            body.decode(),
            parse_float=_read_fraction,
            parse_int=_read_integer,
            parse_constant=lambda _: _Refused("must be a number that JSON has"),
            object_pairs_hook=_read_object,
        )
    except UnicodeDecodeError:
        _refuse("The body is not UTF-8.")
    except json.JSONDecodeError as error:  # its position is safe to tell, its text may quote the body
        _refuse(f"The body is not JSON: it cannot be read from line {error.lineno}, column {error.colno} on.")
    except RecursionError:
        raise UnreadableJsonError([((), DEPTH_FAULT)]) from None
    if faults := list(_find_faults(value, ())):
        raise UnreadableJsonError(faults)
    return value


def _refuse(reason: str) -> NoReturn:
    raise UnreadableJsonError([((), reason)]) from None


def _read_fraction(text: str) -> Decimal | _Refused:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits, say
        return _Refused("must be a number of fewer digits")


def _read_integer(text: str) -> int | _Refused:
    if len(text) > MAX_INTEGER_TEXT or not -MAX_INTEGER - 1 <= int(text) <= MAX_INTEGER:
        return _Refused("must be a whole number that 64 bits hold")
    return int(text)


def _read_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found[name] = _Refused("must be given once")
            seen.add(name)
    return found


def _find_faults(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, _Refused):
        yield place, value.reason
    elif isinstance(value, str):
        if fault := find_character_fault(value):
            yield place, fault
    elif isinstance(value, dict | list):
        if len(place) >= MAX_DEPTH:
            yield place[:1], DEPTH_FAULT
            return
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            # Its name cannot stand in an answer.
            if isinstance(name, str) and (fault := find_character_fault(name)):
                yield place, f"the name of a member {fault}"
            else:
                yield from _find_faults(member, (*place, name))


def find_character_fault(text: str) -> str | None:
    """What is wrong with a text that can be neither stored nor sent; None if nothing is."""
    if "\0" in text:
        return "must not contain the character U+0000, which PostgreSQL cannot store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain half of a surrogate pair, which is no character"
    return None
