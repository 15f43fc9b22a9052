"""JSON as it was written: numbers are exact, and what two readers would understand differently is refused (RFC 8259).

Refused are members that are given twice, numbers that JSON does not have or that no 64 bits hold, and characters that
cannot be stored or sent on. Nothing here knows of HTTP.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import NoReturn

from service.errors import MAX_FAULTS

Place = tuple[str | int, ...]

MAX_INTEGER = 2**63 - 1
MAX_INTEGER_TEXT = len(str(-MAX_INTEGER))  # Python itself refuses to read some thousands of digits


class UnreadableJsonError(ValueError):
    """The text is not JSON, or not JSON that everybody reads alike; `faults` are places and sentences about them."""

    def __init__(self, faults: list[tuple[Place, str]]) -> None:
        self.faults = faults
        super().__init__(faults)


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands for a value that was read and must not be used."""

    reason: str


class _RefusedError(Exception):
    """There is such a value; where, nobody has kept."""

    def __init__(self, _reason: str) -> None:
        super().__init__()


def read_json(body: bytes) -> object:
    """The value, with Decimals for numbers that have a point or an exponent; raises UnreadableJsonError."""
    if not body.strip(b" \t\r\n"):
        _refuse("The body is empty; it must be JSON.")
    try:
        return decode(body.decode())
    except UnicodeDecodeError:
        _refuse("The body is not UTF-8.")
    except json.JSONDecodeError as error:  # its position is safe to tell, its text may quote the body
        _refuse(f"The body is not JSON: it cannot be read from line {error.lineno}, column {error.colno} on.")
    except RecursionError:
        _refuse("The body is nested too deeply.")


def decode(text: str) -> object:
    """As `read_json`, which finds words for the JSONDecodeError and the RecursionError that this raises as well."""
    try:
        value = _FAST.decode(text)
        # Only an escape can stand for U+0000 or half of a pair: neither can be written out.
        is_suspect = "\\u" in text
    except _RefusedError:
        # To keep in mind where each value stands would cost the others much.
        value, is_suspect = _THOROUGH.decode(text), True
    if is_suspect and (faults := list(islice(_find_faults([value], []), MAX_FAULTS))):
        raise UnreadableJsonError(faults)
    return value


def point_to(place: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) to a place: the names and indexes that lead there from the top."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in place)


def _refuse(reason: str) -> NoReturn:
    raise UnreadableJsonError([((), reason)]) from None


def _make_decoder(refuse: Callable[[str], object]) -> json.JSONDecoder:
    """A decoder that puts, or does, what `refuse` says in place of a value that must not be used."""

    def read_fraction(text: str) -> object:
        try:
            return Decimal(text)
        except InvalidOperation:  # an exponent of twenty digits, say
            return refuse("must be a number of fewer digits")

    def read_integer(text: str) -> object:
        if len(text) > MAX_INTEGER_TEXT or not -MAX_INTEGER - 1 <= int(text) <= MAX_INTEGER:
            return refuse("must be a whole number that 64 bits hold")
        return int(text)

    def read_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            found |= {name: refuse("must be given once") for name, count in counts.items() if count > 1}
        return found

    return json.JSONDecoder(
        parse_float=read_fraction,
        parse_int=read_integer,
        parse_constant=lambda _: refuse("must be a number that JSON has"),
        object_pairs_hook=read_object,
    )


def _raise(reason: str) -> NoReturn:
    raise _RefusedError(reason)


_FAST = _make_decoder(_raise)
_THOROUGH = _make_decoder(_Refused)


def _find_faults(value: dict[str, object] | list[object], path: list[str | int]) -> Iterator[tuple[Place, str]]:
    """What is wrong in a container, and where. `path` leads to it, below one that holds the whole value.

    A place is made for a fault alone: one for each of a million values, deeply nested, would take gigabytes.
    """
    for name, member in value.items() if isinstance(value, dict) else enumerate(value):
        # Its name cannot stand in an answer.
        if isinstance(name, str) and (fault := find_character_fault(name)):
            yield tuple(path[1:]), f"the name of a member {fault}"
            continue
        if isinstance(member, dict | list):
            path.append(name)
            yield from _find_faults(member, path)
            path.pop()
        elif fault := _find_fault(member):
            yield (*path[1:], name) if path else (), fault


def _find_fault(value: object) -> str | None:
    if isinstance(value, _Refused):
        return value.reason
    return find_character_fault(value) if isinstance(value, str) else None


def find_character_fault(text: str) -> str | None:
    """What is wrong with a text that can be neither stored nor sent; None if nothing is."""
    if "\0" in text:
        return "must not contain the character U+0000, which PostgreSQL cannot store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain half of a surrogate pair, which is no character"
    return None
