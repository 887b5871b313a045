"""What ERPNext holds that would now be different, and in which order that is corrected."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from different_site import DifferentSite
from memory_log import MemoryLog
from msgspec.structs import replace
from punches import AT, START, event, record

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.records.checkin import Checkin
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from attendance.user_map import UserMap
from operations.corrections import Corrections, reread
from operations.replay import Range, RangeTables
from sinks.targets.erpnext.documents import StoredPunch

EVERYTHING = Range(START)


def device(zone: str, **policy: object) -> Device:
    return Device.model_validate({"device_id": "D1", "site": "s", "timezone": zone, "mode": "file"} | policy)


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
    site: DifferentSite,
    known: UserMap,
    zone: str = "UTC",
    wanted: Range = EVERYTHING,
    written_in: tuple[str, ...] = (),
) -> Corrections:
    asyncio.run(tables.fill(log, wanted))
    corrections = Corrections(tables)
    corrections.compare(site, "UTC", known, lambda _: device(zone), written_in)
    return corrections


def test_what_is_as_it_would_be_now_is_no_difference(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    corrections = compare(log, tables, DifferentSite(event(8)), users(u1="E1"))

    assert list(corrections.differences()) == []
    assert corrections.days() == []


def test_another_employee_is_a_difference_that_touches_both_their_days(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    corrections = compare(log, tables, DifferentSite(event(8)), users(u1="E2"))

    [difference] = corrections.differences()
    assert (difference.stored.employee, difference.expected.employee) == ("E1", "E2")
    assert corrections.days() == [("E1", "2026-03-02"), ("E2", "2026-03-02")]
    [correction] = corrections.corrections()
    assert (correction.event_id, correction.supersedes) == (event(8).event_id, event(8).event_id)


def test_another_zone_is_a_difference_that_touches_the_days_before_and_after(
    log: MemoryLog, tables: RangeTables
) -> None:
    log.put("raw", record(0, event(1)))
    corrections = compare(log, tables, DifferentSite(event(1)), users(u1="E1"), zone="Asia/Riyadh")

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
    corrections = compare(log, tables, DifferentSite(*events), users(u1="E1"), zone=zone)

    assert [each.device_time for each in corrections.corrections()] == [f"2026-03-02 {hour:02}:00:00" for hour in hours]


def test_what_an_attendance_was_made_from_stays_and_so_does_what_would_take_its_place(
    log: MemoryLog, tables: RangeTables
) -> None:
    events = [event(hour) for hour in (6, 9, 12, 13)]  # three hours back, each stands where the one before stood
    log.put("raw", *(record(offset, each) for offset, each in enumerate(events)))
    corrections = compare(log, tables, DifferentSite(*events, attendance=("C0",)), users(u1="E1"), zone="Asia/Riyadh")

    assert (corrections.different, corrections.correctable) == (4, 1)
    assert [each.device_time for each in corrections.corrections()] == ["2026-03-02 13:00:00"]


def test_whoever_has_no_employee_now_is_counted_and_left(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    corrections = compare(log, tables, DifferentSite(event(8)), UserMap())

    assert (corrections.unassigned, corrections.different) == (1, 0)


def test_a_correction_that_did_not_get_through_is_a_difference_still(log: MemoryLog, tables: RangeTables) -> None:
    moved = replace(event(5), device_time="2026-03-02 08:00:00", device_timezone="Asia/Riyadh")
    log.put("raw", record(0, event(8)), record(1, replace(moved, supersedes=event(8).event_id)))
    corrections = compare(log, tables, DifferentSite(event(8)), users(u1="E1"), zone="Asia/Riyadh")

    assert corrections.different == 1


def test_without_the_field_nothing_can_be_compared(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)))
    site = DifferentSite()
    site.unique = False

    with pytest.raises(ConfigurationError, match="erpnext setup"):
        compare(log, tables, site, users())


def test_a_time_with_an_offset_or_of_another_source_does_not_move_with_the_zone() -> None:
    for device_time in ("2026-03-02T08:00:00+00:00", None, "2026-03-02 11:11:11"):
        same = replace(event(8), device_time=device_time)
        assert reread(same, device("Asia/Riyadh")).event_time == same.event_time


def test_a_range_that_ends_before_a_correction_does_not_take_its_document_for_the_wrong_one(
    log: MemoryLog, tables: RangeTables
) -> None:
    moved = replace(event(8), device_time="2026-03-02 11:00:00", device_timezone="Asia/Riyadh")
    correction = record(1, replace(moved, supersedes=event(11).event_id))
    correction.timestamp += 3_600_000
    log.put("raw", record(0, event(8)), correction)
    assert moved.event_id == event(8).event_id

    corrections = compare(
        log,
        tables,
        DifferentSite(moved),
        users(u1="E1"),
        zone="Asia/Riyadh",
        wanted=Range(START, START + timedelta(hours=1)),
    )

    assert corrections.different == 0


@pytest.mark.parametrize(("held_by", "edited"), [("E1", False), ("E3", True)])
def test_what_somebody_edited_in_erpnext_is_listed_and_left_to_them(
    log: MemoryLog, tables: RangeTables, held_by: str, *, edited: bool
) -> None:
    checkin = Checkin(event(8).event_id, "E1", START + timedelta(hours=8), "IN", "D1", "1", "s", "UTC")
    log.put("raw", record(0, event(8)))
    log.add("checkins", checkin.key, checkin.encode(), timestamp=AT)
    log.add("checkins", b"E1", b"poison", timestamp=AT)

    corrections = compare(log, tables, DifferentSite(event(8), employee=held_by), users(u1="E2"))

    [difference] = corrections.differences()
    assert difference.edited is edited
    assert corrections.correctable == (0 if edited else 1)


class WrongZone(DifferentSite):
    """An ERPNext whose documents the sink wrote in Kolkata's time, the device being right."""

    def __init__(self, *events: RawEvent, modified: str | None = None) -> None:
        super().__init__(*events)
        for row in self.rows:
            row["time"] = str(datetime.fromisoformat(row["time"]) + timedelta(hours=5, minutes=30))
            row["creation"] = "2026-03-02 09:00:00.123456"
            row["modified"] = modified or row["creation"]


def sent(log: MemoryLog, *events: RawEvent) -> None:
    for offset, each in enumerate(events):
        assert each.event_time is not None
        checkin = Checkin(each.event_id, "E1", each.event_time, "IN", "D1", "1", "s", "UTC")
        log.put("raw", record(offset, each))
        log.add("checkins", checkin.key, checkin.encode(), timestamp=AT)


def test_what_was_written_in_a_wrong_zone_and_never_touched_is_corrected(log: MemoryLog, tables: RangeTables) -> None:
    sent(log, event(8))
    corrections = compare(log, tables, WrongZone(event(8)), users(u1="E1"))

    [difference] = corrections.differences()
    assert (difference.stored.time, difference.expected.time) == ("2026-03-02 13:30:00", "2026-03-02 08:00:00")
    [correction] = corrections.corrections()
    assert (correction.event_id, correction.supersedes) == (event(8).event_id, event(8).event_id)


@pytest.mark.parametrize(
    ("written_in", "correctable"), [((), 0), (("Asia/Tokyo",), 0), (("Asia/Tokyo", "Asia/Kolkata"), 1)]
)
def test_one_that_was_touched_since_is_corrected_only_if_it_says_what_the_zone_that_is_named_would(
    log: MemoryLog, tables: RangeTables, written_in: tuple[str, ...], correctable: int
) -> None:
    sent(log, event(8))
    site = WrongZone(event(8), modified="2026-03-02 10:00:00")
    corrections = compare(log, tables, site, users(u1="E1"), written_in=written_in)

    assert (corrections.different, corrections.correctable) == (1, correctable)


@pytest.mark.parametrize(
    "change",
    [{"time": "2026-03-02 13:37:00"}, {"time": "2026-03-04 08:00:00"}, {"employee": "E3"}, {"log_type": "OUT"}],
)
def test_a_difference_that_no_zone_makes_is_left_to_people_also_where_nobody_seems_to_have_touched_it(
    log: MemoryLog, tables: RangeTables, change: dict[str, str]
) -> None:
    sent(log, event(8))
    site = WrongZone(event(8))
    site.rows[0] |= change
    corrections = compare(log, tables, site, users(u1="E1"), written_in=("Asia/Kolkata",))

    assert (corrections.different, corrections.correctable) == (1, 0)


def test_documents_move_one_after_the_other_onto_each_others_times_and_none_onto_one_that_stays(
    log: MemoryLog, tables: RangeTables
) -> None:
    first, second = event(8), replace(event(13), event_time=START + timedelta(hours=13, minutes=30))
    sent(log, second, first)
    site = WrongZone(first, second)  # the first says 13:30, which is when the second was
    corrections = compare(log, tables, site, users(u1="E1"))
    assert [each.event_time for each in corrections.corrections()] == [first.event_time, second.event_time]


def test_none_moves_onto_the_time_of_one_that_an_attendance_was_made_from(log: MemoryLog, tables: RangeTables) -> None:
    first, second = event(8), replace(event(13), event_time=START + timedelta(hours=13, minutes=30))
    sent(log, first, second)
    site = WrongZone(first, second)
    site.rows[0]["attendance"] = "ATT"
    corrections = compare(log, tables, site, users(u1="E1"))
    assert (corrections.different, corrections.correctable) == (2, 0)


def test_a_zone_that_does_not_exist_is_refused(log: MemoryLog, tables: RangeTables) -> None:
    with pytest.raises(ConfigurationError, match="Mars"):
        compare(log, tables, DifferentSite(), users(), written_in=("Mars/Base",))
