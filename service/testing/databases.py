"""The databases of one worker: made, recorded, sealed and dropped, from any of its threads."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psycopg

from service.testing.errors import SetupError
from service.testing.ownership import (
    Admin,
    Owner,
    claim,
    connect_admin,
    create_database,
    drop_database,
    is_unaltered,
    rename_unaltered,
    seal_database,
    write_record,
)

Answer = TypeVar("Answer")


class WorkerDatabases:
    """Databases owned by this worker for as long as this object is open. They are copies of `template`, unless told."""

    def __init__(self, admin_url: str, owner: Owner, *, template: str, strategy: str | None) -> None:
        self._admin_url = admin_url
        self._owner = owner
        self._template = template
        self._strategy = strategy
        self._lock = threading.Lock()
        self._number = 0
        self._admin = self._connect()

    def _connect(self) -> Admin:
        admin = connect_admin(self._admin_url, self._owner)
        claim(admin, self._owner)
        return admin

    def _do(self, work: Callable[[Admin], Answer]) -> Answer:
        with self._lock:
            try:
                return work(self._admin)
            except psycopg.OperationalError:
                if not self._admin.closed:
                    raise
                # A test has ended every session but its own.
                self._admin = self._connect()
                return work(self._admin)

    def _new_name(self) -> str:
        with self._lock:
            self._number += 1
            return self._owner.database_name(self._number - 1)

    def copy(self, template: str | None = None) -> str:
        """Make a database and return its name; raises SetupError."""
        name, source = self._new_name(), template or self._template
        record = self._owner.record()
        self._do(lambda admin: create_database(admin, name, record, template=source, strategy=self._strategy))
        return name

    def rename(self, name: str) -> str | None:
        """Give a database that a test has used a new name, under which nobody knows it; None if it is to be dropped.

        That is when somebody is still in it, or when the database itself was altered.
        """
        new = self._new_name()
        return new if self._do(lambda admin: rename_unaltered(admin, name, new)) else None

    def is_only_of(self, name: str, process: int) -> bool:
        """Whether server process `process` is the only one in a database, which was not altered."""
        return self._do(lambda admin: is_unaltered(admin, name, but=process))

    def count_sessions(self, name: str) -> int:
        """How many sessions there have been in database `name`, by PostgreSQL's count."""
        question = "SELECT pg_stat_get_db_sessions(oid) FROM pg_database WHERE datname = %s"
        row = self._do(lambda admin: admin.execute(question, [name]).fetchone())
        return int(row[0]) if row else 0

    def keep(self, name: str, test: str) -> None:
        """Leave the database to whoever looks into why `test` failed."""
        self.note(name, kept=test)

    def note(self, name: str, **extra: object) -> None:
        """Add to the record of database `name`."""
        self._do(lambda admin: write_record(admin, name, self._owner.record(**extra)))

    def seal(self, name: str) -> None:
        """Let nobody connect to database `name` any more, so that it can be copied at any time."""
        self._do(lambda admin: seal_database(admin, name))

    def drop(self, name: str) -> None:
        """Drop a database, with everybody in it. One that cannot be dropped is left to the end of the run."""
        with suppress(SetupError, psycopg.Error):
            self._do(lambda admin: drop_database(admin, name))

    def close(self) -> None:
        """Show that these databases are nobody's any more."""
        self._admin.close()
