"""`punchstream demo`: the account at the end, and when it says that it balances."""

import asyncio
import io
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from passwords import hash_quickly
from rich.console import Console
from typer.testing import CliRunner

from memory_broker import MemoryBroker, install
from operations.audit_report import Report
from operations.console_users import ConsoleUsers
from punchstream import demo as module
from punchstream.cli import app
from punchstream.demo import DRAIN_SECONDS, Scene
from sandbox.erpnext.checkins import shift_times
from sandbox.erpnext.site import Site
from sandbox.fleet.model import FleetPlan
from sandbox.fleet.plan import plan as make_plan
from sandbox.fleet.send import Tally
from sandbox.process import ProcessFailed

PLAN = make_plan(1, datetime(2026, 3, 2, 12, tzinfo=UTC))
EXPECTED = PLAN.expectation.totals()


def good_tally(plan: FleetPlan = PLAN) -> Tally:
    """Every transmission of a plan, acknowledged the first time."""
    sent = plan.expectation.totals().raw
    return Tally(acknowledged=Counter({"e": sent}), transmissions=9, attempts=11, attempted_events=sent)


def good_report(**changed: Any) -> Report:
    found = {
        "raw": EXPECTED.raw,
        "delivered": EXPECTED.delivered,
        "waiting": sum(EXPECTED.waiting.values()),
        "dead_lettered": sum(EXPECTED.dead_letters.values()),
        "refused": EXPECTED.rejected + EXPECTED.unreadable_bodies,
    }
    return Report(**(found | changed))


def account(
    report: Report, tally: Tally | None = None, *, differences: list[str] | None = None, beside: int = 0
) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=200)
    balanced = module._account(PLAN, tally or good_tally(), report, differences or [], console, beside=beside)
    return balanced, console.file.getvalue()  # type: ignore[attr-defined]


def test_the_picture_counts_each_punch_that_waits_once() -> None:
    counts = {
        "punchstream_waiting unmapped_user": 2.0,
        "punchstream_waiting inactive_employee": 1.0,
        "punchstream_waiting_users D1": 2.0,
        "punchstream_waiting_punches D1": 3.0,
    }
    console = Console(file=io.StringIO(), width=200)
    console.print(Scene(PLAN, cast("Any", None), counts=counts))
    [row] = [line for line in console.file.getvalue().splitlines() if "waiting" in line]  # type: ignore[attr-defined]
    assert row.split() == ["waiting", "3", str(sum(EXPECTED.waiting.values()))]


@pytest.mark.parametrize("hour", [time(0), time(3, 30), time(12), time(23, 59, 59)])
def test_a_punch_of_the_demo_is_on_its_shift_at_whatever_hour_it_runs(hour: time) -> None:
    site = Site()
    site.put_shift_types([module.SHIFT])
    site.put_employees([{"name": "HR-EMP-00001", "default_shift": module.SHIFT["name"]}])
    found = shift_times(site, site.employee("HR-EMP-00001"), datetime.combine(date(2026, 3, 2), hour))
    assert (found["offshift"], found["shift"]) == (0, module.SHIFT["name"])


def test_an_account_that_balances_says_what_was_sent_and_stored() -> None:
    balanced, said = account(good_report())
    assert balanced
    assert f"The terminals sent {EXPECTED.raw:,} events in 9 requests (2 sent again)" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"raw": EXPECTED.raw - 1}, f"raw events: {EXPECTED.raw - 1:,}"),
        ({"raw": EXPECTED.raw + 1}, f"raw events: {EXPECTED.raw + 1:,}"),
        ({"refused": 0}, "dead letters of what could not be read: 0"),
        ({"waiting": 0}, "waiting: 0, expected"),
        ({"dead_lettered": 0}, "dead-lettered: 0, expected"),
        ({"without_outcome": ["e"]}, "NOT balanced"),
    ],
)
def test_an_account_that_does_not_balance_says_why(wrong: Mapping[str, Any], said: str) -> None:
    balanced, output = account(good_report(**wrong))
    assert not balanced
    assert said in output
    assert "differences between the terminals, Kafka and ERPNext" in output


def test_punches_that_a_device_gave_again_are_said_to_be_no_difference() -> None:
    balanced, said = account(good_report(raw=EXPECTED.raw + 10 + 3), beside=10)
    assert balanced
    assert "3 punches of terminals that are asked came again; each was dropped as a duplicate." in said
    assert "came again" not in account(good_report(raw=EXPECTED.raw + 10), beside=10)[1]


def test_a_contradiction_of_a_terminal_or_of_erpnext_is_a_difference() -> None:
    contradicted = good_tally()
    contradicted.contradictions.append("401 where 200 was planned")
    assert account(good_report(), contradicted)[0] is False
    assert account(good_report(), differences=["one check-in is missing"])[0] is False


class FakeStages:
    """Stages that have counted what they are told to, from their third look on."""

    names = ("push", "sink")
    url = "http://127.0.0.1:1"
    console_url = "http://127.0.0.1:2"

    def __init__(self, *_: object, delivered: float = 1) -> None:
        self.checks = 0
        self.delivered = delivered

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def check(self) -> None:
        self.checks += 1

    def counts(self, stage: str) -> dict[str, float]:
        if stage != "sink" or self.checks < 3:
            return {}
        return {
            "punchstream_deliveries_total already_there": 9.0,
            "punchstream_deliveries_total created": self.delivered,
        }


def test_the_picture_shows_what_the_stages_have_counted_beside_what_is_expected() -> None:
    scene = Scene(PLAN, FakeStages(delivered=3))  # type: ignore[arg-type]
    for _ in range(3):
        scene.look()
    scene.tally = good_tally()
    console = Console(file=io.StringIO(), width=120)
    console.print(scene)
    [row] = [line for line in console.file.getvalue().splitlines() if "ERPNext" in line]  # type: ignore[attr-defined]
    assert row.split() == ["sink", "ERPNext", "3", f"{EXPECTED.delivered:,}"]


def test_punches_beside_the_fleet_are_waited_for() -> None:
    others: Any = SimpleNamespace(punches=2)
    for delivered, all_stored in ((EXPECTED.delivered + 1, False), (EXPECTED.delivered + 2, True)):
        scene = Scene(PLAN, FakeStages(delivered=delivered), others)  # type: ignore[arg-type]
        for _ in range(3):
            scene.look()
        assert scene.all_stored() is all_stored


class Machine:
    """The sandbox, and what the fleet and the audit say."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.audits = 0
        self.stages = FakeStages()
        self.looks_before_the_audit = 0
        self.names: tuple[str, ...] = ()
        self.settings: Mapping[str, str] = {}
        self.stored: list[dict[str, Any]] = []

    def run_stages(self, _: Path, names: tuple[str, ...], settings: Mapping[str, str]) -> FakeStages:
        self.names, self.settings = names, settings
        return self.stages

    @contextmanager
    def broker(self, *_: object) -> Iterator[None]:
        yield

    @contextmanager
    def erpnext(self, *_: object, **__: object) -> Iterator[Any]:
        yield SimpleNamespace(employees=lambda _: None, shift_types=lambda _: None, checkins=lambda: self.stored)

    async def send(self, plan: FleetPlan, _: str, *, on_progress: Any, **__: object) -> Tally:
        tally = good_tally(plan)
        on_progress(tally)
        return tally

    async def audit(self, *_: object, **__: object) -> Report:
        self.audits += 1
        self.looks_before_the_audit = self.looks_before_the_audit or self.stages.checks
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    return install(monkeypatch, make_topics=False)[0]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    machine = Machine()
    hash_quickly(monkeypatch)
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    settings = {"KAFKA_BOOTSTRAP_SERVERS": "memory:9092", "ERPNEXT_URL": "http://127.0.0.1:1"}
    for name, value in {**settings, "ERPNEXT_API_KEY": "k", "ERPNEXT_API_SECRET": "s"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "unavailable_reason", lambda _: None)
    monkeypatch.setattr(module, "make_plan", lambda *_: PLAN)
    monkeypatch.setattr(module, "sandbox_broker", machine.broker)
    monkeypatch.setattr(module, "sandbox_erpnext", machine.erpnext)
    monkeypatch.setattr(module, "Stages", machine.run_stages)
    monkeypatch.setattr(module, "send", machine.send)
    monkeypatch.setattr(module, "audit", machine.audit)
    monkeypatch.setattr(module, "compare", lambda *_: [])

    async def at_once(work: Any, *arguments: object) -> Any:
        return work(*arguments)

    sleep = asyncio.sleep
    monkeypatch.setattr(module.asyncio, "to_thread", at_once)
    monkeypatch.setattr(module.asyncio, "sleep", lambda _: sleep(0))
    yield machine
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environment)


def test_the_demo_waits_until_the_pipeline_has_drained(machine: Machine, broker: MemoryBroker, tmp_path: Path) -> None:
    machine.reports = [good_report(without_outcome=["e"]), good_report(without_outcome=["e"]), good_report()]
    result = CliRunner().invoke(app, ["demo", "--keep", str(tmp_path / "kept")], catch_exceptions=False)
    assert (result.exit_code, machine.audits) == (0, 3)
    assert "attendance.raw.v1" in broker.topics
    assert f"Fleet: {len(PLAN.terminals)} terminals" in result.stdout
    assert (tmp_path / "kept" / "devices.yaml").exists()


def test_the_console_shows_the_demo_by_a_ledger_of_its_own(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEDGER_URL", "postgresql://somebody/elses")
    (tmp_path / "ledger.sqlite").write_text("of topics that are gone")
    machine.reports = [good_report()]
    result = CliRunner().invoke(app, ["demo", "--keep", str(tmp_path)], catch_exceptions=False)
    assert machine.names == ("ledger", "console", "directory", "stream", "sink", "push")
    assert machine.settings["LEDGER_URL"] == f"sqlite:///{tmp_path}/ledger.sqlite"
    assert not (tmp_path / "ledger.sqlite").exists()
    (password,) = re.findall(r"Console: http://127\.0\.0\.1:2 Sign in as admin with (\S+), which", result.stdout)
    users = ConsoleUsers()
    for record in broker.records("attendance.console-users.v1"):
        users.learn(record)
    account = asyncio.run(users.verify("admin", password))
    assert account is not None
    assert account.role == "administrator"
    assert "It ends with the demo; with --stay, when you press Ctrl-C." in result.stdout


def test_without_its_libraries_there_is_no_console(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "missing_libraries", lambda: ["jinja2"])
    machine.reports = [good_report()]
    result = CliRunner().invoke(app, ["demo"], catch_exceptions=False)
    assert (result.exit_code, machine.names) == (0, ("directory", "stream", "sink", "push"))
    assert "No console: it needs jinja2." in result.stdout
    assert "It ends with the demo" not in result.stdout


@pytest.mark.parametrize(("report", "status"), [(good_report(), 0), (good_report(without_outcome=["e"]), 1)])
def test_a_demo_that_stays_is_up_until_it_is_interrupted(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: Report, status: int
) -> None:
    ticks, looks = iter(range(0, 100 * DRAIN_SECONDS, DRAIN_SECONDS // 3)), iter(range(3))
    found: list[str] = []

    def sleep(_: float) -> None:
        found.append((tmp_path / "env").read_text())
        if next(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=sleep))
    machine.reports = [report]
    command = ["demo", "--stay", "--keep", str(tmp_path)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == status
    assert "It ends with the demo" not in result.stdout
    said = result.stdout.partition("s in all.")[2]
    assert f"set -a; . {tmp_path}/env; punchstream audit" in said
    assert "Everything stays up until Ctrl-C.\nStopping.\n" in said
    assert len(found) == 3
    assert f"PUNCHSTREAM_DEVICES={tmp_path}/devices.yaml\n" in found[0]
    assert not (tmp_path / "env").exists()


def test_the_audit_waits_for_the_first_check_in_which_proves_the_zone_of_erpnext(
    machine: Machine, broker: MemoryBroker
) -> None:
    machine.reports = [good_report()]
    result = CliRunner().invoke(app, ["demo"], catch_exceptions=False)
    assert (result.exit_code, machine.audits) == (0, 1)
    assert machine.looks_before_the_audit > 3


def test_a_pipeline_that_does_not_drain_is_exit_status_1_and_its_logs_are_kept(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 100 * DRAIN_SECONDS, DRAIN_SECONDS // 3))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    machine.reports = [good_report(without_outcome=["e"])]
    result = CliRunner().invoke(app, ["demo"], catch_exceptions=False)
    assert result.exit_code == 1
    kept = Path(result.stdout.partition("Logs: ")[2].strip())
    assert (kept / "devices.yaml").exists()


def test_what_cannot_run_here_is_said_before_anything_starts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "unavailable_reason", lambda _: "there is no Java")
    with pytest.raises(Exception, match="there is no Java"):
        CliRunner().invoke(app, ["demo", "--broker", "kafka"], catch_exceptions=False)
    assert machine.audits == 0


class Vendors:
    """Terminals of every protocol, one of which brings a file."""

    punches = 1

    def __init__(self) -> None:
        self.sent_to: list[str] = []

    async def send(self, url: str) -> None:
        self.sent_to.append(url)

    def write(self, directory: Path) -> list[tuple[str, Path]]:
        return [("D1", directory / "punches.csv")]


@pytest.mark.parametrize("status", [0, 1])
def test_a_file_that_cannot_be_imported_ends_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    commands: list[tuple[str, ...]] = []

    async def start(*command: str, **_: object) -> Any:
        commands.append(command)

        async def wait() -> int:
            return status

        return SimpleNamespace(wait=wait)

    monkeypatch.setattr(module.asyncio, "create_subprocess_exec", start)
    vendors: Any = Vendors()
    playing = module._play_beside(vendors, "http://push", tmp_path)
    if status:
        with pytest.raises(ProcessFailed, match=r"punches\.csv could not be imported"):
            asyncio.run(playing)
    else:
        asyncio.run(playing)
    assert vendors.sent_to == ["http://push"]
    assert commands[0][-3:] == (str(tmp_path / "punches.csv"), "--device", "D1")


def test_without_other_terminals_nothing_is_sent_beside(tmp_path: Path) -> None:
    asyncio.run(module._play_beside(None, "http://push", tmp_path))
    assert list(tmp_path.iterdir()) == []
