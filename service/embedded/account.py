"""Whom the servers run as, and what that account can reach.

PostgreSQL refuses to run as root, rightly. So when we are root, the servers run as an account
that exists on every Unix. We create nothing in the account database and never change the
owner or the mode of anything that we did not create.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from pathlib import Path

# `nobody` before `postgres`: whoever reaches the embedded superuser may run programs as this
# account, and `postgres` may be the trusted owner of a real cluster on the same machine.
_CANDIDATES = ("nobody", "postgres")


@dataclass(frozen=True, slots=True)
class Account:
    """The account that server processes run as; `borrowed` when it is not our own."""

    uid: int
    gid: int
    borrowed: bool

    def make_directory(self, path: Path) -> Path:
        """Create `path`, private to this account; the parent must exist, `path` must not."""
        path.mkdir(mode=0o700)
        if self.borrowed:
            os.chown(path, self.uid, self.gid)
        return path

    def may_reach(self, path: Path) -> bool:
        """Whether this account may enter `path` and everything above it.

        For a borrowed account only the permissions for everybody count: fewer places than the
        kernel would allow, never more.
        """
        if not self.borrowed:
            return os.access(path, os.X_OK)
        above = (path, *path.parents)
        return all(stat.S_IMODE(place.stat().st_mode) & stat.S_IXOTH for place in above)


def require_name(account: Account) -> None:
    """Raise EmbeddedError unless the account database knows `account`, without which initdb refuses to run."""
    try:
        pwd.getpwuid(account.uid)
    except KeyError:
        raise EmbeddedError(
            f"The user id {account.uid} has no name on this machine, and PostgreSQL does not start for a user without "
            "one. Run this command as a user of /etc/passwd (in a container: `docker run --user nobody`), or add a "
            "line for this user there."
        ) from None


def server_account() -> Account:
    """Return our own account, or for root an existing unprivileged one, else EmbeddedError."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), borrowed=False)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid, borrowed=True)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and this machine has none of the accounts "
        f"{', '.join(_CANDIDATES)} to run it as instead. Run this command as an ordinary user."
    )
