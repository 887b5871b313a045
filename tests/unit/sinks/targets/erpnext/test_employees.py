"""Whose check-ins are not sent, because ERPNext does not have them as the user map had."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from msgspec.structs import replace

from attendance.erpnext import ErpnextClient
from attendance.errors import (
    AccessDenied,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    Reason,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
)
from attendance.records.checkin import Checkin
from sinks.targets.base import Delivered, Result, SentBack
from sinks.targets.erpnext.documents import to_document
from sinks.targets.erpnext.employees import not_to_be_sent

CREATED = "2025-12-20 09:00:00.123456"


@dataclass
class FakeSite:
    """ERPNext's employees and what it holds of ours, by event_id."""

    employees: dict[str, dict[str, Any]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    rows: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fails: Exception | None = None
    broken: dict[str, Exception] = field(default_factory=dict)

    def hire(self, name: str, **fields: Any) -> None:
        self.employees[name] = {
            "name": name,
            "status": "Active",
            "date_of_joining": "2026-01-01",
            "relieving_date": None,
            "creation": CREATED,
            **fields,
        }

    def get_list(self, doctype: str, fields: Sequence[str], filters: Any) -> list[dict[str, Any]]:
        self.requests.append(doctype)
        if self.fails is not None:
            raise self.fails
        ((_, _, values),) = filters
        if doctype == "Employee Checkin":
            return [{"name": self.rows[id_], "event_id": id_} for id_ in values if id_ in self.rows]
        there = [row for name, row in self.employees.items() if name in values and name not in self.hidden]
        return [{name: row[name] for name in fields} for row in there]

    def get(self, _: str, name: str) -> dict[str, Any]:
        self.requests.append(name)
        if name in self.broken:
            raise self.broken[name]
        if name not in self.employees:
            raise DocumentRejected(404, "DoesNotExistError", "")
        if name in self.hidden:
            raise PermissionDenied("403 PermissionError")
        return self.employees[name]


@pytest.fixture
def site() -> FakeSite:
    site = FakeSite()
    site.hire("E1")
    return site


def checkin(employee: str = "E1", *, day: str = "2026-03-02", number: int = 1, **fields: Any) -> Checkin:
    checkin = Checkin(
        event_id=f"{number:032x}",
        employee=employee,
        event_time=datetime.fromisoformat(f"{day}T21:30:00").replace(tzinfo=UTC),
        log_type="IN",
        device_id="D1",
        device_user_id="7",
        site="HQ",
        device_timezone="UTC",
        employee_created=CREATED,
    )
    return replace(checkin, **fields)


def asked(site: FakeSite, *checkins: Checkin, event_id: bool = True) -> dict[int, Result]:
    documents = {index: to_document(each, "UTC", event_id=event_id) for index, each in enumerate(checkins)}
    return {**not_to_be_sent(cast("ErpnextClient", site), dict(enumerate(checkins)), documents)}


def reasons(found: dict[int, Result]) -> dict[int, Reason | str]:
    known = {index: each for index, each in found.items() if isinstance(each, SentBack | Delivered | InvalidRecord)}
    return {index: each.status if isinstance(each, Delivered) else each.reason for index, each in known.items()}


def test_employees_who_are_there_cost_one_request_whatever_their_number(site: FakeSite) -> None:
    for number in range(100):
        site.hire(f"P{number}")

    assert asked(site, *(checkin(f"P{number % 100}", number=number) for number in range(200))) == {}
    assert site.requests == ["Employee"]


def test_a_check_in_of_nobody_is_sent_back_and_the_others_are_sent(site: FakeSite) -> None:
    found = asked(site, checkin("GONE", number=1), checkin(number=2), checkin("GONE", number=3))

    assert reasons(found) == {0: Reason.UNKNOWN_EMPLOYEE, 2: Reason.UNKNOWN_EMPLOYEE}
    assert site.requests == ["Employee", "GONE", "Employee Checkin"]


def test_an_employee_whom_a_user_permission_hides_is_not_missing(site: FakeSite) -> None:
    site.hidden = {"E1"}

    assert asked(site, checkin()) == {}


def test_a_number_that_somebody_else_has_now_is_not_the_employee_of_the_punch(site: FakeSite) -> None:
    site.hire("E1", creation="2026-03-01 10:00:00.5")

    [found] = asked(site, checkin()).values()
    assert isinstance(found, SentBack)
    assert found.reason is Reason.UNKNOWN_EMPLOYEE
    assert "2026-03-01 10:00:00.5" in found.message
    assert CREATED in found.message


def test_a_check_in_that_does_not_say_whose_number_it_was_goes_by_the_number(site: FakeSite) -> None:
    assert asked(site, checkin(employee_created=None)) == {}


@pytest.mark.parametrize(
    ("fields", "day", "reason"),
    [
        ({}, "2026-01-01", None),
        ({}, "2025-12-31", Reason.BEFORE_JOINING),
        ({"status": "Left", "relieving_date": "2026-03-02"}, "2026-03-02", None),
        ({"status": "Left", "relieving_date": "2026-03-02"}, "2026-03-03", Reason.EMPLOYEE_INACTIVE),
        ({"status": "Suspended"}, "2026-03-02", Reason.EMPLOYEE_INACTIVE),
        ({"status": "Inactive", "relieving_date": "2026-03-02"}, "2026-03-02", Reason.EMPLOYEE_INACTIVE),
    ],
)
def test_the_day_of_the_punch_decides(site: FakeSite, fields: dict[str, str], day: str, reason: Reason | None) -> None:
    site.hire("E1", **fields)

    assert reasons(asked(site, checkin(day=day))) == ({} if reason is None else {0: reason})


def test_the_day_is_that_of_the_devices_zone(site: FakeSite) -> None:
    site.hire("E1", status="Left", relieving_date="2026-03-03")

    assert asked(site, checkin(day="2026-03-03")) == {}
    assert reasons(asked(site, checkin(day="2026-03-03", device_timezone="Asia/Riyadh"))) == {
        0: Reason.EMPLOYEE_INACTIVE
    }


def test_what_erpnext_holds_already_is_delivered_whatever_became_of_its_employee(site: FakeSite) -> None:
    site.rows = {checkin(number=1).event_id: "CKIN-1"}

    found = asked(site, checkin("MERGED", number=1), checkin("MERGED", number=2))

    assert reasons(found) == {0: "already_there", 1: Reason.UNKNOWN_EMPLOYEE}


def test_an_event_that_is_twice_in_one_call_is_delivered_twice(site: FakeSite) -> None:
    site.rows = {checkin(number=1).event_id: "CK-1"}

    assert reasons(asked(site, checkin("GONE"), checkin("GONE"))) == {0: "already_there", 1: "already_there"}


@pytest.mark.parametrize(
    "fields", [{"device_timezone": "Mars/Olympus"}, {"device_timezone": "Asia/Riyadh", "day": "9999-12-31"}]
)
def test_a_device_zone_in_which_there_is_no_day_stops_only_its_check_in(site: FakeSite, fields: dict[str, str]) -> None:
    assert reasons(asked(site, checkin(**fields), checkin(number=2))) == {0: Reason.UNREADABLE_TIME}


def test_a_correction_is_not_taken_for_what_it_corrects(site: FakeSite) -> None:
    site.rows = {checkin().event_id: "CKIN-1"}

    assert reasons(asked(site, checkin("GONE", supersedes=checkin().event_id))) == {0: Reason.UNKNOWN_EMPLOYEE}


def test_without_the_field_it_cannot_be_looked_up_and_waits(site: FakeSite) -> None:
    assert reasons(asked(site, checkin("GONE"), event_id=False)) == {0: Reason.UNKNOWN_EMPLOYEE}
    assert site.requests == ["Employee", "GONE"]


@pytest.mark.parametrize("error", [TargetUnavailable("502"), AccessDenied("401"), PermissionDenied("403")])
def test_as_long_as_nobody_can_be_looked_up_nothing_is_known(site: FakeSite, error: Exception) -> None:
    site.fails = error

    with pytest.raises(type(error)):
        asked(site, checkin())


def test_an_employee_who_cannot_be_looked_up_delays_nobody_else(site: FakeSite) -> None:
    site.hire("E2", date_of_joining="soon")
    site.broken = {
        "E3": ServerError("500 NameError"),
        "E4": DocumentRejected(417, "ValidationError", "hook"),
        "E5": RequestAbandoned("500 QueryTimeoutError", answered=True),
    }

    found = asked(site, *(checkin(f"E{number}", number=number) for number in range(1, 6)))

    assert {index: type(each) for index, each in found.items()} == dict.fromkeys((1, 2, 3, 4), ServerError)


def test_one_employee_for_whom_erpnext_never_answers_delays_nobody_else_and_two_are_the_site(site: FakeSite) -> None:
    site.hire("E2")
    site.broken = {"E3": RequestAbandoned("ReadTimeout")}
    checkins = [checkin(f"E{number}", number=number) for number in (1, 2, 3)]
    assert {index: type(each) for index, each in asked(site, *checkins).items()} == {2: ServerError}

    site.broken["E4"] = site.broken["E3"]
    with pytest.raises(RequestAbandoned):
        asked(site, *checkins, checkin("E4", number=4))
