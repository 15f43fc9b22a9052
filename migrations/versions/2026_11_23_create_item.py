"""Create the table of items, with its rules, an index for each sort, and a trigger that counts versions.

Revision: 20261123_01, after nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "20261123_01"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.text("statement_timestamp()")


def upgrade() -> None:
    op.create_table(
        "item",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), primary_key=True),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("price", sa.Numeric(12, 2), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="item_name_length"),
        sa.CheckConstraint("char_length(description) <= 10000", name="item_description_length"),
        sa.CheckConstraint("price BETWEEN 0 AND 9999999999.99", name="item_price_range"),
        sa.CheckConstraint("version >= 1", name="item_version_positive"),
    )
    op.create_index("item_name_id", "item", ["name", "id"])
    op.create_index("item_price_id", "item", ["price", "id"])
    op.create_index("item_created_at_id", "item", ["created_at", "id"])
    op.create_index("item_updated_at_id", "item", ["updated_at", "id"])
    # In the database, so that a change by psql or an ETL job counts like one of ours.
    op.execute(
        """
        CREATE FUNCTION item_count_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.version := OLD.version + 1;
            NEW.updated_at := statement_timestamp();
            RETURN NEW;
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER item_count_version BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION item_count_version()"
    )


def downgrade() -> None:
    op.drop_table("item")
    op.execute("DROP FUNCTION item_count_version()")
