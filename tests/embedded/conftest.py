"""Fixtures for the tests of the embedded servers: owners that are cleared away, open directories."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.embedded.owner_process import Owner, start_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def owner() -> Iterator[Callable[..., Owner]]:
    """Start owner processes; those that the test leaves running are killed."""
    started: list[Owner] = []

    def start(script: str, **environment: str) -> Owner:
        started.append(start_owner(script, **environment))
        return started[-1]

    yield start
    for one in started:
        with one.process as process:
            process.kill()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every account may enter, which pytest's own are not for root's servers."""
    path = Path(tempfile.mkdtemp(prefix="embedded-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
