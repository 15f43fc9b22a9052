"""The Redis of one test process: a server of its own, or a database of the one that was given."""

from contextlib import ExitStack

import redis

from service.embedded import RedisServer
from service.testing.errors import NoServerError, SetupError
from service.testing.redis_claims import RedisClaim, claim_database, connect
from service.testing.servers import explained


class WorkerRedis:
    """A Redis that is this worker's alone, at `url`; NoServerError when there is none to be had."""

    def __init__(self, given: str | None) -> None:
        self._undo = ExitStack()
        try:
            self.claim: RedisClaim | None = claim_database(given) if given else None
            self.url = self._adopt(self.claim) if self.claim else self._start(given)
        except SetupError as error:
            raise NoServerError(str(error)) from error
        self._client = self._undo.enter_context(self.connect())

    def _adopt(self, claim: RedisClaim) -> str:
        self._undo.callback(claim.release)
        return claim.url

    def _start(self, given: str | None) -> str:
        try:
            server = explained(RedisServer.start)
        except SetupError as error:
            if given is None:
                raise
            raise SetupError(
                "The Redis server of TEST_REDIS_URL has no empty database left for this worker, and no embedded one can"
                f" be started in its place ({error}). Use fewer workers, or give the server more `databases`."
            ) from error
        self._undo.callback(server.stop)
        return server.url

    def connect(self) -> redis.Redis:
        """A new client of it."""
        return connect(self.url)

    def flush(self) -> None:
        """Empty it: all of a server of our own, and one database of another; raises SetupError when it is gone."""
        try:
            self._flush()
        except redis.ConnectionError:
            # A test may have cut every connection. The client has let go of its own, and makes another.
            try:
                self._flush()
            except redis.ConnectionError as error:
                raise SetupError(
                    f"This worker's Redis is gone, perhaps by a test before this one: {error}. A test that ends or"
                    " stops a Redis should start one for itself (service.embedded.RedisServer)."
                ) from error

    def _flush(self) -> None:
        if self.claim:
            self._client.flushdb()
            return
        pipeline = self._client.pipeline(transaction=False)
        pipeline.flushall()
        # The libraries of functions, which Redis has from version 7 on.
        pipeline.function_flush()
        emptied, *_ = pipeline.execute(raise_on_error=False)
        if isinstance(emptied, Exception):
            raise emptied

    def close(self) -> None:
        """Let it go, empty."""
        self._undo.close()
