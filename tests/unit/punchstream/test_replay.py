"""`punchstream replay`: what it prints and sends."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from example_records import EVENT
from foreign_records import REGISTRY
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.erpnext import EVENT_ID_FIELD
from attendance.errors import ConfigurationError
from attendance.records.raw_event import RawEvent
from attendance.records.site import SiteZone
from attendance.records.user_map import Employee, UserMapping
from punchstream.cli import app

SINCE = ("--since", "2020-01-01")
PUNCH = replace(EVENT, device_user_id="7")


class Site:
    """An ERPNext in Riyadh that holds the punch as one of the wrong employee."""

    def has_event_id_field(self) -> bool:
        return True

    def site_zone(self) -> str:
        return "Asia/Riyadh"

    def get_list(self, *_: object) -> list[dict[str, Any]]:
        return [
            {
                "name": "CKIN-1",
                EVENT_ID_FIELD: PUNCH.event_id,
                "employee": "HR-EMP-1",
                "time": "2026-01-01 08:00:00",
                "log_type": "IN",
                "attendance": None,
            }
        ]

    def close(self) -> None:
        pass


@pytest.fixture
def log(log: MemoryLog, fleet_file: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    """A punch on the raw topic, and a user map that has its employee right by now."""
    fleet_file.write_text(REGISTRY)
    log.add("raw", PUNCH.key, PUNCH.encode(), timestamp=1_767_243_602_345)
    for entry in (UserMapping("*", "7", "HR-EMP-2", "csv"), Employee("HR-EMP-2", "Active")):
        log.add("user_map", entry.key, entry.encode())
    zone = SiteZone("http://127.0.0.1:9", "Asia/Riyadh", "proven", datetime(2026, 1, 1, tzinfo=UTC), "sink")
    log.add("site", zone.key, zone.encode())
    monkeypatch.setattr("attendance.erpnext.ErpnextClient", lambda _: Site())
    for name, value in {"URL": "http://127.0.0.1:9", "API_KEY": "key", "API_SECRET": "secret"}.items():
        monkeypatch.setenv(f"ERPNEXT_{name}", value)
    return log


def run(*options: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["replay", *options], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_the_range_is_sent_again(log: MemoryLog) -> None:
    assert run(*SINCE)[:2] == (0, "1 raw record in the range, 1 copy sent\n")
    [copy] = log.sent
    assert (copy.value, dict(copy.headers)["x-replay-of"]) == (PUNCH.encode(), b"0:0")


def test_what_is_different_is_shown_and_only_corrected_when_asked_for(log: MemoryLog) -> None:
    _, shown, _ = run(*SINCE, "--against-erpnext", "--dry-run")
    assert "HR-EMP-1 → HR-EMP-2" in shown
    assert "touches HR-EMP-2 2026-01-01" in shown
    assert "1 check-in differs; 0 of them cannot be replaced" in shown
    assert log.sent == []

    _, shown, said = run(*SINCE, "--correct")

    assert shown.splitlines()[-1] == "1 raw record in the range, 1 correction sent"
    assert "Waiting until the sink has committed" in said
    [correction] = log.sent
    assert RawEvent.decode(correction.value).superseded_document == "CKIN-1"


def test_programs_get_each_difference_and_the_days(log: MemoryLog) -> None:
    report = orjson.loads(run(*SINCE, "--against-erpnext", "--dry-run", "--json")[1])
    assert report["differences"] == [
        {
            "event_id": PUNCH.event_id,
            "document": "CKIN-1",
            "attendance": None,
            "edited": False,
            "held": {"employee": "HR-EMP-1", "time": "2026-01-01 08:00:00", "log_type": "IN"},
            "wanted": {"employee": "HR-EMP-2", "time": "2026-01-01 08:00:00", "log_type": "IN"},
        }
    ]
    assert [day["employee"] for day in report["days"]] == ["HR-EMP-1", "HR-EMP-2"]
    assert (report["correctable"], report["without_employee_now"], report["sent"]) == (1, 0, 0)


def test_a_time_that_is_none_is_named_with_its_option(log: MemoryLog) -> None:
    with pytest.raises(ConfigurationError, match="--until"):
        run(*SINCE, "--until", "yesterday")
