"""Of imports and of exports, few run at once in a process: each has a connection for itself, for long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

import service.web.turns
from service.config import MAX_EXPORTS, MAX_IMPORTS
from service.web.streams import Transfers
from tests.transfers import NDJSON
from tests.waiting import wait_until

Transfer = Callable[[TestClient], Response]
TRANSFERS: dict[str, Transfer] = {
    "imports": lambda client: client.post("/items/import", content=b"", headers=NDJSON),
    "exports": lambda client: client.get("/items/export"),
}
every_transfer = pytest.mark.parametrize(("kind", "transfer"), TRANSFERS.items(), ids=TRANSFERS)


def take_all(app: FastAPI, kind: str) -> asyncio.Semaphore:
    """Take every turn of the kind, of an application that gets its old ones back after the test."""
    app.state.transfers = Transfers(patience_seconds=1)
    turns: asyncio.Semaphore = getattr(app.state.transfers, kind)
    for _ in range({"imports": MAX_IMPORTS, "exports": MAX_EXPORTS}[kind]):
        asyncio.run(turns.acquire())  # one is free, so that no event loop is asked to wait
    assert turns.locked()
    return turns


@every_transfer
def test_who_comes_when_all_turns_are_taken_waits_for_one(
    client: TestClient, app: FastAPI, kind: str, transfer: Transfer
) -> None:
    turns = take_all(app, kind)

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(transfer, client)
        wait_until(lambda: bool(turns._waiters), seconds=5)  # noqa: SLF001  # it has no public way
        assert client.portal is not None
        client.portal.call(turns.release)

        assert answer.result().status_code == 200
    # The turn was given back.
    assert transfer(client).status_code == 200


@every_transfer
def test_who_waits_too_long_for_a_turn_is_turned_away(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, kind: str, transfer: Transfer
) -> None:
    monkeypatch.setattr(service.web.turns, "PATIENCE_SECONDS", 0.01)
    turns = take_all(app, kind)

    answer = transfer(client)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["type"] == "/problems/transfers-busy"
    turns.release()
    assert [transfer(client).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("kind", "method", "path"), [("exports", "GET", "export?format=xml"), ("imports", "POST", "import?dry_run=x")]
)
def test_a_query_without_sense_is_refused_before_it_waits(
    client: TestClient, app: FastAPI, kind: str, method: str, path: str
) -> None:
    take_all(app, kind)

    answer = client.request(method, f"/items/{path}", headers=NDJSON if method == "POST" else {})

    assert answer.status_code == 422


def test_head_of_an_export_waits_for_no_turn(client: TestClient, app: FastAPI) -> None:
    take_all(app, "exports")

    assert client.head("/items/export").status_code == 200
