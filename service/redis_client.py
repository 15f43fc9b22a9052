"""The one way to a Redis client."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.config import Settings


def make_redis(settings: Settings) -> redis.Redis:
    """A client that gives up after `redis_timeout_seconds` and never tries twice; it connects at its first command.

    redis-py's own defaults (5 s timeouts, eleven tries) hold one GET on a hung server for about a minute.
    """
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=settings.redis_timeout_seconds,
        socket_connect_timeout=settings.redis_timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        client_name="item-service",
    )
