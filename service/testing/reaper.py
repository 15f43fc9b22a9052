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
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from service.testing.ownership import Owner

_FAREWELL_SECONDS = 15
_COMMAND_SECONDS = 60
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from service.testing.reaper import main; main()"


class Reaper:
    """The run's end of the pipe. It starts with nothing to do."""

    def __init__(self, owner: "Owner") -> None:
        self._process = subprocess.Popen(
            # The parent's path, because the packages may come from anywhere; -I, because nothing else may.
            [sys.executable, "-I", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is for the run to act on
        )
        self._pipe = cast("IO[bytes]", self._process.stdin)
        self._tell({"owner": asdict(owner)})

    def clean(self, admin_url: str) -> None:
        """Have what dead runs have left on this server removed now, and this run's databases at its end."""
        self._tell({"admin_url": admin_url})

    def watch(self, process: int) -> None:
        """Have a process killed if the run is: pytest-xdist's workers would go on for seconds."""
        self._tell({"process": process})

    def do_at_end(self, command: list[str]) -> None:
        """Have a command carried out at the end of the run, however it ends."""
        self._tell({"command": command})

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
    """Do as the run says until it ends; then remove what it has made, and kill its processes unless it is done."""
    owner: dict[str, str] = {}
    processes: list[int] = []
    with ExitStack() as at_end:
        for line in sys.stdin:
            match json.loads(line):
                case {"owner": owner}:
                    pass
                case {"admin_url": url}:
                    _clean(url, owner, at_end)
                case {"command": command}:
                    at_end.callback(subprocess.run, command, timeout=_COMMAND_SECONDS, check=False)
                case {"process": process}:
                    # A descriptor means this very process, even when its number is given to another.
                    with suppress(ProcessLookupError, AttributeError):  # the latter where there are none: not on Linux
                        processes.append(os.pidfd_open(process))
                case {"done": True}:
                    processes.clear()
        for process in processes:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)


def _clean(admin_url: str, owner: dict[str, str], at_end: ExitStack) -> None:
    # A run on embedded servers does without these imports.
    from service.testing.ownership import Owner  # noqa: PLC0415
    from service.testing.sweeping import attempt, remove_run, sweep  # noqa: PLC0415

    at_end.callback(attempt, admin_url, lambda admin: remove_run(admin, Owner(**owner)))
    attempt(admin_url, sweep)
