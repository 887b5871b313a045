"""What the accounts topic says that the audit goes by, and what the audit writes there itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from attendance.accounts import fingerprint
from attendance.adoptions import Moves, account_now
from attendance.kafka.records import OutRecord, Record
from attendance.records.account import AcceptedLoss, Account, Adoption, decode
from attendance.topics import TABLE, Name, Topics
from attendance.wire import Place
from operations.log import Log, Skipped, decoded

STAGE: Final = "audit"
"""Its accounts: up to there every record had its outcome, or its loss was accepted."""
SEEN: Final = "audit-seen"
"""Its other accounts: up to there records were there when it looked, whatever became of them."""
STAGES: Final[Mapping[Name, str]] = {"raw": "stream", "checkins": "sink"}
"""The topics of which a stage accounts for every record, and the stage."""
COUNTED: Final[tuple[Name, ...]] = ("raw", "checkins", "dropped", "deliveries", "dead_letters", "unmapped")
"""The topics on which the audit counts."""

Range = tuple[int, int]
"""Offsets: the first, and the one behind the last."""


@dataclass(slots=True)
class Accounts:
    """The records of the accounts topic, in its order: what came later was written knowing what came before.

    `skipped` counts those that cannot be read.
    """

    skipped: Skipped = field(default_factory=Skipped)
    losses: list[tuple[int, AcceptedLoss]] = field(default_factory=list)
    adoptions: list[tuple[int, Adoption]] = field(default_factory=list)
    _accounts: dict[tuple[str, str, int], tuple[int, Account]] = field(default_factory=dict)

    async def read(self, log: Log) -> None:
        """Take in what is there now.

        Raises:
            KafkaUnavailable: Kafka does not answer, or the topic is missing.
        """
        async with aclosing(log.read("accounts")) as batches:
            async for batch in batches:
                for record, said in decoded(batch, lambda record: decode(record.key, record.value), self.skipped):
                    match said:
                        case Account(stage, topic, partition):
                            self._accounts[stage, topic, partition] = record.offset, said
                        case AcceptedLoss():
                            self.losses.append((record.offset, said))
                        case Adoption():
                            self.adoptions.append((record.offset, said))

    def account(self, stage: str, topic: str, partition: int) -> Account | None:
        """What a stage has accounted for, by the offsets of today; None where nothing is known.

        An account of before a partition was made anew is void, once that was accepted. One of before an adoption has
        the offsets that its records have now.
        """
        found = self._accounts.get((stage, topic, partition))
        if found is None:
            return None
        written, account = found
        if any(at > written and loss.anew for at, loss in self._of(topic, partition)):
            return None
        return account_now(account, (adoption for at, adoption in self.adoptions if at > written))

    def has_any(self, topics: Topics) -> bool:
        """Whether there is any account of a topic of this prefix."""
        names = {topics[name] for name in TABLE}
        return any(topic in names for _, topic, _ in self._accounts)

    def began(self, topic: str, partition: int) -> int:
        """From which offset on a partition has had records since the last adoption; 0 without one."""
        moved = self.adoptions[-1][1].moved if self.adoptions else ()
        return min((each.now for each in moved if (each.topic, each.partition) == (topic, partition)), default=0)

    def all_of(self, topic: str) -> list[Account]:
        """Every account of a topic, by the offsets of today."""
        keys = [key for key in self._accounts if key[1] == topic]
        found = (self.account(*key) for key in keys)
        return [each for each in found if each is not None]

    def accepted(self, topic: str, partition: int) -> list[Range]:
        """The offsets of which a person has accepted that they are lost, by the offsets of today."""
        since = max((at for at, _ in self.adoptions), default=-1)
        ranges: list[Range] = []
        for at, loss in self._of(topic, partition):
            if loss.anew:
                ranges = [(0, loss.through)]
            elif at > since:
                ranges.append((loss.first, loss.through))
        return ranges

    @property
    def moves(self) -> Moves:
        """Where records are now that records of before an adoption name."""
        return Moves(adoption for _, adoption in self.adoptions)

    def _of(self, topic: str, partition: int) -> Iterator[tuple[int, AcceptedLoss]]:
        return ((at, loss) for at, loss in self.losses if (loss.topic, loss.partition) == (topic, partition))


async def read_moves(log: Log) -> Moves:
    """Where records are now that records of before an adoption name.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    accounts = Accounts()
    await accounts.read(log)
    return accounts.moves


def without(ranges: Iterable[Range], covers: Sequence[Range]) -> list[Range]:
    """What of ranges of offsets is in none of others.

    Args:
        ranges: In any order.
        covers: In any order.
    """
    left = list(ranges)
    for first, through in covers:
        left = [
            part
            for begin, end in left
            for part in ((begin, min(end, first)), (max(begin, through), end))
            if part[0] < part[1]
        ]
    return sorted(left)


async def write_accounts(
    log: Log,
    known: Accounts,
    at: datetime,
    done: Mapping[tuple[Name, int], tuple[int, int]],
    begins: Mapping[tuple[Name, int], int],
) -> None:
    """Write up to where the audit found every record accounted for.

    Args:
        log: The topics.
        known: What was on the accounts topic.
        at: When the audit began to look.
        done: By topic and partition, up to where, and where the partition ended.
        begins: By topic and partition, where accounts begin if there is none yet.

    Raises:
        KafkaUnavailable: Kafka does not answer; the next audit writes them.
    """
    places: dict[Name, set[Place]] = {}
    for (name, partition), (through, end) in done.items():
        places.setdefault(name, set()).update({(partition, through - 1), (partition, end - 1)})
    records: dict[tuple[Name, Place], Record] = {}
    for name, wanted in places.items():
        found = await log.at(name, [place for place in wanted if place[1] >= 0])
        records |= {(name, place): record for place, record in found.items()}
    accounts = []
    for (name, partition), (through, end) in done.items():
        topic = log.topics[name]
        stages = {STAGE: through} if through == end else {STAGE: through, SEEN: end}
        for stage, until in stages.items():
            before = known.account(stage, topic, partition)
            record = records.get((name, (partition, until - 1)))
            identity = None if record is None else fingerprint(record)
            if identity is None and before is not None and before.through <= until:
                identity = before.identity
            first = min(begins[name, partition] if before is None else before.first, until)
            accounts.append(Account(stage, topic, partition, first, until, at, identity, end))
    async with log.sending() as send:
        await send(*(OutRecord(log.topics["accounts"], each.key, each.encode()) for each in accounts))
