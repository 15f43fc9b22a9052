"""The shapes of requests and answers."""

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.schemas import NOT_BLANK, ItemRead, ItemWrite

CENTS = st.integers(min_value=0, max_value=999_999_999_999)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def read(**changes: object) -> ItemRead:
    """An item to answer with."""
    values: dict[str, object] = {
        "id": 1,
        "name": "Widget",
        "description": None,
        "price": Decimal(1),
        "created_at": "2026-01-01T01:00:00+01:00",
        "updated_at": "2026-01-01T00:00:00Z",
        "version": 1,
    }
    return ItemRead.model_validate(values | changes)


@given(CENTS)
def test_every_price_survives_a_request_and_an_answer_exactly(cents: int) -> None:
    price = Decimal(cents) / 100

    written = ItemWrite.model_validate(json.loads(f'{{"name": "Widget", "price": {price}}}', parse_float=Decimal))
    answered = read(price=written.price).model_dump_json()

    assert written.price == price
    # As a client reads it that keeps decimals, and as one does that has only binary fractions.
    assert json.loads(answered, parse_float=Decimal)["price"] == price
    assert json.loads(answered)["price"] == float(price)
    assert ItemRead.model_validate_json(answered).price == price


@given(st.decimals(min_value=0, max_value=10**10, allow_nan=False, places=3).filter(lambda price: price * 100 % 1))
def test_a_price_with_a_third_place_is_refused(price: Decimal) -> None:
    with pytest.raises(ValidationError):
        ItemWrite.model_validate({"name": "Widget", "price": price})


@given(cents=CENTS, zeros=st.integers(0, 400), last=st.integers(1, 9))
def test_no_digit_beyond_the_cents_is_too_far_away_to_be_refused(cents: int, zeros: int, last: int) -> None:
    exact = f"{cents // 100}.{cents % 100:02}{'0' * zeros}"

    assert ItemWrite.model_validate({"name": "Widget", "price": Decimal(exact)}).price == Decimal(cents) / 100
    with pytest.raises(ValidationError):
        ItemWrite.model_validate({"name": "Widget", "price": Decimal(f"{exact}{last}")})


@given(st.one_of(st.integers(max_value=-1), st.integers(min_value=10**10)))
def test_a_price_out_of_range_is_refused(price: int) -> None:
    with pytest.raises(ValidationError):
        ItemWrite.model_validate({"name": "Widget", "price": price})


@given(st.one_of(st.text(), st.booleans(), st.none(), st.lists(st.integers()), st.just(float("nan"))))
def test_a_price_is_a_number(price: object) -> None:
    with pytest.raises(ValidationError):
        ItemWrite.model_validate({"name": "Widget", "price": price})


@given(name=TEXTS.filter(lambda text: 1 <= len(text) <= 200), description=TEXTS | st.none())
def test_every_text_survives_a_request_and_an_answer_exactly(name: str, description: str | None) -> None:
    written = ItemWrite.model_validate_json(json.dumps({"name": name, "description": description, "price": 1}))
    answered = read(name=written.name, description=written.description).model_dump_json()

    assert json.loads(answered)["name"] == name
    assert json.loads(answered)["description"] == description


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_name_has_1_to_200_characters(name: str) -> None:
    with pytest.raises(ValidationError):
        ItemWrite.model_validate({"name": name, "price": 1})


def test_times_are_answered_in_utc_wherever_they_were_made() -> None:
    answered = json.loads(read().model_dump_json())

    assert answered["created_at"] == answered["updated_at"] == "2026-01-01T00:00:00Z"


def test_an_absent_description_is_none() -> None:
    assert ItemWrite.model_validate({"name": "Widget", "price": 1}).description is None


def test_the_documented_pattern_of_a_search_is_what_is_checked() -> None:
    documented = {chr(point) for point in range(0xFFFF) if re.search(NOT_BLANK, chr(point))}

    # Python's own notion of white space, to which its versions have added nothing since 3.8.
    assert documented == {chr(point) for point in range(1, 0xFFFF) if not chr(point).isspace()}
