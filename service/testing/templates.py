"""Template databases: the migrated schema, made once for each state of the migrations and copied from then on.

`tpl_<digest>` is the name of a finished one. It is made under a name of the run that makes it, and renamed when it is
migrated and sealed; one that is half built is an ordinary database of its run, and goes as those go.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from service.testing.addresses import for_sqlalchemy
from service.testing.configuration import Project
from service.testing.errors import SetupError
from service.testing.lease import Template
from service.testing.migrations import migrate, migration_files
from service.testing.ownership import (
    Admin,
    Owner,
    create_database,
    drop_database,
    list_owned,
    lock_key,
    seal_database,
    write_record,
)
from service.testing.servers import Servers

_PREFIX = "tpl_"
# Part of the digest: raise it when templates are made in another way.
_FORMAT = 1
_KEPT_TEMPLATES = 3
_LOCK_WAIT_SECONDS = 120
_LOCK_POLL_SECONDS = 0.05
_LEAVE_SECONDS = 5
_LEAVE_POLL_SECONDS = 0.003
_STRATEGIES_SINCE = 15_00_00


def digest_migrations(project: Project, server_version: int, user: str) -> str:
    """16 hexadecimal digits that change with the migrations, with env.py, the server's version and the user.

    The tables of a copy belong to whoever has built the template: nobody else may use them.
    """
    digest = hashlib.sha256(f"{_FORMAT} {project.name} {server_version} {user}".encode())
    for path in migration_files(project):
        content = path.read_bytes()
        digest.update(f"\0{_relative(path, project.root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def ensure_template(admin: Admin, servers: Servers, project: Project, owner: Owner) -> Template:
    """The template of the present migrations, made now unless there is one; raises SetupError."""
    name = _PREFIX + digest_migrations(project, admin.info.server_version, admin.info.user)
    if template := _find(admin, name):
        return template
    with _building(admin, name):
        # Somebody else may have made it while we waited.
        template = _find(admin, name) or _build(admin, servers, project, owner, name)
    _prune(admin, project, name)
    return template


def _find(admin: Admin, name: str) -> Template | None:
    sealed = admin.execute(
        "SELECT 1 FROM pg_database WHERE datname = %s AND datistemplate AND NOT datallowconn", [name]
    ).fetchone()
    record = next((database.record for database in list_owned(admin) if database.name == name), None)
    if not sealed or record is None:
        return None
    # The newest are those used last: what a branch needs stays while one goes back and forth. Two at once cannot write
    # this down, which does not matter.
    with suppress(psycopg.Error):
        write_record(admin, name, {**record, "created": time.time()})
    return Template(name, record["strategy"], None)


@contextmanager
def _building(admin: Admin, name: str) -> Iterator[None]:
    key = lock_key(name)
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while admin.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise SetupError(
                f"Somebody else has been building the template database {name} for {_LOCK_WAIT_SECONDS} s. See what it"
                " waits for (pg_stat_activity tells), end it, then run the tests again."
            )
        time.sleep(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        admin.execute("SELECT pg_advisory_unlock(%s)", [key])


def _build(admin: Admin, servers: Servers, project: Project, owner: Owner, name: str) -> Template:
    started = time.perf_counter()
    unfinished = owner.database_name(0)
    # The faster way to copy: the files where they are in memory, through the log where a checkpoint is expensive.
    strategy = "FILE_COPY" if servers.are_in_memory else None
    create_database(admin, unfinished, owner.record(), template="template0", strategy=strategy)
    try:
        migrate(project, for_sqlalchemy(servers.postgres_url, unfinished))
        seal_database(admin, unfinished)
        _await_departures(admin, unfinished)
        if strategy is None and admin.info.server_version >= _STRATEGIES_SINCE:
            strategy = _probe_strategy(admin, owner, unfinished)
        write_record(admin, unfinished, owner.record(strategy=strategy))
        _publish(admin, unfinished, name)
    except BaseException:
        drop_database(admin, unfinished)
        raise
    return Template(name, strategy, (time.perf_counter() - started) * 1000)


def _await_departures(admin: Admin, sealed: str) -> None:
    """Wait until nobody is in the database that env.py has migrated; raises SetupError. Nobody can come any more."""
    deadline = time.monotonic() + _LEAVE_SECONDS
    # The server's own processes have no user, and leave when the database is copied.
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usesysid IS NOT NULL"
    while admin.execute(query, [sealed]).fetchone() != (0,):
        if time.monotonic() > deadline:
            raise SetupError(
                "The migrations have left a connection to the database open, so that it cannot be copied. Let env.py"
                " close what it opens: `with connectable.connect() as connection`, a pool of class NullPool or"
                " `connectable.dispose()`; or let it use the connection in config.attributes. Then run the tests again."
            )
        # A session ends a moment after its client has closed it.
        time.sleep(_LEAVE_POLL_SECONDS)


def _publish(admin: Admin, unfinished: str, name: str) -> None:
    try:
        admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(name))
        )
    except psycopg.errors.DuplicateDatabase as error:
        raise SetupError(
            f"The server has a database {name} that is not a sealed template of the tests. Look at it; if nobody needs"
            f' it, ALTER DATABASE "{name}" IS_TEMPLATE false; DROP DATABASE "{name}" WITH (FORCE); then run the tests'
            " again."
        ) from error


def _probe_strategy(admin: Admin, owner: Owner, template: str) -> str:
    seconds: dict[str, float] = {}
    # The first copy of files pays for a checkpoint of what the migrations wrote; no later one does.
    for number, strategy in enumerate(("FILE_COPY", "FILE_COPY", "WAL_LOG"), start=1):
        name = owner.database_name(number)
        started = time.perf_counter()
        create_database(admin, name, owner.record(), template=template, strategy=strategy)
        seconds[strategy] = time.perf_counter() - started
        drop_database(admin, name)
    return min(seconds, key=seconds.__getitem__)


def _prune(admin: Admin, project: Project, newest: str) -> None:
    ours = [
        database.name
        for database in list_owned(admin)
        if database.name.startswith(_PREFIX) and database.record["project"] == project.name and database.name != newest
    ]
    for name in ours[: 1 - _KEPT_TEMPLATES]:
        try:
            drop_database(admin, name)
        except psycopg.Error:
            # Somebody copies it at this moment; the next run that builds a template tries again.
            continue
