"""Create the log of changes to items, which the change feed reads, and the triggers that write it.

Triggers, so that a change by psql or an ETL job is in it. They run once a statement, with what it changed as a table: a
COPY of a million items is one INSERT into the log. The release before neither reads nor writes any of this.

Revision: 20261125_02, after 20261125_01
"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_02"
down_revision = "20261125_01"
branch_labels = None
depends_on = None

FUNCTIONS = {
    "item_log_changes": "SELECT id, version, TG_OP = 'DELETE' FROM changed",
    # Who knows an item by its id sees a new one as a deletion and a creation.
    "item_log_old_id": "VALUES (OLD.id, OLD.version, true)",
    "item_log_truncate": "SELECT id, version, true FROM item",
}
TRIGGERS = {
    "item_log_insert": "AFTER INSERT ON item REFERENCING NEW TABLE AS changed FOR EACH STATEMENT",
    "item_log_update": "AFTER UPDATE ON item REFERENCING NEW TABLE AS changed FOR EACH STATEMENT",
    "item_log_delete": "AFTER DELETE ON item REFERENCING OLD TABLE AS changed FOR EACH STATEMENT",
    "item_log_old_id": "AFTER UPDATE ON item FOR EACH ROW WHEN (OLD.id <> NEW.id)",
    "item_log_truncate": "BEFORE TRUNCATE ON item FOR EACH STATEMENT",
}


def upgrade() -> None:
    op.create_table(
        "item_change",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("xid", sa.BigInteger(), server_default=sa.text("pg_current_xact_id()::text::bigint"), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
    )
    op.create_index("item_change_xid", "item_change", ["xid"])
    op.create_table(
        "item_change_mark",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column(
            "taken_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("statement_timestamp()"),
            nullable=False,
        ),
        sa.Column("snapshot", sa.Text(), server_default=sa.text("pg_current_snapshot()::text"), nullable=False),
        sa.Column("is_expired", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    # With the rights of their owner: a role that may change items need not know the log.
    for name, rows in FUNCTIONS.items():
        op.execute(
            f"""
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN
                INSERT INTO item_change (item_id, version, deleted) {rows};
                RETURN NULL;
            END
            $$
            """
        )
        # The schema of the migration, and temporary tables last: nobody can put a table of theirs in our table's place.
        op.execute(
            f"""
            DO $$
            BEGIN
                EXECUTE format('ALTER FUNCTION {name}() SET search_path = %I, pg_temp', current_schema());
            END
            $$
            """
        )
    for name, event in TRIGGERS.items():
        function = name if name in FUNCTIONS else "item_log_changes"
        op.execute(f"CREATE TRIGGER {name} {event} EXECUTE FUNCTION {function}()")


def downgrade() -> None:
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON item")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("item_change_mark")
    op.drop_table("item_change")
