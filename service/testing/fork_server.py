"""Processes of Python programs without the time that their imports take: forks of one process that has imported them.

Each is a process of its own, with its own session, environment and end. It lacks an interpreter that has just started:
what a module reads while it is imported, it has read in the environment of the tests. Nothing survives the fork server
but processes that run: end them.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

from service.testing.errors import SetupError
from service.testing.forking import NUMBER_BYTES

_SCRIPT = Path(__file__).with_name("forking.py")


class ForkedProcess:
    """A process, with the names that subprocess.Popen has for it."""

    def __init__(self, program: str, report: socket.socket, timeout: float | None) -> None:
        self.args = program
        self.returncode: int | None = None
        self._report = report
        if (pid := self._hear(timeout)) is None:
            raise SetupError(
                f"The fork server has ended instead of starting {program}: look at what is done while that is imported."
                " The next program has a new fork server."
            )
        self.pid = pid

    def _hear(self, timeout: float | None) -> int | None:
        """The next number; None when whoever would have told it was killed."""
        if not select.select([self._report], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        number = self._report.recv(NUMBER_BYTES)
        return int.from_bytes(number, signed=True) if number else None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status; raises subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            status = self._hear(timeout)
            self.returncode = -signal.SIGKILL if status is None else status
            self._report.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Starts `module:function` as a process, again and again. It starts itself with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(  # noqa: PLR0913  # what a process is started with
        self,
        program: str,
        *arguments: str,
        environment: Mapping[str, str],
        directory: Path,
        stdin: int | None = None,
        stdout: int,
        stderr: int,
        inherited: Sequence[int] = (),
        imports: Iterable[str] = (),
        timeout: float | None = None,
    ) -> ForkedProcess:
        """Start `program`, which finds `arguments` in sys.argv, and the numbers of `inherited` descriptors after them.

        Its standard streams are descriptors, too; without `stdin` there is nothing to read. `imports` are modules that
        it will import later. Raises subprocess.TimeoutExpired when imports take longer than `timeout` seconds.
        """
        order = {
            "program": program,
            "arguments": [program, *arguments],
            "environment": dict(environment),
            "directory": str(directory),
            "path": [path or os.getcwd() for path in sys.path],  # noqa: PTH109  # as the import system reads ''
            "imports": [program.partition(":")[0], *imports],
        }
        ours, theirs = socket.socketpair()
        try:
            with theirs, Path(os.devnull).open() as nothing:
                reading = nothing.fileno() if stdin is None else stdin
                descriptors = [theirs.fileno(), reading, stdout, stderr, *inherited]
                # A fork server that has ended reads nothing, and reports nothing either.
                with suppress(BrokenPipeError):
                    socket.send_fds(self._connect(), [json.dumps(order).encode() + b"\n"], descriptors)
            return ForkedProcess(program, ours, timeout)
        except BaseException:
            # Nobody waits for the program any more, so it must not be started later.
            ours.close()
            self.close()
            raise

    def run(
        self, program: str, *arguments: str, environment: Mapping[str, str], directory: Path, timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run `program` to its end, at most `timeout` seconds from now; what it said is text."""
        deadline = time.monotonic() + timeout
        with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
            process = self.start(
                program,
                *arguments,
                environment=environment,
                directory=directory,
                stdout=output.fileno(),
                stderr=errors.fileno(),
                timeout=timeout,
            )
            try:
                status = process.wait(max(0, deadline - time.monotonic()))
            finally:
                process.kill()
                process.wait()
            return subprocess.CompletedProcess(process.args, status, _read(output), _read(errors))

    def _connect(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, str(_SCRIPT), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # the terminal's Ctrl-C is for the run to act on
                )
        return self._control

    def close(self) -> None:
        """End the fork server, whatever it is importing. The next start begins another one."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
