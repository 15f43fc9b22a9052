"""Processes of inner runs without the second of imports that each begins with: forks in place of interpreters."""

import os
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from service.testing.fork_server import ForkedProcess, ForkServer


def forking_subprocess(forks: ForkServer) -> SimpleNamespace:
    """The module `subprocess` for those who start `python -c` and write to it: execnet, and the kit's reaper."""
    return SimpleNamespace(**{**vars(subprocess), "Popen": partial(_start_python, forks)})


def _start_python(
    forks: ForkServer, command: Sequence[str], *, stdout: int, stderr: int = 2, **_others: object
) -> ForkedProcess:
    stdin, feed = os.pipe()
    output, said = os.pipe() if stdout == subprocess.PIPE else (None, os.open(os.devnull, os.O_WRONLY))
    process = forks.start(
        "tests.harness.interpreter:run_code",
        *command[command.index("-c") + 1 :],
        environment=os.environ,
        directory=Path.cwd(),
        stdin=stdin,
        stdout=said,
        stderr=said if stderr == subprocess.DEVNULL else stderr,
    )
    os.close(stdin)
    os.close(said)
    vars(process).update(stdin=os.fdopen(feed, "wb"), stdout=None if output is None else os.fdopen(output, "rb"))
    return process
