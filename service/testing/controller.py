"""The plugin of the process that owns the run."""

from typing import Any

import pytest

from service.testing.errors import SetupError
from service.testing.lease import Lease
from service.testing.plugin import CHOICE, PROJECT, is_controller
from service.testing.report import Report
from service.testing.run import Run

RUN = pytest.StashKey[Run]()
_REPORT = pytest.StashKey[Report]()
_PROBLEM = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the run, which starts nothing yet."""
    run = config.stash[RUN] = Run(config.stash[PROJECT], config.stash[CHOICE])
    config.stash[_REPORT] = Report()
    config.add_cleanup(run.close)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers and make the template before there are workers to wait for them."""
    config = session.config
    if is_controller(config):
        try:
            config.stash[RUN].prepare(workers=len(config.getoption("tx")))
        except SetupError as error:
            # Perhaps no test needs it. The workers know what they have collected.
            config.stash[_PROBLEM] = str(error)


def find_lease(config: pytest.Config) -> Lease:
    """The lease of the one process that does everything; raises SetupError."""
    return config.stash[RUN].prepare(workers=1)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which template, when there is one already."""
    lease = config.stash[RUN].lease
    return lease.describe() if lease else []


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401  # xdist's WorkerController
    """Tell each worker what it needs, those included that replace a crashed one."""
    run = node.config.stash[RUN]
    node.workerinput["db_lease"] = run.lease.pack() if run.lease else None
    node.workerinput["db_problem"] = node.config.stash.get(_PROBLEM, "")
    if (process := getattr(node.gateway._io, "popen", None)) is not None:  # noqa: SLF001  # execnet has no public way
        run.watch(process.pid)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ANN401
    """Take a worker's report; clean up behind one that crashed."""
    output = getattr(node, "workeroutput", None) or {}
    if report := output.get("db_report"):
        node.config.stash[_REPORT].merge(report)
    if problem := output.get("db_refused"):
        raise pytest.UsageError(problem)
    if error:
        node.config.stash[RUN].bury(node.gateway.id)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print --db-report."""
    if config.getoption("--db-report"):
        terminalreporter.section("what isolation cost")
        lease = config.stash[RUN].lease
        if lease:
            terminalreporter.write_line(f"template: {lease.template.describe()}")
        for line in config.stash[_REPORT].lines():
            terminalreporter.write_line(line)


def add_report(config: pytest.Config, report: Report) -> None:
    """Count a worker's report, when it is this process's own."""
    config.stash[_REPORT].merge(report.pack())
