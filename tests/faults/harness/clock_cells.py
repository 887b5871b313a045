"""The cells in which the clock of a server is wrong, beside the matrix: what that dead-letters, a replay releases."""

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path

from attendance.errors import Reason
from attendance.records.unread import UnreadRequest
from attendance.times import now
from harness.cells import LEAST_LOAD, LOOK_SECONDS, SETTLE_SECONDS, SHAPE, WITHHELD, Cell, Result, event_ids
from harness.cluster import Cluster
from harness.faults import Fault
from harness.load import Load
from harness.network import Network
from harness.oracle import problems
from harness.pipeline import ERPNEXT_ZONE, Pipeline
from operations.audit import audit
from operations.audit_report import Report
from operations.dead_letter_actions import make_replay_plan, replay
from operations.dead_letters import Selection
from operations.log import KafkaLog
from operations.reading_again import Reading
from sandbox.fleet.model import FleetPlan
from sandbox.fleet.plan import plan as make_plan
from sandbox.fleet.send import Tally

MOVED: Fault = "clock moved"
BEHIND: Fault = "clock behind"
CELLS = (Cell("push", MOVED, lasts=10.0), Cell("push", BEHIND))
BEHIND_SECONDS = -3 * 86400.0
"""More than all that the terminals have to send, so that every punch is ahead of such a server."""
STANDS, GOES_ON = "This stage stands still.", "This stage goes on."
NOTICED, NEVER = "120", "36500d"
"""The settings `CLOCK_LIMIT`."""


def run(cell: Cell, seed: int, cluster: Cluster, network: Network, directory: Path) -> Result:
    """Run one cell; as `harness.cells.run`."""
    started = time.monotonic()
    directory.mkdir(parents=True)
    random_ = random.Random(f"{seed} {cell.name}")
    # A second tap may come by the other door, and be the one that is kept; and what really is ahead is not to pass.
    plan = make_plan(random_.getrandbits(32), now(), replace(SHAPE, repeats=0.0, implausible=0))
    prefix, victim = f"cell-{random_.getrandbits(32):08x}", f"push-{random_.choice('12')}"
    result = Result(cell, victim)
    try:
        with Pipeline(directory, cluster, network, plan, prefix, WITHHELD) as pipeline:
            tally = _load(cell, pipeline, plan, victim, random_)
            result = _verdict(result, pipeline, plan, tally)
        if not result.problems:
            cluster.delete_topics(prefix)
    except Exception as error:  # noqa: BLE001 - the other cells go on
        result = replace(result, problems=(*result.problems, repr(error)))
    return replace(result, seconds=time.monotonic() - started)


def _load(cell: Cell, pipeline: Pipeline, plan: FleetPlan, victim: str, random_: random.Random) -> Tally:
    """Send the load while the clock of one push process is wrong, and set that right."""
    noticed = cell.fault == MOVED
    clock = pipeline.directory / "clock"
    clock.write_text("0" if noticed else str(BEHIND_SECONDS))
    program = str(Path(__file__).with_name("moved_clock.py"))
    pipeline.start({victim: (program, str(clock), NOTICED if noticed else NEVER)})
    load = Load(plan, pipeline.doors, LEAST_LOAD + cell.lasts)
    load.start()
    if noticed:
        _pass(pipeline, random_.uniform(3, 6))
        clock.write_text(str(BEHIND_SECONDS))
        pipeline.until(lambda: pipeline.members[victim].said(STANDS), SETTLE_SECONDS)
        _pass(pipeline, cell.lasts)
        clock.write_text("0")
        pipeline.until(lambda: pipeline.members[victim].said(GOES_ON), SETTLE_SECONDS)
    pipeline.map_withheld()
    pipeline.until(lambda: not load.running, SETTLE_SECONDS)
    clock.write_text("0")
    return load.tally


def _verdict(result: Result, pipeline: Pipeline, plan: FleetPlan, tally: Tally) -> Result:
    """Release what the wrong clock dead-lettered until nothing is wrong, or for long enough."""
    released = 0
    report, found = Report(), ["nothing was looked at"]
    everybody = {person.employee for person in plan.people if person.employee}
    deadline = time.monotonic() + SETTLE_SECONDS
    while found and time.monotonic() < deadline:
        pipeline.supervise()
        time.sleep(LOOK_SECONDS)
        released += asyncio.run(release(pipeline))
        rows = pipeline.stand_in.checkins()
        report = asyncio.run(audit(KafkaLog(pipeline.kafka, "audit"), erpnext=pipeline.erpnext))
        # What is released is one more raw record, and may overtake what came later.
        sent = replace(tally, attempted_events=tally.attempted_events + released)
        raw_ids = set(event_ids(pipeline.values("raw")))
        found = problems(plan, sent, report, raw_ids, rows, everybody, ERPNEXT_ZONE)
    if not released and result.cell.fault == BEHIND:
        found = [*found, "the wrong clock has dead-lettered nothing"]
    resent = report.raw - released - plan.expectation.totals().raw
    return replace(result, raw=report.raw, resent=resent, problems=tuple(found))


def _pass(pipeline: Pipeline, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pipeline.until(lambda: time.monotonic() >= deadline, seconds + 30)


async def release(pipeline: Pipeline) -> int:
    """Replay what was dead-lettered for its time, as an operator does. Returns how many records that were."""
    log = KafkaLog(pipeline.kafka, "release")
    letters = await make_replay_plan(log, Selection.of(Reason.IMPLAUSIBLE_TIME), _read_nothing, force=False)
    if letters.ids:
        await replay(log, letters, per_second=1000, by="the cell", report=lambda *_: None)
    return len(letters.ids)


def _read_nothing(request: UnreadRequest) -> Reading:
    raise NotImplementedError(request.unread_id)
