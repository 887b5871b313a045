"""`punchstream audit --late` and `--repair-late`: what they print, and with which status they end."""

from datetime import date
from typing import Any

import orjson
import pytest
from example_records import ARRIVED, DELIVERY
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.erpnext import CHECKIN
from attendance.errors import ZoneInDoubt
from attendance.records.outcomes import Late
from attendance.records.site import SiteZone
from operations.late import ATTENDANCE
from punchstream.cli import app

DAY = date(2026, 1, 1)


class Site:
    """An ERPNext that has the document on a shift, and the day as this. Of the day it has no other check-in."""

    def __init__(self, status: str) -> None:
        self.status = status

    def get_list(self, doctype: str, fields: list[str], *_: object) -> list[dict[str, Any]]:
        if doctype == CHECKIN and "shift_start" in fields:
            return [{"name": DELIVERY.document, "shift": "Day Shift", "shift_start": f"{DAY} 08:00:00"}]
        if doctype == ATTENDANCE:
            day = {"employee": DELIVERY.employee, "attendance_date": str(DAY)}
            return [day | {"shift": "Day Shift", "status": self.status}]
        return []

    def site_zone(self) -> str:
        return "Asia/Riyadh"

    def logged_user(self) -> str:
        return "api@example.com"

    def close(self) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site("Absent")
    monkeypatch.setattr("attendance.erpnext.ErpnextClient", lambda _: site)
    for name, value in {"URL": "http://127.0.0.1:9", "API_KEY": "key", "API_SECRET": "secret"}.items():
        monkeypatch.setenv(f"ERPNEXT_{name}", value)
    return site


@pytest.fixture
def log(log: MemoryLog) -> MemoryLog:
    """A delivery that was late, again, and one that was not; and a device that was never late."""
    log.add("raw", b"elsewhere", b"")
    delivery = replace(DELIVERY, late=Late("riyadh-01", "Day Shift", DAY))
    for each in (delivery, delivery, replace(DELIVERY, event_id="0e" * 16)):
        log.add("deliveries", each.key, each.encode())
    zone = SiteZone("http://127.0.0.1:9", "Asia/Riyadh", "proven", ARRIVED, "sink")
    log.add("site", zone.key, zone.encode())
    return log


def run(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", *options], catch_exceptions=False)
    return result.exit_code, result.stdout


def test_each_late_delivery_is_listed_once_and_is_no_fault(log: MemoryLog) -> None:
    status, shown = run("--late")
    assert (status, shown.splitlines()[-1]) == (0, "1 late delivery")
    [row] = orjson.loads(run("--late", "--json")[1])
    assert (row["employee"], row["attendance_date"], row["attendance"]) == (DELIVERY.employee, "2026-01-01", None)
    assert orjson.loads(run("--late", "--json", "--device", "elsewhere")[1]) == []


@pytest.mark.parametrize(("attendance", "status"), [("Absent", 1), ("Present", 0)])
def test_a_day_that_erpnext_still_has_as_absent_is_a_fault(
    log: MemoryLog, site: Site, attendance: str, status: int
) -> None:
    site.status = attendance
    found, shown = run("--late", "--against-erpnext", "--json")
    assert (found, orjson.loads(shown)[0]["attendance"]) == (status, attendance)


def test_what_came_of_each_day_is_said(log: MemoryLog, site: Site) -> None:
    why = "ERPNext has no check-in of that day"
    assert run("--repair-late") == (0, f"{DELIVERY.employee} {DAY} Day Shift: left alone: {why}\n1 late delivery\n")
    assert run("--repair-late", "--device", "elsewhere") == (0, "0 late deliveries\n")
    [repair] = orjson.loads(run("--repair-late", "--json")[1])
    assert (repair["day"]["shift_type"], repair["result"], repair["why"]) == ("Day Shift", "left alone", why)


def test_no_day_is_repaired_while_the_sites_zone_is_in_doubt(
    log: MemoryLog, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "site_zone", lambda: "Asia/Kolkata")
    with pytest.raises(ZoneInDoubt, match="was Asia/Riyadh"):
        run("--repair-late")
    assert run("--late", "--against-erpnext")[0] == 1
