"""Whose database is it? Names, owner records and liveness.

A database of ours is named `t_<project>_<run>_<worker>_<n>` and carries a JSON record as its comment. Its owner lives
as long as somebody holds the session advisory lock whose key is in the record; PostgreSQL frees it when the owner's
connection ends, however it ended. What has no record of ours is never dropped, flushed or disconnected; but a run that
ends drops what has its own random id in its name, for a worker may be killed before it has written the record.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from service.testing.errors import SetupError

KIT = "service.testing"
# Advisory locks are per database: everybody has to take theirs in the same one.
LOCK_DATABASE = "postgres"
_OLDEST_POSTGRES = 14
_UNDEFINED = (psycopg.errors.InvalidCatalogName, psycopg.errors.UndefinedObject)

_LEAVE_SECONDS = 0.2
# Whether nobody is in the database, and whether it is as CREATE DATABASE has made it.
_PLAIN = """
SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datid = d.oid AND pid <> %(but)s),
    datacl IS NULL AND datconnlimit = -1 AND datallowconn AND NOT datistemplate
    AND datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)
    AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = d.oid)
    AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = datname)
    AND NOT EXISTS (SELECT FROM pg_subscription WHERE subdbid = d.oid)
    AND starts_with(shobj_description(d.oid, 'pg_database'), %(record)s)
FROM pg_database d WHERE datname = %(name)s
"""

Admin = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Owner:
    """One process of one run."""

    project: str
    run: str
    worker: str

    @property
    def lock_key(self) -> int:
        """The key of the advisory lock that shows that this owner lives."""
        return lock_key(f"{self.project}/{self.run}/{self.worker}")

    @property
    def run_prefix(self) -> str:
        """What the names of all databases of this run begin with; nobody else can have guessed it."""
        return f"t_{self.project}_{self.run}_"

    @property
    def session_name(self) -> str:
        """The application_name of all sessions of this run that make databases."""
        return f"{KIT} {self.project} {self.run}"

    def database_name(self, number: int) -> str:
        """The name of this owner's database `number`."""
        return f"{self.run_prefix}{self.worker}_{number}"

    def record(self, **extra: object) -> dict[str, object]:
        """The owner record of a database that is made now."""
        return {
            "kit": KIT,
            "project": self.project,
            "run": self.run,
            "worker": self.worker,
            "lock": self.lock_key,
            "created": time.time(),
            **extra,
        }


@dataclass(frozen=True, slots=True)
class OwnedDatabase:
    """A database with a record of ours."""

    name: str
    record: dict[str, Any]


def lock_key(subject: str) -> int:
    """A number for an advisory lock: 63 bits of a hash, so that nobody else's key is hit by accident."""
    return int.from_bytes(hashlib.sha256(f"{KIT}/{subject}".encode()).digest()[:8]) >> 1


def connect_admin(url: str, owner: Owner | None = None) -> Admin:
    """An autocommit connection for CREATE and DROP DATABASE, and for locks that live as long as it does.

    With `owner` its sessions can be found: one goes on with its statement for a while when its process is killed.
    Raises SetupError, also when the server is too old.
    """
    name = KIT if owner is None else owner.session_name
    try:
        admin = psycopg.connect(url, autocommit=True, connect_timeout=5, application_name=name)
    except psycopg.Error as error:
        raise SetupError(
            f"The PostgreSQL server for tests cannot be reached: {' '.join(str(error).split()).rstrip('.?')}."
            " Start it, or correct TEST_DATABASE_URL, or unset that to use an embedded server."
        ) from error
    version = admin.info.server_version // 10_000
    if version < _OLDEST_POSTGRES:
        admin.close()
        raise SetupError(
            f"The PostgreSQL server of TEST_DATABASE_URL is version {version}; the tests need {_OLDEST_POSTGRES} or"
            " newer. Upgrade it, or unset TEST_DATABASE_URL to use an embedded server."
        )
    return admin


def claim(admin: Admin, owner: Owner) -> None:
    """Show that `owner` lives, until `admin` is closed or its process dies."""
    admin.execute("SELECT pg_advisory_lock(%s)", [owner.lock_key])


def write_record(admin: Admin, name: str, record: dict[str, object]) -> None:
    """Make `record` the owner record of database `name`."""
    comment = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(json.dumps(record)))
    admin.execute(comment)


def create_database(admin: Admin, name: str, record: dict[str, object], *, template: str, strategy: str | None) -> None:
    """Create database `name` as a copy of `template`, with its owner record; `strategy` None is the server's own."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    if strategy is not None:
        statement += sql.SQL(f" STRATEGY {strategy}")
    try:
        admin.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise SetupError(
            f"The user {admin.info.user!r} of TEST_DATABASE_URL may not create databases, and each test worker needs"
            f" one of its own. Let it: {let_create(admin)}; or unset TEST_DATABASE_URL to use"
            " an embedded server."
        ) from error
    except psycopg.errors.ObjectInUse as error:
        raise SetupError(_describe_visitors(admin, template)) from error
    write_record(admin, name, record)


def let_create(admin: Admin) -> str:
    """The statement that lets this user create databases."""
    return f"ALTER ROLE {sql.Identifier(admin.info.user).as_string(admin)} CREATEDB"


def _describe_visitors(admin: Admin, template: str) -> str:
    rows = admin.execute(
        "SELECT pid, coalesce(nullif(application_name, ''), 'unnamed') FROM pg_stat_activity WHERE datname = %s",
        [template],
    ).fetchall()
    visitors = ", ".join(f"process {pid} ({name})" for pid, name in rows) or "somebody who has just left"
    return (
        f"The template database {template} cannot be copied while somebody is connected to it: {visitors}."
        " Close that connection (psql: \\q), or end it with SELECT pg_terminate_backend(pid), then run the tests again."
    )


def seal_database(admin: Admin, name: str) -> None:
    """Let nobody connect to database `name` any more, so that it can be copied at any time."""
    admin.execute(
        sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false IS_TEMPLATE true").format(sql.Identifier(name))
    )


def drop_database(admin: Admin, name: str) -> None:
    """Drop a database of ours with everybody in it; one that is gone already is fine.

    It forces a checkpoint: keep it off every path that somebody waits for.
    """
    identifier = sql.Identifier(name)
    _roll_back_prepared(admin, name)
    is_template = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s AND datistemplate", [name]).fetchone()
    try:
        # A template that a killed process had not finished counts as one already. Nothing else is altered: one whose
        # DROP was interrupted can be dropped, and no more.
        if is_template:
            admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(identifier))
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
    except _UNDEFINED:
        return


def _roll_back_prepared(admin: Admin, name: str) -> None:
    """End what was prepared and never committed: a database that has such a transaction cannot be dropped."""
    prepared = admin.execute("SELECT gid FROM pg_prepared_xacts WHERE database = %s", [name]).fetchall()
    if not prepared:
        return
    # PostgreSQL lets nobody end them from another database.
    password = admin.info.password or None
    with psycopg.connect(admin.info.dsn, dbname=name, password=password, autocommit=True) as inside:
        for (gid,) in prepared:
            inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def is_unaltered(admin: Admin, name: str, *, but: int) -> bool:
    """Whether a database has no settings, grants or prepared transactions of its own, and nobody but `but` in it."""
    return admin.execute(_PLAIN, _asked(name, but)).fetchone() == (True, True)


def _asked(name: str, but: int) -> dict[str, object]:
    return {"name": name, "but": but, "record": f'{{"kit": "{KIT}"'}


def rename_unaltered(admin: Admin, name: str, new: str) -> bool:
    """Rename a database if nobody is in it and it has no settings, grants or prepared transactions of its own."""
    asked = _asked(name, 0)
    row = admin.execute(_PLAIN, asked).fetchone()
    deadline = time.monotonic() + _LEAVE_SECONDS
    while row == (False, True) and time.monotonic() < deadline:
        # A session ends a moment after its client has closed it.
        row = admin.execute(_PLAIN, asked).fetchone()
    if row != (True, True):
        return False
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(new))
    try:
        admin.execute(statement)
    except psycopg.errors.ObjectInUse:
        # Somebody came in between.
        return False
    return True


def list_owned(admin: Admin) -> list[OwnedDatabase]:
    """Every database of the server that carries a record of ours, templates included, oldest first."""
    rows = admin.execute("SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database").fetchall()
    owned = [OwnedDatabase(name, record) for name, comment in rows if (record := _read_record(comment))]
    return sorted(owned, key=lambda database: float(database.record.get("created", 0)))


def _read_record(comment: str | None) -> dict[str, Any] | None:
    if not comment or KIT not in comment:
        return None
    try:
        record = json.loads(comment)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("kit") == KIT else None


def is_alive(admin: Admin, record: dict[str, Any]) -> bool:
    """Whether the owner that `record` names lives."""
    key = record.get("lock", 0)
    if admin.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() == (True,):
        admin.execute("SELECT pg_advisory_unlock(%s)", [key])
        return False
    return True
