"""The plugin of each process that runs tests: what happens around a test."""

from collections.abc import Generator
from typing import Any, NoReturn

import pytest

from service.testing import seeding
from service.testing.errors import IsolationError, NoServerError, SetupError
from service.testing.keeping import discard_dumped
from service.testing.lease import Lease
from service.testing.lender import LENDER, WATCH, Lender, choose_level
from service.testing.listeners import judge_by, recording
from service.testing.plugin import PROJECT
from service.testing.queries import describe
from service.testing.watch import Isolation, Watch

pytest_plugins = ("service.testing.fixtures",)

_ALONE = "main"
_OUTER = pytest.StashKey[Watch | None]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the lender, which starts nothing yet."""
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.stash[LENDER] = Lender(config.stash[PROJECT], lambda: _given_lease(workerinput), workerinput["workerid"])
    else:
        config.stash[LENDER] = Lender(config.stash[PROJECT], lambda: _own_lease(config), _ALONE)


def _given_lease(workerinput: dict[str, Any]) -> Lease:
    if workerinput["db_lease"] is None:
        raise SetupError(workerinput["db_problem"])
    return Lease.unpack(workerinput["db_lease"])


def _own_lease(config: pytest.Config) -> Lease:
    # Not at the top: it brings Alembic, and a run without a database needs none.
    config.pluginmanager.import_plugin("service.testing.controller")
    from service.testing.controller import find_lease  # noqa: PLC0415

    return find_lease(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Start everything as soon as it is known that a test needs it, so that a run that cannot work ends here."""
    if session.config.getoption("collectonly"):
        return
    try:
        levels = {choose_level(item)[0] for item in session.items}
        for item in session.items:
            _find_query_limit(item)
        if levels - {Isolation.NONE}:
            stock = session.config.stash[LENDER].worker().stock
            if Isolation.CLONE in levels:
                stock.stock_up()
    except SetupError as error:
        _refuse(session, error)


def _refuse(session: pytest.Session, error: SetupError) -> None:
    if not hasattr(session.config, "workeroutput"):
        raise pytest.UsageError(str(error)) from None
    _end_run(session.config, error)


def _end_run(config: pytest.Config, error: SetupError) -> NoReturn:
    workeroutput: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if workeroutput is not None:
        # The controller makes a usage error of it.
        workeroutput["db_refused"] = str(error)
    pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say which template, which the header could not know yet."""
    lender = config.stash[LENDER]
    return lender.worker().lease.describe() if lender.has_begun else []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Give the test its level and its random data."""
    __tracebackhide__ = True
    level, is_declared = choose_level(item)
    watch = item.stash[WATCH] = Watch(item.nodeid, level, is_declared)
    item.config.stash[LENDER].report.tests[level.value] += 1
    item.stash[_OUTER] = judge_by(watch)
    seeding.seed(item.nodeid)
    try:
        yield
    except NoServerError as error:
        _end_run(item.config, error)
    except SetupError as error:
        # Without a cause, which would be the same words once more.
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    except BaseException:  # a skip too
        # Told by this, or a consequence of it.
        watch.violations.clear()
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test for what its level cannot show, even if the application swallowed that; bound its queries."""
    watch = item.stash[WATCH]
    limit = _find_query_limit(item)
    try:
        if limit is None:
            yield
        else:
            with recording() as queries:
                yield
            if len(queries) > limit:
                listing = describe(queries, item.config.rootpath)
                pytest.fail(f"{len(queries)} queries were sent, at most {limit} are allowed:\n{listing}", pytrace=False)
    except BaseException as error:  # a skip and pytest.fail too
        for violation in watch.violations:
            if violation is not error:
                error.add_note(str(violation))
        watch.violations.clear()
        raise
    _fail_for_violations(watch)


def _fail_for_violations(watch: Watch) -> None:
    """Fail for what was swallowed."""
    violations = "\n".join(map(str, watch.violations))
    watch.violations.clear()
    if violations:
        pytest.fail(violations, pytrace=False)


def _find_query_limit(item: pytest.Item) -> int | None:
    if (marker := item.get_closest_marker("max_queries")) is None:
        return None
    given = [*marker.args, *marker.kwargs.values()]
    if marker.kwargs.keys() - {"n"} or len(given) != 1 or type(given[0]) is not int:
        raise SetupError(f"{item.nodeid} is marked max_queries without one whole number. Write max_queries(3).")
    return given[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Take everything back."""
    __tracebackhide__ = True
    try:
        yield
        _fail_for_violations(item.stash[WATCH])
    except IsolationError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    finally:
        judge_by(item.stash[_OUTER])
        try:
            item.config.stash[LENDER].finish(item, nextitem)
        finally:
            discard_dumped(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell how to open the database of a clone test that failed."""
    report = yield
    is_worth_keeping = report.failed and report.when != "teardown"
    if is_worth_keeping and (advice := item.config.stash[LENDER].keep(item)):
        report.sections.append(("database", advice))
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the databases go, and hand the report over; after the fixtures of a test that the run has ended in."""
    config = session.config
    lender = config.stash[LENDER]
    lender.close()
    workeroutput: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if workeroutput is not None:
        workeroutput["db_report"] = lender.report.pack()
    elif lender.has_begun:
        from service.testing.controller import add_report  # noqa: PLC0415

        add_report(config, lender.report)
