"""What has gone from the topics on which the audit counts, beside what was accounted for of them.

An audit that only counts what is there calls a topic balanced that has lost half of its records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from attendance.accounts import is_fingerprint_of
from attendance.kafka.records import Record
from attendance.records.account import Account
from attendance.topics import TABLE, Name
from attendance.wire import Place
from operations.audit_accounts import COUNTED, SEEN, STAGE, STAGES, Accounts, Range, without
from operations.log import Log

WRITES_ACCOUNTS: Final = timedelta(minutes=5)
"""So long after its work a stage has written its account for certain."""

Kind = Literal["removed", "gone_inside", "anew", "no_account", "no_progress"]


@dataclass(frozen=True, slots=True)
class TopicFault:
    """Something of a partition that nobody has accounted for.

    `kind` is `removed` (records before its beginning), `gone_inside` (records between others), `anew` (made anew, or
    cut short), `no_account` (a stage that has come further wrote none) or `no_progress` (Kafka has forgotten how far a
    stage has come). `first` and `through` are the offsets, the last one not counted in; `records` is how many that are.
    `goes_on` is the offset from which on it counts once the loss is accepted.
    """

    topic: str
    partition: int
    kind: Kind
    first: int
    through: int
    records: int
    why: str
    goes_on: int = 0

    def __str__(self) -> str:
        return self.why

    def to_json(self) -> dict[str, object]:
        """The fault for programs."""
        return asdict(self)


@dataclass(slots=True)
class PartitionFacts:
    """One partition: what the broker has, and what is known of it.

    `holes` are offsets between its beginning and its end at which no record is. `other` names the stages in whose
    accounts another record is where one is now.
    """

    name: Name
    topic: str
    number: int
    first: int
    end: int
    audit: Account | None = None
    stage: Account | None = None
    seen: Account | None = None
    committed: int | None = None
    committed_at: datetime | None = None
    accepted: Sequence[Range] = ()
    adopted: bool = False
    holes: Sequence[Range] = ()
    other: frozenset[str] = frozenset()

    def faults(self, now: datetime) -> list[TopicFault]:
        """What is wrong.

        Args:
            now: The time, for what is only wrong after a while.
        """
        if anew := self._anew():
            return anew  # with a topic Kafka deletes how far groups had come in it, and no account is of these records
        found = [self._removed(each) for each in self.lost_before]
        found += [self._gone_inside(each) for each in self.lost_inside]
        return found + self._of_the_stage(now)

    @property
    def lost_before(self) -> list[Range]:
        """What was removed before the beginning and was not accounted for."""
        covers = [*self.accepted, *self._by_audit]
        if self.audit is None and self.adopted:
            covers.append((0, self.first))
        if self.name in STAGES:
            # What the last audit saw without its outcome nobody has looked at since.
            unseen = [(0, 0)] if self.audit is None else [(self.audit.through, self.audit.end or 0)]
            covers += without([(0, self._done)], [each for each in unseen if each[0] < each[1]])
        elif self.audit is None and not self._is_for_ever:
            covers.append((0, self.first))  # from here on it counts
        return without([(0, self.first)] if self.first else [], covers)

    @property
    def lost_inside(self) -> list[Range]:
        """What is gone between other records and was not accounted for."""
        inside = [(max(first, self.first), through) for first, through in self.holes if through > self.first]
        return without(inside, [*self.accepted, *self._by_audit])

    @property
    def begins(self) -> int:
        """From which offset on the audit has accounts, or will have."""
        if self.audit is not None:
            return self.audit.first
        if self.stage is not None:
            return self.stage.first
        lost = self.lost_before
        return lost[0][0] if lost else self.first

    @property
    def is_anew(self) -> bool:
        """Whether its offsets are of other records than before."""
        return bool(self._anew())

    @property
    def _is_for_ever(self) -> bool:
        return TABLE[self.name].keeps_forever or TABLE[self.name].cleanup == "compact"

    @property
    def _by_audit(self) -> list[Range]:
        return [] if self.audit is None or self._is_for_ever else [(0, self.audit.through)]

    @property
    def _done(self) -> int:
        """Up to where the stage has done its work."""
        return max(0 if self.stage is None else self.stage.through, self.committed or 0)

    def _anew(self) -> list[TopicFault]:
        known = {each.stage: each for each in (self.audit, self.seen, self.stage) if each is not None}
        ends = [max(each.through, each.end or 0) for each in known.values()]
        end = max([*ends, self.committed or 0])
        if end <= self.end and not self.other:
            return []
        through = max([each.through for each in known.values()], default=end)
        why = (
            f"{self} was made anew or cut short: it had records up to offset {end}, and "
            + (f"ends at {self.end} now. " if end > self.end else "has others there now. ")
            + "What is gone is in a backup, or nowhere. "
            + self._command(self.first, "accepts that")
        )
        first, lost = min(self.end, through), max(0, end - self.end)
        return [TopicFault(self.topic, self.number, "anew", first, end, lost, why, goes_on=self.first)]

    def _removed(self, lost: Range) -> TopicFault:
        first, through = lost
        count = through - first
        stage = STAGES.get(self.name)
        whose = f"{stage} has done its work up to offset {self._done}. " if stage else ""
        why = (
            f"{_records(count)} of {self} {_are(count)} gone, offsets {first} to {through - 1}: its beginning moved "
            f"past what was accounted for. {whose}{self._command(through, 'accepts that')}"
        )
        return TopicFault(self.topic, self.number, "removed", first, through, count, why, goes_on=through)

    def _gone_inside(self, lost: Range) -> TopicFault:
        first, through = lost
        count = through - first
        why = (
            f"{_records(count)} of {self} {_are(count)} gone from between others, offsets {first} to {through - 1}: "
            f"compaction, or somebody, removed them. {self._command(through, 'accepts that')}"
        )
        return TopicFault(self.topic, self.number, "gone_inside", first, through, count, why, goes_on=through)

    def _of_the_stage(self, now: datetime) -> list[TopicFault]:
        if self.name not in STAGES:
            return []
        stage = STAGES[self.name]
        if self.stage is not None and self.committed is None and self.end:
            left = max(0, self.end - self.stage.through)
            why = (
                f"The group of {stage} has no progress in {self} any more: Kafka forgets it while a stage is away for "
                f"long. Start {stage}: it goes on at offset {self.stage.through}, by its account."
            )
            return [TopicFault(self.topic, self.number, "no_progress", self.stage.through, self.end, left, why)]
        since = self.committed_at
        if self.stage is None and self.committed and (since is None or now - since > WRITES_ACCOUNTS):
            why = (
                f"{stage} has come to offset {self.committed} of {self}, and there is no account of it. A stage writes "
                f"it within a minute: is {stage} of an older release, or not running?"
            )
            return [TopicFault(self.topic, self.number, "no_account", 0, self.committed, self.committed, why)]
        return []

    def _command(self, through: int, does: str) -> str:
        return f"`punchstream topics accept-loss {self} --through {through} --note TEXT` {does}."

    def __str__(self) -> str:
        return f"{self.topic}:{self.number}"


@dataclass(slots=True)
class TopicsLook:
    """Every partition of the topics that the audit counts on."""

    partitions: dict[tuple[Name, int], PartitionFacts] = field(default_factory=dict)

    async def begin(self, log: Log, accounts: Accounts) -> None:
        """Look what there is, before anything is read.

        Args:
            log: The topics.
            accounts: What the accounts topic says.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        for name in COUNTED:
            topic = log.topics[name]
            committed = await log.committed(name, STAGES[name]) if name in STAGES else {}
            for number, (first, end) in (await log.extents(name)).items():
                facts = PartitionFacts(name, topic, number, first, end)
                facts.audit = accounts.account(STAGE, topic, number)
                facts.seen = accounts.account(SEEN, topic, number)
                facts.stage = accounts.account(STAGES[name], topic, number) if name in STAGES else None
                facts.committed = committed.get(number)
                facts.accepted = accounts.accepted(topic, number)
                facts.adopted = bool(accounts.adoptions)
                self.partitions[name, number] = facts
            await self._compare_records(log, name)

    async def _compare_records(self, log: Log, name: Name) -> None:
        """Whether the records are there by which partitions are known again."""
        wanted: set[Place] = set()
        mine = [facts for (of, _), facts in self.partitions.items() if of == name]
        for facts in mine:
            for account in (facts.audit, facts.seen, facts.stage):
                if account is not None and account.identity is not None:
                    wanted.add((facts.number, account.identity.offset))
            if facts.stage is None and facts.committed:
                wanted.add((facts.number, facts.committed - 1))
        records = await log.at(name, sorted(wanted)) if wanted else {}
        for facts in mine:
            facts.other = frozenset(
                account.stage
                for account in (facts.audit, facts.seen, facts.stage)
                if account is not None and _is_another(account, records)
            )
            last = records.get((facts.number, (facts.committed or 0) - 1))
            facts.committed_at = None if last is None else datetime.fromtimestamp(last.timestamp / 1000).astimezone()

    async def end(self, log: Log, holes: Mapping[tuple[Name, int], Sequence[Range]]) -> None:
        """Look again, once everything is read: retention went on meanwhile.

        Args:
            log: The topics.
            holes: By topic and partition, offsets at which no record was.

        Raises:
            KafkaUnavailable: Kafka does not answer.
        """
        for name in {name for name, _ in self.partitions}:
            for number, (first, _) in (await log.extents(name)).items():
                if (name, number) in self.partitions:
                    self.partitions[name, number].first = first
        for key, found in holes.items():
            self.partitions[key].holes = found

    def begins(self) -> dict[tuple[Name, int], int]:
        """By topic and partition, from which offset on there are accounts, or will be."""
        return {key: facts.begins for key, facts in self.partitions.items()}

    def counted_from(self) -> dict[str, int]:
        """The partitions whose beginning was removed after it was accounted for, and where they begin."""
        return {
            str(facts): facts.first
            for _, facts in sorted(self.partitions.items())
            if facts.first and not facts.lost_before and not facts.is_anew
        }

    def faults(self, now: datetime) -> list[TopicFault]:
        """What is wrong, topic by topic."""
        return [fault for _, facts in sorted(self.partitions.items()) for fault in facts.faults(now)]


def _records(count: int) -> str:
    return f"{count:,} {'record' if count == 1 else 'records'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _is_another(account: Account, records: Mapping[Place, Record]) -> bool:
    if account.identity is None:
        return False
    record = records.get((account.partition, account.identity.offset))
    return record is not None and not is_fingerprint_of(account.identity, record)
