"""What both servers need while they start: a port, patience with a deadline, a reason for a failure."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

from service.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.embedded.lifeline import Process

DEADLINE_SECONDS = 30.0


def run(process: Process, *, purpose: str) -> None:
    """Wait for the end of a program; EmbeddedError with its last words if it fails."""
    try:
        status = process.wait(until=lambda: False, deadline_seconds=DEADLINE_SECONDS)
    except TimeoutError:
        status = None
    if status != 0:
        raise EmbeddedError(
            f"{purpose} failed: `{process.program}` {_ending(status)}, saying: {process.last_words()}. Check the free "
            "space and the permissions there, or choose another directory, then start again; no part of it was left "
            "behind."
        )


def await_ready(server: str, process: Process, *, ready: Callable[[], bool]) -> None:
    """Wait until the server is `ready()`; EmbeddedError if it ends first, or is not in time."""
    try:
        status = process.wait(until=ready, deadline_seconds=DEADLINE_SECONDS)
    except TimeoutError:
        status = None
    else:
        if status is None:
            return
    raise EmbeddedError(
        f"{server} {_ending(status)} while starting; the end of its log, {process.log}, was: {process.last_words()}. "
        "Correct what it says there, then start again."
    )


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
    if status < 0:
        return f"was killed by a signal ({signal.strsignal(-status)})"
    return f"ended with status {status}"
