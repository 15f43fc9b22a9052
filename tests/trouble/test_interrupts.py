"""Ctrl-C, wherever it hits."""

from collections.abc import Callable

import pytest
from pydantic import SecretStr
from sqlalchemy import URL, text
from sqlmodel import Session

from service.config import DatabaseSettings
from service.database import make_engine, unhurried

pytestmark = pytest.mark.db(isolation="clone")


def interrupt_at(call: int) -> Callable[[], bool]:
    """What says that the server is alive, until Ctrl-C hits it."""
    calls = iter(range(call))

    def is_alive() -> bool:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return True

    return is_alive


@pytest.mark.parametrize("call", [0, 1])
def test_an_interrupt_during_a_long_statement_is_one_and_nothing_is_changed(empty_database: URL, call: int) -> None:
    url = SecretStr(empty_database.render_as_string(hide_password=False))
    engine = make_engine(DatabaseSettings(database_url=url), impatient=True)

    def sleep() -> None:
        with Session(engine) as session, session.begin():
            session.execute(text("CREATE TABLE item ()"))
            with unhurried(session, interrupt_at(call)) as connection:
                connection.execute("SELECT pg_sleep(60)")

    with pytest.raises(KeyboardInterrupt):
        sleep()

    with engine.connect() as another:
        assert another.execute(text("SELECT to_regclass('item')")).scalar_one() is None
    engine.dispose()
