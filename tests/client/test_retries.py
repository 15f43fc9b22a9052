"""When the client tries again, when it must not, and what it says of a write whose answer was lost."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from service.client import (
    ApiError,
    ConflictError,
    InvalidRequestError,
    ItemClient,
    NotFoundError,
    PreconditionFailedError,
    Retries,
    TransportError,
    UnavailableError,
)
from tests.client.gateway import Answer, Gateway, Loss
from tests.servers import free_port

BUSY = Answer(503)
OVERTAKEN = Answer(412)
ITEM = Answer(
    200,
    {"Content-Type": "application/json", "ETag": '"1"'},
    b'{"id": 7, "name": "Widget", "description": null, "price": 10.99, "version": 1,'
    b' "created_at": "2026-11-23T16:00:00Z", "updated_at": "2026-11-23T16:00:00Z"}',
)


def methods(gateway: Gateway) -> list[str | None]:
    return [request.method for request in gateway.received]


def keys(gateway: Gateway) -> list[str | None]:
    return [request.headers.get("Idempotency-Key") for request in gateway.received]


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(409, {"Retry-After": "0"}),
        Answer(429),
        Answer(502),
        Answer(503),
        Answer(504),
        Loss.OF_THE_ANSWER,
        replace(ITEM, is_broken=True),
    ],
    ids=["409", "429", "502", "503", "504", "no answer", "half an answer"],
)
def test_a_read_is_tried_again_after_passing_trouble(
    shaky: ItemClient, gateway: Gateway, trouble: Answer | Loss
) -> None:
    gateway.script.extend([trouble, trouble, ITEM])

    assert shaky.get(7).name == "Widget"

    assert methods(gateway) == ["GET", "GET", "GET"]


@pytest.mark.parametrize("status", [400, 404, 409, 422, 428, 500])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    shaky: ItemClient, gateway: Gateway, status: int
) -> None:
    gateway.script.append(Answer(status))

    with pytest.raises(ApiError) as caught:
        shaky.get(1)

    assert caught.value.problem.status == status
    assert methods(gateway) == ["GET"]


def test_trouble_that_does_not_pass_is_raised_after_the_last_try(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.extend([BUSY] * 9)

    with pytest.raises(UnavailableError) as caught:
        shaky.get(1)

    assert methods(gateway) == ["GET", "GET", "GET"]
    assert not caught.value.may_have_been_done


def test_no_try_begins_after_the_time_that_all_of_them_have(gateway: Gateway) -> None:
    gateway.script.extend([BUSY] * 1000)
    retries = Retries(attempts=1000, total_seconds=0.3, first_wait_seconds=0.01, longest_wait_seconds=0.02)
    began = time.monotonic()

    with ItemClient(gateway.url, retries=retries) as items, pytest.raises(UnavailableError):
        items.get(1)

    assert 1 < len(gateway.received) < 1000
    assert time.monotonic() - began < 5


@pytest.mark.slow
@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_the_wait_that_the_service_asks_for_is_kept(shaky: ItemClient, gateway: Gateway, *, as_date: bool) -> None:
    in_two_seconds = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    gateway.script.extend([Answer(503, {"Retry-After": in_two_seconds if as_date else "1"}), Answer(404)])
    began = time.monotonic()

    with pytest.raises(NotFoundError):
        shaky.get(1)

    assert time.monotonic() - began > 0.8


def test_a_wait_that_is_longer_than_the_callers_patience_is_not_begun(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.append(Answer(503, {"Retry-After": "3600"}))

    with pytest.raises(UnavailableError) as caught:
        shaky.get(1)

    assert caught.value.retry_after_seconds == 3600
    assert methods(gateway) == ["GET"]


@pytest.mark.parametrize(
    "given", ["soon", "9" * 5000, "Fri, 31 Dec 99999 23:59:59 GMT"], ids=["word", "digits", "date"]
)
def test_a_retry_after_that_cannot_be_read_is_passed_over(shaky: ItemClient, gateway: Gateway, given: str) -> None:
    gateway.script.extend([Answer(429, {"Retry-After": given}), ITEM])

    assert shaky.get(7).name == "Widget"


def test_all_tries_to_create_have_one_key_and_the_next_item_another(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.extend([BUSY, Loss.OF_THE_ANSWER, ITEM, ITEM])

    shaky.create(name="Widget", price=Decimal("10.99"))
    shaky.create(name="Gadget", price=1)

    first, second, third, other = keys(gateway)
    assert first
    assert first == second == third != other
    assert [request.body for request in gateway.received[:3]] == [b'{"name":"Widget","price":10.99}'] * 3


@pytest.mark.parametrize("step", [BUSY, Loss.OF_THE_REQUEST], ids=["busy", "lost"])
def test_an_update_without_a_condition_is_tried_once(shaky: ItemClient, gateway: Gateway, step: Answer | Loss) -> None:
    gateway.script.append(step)

    with pytest.raises((UnavailableError, TransportError)) as caught:
        shaky.update(1, price=2)

    assert methods(gateway) == ["PATCH"]
    assert caught.value.may_have_been_done


def test_a_conflict_without_an_end_in_sight_is_raised(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.append(Answer(409))

    with pytest.raises(ConflictError):
        shaky.create(name="Widget", price=1)

    assert methods(gateway) == ["POST"]


def test_a_gateways_own_page_is_quoted(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.extend([Answer(502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>")] * 3)

    with pytest.raises(UnavailableError) as caught:
        shaky.get(1)

    assert str(caught.value) == (
        "502 Bad Gateway: The answer is no problem document, but text/html: <h1>Bad gateway</h1>"
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"{}", b'{"title": "T", "detail": "D", "errors": {"name": ["no"]}}']
)
def test_a_problem_document_of_another_shape_is_quoted(shaky: ItemClient, gateway: Gateway, body: bytes) -> None:
    gateway.script.append(Answer(422, {"Content-Type": "application/problem+json"}, body))

    with pytest.raises(InvalidRequestError) as caught:
        shaky.get(1)

    assert caught.value.problem.detail.endswith(f"application/problem+json: {body.decode()}")


def test_success_with_something_else_than_json_is_an_error(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.append(Answer(200, {"Content-Type": "text/html"}, b"<h1>Log in to this network</h1>"))

    with pytest.raises(TransportError, match=r"answered with text/html, not with JSON$"):
        shaky.get(1)


def test_nothing_can_have_been_done_by_a_service_that_refuses_connections() -> None:
    items = ItemClient(f"http://127.0.0.1:{free_port()}", retries=Retries(attempts=2, first_wait_seconds=0))

    with items, pytest.raises(TransportError, match="refused") as caught:
        items.create(name="Widget", price=1)

    assert not caught.value.may_have_been_done


def test_an_update_that_only_a_lost_answer_made_stale_says_that_it_may_have_been_done(
    shaky: ItemClient, gateway: Gateway
) -> None:
    gateway.script.extend([ITEM, Loss.OF_THE_ANSWER, OVERTAKEN])
    item = shaky.get(7)

    with pytest.raises(PreconditionFailedError) as caught:
        shaky.update(item, price=2)

    assert caught.value.may_have_been_done
    assert [request.headers.get("If-Match") for request in gateway.received] == [None, '"1"', '"1"']


def test_an_edit_that_may_have_been_done_is_not_done_twice(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.extend([ITEM, Loss.OF_THE_ANSWER, OVERTAKEN])

    with pytest.raises(PreconditionFailedError):
        shaky.edit(7, lambda item: {"price": item.price + 1})

    assert methods(gateway) == ["GET", "PATCH", "PATCH"]


def test_an_edit_that_was_overtaken_begins_anew(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.extend([ITEM, OVERTAKEN, ITEM, ITEM])

    shaky.edit(7, lambda item: {"price": item.price + 1})

    assert methods(gateway) == ["GET", "PATCH", "GET", "PATCH"]
    assert [request.body for request in gateway.received if request.body] == [b'{"price":11.99}'] * 2


def test_an_export_that_breaks_off_is_an_error(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.append(
        Answer(200, {"Content-Type": "application/x-ndjson"}, (ITEM.body + b"\n") * 2000, is_broken=True)
    )
    exported = shaky.export_items()
    assert next(exported).price == Decimal("10.99")

    with pytest.raises(TransportError, match=r"^No answer: "):
        list(exported)


def test_an_import_is_sent_once(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.append(Answer(503, {"Retry-After": "0"}))

    with pytest.raises(UnavailableError) as caught:
        shaky.import_items([{"name": "Widget", "price": 1}])

    assert methods(gateway) == ["POST"]
    assert caught.value.may_have_been_done


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_a_write_is_not_redirected(shaky: ItemClient, gateway: Gateway, status: int) -> None:
    gateway.script.extend([Answer(status, {"Location": "/items/7"}), ITEM])

    with pytest.raises(ApiError) as caught:
        shaky.replace(7, name="Gadget", price=1)

    assert caught.value.problem.status == status
    assert methods(gateway) == ["PUT"]


def test_a_read_is_redirected(shaky: ItemClient, gateway: Gateway) -> None:
    gateway.script.extend([Answer(302, {"Location": "/elsewhere/items/7"}), ITEM])

    assert shaky.get(7).name == "Widget"
