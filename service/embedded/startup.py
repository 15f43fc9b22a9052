"""Waiting for processes with a deadline, and saying why one failed."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from service.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from service.embedded.account import Account
    from service.embedded.lifeline import Lifeline

DEADLINE_SECONDS = 30.0
_TAIL_BYTES = 8192
_TAIL_LINES = 4
_TELLING = re.compile(r"FATAL|PANIC|ERROR|HINT|DETAIL|error:|cannot|can't|[Ff]ailed|No space")


def run(
    argv: Sequence[str | Path], *, lifeline: Lifeline, account: Account, cwd: Path, log: Path
) -> None:
    """Run a program to its end as `account`; EmbeddedError with its last words if it fails."""
    pid = lifeline.spawn(argv, account=account, cwd=cwd, log=log)
    try:
        status = lifeline.wait(pid, until=lambda: False, deadline_seconds=DEADLINE_SECONDS)
    except TimeoutError:
        status = None
    if status != 0:
        message = (
            f"The files of a new database cluster could not be made in {cwd}: `{argv[0]}` "
            f"{_ending(status)}: {log_tail(log)}. Check the free space and the permissions "
            "there, or choose another directory, then start again; nothing was left behind."
        )
        raise EmbeddedError(message)


def await_ready(
    server: str, ready: Callable[[], bool], *, lifeline: Lifeline, pid: int, log: Path, since: int
) -> None:
    """Wait until the server `pid` is `ready()`; EmbeddedError if it ends first, or never is.

    The message quotes what `log` says from byte `since` on.
    """
    try:
        status = lifeline.wait(pid, until=ready, deadline_seconds=DEADLINE_SECONDS)
    except TimeoutError:
        status = None
    else:
        if status is None:
            return
    message = (
        f"{server} {_ending(status)} while starting; the end of its log {log}: "
        f"{log_tail(log, since=since)}. Correct what it says there, then start again."
    )
    raise EmbeddedError(message)


def log_tail(log: Path, *, since: int = 0) -> str:
    """Return the last telling lines of `log` from byte `since` on, joined to one line."""
    with log.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(since, end - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    telling = [line for line in lines if _TELLING.search(line)] or lines
    return " / ".join(line.strip() for line in telling[-_TAIL_LINES:]) or "(empty)"


def log_size(log: Path) -> int:
    """Return the size of `log` in bytes, 0 if there is none."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def claim_port(port: int) -> int:
    """Return `port`, or for 0 one that is free on 127.0.0.1; EmbeddedError if it is taken."""
    with socket.socket() as probe:
        # As the servers do: a port whose last connection is still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it must be between 0 and 65535"
            message = (
                f"Port {port} of 127.0.0.1 cannot be used: {reason}. Choose another with --port "
                "(0 takes any free one), or stop the program that listens there."
            )
            raise EmbeddedError(message) from error
        chosen: int = probe.getsockname()[1]
        return chosen


def _ending(status: int | None) -> str:
    if status is None:
        return f"was not ready after {DEADLINE_SECONDS:g} s"
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
