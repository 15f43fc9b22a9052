"""Fixtures for the tests of the embedded servers: owners that are cleared away, open directories."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.embedded.owner_process import Owner, starting_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.testing.fork_server import ForkServer


@pytest.fixture
def owner(fork_server: ForkServer) -> Iterator[Callable[..., Owner]]:
    """Start owner processes; those that the test leaves running are killed."""
    with ExitStack() as started:
        yield lambda script, **environment: started.enter_context(starting_owner(fork_server, script, **environment))


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every account may enter, which pytest's own are not for root's servers."""
    path = Path(tempfile.mkdtemp(prefix="embedded-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
