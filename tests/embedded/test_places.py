"""Where files go, on machines kind and unkind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.embedded.account import server_account
from service.embedded.places import SCRATCH_PREFIX, cache_directory, scratch_base

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.embedded.owner_process import Owner

MORE_THAN_THERE_IS = 1 << 60
OTHERWISE = Path("/otherwise")


def test_memory_too_small_means_the_temporary_directory(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(open_directory))

    assert scratch_base(server_account(), memory_bytes=MORE_THAN_THERE_IS) == open_directory.resolve()


@pytest.mark.parametrize("name", ["long" * 30, "with space", "with,comma", "ü", "per%cent"])
def test_a_temporary_directory_unfit_for_sockets_means_another(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    unfit = open_directory / name
    unfit.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(unfit))

    base = scratch_base(server_account(), memory_bytes=MORE_THAN_THERE_IS)

    assert base in {Path("/tmp"), Path("/var/tmp")}  # noqa: S108 - the answer expected
    assert len(os.fsencode(base / f"{SCRATCH_PREFIX}0123456789ab/run/.s.PGSQL.65535")) < 104


def test_a_temporary_directory_closed_to_the_servers_means_another(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_directory / "closed"
    closed.mkdir()
    closed.chmod(0o600)
    monkeypatch.setattr(tempfile, "tempdir", str(closed))

    assert scratch_base(server_account(), memory_bytes=MORE_THAN_THERE_IS) != closed


@pytest.fixture(autouse=True)
def temporary_directory(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the last resort of the cache in a directory that goes with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(open_directory))


def test_the_cache_is_where_xdg_says(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_directory / "cache"))
    (open_directory / "cache").mkdir(mode=0o755)

    assert cache_directory(server_account(), otherwise=OTHERWISE) == open_directory / "cache" / "item-service"


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_cache_that_others_may_write_is_not_trusted(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_directory))
    shared = open_directory / "item-service"
    shared.mkdir()
    shared.chmod(mode)

    assert cache_directory(server_account(), otherwise=OTHERWISE) != shared
    assert shared.stat().st_mode & 0o777 == mode


def test_a_cache_that_is_a_link_is_not_trusted(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_directory))
    (open_directory / "elsewhere").mkdir()
    (open_directory / "item-service").symlink_to("elsewhere")

    assert cache_directory(server_account(), otherwise=OTHERWISE) != open_directory / "item-service"


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")

    assert cache_directory(server_account(), otherwise=OTHERWISE).is_absolute()
    assert not Path("relative").exists()


@pytest.mark.slow
def test_many_first_starts_at_once_make_one_template(owner: Callable[..., Owner], open_directory: Path) -> None:
    script = "with PostgresServer.start() as server: say(server.version)"
    workers = [owner(script, XDG_CACHE_HOME=str(open_directory)) for _ in range(4)]

    answers = [worker.end() for worker in workers]

    assert {status for _, status in answers} == {0}
    assert len(list(open_directory.glob("item-service/*-cluster-*"))) == 1
    assert not list(open_directory.glob("item-service/.*"))


@pytest.mark.slow
def test_another_way_to_make_clusters_makes_another_template(owner: Callable[..., Owner], open_directory: Path) -> None:
    home = open_directory / "item-service"
    home.mkdir(mode=0o755)
    for binaries in cache_directory(server_account(), otherwise=OTHERWISE).glob("*-binaries"):
        (home / binaries.name).symlink_to(binaries)
    script = """
from service.embedded import cluster
PostgresServer.start().stop()
cluster._INITDB_OPTIONS += ("--no-data-checksums",)
with PostgresServer.start():
    say("up")
"""

    assert owner(script, XDG_CACHE_HOME=str(open_directory)).end() == ("up\n", 0)
    assert len(list(home.glob("*-cluster-*"))) == 2


@pytest.mark.slow
def test_a_strict_umask_does_not_shut_the_servers_out(owner: Callable[..., Owner], open_directory: Path) -> None:
    script = "os.umask(0o077)\nwith PostgresServer.start(), RedisServer.start(): say('up')"

    assert owner(script, XDG_CACHE_HOME=str(open_directory)).end() == ("up\n", 0)
    assert list(open_directory.glob("item-service/*-cluster-*"))
