"""Which deliveries are late, and what ERPNext is asked to find out."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from attendance.errors import AccessDenied, DocumentRejected, TargetUnavailable
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Late
from sinks.completeness.lateness import FRESH, find_late
from sinks.completeness.runner import SYNC_LAG

STORED = datetime(2026, 3, 4, 12, tzinfo=UTC)
NIGHT = datetime(2026, 3, 3, 20, tzinfo=UTC)  # 23:00 in Riyadh


class Site:
    """ERPNext's shifts and documents; the day shift is synced up to a time in Riyadh."""

    def __init__(self, synced: str | None) -> None:
        self.synced = synced
        self.error: Exception | None = None
        self.asked: list[str] = []
        self.rows: dict[str, dict[str, Any]] = {}

    def add(self, name: str, end: str, *, shift: str | None = "Day", attendance: str | None = None) -> None:
        start = f"{end[:10]} 08:00:00" if shift else None
        self.rows[name] = {
            "name": name,
            "shift": shift,
            "shift_start": start,
            "shift_actual_end": end if shift else None,
            "attendance": attendance,
        }

    def add_by_hand(self, name: str) -> None:
        """A check-in with a shift that somebody chose, and without its times."""
        self.add(name, end="")
        self.rows[name] |= {"shift_start": None, "shift_actual_end": None}

    def get_list(self, doctype: str, _fields: object, filters: Any, **_: object) -> list[dict[str, Any]]:
        self.asked.append(doctype)
        if self.error:
            raise self.error
        if doctype == "Shift Type":
            return [{"name": "Day", "last_sync_of_checkin": self.synced}, {"name": "New", "last_sync_of_checkin": None}]
        [(_, _, names)] = filters
        return [self.rows[name] for name in names]


def checkin(event_time: datetime = NIGHT, **fields: Any) -> Checkin:
    known = {"employee": "E1", "log_type": "IN", "device_id": "D1", "device_user_id": "7", "site": "hq"}
    return Checkin(event_id="a", event_time=event_time, device_timezone="UTC", **known | fields)


def late(site: Site, *checkins: Checkin) -> list[Late | None]:
    """What is late of check-ins that ERPNext holds as C1, C2 and so on."""
    stored = [(each, f"C{number}") for number, each in enumerate(checkins, 1)]
    return find_late(site, stored, "Asia/Riyadh", STORED)  # type: ignore[arg-type]


def test_a_punch_of_a_closed_day_is_late() -> None:
    site = Site(synced="2026-03-04 06:00:00")
    site.add("C1", end="2026-03-03 23:30:00")
    assert late(site, checkin()) == [Late("D1", "Day", date(2026, 3, 3))]


@pytest.mark.parametrize(
    "document",
    [
        {"end": "2026-03-04 07:00:00"},
        {"end": "2026-03-04 06:00:00"},
        {"end": "2026-03-03 23:30:00", "attendance": "HR-ATT-1"},
        {"end": "2026-03-03 23:30:00", "shift": None},
        {"end": "2026-03-03 23:30:00", "shift": "New"},
    ],
    ids=["the day is open", "it ends just now", "it is counted", "it is on no shift", "the shift was never synced"],
)
def test_what_erpnext_counts_or_will_count_is_not_late(document: Any) -> None:
    site = Site(synced="2026-03-04 06:00:00")
    site.add("C1", **document)
    assert late(site, checkin()) == [None]


def test_a_document_with_a_shift_and_no_times_is_not_late() -> None:
    site = Site(synced="2026-03-04 06:00:00")
    site.add_by_hand("C1")
    assert late(site, checkin()) == [None]


def test_of_fresh_punches_nothing_is_asked() -> None:
    site = Site(synced="2026-03-04 06:00:00")
    assert late(site, checkin(STORED - FRESH), checkin(STORED)) == [None, None]
    assert not site.asked


def test_each_punch_has_its_own_answer_in_order() -> None:
    site = Site(synced="2026-03-04 06:00:00")
    site.add("C2", end="2026-03-03 23:30:00")
    site.add("C3", end="2026-03-04 07:00:00")
    checkins = checkin(STORED), checkin(device_id="D2"), checkin()
    assert late(site, *checkins) == [None, Late("D2", "Day", date(2026, 3, 3)), None]


def test_the_last_sync_stays_so_far_behind_that_clocks_may_differ() -> None:
    assert timedelta(minutes=3) <= SYNC_LAG - FRESH


def test_only_the_shifts_are_asked_for_where_none_is_beyond_the_punch() -> None:
    site = Site(synced="2026-03-03 23:00:00")
    assert late(site, checkin()) == [None]
    assert site.asked == ["Shift Type"]


def test_the_times_are_compared_as_erpnext_has_them() -> None:
    site = Site(synced="2026-03-03 22:00:00")
    site.add("C1", end="2026-03-03 21:00:00")
    assert late(site, checkin()) == [None]
    assert site.asked == ["Shift Type"]
    local = checkin(checkin_time="device_local")  # 20:00 in ERPNext
    assert late(site, local) == [Late("D1", "Day", date(2026, 3, 3))]


@pytest.mark.parametrize(
    "error", [TargetUnavailable("down"), AccessDenied("403"), DocumentRejected(417, "DataError", "no such field")]
)
def test_what_cannot_be_found_out_remains_unknown_and_is_looked_at_again(error: Exception) -> None:
    site = Site(synced="2026-03-04 06:00:00")
    site.error = error
    assert late(site, checkin()) == [Late("D1")]
