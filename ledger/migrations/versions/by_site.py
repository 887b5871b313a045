"""Indexes by which a site is counted, a line of what waits has its devices, and a day of a device is found."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("raw_records_site_event_time", "raw_records", ["site", "event_time"])

    op.drop_index("waiting_by_line", "waiting")
    line = ["site", "device_user_id", "reason", "device_id", "employee", "kafka_offset"]
    every = [*line, "event_time", "waiting_since", "is_newest"]
    lite, server = sa.text("is_newest = 1"), sa.text("is_newest")
    op.create_index("waiting_by_line", "waiting", every, sqlite_where=lite, postgresql_where=server)

    op.create_index("reconciled_devices_device_id_day", "reconciled_devices", ["device_id", "day"])
    has_gap = sa.text("gaps <> ''")
    of_gaps = ["day", "device_id", "site"]
    op.create_index(
        "reconciled_devices_with_gap", "reconciled_devices", of_gaps, sqlite_where=has_gap, postgresql_where=has_gap
    )
