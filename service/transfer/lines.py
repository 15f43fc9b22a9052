"""Bytes to lines, in constant memory."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from service.config import MAX_LINE_BYTES

# So much of a field's name is told in the fault that it has.
MAX_FIELD_LENGTH = 50
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line without its line feed; the first has number 1."""

    number: int
    content: bytes


class Record(NamedTuple):
    """What begins at a line: its fields by name, or the fault for which there are none, and a pointer to that."""

    number: int
    content: bytes
    fields: dict[str, Any] | None = None
    fault: str = ""
    pointer: str = ""


class UnreadableRestError(ValueError):
    """From a line on, nothing can be read; the message says why."""

    def __init__(self, number: int, content: bytes, reason: str) -> None:
        super().__init__(f"{reason} The rest of the file was not read.")
        self.number = number
        self.content = content


def split_lines(chunks: Iterable[bytes]) -> Iterator[Line]:
    """The lines of a file, without a byte order mark; raises UnreadableRestError at one that is too long."""
    for number, content in enumerate(_split(chunks), start=1):
        check_length(number, content)
        yield Line(number, content.removeprefix(BYTE_ORDER_MARK) if number == 1 else content)


def check_length(number: int, content: bytes | bytearray) -> None:
    """Raise UnreadableRestError for what is longer than any item can be."""
    if len(content) > MAX_LINE_BYTES:
        raise UnreadableRestError(number, bytes(content), f"The line is longer than {MAX_LINE_BYTES:,} bytes.")


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines; of one that is too long, its beginning."""
    # A bytearray grows in place: a client may send a long line byte by byte.
    held = bytearray()
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        held += first
        if others:
            yield bytes(held)
            *whole, last = others
            yield from whole
            held[:] = last
        elif len(held) > MAX_LINE_BYTES:
            break
    if held:
        yield bytes(held)
