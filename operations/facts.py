"""Facts: what single records say of punches and devices, each as one flat row.

The ledger stores them; a trace and lists are made of them. A fact depends on its record alone. So it is the same
whenever it is made, and whatever was read before it. Instants are milliseconds since the epoch, UTC.
"""

from typing import Final, NamedTuple

from attendance.topics import Name

OF_PUNCHES: Final[tuple[Name, ...]] = (
    "raw",
    "checkins",
    "dropped",
    "unmapped",
    "deliveries",
    "dead_letters",
    "dead_letter_actions",
)
"""The topics that say what became of punches."""
FACT_TOPICS: Final[tuple[Name, ...]] = (*OF_PUNCHES, "device_status")
"""The topics of whose records facts are made."""


class RawFact(NamedTuple):
    """A raw record. What cannot be read has no `event_id`."""

    kafka_partition: int
    kafka_offset: int
    event_id: str | None
    device_id: str
    device_user_id: str | None
    site: str | None
    event_type: str | None
    event_time: int | None
    device_time: str | None
    device_timezone: str | None
    received_at: int | None
    stored_at: int
    transport: str | None
    adapter: str | None
    sequence: int | None
    clock_skew: int | None
    supersedes: str | None
    copy_partition: int | None
    copy_offset: int | None
    time_given_by: str | None
    time_given_at: int | None
    time_given_note: str | None
    time_given_instead_of: int | None


class DroppedFact(NamedTuple):
    """A raw record was a duplicate or a repeat of a punch that was kept."""

    kafka_partition: int
    kafka_offset: int
    event_id: str
    kept_event_id: str
    reason: str
    device_id: str
    device_user_id: str
    event_time: int
    decided_at: int
    raw_partition: int | None
    raw_offset: int | None


class CheckinFact(NamedTuple):
    """The employee of a punch is known."""

    kafka_partition: int
    kafka_offset: int
    event_id: str
    employee: str
    device_id: str
    device_user_id: str
    site: str
    log_type: str
    event_time: int
    device_timezone: str
    decided_at: int
    raw_partition: int | None
    raw_offset: int | None
    supersedes: str | None


class DeliveryFact(NamedTuple):
    """What the target answered."""

    kafka_partition: int
    kafka_offset: int
    event_id: str
    employee: str
    document: str
    status: str
    target: str
    delivered_at: int
    attempts: int
    is_late: bool
    late_shift_type: str | None
    late_date: str | None
    supersedes: str | None
    removed: str | None


class WaitingFact(NamedTuple):
    """A punch waits. The next record of its `wait_key` takes its place."""

    kafka_partition: int
    kafka_offset: int
    wait_key: str
    event_id: str
    reason: str
    employee: str | None
    device_id: str
    device_user_id: str
    site: str
    event_time: int | None
    waiting_since: int
    message: str | None


class WaitingEnded(NamedTuple):
    """Nothing waits under this key any more."""

    kafka_partition: int
    wait_key: str


class DiscardFact(NamedTuple):
    """A person said that nothing more is to come of a punch that waited."""

    kafka_partition: int
    kafka_offset: int
    event_id: str
    device_id: str
    stored_at: int
    done_at: int
    done_by: str
    note: str


class LetterFact(NamedTuple):
    """A dead letter. `failed_topic` is `raw.v1`, `checkins.v1` or None, without the prefix."""

    kafka_partition: int
    kafka_offset: int
    stage: str
    reason: str
    message: str
    failed_at: int
    stored_at: int
    attempts: int
    replay_count: int
    failed_topic: str | None
    failed_partition: int | None
    failed_offset: int | None
    failed_stored_at: int | None
    failed_where: str | None
    event_id: str | None
    device_id: str | None
    device_user_id: str | None
    employee: str | None


class ActionFact(NamedTuple):
    """A dead letter was replayed or discarded."""

    kafka_partition: int
    kafka_offset: int
    letter_partition: int
    letter_offset: int
    action: str
    done_at: int
    done_by: str
    note: str | None


class StatusFact(NamedTuple):
    """What a device said of itself. The next record of the device takes its place.

    `details` are a JSON object. What the next record does not say of them stands.
    """

    kafka_partition: int
    kafka_offset: int
    device_id: str
    heard_at: int
    stored_at: int
    last_event: int | None
    pending: int | None
    complete_until: int | None
    last_sequence: int | None
    clock_skew: int | None
    clock_measured_at: int | None
    details: str


class Unreadable(NamedTuple):
    """A record that is not what its topic holds. Of the raw topic there is a `RawFact` instead."""

    topic: str
    kafka_partition: int
    kafka_offset: int
    stored_at: int
    error: str


Fact = (
    RawFact
    | DroppedFact
    | CheckinFact
    | DeliveryFact
    | WaitingFact
    | WaitingEnded
    | DiscardFact
    | LetterFact
    | ActionFact
    | StatusFact
    | Unreadable
)
