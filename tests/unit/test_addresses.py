"""Which servers the kit takes for this machine's, before it connects to any."""

from pathlib import Path

import pytest

from service.testing.addresses import check_postgres_url, check_redis_url
from service.testing.errors import SetupError

NO_URL = "is not a URL that the tests can use"
BY_ENVIRONMENT = r"The environment \(PGHOST, PGHOSTADDR, PGSERVICE\) leads to"


@pytest.fixture(autouse=True)
def _no_libpq_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql:///x?host=localhost&hostaddr=192.0.2.9", "URL leads to 192.0.2.9, which is not this machine"),
        ("postgresql:///x?host=localhost,::1&hostaddr=,192.0.2.9", "URL leads to localhost,192.0.2.9"),
        ("postgresql:///x?host=/tmp,db.example.com", "URL leads to /tmp,db.example.com"),
        ("postgresql://%64b.example.com/x", "URL leads to db.example.com"),
        ("postgresql:///x?service=prod", "URL names the connection service prod"),
        ("postgresql://localhost/x?service=prod", "URL names the connection service prod"),
        # What libpq and SQLAlchemy do not read alike.
        ("postgresql:///x?host=db.example.com&host=localhost", NO_URL),
        ("postgresql://db.example.com/x?host=", NO_URL),
        ("postgresql://localhost/x?hostaddr=192.0.2.9&hostaddr=", NO_URL),
        ("postgresql://localhost/x?dbname=prod", NO_URL),
        ("postgresql://localhost/x?nonsense=1", NO_URL),
    ],
)
def test_a_postgres_url_that_leads_elsewhere_is_refused(url: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        check_postgres_url("URL", url, allow_remote=False)


@pytest.mark.parametrize(
    ("url", "variable", "value"),
    [
        ("postgresql:///postgres", "PGHOST", "192.0.2.7"),
        ("postgresql:///postgres", "PGHOST", "localhost,192.0.2.7"),
        ("postgresql://localhost/postgres", "PGHOSTADDR", "192.0.2.7"),
        ("postgresql:///postgres?host=/tmp", "PGHOSTADDR", "192.0.2.7"),
        ("postgresql:///postgres", "PGSERVICE", "prod"),
        ("postgresql://localhost", "PGSERVICE", "pinned"),
    ],
)
def test_an_environment_that_leads_elsewhere_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, variable: str, value: str
) -> None:
    services = tmp_path / "services"
    services.write_text("[prod]\nhost=192.0.2.7\n[pinned]\nhostaddr=192.0.2.7\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv(variable, value)

    with pytest.raises(SetupError, match=f"{BY_ENVIRONMENT} .*192.0.2.7"):
        check_postgres_url("URL", url, allow_remote=False)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///postgres",
        "postgresql://u:p@localhost:5433/postgres?sslmode=disable",
        "postgresql+psycopg:///postgres?host=/tmp,/run",
        # A tunnel: the name is what the certificate says.
        "postgresql://db.example.com/postgres?hostaddr=127.0.0.1",
    ],
)
def test_a_postgres_url_of_this_machine_is_taken(url: str) -> None:
    assert check_postgres_url("URL", url, allow_remote=False) == url


def test_a_host_in_the_url_goes_before_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "192.0.2.7")
    url = "postgresql://localhost/postgres"

    assert check_postgres_url("URL", url, allow_remote=False) == url


def test_a_service_is_taken_where_remote_servers_are_allowed() -> None:
    url = "postgresql:///postgres?service=prod"

    assert check_postgres_url("URL", url, allow_remote=True) == url


@pytest.mark.parametrize(
    "url",
    ["redis://192.0.2.7?host=localhost", "redis://?host=192.0.2.7&host=localhost", "rediss:///1?host=192.0.2.7"],
)
def test_a_redis_url_that_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match=r"URL leads to .*192\.0\.2\.7"):
        check_redis_url("URL", url, allow_remote=False)


@pytest.mark.parametrize("url", ["redis://", "redis://localhost:1/2?protocol=3", "unix:///run/redis.sock?db=1"])
def test_a_redis_url_of_this_machine_is_taken(url: str) -> None:
    assert check_redis_url("URL", url, allow_remote=False) == url
