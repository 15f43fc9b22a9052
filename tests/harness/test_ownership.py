"""What the kit makes on servers that outlive a run is gone after it, however it ended; nobody else's is touched."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from service.testing import ownership
from service.testing.ownership import Owner, connect_admin, create_database
from service.testing.redis_claims import RedisClaim, claim_database, forget_claim
from service.testing.sweeping import sweep
from tests.harness.conftest import GivenServers, RunBookshop

Everything = tuple[set[str], dict[bytes, object], dict[str, int]]
StartRun = Callable[..., subprocess.Popen[bytes]]

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


# The workers of pytest-xdist ignore SIGINT, and what they start would too.
RUN_PYTEST = """
import pytest, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.console_main())
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


def is_running(pid: int) -> bool:
    """Whether the process is there, and more than a zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    """Return after how many seconds `condition` held; fail when it does not."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "the deadline has passed"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def start_run(bookshop: pytest.Pytester, inner_environment: pytest.MonkeyPatch) -> Iterator[StartRun]:
    """Start pytest in the bookshop, marked, and leave it running."""
    bookshop.makepyfile(WAITS)
    inner_environment.setenv(MARK, str(bookshop.path))
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **env: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"--basetemp={bookshop.path}/temp",
            "--randomly-dont-reorganize",
            *arguments,
        ]
        process = subprocess.Popen(command, cwd=bookshop.path, env=os.environ | env, stdout=subprocess.DEVNULL)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def foreign_things(given: GivenServers) -> Everything:
    """Everything on the given servers: what a run must leave as it was."""
    with redis.Redis.from_url(given.redis.url) as client:
        keys = {key: client.get(key) for key in client.scan_iter()}
    return given.databases(), keys, given.keys()


@pytest.fixture
def neighbour(given: GivenServers) -> Iterator[Everything]:
    """Databases and keys of somebody else, with names like ours, and all that there is."""
    names = ["t_bookshop_0123456789ab_gw0_1", "neighbour"]
    with (
        psycopg.connect(given.postgres.url(), autocommit=True) as admin,
        redis.Redis.from_url(given.redis.url) as client,
    ):
        for name in names:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        admin.execute(f"COMMENT ON DATABASE {names[0]} IS '{json.dumps({'kit': 'another', 'lock': 1})}'")
        client.set("books", 4711)
        with redis.Redis.from_url(f"{given.redis.url}?db=1") as other:
            other.set("books", 4711)
            yield foreign_things(given)
            other.delete("books")
        client.delete("books")
        for name in names:
            admin.execute(f"DROP DATABASE {name}")


def wait_for_tests(bookshop: pytest.Pytester, count: int) -> None:
    """Wait until `count` tests have begun."""
    notes = bookshop.path / "notes"
    wait_for(lambda: notes.exists() and len(notes.read_text().splitlines()) >= count, 60)


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_killed_run_leaves_nothing_on_given_servers(
    start_run: StartRun, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything, workers: str
) -> None:
    run = start_run(workers, **given.environment)
    wait_for_tests(bookshop, 3)
    assert len(given.databases()) > 5

    run.send_signal(signal.SIGKILL)
    run.wait()

    wait_for(lambda: not processes(str(bookshop.path)) and foreign_things(given) == neighbour, GONE_SECONDS)


def test_a_killed_run_leaves_nothing_of_embedded_servers(start_run: StartRun, bookshop: pytest.Pytester) -> None:
    run = start_run("-n2")
    wait_for_tests(bookshop, 2)
    family = descendants(run.pid)
    directories = {Path(f"/proc/{pid}/cwd").readlink() for pid in family} - {bookshop.path, Path("/")}
    # One of PostgreSQL, and one of each worker's Redis.
    assert len(directories) == 3

    run.send_signal(signal.SIGKILL)
    run.wait()

    wait_for(lambda: not any(map(is_running, family)), GONE_SECONDS)
    assert not any(directory.exists() for directory in directories)


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
    assert foreign_things(given) == neighbour


def test_an_interrupted_run_leaves_nothing(
    start_run: StartRun, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything
) -> None:
    run = start_run("-n0", **given.environment)
    wait_for_tests(bookshop, 2)

    run.send_signal(signal.SIGINT)

    assert run.wait(20) == pytest.ExitCode.INTERRUPTED
    assert foreign_things(given) == neighbour
    wait_for(lambda: not processes(str(bookshop.path)), GONE_SECONDS)


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
    wait_for(lambda: foreign_things(given) == neighbour, GONE_SECONDS)


def test_a_failing_clone_test_keeps_its_database_on_a_given_server(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything
) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from shop_factories import BookFactory

        @pytest.mark.db(isolation="clone")
        def test_it(session):
            BookFactory(title="Evidence")
            assert False
        """
    )

    result = run_bookshop("-n0", env=given.environment)

    result.assert_outcomes(failed=1)
    (line,) = [line for line in result.outlines if line.startswith("kept; open it with: psql ")]
    url = line.split("psql ")[1].strip("'")
    with psycopg.connect(url) as kept:
        assert kept.execute("SELECT title FROM book").fetchall() == [("Evidence",)]
    with psycopg.connect(given.postgres.url(), autocommit=True) as admin:
        (name,) = given.databases() - neighbour[0]
        admin.execute(f"DROP DATABASE {name}")


def test_sweep_drops_what_dead_owners_left_and_nothing_else(given: GivenServers, neighbour: Everything) -> None:
    living, dead = Owner("bookshop", "abcdef012345", "gw0"), Owner("bookshop", "abcdef012345", "gw1")
    with connect_admin(given.postgres.url()) as admin, connect_admin(given.postgres.url()) as life:
        ownership.claim(life, living)
        for owner in (living, dead):
            create_database(admin, owner.database_name(0), owner.record(), template="template0", strategy=None)

        assert sweep(admin) == [dead.database_name(0)]
        assert given.databases() == neighbour[0] | {living.database_name(0)}

        life.close()
        swept: list[str] = []

        def has_swept() -> bool:
            swept.extend(sweep(admin))
            return bool(swept)

        wait_for(has_swept, GONE_SECONDS)
        assert swept == [living.database_name(0)]
    assert foreign_things(given) == neighbour


@pytest.mark.usefixtures("neighbour")
@pytest.mark.usefixtures("neighbour")
def test_the_newest_three_kept_databases_survive_a_sweep(given: GivenServers) -> None:
    owner = Owner("bookshop", "abcdef012345", "gw0")
    with connect_admin(given.postgres.url()) as admin:
        for number in range(4):
            record = owner.record(kept=f"test {number}")
            create_database(admin, owner.database_name(number), record, template="template0", strategy=None)

        assert sweep(admin) == [owner.database_name(0)]

        for number in range(1, 4):
            admin.execute(f"DROP DATABASE {owner.database_name(number)}")


@pytest.mark.usefixtures("neighbour")
@pytest.mark.usefixtures("neighbour")
def test_redis_databases_are_claimed_once_and_only_when_empty(given: GivenServers) -> None:
    claims = list(iter(lambda: claim_database(given.redis.url), None))

    # 0 is everybody's, and 1 holds a neighbour's key.
    assert [claim.number for claim in claims] == list(range(2, 16))
    for claim in claims:
        claim.release()


def claim_one(given: GivenServers) -> RedisClaim:
    claim = claim_database(given.redis.url)
    assert claim is not None
    return claim


@pytest.mark.usefixtures("neighbour")
def test_what_a_dead_worker_left_in_redis_is_removed_unless_somebody_has_claimed_it_since(given: GivenServers) -> None:
    first = claim_one(given)
    with redis.Redis.from_url(first.url) as client:
        client.set("left", 1)
        first.holder.close()
        forget_claim(first.record)
        assert client.dbsize() == 0

        second = claim_one(given)
        assert second.number == first.number
        client.set("in use", 1)
        forget_claim(first.record)
        assert client.dbsize() == 1
        second.holder.close()
        forget_claim({**second.record, "server": "another"})
        assert client.dbsize() == 1
        client.delete("in use")


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(20))
def test_twenty_random_kills(
    start_run: StartRun, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything, seed: int
) -> None:
    chance = random.Random(seed)
    run = start_run(chance.choice(["-n0", "-n2"]), **given.environment)
    delay = chance.uniform(0.2, 4)
    started = time.monotonic()
    wait_for(lambda: time.monotonic() - started > delay, delay + 1)

    run.send_signal(signal.SIGKILL)
    run.wait()

    wait_for(lambda: not processes(str(bookshop.path)) and foreign_things(given) == neighbour, GONE_SECONDS)
