"""The unique fields event_id and punchstream_day: made once, and by whom they may be made."""

from collections.abc import Mapping
from typing import Any

import pytest
from fake_site import FakeErpnext

from attendance.erpnext import CHECKIN, ErpnextClient
from attendance.errors import AccessDenied, ConfigurationError, DocumentRejected
from attendance.settings import ErpnextSettings
from operations.site import setup
from operations.site.setup import create_event_id_field, ensure_day_field

SETTINGS = ErpnextSettings(url="http://erp.test", api_key="k", api_secret="s", _env_file=None)  # type: ignore[arg-type]


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
    def refuse(_document: Any) -> str:
        raise DocumentRejected(417, "LinkValidationError", "Employee Checkin")

    site = FakeErpnext("System Manager")
    site.insert = refuse  # type: ignore[method-assign]
    with pytest.raises(DocumentRejected, match="LinkValidationError"):
        create_event_id_field(site)


class AttendanceFields:
    """Attendance, with the field or without."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.fields: list[Mapping[str, Any]] = []
        self.refuses = refuses

    def close(self) -> None:
        pass

    has_field = ErpnextClient.has_field

    def get_list(self, _doctype: str, fields: list[str], **_: Any) -> list[Any]:
        if fields[0] not in {field["fieldname"] for field in self.fields}:
            raise DocumentRejected(417, "DataError", "Field not permitted in query")
        return []

    def insert(self, document: Mapping[str, Any]) -> str:
        if self.refuses is not None:
            raise self.refuses
        self.fields.append(document)
        return "Attendance-punchstream_day"


def test_the_field_is_made_once_and_is_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    site = AttendanceFields()
    monkeypatch.setattr(setup, "ErpnextClient", lambda _settings: site)
    assert [ensure_day_field(SETTINGS)[0] for _ in range(2)] == ["created", "already there"]
    (field,) = site.fields
    # `no_copy`: what a person amends is theirs, and has no day of ours.
    assert (field["dt"], field["unique"], field["no_copy"], field["read_only"]) == ("Attendance", 1, 1, 1)


def test_a_site_that_does_not_let_us_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "ErpnextClient", lambda _settings: AttendanceFields(AccessDenied("403 PermissionError")))
    assert ensure_day_field(SETTINGS) == ("not made", "403 PermissionError")
