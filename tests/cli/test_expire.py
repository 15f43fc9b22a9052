"""`service expire`, as cron runs it."""

import pytest
from sqlalchemy import Engine, text

from tests.cli.conftest import Terminal

pytestmark = pytest.mark.db(isolation="clone")


def test_expire_drops_what_was_committed_longer_ago_than_changes_are_kept(configured: Terminal, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (name, price) VALUES ('a', 1), ('b', 1)"))
    first = configured.run("expire", CHANGES_KEPT_DAYS="3")
    with engine.begin() as connection:
        connection.execute(text("UPDATE item_change_mark SET taken_at = taken_at - interval '3 days 1 second'"))
        connection.execute(text("UPDATE item SET price = 2"))

    second = configured.run("expire", CHANGES_KEPT_DAYS="3")

    assert (first.returncode, first.stdout, first.stderr) == (0, "Dropped 0 changes.\n", "")
    assert (second.returncode, second.stdout, second.stderr) == (0, "Dropped 2 changes.\n", "")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT array_agg(version) FROM item_change")).scalar_one() == [2, 2]
