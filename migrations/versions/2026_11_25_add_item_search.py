"""Add what full-text search needs: a column of the words of name and description, and an index of it.

The release before neither reads nor writes the column: PostgreSQL fills it. To add it rewrites the table under a lock
that nothing passes, and the index is built under the same lock: CONCURRENTLY afterwards would shorten only a part of
that, and a migration that fails could no longer leave nothing behind. Plan for it: 1,000,000 items took 79 s on a busy
machine with two cores, as long as storing them had taken.

Revision: 20261125_01, after 20261123_02
"""

from alembic import op

revision = "20261125_01"
down_revision = "20261123_02"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The configuration is named, for one that a setting chooses would not be immutable; "simple" knows no language.
    op.execute(
        """
        -- squawk-ignore adding-field-with-default
        ALTER TABLE item ADD COLUMN search tsvector GENERATED ALWAYS AS
        (to_tsvector('simple'::regconfig, ((name || ' '::text) || COALESCE(description, ''::text)))) STORED
        """
    )
    op.create_index("item_search", "item", ["search"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_column("item", "search")
