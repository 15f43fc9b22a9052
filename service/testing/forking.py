"""The process behind a fork server, run as a script: it imports programs once, and forks itself for each one asked for.

Orders come by the socket whose number is its argument, each with file descriptors: what the process reports to, its
standard streams, and what it inherits beside them. No thread ever runs here, or a fork could not be trusted.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

_BUFFER_BYTES = 1 << 16
_MOST_DESCRIPTORS = 32
_STREAMS = 3
_PR_SET_PDEATHSIG = 1
# A process id or an exit status, as it is reported.
NUMBER_BYTES = 8


def main() -> None:
    """Wait for orders until the owner closes the socket; in a process that was ordered, run its program."""
    if sys.platform == "linux":
        # When the owner is killed, not even the import under way is finished.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    status = _run(_await_program(socket.socket(fileno=int(sys.argv[1]))))
    # What Python does at the end of a process, but for taking modules apart: that costs more than all the rest here.
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing does it
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


def _run(program: str) -> int:
    """The exit status that Python would give to the process; -SIGINT when it ends itself by that."""
    try:
        sys.exit(pkgutil.resolve_name(program)())
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException as error:  # noqa: BLE001  # as the interpreter
        with suppress(OSError):
            traceback.print_exception(error)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _await_program(control: socket.socket) -> str:
    """The program that was ordered: it returns in a new process only."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _BUFFER_BYTES, _MOST_DESCRIPTORS)
        while message and not message.endswith(b"\n"):
            message += control.recv(_BUFFER_BYTES)
        _collect_the_ended()
        if not message:
            os._exit(0)
        order = json.loads(message)
        _import_ahead(order)
        if os.fork() == 0:
            control.close()
            _split_reporter(*descriptors)
            _become(order, descriptors[1:])
            return str(order["program"])
        for descriptor in descriptors:
            os.close(descriptor)


def _collect_the_ended() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _import_ahead(order: dict[str, Any]) -> None:
    sys.path[:] = order["path"]
    for module in order["imports"]:
        # The process imports it again, and says in its own words why that fails; a module may even want to end it.
        with suppress(BaseException):
            importlib.import_module(module)
    # A collection in a child would copy every page that it looks at.
    gc.freeze()


def _split_reporter(report: int, *inherited: int) -> None:
    """Fork once more: the parent tells the owner what becomes of the child, which is the one that returns."""
    if child := os.fork():
        for descriptor in inherited:
            os.close(descriptor)
        with socket.socket(fileno=report) as owner, suppress(OSError):
            owner.send(child.to_bytes(NUMBER_BYTES, signed=True))
            _, status = os.waitpid(child, 0)
            owner.send(os.waitstatus_to_exitcode(status).to_bytes(NUMBER_BYTES, signed=True))
        os._exit(0)
    os.close(report)


def _become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Become what was ordered: a session, streams, a directory, an environment and arguments of its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors[:_STREAMS]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[:] = [*order["arguments"], *map(str, descriptors[_STREAMS:])]


if __name__ == "__main__":
    main()
