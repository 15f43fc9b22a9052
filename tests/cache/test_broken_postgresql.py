"""What the cache may say while PostgreSQL is down, restarted, or another."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from service.cache import Cache
from service.cache import epoch as epoch_module
from service.embedded import PostgresServer, RedisServer
from service.embedded.account import server_account
from service.errors import DatabaseUnavailableError
from tests.cache.workers import WATCHED, running_worker
from tests.databases import migrate
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]

REPLICATES = {"wal_level": "replica", "max_wal_senders": "2"}
# A backup that is started so ends its recovery where the backup ended, and becomes a primary on a timeline of its own.
PROMOTED = {"restore_command": "false", "recovery_target": "immediate", "recovery_target_action": "promote"}


def test_a_promoted_standby_that_lost_a_commit_is_the_truth(own_redis: RedisServer) -> None:
    with (
        directory() as data,
        directory() as backup,
        PostgresServer.start(data_directory=data, port=0, extra_settings=REPLICATES) as primary,
    ):
        stock(primary)
        copy_cluster(primary, backup)
        with running_worker(address(primary), str(own_redis.tcp_url)) as worker:
            assert worker.warm() == "old"
            worker.write("lost")
            assert worker.warm() == "lost"

            primary.stop()
            with PostgresServer.start(data_directory=backup, port=primary.port, extra_settings=PROMOTED):
                wait_until(lambda: worker.read() == "old", seconds=2)

                assert worker.warm() == "old"


def test_hits_go_on_for_a_while_when_postgresql_is_down(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twice as long as they are: a busy machine is not a dead PostgreSQL.
    monkeypatch.setattr(epoch_module, "TRUST_SECONDS", 0.5)
    monkeypatch.setattr(epoch_module, "DOWN_TRUST_SECONDS", 2.0)
    with directory() as data, PostgresServer.start(data_directory=data, port=0) as server:
        stock(server)
        with running_worker(address(server), str(own_redis.tcp_url)) as worker:
            assert worker.warm() == "old"
            read_at = worker.cache.epoch._belief.read_at  # noqa: SLF001
            server.stop()

            wait_until(lambda: worker.cache.epoch._belief.until > read_at + 2 * epoch_module.TRUST_SECONDS, seconds=2)  # noqa: SLF001
            assert worker.look().source == "hit"

            wait_until(lambda: worker.cache.epoch.find() is None, seconds=4)
            with pytest.raises(OperationalError):
                worker.look()


def test_a_write_that_moved_the_epoch_is_not_acknowledged_when_postgresql_was_restarted_meanwhile(
    own_redis: RedisServer,
) -> None:
    with directory() as data, PostgresServer.start(data_directory=data, port=0) as server:
        stock(server)

        class RestartsWhileSettling(Cache):
            def settle(self) -> None:
                server.stop()
                running.append(PostgresServer.start(data_directory=data, port=server.port))
                super().settle()

        running: list[PostgresServer] = []
        with running_worker(address(server), str(own_redis.tcp_url)) as worker:
            assert worker.warm() == "old"
            worker.cache.__class__ = RestartsWhileSettling
            own_redis.stop()
            try:
                with pytest.raises(DatabaseUnavailableError):
                    worker.write("new")
                assert worker.read() == "new"
            finally:
                for restarted in running:
                    restarted.stop()


def stock(server: PostgresServer) -> None:
    """Migrate the server's database and put the item into it that workers read and write."""
    migrate(make_url(address(server)).set(drivername="postgresql+psycopg"))
    with psycopg.connect(address(server)) as connection:
        connection.execute("INSERT INTO item (id, name, price) VALUES (%s, 'old', 1)", [WATCHED])


def address(server: PostgresServer) -> str:
    """The server's URL by TCP."""
    user = make_url(server.url()).username
    return f"postgresql://{user}@127.0.0.1:{server.port}/postgres"


def copy_cluster(server: PostgresServer, target: Path) -> None:
    """Make `target` what a standby starts from."""
    program = str(server.bin_directory / "pg_basebackup")
    command = [program, "-d", address(server), "-D", str(target), "-X", "stream", "-c", "fast"]
    subprocess.run(command, check=True, capture_output=True)
    (target / "recovery.signal").touch()
    account = server_account()
    for path in (target, *target.rglob("*")):
        os.chown(path, account.uid, account.gid)


@contextmanager
def directory() -> Iterator[Path]:
    """An empty directory of the account that servers run as."""
    path = Path(tempfile.gettempdir(), f"cluster-{uuid4().hex}")
    server_account().make_directory(path)
    try:
        yield path
    finally:
        shutil.rmtree(path)
