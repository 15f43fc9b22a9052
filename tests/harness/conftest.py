"""Runs of pytest inside of pytest, on another project that uses the kit: the bookshop."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio._backends._asyncio
import fastapi
import psycopg
import pytest
from execnet.gateway_base import MainThreadOnlyExecModel
from redis import Redis

import service.testing.application
import service.testing.factories
import service.testing.migration_runner
import service.testing.reaper
import service.testing.run
import service.testing.templates
import service.testing.worker_redis
from service.embedded import PostgresServer, RedisServer
from service.testing.fork_server import ForkServer
from service.testing.ownership import Admin, Owner, connect_admin, create_database, drop_database, list_owned
from tests.harness.forked import forking_subprocess

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BOOKSHOP = HERE / "bookshop"
# pytester moves HOME; server binaries are not to be copied again for each run.
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())

collect_ignore = ["bookshop"]

# pytester forgets what a run in this process was the first to import; half of a library loaded anew does not work.
STAY_LOADED = (anyio._backends._asyncio, fastapi, service.testing)  # noqa: SLF001  # anyio loads it when it is used

# Names of databases; the keys of each database of Redis with their values.
Everything = tuple[set[str], dict[str, dict[bytes, object]]]
RunBookshop = Callable[..., pytest.RunResult]

LOADED_TOO_SOON = "import sys; sys.exit(' '.join({'service', 'bookshop'} & set(sys.modules)) or None)"
NEEDS_DATABASE = "def test_it(session): pass"


# Nobody can drop a database with a subscription.
SUBSCRIBE = "CREATE SUBSCRIPTION kept CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE)"


def assert_refused(result: pytest.RunResult, message: str) -> None:
    """A usage error of one paragraph, and nothing of ours beside it."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line]
    assert len(errors) == 1, errors
    assert message in errors[0]
    assert "Traceback" not in result.stdout.str()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stress: long; run by `pytest -m stress` only")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark all tests of the kit as slow, and leave stress tests to a run that asks for them."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("slow")
    if "stress" not in config.option.markexpr:
        stress = [item for item in items if item.get_closest_marker("stress")]
        items[:] = [item for item in items if item not in stress]
        config.hook.pytest_deselected(items=stress)


@dataclass(frozen=True, slots=True)
class GivenServers:
    """Servers that outlive the inner runs, as a database of CI does, and who watches them."""

    postgres: PostgresServer
    redis: RedisServer
    admin: Admin
    client: Redis

    @property
    def environment(self) -> dict[str, str]:
        """What tells an inner run to use them."""
        return {"TEST_DATABASE_URL": self.postgres.url(), "TEST_REDIS_URL": self.redis.url}

    def databases(self) -> set[str]:
        """The names of all databases, the sealed templates left out."""
        rows = self.admin.execute("SELECT datname FROM pg_database WHERE datname NOT LIKE 'tpl\\_%'").fetchall()
        return {name for (name,) in rows}

    def drop_kept(self) -> None:
        """Drop what failing tests of inner runs have kept."""
        for database in list_owned(self.admin):
            if "kept" in database.record:
                drop_database(self.admin, database.name)

    def everything(self) -> Everything:
        """What a run must leave as it was."""
        return self.databases(), {name: self._values(name) for name in self.keys()}

    def _values(self, name: str) -> dict[bytes, object]:
        with Redis.from_url(f"{self.redis.url}?db={name.removeprefix('db')}") as client:
            return {key: client.dump(key) for key in client.scan_iter()}

    def dump(self, program: str = "pg_dumpall", name: str = "postgres") -> list[str]:
        """All databases and roles, the sealed templates left out; or one database, as pg_dump writes it."""
        command = [str(self.postgres.bin_directory / program), f"--dbname={self.postgres.url(name)}"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        # These carry a random key.
        return [line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))]

    def keys(self) -> dict[str, int]:
        """How many keys each Redis database holds."""
        return {name: entry["keys"] for name, entry in self.client.info("keyspace").items()}


@pytest.fixture(scope="session")
def lasting_servers() -> Iterator[GivenServers]:
    """A PostgreSQL and a Redis of this worker's, used by many inner runs."""
    with (
        PostgresServer.start() as postgres,
        RedisServer.start() as redis_server,
        connect_admin(postgres.url()) as admin,
        Redis.from_url(redis_server.url) as client,
    ):
        yield GivenServers(postgres, redis_server, admin, client)


@pytest.fixture
def given(lasting_servers: GivenServers) -> Iterator[GivenServers]:
    """These servers, for a test that leaves them as they were: the next one counts what is there."""
    before = lasting_servers.everything()
    yield lasting_servers
    assert lasting_servers.everything() == before


@pytest.fixture
def neighbour(given: GivenServers) -> Iterator[Everything]:
    """Databases and keys of somebody else, with names like ours, and all that there is; none of it may change."""
    names = ["t_bookshop_0123456789ab_gw0_1", "neighbour"]
    for name in names:
        given.admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        with psycopg.connect(given.postgres.url(name)) as connection:
            connection.execute("CREATE TABLE book AS SELECT 'Mine' AS title")
    given.admin.execute(f"COMMENT ON DATABASE {names[0]} IS '{json.dumps({'kit': 'another', 'lock': 1})}'")
    given.client.set("books", 4711)
    with Redis.from_url(f"{given.redis.url}?db=1") as other:
        other.set("books", 4711)
        before = given.everything(), given.dump()
        yield before[0]
        after = given.everything(), given.dump()
        other.delete("books")
    given.client.delete("books")
    for name in names:
        given.admin.execute(f"DROP DATABASE {name}")
    assert after == before


@pytest.fixture
def undroppable(given: GivenServers) -> Iterator[Owner]:
    """A dead owner, whose database 0 cannot be dropped."""
    owner = Owner("bookshop", "0123456789ab", "gw1")
    name = owner.database_name(0)
    create_database(given.admin, name, owner.record(), template="template0", strategy=None)
    with psycopg.connect(given.postgres.url(name)) as connection:
        connection.execute(SUBSCRIBE)
    yield owner
    unsubscribe(given, name)


def unsubscribe(given: GivenServers, name: str) -> None:
    """Drop a database with its subscription."""
    with psycopg.connect(given.postgres.url(name)) as connection:
        connection.execute("DROP SUBSCRIPTION kept")
    drop_database(given.admin, name)


def forget_the_outer_run(environment: pytest.MonkeyPatch) -> None:
    """Unset what this run was told by its environment."""
    for name in list(os.environ):
        # Where CI is set, pytest's summary says again all that failed.
        if name.startswith(("PYTEST_", "TEST_")) or name in {"CI", "BUILD_NUMBER"}:
            environment.delenv(name)


@pytest.fixture(scope="session")
def interpreters() -> Iterator[ForkServer]:
    """Interpreters for inner runs: forks of one that has imported what these do."""
    with ForkServer() as forks:
        with pytest.MonkeyPatch.context() as environment:
            forget_the_outer_run(environment)
            # It starts with the first, and keeps the environment of that moment.
            done = forks.run(
                "tests.harness.interpreter:run_code", LOADED_TOO_SOON, environment={}, directory=ROOT, timeout=60
            )
        assert done.returncode == 0, done.stderr
        yield forks


@pytest.fixture
def inner_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of an inner run: nothing of the outer one but the caches."""
    forget_the_outer_run(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("SHOP_DATABASE", "SHOP_REDIS"):
        monkeypatch.setenv(name, "")  # the plugin of a run in this process writes here
    return monkeypatch


@pytest.fixture
def bookshop(pytester: pytest.Pytester, inner_environment: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with the bookshop's code and without its tests."""
    inner_environment.setenv("SHOP_NOTES", str(pytester.path / "notes"))
    shutil.copytree(
        BOOKSHOP, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("test_*.py", "__pycache__")
    )
    return pytester


@pytest.fixture
def run_bookshop(
    bookshop: pytest.Pytester, inner_environment: pytest.MonkeyPatch, interpreters: ForkServer
) -> RunBookshop:
    """Run pytest in the bookshop, in this process: `run_bookshop("-n2", tests=["test_data.py"], env=...)`."""
    subprocess = forking_subprocess(interpreters)
    inner_environment.setattr(MainThreadOnlyExecModel, "subprocess", subprocess)
    inner_environment.setattr(service.testing.reaper, "subprocess", subprocess)

    def run(*arguments: str, tests: Iterable[str] = (), env: Mapping[str, str] | None = None) -> pytest.RunResult:
        for name in tests:
            # Under another name than the module that asks for it: the two share an interpreter.
            shutil.copy(BOOKSHOP / name, bookshop.path / f"test_bookshop_{name.removeprefix('test_')}")
        for variable, value in (env or {}).items():
            inner_environment.setenv(variable, value)
        return bookshop.runpytest_inprocess(*arguments)

    return run
