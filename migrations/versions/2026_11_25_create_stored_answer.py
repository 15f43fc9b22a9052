"""Create the table of answers to requests with an Idempotency-Key, which are repeated for 24 hours.

Revision: 20261125_03, after 20261125_02
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "20261125_03"
down_revision = "20261125_02"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_answer",
        sa.Column("key", sa.Text(collation="C"), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("headers", JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("octet_length(key) BETWEEN 1 AND 255", name="stored_answer_key_length"),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name="stored_answer_fingerprint_length"),
        sa.CheckConstraint("status BETWEEN 200 AND 499", name="stored_answer_status_range"),
        sa.CheckConstraint("octet_length(body) <= 67108864", name="stored_answer_body_length"),
    )
    op.create_index("stored_answer_created_at", "stored_answer", ["created_at"])


def downgrade() -> None:
    op.drop_table("stored_answer")
