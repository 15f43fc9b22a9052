"""`python -m service.testing`, and small decisions of the plugin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.testing.__main__ import main
from service.testing.addresses import for_libpq, mask, without_password
from service.testing.auto_workers import count_tests
from service.testing.ownership import Owner, connect_admin, create_database
from service.testing.redis_claims import with_number
from tests.harness.conftest import GivenServers


@pytest.fixture
def run_command(
    given: GivenServers, inner_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "RunCommand":
    for name, value in given.environment.items():
        inner_environment.setenv(name, value)
    return RunCommand(inner_environment, capsys)


class RunCommand:
    """Run a command in this process: its exit status and what it said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[object, str]:
        self._monkeypatch.setattr(sys, "argv", ["service.testing", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, self._capsys.readouterr().out


def test_doctor_lists_what_is_there_and_sweep_drops_what_is_dead(run_command: RunCommand, given: GivenServers) -> None:
    name = Owner("bookshop", "0123456789ab", "gw0").database_name(3)
    with connect_admin(given.postgres.url()) as admin:
        record = Owner("bookshop", "0123456789ab", "gw0").record()
        create_database(admin, name, record, template="template0", strategy=None)

    status, report = run_command("doctor")
    assert status == 0
    assert f"{name}, left by a dead run (sweep drops it)" in report
    assert "can be claimed" in report
    assert f"PostgreSQL: version {given.postgres.version}\n" in report

    assert run_command("sweep") == (0, f"dropped {name}\n")
    assert run_command("sweep")[1].startswith("nothing left on postgresql://")


def test_sweep_says_what_cannot_be_dropped_and_why(
    run_command: RunCommand, given: GivenServers, undroppable: Owner
) -> None:
    stuck, other = (undroppable.database_name(number) for number in (0, 1))
    create_database(given.admin, other, undroppable.record(), template="template0", strategy=None)

    reason = "is being used by logical replication subscription DETAIL: There is 1 subscription."

    status, report = run_command("sweep")

    assert status == 1
    assert report.splitlines() == [
        f'{stuck} cannot be dropped: database "{stuck}" {reason}',
        f"dropped {other}",
    ]


def test_doctor_names_a_server_that_is_not_there(
    run_command: RunCommand, inner_environment: pytest.MonkeyPatch
) -> None:
    inner_environment.setenv("TEST_DATABASE_URL", "postgresql://127.0.0.1:1/x")

    status, report = run_command("doctor")

    assert status == 1
    assert "PostgreSQL: PROBLEM: The PostgreSQL server for tests cannot be reached" in report
    assert "can be claimed" in report


def test_doctor_names_a_user_who_may_not_create_databases(
    run_command: RunCommand, inner_environment: pytest.MonkeyPatch, given: GivenServers
) -> None:
    given.admin.execute("CREATE ROLE reader LOGIN")
    inner_environment.setenv("TEST_DATABASE_URL", given.postgres.url().replace("postgres@", "reader@"))

    status, report = run_command("doctor")
    given.admin.execute("DROP ROLE reader")

    assert status == 1
    assert "PROBLEM: the user 'reader' may not create databases: " in report
    assert 'ALTER ROLE "reader" CREATEDB' in report


def ask_psql(given: GivenServers, query: str, *arguments: str) -> list[str]:
    """The rows that psql shows for `query`, opened by a command."""
    path = os.pathsep.join([str(given.postgres.bin_directory), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "service.testing", "psql", *arguments],
        env={**os.environ, **given.environment, "PATH": path, "PSQLRC": os.devnull},
        input=f"\\pset tuples_only\n{query}",
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.strip() for line in done.stdout.splitlines()[1:] if line]


@pytest.mark.usefixtures("inner_environment")
def test_psql_opens_the_newest_kept_database_or_the_named_one(given: GivenServers) -> None:
    owner = Owner("bookshop", "0123456789ab", "gw0")
    older, newer = owner.database_name(1), owner.database_name(0)
    for name in (older, newer):
        create_database(given.admin, name, owner.record(kept="test"), template="template0", strategy=None)

    assert ask_psql(given, "SELECT current_database()") == [newer]
    assert ask_psql(given, "SELECT current_database()", older) == [older]

    given.drop_kept()


@pytest.mark.usefixtures("inner_environment")
def test_psql_opens_a_dump(given: GivenServers, tmp_path: Path) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text("CREATE TABLE evidence AS SELECT 'a row' AS title;")

    assert ask_psql(given, "SELECT title FROM evidence", str(dump)) == ["a row"]


def test_psql_says_when_nothing_is_kept(run_command: RunCommand) -> None:
    status, _ = run_command("psql")

    assert status == "No failed test has kept a database on this server; it has none."


def test_psql_that_is_not_there_shows_no_password(
    run_command: RunCommand, inner_environment: pytest.MonkeyPatch, given: GivenServers, tmp_path: Path
) -> None:
    owner = Owner("bookshop", "0123456789ab", "gw0")
    name = owner.database_name(3)
    create_database(given.admin, name, owner.record(kept="a test"), template="template0", strategy=None)
    url = given.postgres.url()
    inner_environment.setenv("TEST_DATABASE_URL", f"{url}{'&' if '?' in url else '?'}password=secret")
    inner_environment.setenv("PATH", str(tmp_path))

    status, _ = run_command("psql")
    given.drop_kept()

    assert f"There is no psql on the PATH. Install PostgreSQL's client; the URL is {given.postgres.url(name)}." in str(
        status
    )


def test_psql_says_which_file_is_not_there(run_command: RunCommand) -> None:
    status, _ = run_command("psql", "/nowhere/dump.sql")

    assert status == (
        "There is no file /nowhere/dump.sql. pytest keeps those of its last three runs; run the test again to have"
        " another."
    )


def test_a_command_that_needs_a_server_says_so(run_command: RunCommand, inner_environment: pytest.MonkeyPatch) -> None:
    inner_environment.delenv("TEST_DATABASE_URL")

    status, _ = run_command("sweep")

    assert "TEST_DATABASE_URL is not set" in str(status)


@pytest.mark.parametrize(
    ("source", "argument", "count"),
    [
        ("def test_a(): ...\ndef test_b(): ...\n", "test_x.py", 2),
        ("def test_a(): ...\ndef test_b(): ...\n", "test_x.py::test_a", 1),
        ("@pytest.mark.parametrize('n', range(99))\ndef test_a(n): ...\n", "test_x.py", None),
        ("@pytest.mark.parametrize('n', range(99))\ndef test_a(n): ...\n", "test_x.py::test_a[3]", 1),
        ("class TestIt:\n    def test_a(self): ...\n", "test_x.py::TestIt::test_a", 1),
        ("", ".", None),
        ("", "nowhere.py", None),
    ],
)
def test_a_handful_of_tests_is_told_without_collecting(
    tmp_path: Path, source: str, argument: str, count: int | None
) -> None:
    (tmp_path / "test_x.py").write_text(source)

    assert count_tests([argument], tmp_path) == count


def test_auto_stays_in_one_process_for_a_handful(bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile("def test_it(): pass")

    result = bookshop.runpytest_inprocess("-nauto", "test_auto_stays_in_one_process_for_a_handful.py")

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*workers*")


@pytest.mark.parametrize(
    ("url", "libpq"),
    [
        ("postgresql+psycopg://u:p@h:1/x?sslmode=require", "postgresql://u:p@h:1/y?sslmode=require"),
        ("postgres://h", "postgresql://h/y"),
        ("postgresql://postgres@/x?host=/run", "postgresql://postgres@/y?host=/run"),
    ],
)
def test_another_database_of_the_same_server(url: str, libpq: str) -> None:
    assert for_libpq(url, "y") == libpq


def test_no_password_is_shown() -> None:
    url = "postgresql://user:secret@host:1/x?password=secret"

    assert mask(url) == "postgresql://user@host:1/x"
    assert without_password("postgresql://user:secret@host:1/x") == "postgresql://user@host:1/x"
    assert without_password("postgresql:///x?host=/run&pass%77ord=secret") == "postgresql:///x?host=/run"
    assert without_password("postgresql:///x?sslpassword=secret") == "postgresql:///x"


@pytest.mark.parametrize(
    ("url", "third"),
    [
        ("redis://h:1/0", "redis://h:1/3"),
        ("redis://h:1/5?db=7", "redis://h:1/3"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=3"),
        ("rediss://u:p@h?ssl_cert_reqs=none", "rediss://u:p@h/3?ssl_cert_reqs=none"),
    ],
)
def test_a_redis_database_is_named_in_the_url_alone(url: str, third: str) -> None:
    assert with_number(url, 3) == third
