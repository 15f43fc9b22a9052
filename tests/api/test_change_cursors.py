"""What a cursor of the feed holds, how it expires, and what is refused as one."""

from contextlib import ExitStack

import pytest
from httpx2 import Response
from sqlalchemy import Connection, Engine, text
from sqlmodel import Session
from starlette.testclient import TestClient

from service.expiry import expire_changes
from service.feed import FEED_POSITION
from service.web.cursors import make_cursor, read_cursor
from tests.api.following import SCOPE, WIDGET, Follower, insert
from tests.unit.test_cursors import forge

pytestmark = pytest.mark.db(isolation="clone")


@pytest.mark.db(isolation="rollback")
@pytest.mark.parametrize(
    "cursor",
    [
        *("", "NOW", "0", "x", "ü", "A" * 7000),
        *(
            forge(content, SCOPE)
            for content in (
                *(b"[]", b'["x"]', b'["x",[]]', b'["x",[0]]', b'["x",[-1]]', b'["x",["1"]]', b'["x","1:1:"]', b"{}"),
                *(b'["x",[5,5]]', b'["x",[5,-1]]', b'["x",[9223372036854775808]]', b'["x",[1],[0],0]', b'["x",[1.5]]'),
                *(b'["x",[1],null,-1]', b'["x",[1],null,9223372036854775808]', b'["x",[1],null,0,0]', b"[1,[1]]"),
            )
        ),
    ],
    ids=lambda cursor: ascii(cursor)[:24],
)
def test_a_cursor_that_is_none_is_refused(client: TestClient, cursor: str) -> None:
    response = client.get(SCOPE, params={"since": cursor})

    assert (response.status_code, response.json()["type"]) == (400, "/problems/invalid-cursor")


def test_a_cursor_of_the_list_is_refused(client: TestClient) -> None:
    for _ in range(2):
        client.post("/items/", json=WIDGET)
    cursor = client.get("/items/?limit=1").links["next"]["url"].rpartition("=")[2]

    assert client.get(SCOPE, params={"since": cursor}).json()["type"] == "/problems/invalid-cursor"


def test_a_cursor_of_another_database_says_to_begin_anew(client: TestClient) -> None:
    cursor = client.get(f"{SCOPE}?since=now").headers["X-Next-Cursor"]
    foreign = read_cursor(cursor, FEED_POSITION, SCOPE)._replace(feed="7.00000001.5.16384")

    assert_expired(client.get(SCOPE, params={"since": make_cursor(foreign, FEED_POSITION, SCOPE)}))


def test_a_cursor_holds_every_transaction_that_was_under_way(client: TestClient, engine: Engine) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(engine.connect()) for _ in range(12)]
        for number, writer in enumerate(writers, start=1):
            insert(writer, number)
        follower = Follower(client)
        assert follower.follow() == []
        for writer in writers[::2]:
            writer.commit()
        assert [change[0] for change in follower.follow()] == [1, 3, 5, 7, 9, 11]
        for writer in reversed(writers):
            writer.commit()

        assert [change[0] for change in follower.follow()] == [2, 4, 6, 8, 10, 12]
        assert len(follower.cursor or "") < 200


def test_what_was_committed_too_long_ago_expires_and_older_cursors_with_it(
    client: TestClient, follower: Follower, session: Session, connections: list[Connection]
) -> None:
    slow, quick, _ = connections
    insert(slow, 1)
    insert(quick, 2)
    quick.commit()
    old = client.get(f"{SCOPE}?limit=1&since=now").headers["X-Next-Cursor"]
    insert(quick, 3)
    quick.commit()
    expire(session)
    follower.follow()
    insert(quick, 4)
    quick.commit()
    slow.commit()

    assert expire(session, marks_are_old=True) == 2

    assert_expired(client.get(SCOPE, params={"since": old}))
    # A change counts by its COMMIT, which came after the mark.
    assert follower.follow() == [(1, 1, False), (4, 1, False)]
    assert Follower(client).follow() == [(1, 1, False), (4, 1, False)]
    assert Follower(client, limit=1).follow() == [(1, 1, False), (4, 1, False)]


def test_nothing_expires_before_its_time(client: TestClient, session: Session) -> None:
    client.post("/items/", json=WIDGET)

    assert [expire(session) for _ in range(3)] == [0, 0, 0]
    assert len(client.get(SCOPE).json()) == 1


def test_a_long_answer_that_expires_on_the_way_says_so(client: TestClient, session: Session) -> None:
    for _ in range(3):
        client.post("/items/", json=WIDGET)
    first = client.get(f"{SCOPE}?limit=2")
    expire(session)
    expire(session, marks_are_old=True)

    assert_expired(client.get(first.links["next"]["url"]))


def test_expiry_drops_what_a_dump_brought_from_a_cluster_that_is_ahead(client: TestClient, session: Session) -> None:
    client.post("/items/", json=WIDGET)
    session.execute(text("UPDATE item_change SET xid = xid + 1000000"))
    session.execute(text("UPDATE item_change_mark SET feed = 'of another cluster'"))
    session.commit()
    expire(session)

    assert client.get(SCOPE).json() == []
    assert expire(session, marks_are_old=True) == 1


def expire(session: Session, *, marks_are_old: bool = False) -> int:
    """What `service expire` does, a month after the last run if `marks_are_old`."""
    if marks_are_old:
        session.execute(text("UPDATE item_change_mark SET taken_at = taken_at - interval '31 days'"))
    return expire_changes(session, days=30)


def assert_expired(response: Response) -> None:
    assert response.json() == {
        "type": "/problems/changes-expired",
        "title": "Changes expired",
        "status": 410,
        "detail": (
            "The changes after this cursor are not kept any more. Begin with `since=now`, read the whole list, and then"
            " go on from that cursor."
        ),
        "instance": "/items/changes",
    }
