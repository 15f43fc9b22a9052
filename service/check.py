"""What `service check` finds, and what other commands require of the live servers before they start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from redis import AuthenticationError, RedisError
from redis import TimeoutError as RedisTimeoutError
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from service.cache import COMMANDS, rehearse
from service.config import ConfigurationError, DatabaseSettings, Limits, Settings, load_settings
from service.database import SCHEMA_REVISION, describe_schema_lag, find_schema_revision, make_engine
from service.entries import item_key
from service.redis_client import make_redis
from service.urls import mask_url

OLDEST_POSTGRES = 14
OLDEST_REDIS = (6, 2)
OLDEST_VALKEY = (7, 2)
# Where a user's rights are those for items; no item has this id.
PROBE_KEY = item_key(0)

_POSTGRES_FACTS = text(
    """
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int / 10000 AS major,
           current_setting('transaction_read_only')::bool AS is_read_only,
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0) AS connections,
           current_setting('app.fenced', true) AS fenced,
           ARRAY(SELECT string_agg(privilege, ', ') || ' on table ' || name
                   FROM unnest(ARRAY['item', 'stored_answer']) AS name,
                        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
                  WHERE NOT has_table_privilege(to_regclass(name), privilege)
                  GROUP BY name ORDER BY name) AS missing_privileges
    """
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one part of the service: a problem, or what is fine."""

    part: str
    sentence: str
    is_problem: bool = True


def check_service() -> Iterator[Finding]:
    """Every problem of the settings and of the servers that they name; for a part without one, what is fine."""
    settings = None
    try:
        settings = load_settings(Settings)
        yield Finding("settings", "valid", is_problem=False)
    except ConfigurationError as error:
        yield from (Finding("settings", problem) for problem in error.problems)
    if usable := settings or _find_settings({"redis_url": "redis://unused"}):
        yield from _check_postgres(usable)
    if usable := settings or _find_settings({"database_url": "postgresql://unused/unused"}):
        yield from _check_redis(usable)


def require_database(settings: DatabaseSettings) -> None:
    """Raise ConfigurationError unless PostgreSQL answers and its schema is one that this release works on."""
    with connect(settings) as connection:
        lag = describe_schema_lag(find_schema_revision(connection))
    if lag:
        raise ConfigurationError([f"{_name_database(settings)}: {lag}"])


@contextmanager
def connect(settings: DatabaseSettings) -> Iterator[Connection]:
    """A connection to PostgreSQL; what goes wrong with it becomes a ConfigurationError."""
    engine = make_engine(settings, application_name="item-service-command")
    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, psycopg.Error) as error:  # COPY bypasses SQLAlchemy and its exceptions
        # The driver's own words, without SQL and parameters; it likes several lines.
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise ConfigurationError(
            [f"{_name_database(settings)}: {reason.rstrip('.?')}. Correct that, or the URL, then try again."]
        ) from error
    finally:
        engine.dispose()


def find_redis_problem(settings: Settings) -> str | None:
    """Why Redis cannot be used now; None when it answers."""
    try:
        with make_redis(settings) as client:
            client.ping()
            rehearse(client, PROBE_KEY)
    except RedisError as error:
        return _describe_redis_failure(settings, error)
    return None


def _find_settings(stand_in: dict[str, str]) -> Settings | None:
    """The settings with `stand_in` and defaults, so that a wrong one does not hide what is wrong with a server."""
    defaults = {name: field.default for name, field in Limits.model_fields.items()}
    try:
        return load_settings(Settings, known={**defaults, "environment": "development", **stand_in})
    except ConfigurationError:
        return None


def _check_postgres(settings: Settings) -> Iterator[Finding]:
    connections = settings.pool_size + settings.pool_overflow
    problems: list[str] = []
    try:
        with connect(settings) as connection:
            facts = connection.execute(_POSTGRES_FACTS).one()
            problems += _judge_postgres(facts, connections)
            revision = find_schema_revision(connection)
            if lag := describe_schema_lag(revision):
                problems.append(lag)
    except ConfigurationError as error:
        problems += error.problems
    yield from (Finding("PostgreSQL", problem) for problem in problems)
    if not problems:
        migrations = "at head" if revision == SCHEMA_REVISION else f"ahead of this release ({revision})"
        workers = facts.connections // connections
        fine = f"{facts.version}, migrations {migrations}, connections for {workers} workers"
        if facts.fenced != "1":
            fine += "; app.fenced cannot be set (by a pooler?), so that each write voids the whole cache"
        yield Finding("PostgreSQL", fine, is_problem=False)


def _judge_postgres(facts: Row[Any], connections_per_worker: int) -> Iterator[str]:
    if facts.major < OLDEST_POSTGRES:
        yield f"The server is PostgreSQL {facts.version}; {OLDEST_POSTGRES} is the oldest that is supported."
    if facts.is_read_only:
        yield "The server is read-only, a standby perhaps. DATABASE_URL must name the primary."
    for missing in facts.missing_privileges:
        yield f"This user may not {missing}: GRANT it to them."
    if connections_per_worker > facts.connections:
        yield (
            f"Each worker may open {connections_per_worker} connections (POOL_SIZE + POOL_OVERFLOW), but the server has"
            f" {facts.connections} for all workers (max_connections less the reserved): lower one or raise the other."
        )


def _check_redis(settings: Settings) -> Iterator[Finding]:
    try:
        with make_redis(settings) as client:
            info = client.info()
            problems = list(judge_redis(info))
            rehearse(client, PROBE_KEY)
    except RedisError as error:
        yield Finding("Redis", _describe_redis_failure(settings, error))
        return
    yield from (Finding("Redis", problem) for problem in problems)
    if not problems:
        yield Finding("Redis", _name_redis(info), is_problem=False)


def judge_redis(info: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the server that answered INFO with `info`."""
    version, oldest = (
        (info["valkey_version"], OLDEST_VALKEY) if "valkey_version" in info else (info["redis_version"], OLDEST_REDIS)
    )
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        yield f"The server is {_name_redis(info)}; Redis 6.2 and Valkey 7.2 are the oldest that are supported."
    if info["role"] != "master":
        yield f"The server is a {info['role']}. REDIS_URL must name the primary: caching means writing."


def _name_redis(info: dict[str, Any]) -> str:
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


def _name_database(settings: DatabaseSettings) -> str:
    url = mask_url(settings.database_url.get_secret_value())
    return f"DATABASE_URL={url.replace('+psycopg', '', 1)}"


def _describe_redis_failure(settings: Settings, error: RedisError) -> str:
    url = mask_url(settings.redis_url.get_secret_value())
    reason = str(error).rstrip(".?")
    if isinstance(error, AuthenticationError):
        # A server that wants a password answers the greeting with a lecture on its protocol.
        reason = "it wants another user or password"
    elif any(words in reason for words in ("has no permissions", "can't run this command")):
        # In the words of Redis before 7, a script that was refused a command does not say which.
        reason = f"{reason}; the cache uses {', '.join(COMMANDS)}"
    elif isinstance(error, RedisTimeoutError) and url.startswith("rediss"):
        # One that does not speak TLS takes our greeting for a command, and waits for its end.
        reason = f"{reason}; perhaps it does not speak TLS, and the scheme should be redis"
    return f"REDIS_URL={url}: {reason}. Correct that, or the URL, then try again."
