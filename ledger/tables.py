"""The tables of the ledger. Those of facts have the columns of `operations.facts`, in the same order.

Behind these columns a table may have some that `ledger.derived` keeps.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, Table, Text, text, true

from operations import facts

METADATA: Final = MetaData()


def _text(name: str, *, null: bool = False) -> "Column[str]":
    return Column(name, Text, nullable=null)


def _number(name: str, *, null: bool = False) -> "Column[int]":
    return Column(name, BigInteger, nullable=null)


def _where_not_null(name: str, column: str) -> Index:
    """An index of a column that few rows have, and that costs the others nothing."""
    condition = text(f"{column} is not null")
    return Index(name, column, sqlite_where=condition, postgresql_where=condition)


def _of_newest(name: str, *columns: str) -> Index:
    """An index of what waits, with everything that a count of it needs."""
    # SQLite reads the row for a column that only the condition of the index has.
    every = *columns, "event_time", "waiting_since", "is_newest"
    return Index(name, *every, sqlite_where=text("is_newest = 1"), postgresql_where=text("is_newest"))


def _place() -> tuple["Column[int]", "Column[int]"]:
    """Where the record is, which is the key of its row."""
    return (
        Column("kafka_partition", BigInteger, primary_key=True, autoincrement=False),
        Column("kafka_offset", BigInteger, primary_key=True, autoincrement=False),
    )


RAW_RECORDS: Final = Table(
    "raw_records",
    METADATA,
    *_place(),
    _text("event_id", null=True),
    _text("device_id"),
    _text("device_user_id", null=True),
    _text("site", null=True),
    _text("event_type", null=True),
    _number("event_time", null=True),
    _text("device_time", null=True),
    _text("device_timezone", null=True),
    _number("received_at", null=True),
    _number("stored_at"),
    _text("transport", null=True),
    _text("adapter", null=True),
    _number("sequence", null=True),
    _number("clock_skew", null=True),
    _text("supersedes", null=True),
    _number("copy_partition", null=True),
    _number("copy_offset", null=True),
    _text("time_given_by", null=True),
    _number("time_given_at", null=True),
    _text("time_given_note", null=True),
    _number("time_given_instead_of", null=True),
    Index("raw_records_event_id", "event_id"),
    _where_not_null("raw_records_supersedes", "supersedes"),
    Index("raw_records_device_id_event_time", "device_id", "event_time"),
    Index("raw_records_event_time_site", "event_time", "site"),
    Index("raw_records_site_event_time", "site", "event_time"),
    sqlite_with_rowid=False,
)
DROPPED: Final = Table(
    "dropped",
    METADATA,
    *_place(),
    _text("event_id"),
    _text("kept_event_id"),
    _text("reason"),
    _text("device_id"),
    _text("device_user_id"),
    _number("event_time"),
    _number("decided_at"),
    _number("raw_partition", null=True),
    _number("raw_offset", null=True),
    Index("dropped_event_id", "event_id"),
    Index("dropped_raw_record", "raw_partition", "raw_offset"),
    sqlite_with_rowid=False,
)
CHECKINS: Final = Table(
    "checkins",
    METADATA,
    *_place(),
    _text("event_id"),
    _text("employee"),
    _text("device_id"),
    _text("device_user_id"),
    _text("site"),
    _text("log_type"),
    _number("event_time"),
    _text("device_timezone"),
    _number("decided_at"),
    _number("raw_partition", null=True),
    _number("raw_offset", null=True),
    _text("supersedes", null=True),
    Index("checkins_event_id", "event_id"),
    Index("checkins_employee_event_time", "employee", "event_time"),
    _where_not_null("checkins_supersedes", "supersedes"),
    sqlite_with_rowid=False,
)
DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    *_place(),
    _text("event_id"),
    _text("employee"),
    _text("document"),
    _text("status"),
    _text("target"),
    _number("delivered_at"),
    _number("attempts"),
    Column("is_late", Boolean, nullable=False),
    _text("late_shift_type", null=True),
    _text("late_date", null=True),
    _text("supersedes", null=True),
    _text("removed", null=True),
    Index("deliveries_event_id", "event_id"),
    sqlite_with_rowid=False,
)
WAITING: Final = Table(
    "waiting",
    METADATA,
    Column("kafka_partition", BigInteger, primary_key=True, autoincrement=False),
    _number("kafka_offset"),
    Column("wait_key", Text, primary_key=True),
    _text("event_id"),
    _text("reason"),
    _text("employee", null=True),
    _text("device_id"),
    _text("device_user_id"),
    _text("site"),
    _number("event_time", null=True),
    _number("waiting_since"),
    _text("message", null=True),
    Column("is_newest", Boolean, nullable=False, server_default=true()),
    Index("waiting_event_id", "event_id"),
    _where_not_null("waiting_employee", "employee"),
    _of_newest("waiting_by_line", "site", "device_user_id", "reason", "device_id", "employee", "kafka_offset"),
    _of_newest("waiting_by_device", "device_id", "site", "device_user_id"),
    _of_newest("waiting_by_reason", "reason", "site"),
    sqlite_with_rowid=False,
)
DISCARDS: Final = Table(
    "discards",
    METADATA,
    *_place(),
    Column("event_id", Text, primary_key=True),
    _text("device_id"),
    _number("stored_at"),
    _number("done_at"),
    _text("done_by"),
    _text("note"),
    Index("discards_event_id", "event_id"),
    sqlite_with_rowid=False,
)
DEAD_LETTERS: Final = Table(
    "dead_letters",
    METADATA,
    *_place(),
    _text("stage"),
    _text("reason"),
    _text("message"),
    _number("failed_at"),
    _number("stored_at"),
    _number("attempts"),
    _number("replay_count"),
    _text("failed_topic", null=True),
    _number("failed_partition", null=True),
    _number("failed_offset", null=True),
    _number("failed_stored_at", null=True),
    _text("failed_where", null=True),
    _text("event_id", null=True),
    _text("device_id", null=True),
    _text("device_user_id", null=True),
    _text("employee", null=True),
    _text("last_action", null=True),
    Index("dead_letters_event_id", "event_id"),
    _where_not_null("dead_letters_employee", "employee"),
    Index(
        "dead_letters_open",
        *("stage", "reason", "device_id", "replay_count", "failed_at", "last_action"),
        sqlite_where=text("last_action is null"),
        postgresql_where=text("last_action is null"),
    ),
    Index("dead_letters_device_id_failed_at", "device_id", "failed_at"),
    Index("dead_letters_failed_record", "failed_topic", "failed_partition", "failed_offset"),
    sqlite_with_rowid=False,
)
DEAD_LETTER_ACTIONS: Final = Table(
    "dead_letter_actions",
    METADATA,
    *_place(),
    _number("letter_partition"),
    _number("letter_offset"),
    _text("action"),
    _number("done_at"),
    _text("done_by"),
    _text("note", null=True),
    Index("dead_letter_actions_letter", "letter_partition", "letter_offset"),
    sqlite_with_rowid=False,
)
NOT_DELIVERED: Final = Table(
    "not_delivered",
    METADATA,
    *_place(),
    _text("event_id", null=True),
    _number("event_time", null=True),
    _text("site", null=True),
    _text("outcome"),
    Index("not_delivered_event_id", "event_id"),
    Index("not_delivered_outcome_event_time", "outcome", "event_time", "kafka_partition", "kafka_offset", "site"),
    sqlite_with_rowid=False,
)
DEVICE_STATUS: Final = Table(
    "device_status",
    METADATA,
    Column("kafka_partition", BigInteger, primary_key=True, autoincrement=False),
    _number("kafka_offset"),
    Column("device_id", Text, primary_key=True),
    _number("heard_at"),
    _number("stored_at"),
    _number("last_event", null=True),
    _number("pending", null=True),
    _number("complete_until", null=True),
    _number("last_sequence", null=True),
    _number("clock_skew", null=True),
    _number("clock_measured_at", null=True),
    _text("details"),
    sqlite_with_rowid=False,
)
UNREADABLE: Final = Table(
    "unreadable",
    METADATA,
    Column("topic", Text, primary_key=True),
    *_place(),
    _number("stored_at"),
    _text("error"),
    sqlite_with_rowid=False,
)
ERASED: Final = Table(
    "erased",
    METADATA,
    Column("digest", Text, primary_key=True),
    _number("until"),
    sqlite_with_rowid=False,
)
POSITIONS: Final = Table(
    "positions",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("kafka_partition", BigInteger, primary_key=True, autoincrement=False),
    _number("next_offset"),
    _number("read_at"),
    _number("last_offset", null=True),
    _number("last_stored_at", null=True),
    _text("last_digest", null=True),
    sqlite_with_rowid=False,
)

CAUGHT_UP: Final = Table(
    "caught_up",
    METADATA,
    Column("topic", Text, primary_key=True),
    _number("as_of"),
    sqlite_with_rowid=False,
)

RECONCILIATIONS: Final = Table(
    "reconciliations",
    METADATA,
    Column("site", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    _number("reconciled_at"),
    _number("devices"),
    _number("devices_with_gap"),
    _number("missing"),
    _text("problem", null=True),
    sqlite_with_rowid=False,
)
RECONCILED_DEVICES: Final = Table(
    "reconciled_devices",
    METADATA,
    Column("day", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("site", Text, primary_key=True),
    _text("timezone"),
    _number("reconciled_at"),
    _number("counted", null=True),
    _number("complete_until", null=True),
    _number("raw_records"),
    _number("punches"),
    _number("delivered"),
    _number("superseded"),
    _number("dropped"),
    _number("discarded"),
    _number("undecided"),
    _number("undelivered"),
    _number("waiting"),
    _number("dead_letters"),
    _number("rejected"),
    _number("in_erpnext", null=True),
    _number("missing"),
    _text("gaps"),
    Index("reconciled_devices_device_id_day", "device_id", "day"),
    Index(
        "reconciled_devices_with_gap",
        *("day", "device_id", "site"),
        sqlite_where=text("gaps <> ''"),
        postgresql_where=text("gaps <> ''"),
    ),
    sqlite_with_rowid=False,
)

FACTS: Final[Mapping[type[facts.Fact], Table]] = {
    facts.RawFact: RAW_RECORDS,
    facts.DroppedFact: DROPPED,
    facts.CheckinFact: CHECKINS,
    facts.DeliveryFact: DELIVERIES,
    facts.WaitingFact: WAITING,
    facts.DiscardFact: DISCARDS,
    facts.LetterFact: DEAD_LETTERS,
    facts.ActionFact: DEAD_LETTER_ACTIONS,
    facts.StatusFact: DEVICE_STATUS,
    facts.Unreadable: UNREADABLE,
}
"""Where each kind of fact is."""

STORED_AT: Final[Mapping[str, str]] = {
    "raw_records": "stored_at",
    "dropped": "decided_at",
    "checkins": "decided_at",
    "deliveries": "delivered_at",
    "discards": "stored_at",
    "dead_letters": "stored_at",
    "dead_letter_actions": "done_at",
    "unreadable": "stored_at",
}
"""By table the column by which its rows are too old. What waits, a dead letter about which nothing was done,
and what a device says of itself is never too old."""
