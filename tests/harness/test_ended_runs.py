"""What the kit makes on servers that outlive a run is gone after it, however it ended."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from service.testing.fork_server import ForkedProcess, ForkServer
from service.testing.ownership import Owner, create_database
from tests.harness.conftest import NEEDS_DATABASE, Everything, GivenServers, RunBookshop
from tests.harness.docker import Docker
from tests.waiting import wait_until

StartRun = Callable[..., ForkedProcess | subprocess.Popen[bytes]]

MARK = "KIT_TEST_RUN"
GONE_SECONDS = 3.0
# Four tests, each on its way through what the kit makes; the last waits to be killed.
WAITS = """
import os, time
from pathlib import Path
import pytest

@pytest.mark.db(isolation="clone")
@pytest.mark.parametrize("number", range(4))
def test_it(client, number):
    client.post("/books", json={"title": "A book", "author_id": 1})
    with Path(os.environ["SHOP_NOTES"]).open("a") as notes:
        notes.write("a test has begun\\n")
    if number > 1:
        time.sleep(60)

def test_live(live_server):
    time.sleep(60)
"""


def processes(mark: str) -> set[int]:
    """The processes that have inherited `mark` in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def descendants(ancestor: int) -> set[int]:
    """The processes that `ancestor` has started, and those that these have started, and so on."""
    parents = {}
    for record in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything; the parent is the second field after it.
            parents[int(record.parent.name)] = int(record.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {ancestor}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def working_directories(pids: set[int]) -> set[Path]:
    """Where those of the processes work that have not ended meanwhile."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            found.add(Path(f"/proc/{pid}/cwd").readlink())
    return found


def is_running(pid: int) -> bool:
    """Whether the process is there, and more than a zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def start_run(bookshop: pytest.Pytester, interpreters: ForkServer) -> Iterator[StartRun]:
    """Start pytest in the bookshop, and leave it running; what it starts is marked."""
    bookshop.makepyfile(WAITS)
    with ExitStack() as undo, Path(os.devnull).open("w") as nowhere:

        def start(*arguments: str, forked: bool = True, **env: str) -> ForkedProcess | subprocess.Popen[bytes]:
            environment = {**os.environ, MARK: str(bookshop.path), **env}
            options = [f"--basetemp={bookshop.path}/temp", "--randomly-dont-reorganize", *arguments]
            run: ForkedProcess | subprocess.Popen[bytes]
            if forked:
                run = interpreters.start(
                    "tests.harness.interpreter:run_pytest",
                    *options,
                    environment=environment,
                    directory=bookshop.path,
                    stdout=nowhere.fileno(),
                    stderr=2,
                )
            else:
                run = subprocess.Popen(
                    [sys.executable, "-m", "pytest", *options], cwd=bookshop.path, env=environment, stdout=nowhere
                )
            undo.callback(run.wait)
            undo.callback(run.kill)
            return run

        yield start


def wait_for_tests(bookshop: pytest.Pytester, count: int) -> None:
    """Wait until `count` tests have begun."""
    notes = bookshop.path / "notes"
    wait_until(lambda: notes.exists() and len(notes.read_text().splitlines()) >= count, seconds=60)


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_killed_run_leaves_nothing_on_given_servers(
    start_run: StartRun, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything, workers: str
) -> None:
    run = start_run(workers, forked=workers == "-n0", **given.environment)
    wait_for_tests(bookshop, 3)
    assert len(given.databases()) > 5
    assert processes(str(bookshop.path))

    run.send_signal(signal.SIGKILL)
    run.wait()

    wait_until(lambda: not processes(str(bookshop.path)) and given.everything() == neighbour, seconds=GONE_SECONDS)


def test_a_killed_run_leaves_nothing_of_embedded_servers(start_run: StartRun, bookshop: pytest.Pytester) -> None:
    run = start_run("-n2")
    wait_for_tests(bookshop, 2)
    family = descendants(run.pid)
    directories = working_directories(family) - {bookshop.path, Path("/")}
    # One of PostgreSQL, and one of each worker's Redis.
    assert len(directories) == 3

    run.send_signal(signal.SIGKILL)
    run.wait()

    wait_until(lambda: not any(map(is_running, family)), seconds=GONE_SECONDS)
    assert not any(directory.exists() for directory in directories)


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_killed_run_takes_compose_down(
    start_run: StartRun, bookshop: pytest.Pytester, docker: Docker, workers: str
) -> None:
    run = start_run(workers, "--services=compose")
    wait_for_tests(bookshop, 2)

    run.send_signal(signal.SIGKILL)
    run.wait()

    wait_until(lambda: "down --volumes --timeout 0" in docker.asked(), seconds=GONE_SECONDS)


def test_a_run_that_is_killed_while_compose_goes_up_ends_that_first(start_run: StartRun, docker: Docker) -> None:
    docker.on_up("cat going-up")
    os.mkfifo(docker.directory / "going-up")
    run = start_run("-n0", "--services=compose")
    with (docker.directory / "going-up").open("wb", buffering=0) as feed:
        run.send_signal(signal.SIGKILL)
        run.wait()

        wait_until(lambda: "down --volumes --timeout 0" in docker.asked(), seconds=GONE_SECONDS)

        with pytest.raises(BrokenPipeError):
            feed.write(b"too late")


def test_a_killed_worker_is_replaced_and_what_it_had_is_removed(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything
) -> None:
    bookshop.makepyfile(
        """
        import os, signal

        def test_that_kills_its_worker(client):
            client.post("/books", json={"title": "A book", "author_id": 1})
            os.kill(os.getpid(), signal.SIGKILL)

        def test_after_it(client):
            assert client.get("/books").json() == []

        def test_after_that(session):
            pass
        """
    )

    result = run_bookshop("-n1", "--randomly-dont-reorganize", env=given.environment)

    result.assert_outcomes(passed=2, failed=1)
    assert given.everything() == neighbour


def test_an_interrupted_run_leaves_nothing(
    start_run: StartRun, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything
) -> None:
    run = start_run("-n0", **given.environment)
    # The third one waits. Between tests the interrupt may hit a finalizer, and Python goes on after that.
    wait_for_tests(bookshop, 3)

    run.send_signal(signal.SIGINT)

    assert run.wait(20) == pytest.ExitCode.INTERRUPTED
    assert given.everything() == neighbour
    wait_until(lambda: not processes(str(bookshop.path)), seconds=GONE_SECONDS)


def test_the_next_run_removes_what_a_dead_one_has_left(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    dead = Owner("bookshop", "abcdef012345", "gw0")
    create_database(given.admin, dead.database_name(0), dead.record(), template="template0", strategy=None)

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=1)

    assert given.everything() == neighbour


def test_two_runs_at_once_do_not_meet(
    start_run: StartRun,
    bookshop: pytest.Pytester,
    run_bookshop: RunBookshop,
    given: GivenServers,
    neighbour: Everything,
) -> None:
    other = start_run("-n0", **given.environment)
    wait_for_tests(bookshop, 2)
    bookshop.makepyfile(test_other="def test_it(client): assert client.get('/books').json() == []")

    run_bookshop("-n0", "test_other.py", env=given.environment).assert_outcomes(passed=1)

    assert other.poll() is None
    other.kill()
    other.wait()
    wait_until(lambda: given.everything() == neighbour, seconds=GONE_SECONDS)


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(20))
def test_twenty_random_kills(
    start_run: StartRun, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything, seed: int
) -> None:
    chance = random.Random(seed)
    run = start_run(chance.choice(["-n0", "-n2"]), **given.environment)
    delay = chance.uniform(0.2, 4)
    started = time.monotonic()
    wait_until(lambda: time.monotonic() - started > delay, seconds=delay + 1)

    run.send_signal(signal.SIGKILL)
    run.wait()

    wait_until(lambda: not processes(str(bookshop.path)) and given.everything() == neighbour, seconds=GONE_SECONDS)
