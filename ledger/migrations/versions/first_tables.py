"""The first tables and views of the ledger."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.first_views import VIEWS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make tables, indexes and views."""
    op.create_table(
        "checkins",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("employee", sa.Text, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("device_user_id", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("log_type", sa.Text, nullable=False),
        sa.Column("event_time", sa.BigInteger, nullable=False),
        sa.Column("device_timezone", sa.Text, nullable=False),
        sa.Column("decided_at", sa.BigInteger, nullable=False),
        sa.Column("raw_partition", sa.BigInteger, nullable=True),
        sa.Column("raw_offset", sa.BigInteger, nullable=True),
        sa.Column("supersedes", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("kafka_partition", "kafka_offset"),
        sqlite_with_rowid=False,
    )
    op.create_index("checkins_employee_event_time", "checkins", ["employee", "event_time"])
    op.create_index("checkins_event_id", "checkins", ["event_id"])
    op.create_table(
        "dead_letter_actions",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("letter_partition", sa.BigInteger, nullable=False),
        sa.Column("letter_offset", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("done_at", sa.BigInteger, nullable=False),
        sa.Column("done_by", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("kafka_partition", "kafka_offset"),
        sqlite_with_rowid=False,
    )
    op.create_index("dead_letter_actions_letter", "dead_letter_actions", ["letter_partition", "letter_offset"])
    op.create_table(
        "dead_letters",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("failed_at", sa.BigInteger, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("replay_count", sa.BigInteger, nullable=False),
        sa.Column("failed_topic", sa.Text, nullable=True),
        sa.Column("failed_partition", sa.BigInteger, nullable=True),
        sa.Column("failed_offset", sa.BigInteger, nullable=True),
        sa.Column("failed_stored_at", sa.BigInteger, nullable=True),
        sa.Column("failed_where", sa.Text, nullable=True),
        sa.Column("event_id", sa.Text, nullable=True),
        sa.Column("device_id", sa.Text, nullable=True),
        sa.Column("device_user_id", sa.Text, nullable=True),
        sa.Column("employee", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("kafka_partition", "kafka_offset"),
        sqlite_with_rowid=False,
    )
    op.create_index("dead_letters_event_id", "dead_letters", ["event_id"])
    op.create_index("dead_letters_failed_record", "dead_letters", ["failed_topic", "failed_partition", "failed_offset"])
    op.create_table(
        "deliveries",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("employee", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("delivered_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("is_late", sa.Boolean, nullable=False),
        sa.Column("late_shift_type", sa.Text, nullable=True),
        sa.Column("late_date", sa.Text, nullable=True),
        sa.Column("supersedes", sa.Text, nullable=True),
        sa.Column("removed", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("kafka_partition", "kafka_offset"),
        sqlite_with_rowid=False,
    )
    op.create_index("deliveries_event_id", "deliveries", ["event_id"])
    op.create_table(
        "discards",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("done_at", sa.BigInteger, nullable=False),
        sa.Column("done_by", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kafka_partition", "kafka_offset", "event_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("discards_event_id", "discards", ["event_id"])
    op.create_table(
        "dropped",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("kept_event_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("device_user_id", sa.Text, nullable=False),
        sa.Column("event_time", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.BigInteger, nullable=False),
        sa.Column("raw_partition", sa.BigInteger, nullable=True),
        sa.Column("raw_offset", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("kafka_partition", "kafka_offset"),
        sqlite_with_rowid=False,
    )
    op.create_index("dropped_event_id", "dropped", ["event_id"])
    op.create_index("dropped_raw_record", "dropped", ["raw_partition", "raw_offset"])
    op.create_table(
        "erased",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "positions",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("read_at", sa.BigInteger, nullable=False),
        sa.Column("last_offset", sa.BigInteger, nullable=True),
        sa.Column("last_stored_at", sa.BigInteger, nullable=True),
        sa.Column("last_digest", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("topic", "kafka_partition"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "raw_records",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=True),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("device_user_id", sa.Text, nullable=True),
        sa.Column("site", sa.Text, nullable=True),
        sa.Column("event_type", sa.Text, nullable=True),
        sa.Column("event_time", sa.BigInteger, nullable=True),
        sa.Column("device_time", sa.Text, nullable=True),
        sa.Column("device_timezone", sa.Text, nullable=True),
        sa.Column("received_at", sa.BigInteger, nullable=True),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("transport", sa.Text, nullable=True),
        sa.Column("adapter", sa.Text, nullable=True),
        sa.Column("sequence", sa.BigInteger, nullable=True),
        sa.Column("clock_skew", sa.BigInteger, nullable=True),
        sa.Column("supersedes", sa.Text, nullable=True),
        sa.Column("copy_partition", sa.BigInteger, nullable=True),
        sa.Column("copy_offset", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("kafka_partition", "kafka_offset"),
        sqlite_with_rowid=False,
    )
    op.create_index("raw_records_device_id_event_time", "raw_records", ["device_id", "event_time"])
    op.create_index("raw_records_event_id", "raw_records", ["event_id"])
    op.create_index("raw_records_event_time", "raw_records", ["event_time"])
    op.create_table(
        "unreadable",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("topic", "kafka_partition", "kafka_offset"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "waiting",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, nullable=False),
        sa.Column("wait_key", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("employee", sa.Text, nullable=True),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("device_user_id", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("event_time", sa.BigInteger, nullable=True),
        sa.Column("waiting_since", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("kafka_partition", "wait_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("waiting_event_id", "waiting", ["event_id"])
    for name, query in VIEWS.items():
        op.execute(f"create view {name} as {query}")
