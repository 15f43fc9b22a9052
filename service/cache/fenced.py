"""The cache: read, fence, unfence. Why it is never stale: DECISIONS.md, and the model in tests/cache/test_model.py."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Generic, Literal, NamedTuple, TypeVar, cast
from uuid import uuid4

from prometheus_client import CollectorRegistry
from redis.exceptions import OutOfMemoryError, RedisError

from service.cache.breaker import Breaker
from service.cache.counts import Counts
from service.cache.epoch import TRUST_SECONDS, EpochSource, TrustedEpoch
from service.cache.flights import SingleFlight
from service.cache.scripts import (
    FENCE,
    FENCE_SECONDS,
    FILL,
    LEASE,
    LEASE_SECONDS,
    RELEASE,
    UNFENCE,
    Script,
    entry_keys,
)
from service.cache.wire import ask_scripts, rehearse
from service.redis_client import (
    Client,
    ask,
    connection_for,
    drop_connections,
    group_by_server,
    run_id,
)

log = logging.getLogger(__name__)

# A reader waits this long for another process to fill an entry, and for a first epoch; then it loads.
MISS_PATIENCE_SECONDS = 0.25
LEASE_POLL_SECONDS = 0.005
# The keeper may be in the middle of a question to a server that hangs.
STOP_SECONDS = 1.0

Held_co = TypeVar("Held_co", covariant=True)
Value = TypeVar("Value")
Source = Literal["hit", "stored", "miss", "bypass", "refused"]


@dataclass(frozen=True, slots=True)
class Cached(Generic[Held_co]):
    """A value and where it came from; `detail` says why the cache was passed by."""

    value: Held_co
    source: Source
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """What stands between a writer's COMMIT and the readers of `keys`.

    Where it does not stand, the writer has to move the epoch in the transaction that it commits.
    """

    keys: tuple[str, ...]
    token: str
    stands: bool


class _Turn(NamedTuple):
    state: str
    payload: bytes = b""
    stamp: bytes = b""


class Cache:
    """Entries of at most `ttl_seconds` under keys that the callers choose.

    Nothing is trusted until `start`; a process that only writes need not call it.
    """

    def __init__(
        self, client: Client, epochs: EpochSource, *, ttl_seconds: int, registry: CollectorRegistry | None = None
    ) -> None:
        self.counts = Counts(registry or CollectorRegistry())
        self.breaker = Breaker(self.counts)
        self.epoch = TrustedEpoch(epochs)
        self._redis = client
        self._ttl_ms = ttl_seconds * 1000
        self._flights: SingleFlight[tuple[bytes, Source, str | None]] = SingleFlight(
            patience_seconds=MISS_PATIENCE_SECONDS
        )
        self._stopping = Event()
        self._keeper: Thread | None = None

    def start(self) -> None:
        """Begin to read the epoch. Call it in the process that serves, after every fork."""
        self.epoch.expect()
        self._stopping.clear()
        self._keeper = Thread(target=self._keep, name="cache-keeper", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """End what `start` began."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join(STOP_SECONDS)

    def read(self, key: str, load: Callable[[], bytes], decode: Callable[[bytes], Value]) -> Cached[Value]:
        """The entry under `key`, else what `load` returns, which is stored if no write can have overtaken it.

        `load` reads in a transaction that it begins itself. `decode` raises ValueError for bytes that `load` cannot
        have made; they are dropped, and count as a miss.
        """
        payload = self._find(key)
        if payload is not None and (hit := self._decode_hit(key, payload, decode)):
            self.counts.hits.inc()
            return hit
        payload, source, detail = self._flights.fly(key, lambda: self._miss(key, load))
        hit = self._decode_hit(key, payload, decode) if source == "hit" else None
        if source == "hit" and hit is None:
            payload, source, detail = load(), "bypass", "foreign-bytes"
        self.counts.reads.labels(source, detail or "").inc()
        return hit or Cached(decode(payload), source, detail)

    def fence(self, *keys: str) -> Fence:
        """Drop `keys` and let nobody fill them: the last act before a COMMIT that changes what they hold."""
        token = uuid4().hex
        stands = self._run(FENCE, keys, token, int(FENCE_SECONDS * 1000))
        self.counts.fences.labels("up" if stands else "failed").inc()
        return Fence(keys, token, stands)

    def unfence(self, fence: Fence) -> bool:
        """Lift the fence after the COMMIT; if it did not stand or cannot be lifted, False: move the epoch, then settle.

        The entries are dropped again, for a fence that expired before the COMMIT.
        """
        return fence.stands and self._run(UNFENCE, fence.keys, fence.token)

    def settle(self) -> None:
        """Wait until no process can believe an epoch from before this call.

        The caller then makes sure that its PostgreSQL server has run all the while: with that one gone, others may go
        on believing (`TrustedEpoch`).
        """
        self.counts.epoch_bumps.inc()
        time.sleep(TRUST_SECONDS)

    def _find(self, key: str) -> bytes | None:
        if self.breaker.is_open:
            return None
        payload_key, stamp_key, *_ = entry_keys(key)
        try:
            with connection_for(self._redis, key) as connection:
                ((payload, stamp),) = ask(connection, ("MGET", payload_key, stamp_key))
                server = run_id(connection)
        except RedisError as error:
            self.breaker.trip(error, [(key, "")])
            return None
        epoch = self.epoch.find()
        trusted = epoch is not None and stamp == make_stamp(epoch, server)
        return cast("bytes", payload) if trusted and payload is not None else None

    def _decode_hit(self, key: str, payload: bytes, decode: Callable[[bytes], Value]) -> Cached[Value] | None:
        """The hit; None for foreign bytes, which are dropped."""
        try:
            return Cached(decode(payload), "hit")
        except ValueError:
            log.warning("cache.foreign_bytes", extra={"key": key})
            self._run(UNFENCE, [key], "")
            return None

    def _miss(self, key: str, load: Callable[[], bytes]) -> tuple[bytes, Source, str | None]:
        token = uuid4().hex
        turn = self._take_turn(key, token)
        if turn.state == "hit":
            return turn.payload, "hit", None
        if turn.state == "lease":
            return self._fill(key, token, turn.stamp, load)
        return load(), "bypass", turn.state

    def _take_turn(self, key: str, token: str) -> _Turn:
        """A hit after all, or the lease; else the state is the reason to pass the cache by."""
        deadline = time.monotonic() + MISS_PATIENCE_SECONDS
        while not self.breaker.is_open:
            epoch = self.epoch.wait(deadline - time.monotonic())
            if epoch is None:
                return _Turn("epoch-unknown")
            try:
                turn = self._lease(key, epoch, token)
            except OutOfMemoryError:
                return _Turn("redis-full")
            except RedisError as error:
                self.breaker.trip(error, [(key, "")])
                break
            if turn.state != "busy" or time.monotonic() > deadline:
                return turn
            self.counts.lease_waits.inc()
            time.sleep(LEASE_POLL_SECONDS)
        return _Turn("redis-down")

    def _lease(self, key: str, epoch: str, token: str) -> _Turn:
        with connection_for(self._redis, key) as connection:
            # The process that grants the lease is the one whose name the entry will carry.
            stamp = make_stamp(epoch, run_id(connection))
            (answer,) = ask_scripts(connection, LEASE, [key], stamp, token, int(LEASE_SECONDS * 1000))
        return _Turn(answer[0].decode(), answer[-1], stamp)

    def _fill(self, key: str, token: str, stamp: bytes, load: Callable[[], bytes]) -> tuple[bytes, Source, str | None]:
        try:
            payload = load()
        except BaseException:
            # The next reader need not wait until the lease expires.
            self._run(RELEASE, [key], token)
            raise
        try:
            with connection_for(self._redis, key) as connection:
                (stored,) = ask_scripts(connection, FILL, [key], token, payload, stamp, self._ttl_ms)
        except OutOfMemoryError:
            self._run(RELEASE, [key], token)
            return payload, "miss", "redis-full"
        except RedisError as error:
            self.breaker.trip(error, [(key, "")])
            return payload, "miss", "redis-down"
        return payload, "stored" if stored else "miss", None

    def _run(self, script: Script, keys: Iterable[str], token: str, *arguments: int) -> bool:
        """Whether `script` ran for every key. An error opens the breaker, with all of them as suspects."""
        if self.breaker.is_open:
            return False
        try:
            self._run_or_raise(script, keys, token, *arguments)
        except RedisError as error:
            self.breaker.trip(error, [(key, token) for key in keys])
            return False
        return True

    def _run_or_raise(self, script: Script, keys: Iterable[str], token: str, *arguments: int) -> None:
        for group in group_by_server(self._redis, keys):
            with connection_for(self._redis, group[0]) as connection:
                ask_scripts(connection, script, group, token, *arguments)

    def _keep(self) -> None:
        """Keep the epoch fresh, and take Redis into use again when it is well."""
        while not self._stopping.is_set():
            if self.breaker.is_open:
                self._recover()
            else:
                self.epoch.refresh()
            self._stopping.wait(TRUST_SECONDS / 2)
        # Here, and not by who stops it: on a slow server it may be about to connect anew even then.
        self.epoch.close()

    def _recover(self) -> None:
        suspects = self.breaker.suspects()
        try:
            drop_connections(self._redis)
            for key, token in suspects:
                self._run_or_raise(UNFENCE, [key], token)
                rehearse(self._redis, key)
        except RedisError as error:
            log.debug("cache.still_off", extra={"error": str(error)})
            self.epoch.refresh()
            return
        # What others wrote while we did not look has moved the epoch.
        self.epoch.refresh()
        self.breaker.reset(suspects)


def make_stamp(epoch: str, server: str) -> bytes:
    """What has to be true for an entry to be trusted: nothing has moved the epoch, and the same Redis process runs."""
    return f"{epoch}.{server}".encode()
