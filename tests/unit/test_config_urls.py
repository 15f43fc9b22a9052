"""The two URLs: what they may say, and what is told of one that cannot work."""

import pytest
from redis import Redis

from service.config import Settings, load_settings
from service.database import make_engine
from service.redis_client import make_redis
from service.urls import RedisHosts, split_hosts
from tests.unit.conftest import DATABASE_URL, SECRET, Environment, problems


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgresql_means_psycopg_3(environment: Environment, scheme: str) -> None:
    environment.setenv("DATABASE_URL", f"{scheme}://u@h/items")

    assert make_engine(load_settings(Settings)).dialect.driver == "psycopg"


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://:p%40ss@h:6380/1",
        "unix:///run/redis.sock?db=2",
        "redis://h/0?db=3",
        "rediss://h?ssl_cert_reqs=none",
        "redis://h/0?username=u&password=p%3Fp&protocol=3",
    ],
)
def test_redis_is_reached_by_tcp_tls_or_socket(environment: Environment, url: str) -> None:
    environment.setenv("REDIS_URL", url)

    client = make_redis(load_settings(Settings))

    assert isinstance(client, Redis)
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 0.1


def test_a_socket_directory_may_stand_for_the_host_of_postgresql(environment: Environment) -> None:
    environment.setenv("DATABASE_URL", "postgresql://postgres@/items?host=/run/postgresql&port=5433")

    url = make_engine(load_settings(Settings)).url

    assert (url.database, dict(url.query)) == ("items", {"host": "/run/postgresql", "port": "5433"})


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("socket_timeout=8", "socket_timeout"),
        ("retry=3", "retry"),
        ("max_connections=1&db=1&health_check_interval=1", "max_connections, health_check_interval"),
        ("decode_responses=true", "decode_responses"),
        ("DB=1", "DB"),
    ],
)
def test_a_redis_url_cannot_undo_the_bounds(environment: Environment, query: str, names: str) -> None:
    environment.setenv("REDIS_URL", f"redis://:{SECRET}@h/0?{query}")

    (problem,) = problems()

    assert problem.endswith(f": leave {names} out: a URL sets only db, username, password, protocol and ssl_* options")
    assert SECRET not in problem


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h:1/service?socket_timeout=8",
        "redis+cluster://h:1?socket_timeout=8",
        "redis+cluster://h:1?ssl_ca_certs=/ca.pem",
        "rediss+cluster://h:1?ssl_ca_certs=/ca.pem&socket_timeout=8",
        "rediss+cluster://h:1?ssl_nonsense=1",
        "rediss+sentinel://h:1/service?ssl_min_version=new",
        "rediss+sentinel://h:1",
    ],
)
def test_a_url_of_several_hosts_takes_no_options_but_those_of_tls(environment: Environment, url: str) -> None:
    environment.setenv("REDIS_URL", url)

    assert [problem.startswith("REDIS_URL=") for problem in problems()] == [True]


def test_a_url_of_several_hosts_may_say_how_tls_is_spoken(environment: Environment) -> None:
    url = "rediss+sentinel://shop:s%40fe@h:1,[::1]:2/items/3?ssl_ca_certs=/ca.pem&ssl_check_hostname=false"
    environment.setenv("REDIS_URL", url)

    assert load_settings(Settings).redis_url.get_secret_value() == url
    assert split_hosts(url) == RedisHosts(
        kind="sentinel",
        hosts=[("h", 1), ("::1", 2)],
        credentials={"username": "shop", "password": "s@fe"},
        service="items",
        database=3,
        options_url="rediss://?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
    )


@pytest.mark.parametrize("url", ["redis://h/first", "rediss://h/1/2", "redis://h/-1", "unix://", "unix://?db=1"])
def test_a_redis_url_ends_in_a_number_or_a_socket(environment: Environment, url: str) -> None:
    environment.setenv("REDIS_URL", url)

    (problem,) = problems()

    assert problem.startswith("REDIS_URL=")
    assert ": expected " in problem


@pytest.mark.parametrize("url", ["redis://h", "redis://h/", "redis://:x@h:6379/15", "unix:///run/redis.sock?db=2"])
def test_a_redis_url_may_leave_the_number_out(environment: Environment, url: str) -> None:
    environment.setenv("REDIS_URL", url)

    assert load_settings(Settings).redis_url.get_secret_value() == url


@pytest.mark.parametrize("name", ["connect_timeout", "application_name"])
def test_a_database_url_cannot_undo_the_bounds(environment: Environment, name: str) -> None:
    environment.setenv("DATABASE_URL", f"{DATABASE_URL}?{name}=9")

    (problem,) = problems()

    assert f": leave {name} out: " in problem
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://{}@127.0.0.1:abc/items"),
        ("DATABASE_URL", "postgresql://{}@::1:5432/items"),
        ("REDIS_URL", "redis://{}@127.0.0.1:abc/0"),
    ],
)
def test_a_port_that_is_no_number_is_told_as_such(environment: Environment, name: str, url: str) -> None:
    environment.setenv(name, url.format(f"u:{SECRET}"))
    expected = "cannot be read: the port must be a number, and an IPv6 address stands in [brackets]"

    assert problems() == [f"{name}={url.format('***')!r}: {expected}"]


@pytest.mark.parametrize(
    ("name", "url"), [("DATABASE_URL", "postgresql://u:{}@h:65536/items"), ("REDIS_URL", "redis://:{}@h:65536/0")]
)
def test_a_port_that_is_too_high_is_told_as_such(environment: Environment, name: str, url: str) -> None:
    environment.setenv(name, url.format(SECRET))

    assert problems() == [f"{name}={url.format('***')!r}: the port must be a number up to 65535"]


def test_an_empty_url_is_not_set(environment: Environment) -> None:
    environment.setenv("DATABASE_URL", "")
    environment.setenv("REDIS_URL", "")

    assert [problem.partition(":")[0] for problem in problems()] == ["DATABASE_URL is not set", "REDIS_URL is not set"]


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"{SECRET}@host",
        f"host=h password={SECRET}",
        f"http://user:{SECRET}@h/items",
        f"//user:{SECRET}@h/items",
        f"postgresql:user:{SECRET}@h/items",
        f"redis:user:{SECRET}@h/0",
        f"postgresql://user:{SECRET}@h:port/items",
        f"postgresql://user:x@{SECRET}@h/items",
        f"postgresql://user:{SECRET}@h",
        f"postgresql://h/items?password={SECRET}&what=1",
        f"postgresql://h/items?passwort={SECRET}",
        f"redis://:x@{SECRET}@h/0",
        f"redis://:{SECRET}/x@h/0",
        f"redis://h/0?password={SECRET}&what=1",
        f"redis://:x?{SECRET}=1@h/0",
        f"redis://h:99999/0?password={SECRET}",
    ],
)
def test_a_url_that_cannot_work_is_told_without_its_secret(environment: Environment, name: str, value: str) -> None:
    environment.setenv(name, value)

    (problem,) = problems()

    assert problem.startswith(f"{name}=")
    assert SECRET not in problem


def test_the_name_of_a_database_is_required(environment: Environment) -> None:
    environment.setenv("DATABASE_URL", f"postgresql://user:{SECRET}@h/")

    (problem,) = problems()

    assert problem == (
        "DATABASE_URL='postgresql://user:***@h/':"
        " expected the name of a database at the end, as in postgresql://host/items"
    )
