"""`alembic upgrade head`, as operators run it: alone, eight at once, and on a wrong address."""

import io
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.pool import NullPool

from service.database import SCHEMA_REVISION
from tests.databases import alembic_config, migrate
from tests.migrations.conftest import Alembic
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

ADVISORY_LOCK_KEY = 7_274_502_311
RUNNERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'item-service-migrations'"
)
WAITING_RUNNERS = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def revisions(engine: Engine) -> list[str]:
    """What `alembic_version` holds; empty when there is no such table."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return []
        return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def count_runners(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(RUNNERS).scalar_one())


@pytest.mark.slow
def test_one_runner_tells_what_it_did_and_the_next_finds_nothing_to_do(empty_engine: Engine, alembic: Alembic) -> None:
    status, output, errors = alembic("upgrade", "head", url=empty_engine.url, typed=True).finish()
    second = alembic("upgrade", "head", url=empty_engine.url).finish()

    assert (status, errors) == (0, "")
    assert output.startswith("Applied ")
    assert second == (0, "", "")
    assert revisions(empty_engine) == [SCHEMA_REVISION]


@pytest.mark.slow
def test_eight_runners_at_once_all_succeed_and_one_of_them_migrates(empty_engine: Engine, alembic: Alembic) -> None:
    runners = [alembic("upgrade", "head", url=empty_engine.url) for _ in range(8)]

    ends = [runner.finish() for runner in runners]

    assert [(status, errors) for status, _, errors in ends] == [(0, "")] * 8
    assert sum(f"Applied {SCHEMA_REVISION}: " in printed for _, printed, _ in ends) == 1
    assert revisions(empty_engine) == [SCHEMA_REVISION]


def test_a_runner_waits_while_another_holds_the_lock(empty_engine: Engine, alembic: Alembic) -> None:
    with empty_engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK_KEY})"))
        connection.commit()
        runner = alembic("upgrade", "head", url=empty_engine.url)
        wait_until(lambda: count_runners(empty_engine) == 1, seconds=30)
        with pytest.raises(subprocess.TimeoutExpired):
            runner.process.wait(timeout=0.5)
        assert revisions(empty_engine) == []
        # It polls: a wait inside PostgreSQL would hold a snapshot open, and have no end.
        assert connection.execute(WAITING_RUNNERS).scalar_one() == 0

    status, _, errors = runner.finish()

    assert (status, errors) == (0, "")
    assert revisions(empty_engine) == [SCHEMA_REVISION]


def test_a_killed_runner_leaves_the_lock_free_for_the_next(empty_engine: Engine, alembic: Alembic) -> None:
    with empty_engine.connect() as holder:
        holder.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK_KEY})"))
        holder.commit()
        killed = alembic("upgrade", "head", url=empty_engine.url)
        wait_until(lambda: count_runners(empty_engine) == 1, seconds=30)
        killed.process.kill()
        killed.process.wait()

    following = alembic("upgrade", "head", url=empty_engine.url)

    assert following.finish()[0] == 0


def test_a_given_connection_is_used_and_left_open(empty_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    config = alembic_config()

    with empty_engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        inside = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        outside = revisions(empty_engine)

    assert (inside, outside) == (SCHEMA_REVISION, [])
    assert revisions(empty_engine) == [SCHEMA_REVISION]


def test_the_transaction_of_a_given_connection_is_the_callers(empty_engine: Engine) -> None:
    config = alembic_config()

    def upgrade_and_change_ones_mind(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.rollback()

    with empty_engine.connect() as connection:
        connection.begin()
        upgrade_and_change_ones_mind(connection)

    assert revisions(empty_engine) == []


def test_logging_is_left_alone(empty_engine: Engine) -> None:
    assert empty_engine.pool.__class__ is NullPool
    existing = logging.getLogger("somebody.elses")
    root = logging.getLogger()
    before = (root.level, list(root.handlers), existing.disabled, existing.level, logging.getLogger("alembic").level)

    migrate(empty_engine.url)

    after = (root.level, list(root.handlers), existing.disabled, existing.level, logging.getLogger("alembic").level)
    assert after == before
    assert not existing.disabled


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://user:hunter2@127.0.0.1:1/items", "postgresql+psycopg://user:***@127.0.0.1:1/items"),
        ("postgresql://127.0.0.1:1/items?password=hunter2", "127.0.0.1:1/items"),
        ("mysql://user:hunter2@127.0.0.1/items", "expected a URL that starts with postgresql://"),
        ("postgresql://user:hun@ter2@127.0.0.1/items", "write an @ in the user name or the password as %40"),
        ("", "is not set: expected for example postgresql://"),
    ],
)
def test_a_wrong_address_is_one_message(alembic: Alembic, url: str, told: str) -> None:
    status, printed, errors = alembic("upgrade", "head", url=url).finish()

    assert (status, printed) == (1, "")
    assert "DATABASE_URL" in errors
    assert told in errors
    assert all(secret not in errors for secret in ("hunter2", "ter2", "Traceback"))


def test_a_database_that_does_not_exist_is_one_message(empty_engine: Engine, alembic: Alembic) -> None:
    nowhere = empty_engine.url.set(database="no_such_database")

    status, _, errors = alembic("upgrade", "head", url=nowhere).finish()

    assert status == 1
    assert 'database "no_such_database" does not exist' in errors
    assert "Traceback" not in errors


def test_squawk_finds_nothing_to_say_about_the_sql() -> None:
    squawk = shutil.which("squawk", path=Path(sys.executable).parent)
    assert squawk, "squawk-cli, of the extra `test`, is not installed beside this Python"
    written = io.StringIO()
    config = alembic_config()
    config.output_buffer = written
    command.upgrade(config, "head", sql=True)

    # The one varchar is in Alembic's own table, and PostgreSQL 14 is the oldest that is supported.
    flags = ["--exclude=prefer-text-field", "--pg-version=14.0", "--reporter=gcc"]
    done = subprocess.run(
        [squawk, *flags, "--stdin-filepath=upgrade.sql"],
        input=written.getvalue(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "CREATE TABLE item" in written.getvalue()
    assert (done.returncode, done.stdout) == (0, "")
