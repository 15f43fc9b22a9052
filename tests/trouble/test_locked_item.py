"""An item that somebody else holds is trouble for those who write it, and for nobody else."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from sqlalchemy import Engine, text
from sqlmodel import Session

from service.testing.live import LiveServer
from tests.factories import ItemFactory
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]

CHANGED = {"name": "Changed", "price": 1}
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def test_sixty_writers_of_a_locked_item_are_503_within_5_s_and_others_are_served_as_usual(
    live_server: LiveServer, session: Session, engine: Engine
) -> None:
    held, other = (ItemFactory.create().id for _ in range(2))
    session.commit()
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    session.execute(text("SELECT FROM item WHERE id = :id FOR UPDATE"), {"id": held})

    def count_waiting() -> int:
        with engine.connect() as connection:
            number: int = connection.execute(WAITING).scalar_one()
        return number

    with ThreadPoolExecutor(60) as threads:
        stuck = [
            threads.submit(requests.put, f"{live_server.url}/items/{held}", json=CHANGED, timeout=20) for _ in range(60)
        ]
        wait_until(count_waiting, seconds=10)
        served = [
            requests.get(f"{live_server.url}/items/?limit=2", timeout=5),
            requests.post(f"{live_server.url}/items/", json=CHANGED, timeout=5),
            requests.put(f"{live_server.url}/items/{other}", json=CHANGED, timeout=5),
            requests.delete(f"{live_server.url}/items/{other}", timeout=5),
        ]
        assert not any(future.done() for future in stuck)
        refused = [future.result() for future in stuck]

    assert [answer.status_code for answer in served] == [200] * 4
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert max(answer.elapsed.total_seconds() for answer in refused) < 5
    session.rollback()
    assert requests.put(f"{live_server.url}/items/{held}", json=CHANGED, timeout=5).json()["version"] == 2


def test_sixty_writers_of_one_item_are_all_served(live_server: LiveServer, session: Session) -> None:
    item_id = ItemFactory.create().id
    session.commit()

    with ThreadPoolExecutor(60) as threads:
        url = f"{live_server.url}/items/{item_id}"
        answers = [threads.submit(requests.put, url, json=CHANGED, timeout=20) for _ in range(60)]

    assert {answer.result().status_code for answer in answers} == {200}
    assert sorted(answer.result().json()["version"] for answer in answers) == list(range(2, 62))
