"""Erases a person from the topics, and says what is left of them until which day.

The raw contract stays: what a topic keeps for a time goes with its retention. What would stay for ever goes now: the
user map, what waits, and the stream's changelog, which is written anew without the person.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from attendance.errors import PunchstreamError, Reason
from attendance.kafka.records import OutRecord, Record
from attendance.personal_data import HOLDINGS
from attendance.records.dead_letter_action import LetterId
from attendance.records.outcomes import Dropped, Waiting, waiting_event_id
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, ErasedEmployee
from attendance.removal import Cluster, Retention
from attendance.times import format_seconds, from_milliseconds, now
from attendance.topics import COMPACTED_AFTER_MS, DAY_MS, Name
from attendance.wire import Place
from operations.changelog import REWRITE_WHILE_STOPPED, ChangelogRewriting
from operations.dead_letter_actions import discard
from operations.dead_letters import BORN_DISCARDED, SETTLED, read_letters
from operations.log import Log, Skipped
from operations.personal_records import records_of
from operations.persons import Asked, Person, find_person

AT_ONCE: Final = 500  # records that wait for one acknowledgement
NOTE: Final = "privacy erase"
COMPACTED_AFTER: Final = timedelta(milliseconds=COMPACTED_AFTER_MS + DAY_MS)
ELSEWHERE: Final = (
    "logs that name them",
    "files that were imported, those in a watched folder, and exports",
    "DEDUP_DIRECTORY of a stream on another machine, until it starts again",
    "backups of Kafka and of ERPNext",
    "the terminals and ERPNext",
)
"""Where there may be more of a person, which no command of ours erases."""


class NotErased(PunchstreamError):
    """The person cannot be erased now, and nothing was changed; the message says why, and what to do."""


@dataclass(slots=True)
class Erasure:
    """What there is of a person, and what is done about it.

    Attributes:
        person: Who.
        records: How many records there are, by topic.
        mentions: How many records there are in which they may occur: what a device sent as it was.
        until: The time until which the last record of each topic stays; None where nothing of it expires by itself.
        map_keys: Keys of the user map that go.
        waiting: Waiting records that go: key, partition, and the raw events.
        open_letters: Dead letters of theirs with which nobody has dealt.
        outcomes: How many records the erasure itself writes that name them: that what waited was erased.
        objections: Why they cannot be erased now.
    """

    person: Person
    records: Counter[Name] = field(default_factory=Counter)
    mentions: Counter[Name] = field(default_factory=Counter)
    until: dict[Name, datetime] = field(default_factory=dict)
    map_keys: dict[bytes, Employee | None] = field(default_factory=dict)
    waiting: dict[tuple[int, bytes], RawEvent | None] = field(default_factory=dict)
    raw_places: dict[str, list[Place]] = field(default_factory=dict)
    open_letters: list[LetterId] = field(default_factory=list)
    outcomes: int = 0
    objections: list[str] = field(default_factory=list)
    is_found: bool = False

    @property
    def last_day(self) -> datetime | None:
        """When the last record is gone that still has the person; None where there is none."""
        return max(self.until.values(), default=None)

    def lines(self, *, dry_run: bool) -> list[str]:
        """What goes and what stays, in sentences."""
        would = "would go" if dry_run or self.objections else "go"
        lines = [f"{HOLDINGS[name].holds}: {self.records[name]:,} in {name.replace('_', '-')}" for name in self.records]
        lines.append(
            f"{len(self.map_keys)} entries of the user map, {len(self.waiting)} waiting punches and what the stream "
            f"knows of {self.records['dedup_state']} steps {would}; {len(self.open_letters)} open dead letters are "
            "discarded"
        )
        lines += [
            f"{name.replace('_', '-')}: {self._kept(name):,} records"
            + (f" and {self.mentions[name]:,} that may mention them" if self.mentions[name] else "")
            + f" are gone by {until.date()}"
            for name, until in self.until.items()
        ]
        if self.last_day is not None:
            lines.append(f"The last record that has the person is gone by {self.last_day.date()}.")
        lines.append(f"Not in the topics, and for you to look at: {'; '.join(ELSEWHERE)}.")
        return lines

    def _kept(self, name: Name) -> int:
        """How many records a topic keeps of the person for a time."""
        return self.records[name] + (self.outcomes if name == "dropped" else 0)

    def to_json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "employee": self.person.asked.employee,
            "device_users": [
                {"device_id": device, "device_user_id": user} for device, user in self.person.device_users
            ],
            "removed": {
                "user_map": len(self.map_keys),
                "unmapped": len(self.waiting),
                "dedup_state": self.records["dedup_state"],
                "open_dead_letters": len(self.open_letters),
            },
            "kept": [
                {
                    "topic": name,
                    "records": self._kept(name),
                    "may_mention": self.mentions[name],
                    "until": format_seconds(until),
                }
                for name, until in self.until.items()
            ],
            "until": None if self.last_day is None else format_seconds(self.last_day),
            "elsewhere": ELSEWHERE,
            "objections": self.objections,
        }


async def plan_erasure(log: Log, cluster: Cluster, groups: Mapping[str, str], person: Person) -> Erasure:
    """Look what there is of a person, and whether they can be erased now.

    Args:
        log: The topics.
        cluster: Kafka.
        groups: The consumer groups of the stages that have to be stopped, by stage.
        person: As `find_person` found them.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    retention = await cluster.retention()
    erasure = Erasure(person)
    decided, delivered = await log.committed("raw", "stream"), await log.committed("checkins", "sink")
    undecided = undelivered = 0
    async with aclosing(records_of(log, person)) as found:
        async for name, record, certain in found:
            erasure.is_found = True
            (erasure.records if certain else erasure.mentions)[name] += 1
            _note_expiry(erasure, retention, name, from_milliseconds(record.timestamp))
            if not certain:
                continue
            match name:
                case "raw":
                    undecided += record.offset >= (decided.get(record.partition) or 0)
                    event = RawEvent.decode(record.value)
                    erasure.raw_places.setdefault(event.event_id, []).append((record.partition, record.offset))
                case "checkins":
                    undelivered += record.offset >= (delivered.get(record.partition) or 0)
                case "user_map":
                    _note_mapping(erasure, record)
                case "unmapped":
                    _note_waiting(erasure, record)
    if person.letters:
        async with aclosing(read_letters(log, Skipped())) as letters:
            async for letter in letters:
                # What was ignored could be sent again, unless a discard says that this is over.
                may_be_sent_again = letter.content.reason is BORN_DISCARDED and not letter.history
                if letter.id in person.letters and (letter.state not in SETTLED or may_be_sent_again):
                    erasure.open_letters.append(letter.id)
    _note_outcomes(erasure, retention, log)
    erasure.objections = await _objections(cluster, groups, undecided, undelivered)
    return erasure


async def _objections(cluster: Cluster, groups: Mapping[str, str], undecided: int, undelivered: int) -> list[str]:
    objections = []
    if await cluster.is_embedded():
        objections.append("the embedded broker deletes no records; it forgets everything when it stops")
    for stage, group in groups.items():
        if await cluster.has_members(group):
            objections.append(
                f"`punchstream {stage}` runs, and has the person in memory: stop all of them. {REWRITE_WHILE_STOPPED}"
            )
    if undecided:
        objections.append(
            f"the stream has not decided {undecided} of their punches: let it come to the end, and stop it. Where they "
            "still punch, remove them from the terminals first"
        )
    if undelivered:
        objections.append(f"the sink has not delivered {undelivered} of their check-ins: let it come to the end")
    return objections


def _note_expiry(erasure: Erasure, retention: Retention, name: Name, at: datetime) -> None:
    until = retention.until(name, at)
    if until is None and HOLDINGS[name].goes == "removed":
        until = now() + COMPACTED_AFTER
    if until is not None:
        erasure.until[name] = max(until, erasure.until.get(name, until))


def _note_outcomes(erasure: Erasure, retention: Retention, log: Log) -> None:
    """What the erasure is going to write is there longer than all else."""
    erasure.outcomes = len(_outcomes(log, erasure))
    if erasure.outcomes:
        _note_expiry(erasure, retention, "dropped", now())


def _note_mapping(erasure: Erasure, record: Record) -> None:
    key = record.key or b""
    if record.value is None:
        erasure.map_keys.pop(key, None)
        return
    employee = erasure.person.users.employee(erasure.person.asked.employee or "")
    erasure.map_keys[key] = employee if employee is not None and employee.key == key else None


def _note_waiting(erasure: Erasure, record: Record) -> None:
    place = record.partition, record.key or b""
    if record.value is None:
        erasure.waiting.pop(place, None)
        return
    erasure.waiting[place] = Waiting.decode(record.value).event


async def erase(
    log: Log, cluster: Cluster, groups: Mapping[str, str], erasure: Erasure, *, ahead: float, by: str
) -> int:
    """Erase a person as planned. What was cut off is done by doing it again.

    Args:
        log: The topics.
        cluster: Kafka.
        groups: As it was for `plan_erasure`.
        erasure: The plan.
        ahead: The setting `FUTURE_TOLERANCE`, in seconds.
        by: Who does so.

    Returns:
        How many punches went from the changelog.

    Raises:
        NotErased: there are objections, or a stage began meanwhile.
        KafkaUnavailable: Kafka does not answer; a part may be done. Or it lets nobody delete records here, and nothing
            was changed.
    """
    if erasure.objections:
        raise NotErased("; ".join(erasure.objections))
    rewriting = ChangelogRewriting(log, cluster, erasure.person, ahead)
    await rewriting.try_to_delete()
    async with log.sending() as send:
        # First what became of them: a raw record is never without an outcome.
        for part in _parts(_outcomes(log, erasure)):
            await send(*part)
        unmapped = log.topics["unmapped"]
        tombstones = [OutRecord(unmapped, key, None, partition=number) for number, key in erasure.waiting]
        for part in _parts(tombstones):
            await send(*part)
    await discard(log, erasure.open_letters, note=NOTE, by=by)
    for stage, group in groups.items():
        if await cluster.has_members(group):
            raise NotErased(f"`punchstream {stage}` began meanwhile: stop it, and do this again")
    went = await rewriting.rewrite()
    # Last, for by the map the person is found again where this was cut off.
    async with log.sending() as send:
        for part in _parts(list(_map_records(log, erasure, by))):
            await send(*part)
    return went


def _map_records(log: Log, erasure: Erasure, by: str) -> Iterator[OutRecord]:
    topic = log.topics["user_map"]
    employee = erasure.person.users.employee(erasure.person.asked.employee or "")
    if employee is not None:
        # The directory then leaves them out, though ERPNext has them.
        erased = ErasedEmployee.of(employee, now(), by)
        yield OutRecord(topic, erased.key, erased.encode())
    # The ledger then lets go of them. A number that was somebody else's too says nothing of whose a punch is.
    for device_id, user in erasure.person.device_users:
        if not erasure.person.is_shared((device_id, user)):
            of_user = ErasedEmployee.of_user(device_id, user, now(), by)
            yield OutRecord(topic, of_user.key, of_user.encode())
    for key in erasure.map_keys:
        yield OutRecord(topic, key, None)


def _outcomes(log: Log, erasure: Erasure) -> list[OutRecord]:
    """What the audit needs of punches that waited: that they were erased."""
    topic, records = log.topics["dropped"], []
    for (_, key), event in erasure.waiting.items():
        id_ = waiting_event_id(key)
        for partition, offset in erasure.raw_places.get(id_, []):
            if event is None or event.event_time is None:
                continue
            dropped = Dropped(
                id_, id_, Reason.ERASED, event.device_id, event.device_user_id, event.event_time, partition, offset
            )
            records.append(OutRecord(topic, dropped.key, dropped.encode(), dropped.headers(())))
    return records


def _parts(records: Sequence[OutRecord]) -> list[Sequence[OutRecord]]:
    return [records[start : start + AT_ONCE] for start in range(0, len(records), AT_ONCE)]


async def readmit(log: Log, employee: str) -> bool:
    """Let the directory have an employee again who was erased. Returns whether they were.

    Args:
        log: The topics.
        employee: Their name in ERPNext.

    Raises:
        KafkaUnavailable: Kafka does not answer.
    """
    person = await find_person(log, Asked(employee))
    if person.users.erased(employee) is None:
        return False
    async with log.sending() as send:
        await send(OutRecord(log.topics["user_map"], ErasedEmployee.key_of(employee), None))
    return True
