"""The databases of one worker: made, recorded, sealed and dropped, from any of its threads."""

import threading
from contextlib import suppress

import psycopg

from service.testing.ownership import (
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


class WorkerDatabases:
    """Databases owned by this worker for as long as this object is open. They are copies of `template`, unless told."""

    def __init__(self, admin_url: str, owner: Owner, *, template: str, strategy: str | None) -> None:
        self._owner = owner
        self._template = template
        self._strategy = strategy
        self._lock = threading.Lock()
        self._number = 0
        self._admin = connect_admin(admin_url, owner)
        claim(self._admin, owner)

    def copy(self, template: str | None = None) -> str:
        """Make a database and return its name; raises SetupError."""
        with self._lock:
            name = self._owner.database_name(self._number)
            self._number += 1
            create_database(
                self._admin, name, self._owner.record(), template=template or self._template, strategy=self._strategy
            )
        return name

    def rename(self, name: str) -> str | None:
        """Give a database that a test has used a new name, under which nobody knows it; None if it is to be dropped.

        That is when somebody is still in it, or when the database itself was altered.
        """
        with self._lock:
            new = self._owner.database_name(self._number)
            self._number += 1
            return new if rename_unaltered(self._admin, name, new) else None

    def is_only_of(self, name: str, process: int) -> bool:
        """Whether server process `process` is the only one in a database, which was not altered."""
        with self._lock:
            return is_unaltered(self._admin, name, but=process)

    def keep(self, name: str, test: str) -> None:
        """Leave the database to whoever looks into why `test` failed."""
        self.note(name, kept=test)

    def note(self, name: str, **extra: object) -> None:
        """Add to the record of database `name`."""
        with self._lock:
            write_record(self._admin, name, self._owner.record(**extra))

    def seal(self, name: str) -> None:
        """Let nobody connect to database `name` any more, so that it can be copied at any time."""
        with self._lock:
            seal_database(self._admin, name)

    def drop(self, name: str) -> None:
        """Drop a database, with everybody in it. One that cannot be dropped is left to the end of the run."""
        with self._lock, suppress(psycopg.Error):
            drop_database(self._admin, name)

    def close(self) -> None:
        """Show that these databases are nobody's any more."""
        self._admin.close()
