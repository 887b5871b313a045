"""Indexes by which what waits is listed, by user and by device."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("waiting_site_device_user_id_reason", "waiting", ["site", "device_user_id", "reason"])
    op.create_index("waiting_device_id", "waiting", ["device_id"])
