"""The process that cleans up behind a run, by itself."""

# ruff: noqa: S607, SLF001  # there is no other way to kill it, or to hold its pipe open
import signal
import subprocess
from pathlib import Path

import pytest

from service.testing.ownership import Owner, create_database
from service.testing.reaper import Reaper
from tests.harness.conftest import GivenServers
from tests.waiting import wait_until

OWNER = Owner("bookshop", "abcdef012345", "run")


@pytest.fixture
def reaper() -> Reaper:
    """A reaper, which the test lets finish."""
    return Reaper(OWNER)


@pytest.fixture
def done(reaper: Reaper, tmp_path: Path) -> Path:
    """A file that the reaper has made when it has done what is to be done at the end."""
    reaper.do_at_end(["touch", str(tmp_path / "done")])
    return tmp_path / "done"


def test_a_run_that_is_done_keeps_its_processes(reaper: Reaper, done: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        reaper.watch(process.pid)
        reaper.guard(process.pid)

        reaper.finish()

        assert done.exists()
        assert process.poll() is None
        process.kill()


def test_a_process_that_has_inherited_the_pipe_is_not_waited_for(reaper: Reaper, done: Path) -> None:
    with subprocess.Popen(["sleep", "60"], pass_fds=[reaper._pipe.fileno()]) as process:
        reaper.finish()

        assert done.exists()
        assert process.poll() is None
        process.kill()


def test_a_reaper_that_was_killed_is_stood_in_for(reaper: Reaper, done: Path) -> None:
    reaper._process.send_signal(signal.SIGKILL)
    reaper._process.wait()
    reaper.watch(1)

    reaper.finish()

    assert done.exists()


def test_trouble_with_what_the_dead_have_left_is_no_end_of_the_run(
    reaper: Reaper, done: Path, given: GivenServers
) -> None:
    dead = Owner("bookshop", "0123456789ab", "gw0")
    record = dead.record(redis={"url": "redis+sentinel://x", "number": 1, "token": "x"}, project=["x"])
    create_database(given.admin, dead.database_name(0), record, template="template0", strategy=None)
    reaper.clean(given.postgres.url())
    create_database(given.admin, OWNER.database_name(0), OWNER.record(), template="template0", strategy=None)

    reaper.finish()

    wait_until(lambda: OWNER.database_name(0) not in given.databases(), seconds=3)
    assert reaper._process.returncode == 0
    assert done.exists()
    given.admin.execute(f"DROP DATABASE IF EXISTS {dead.database_name(0)}")
