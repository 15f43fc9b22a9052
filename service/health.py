"""What `/health/ready` tells of the servers that the application uses."""

from dataclasses import dataclass
from typing import Literal

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.database import SCHEMA_REVISION, describe_schema_lag, find_schema_revision
from service.redis_client import Client

Reachability = Literal["up", "down"]
SchemaState = Literal["at head", "ahead", "behind", "unknown"]


@dataclass(frozen=True, slots=True)
class Parts:
    """Each part by itself. Redis may be down: the service works without it."""

    database: Reachability
    migrations: SchemaState
    redis: Reachability

    @property
    def are_ready(self) -> bool:
        """Whether requests can be served."""
        return self.migrations in ("at head", "ahead")


def examine_parts(engine: Engine, client: Client) -> Parts:
    """Ask both servers now; what fails is down."""
    database, migrations = _examine_database(engine)
    return Parts(database, migrations, _examine_redis(client))


def _examine_database(engine: Engine) -> tuple[Reachability, SchemaState]:
    try:
        with engine.connect() as connection:
            revision = find_schema_revision(connection)
    except SQLAlchemyError:
        return "down", "unknown"
    if describe_schema_lag(revision):
        return "up", "behind"
    return "up", "at head" if revision == SCHEMA_REVISION else "ahead"


def _examine_redis(client: Client) -> Reachability:
    try:
        client.ping()
    except redis.RedisError:
        return "down"
    return "up"
