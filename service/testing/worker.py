"""What one test process has: databases, a Redis, the running application."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import redis
from sqlalchemy import Engine

from service.embedded import RedisServer
from service.testing.addresses import for_libpq, for_sqlalchemy
from service.testing.application import RunningApp
from service.testing.clones import CloneStock
from service.testing.configuration import Project
from service.testing.databases import WorkerDatabases
from service.testing.errors import SetupError
from service.testing.lease import Lease
from service.testing.ownership import Owner
from service.testing.redis_claims import claim_database, connect
from service.testing.rollback import SharedConnection
from service.testing.servers import explained

EngineFactory = Callable[[str], Engine]


@dataclass(frozen=True, slots=True)
class Database:
    """A database on the run's server: `url` for SQLAlchemy, `dsn` for psycopg, psql and pg_dump."""

    name: str
    url: str
    dsn: str


class Worker:
    """This process's share of the run. Everything is made when it is first asked for."""

    def __init__(self, project: Project, lease: Lease, worker_id: str) -> None:
        self.project = project
        self.lease = lease
        self._app: RunningApp | None = None
        self._shared: dict[str, SharedConnection] = {}
        owner, template = Owner(project.name, lease.run, worker_id), lease.template
        with ExitStack() as undo:
            self.databases = WorkerDatabases(
                lease.servers.admin_url, owner, template=template.name, strategy=template.strategy
            )
            undo.callback(self.databases.close)
            self.base = self.database(self.databases.copy())
            self.stock = CloneStock(self.databases)
            undo.callback(self.stock.close)
            self._undo = undo.pop_all()

    def database(self, name: str) -> Database:
        """The database `name`, with its addresses."""
        url = self.lease.servers.postgres_url
        return Database(name, for_sqlalchemy(url, name), for_libpq(url, name))

    @cached_property
    def redis_url(self) -> str:
        """The URL of a Redis, or of a database of one, that is this worker's alone; raises SetupError."""
        given = self.lease.servers.redis_url
        if given and (claim := claim_database(given)):
            self._undo.callback(claim.release)
            self.databases.note(self.base.name, redis=claim.record)
            return claim.url
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

    @cached_property
    def redis_client(self) -> redis.Redis:
        """The kit's own client, to empty Redis with."""
        client = connect(self.redis_url)
        self._undo.callback(client.close)
        return client

    def flush_redis(self) -> None:
        """Empty this worker's Redis; never asked of one that is not ours alone."""
        try:
            self.redis_client.flushdb()
        except redis.ConnectionError:
            # A test may have cut every connection. The client has let go of its own, and makes another.
            self.redis_client.flushdb()

    def app(self, environment: Mapping[str, str]) -> RunningApp:
        """The application of all rollback tests, started in `environment` when it is first asked for."""
        if self._app is None:
            self._app = RunningApp(self.project, environment)
            self._undo.callback(self._app.stop)
        return self._app

    def shared(self, make_engine: EngineFactory, database: Database) -> SharedConnection:
        """The connection of rollback tests on `database`."""
        if database.name not in self._shared:
            shared = self._shared[database.name] = SharedConnection(make_engine(database.url))
            self._undo.callback(shared.close)
        return self._shared[database.name]

    def forget(self, database: Database) -> None:
        """Drop a database that rollback tests have used."""
        if shared := self._shared.pop(database.name, None):
            shared.close()
        self.stock.discard(database.name)

    def close(self) -> None:
        """Stop the application and let everything go; the run removes it."""
        self._undo.close()
