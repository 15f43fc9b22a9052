"""What routers ask for, as Annotated aliases.

Those that only hand an object over are `async def`: a plain one would cost each request a hop to a thread.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlmodel import Session

from service.catalogue import Catalogue
from service.redis_client import Client
from service.web.streams import Transfers


async def get_engine(request: Request) -> Engine:
    """The application's engine, for what needs a connection but no session."""
    engine: Engine = request.app.state.engine
    return engine


async def get_redis(request: Request) -> Client:
    """The application's Redis client, shared by all threads."""
    client: Client = request.app.state.redis
    return client


async def get_session(request: Request) -> AsyncIterator[Session]:
    """The request's session. It takes a connection at its first statement and is closed before the answer leaves.

    Closing does no I/O here, on the event loop: the catalogue has ended every transaction that it began.
    """
    with request.app.state.sessions() as session:
        yield session


async def get_transfers(request: Request) -> Transfers:
    """What bounds imports and exports."""
    transfers: Transfers = request.app.state.transfers
    return transfers


EngineDep = Annotated[Engine, Depends(get_engine)]
RedisDep = Annotated[Client, Depends(get_redis)]
TransfersDep = Annotated[Transfers, Depends(get_transfers)]
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


async def get_catalogue(request: Request, session: SessionDep) -> Catalogue:
    """The use cases, on this request's session."""
    return Catalogue(session=session, sessions=request.app.state.sessions, cache=request.app.state.cache)


CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]
