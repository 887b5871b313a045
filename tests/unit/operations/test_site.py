from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from attendance.erpnext import CHECKIN, SHIFT_TYPE, ErpnextClient
from attendance.errors import (
    AccessDenied,
    ConfigurationError,
    Conflict,
    DocumentRejected,
    PermissionDenied,
    ServerError,
    TargetUnavailable,
)
from operations.site import checks, create_event_id_field
from punchstream.commands import erpnext


class FakeErpnext(ErpnextClient):
    """A site with permissions, a Custom Field and employees, as far as the commands look at it."""

    def __init__(self, *roles: str) -> None:
        self.roles = set(roles)
        self.field: dict[str, Any] | None = None
        self.employees: list[dict[str, Any]] = []
        self.documents = {CHECKIN: "CKIN-1", SHIFT_TYPE: "Day"}
        self.read_only: set[str] = set()
        self.zone = "Asia/Riyadh"
        self.stored: list[Mapping[str, Any]] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def logged_user(self) -> str:
        return "api@example.com"

    def time_zone(self) -> str:
        return self.zone

    def has_event_id_field(self) -> bool:
        return self.field is not None and bool(self.field["unique"])

    def get_list(self, doctype: str, *_: Any, **__: Any) -> list[dict[str, Any]]:
        if doctype == "Custom Field":
            return [self.field] if self.field else []
        if "HR User" not in self.roles:
            raise AccessDenied("403 PermissionError: No permission for Employee")
        if doctype in (CHECKIN, SHIFT_TYPE):
            return [{"name": self.documents[doctype]}] if doctype in self.documents else []
        return self.employees

    def update(self, doctype: str, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        assert (name, list(fields)) == (self.documents[doctype], ["modified"])
        if doctype in self.read_only:
            raise PermissionDenied("403 PermissionError")
        raise Conflict("417 TimestampMismatchError")

    def insert(self, document: Mapping[str, Any]) -> str:
        if document["doctype"] == "Custom Field":
            if "System Manager" not in self.roles:
                raise AccessDenied("403 PermissionError")
            if self.field:
                raise DocumentRejected(417, "ValidationError", "already exists")
            self.field = dict(document)
            return "Employee Checkin-event_id"
        if "HR User" not in self.roles:
            raise AccessDenied("403 PermissionError")
        if "employee" not in document:
            raise DocumentRejected(417, "MandatoryError", "employee")
        self.stored.append(document)
        return "CKIN-1"


def employee(name: str, device_user_id: str | None) -> dict[str, Any]:
    unset = dict.fromkeys(("company", "branch", "relieving_date", "date_of_joining", "creation"))
    return unset | {
        "name": name,
        "attendance_device_id": device_user_id,
        "status": "Active",
        "modified": "2026-03-01 08:00:00.000000",
    }


def ready() -> FakeErpnext:
    site = FakeErpnext("HR User", "System Manager")
    site.employees = [employee("E1", "1"), employee("E2", None)]
    create_event_id_field(site)
    return site


def states(site: FakeErpnext) -> dict[str, str]:
    return {check.name: check.state for check in checks(site)}


def test_setup_creates_the_unique_field() -> None:
    site = FakeErpnext("System Manager")
    create_event_id_field(site)
    assert site.field is not None
    assert (site.field["dt"], site.field["fieldname"], site.field["unique"]) == (CHECKIN, "event_id", 1)


def test_setup_without_system_manager_says_what_to_do() -> None:
    with pytest.raises(AccessDenied, match=r"api@example\.com may not create .* of a System Manager"):
        create_event_id_field(FakeErpnext("HR User"))


def test_setup_says_so_when_the_field_is_there_and_not_unique() -> None:
    site = FakeErpnext("System Manager")
    site.field = {"name": "Employee Checkin-event_id", "unique": 0}
    with pytest.raises(ConfigurationError, match="tick Unique in Customize Form"):
        create_event_id_field(site)


def test_setup_passes_on_what_erpnext_says_of_another_obstacle() -> None:
    site = FakeErpnext("System Manager")
    site.insert = lambda _document: fail(DocumentRejected(417, "LinkValidationError", "Employee Checkin"))  # type: ignore[method-assign]
    with pytest.raises(DocumentRejected, match="LinkValidationError"):
        create_event_id_field(site)


def fail(error: Exception) -> Any:
    raise error


def test_a_site_that_is_ready_passes_every_check_and_nothing_is_stored() -> None:
    site = ready()
    assert set(states(site).values()) == {"ok"}
    assert site.stored == []


def test_the_employees_are_counted() -> None:
    details = {check.name: check.detail for check in checks(ready())}
    assert details["employees"] == "2 employees, 1 with attendance_device_id"


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda site: site.employees.append(employee("E3", "1")), "employees"),
        (lambda site: setattr(site, "zone", "Riyadh time"), "time zone"),
        (lambda site: setattr(site, "field", None), "event_id field"),
        (lambda site: setattr(site, "insert", lambda _: "CKIN-1"), "check-ins"),
        (lambda site: setattr(site, "insert", lambda _: fail(AccessDenied("403"))), "check-ins"),
        (
            lambda site: setattr(site, "insert", lambda _: fail(DocumentRejected(404, "DoesNotExistError", ""))),
            "check-ins",
        ),
    ],
)
def test_each_thing_that_is_wrong_fails_its_own_check_with_a_remedy(
    spoil: Callable[[FakeErpnext], None], name: str
) -> None:
    site = ready()
    spoil(site)
    (failed,) = [check for check in checks(site) if check.state != "ok"]
    assert (failed.name, failed.state) == (name, "failed")
    assert failed.remedy


def test_a_user_without_roles_learns_of_both_permissions() -> None:
    site = ready()
    site.roles.clear()
    found = states(site)
    assert (found["employees"], found["check-ins"]) == ("failed", "failed")


@pytest.mark.parametrize(("doctype", "name"), [(CHECKIN, "corrections"), (SHIFT_TYPE, "shift types")])
def test_what_may_not_be_written_is_said_with_the_commands_that_need_it_and_is_no_error(
    site: FakeErpnext, doctype: str, name: str
) -> None:
    site.read_only = {doctype}
    (failed,) = [check for check in checks(site) if check.state != "ok"]
    assert (failed.name, failed.state) == (name, "failed")
    assert doctype in (failed.remedy or "")
    result = CliRunner().invoke(erpnext.app, ["check"], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert failed.only_for in result.stdout


def test_without_a_document_to_try_on_the_right_to_write_is_left_open() -> None:
    site = ready()
    site.documents.clear()
    details = {check.name: check.detail for check in checks(site)}
    assert details["corrections"] == "may be read; there is no Employee Checkin yet to try writing on"


def test_a_site_that_takes_a_change_to_an_old_version_is_reported(site: FakeErpnext) -> None:
    site.update = lambda *_: {}  # type: ignore[method-assign]
    assert (states(site)["corrections"], states(site)["shift types"]) == ("failed", "failed")


def test_what_the_site_could_not_answer_is_not_checked() -> None:
    site = ready()
    site.insert = lambda _document: fail(ServerError("500 TypeError"))  # type: ignore[method-assign]
    assert states(site)["check-ins"] == "not checked"


def test_a_site_that_is_down_and_one_that_refuses_are_told_apart() -> None:
    site = ready()
    site.logged_user = lambda: fail(TargetUnavailable("ConnectionError"))  # type: ignore[method-assign]
    assert states(site) == {"reachable": "failed"}
    site.logged_user = lambda: fail(AccessDenied("401 AuthenticationError"))  # type: ignore[method-assign]
    assert states(site) == {"reachable": "ok", "credentials": "failed"}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> FakeErpnext:
    """The site that the commands find."""
    site = ready()
    for module in ("attendance.erpnext", "operations.site"):
        monkeypatch.setattr(f"{module}.ErpnextClient", lambda _settings: site)
    for name, value in {"URL": "http://127.0.0.1:8000", "API_KEY": "key", "API_SECRET": "secret"}.items():
        monkeypatch.setenv(f"ERPNEXT_{name}", value)
    return site


def test_the_check_command_ends_with_1_when_something_is_wrong(site: FakeErpnext) -> None:
    assert CliRunner().invoke(erpnext.app, ["check"]).exit_code == 0
    site.field = None
    result = CliRunner().invoke(erpnext.app, ["check", "--json"])
    assert result.exit_code == 1
    assert [check["name"] for check in orjson.loads(result.stdout) if check["remedy"]] == ["event_id field"]
    assert site.closed


def test_the_setup_command_says_what_it_did(site: FakeErpnext) -> None:
    assert "was there already" in CliRunner().invoke(erpnext.app, ["setup"]).stdout
    site.field = None
    assert "was created" in CliRunner().invoke(erpnext.app, ["setup"]).stdout
