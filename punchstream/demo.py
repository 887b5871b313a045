"""`punchstream demo`: a simulated fleet through the whole pipeline, and at the end the account of every punch."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import yaml
from anyio.from_thread import start_blocking_portal
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from attendance.kafka.admin import create_topics
from attendance.settings import ErpnextSettings, KafkaSettings
from attendance.times import now
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from punchstream.commands.audit import show
from punchstream.commands.console import missing_libraries
from punchstream.stages import CONSOLE, LEDGER, PULL, STAGES, Stages
from punchstream.up import (
    LEDGER_FILE,
    make_first_account,
    other_commands,
    remove_ledger,
    sandbox_broker,
    sandbox_erpnext,
    say_console,
    sigterm_interrupts,
)
from sandbox.broker import BrokerFailed, BrokerKind, unavailable_reason
from sandbox.fleet.compare import compare
from sandbox.fleet.model import FleetPlan
from sandbox.fleet.plan import plan as make_plan
from sandbox.fleet.registry import employees, registry_yaml
from sandbox.fleet.send import Tally, send
from sandbox.process import ProcessFailed
from sandbox.terminals.fleet import VendorFleet

ERPNEXT_ZONE: Final = "Asia/Riyadh"
DRAIN_SECONDS: Final = 60
LATENCY_MS: Final = 20  # what one request to ERPNext costs at least
SHIFT: Final[dict[str, str | int]] = {
    "name": "Demo Shift",
    "start_time": "7:00:00",
    "end_time": "19:00:00",
    # From midnight to midnight, for the demo runs at any hour, and some of its punches have just been made.
    "begin_check_in_before_shift_start_time": 7 * 60,
    "allow_check_out_after_shift_end_time": 5 * 60,
}
"""Everybody's. A check-in outside a shift's window counts for nobody's attendance."""
SCENE_COLUMNS: Final[dict[str, Literal["left", "right"]]] = {
    "stage": "left",
    "": "left",
    "so far": "right",
    "expected": "right",
}
AGAIN: Final[dict[str, str]] = {"attendance.raw.v1": "+", "duplicates": "+"}
"""What may be more than expected beside terminals of other vendors: one that is asked may answer the same again."""


def run(
    broker: BrokerKind,
    *,
    seed: int,
    seconds: float,
    vendors: bool,
    keep: Path | None,
    stay: bool,
    console: Console,
) -> int:
    """Run the demo and return its exit status: 0 only when every punch is accounted for.

    Args:
        broker: Which broker to run on.
        seed: Which fleet and which punches.
        seconds: Over how long the fleet sends.
        vendors: Whether a terminal of every protocol takes part.
        keep: Where to keep the logs; None keeps them only where the demo fails.
        stay: Whether everything stays up after the account, until SIGINT or SIGTERM.
        console: Where to draw.

    Raises:
        BrokerFailed, ProcessFailed: a part cannot be run here, or did not start.
    """
    if reason := unavailable_reason(broker):
        raise BrokerFailed(reason)
    sigterm_interrupts()
    directory = Path(tempfile.mkdtemp(prefix="punchstream-demo-")) if keep is None else keep
    directory.mkdir(parents=True, exist_ok=True)
    balanced = False
    try:
        balanced = _perform(broker, seed, seconds, directory, console, vendors=vendors, stay=stay)
    finally:
        if balanced and keep is None:
            shutil.rmtree(directory)
        else:
            console.print(f"Logs: {directory}", soft_wrap=True)
    return 0 if balanced else 1


def _perform(
    broker: BrokerKind, seed: int, seconds: float, directory: Path, console: Console, *, vendors: bool, stay: bool
) -> bool:
    """Start everything, run the fleet, print the account, stop everything. True when the account balances."""
    started, settings = time.monotonic(), dict(os.environ)
    plan = make_plan(seed, now())
    others = VendorFleet(seed, now()) if vendors else None
    with ExitStack() as stack:
        try:
            console.print(f"Kafka: {'the embedded broker' if broker == 'embedded' else 'Apache Kafka'}.")
            stack.enter_context(sandbox_broker(broker, directory))
            console.print(f"ERPNext: a stand-in that takes {LATENCY_MS} ms or more for each request.")
            stand_in = stack.enter_context(sandbox_erpnext(directory, time_zone=ERPNEXT_ZONE, latency_ms=LATENCY_MS))
            stand_in.shift_types([SHIFT])
            people = employees(plan) + (others.employees() if others else [])
            stand_in.employees([row | {"default_shift": SHIFT["name"]} for row in people])
            registry = directory / "devices.yaml"
            entries = registry_yaml(plan)
            if others:
                portal = stack.enter_context(start_blocking_portal())
                stack.enter_context(portal.wrap_async_context_manager(others.serving()))
                entries += yaml.safe_dump(others.registry(), sort_keys=False)
                os.environ.update(others.environment())
            registry.write_text(entries)
            os.environ.update(PUNCHSTREAM_DEVICES=str(registry), PUSH_PORT="0")
            kafka = KafkaSettings.load()
            asyncio.run(create_topics(kafka))
            lacking = missing_libraries()
            names = (*(() if lacking else (LEDGER, CONSOLE)), *((PULL,) if others else ()), *STAGES)
            console.print(f"Stages: {', '.join(names)}, each its own process.")
            remove_ledger(directory)
            # Whatever ledger somebody has: these punches belong into none.
            own = {"LEDGER_URL": f"sqlite:///{(directory / LEDGER_FILE).resolve()}", "CONSOLE_ZONE": ERPNEXT_ZONE}
            stages = stack.enter_context(Stages(directory, names, own))
            say_console(
                console, stages.console_url, lacking, None if lacking else make_first_account("punchstream demo")
            )
            if not stay and not lacking:
                console.print("It ends with the demo; with --stay, when you press Ctrl-C.")
            console.print(
                f"Fleet: {len(plan.terminals)} terminals, which now send.", end="\n\n" if not others else "\n"
            )
            if others:
                console.print(
                    f"Beside them one of each protocol: {', '.join(each.device_id for each in others.members)}.\n"
                )
            scene = Scene(plan, stages, others)
            tally, report = asyncio.run(_play(scene, kafka, seconds, directory, console))
        except KeyboardInterrupt:
            console.print("Stopping.")
            raise
        rows = stand_in.checkins()
        differences = compare(plan, tally, [row for row in rows if not (others and others.has(row))], ERPNEXT_ZONE)
        if others:
            differences += others.differences(filter(others.has, rows), ERPNEXT_ZONE)
        balanced = _account(plan, tally, report, differences, console, beside=others.punches if others else 0)
        console.print(f"{time.monotonic() - started:.0f} s in all.")
        if stay:
            with other_commands(directory / "env", settings, console):
                _stay(stages, console)
    return balanced


def _stay(stages: Stages, console: Console) -> None:
    """Keep everything up until somebody interrupts it."""
    console.print(f"Punches: POST {stages.url}/v1/events")
    console.print("Everything stays up until Ctrl-C.")
    try:
        while True:
            stages.check()
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("Stopping.")


@dataclass(slots=True)
class Scene:
    """What the live picture is drawn from."""

    plan: FleetPlan
    stages: Stages
    others: VendorFleet | None = None
    tally: Tally | None = None
    counts: dict[str, float] | None = None

    def look(self) -> None:
        """Ask every stage for its counts, and start again any that ended."""
        self.stages.check()
        self.counts = {}
        for stage in self.stages.names:
            self.counts |= self.stages.counts(stage)

    def all_stored(self) -> bool:
        """Whether ERPNext has as many check-ins of the terminals beside the fleet as these have punches."""
        # What is asked is asked when it is its turn, so a balanced account may lack what nobody has fetched yet.
        beside = self.others.punches if self.others else 0
        delivered = self.stored
        return not beside or delivered >= self.plan.expectation.totals().delivered + beside

    def __rich__(self) -> Group:
        expected = self.plan.expectation.totals()
        beside = self.others.punches if self.others else 0
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column, justify in SCENE_COLUMNS.items():
            table.add_column(column, justify=justify)
        sent = self.tally.acknowledged_events if self.tally else 0
        rows = (
            ("terminals", "acknowledged", sent, expected.raw),
            ("push", "attendance.raw.v1", self._sum("punchstream_events_received_total"), expected.raw + beside),
            (
                "stream",
                "check-ins",
                self._sum("punchstream_outcomes_total checkin", "punchstream_outcomes_total released"),
                expected.delivered + beside,
            ),
            ("", "duplicates", self._sum("punchstream_outcomes_total duplicate"), expected.duplicates),
            ("", "repeats", self._sum("punchstream_outcomes_total repeat"), expected.repeats),
            ("", "waiting", self._sum("punchstream_waiting "), sum(expected.waiting.values())),
            (
                "",
                "dead letters",
                self._sum("punchstream_outcomes_total dead_letter"),
                sum(expected.dead_letters.values()),
            ),
            ("sink", "ERPNext", self.stored, expected.delivered + beside),
        )
        again = AGAIN if beside else {}
        for stage, what, count, of in rows:
            table.add_row(stage, what, f"{count:,}", f"{of:,}{again.get(what, '')}")
        delivered = self.stored
        return Group(table, ProgressBar(total=expected.delivered + beside, completed=delivered, width=50))

    @property
    def stored(self) -> int:
        """How many check-ins ERPNext has taken."""
        # A delivery that is tried again and finds its check-in counts once more, as `already_there`.
        return self._sum("punchstream_deliveries_total created")

    def _sum(self, *prefixes: str) -> int:
        """Counts have the name of a metric, a blank and its labels. Without the blank, a longer name begins so too."""
        return round(sum(n for name, n in (self.counts or {}).items() if name.startswith(prefixes)))


@contextmanager
def drawn(scene: Scene, console: Console) -> Iterator[None]:
    """Draw the scene while the context lasts; what is printed afterwards stands below it.

    Args:
        scene: What is drawn, four times a second.
        console: Where to.
    """
    try:
        with Live(scene, console=console, refresh_per_second=4):
            yield
    finally:
        if not console.is_terminal:
            console.line()  # Live ends its last line only on a terminal
        console.line()


async def _play(
    scene: Scene, kafka: KafkaSettings, seconds: float, directory: Path, console: Console
) -> tuple[Tally, Report]:
    """Send everything, then wait until the pipeline has drained, drawing all the while.

    Raises:
        ProcessFailed: a file could not be imported.
    """

    def progress(tally: Tally) -> None:
        scene.tally = tally

    with drawn(scene, console):
        fleet = asyncio.create_task(send(scene.plan, scene.stages.url, duration=seconds, on_progress=progress))
        beside = asyncio.create_task(_play_beside(scene.others, scene.stages.url, directory))
        while not (fleet.done() and beside.done()):
            await asyncio.to_thread(scene.look)
            await asyncio.wait({fleet, beside}, timeout=0.5)
        tally = await fleet
        await beside
        deadline = time.monotonic() + DRAIN_SECONDS
        # By its first check-in the sink proves ERPNext's zone; an audit before that warns of it.
        while not scene.stored and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            await asyncio.to_thread(scene.look)
        while True:
            await asyncio.to_thread(scene.look)
            report = await audit(KafkaLog(kafka, "audit"), erpnext=ErpnextSettings.load())
            if (report.balanced and scene.all_stored()) or time.monotonic() > deadline:
                await asyncio.to_thread(scene.look)
                break
            await asyncio.sleep(1)
    return tally, report


async def _play_beside(others: VendorFleet | None, url: str, directory: Path) -> None:
    """Have the terminals of every protocol send, and their files imported."""
    if others is None:
        return
    await others.send(url)
    for device_id, path in others.write(directory):
        log_file = directory / f"import-{device_id}.log"
        with log_file.open("wb") as log:
            command = (sys.executable, "-m", "punchstream", "import", str(path), "--device", device_id)
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            if await process.wait():
                raise ProcessFailed(f"{path.name} could not be imported: see {log_file}")


def _account(
    plan: FleetPlan, tally: Tally, report: Report, differences: list[str], console: Console, *, beside: int
) -> bool:
    """Print the account, and say whether it balances: the topics in themselves, with the fleet, and with ERPNext.

    `beside` are the punches of terminals that are not the plan's, which may stand in the raw topic more than once.
    """
    show(report, console)
    expected = plan.expectation.totals()
    problems = [*tally.contradictions, *differences]
    if report.raw < tally.acknowledged_events + beside or (not beside and report.raw > tally.attempted_events):
        problems.append(f"raw events: {report.raw:,}, but the terminals had {tally.acknowledged_events:,} acknowledged")
    if report.refused < expected.rejected + expected.unreadable_bodies:
        problems.append(f"dead letters of what could not be read: {report.refused}, which is too few")
    outcomes = {
        "waiting": (report.waiting, sum(expected.waiting.values())),
        "dead-lettered": (report.dead_lettered, sum(expected.dead_letters.values())),
    }
    problems += [f"{name}: {found}, expected {wanted}" for name, (found, wanted) in outcomes.items() if found < wanted]
    for problem in problems[:20]:
        console.print(problem, style="red")
    again = report.raw - tally.acknowledged_events - beside
    if beside and again > 0:
        console.print(f"{again:,} punches of terminals that are asked came again; each was dropped as a duplicate.")
    if report.balanced and not problems:
        console.print(
            f"The terminals sent {tally.acknowledged_events:,} events in {tally.transmissions:,} requests"
            f" ({tally.retries:,} sent again); ERPNext holds {expected.delivered + beside:,} check-ins, each once,"
            " with the right employee, time and direction.",
            style="green",
        )
        return True
    console.print(f"{len(problems)} differences between the terminals, Kafka and ERPNext.", style="red")
    return False
