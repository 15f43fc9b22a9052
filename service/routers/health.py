"""What load balancers and orchestrators ask."""

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from service.dependencies import EngineDep, RedisDep
from service.errors import NotReadyError
from service.health import Reachability, SchemaState, examine_parts
from service.web.problems import Problem, describe_problems
from service.web.strict_route import StrictRoute

router = APIRouter(prefix="/health", tags=["health"], route_class=StrictRoute)


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Requests can be served; each part by itself."""

    status: Literal["ready"] = "ready"
    database: Reachability
    migrations: SchemaState
    redis: Reachability


class NotReady(Problem):
    """Requests cannot be served; each part by itself."""

    database: Reachability
    migrations: SchemaState
    redis: Reachability


@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> Liveness:
    """Answer, touching nothing: a failing dependency must not get the process restarted."""
    return Liveness()


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=describe_problems(503, model=NotReady))
def ready(engine: EngineDep, client: RedisDep) -> Readiness:
    """Say whether requests can be served: PostgreSQL answers and its schema is one that this release works on."""
    parts = examine_parts(engine, client)
    if parts.are_ready:
        return Readiness(**asdict(parts))
    detail = f"PostgreSQL is {parts.database}, its migrations are {parts.migrations}."
    raise NotReadyError(detail, asdict(parts))
