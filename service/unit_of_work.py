"""The unit of work: one transaction that changes items, and the cache's part in it. The only place that commits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.cache import Cache
from service.errors import DatabaseUnavailableError, IdempotencyKeyInUseError, IdempotencyKeyReusedError
from service.retries import TRIES, retry_lost_connection, retry_transaction
from service.web.idempotency import Answer, Claim

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")
Unit = TypeVar("Unit", bound="UnitOfWork")


def retried(
    use_case: Callable[Concatenate[Unit, Arguments], Value],
) -> Callable[Concatenate[Unit, Arguments], Value]:
    """Run the use case anew, transaction and all, when it conflicted with another; in a unit, that is the unit's."""

    @wraps(use_case)
    def run(unit: Unit, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        tries = TRIES if unit.changed is None else 1
        return retry_transaction(
            lambda: use_case(unit, *args, **kwargs), pass_over_taken_ids=unit.pass_over_taken_ids, tries=tries
        )

    return run


@contextmanager
def committing(session: Session) -> Iterator[None]:
    """Commit what is done inside, which changes no item; an error rolls back."""
    try:
        yield
        session.commit()
    except BaseException:  # whatever it was, Ctrl-C included; it goes on from here
        session.rollback()
        raise


@dataclass(slots=True)
class Changed:
    """The entries of the cache that a transaction makes untrue: those under `keys`, or every one."""

    keys: set[str] = field(default_factory=set)
    everything: bool = False


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """What one request works with.

    Writes use the request's session. Reads that may fill the cache use one of their own from `sessions`, because the
    request's may look at an older snapshot than the miss that it answers. Where `changed` is given, writes are parts of
    one transaction, which `once` commits, and tell there what they changed.
    """

    session: Session
    sessions: sessionmaker[Session]
    cache: Cache
    changed: Changed | None = None

    def once(self, claim: Claim, work: Callable[[Self], Answer], *, tries: int = TRIES) -> Answer:
        """What `work` answers, stored under the claim's key with all that it changed; for a repeat, what is stored.

        `work` is given a unit whose writes are one transaction. If it raises, nothing is changed or stored. It
        runs anew after a deadlock or a lost connection: say `tries=1` if it cannot. Raises IdempotencyKeyInUseError and
        IdempotencyKeyReusedError.
        """
        return retry_transaction(
            lambda: self._answer_once(claim, work), pass_over_taken_ids=self.pass_over_taken_ids, tries=tries
        )

    def pass_over_taken_ids(self) -> None:
        """Let items to come get ids beyond those that items have, whoever gave them."""
        with self.sessions() as session, committing(session):
            crud.pass_over_ids(session, crud.find_end_of_taken_ids(session))

    def void_cache(self) -> None:
        """Make every entry a miss for every process."""
        self._outlast_old_epoch(self._move_epoch())

    def _answer_once(self, claim: Claim, work: Callable[[Self], Answer]) -> Answer:
        try:
            if answer := self._find_answer(claim):
                return answer
            with self._writing() as changed:
                answer = work(replace(self, changed=changed))
                crud.store_answer(
                    self.session,
                    key=claim.key,
                    fingerprint=claim.fingerprint(),
                    status=answer.status,
                    headers=answer.headers,
                    body=answer.body,
                )
            return answer
        finally:
            # Gives the key's lock back where nothing was done; after COMMIT it does nothing.
            self.session.rollback()

    def _find_answer(self, claim: Claim) -> Answer | None:
        """The stored answer to the same request; None when the key is ours to answer, until the transaction ends."""
        is_ours = crud.try_lock_key(self.session, claim.key)
        # In this order, and in two statements: whoever held the lock until now has committed what this one looks for.
        stored = crud.find_answer(self.session, claim.key)
        if stored is None and not is_ours:
            raise IdempotencyKeyInUseError
        if stored is None:
            return None
        fingerprint = stored.fingerprint
        answer = Answer(stored.status, [(name, value) for name, value in stored.headers], stored.body, is_repeat=True)
        # For the claim's, the rest of a long body may have to be read: no transaction should wait for that.
        self.session.rollback()
        if fingerprint != claim.fingerprint():
            raise IdempotencyKeyReusedError
        return answer

    @contextmanager
    def _writing(self, *keys: str, voids_cache: bool = False) -> Iterator[Changed]:
        """The one way to change items: statements inside, then fence, COMMIT, unfence. An error rolls back.

        `keys` are the entries that the statements make untrue; those that are known only inside may be added to what
        it yields. Where they are too many to name, `voids_cache` makes every entry untrue instead, which takes as long
        as others may trust it; `keys` are still gone from Redis. In a unit, the unit does the rest.
        """
        if self.changed is not None:
            self.changed.keys.update(keys)
            self.changed.everything |= voids_cache
            yield self.changed
            return
        changed = Changed(set(keys), voids_cache)
        try:
            yield changed
            fence = self.cache.fence(*sorted(changed.keys))
            moves_epoch = changed.everything or not fence.stands
            server_start = crud.bump_cache_epoch(self.session) if moves_epoch else None
            self.session.commit()
        except BaseException:  # as above
            # A fence of a COMMIT whose outcome is unknown stays until it expires.
            self.session.rollback()
            raise
        try:
            was_lifted = self.cache.unfence(fence)
            if server_start or not was_lifted:
                self._outlast_old_epoch(server_start or self._move_epoch())
        except DBAPIError as error:
            # It must not pass for a conflict, after which all would be run anew: the change is made.
            raise DatabaseUnavailableError("PostgreSQL was lost after the change, which has been made.") from error

    def _move_epoch(self) -> str:
        with self.sessions() as session, committing(session):
            return crud.bump_cache_epoch(session)

    def _outlast_old_epoch(self, server_start: str) -> None:
        """Return when no process trusts the cache as it was before the bump; raises DatabaseUnavailableError.

        While PostgreSQL is away, the others go on trusting. So the write is acknowledged only if it never was.
        """
        self.cache.settle()
        with self.sessions() as session:
            if crud.find_server_start(session) != server_start:
                raise DatabaseUnavailableError("PostgreSQL was restarted during the request, which may have been done.")

    def _read(self, query: Callable[[Session], Value]) -> Value:
        """What `query` finds in a session of its own; a connection that dies under it is replaced once."""

        def read() -> Value:
            with self.sessions() as session:
                return query(session)

        return retry_lost_connection(read)
