"""`service expire`, as cron runs it."""

import pytest
from sqlalchemy import Engine, text

from tests.cli.conftest import Terminal

pytestmark = pytest.mark.db(isolation="clone")

STORE = text(
    "INSERT INTO stored_answer (key, fingerprint, status, headers, body, created_at)"
    " VALUES (:key, sha256(''), 200, '[]', '', now() - :age * interval '1 hour')"
)


def test_expire_removes_answers_of_more_than_24_hours_and_needs_no_redis(configured: Terminal, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(STORE, [{"key": f"{age} hours old", "age": age} for age in (0, 23, 25, 48)])

    told = configured.run("expire", REDIS_URL="")

    assert (told.returncode, told.stdout, told.stderr) == (0, "Removed 0 changes and 2 answers.\n", "")
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT key FROM stored_answer ORDER BY key")).scalars().all()
    assert kept == ["0 hours old", "23 hours old"]


def test_expire_drops_what_was_committed_longer_ago_than_changes_are_kept(configured: Terminal, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (name, price) VALUES ('a', 1), ('b', 1)"))
    first = configured.run("expire", CHANGES_KEPT_DAYS="3")
    with engine.begin() as connection:
        connection.execute(text("UPDATE item_change_mark SET taken_at = taken_at - interval '3 days 1 second'"))
        connection.execute(text("UPDATE item SET price = 2"))

    second = configured.run("expire", CHANGES_KEPT_DAYS="3")

    assert (first.returncode, first.stdout, first.stderr) == (0, "Removed 0 changes and 0 answers.\n", "")
    assert (second.returncode, second.stdout, second.stderr) == (0, "Removed 2 changes and 0 answers.\n", "")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT array_agg(version) FROM item_change")).scalar_one() == [2, 2]
