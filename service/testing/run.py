"""The run, as its controller owns it: the servers, the template, and the process that cleans up behind it."""

import secrets
from contextlib import ExitStack
from importlib import import_module
from threading import Thread

import psycopg

from service.testing import servers
from service.testing.configuration import Project
from service.testing.errors import SetupError
from service.testing.lease import Lease
from service.testing.ownership import Admin, Owner, claim, connect_admin
from service.testing.reaper import Reaper
from service.testing.servers import Choice
from service.testing.sweeping import remove_worker

CONTROLLER = "run"


class Run:
    """Servers, a template, and a reaper for what outlives the run on servers that are not its own."""

    def __init__(self, project: Project, choice: Choice) -> None:
        self._project = project
        self._choice = choice
        self._id = secrets.token_hex(6)
        self._undo = ExitStack()
        self._admin: Admin | None = None
        self._reaper: Reaper | None = None
        self.lease: Lease | None = None

    def prepare(self, workers: int) -> Lease:
        """Start everything, once; raises SetupError."""
        if self.lease is None:
            try:
                self.lease = self._begin(workers)
            except psycopg.Error as error:
                problem = " ".join(str(error).split())
                raise SetupError(
                    f"PostgreSQL refused what the tests need of it: {problem}. Correct that on the server of"
                    " TEST_DATABASE_URL, or unset that to use an embedded one."
                ) from error
        return self.lease

    def _begin(self, workers: int) -> Lease:
        # It brings Alembic, which takes as long to import as the servers to start: side by side, then.
        Thread(target=import_module, args=["service.testing.templates"], daemon=True).start()
        owner = self.owner(CONTROLLER)
        self._reaper = Reaper(owner)
        self._undo.callback(self._reaper.finish)
        started = servers.start(self._choice, owner, workers=workers, undo=self._undo, reaper=self._reaper)
        if started.outlive_the_run:
            self._reaper.clean(started.admin_url)
        self._admin = self._undo.enter_context(connect_admin(started.admin_url, owner))
        claim(self._admin, owner)
        from service.testing.templates import ensure_template  # noqa: PLC0415

        template = ensure_template(self._admin, started, self._project, owner)
        return Lease(run=self._id, servers=started, template=template)

    def owner(self, worker: str) -> Owner:
        """The owner record of one of this run's processes."""
        return Owner(self._project.name, self._id, worker)

    def watch(self, worker: int) -> None:
        """Have the worker process killed when this one is."""
        if self._reaper is not None:
            self._reaper.watch(worker)

    def bury(self, worker: str) -> None:
        """Remove what a worker that was killed has left, while the others go on."""
        if self._admin is not None:
            remove_worker(self._admin, self.owner(worker))

    def close(self) -> None:
        """Remove what the run has made; idempotent."""
        self._undo.close()
