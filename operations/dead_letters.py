"""The `dead-letters` commands: what failed and why, and what is done about it: replayed, or discarded with a note.

Nothing is ever changed or removed. What was done is a record of the dead-letter-actions topic, and the state of a
letter follows from those. First the decisions, which know no Kafka, then what reads and sends, then the commands.
"""

import asyncio
import getpass
import os
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.producer import Producer
from attendance.kafka.readers import read, snapshot
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.settings import KafkaSettings
from attendance.times import format_milliseconds, format_seconds, now
from attendance.topics import Topics
from operations.superseded import Versions
from punchstream.output import AsJson, print_json, print_table

MAX_REPLAYS: Final = 3
REPLAYS_PER_SECOND: Final = 100.0
SHOWN_MESSAGE: Final = 200
SHOWN_VALUE: Final = 4000  # characters
MANY: Final = 10  # from here on progress is shown
AT_ONCE: Final = 500  # records that wait for one acknowledgement

app = typer.Typer(help="What failed and why; send it back, or set it aside.", no_args_is_help=True)


class State(StrEnum):
    """What a dead letter is now."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    PARKED = "parked"
    """Nothing was done about it, but it has failed after so many replays that one more is refused."""


SETTLED: Final = frozenset({State.REPLAYED, State.DISCARDED})


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, where it stands, and what was done about it, oldest first."""

    id: LetterId
    content: DeadLetter
    history: tuple[Action, ...] = ()

    @property
    def state(self) -> State:
        """The last action decides; without one, how often it was replayed before it came here."""
        if self.history:
            return State(self.history[-1].action)
        return State.PARKED if self.content.replay_count >= MAX_REPLAYS else State.OPEN

    def device(self, topics: Topics) -> str | None:
        """The device that it is about, None where nothing says so."""
        if self.content.topic == topics["checkins"]:  # their key is the employee
            try:
                return Checkin.decode(self.content.value).device_id
            except InvalidRecord:
                return None
        return None if self.content.key is None else self.content.key.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters a command is about: those named, whatever became of them; else the unsettled ones of a filter."""

    ids: frozenset[LetterId] = frozenset()
    reason: Reason | None = None
    stage: str | None = None
    device: str | None = None

    def matches(self, letter: Letter, topics: Topics) -> bool:
        """Whether the filter, or the names, let it through."""
        if self.ids:
            return letter.id in self.ids
        return (
            self.reason in (None, letter.content.reason)
            and self.stage in (None, letter.content.stage)
            and (self.device is None or self.device == letter.device(topics))
        )

    def includes(self, letter: Letter, topics: Topics) -> bool:
        """Whether something is to be done about it."""
        return self.matches(letter, topics) and (bool(self.ids) or letter.state not in SETTLED)


@dataclass(slots=True)
class Plan:
    """What a command will do, in the order of the topic, and what it will not, with the reason."""

    ids: list[LetterId] = field(default_factory=list)
    refused: dict[LetterId, str] = field(default_factory=dict)
    superseded: int = 0
    """How many are refused because their punch was corrected since."""


def objection_to_replay(letter: Letter, topics: Topics, *, force: bool) -> str | None:
    """Why a letter is not replayed, None where it is. `force` overrides only what it was before, not what it lacks."""
    content = letter.content
    if content.topic is None:
        return f"never was a record ({content.where or content.stage}): the sender has to send it again"
    # These two are consumed by who takes the same punch twice for one.
    if content.topic not in (topics["raw"], topics["checkins"]):
        return f"{content.topic} is not a topic that can be replayed to"
    if content.value is None:
        return f"has no value; the original stands at {content.topic} {content.partition}:{content.offset}"
    if force:
        return None
    if letter.state is State.PARKED:
        return f"parked: failed after {content.replay_count} replays; repair the cause, then --force"
    return f"{letter.state} already; --force does it again" if letter.state in SETTLED else None


def objection_to_discard(letter: Letter) -> str | None:
    """Why a letter is not discarded, None where it is."""
    return f"{letter.state} already" if letter.state in SETTLED else None


@dataclass(slots=True)
class Group:
    """The letters of one stage and reason, counted. The sample is the newest, if possible one that is unsettled."""

    stage: str
    reason: Reason
    states: Counter[State] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    sample: LetterId | None = None
    message: str = ""
    sample_is_settled: bool = True
    sampled_at: datetime | None = None

    def add(self, letter: Letter) -> None:
        """Count a letter. Of the letter itself only the sample's id and message are kept."""
        at, settled = letter.content.at, letter.state in SETTLED
        self.states[letter.state] += 1
        self.first = at if self.first is None else min(self.first, at)
        self.last = at if self.last is None else max(self.last, at)
        if self.sampled_at is None or (not settled, at) >= (not self.sample_is_settled, self.sampled_at):
            self.sample, self.message = letter.id, letter.content.message
            self.sample_is_settled, self.sampled_at = settled, at

    def to_json(self) -> dict[str, object]:
        """The group for programs."""
        return {
            "stage": self.stage,
            "reason": self.reason,
            "count": self.states.total(),
            **{state.value: self.states[state] for state in State},
            "first": _seconds(self.first),
            "last": _seconds(self.last),
            "sample_id": str(self.sample),
            "sample_message": self.message,
        }


class Groups:
    """Every group, by stage and reason."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, Reason], Group] = {}

    def add(self, letter: Letter) -> None:
        """Count a letter in its group."""
        key = (letter.content.stage, letter.content.reason)
        self._groups.setdefault(key, Group(*key)).add(letter)

    def sorted(self) -> list[Group]:
        """The groups, in the order of stage and reason."""
        return [self._groups[key] for key in sorted(self._groups)]


class Pace:
    """Spreads what is done evenly over time."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._interval = 1 / per_second
        self._clock = clock
        self._due = clock()

    def delay(self) -> float:
        """How many seconds to wait before the next one, which then counts as done. Lost time is not made up for."""
        at = self._clock()
        self._due = max(self._due, at)
        delay = self._due - at
        self._due += self._interval
        return delay


def begin_at(ids: Iterable[LetterId]) -> dict[int, int]:
    """The first offset of each partition that is among the ids."""
    offsets: dict[int, int] = {}
    for each in ids:
        offsets[each.partition] = min(each.offset, offsets.get(each.partition, each.offset))
    return offsets


def describe(letter: Letter) -> dict[str, object]:
    """All about one letter, for programs."""
    content = letter.content
    return {
        "id": str(letter.id),
        "state": letter.state,
        "stage": content.stage,
        "reason": content.reason,
        "message": content.message,
        "at": format_milliseconds(content.at),
        "attempts": content.attempts,
        "event_id": content.event_id,
        "replay_count": content.replay_count,
        "original": {
            "topic": content.topic,
            "partition": content.partition,
            "offset": content.offset,
            "timestamp": content.timestamp,
            "where": content.where,
        },
        "key": readable(content.key),
        "headers": [[name, readable(data)] for name, data in content.headers],
        "value": readable(content.value),
        "history": [
            {
                "action": each.action,
                "at": format_milliseconds(each.at),
                "by": each.by,
                "note": each.note,
                "replay_count": each.replay_count,
            }
            for each in letter.history
        ],
    }


def readable(data: bytes | None) -> dict[str, object] | None:
    """Bytes for people and programs: `text` where they are UTF-8, else `hex`; and how many there are."""
    if data is None:
        return None
    try:
        return {"bytes": len(data), "text": data.decode()}
    except UnicodeDecodeError:
        return {"bytes": len(data), "hex": data.hex()}


def safe(text: str) -> str:
    """Text without what a terminal would obey: it comes from devices, and from whoever may post."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def cut(text: str, length: int) -> str:
    """Text of at most so many characters, and a note of what is missing."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length} more characters)"


def _seconds(instant: datetime | None) -> str | None:
    return None if instant is None else format_seconds(instant)


# What reads and sends.


async def read_letters(kafka: KafkaSettings, begin: Mapping[int, int] | None = None) -> AsyncGenerator[Letter, None]:
    """Every dead letter, one at a time, in offset order within a partition. `begin` as in `attendance.kafka.read`.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    history: dict[LetterId, list[Action]] = defaultdict(list)
    for record in await snapshot(kafka, kafka.topics["dead_letter_actions"], _client(kafka)):
        try:
            action = Action.decode(record.key, record.value)
            history[action.letter].append(action)
        except InvalidRecord as error:
            typer.echo(f"{record.topic} {record.partition}:{record.offset}: {error}", err=True)
    async with aclosing(read(kafka, kafka.topics["dead_letters"], _client(kafka), begin=begin)) as batches:
        async for batch in batches:
            for record in batch:
                id_ = LetterId(record.partition, record.offset)
                try:
                    content = DeadLetter.decode(record.key, record.value, record.headers)
                except InvalidRecord as error:
                    typer.echo(f"{record.topic} {id_}: {error}", err=True)
                else:
                    yield Letter(id_, content, tuple(history.get(id_, ())))


async def find(kafka: KafkaSettings, id_: LetterId) -> Letter | None:
    """The letter of that id, if there is one. Raises what `read_letters` raises."""
    async with aclosing(read_letters(kafka, begin_at([id_]))) as letters:
        async for letter in letters:
            if letter.id == id_:
                return letter
    return None


async def make_plan(kafka: KafkaSettings, wanted: Wanted, objection: Callable[[Letter], str | None]) -> Plan:
    """Sort the wanted letters by whether there is an objection. Raises what `read_letters` raises."""
    plan = Plan()
    missing = set(wanted.ids)
    async with aclosing(read_letters(kafka, begin_at(wanted.ids) if wanted.ids else None)) as letters:
        async for letter in letters:
            if not wanted.includes(letter, kafka.topics):
                continue
            problem = objection(letter)
            if problem is None:
                plan.ids.append(letter.id)
            else:
                plan.refused[letter.id] = problem
            missing.discard(letter.id)
            if wanted.ids and not missing:
                break
    plan.refused |= dict.fromkeys(sorted(missing), "no such dead letter")
    return plan


async def make_replay_plan(kafka: KafkaSettings, wanted: Wanted, *, force: bool) -> Plan:
    """The plan of a replay. What was corrected since is refused, also with `force`: it would be stored once more.

    Raises what `read_letters` raises.
    """
    versions = Versions()

    def objection(letter: Letter) -> str | None:
        problem = objection_to_replay(letter, kafka.topics, force=force)
        if problem is None:
            versions.add(letter.id, letter.content, kafka.topics)
        return problem

    plan = await make_plan(kafka, wanted, objection)
    superseded = await versions.superseded(kafka, _client(kafka))
    plan.ids = [id_ for id_ in plan.ids if id_ not in superseded]
    plan.refused |= {id_: f"superseded: {by} corrects this punch; discard the letter" for id_, by in superseded.items()}
    plan.superseded = len(superseded)
    return plan


async def replay(
    kafka: KafkaSettings,
    ids: Collection[LetterId],
    *,
    per_second: float,
    by: str,
    report: Callable[[LetterId, str | None], None],
) -> None:
    """Send these letters back to where they came from, one after the other, and record each.

    The ids were planned before, so that a letter that comes back meanwhile is not sent a second time. `report` is
    told of each letter when it is in Kafka and recorded, or why it could not be sent.

    Raises:
        KafkaUnavailable: Kafka does not answer; those that were reported are replayed.
    """
    remaining = set(ids)
    pace = Pace(per_second)
    producer = Producer(kafka, _client(kafka))
    try:
        async with aclosing(read_letters(kafka, begin_at(ids))) as letters:
            async for letter in letters:
                if letter.id not in remaining:
                    continue
                await asyncio.sleep(pace.delay())
                report(letter.id, await replay_one(letter, producer, kafka.topics, by))
                remaining.discard(letter.id)
                if not remaining:
                    break
        for id_ in sorted(remaining):
            report(id_, "is not there any more")
    finally:
        await producer.stop()


async def replay_one(letter: Letter, producer: Producer, topics: Topics, by: str) -> str | None:
    """Send a letter's record back and then record that. Returns why Kafka will not take it, None where it did.

    Raises:
        KafkaUnavailable: the record may be there or not; that it was sent is not recorded.
    """
    try:
        await producer.send(letter.content.to_replay())
    except InvalidRecord as error:
        return str(error)
    # Whoever ends here has replayed a letter that still looks open. Replayed once more, it does no harm: the stream
    # drops the punch as a duplicate, and the sink finds the check-in in the target.
    count = letter.content.replay_count + 1
    await producer.send(_record(topics, Action(letter.id, "replayed", now(), by, replay_count=count)))
    return None


async def discard(kafka: KafkaSettings, ids: Sequence[LetterId], *, note: str, by: str) -> None:
    """Record that nothing more is to be done about these letters.

    Raises:
        KafkaUnavailable: Kafka does not answer; each may be recorded or not.
    """
    producer = Producer(kafka, _client(kafka))
    try:
        for start in range(0, len(ids), AT_ONCE):
            part = ids[start : start + AT_ONCE]
            await producer.send(
                *(_record(kafka.topics, Action(id_, "discarded", now(), by, note=note)) for id_ in part)
            )
    finally:
        await producer.stop()


def _record(topics: Topics, action: Action) -> OutRecord:
    return OutRecord(topics["dead_letter_actions"], action.key, action.encode())


def _client(kafka: KafkaSettings) -> str:
    return kafka.client_id("dead-letters")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


# The commands.


def _letter_id(text: str) -> LetterId:
    try:
        return LetterId.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, as `punchstream dead-letters list` shows it") from error


Ids = Annotated[
    list[LetterId] | None, typer.Argument(metavar="ID", parser=_letter_id, help="As `list` shows it: `3:17`.")
]
OfReason = Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="Only letters of this reason.")]
OfStage = Annotated[str | None, typer.Option("--stage", help="Only letters of this stage, such as push or sink.")]
OfDevice = Annotated[str | None, typer.Option("--device", help="Only letters about this device's punches.")]


@app.command("list")
def list_letters(
    *,
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
    each: Annotated[bool, typer.Option("--each", help="One row for each letter, not for each group.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the dead letters, grouped by stage and reason."""
    kafka = KafkaSettings.load()
    wanted = Wanted(reason=reason, stage=stage, device=device)
    groups = Groups()
    rows: list[dict[str, object]] = []

    async def gather() -> None:
        async with aclosing(read_letters(kafka)) as letters:
            async for letter in letters:
                if wanted.matches(letter, kafka.topics):
                    groups.add(letter)
                    if each:
                        rows.append(_row(letter, kafka.topics))

    asyncio.run(gather())
    if as_json:
        print_json(rows if each else [group.to_json() for group in groups.sorted()])
    elif each:
        _print_rows(rows)
    else:
        _print_groups(groups.sorted())


def _row(letter: Letter, topics: Topics) -> dict[str, object]:
    content = letter.content
    return {
        "id": str(letter.id),
        "state": letter.state,
        "stage": content.stage,
        "reason": content.reason,
        "at": format_seconds(content.at),
        "device": letter.device(topics),
        "replay_count": content.replay_count,
        "message": content.message,
    }


def _print_rows(rows: Iterable[Mapping[str, object]]) -> None:
    table = _table("Id", "State", "Stage, reason", "At (UTC)", "Device", "Message")
    for row in rows:
        table.add_row(
            str(row["id"]),
            str(row["state"]),
            f"{row['stage']}\n{row['reason']}",
            str(row["at"]),
            safe(str(row["device"] or "")),
            safe(cut(str(row["message"]), SHOWN_MESSAGE)),
        )
    print_table(table)


def _table(*names: str) -> Table:
    """A table whose last column gives way: the others are typed into the next command."""
    table = Table(box=None, pad_edge=False)
    for name in names[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(names[-1], overflow="fold")
    return table


def _print_groups(groups: Iterable[Group]) -> None:
    table = _table("Stage, reason", "Letters", "First, last (UTC)", "Id", "Sample")
    total: Counter[State] = Counter()
    for group in groups:
        total += group.states
        table.add_row(
            f"{group.stage}\n{group.reason}",
            _counts(group.states, "\n"),
            f"{_seconds(group.first)}\n{_seconds(group.last)}",
            str(group.sample),
            safe(cut(group.message, SHOWN_MESSAGE)),
        )
    print_table(table)
    typer.echo(f"{total.total()} dead letters{': ' if total else ''}{_counts(total, ', ')}")


def _counts(states: Counter[State], separator: str) -> str:
    return separator.join(f"{states[state]} {state}" for state in State if states[state])


@app.command("show")
def show_letter(
    id_: Annotated[LetterId, typer.Argument(metavar="ID", parser=_letter_id, help="As `list` shows it: `3:17`.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show all about one dead letter: why it failed, the record itself, and what was done about it."""
    letter = asyncio.run(find(KafkaSettings.load(), id_))
    if letter is None:
        typer.echo(f"{id_}: no such dead letter", err=True)
        raise typer.Exit(1)
    if as_json:
        print_json(describe(letter))
    else:
        _print_letter(letter)


def _print_letter(letter: Letter) -> None:
    content = letter.content
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    origin = f"{content.topic} {content.partition}:{content.offset}" if content.topic else content.where
    facts = {
        "id": f"{letter.id}, {letter.state}",
        "reason": f"{content.reason}, found by the stage {content.stage}",
        "message": content.message,
        "at": format_milliseconds(content.at),
        "from": origin,
        "event_id": content.event_id,
        "attempts": content.attempts,
        "replay_count": content.replay_count,
        "key": _shown(content.key),
        **{f"header {name}": _shown(data) for name, data in content.headers},
        "value": _shown(content.value),
    }
    for name, fact in facts.items():
        table.add_row(safe(name), safe(str("" if fact is None else fact)))
    for action in letter.history:
        note = f": {action.note}" if action.note else ""
        table.add_row(action.action, safe(f"{format_milliseconds(action.at)} by {action.by}{note}"))
    print_table(table)


def _shown(data: bytes | None) -> str:
    content = readable(data)
    if content is None:
        return "none"
    text = content.get("text")
    shown = f"{content['hex']} (hex, {content['bytes']} bytes)" if text is None else str(text)
    return cut(shown, SHOWN_VALUE)


@app.command("replay")
def replay_letters(
    ids: Ids = None,
    *,
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
    everything: Annotated[bool, typer.Option("--all", help="All that nothing was done about yet.")] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="At most so many in a second.")] = REPLAYS_PER_SECOND,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what is parked and, by ID, what was replayed or discarded.")
    ] = False,
) -> None:
    """Send records back to the topic that they came from, once their cause is repaired.

    Exit status 1 when one was refused.
    """
    wanted = _wanted(ids, reason, stage, device, everything=everything)
    kafka = KafkaSettings.load()
    plan = asyncio.run(make_replay_plan(kafka, wanted, force=force))
    if dry_run:
        for id_ in plan.ids:
            typer.echo(f"{id_}: would be replayed")
        _finish(plan, f"{len(plan.ids)} would be replayed")
        return
    replayed = 0
    with Progress(console=Console(stderr=True), transient=True, disable=len(plan.ids) < MANY) as progress:
        task = progress.add_task("Replaying", total=len(plan.ids))

        def report(id_: LetterId, problem: str | None) -> None:
            nonlocal replayed
            if problem is None:
                replayed += 1
            else:
                plan.refused[id_] = problem
            progress.advance(task)

        try:
            if plan.ids:
                asyncio.run(replay(kafka, plan.ids, per_second=rate, by=_user(), report=report))
        except BaseException:
            progress.stop()
            typer.echo(f"{replayed} of {len(plan.ids)} replayed; one more may have been sent", err=True)
            raise
    _finish(plan, f"{replayed} replayed")


@app.command("discard")
def discard_letters(
    ids: Ids = None,
    *,
    note: Annotated[str, typer.Option(help="Why nothing is to be done. It is kept.")],
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
) -> None:
    """Record that nothing is to be done about letters. They stay where they are. Exit status 1 when one was refused."""
    if not note.strip():
        raise typer.BadParameter("must say why", param_hint="--note")
    wanted = _wanted(ids, reason, stage, device)
    kafka = KafkaSettings.load()
    plan = asyncio.run(make_plan(kafka, wanted, objection_to_discard))
    if plan.ids:
        asyncio.run(discard(kafka, plan.ids, note=note, by=_user()))
    _finish(plan, f"{len(plan.ids)} discarded")


def _wanted(
    ids: list[LetterId] | None,
    reason: Reason | None,
    stage: str | None,
    device: str | None,
    *,
    everything: bool = False,
) -> Wanted:
    """The selection. One that is empty by mistake must not become all."""
    if [bool(ids), reason is not None, everything].count(True) != 1:
        raise typer.BadParameter("give either IDs, or --reason, or (to replay) --all")
    if ids and (stage or device):
        raise typer.BadParameter("--stage and --device narrow --reason or --all, not IDs")
    return Wanted(frozenset(ids or ()), reason, stage, device)


def _finish(plan: Plan, done: str) -> None:
    for id_, problem in plan.refused.items():
        typer.echo(safe(f"{id_}: {problem}"), err=True)
    superseded = f", {plan.superseded} of them superseded" if plan.superseded else ""
    typer.echo(f"{done}, {len(plan.refused)} refused{superseded}")
    if plan.refused:
        raise typer.Exit(1)
