"""Indexes by which the day of a device is found: what was rejected, and what was corrected."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("dead_letters_device_id_failed_at", "dead_letters", ["device_id", "failed_at"])
    is_one = sa.text("supersedes is not null")
    op.create_index("checkins_supersedes", "checkins", ["supersedes"], sqlite_where=is_one, postgresql_where=is_one)
