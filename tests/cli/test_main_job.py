"""The main job on real input: a hundred thousand items, through the command and the API alone."""

import pytest
import requests

from service.schemas import ItemWrite
from service.seed import generate_items
from tests.cli.conftest import Terminal, serve

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]

ITEMS = 100_000
SAMPLE = range(0, ITEMS, 4_999)


def test_a_hundred_thousand_items_are_listed_read_changed_and_deleted(configured: Terminal) -> None:
    expected = [(item.name, item.description, float(item.price)) for item in generate_items(ITEMS, seed=1)]
    assert configured.run("seed", "--items", str(ITEMS)).returncode == 0
    _, url = serve(configured, "--workers", "2")
    address = f"{url}/items/"
    with requests.Session() as http:
        assert [shape(item) for item in http.get(address).json()] == expected[:100]
        assert [shape(item) for item in http.get(address, params={"limit": 1000}).json()] == expected[:1000]
        for number in SAMPLE:
            item = f"{address}{number + 1}"
            changed = {"name": "Neu 新しい", "description": f"{expected[number][1]} 👩🏽‍🚀 שלום", "price": 0.07}

            assert shape(http.get(item).json()) == expected[number]
            assert shape(http.put(item, json=changed).json()) == tuple(changed.values())
            assert http.get(item).json()["version"] == 2
            assert http.delete(item).status_code == 200
            assert http.get(item).status_code == 404

        # The first item was in the sample.
        assert [shape(item) for item in http.get(address).json()] == expected[1:101]


def shape(item: dict[str, object]) -> tuple[object, ...]:
    return tuple(item[field] for field in ItemWrite.model_fields)
