"""Everything that `punchstream erpnext check` looks at: each fault is found by its own check, with a remedy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from fake_site import FakeErpnext, employee, ready
from memory_log import MemoryLog
from typer.testing import CliRunner

from attendance.erpnext import CHECKIN, SHIFT_TYPE
from attendance.errors import AccessDenied, DocumentRejected, PermissionDenied, ServerError, TargetUnavailable
from attendance.records.fleet import FleetEntry
from attendance.registry import Registry
from operations.site.checks import checks
from operations.site.results import Check
from punchstream.commands import erpnext

RIYADH = {"latitude": 24.7136, "longitude": 46.6753}


class Fleet:
    """A fleet file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write()

    def write(self, *devices: dict[str, Any], shifts: tuple[str, ...] = ("Day",)) -> None:
        """Devices by what they have beside the necessary; two without anything if none is given."""
        entries = [
            {"device_id": f"D{number}", "site": "HQ", "timezone": "Asia/Riyadh", "mode": "file", **device}
            for number, device in enumerate(devices or ({}, {}), start=1)
        ]
        listed = [{"shift_type": name, "sites": ["HQ"]} for name in shifts]
        self.path.write_text(yaml.safe_dump({"devices": entries, "shifts": listed}))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "devices.yaml")


def found(site: FakeErpnext, fleet: Fleet) -> dict[str, Check]:
    return {check.name: check for check in checks(site, lambda: Registry(fleet.path))}


def wrong(site: FakeErpnext, fleet: Fleet) -> list[tuple[str, str]]:
    """What is not ok, each with a remedy, and its state."""
    checks = [check for check in found(site, fleet).values() if check.state != "ok"]
    assert all(check.remedy for check in checks)
    return [(check.name, check.state) for check in checks]


def fail(error: Exception) -> Any:
    raise error


def test_a_site_that_is_ready_passes_every_check_and_nothing_is_left(fleet: Fleet) -> None:
    site = ready()
    before = dict(site.documents)
    assert wrong(site, fleet) == []
    assert site.documents == before
    assert any(document.get("employee") == "E1" for document in site.tried), "although one was tried"


def test_the_employees_are_counted(fleet: Fleet) -> None:
    assert found(ready(), fleet)["employees"].detail == "2 employees, 1 with attendance_device_id"


def make_mandatory(field: str, **more: Any) -> Callable[[FakeErpnext], None]:
    def spoil(site: FakeErpnext) -> None:
        site.fields[field] = {"fieldname": field, "fieldtype": "Data", "label": field.title(), "reqd": 1, **more}

    return spoil


def shift(**fields: Any) -> Callable[[FakeErpnext], None]:
    return lambda site: site.shifts["Day"].update(fields)


INGEST_SLOW = ("fast ingest", "warning")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda site: site.employees.append(employee("E3", "1")), [("employees", "failed")]),
        (lambda site: setattr(site, "zone", "Riyadh time"), [("time zone", "failed")]),
        (lambda site: setattr(site, "field", None), [("event_id field", "failed")]),
        (lambda site: setattr(site, "ingest", {"most": 1000, "bulk": True, "why": []}), []),
        (lambda site: setattr(site, "ingest", {"most": 1000, "bulk": False, "why": ["a hook"]}), [INGEST_SLOW]),
        (lambda site: setattr(site, "field", {"unique": 0}), [("event_id field", "failed")]),
        (
            lambda site: setattr(site, "insert", lambda _: fail(DocumentRejected(404, "DoesNotExistError", ""))),
            [("check-ins", "failed")],
        ),
        (lambda site: setattr(site, "insert", lambda _: "CKIN-1"), [("check-ins", "failed")]),
        (lambda site: setattr(site, "insert", lambda _: fail(ServerError("500"))), [("check-ins", "not checked")]),
        (make_mandatory("gate"), [("mandatory fields", "failed"), ("a check-in, undone", "failed")]),
        (make_mandatory("log_type"), [("mandatory fields", "failed")]),
        (
            lambda site: site.fields["shift"].update(mandatory_depends_on="eval:doc.device_id"),
            [("mandatory fields", "warning")],
        ),
        (lambda site: site.fields["device_id"].update(unique=1), [("unique fields", "failed")]),
        (lambda site: setattr(site, "workflow", "Approve"), [("workflow", "warning")]),
        (lambda site: setattr(site, "scripts", ["Check gates"]), [("server scripts", "warning")]),
        (lambda site: setattr(site, "scripts", None), [("server scripts", "not checked")]),
        (
            lambda site: setattr(site, "refuses", DocumentRejected(409, "DuplicateEntryError", "EMP-CKIN-1")),
            [("a check-in, undone", "failed")],
        ),
        (lambda site: setattr(site, "refuses", ServerError("500 NameError")), [("a check-in, undone", "failed")]),
        (
            lambda site: setattr(site, "refuses", PermissionDenied("403 PermissionError")),
            [("a check-in, undone", "failed")],
        ),
        (lambda site: setattr(site, "commits", True), [("a check-in, undone", "failed")]),
        (lambda site: setattr(site, "user_permissions", {"Company": [{}]}), [("hidden employees", "warning")]),
        (lambda site: setattr(site, "user_permissions", None), [("hidden employees", "not checked")]),
        (lambda site: site.employees.append(employee("E3", "3", date_of_joining=None)), [("joining dates", "warning")]),
        (lambda site: site.employees.append(employee("E3", "3", status="Left")), [("relieving dates", "warning")]),
        (shift(auto_update_last_sync=1), [("shift Day", "failed")]),
        (shift(last_sync_of_checkin="2999-01-01 00:00:00"), [("shift Day", "failed")]),
        (shift(process_attendance_after=None), [("shift Day", "failed")]),
        (shift(enable_auto_attendance=0), [("shift Day", "warning")]),
        (lambda site: site.shifts.pop("Day"), [("shift Day", "failed")]),
        (lambda site: site.shifts.update(Night={"enable_auto_attendance": 1}), [("other shifts", "warning")]),
        (lambda site: site.employees.clear(), [("a check-in, undone", "not checked")]),
    ],
)
def test_each_fault_is_found_by_its_own_check_with_a_remedy(
    spoil: Callable[[FakeErpnext], None], expected: list[tuple[str, str]], fleet: Fleet
) -> None:
    site = ready()
    spoil(site)
    assert wrong(site, fleet) == expected
    assert {row["device_id"] for row in site.documents.values()} == {"OLD"}, "and nothing is left"


def test_a_mandatory_field_that_is_filled_in_by_itself_or_sent_by_every_device_is_no_fault(fleet: Fleet) -> None:
    site = ready()
    make_mandatory("gate", default="Main")(site)
    make_mandatory("branch", fetch_from="employee.branch")(site)
    make_mandatory("checked", fieldtype="Check")(site)
    for field in ("log_type", "latitude", "longitude"):
        make_mandatory(field)(site)
    fleet.write({"direction": "in", **RIYADH}, {"direction": "out", **RIYADH})
    assert found(site, fleet)["mandatory fields"].state == "ok"


def test_employees_that_a_user_permission_hides_are_counted(fleet: Fleet) -> None:
    site = ready()
    site.user_permissions, site.hidden = {"Company": [{"doc": "Acme"}]}, 3
    check = found(site, fleet)["hidden employees"]
    assert check.state == "failed"
    assert "3 are hidden" in check.detail


def test_coordinates_that_the_site_asks_for_and_devices_lack_are_found_and_the_devices_named(fleet: Fleet) -> None:
    site = ready()
    site.geolocation = 1
    fleet.write({}, {"disabled": True}, RIYADH)
    check = found(site, fleet)["geolocation"]
    assert check.state == "failed"
    assert check.detail.endswith("the 1 of 2 devices that have none: D1")
    fleet.write(RIYADH)
    assert wrong(site, fleet) == [], "and a check-in is tried with the coordinates of a device"
    fleet.write({})
    assert wrong(site, fleet) == [("geolocation", "failed"), ("a check-in, undone", "not checked")]


def test_a_device_that_is_too_far_from_every_shift_location_is_named(fleet: Fleet) -> None:
    site = ready()
    site.geolocation = 1
    fleet.write(RIYADH, {"latitude": 24.7200, "longitude": 46.6753})
    site.locations = [{"name": "Office", "checkin_radius": 100, **RIYADH}]
    check = found(site, fleet)["shift locations"]
    assert check.state == "warning"
    assert "D2" in check.detail
    assert "D1" not in check.detail
    site.locations[0]["checkin_radius"] = 1000
    assert found(site, fleet)["shift locations"].state == "ok"


def test_employees_who_punch_and_are_on_no_shift_are_named(fleet: Fleet) -> None:
    site = ready()
    site.employees += [
        employee(name, number, default_shift=None)
        for name, number in (("E3", "3"), ("E4", "4"), ("E5", "5"), ("E6", None))
    ]
    site.assignments = [{"employee": "E4", "end_date": None}, {"employee": "E5", "end_date": "2020-01-31"}]
    check = found(site, fleet)["without a shift"]
    assert check.state == "warning"
    assert "E3, E5;" in check.detail
    site.shifts["Day"]["enable_auto_attendance"] = 0
    assert found(site, fleet)["without a shift"].state == "ok"


def test_an_older_erpnext_that_knows_no_geolocation_asks_for_none(fleet: Fleet) -> None:
    site = ready()
    site.knows_geolocation = False
    assert found(site, fleet)["geolocation"].state == "ok"


def test_a_shift_that_goes_by_log_types_that_its_devices_never_send_is_found(fleet: Fleet) -> None:
    site = ready()
    shift(determine_check_in_and_check_out="Strictly based on Log Type in Employee Checkin")(site)
    assert wrong(site, fleet) == []
    fleet.write({"direction": "none"}, {"direction": "in"})
    check = found(site, fleet)["shift Day"]
    assert check.state == "failed"
    assert check.detail.endswith("D1")


def test_without_a_fleet_file_what_depends_on_it_is_not_checked_and_never_ok(fleet: Fleet) -> None:
    site = ready()
    site.geolocation = 1
    fleet.path.unlink()
    assert wrong(site, fleet) == [
        ("fleet", "not checked"),
        ("geolocation", "not checked"),
        ("a check-in, undone", "not checked"),
        ("other shifts", "warning"),
    ]


def test_a_check_in_that_the_site_commits_too_early_is_taken_away_again(fleet: Fleet) -> None:
    site = ready()
    site.commits = True
    check = found(site, fleet)["a check-in, undone"]
    assert "CKIN-2 stayed" in check.detail
    assert list(site.documents) == ["CKIN-1"]


def test_a_user_without_roles_learns_of_both_permissions(fleet: Fleet) -> None:
    site = ready()
    site.roles.clear()
    states = dict(wrong(site, fleet))
    assert (states["employees"], states["check-ins"]) == ("failed", "failed")


@pytest.mark.parametrize(("doctype", "name"), [(CHECKIN, "corrections"), (SHIFT_TYPE, "shift types")])
def test_what_may_not_be_written_is_said_with_the_commands_that_need_it_and_is_no_error(
    site: FakeErpnext, fleet: Fleet, doctype: str, name: str
) -> None:
    site.read_only = {doctype}
    assert wrong(site, fleet) == [(name, "failed")]
    check = found(site, fleet)[name]
    assert doctype in (check.remedy or "")
    result = CliRunner().invoke(erpnext.app, ["check"], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert check.only_for in result.stdout


def test_without_a_document_to_try_on_the_right_to_write_is_left_open(fleet: Fleet) -> None:
    site = ready()
    site.documents.clear()
    detail = found(site, fleet)["corrections"].detail
    assert detail == "may be read; there is no Employee Checkin yet to try writing on"


def test_a_site_that_takes_a_change_to_an_old_version_is_reported(fleet: Fleet) -> None:
    site = ready()
    site.update = lambda *_: {}  # type: ignore[method-assign]
    assert wrong(site, fleet) == [("corrections", "failed"), ("shift types", "failed")]


def test_a_site_that_is_down_and_one_that_refuses_are_told_apart(fleet: Fleet) -> None:
    site = ready()
    site.logged_user = lambda: fail(TargetUnavailable("ConnectionError"))  # type: ignore[method-assign]
    assert wrong(site, fleet) == [("reachable", "failed")]
    site.logged_user = lambda: fail(AccessDenied("401 AuthenticationError"))  # type: ignore[method-assign]
    assert list(found(site, fleet)) == ["reachable", "credentials"]
    assert wrong(site, fleet) == [("credentials", "failed")]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> FakeErpnext:
    """The site that the commands find."""
    site = ready()
    for module in ("attendance.erpnext", "operations.site.setup"):
        monkeypatch.setattr(f"{module}.ErpnextClient", lambda _settings: site)
    for name, value in {"URL": "http://127.0.0.1:8000", "API_KEY": "key", "API_SECRET": "secret"}.items():
        monkeypatch.setenv(f"ERPNEXT_{name}", value)
    monkeypatch.setenv("PUNCHSTREAM_DEVICES", str(fleet.path))
    monkeypatch.setattr("punchstream.commands.arguments.KafkaLog", lambda *_: MemoryLog())
    return site


def test_the_check_command_ends_with_1_when_deliveries_may_fail_and_with_0_for_what_a_person_should_look_at(
    site: FakeErpnext,
) -> None:
    site.workflow, site.scripts = "Approve", None
    assert CliRunner().invoke(erpnext.app, ["check"]).exit_code == 0
    site.field = None
    result = CliRunner().invoke(erpnext.app, ["check", "--json"])
    assert result.exit_code == 1
    failures = [check["name"] for check in orjson.loads(result.stdout) if check["state"] == "failed"]
    assert failures == ["event_id field"]
    assert site.closed


def test_the_check_command_looks_at_a_shift_that_only_the_topic_has(
    site: FakeErpnext, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = MemoryLog()
    for each in (
        FleetEntry(
            "device", "GATE-1", "erpnext", {"site": "Plant", "timezone": "Asia/Riyadh", "mode": "file"}, "ERPNext"
        ),
        FleetEntry("shift", "Night", "erpnext", {"sites": ["Plant"]}, "ERPNext"),
    ):
        topics.add("fleet", each.key, each.encode())
    monkeypatch.setattr("punchstream.commands.arguments.KafkaLog", lambda *_: topics)
    site.shifts["Night"] = site.shifts["Day"]
    checks = orjson.loads(CliRunner().invoke(erpnext.app, ["check", "--json"]).stdout)
    details = {each["name"]: each["detail"] for each in checks}
    assert "auto attendance is on" in details["shift Night"]
    assert details["other shifts"] == "every Shift Type with auto attendance is in the fleet"


@pytest.mark.parametrize("columns", ["60", "80", "300"])
def test_at_any_width_no_word_of_the_check_is_lost(site: FakeErpnext, fleet: Fleet, columns: str) -> None:
    site.geolocation = 1
    shown = CliRunner().invoke(erpnext.app, ["check"], env={"COLUMNS": columns}).stdout
    for check in found(site, fleet).values():
        for text in (check.name, check.detail, check.remedy or ""):
            assert "".join(text.split()) in "".join(shown.split())


def test_the_setup_command_says_what_it_did(site: FakeErpnext) -> None:
    assert "was there already" in CliRunner().invoke(erpnext.app, ["setup"]).stdout
    site.field = None
    assert "was created" in CliRunner().invoke(erpnext.app, ["setup"]).stdout
