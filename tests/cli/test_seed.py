"""`service seed`, and the items that it makes."""

import signal
import unicodedata
from itertools import islice

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, Engine, text
from sqlmodel import Session, select

from service.models import Item
from service.schemas import ItemWrite
from service.seed import generate_items
from tests.cli.conftest import Terminal, show
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

Rows = list[tuple[str, str | None, object]]


def stored_rows(engine: Engine) -> Rows:
    with Session(engine) as session:
        items = session.exec(select(Item).order_by(text("id"))).all()
    return [(item.name, item.description, item.price) for item in items]


def generated_rows(count: int, seed: int) -> Rows:
    return [(item.name, item.description, item.price) for item in generate_items(count, seed)]


def test_seed_adds_the_items_of_its_seed(configured: Terminal, engine: Engine) -> None:
    told = configured.run("seed", "--items", "150", "--seed", "7")

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("Added 150 items in ")
    assert told.stderr == ""
    assert stored_rows(engine) == generated_rows(150, 7)


def test_seed_adds_to_what_is_there(configured: Terminal, engine: Engine) -> None:
    configured.run("seed", "--items", "2")
    configured.run("seed", "--items", "3")

    assert stored_rows(engine) == generated_rows(2, 1) + generated_rows(3, 1)


def test_the_first_item_has_id_1(configured: Terminal, engine: Engine) -> None:
    configured.run("seed", "--items", "2")

    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM item ORDER BY id")).scalars().all() == [1, 2]


def test_a_seed_that_meets_an_id_of_others_adds_nothing_and_says_so(configured: Terminal, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (id, name, price) VALUES (1, 'Named', 1), (3, 'Named', 1)"))
        connection.execute(text("SELECT setval(pg_get_serial_sequence('item', 'id'), 1)"))

    told = configured.run("seed", "--items", "2")

    assert told.returncode == 1
    assert told.stderr == (
        "Nothing was added: somebody has given an item an id that is the sequence's to give (Key (id)=(3) already"
        " exists.). Move it beyond: SELECT setval(pg_get_serial_sequence('item', 'id'), max(id)) FROM item;\n"
    )
    assert len(stored_rows(engine)) == 2


def test_seed_passes_over_ids_that_others_gave_out(configured: Terminal, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (id, name, price) SELECT n, 'Named', 1 FROM generate_series(1, 3) n"))

    told = configured.run("seed", "--items", "2")

    assert told.returncode == 0, told.stderr
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM item ORDER BY id")).scalars().all() == [1, 2, 3, 4, 5]


def test_seed_drops_the_cached_list(configured: Terminal, redis_client: redis.Redis) -> None:
    redis_client.set("all_items_cache", "[]")

    configured.run("seed", "--items", "1")

    assert not redis_client.exists("all_items_cache")


def test_seed_works_without_redis_and_says_so(configured: Terminal, engine: Engine) -> None:
    told = configured.run("seed", "--items", "2", REDIS_URL="redis://127.0.0.1:1")

    assert told.returncode == 0
    assert "Connection refused" in told.stderr
    assert len(stored_rows(engine)) == 2


def test_seed_on_a_database_behind_head_says_what_to_run(configured: Terminal, empty_database: URL) -> None:
    told = configured.run("seed", "--items", "2", DATABASE_URL=show(empty_database))

    assert told.returncode == 1
    assert "alembic upgrade head" in told.stderr


@pytest.mark.slow
def test_a_seed_may_take_longer_than_the_statement_of_a_request(configured: Terminal, engine: Engine) -> None:
    told = configured.run("seed", "--items", "20000", STATEMENT_TIMEOUT_MS="200", LOCK_TIMEOUT_MS="100")

    assert told.returncode == 0, told.stderr
    assert len(stored_rows(engine)) == 20_000


def test_an_interrupted_seed_adds_nothing(configured: Terminal, engine: Engine) -> None:
    seeding = configured.start("seed", "--items", "100000000")
    copying = text("SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database()")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        wait_until(lambda: connection.execute(copying).scalar_one(), seconds=30)

    status = seeding.stop(signal.SIGINT)

    assert status == 130, seeding.output
    assert "Traceback" not in seeding.output
    assert stored_rows(engine) == []


@settings(deadline=None)  # one may be slow where many tests run
@given(count=st.integers(0, 60), more=st.integers(0, 60), seed=st.integers())
def test_fewer_items_are_the_beginning_of_more(count: int, more: int, seed: int) -> None:
    assert generated_rows(count, seed) == generated_rows(count + more, seed)[:count]


def test_another_seed_makes_other_items() -> None:
    assert generated_rows(20, 1) != generated_rows(20, 2)


def test_the_items_of_a_seed_never_change() -> None:
    # Screenshots, benchmarks and bug reports refer to them, whatever the Python and the machine.
    assert [(name, str(price)) for name, _, price in generated_rows(3, 1)] == [
        ("Merinowolle „Tundra“, tannengrün", "3.49"),
        ("مظلة Aurora، الإصدار الثاني", "7.99"),
        ("פסנתר במה Nori, שחור מט", "1541.99"),
    ]


def test_every_item_is_valid() -> None:
    for item in generate_items(10_000, seed=1):
        assert ItemWrite.model_validate(item.model_dump()) == item


def test_items_are_of_many_scripts_and_some_have_no_description() -> None:
    items = list(islice(generate_items(1000, seed=1), 1000))

    scripts = {unicodedata.name(letter).split()[0] for item in items for letter in item.name if letter.isalpha()}
    described = [item.description for item in items if item.description]
    assert scripts >= {"LATIN", "CYRILLIC", "ARABIC", "HEBREW", "DEVANAGARI", "CJK", "HIRAGANA", "KATAKANA", "HANGUL"}
    assert any("🚲" in description for description in described)
    assert 700 < len(described) < 900
    assert len({item.name for item in items}) > 800
