"""`service check` on servers that are right, and on each kind that is not."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from sqlalchemy import URL, Engine, create_engine, make_url, text

from service.check import judge_redis
from service.embedded import PostgresServer, RedisServer
from tests.ancient_redis import ancient_redis
from tests.cli.conftest import Terminal, show
from tests.databases import create_database, migrate

pytestmark = pytest.mark.db(isolation="clone")


def test_what_is_right_is_listed(configured: Terminal, engine: Engine, redis_client: redis.Redis) -> None:
    with engine.connect() as connection:
        postgres = connection.execute(text("SHOW server_version")).scalar_one()
    info = redis_client.info()

    told = configured.run("check")

    assert told.returncode == 0, told.stderr
    settings, database, cache = told.stdout.splitlines()
    assert settings == "settings    valid"
    assert database.startswith(f"PostgreSQL  {postgres}, migrations at head, connections for ")
    assert cache.split()[-1] == info.get("valkey_version", info["redis_version"])


def test_every_problem_is_listed_at_once(terminal: Terminal, empty_database: URL) -> None:
    servers = {"DATABASE_URL": show(empty_database), "REDIS_URL": "redis://:hunter2@127.0.0.1:1"}
    told = terminal.run("check", **servers, THREADS="0", ENVIRONMENT="test")

    assert told.returncode == 1
    assert told.stdout == ""
    assert "THREADS='0'" in told.stderr
    assert "ENVIRONMENT='test'" in told.stderr
    assert "alembic upgrade head" in told.stderr
    assert "REDIS_URL=redis://:***@127.0.0.1:1: Error 111 connecting" in told.stderr
    assert "hunter2" not in told.stderr


def test_one_wrong_url_does_not_hide_the_other_server(terminal: Terminal) -> None:
    told = terminal.run("check", DATABASE_URL="mysql://127.0.0.1/items", REDIS_URL="redis://127.0.0.1:1")

    assert "settings: DATABASE_URL='mysql://127.0.0.1/items'" in told.stderr
    assert "Redis: REDIS_URL=redis://127.0.0.1:1" in told.stderr


@pytest.fixture
def own_postgres() -> Iterator[URL]:
    """A migrated database on a server of 20 connections."""
    with PostgresServer.start(max_connections=20) as server:
        url = create_database(make_url(server.url()).set(drivername="postgresql+psycopg"), "items")
        migrate(url)
        yield url


def test_a_pool_that_the_server_cannot_serve_is_a_problem(configured: Terminal, own_postgres: URL) -> None:
    told = configured.run("check", DATABASE_URL=show(own_postgres))

    assert told.returncode == 1
    assert "PostgreSQL: Each worker may open 20 connections" in told.stderr
    assert "has 17 for all workers" in told.stderr


def test_a_read_only_database_is_a_problem(configured: Terminal, own_postgres: URL) -> None:
    administrate(own_postgres, "ALTER DATABASE items SET default_transaction_read_only = on")

    told = configured.run("check", DATABASE_URL=show(own_postgres), POOL_SIZE="10", THREADS="10")

    assert told.returncode == 1
    assert "PostgreSQL: The server is read-only" in told.stderr


def test_a_user_without_privileges_is_a_problem(configured: Terminal, own_postgres: URL) -> None:
    administrate(
        own_postgres, "CREATE ROLE reader LOGIN", "GRANT SELECT ON item, stored_answer, alembic_version TO reader"
    )

    told = configured.run("check", DATABASE_URL=show(own_postgres.set(username="reader")), POOL_SIZE="10", THREADS="10")

    assert told.returncode == 1
    assert told.stderr == "".join(
        f"PostgreSQL: This user may not INSERT, UPDATE, DELETE on table {table}: GRANT it to them.\n"
        for table in ("item", "stored_answer")
    )


def administrate(url: URL, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_a_password_that_redis_asks_for_is_a_problem(configured: Terminal) -> None:
    password = uuid4().hex
    with RedisServer.start(extra_settings={"requirepass": password}) as server:
        told = configured.run("check", REDIS_URL=server.url)

    assert told.returncode == 1
    assert f"Redis: REDIS_URL={server.url}: it wants another user or password" in told.stderr


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server whose user "clerk" may not run scripts, and "waiter" no ZADD; all have the password "right"."""
    rights: dict[str, Any] = {"enabled": True, "passwords": ["+right"], "keys": ["*"]}
    with RedisServer.start(port=0) as server, redis.Redis.from_url(server.url) as client:
        client.acl_setuser("shop", **rights, commands=["+@all"])
        client.acl_setuser("clerk", **rights, commands=["+@all", "-eval", "-evalsha"])
        client.acl_setuser("waiter", **rights, commands=["+@all", "-zadd"])
        yield server


NEEDED = "; the cache uses del, eval, evalsha, get, info, mget, pexpire, pttl, set, time, type, zadd, zcount, zrem,"
REFUSALS = [
    ("redis://shop:wrong@127.0.0.1:{port}", "it wants another user or password"),
    ("redis://clerk:right@127.0.0.1:{port}", f"User clerk has no permissions to run the 'evalsha' command{NEEDED}"),
    ("redis://waiter:right@127.0.0.1:{port}", "User waiter has no permissions to run the 'zadd' command"),
    ("rediss://127.0.0.1:{port}", "perhaps it does not speak TLS, and the scheme should be redis"),
]


@pytest.mark.parametrize(("address", "reason"), REFUSALS)
def test_what_redis_refuses_is_named(configured: Terminal, own_redis: RedisServer, address: str, reason: str) -> None:
    told = configured.run("check", REDIS_URL=address.format(port=own_redis.port))

    assert told.returncode == 1
    (line,) = told.stderr.splitlines()
    assert line.startswith("Redis: REDIS_URL=redis")
    assert reason in line
    assert ":right@" not in line
    assert ":wrong@" not in line


def test_rights_that_suffice_are_fine_and_nothing_is_left(configured: Terminal, own_redis: RedisServer) -> None:
    told = configured.run("check", REDIS_URL=f"redis://shop:right@127.0.0.1:{own_redis.port}")

    assert told.returncode == 0, told.stderr
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.keys() == []


@pytest.mark.parametrize("version", ["5.0.6", "6.0.16"])
def test_a_redis_that_is_too_old_is_a_problem(configured: Terminal, version: str) -> None:
    with ancient_redis(version) as url:
        told = configured.run("check", REDIS_URL=url)

    assert told.returncode == 1
    sentence = f"Redis {version} is too old: 6.2 or newer is needed. Correct that, or the URL, then try again."
    assert told.stderr == f"Redis: REDIS_URL={url}: {sentence}\n"


def test_a_replica_is_a_problem(configured: Terminal) -> None:
    with RedisServer.start() as server:
        with redis.Redis.from_url(server.url) as client:
            client.replicaof("127.0.0.1", 1)
        told = configured.run("check", REDIS_URL=server.url)

    assert told.returncode == 1
    assert "Redis has the role slave; REDIS_URL must name the primary" in told.stderr


@pytest.mark.parametrize(
    ("versions", "is_supported"),
    [
        ({"redis_version": "6.0.16"}, False),
        ({"redis_version": "6.2.0"}, True),
        ({"redis_version": "10.0.1"}, True),
        # Valkey calls itself Redis 7.2.4 for the sake of old clients.
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, True),
    ],
)
def test_servers_older_than_the_supported_ones_are_problems(versions: dict[str, str], is_supported: bool) -> None:  # noqa: FBT001
    assert (not list(judge_redis({"role": "master", **versions}))) == is_supported
