"""An environment to read settings from."""

from pathlib import Path

import pytest

from service.config import ConfigurationError, Settings, load_settings

SECRET = "hunter2"  # noqa: S105  # what must not be seen
DATABASE_URL = f"postgresql://user:{SECRET}@db.example:5432/items"
REDIS_URL = f"redis://:{SECRET}@cache.example:6379/0"

Environment = pytest.MonkeyPatch


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """An environment with the two settings that have no default, and no `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", DATABASE_URL)
    monkeypatch.setenv("REDIS_URL", REDIS_URL)
    return monkeypatch


def problems() -> list[str]:
    """What `load_settings` finds wrong with the environment."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(Settings)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems
