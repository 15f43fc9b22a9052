"""What the plumbing needs of servers: a claim on a part of Redis, and a port."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from sqlalchemy import make_url

# A killed run leaves its claims; they end by themselves, long after any run has.
CLAIM_SECONDS = 2 * 60 * 60


@contextmanager
def claimed_redis(url: str) -> Iterator[str]:
    """The URL of a database index of this Redis that was empty and is now ours; LookupError when there is none."""
    with redis.Redis.from_url(url) as claims:
        taken = claims.connection_pool.connection_kwargs.get("db", 0)
        for index in range(64):
            claim = f"item-service-tests:{index}"
            if index == taken or not claims.set(claim, os.getpid(), nx=True, ex=CLAIM_SECONDS):
                continue
            try:
                ours = make_url(url).update_query_dict({"db": str(index)}).render_as_string(hide_password=False)
                with redis.Redis.from_url(ours) as client:
                    if client.dbsize() == 0:
                        yield ours
                        client.flushdb()
                        return
            finally:
                claims.delete(claim)
    raise LookupError(f"no empty database index is left on {url}")


def free_port() -> int:
    """A TCP port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
