"""The topics: names, keys, partitions, retention. Nothing else spells them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from attendance.kafka.records import MAX_RECORD_BYTES

Name = Literal[
    "raw",
    "user_map",
    "checkins",
    "dropped",
    "unmapped",
    "dead_letters",
    "dead_letter_actions",
    "jobs",
    "deliveries",
    "attendance_days",
    "attendance_progress",
    "dedup_state",
    "device_status",
    "sequences",
    "other_events",
    "unread",
    "cursors",
    "terminals",
    "site",
    "fleet",
    "accounts",
    "console_users",
    "console_activity",
    "probe",
]

WANTED_REPLICAS: Final = 3
HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS
FOREVER: Final = -1
REMOVALS_KEPT_MS: Final = DAY_MS
"""How long a compacted topic has to keep removals. Whoever follows it reads it whole after a quarter of that away."""

EMBEDDED_CLUSTER: Final = "punchstream-embedded"
"""The cluster id of the embedded broker, which has no configuration to compare."""

COMPACTED_AFTER_MS: Final = 7 * DAY_MS
"""So long after a newer record of its key, or a removal, a compacted topic lets go of a value at the latest."""

RetentionSetting = Literal["KAFKA_RETENTION_DAYS", "UNREAD_DAYS", "DEAD_LETTER_DAYS"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it is created.

    `partitions` None means the setting `KAFKA_PARTITIONS`, `retention_ms` None the setting `retention_setting`.
    `segment_bytes` is for a compacted topic that is read from its beginning again and again: only closed segments are
    compacted. None leaves it to the broker.
    """

    suffix: str
    key: str
    holds: str
    cleanup: Literal["delete", "compact"] = "delete"
    keeps_forever: bool = False
    partitions: int | None = None
    retention_ms: int | None = None
    retention_setting: RetentionSetting = "KAFKA_RETENTION_DAYS"
    segment_bytes: int | None = None


TABLE: Final[Mapping[Name, Topic]] = {
    "raw": Topic("raw.v1", "device_id", "every punch as it arrived; the audit trail"),
    "user_map": Topic(
        "user-map.v1",
        "kind, scope, user, source; kind, scope, user; kind, employee; or kind, digest",
        "device users and employees, who is ignored, and that somebody was erased",
        "compact",
        partitions=1,
    ),
    "checkins": Topic("checkins.v1", "employee", "punches whose employee is known"),
    "dropped": Topic("dropped.v1", "device_id", "duplicates and repeats, each naming the punch that was kept"),
    # Partitioned by device user, so that one stream worker holds all that waits for the same mapping.
    "unmapped": Topic(
        "unmapped.v1",
        "event_id; or event_id:partition:offset of a check-in that was sent back; or discard, random",
        "punches that wait: for a mapping, or until the employee may check in; and which were discarded",
        "compact",
    ),
    # Not for ever, so that what they hold of a person has a day on which it goes.
    "dead_letters": Topic(
        "dead-letters.v1", "that of the record", "what failed, and why", retention_setting="DEAD_LETTER_DAYS"
    ),
    # One partition keeps the actions in the order in which they were taken.
    "dead_letter_actions": Topic(
        "dead-letter-actions.v1",
        "partition:offset of the dead letter",
        "replays and discards of dead letters",
        partitions=1,
        retention_setting="DEAD_LETTER_DAYS",
    ),
    # Not compacted: a note or a filter may name a person, and has to go on a day. One partition, whose order says who
    # runs a job.
    "jobs": Topic(
        "jobs.v1",
        "part, job",
        "jobs over dead letters and plans: what was asked, how far it is, and that it is to stop",
        partitions=1,
        retention_setting="DEAD_LETTER_DAYS",
    ),
    "deliveries": Topic("deliveries.v1", "event_id", "what the target answered"),
    "attendance_days": Topic(
        "attendance-days.v1", "employee, shift, date", "days that became an Attendance directly, or were refused"
    ),
    "attendance_progress": Topic(
        "attendance-progress.v1",
        "shift_type",
        "from where the check-ins of a shift are read on",
        "compact",
        partitions=1,
    ),
    # Read by partition beside the raw topic, so both must have the same number of partitions.
    # Kept for ever, so that no punch is ever too old to be decided.
    "dedup_state": Topic(
        "dedup-state.v1", "random", "the punches that were kept: the changelog of the stream", keeps_forever=True
    ),
    "device_status": Topic(
        "device-status.v1", "device_id", "what each device says of itself, and how far it is complete", "compact"
    ),
    "sequences": Topic(
        "sequences.v1",
        "partition of the raw topic",
        "how far devices' record numbers are without a gap",
        "compact",
        partitions=1,
    ),
    "other_events": Topic("other-events.v1", "device_id", "what devices sent that is no punch: strangers, doors"),
    # A topic of its own: it holds what devices wrote as they wrote it, for whoever may read that.
    "unread": Topic(
        "unread.v1", "device_id", "requests and rows that no adapter understood, whole", retention_setting="UNREAD_DAYS"
    ),
    # Each pull process reads its partitions at every rebalance.
    "cursors": Topic(
        "cursors.v1", "device_id", "up to where each device was asked", "compact", segment_bytes=4 * 1024 * 1024
    ),
    "terminals": Topic(
        "terminals.v1",
        "kind, device_id; kind, device_id, command; kind, adapter, serial; or kind, client, cause, sender",
        "stamps, commands, serial numbers that wait for approval, and knocks",
        "compact",
        partitions=1,
    ),
    "site": Topic(
        "site.v1", "fact, address of ERPNext", "what was found out or decided about ERPNext", "compact", partitions=1
    ),
    # One partition: its order says to which source an entry belongs.
    "fleet": Topic(
        "fleet.v1",
        "kind, name, source; or pause, device_id",
        "devices, sites and shifts, as each source lists them; and which devices are paused",
        "compact",
        partitions=1,
    ),
    # One partition: a loss is accepted by a record that comes after the account of the stage that stands still.
    "accounts": Topic(
        "accounts.v1",
        "kind, stage, topic, partition; kind, topic, partition, offset, time; or kind, time",
        "up to where each stage has done its work, losses that were accepted, and adoptions",
        "compact",
        partitions=1,
        segment_bytes=4 * 1024 * 1024,
    ),
    "console_users": Topic(
        "console-users.v1",
        "kind, name; or kind, id",
        "who may use the console, and tokens of its API",
        "compact",
        partitions=1,
    ),
    # One partition keeps the actions in the order in which they were taken.
    "console_activity": Topic("console-activity.v1", "id", "who had the console do what", partitions=1),
    # A topic of its own, so that asking whether Kafka takes records adds none to those that count.
    "probe": Topic(
        "probe.v1",
        "none",
        "trials: does Kafka answer, and what time is it there",
        partitions=1,
        retention_ms=HOUR_MS,
    ),
}


@dataclass(frozen=True, slots=True)
class Topics:
    """The full names under one prefix, such as `attendance.raw.v1`."""

    prefix: str

    def __getitem__(self, name: Name) -> str:
        """The full name of a topic."""
        return _full_name(self.prefix, name)


@cache
def _full_name(prefix: str, name: Name) -> str:
    return f"{prefix}.{TABLE[name].suffix}"


def topic_configs(
    topic: Topic,
    retention_days: int,
    unread_days: int | None = None,
    replicas: int | None = None,
    *,
    dead_letter_days: int | None = None,
) -> dict[str, str]:
    """The topic's configuration at the broker.

    Args:
        topic: The topic.
        retention_days: The setting `KAFKA_RETENTION_DAYS`.
        unread_days: The setting `UNREAD_DAYS`; None where it is not set.
        replicas: Copies of each partition; None where nobody knows.
        dead_letter_days: The setting `DEAD_LETTER_DAYS`; None where it is not set.
    """
    own = {"UNREAD_DAYS": unread_days, "DEAD_LETTER_DAYS": dead_letter_days}
    days = own.get(topic.retention_setting) or retention_days
    # A compacted topic keeps the newest value of each key for ever.
    forever = topic.keeps_forever or topic.cleanup == "compact"
    configs = {
        "cleanup.policy": topic.cleanup,
        "retention.ms": str(FOREVER if forever else topic.retention_ms or days * DAY_MS),
        "retention.bytes": str(FOREVER),
        # By the broker's clock: retention goes by it, and a producer's clock may be years off.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }
    if topic.cleanup == "compact":
        configs["delete.retention.ms"] = str(REMOVALS_KEPT_MS)
        configs["max.compaction.lag.ms"] = str(COMPACTED_AFTER_MS)
    if topic.segment_bytes is not None:
        configs["segment.bytes"] = str(topic.segment_bytes)
    if replicas is not None and replicas >= WANTED_REPLICAS:
        # With acks=all a record then survives the loss of any one broker.
        configs["min.insync.replicas"] = str(replicas - 1)
    return configs


Stage = Literal["push", "pull", "directory", "stream", "sink", "completeness", "ledger", "console"]

USED_BY: Final[Mapping[Stage, frozenset[Name]]] = {
    "push": frozenset(
        (
            "raw",
            "dead_letters",
            "dead_letter_actions",
            "device_status",
            "other_events",
            "unread",
            "terminals",
            "fleet",
            "accounts",
            "probe",
        )
    ),
    "pull": frozenset(
        (
            "raw",
            "dead_letters",
            "dead_letter_actions",
            "device_status",
            "other_events",
            "unread",
            "cursors",
            "fleet",
            "accounts",
            "probe",
        )
    ),
    "directory": frozenset(("user_map", "site", "fleet", "device_status", "cursors", "probe")),
    "stream": frozenset(
        (
            "raw",
            "user_map",
            "unmapped",
            "dedup_state",
            "checkins",
            "dropped",
            "dead_letters",
            "fleet",
            "accounts",
            "probe",
        )
    ),
    "sink": frozenset(
        ("raw", "user_map", "checkins", "site", "unmapped", "dead_letters", "deliveries", "accounts", "probe")
    ),
    "completeness": frozenset(
        (
            "raw",
            "checkins",
            "attendance_days",
            "attendance_progress",
            "device_status",
            "sequences",
            "site",
            "fleet",
            "accounts",
            "probe",
        )
    ),
    "ledger": frozenset(
        (
            "raw",
            "user_map",
            "checkins",
            "dropped",
            "unmapped",
            "deliveries",
            "dead_letters",
            "dead_letter_actions",
            "device_status",
            "accounts",
        )
    ),
    "console": frozenset(
        (
            "raw",
            "user_map",
            "checkins",
            "dropped",
            "unmapped",
            "dead_letters",
            "dead_letter_actions",
            "jobs",
            "deliveries",
            "device_status",
            "other_events",
            "unread",
            "terminals",
            "site",
            "fleet",
            "accounts",
            "console_users",
            "console_activity",
            "probe",
        )
    ),
}
"""The topics that a stage reads or writes, and compares with what it needs."""
