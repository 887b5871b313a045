"""What devices say of themselves, and as of when the ledger has everything."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "device_status",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("heard_at", sa.BigInteger, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("last_event", sa.BigInteger, nullable=True),
        sa.Column("pending", sa.BigInteger, nullable=True),
        sa.Column("complete_until", sa.BigInteger, nullable=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=True),
        sa.Column("clock_skew", sa.BigInteger, nullable=True),
        sa.Column("clock_measured_at", sa.BigInteger, nullable=True),
        sa.Column("details", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kafka_partition", "device_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "caught_up",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("as_of", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic"),
        sqlite_with_rowid=False,
    )
