"""The owner's end of the pipe to its reaper: what is asked for here ends with this process.

The owner is the process that made the Lifeline. A fork of it shares the pipe but owns nothing:
`cut` closes only the fork's end there, and the reaper goes by its parent, the first owner.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from service.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from service.embedded.account import Account

_REAPER = Path(__file__).with_name("reaper.py")
_ANSWER_SECONDS = 30.0
_FAREWELL_SECONDS = 10.0
_POLL_SECONDS = 0.003
# LD_* and DYLD_* stay because on some systems no binary loads without them. PG* must not: the
# server and initdb would read their defaults from the user's client settings.
_KEPT_VARIABLES = ("PATH", "LD_", "DYLD_")

_TAIL_BYTES = 8192
_TAIL_LINES = 5
_TELLING = re.compile(r"FATAL|PANIC|ERROR|HINT|DETAIL|error:|cannot|can't|[Ff]ailed|No space")

StopPlan = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Process:
    """A process that ends when its Lifeline is cut; what it says stands in `log` from byte `since` on."""

    pid: int
    program: str
    log: Path
    since: int
    _poll: Callable[[], int | None] = field(repr=False)

    def wait(self, *, until: Callable[[], bool], deadline_seconds: float) -> int | None:
        """Wait until `until()` holds, and return None; or the exit status if the process ends before.

        TimeoutError after `deadline_seconds`.
        """
        deadline = time.monotonic() + deadline_seconds
        while not until():
            if (status := self._poll()) is not None:
                return status
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_POLL_SECONDS)
        return None

    def last_words(self) -> str:
        """Return what its output says went wrong, else its end; a few lines joined to one."""
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self.since, end - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        first = next((place for place, line in enumerate(lines) if _TELLING.search(line)), -_TAIL_LINES)
        return " / ".join(line.strip() for line in lines[first:][:_TAIL_LINES]) or "(nothing)"


class Lifeline:
    """A reaper process, started at once, and the requests that it understands."""

    def __init__(self) -> None:
        self._unread = b""
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_REAPER), str(os.getpid())],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # a traceback shows up in the error message
            bufsize=0,
            start_new_session=True,  # the terminal's Ctrl-C is for the owner to act on
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def make_scratch(self, base: Path, prefix: str) -> Path:
        """Return a new directory in `base` that is removed when this process ends."""
        return Path(self._ask("make_scratch", base=str(base), prefix=prefix))

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        account: Account,
        cwd: Path,
        log: Path,
        plan: StopPlan = (),
    ) -> Process:
        """Start a process as `account`, its output appended to `log`.

        It enters `cwd` before it becomes `account`, so that the account needs no permission on
        the directories above. To stop it, each signal of `plan` is given its seconds; then it
        is killed with all its children.
        """
        since = log.stat().st_size if log.exists() else 0
        pid = self._ask(
            "spawn",
            argv=[str(word) for word in argv],
            cwd=str(cwd),
            env=_server_environment(os.environ.items()),
            log=str(log),
            plan=plan,
            account=[account.uid, account.gid] if account.borrowed else None,
        )
        return Process(pid, str(argv[0]), log, since, lambda: self._ask("poll", pid=pid))

    def cut(self) -> None:
        """Stop the processes, remove the directories, and wait for that. Idempotent."""
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        try:
            self._reaper.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._reaper.kill()  # the kernel then signals the servers
            self._reaper.wait()
        if self._reaper.stdout is not None:
            self._reaper.stdout.close()

    def _ask(self, call: str, **arguments: Any) -> Any:  # noqa: ANN401 - JSON both ways
        request = json.dumps({"call": call, "arguments": arguments}).encode() + b"\n"
        with suppress(BrokenPipeError):  # its last words, read below, say why
            os.write(self._reaper.stdin.fileno(), request)  # type: ignore[union-attr]
        line = self._read_line()
        try:
            answer = json.loads(line)
        except ValueError:
            raise EmbeddedError(_no_answer(line)) from None
        if "error" in answer:
            raise OSError(answer["errno"], answer["error"], answer["path"])
        return answer["result"]

    def _read_line(self) -> bytes:
        output = self._reaper.stdout.fileno()  # type: ignore[union-attr]
        deadline = time.monotonic() + _ANSWER_SECONDS
        while b"\n" not in self._unread:
            remaining = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([output], [], [], remaining)
            chunk = os.read(output, 65536) if readable else b""
            if not chunk:
                return self._unread
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def _server_environment(ours: Iterable[tuple[str, str]]) -> dict[str, str]:
    kept = {name: value for name, value in ours if name.startswith(_KEPT_VARIABLES)}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _no_answer(last_words: bytes) -> str:
    said = " ".join(last_words.decode(errors="replace").split()) or "nothing"
    return (
        f"The process that supervises embedded servers does not answer ({sys.executable} "
        f"{_REAPER}); it said: {said}. Was it killed? Start again; if that repeats, check that "
        "this Python can run scripts in isolated mode (-I)."
    )
