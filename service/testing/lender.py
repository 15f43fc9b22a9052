"""Who lends databases to tests: at which level, with which data, and what becomes of a database afterwards."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from service.testing.clone_engines import CloneEngines
from service.testing.clones import Clone
from service.testing.configuration import Project
from service.testing.data_layers import DataLayers, Layer, module_of
from service.testing.errors import NotUndoneError, SetupError
from service.testing.fork_server import ForkServer
from service.testing.keeping import keep_database
from service.testing.lease import Lease
from service.testing.loans import CloneLoan, Loan, RollbackLoan
from service.testing.report import Report
from service.testing.watch import Isolation, Watch
from service.testing.worker import EngineFactory, Worker

WATCH = pytest.StashKey[Watch]()
FAILED = pytest.StashKey[bool]()


def choose_level(item: pytest.Item) -> tuple[Isolation, bool]:
    """The isolation level of a test, and whether it was asked for; raises SetupError for one that does not exist."""
    fixtures = getattr(item, "fixturenames", ())
    marker = item.get_closest_marker("db")
    if marker and (marker.kwargs.keys() - {"isolation"} or len(marker.args) + len(marker.kwargs) > 1):
        given = ", ".join([*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())])
        raise SetupError(f"{item.nodeid} is marked db({given}). Write db(isolation=...), and nothing else in it.")
    declared = marker.kwargs.get("isolation", *marker.args[:1]) if marker and (marker.kwargs or marker.args) else None
    if declared is not None and declared not in set(Isolation):
        levels = ", ".join(repr(level.value) for level in Isolation)
        raise SetupError(
            f"{item.nodeid} is marked db(isolation={declared!r}). The levels are {levels}; write one of them."
        )
    if outside := next((name for name in ("live_server", "app_environment") if name in fixtures), None):
        if declared not in {None, Isolation.CLONE}:
            raise SetupError(
                f"{item.nodeid} asks for {outside}: another process, which sees only what is committed. But it is"
                f' marked db(isolation="{declared}"). Remove the marker, or write isolation="clone".'
            )
        return Isolation.CLONE, True
    if declared is not None:
        return Isolation(declared), True
    return (Isolation.ROLLBACK if "_loan" in fixtures or marker else Isolation.NONE), marker is not None


class Lender:
    """This process's databases, for one test at a time; the worker behind them is made for the first that needs it."""

    def __init__(self, project: Project, lease: Callable[[], Lease], worker_id: str) -> None:
        self.report = Report()
        self.fork_server = ForkServer()
        self._project = project
        self._lease = lease
        self._worker_id = worker_id
        self._worker: Worker | None = None
        self._loan: Loan | None = None
        self._clone: Clone | None = None
        self._clone_engines: CloneEngines | None = None
        self._data = DataLayers(self.worker, self.report)

    @property
    def has_begun(self) -> bool:
        """Whether any test needed a database."""
        return self._worker is not None

    def worker(self) -> Worker:
        """This process's share of the run; raises SetupError."""
        if self._worker is None:
            self._worker = Worker(self._project, self._lease(), self._worker_id)
        return self._worker

    def lend(self, item: pytest.Item, make_engine: EngineFactory) -> Loan:
        """Prepare a database for the test; raises SetupError, and what the test's data raises."""
        __tracebackhide__ = True
        watch = item.stash[WATCH]
        worker = self.worker()
        data = self._data.find(item, make_engine)
        if watch.level is Isolation.CLONE:
            self._loan = self._lend_clone(worker, data, make_engine)
            watch.database = self._loan.database.name
            return self._loan
        if watch.level is Isolation.NONE:
            raise SetupError(
                f'{item.nodeid} is marked db(isolation="none") and asks for a fixture that needs a database.'
                " Remove the marker, or the fixture."
                if watch.is_declared
                else f"{item.nodeid} asks for a fixture that needs a database while it is running already. Name the"
                " fixture among its arguments or in usefixtures, or mark it @pytest.mark.db."
            )
        if "_running_app" in getattr(item, "fixturenames", ()):
            # Its startup could wait for what the test's transaction has locked by then.
            worker.app()
        database = self._data.database(data) if data else worker.base
        with self.report.measured("rollback: begin"):
            loan = RollbackLoan(worker, database, data.values if data else {}, worker.shared(make_engine, database))
            loan.join(watch)
        return loan

    def _lend_clone(self, worker: Worker, data: Layer | None, make_engine: EngineFactory) -> CloneLoan:
        with self.report.measured("clone: acquire"):
            clone = Clone(worker.databases.copy(data.template), None) if data else worker.stock.take()
        self._clone = None if data else clone
        database = worker.database(clone.name)
        if self._clone_engines is None or self._clone_engines.make_engine is not make_engine:
            self._clone_engines = CloneEngines(make_engine)
            worker.stock.connect_with(self._clone_engines.warm_up)
        engine = self._clone_engines.lend(database, clone.warm)
        return CloneLoan(worker, database, data.values if data else {}, engine)

    def take_back(self, item: pytest.Item, loan: Loan) -> None:
        """End the loan. The database of a failed clone test stays, and the report tells how to open it."""
        self._loan = None
        is_clone = isinstance(loan, CloneLoan)
        with self.report.measured("clone: end" if is_clone else "rollback: end"):
            try:
                loan.end()
            except NotUndoneError:
                self._replace(loan)
                raise
            if isinstance(loan, RollbackLoan) and loan.was_visited:
                self._replace(loan)
        if is_clone:
            connection = self._clone_engines.take_back() if self._clone_engines is not None else None
            if connection is not None and (self._clone is None or loan.address_is_known):
                # Who knows the address may come later still: the database is to have another name.
                connection.close()
                connection = None
            if self._clone is not None:
                self._clone = replace(self._clone, warm=connection)
            if self._clone is None and not item.stash.get(FAILED, False):
                loan.worker.stock.discard(loan.database.name)

    def _replace(self, loan: Loan) -> None:
        """Have the database of rollback tests made anew."""
        if loan.database == loan.worker.base:
            loan.worker.replace_base()
        else:
            self._data.replace(loan.database)

    def keep(self, item: pytest.Item) -> str | None:
        """Keep the database of a clone test that has failed; return how to open it."""
        if not isinstance(self._loan, CloneLoan) or item.stash.get(FAILED, False):
            return None
        item.stash[FAILED] = True
        self._clone = None
        return keep_database(self.worker(), self._loan.database, item)

    def finish(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Give back what the test had, when nothing of the test runs any more; its module's data after the last.

        After the last of all the application is stopped: an error of its shutdown is an error of that test.
        """
        clone, self._clone = self._clone, None
        if clone is not None:
            self.worker().stock.give_back(clone)
        if not nextitem or module_of(nextitem) != module_of(item):
            self._data.leave(module_of(item))
        if not nextitem and self._worker is not None:
            self._worker.stop_app()

    def close(self) -> None:
        """Let everything go."""
        self.fork_server.close()
        if self._clone_engines is not None:
            self._clone_engines.close()
        if self._worker is not None:
            self._worker.close()


LENDER = pytest.StashKey[Lender]()
