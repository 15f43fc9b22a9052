"""PostgreSQL's data directories: one template per build and way to make it, copied for every new cluster."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from service.embedded.binaries import exclusive, publish
from service.embedded.errors import EmbeddedError
from service.embedded.startup import run

if TYPE_CHECKING:
    from service.embedded.account import Account
    from service.embedded.binaries import Program
    from service.embedded.lifeline import Lifeline

SUPERUSER = "postgres"
_INITDB_OPTIONS = (
    "--no-sync",  # `publish` does that for every file at once
    "--no-instructions",
    f"--username={SUPERUSER}",
    "--auth=trust",  # the socket's directory is private; TCP is a choice of the developer
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",  # Unicode letters without the machine's locales or ICU
    "--builtin-locale=C.UTF-8",
    # For initdb's own servers: killed half-way they would leave their segments in /dev/shm.
    "--set=dynamic_shared_memory_type=mmap",
)


class ClusterMaker(NamedTuple):
    """What it takes to make clusters: the program, who runs it, and where files may go.

    `cache` outlives this process, `home` does not.
    """

    program: Program
    account: Account
    lifeline: Lifeline
    cache: Path
    home: Path

    def make(self, target: Path) -> None:
        """Copy the template to `target`, an empty directory of the account."""
        template = self._template()
        # As the account, so that root reads and writes nothing in a directory of somebody else.
        # From inside, so that the account needs no way through the directories above.
        self._run("cp", "-R", f"{template}/.", ".", cwd=target)

    def make_lasting(self, target: Path) -> None:
        """Make the cluster `target` in one step, complete and on the disk, or not at all.

        `target` must be absent or an empty directory; the directories above it are made.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.lifeline.make_scratch(target.parent, f".{target.name}.partial-")
        unfinished = self.account.make_directory(scratch / "cluster")
        self.make(unfinished)
        publish(unfinished, target)

    def _template(self) -> Path:
        recipe = hashlib.sha256("\0".join(_INITDB_OPTIONS).encode()).hexdigest()[:8]
        template = self.cache / f"{self.program.key}-cluster-{recipe}-{self.account.uid}"
        if not template.exists():
            with exclusive(self.cache):
                if not template.exists():
                    self._make_template(template)
        return template

    def _make_template(self, template: Path) -> None:
        scratch = self.lifeline.make_scratch(self.cache, f".{template.name}-")
        unfinished = self.account.make_directory(scratch / "cluster")
        initdb = self.program.path.with_name("initdb")
        self._run(str(initdb), "-D", str(unfinished), *_INITDB_OPTIONS, cwd=unfinished)
        publish(unfinished, template)

    def _run(self, *argv: str, cwd: Path) -> None:
        process = self.lifeline.spawn(argv, account=self.account, cwd=cwd, log=self.home / "setup.log")
        run(process, purpose=f"Making a PostgreSQL cluster in {cwd}")


def is_blank(directory: Path) -> bool:
    """Whether a cluster may be made at this path: nothing is there, or an empty directory."""
    return not os.path.lexists(directory) or (directory.is_dir() and next(directory.iterdir(), None) is None)


def check_cluster(directory: Path, account: Account, major: str) -> None:
    """Raise EmbeddedError unless `directory` is a cluster of version `major` of `account`."""
    if problem := _problem(directory, account, major):
        raise EmbeddedError(
            f"The data directory {directory} cannot be used: {problem}. Nothing was changed in "
            "it. Choose another data directory, or move this one away and start again."
        )


def _problem(directory: Path, account: Account, major: str) -> str | None:
    if not directory.is_dir():
        return "it is not a directory"
    owner = directory.stat().st_uid
    if owner not in {account.uid, os.geteuid()}:
        return f"it belongs to the user with id {owner}, and the server runs as {account.uid}"
    version_file = directory / "PG_VERSION"
    if not version_file.is_file():
        return "it holds other files, not a PostgreSQL cluster (there is no PG_VERSION in it)"
    if (version := version_file.read_text().strip()) != major:
        return f"it was made by PostgreSQL {version}, and this one is PostgreSQL {major}"
    if owner != account.uid:
        return f"it belongs to root, and PostgreSQL must run as another user ({account.uid})"
    return None


def data_argument(account: Account, directory: Path) -> str:
    """Return how to name `directory` to a server process that was started inside it.

    A borrowed account may have no way in from the root, for example below root's own home. On
    Linux a process can name the directory that it is in all the same. Elsewhere EmbeddedError.
    """
    if not account.borrowed:
        return str(directory)
    if sys.platform == "linux" and Path("/proc/self/cwd").exists():
        return "/proc/self/cwd"
    if account.may_reach(directory.parent):
        return str(directory)
    raise EmbeddedError(
        f"The server runs as an unprivileged account, which cannot reach {directory}. Choose a "
        "data directory that everybody may enter the parents of, such as one in "
        "/usr/local/var/item-service, or run as an ordinary user."
    )
