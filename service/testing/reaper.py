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
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from service.testing.ownership import Owner

_FAREWELL_SECONDS = 15
_COMMAND_SECONDS = 60
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from service.testing.reaper import main; main()"


class Reaper:
    """The run's end of the pipe. It starts with nothing to do."""

    def __init__(self, owner: "Owner") -> None:
        self._commands: list[list[str]] = []
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

    def watch(self, worker: int) -> None:
        """Have the process `worker` killed when the run is: pytest-xdist's workers would go on for seconds."""
        self._tell({"worker": worker})

    def guard(self, group: int | None) -> None:
        """Have a process group killed if the run is killed, from now until this is called with None."""
        self._tell({"group": group})

    def do_at_end(self, command: list[str]) -> None:
        """Have a command carried out at the end of the run, however it ends."""
        self._commands.append(command)
        self._tell({"command": command})

    def finish(self) -> None:
        """Have everything removed, and wait for that."""
        self._tell({"done": True})
        with suppress(BrokenPipeError):
            self._pipe.close()
        try:
            self._process.wait(_FAREWELL_SECONDS + _COMMAND_SECONDS * len(self._commands))
        except subprocess.TimeoutExpired:
            # It goes on by itself. Databases that it cannot remove are swept by the next run.
            self._process.returncode = 0
        if self._process.returncode:
            # Somebody has killed it.
            for command in self._commands:
                _carry_out(command)

    def _tell(self, message: dict[str, object]) -> None:
        with suppress(BrokenPipeError):
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()


def main() -> None:
    """Do as the run says until it ends; then kill its processes unless it is done, and remove what it has made."""
    orders = _Orders()
    for line in sys.stdin:
        message = json.loads(line)
        if "done" in message:
            # Not at the end of the input: a process that a test has forked may hold it open.
            break
        orders.take(message)
    else:
        orders.kill()
    orders.remove()


@dataclass(slots=True)
class _Orders:
    """What the run has said so far."""

    owner: dict[str, str] = field(default_factory=dict)
    admin_url: str | None = None
    commands: list[list[str]] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    group: int | None = None

    def take(self, message: dict[str, Any]) -> None:
        match message:
            case {"owner": owner}:
                self.owner = owner
            case {"admin_url": url}:
                self.admin_url = url
                _sweep(url)
            case {"command": command}:
                self.commands.append(command)
            case {"worker": worker}:
                # A descriptor means this very process, even when its number is given to another.
                with suppress(OSError, AttributeError):  # the latter where there are none: not on Linux
                    self.workers.append(os.pidfd_open(worker))
            case {"group": group}:
                self.group = group

    def kill(self) -> None:
        for worker in self.workers:
            with suppress(OSError):
                signal.pidfd_send_signal(worker, signal.SIGKILL)
        if self.group is not None:
            with suppress(OSError):
                os.killpg(self.group, signal.SIGKILL)

    def remove(self) -> None:
        if self.admin_url is not None:
            _remove_databases(self.admin_url, self.owner)
        for command in self.commands:
            _carry_out(command)


def _sweep(admin_url: str) -> None:
    # A run on embedded servers does without these imports.
    from service.testing.sweeping import attempt, sweep  # noqa: PLC0415

    with suppress(Exception):  # what others have left is no reason to neglect this run
        attempt(admin_url, sweep)


def _remove_databases(admin_url: str, owner: dict[str, str]) -> None:
    from service.testing.ownership import Owner  # noqa: PLC0415
    from service.testing.sweeping import attempt, remove_run  # noqa: PLC0415

    attempt(admin_url, lambda admin: remove_run(admin, Owner(**owner)))


def _carry_out(command: list[str]) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS, check=False)
