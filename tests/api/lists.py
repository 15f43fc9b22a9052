"""Items to list, and walks along their pages."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from httpx2 import Response
from sqlalchemy import text
from sqlmodel import Session
from starlette.testclient import TestClient

from service.models import Item
from service.testing.data import db_data
from tests.factories import ItemFactory

COLUMNS = ["id", "name", "price", "created_at", "updated_at"]
SORTS = [f"{sign}{column}" for column in COLUMNS for sign in ("", "-")]


def next_address(response: Response) -> str | None:
    """The address of the next page, or None on the last."""
    link = response.links.get("next")
    return link["url"] if link else None


def walk(client: TestClient, address: str | None) -> list[list[dict[str, Any]]]:
    """All pages from `address` on."""
    pages = []
    while address is not None:
        response = client.get(address)
        assert response.status_code == 200, response.text
        pages.append(response.json())
        address = next_address(response)
    return pages


def ids(response: Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()]


@db_data(scope="session")
def shelf(session: Session) -> list[Item]:
    """Twelve items of three names, prices and times each, so that every sort has ties."""
    stored = ItemFactory.create_batch(12)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    session.execute(text("ALTER TABLE item DISABLE TRIGGER item_count_version"))
    for number, item in enumerate(stored):
        item.name, item.price = f"name {number % 3}", Decimal(number // 4) / 10
        item.created_at = start + timedelta(microseconds=number % 4)
        item.updated_at = start + timedelta(days=number % 2)
    session.commit()
    session.execute(text("ALTER TABLE item ENABLE TRIGGER item_count_version"))
    session.commit()
    return stored
