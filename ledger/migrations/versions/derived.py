"""What is concluded from rows and kept beside them, with the indexes by which it is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_PLACE = "kafka_partition", "kafka_offset"


def upgrade() -> None:
    """Make the table, the columns and the indexes, and conclude everything from the rows that are there."""
    op.create_table(
        "not_delivered",
        sa.Column("kafka_partition", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=True),
        sa.Column("event_time", sa.BigInteger, nullable=True),
        sa.Column("site", sa.Text, nullable=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(*_PLACE),
        sqlite_with_rowid=False,
    )
    columns = "kafka_partition, kafka_offset, event_id, event_time, site, outcome"
    op.execute(f"insert into not_delivered ({columns}) select {columns} from punches where outcome <> 'delivered'")  # noqa: S608
    op.create_index("not_delivered_event_id", "not_delivered", ["event_id"])
    order = ["outcome", "event_time", *_PLACE, "site"]
    op.create_index("not_delivered_outcome_event_time", "not_delivered", order)

    op.drop_index("raw_records_event_time", "raw_records")
    op.create_index("raw_records_event_time_site", "raw_records", ["event_time", "site"])

    op.add_column("waiting", sa.Column("is_newest", sa.Boolean, nullable=False, server_default=sa.true()))
    op.execute(
        "update waiting set is_newest = false where exists (select 1 from waiting newer where newer.event_id ="
        " waiting.event_id and (newer.kafka_partition, newer.kafka_offset)"
        " > (waiting.kafka_partition, waiting.kafka_offset))"
    )
    op.drop_index("waiting_site_device_user_id_reason", "waiting")
    op.drop_index("waiting_device_id", "waiting")
    _index_newest("waiting_by_line", "site", "device_user_id", "reason", "device_id")
    _index_newest("waiting_by_device", "device_id", "site", "device_user_id")
    _index_newest("waiting_by_reason", "reason", "site")
    _index_where("waiting_employee", "waiting", ["employee"], "employee is not null")

    op.add_column("dead_letters", sa.Column("last_action", sa.Text, nullable=True))
    op.execute(
        "update dead_letters set last_action = (select action from dead_letter_actions a"
        " where a.letter_partition = dead_letters.kafka_partition and a.letter_offset = dead_letters.kafka_offset"
        " order by a.kafka_partition desc, a.kafka_offset desc limit 1)"
    )
    of_open = ["stage", "reason", "device_id", "replay_count", "failed_at", "last_action"]
    _index_where("dead_letters_open", "dead_letters", of_open, "last_action is null")
    _index_where("dead_letters_employee", "dead_letters", ["employee"], "employee is not null")


def _index_newest(name: str, *columns: str) -> None:
    every = [*columns, "event_time", "waiting_since", "is_newest"]
    lite, server = sa.text("is_newest = 1"), sa.text("is_newest")
    op.create_index(name, "waiting", every, sqlite_where=lite, postgresql_where=server)


def _index_where(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
