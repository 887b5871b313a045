"""The table of metrics: a name that is not in it cannot be counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

from attendance.health import PORTS

Name = Literal[
    "punchstream_events_received_total",
    "punchstream_requests_refused_total",
    "punchstream_knocks_total",
    "punchstream_request_seconds",
    "punchstream_in_flight_bytes",
    "punchstream_receiving_bytes",
    "punchstream_connections",
    "punchstream_connections_closed_total",
    "punchstream_outcomes_total",
    "punchstream_waiting",
    "punchstream_waiting_users",
    "punchstream_waiting_punches",
    "punchstream_dead_letters_total",
    "punchstream_user_map_entries",
    "punchstream_directory_syncs_total",
    "punchstream_directory_synced_timestamp_seconds",
    "punchstream_deliveries_total",
    "punchstream_sent_back_total",
    "punchstream_delivery_seconds",
    "punchstream_target_errors_total",
    "punchstream_target_available",
    "punchstream_sink_in_flight",
    "punchstream_sink_concurrency",
    "punchstream_sink_suspects",
    "punchstream_sink_stopped",
    "punchstream_late_deliveries_total",
    "punchstream_lateness_unknown_total",
    "punchstream_shift_complete_timestamp_seconds",
    "punchstream_shift_last_sync_ahead",
    "punchstream_attendance_days_total",
    "punchstream_other_events_total",
    "punchstream_unread_total",
    "punchstream_unread_shortened_total",
    "punchstream_unread_expires_timestamp_seconds",
    "punchstream_dead_letters_expire_timestamp_seconds",
    "punchstream_clocks_off",
    "punchstream_pulls_total",
    "punchstream_pull_seconds",
    "punchstream_pull_devices",
    "punchstream_pull_behind_timestamp_seconds",
    "punchstream_build_info",
    "punchstream_lag_records",
    "punchstream_lag_seconds",
    "punchstream_retention_seconds",
    "punchstream_standing_still",
    "punchstream_records_missing",
    "punchstream_ledger_behind_records",
    "punchstream_ledger_behind_seconds",
    "punchstream_reconciled_devices_with_gap",
    "punchstream_reconciled_missing_punches",
    "punchstream_reconciled_until_timestamp_seconds",
    "punchstream_silent_devices",
    "punchstream_audit_balanced",
    "punchstream_audit_timestamp_seconds",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is: kind, meaning, labels, and the stages that export it."""

    kind: type[Counter] | type[Gauge] | type[Histogram]
    meaning: str
    labels: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()


TABLE: Final[Mapping[Name, Metric]] = {
    "punchstream_events_received_total": Metric(
        Counter,
        "Raw events that Kafka acknowledged.",
        ("site", "adapter", "transport"),
        stages=("push", "pull"),
    ),
    "punchstream_requests_refused_total": Metric(
        Counter, "Requests that were answered other than 200.", ("reason",), stages=("push",)
    ),
    "punchstream_knocks_total": Metric(
        Counter,
        "Requests that were turned away: at a path that is not served, refused for what the sender did, or no HTTP;"
        " and what most likely sent them.",
        ("cause", "sender"),
        stages=("push",),
    ),
    "punchstream_request_seconds": Metric(Histogram, "From a request's first byte to its answer.", stages=("push",)),
    "punchstream_in_flight_bytes": Metric(Gauge, "Bytes that wait for Kafka's acknowledgement.", stages=("push",)),
    "punchstream_receiving_bytes": Metric(
        Gauge, "Bytes of requests that are being received or wait for their answer.", stages=("push",)
    ),
    "punchstream_connections": Metric(Gauge, "Connections that are open.", stages=("push",)),
    "punchstream_connections_closed_total": Metric(
        Counter,
        "Connections that were closed to make room for others: `idle` ones, those with half a `head` or half a `body`,"
        " and `refused` ones, for which none of the others could be closed.",
        ("cause",),
        stages=("push",),
    ),
    "punchstream_outcomes_total": Metric(
        Counter,
        "Decisions of the stream: `checkin`, `duplicate`, `repeat`, `unmapped_user`, `employee_inactive`,"
        " `before_joining`, `dead_letter`; `released` ones were counted as waiting before.",
        ("outcome",),
        stages=("stream",),
    ),
    "punchstream_waiting": Metric(
        Gauge,
        "Punches that wait for a mapping or until their employee may check in, in this process's share.",
        ("reason",),
        stages=("stream",),
    ),
    "punchstream_waiting_users": Metric(
        Gauge,
        "Device users whose punches wait, in this process's share; the hundred devices that have most of them.",
        ("device_id",),
        stages=("stream",),
    ),
    "punchstream_waiting_punches": Metric(
        Gauge, "Punches that wait, of the same devices, in this process's share.", ("device_id",), stages=("stream",)
    ),
    "punchstream_dead_letters_total": Metric(
        Counter,
        "Dead letters that Kafka acknowledged.",
        ("stage", "reason"),
        stages=("push", "pull", "stream", "sink"),
    ),
    "punchstream_user_map_entries": Metric(
        Gauge, "Entries of the user map in memory: employees and mappings.", ("kind",), stages=("directory",)
    ),
    "punchstream_directory_syncs_total": Metric(
        Counter,
        "Looks at the directory: `ok`, `unavailable`, `refused`, `removal_refused`.",
        ("result",),
        stages=("directory",),
    ),
    "punchstream_directory_synced_timestamp_seconds": Metric(
        Gauge,
        "When the user map last agreed with the directory, seconds since the epoch.",
        stages=("directory",),
    ),
    "punchstream_deliveries_total": Metric(
        Counter,
        "Check-ins that the target holds: `created`, `already_there`, `replaced`.",
        ("status",),
        stages=("sink",),
    ),
    "punchstream_sent_back_total": Metric(
        Counter,
        "Check-ins whose punch waits again, because of their employee in the target.",
        ("reason",),
        stages=("sink",),
    ),
    "punchstream_delivery_seconds": Metric(Histogram, "One request to the target, answered or not.", stages=("sink",)),
    "punchstream_target_errors_total": Metric(
        Counter,
        "Requests that the target did not accept: `unavailable`, `refused`; of one check-in alone `fault`,"
        " `forbidden`.",
        ("kind",),
        stages=("sink",),
    ),
    "punchstream_target_available": Metric(
        Gauge, "1 while the target answers, lets us in and is delivered to.", stages=("sink",)
    ),
    "punchstream_sink_in_flight": Metric(Gauge, "Check-ins fetched and not yet delivered.", stages=("sink",)),
    "punchstream_sink_concurrency": Metric(
        Gauge,
        "Requests to the target that may be under way together, as its answers allow.",
        stages=("sink",),
    ),
    "punchstream_sink_suspects": Metric(
        Gauge,
        "Employees on whose check-ins the target failed: theirs are tried alone, and the others do not wait.",
        stages=("sink",),
    ),
    "punchstream_sink_stopped": Metric(
        Gauge, "1 while so much fails that no more dead letters are written.", stages=("sink",)
    ),
    "punchstream_late_deliveries_total": Metric(
        Counter,
        "Deliveries that came after their shift's day was closed.",
        ("shift_type",),
        stages=("sink",),
    ),
    "punchstream_lateness_unknown_total": Metric(
        Counter,
        "Deliveries of which ERPNext could not be asked whether they came late; `punchstream audit --late` asks it.",
        stages=("sink",),
    ),
    "punchstream_shift_complete_timestamp_seconds": Metric(
        Gauge,
        "Up to when every device of a shift is complete, seconds since the epoch, 0 for never; and the device that"
        " holds it back most, once that is overdue.",
        ("shift_type", "held_by"),
        stages=("completeness",),
    ),
    "punchstream_shift_last_sync_ahead": Metric(
        Gauge,
        "1 while something else moves the last sync of a shift in ERPNext, or moved it further than its devices have"
        " claimed.",
        ("shift_type",),
        stages=("completeness",),
    ),
    "punchstream_attendance_days_total": Metric(
        Counter,
        "Days that became an Attendance directly: `written`, `corrected`, `already_there`; or `refused`, and why.",
        ("outcome", "reason"),
        stages=("completeness",),
    ),
    "punchstream_other_events_total": Metric(
        Counter,
        "What devices sent that is no punch, such as strangers and doors, and Kafka acknowledged.",
        ("adapter", "kind"),
        stages=("push", "pull"),
    ),
    "punchstream_unread_total": Metric(
        Counter,
        "Requests, and records of pages, that no adapter understood and Kafka has whole.",
        ("adapter", "transport"),
        stages=("push", "pull"),
    ),
    "punchstream_unread_shortened_total": Metric(
        Counter,
        "Requests among these that could not be kept whole and came again and again: they are kept without what is"
        " `too_large`, or what is `no_text`.",
        ("adapter", "part"),
        stages=("push",),
    ),
    "punchstream_unread_expires_timestamp_seconds": Metric(
        Gauge,
        "When the first unread request will be deleted of those with which nobody has done anything, seconds since the"
        " epoch; 0 where that is more than 30 days ahead.",
        stages=("push", "pull"),
    ),
    "punchstream_dead_letters_expire_timestamp_seconds": Metric(
        Gauge,
        "When the first dead letter will be deleted of those with which nobody has dealt, seconds since the epoch; 0"
        " where that is more than 30 days ahead.",
        stages=("push", "pull"),
    ),
    "punchstream_clocks_off": Metric(
        Gauge,
        "Devices whose clock is off by more than a minute, by what they say; the log names them.",
        stages=("push", "pull"),
    ),
    "punchstream_pulls_total": Metric(
        Counter,
        "Times that a device was asked: for what is new (`fetch`), or by the nightly `sweep`; `ok`, `unavailable`,"
        " `unreadable`, `refused` or `failed`.",
        ("adapter", "kind", "result"),
        stages=("pull",),
    ),
    "punchstream_pull_seconds": Metric(
        Histogram,
        "From the first question to a device to its last page in Kafka.",
        ("adapter",),
        stages=("pull",),
    ),
    "punchstream_pull_devices": Metric(
        Gauge,
        "Devices that this process asks, by what became of the last time; `new` ones were not asked yet.",
        ("state",),
        stages=("pull",),
    ),
    "punchstream_pull_behind_timestamp_seconds": Metric(
        Gauge,
        "When a device that is behind, for three intervals and five minutes of the working hours of its site, last"
        " answered, seconds since the epoch; the hundred that are behind most.",
        ("device_id",),
        stages=("pull",),
    ),
    "punchstream_build_info": Metric(
        Gauge,
        "1: which stage this process is, its version, and that of Python. Beside it are the `process_` metrics of"
        " Prometheus' client: CPU, memory, open files, start.",
        ("stage", "version", "python"),
        stages=tuple(PORTS),
    ),
    "punchstream_lag_records": Metric(
        Gauge,
        "Records of the topic that the stage has not done and committed yet, in this process's share.",
        ("topic",),
        stages=("stream", "sink"),
    ),
    "punchstream_lag_seconds": Metric(
        Gauge,
        "The age of the oldest of them; 0 where all of them came within the last quarter of a minute.",
        ("topic",),
        stages=("stream", "sink"),
    ),
    "punchstream_retention_seconds": Metric(
        Gauge,
        "How long Kafka keeps a record of the topic at least, as `KAFKA_RETENTION_DAYS` says. One that lags for longer"
        " is gone.",
        ("topic",),
        stages=("stream", "sink"),
    ),
    "punchstream_standing_still": Metric(
        Gauge,
        "1 while the stage stands still, and why: its `topics`, `offsets`, `clock`, `fleet`; the log says what to do.",
        ("cause",),
        stages=("push", "pull", "directory", "stream", "sink", "completeness", "ledger"),
    ),
    "punchstream_records_missing": Metric(
        Gauge,
        "Records that are gone from a partition before the stage had read them, as far as they are known of.",
        ("topic", "partition"),
        stages=("stream", "sink", "completeness"),
    ),
    "punchstream_ledger_behind_records": Metric(
        Gauge, "Records on the topics that are not in the ledger yet.", stages=("ledger",)
    ),
    "punchstream_ledger_behind_seconds": Metric(
        Gauge,
        "The age of the oldest record of the last batch, while records are not in the ledger yet; and how long ago the"
        " ledger could look, if that is longer than a minute.",
        stages=("ledger",),
    ),
    "punchstream_reconciled_devices_with_gap": Metric(
        Gauge, "Devices with a gap on the newest day that was reconciled.", ("site",), stages=("ledger",)
    ),
    "punchstream_reconciled_missing_punches": Metric(
        Gauge,
        "Punches of these gaps, as far as their number is known. The table `reconciled_devices` has them by device.",
        ("site",),
        stages=("ledger",),
    ),
    "punchstream_reconciled_until_timestamp_seconds": Metric(
        Gauge, "The end of the newest day that was reconciled, seconds since the epoch.", ("site",), stages=("ledger",)
    ),
    "punchstream_silent_devices": Metric(
        Gauge,
        "Devices that were not heard for `CONSOLE_SILENT_AFTER` of the working hours of their site. One that was"
        " never heard is not among them. Nothing is shown while the ledger is more than five minutes behind.",
        ("site",),
        stages=("console",),
    ),
    "punchstream_audit_balanced": Metric(
        Gauge,
        "1 where the last audit found that every raw event has one outcome, and with `--against-erpnext` that ERPNext"
        " has what was delivered. `punchstream audit --metrics FILE` writes it.",
    ),
    "punchstream_audit_timestamp_seconds": Metric(
        Gauge, "When that audit ended, seconds since the epoch. It is in the same file."
    ),
}
