"""Entity tags."""

from datetime import UTC, datetime, timedelta

import pytest
from starlette.datastructures import Headers

from service.web.conditional import content_tag, forbids_cache, is_unchanged, version_tag

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_rows_tag_tells_its_versions_and_its_lives_apart() -> None:
    changes = [(1, MOMENT), (2, MOMENT), (1, MOMENT + timedelta(microseconds=1))]

    tags = [version_tag(version, changed_at) for version, changed_at in changes]

    assert len(set(tags)) == 3
    assert tags == [version_tag(version, changed_at) for version, changed_at in changes]
    assert all(tag[0] == tag[-1] == '"' and '"' not in tag[1:-1] for tag in tags)


@pytest.mark.parametrize("field", ['"1-a"', 'W/"1-a"', '"a,b", "1-a"', '"x" , W/"y","1-a"', "*", " * "])
def test_a_client_that_has_one_of_the_tags_has_the_answer(field: str) -> None:
    assert is_unchanged('"1-a"', {"if-none-match": field})


@pytest.mark.parametrize("field", ['"1-b"', '"a,1-a"', "1-a", '"1-a', "", '"*"', 'W/"1-b", "2-a"'])
def test_a_client_that_has_none_of_them_needs_the_answer(field: str) -> None:
    assert not is_unchanged('"1-a"', {"if-none-match": field})
    assert not is_unchanged('"1-a"', {})


def test_several_lines_of_a_header_are_one_list() -> None:
    tags = Headers(raw=[(b"if-none-match", b'"x"'), (b"if-none-match", b'"1-a"')])
    demands = Headers(raw=[(b"cache-control", b"max-age=0"), (b"cache-control", b"no-cache")])

    assert is_unchanged('"1-a"', tags)
    assert forbids_cache(demands)


def test_two_microseconds_never_share_a_tag() -> None:
    # Half a second after a date at which the floats of seconds lie 0.24 us apart.
    moments = [MOMENT + timedelta(microseconds=500_000 + n) for n in range(1000)]

    assert len({version_tag(1, moment) for moment in moments}) == 1000


def test_a_bodys_tag_is_strong_and_the_same_in_every_process() -> None:
    # A literal: the hash of Python's own differs from process to process.
    assert content_tag(b"[]") == '"7ebb3c7c2a87b1a2f8a7ed729ecb040d"'
    assert content_tag(b"[]") != content_tag(b"[ ]")
