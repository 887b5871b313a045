"""What the accounts topic says that the audit goes by, and what the audit writes there itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from msgspec import structs

from attendance.accounts import fingerprint
from attendance.kafka.records import OutRecord, Record
from attendance.records.account import AcceptedLoss, Account, Adoption, decode
from attendance.topics import TABLE, Name
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
        for at, adoption in self.adoptions:
            if at > written:
                moved = _moved(account, adoption)
                if moved is None:
                    return None
                account = moved
        return account

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

    def places_now(self, place: Place) -> list[Place]:
        """Where a raw record may be that an outcome names: there, and where adoptions say that it went."""
        places = [place]
        for _, adoption in self.adoptions:
            partition, offset = places[-1]
            for each in adoption.moved:
                is_raw = each.topic.endswith(f".{TABLE['raw'].suffix}")
                if is_raw and each.partition == partition and each.first <= offset < each.through:
                    places.append((partition, each.now + offset - each.first))
                    break
        return places

    def _of(self, topic: str, partition: int) -> Iterator[tuple[int, AcceptedLoss]]:
        return ((at, loss) for at, loss in self.losses if (loss.topic, loss.partition) == (topic, partition))


def _moved(account: Account, adoption: Adoption) -> Account | None:
    for each in adoption.moved:
        is_there = (each.topic, each.partition) == (account.topic, account.partition)
        if is_there and each.first <= account.through <= each.through:
            by = each.now - each.first
            end = None if account.end is None else min(account.end, each.through) + by
            first, through = max(account.first, each.first) + by, account.through + by
            return structs.replace(account, first=first, through=through, end=end, identity=None)
    return None


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
