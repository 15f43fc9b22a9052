"""What routers ask for, as Annotated aliases.

Those that only hand an object over are `async def`: a plain one would cost each request a hop to a thread.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import WithJsonSchema
from sqlalchemy import Engine
from sqlmodel import Session

from service.catalogue import Catalogue
from service.errors import MalformedPreconditionError, PreconditionRequiredError
from service.preconditions import TAGS, UNCONDITIONAL, Precondition, Tags, parse_if_match, parse_if_none_match
from service.redis_client import Client
from service.retries import TRIES
from service.web import idempotency
from service.web.idempotency import Claim
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


async def take_turn(request: Request) -> AsyncIterator[None]:
    """Let few requests at a time change one item: more would hold threads and connections to wait for its row."""
    async with request.app.state.turns.take(request.path_params["item_id"]):
        yield


# For routes that change the one item that their path names.
TURN = Depends(take_turn, scope="function")
CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]

# Lists, because a header may come in several lines, which mean what one with commas means (RFC 9110, section 5.3).
TagLines = Annotated[list[str] | None, WithJsonSchema({"type": "string", "pattern": TAGS})]
IfMatch = Annotated[
    TagLines, Header(alias="If-Match", description="change the item only if it has one of these tags, or `*`: any")
]
IfNoneMatch = Annotated[
    TagLines, Header(alias="If-None-Match", description="change the item only if it has none of these tags")
]


async def get_precondition(
    request: Request, if_match: IfMatch = None, if_none_match: IfNoneMatch = None
) -> Precondition:
    """What the request's headers require of the item that it is about to change.

    There is no Last-Modified, so dates in If-Unmodified-Since have to be ignored (RFC 9110, section 13.1.4).
    """
    if if_match is None and request.app.state.require_if_match:
        raise PreconditionRequiredError("If-Match")
    return Precondition(
        one_of=_read("If-Match", if_match, parse_if_match, absent=UNCONDITIONAL.one_of),
        none_of=_read("If-None-Match", if_none_match, parse_if_none_match, absent=UNCONDITIONAL.none_of),
    )


def _read(
    header: str, lines: list[str] | None, parse: Callable[[str], Tags | None], *, absent: Tags | None
) -> Tags | None:
    if lines is None:
        return absent
    try:
        return parse(",".join(lines))
    except ValueError as error:
        raise MalformedPreconditionError(header) from error


PreconditionDep = Annotated[Precondition, Depends(get_precondition)]


@dataclass(frozen=True, slots=True)
class Once:
    """Does a POST's work: once for all requests with its key, or simply if it has none."""

    catalogue: Catalogue
    claim: Claim | None

    def __call__(self, work: Callable[[Catalogue], Response], *, tries: int = TRIES) -> Response:
        """What `work` responds, or responded the first time. It writes through the catalogue that it is given."""
        if self.claim is None:
            return work(self.catalogue)
        answer = self.catalogue.once(self.claim, lambda unit: idempotency.keep(work(unit)), tries=tries)
        return idempotency.replay(answer)


async def get_once(request: Request, catalogue: CatalogueDep) -> Once:
    """What a POST does its work through, if its body is read whole before."""
    key = idempotency.find_key(request)
    if key is None:
        return Once(catalogue, None)
    fingerprint = idempotency.begin_fingerprint(request)
    fingerprint.update(await request.body())
    return Once(catalogue, Claim(key, fingerprint.digest))


OnceDep = Annotated[Once, Depends(get_once)]
