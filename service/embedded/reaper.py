"""A script, not a module to import: owns servers and their files on behalf of its parent.

Started by `lifeline` as ``python -I -S reaper.py <pid of the owner>``, so it may import the
standard library only and little of that: its start is part of every server's start. It reads
requests from standard input and answers each, both one JSON object a line. When the input ends
or its parent is gone, it stops its processes, removes its directories, and exits.

It has to be a process of its own, and everything that must not outlive the owner has to be made
here: nothing inside the owner runs after ``kill -9``.

Should the reaper itself be killed, Linux delivers the first signal of each process's stop plan
(PR_SET_PDEATHSIG), and the next start removes the directories. On macOS the servers then stay.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TICK_SECONDS = 0.2
_POLL_SECONDS = 0.002
_REMOVAL_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1
_IPC_RMID = 0
_SCRATCH_SUFFIX = "[0-9a-f]{12}"
_libc = ctypes.CDLL(None, use_errno=True)


class Ward(NamedTuple):
    """A process to stop: each signal of `plan` gets its seconds to work, then comes SIGKILL."""

    process: subprocess.Popen[bytes]
    plan: list[tuple[int, float]]


class Scratch(NamedTuple):
    """A directory to remove; the lock held on a file inside tells everybody that we live."""

    path: Path
    lock: int


class Estate:
    """The processes and directories that must not outlive the owner."""

    def __init__(self) -> None:
        self._wards: dict[int, Ward] = {}
        self._scratches: list[Scratch] = []

    def make_scratch(self, base: str, prefix: str) -> str:
        """Make a directory `<base>/<prefix><random>` that goes when the owner goes.

        Directories of the same prefix whose reaper is dead are removed on this occasion.
        """
        _sweep(Path(base), prefix)
        while (scratch := _new_scratch(Path(base, prefix + os.urandom(6).hex()))) is None:
            pass  # a sweeper took it for a dead one before we had locked it
        self._scratches.append(scratch)
        return str(scratch.path)

    def spawn(  # noqa: PLR0913 - the fields of one request
        self,
        *,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        log: str,
        plan: list[tuple[int, float]],
        account: list[int] | None,
    ) -> int:
        """Start a process in a group of its own, its output appended to `log`; return its pid."""
        number = plan[0][0] if plan else signal.SIGKILL
        output = _open_log(log, account)
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                user=account[0] if account else None,
                group=account[1] if account else None,
                extra_groups=[] if account else None,
                # Runs after the change of account, which would clear the setting again.
                preexec_fn=_dies_with(os.getpid(), number),  # noqa: PLW1509 - we have one thread
            )
        finally:
            os.close(output)
        self._wards[process.pid] = Ward(process, plan)
        return process.pid

    def poll(self, pid: int) -> int | None:
        """Return the exit status of a process that we spawned, None while it runs."""
        return self._wards[pid].process.poll()

    def reap(self) -> None:
        """Collect processes that ended by themselves, lest they stay as zombies."""
        for ward in self._wards.values():
            ward.process.poll()

    def settle(self) -> None:
        """Stop every process, then remove every directory."""
        for ward in self._wards.values():
            _stop(ward)
        for scratch in self._scratches:
            _remove_shared_memory(scratch.path)
            _remove(scratch.path)


def _new_scratch(path: Path) -> Scratch | None:
    path.mkdir()
    try:
        path.chmod(0o711)  # servers of another account pass through, see nothing, change nothing
        lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(lock), (path / "lock").stat()):
            os.write(lock, b"%d\n" % os.getppid())  # for people who wonder whose it is
            return Scratch(path, lock)
        os.close(lock)
    except FileNotFoundError:
        pass
    return None


def _sweep(base: Path, prefix: str) -> None:
    ours = re.compile(re.escape(prefix) + _SCRATCH_SUFFIX)
    for path in base.iterdir():
        with suppress(OSError):
            if ours.fullmatch(path.name) and path.lstat().st_uid == os.geteuid():
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        path.rmdir()  # its reaper died before the lock; does nothing to a directory with content
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    finally:
        os.close(lock)


def _remove(path: Path) -> None:
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while path.exists() and time.monotonic() < deadline:
        shutil.rmtree(path, ignore_errors=True)  # again, if a dying process added a file


def _remove_shared_memory(scratch: Path) -> None:
    """Free the 56 bytes of SysV shared memory that a killed postmaster leaves until reboot."""
    for record in scratch.glob("*/postmaster.pid"):
        with suppress(OSError, IndexError, ValueError):
            _, segment = record.read_text().splitlines()[6].split()
            _libc.shmctl(int(segment), _IPC_RMID, None)


def _open_log(path: str, account: list[int] | None) -> int:
    # A borrowed account owns the directory of a lasting log, and must not be able to make root
    # write elsewhere by a link.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    log = os.open(path, flags, 0o600)
    try:
        _refuse_second_names(log, path)
        if account:
            os.fchown(log, *account)
    except OSError:
        os.close(log)
        raise
    return log


def _refuse_second_names(file: int, path: str) -> None:
    if os.fstat(file).st_nlink != 1:
        raise OSError(errno.EMLINK, "the server's log must have one name only", path)


def _dies_with(parent: int, number: int) -> Callable[[], None]:
    def ask_for_signal() -> None:
        if sys.platform == "linux":
            _libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask_for_signal


def _stop(ward: Ward) -> None:
    for number, seconds in ward.plan:
        if ward.process.poll() is None:
            ward.process.send_signal(number)
            _wait(ward.process, seconds)
    if ward.process.poll() is None:  # otherwise the pid may be somebody else's by now
        _kill(ward.process.pid)
    ward.process.wait()


def _kill(leader: int) -> None:
    # The processes of PostgreSQL lead sessions of their own: a signal to the group misses them.
    for pid in (-leader, *_children_of(leader)):
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
            os.kill(pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _children_of(parent: int) -> list[int]:
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=False)
        pairs = (line.split() for line in listing.stdout.splitlines())
        return [int(pid) for pid, ppid in pairs if int(ppid) == parent]
    found = []
    for record in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may hold spaces and parentheses; the parent is 2nd after.
            if int(record.read_bytes().rpartition(b")")[2].split()[1]) == parent:
                found.append(int(record.parent.name))
    return found


def _requests(owner: int) -> Iterator[dict[str, Any] | None]:
    """Yield requests, and None now and then, until the owner is gone.

    The end of input tells it at once. The parent's pid tells it also when a fork of the owner,
    which shares the pipe, lives on.
    """
    unread = b""
    while os.getppid() == owner:
        readable, _, _ = select.select([0], [], [], _TICK_SECONDS)
        if not readable:
            yield None
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, unread = (unread + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _answer(estate: Estate, request: dict[str, Any]) -> None:
    try:
        reply = {"result": getattr(estate, request["call"])(**request["arguments"])}
    except (OSError, subprocess.SubprocessError) as error:
        reply = {
            "errno": getattr(error, "errno", None),
            "error": getattr(error, "strerror", None) or str(error),
            "path": getattr(error, "filename", None),
        }
    with suppress(BrokenPipeError):  # the owner is gone, which the next read will tell
        os.write(1, json.dumps(reply).encode() + b"\n")


def main(owner: int) -> None:
    """Serve the process `owner` until it goes, or until a signal asks us to."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    estate = Estate()
    for number in signals:
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        for request in _requests(owner):
            estate.reap()
            if request is not None:
                _answer(estate, request)
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        estate.settle()


if __name__ == "__main__":
    main(int(sys.argv[1]))
