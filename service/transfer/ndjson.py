"""NDJSON: a JSON object on each line. Blank lines are skipped."""

from collections.abc import Iterable, Iterator
from json import JSONDecodeError

from service.exact_json import UnreadableJsonError, decode, point_to
from service.transfer.lines import MAX_FIELD_LENGTH, Line, Record


def read_ndjson(lines: Iterable[Line]) -> Iterator[Record]:
    """One record for each line that is not blank."""
    for number, content in lines:
        if content and not content.isspace():
            yield _read_record(number, content)


def _read_record(number: int, content: bytes) -> Record:
    try:
        fields = decode(content.decode())
    except UnicodeDecodeError:
        return Record(number, content, fault="The line is not UTF-8.")
    except UnreadableJsonError as error:
        return _reject(number, content, error)
    except (JSONDecodeError, RecursionError):  # the latter for what is nested too deeply
        return Record(number, content, fault="The line is not JSON that can be read.")
    if not isinstance(fields, dict):
        return Record(number, content, fault="The line must be a JSON object.")
    return Record(number, content, fields)


def _reject(number: int, content: bytes, error: UnreadableJsonError) -> Record:
    """The first fault, and the field that has it; none for a value that is no object."""
    (place, reason), *_ = error.faults
    if not place:
        return Record(number, content, fault=f"The line {reason}.")
    names = [str(step)[:MAX_FIELD_LENGTH] for step in place]
    return Record(number, content, fault=f"{names[0]}: {reason}", pointer=point_to(names))
