"""The application behind uvicorn: its port, its processes, and how they end."""

import errno
import fcntl
import logging
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import uvicorn
import uvicorn._subprocess
import uvicorn.supervisors.multiprocess
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from service.config import ConfigurationError, Settings
from service.log import logging_config
from service.main import app
from service.web.bounded_protocol import BoundedProtocol

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORKER_SILENCE_SECONDS = 30
# What a process gets between its last answer and its end: a thread that waits for a dead server would wait for ever.
CLEANUP_SECONDS = 3.5
# Of a socket in it, whose path may have 107 bytes.
LONGEST_DIRECTORY = 107 - len("/listener-12345678")


def claim_address(host: str, port: int) -> socket.socket:
    """A socket bound to the address but not listening yet; ConfigurationError if that cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with ExitStack() as undo:
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            # As every server does: connections of an earlier run that still wind down do not hold the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            undo.pop_all()
    except (OSError, UnicodeError) as error:  # the latter for a name that cannot be one, such as a..b
        raise _unusable(host, port, error) from error
    return listener


def make_server_config(settings: Settings, *, workers: int = 1, grace_seconds: int | None = None) -> uvicorn.Config:
    """How uvicorn serves; logging is configured from here on. Requests get `grace_seconds` to end after SIGTERM."""
    return uvicorn.Config(
        "service.server:make_worker_app",
        factory=True,
        workers=workers,
        log_config=logging_config(settings.environment),
        server_header=False,
        http=BoundedProtocol,
        # Nothing here speaks WebSocket; an upgrade is ignored and gets the answer that it would get without.
        ws="none",
        # uvicorn's 5 s would kill, again and again, a worker that starts on a busy machine.
        timeout_worker_healthcheck=WORKER_SILENCE_SECONDS,
        timeout_graceful_shutdown=grace_seconds or settings.shutdown_timeout_seconds,
    )


def make_worker_app() -> FastAPI:
    """The application, in the process that serves it; a worker ends when the process that started it has ended."""
    if parent := multiprocessing.parent_process():
        # Nothing runs in a parent that is killed: left alone, its workers would hold the port for ever.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return app


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    # It may also have let go of this worker alone, because the process that made it has died.
    if _has_ended(parent.pid or 0):
        # It would have removed it, had it not been killed.
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _has_ended(pid: int) -> bool:
    if sys.platform != "linux":
        return True
    try:
        with os.fdopen(os.pidfd_open(pid)) as process:
            # A process closes its files, which we have heard, a moment before it ends.
            return bool(select.select([process], [], [], 1)[0])
    except OSError:
        return True


def run_server(config: uvicorn.Config, listener: socket.socket, *, cleanup_seconds: float = CLEANUP_SECONDS) -> None:
    """Serve until SIGINT or SIGTERM; with one worker in this process, else in that many, each replaced if it dies.

    After its last answer the process has `cleanup_seconds` to end. SystemExit 1 when it ends for another reason.
    """
    host, port = listener.getsockname()[:2]
    with ExitStack() as undo:
        shared = undo.enter_context(_shared_directory()) if config.workers > 1 else None
        try:
            # Not left to uvicorn: of two that claimed the address at once, the second to listen is told so here, which
            # no worker of it could. Clients that come from now on wait until the application has started.
            listener.listen(config.backlog)
        except OSError as error:
            raise _unusable(host, port, error) from error
        log.info("server.starting", extra={"host": host, "port": port, "workers": config.workers})
        if shared is not None:
            # Where the workers, which do not run yet, add up what they count.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
            _fork_workers(shared)
            # The supervisor makes workers of what has this name.
            uvicorn.supervisors.multiprocess.Process = Worker  # type: ignore[misc]
            Supervisor(config, sockets=[listener]).run()
            return
        # uvicorn handles them while it serves, and raises them again afterwards.
        exit_on_signals(0, within_seconds=cleanup_seconds)
        Server(config).run(sockets=[listener])
        # No signal has ended it.
        sys.exit(1)


@contextmanager
def _shared_directory() -> Iterator[str]:
    with ExitStack() as undo:
        try:
            path = undo.enter_context(TemporaryDirectory(prefix="item-service-metrics-"))
        except OSError as error:
            advice = "Let TMPDIR name a directory that can be written to, or serve with one worker."
            raise ConfigurationError(
                [f"Several workers need a directory for what they count: {error}. {advice}"]
            ) from error
        # What clears TMPDIR of old files passes by what is locked, with all that is in it (tmpfiles.d).
        lock = os.open(path, os.O_RDONLY)
        undo.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield path


def _fork_workers(directory: str) -> None:
    """Let uvicorn make workers as Python 3.14 makes processes: as forks of one that has imported the application.

    One that has died is replaced without the second that imports take, and all share the memory of these. The socket on
    which that process is asked for forks is in `directory`, which goes with the server however it ends.
    """
    if sys.platform == "linux" and len(os.fsencode(directory)) <= LONGEST_DIRECTORY:
        multiprocessing.current_process()._config["tempdir"] = directory  # type: ignore[attr-defined]  # noqa: SLF001
        multiprocessing.set_forkserver_preload(["service.workers"])
        uvicorn._subprocess.spawn = multiprocessing.get_context("forkserver")  # type: ignore[assignment]  # noqa: SLF001


class Supervisor(Multiprocess):
    """uvicorn's, but a worker that has ended is counted no longer among those that are in some state now."""

    _counted: frozenset[int | None] = frozenset()
    _has_failed = False

    def run(self) -> None:
        """Serve until a signal ends it; SystemExit 1 when no worker can be started, or none more."""
        try:
            super().run()
        except (OSError, EOFError) as error:
            # The process that makes workers cannot be reached, for example: its socket was removed with TMPDIR.
            log.critical("server.cannot_start_workers", extra={"problem": str(error)})
            self.terminate_all()
            self.join_all()
            self._has_failed = True
        if self._has_failed:
            # Whoever watches over the server starts it again.
            sys.exit(1)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died; called twice a second, after what signals asked for."""
        for process in self.processes:
            # The worker has its own copy. With ours open, nobody would notice that a worker dies while it is asked
            # whether it lives, and the answer be waited for in vain.
            process.child_conn.close()
        # With those of the last time, whom a signal may have ended since.
        before = self._pids() | self._counted
        was_asked_to_exit = self.should_exit.is_set()
        super().keep_subprocess_alive()
        self._has_failed = self.should_exit.is_set() and not was_asked_to_exit
        self._counted = self._pids()
        forget: Any = mark_process_dead  # untyped
        for pid in before - self._counted:
            forget(pid)

    def _pids(self) -> frozenset[int | None]:
        return frozenset(process.pid for process in self.processes)


class Server(uvicorn.Server):
    """uvicorn's, but a second Ctrl-C, which tox passes on, does not break off the stopping that the first one began.

    And it stops, whatever hangs: after the time for running requests, and `CLEANUP_SECONDS`, SIGALRM ends the process.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        if not self.should_exit:
            signal.setitimer(signal.ITIMER_REAL, (self.config.timeout_graceful_shutdown or 0) + CLEANUP_SECONDS)
            super().handle_exit(sig, frame)


class Worker(uvicorn.supervisors.multiprocess.Process):
    """uvicorn's, with our server in it."""

    @property
    def server(self) -> uvicorn.Server:
        """The server of this process."""
        if self._server is None:
            self._server = Server(self.config)
        return self._server


def exit_on_signals(status: int | None = None, *, within_seconds: float) -> Callable[[], None]:
    """From now on SIGINT and SIGTERM raise SystemExit, with 128 + their number unless `status` is given.

    Once only, for the same reason as in Server. SIGALRM ends the process if it has not ended `within_seconds`. Python
    drops an exception that comes at a bad moment, in a finalizer for example: call what is returned between the steps
    of a long work, and it raises again.
    """
    received: list[int] = []

    def leave_if_asked() -> None:
        for number in received:
            sys.exit(128 + number if status is None else status)

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, within_seconds)
        received.append(number)
        leave_if_asked()

    tell = sys.unraisablehook

    def tell_if_unknown(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_type is not SystemExit:
            tell(unraisable)

    # What Python drops, it would print.
    sys.unraisablehook = tell_if_unknown
    for number in STOP_SIGNALS:
        signal.signal(number, leave)
    return leave_if_asked


def _unusable(host: str, port: int, error: OSError | UnicodeError) -> ConfigurationError:
    reason = getattr(error, "strerror", None) or error
    number = getattr(error, "errno", None)
    if isinstance(error, UnicodeError | socket.gaierror) or number == errno.EADDRNOTAVAIL:
        problem = (
            f"Host {host} cannot be used: {reason}. Choose another with --host: a name or address of this machine."
        )
    elif number == errno.EADDRINUSE:
        problem = (
            f"Port {port} of {host} cannot be used: {reason}. Choose another with --port, or stop what listens there."
        )
    else:
        problem = f"Port {port} of {host} cannot be used: {reason}. Choose another with --port."
    return ConfigurationError([problem])
