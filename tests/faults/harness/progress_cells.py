"""The cells in which Kafka loses what a stage goes by, beside the matrix: records, its offsets, a whole topic.

The stage stands still, the audit and its log say what is gone in the same numbers, and a person accepts that. Then what
terminals still have comes again, or `punchstream audit --repair` sends again what only later topics lack.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest

from attendance.errors import ConfigurationError
from attendance.kafka.admin import create_topics
from attendance.kafka.clients import create_admin
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.account import Account, AccountKey, decode
from attendance.times import now
from attendance.topics import Name
from attendance.wire import encode_json
from harness.cells import SETTLE_SECONDS, SHAPE, WITHHELD, Cell, Result, await_outcomes, choose, event_ids
from harness.cluster import Cluster
from harness.faults import Fault
from harness.load import Load
from harness.network import Network
from harness.oracle import together
from harness.pipeline import PARTITIONS, Member, Pipeline
from operations.audit import audit
from operations.audit_report import Report
from operations.audit_topics import TopicFault
from operations.log import KafkaLog
from operations.losses import accept_loss
from sandbox.fleet.model import FleetPlan, Transmission
from sandbox.fleet.plan import Shape
from sandbox.fleet.plan import plan as make_plan
from sandbox.fleet.send import Tally

OUT_OF_RANGE: Final[Fault] = "offsets out of range"
NO_PROGRESS: Final[Fault] = "group without progress"
ANEW: Final[Fault] = "topic made anew"
DOWN, ASLEEP = "while it is down", "while it sleeps"
KNOWN, UNKNOWN = "with its account", "without an account"
CELLS = (
    *(Cell(stage, OUT_OF_RANGE, point) for stage in ("stream", "sink") for point in (DOWN, ASLEEP)),
    *(Cell(stage, NO_PROGRESS, point) for stage in ("stream", "sink") for point in (KNOWN, UNKNOWN)),
    *(Cell(stage, ANEW) for stage in ("stream", "sink")),
)
READS: Mapping[str, Name] = {"stream": "raw", "sink": "checkins"}
GROUPS: Mapping[str, tuple[str, ...]] = {"stream": ("stream", "waiting"), "sink": ("sink",)}
BEFORE_SECONDS, MEANWHILE_SECONDS = 10.0, 20.0
"""Of load before a stage is struck, and from then on."""
DONE_BEFORE = 80
"""Records that the stage has done before it is struck."""
ENOUGH = 160
"""Punches in each half that ERPNext gets: far more than that, since some employees are withheld."""
LEFT_BEHIND = 60
"""Records that it has not done when they go."""
ACCOUNT_SECONDS = 150.0
"""A stage writes its account once a minute."""
BY_ACCOUNT = "going on by the account of this stage."
GOES_ON = "Going on after a loss that was accepted."
_NO_SUCH_GROUP = 69

# What is gone has no outcome that could be counted, and a second tap of a punch that is gone is kept in its place.
_GONE_SHAPE = replace(SHAPE, repeats=0.0, unknown_users=0, inactive=0, implausible=0, unreadable_times=0)


def run(cell: Cell, seed: int, cluster: Cluster, network: Network, directory: Path) -> Result:
    """Run one cell; as `harness.cells.run`."""
    started = time.monotonic()
    directory.mkdir(parents=True)
    random_ = random.Random(f"{seed} {cell.name}")
    plan = _draw(random_, SHAPE if cell.fault == NO_PROGRESS else _GONE_SHAPE)
    prefix = f"cell-{random_.getrandbits(32):08x}"
    result = Result(cell, f"{cell.target}-1 and -2")
    try:
        with Pipeline(directory, cluster, network, plan, prefix, WITHHELD) as pipeline:
            result = _Scene(cell, pipeline, plan).play(result)
        if not result.problems:
            cluster.delete_topics(prefix)
    except Exception as error:  # noqa: BLE001 - the other cells go on
        result = replace(result, problems=(*result.problems, repr(error)))
    return replace(result, seconds=time.monotonic() - started)


class _Scene:
    """One run of a cell."""

    def __init__(self, cell: Cell, pipeline: Pipeline, plan: FleetPlan) -> None:
        self._cell = cell
        self._pipeline = pipeline
        self._kafka = pipeline.kafka
        self._plan = plan
        self._reads = READS[cell.target]
        self._topic = pipeline.kafka.topics[self._reads]
        self._log = KafkaLog(pipeline.kafka, "a-cell")
        self._problems: list[str] = []
        self._faults: list[TopicFault] = []

    def play(self, result: Result) -> Result:
        """Start everything, send the load, strike, have a person accept what is gone, and judge."""
        pipeline, struck = self._pipeline, self._cell.fault
        pipeline.start({})
        before, meanwhile = (
            Load(half, pipeline.doors, seconds)
            for half, seconds in zip(halves(self._plan), (BEFORE_SECONDS, MEANWHILE_SECONDS), strict=True)
        )
        before.start()
        # A terminal sends one after the other.
        self._until(lambda: not before.running and sum(self._committed().values()) >= DONE_BEFORE)
        strikes: Mapping[Fault, Callable[[Load], None]] = {
            OUT_OF_RANGE: self._lose_records,
            NO_PROGRESS: self._lose_progress,
            ANEW: self._lose_topic,
        }
        strikes[struck](meanwhile)
        pipeline.map_withheld()
        self._until(lambda: not meanwhile.running)
        return self._verdict(result, together([before.tally, meanwhile.tally]))

    def _until(self, condition: Callable[[], bool], seconds: float = SETTLE_SECONDS) -> None:
        self._pipeline.until(condition, seconds)

    # What is struck

    def _lose_records(self, meanwhile: Load) -> None:
        """Retention passes the stage: all that it has not done is removed, while more comes."""
        asleep = self._cell.point == ASLEEP
        for member in self._members:
            if asleep:
                member.process.pause()
            else:
                member.rests = True
                member.process.kill()
        before = self._committed()
        meanwhile.start()
        self._until(lambda: self._ends().total() - Counter(before).total() >= LEFT_BEHIND)
        through = self._delete_records()
        for member in self._members:
            if asleep:
                member.process.resume()
            else:
                member.start()
        # What a stage had in hand when it fell asleep it does when it wakes up.
        self._until(lambda: all(self._is_named(each) or self._committed()[each] >= through[each] for each in through))
        self._accept("removed")
        if not asleep and {fault.partition for fault in self._faults} != {
            number for number in through if before.get(number, 0) < through[number]
        }:
            self._problems.append(f"the audit names {self._faults}, gone is up to {through}, done was {before}")

    def _lose_progress(self, meanwhile: Load) -> None:
        """Kafka forgets the group, as it does while a stage is away for longer than `offsets.retention.minutes`."""
        known = self._cell.point == KNOWN
        done = sum(self._committed().values())
        meanwhile.start()
        self._until(lambda: sum(self._committed().values()) > done)
        for member in self._members:
            member.rests = True
            if known:
                member.process.stop()  # it writes its account
            else:
                member.process.kill()
        for group in GROUPS[self._cell.target]:
            self._until(lambda: asyncio.run(_is_deleted(self._pipeline, group)))  # noqa: B023 - called at once
        if known:
            self._faults = self._look("no_progress")
            if not self._faults:
                self._problems.append("the audit does not know that the group has no progress")
        else:
            asyncio.run(self._forget_accounts())
        for member in self._members:
            member.start()
        if known:
            self._until(lambda: any(member.said(BY_ACCOUNT) for member in self._members))

    def _lose_topic(self, meanwhile: Load) -> None:
        """Somebody deletes the topic and makes it anew under the stages that write to it and read it."""
        self._until(
            lambda: self._accounted() >= {n for n, offset in self._committed().items() if offset}, ACCOUNT_SECONDS
        )
        known = self._accounted()
        meanwhile.start()
        asyncio.run(_delete_topic(self._pipeline, self._topic))
        self._until(lambda: asyncio.run(create_topics(self._kafka))[self._topic])
        self._until(lambda: all(self._is_named(number) for number in known))
        self._accept("anew")

    def _accept(self, kind: str) -> None:
        """What an operator does: look what the audit says, compare that with the log, and accept it."""
        found = self._look(kind)
        if not found:
            self._problems.append(f"the audit says of nothing that it is {kind}")
        for fault in found:
            self._accept_one(fault)
        # What a stage had in hand it may have done since: then the next audit says what this one could not see.
        self._until(lambda: self._is_accepted(kind))
        self._until(lambda: self._said(GOES_ON))

    def _is_accepted(self, kind: str) -> bool:
        """Whether the audit says nothing more of the kind. What it says anew is accepted too."""
        found = [fault for fault in self._audit().faults if fault.kind == kind]
        for fault in found:
            if fault not in self._faults:
                # The stage may have gone on meanwhile, and then nothing is missing any more.
                with suppress(ConfigurationError):
                    self._accept_one(fault)
        return not found

    def _accept_one(self, fault: TopicFault) -> None:
        of, is_anew = f"{fault.topic}:{fault.partition}", fault.kind == "anew"
        losses = asyncio.run(accept_loss(self._kafka, of, fault.goes_on, "a cell", "the cell"))
        if [(each.through, each.anew) for each in losses] != [(fault.goes_on, is_anew)]:
            self._problems.append(f"accepted was {losses}, the audit said {fault}")
        numbers = f"{fault.records} records of {of} are gone that {self._cell.target} has not read"
        # One that slept has done some of it without having committed that.
        if self._cell.point == DOWN and not self._said(numbers):
            self._problems.append(f"no log says so: {numbers}")
        self._faults.append(fault)

    # What is known

    @property
    def _members(self) -> list[Member]:
        return [each for each in self._pipeline.members.values() if each.stage == self._cell.target]

    def _said(self, text: str) -> bool:
        return any(member.said(text) for member in self._members)

    def _is_named(self, partition: int) -> bool:
        """Whether a process of the stage has said that it lacks records of a partition."""
        of = f"{self._topic}:{partition}"
        return self._said(f"of {of} are gone that") or self._said(f"{of} was made anew or cut short")

    def _committed(self) -> dict[int, int]:
        found = asyncio.run(self._log.committed(self._reads, self._cell.target))
        return {number: offset or 0 for number, offset in found.items()}

    def _ends(self) -> Counter[int]:
        extents = asyncio.run(self._log.extents(self._reads))
        return Counter({number: end for number, (_, end) in extents.items()})

    def _accounted(self) -> set[int]:
        """The partitions of which the stage has written that it has come further than to their begin."""
        records = asyncio.run(snapshot(self._kafka, self._kafka.topics["accounts"], "a-cell"))
        found = [decode(each.key, each.value) for each in records if each.value is not None]
        accounts = [each for each in found if isinstance(each, Account) and each.topic == self._topic]
        return {each.partition for each in accounts if each.through}

    def _look(self, kind: str) -> list[TopicFault]:
        report = self._audit()
        if report.balanced:
            self._problems.append("the audit balances over a loss")
        others = [fault for fault in report.faults if fault.kind not in (kind, "no_account")]
        if others:
            self._problems.append(f"the audit also says: {others}")
        return [fault for fault in report.faults if fault.kind == kind]

    def _audit(self, *, repair: bool = False) -> Report:
        return asyncio.run(audit(self._log, erpnext=self._pipeline.erpnext, repair=repair))

    # What is done

    def _delete_records(self) -> dict[int, int]:
        """Remove every record that is there now. Returns up to where, by partition."""
        ends = dict(self._ends())

        async def delete() -> None:
            admin = create_admin(self._kafka, "retention")
            await admin.start()
            try:
                wanted = {TopicPartition(self._topic, each): RecordsToDelete(end) for each, end in ends.items() if end}
                await admin.delete_records(wanted)
            finally:
                await admin.close()

        asyncio.run(delete())
        return {number: end for number, end in ends.items() if end}

    async def _forget_accounts(self) -> None:
        """The stage has none, as one of an earlier release."""
        topic = self._kafka.topics["accounts"]
        keys = [encode_json(AccountKey(self._cell.target, self._topic, number)) for number in range(PARTITIONS)]
        producer = Producer(self._kafka, "a-cell")
        try:
            await producer.send(*(OutRecord(topic, key, None) for key in keys))
        finally:
            await producer.stop()

    # The verdict

    def _verdict(self, result: Result, tally: Tally) -> Result:
        pipeline, plan = self._pipeline, self._plan
        if self._cell.fault != NO_PROGRESS:
            tally = self._make_whole(tally)
        # What came again may overtake what came later.
        everybody = {person.employee for person in plan.people if person.employee}
        unordered = None if self._cell.fault == NO_PROGRESS else everybody
        report, _, found = await_outcomes(pipeline, plan, tally, unordered=unordered)
        if self._cell.fault != NO_PROGRESS and len(report.accepted) != len(self._faults):
            found = [*found, f"accepted was {self._faults}, the audit names {report.accepted}"]
        return replace(
            result,
            raw=report.raw,
            resent=report.raw - plan.expectation.totals().raw,
            problems=(*self._problems, *found),
        )

    def _make_whole(self, tally: Tally) -> Tally:
        """Have what is gone come again. Returns what may be there then.

        Terminals send again what the raw topic has not any more; what has its outcome already is a duplicate then. Of
        check-ins that are gone, the raw topic still has the events.
        """
        # Each at least once: the copies of what is gone need not come again.
        tally = replace(tally, acknowledged=Counter(set(tally.acknowledged)))
        if self._reads == "raw":
            gone = set(tally.acknowledged) - set(event_ids(self._pipeline.values("raw")))
            if not gone:
                self._problems.append("nothing was gone")
            load = Load(choose(self._plan, gone.__contains__), self._pipeline.doors, 1.0)
            load.start()
            self._until(lambda: not load.running)
            return together([tally, replace(load.tally, acknowledged=Counter())])
        self._until(self._is_all_done)
        sent = self._audit(repair=True).sent_again or {}
        if self._cell.fault == OUT_OF_RANGE and not sent.get(self._kafka.topics["raw"]):
            self._problems.append(f"the repair of the audit has sent again: {sent}")
        return replace(tally, attempted_events=tally.attempted_events + sum(sent.values()))

    def _is_all_done(self) -> bool:
        return all(
            self._end_of(name) == sum(offset or 0 for offset in asyncio.run(self._log.committed(name, stage)).values())
            for stage, name in READS.items()
        )

    def _end_of(self, name: Name) -> int:
        return sum(end for _, end in asyncio.run(self._log.extents(name)).values())


def _draw(random_: random.Random, shape: Shape) -> FleetPlan:
    """A plan of which each half has enough: where terminals were offline, nearly all may be in the second one."""
    while True:
        plan = make_plan(random_.getrandbits(32), now(), shape)
        delivered = {each.event_id for each in plan.expectation.of("delivered")}
        sent = [
            {id_ for of in half.transmissions.values() for each in of for id_ in each.accepted} for half in halves(plan)
        ]
        if all(len(delivered & ids) >= ENOUGH for ids in sent):
            return plan


def halves(plan: FleetPlan) -> Iterator[FleetPlan]:
    """What each terminal sends first, and what it sends then, each spread over the whole of its time.

    Each half has as near to half of a terminal's events as its transmissions allow: one that was offline sends most of
    its events in a few at the end.
    """
    for number in (0, 1):
        halves: dict[str, tuple[Transmission, ...]] = {}
        for device_id, sent in plan.transmissions.items():
            events = list(accumulate((len(each.accepted) for each in sent), initial=0))
            middle = min(range(len(events)), key=lambda at: abs(2 * events[at] - events[-1]))
            half = (sent[:middle], sent[middle:])[number]
            halves[device_id] = tuple(replace(each, at=at / len(half)) for at, each in enumerate(half))
        yield replace(plan, transmissions=halves)


async def _is_deleted(pipeline: Pipeline, group: str) -> bool:
    """Delete a group, and with it its offsets; False while it has members, or its coordinator does not answer."""
    name = pipeline.kafka.group(group)
    admin = create_admin(pipeline.kafka, "a-cell")
    await admin.start()
    try:
        coordinator = await admin.find_coordinator(name)
        response = await admin._send_request(DeleteGroupsRequest([name]), coordinator)
    finally:
        await admin.close()
    [(_, code)] = response.results
    return code in (0, _NO_SUCH_GROUP)


async def _delete_topic(pipeline: Pipeline, topic: str) -> None:
    admin = create_admin(pipeline.kafka, "an-operator")
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
