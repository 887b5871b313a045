"""Who a device's user is, and whose punches wait."""

import asyncio
from datetime import UTC, date, datetime

import pytest
from memory_log import MemoryLog
from msgspec.structs import replace

from attendance.errors import Reason
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, site_scope
from attendance.user_map import UserMap
from operations.log import Skipped
from operations.users import WaitingUser, by_user, read_waiting, user_rows

PUNCH = RawEvent(
    device_id="gate-1",
    site="riyadh",
    device_user_id="007",
    event_type="IN",
    event_time=datetime(2026, 3, 2, 5, tzinfo=UTC),
    device_time="2026-03-02 08:00:00",
    device_timezone="Asia/Riyadh",
    received_at=datetime(2026, 3, 2, 5, 0, 1, tzinfo=UTC),
    source=Source("push", "json"),
)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def waits(reason: Reason = Reason.UNMAPPED_USER, employee: str | None = None, **fields: object) -> Waiting:
    return Waiting(replace(PUNCH, **fields), reason, employee)  # type: ignore[arg-type]


def waiting(log: MemoryLog) -> tuple[list[Waiting], dict[str, int]]:
    """What waits, and how many records could not be read."""
    skipped = Skipped()
    return asyncio.run(read_waiting(log, skipped)), skipped.counts


def hour(number: int) -> datetime:
    return datetime(2026, 3, 2, number, tzinfo=UTC)


def test_waiting_punches_are_counted_by_site_user_and_reason() -> None:
    assert by_user(
        [
            waits(),
            waits(event_time=hour(3)),
            waits(event_time=hour(9), device_id="gate-2"),
            waits(site="jeddah"),
            waits(Reason.EMPLOYEE_INACTIVE, "E7", event_time=hour(11)),
            waits(device_user_id="7"),
        ]
    ) == [
        WaitingUser("jeddah", "007", Reason.UNMAPPED_USER, None, 1, hour(5), ("gate-1",)),
        WaitingUser("riyadh", "007", Reason.EMPLOYEE_INACTIVE, "E7", 1, hour(11), ("gate-1",)),
        WaitingUser("riyadh", "007", Reason.UNMAPPED_USER, None, 3, hour(3), ("gate-1", "gate-2")),
        WaitingUser("riyadh", "7", Reason.UNMAPPED_USER, None, 1, hour(5), ("gate-1",)),
    ]


def test_a_punch_that_waited_and_went_on_does_not_wait(log: MemoryLog) -> None:
    gone, again, still = waits(), waits(event_time=hour(6)), waits(event_time=hour(7))
    for key, value in (
        (gone.key, gone.encode()),
        (again.key, again.encode()),
        (gone.key, None),
        (again.key, None),
        (again.key, again.encode()),
        (still.key, still.encode()),
    ):
        log.add("unmapped", key, value)
    assert waiting(log) == ([again, still], {})


def test_a_punch_that_waits_twice_counts_once_with_its_last_reason(log: MemoryLog) -> None:
    last = waits(Reason.EMPLOYEE_INACTIVE, "E7")
    for each in (waits(), last):
        log.add("unmapped", each.key, each.encode())
    assert waiting(log) == ([last], {})


def test_a_punch_that_the_sink_sent_back_counts_once(log: MemoryLog) -> None:
    first = waits()
    back = replace(
        waits(Reason.UNKNOWN_EMPLOYEE, "E7"), sent_back=1, sent_back_at=hour(8), employee_created="c", checkin="2:7"
    )
    for each in (first, back):
        log.add("unmapped", each.key, each.encode())
    assert first.key != back.key
    assert waiting(log) == ([back], {})
    log.add("unmapped", first.key, None)
    log.add("unmapped", back.key, None)
    assert waiting(log) == ([], {})


def test_what_takes_the_place_of_a_waiting_punch_and_cannot_be_read_is_counted_and_does_not_wait(
    log: MemoryLog,
) -> None:
    covered, still = waits(), waits(event_time=hour(6))
    for key, value in ((covered.key, covered.encode()), (still.key, still.encode()), (covered.key, b"{")):
        log.add("unmapped", key, value)
    assert waiting(log) == ([still], {"t.unmapped.v1": 1})


def user_map(*entries: UserMapping | Employee) -> UserMap:
    known = UserMap()
    for entry in entries:
        known.apply(entry.key, entry.encode())
    return known


KNOWN = user_map(
    UserMapping(EVERYWHERE, "007", "E1", "erpnext"),
    UserMapping(EVERYWHERE, "007", "E2", "csv"),
    UserMapping(site_scope("riyadh"), "007", "E1", "csv"),
    Employee("E1", "Left", date(2026, 1, 31)),
)


def test_a_listed_user_shows_what_is_known_of_the_employee_and_what_counts() -> None:
    rows = [(row.scope, row.employee, row.source, row.status, row.overridden) for row in user_rows(KNOWN)]
    assert rows == [
        ("*", "E2", "csv", None, False),
        ("*", "E1", "erpnext", "Left", True),
        ("site:riyadh", "E1", "csv", "Left", False),
    ]
