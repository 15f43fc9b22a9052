"""Hits answered on the event loop are the application's answers, sooner."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
import redis
from httpx2 import Response
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from service.embedded import RedisServer
from tests.cache.clients import StartClient, find_together_on_the_loop, warm
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

PATHS = ["/items/", "/items/1", "/items/2", "/items/01", "/items/x", "/items/1?a=b", "/items/?limit=1", "/items"]
HEADERS = [{}, {"If-None-Match": "*"}, {"If-None-Match": '"other", W/"another"'}, {"Cache-Control": "no-cache"}]


def test_the_answers_are_the_same_without_the_fast_path(start_client: StartClient) -> None:
    fast, plain = warm_pair(start_client)
    for method, path, headers in product(("GET", "HEAD"), PATHS, HEADERS):
        one, other = (client.request(method, path, headers=headers, follow_redirects=False) for client in (fast, plain))

        assert one.status_code == other.status_code
        assert one.content == other.content
        assert comparable(one) == comparable(other)


@pytest.mark.parametrize("given", ["0b0d0ba2c7a94d2f8f1d5c3e9a7b6c5d", "0B0D0BA2-C7A9-4D2F-8F1D-5C3E9A7B6C5D"])
def test_a_request_id_is_kept(start_client: StartClient, given: str) -> None:
    for client in warm_pair(start_client):
        # Of several headers the first counts.
        answer = client.get("/items/1", headers=[("X-Request-ID", given), ("X-Request-ID", "2" * 32)])

        assert answer.headers["cache-status"] == "service; hit"
        assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"not an id", b"\xb5" * 32])
def test_a_request_id_that_is_none_is_replaced(start_client: StartClient, given: bytes) -> None:
    for client in warm_pair(start_client):
        answer = client.get("/items/1", headers=[(b"X-Request-ID", given)])

        assert answer.headers["cache-status"] == "service; hit"
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_a_hit_needs_no_thread(start_client: StartClient, engine: Engine) -> None:
    client = start_client(threads=1, lock_timeout_ms=1900)
    warm(client)
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_hit_while_the_thread_waits() -> bool:
        with ThreadPoolExecutor() as executor, engine.connect() as locker, engine.connect() as watcher:
            locker.execute(text("LOCK TABLE item"))
            slow = executor.submit(client.get, "/items/?limit=1")
            wait_until(lambda: watcher.execute(waiting).scalar_one() == 1, seconds=5)

            assert client.get("/items/1").headers["cache-status"] == "service; hit"
            still_waits = not slow.done()
            locker.rollback()
            return still_waits and slow.result().status_code == 200

    # The thread waits no longer than 1.9 s, which a busy machine may take for all this.
    assert any(is_hit_while_the_thread_waits() for _ in range(3))


def test_an_answer_that_is_an_error_belongs_to_its_own_key(start_client: StartClient, own_redis: RedisServer) -> None:
    client = start_client()
    warm(client)
    with redis.Redis.from_url(str(own_redis.tcp_url)) as administrator:
        genuine = administrator.get("item_cache:1")
        administrator.acl_setuser("default", reset_keys=True, keys=["item_cache:1", "{item_cache:1}:*"])

    for _ in range(2):
        for keys in (["item_cache:1", "all_items_cache"], ["all_items_cache", "item_cache:1"]):
            found = find_together_on_the_loop(client, *keys)

            assert dict(zip(keys, found, strict=True)) == {"item_cache:1": genuine, "all_items_cache": None}


def test_a_tag_answers_304_and_an_outdated_one_200(start_client: StartClient) -> None:
    client = start_client()
    warm(client)
    tag = client.get("/items/1").headers["etag"]

    assert client.get("/items/1", headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
    for lines in (
        [("If-None-Match", '"x"'), ("If-None-Match", tag)],
        [("If-None-Match", tag), ("If-None-Match", '"x"')],
    ):
        assert client.get("/items/1", headers=lines).status_code == 304
    client.put("/items/1", json={"name": "new", "price": 1})
    changed = client.get("/items/1", headers={"If-None-Match": tag})

    assert (changed.status_code, changed.json()["name"]) == (200, "new")


def test_the_address_of_the_second_worker_sees_what_the_first_wrote(start_client: StartClient) -> None:
    one, two = start_client(), start_client()
    warm(one)
    assert two.get("/items/1").headers["cache-status"] == "service; hit"

    one.put("/items/1", json={"name": "new", "price": 1})

    assert two.get("/items/1").json()["name"] == "new"
    assert two.get("/items/").json()[0]["name"] == "new"


@pytest.mark.parametrize("key", ["all_items_cache", "item_cache:1"])
@pytest.mark.parametrize("value", [b"", b"garbage", b"\xff\xfe", b"null", b"[1]", b"{}", b'["{}"]', b'["{", "}"]'])
def test_foreign_bytes_under_our_keys_are_a_miss_and_are_replaced(
    start_client: StartClient, own_redis: RedisServer, key: str, value: bytes
) -> None:
    client = start_client()
    warm(client)
    path = {"all_items_cache": "/items/", "item_cache:1": "/items/1"}[key]
    expected = client.get(path).content
    with redis.Redis.from_url(str(own_redis.tcp_url)) as foreigner:
        genuine = foreigner.get(key)
        foreigner.set(key, value)

        found = client.get(path)

        assert (found.status_code, found.content) == (200, expected)
        assert foreigner.get(key) == genuine


@pytest.mark.parametrize("suffix", ["", ":stamp", ":lease", ":fence"])
def test_foreign_types_under_our_keys_are_dropped(
    start_client: StartClient, own_redis: RedisServer, suffix: str
) -> None:
    client = start_client()
    warm(client)
    key = f"{{item_cache:1}}{suffix}" if suffix else "item_cache:1"
    with redis.Redis.from_url(str(own_redis.tcp_url)) as foreigner:
        foreigner.delete("item_cache:1", key)
        foreigner.hset(key, "foreign", "value")

    assert client.get("/items/1").headers["cache-status"] == "service; fwd=miss; stored"
    client.put("/items/1", json={"name": "new", "price": 1})
    assert client.get("/items/1").json()["name"] == "new"


def warm_pair(start_client: StartClient) -> tuple[TestClient, TestClient]:
    """One client with the fast path and one without, of a warm cache."""
    fast, plain = start_client(), start_client(cache_fast_path=False)
    warm(fast)
    return fast, plain


def comparable(answer: Response) -> dict[str, str]:
    """The headers that two answers to one question share."""
    assert len(answer.headers["x-request-id"]) == 32
    return {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
