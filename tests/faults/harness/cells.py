"""The cells of the matrix, and how one is run: load, one fault, the verdict."""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import orjson

from attendance.errors import InvalidRecord
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery
from attendance.records.raw_event import RawEvent
from attendance.times import now
from harness.cluster import Cluster, Victim
from harness.faults import FAULTS, LASTS, Fault, has_struck, strike
from harness.load import Load
from harness.network import Network
from harness.oracle import Rows, problems, together
from harness.pipeline import ERPNEXT_ZONE, PARTITIONS, ErpnextVictim, Member, Pipeline
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from sandbox.fleet.model import FleetPlan, Outcome, Transmission
from sandbox.fleet.plan import Shape
from sandbox.fleet.plan import plan as make_plan
from sandbox.fleet.send import Tally

Target = Literal["push", "stream", "sink", "broker", "leader", "erpnext", "every stage", "ledger", "database"]

LEAST_LOAD = 15.0  # seconds
LOAD_AFTERWARDS = 8.0  # seconds of load after a fault that lasts
BEGINNING_SECONDS = 12.0  # for a process that was killed to be missed, and to take part again
SHAPE = Shape(
    terminals=9,
    people=60,
    punches=600,
    days=2,
    repeats=0.15,
    unknown_users=2,
    inactive=2,
    implausible=4,
    unreadable_times=3,
    malformed=4,
    unreadable_bodies=2,
)
WITHHELD = 5
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 1.0  # between two looks, which cost more than all else
POINT_SECONDS = 20.0  # a process that stopped itself is let go on after so long
# A process gets there when it begins anew, so it is killed before, in the middle of the load.
STREAM_RECOVERY = "stream: during recovery"
BEGINNINGS = {"stream: during a rebalance", STREAM_RECOVERY, "sink: during a rebalance"}
ERPNEXT_WROTE = "after ERPNext wrote, before it answered"

# How often a process gets to a point before it strikes itself, from and to: while most of the load is still to come.
ONCE = (1, 1)
TIMES = {
    "after Kafka has the raw events": (5, 60),
    # Few terminals may be in the share of one worker.
    "after output, before state": (5, 30),
    "after state, before commit": (1, 4),  # a step of many records writes one
    "after the delivery record, before commit": (5, 60),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault at one place. With a `point` the process strikes itself when it gets there."""

    target: Target
    fault: Fault
    point: str = ""
    lasts: float = 0.0

    @property
    def name(self) -> str:
        """As it is chosen by `CELLS`."""
        return f"{self.target} {self.fault}" + (f" {self.point.removeprefix(f'{self.target}: ')}" if self.point else "")

    @property
    def alone(self) -> bool:
        """Whether it strikes what all cells share."""
        return self.target in {"broker", "leader"}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a cell. `delay` is the longest from a punch's first try to its row in ERPNext, in seconds."""

    cell: Cell
    victim: str
    raw: int = 0
    resent: int = 0
    repeated_checkins: int = 0
    already_there: int = 0
    delay: float = 0.0
    seconds: float = 0.0
    problems: tuple[str, ...] = ()


def matrix() -> list[Cell]:
    """Every cell."""
    cells = [
        Cell(target, fault, lasts=LASTS[fault])
        for target in ("push", "stream", "sink", "broker", "leader")
        for fault in FAULTS
    ]
    points: tuple[tuple[Target, str], ...] = (
        ("push", "after Kafka has the raw events"),
        ("stream", "after output, before state"),
        ("stream", "after state, before commit"),
        ("stream", "stream: during a rebalance"),
        ("stream", STREAM_RECOVERY),
        ("sink", ERPNEXT_WROTE),
        ("sink", "after the delivery record, before commit"),
        ("sink", "sink: during a rebalance"),
    )
    cells += [Cell(target, "SIGKILL", point) for target, point in points]
    cells += [Cell(target, "SIGSTOP", point, POINT_SECONDS) for target, point in points]
    return [*cells, *(Cell("erpnext", fault, lasts=LASTS[fault] / 2) for fault in FAULTS if fault != "SIGTERM")]


def run(cell: Cell, seed: int, cluster: Cluster, network: Network, directory: Path) -> Result:
    """Run one cell. What goes wrong with the product is in the result; nothing is raised for it.

    Args:
        cell: Which.
        seed: Of the load, the victim and the moments.
        cluster: The brokers, whole.
        network: Between all processes.
        directory: Not there yet; for logs and data.
    """
    started = time.monotonic()
    directory.mkdir(parents=True)
    random_ = random.Random(f"{seed} {cell.name}")
    plan = make_plan(random_.getrandbits(32), now(), SHAPE)
    prefix = f"cell-{random_.getrandbits(32):08x}"
    result = Result(cell, cell.target)
    try:
        with Pipeline(directory, cluster, network, plan, prefix, WITHHELD) as pipeline:
            result = _Scene(cell, random_, pipeline, cluster, network, plan).play(result)
        if not result.problems:
            cluster.delete_topics(prefix)
    except Exception as error:  # noqa: BLE001 - the other cells go on
        result = replace(result, problems=(*result.problems, repr(error)))
    return replace(result, seconds=time.monotonic() - started)


class _Scene:
    """One run of a cell."""

    def __init__(
        self,
        cell: Cell,
        random_: random.Random,
        pipeline: Pipeline,
        cluster: Cluster,
        network: Network,
        plan: FleetPlan,
    ) -> None:
        self._cell = cell
        self._random = random_
        self._pipeline = pipeline
        self._cluster = cluster
        self._network = network
        self._plan = plan

    def play(self, result: Result) -> Result:
        """Start everything, send the load, strike, wait until all is settled, and judge."""
        cell, pipeline = self._cell, self._pipeline
        name = f"{cell.target}-{self._random.choice('12')}"
        at_work = bool(cell.point) and cell.point not in BEGINNINGS
        program = (points_program(), cell.point, str(self._random.randint(*TIMES.get(cell.point, ONCE))), cell.fault)
        pipeline.start({name: program} if at_work else {})
        seconds = max(LEAST_LOAD, 6 + cell.lasts + LOAD_AFTERWARDS)
        load = Load(self._plan, pipeline.doors, seconds + (BEGINNING_SECONDS if cell.point in BEGINNINGS else 0.0))
        load.start()
        if not at_work:
            self._pass(self._random.uniform(3, 6))
        if cell.point == STREAM_RECOVERY:
            # Whichever partitions the worker gets then, it has kept punches of some.
            pipeline.until(lambda: pipeline.filled("dedup_state") > PARTITIONS // 2, SETTLE_SECONDS)
        victim = self._victim(name)
        if cell.point in BEGINNINGS:
            victim.process.kill()
            pipeline.members[name].start(*program)
        if cell.point:
            self._await_point(pipeline.members[name])
        else:
            strike(cell.fault, victim, self._network, self._while_it_lasts)
        result = replace(result, victim=victim.name)
        if cell.lasts == 0:
            self._while_it_lasts()
        if cell.target == "erpnext":
            pipeline.until(lambda: pipeline.stand_in.process.running, SETTLE_SECONDS)
            pipeline.map_withheld()
        pipeline.until(lambda: not load.running, SETTLE_SECONDS)
        if cell.alone:
            self._cluster.wait_until_whole()
        return self._verdict(result, load)

    def _victim(self, name: str) -> Victim:
        match self._cell.target:
            case "leader" | "broker":
                leader = self._cluster.coordinator(self._pipeline.kafka.group("stream"))
                others = [node for node in self._cluster.nodes if node is not leader]
                return leader if self._cell.target == "leader" else self._random.choice(others)
            case "erpnext":
                return ErpnextVictim(self._pipeline.stand_in)
            case _:
                return self._pipeline.members[name]

    def _await_point(self, victim: Member) -> None:
        """Return when the process has struck itself and, if it only stopped, goes on."""
        number = signal.Signals[self._cell.fault]
        if self._cell.point == ERPNEXT_WROTE:
            close = {"action": "close_after_write", "times": None, "probability": 0.3}
            paths = ("insert_many", "POST /api/resource/Employee Checkin")
            self._pipeline.stand_in.knobs(faults=[{**close, "match": path} for path in paths])
        deadline = time.monotonic() + SETTLE_SECONDS
        while not has_struck(victim, number):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{victim.name} never got to: {self._cell.point}")
            time.sleep(0.05)
        self._pipeline.stand_in.knobs(faults=[])
        if number == signal.SIGSTOP:
            self._while_it_lasts()
            victim.process.resume()

    def _while_it_lasts(self) -> None:
        """The employees that were withheld come in the middle of the trouble; an ERPNext that is away knows nobody."""
        before = self._cell.lasts * self._random.uniform(0.1, 0.9)
        self._pass(before)
        if self._cell.target != "erpnext":
            self._pipeline.map_withheld()
        self._pass(self._cell.lasts - before)

    def _pass(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._pipeline.until(lambda: time.monotonic() >= deadline, seconds + 30)

    def _verdict(self, result: Result, load: Load) -> Result:
        pipeline, plan = self._pipeline, self._plan
        report, rows, found = await_outcomes(pipeline, plan, load.tally)
        checkins = [Checkin.decode(value).event_id for value in pipeline.values("checkins") if value]
        deliveries = [Delivery.decode(value) for value in pipeline.values("deliveries") if value]
        if self._cell.target == "stream" and not found:
            found = self._second_taps_again(load.tally)
        return replace(
            result,
            raw=report.raw,
            resent=report.raw - plan.expectation.totals().raw,
            repeated_checkins=len(checkins) - len(set(checkins)),
            already_there=sum(each.status == "already_there" for each in deliveries),
            delay=_longest_delay(rows, load.first_tries(), pipeline.withheld),
            problems=tuple(found),
        )

    def _second_taps_again(self, before: Tally) -> list[str]:
        """What is wrong after both workers have restored their state and the second taps come again, alone.

        A worker whose state lacks the first tap takes the second for a punch of its own.
        """
        for member in self._pipeline.members.values():
            if member.stage == "stream":
                member.process.kill()
        load = Load(only(self._plan, "repeat"), self._pipeline.doors, 1.0)
        load.start()
        self._pipeline.until(lambda: not load.running, SETTLE_SECONDS)
        return await_outcomes(self._pipeline, self._plan, before, load.tally)[-1]


def await_outcomes(
    pipeline: Pipeline,
    plan: FleetPlan,
    *tallies: Tally,
    unordered: Collection[str] | None = None,
) -> tuple[Report, Rows, list[str]]:
    """Wait until nothing is wrong, or for long enough: the audit, ERPNext's rows, and what is wrong.

    Args:
        pipeline: Running.
        plan: Of everything that was sent.
        tallies: What the terminals were answered, load by load.
        unordered: The employees whose punches may overtake each other; who was mapped late, if not given.
    """
    wanted = plan.expectation.totals().delivered
    look: tuple[Report, Rows, list[str]] = Report(), [], ["nothing was looked at"]

    def settled(*, at_last: bool = False) -> bool:
        nonlocal look
        time.sleep(LOOK_SECONDS)
        rows = pipeline.stand_in.checkins()
        if len(rows) < wanted and not at_last:
            return False
        report = asyncio.run(audit(KafkaLog(pipeline.kafka, "audit"), erpnext=pipeline.erpnext))
        raw_ids = set(event_ids(pipeline.values("raw")))
        late = pipeline.withheld if unordered is None else unordered
        found = problems(plan, together(tallies), report, raw_ids, rows, late, ERPNEXT_ZONE)
        look = report, rows, found
        return not found

    try:
        pipeline.until(settled, SETTLE_SECONDS)
    except TimeoutError:
        settled(at_last=True)
    return look


def points_program() -> str:
    """The program that strikes itself at a point."""
    return str(Path(__file__).with_name("points.py"))


def only(plan: FleetPlan, outcome: Outcome) -> FleetPlan:
    """The plan with only those transmitted events that must end so."""
    return choose(plan, lambda id_: plan.expectation.events[id_].outcome == outcome)


def choose(plan: FleetPlan, is_chosen: Callable[[str], bool]) -> FleetPlan:
    """The plan with only those transmitted events whose id is chosen, each once, in one request of each device."""
    transmissions: dict[str, tuple[Transmission, ...]] = {}
    for device_id, sent in plan.transmissions.items():
        chosen = {
            id_: event
            for one in sent
            if one.event_ids is not None
            for id_, event in zip(one.event_ids, orjson.loads(one.body)["events"], strict=True)
            if id_ is not None and is_chosen(id_)
        }
        if chosen:
            body = orjson.dumps({"device_id": device_id, "events": list(chosen.values())})
            transmissions[device_id] = (Transmission(device_id, body, tuple(chosen), 0.0),)
    return replace(plan, transmissions=transmissions)


def event_ids(values: list[bytes | None]) -> Iterator[str]:
    """The ids of the events in the raw topic's values."""
    for value in values:
        try:
            yield RawEvent.decode(value).event_id
        except InvalidRecord:
            continue


def _longest_delay(rows: Rows, first_tries: dict[str, float], withheld: Collection[str]) -> float:
    """From the terminal's first try to the row, in seconds. Who was mapped late waited for that."""
    zone = ZoneInfo(ERPNEXT_ZONE)
    return max(
        (
            datetime.fromisoformat(row["creation"]).replace(tzinfo=zone).timestamp() - first_tries[row["event_id"]]
            for row in rows
            if row["employee"] not in withheld and row["event_id"] in first_tries
        ),
        default=0.0,
    )
