"""The feed of changes: whoever follows it has what the table has, whatever order transactions commit in."""

import pytest
from sqlalchemy import Connection, text
from starlette.testclient import TestClient

from tests.api.following import SCOPE, WIDGET, Follower, insert, run

# The feed tells what was committed.
pytestmark = pytest.mark.db(isolation="clone")


def test_each_write_is_a_change_with_the_item_as_it_is_now(client: TestClient) -> None:
    kept = client.post("/items/", json=WIDGET).json()
    gone = client.post("/items/", json=WIDGET).json()
    changed = client.put(f"/items/{kept['id']}", json={"name": "Gadget", "price": 2}).json()
    client.delete(f"/items/{gone['id']}")

    response = client.get(SCOPE)

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.headers["Cache-Control"] == "no-store"
    assert "Link" not in response.headers
    assert response.json() == [
        {"id": kept["id"], "version": 1, "deleted": False, "item": changed},
        {"id": gone["id"], "version": 1, "deleted": False, "item": None},
        {"id": kept["id"], "version": 2, "deleted": False, "item": changed},
        {"id": gone["id"], "version": 1, "deleted": True, "item": None},
    ]


def test_a_refused_write_is_no_change(client: TestClient) -> None:
    for method, path, body in [
        ("POST", "/items/", {"name": ""}),
        ("PUT", "/items/1", WIDGET),
        ("DELETE", "/items/1", None),
    ]:
        assert client.request(method, path, json=body).status_code in {404, 422}

    assert client.get(SCOPE).json() == []


def test_what_was_told_is_not_told_again(client: TestClient, follower: Follower) -> None:
    client.post("/items/", json=WIDGET)

    assert [len(follower.follow()) for _ in range(3)] == [1, 0, 0]
    client.put(f"/items/{next(iter(follower.copy))}", json=WIDGET)
    assert [len(follower.follow()) for _ in range(2)] == [1, 0]


def test_now_passes_by_what_was_changed_so_far(client: TestClient, follower: Follower) -> None:
    client.post("/items/", json=WIDGET)
    start = client.get(SCOPE, params={"since": "now"})
    later = client.post("/items/", json=WIDGET).json()["id"]
    follower.cursor = start.headers["X-Next-Cursor"]

    assert (start.json(), "Link" in start.headers) == ([], False)
    assert follower.follow() == [(later, 1, False)]


def test_a_long_answer_comes_in_pages(client: TestClient) -> None:
    ids = [client.post("/items/", json=WIDGET).json()["id"] for _ in range(5)]
    limits = [1, 2, 3, 5, 6]

    told = {limit: Follower(client, limit).follow() for limit in limits}
    first = {limit: len(client.get(f"{SCOPE}?limit={limit}").json()) for limit in limits}

    assert told == {limit: [(item_id, 1, False) for item_id in ids] for limit in limits}
    assert first == {1: 1, 2: 2, 3: 3, 5: 5, 6: 5}


def test_what_is_changed_between_two_pages_comes_after_them(client: TestClient) -> None:
    ids = [client.post("/items/", json=WIDGET).json()["id"] for _ in range(3)]
    first = client.get(f"{SCOPE}?limit=2")
    client.put(f"/items/{ids[2]}", json=WIDGET)
    client.delete(f"/items/{ids[0]}")
    second = client.get(first.links["next"]["url"])
    third = client.get(SCOPE, params={"since": second.headers["X-Next-Cursor"]})

    told = [
        [(change["id"], change["version"], change["deleted"]) for change in page.json()]
        for page in (first, second, third)
    ]

    assert told == [
        [(ids[0], 1, False), (ids[1], 1, False)],
        [(ids[2], 1, False)],
        [(ids[2], 2, False), (ids[0], 1, True)],
    ]
    assert [change["item"] and change["item"]["version"] for change in second.json()] == [2]


def test_a_transaction_that_begins_first_and_commits_last_is_not_missed(
    follower: Follower, connections: list[Connection]
) -> None:
    slow, quick, _ = connections
    insert(slow, 1)
    insert(quick, 2)
    quick.commit()
    before = follower.follow()
    slow.commit()

    assert (before, follower.follow(), follower.follow()) == ([(2, 1, False)], [(1, 1, False)], [])


def test_a_transaction_is_told_whole_though_it_commits_between_two_pages(
    client: TestClient, connections: list[Connection]
) -> None:
    slow, quick, _ = connections
    insert(slow, 1)
    insert(quick, 2)
    insert(quick, 3)
    quick.commit()
    first = client.get(f"{SCOPE}?limit=1")
    insert(slow, 4)
    slow.commit()

    second = client.get(first.links["next"]["url"])
    rest = client.get(SCOPE, params={"since": second.headers["X-Next-Cursor"]})

    told = [[change["id"] for change in page.json()] for page in (first, second, rest)]
    assert told == [[2], [3], [1, 4]]


def test_what_is_rolled_back_is_never_told(follower: Follower, connections: list[Connection]) -> None:
    undone, other, _ = connections
    insert(undone, 1)
    insert(other, 2)
    follower.follow()
    undone.rollback()
    other.commit()

    assert follower.follow() == [(2, 1, False)]


def test_what_a_savepoint_took_back_is_not_told_and_the_rest_is(
    follower: Follower, connections: list[Connection]
) -> None:
    writer, other, _ = connections
    insert(writer, 1)
    run(writer, "SAVEPOINT one")
    insert(writer, 2)
    run(writer, "ROLLBACK TO SAVEPOINT one")
    run(writer, "SAVEPOINT two")
    insert(writer, 3)
    run(writer, "RELEASE SAVEPOINT two")
    insert(other, 4)
    other.commit()
    before = follower.follow()
    writer.commit()

    assert (before, follower.follow()) == ([(4, 1, False)], [(1, 1, False), (3, 1, False)])


def test_the_changes_of_an_item_are_in_their_order_even_when_its_first_writer_began_last(
    follower: Follower, connections: list[Connection]
) -> None:
    first, second, third = connections
    insert(third, 1)
    third.commit()
    # `first` has the smaller transaction number, and changes the item last.
    insert(first, 2)
    run(second, "UPDATE item SET price = 2 WHERE id = 1")
    second.commit()
    run(first, "DELETE FROM item WHERE id = 1")
    first.commit()

    assert [change for change in follower.follow() if change[0] == 1] == [(1, 1, False), (1, 2, False), (1, 2, True)]


def test_an_id_that_is_given_again_is_a_new_item(follower: Follower, connections: list[Connection]) -> None:
    writer = connections[0]
    for _ in range(2):
        insert(writer, 1)
        run(writer, "DELETE FROM item WHERE id = 1")
    insert(writer, 1)
    writer.commit()

    assert follower.follow() == [(1, 1, False), (1, 1, True)] * 2 + [(1, 1, False)]
    assert follower.copy[1]["version"] == 1


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("UPDATE item SET price = 3", [(1, 2, False), (2, 2, False)]),
        ("UPDATE item SET id = 3 WHERE id = 1", [(1, 1, True), (3, 2, False)]),
        ("DELETE FROM item", [(1, 1, True), (2, 1, True)]),
        ("TRUNCATE item", [(1, 1, True), (2, 1, True)]),
        ("UPDATE item SET price = 3 WHERE id = 9", []),
        (
            "INSERT INTO item (id, name, price) VALUES (1, 'x', 1) ON CONFLICT (id) DO UPDATE SET price = 9",
            [(1, 2, False)],
        ),
        ("INSERT INTO item (id, name, price) VALUES (1, 'x', 1) ON CONFLICT DO NOTHING", []),
        (
            "WITH gone AS (DELETE FROM item WHERE id = 1) UPDATE item SET price = 9 WHERE id = 2",
            [(1, 1, True), (2, 2, False)],
        ),
    ],
)
def test_a_statement_behind_the_services_back_is_told(
    follower: Follower, connections: list[Connection], statement: str, changes: list[tuple[int, int, bool]]
) -> None:
    writer = connections[0]
    insert(writer, 1)
    insert(writer, 2)
    writer.commit()
    follower.follow()

    run(writer, statement)
    writer.commit()

    assert sorted(follower.follow()) == sorted(changes)
    rows = writer.execute(text("SELECT id, version FROM item")).all()
    assert {item_id: item["version"] for item_id, item in follower.copy.items()} == dict(rows)


def test_a_role_that_may_only_change_items_is_in_the_feed(follower: Follower, connections: list[Connection]) -> None:
    writer = connections[0]
    run(writer, "CREATE ROLE clerk")
    run(writer, "GRANT INSERT, UPDATE, DELETE, SELECT, TRUNCATE ON item TO clerk")
    run(writer, "SET LOCAL ROLE clerk")
    insert(writer, 1)
    run(writer, "UPDATE item SET id = 2")
    run(writer, "TRUNCATE item")
    run(writer, "RESET ROLE")
    run(writer, "DROP OWNED BY clerk")
    run(writer, "DROP ROLE clerk")
    writer.commit()

    assert follower.follow() == [(1, 1, False), (1, 1, True), (2, 2, False), (2, 2, True)]


def test_head_answers_what_get_would(client: TestClient) -> None:
    client.post("/items/", json=WIDGET)

    found, head = client.get(SCOPE), client.head(SCOPE)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == found.headers["Content-Length"]
    assert head.headers["X-Next-Cursor"]


@pytest.mark.db(isolation="rollback")
@pytest.mark.parametrize(
    ("query", "pointer"), [("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor"), ("sort=id", "sort")]
)
def test_a_parameter_that_makes_no_sense_is_refused_by_name(client: TestClient, query: str, pointer: str) -> None:
    response = client.get(f"{SCOPE}?{query}")

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
