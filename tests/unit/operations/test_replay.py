"""What a replay sends, what it finds different in ERPNext, and in which order it corrects that."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from memory_log import MemoryLog, StoredRecord
from msgspec.structs import replace

from attendance.erpnext import ErpnextClient
from attendance.errors import ConfigurationError, Reason
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import Headers
from attendance.records.outcomes import Dropped
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.registry import Device
from attendance.settings import KafkaSettings
from attendance.user_map import UserMap
from operations.corrections import Corrections, reread
from operations.replay import Range, RangeTables, replay
from sinks.targets.erpnext import StoredPunch

START = datetime(2026, 3, 2, tzinfo=UTC)
KAFKA = KafkaSettings.load(topic_prefix="t")
AT = round(START.timestamp() * 1000)
EVERYTHING = Range(START)


def device(zone: str, **policy: object) -> Device:
    return Device.model_validate({"device_id": "D1", "site": "s", "timezone": zone, "mode": "file"} | policy)


def event(hour: int, zone: str = "UTC", user: str = "1") -> RawEvent:
    """A punch that the terminal wrote at that hour of 2 March, read in UTC."""
    time = START + timedelta(hours=hour)
    written = f"2026-03-02 {hour:02}:00:00"
    return RawEvent("D1", "s", user, "IN", time, written, zone, START, Source("push", "json"))


def record(offset: int, event: RawEvent, headers: Headers = ()) -> StoredRecord:
    return raw_record(offset, event.encode(), headers, event.key)


def raw_record(offset: int, value: bytes, headers: Headers = (), key: bytes = b"D1") -> StoredRecord:
    return StoredRecord("t.raw.v1", 0, offset, AT, key, value, headers)


class Site:
    """An ERPNext in UTC that holds these."""

    def __init__(self, *events: RawEvent, employee: str = "E1", attendance: tuple[str, ...] = ()) -> None:
        self.unique = True
        self.rows = [
            {
                "name": f"C{number}",
                "event_id": each.event_id,
                "employee": employee,
                "time": str(each.event_time)[:19],
                "log_type": each.event_type,
                "attendance": "ATT" if f"C{number}" in attendance else None,
            }
            for number, each in enumerate(events)
        ]

    def has_event_id_field(self) -> bool:
        return self.unique

    def time_zone(self) -> str:
        return "UTC"

    def get_list(self, _: str, _fields: list[str], filters: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
        ((field, _, values),) = filters
        return [row for row in self.rows if row[field] in values]


def users(**employees: str) -> UserMap:
    known = UserMap()
    for user, employee in employees.items():
        for entry in (UserMapping("*", user.removeprefix("u"), employee, "csv"), Employee(employee, "Active")):
            known.apply(entry.key, entry.encode())
    return known


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def tables() -> Iterator[RangeTables]:
    with RangeTables() as tables:
        yield tables


def compare(
    log: MemoryLog,
    tables: RangeTables,
    site: "Site",
    known: UserMap,
    zone: str = "UTC",
    wanted: Range = EVERYTHING,
) -> Corrections:
    asyncio.run(tables.fill(log, wanted))
    corrections = Corrections(tables)
    corrections.compare(cast("ErpnextClient", site), known, lambda _: device(zone))
    return corrections


def test_what_is_as_it_would_be_now_is_no_difference(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    corrections = compare(log, tables, Site(event(8)), users(u1="E1"))

    assert list(corrections.differences()) == []
    assert corrections.days() == []


def test_another_employee_is_a_difference_that_touches_both_their_days(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    corrections = compare(log, tables, Site(event(8)), users(u1="E2"))

    [difference] = corrections.differences()
    assert (difference.stored.employee, difference.expected.employee) == ("E1", "E2")
    assert corrections.days() == [("E1", "2026-03-02"), ("E2", "2026-03-02")]
    [correction] = corrections.corrections()
    assert (correction.event_id, correction.supersedes) == (event(8).event_id, event(8).event_id)


def test_another_zone_is_a_difference_that_touches_the_days_before_and_after(
    log: MemoryLog, tables: RangeTables
) -> None:
    log.put("raw", record(0, event(1)))
    corrections = compare(log, tables, Site(event(1)), users(u1="E1"), zone="Asia/Riyadh")

    [difference] = corrections.differences()
    assert difference.expected == StoredPunch("E1", "2026-03-01 22:00:00", "IN")
    assert corrections.days() == [("E1", "2026-03-01"), ("E1", "2026-03-02")]
    [correction] = corrections.corrections()
    assert (correction.event_time, correction.device_timezone) == (START - timedelta(hours=2), "Asia/Riyadh")
    assert correction.supersedes == event(1).event_id


@pytest.mark.parametrize(("zone", "hours"), [("Asia/Riyadh", [7, 8, 9]), ("America/Bogota", [9, 8, 7])])
def test_none_is_moved_to_where_another_still_stands(
    log: MemoryLog, tables: RangeTables, zone: str, hours: list[int]
) -> None:
    events = [event(hour) for hour in (8, 7, 9)]
    log.put("raw", *(record(offset, each) for offset, each in enumerate(events)))
    corrections = compare(log, tables, Site(*events), users(u1="E1"), zone=zone)

    assert [each.device_time for each in corrections.corrections()] == [f"2026-03-02 {hour:02}:00:00" for hour in hours]


def test_what_an_attendance_was_made_from_stays_and_so_does_what_would_take_its_place(
    log: MemoryLog, tables: RangeTables
) -> None:
    events = [event(hour) for hour in (6, 9, 12, 13)]  # three hours back, each stands where the one before stood
    log.put("raw", *(record(offset, each) for offset, each in enumerate(events)))
    corrections = compare(log, tables, Site(*events, attendance=("C0",)), users(u1="E1"), zone="Asia/Riyadh")

    assert (corrections.different, corrections.correctable) == (4, 1)
    assert [each.device_time for each in corrections.corrections()] == ["2026-03-02 13:00:00"]


def test_whoever_has_no_employee_now_is_counted_and_left(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    corrections = compare(log, tables, Site(event(8)), UserMap())

    assert (corrections.unassigned, corrections.different) == (1, 0)


def test_a_correction_that_did_not_get_through_is_a_difference_still(log: MemoryLog, tables: RangeTables) -> None:
    moved = replace(event(5), device_time="2026-03-02 08:00:00", device_timezone="Asia/Riyadh")
    log.put("raw", record(0, event(8)), record(1, replace(moved, supersedes=event(8).event_id)))
    corrections = compare(log, tables, Site(event(8)), users(u1="E1"), zone="Asia/Riyadh")

    assert corrections.different == 1


def test_without_the_field_nothing_can_be_compared(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    site = Site()
    site.unique = False

    with pytest.raises(ConfigurationError, match="erpnext setup"):
        compare(log, tables, site, users())


def test_a_time_with_an_offset_or_of_another_source_does_not_move_with_the_zone() -> None:
    for device_time in ("2026-03-02T08:00:00+00:00", None, "2026-03-02 11:11:11"):
        same = replace(event(8), device_time=device_time)
        assert reread(same, device("Asia/Riyadh")).event_time == same.event_time


def replayed(log: MemoryLog, tables: RangeTables, wanted: Range) -> list[OutRecord]:
    async def run() -> None:
        await tables.fill(log, wanted)
        await replay(log, wanted, tables, 1e9, lambda _: None)

    asyncio.run(run())
    return log.sent


def test_a_copy_has_the_bytes_of_its_original_and_names_it(log: MemoryLog, tables: RangeTables) -> None:
    original = record(7, event(8), [("ce_id", b"x")])
    log.put("raw", original)

    [copy] = replayed(log, tables, EVERYTHING)

    assert (copy.topic, copy.key, copy.value) == ("t.raw.v1", b"D1", original.value)
    assert list(copy.headers) == [("ce_id", b"x"), ("x-replay-of", b"0:7")]


def test_copies_poison_and_what_is_superseded_later_are_not_sent_and_a_later_genuine_one_is(
    log: MemoryLog, tables: RangeTables
) -> None:
    log.put(
        "raw",
        record(0, event(8)),
        record(1, event(9), [("x-replay-of", b"0:0")]),
        raw_record(2, b"poison"),
        record(3, replace(event(5), supersedes=event(8).event_id)),
        record(4, event(8)),
    )

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:3", b"0:4"]


def test_of_two_corrections_of_one_document_only_the_later_is_sent(log: MemoryLog, tables: RangeTables) -> None:
    wrong = event(8)
    log.put(
        "raw",
        record(0, wrong),
        record(1, replace(event(5), supersedes=wrong.event_id, superseded_document="C0")),
        record(2, replace(event(6), supersedes=wrong.event_id, superseded_document="C0")),
        record(3, replace(event(4), supersedes=wrong.event_id, superseded_document="C1")),
    )

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:2", b"0:3"]


def test_the_copy_of_a_correction_supersedes_nothing_that_came_after_its_original(
    log: MemoryLog, tables: RangeTables
) -> None:
    correction = replace(event(5), supersedes=event(8).event_id)
    log.put(
        "raw",
        record(0, event(8)),
        record(1, correction),
        record(2, event(8)),
        record(3, correction, [("x-replay-of", b"0:1")]),
    )

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:1", b"0:2"]


def test_only_the_range_and_its_devices_are_sent(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)), record(1, replace(event(9), device_id="D2")))
    late = record(2, event(10))
    late.timestamp += 3_600_000
    log.put("raw", late)

    wanted = Range(START, START + timedelta(hours=1), {"D1"})
    assert [copy.headers[-1][1] for copy in replayed(log, tables, wanted)] == [b"0:0"]


def test_a_range_that_ends_before_a_correction_does_not_take_its_document_for_the_wrong_one(
    log: MemoryLog, tables: RangeTables
) -> None:
    moved = replace(event(8), device_time="2026-03-02 11:00:00", device_timezone="Asia/Riyadh")
    correction = record(1, replace(moved, supersedes=event(11).event_id))
    correction.timestamp += 3_600_000
    log.put("raw", record(0, event(8)), correction)
    assert moved.event_id == event(8).event_id

    corrections = compare(
        log, tables, Site(moved), users(u1="E1"), zone="Asia/Riyadh", wanted=Range(START, START + timedelta(hours=1))
    )

    assert corrections.different == 0


def test_what_was_dropped_as_a_repeat_is_not_sent_because_it_might_not_be_known_as_one_any_more(
    log: MemoryLog, tables: RangeTables
) -> None:
    kept, tap = event(8), replace(event(8), event_time=START + timedelta(hours=8, seconds=20))
    log.put("raw", record(0, kept), record(1, tap), record(2, kept))
    for offset, reason in ((1, Reason.REPEAT), (2, Reason.DUPLICATE)):
        dropped = Dropped(tap.event_id, kept.event_id, reason, "D1", "1", START, 0, offset)
        log.add("dropped", dropped.key, dropped.encode(), timestamp=AT)

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:0", b"0:2"]
    assert tables.records == 2


@pytest.mark.parametrize(("held_by", "edited"), [("E1", False), ("E3", True)])
def test_what_somebody_edited_in_erpnext_is_listed_and_left_to_them(
    log: MemoryLog, tables: RangeTables, held_by: str, *, edited: bool
) -> None:
    checkin = Checkin(event(8).event_id, "E1", START + timedelta(hours=8), "IN", "D1", "1", "s", "UTC")
    log.put("raw", record(0, event(8)))
    log.add("checkins", checkin.key, checkin.encode(), timestamp=AT)
    log.add("checkins", b"E1", b"poison", timestamp=AT)

    corrections = compare(log, tables, Site(event(8), employee=held_by), users(u1="E2"))

    [difference] = corrections.differences()
    assert difference.edited is edited
    assert corrections.correctable == (0 if edited else 1)
