"""`punchstream audit --against-erpnext`: what it prints, what it repairs, and with which status it ends."""

import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from checkin_site import CheckinSite
from ledger_story import Story, event, kept_ledger
from memory_log import MemoryLog
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from attendance.errors import ConfigurationError
from attendance.metric_table import TABLE
from attendance.records.account import AcceptedLoss
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery
from attendance.records.raw_event import RawEvent, Source
from attendance.records.site import SiteZone
from punchstream.cli import app

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
URL = "http://127.0.0.1:9"
NAMES = tuple(f"EMP-CKIN-03-2026-{number:06}" for number in range(4))


class SiteWithZone(CheckinSite):
    def site_zone(self) -> str:
        return "UTC"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, fleet_file: Path) -> SiteWithZone:
    fleet_file.write_text("[]")
    site = SiteWithZone()
    for module in ("attendance.erpnext", "operations.audit"):
        monkeypatch.setattr(f"{module}.ErpnextClient", lambda _: site)
    for name, value in {"URL": URL, "API_KEY": "key", "API_SECRET": "secret"}.items():
        monkeypatch.setenv(f"ERPNEXT_{name}", value)
    monkeypatch.setenv("COLUMNS", "80")
    return site


@pytest.fixture
def punch(log: MemoryLog, site: SiteWithZone) -> RawEvent:
    """A punch that was delivered, and a zone that is certain."""
    zone = SiteZone(URL, "UTC", "accepted", AT, "fatima", "UTC")
    log.add("site", zone.key, zone.encode())
    event = RawEvent("D1", "s", "1", "IN", AT, None, "UTC", AT, Source("push", "json"))
    checkin = Checkin(event.event_id, "E1", AT, "IN", "D1", "1", "s", "UTC")
    delivery = Delivery(event.event_id, "E1", NAMES[0], "created", "erpnext", AT)
    log.add("raw", event.key, event.encode())
    log.add("checkins", checkin.key, checkin.encode())
    log.add("deliveries", delivery.key, delivery.encode())
    site.store(NAMES[0], event.event_id)
    return event


def run(*options: str, status: int) -> str:
    result = CliRunner().invoke(app, ["audit", *options])
    assert result.exit_code == status, result.output
    return result.stdout


@pytest.mark.usefixtures("punch")
def test_a_site_that_has_what_was_delivered_is_balanced() -> None:
    assert run("--against-erpnext", status=0).endswith("Balanced.\n")


def test_surplus_rows_never_balance_and_every_one_is_named(site: SiteWithZone, punch: RawEvent) -> None:
    for name in NAMES[1:]:
        site.store(name, punch.event_id)
    printed = run("--against-erpnext", status=1)
    assert all(name in printed for name in NAMES[1:])
    assert "NOT balanced." in printed
    found = orjson.loads(run("--against-erpnext", "--json", status=1))
    assert (found["balanced"], found["found"]["surplus"]) == (False, 3)
    assert [(each["event_id"], each["document"]) for each in found["surplus"]] == [
        (punch.event_id, name) for name in NAMES[1:]
    ]


def test_nothing_is_repaired_in_a_dry_run_and_then_what_was_said(
    site: SiteWithZone, log: MemoryLog, punch: RawEvent
) -> None:
    site.store(NAMES[1], punch.event_id)
    assert f"{NAMES[1]}: removed (dry run): a copy of {NAMES[0]}" in run("--remove-surplus", "--dry-run", status=1)
    assert (site.changes, log.sent) == ([], [])
    assert f"{NAMES[1]}: removed: a copy of {NAMES[0]}" in run("--remove-surplus", status=1)
    assert site.names() == [NAMES[0]]
    run("--against-erpnext", status=0)


def test_a_dry_run_of_a_resend_says_how_many_and_sends_none(
    site: SiteWithZone, log: MemoryLog, punch: RawEvent
) -> None:
    site.tables["Employee Checkin"].clear()
    assert "1 record to be sent again to t.checkins.v1" in run("--against-erpnext", "--repair", "--dry-run", status=1)
    assert log.sent == []
    run("--against-erpnext", "--repair", status=1)
    assert [Checkin.decode(each.value).event_id for each in log.sent] == [punch.event_id]


def test_a_user_who_may_not_see_deletions_is_told_so_and_sends_nothing_unasked(
    site: SiteWithZone, log: MemoryLog, punch: RawEvent
) -> None:
    site.tables["Employee Checkin"].clear()
    site.forbidden = {"Deleted Document"}
    assert "--including-deleted" in run("--against-erpnext", "--repair", status=1).replace("\n", " ")
    assert log.sent == []
    run("--against-erpnext", "--repair", "--including-deleted", status=1)
    assert [Checkin.decode(each.value).event_id for each in log.sent] == [punch.event_id]


def test_what_is_on_no_shift_is_listed_and_fetched_again_and_balances(site: SiteWithZone, punch: RawEvent) -> None:
    site.document(NAMES[0])["offshift"] = 1
    site.shifts = {NAMES[0]: {"offshift": 0, "shift": "Day Shift"}}
    assert NAMES[0] in run("--against-erpnext", status=0)
    assert "Day Shift" in run("--refetch-shift", status=0)
    assert orjson.loads(run("--against-erpnext", "--json", status=0))["off_shift"] == []


@pytest.mark.usefixtures("punch")
def test_while_the_zone_is_in_doubt_times_are_not_compared_and_nothing_balances(log: MemoryLog) -> None:
    doubt = SiteZone(URL, "UTC", "in_doubt", AT, "sink", "UTC", why="a document was dated otherwise")
    log.add("site", doubt.key, doubt.encode())
    assert "Times were not compared" in run("--against-erpnext", status=1)


@pytest.mark.usefixtures("punch")
def test_what_is_gone_and_what_was_accepted_of_it_is_printed(log: MemoryLog) -> None:
    for _ in range(2):
        log.add("raw", b"D1", b"gone")
    log.retain("raw", 2)
    loss = AcceptedLoss("t.raw.v1", 0, 0, 1, 1, AT, "amina", "the disk died")
    log.add("accounts", loss.key, loss.encode())
    log.configuration = ["topic t.raw.v1: cleanup.policy is compact"]

    printed = " ".join(run(status=1).split())

    assert (
        "Accepted loss of 1 record: t.raw.v1:0, offsets 0 to 0; 2026-03-02T05:00:00Z by amina: the disk died" in printed
    )
    assert "1 record of t.raw.v1:0 is gone, offsets 1 to 1" in printed
    assert "topic t.raw.v1: cleanup.policy is compact" in printed
    assert printed.endswith("NOT balanced.")
    found = orjson.loads(run("--json", status=1))
    assert [each["kind"] for each in found["faults"]] == ["removed"]


def test_the_ledger_is_counted_where_that_is_asked_for(
    log: MemoryLog, fleet_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fleet_file.write_text("[]")
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "E1"), "CHK-1")
    for (name, _), records in story.log.items():
        log.put(name, *records)
    kept_ledger(f"sqlite:///{tmp_path}/ledger.sqlite", story)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.sqlite")
    monkeypatch.setattr("punchstream.commands.ledger_audit.REACH_SECONDS", 0.0)

    printed = run("--from-ledger", status=0)
    assert "1 raw = 1 delivered" in printed
    assert "Balanced." in printed
    assert "  raw.v1  0: 1" in printed
    assert "There is no device D9" in run("--from-ledger", "--device", "D9", status=1)
    assert "Nothing arrived since" in run("--from-ledger", "--since", "2999-01-01", status=1)
    assert run("--from-ledger", "--repair", status=2) == ""
    log.put("raw", story.raw(event("1", 9)))
    found = orjson.loads(run("--from-ledger", "--json", status=1))
    assert (found["balanced"], found["behind"], found["next_offsets"]["raw.v1"]) == (False, 1, {"0": 1})


def test_what_an_audit_came_to_is_written_for_prometheus_whatever_that_is(
    punch: RawEvent, log: MemoryLog, tmp_path: Path
) -> None:
    file = tmp_path / "audit.prom"

    def written() -> dict[str, float]:
        families = text_string_to_metric_families(file.read_text())
        return {sample.name: sample.value for family in families for sample in family.samples}

    before = time.time()
    run("--against-erpnext", "--metrics", str(file), status=0)
    assert written()["punchstream_audit_balanced"] == 1
    assert before <= written()["punchstream_audit_timestamp_seconds"] <= time.time()
    assert file.stat().st_mode & 0o777 == 0o644, "the collector is another user"
    another = RawEvent("D1", "s", "2", "IN", AT, None, "UTC", AT, Source("push", "json"))
    log.add("raw", another.key, another.encode())
    run("--against-erpnext", "--metrics", str(file), status=1)
    assert written()["punchstream_audit_balanced"] == 0
    assert written().keys() == {name for name in TABLE if name.startswith("punchstream_audit")}
    assert list(tmp_path.glob("*.prom*")) == [file]


def test_a_part_of_the_punches_and_a_place_that_is_no_folder_write_nothing(punch: RawEvent, tmp_path: Path) -> None:
    run("--device", "D1", "--metrics", str(tmp_path / "audit.prom"), status=2)
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "audit.prom", tmp_path / "file" / "audit.prom", Path()):
        result = CliRunner().invoke(app, ["audit", "--metrics", str(path)])
        assert isinstance(result.exception, ConfigurationError), path
    assert not list(tmp_path.rglob("*.prom*"))
