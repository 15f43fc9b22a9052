"""A price is exact, and a JSON number both ways."""

import json
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlmodel import Session
from starlette.testclient import TestClient

from tests.api.conftest import both_paths

EXACT = [
    "0",
    "0.01",
    "0.1",
    "0.2",
    "0.3",
    "0.07",
    "1.1",
    "10.99",
    "0.29",
    "4.35",
    "1.15",
    "99999.99",
    "123456789.12",
    "9999999999.99",
]


def numbers_in(body: bytes) -> list[str]:
    """The number that follows each "price" in a JSON text, character for character."""
    texts: list[str] = []

    def keep(number: str) -> str:
        texts.append(number)
        return number

    json.loads(body, parse_float=keep, parse_int=lambda number: number)
    return texts


@both_paths
@pytest.mark.db(isolation="clone")
def test_a_price_comes_back_as_the_number_that_was_sent(client: TestClient, session: Session) -> None:
    created = [
        client.post(
            "/items/",
            content=f'{{"name": "Widget", "price": {price}}}',
            headers={"Content-Type": "application/json"},
        )
        for price in EXACT
    ]

    addresses = [answer.headers["Location"] for answer in created]
    told = [created]
    told += [[client.get(address) for address in addresses] for _ in range(2)]
    told += [[client.get(path)] for path in ("/items/", "/items/", "/items/?limit=77")]
    for answers in told:
        numbers = [number for answer in answers for number in numbers_in(answer.content)]
        assert [Decimal(number) for number in numbers] == [Decimal(price) for price in EXACT]
        # Digits beyond the second place are how a binary fraction would show.
        assert [number for number in numbers if len(number.partition(".")[2]) > 2] == []
    stored = session.execute(text("SELECT price FROM item ORDER BY id")).scalars().all()
    assert stored == [Decimal(price) for price in EXACT]


def test_prices_add_up_as_decimals(client: TestClient, session: Session) -> None:
    for price in ("0.1", "0.2"):
        content = f'{{"name": "Widget", "price": {price}}}'
        client.post("/items/", content=content, headers={"Content-Type": "application/json"})

    assert session.execute(text("SELECT sum(price) = 0.3 FROM item")).scalar_one()


@pytest.mark.parametrize(
    "price",
    [
        *('"10.99"', '"0"', '""', "true", "false", "null", "[]", "{}", "[1]"),
        *("10.999", "0.001", "-0.01", "-1", "1e-3", "10000000000", "9999999999.991", "1e10", "1e400", "-1e400"),
        *("NaN", "Infinity", "-Infinity", "1" * 40),
        *("0.0099999999999999999999", "9999999999.9900001", "1.00000000000000000001", f"1.{'0' * 400}1", "1e-400"),
        *("1e999999999", "1e-999999999", "-1e999999999", "1e99999999999999999999", "1e-99999999999999999999"),
    ],
)
def test_a_price_that_is_no_exact_amount_is_refused(client: TestClient, session: Session, price: str) -> None:
    sent = f'{{"name": "Widget", "price": {price}}}'

    response = client.post("/items/", content=sent, headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/price"]
    assert session.execute(text("SELECT count(*) FROM item")).scalar_one() == 0


@pytest.mark.parametrize("price", ["1e1", "1.0E+1", "10.0", "10.00", "10", f"10.{'0' * 400}"])
def test_a_price_may_be_written_in_any_way_that_json_has(client: TestClient, price: str) -> None:
    sent = f'{{"name": "Widget", "price": {price}}}'

    response = client.post("/items/", content=sent, headers={"Content-Type": "application/json"})

    assert response.json()["price"] == 10


def test_minus_zero_is_zero(client: TestClient) -> None:
    response = client.post(
        "/items/", content='{"name": "Widget", "price": -0.0}', headers={"Content-Type": "application/json"}
    )

    assert response.json()["price"] == 0
    assert b"-0" not in response.content.split(b'"price":')[1].split(b",")[0]
