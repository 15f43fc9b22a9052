"""No input of any kind is a fault of ours: it is refused with the status that the contract names, and harms nothing."""

import pytest
from sqlalchemy import text
from sqlmodel import Session
from starlette.testclient import TestClient

from tests.api.hostile_input import ENDPOINTS, ITEM, JSON, Attack, list_attacks
from tests.api.hostile_parts import list_part_attacks
from tests.api.raw_requests import HOST, RawAnswer, RawRequest, send
from tests.factories import ItemFactory

ATTACKS = {attack.name: attack for attack in (*list_attacks(), *list_part_attacks())}
CREATE = RawRequest("POST", b"/items/", headers=(HOST, JSON), chunks=(ITEM,))


def assert_problem(answer: RawAnswer, attack: Attack) -> None:
    """The answer is the problem document that the attack asks for."""
    assert answer.status == attack.status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json
    expected = {"type", "title", "status", "detail", "instance"} | ({"errors"} if answer.status == 422 else set())
    assert set(body) == expected | set(attack.members)
    assert {name: body[name] for name in attack.members} == attack.members
    assert body["status"] == attack.status
    assert body["type"].startswith("/problems/")
    assert all(isinstance(body[name], str) and body[name] for name in expected - {"status", "errors"})
    if attack.pointer is not None:
        assert {error["pointer"] for error in body["errors"]} == {attack.pointer}
    of_fault = {"pointer", "detail"} | ({"line", "content"} if "rejected" in attack.members else set())
    assert all(set(error) == of_fault and error["detail"] for error in body.get("errors", ()))
    assert len(answer.body) < 10_000  # beyond the address, what was sent is not sent back


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_hostile_input_is_refused_and_harms_nothing(client: TestClient, session: Session, attack: Attack) -> None:
    item = ItemFactory.create()
    session.commit()
    rows = session.execute(text("SELECT * FROM item")).all()
    endpoints = [endpoint for endpoint in ENDPOINTS if attack.fits(endpoint)]

    for endpoint in endpoints:
        assert item.id is not None
        request = attack.apply(endpoint, item.id)
        assert_problem(send(client, request), attack)

    assert endpoints
    assert session.execute(text("SELECT * FROM item")).all() == rows
    assert send(client, CREATE).status == 200
