"""If-Match and If-None-Match, read as RFC 9110 writes them."""

import pytest

from service.preconditions import parse_if_match, parse_if_none_match


@pytest.mark.parametrize(
    ("field", "tags"),
    [
        ('"1-a"', ("1-a",)),
        ('"1-a","2-b"', ("1-a", "2-b")),
        (' "1-a"\t, ,,\t"2-b" ,', ("1-a", "2-b")),
        ('"a,b", "W/c", ""', ("a,b", "W/c", "")),
        ('"*"', ("*",)),
        ('"\xff!#[]~"', ("\xff!#[]~",)),
        ("", ()),
        (" , ,", ()),
    ],
)
def test_a_list_of_tags_is_read_with_their_quotes(field: str, tags: tuple[str, ...]) -> None:
    quoted = tuple(f'"{tag}"' for tag in tags)

    assert (parse_if_match(field), parse_if_none_match(field)) == (quoted, quoted)


def test_a_weak_tag_will_never_do_and_is_as_good_as_a_strong_one_to_be_excluded() -> None:
    assert parse_if_match('W/"1-a", "2-b"') == ('"2-b"',)
    assert parse_if_none_match('W/"1-a", "2-b"') == ('"1-a"', '"2-b"')


def test_a_star_alone_means_any() -> None:
    assert (parse_if_match(" * "), parse_if_none_match("*")) == (None, None)


@pytest.mark.parametrize(
    "field",
    [
        *("1-a", '"1-a', '1-a"', '"1-a" "2-b"', '"1-a""2-b"', '*, "1-a"', '"1-a", *', 'w/"1-a"', 'W/ "1-a"', "W/"),
        *("'1-a'", '"a b"', '"a\tb"', '"a\0"', '"\u0100"', '"a";q=1'),
        *(" " * 60_000 + "x", '"",' * 20_000 + '"', "," * 60_000 + "x"),
    ],
    ids=lambda field: ascii(field)[:20],
)
def test_anything_else_is_malformed_and_soon_told_so(field: str) -> None:
    for parse in (parse_if_match, parse_if_none_match):
        with pytest.raises(ValueError, match="not a list of entity tags"):
            parse(field)
