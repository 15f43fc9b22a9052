"""Create the cache's epoch, and a trigger that moves it for writers who do not fence what they change.

The epoch is the sum of `n`. There is one row, and another for as many bumps as ever overlapped: a bump takes a row that
nobody holds, so it never waits, and an ETL job that stays in its transaction for an hour delays no other writer.

Revision: 20261123_02, after 20261123_01
"""

import sqlalchemy as sa
from alembic import op

revision = "20261123_02"
down_revision = "20261123_01"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cache_epoch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("n", sa.BigInteger(), nullable=False),
    )
    op.execute("INSERT INTO cache_epoch (n) VALUES (0)")
    # With the rights of its owner: a role that may change items need not know this table. A repeatable-read transaction
    # may not change a row that moved since it began; it adds one.
    op.execute(
        """
        CREATE FUNCTION cache_epoch_bump() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            BEGIN
                UPDATE cache_epoch SET n = n + 1
                WHERE id = (SELECT id FROM cache_epoch ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
                IF FOUND THEN
                    RETURN;
                END IF;
            EXCEPTION WHEN serialization_failure THEN
                NULL;
            END;
            INSERT INTO cache_epoch (n) VALUES (1);
        END
        $$
        """
    )
    # The schema of the migration, and temporary tables last: nobody can put a table of theirs in our table's place.
    op.execute(
        """
        DO $$
        BEGIN
            EXECUTE format('ALTER FUNCTION cache_epoch_bump() SET search_path = %I, pg_temp', current_schema());
        END
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION item_bump_cache_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM cache_epoch_bump();
            RETURN NULL;
        END
        $$
        """
    )
    # Once a statement, and not for sessions that say that they fence: the service's own.
    op.execute(
        """
        CREATE TRIGGER item_bump_cache_epoch AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON item
        FOR EACH STATEMENT WHEN (current_setting('app.fenced', true) IS DISTINCT FROM '1')
        EXECUTE FUNCTION item_bump_cache_epoch()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER item_bump_cache_epoch ON item")
    op.execute("DROP FUNCTION item_bump_cache_epoch()")
    op.execute("DROP FUNCTION cache_epoch_bump()")
    op.drop_table("cache_epoch")
