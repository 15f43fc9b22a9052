"""A real server process on this test's database, for tests of what only a process can show."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from service.testing.configuration import Project
from service.testing.errors import SetupError
from service.testing.fork_server import ForkServer

_PROGRAM = "service.testing.live_process:main"
_START_SECONDS = 30
_PAUSE_SECONDS = 0.02
_STOP_SECONDS = 15


class LiveServer:
    """A server process. `url` has no slash at its end."""

    def __init__(self, project: Project, environment: Mapping[str, str], log: Path, fork_server: ForkServer) -> None:
        if (factory := project.app_factory) is None:
            raise SetupError("The fixture `live_server` needs `db_app_factory` in the pytest configuration.")
        self._log = log
        # Its end is the server's.
        self._lifeline, stdin = socket.socketpair()
        # The listener is ours: there is no free port to guess, and connections wait in its backlog from the start.
        with stdin, socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
            self._port = listener.getsockname()[1]
            self.url = f"http://127.0.0.1:{self._port}"
            try:
                self.process = fork_server.start(
                    _PROGRAM,
                    factory,
                    environment={**os.environ, **environment},
                    directory=project.root,
                    stdin=stdin.fileno(),
                    stdout=output.fileno(),
                    stderr=output.fileno(),
                    inherited=[listener.fileno()],
                    imports=[factory.partition(":")[0]],
                    timeout=_START_SECONDS,
                )
            except (SetupError, subprocess.TimeoutExpired) as error:
                self._lifeline.close()
                raise SetupError(f"The live server did not start, with {factory} to import: {error}") from None

    def await_start(self) -> None:
        """Return when the server answers; raises SetupError with its last words when it ends instead."""
        deadline = time.monotonic() + _START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            # A pause, unless the server ends.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_PAUSE_SECONDS)
        self.stop()
        words = " / ".join(self._log.read_text(errors="replace").split("\n")[-4:]).strip(" /") or "nothing"
        raise SetupError(f"The live server did not start. The last it said: {words}. Its whole log is {self._log}.")

    def _answers(self) -> bool:
        # Without urllib, which would ask a proxy that the environment names, and follow where the answer leads.
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=1)) as connection:
            try:
                connection.request("GET", "/")
                # Any answer is one. It waits in the backlog until the application has started.
                connection.getresponse()
            except (OSError, HTTPException):
                return False
        return True

    def stop(self) -> None:
        """Stop the server as an operator would, with SIGTERM; kill it when it does not end. Idempotent."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._lifeline.close()


@contextmanager
def serving(
    project: Project, environment: Mapping[str, str], log: Path, fork_server: ForkServer
) -> Iterator[LiveServer]:
    """A live server, stopped at the end."""
    server = LiveServer(project, environment, log, fork_server)
    try:
        server.await_start()
        yield server
    finally:
        server.stop()
