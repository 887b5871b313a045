from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN, EMPLOYEE, SHIFT_TYPE
from sandbox.erpnext.errors import FrappeError
from sandbox.erpnext.site import Site
from sandbox.erpnext.users import ADMIN, HR_USER, NO_ROLE_USER

DAY = "Day Shift"
NIGHT = "Night Shift"
# A Tuesday, and it is Sunday the 22nd at the site.
TUESDAY = "2026-11-17"
FIRST, SECOND, LATE_HIRE = "HR-EMP-00001", "HR-EMP-00002", "HR-EMP-00003"


def clock() -> datetime:
    return datetime(2026, 11, 22, 16, 0, tzinfo=UTC)


def new_site(journal: Path | None = None) -> Site:
    """Three people, of whom two are on the day shift since Tuesday, and one since Thursday."""
    site = Site(clock=clock, journal=journal)
    days = {FIRST: TUESDAY, SECOND: TUESDAY, LATE_HIRE: "2026-11-19"}
    site.put_employees({"name": name, "default_shift": DAY, "date_of_joining": day} for name, day in days.items())
    site.put_shift_types([{"name": NIGHT, "start_time": "22:00:00", "end_time": "6:00:00"}])
    return site


@pytest.fixture
def site() -> Site:
    return new_site()


def store(site: Site, *times: str, employee: str = FIRST) -> list[str]:
    transaction = site.begin(ADMIN)
    for time in times:
        transaction.insert({"employee": employee, "time": time})
    return [row["name"] for row in transaction.commit()]


def sync(site: Site, time: str, shift: str = DAY) -> None:
    site.update(HR_USER, SHIFT_TYPE, shift, {"last_sync_of_checkin": time})


def marked(site: Site, employee: str = FIRST) -> list[tuple[str, str, float]]:
    """Day, status and hours of the Attendance that counts."""
    arguments = {
        "fields": ["attendance_date", "status", "working_hours"],
        "filters": [["employee", "=", employee], ["docstatus", "=", 1]],
        "order_by": "attendance_date",
    }
    return [tuple(row.values()) for row in site.list_rows(HR_USER, ATTENDANCE, arguments)]


def flags(site: Site, names: list[str]) -> list[tuple[Any, int]]:
    rows = (site.checkins.rows[name] for name in names)
    return [(row["attendance"], row["skip_auto_attendance"]) for row in rows]


def refusal(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(FrappeError) as raised:
        act()
    return raised.value.status, raised.value.exc_type


def test_a_day_with_check_ins_is_present_from_the_first_to_the_last(site: Site) -> None:
    names = store(site, f"{TUESDAY} 12:00:00", f"{TUESDAY} 07:50:00", f"{TUESDAY} 17:20:00")
    sync(site, "2026-11-18 00:00:00")
    [row] = [row for row in site.rows(ATTENDANCE) if row["employee"] == FIRST]
    assert (row["status"], row["working_hours"], row["shift"]) == ("Present", 9.5, DAY)
    assert (row["in_time"], row["out_time"]) == (f"{TUESDAY} 07:50:00", f"{TUESDAY} 17:20:00")
    assert flags(site, names) == [(row["name"], 0)] * 3


def test_a_single_check_in_has_no_time_out(site: Site) -> None:
    store(site, f"{TUESDAY} 08:00:00")
    sync(site, f"{TUESDAY} 19:00:00")
    assert [(row["in_time"], row["out_time"]) for row in site.rows(ATTENDANCE)] == [(f"{TUESDAY} 08:00:00", None)]


def test_everyone_has_an_attendance_of_their_own_for_each_day(site: Site) -> None:
    for employee, minute in ((FIRST, 0), (SECOND, 1)):
        store(site, f"{TUESDAY} 08:0{minute}:00", f"{TUESDAY} 16:0{minute}:00", employee=employee)
        store(site, f"2026-11-18 08:0{minute}:00", f"2026-11-18 15:0{minute}:00", employee=employee)
    sync(site, "2026-11-19 00:00:00")
    days = [(TUESDAY, "Present", 8.0), ("2026-11-18", "Present", 7.0)]
    assert (marked(site), marked(site, SECOND)) == (days, days)
    assert sorted(row["name"] for row in site.rows(ATTENDANCE)) == [f"HR-ATT-2026-0000{n}" for n in range(1, 5)]


def test_a_check_in_is_not_processed_before_its_window_has_closed(site: Site) -> None:
    store(site, f"{TUESDAY} 08:00:00")
    sync(site, f"{TUESDAY} 18:00:00")
    assert marked(site) == []
    sync(site, f"{TUESDAY} 18:00:01")
    assert marked(site) == [(TUESDAY, "Present", 0.0)]


def test_those_without_a_check_in_are_absent_once_the_date_of_the_day_is_over(site: Site) -> None:
    store(site, f"{TUESDAY} 08:00:00")
    sync(site, f"{TUESDAY} 23:59:59")
    assert (marked(site), marked(site, SECOND)) == ([(TUESDAY, "Present", 0.0)], [])
    sync(site, "2026-11-18 00:00:00")
    assert (marked(site), marked(site, SECOND)) == ([(TUESDAY, "Present", 0.0)], [(TUESDAY, "Absent", 0.0)])


def test_a_sync_over_several_days_leaves_nobody_without_attendance(site: Site) -> None:
    sync(site, "2026-11-20 09:00:00")
    assert [day for day, _, _ in marked(site)] == [TUESDAY, "2026-11-18", "2026-11-19"]
    assert [day for day, _, _ in marked(site, LATE_HIRE)] == ["2026-11-19"]


def test_who_never_joined_can_be_absent_from_the_day_they_were_created_on(site: Site) -> None:
    site.update(ADMIN, EMPLOYEE, FIRST, {"date_of_joining": None})
    sync(site, "2026-11-22 19:00:00")
    assert marked(site) == []


@pytest.mark.parametrize(
    ("change", "days"),
    [
        ({"status": "Inactive"}, 0),
        ({"status": "Left", "relieving_date": TUESDAY}, 1),
        ({"default_shift": None}, 0),
        ({"default_shift": NIGHT}, 0),
    ],
)
def test_who_is_not_on_the_shift_is_not_absent(site: Site, change: dict[str, Any], days: int) -> None:
    site.update(ADMIN, EMPLOYEE, FIRST, change)
    sync(site, "2026-11-20 09:00:00")
    assert len(marked(site)) == days


def test_nothing_happens_before_attendance_is_processed_or_where_it_is_not(site: Site) -> None:
    store(site, f"{TUESDAY} 08:00:00")
    site.update(ADMIN, SHIFT_TYPE, DAY, {"process_attendance_after": "2026-11-18"})
    site.update(ADMIN, SHIFT_TYPE, DAY, {"last_sync_of_checkin": "2026-11-19 12:00:00"})
    assert marked(site) == [("2026-11-18", "Absent", 0.0)]
    site.update(ADMIN, SHIFT_TYPE, DAY, {"enable_auto_attendance": 0, "last_sync_of_checkin": "2026-11-20 12:00:00"})
    assert len(marked(site)) == 1


@pytest.mark.parametrize(("hours", "status"), [(3, "Absent"), (5, "Half Day"), (6, "Present")])
def test_thresholds_decide_what_few_hours_are_worth(site: Site, hours: int, status: str) -> None:
    thresholds = {"working_hours_threshold_for_absent": 4.0, "working_hours_threshold_for_half_day": 6.0}
    site.update(ADMIN, SHIFT_TYPE, DAY, thresholds)
    store(site, f"{TUESDAY} 08:00:00", f"{TUESDAY} {8 + hours:02}:00:00")
    sync(site, "2026-11-18 00:00:00")
    assert marked(site) == [(TUESDAY, status, float(hours))]


def test_a_check_in_after_its_day_was_marked_absent_is_skipped_and_the_day_stays_absent(site: Site) -> None:
    sync(site, "2026-11-18 12:00:00")
    late = store(site, f"{TUESDAY} 08:03:00", f"{TUESDAY} 17:03:00")
    modified = site.checkins.rows[late[0]]["modified"]
    assert flags(site, late) == [(None, 0)] * 2
    sync(site, "2026-11-18 13:00:00")
    assert flags(site, late) == [(None, 1)] * 2
    assert site.checkins.rows[late[0]]["modified"] == modified
    assert marked(site) == [(TUESDAY, "Absent", 0.0)]


def test_the_repair_makes_the_day_present_with_its_hours(site: Site) -> None:
    sync(site, "2026-11-18 12:00:00")
    late = store(site, f"{TUESDAY} 08:03:00", f"{TUESDAY} 17:03:00")
    site.process_auto_attendance(HR_USER, DAY)
    [absent] = [row["name"] for row in site.rows(ATTENDANCE) if row["employee"] == FIRST]
    site.cancel(HR_USER, ATTENDANCE, absent)
    for name in late:
        site.update(HR_USER, CHECKIN, name, {"skip_auto_attendance": 0})
    site.process_auto_attendance(HR_USER, DAY)
    assert marked(site) == [(TUESDAY, "Present", 9.0)]
    assert marked(site, SECOND) == [(TUESDAY, "Absent", 0.0)]


def test_a_skipped_check_in_stays_skipped_when_its_day_is_cancelled(site: Site) -> None:
    sync(site, "2026-11-18 12:00:00")
    late = store(site, f"{TUESDAY} 08:03:00")
    site.process_auto_attendance(ADMIN, DAY)
    site.cancel(ADMIN, ATTENDANCE, "HR-ATT-2026-00001")
    site.process_auto_attendance(ADMIN, DAY)
    assert (marked(site), flags(site, late)) == ([(TUESDAY, "Absent", 0.0)], [(None, 1)])


@pytest.mark.parametrize(
    ("change", "time"),
    [
        ({"status": "Inactive"}, f"{TUESDAY} 08:00:00"),
        ({"date_of_joining": "2026-11-18"}, f"{TUESDAY} 08:00:00"),
        ({}, "2026-11-23 08:00:00"),
    ],
)
def test_a_check_in_of_a_day_on_which_nobody_may_be_marked_is_skipped(
    site: Site, change: dict[str, Any], time: str
) -> None:
    [name] = store(site, time)
    site.update(ADMIN, EMPLOYEE, FIRST, change)
    sync(site, "2026-11-23 19:00:00")
    assert flags(site, [name]) == [(None, 1)]


@pytest.mark.parametrize(
    ("starts", "ends", "statuses"),
    [
        ("13:00:00", "21:00:00", ["Present"]),
        ("17:00:00", "21:00:00", ["Present", "Absent"]),
        ("3:00:00", "8:00:00", ["Present", "Absent"]),
    ],
)
def test_a_day_is_marked_once_for_each_shift_that_has_no_hours_in_common(
    site: Site, starts: str, ends: str, statuses: list[str]
) -> None:
    site.put_shift_types([{"name": "Other Shift", "start_time": starts, "end_time": ends}])
    store(site, f"{TUESDAY} 08:00:00")
    sync(site, f"{TUESDAY} 19:00:00")
    site.update(ADMIN, EMPLOYEE, FIRST, {"default_shift": "Other Shift"})
    sync(site, "2026-11-18 12:00:00", "Other Shift")
    assert [status for _, status, _ in marked(site)] == statuses


def test_a_cancelled_day_without_check_ins_is_absent_again(site: Site) -> None:
    sync(site, "2026-11-18 12:00:00")
    site.cancel(ADMIN, ATTENDANCE, "HR-ATT-2026-00001")
    assert marked(site) == []
    site.process_auto_attendance(ADMIN, DAY)
    assert marked(site) == [(TUESDAY, "Absent", 0.0)]


def test_a_check_in_after_its_day_was_marked_present_adds_no_hours_until_that_is_cancelled(site: Site) -> None:
    [first] = store(site, f"{TUESDAY} 08:00:00")
    sync(site, f"{TUESDAY} 19:00:00")
    [late] = store(site, f"{TUESDAY} 17:00:00")
    site.process_auto_attendance(ADMIN, DAY)
    attendance = site.checkins.rows[first]["attendance"]
    assert (marked(site), flags(site, [late])) == ([(TUESDAY, "Present", 0.0)], [(None, 1)])
    site.cancel(ADMIN, ATTENDANCE, attendance)
    assert flags(site, [first]) == [("", 0)]
    site.update(ADMIN, CHECKIN, late, {"skip_auto_attendance": 0})
    site.process_auto_attendance(ADMIN, DAY)
    assert marked(site) == [(TUESDAY, "Present", 9.0)]


@pytest.mark.parametrize("condition", [["attendance", "=", ""], ["attendance", "is", "not set"]])
def test_the_check_ins_of_no_attendance_are_found(site: Site, condition: list[str]) -> None:
    [linked, early] = store(site, f"{TUESDAY} 08:00:00", f"{TUESDAY} 05:00:00")
    sync(site, "2026-11-18 12:00:00")
    assert flags(site, [linked]) != [(None, 0)]
    assert site.list_rows(ADMIN, CHECKIN, {"filters": [condition]}) == [{"name": early}]


def test_a_change_of_a_check_in_keeps_its_attendance(site: Site) -> None:
    [name] = store(site, f"{TUESDAY} 08:00:00")
    sync(site, "2026-11-18 12:00:00")
    linked = flags(site, [name])
    site.update(ADMIN, CHECKIN, name, {"device_id": "gate"})
    assert flags(site, [name]) == linked


def test_a_check_in_outside_the_window_makes_nobody_present(site: Site) -> None:
    [early] = store(site, f"{TUESDAY} 06:59:59")
    assert site.checkins.rows[early]["offshift"] == 1
    sync(site, "2026-11-18 12:00:00")
    assert marked(site) == [(TUESDAY, "Absent", 0.0)]
    assert flags(site, [early]) == [(None, 0)]


@pytest.mark.parametrize(
    ("time", "starts"),
    [
        ("2026-11-17 20:59:59", None),
        ("2026-11-17 21:00:00", "2026-11-17 22:00:00"),
        ("2026-11-18 00:00:00", "2026-11-17 22:00:00"),
        ("2026-11-18 07:00:00", "2026-11-17 22:00:00"),
        ("2026-11-18 07:00:01", None),
    ],
)
def test_an_overnight_shift_belongs_to_the_day_on_which_it_starts(site: Site, time: str, starts: str | None) -> None:
    site.update(ADMIN, EMPLOYEE, FIRST, {"default_shift": NIGHT})
    [name] = store(site, time)
    row = site.checkins.rows[name]
    assert (row["shift_start"], row["shift"], row["offshift"]) == (starts, NIGHT if starts else None, int(not starts))


def test_an_overnight_shift_is_one_day_of_work(site: Site) -> None:
    for employee in (FIRST, SECOND):
        site.update(ADMIN, EMPLOYEE, employee, {"default_shift": NIGHT})
    store(site, "2026-11-17 21:55:00", "2026-11-18 06:10:00")
    sync(site, "2026-11-18 07:00:01", NIGHT)
    assert marked(site) == [(TUESDAY, "Present", 8.25)]
    sync(site, "2026-11-18 20:59:59", NIGHT)
    assert marked(site, SECOND) == []
    sync(site, "2026-11-18 21:00:00", NIGHT)
    assert marked(site, SECOND) == [(TUESDAY, "Absent", 0.0)]


def test_a_window_that_opens_before_midnight_belongs_to_the_day_on_which_the_shift_starts(site: Site) -> None:
    site.put_shift_types([{"name": "Early Shift", "start_time": "0:30:00", "end_time": "8:30:00"}])
    site.update(ADMIN, EMPLOYEE, FIRST, {"default_shift": "Early Shift"})
    store(site, "2026-11-16 23:45:00")
    sync(site, f"{TUESDAY} 10:00:00", "Early Shift")
    assert marked(site) == [(TUESDAY, "Present", 0.0)]


@pytest.mark.parametrize(
    ("times", "last_not", "first_over"),
    [
        (("14:00:00", "23:30:00"), "2026-11-18 12:59:59", "2026-11-18 13:00:00"),
        (("0:30:00", "8:30:00"), f"{TUESDAY} 09:30:00", f"{TUESDAY} 09:30:01"),
    ],
)
def test_a_window_that_reaches_over_midnight_moves_the_end_of_its_day(
    site: Site, times: tuple[str, str], last_not: str, first_over: str
) -> None:
    site.put_shift_types([{"name": "Edge", "start_time": times[0], "end_time": times[1]}])
    site.update(ADMIN, EMPLOYEE, FIRST, {"default_shift": "Edge"})
    sync(site, last_not, "Edge")
    assert marked(site) == []
    sync(site, first_over, "Edge")
    assert marked(site) == [(TUESDAY, "Absent", 0.0)]


def test_a_sync_beyond_today_marks_nobody_absent(site: Site) -> None:
    store(site, f"{TUESDAY} 08:00:00")
    sync(site, "2026-11-24 12:00:00")
    assert (marked(site), marked(site, SECOND)) == ([(TUESDAY, "Present", 0.0)], [])
    assert refusal(lambda: site.process_auto_attendance(ADMIN, DAY)) == (417, "ValidationError")


@pytest.mark.parametrize("time", ["2026-11-18T12:00:00+03:00", "2026-11-18 12:00:00Z", "yesterday"])
def test_a_sync_time_is_naive(site: Site, time: str) -> None:
    assert refusal(lambda: sync(site, time)) == (500, "OperationalError")
    assert site.shift_types.rows[DAY]["last_sync_of_checkin"] == "2025-01-01 00:00:00"


def test_attendance_changes_by_being_cancelled_only(site: Site) -> None:
    sync(site, "2026-11-18 12:00:00")
    name = "HR-ATT-2026-00001"
    assert refusal(lambda: site.update(ADMIN, ATTENDANCE, name, {"status": "Present"})) == (
        417,
        "UpdateAfterSubmitError",
    )
    assert refusal(lambda: site.delete(ADMIN, ATTENDANCE, name)) == (417, "ValidationError")
    site.cancel(ADMIN, ATTENDANCE, name)
    assert refusal(lambda: site.cancel(ADMIN, ATTENDANCE, name)) == (417, "ValidationError")
    site.delete(ADMIN, ATTENDANCE, name)
    assert refusal(lambda: site.cancel(ADMIN, ATTENDANCE, name)) == (404, "DoesNotExistError")


def test_who_has_no_role_neither_sees_nor_cancels_attendance(site: Site) -> None:
    sync(site, "2026-11-18 12:00:00")
    assert refusal(lambda: site.list_rows(NO_ROLE_USER, ATTENDANCE, {})) == (403, "PermissionError")
    assert refusal(lambda: site.cancel(NO_ROLE_USER, ATTENDANCE, "HR-ATT-2026-00001")) == (403, "PermissionError")
    assert refusal(lambda: site.process_auto_attendance(NO_ROLE_USER, DAY)) == (403, "PermissionError")
    assert refusal(lambda: site.update(NO_ROLE_USER, SHIFT_TYPE, DAY, {})) == (403, "PermissionError")


def test_attendance_and_shifts_are_there_after_a_crash(tmp_path: Path) -> None:
    before = new_site(tmp_path / "journal")
    store(before, f"{TUESDAY} 08:00:00")
    sync(before, "2026-11-18 12:00:00")
    before.close()
    after = Site(clock=clock, journal=tmp_path / "journal")
    assert after.attendances.rows == before.attendances.rows
    assert after.shift_types.rows == before.shift_types.rows
    sync(after, "2026-11-19 12:00:00")
    assert len({row["name"] for row in after.rows(ATTENDANCE)}) == len(list(after.rows(ATTENDANCE))) == 4
    after.close()
