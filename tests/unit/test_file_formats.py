"""Files of items, line by line: the formats alone."""

import csv
import io
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import MAX_LINE_BYTES
from service.transfer import Format, read_records
from service.transfer.lines import split_lines

CHUNKS = st.lists(st.text("a\n\r", max_size=5).map(str.encode), max_size=12)
FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PRICES = st.decimals(0, 9999, places=2).map(str)


@given(CHUNKS)
def test_lines_do_not_depend_on_the_pieces_that_they_come_in(chunks: list[bytes]) -> None:
    content = b"".join(chunks)

    lines = list(split_lines(chunks))

    assert [line.content for line in lines] == content.removesuffix(b"\n").split(b"\n")[: len(lines)]
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


@settings(deadline=None)
@given(st.lists(st.tuples(FIELDS, FIELDS, PRICES), max_size=6), st.sampled_from(["\n", "\r\n"]), st.integers(1, 40))
def test_csv_is_read_as_the_standard_library_writes_it(
    rows: list[tuple[str, str, str]], end: str, chunk_bytes: int
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator=end).writerows([("name", "description", "price"), *rows])
    content = file.getvalue().encode()

    chunks = (content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes))
    records = list(read_records(chunks, Format.CSV))

    expected = [{"name": name, "description": text, "price": Decimal(price)} for name, text, price in rows]
    assert [record.fields for record in records] == expected


@given(st.binary(max_size=200), st.sampled_from(Format))
def test_no_bytes_raise(content: bytes, file_format: Format) -> None:
    for record in read_records([content, content], file_format):
        assert (record.fields is None) == bool(record.fault)


@pytest.mark.parametrize("file_format", Format)
@pytest.mark.parametrize("pattern", [b'"', b'""', b',"', b'",', b'a,"b""c",', b'"a"', b"[", b'{"a":', b",", b"a\r"])
def test_the_longest_line_costs_what_its_length_says(pattern: bytes, file_format: Format) -> None:
    assert_refused_soon(pattern * (MAX_LINE_BYTES // len(pattern) - 2), file_format)


@pytest.mark.parametrize("file_format", Format)
def test_many_lines_cost_what_their_number_says(file_format: Format) -> None:
    assert_refused_soon(b'"%s\n' % (b"x" * 200) * 50_000, file_format)


def assert_refused_soon(content: bytes, file_format: Format) -> None:
    header = b"name,price\n" if file_format is Format.CSV else b""
    began = time.process_time()

    faults = [record.fault for record in read_records([header, b'"' + content + b'"'], file_format)]

    assert all(faults)
    assert faults
    assert time.process_time() - began < 5


def test_a_line_that_comes_byte_by_byte_is_cut_off_at_its_limit() -> None:
    sent = 0

    def drip() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x"

    (record,) = read_records(drip(), Format.NDJSON)

    assert record.fault == "The line is longer than 1,048,576 bytes. The rest of the file was not read."
    assert sent == MAX_LINE_BYTES + 1
