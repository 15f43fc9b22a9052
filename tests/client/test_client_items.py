"""What the client makes of the service's answers."""

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from sqlalchemy import Engine, text

from service.client import Fault, InvalidRequestError, Item, ItemClient, NotFoundError, PreconditionFailedError, Problem
from tests.databases import ROOT

pytestmark = pytest.mark.db(isolation="clone")


def test_a_created_item_has_exact_prices_aware_times_and_a_tag(items: ItemClient) -> None:
    item = items.create(name="Größe 👍🏽", description="A useful widget", price=Decimal("10.99"))

    assert item == Item(
        id=1,
        name="Größe 👍🏽",
        description="A useful widget",
        price=Decimal("10.99"),
        created_at=item.created_at,
        updated_at=item.created_at,
        version=1,
    )
    assert item.created_at.utcoffset() == timedelta(0)
    found = items.get(item.id)
    assert (found, found.etag) == (item, item.etag)
    assert item.etag


def test_a_price_is_the_same_on_both_sides(items: ItemClient, engine: Engine) -> None:
    prices = [Decimal(price) for price in ("0", "0.01", "10.99", "20.50", "1E+2", "9999999999.99")]

    created = [items.create(name="Widget", price=price) for price in prices]

    with engine.connect() as connection:
        assert connection.scalars(text("SELECT price FROM item ORDER BY id")).all() == prices
    assert [item.price for item in created] == [item.price for item in items.iterate()] == prices
    assert {type(item.price) for item in created} == {Decimal}


@pytest.mark.parametrize("price", [Decimal("NaN"), Decimal("-Infinity")])
def test_a_price_that_is_no_number_is_not_sent(price: Decimal) -> None:
    with ItemClient("http://127.0.0.1:9") as items, pytest.raises(ValueError, match=f"^{price} is not a price$"):
        items.create(name="Widget", price=price)


def test_a_replaced_item_keeps_nothing_of_the_old_one(items: ItemClient) -> None:
    old = items.create(name="Widget", description="A useful widget", price=1)

    new = items.replace(old.id, name="Gadget", price=2)

    assert new == replace(old, name="Gadget", description=None, price=Decimal(2), updated_at=new.updated_at, version=2)
    assert new == items.get(old.id)
    assert new.etag != old.etag


def test_a_deleted_item_is_gone(items: ItemClient) -> None:
    item_id = items.create(name="Widget", price=1).id

    items.delete(item_id)

    with pytest.raises(NotFoundError):
        items.delete(item_id)
    with pytest.raises(NotFoundError) as caught:
        items.get(item_id)
    error = caught.value
    assert error.problem == Problem(
        type="/problems/item-not-found",
        title="Item not found",
        status=404,
        detail=f"There is no item {item_id}.",
        instance=f"/items/{item_id}",
    )
    assert str(error) == f"404 Item not found: There is no item {item_id}. (request {error.request_id})"
    assert error.request_id
    assert not error.may_have_been_done


def test_an_invalid_item_is_refused_with_each_fault(items: ItemClient) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        items.create(name="", price=Decimal("0.001"))

    assert caught.value.problem.errors == (
        Fault("/name", "String should have at least 1 character"),
        Fault("/price", "must have at most 2 digits after the point"),
    )
    assert "/price: must have at most 2 digits after the point" in str(caught.value)


def test_listed_items_equal_those_that_are_read_one_by_one(items: ItemClient) -> None:
    created = [items.create(name=f"Widget {number}", price=number) for number in range(3)]

    listed = list(items.iterate())

    assert listed == created == [items.get(item.id) for item in created]
    assert [item.etag for item in listed] == [None, None, None]
    assert next(items.pages(limit=2)).items == tuple(created[:2])


def test_an_item_from_a_list_that_was_changed_since_is_not_updated(items: ItemClient) -> None:
    items.create(name="Widget", price=1)
    (listed,) = items.iterate()
    items.replace(listed.id, name="Gadget", price=1)

    with pytest.raises(PreconditionFailedError) as caught:
        items.update(listed, price=2)

    assert caught.value.problem.detail == f"Item {listed.id} was changed since it was listed."
    assert not caught.value.may_have_been_done


def test_a_session_of_the_callers_own_brings_its_headers_and_stays_open(service_url: str) -> None:
    with requests.Session() as session:
        session.headers["X-Request-ID"] = "00000000-0000-4000-8000-000000000001"

        with ItemClient(f"{service_url}/", session=session) as items, pytest.raises(NotFoundError) as caught:
            items.get(1)

        assert caught.value.request_id == "00000000-0000-4000-8000-000000000001"
        assert session.get(f"{service_url}/health/live", timeout=5).ok


def test_a_copy_of_the_folder_is_a_package_of_its_own(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "service" / "client", tmp_path / "catalogue")
    script = "import sys, catalogue; print(catalogue.ItemClient.__module__, 'service' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("catalogue.item_client False\n", "")


@pytest.mark.parametrize("library", ["requests", "tenacity"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(library: str) -> None:
    script = f"import sys; sys.modules[{library!r}] = None; import service.client"

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == (
        f"ImportError: The client needs {library}, which is not installed: pip install requests tenacity"
    )
