"""Owners of servers as processes of their own, to be killed, and what is left of them."""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.testing.fork_server import ForkedProcess, ForkServer

REPOSITORY = Path(service.__file__).parents[1]
GRACE_SECONDS = 3.0
_BASES = (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where servers put files
_PRELUDE = """
import os, signal, sys
from pathlib import Path
from service.embedded import EmbeddedError, PostgresServer, RedisServer
def say(*words):
    print(*words, flush=True)
def wait_for_the_end():
    sys.stdin.read()
say("starting")
"""


def run_script() -> None:
    """What an owner is: a process that runs the script that it was given."""
    exec(_PRELUDE + sys.argv[1], {"__name__": "__main__"})  # noqa: S102


def eventually(condition: Callable[[], bool], *, seconds: float = GRACE_SECONDS) -> float:
    """Wait until `condition()` holds; return the seconds that took, fail after `seconds`."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "not within the deadline"
        time.sleep(0.005)
    return time.monotonic() - begin


@dataclass(frozen=True)
class Owner:
    """A Python process that runs a script; `mark` is in the environment of all that it starts."""

    process: ForkedProcess
    mark: str
    lifeline: IO[str]
    words: IO[str]

    def hear(self) -> str:
        """Return the next line that the script says."""
        return self.words.readline().strip()

    def kill(self) -> float:
        """Kill -9 the owner; return the seconds until no process and no file of it is left."""
        family = {**descendants(self.process.pid), **self.marked()}
        self.process.kill()
        self.process.wait()
        return eventually(lambda: not (alive(family) or self.marked() or scratches(self.process.pid)))

    def end(self) -> tuple[str, int]:
        """Let the script go on to its end; return what it said until then and its exit status."""
        self.lifeline.close()
        return self.words.read(), self.process.wait(60)

    def marked(self) -> dict[int, str]:
        """Return the processes that carry the mark, except the owner itself."""
        mark = self.mark.encode()
        others = (one for one in running() if one[0] != self.process.pid)
        return {pid: identity for pid, identity in others if mark in _read(f"/proc/{pid}/environ")}


@contextmanager
def starting_owner(forks: ForkServer, script: str, **environment: str) -> Iterator[Owner]:
    """Start an owner and wait until it is about to run `script`; at the end it is killed."""
    # Names that begin so reach the servers' own environment, which is otherwise scrubbed.
    mark = f"LD_TEST_MARK_{uuid.uuid4().hex}"
    (stdin, lifeline), (words, stdout) = os.pipe(), os.pipe()
    with os.fdopen(lifeline, "w") as open_lifeline, os.fdopen(words) as open_words:
        process = forks.start(
            "tests.embedded.owner_process:run_script",
            script,
            environment={**os.environ, mark: "1", **environment},
            directory=Path.cwd(),
            stdin=stdin,
            stdout=stdout,
            stderr=2,
            imports=["service.embedded", "psycopg"],
        )
        os.close(stdin)
        os.close(stdout)
        owner = Owner(process, mark, open_lifeline, open_words)
        try:
            assert owner.hear() == "starting"
            yield owner
        finally:
            process.kill()
            process.wait()


def running() -> Iterator[tuple[int, str]]:
    """Yield pid and start time of every process that is not a zombie."""
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if state_of(pid) not in {"", "Z"}:
            yield pid, _stat(pid, 19)


def alive(family: dict[int, str]) -> bool:
    """Whether any process of `family` still runs."""
    return not family.items().isdisjoint(running())


def is_running(pid: int) -> bool:
    """Whether the process `pid` runs; a zombie does not."""
    return any(pid == other for other, _ in running())


def parent_of(pid: int) -> int:
    """Return the pid of the parent, 0 if there is no such process."""
    return int(_stat(pid, 1) or 0)


def state_of(pid: int) -> str:
    """Return the letter of a process's state: T is stopped, Z is a zombie; empty if there is none."""
    return _stat(pid, 0)


def _stat(pid: int, field: int) -> str:
    # After the name, which is in parentheses and may hold anything.
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[field].decode() if fields else ""


def descendants(ancestor: int) -> dict[int, str]:
    """Return children, grandchildren and so on of a process."""
    everybody = dict(running())
    parents = {pid: parent_of(pid) for pid in everybody}
    family = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return {pid: everybody[pid] for pid in family - {ancestor}}


def scratches(owner_pid: int) -> list[Path]:
    """Return the short-lived directories that were made for the owner with this pid."""
    locks = (lock for base in _BASES for lock in base.glob("item-service-*/lock"))
    return [lock.parent for lock in locks if _read(lock).strip() == b"%d" % owner_pid]


def uid_of(pid: int) -> int:
    """Return the effective user id of a process."""
    status = _read(f"/proc/{pid}/status").decode()
    return int(status.partition("Uid:")[2].split()[1])


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
