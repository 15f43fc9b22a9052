"""Entity tags."""

from datetime import UTC, datetime, timedelta

from service.web.conditional import content_tag, version_tag

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_rows_tag_tells_its_versions_and_its_lives_apart() -> None:
    changes = [(1, MOMENT), (2, MOMENT), (1, MOMENT + timedelta(microseconds=1))]

    tags = [version_tag(version, changed_at) for version, changed_at in changes]

    assert len(set(tags)) == 3
    assert tags == [version_tag(version, changed_at) for version, changed_at in changes]
    assert all(tag[0] == tag[-1] == '"' and '"' not in tag[1:-1] for tag in tags)


def test_a_bodys_tag_is_strong_and_the_same_in_every_process() -> None:
    # A literal: the hash of Python's own differs from process to process.
    assert content_tag(b"[]") == '"7ebb3c7c2a87b1a2f8a7ed729ecb040d"'
    assert content_tag(b"[]") != content_tag(b"[ ]")
