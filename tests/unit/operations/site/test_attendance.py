"""What `punchstream erpnext check` says of Attendance directly."""

from collections.abc import Callable

import pytest
from attendance_site import SHIFT, FakeSite

from attendance.errors import DocumentRejected
from operations.site.attendance import look_at_attendance


def found(site: FakeSite, *shifts: str) -> dict[str, str]:
    """The state of each check."""
    checks = list(look_at_attendance(site, shifts))  # type: ignore[arg-type]
    assert all(check.remedy for check in checks if check.state != "ok")
    return {check.name: check.state for check in checks}


def test_nothing_is_looked_at_where_no_shift_asks_for_it() -> None:
    assert found(FakeSite()) == {}


def test_a_site_that_is_ready_passes() -> None:
    assert set(found(FakeSite(), SHIFT).values()) == {"ok"}


def auto_attendance(site: FakeSite) -> None:
    site.shift["enable_auto_attendance"] = 1


def no_field(site: FakeSite) -> None:
    site.fields_missing = {"punchstream_day"}


def no_holidays(site: FakeSite) -> None:
    def refuse(*_: object) -> None:
        raise DocumentRejected(417, "ValidationError", "Failed to get method")

    site.call = refuse  # type: ignore[assignment, method-assign]


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (auto_attendance, f"attendance of {SHIFT}"),
        (no_field, "punchstream_day field"),
        (no_holidays, "holidays"),
    ],
)
def test_what_is_in_the_way_is_found(spoil: Callable[[FakeSite], None], name: str) -> None:
    site = FakeSite()
    spoil(site)
    assert [each for each, state in found(site, SHIFT).items() if state == "failed"] == [name]
