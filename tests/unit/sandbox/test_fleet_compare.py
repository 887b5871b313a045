"""What ERPNext holds against what the plan says."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from attendance.times import to_wall_clock
from sandbox.fleet.compare import compare
from sandbox.fleet.plan import Shape, plan
from sandbox.fleet.send import Tally

ZONE = "Asia/Kolkata"
FLEET = plan(2, datetime(2026, 7, 1, 12, 0, tzinfo=UTC), Shape(terminals=6, people=30, punches=300))


@pytest.fixture
def tally() -> Tally:
    return Tally(acknowledged=Counter(FLEET.expectation.copies))


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """What ERPNext answers when all is well."""
    documents = []
    for number, expected in enumerate(FLEET.expectation.of("delivered"), start=1):
        site = expected.terminal.site
        assert expected.event_time is not None
        zone = site.zone if site.checkin_time == "device_local" else ZONE
        documents.append(
            {
                "name": f"EMP-CKIN-{number:06d}",
                "employee": expected.employee,
                "time": f"{to_wall_clock(expected.event_time, zone)}.000000",
                "log_type": expected.log_type or None,
                "device_id": expected.terminal.device_id,
                "event_id": expected.event_id,
            }
        )
    return documents


def test_what_must_be_there_and_nothing_else_is_balanced(tally: Tally, rows: list[dict[str, Any]]) -> None:
    assert compare(FLEET, tally, rows, ZONE) == []


def test_rows_of_a_site_without_the_event_id_field_balance_too(tally: Tally, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        del row["event_id"]
    assert compare(FLEET, tally, rows, ZONE) == []


def test_a_missing_row_is_named(tally: Tally, rows: list[dict[str, Any]]) -> None:
    lost = rows.pop(3)
    (difference,) = compare(FLEET, tally, rows, ZONE)
    assert difference.startswith(f"{lost['event_id']}: missing")


def test_a_punch_that_no_terminal_was_told_is_durable_may_be_missing_or_there(
    tally: Tally, rows: list[dict[str, Any]]
) -> None:
    del tally.acknowledged[rows[3]["event_id"]]
    assert compare(FLEET, tally, rows, ZONE) == []
    del rows[3]
    assert compare(FLEET, tally, rows, ZONE) == []


def test_a_row_that_is_there_twice_is_named(tally: Tally, rows: list[dict[str, Any]]) -> None:
    (difference,) = compare(FLEET, tally, [*rows, rows[0] | {"name": "EMP-CKIN-COPY"}], ZONE)
    assert "there 2 times" in difference


def test_a_repeat_in_erpnext_must_not_be_there(tally: Tally, rows: list[dict[str, Any]]) -> None:
    repeat = next(FLEET.expectation.of("repeat"))
    (difference,) = compare(FLEET, tally, [*rows, rows[0] | {"event_id": repeat.event_id}], ZONE)
    assert "must not be there" in difference


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("employee", "HR-EMP-99999"),
        ("time", "2026-01-01 00:00:00"),
        ("log_type", "SIDEWAYS"),
        ("device_id", "elsewhere"),
    ],
)
def test_a_wrong_field_is_named(tally: Tally, rows: list[dict[str, Any]], field: str, value: str) -> None:
    rows[5][field] = value
    (difference,) = compare(FLEET, tally, rows, ZONE)
    assert f"{field} is {value!r}" in difference


def test_a_time_in_the_wrong_zone_is_told_from_another_time(tally: Tally, rows: list[dict[str, Any]]) -> None:
    expected = next(FLEET.expectation.of("delivered"))
    assert expected.event_time is not None
    site = expected.terminal.site
    wrong = ZONE if site.checkin_time == "device_local" else site.zone
    rows[0]["time"] = str(to_wall_clock(expected.event_time, wrong))
    (difference,) = compare(FLEET, tally, rows, ZONE)
    assert difference.endswith("in the wrong zone")
    rows[0]["time"] = str(to_wall_clock(expected.event_time + timedelta(seconds=1), wrong))
    (difference,) = compare(FLEET, tally, rows, ZONE)
    assert "zone" not in difference
