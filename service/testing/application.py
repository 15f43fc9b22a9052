"""The application under test, running in this process, and clients of it."""

import os
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, sessionmaker
from starlette.applications import Starlette
from starlette.testclient import TestClient

from service.testing.configuration import Project
from service.testing.errors import IsolationError, SetupError
from service.testing.listeners import unwatched


class Client(TestClient):
    """Starlette's TestClient on an application that is running already, with something to do around each request."""

    __test__ = False

    def __init__(
        self,
        running: "RunningApp",
        *,
        before_request: Callable[[], None],
        after_request: Callable[[], None],
        one_at_a_time: bool,
    ) -> None:
        super().__init__(running.app)
        self.portal = running.portal
        self.app_state.update(running.lifespan_state)
        self._before_request = before_request
        self._after_request = after_request
        self._turn = threading.Lock() if one_at_a_time else None

    @property
    def raise_server_exceptions(self) -> bool:
        """Whether an error of the application is raised here, as it is at first, or answered with its 500."""
        return bool(self._app_transport.raise_server_exceptions)

    @raise_server_exceptions.setter
    def raise_server_exceptions(self, is_wanted: bool) -> None:
        self._app_transport.raise_server_exceptions = is_wanted

    @property
    def _app_transport(self) -> Any:  # noqa: ANN401  # Starlette's has no public name
        return self._transport

    def send(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as the class that is extended has it
        """Send one request."""
        if self._turn is not None and not self._turn.acquire(blocking=False):
            raise IsolationError(
                'Two requests at once cannot share one connection, as they would at isolation level "rollback".'
                ' Mark the test with @pytest.mark.db(isolation="clone").'
            )
        try:
            self._before_request()
            return super().send(*args, **kwargs)
        finally:
            if self._turn is not None:
                self._turn.release()
            self._after_request()


class RunningApp:
    """The application between its startup and its shutdown."""

    _running: ClassVar[list[Any]] = []

    def __init__(self, project: Project, environment: Mapping[str, str]) -> None:
        self._project = project
        factory = _find_factory(project)
        with unwatched(), environment_set(environment):
            self.app: Any = factory()
            if any(self.app is other for other in RunningApp._running):
                raise SetupError(
                    f"`db_app_factory` ({project.app_factory}) has returned an application that is running already, on"
                    " the database of other tests. Let it make a new one at each call."
                )
            self._runner = TestClient(self.app)
            self._runner.__enter__()
        RunningApp._running.append(self.app)
        # What the application's sessions are made with, until a test binds them elsewhere.
        self._made_with: dict[str, Any] | None = None
        self.portal = self._runner.portal
        self.lifespan_state = self._runner.app_state

    @property
    def sessions(self) -> "sessionmaker[Session]":
        """The application's one session factory; raises SetupError."""
        path = self._project.session_factory
        found: Any = self.app
        for name in path.split("."):
            found = getattr(found, name, None)
        if not isinstance(found, sessionmaker):
            raise SetupError(
                f"The application has no sessionmaker at {path!r}, so its sessions cannot join a test's transaction."
                " Let its lifespan make one, keep it there and open every session with it, or name its place by"
                " `db_session_factory` in the pytest configuration."
            )
        return found

    def client(
        self, *, before_request: Callable[[], None], after_request: Callable[[], None], one_at_a_time: bool
    ) -> Client:
        """A new client of the application."""
        return Client(self, before_request=before_request, after_request=after_request, one_at_a_time=one_at_a_time)

    def bind(self, target: Connection | Engine) -> None:
        """Let every session of the application work on `target`, and in a savepoint of it if it is a connection."""
        sessions = self.sessions
        if self._made_with is None:
            self._made_with = dict(sessions.kw)
        sessions.configure(bind=target, join_transaction_mode="create_savepoint")

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Undo what a test does to `dependency_overrides` and to the application's state."""
        overrides: dict[Any, Any] = getattr(self.app, "dependency_overrides", {})
        state: dict[str, Any] = self.app.state._state  # noqa: SLF001  # it has no other way to list its content
        before = dict(overrides), dict(state)
        try:
            yield
        finally:
            for present, past in zip((overrides, state), before, strict=True):
                if present != past:
                    present.clear()
                    present.update(past)

    def stop(self) -> None:
        """Shut the application down."""
        RunningApp._running.remove(self.app)
        if self._made_with is not None:
            # The shutdown may use them: its work is not that of a test.
            sessions = self.sessions
            sessions.kw.clear()
            sessions.kw.update(self._made_with)
        with unwatched():
            self._runner.__exit__()


def _find_factory(project: Project) -> Callable[[], Any]:
    if project.app_factory is None:
        raise SetupError(
            "The fixtures `app`, `client` and `live_server` need an application. Name the function that makes it by"
            " `db_app_factory` in the pytest configuration, for example service.main:create_app."
        )
    try:
        factory = pkgutil.resolve_name(project.app_factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise SetupError(
            f"`db_app_factory` in the pytest configuration is {project.app_factory!r}, which cannot be imported:"
            f" {error}. Write module:function, and see that the module is on pytest's `pythonpath`."
        ) from error
    if isinstance(factory, Starlette):
        raise SetupError(
            f"`db_app_factory` in the pytest configuration is {project.app_factory!r}, which is an application. Write a"
            " function that makes a new one at each call: rollback tests and clone tests need one each."
        )
    return factory  # type: ignore[no-any-return]


@contextmanager
def environment_set(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for as long as the application reads them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
