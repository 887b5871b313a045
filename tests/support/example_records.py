"""One record of each kind on each topic, each as its golden file in `tests/golden/records` has it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import OutRecord
from attendance.records.account import AcceptedLoss, Account, Adoption, Ended, Fingerprint, Moved
from attendance.records.activity import Activity
from attendance.records.attendance_day import AttendanceDay, AttendanceProgress
from attendance.records.checkin import Checkin
from attendance.records.console_user import ApiToken, ConsoleUser
from attendance.records.cursor import SavedCursor
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.records.device_status import DeviceStatus
from attendance.records.discard import DiscardedWaiting
from attendance.records.fleet import DevicePause, FleetEntry
from attendance.records.job import AgreedPlan, JobAsked, JobCancel, JobProgress, LettersWanted
from attendance.records.other_event import OtherEvent
from attendance.records.outcomes import Delivery, Dropped, Late, Waiting
from attendance.records.raw_event import RAW_RECORD, GivenTime, RawEvent, Source
from attendance.records.sequences import Counted, Run, Sequences
from attendance.records.site import SiteZone
from attendance.records.terminals import Knock, Order, PendingDevice, Stamps
from attendance.records.unread import UnreadRequest
from attendance.records.user_map import Employee, ErasedEmployee, IgnoredUser, UserMapping
from attendance.sealing import Seal
from attendance.topics import Name, Topics
from streams.ignoring import letter_of_waiting

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "records"
TOPICS: Final = Topics("attendance")
AT: Final = datetime(2026, 1, 1, 5, tzinfo=UTC)
ARRIVED: Final = AT + timedelta(seconds=2, milliseconds=345)
EPOCH: Final = int(AT.timestamp())


class Golden(NamedTuple):
    """A record that a golden file holds."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    partition: int = 3
    offset: int = 78
    timestamp: int = 1_767_243_602_345


def golden(name: str) -> Golden:
    """The record of one golden file."""
    data = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    key, value = (
        bytes.fromhex(data[f"{part}_hex"]) if f"{part}_hex" in data else data[part].encode()
        for part in ("key", "value")
    )
    headers = tuple((header, content.encode()) for header, content in data["headers"])
    return Golden(f"{TOPICS.prefix}.{data['topic']}", key, value, headers)


EVENT: Final = RawEvent(
    device_id="riyadh-01",
    site="riyadh",
    device_user_id="001042",
    event_type="IN",
    event_time=AT,
    device_time="2026-01-01 08:00:00",
    device_timezone="Asia/Riyadh",
    received_at=ARRIVED,
    source=Source("push", "json", "1", "b-1", 0),
    sequence=77,
    payload={"verify_mode": "FACE", "temperature": 36.6, "name": "Zoë"},
)
UNREADABLE: Final = replace(
    EVENT,
    event_time=None,
    device_time="no battery",
    event_type="UNKNOWN",
    sequence=None,
    replayed=True,
    payload={},
    source=Source("sql", "biotime"),
)
CORRECTION: Final = replace(
    EVENT, supersedes="0f" * 16, superseded_document="EMP-CKIN-03-2026-000017", clock_skew=-4200
)
GIVEN: Final = replace(
    EVENT,
    supersedes="0f" * 16,
    given_time=GivenTime(
        "fatima", datetime(2026, 1, 2, 9, tzinfo=UTC), "the clock's battery was empty", AT - timedelta(hours=3)
    ),
)
CHECKIN: Final = Checkin(EVENT.event_id, "HR-EMP-00042", AT, "IN", "riyadh-01", "001042", "riyadh", "Asia/Riyadh")
DROPPED: Final = Dropped(EVENT.event_id, "0f" * 16, Reason.REPEAT, "riyadh-01", "001042", AT, 3, 78)
IGNORED: Final = IgnoredUser("site:riyadh", "7", "5e" * 16, ARRIVED, "fatima", "a visitor")
WAITING: Final = Waiting(EVENT, Reason.UNMAPPED_USER)
DELIVERY: Final = Delivery(EVENT.event_id, "HR-EMP-00042", "EMP-CKIN-03-2026-000017", "created", "erpnext", ARRIVED, 2)
DAY: Final = AttendanceDay(
    *("HR-EMP-00042", "Day Shift", date(2026, 1, 1), "corrected", ARRIVED, "HR-ATT-2026-00017-1", "Half Day"),
    in_time=datetime(2026, 1, 1, 8),  # noqa: DTZ001 - the site's
    out_time=datetime(2026, 1, 1, 11, 30),  # noqa: DTZ001 - the site's
    working_hours=3.5,
    supersedes="HR-ATT-2026-00017",
    modified="2026-01-02 00:10:00.123456",
    zone="Asia/Riyadh",
)
PENDING: Final = PendingDevice(
    "zkteco_adms",
    "SN1",
    "2026-01-01T05:00:02Z",
    "2026-01-01T05:01:02Z",
    7,
    "10.0.0.9",
    {"DeviceType": "att"},
)
KNOCK: Final = Knock(
    client="10.0.0.9",
    cause="not_found",
    sender="zkteco",
    first_seen="2026-01-01T05:00:02Z",
    last_seen="2026-01-01T05:01:02Z",
    requests=7,
    method="GET",
    path="/iclock/cdata.php?SN&options",
    status=404,
    user_agent="iClock Proxy/1.09",
)
ORDER: Final = Order("riyadh-01", "1767243602345", "INFO", "2026-01-01T05:00:02Z")
UNREAD: Final = UnreadRequest(
    unread_id="",
    device_id="riyadh-01",
    site="riyadh",
    adapter="hfsecurity",
    adapter_version="1",
    transport="push",
    received_at=ARRIVED,
    reason=Reason.UNREADABLE_BODY,
    message="no record that is known",
    body=b'{"who":"\xd3\xc3","time":1767243600000,"photo":"[4096 bytes removed]"}',
    method="POST",
    path="/hf/riyadh-01/record",
    route="/hf/{token}/record",
    params={"token": "riyadh-01"},
    query="deviceKey=X05",
    headers={"content-type": "application/json; charset=gbk"},
    removed=("an encoded picture of 4096 bytes",),
    devices=("riyadh-01",),
).with_id()

EXAMPLES: Final[dict[str, tuple[Name, Any]]] = {
    "raw": ("raw", EVENT),
    "raw-unreadable-time": ("raw", UNREADABLE),
    "raw-correction": ("raw", CORRECTION),
    "raw-given-time": ("raw", GIVEN),
    "checkin": ("checkins", CHECKIN),
    "checkin-place": ("checkins", replace(CHECKIN, latitude=24.7136, longitude=-46.5)),
    "checkin-correction": ("checkins", replace(CHECKIN, checkin_time="device_local", supersedes="0f" * 16)),
    "checkin-of-whom": ("checkins", replace(CHECKIN, employee_created="2025-10-28 09:12:44.101523")),
    "dropped": ("dropped", DROPPED),
    "waiting": ("unmapped", WAITING),
    "waiting-inactive": (
        "unmapped",
        Waiting(replace(EVENT, clock_skew=75), Reason.EMPLOYEE_INACTIVE, "HR-EMP-00042"),
    ),
    "waiting-sent-back": (
        "unmapped",
        Waiting(
            EVENT,
            Reason.UNKNOWN_EMPLOYEE,
            "HR-EMP-00042",
            2,
            ARRIVED,
            "2025-10-28 09:12:44.101523",
            "ERPNext has no employee HR-EMP-00042",
            "5:1207",
        ),
    ),
    "waiting-discard": (
        "unmapped",
        DiscardedWaiting("5e" * 16, ("0f" * 16, "1f" * 16), "riyadh-01", ARRIVED, "fatima", "made-up users"),
    ),
    "delivery": ("deliveries", DELIVERY),
    "delivery-late": (
        "deliveries",
        replace(DELIVERY, late=Late("riyadh-01", "Day Shift", date(2026, 1, 1)), status="already_there"),
    ),
    "delivery-correction": (
        "deliveries",
        replace(DELIVERY, late=Late("riyadh-01"), status="replaced", supersedes="0f" * 16),
    ),
    "attendance-day": ("attendance_days", DAY),
    "attendance-day-refused": (
        "attendance_days",
        AttendanceDay(
            *("HR-EMP-00042", "Day Shift", date(2026, 1, 1), "refused", ARRIVED),
            reason="rejected",
            detail="417 MandatoryError: project",
        ),
    ),
    "attendance-progress": (
        "attendance_progress",
        AttendanceProgress("Day Shift", date(2026, 1, 1), datetime(2026, 1, 2, 0, 10)),  # noqa: DTZ001 - the site's
    ),
    "delivery-removed": (
        "deliveries",
        replace(DELIVERY, status="already_there", removed="EMP-CKIN-03-2026-000018"),
    ),
    "dead-letter-replay": ("dead_letter_actions", Action(LetterId(4, 17), "replayed", ARRIVED, "fatima", None, 2)),
    "dead-letter-discard": (
        "dead_letter_actions",
        Action(LetterId(4, 18), "discarded", ARRIVED, "fatima", "a test punch"),
    ),
    "job-asked": (
        "jobs",
        JobAsked(
            *("5e" * 8, "discard_letters"),
            LettersWanted(
                {0: 12, 3: 79}, (), (Reason.CLOCK_SKEW, Reason.IMPLAUSIBLE_TIME), "stream", ("riyadh-01",), 1
            ),
            *(ARRIVED, "fatima", "the clock was set back", 9),
        ),
    ),
    "job-asked-by-id": (
        "jobs",
        JobAsked("5e" * 8, "replay_letters", LettersWanted({3: 79}, ("3:17", "3:18")), ARRIVED, "fatima"),
    ),
    "job-asked-over-a-plan": (
        "jobs",
        JobAsked(
            *("5e" * 8, "repair_days", LettersWanted({}), ARRIVED, "fatima", "the gate was offline", 1),
            AgreedPlan(AT, ("0f" * 8,), ARRIVED, ("riyadh-01",)),
        ),
    ),
    "job-claim": ("jobs", JobProgress("5e" * 8, "worker-1:77:0f0f", "running", ARRIVED)),
    "job-progress": (
        "jobs",
        JobProgress("5e" * 8, "worker-1:77:0f0f", "done", ARRIVED, 9, 8, 2, 1, ("3:17: replayed already",)),
    ),
    "job-cancel": ("jobs", JobCancel("5e" * 8, ARRIVED, "fatima")),
    "device-status": (
        "device_status",
        DeviceStatus("riyadh-01", ARRIVED, AT, 0, 77, -75, {"firmware": "3.2.4", "faces": 812, "free": 0.3}, AT),
    ),
    "device-status-clock": (
        "device_status",
        DeviceStatus("riyadh-01", ARRIVED, AT, 0, 77, -75, {}, AT, ARRIVED),
    ),
    "device-status-silent": ("device_status", DeviceStatus("riyadh-01", ARRIVED)),
    "cursor": (
        "cursors",
        SavedCursor(
            "riyadh-01", "zkteco_tcp", "1", "SN1", {"newest": 77, "seen": ["a", None, 1.5]}, ARRIVED, AT, AT, AT
        ),
    ),
    "cursor-first": ("cursors", SavedCursor("riyadh-01", "sql", "2", None, {}, ARRIVED)),
    "user-mapping": ("user_map", UserMapping("site:riyadh", "007", "HR-EMP-00042", "csv")),
    "user-mapping-console": (
        "user_map",
        UserMapping("device:riyadh-01", "7", "HR-EMP-00042", "console", ARRIVED, "fatima", "the new guard"),
    ),
    "user-ignored": ("user_map", IGNORED),
    "employee": ("user_map", Employee("HR-EMP-00042", "Left", date(2026, 1, 31), "Acme", None)),
    "employee-erased": (
        "user_map",
        ErasedEmployee.of(Employee("HR-EMP-00042", "Left", created="2025-10-28 09:12:44.101523"), ARRIVED, "fatima"),
    ),
    "employee-joined": (
        "user_map",
        Employee(
            "HR-EMP-00042",
            "Active",
            company="Acme",
            date_of_joining=date(2025, 11, 2),
            created="2025-10-28 09:12:44.101523",
        ),
    ),
    "site-zone": (
        "site",
        SiteZone("https://erp.example.com", "Asia/Riyadh", "proven", ARRIVED, "sink on w-1", "Asia/Riyadh", "C-17"),
    ),
    "site-zone-in-doubt": (
        "site",
        SiteZone("https://erp.example.com", "Asia/Kolkata", "in_doubt", ARRIVED, "sink on worker-1", why="an hour off"),
    ),
    "site-zone-accepted": ("site", SiteZone("http://erp:8080", "Asia/Riyadh", "accepted", ARRIVED, "fatima")),
    "console-user": (
        "console_users",
        ConsoleUser("fatima", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", ARRIVED, "root"),
    ),
    "console-user-disabled": (
        "console_users",
        ConsoleUser("fatima", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", ARRIVED, "root", disabled=True, epoch=2),
    ),
    "console-user-of-sites": (
        "console_users",
        ConsoleUser(
            "omar", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", ARRIVED, "fatima", role="hr", sites=("riyadh",)
        ),
    ),
    "console-token": (
        "console_users",
        ApiToken("5f3a", "payroll", "0" * 64, ARRIVED, "fatima", "viewer", ("riyadh",), ARRIVED),
    ),
    "activity-begun": (
        "console_activity",
        Activity("7", ARRIVED, "fatima", "console", "account.add", "begun", {"account": "omar"}, "new in HR"),
    ),
    "activity-failed": (
        "console_activity",
        Activity("7", ARRIVED, "fatima", "api", "account.add", "failed", {"account": "omar"}, None, "is there already"),
    ),
    "fleet-device": (
        "fleet",
        FleetEntry(
            *("device", "riyadh-01", "file", {"site": "riyadh", "serial": "SN1", "installed_on": "2025-05-01"}),
            by="fatima",
        ),
    ),
    "fleet-site": (
        "fleet",
        FleetEntry("site", "riyadh", "console", {"timezone": "Asia/Riyadh"}, "fatima", claimed=77, handed_over=1),
    ),
    "fleet-pause": ("fleet", DevicePause("riyadh-01", ARRIVED, "fatima", "moved to another door")),
    "account": (
        "accounts",
        Account("stream", "attendance.raw.v1", 3, 10, 79, ARRIVED, Fingerprint(78, 1_767_243_602_345, "5e" * 16), 80),
    ),
    "account-empty": ("accounts", Account("sink", "attendance.checkins.v1", 0, 0, 0, ARRIVED)),
    "accepted-loss": (
        "accounts",
        AcceptedLoss("attendance.raw.v1", 3, 79, 119, 40, ARRIVED, "fatima", "the stream was down for a month"),
    ),
    "accepted-loss-anew": (
        "accounts",
        AcceptedLoss("attendance.raw.v1", 3, 79, 0, 1, ARRIVED, "fatima", "restored without raw", anew=True),
    ),
    "adoption": (
        "accounts",
        Adoption(ARRIVED, "fatima", "restored from Tuesday's copy", (Moved("attendance.raw.v1", 3, 10, 80, 0),)),
    ),
    "adoption-with-less": (
        "accounts",
        Adoption(
            ARRIVED,
            "fatima",
            "restored from Tuesday's copy",
            (Moved("attendance.raw.v1", 3, 10, 80, 0), Moved("attendance.raw.v1", 3, 82, 90, 70)),
            (Ended("attendance.raw.v1", 3, 78), Ended("attendance.dropped.v1", 3, 12)),
            2,
        ),
    ),
    "terminal-command": ("terminals", ORDER),
    "terminal-command-answered": ("terminals", replace(ORDER, returned="0", answered_at="2026-01-01T05:01:00Z")),
    "terminal-pending": ("terminals", PENDING),
    "terminal-pending-moved": (
        "terminals",
        replace(PENDING, device_id="riyadh-01", clients={"10.0.0.9": 6, "10.0.0.8": 1}, visits=3),
    ),
    "terminal-knock": ("terminals", KNOCK),
    "terminal-marks": ("terminals", Stamps("riyadh-01", {"ATTLOGStamp": "1767243602"})),
    "unread": ("unread", UNREAD),
    "unread-sealed": ("unread", Seal([b"k" * 32]).seal(UNREAD)),
    "unread-row": (
        "unread",
        replace(
            UNREAD,
            transport="file",
            adapter="csv",
            reason=Reason.INVALID_EVENT,
            body=b"No,Time\n7,31.02.2026",
            method="",
            path="",
            route="",
            params={},
            query="",
            headers={},
            removed=(),
            place="punches.csv:2",
            options={"date_format": "dmy"},
        ).with_id(),
    ),
    "sequences": (
        "sequences",
        Sequences(
            3,
            79,
            {
                "riyadh-01": Counted(
                    EPOCH, (Run(1, 77, EPOCH, EPOCH), Run(79, 80, EPOCH + 100, EPOCH + 2)), (Run(1, 2, 0, 0),)
                ),
                "gate": Counted(),
            },
        ),
    ),
}
"""What stands on the topics, by the name of its golden file: the topic, and the record."""

ENVELOPES: Final[dict[str, OutRecord]] = {
    "raw": OutRecord(TOPICS["raw"], *EVENT.record()),
    "raw-unreadable-time": OutRecord(TOPICS["raw"], *UNREADABLE.record()),
    "raw-correction": OutRecord(TOPICS["raw"], *CORRECTION.record()),
    "raw-given-time": OutRecord(TOPICS["raw"], *GIVEN.record()),
    "checkin": OutRecord(
        TOPICS["checkins"], CHECKIN.key, CHECKIN.encode(), [*CHECKIN.headers(), (RAW_RECORD, b"3:78")]
    ),
    "dropped-cloudevents": OutRecord(
        TOPICS["dropped"], DROPPED.key, DROPPED.encode(), DROPPED.headers(EVENT.headers())
    ),
    "waiting-cloudevents": OutRecord(TOPICS["unmapped"], *WAITING.record()),
    "delivery-cloudevents": OutRecord(
        TOPICS["deliveries"], DELIVERY.key, DELIVERY.encode(), DELIVERY.headers("riyadh", "riyadh-01")
    ),
    "attendance-day-cloudevents": OutRecord(TOPICS["attendance_days"], DAY.key, DAY.encode(), DAY.headers()),
    "dead-letter": DeadLetter.of(
        Golden(
            TOPICS["raw"],
            b"riyadh-01",
            b'{"not":"one"}',
            (("ce_source", b"/sites/riyadh/devices/riyadh-01"),),
        ),
        "stream",
        InvalidRecord(Reason.UNDECODABLE_RECORD, "not a raw event: —"),
        ARRIVED,
        attempts=2,
        event_id=EVENT.event_id,
    ).to_record(TOPICS["dead_letters"]),
    "dead-letter-request": DeadLetter(
        "push", Reason.UNREADABLE_BODY, "no JSON", ARRIVED, b"riyadh-01", b"{", where="http:/v1/events"
    ).to_record(TOPICS["dead_letters"]),
    "dead-letter-unread": DeadLetter(
        *("push", Reason.UNREADABLE_BODY, "no record that is known", ARRIVED, b"riyadh-01", b""),
        where="http:/hf/{token}/record",
        unread=UNREAD.unread_id,
    ).to_record(TOPICS["dead_letters"]),
    "dead-letter-further": DeadLetter(
        *("push", Reason.INVALID_EVENT, "events[20]: no user (and 3 more of the same request)", ARRIVED, b"riyadh-01"),
        b"{}\n{}\n{}\n{}",
        where="http:/v1/events",
        unread=UNREAD.unread_id,
        further=3,
    ).to_record(TOPICS["dead_letters"]),
    "dead-letter-ignored": letter_of_waiting(WAITING, (3, 78), IGNORED, ARRIVED, TOPICS["raw"]).to_record(
        TOPICS["dead_letters"]
    ),
    "other-event": OtherEvent("riyadh-01", "riyadh", "hikvision_push", "door", ARRIVED, b'{"door":1}').to_record(
        TOPICS["other_events"]
    ),
    "unread-cloudevents": UNREAD.to_records(TOPICS["unread"])[0],
}
"""Records with the headers that they carry, by the name of their golden file."""
