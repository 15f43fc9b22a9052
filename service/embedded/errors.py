"""The one exception of this package, and the translation of the operating system's into it."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADVICE = {
    errno.ENOSPC: "Free some space there, or choose a directory on another disk.",
    errno.EDQUOT: "Your disk quota is used up: free some space or choose another directory.",
    errno.EROFS: "That file system is read-only: choose a directory that can be written.",
    errno.EACCES: "Choose a directory that this user may write, or correct its permissions.",
    errno.EPERM: "Choose a directory that this user may write, or run as an ordinary user.",
}


class EmbeddedError(Exception):
    """An embedded server cannot run; the message is one paragraph: what, where, what to do."""


@contextmanager
def explained(server: str) -> Iterator[None]:
    """Raise EmbeddedError from any OSError of the block, naming `server` and the way out."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, "Correct that, then start again.")
        message = f"{server} could not be started: {error.strerror or error}{where}. {advice}"
        raise EmbeddedError(message) from error
