"""Names and descriptions: their bounds, and every character kept as it was sent."""

import json
from typing import Any

import pytest
import redis
from sqlalchemy import text
from sqlmodel import Session
from starlette.testclient import TestClient

from tests.api.conftest import both_paths
from tests.transfers import CSV, NDJSON

DESCRIPTIONS = {
    "Latin": "Größe naïve façade Łódź ǅ",
    "Greek": "Ὅμηρος ἄειδε θεά",
    "Cyrillic": "Съешь ещё этих мягких французских булок",
    "Arabic": "\u202bنص حكيم له سر قاطع\u202c",
    "Hebrew": "דג סקרן שט בים",
    "Devanagari": "ऋषियों को सताने वाले",
    "Thai": "เป็นมนุษย์สุดประเสริฐ",
    "Chinese": "視野無限廣、窗外有藍天 𠮷𡈽",
    "Japanese": "いろはにほへと ｶﾅ が\u304b\u3099",
    "Korean": "키스의 고유조건은 \u1112\u1161\u11ab",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇨🇭 ☺︎ ☺️",
    "combining, not normalised": "e\u0301 \u00e9 \u212b A\u030a",
    "JSON's and HTML's own": '"quoted" \\back\\slash / <b>&amp;</b> \u2028 \u2029 {} [] \\u0041',
    "controls": "tab\t newline\n return\r bell\x07 delete\x7f \x01\x1f",
    "white space kept": "  leading, trailing and \u3000 wide \u00a0 ",
    "last of the planes": "\U0010ffff \ufffd \ufeff",
    "empty": "",
}


@both_paths
@pytest.mark.db(isolation="clone")
def test_a_description_comes_back_byte_for_byte(
    client: TestClient, session: Session, redis_client: redis.Redis
) -> None:
    created = [
        client.post("/items/", json={"name": name, "description": description, "price": 1})
        for name, description in DESCRIPTIONS.items()
    ]

    addresses = [answer.headers["Location"] for answer in created]
    lists = [[answer.json() for answer in created]]
    lists += [[client.get(address).json() for address in addresses] for _ in range(2)]
    lists += [client.get(path).json() for path in ("/items/", "/items/", "/items/?limit=99")]
    raw = redis_client.get("all_items_cache")
    assert isinstance(raw, bytes)
    lists += [[json.loads(item) for item in json.loads(raw)]]
    sent = {name: description.encode() for name, description in DESCRIPTIONS.items()}
    for items in lists:
        assert {item["name"]: item["description"].encode() for item in items} == sent
    stored = session.execute(text("SELECT name, description FROM item")).all()
    assert dict(stored) == DESCRIPTIONS


@both_paths
@pytest.mark.db(isolation="clone")
def test_text_is_sent_as_utf_8_without_escapes(client: TestClient) -> None:
    address = client.post("/items/", json={"name": "Größe 👍🏽", "price": 1}).headers["Location"]

    for path in (address, address, "/items/", "/items/"):
        assert "Größe 👍🏽".encode() in client.get(path).content


@pytest.mark.parametrize("name", ["x", "x" * 200, "𠮷" * 200, " x ", "\t\N{NO-BREAK SPACE}x"], ids=ascii)
def test_a_name_of_1_to_200_characters_is_kept(client: TestClient, name: str) -> None:
    created = client.post("/items/", json={"name": name, "price": 1})

    assert created.status_code == 200
    assert client.get(created.headers["Location"]).json()["name"] == name


@pytest.mark.parametrize("name", [" ", "\t\n\r", "\u3000\u00a0\u2003", "\u200b"], ids=ascii)
def test_white_space_is_a_name_and_survives_an_export(client: TestClient, name: str) -> None:
    client.post("/items/", json={"name": name, "price": 1})

    for format_, headers in (("ndjson", NDJSON), ("csv", CSV)):
        exported = client.get(f"/items/export?format={format_}").content
        assert client.post("/items/import", content=exported, headers=headers).json()["updated"] == 1
        assert [item["name"] for item in client.get("/items/").json()] == [name]


@pytest.mark.parametrize(
    "name",
    ["", "x" * 201, "𠮷" * 201, "nul\0", "\0", None, 1, True, 1.5, [], {}, ["x"]],
    ids=ascii,
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_name_of_no_characters_or_too_many_is_refused(client: TestClient, method: str, name: object) -> None:
    address = client.post("/items/", json={"name": "Widget", "price": 1}).headers["Location"]

    response = client.request(method, "/items/" if method == "POST" else address, json={"name": name, "price": 1})

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/name"]
    assert [item["name"] for item in client.get("/items/").json()] == ["Widget"]


@pytest.mark.parametrize("description", ["x" * 10_000, "𠮷" * 10_000], ids=["ascii", "astral"])
def test_a_description_of_10000_characters_is_kept(client: TestClient, description: str) -> None:
    created = client.post("/items/", json={"name": "Widget", "description": description, "price": 1})

    assert client.get(created.headers["Location"]).json()["description"] == description


@pytest.mark.parametrize(
    "description", ["x" * 10_001, "𠮷" * 10_001, "nul\0", 1, True, [], {}], ids=lambda value: ascii(value)[:12]
)
def test_a_description_that_cannot_be_stored_is_refused(client: TestClient, description: object) -> None:
    response = client.post("/items/", json={"name": "Widget", "description": description, "price": 1})

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/description"]


@pytest.mark.parametrize("field", ["name", "description"])
@pytest.mark.parametrize("escaped", [r"\ud800", r"\udc00x", r"\ude00\ud83d"])
def test_half_a_surrogate_pair_is_refused(client: TestClient, field: str, escaped: str) -> None:
    fields: dict[str, Any] = {"name": '"Widget"', "price": "1", field: f'"{escaped}"'}
    content = ", ".join(f'"{name}": {value}' for name, value in fields.items())

    response = client.post("/items/", content=f"{{{content}}}", headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [f"/{field}"]
