"""A copy that is used again is what a fresh copy is, to the last byte of its dump; or it is not used again."""

import secrets
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from service.testing.databases import WorkerDatabases
from service.testing.ownership import Owner, connect_admin, create_database, seal_database
from service.testing.renewal import Blueprint, Counters
from tests.harness.conftest import GivenServers

HELD_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
TEMPLATE = """
CREATE TABLE parent (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, loud text GENERATED ALWAYS AS (upper(name)) STORED
);
CREATE TABLE child (id serial PRIMARY KEY, parent_id int NOT NULL REFERENCES parent, "data" bytea, price numeric);
CREATE TABLE "Empty one" (id int);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;
CREATE TRIGGER never BEFORE TRUNCATE ON child EXECUTE FUNCTION refuse();
CREATE TABLE base_1 (name text);
CREATE TABLE base_2 (name text);
CREATE TABLE heir_1 () INHERITS (base_1);
CREATE TABLE heir_2 () INHERITS (base_2);
CREATE TABLE anchor (id int PRIMARY KEY, name text);
CREATE TABLE parted (anchor_id int REFERENCES anchor) PARTITION BY LIST (anchor_id);
CREATE TABLE guarded (tenant text);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (tenant = current_setting('app.tenant', true));
GRANT ALL ON guarded TO PUBLIC;
INSERT INTO heir_1 VALUES ('one');
INSERT INTO heir_2 VALUES ('two');
INSERT INTO parent (name) VALUES ('one'), (NULL);
INSERT INTO child (parent_id, data, price) VALUES (1, '\\x00ff', 'NaN');
SELECT setval('child_id_seq', 41);
"""
COUNTED: LiteralString = "INSERT INTO parent (name) VALUES ('x'); SELECT pg_stat_force_next_flush()"


class Copies:
    """Copies of a template with the tables above, and what becomes of them."""

    def __init__(self, given: GivenServers, databases: WorkerDatabases) -> None:
        self._given = given
        self._databases = databases
        fresh = databases.copy()
        with self.connect(fresh) as connection:
            blueprint = Blueprint.read(connection)
        assert blueprint is not None
        self._blueprint = blueprint
        self.fresh = self.dump(fresh)

    def connect(self, name: str) -> psycopg.Connection[tuple[object, ...]]:
        """An ordinary connection."""
        return psycopg.connect(self._given.postgres.url(name))

    def connect_to_fresh(self) -> psycopg.Connection[tuple[object, ...]]:
        """The first connection to a copy."""
        return self.connect(self._databases.copy())

    def use(self, *statements: LiteralString, name: str | None = None) -> str:
        """A copy that was used so."""
        name = name or self._databases.copy()
        with self.connect(name) as connection:
            connection.autocommit = True
            for statement in statements:
                connection.execute(statement)
        return name

    def renew(self, used: str, before: Counters) -> tuple[str, Counters | None]:
        """The new name and counters of a copy; no counters if it cannot be renewed."""
        name = self._databases.rename(used)
        if name is None:
            return used, None
        with self.connect(name) as connection:
            return name, self._blueprint.restore(connection, before)

    def restore(self, connection: psycopg.Connection[tuple[object, ...]]) -> Counters | None:
        """Counters of a copy that this connection alone has used."""
        return self._blueprint.restore(connection, Counters())

    def reset(
        self, connection: psycopg.Connection[tuple[object, ...]], before: Counters | None = None
    ) -> Counters | None:
        """Counters of a copy that is used again with its connection; None if it is not."""
        if not self._databases.is_only_of(connection.info.dbname, connection.info.backend_pid):
            return None
        return self._blueprint.reset(connection, before or Counters())

    def dump(self, name: str) -> list[str]:
        """All that is in the database, as pg_dump writes it."""
        return self._given.dump("pg_dump", name)


@pytest.fixture(scope="module")
def copies(lasting_servers: GivenServers) -> Iterator[Copies]:
    owner = Owner("renewal", secrets.token_hex(6), "main")
    template = owner.database_name(999)
    with connect_admin(lasting_servers.postgres.url(), owner) as admin:
        create_database(admin, template, owner.record(), template="template0", strategy=None)
        with psycopg.connect(lasting_servers.postgres.url(template)) as connection:
            connection.execute(TEMPLATE)
        seal_database(admin, template)
        databases = WorkerDatabases(lasting_servers.postgres.url(), owner, template=template, strategy=None)
        yield Copies(lasting_servers, databases)
        names = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, 't_renewal_')").fetchall()
        for (name,) in names:
            databases.drop(name)
        databases.close()


what_can_be_undone = pytest.mark.parametrize(
    "statements",
    [
        [],
        ["INSERT INTO parent (name) VALUES ('three')"],
        ["UPDATE parent SET name = 'uno'", "DELETE FROM child"],
        ['INSERT INTO "Empty one" SELECT generate_series(1, 1000)'],
        ["INSERT INTO parent (name) SELECT repeat('x', 200) FROM generate_series(1, 1000)"],
        ["INSERT INTO child (parent_id) SELECT 1 FROM generate_series(1, 10000)", "DELETE FROM parent WHERE id = 2"],
        [
            "INSERT INTO base_1 SELECT repeat('x', 200) FROM generate_series(1, 1000)",
            "INSERT INTO base_2 SELECT repeat('x', 200) FROM generate_series(1, 1000)",
        ],
        ["BEGIN", "INSERT INTO child (parent_id) VALUES (1)", "ROLLBACK"],
        ["SELECT nextval('child_id_seq')"],
        ["SET session_replication_role = replica", "DELETE FROM parent"],
    ],
)
what_can_not = pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more ()",
        "CREATE TEMPORARY TABLE more ()",
        "ALTER TABLE parent ADD more int",
        "ALTER SEQUENCE child_id_seq INCREMENT 2",
        "ALTER TABLE child DISABLE TRIGGER never",
        'DROP TABLE "Empty one"',
        'TRUNCATE "Empty one"',
        "GRANT SELECT ON parent TO PUBLIC",
        "COMMENT ON TABLE parent IS 'more'",
        "CREATE SCHEMA more",
        "SELECT lo_create(0)",
        "ANALYZE parent",
        "INSERT INTO anchor SELECT n, repeat('x', 200) FROM generate_series(1, 1000) AS n",
        f"{COUNTED}; SELECT pg_stat_reset()",
        f"{COUNTED}; SELECT pg_stat_reset_single_table_counters('parent'::regclass)",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 7', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS ''mine''', current_database()); END $$",
    ],
)


@what_can_be_undone
def test_rows_and_sequences_are_put_back_again_and_again(copies: Copies, statements: list[LiteralString]) -> None:
    name, counters = copies.renew(copies.use(*statements), Counters())
    assert counters is not None
    again, counters = copies.renew(copies.use(*statements, name=name), counters)

    assert counters is not None
    assert name != again
    assert copies.dump(again) == copies.fresh


@what_can_be_undone
def test_the_only_session_is_used_again_too(copies: Copies, statements: list[LiteralString]) -> None:
    with copies.connect_to_fresh() as connection:
        connection.autocommit = True
        counters = None
        for _ in range(3):
            for statement in statements:
                connection.execute(statement)
            counters = copies.reset(connection, counters)
            assert counters is not None
        assert copies.dump(connection.info.dbname) == copies.fresh


@what_can_not
def test_a_copy_that_was_changed_otherwise_is_not_used_again(copies: Copies, statement: LiteralString) -> None:
    _, counters = copies.renew(copies.use(statement), Counters())

    assert counters is None


@what_can_not
def test_nor_is_its_session(copies: Copies, statement: LiteralString) -> None:
    with copies.connect_to_fresh() as connection:
        connection.autocommit = True
        connection.execute(statement)

        assert copies.reset(connection) is None


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        ("SET TIME ZONE 'Asia/Tokyo'", "SHOW TIME ZONE"),
        ("SET ROLE pg_monitor", "SELECT current_user"),
        ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SHOW transaction_read_only"),
        ("SET session_replication_role = replica", "SHOW session_replication_role"),
        ("SELECT pg_advisory_lock(7)", HELD_LOCKS),
        ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
        ("PREPARE one AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements"),
        ("DECLARE one CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors"),
    ],
)
def test_a_session_forgets_what_a_test_has_told_it(
    copies: Copies, statement: LiteralString, question: LiteralString
) -> None:
    with copies.connect_to_fresh() as connection:
        connection.autocommit = True
        before = connection.execute(question).fetchone()
        connection.execute(statement)
        assert connection.execute(question).fetchone() != before

        assert copies.reset(connection) is not None

        assert connection.execute(question).fetchone() == before


def test_a_session_knows_no_number_that_a_test_has_drawn(copies: Copies) -> None:
    with copies.connect_to_fresh() as connection:
        connection.execute("SELECT nextval('child_id_seq')")
        connection.commit()

        assert copies.reset(connection) is not None

        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute("SELECT currval('child_id_seq')")


def test_a_copy_that_takes_part_in_replication_is_not_used_again(copies: Copies) -> None:
    with copies.connect_to_fresh() as connection:
        connection.autocommit = True
        connection.execute("CREATE SUBSCRIPTION one CONNECTION '' PUBLICATION one WITH (connect = false)")
        try:
            assert copies.reset(connection) is None
        finally:
            connection.execute("ALTER SUBSCRIPTION one SET (slot_name = NONE)")
            connection.execute("DROP SUBSCRIPTION one")


def test_rows_that_a_policy_hides_are_not_taken_for_none(copies: Copies, lasting_servers: GivenServers) -> None:
    lasting_servers.admin.execute("CREATE ROLE tenant; GRANT SET ON PARAMETER session_replication_role TO tenant")
    try:
        with copies.connect_to_fresh() as connection:
            connection.autocommit = True
            connection.execute("INSERT INTO guarded VALUES ('one'); SET ROLE tenant")

            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                copies.restore(connection)
    finally:
        lasting_servers.admin.execute("DROP OWNED BY tenant; DROP ROLE tenant")


def test_a_copy_that_another_session_has_visited_is_not_used_as_it_is(copies: Copies) -> None:
    with copies.connect_to_fresh() as connection:
        with copies.connect(connection.info.dbname):
            assert copies.reset(connection, Counters(sessions=2)) is None
        assert copies.reset(connection) is None


def test_a_copy_that_somebody_is_still_in_is_not_used_again(copies: Copies) -> None:
    used = copies.use()
    with copies.connect(used):
        assert copies.renew(used, Counters()) == (used, None)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE child ENABLE ALWAYS TRIGGER never",
        "ALTER TABLE child ENABLE REPLICA TRIGGER never",
        "CREATE RULE keep AS ON DELETE TO child DO INSTEAD NOTHING; ALTER TABLE child ENABLE ALWAYS RULE keep",
    ],
)
def test_copies_of_what_fires_whoever_writes_are_not_used_again(copies: Copies, statement: LiteralString) -> None:
    name = copies.use(statement)

    with copies.connect(name) as connection:
        assert Blueprint.read(connection) is None


def test_copies_on_a_server_that_does_not_count_are_not_used_again(copies: Copies) -> None:
    with copies.connect_to_fresh() as connection:
        connection.autocommit = True
        connection.execute("SET track_counts = off")

        assert Blueprint.read(connection) is None
