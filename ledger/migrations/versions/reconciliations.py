"""The results of the nightly reconcile."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "reconciliations",
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("reconciled_at", sa.BigInteger, nullable=False),
        sa.Column("devices", sa.BigInteger, nullable=False),
        sa.Column("devices_with_gap", sa.BigInteger, nullable=False),
        sa.Column("missing", sa.BigInteger, nullable=False),
        sa.Column("problem", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("site", "day"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reconciled_devices",
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("reconciled_at", sa.BigInteger, nullable=False),
        sa.Column("counted", sa.BigInteger, nullable=True),
        sa.Column("complete_until", sa.BigInteger, nullable=True),
        sa.Column("raw_records", sa.BigInteger, nullable=False),
        sa.Column("punches", sa.BigInteger, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("superseded", sa.BigInteger, nullable=False),
        sa.Column("dropped", sa.BigInteger, nullable=False),
        sa.Column("discarded", sa.BigInteger, nullable=False),
        sa.Column("undecided", sa.BigInteger, nullable=False),
        sa.Column("undelivered", sa.BigInteger, nullable=False),
        sa.Column("waiting", sa.BigInteger, nullable=False),
        sa.Column("dead_letters", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("in_erpnext", sa.BigInteger, nullable=True),
        sa.Column("missing", sa.BigInteger, nullable=False),
        sa.Column("gaps", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("day", "device_id", "site"),
        sqlite_with_rowid=False,
    )
