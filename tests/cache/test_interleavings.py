"""The orders of events in which other caches go stale, forced one by one on real servers."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Engine, text

from service.cache import Cache, Fence
from service.database import EPOCH
from service.embedded import RedisServer
from service.entries import LIST_KEY, item_key
from tests.cache.builds import on_every_build
from tests.cache.faults import kill
from tests.cache.proxy import Proxy
from tests.cache.workers import WATCHED, StartWorker
from tests.waiting import wait_until

pytestmark = [pytest.mark.db(isolation="clone"), on_every_build]

ENTRY = item_key(WATCHED)
FENCE = f"{{{ENTRY}}}:fence"
ROOT = Path(__file__).parents[2]


def test_a_fill_that_comes_after_a_write_is_refused(start_worker: StartWorker) -> None:
    reader, writer = start_worker(), start_worker()
    wait_until(lambda: reader.look().source == "hit", seconds=5)
    reader.redis.delete(ENTRY)
    loaded, may_go_on = Event(), Event()
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(reader.read_slowly, loaded, may_go_on)
        assert loaded.wait(5)

        writer.write("new")
        may_go_on.set()

        assert (slow.result().value, slow.result().source) == ("old", "miss")
    assert reader.redis.get(ENTRY) is None
    assert (reader.read(), writer.read()) == ("new", "new")


def test_a_reader_does_not_join_a_query_that_began_before_it_asked(start_worker: StartWorker) -> None:
    worker = start_worker()
    loaded, may_go_on = Event(), Event()
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(worker.read_slowly, loaded, may_go_on)
        assert loaded.wait(5)
        worker.write("new")

        assert worker.read() == "new"

        may_go_on.set()
        assert slow.result().value == "old"


KILLED_WRITER = """
import os, signal, sys
from service.cache import Cache
from tests.cache.workers import running_worker

class KilledBeforeUnfence(Cache):
    def unfence(self, fence):
        os.kill(os.getpid(), signal.SIGKILL)

with running_worker(sys.argv[1], sys.argv[2]) as worker:
    worker.cache.__class__ = KilledBeforeUnfence
    worker.write("new")
"""


@pytest.mark.slow
def test_a_writer_killed_between_commit_and_unfence_leaves_nothing_stale(
    start_worker: StartWorker, database_url: str, own_redis: RedisServer
) -> None:
    reader = start_worker()
    assert reader.warm() == "old"

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, database_url, str(own_redis.tcp_url)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert killed.returncode == -signal.SIGKILL
    found = reader.look()
    assert (found.value.name, found.source, found.detail) == ("new", "bypass", "fenced")
    assert reader.redis.get(ENTRY) is None
    assert 0 < float(str(reader.redis.pttl(FENCE))) <= 5000


def test_a_write_is_seen_when_the_writer_alone_is_cut_off_from_redis(
    start_worker: StartWorker, own_redis: RedisServer
) -> None:
    with Proxy.to(own_redis.port) as proxy:
        reader, writer = start_worker(), start_worker(f"redis://127.0.0.1:{proxy.port}")
        assert (reader.warm(), writer.warm()) == ("old", "old")
        proxy.cut()

        writer.write("new")

        assert isinstance(reader.redis.get(ENTRY), bytes), "the old entry is still there"
        assert (reader.read(), writer.read()) == ("new", "new")
        proxy.heal()
        assert (reader.warm(), writer.warm()) == ("new", "new")


def test_a_fence_lost_after_the_commit_moves_the_epoch(start_worker: StartWorker, own_redis: RedisServer) -> None:
    with Proxy.to(own_redis.port) as proxy:
        reader, writer = start_worker(), start_worker(f"redis://127.0.0.1:{proxy.port}")
        assert (reader.warm(), writer.warm()) == ("old", "old")
        fence = writer.cache.fence(ENTRY)
        before = reader.cache.epoch.find()
        # The fence expires before the COMMIT, and a reader fills the entry again.
        reader.redis.delete(FENCE)
        assert reader.warm() == "old"
        proxy.cut()

        assert fence.stands
        assert not writer.cache.unfence(fence)
        writer.write("new")

        assert reader.read() == "new"
        assert reader.cache.epoch.find() != before


def test_a_write_whose_fence_cannot_be_lifted_moves_the_epoch(
    start_worker: StartWorker, own_redis: RedisServer, engine: Engine
) -> None:
    with Proxy.to(own_redis.port) as proxy:

        class CutOffAfterCommit(Cache):
            def unfence(self, fence: Fence) -> bool:
                proxy.cut()
                return super().unfence(fence)

        reader, writer = start_worker(), start_worker(f"redis://127.0.0.1:{proxy.port}")
        assert (reader.warm(), writer.warm()) == ("old", "old")
        writer.cache.__class__ = CutOffAfterCommit
        with engine.connect() as connection:
            before = connection.execute(EPOCH).scalar_one()

            writer.write("new")

            assert connection.execute(EPOCH).scalar_one() != before
        assert reader.read() == "new"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE item SET name = 'new'",
        "DELETE FROM item",
        "INSERT INTO item (name, price) VALUES ('another', 1)",
        "TRUNCATE item",
    ],
)
def test_what_somebody_else_writes_in_postgresql_is_seen_within_a_second(
    start_worker: StartWorker, engine: Engine, statement: str
) -> None:
    worker = start_worker()
    assert worker.warm() == "old"
    before = worker.cache.epoch.find()
    with engine.begin() as outside:
        outside.execute(text(statement))

    wait_until(lambda: worker.cache.epoch.find() not in (None, before), seconds=1)


def test_our_own_writes_leave_the_other_entries_alone(start_worker: StartWorker) -> None:
    worker = start_worker()
    assert worker.warm() == "old"
    with worker.sessions() as session:
        before = session.execute(EPOCH).scalar_one()

        worker.write("new")

        assert session.execute(EPOCH).scalar_one() == before


def test_a_write_of_more_entries_than_it_can_name_voids_them_all(start_worker: StartWorker) -> None:
    reader, writer = start_worker(), start_worker()
    assert (reader.warm(), writer.warm()) == ("old", "old")

    writer.write_much("new")

    assert isinstance(reader.redis.get(ENTRY), bytes), "the old entry is still there"
    assert reader.redis.exists(LIST_KEY) == 0
    assert (reader.read(), writer.read()) == ("new", "new")


def test_writers_from_outside_do_not_wait_for_each_other_nor_we_for_them(
    start_worker: StartWorker, engine: Engine, own_redis: RedisServer
) -> None:
    worker = start_worker()
    with engine.begin() as setup:
        setup.execute(text("INSERT INTO item (name, price) VALUES ('another', 1), ('third', 1)"))
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as one, engine.connect() as two:
        one.execute(text("SELECT 1 FROM item"))
        two.execute(text("SET lock_timeout = '1ms'"))
        two.execute(text("UPDATE item SET name = 'second' WHERE id = 2"))
        two.commit()
        one.execute(text("SET lock_timeout = '1ms'"))
        one.execute(text("UPDATE item SET name = 'third' WHERE id = 3"))
        two.execute(text("UPDATE item SET name = 'second again' WHERE id = 2"))
        kill(own_redis)

        worker.write("new")

        assert worker.read() == "new"
