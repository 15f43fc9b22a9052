"""What one test process has: databases, a Redis, the running application."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from service.testing.addresses import for_libpq, for_sqlalchemy
from service.testing.clones import CloneStock
from service.testing.configuration import Project
from service.testing.databases import WorkerDatabases
from service.testing.lease import Lease
from service.testing.listeners import unwatched
from service.testing.ownership import Owner
from service.testing.rollback import SharedConnection

if TYPE_CHECKING:
    from service.testing.application import RunningApp
    from service.testing.worker_redis import WorkerRedis

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
        self._shared: dict[str, tuple[EngineFactory, SharedConnection]] = {}
        owner, template = Owner(project.name, lease.run, worker_id), lease.template
        with ExitStack() as undo:
            self.databases = WorkerDatabases(
                lease.servers.admin_url, owner, template=template.name, strategy=template.strategy
            )
            undo.callback(self.databases.close)
            self.base = self.database(self.databases.copy())
            self.stock = CloneStock(self.databases)
            undo.callback(self.stock.close)
            undo.callback(self._close_shared)
            self._undo = undo.pop_all()

    def database(self, name: str) -> Database:
        """The database `name`, with its addresses."""
        url = self.lease.servers.postgres_url
        return Database(name, for_sqlalchemy(url, name), for_libpq(url, name))

    @cached_property
    def redis(self) -> "WorkerRedis":
        """The Redis that is this worker's alone; raises SetupError."""
        # Not at the top: it brings the client library, and many a run needs none.
        from service.testing.worker_redis import WorkerRedis  # noqa: PLC0415

        own = WorkerRedis(self.lease.servers.redis_url)
        self._undo.callback(own.close)
        self._note_claim(own)
        return own

    def _note_claim(self, own: "WorkerRedis") -> None:
        if own.claim:
            self.databases.note(self.base.name, redis=own.claim.record)

    def environment(self, database: Database) -> dict[str, str]:
        """The environment variables of an application on `database` and this worker's Redis."""
        redis_url = self.redis.url if self.project.uses_redis else ""
        return self.project.fill_environment(database_url=database.url, redis_url=redis_url)

    def start_app(self, environment: Mapping[str, str]) -> "RunningApp":
        """An application, started in `environment`; the caller stops it."""
        # Not at the top, again: it brings the test client.
        from service.testing.application import RunningApp  # noqa: PLC0415

        return RunningApp(self.project, environment)

    def app(self) -> "RunningApp":
        """The application of all rollback tests, started when it is first asked for."""
        if self._app is None:
            self._app = self.start_app(self.environment(self.base))
            self._undo.callback(self.stop_app)
        return self._app

    def stop_app(self) -> None:
        """Stop the application of rollback tests, if it runs; raises what its shutdown raises."""
        app, self._app = self._app, None
        if app is not None:
            app.stop()

    def replace_base(self) -> None:
        """Begin with a new copy, and a new application on it: a test has left something in the old one."""
        try:
            self.stop_app()
        finally:
            self.forget(self.base)
            self.base = self.database(self.databases.copy())
            if "redis" in self.__dict__:
                self._note_claim(self.redis)

    def shared(self, make_engine: EngineFactory, database: Database) -> SharedConnection:
        """The connection of rollback tests on `database`, as the present maker of engines would have it."""
        maker, shared = self._shared.get(database.name, (None, None))
        if shared is None or maker is not make_engine:
            if shared is not None:
                shared.close()
            with unwatched():
                shared = SharedConnection(make_engine(database.url))
            self._shared[database.name] = make_engine, shared
        return shared

    def forget(self, database: Database) -> None:
        """Drop a database that rollback tests have used."""
        if database.name in self._shared:
            self._shared.pop(database.name)[1].close()
        self.stock.discard(database.name)

    def _close_shared(self) -> None:
        for _, shared in self._shared.values():
            shared.close()

    def close(self) -> None:
        """Stop the application and let everything go; the run removes it."""
        self._undo.close()
