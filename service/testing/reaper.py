"""The process that ends and removes what a run has begun, when the run is gone.

It waits for the end of its standard input, whose other end the run holds: the run closes it when it is done, and the
operating system does when the run was killed. On servers that outlive runs it also sweeps what dead ones have left,
off everybody's path.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from service.testing.ownership import Owner

_FAREWELL_SECONDS = 15
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from service.testing.reaper import main; main()"


class Reaper:
    """The run's end of the pipe. Without `admin_url` the databases are not the reaper's to remove."""

    def __init__(self, owner: "Owner", admin_url: str | None) -> None:
        self._process = subprocess.Popen(
            # The parent's path, because the packages may come from anywhere; -I, because nothing else may.
            [sys.executable, "-I", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is for the run to act on
        )
        self._pipe = cast("IO[bytes]", self._process.stdin)
        self._tell({"owner": asdict(owner), "admin_url": admin_url})

    def watch(self, worker: int) -> None:
        """Have the process `worker` killed when the run is: pytest-xdist's workers would go on for seconds."""
        self._tell({"worker": worker})

    def finish(self) -> None:
        """Have everything removed, and wait for that."""
        with suppress(BrokenPipeError):
            self._tell({"done": True})
            self._pipe.close()
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            # It goes on by itself. What it cannot remove is swept by the next run.
            self._process.returncode = 0

    def _tell(self, message: dict[str, object]) -> None:
        self._pipe.write(json.dumps(message).encode() + b"\n")
        self._pipe.flush()


def main() -> None:
    """Read who the run is, wait for its end, and remove what it has made."""
    order = json.loads(sys.stdin.readline())
    if order["admin_url"] is None:
        _end_workers()
        return
    # A run on embedded servers does without these imports.
    from service.testing.ownership import Owner  # noqa: PLC0415
    from service.testing.sweeping import attempt, remove_run, sweep  # noqa: PLC0415

    attempt(order["admin_url"], sweep)
    _end_workers()
    attempt(order["admin_url"], lambda admin: remove_run(admin, Owner(**order["owner"])))


def _end_workers() -> None:
    """Wait for the end of the run; kill its workers unless it says that it is done with them."""
    workers = []
    for line in sys.stdin:
        message = json.loads(line)
        if "done" in message:
            return
        # A descriptor means this very process, even when its number is given to another.
        with suppress(ProcessLookupError, AttributeError):  # the latter where there are none: not on Linux
            workers.append(os.pidfd_open(message["worker"]))
    for worker in workers:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(worker, signal.SIGKILL)
