"""What the cache does to answers: nothing but say, in a header, where they came from."""

import json
from collections.abc import Callable

import pytest
import redis
from httpx2 import Response
from sqlalchemy import text
from sqlmodel import Session
from starlette.testclient import TestClient

from tests.api.conftest import both_paths
from tests.factories import ItemFactory
from tests.waiting import wait_until

LIST_KEY = "all_items_cache"
HIT = "service; hit"
STORED = "service; fwd=miss; stored"

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.usefixtures("session")]


def item_key(item_id: int) -> str:
    return f"item_cache:{item_id}"


def read_until(client: TestClient, path: str, status: str) -> Response:
    """The first answer that says `status`: on a busy machine the cache may have to be passed by for a moment."""
    answers: list[Response] = []

    def is_there() -> bool:
        answers.append(client.get(path))
        return answers[-1].headers.get("Cache-Status") == status

    wait_until(is_there, seconds=10)
    return answers[-1]


@both_paths
def test_the_first_read_is_stored_and_the_second_a_hit(client: TestClient) -> None:
    item = ItemFactory.create(description="Größe 👍🏽")

    for path in ("/items/", f"/items/{item.id}"):
        stored, hit = (read_until(client, path, status) for status in (STORED, HIT))

        assert stored.content == hit.content
        assert stored.headers["ETag"] == hit.headers["ETag"]


def test_an_item_is_cached_as_one_json_object(client: TestClient, redis_client: redis.Redis) -> None:
    item = ItemFactory.create()

    answer = client.get(f"/items/{item.id}")

    raw = redis_client.get(item_key(item.id))
    assert isinstance(raw, bytes)
    assert json.loads(raw) == answer.json()


def test_a_list_is_cached_as_strings_of_json_each_one_item(client: TestClient, redis_client: redis.Redis) -> None:
    ItemFactory.create_batch(3)

    answer = client.get("/items/")

    raw = redis_client.get(LIST_KEY)
    assert isinstance(raw, bytes)
    assert [json.loads(item) for item in json.loads(raw)] == answer.json()


@both_paths
def test_a_hit_comes_from_redis_alone(client: TestClient, session: Session) -> None:
    item = ItemFactory.create()
    paths = "/items/", f"/items/{item.id}"

    def are_read_without_postgresql() -> bool:
        before = [read_until(client, path, HIT).content for path in paths]
        # An exclusive lock: whoever asks PostgreSQL for items now has to wait, and fails.
        session.execute(text("LOCK TABLE item IN ACCESS EXCLUSIVE MODE"))
        after = [client.get(path).content for path in paths]
        session.rollback()
        return after == before

    # Not always at once: to a busy machine Redis may seem dead for a moment, and its entries are dropped then.
    wait_until(are_read_without_postgresql, seconds=20)


def test_only_the_default_page_is_cached(client: TestClient, redis_client: redis.Redis) -> None:
    ItemFactory.create_batch(2)

    answer = client.get("/items/?limit=1")

    assert "Cache-Status" not in answer.headers
    assert redis_client.dbsize() == 0


def test_what_does_not_exist_is_not_cached(client: TestClient, redis_client: redis.Redis) -> None:
    absent, asked = client.get("/items/1"), client.get("/items/1", headers={"Cache-Control": "no-cache"})

    assert (absent.status_code, absent.headers["Cache-Status"]) == (404, "service; fwd=miss")
    assert (asked.status_code, asked.headers["Cache-Status"]) == (404, "service; fwd=request")
    assert redis_client.dbsize() == 0
    ItemFactory.create()
    assert client.get("/items/1").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_write_drops_the_item_and_the_list_but_no_other_item(
    client: TestClient, redis_client: redis.Redis, method: str
) -> None:
    written, other = (item.id for item in ItemFactory.create_batch(2))
    for path in ("/items/", f"/items/{written}", f"/items/{other}"):
        client.get(path)

    response = client.request(method, f"/items/{written}", json={"name": "x", "price": 1} if method == "PUT" else None)

    assert response.status_code == 200
    assert redis_client.exists(LIST_KEY, item_key(written)) == 0
    assert redis_client.exists(item_key(other)) == 1


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/items/"), ("PUT", "/items/{id}"), ("PUT", "/items/999"), ("DELETE", "/items/999")]
)
def test_a_refused_write_changes_nothing(client: TestClient, method: str, path: str) -> None:
    item = ItemFactory.create()
    before = client.get("/items/")

    refused = client.request(
        method, path.format(id=item.id), json={"name": "", "price": 1} if method != "DELETE" else None
    )

    assert refused.status_code in {404, 422}
    after = client.get("/items/")
    assert (after.content, after.headers["ETag"]) == (before.content, before.headers["ETag"])


@both_paths
def test_what_was_written_is_what_is_read_next(client: TestClient) -> None:
    address = client.post("/items/", json={"name": "0", "price": 1}).headers["Location"]
    for number in range(1, 6):
        reads = [client.get(path).json() for path in (address, "/items/", address, "/items/")]
        assert reads[0] == reads[1][0] == reads[2] == reads[3][0]

        client.put(address, json={"name": str(number), "price": 1})

        assert client.get(address).json()["name"] == str(number)
        assert client.get("/items/").json()[0]["name"] == str(number)


def test_an_entry_does_not_live_for_ever(client: TestClient, redis_client: redis.Redis) -> None:
    item = ItemFactory.create()
    client.get("/items/")
    client.get(f"/items/{item.id}")

    assert [0 < redis_client.pttl(key) <= 30_000 for key in (LIST_KEY, item_key(item.id))] == [True, True]


def not_json(_payload: bytes) -> bytes:
    return b"\xff\xfe garbage"


def truncated(payload: bytes) -> bytes:
    return payload[: len(payload) // 2]


def empty(_payload: bytes) -> bytes:
    return b""


def other_shape(_payload: bytes) -> bytes:
    return b'{"id": 1}'


def numbers(_payload: bytes) -> bytes:
    return b"[1, 2]"


def null(_payload: bytes) -> bytes:
    return b"null"


def strings_that_are_not_items(_payload: bytes) -> bytes:
    return b'["garbage", "}{"]'


def items_cut_short(payload: bytes) -> bytes:
    return payload.replace(b"}", b"")


Spoil = Callable[[bytes], bytes]
SPOILERS: list[Spoil] = [
    not_json,
    truncated,
    empty,
    other_shape,
    numbers,
    null,
    strings_that_are_not_items,
    items_cut_short,
]


@pytest.mark.parametrize("spoil", SPOILERS)
@pytest.mark.parametrize("path", ["/items/", "/items/1"])
def test_garbage_in_redis_is_a_miss_and_replaced(
    client: TestClient, redis_client: redis.Redis, path: str, spoil: Spoil
) -> None:
    ItemFactory.create()
    key = LIST_KEY if path == "/items/" else item_key(1)
    # More than once on a machine so busy that Redis seems dead for a moment.
    wait_until(lambda: client.get(path).is_success and redis_client.exists(key), seconds=10)
    good, payload = client.get(path), redis_client.get(key)
    assert isinstance(payload, bytes)
    redis_client.set(key, spoil(payload), keepttl=True)

    answer = client.get(path)

    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (200, good.content, good.headers["ETag"])
    # The latter on a machine so busy that the epoch had to be waited for: it is stored by the next read then.
    assert answer.headers["Cache-Status"] in (STORED, "service; fwd=bypass; detail=foreign-bytes")
    assert client.get(path).content == good.content
    assert redis_client.get(key) == payload


def test_a_key_of_another_type_is_worked_around_and_dropped_by_the_next_write(
    client: TestClient, redis_client: redis.Redis
) -> None:
    ItemFactory.create()
    redis_client.rpush(LIST_KEY, "not a string")

    assert len(client.get("/items/").json()) == 1

    client.post("/items/", json={"name": "x", "price": 1})
    assert redis_client.exists(LIST_KEY) == 0
    assert len(client.get("/items/").json()) == 2
