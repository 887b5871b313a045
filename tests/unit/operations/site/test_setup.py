"""The unique field event_id: made once, and by whom it may be made."""

from typing import Any

import pytest
from fake_site import FakeErpnext

from attendance.erpnext import CHECKIN
from attendance.errors import AccessDenied, ConfigurationError, DocumentRejected
from operations.site.setup import create_event_id_field


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
