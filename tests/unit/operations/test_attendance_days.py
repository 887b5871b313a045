"""The field of Attendance directly at the site."""

from collections.abc import Mapping
from typing import Any

import pytest

from attendance.errors import AccessDenied, DocumentRejected
from attendance.settings import ErpnextSettings
from operations import attendance_days
from operations.attendance_days import ensure_day_field

SETTINGS = ErpnextSettings(url="http://erp.test", api_key="k", api_secret="s", _env_file=None)  # type: ignore[arg-type]


class Site:
    """Attendance, with the field or without."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.fields: list[Mapping[str, Any]] = []
        self.refuses = refuses

    def close(self) -> None:
        pass

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
    site = Site()
    monkeypatch.setattr(attendance_days, "ErpnextClient", lambda _settings: site)
    assert [ensure_day_field(SETTINGS)[0] for _ in range(2)] == ["created", "already there"]
    (field,) = site.fields
    # `no_copy`: what a person amends is theirs, and has no day of ours.
    assert (field["dt"], field["unique"], field["no_copy"], field["read_only"]) == ("Attendance", 1, 1, 1)


def test_a_site_that_does_not_let_us_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance_days, "ErpnextClient", lambda _settings: Site(AccessDenied("403 PermissionError")))
    assert ensure_day_field(SETTINGS) == ("not made", "403 PermissionError")
