"""What a repair may touch."""

from typing import Any

import pytest
from late_site import SHIFT, US, LateSite, absent, late

from operations.late import LeftAlone, days_of, plan_repair, repair, to_cancel


def cancelled(*rows: dict[str, Any], counted: set[str | None] = {None}) -> object:  # noqa: B006 - never changed
    return to_cancel(rows, SHIFT, US, counted)


@pytest.mark.parametrize("made_by", ["Administrator", US])
def test_the_absent_that_auto_attendance_made_is_cancelled(made_by: str) -> None:
    row = absent(owner=made_by, modified_by=made_by)
    assert cancelled(row) == row
    assert cancelled(absent(docstatus=2, name="HR-ATT-0"), row) == row


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"status": "Present"}, "the day is Present"),
        ({"status": "On Leave", "leave_application": "LAP-1"}, "the day is On Leave"),
        ({"docstatus": 0}, "the Absent is a draft"),
        ({"owner": "hr@example.com"}, "not made by auto attendance"),
        ({"owner": "hr@example.com", "modified_by": "hr@example.com"}, "not made by auto attendance"),
        ({"modified_by": "hr@example.com"}, "hr@example.com has changed"),
        ({"leave_type": "Unpaid"}, "not made by auto attendance"),
        ({"leave_application": "LAP-1"}, "not made by auto attendance"),
        ({"attendance_request": "ATR-1"}, "not made by auto attendance"),
        ({"shift": "Night Shift"}, "not made by auto attendance of this shift"),
        ({"shift": None}, "not made by auto attendance of this shift"),
    ],
)
def test_what_a_person_made_or_may_have_made_is_left_alone_with_the_reason(fields: dict[str, Any], why: str) -> None:
    assert why in str(cancelled(absent(**fields)))
    assert isinstance(cancelled(absent(**fields)), LeftAlone)


def test_an_absent_with_all_check_ins_counted_is_left_alone() -> None:
    assert cancelled(absent(), counted={"HR-ATT-1"}) == LeftAlone("all_counted")
    assert cancelled(absent(), counted={"HR-ATT-1", None}) == absent()


def test_several_attendances_of_a_day_are_left_alone() -> None:
    assert "several" in str(cancelled(absent(), absent(name="HR-ATT-2", shift="Night Shift")))


def test_a_day_without_attendance_is_gone_on_with_only_where_a_repair_has_cancelled_it() -> None:
    assert cancelled(absent(docstatus=2, modified_by=US)) is None
    assert "no attendance" in str(cancelled())
    assert "no attendance" in str(cancelled(absent(docstatus=2))), "ERPNext's jobs cancel nothing: it was a person"
    assert "no attendance" in str(cancelled(absent(docstatus=2, modified_by="hr@example.com")))
    assert "no attendance" in str(cancelled(absent(docstatus=2, modified_by=US, status="Present")))


def results(site: LateSite, *employees: str) -> dict[str, str]:
    return {each.day.employee: each.result for each in repair(site, late(*employees))}


def test_the_days_of_a_shift_are_opened_together_and_processed_once() -> None:
    site = LateSite("E1", "E2", "E3")
    assert results(site, "E2", "E1") == {"E1": "repaired", "E2": "repaired"}
    assert site.processed == 1
    assert site.absent["E3"]["docstatus"] == 1, "nobody asked for that day"


def test_a_day_that_erpnext_refuses_does_not_hold_up_the_others() -> None:
    site = LateSite("E1", "E2")
    site.broken = {"E1"}
    assert results(site, "E1", "E2") == {"E1": "not repaired", "E2": "repaired"}
    assert site.absent["E1"]["docstatus"] == 1


def test_an_absent_stands_while_its_check_ins_are_set_aside_again() -> None:
    site = LateSite("E1")
    site.again = 1
    assert results(site, "E1") == {"E1": "not repaired"}
    assert site.absent["E1"]["docstatus"] == 1
    assert results(site, "E1") == {"E1": "repaired"}


def test_a_plan_says_what_a_repair_will_do_and_changes_nothing() -> None:
    site = LateSite("E1", "E2")
    site.absent["E2"] |= {"status": "On Leave"}
    plan = plan_repair(site, days_of(late("E2", "E1", "E1")))
    assert [(each.day.employee, each.checkins, str(each.left_alone or "")) for each in plan] == [
        ("E1", 1, ""),
        ("E2", 1, "the day is On Leave"),
    ]
    assert (site.processed, site.checkins["E1"]["skip_auto_attendance"]) == (0, 1)
    assert results(site, "E1", "E2") == {"E1": "repaired", "E2": "left alone"}
