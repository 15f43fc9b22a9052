"""What load balancers and orchestrators ask."""

from typing import Literal

import redis
from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.database import describe_schema_lag, find_schema_revision
from service.dependencies import EngineDep, RedisDep
from service.redis_client import Client

router = APIRouter(prefix="/health", tags=["health"])


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Each part by itself. Redis may be down: the service works without it."""

    status: Literal["ready", "not ready"]
    database: Literal["up", "down"]
    migrations: Literal["at head", "behind", "unknown"]
    redis: Literal["up", "down"]


@router.get("/live")
async def live() -> Liveness:
    """Answer, touching nothing: a failing dependency must not get the process restarted."""
    return Liveness()


@router.get("/ready", responses={503: {"model": Readiness}})
def ready(response: Response, engine: EngineDep, client: RedisDep) -> Readiness:
    """Say whether requests can be served: PostgreSQL answers and its schema is one that this release works on."""
    database, migrations = _probe_database(engine)
    is_ready = migrations == "at head"
    response.status_code = 200 if is_ready else 503
    return Readiness(
        status="ready" if is_ready else "not ready",
        database=database,
        migrations=migrations,
        redis=_probe_redis(client),
    )


def _probe_database(engine: Engine) -> tuple[Literal["up", "down"], Literal["at head", "behind", "unknown"]]:
    try:
        with engine.connect() as connection:
            revision = find_schema_revision(connection)
    except SQLAlchemyError:
        return "down", "unknown"
    return "up", "behind" if describe_schema_lag(revision) else "at head"


def _probe_redis(client: Client) -> Literal["up", "down"]:
    try:
        client.ping()
    except redis.RedisError:
        return "down"
    return "up"
