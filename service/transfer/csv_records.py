"""CSV by RFC 4180, in UTF-8, with a header. An empty field is no value; a quoted empty one is the empty text.

The standard library's reader tells the two apart in newer Pythons only, and does not say where a fault begins.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from service.transfer.lines import Line, Record, UnreadableRestError, check_length

REQUIRED = {"name", "price"}
OPTIONAL = {"id", "description", "created_at", "updated_at", "version"}

# Possessive, so that no text makes them try twice: the longest line costs what its length says.
_FIELD = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\Z)')
# A record whose last field goes on in the next line.
_UNCLOSED = re.compile(rb'(?:(?:"[^"]*+(?:""[^"]*+)*+"|[^",]*+),)*+"[^"]*+(?:""[^"]*+)*+')
_ID = re.compile(r"[0-9]{1,19}")
_PRICE = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class _FaultError(ValueError):
    """The message says what is wrong with a record."""


def read_csv(lines: Iterable[Line]) -> Iterator[Record]:
    """One record for each after the header, numbered by its first line; raises UnreadableRestError."""
    records = (line for line in _join_lines(iter(lines)) if line.content not in (b"", b"\r"))
    header = next(records, None)
    if header is not None:
        columns = _read_header(header)
        yield from (_read_record(record, columns) for record in records)


def _join_lines(lines: Iterator[Line]) -> Iterator[Line]:
    """Records: mostly one line, more when a quoted field has line feeds."""
    for line in lines:
        goes_on = line.content.count(b'"') % 2 and _UNCLOSED.fullmatch(line.content)
        yield _join_quoted(line, lines) if goes_on else line


def _join_quoted(begun: Line, lines: Iterator[Line]) -> Line:
    content = bytearray(begun.content)
    for line in lines:
        content += b"\n" + line.content
        check_length(begun.number, content)
        if line.content.count(b'"') % 2:
            return Line(begun.number, bytes(content))
    raise UnreadableRestError(begun.number, bytes(content), "The quoted field is not closed.")


def _read_header(header: Line) -> list[str]:
    try:
        columns = [column or "" for column in _split_fields(header.content)]
        _check_columns(columns)
    except _FaultError as error:
        raise UnreadableRestError(header.number, header.content, str(error)) from error
    return columns


def _check_columns(columns: list[str]) -> None:
    if missing := sorted(REQUIRED - set(columns)):
        raise _FaultError(f"The header must name the column {missing[0]}, as in name,description,price.")
    if len(set(columns)) < len(columns):
        raise _FaultError("The header names a column twice.")
    if set(columns) - REQUIRED - OPTIONAL:
        known = ", ".join(sorted(REQUIRED | OPTIONAL))
        raise _FaultError(f"The header names a column that items do not have; they have {known}.")


def _read_record(line: Line, columns: list[str]) -> Record:
    try:
        values = _split_fields(line.content)
    except _FaultError as error:
        return Record(line.number, line.content, fault=str(error))
    if len(values) != len(columns):
        fault = f"The record has {len(values)} fields, the header {len(columns)}."
        return Record(line.number, line.content, fault=fault)
    return Record(line.number, line.content, _read_fields(dict(zip(columns, values, strict=True))))


def _read_fields(values: dict[str, str | None]) -> dict[str, Any]:
    """The same as JSON has: numbers are numbers. What is none stays text, for the validation to refuse."""
    fields: dict[str, Any] = {column: value for column, value in values.items() if value is not None}
    if _ID.fullmatch(fields.get("id", "")):
        fields["id"] = int(fields["id"])
    if _PRICE.fullmatch(fields.get("price", "")):
        fields["price"] = Decimal(fields["price"])
    return fields


def _split_fields(content: bytes) -> list[str | None]:
    """The fields of a record, None for one that is empty and not quoted; raises _FaultError."""
    try:
        text = content.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise _FaultError("The line is not UTF-8.") from error
    values: list[str | None] = []
    position, comma = 0, ","
    while comma:
        field = _FIELD.match(text, position)
        if field is None:
            raise _FaultError(
                "A field with a quote, or with a carriage return, must be quoted; a quote in it is doubled."
            )
        quoted, plain, comma = field.groups()
        values.append(plain or None if quoted is None else quoted.replace('""', '"'))
        position = field.end()
    return values
