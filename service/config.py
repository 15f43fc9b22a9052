"""The settings, read once into a frozen object.

Every number that bounds another number lives here, so that one validator sees them together.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import redis
from dotenv import dotenv_values
from psycopg.conninfo import make_conninfo
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

# What an item may hold. Requests are checked against these (schemas) and so is every row (models).
MAX_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 10_000
MAX_PRICE = Decimal("9999999999.99")
MAX_ID = 2**63 - 1
MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
MAX_OPERATIONS = 1000  # of a batch
# What may be kept of a POST with an Idempotency-Key. Of all answers that of a batch is the longest: 1,000 items, each
# as long as it may be and all of it characters that JSON escapes.
MAX_KEY_LENGTH = 255
MAX_ANSWER_BYTES = 64 * 1024**2
# The longest item takes a tenth of it; a file without line feeds must not fill the memory.
MAX_LINE_BYTES = 1024 * 1024
# At once, in each worker process: they last long, and each has a connection for itself all the while.
MAX_IMPORTS = 2
MAX_EXPORTS = 2

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
_HOST = r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}"
_MANY_HOSTS = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?:(?P<username>[^:@/]*):(?P<password>[^@/]*)@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)/?(?P<service>[\w.-]+)?(?:/(?P<database>\d+))?"
    r"(?:\?(?P<query>ssl_\w+=[^&]*(?:&ssl_\w+=[^&]*)*))?"
)


class ConfigurationError(Exception):
    """The environment does not describe a service that can run; `problems` holds one sentence for each fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def mask_url(value: str) -> str:
    """`value` with the password replaced by `***`; what cannot be read as a URL is withheld whole."""
    if value.count("@") > 1:  # one of them is in the password, and nobody can say which
        return "(withheld: more than one @)"
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        return "(withheld: not a URL)"
    # libpq and redis-py also take a password from the query; of that, only what says where the server is can be shown.
    where = {name: part for name, part in url.query.items() if name in {"host", "port", "db"}}
    return url.set(query=where).render_as_string(hide_password=True)


def _read_url(value: SecretStr, schemes: tuple[str, ...]) -> URL:
    text = value.get_secret_value()
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        expected = f"a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
        raise PydanticCustomError("url", "expected {expected}", {"expected": expected})
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise PydanticCustomError(
            "url", "cannot be read: the port must be a number, and an IPv6 address stands in [brackets]"
        ) from error
    if text.count("@") > 1:
        raise PydanticCustomError("url", "write an @ in the user name or the password as %40")
    return url


def _check_database_url(value: SecretStr) -> SecretStr:
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


def _check_redis_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    scheme = text.partition("://")[0]
    if scheme in REDIS_GROUPS:
        if (several := split_hosts(text)) is None:
            raise PydanticCustomError("url", "expected {expected}", {"expected": REDIS_GROUPS[scheme]})
        text = several.options_url
    else:
        _read_url(value, REDIS_SCHEMES)
        _check_redis_options(text)
    try:
        redis.ConnectionPool.from_url(text).make_connection()  # which connects to nothing yet
    except (TypeError, ValueError, redis.RedisError) as error:  # whose words may hold the password
        raise PydanticCustomError("url", "expected a URL whose port and options redis-py knows") from error
    return value


def _check_redis_options(url: str) -> None:
    """Refuse what redis-py would let the URL decide; it reads URLs with `urlsplit`."""
    if "?" in url.rpartition("@")[0]:
        raise PydanticCustomError("url", "write a ? or an @ in the user name or the password as %3F or %40")
    if foreign := [name for name in parse_qs(urlsplit(url).query) if not REDIS_OPTIONS.fullmatch(name)]:
        names = {"names": ", ".join(foreign)}
        raise PydanticCustomError(
            "url", "leave {names} out: a URL sets only db, username, password, protocol and ssl_* options", names
        )


class Limits(BaseSettings):
    """The numbers that bound each other. Each worker process has its own pool and its own threads."""

    # Errors must not repeat the input: it may hold a password. `load_settings` adds it back, masked.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    threads: int = Field(default=16, ge=1, le=200, description="requests that one worker process works on at once")
    pool_size: int = Field(default=16, ge=1, le=200, description="connections that one worker keeps open")
    pool_overflow: int = Field(default=4, ge=0, le=200, description="connections that one worker may open beyond these")
    pool_timeout_seconds: float = Field(default=1, gt=0, le=5, description="wait for a free connection")
    connect_timeout_seconds: int = Field(
        default=2, ge=2, le=5, description="wait for PostgreSQL to accept a connection"
    )
    statement_timeout_ms: int = Field(default=2000, ge=1, le=60_000, description="longest statement")
    # PostgreSQL looks for a deadlock after 1 s of waiting. Any sooner, and a wait has ended before it is known for one.
    lock_timeout_ms: int = Field(default=1500, ge=1, le=60_000, description="longest wait for a lock")
    idle_in_transaction_timeout_ms: int = Field(
        default=5000, ge=1, le=60_000, description="PostgreSQL ends a transaction that is silent for this long"
    )
    request_deadline_seconds: float = Field(
        default=5, gt=0, le=60, description="a request in trouble is answered by then"
    )
    redis_timeout_seconds: float = Field(default=0.1, gt=0, le=1, description="wait for Redis, before doing without it")
    max_body_bytes: int = Field(
        default=1_048_576, ge=1024, le=2**30, description="longest body of a request; what is imported may be longer"
    )
    cache_ttl_seconds: int = Field(default=30, ge=1, le=3600, description="age at which a cached answer is dropped")
    changes_kept_days: int = Field(
        default=30, ge=1, le=3650, description="age at which `service expire` drops changes from the feed"
    )
    # The clean-up after it takes up to 3.5 s more, and a process must be gone 15 s after SIGTERM.
    shutdown_timeout_seconds: int = Field(default=10, ge=1, le=11, description="time that running requests get to end")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        problems = [text for holds, text in self._bounds() if not holds]
        if problems:
            raise PydanticCustomError("bounds", "{text}", {"text": "; ".join(problems)})
        return self

    def _bounds(self) -> Iterator[tuple[bool, str]]:
        connections = self.pool_size + self.pool_overflow
        yield (
            connections >= self.threads,
            f"POOL_SIZE + POOL_OVERFLOW ({connections}) must be at least THREADS ({self.threads}): each may need one",
        )
        yield (
            self.lock_timeout_ms < self.statement_timeout_ms,
            (
                f"LOCK_TIMEOUT_MS ({self.lock_timeout_ms}) must be less than"
                f" STATEMENT_TIMEOUT_MS ({self.statement_timeout_ms})"
            ),
        )
        waits = self.pool_timeout_seconds + self.connect_timeout_seconds + self.statement_timeout_ms / 1000
        yield (
            waits <= self.request_deadline_seconds,
            (
                f"POOL_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_MS come to {waits:g} s,"
                f" more than REQUEST_DEADLINE_SECONDS ({self.request_deadline_seconds:g})"
            ),
        )


class DatabaseSettings(Limits):
    """What it takes to reach PostgreSQL; all that a migration needs."""

    database_url: Annotated[SecretStr, AfterValidator(_check_database_url)]


class Settings(DatabaseSettings):
    """What the environment and `.env` say: a field's variable is its name in upper case, with its unit."""

    redis_url: Annotated[SecretStr, AfterValidator(_check_redis_url)]
    cache_fast_path: bool = Field(default=True, description="answer cached reads on the event loop")
    require_if_match: bool = Field(default=False, description="refuse to change an item without If-Match")
    environment: Literal["development", "production"] = "development"


AnySettings = TypeVar("AnySettings", bound=Limits)


def load_settings(
    kind: type[AnySettings], env_file: Path | None = Path(".env"), *, known: Mapping[str, Any] | None = None
) -> AnySettings:
    """`kind` filled from `known`, the environment, `env_file`; raises ConfigurationError with every problem at once."""
    try:
        return _load(kind, env_file, known or {})
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            [f"The settings in {env_file} cannot be read: {reason}. Correct or remove that file."]
        ) from error


def _load(kind: type[AnySettings], env_file: Path | None, known: Mapping[str, Any]) -> AnySettings:
    try:
        return kind(_env_file=env_file, **known)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # Pydantic compares fields only when each alone is valid; compare the valid ones too, so that nothing is told late.
    unusable = {str(detail["loc"][0]) for detail in details if detail["loc"]} & Limits.model_fields.keys()
    try:
        Limits(_env_file=env_file, **{name: Limits.model_fields[name].default for name in unusable})
    except ValidationError as error:
        compared = error.errors(include_url=False)
        details += [each for each in compared if not any(name.upper() in each["msg"] for name in unusable)]
    given = {name.upper(): value for name, value in {**dotenv_values(env_file or os.devnull), **os.environ}.items()}
    raise ConfigurationError(list(dict.fromkeys(_describe(detail, given) for detail in details)))


def _describe(detail: ErrorDetails, given: dict[str, str | None]) -> str:
    if not detail["loc"]:
        return detail["msg"]
    name = str(detail["loc"][0]).upper()
    expected = detail["msg"][0].lower() + detail["msg"][1:]
    value = given.get(name) or ""
    if name not in given or (name in _EXAMPLES and not value):
        return f"{name} is not set: {_EXAMPLES.get(name, expected)}"
    shown = mask_url(value) if name.endswith("_URL") else value
    return f"{name}={shown!r}: {expected}"


_EXAMPLES = {
    "DATABASE_URL": "expected for example postgresql://user:password@localhost:5432/items",
    "REDIS_URL": "expected for example redis://localhost:6379/0",
}
