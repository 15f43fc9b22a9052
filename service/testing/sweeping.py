"""Removing what is ours from servers that outlive a run: of this run, of one dead worker, of dead runs of the past."""

import re
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

import psycopg

from service.testing.errors import SetupError
from service.testing.ownership import Admin, OwnedDatabase, Owner, connect_admin, drop_database, is_alive, list_owned

_DATABASE_NAME = re.compile(r"t_[a-z0-9]+_[0-9a-f]+_[a-z0-9]+_[0-9]+")
_KEPT_DATABASES = 3
_REMOVAL_SECONDS = 15
_POLL_SECONDS = 0.05
_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"


def attempt(admin_url: str, removal: Callable[[Admin], object]) -> None:
    """Carry `removal` out as far as it goes: what cannot be removed now is swept by the next run."""
    with suppress(SetupError, psycopg.Error), connect_admin(admin_url) as admin:
        removal(admin)


def find_leftovers(admin: Admin) -> list[OwnedDatabase]:
    """The databases whose owner is dead. Of those that a project's failing tests have kept, the newest three stay."""
    ours = [database for database in list_owned(admin) if _DATABASE_NAME.fullmatch(database.name)]
    kept: defaultdict[str, list[OwnedDatabase]] = defaultdict(list)
    for database in ours:
        if "kept" in database.record:
            kept[str(database.record.get("project"))].append(database)
    stay = {database.name for databases in kept.values() for database in databases[-_KEPT_DATABASES:]}
    return [database for database in ours if database.name not in stay and not is_alive(admin, database.record)]


def sweep(admin: Admin) -> list[str]:
    """Remove the leftovers of dead owners, and return the names of those that are gone."""
    return [database.name for database in find_leftovers(admin) if remove(admin, database) is None]


def remove_run(admin: Admin, owner: Owner) -> None:
    """End the run's sessions and remove its databases, until there are none but such as cannot be dropped.

    Its workers may outlive it for a moment, and the server may be at a CREATE DATABASE that a killed worker has sent.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while time.monotonic() < deadline:
        ended = admin.execute(_END_SESSIONS, [owner.session_name]).fetchall()
        refusals = [remove(admin, database) for database in _list_run(admin, owner)]
        if not ended and all(refusals):
            return
        time.sleep(_POLL_SECONDS)


def remove_worker(admin: Admin, owner: Owner) -> None:
    """Remove what a worker that died has left; nothing while it lives."""
    for database in _list_run(admin, owner):
        if database.record.get("worker") == owner.worker and not is_alive(admin, database.record):
            remove(admin, database)


def remove(admin: Admin, database: OwnedDatabase) -> str | None:
    """Empty the Redis database that the owner had, if it is still recorded as theirs, and drop the database.

    Returns why PostgreSQL refuses that, in one line: one database that cannot be dropped keeps no other from going.
    """
    if claimed := database.record.get("redis"):
        # Not at the top: it brings the client library, and hardly any sweep needs it.
        from service.testing.redis_claims import forget_claim  # noqa: PLC0415

        forget_claim(claimed)
    try:
        drop_database(admin, database.name)
    except psycopg.Error as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _list_run(admin: Admin, owner: Owner) -> list[OwnedDatabase]:
    """The databases of the run; by name also those that were killed between their creation and their record."""
    recorded = {database.name: database for database in list_owned(admin)}
    rows = admin.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [owner.run_prefix]
    ).fetchall()
    found = [recorded.get(name) or OwnedDatabase(name, {}) for (name,) in rows]
    return [database for database in found if "kept" not in database.record]
