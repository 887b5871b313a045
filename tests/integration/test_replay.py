"""Replay, correction and repair: stream and sink as processes of their own, on real brokers, with the stand-in."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from attendance.erpnext import CHECKIN, ErpnextClient
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import ErpnextSettings, KafkaSettings
from attendance.times import from_wall_clock
from operations.audit import audit
from operations.audit_report import Report
from operations.erpnext_repairs import NO_REPAIRS, Repairs
from operations.log import KafkaLog
from operations.replay import Range
from operations.site.setup import EVENT_ID
from punchstream.commands.replay import run
from sandbox.erpnext.server import ErpnextStandIn
from stream_process import Stream, punch

pytestmark = pytest.mark.broker

FLEET = """
- {{device_id: D0, site: s, timezone: {zone}, mode: file}}
- {{device_id: D1, site: s, timezone: UTC, mode: file}}
"""
EVERYTHING = Range(datetime(2020, 1, 1, tzinfo=UTC))
FIRST = datetime(2026, 3, 2, 8)  # noqa: DTZ001 - a wall clock
COUNT = 16


class Site:
    """Stream, sink and stand-in, and what an operator does."""

    def __init__(self, stand_in: ErpnextStandIn, stream: Stream, fleet: Path) -> None:
        self.stand_in = stand_in
        self.stream = stream
        self.fleet = fleet
        self.settings = ErpnextSettings(
            url=stand_in.url, api_key=stand_in.api_key, api_secret=stand_in.api_secret, timeout=5, _env_file=None
        )
        self.client = ErpnextClient(self.settings)

    def start(self) -> None:
        self.stream.start(PUNCHSTREAM_DEVICES=str(self.fleet))
        self.stream.start(
            *("-m", "punchstream", "sink"),
            ERPNEXT_URL=self.stand_in.url,
            ERPNEXT_API_KEY=self.stand_in.api_key,
            ERPNEXT_API_SECRET=self.stand_in.api_secret,
        )

    def rows(self) -> list[tuple[str, str, str]]:
        return sorted((row["event_id"], row["employee"], row["time"]) for row in self.stand_in.checkins())

    def holds(self, events: list[tuple[RawEvent, str]]) -> None:
        """Return when ERPNext has exactly these events of these employees."""
        expected = sorted((event.event_id, employee, wall_clock(event)) for event, employee in events)
        self.stream.until(lambda: self.rows() == expected)

    def audit(self, *, repair: bool = False, repairs: Repairs = NO_REPAIRS) -> Report:
        log = KafkaLog(self.stream.kafka, "audit")
        return asyncio.run(audit(log, erpnext=self.settings, repair=repair, repairs=repairs))

    def balances(self) -> None:
        self.stream.until(lambda: self.audit().balanced)

    def lose(self, count: int) -> None:
        for row in self.stand_in.checkins()[:count]:
            self.client.delete(CHECKIN, row["name"])

    def replay(self, *, correcting: bool = False, dry_run: bool = False) -> None:
        run(
            KafkaLog(self.stream.kafka, "replay"),
            EVERYTHING,
            self.settings,
            correcting=correcting,
            dry_run=dry_run,
            per_second=1000,
            as_json=True,
        )


def wall_clock(event: RawEvent) -> str:
    assert event.event_time is not None
    return str((event.event_time + timedelta(hours=3)).replace(tzinfo=None))


def read_in(zone: str, number: int, device: int, user: str) -> RawEvent:
    """A punch each half hour, as the terminal wrote it, read in a zone."""
    written = FIRST + timedelta(minutes=30 * number)
    event = punch(device, user, device_time=str(written), device_timezone=zone)
    return replace(event, event_time=from_wall_clock(written, zone))


@pytest.fixture
def site(kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET.format(zone="UTC"))
    monkeypatch.setenv("PUNCHSTREAM_DEVICES", str(fleet))
    stream = Stream(kafka, tmp_path)
    stream.know(
        *(Employee(f"HR-EMP-{number}", "Active") for number in (1, 2, 3)),
        UserMapping("*", "1", "HR-EMP-1", "erpnext"),
        UserMapping("*", "2", "HR-EMP-2", "erpnext"),
    )
    with ErpnextStandIn(log_file=tmp_path / "stand-in.log") as stand_in:
        stand_in.employees([{"name": f"HR-EMP-{number}"} for number in (1, 2, 3)])
        site = Site(stand_in, stream, fleet)
        site.client.insert(EVENT_ID)
        yield site
        stream.kill_all()
        site.client.close()


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The report that was printed. In a test, what is logged stands before it."""
    report: dict[str, Any] = json.loads(
        re.split(r"^(?=\{)", capsys.readouterr().out, maxsplit=1, flags=re.MULTILINE)[-1]
    )
    return report


def test_what_a_wrong_zone_and_a_wrong_mapping_made_is_corrected_once_asked_for(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_zone = [read_in("UTC", number, device=0, user="1") for number in range(COUNT)]
    right_zone = [read_in("Asia/Riyadh", number, device=0, user="1") for number in range(COUNT)]
    of_another = [read_in("UTC", number, device=1, user="2") for number in range(COUNT)]
    # Three hours are six of the half hours: nearly every wrong time is the right time of another punch.
    assert len({event.event_id for event in (*wrong_zone, *right_zone)}) == COUNT + 6
    site.start()
    site.stream.punches(*wrong_zone, *of_another, wrong_zone[0])
    site.holds([(event, "HR-EMP-1") for event in wrong_zone] + [(event, "HR-EMP-2") for event in of_another])
    site.balances()

    site.fleet.write_text(FLEET.format(zone="Asia/Riyadh"))
    site.stream.know(UserMapping("*", "2", "HR-EMP-3", "erpnext"))
    before = site.rows()
    site.replay(dry_run=True)
    report = printed(capsys)
    assert (len(report["differences"]), report["sent"]) == (2 * COUNT, 0)
    assert {(day["employee"], day["date"]) for day in report["days"]} >= {
        ("HR-EMP-1", "2026-03-02"),
        ("HR-EMP-2", "2026-03-02"),
        ("HR-EMP-3", "2026-03-02"),
    }
    assert site.rows() == before

    site.replay(correcting=True)
    assert printed(capsys)["sent"] == 2 * COUNT
    right = [(event, "HR-EMP-1") for event in right_zone] + [(event, "HR-EMP-3") for event in of_another]
    site.holds(right)
    site.balances()
    assert site.stream.dead_letters() == []

    names = sorted(row["name"] for row in site.stand_in.checkins())
    delivered = len(site.stream.values("deliveries"))
    site.replay()
    report = printed(capsys)
    assert (report["differences"], report["days"]) == ([], [])
    site.stream.until(lambda: len(site.stream.values("deliveries")) >= delivered + 3 * COUNT)
    site.holds(right)
    site.balances()
    # The same documents: not one was lost and made anew on the way.
    assert sorted(row["name"] for row in site.stand_in.checkins()) == names


def test_what_erpnext_lost_comes_back_once_by_a_replay_and_by_a_repair(site: Site) -> None:
    events = [read_in("UTC", number, device=0, user="1") for number in range(COUNT)]
    expected = [(event, "HR-EMP-1") for event in events]
    site.start()
    site.stream.punches(*events, *events[:3])
    site.holds(expected)
    site.balances()

    site.lose(COUNT)
    assert len(site.audit().missing_in_target or ()) == COUNT
    site.replay()
    site.holds(expected)
    site.balances()

    site.lose(4)
    report = site.audit(repair=True)
    assert not report.balanced
    assert sum((report.sent_again or {}).values()) >= 4
    site.holds(expected)
    site.balances()


def test_rows_of_nobody_and_copies_are_found_and_repaired_when_asked(site: Site) -> None:
    events = [read_in("UTC", number, device=0, user="1") for number in range(4)]
    waits = read_in("UTC", 9, device=0, user="3")
    third = UserMapping("*", "3", "HR-EMP-3", "erpnext")
    site.stream.know(third)
    site.start()
    site.stream.punches(*events, waits)
    site.holds([*((event, "HR-EMP-1") for event in events), (waits, "HR-EMP-3")])
    site.balances()
    for employee in ("HR-EMP-1", "HR-EMP-3"):
        site.stand_in.remove("Employee", employee)
    site.client.call("PUT", "/api/resource/Custom Field/Employee Checkin-event_id", {"unique": 0})
    copied = site.stand_in.checkins()[0]
    site.client.insert(
        {"doctype": CHECKIN, "employee": "HR-EMP-2"} | {key: copied[key] for key in ("time", "event_id")}
    )

    found = site.audit()
    assert not found.balanced
    assert found.found == {"surplus": 1, "of_nobody": 5, "different": 0, "off_shift": 6}

    site.stream.know(UserMapping("*", "1", "HR-EMP-2", "erpnext"))
    site.stream.send("user_map", (third.key, None))
    site.client.delete(CHECKIN, (found.surplus or [])[0].document)
    repaired = site.audit(repairs=Repairs(employees=True))
    assert sorted(change.done for change in repaired.changes or ()) == ["corrected"] * 4 + ["waits"]
    site.holds([(event, "HR-EMP-2") for event in events])
    site.balances()

    site.stand_in.employees([{"name": "HR-EMP-3"}])
    site.stream.know(third)
    site.holds([*((event, "HR-EMP-2") for event in events), (waits, "HR-EMP-3")])
    site.balances()
