"""The owner's end of the pipe to its reaper: what is asked for here ends with this process.

The owner is the process that made the Lifeline. A fork of it shares the pipe but owns nothing:
there `cut` does nothing, and the reaper goes by its parent, which stays the first owner.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
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

StopPlan = tuple[tuple[int, float], ...]


class Lifeline:
    """A reaper process, started at once, and the requests that it understands."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._unread = b""
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_REAPER), str(self._owner)],
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
    ) -> int:
        """Start a process as `account`, its output appended to `log`; return its pid.

        It enters `cwd` before it becomes `account`, so that the account needs no permission on
        the directories above. To stop it, each signal of `plan` is given its seconds; then it
        is killed with all its children.
        """
        pid: int = self._ask(
            "spawn",
            argv=[str(word) for word in argv],
            cwd=str(cwd),
            env=_server_environment(os.environ.items()),
            log=str(log),
            plan=plan,
            account=[account.uid, account.gid] if account.borrowed else None,
        )
        return pid

    def poll(self, pid: int) -> int | None:
        """Return the exit status of a process spawned here, None while it runs."""
        status: int | None = self._ask("poll", pid=pid)
        return status

    def wait(self, pid: int, *, until: Callable[[], bool], deadline_seconds: float) -> int | None:
        """Wait until `until()` holds, and return None; or the exit status if `pid` ends before.

        TimeoutError after `deadline_seconds`.
        """
        deadline = time.monotonic() + deadline_seconds
        while not until():
            if (status := self.poll(pid)) is not None:
                return status
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_POLL_SECONDS)
        return None

    def cut(self) -> None:
        """Stop the processes, remove the directories, and wait for that. Idempotent."""
        if os.getpid() != self._owner or self._reaper.stdin is None:
            return
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
        try:
            os.write(self._reaper.stdin.fileno(), request)  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # its last words say why
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
