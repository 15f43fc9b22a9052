"""`service import` and `service export`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from sqlalchemy import URL, Engine, text
from sqlmodel import Session, select

from service.models import Item
from tests.cli.conftest import Terminal, show
from tests.factories import ItemFactory
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

FILE = '{"id": 1, "name": "New", "price": 2.50}\n{"name": "More", "price": 3}\n'


def stored_names(engine: Engine) -> list[tuple[str, int | None]]:
    with Session(engine) as session:
        items = session.exec(select(Item).order_by(text("id"))).all()
        return [(item.name, item.version) for item in items]


def files(terminal: Terminal) -> list[str]:
    return [path.name for path in terminal.directory.iterdir()]


def write(terminal: Terminal, name: str, content: str) -> Path:
    path = terminal.directory / name
    path.write_text(content, encoding="utf-8")
    return path


def run_shell(terminal: Terminal, line: str) -> subprocess.CompletedProcess[str]:
    # Without -B, Python under a limit on files would leave half a .pyc, and every later import of the module fails.
    environment = {**terminal.environment, "SERVICE": f"{sys.executable} -B -m service"}
    words = ["/bin/sh", "-c", line]
    return subprocess.run(
        words, cwd=terminal.directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_import_creates_and_replaces_and_voids_what_was_cached(
    configured: Terminal, engine: Engine, redis_client: redis.Redis
) -> None:
    ItemFactory.create(name="Old")
    redis_client.set("all_items_cache", "[]")
    redis_client.set("item_cache:1", "{}")
    write(configured, "items.ndjson", FILE)

    told = configured.run("import", "items.ndjson")

    assert (told.returncode, told.stdout, told.stderr) == (0, "Created 1 items, replaced 1.\n", "")
    assert stored_names(engine) == [("New", 2), ("More", 1)]
    assert redis_client.keys("*_cache*") == []


@pytest.mark.slow
def test_a_dry_run_of_standard_input_says_what_it_would_do(configured: Terminal, engine: Engine) -> None:
    told = run_shell(configured, "printf 'price,name\n1,A\n' | $SERVICE import - --format csv --dry-run")

    assert (told.returncode, told.stdout, told.stderr) == (0, "Would create 1 items, replace 0.\n", "")
    assert stored_names(engine) == []


def test_rejected_lines_are_listed_and_nothing_is_imported(configured: Terminal, engine: Engine) -> None:
    write(configured, "items.CSV", "name,price\nA,1\nB\x1b,x\n")

    told = configured.run("import", "items.CSV")

    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == (
        "1 line was rejected, so nothing was imported.\nline 3: price: must be a JSON number\n    B\ufffd,x\n"
    )
    assert stored_names(engine) == []


@pytest.mark.parametrize("name", ["items.ndjson", "items.csv"])
def test_what_export_wrote_import_brings_back(configured: Terminal, engine: Engine, name: str) -> None:
    ItemFactory.create(name="A", description=None)
    ItemFactory.create(name="B", description="")

    exported = configured.run("export", name)
    with engine.begin() as connection:
        before = connection.execute(text("DELETE FROM item RETURNING id, name, description, price")).all()
    imported = configured.run("import", name)

    assert (exported.returncode, exported.stdout, exported.stderr) == (0, "", "")
    assert imported.stdout == "Created 2 items, replaced 0.\n"
    with engine.begin() as connection:
        assert connection.execute(text("SELECT id, name, description, price FROM item ORDER BY id")).all() == before


def test_export_to_standard_output_is_the_file_alone(configured: Terminal) -> None:
    ItemFactory.create(name="A")

    told = configured.run("export", "-")

    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["name"] == "A"


def test_export_replaces_a_file_only_by_force(configured: Terminal) -> None:
    path = write(configured, "items.csv", "mine")

    refused = configured.run("export", "items.csv")
    kept = path.read_text()
    forced = configured.run("export", "items.csv", "--force")

    assert (refused.returncode, refused.stderr, kept) == (
        1,
        "items.csv exists already. Choose another name, or replace it with --force.\n",
        "mine",
    )
    assert (forced.returncode, path.read_text()) == (
        0,
        "id,name,description,price,created_at,updated_at,version\n",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["import", "missing"], "Cannot read missing: No such file or directory.\n"),
        (["import", "."], "Cannot read .: Is a directory.\n"),
        (["export", "."], "Cannot write .: it is not an ordinary file.\n"),
        (["export", "/dev/null", "--force"], "Cannot write /dev/null: it is not an ordinary file.\n"),
        (["export", "missing/items.csv"], "Cannot write missing/items.csv: No such file or directory.\n"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_a_sentence(configured: Terminal, words: list[str], told: str) -> None:
    done = configured.run(*words)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_an_unknown_format_is_a_usage_error(configured: Terminal) -> None:
    done = configured.run("export", "items.xml", "--format", "xml")

    assert done.returncode == 2
    assert files(configured) == []


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_file(configured: Terminal) -> None:
    ItemFactory.create_batch(20, description="x" * 5000)

    # A limit on files stands for the disk: its block is 512 bytes or 1 KiB.
    limited = run_shell(configured, "ulimit -f 8; $SERVICE export items.ndjson")
    full = run_shell(configured, "$SERVICE export - > /dev/full")

    assert (limited.returncode, limited.stderr) == (1, "Cannot write items.ndjson: File too large.\n")
    assert (full.returncode, full.stderr) == (1, "Cannot write -: No space left on device.\n")
    assert files(configured) == []


@pytest.mark.slow
def test_a_reader_of_standard_output_may_leave_early(configured: Terminal) -> None:
    ItemFactory.create_batch(50, description="x" * 10_000)

    told = run_shell(configured, "{ $SERVICE export -; echo $? >&2; } | head -c 10")

    assert told.stdout == '{"id":1,"n'
    assert told.stderr == "141\n"


def test_an_interrupted_import_imports_nothing(configured: Terminal, engine: Engine) -> None:
    pipe = configured.directory / "pipe"
    os.mkfifo(pipe)
    importing = configured.start("import", "pipe")
    with pipe.open("w") as feed, engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        feed.write(FILE)
        feed.flush()
        copying = text("SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database()")
        wait_until(lambda: connection.execute(copying).scalar_one(), seconds=30)

        status = importing.stop(signal.SIGINT)

    assert status == 130, importing.output
    assert "Traceback" not in importing.output
    assert stored_names(engine) == []


def test_a_database_that_is_behind_or_away_is_told_in_a_sentence(configured: Terminal, empty_database: URL) -> None:
    write(configured, "items.ndjson", FILE)

    behind = configured.run("import", "items.ndjson", DATABASE_URL=show(empty_database))
    away = configured.run("export", "new.ndjson", DATABASE_URL="postgresql://127.0.0.1:1/items")

    assert (behind.returncode, away.returncode) == (1, 1)
    assert "alembic upgrade head" in behind.stderr
    assert "Connection refused" in away.stderr
    assert "Traceback" not in behind.stderr + away.stderr
    assert files(configured) == ["items.ndjson"]
