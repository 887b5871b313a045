"""`punchstream erpnext check` at the stand-in: a site that is ready passes, and what is wrong with one is found."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from attendance.erpnext import ErpnextClient
from attendance.registry import Registry
from attendance.settings import ErpnextSettings
from operations.site.checks import checks
from operations.site.results import Check
from operations.site.setup import create_event_id_field
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.erpnext.users import HR_CLERK

PLACE = {"latitude": 24.7136, "longitude": 46.6753}
FLOW = {
    "name": "W",
    "document_type": "Employee Checkin",
    "is_active": 1,
    "workflow_state_field": "workflow_state",
    "states": ["Draft"],
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path / "stand-in.log") as stand_in:
        person = {"name": "HR-EMP-00001", "attendance_device_id": "1", "date_of_joining": "2025-01-01"}
        stand_in.employees([person | {"default_shift": "Day Shift"}])
        with closing(client(stand_in, admin=True)) as admin:
            create_event_id_field(admin)
        yield stand_in


def client(site: ErpnextStandIn, *, admin: bool = False) -> ErpnextClient:
    """That of an HR User, or of a System Manager who is HR Manager, too."""
    key, secret = (site.api_key, site.api_secret) if admin else (HR_CLERK.api_key, HR_CLERK.api_secret)
    return ErpnextClient(ErpnextSettings(url=site.url, api_key=key, api_secret=secret, _env_file=None))


def found(site: ErpnextStandIn, tmp_path: Path, **device: Any) -> dict[str, Check]:
    fleet = tmp_path / "devices.yaml"
    gate = {"device_id": "GATE-1", "site": "HQ", "timezone": "Asia/Riyadh", "mode": "file", **device}
    fleet.write_text(yaml.safe_dump({"devices": [gate], "shifts": [{"shift_type": "Day Shift", "sites": ["HQ"]}]}))
    with closing(client(site)) as clerk:
        return {check.name: check for check in checks(clerk, lambda: Registry(fleet))}


def wrong(site: ErpnextStandIn, tmp_path: Path, **device: Any) -> list[tuple[str, str]]:
    return [(check.name, check.state) for check in found(site, tmp_path, **device).values() if check.state != "ok"]


UNSEEN = ("server scripts", "not checked")
UNTRIED = ("event_id field", "not checked")  # what refuses every check-in refuses those of that trial
TRIED = ("a check-in, undone", "failed")


def test_a_site_that_is_ready_passes_and_nothing_stays(site: ErpnextStandIn, tmp_path: Path) -> None:
    assert wrong(site, tmp_path) == [UNSEEN]
    assert not site.checkins()
    assert not any(check.hinders for check in found(site, tmp_path).values())


def ask_for_coordinates(site: ErpnextStandIn) -> None:
    site.put("HR Settings", {"name": "HR Settings", "allow_geolocation_tracking": 1})


def test_coordinates_that_are_asked_for_are_missed_and_tried(site: ErpnextStandIn, tmp_path: Path) -> None:
    ask_for_coordinates(site)
    assert wrong(site, tmp_path) == [("geolocation", "failed"), UNSEEN, ("a check-in, undone", "not checked")]
    assert wrong(site, tmp_path, **PLACE) == [UNSEEN]
    site.put("Shift Location", {"name": "Office", "checkin_radius": 50, "latitude": 24.8, "longitude": 46.7})
    assert wrong(site, tmp_path, **PLACE) == [("shift locations", "warning"), UNSEEN]


def add_mandatory_field(site: ErpnextStandIn) -> None:
    field = {"doctype": "Custom Field", "dt": "Employee Checkin", "fieldname": "gate", "label": "Gate"}
    with closing(client(site, admin=True)) as admin:
        admin.insert(field | {"fieldtype": "Data", "reqd": 1, "insert_after": "device_id"})


def put_the_series_behind(site: ErpnextStandIn) -> None:
    with closing(client(site, admin=True)) as admin:
        admin.insert({"doctype": "Employee Checkin", "employee": "HR-EMP-00001", "time": "2026-01-01 08:00:00"})
    site.series("Employee Checkin", 0)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (add_mandatory_field, [UNTRIED, ("mandatory fields", "failed"), UNSEEN, TRIED]),
        (put_the_series_behind, [UNTRIED, UNSEEN, TRIED]),
        (
            lambda site: site.put("Workflow", FLOW),
            [("workflow", "warning"), UNSEEN],
        ),
        (
            lambda site: site.put(
                "User Permission",
                {"name": "P", "user": HR_CLERK.name, "allow": "Company", "for_value": "Acme Works"},
            ),
            [("hidden employees", "warning"), UNSEEN],
        ),
        (
            lambda site: site.shift_types([{"name": "Day Shift", "auto_update_last_sync": 1}]),
            [UNSEEN, ("shift Day Shift", "failed")],
        ),
    ],
)
def test_each_fault_is_found(
    site: ErpnextStandIn, tmp_path: Path, spoil: Callable[[ErpnextStandIn], object], expected: list[tuple[str, str]]
) -> None:
    spoil(site)
    before = site.checkins()
    assert wrong(site, tmp_path) == expected
    assert site.checkins() == before


def test_a_hook_that_fails_is_met_by_the_check_in_that_is_undone(site: ErpnextStandIn, tmp_path: Path) -> None:
    failure = {"status": 500, "exc_type": "NameError"}
    site.knobs(failing_employees={"HR-EMP-00001": failure})
    assert wrong(site, tmp_path) == [UNSEEN, TRIED]


def test_employees_that_a_user_permission_hides_are_counted(site: ErpnextStandIn, tmp_path: Path) -> None:
    site.put("User Permission", {"name": "P", "user": HR_CLERK.name, "allow": "Company", "for_value": "Another"})
    check = found(site, tmp_path)["hidden employees"]
    assert check.state == "failed"
    assert "1 are hidden" in check.detail


def test_an_employee_on_no_shift_is_named_until_one_is_assigned(site: ErpnextStandIn, tmp_path: Path) -> None:
    site.employees([{"name": "HR-EMP-00002", "attendance_device_id": "2", "date_of_joining": "2025-01-01"}])
    assert wrong(site, tmp_path) == [UNSEEN, ("without a shift", "warning")]
    assigned = {"employee": "HR-EMP-00002", "shift_type": "Day Shift", "start_date": "2025-01-01", "docstatus": 1}
    site.put("Shift Assignment", assigned)
    assert wrong(site, tmp_path) == [UNSEEN]
