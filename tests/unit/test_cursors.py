"""What a cursor vouches for, and what a forged one is worth."""

import json
from base64 import urlsafe_b64encode
from hashlib import blake2b
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from service.web.cursors import FORMAT, MAX_CURSOR_LENGTH, make_cursor, next_link, read_cursor
from service.web.refusals import InvalidCursorError

SHAPE: TypeAdapter[tuple[str, int]] = TypeAdapter(tuple[str, int])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def forge(content: bytes, scope: str = "scope") -> str:
    """A cursor with the right digest: there is no secret in it."""
    digest = blake2b(f"{FORMAT}\n{scope}\n".encode() + content, digest_size=8).digest()
    return urlsafe_b64encode(digest + content).decode().rstrip("=")


@given(position=st.tuples(TEXTS, st.integers(-(2**63), 2**63)), scope=TEXTS)
def test_a_cursor_leads_back_to_its_position(position: tuple[str, int], scope: str) -> None:
    cursor = make_cursor(position, SHAPE, scope)

    assert read_cursor(cursor, SHAPE, scope) == position
    assert set(cursor) <= set(printable)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(scope=TEXTS, other=TEXTS)
def test_a_cursor_of_another_scope_is_refused(scope: str, other: str) -> None:
    cursor = make_cursor(("x", 1), SHAPE, scope + "x")

    with pytest.raises(InvalidCursorError):
        read_cursor(cursor, SHAPE, other if other != scope + "x" else scope)


@given(st.data())
def test_a_cursor_that_was_damaged_is_refused(data: st.DataObject) -> None:
    cursor = make_cursor(("x", 1), SHAPE, "scope")
    # The last character holds bits that say nothing.
    place = data.draw(st.integers(0, len(cursor) - 2))
    character = data.draw(st.sampled_from("ABCXYZabcxyz0189-_"))
    damaged = cursor[:place] + character + cursor[place + 1 :]

    if damaged == cursor:
        assert read_cursor(damaged, SHAPE, "scope") == ("x", 1)
    else:
        with pytest.raises(InvalidCursorError):
            read_cursor(damaged, SHAPE, "scope")


@given(st.text())
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        read_cursor(text, SHAPE, "scope")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"{", b'["x"]', b'["x",1,1]', b'[1,"x"]', b'["x",1.5]', b'{"x":1}', b"\xff\xfe", b'["x",NaN]'),
        b'["\\ud800",1]',
        b'["x",1e999]',
        b'["x",' + b"9" * 5000 + b"]",
        b"[" * 2000,
    ],
    ids=lambda content: ascii(content)[:20],
)
def test_a_forged_position_is_checked(content: bytes) -> None:
    with pytest.raises(InvalidCursorError):
        read_cursor(forge(content), SHAPE, "scope")


def test_a_forged_position_that_is_one_is_taken() -> None:
    assert read_cursor(forge(json.dumps(["x", 1]).encode()), SHAPE, "scope") == ("x", 1)


def test_a_cursor_has_a_longest_length() -> None:
    longest = make_cursor(("x" * (MAX_CURSOR_LENGTH * 3 // 4 - 14), 1), SHAPE, "scope")
    longer = make_cursor(("x" * (MAX_CURSOR_LENGTH * 3 // 4), 1), SHAPE, "scope")

    assert read_cursor(longest, SHAPE, "scope")
    with pytest.raises(InvalidCursorError):
        read_cursor(longer, SHAPE, "scope")


def test_a_link_keeps_the_parameters_and_quotes_what_would_end_it() -> None:
    given_parameters = [("name", 'a>b"; rel="x" ü&+'), ("cursor", "old"), ("limit", "2")]

    link = next_link("/items/", given_parameters, cursor="new")

    assert link == ('</items/?name=a%3Eb%22%3B+rel%3D%22x%22+%C3%BC%26%2B&limit=2&cursor=new>; rel="next"')
