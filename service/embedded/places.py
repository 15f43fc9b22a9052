"""Where files may go: short-lived ones, and the cache that outlives a run."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from service.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.embedded.account import Account

SCRATCH_PREFIX = "item-service-"
# A Unix socket's address holds 104 bytes on macOS and 108 on Linux, the final NUL included.
_SOCKET_PATH_BYTES = 103
_LONGEST_SOCKET = f"{SCRATCH_PREFIX}0123456789ab/run/.s.PGSQL.65535"
# PostgreSQL and libpq read commas in a socket directory as separators, URLs need escapes.
_PLAIN_PATH = re.compile(r"[\w./+-]+", re.ASCII)
_MEMORY = Path("/dev/shm")  # noqa: S108 - tmpfs of Linux; entries get unpredictable names


def scratch_base(account: Account, *, memory_bytes: int) -> Path:
    """Return the directory to make short-lived directories in; sockets fit under it.

    That is tmpfs if it has `memory_bytes` to spare, else the temporary directory, or `/tmp`
    when that one's path is too long or closed to `account`. EmbeddedError if nothing serves.
    """
    for base in _scratch_candidates(memory_bytes):
        if _holds_sockets(base) and os.access(base, os.W_OK) and account.may_reach(base):
            return base
    raise EmbeddedError(
        f"No directory for the servers' sockets: {tempfile.gettempdir()}, /tmp and /var/tmp are "
        "missing, not writable or too long a path. Set TMPDIR to a short writable directory."
    )


def _scratch_candidates(memory_bytes: int) -> Iterator[Path]:
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= memory_bytes:
        yield _MEMORY
    yield Path(tempfile.gettempdir()).resolve()
    yield from (base for base in (Path("/tmp"), Path("/var/tmp")) if base.is_dir())  # noqa: S108


def _holds_sockets(base: Path) -> bool:
    longest = os.fsencode(base / _LONGEST_SOCKET)
    return len(longest) <= _SOCKET_PATH_BYTES and bool(_PLAIN_PATH.fullmatch(str(base)))


def cache_directory(account: Account, *, otherwise: Path) -> Path:
    """Return a directory of ours that outlives the run and that `account` can run files from.

    Never one that somebody else owns or may write to: its files are executed. When no place
    qualifies the answer is `otherwise`, so nothing is cached but everything works.
    """
    for path in _cache_candidates():
        with suppress(OSError):
            above = next(place for place in path.parents if place.exists())
            if not account.may_reach(above):
                continue
            _make_own(path)
            if _is_ours(path) and _may_execute(path) and account.may_reach(path):
                return path
    return otherwise


def _cache_candidates() -> Iterator[Path]:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    if os.path.isabs(home):  # noqa: PTH117 - the XDG rule: a relative path is to be ignored
        yield Path(home, "item-service")
    if os.geteuid() == 0:
        yield Path("/var/cache/item-service")  # root's home is closed to the servers' account
    yield Path(tempfile.gettempdir(), f"item-service-cache-{os.geteuid()}")


def _make_own(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o755)
    except FileExistsError:
        return
    path.chmod(0o755)  # a strict umask would shut out the account that servers run as


def _is_ours(path: Path) -> bool:
    found = path.lstat()
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not shared


def _may_execute(path: Path) -> bool:
    forbidden = os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0)
    return os.access(path, os.W_OK | os.X_OK) and not forbidden
