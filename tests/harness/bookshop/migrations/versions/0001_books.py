# mypy: ignore-errors
"""Create the tables of authors and books, and an author that is there from the start."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "author", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("name", sa.String(), nullable=False)
    )
    op.create_table(
        "book",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("title", sa.String(length=40), nullable=False),
        sa.Column(
            "author_id", sa.Integer(), sa.ForeignKey("author.id", deferrable=True, initially="DEFERRED"), nullable=False
        ),
        sa.UniqueConstraint("title", name="book_title"),
    )
    op.execute("INSERT INTO author (name) VALUES ('Anonymous')")


def downgrade() -> None:
    op.drop_table("book")
    op.drop_table("author")
