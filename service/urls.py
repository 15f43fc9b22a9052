"""What DATABASE_URL and REDIS_URL may be, and how they are shown to people."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import redis
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from pydantic_core import PydanticCustomError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

DATABASE_SCHEMES = ("postgresql", "postgresql+psycopg")
# What a URL may not set, because a setting or the service itself does.
DATABASE_BOUNDS = {
    "connect_timeout": "CONNECT_TIMEOUT_SECONDS sets it",
    "application_name": "the service names its connections itself",
}
REDIS_SCHEMES = ("redis", "rediss", "unix")
# The rest of what redis-py takes from a URL would undo our bounds.
REDIS_OPTIONS = re.compile("db|username|password|protocol|ssl_.+")
REDIS_GROUPS = {
    "redis+sentinel": "redis+sentinel://[user:password@]host:port[,host:port ...]/service[/database]",
    "redis+cluster": "redis+cluster://[user:password@]host:port[,host:port ...]",
}
# With TLS, to the sentinels as well.
REDIS_GROUPS |= {
    scheme.replace("redis", "rediss"): f"{form.replace('redis', 'rediss', 1)}[?ssl_...=...]"
    for scheme, form in REDIS_GROUPS.items()
}
_SCHEME = re.compile(r"[a-z+]+://")
_WORD = re.compile(r"[A-Za-z_-]{1,20}")
_PLACE = re.compile(r"[\w.:\[\]-]+(/[\w.-]*)?")
_MAX_PORT = 65_535
_HOST = r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}"
_MANY_HOSTS = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?:(?P<username>[^:@/]*):(?P<password>[^@/]*)@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)/?(?P<service>[\w.-]+)?(?:/(?P<database>\d+))?"
    r"(?:\?(?P<query>ssl_\w+=[^&]*(?:&ssl_\w+=[^&]*)*))?"
)


def mask_url(value: str) -> str:
    """`value` with the password replaced by `***`; what cannot be read as a URL is withheld where it may hold one."""
    credentials, _, place = value.rpartition("@")
    try:
        url = make_url(value) if not {"@", "?"} & set(credentials) else None
    except (ArgumentError, ValueError):
        url = None
    if url is None:
        return _mask_what_is_no_url(value, credentials, place)
    # libpq and redis-py also take a password from the query; of that, only what says where the server is can be shown.
    where = {name: part for name, part in url.query.items() if name in {"host", "port", "db"}}
    return url.set(query=where).render_as_string(hide_password=True)


def _mask_what_is_no_url(value: str, credentials: str, place: str) -> str:
    """A word that is no secret, the scheme, and the server behind an @, if that is no part of a password."""
    if _WORD.fullmatch(value):
        return value
    scheme = found[0] if (found := _SCHEME.match(value)) else ""
    if "@" not in value or "?" in credentials or not _PLACE.fullmatch(place):
        return f"{scheme}(withheld)"
    return f"{scheme}***@{place}"


def _read_url(value: SecretStr, schemes: tuple[str, ...], *, others: Iterable[str] = ()) -> URL:
    text = value.get_secret_value()
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        expected = f"a URL that starts with {' or '.join(f'{scheme}://' for scheme in (*schemes, *others))}"
        raise PydanticCustomError("url", "expected {expected}", {"expected": expected})
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise PydanticCustomError(
            "url", "cannot be read: the port must be a number, and an IPv6 address stands in [brackets]"
        ) from error
    if text.count("@") > 1:
        raise PydanticCustomError("url", "write an @ in the user name or the password as %40")
    if (url.port or 0) > _MAX_PORT:
        raise PydanticCustomError("url", "the port must be a number up to {limit}", {"limit": _MAX_PORT})
    return url


def check_database_url(value: SecretStr) -> SecretStr:
    """A validator of Pydantic's: `value`, as SQLAlchemy takes it."""
    url = _read_url(value, DATABASE_SCHEMES)
    if not url.database:
        raise PydanticCustomError("url", "expected the name of a database at the end, as in postgresql://host/items")
    for name in filter(url.query.__contains__, DATABASE_BOUNDS):
        raise PydanticCustomError("url", "leave {name} out: {reason}", {"name": name, "reason": DATABASE_BOUNDS[name]})
    try:
        make_conninfo(**dict.fromkeys(url.query, ""))
    except psycopg.Error as error:
        raise PydanticCustomError("url", "expected a URL whose options libpq knows") from error
    # A bare postgresql:// would make SQLAlchemy look for psycopg2.
    return SecretStr(url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False))


@dataclass(frozen=True, slots=True)
class RedisHosts:
    """A REDIS_URL that names several hosts: a cluster's nodes, or the sentinels that watch over `service`.

    `options_url` has the scheme and the options alone, in a form that redis-py reads: for TLS.
    """

    kind: str
    hosts: list[tuple[str, int]]
    credentials: dict[str, str]
    service: str
    database: int
    options_url: str


def split_hosts(url: str) -> RedisHosts | None:
    """What a URL of a scheme in REDIS_GROUPS names; None for one of another form."""
    found = _MANY_HOSTS.fullmatch(url)
    if found is None or (found["kind"] == "sentinel") != bool(found["service"]):
        return None
    if found["query"] and found["scheme"] == "redis":
        return None
    hosts = [host.rsplit(":", 1) for host in found["hosts"].split(",")]
    return RedisHosts(
        kind=found["kind"],
        hosts=[(host.strip("[]"), int(port)) for host, port in hosts],
        credentials={name: unquote(found[name]) for name in ("username", "password") if found[name]},
        service=found["service"] or "",
        database=int(found["database"] or 0),
        options_url=f"{found['scheme']}://?{found['query'] or ''}",
    )


def check_redis_url(value: SecretStr) -> SecretStr:
    """A validator of Pydantic's: `value`, which redis-py can read, or `split_hosts`."""
    text = value.get_secret_value()
    scheme = text.partition("://")[0]
    if scheme in REDIS_GROUPS:
        if (several := split_hosts(text)) is None:
            raise PydanticCustomError("url", "expected {expected}", {"expected": REDIS_GROUPS[scheme]})
        text = several.options_url
    else:
        _read_url(value, REDIS_SCHEMES, others=REDIS_GROUPS)
        _check_redis_options(text)
        _check_redis_path(text)
    try:
        redis.ConnectionPool.from_url(text).make_connection()  # which connects to nothing yet
    except (TypeError, ValueError, redis.RedisError) as error:  # whose words may hold the password
        raise PydanticCustomError("url", "expected a URL whose port and options redis-py knows") from error
    return value


def _check_redis_path(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "unix" and not parts.path:
        raise PydanticCustomError("url", "expected the path of a socket, as in unix:///run/redis.sock")
    # redis-py takes what is no number for database 0.
    if parts.scheme != "unix" and not re.fullmatch("/?[0-9]*", parts.path):
        raise PydanticCustomError("url", "expected a database's number at the end, or nothing, as in redis://host/1")


def _check_redis_options(url: str) -> None:
    """Refuse what redis-py would let the URL decide; it reads URLs with `urlsplit`."""
    if "?" in url.rpartition("@")[0]:
        raise PydanticCustomError("url", "write a ? or an @ in the user name or the password as %3F or %40")
    if foreign := [name for name in parse_qs(urlsplit(url).query) if not REDIS_OPTIONS.fullmatch(name)]:
        names = {"names": ", ".join(foreign)}
        raise PydanticCustomError(
            "url", "leave {names} out: a URL sets only db, username, password, protocol and ssl_* options", names
        )
