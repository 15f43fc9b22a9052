"""Directories that go with their owner, while others look for those that a dead one has left."""

from pathlib import Path

import pytest

from service.embedded.reaper import Estate


def test_one_that_is_swept_away_before_it_is_locked_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chmod = Path.chmod
    swept = []

    def swept_away_first(path: Path, mode: int) -> None:
        monkeypatch.undo()
        swept.append(path)
        path.rmdir()
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", swept_away_first)
    estate = Estate()

    scratch = Path(estate.make_scratch(str(tmp_path), "swept-"))

    assert swept != [scratch]
    assert list(tmp_path.iterdir()) == [scratch]
    estate.settle()
    assert list(tmp_path.iterdir()) == []
