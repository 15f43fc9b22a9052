"""Idempotency-Key on POST: the first answer is stored with what it changed, and repeated."""

from datetime import timedelta

import pytest
from httpx2 import Response
from sqlalchemy import text
from sqlmodel import Session, col, func, select, update
from starlette.testclient import TestClient

from service.expiry import expire_answers
from service.models import Item, StoredAnswer
from service.testing.listeners import recording
from service.testing.queries import Query
from tests.api.conftest import ClientWith

CREATE = {"op": "create", "item": {"name": "Kettle", "price": 34.9}}
KETTLE = {"name": "Kettle", "description": None, "price": 34.9}
DAY = timedelta(hours=24)


def post(client: TestClient, key: str | bytes = "one", path: str = "/items/", **changes: object) -> Response:
    value = key.encode() if isinstance(key, str) else key
    return client.post(path, json=KETTLE | changes, headers={b"Idempotency-Key": value})


def lasting_headers(answer: Response) -> list[tuple[bytes, bytes]]:
    """The headers but for the request's id, which each answer gets anew."""
    return [(name, value) for name, value in answer.headers.raw if name.lower() != b"x-request-id"]


def count(session: Session, table: type[Item | StoredAnswer]) -> int:
    return session.exec(select(func.count()).select_from(table)).one()


def verbs(queries: list[Query]) -> list[str]:
    """How each of the request's statements begins; the cache's own, on another connection, may come in between."""
    return [query.statement.split()[0] for query in queries if "cache_epoch" not in query.statement]


def age(session: Session, by: timedelta) -> None:
    """Let every stored answer be that much older."""
    session.exec(update(StoredAnswer).values(created_at=col(StoredAnswer.created_at) - by))
    session.commit()


def test_a_repeat_gets_the_first_answer_byte_for_byte(client: TestClient, session: Session) -> None:
    first = post(client)
    client.put(first.headers["Location"], json={"name": "Changed since", "price": 1})

    repeat = post(client)

    assert (first.status_code, first.json()["name"]) == (200, "Kettle")
    assert (repeat.status_code, repeat.content) == (200, first.content)
    assert lasting_headers(repeat) == [*lasting_headers(first), (b"idempotency-replayed", b"true")]
    assert {"location", "etag", "content-type", "content-length"} <= set(first.headers)
    assert repeat.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert count(session, Item) == 1


def test_without_a_key_each_post_is_another(client: TestClient, session: Session) -> None:
    answers = [client.post("/items/", json=KETTLE) for _ in range(2)]

    assert answers[0].json()["id"] != answers[1].json()["id"]
    assert all("Idempotency-Replayed" not in answer.headers for answer in answers)
    assert count(session, StoredAnswer) == 0


def test_a_key_costs_three_queries_and_a_repeat_is_two_and_without_a_key_nothing_is_added(client: TestClient) -> None:
    with recording() as without:
        client.post("/items/", json=KETTLE)
    with recording() as first:
        post(client)
    with recording() as repeat:
        post(client)

    assert verbs(without) == ["INSERT"]
    assert verbs(first) == ["SELECT", "SELECT", "INSERT", "WITH"]
    assert verbs(repeat) == ["SELECT", "SELECT"]


def test_keys_differ_in_every_character(client: TestClient) -> None:
    keys = ["a", "A", "a/", '"a"', "!", "~", "a" * 255]

    assert len({post(client, key).json()["id"] for key in keys}) == len(keys)
    assert all(post(client, key).headers["Idempotency-Replayed"] == "true" for key in keys)


@pytest.mark.parametrize("padded", [b" padded", b"padded \t"])
def test_white_space_around_a_key_is_no_part_of_it(client: TestClient, padded: bytes) -> None:
    post(client, "padded")

    assert post(client, padded).headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    "keys",
    [
        [b""],
        [b" "],
        [b"a" * 256],
        [b"a b"],
        [b"a\tb"],
        [b"caf\xe9"],
        ["é".encode()],
        [b"\x7f"],
        [b"a", b"b"],
        [b"a", b"a"],
    ],
    ids=str,
)
def test_what_is_not_one_key_of_1_to_255_visible_characters_is_400(
    client: TestClient, session: Session, keys: list[bytes]
) -> None:
    answer = client.post("/items/", json=KETTLE, headers=[(b"Idempotency-Key", key) for key in keys])

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "/problems/invalid-idempotency-key",
        "title": "Invalid idempotency key",
        "status": 400,
        "detail": "Send one header Idempotency-Key with 1 to 255 visible ASCII characters, a UUID for example.",
        "instance": "/items/",
    }
    assert count(session, Item) == 0


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_other_methods_ignore_the_header(client: TestClient, method: str) -> None:
    client.post("/items/", json=KETTLE)

    for _ in range(2):
        answer = client.request(
            method, "/items/1", json=KETTLE if method == "PUT" else None, headers={"Idempotency-Key": ""}
        )
        assert answer.status_code in (200, 404)
        assert "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"name":"Kettle","description":null,"price":35}', "application/json"),
        (b'{"name":"Kettle","description":null,"price":34.90}', "application/json"),
        (b'{"name":"Kettle","description":null,"price":34.9}', "application/json; charset=utf-8"),
    ],
    ids=["value", "bytes", "content type"],
)
def test_another_payload_under_the_same_key_is_422(
    client: TestClient, session: Session, body: bytes, content_type: str
) -> None:
    first = post(client)

    answer = client.post("/items/", content=body, headers={"Content-Type": content_type, "Idempotency-Key": "one"})

    assert answer.status_code == 422
    assert answer.json() == {
        "type": "/problems/idempotency-key-reused",
        "title": "Idempotency key reused",
        "status": 422,
        "detail": "This Idempotency-Key was sent with another request. Each request needs a key of its own.",
        "instance": "/items/",
        "errors": [{"pointer": "Idempotency-Key", "detail": "belongs to a request of another path or payload"}],
    }
    assert post(client).content == first.content
    assert count(session, Item) == 1


def test_a_key_belongs_to_its_path(client: TestClient) -> None:
    post(client)

    answer = client.post("/items/batch", json={"operations": [CREATE]}, headers={"Idempotency-Key": "one"})

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_a_batch_is_done_once_for_its_key(client: TestClient, session: Session) -> None:
    answers = [
        client.post("/items/batch", json={"operations": [CREATE, CREATE]}, headers={"Idempotency-Key": "batch"})
        for _ in range(3)
    ]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    assert ["Idempotency-Replayed" in answer.headers for answer in answers] == [False, True, True]
    assert count(session, Item) == 2


def test_a_file_is_imported_once_for_its_key(client: TestClient, session: Session) -> None:
    headers = {"Idempotency-Key": "file", "Content-Type": "text/csv"}
    # As it is streamed, and so told from others only at its end.
    answers = [
        client.post("/items/import", content=iter([b"name,price\nA,1\n", end]), headers=headers)
        for end in (b"B,2\n", b"B,2\n", b"B,3\n")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert [answer.json() for answer in answers[:2]] == [{"created": 2, "updated": 0, "rejected": 0}] * 2
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert answers[2].json()["type"] == "/problems/idempotency-key-reused"
    assert count(session, Item) == 2


def test_a_rejected_file_leaves_its_key_free(client: TestClient) -> None:
    headers = {"Idempotency-Key": "file", "Content-Type": "text/csv"}
    answers = [
        client.post("/items/import", content=content, headers=headers)
        for content in (b"name,price\nA,x\n", b"name,price\nA,1\n")
    ]

    assert [answer.status_code for answer in answers] == [422, 200]


def test_a_request_that_was_refused_leaves_its_key_free(client: TestClient) -> None:
    assert post(client, price=-1).status_code == 422

    assert "Idempotency-Replayed" not in post(client).headers
    assert post(client).headers["Idempotency-Replayed"] == "true"


@pytest.mark.db(isolation="clone")
def test_what_rolls_back_leaves_its_key_free(client_with: ClientWith, session: Session) -> None:
    client = client_with()
    session.execute(text("ALTER TABLE item ADD CONSTRAINT no_kettles CHECK (name <> 'Kettle')"))
    session.commit()
    assert post(client).status_code == 500
    session.execute(text("ALTER TABLE item DROP CONSTRAINT no_kettles"))
    session.commit()

    answers = [post(client) for _ in range(2)]

    assert ["Idempotency-Replayed" in answer.headers for answer in answers] == [False, True]
    assert count(session, Item) == 1


def test_a_key_lives_for_24_hours(client: TestClient, session: Session) -> None:
    first = post(client)
    age(session, DAY - timedelta(minutes=1))
    assert post(client).content == first.content

    age(session, timedelta(minutes=1))
    second = post(client, name="Another kettle")

    assert (second.status_code, second.json()["name"]) == (200, "Another kettle")
    assert "Idempotency-Replayed" not in second.headers
    assert post(client, name="Another kettle").content == second.content
    assert count(session, StoredAnswer) == 1


def test_each_new_key_takes_ten_that_expired_along(client: TestClient, session: Session) -> None:
    for n in range(12):
        post(client, f"old-{n}")
    age(session, DAY)

    post(client, "new")

    assert count(session, StoredAnswer) == 3
    assert count(session, Item) == 13


def test_expiry_removes_what_has_expired_and_nothing_else(
    client: TestClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.expiry.EXPIRY_BATCH", 2)
    for n in range(15):
        post(client, f"old-{n}")
    age(session, DAY)
    first = post(client, "old-0")
    kept = count(session, StoredAnswer)

    assert expire_answers(session) == kept - 1
    assert expire_answers(session) == 0

    assert post(client, "old-0").content == first.content
    assert count(session, Item) == 16


def test_the_key_is_described(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/items/"]["post"]

    assert [parameter["name"] for parameter in operation["parameters"]] == ["Idempotency-Key"]
    assert {"400", "409", "422"} <= set(operation["responses"])
