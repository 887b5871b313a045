"""Who gave a punch its time, and an index by which what supersedes a punch is found."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the index."""
    for name, kind in (("by", sa.Text), ("at", sa.BigInteger), ("note", sa.Text), ("instead_of", sa.BigInteger)):
        op.add_column("raw_records", sa.Column(f"time_given_{name}", kind, nullable=True))
    is_one = sa.text("supersedes is not null")
    op.create_index(
        "raw_records_supersedes", "raw_records", ["supersedes"], sqlite_where=is_one, postgresql_where=is_one
    )
