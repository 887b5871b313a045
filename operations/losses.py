"""Accepted losses: a person says that stages, or the audit, go on without records that are gone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from attendance.accounts import Missing
from attendance.errors import ConfigurationError, InvalidRecord
from attendance.metrics import Metrics
from attendance.records.account import AcceptedLoss
from attendance.records.sequences import Sequences
from attendance.settings import KafkaSettings
from attendance.times import now
from attendance.topics import Name
from operations.audit_accounts import COUNTED, Accounts, Range
from operations.audit_schema import WITHOUT_HOLES
from operations.audit_topics import PartitionFacts, TopicFault, TopicsLook
from operations.log import KafkaLog, Log

if TYPE_CHECKING:
    from attendance.kafka.accounts import AccountsTopic

CLIENT: Final = "losses"
READERS: Final[Mapping[Name, tuple[str, ...]]] = {
    "raw": ("stream", "completeness"),
    "checkins": ("sink",),
    "dedup_state": ("stream",),
}
"""The topics of which stages write accounts, and the stages."""
TOPICS: Final = tuple(dict.fromkeys((*READERS, *COUNTED)))
"""The topics of which records can be missing: those that stages account for, and those that the audit counts on."""


async def accept_loss(kafka: KafkaSettings, of: str, through: int, note: str, by: str) -> list[AcceptedLoss]:
    """Record that the records of a partition before an offset are lost.

    Stages that lack them go on there. Where no stage lacks any, it is what the last audit would have counted.

    Args:
        kafka: Which cluster and which prefix.
        of: The partition: `TOPIC:PARTITION`.
        through: The offset at which stages go on.
        note: Why that is right.
        by: Who decides.

    Returns:
        What was recorded: one loss, or one for each range of offsets that the audit lacks, up to `through`.

    Raises:
        ConfigurationError: There is no such partition, nothing is missing in it, or nobody could go on there.
        KafkaUnavailable: Kafka does not answer.
    """
    from attendance.kafka.accounts import AccountsTopic
    from attendance.kafka.producer import Producer

    name, number = _partition(kafka, of)
    if not note.strip():
        raise ConfigurationError("--note: say why this loss is accepted")
    producer = Producer(kafka, kafka.client_id(CLIENT))
    accounts = AccountsTopic(kafka, producer, kafka.client_id(CLIENT))
    try:
        await accounts.read()
        missing = [
            found
            for stage in READERS.get(name, ())
            if (found := await _missing(kafka, accounts, stage, name, number)) is not None
        ]
        if missing:
            losses = [_loss(missing, through, note.strip(), by)]
        else:
            faults = await _lacked_by_audit(KafkaLog(kafka, CLIENT), name, number)
            losses = _losses(of, faults, through, note.strip(), by)
        await accounts.put(*losses)
        return losses
    finally:
        await producer.stop()


def _partition(kafka: KafkaSettings, of: str) -> tuple[Name, int]:
    topics = {kafka.topics[name]: name for name in TOPICS}
    matched = re.fullmatch(r"(.+):(\d{1,9})", of)
    if matched is None or matched[1] not in topics:
        raise ConfigurationError(f"`{of}` is no partition of {', '.join(topics)}, such as {next(iter(topics))}:0")
    return topics[matched[1]], int(matched[2])


async def _missing(
    kafka: KafkaSettings, accounts: "AccountsTopic", stage: str, name: Name, number: int
) -> Missing | None:
    from attendance.kafka.progress import Progress
    from attendance.kafka.readers import snapshot

    client_id, topic = kafka.client_id(CLIENT), kafka.topics[name]
    committed: Mapping[int, int | None] = {}
    if stage == "completeness":
        committed = _counted(
            (each.key, each.value) for each in await snapshot(kafka, kafka.topics["sequences"], client_id)
        )
    elif name != "dedup_state":
        committed = await KafkaLog(kafka, CLIENT).committed(name, stage)
        if number not in committed:
            raise ConfigurationError(f"{topic} has no partition {number}")
    progress = Progress(kafka, stage, topic, accounts, Metrics())
    try:
        await progress.begin({number: committed.get(number)})
        return progress.missing.get(number)
    finally:
        await progress.close()


def _counted(records: Iterable[tuple[bytes | None, bytes | None]]) -> dict[int, int | None]:
    """Up to which offset the record numbers of each partition were counted."""
    counted: dict[int, int | None] = {}
    for key, value in records:
        try:
            sequences = Sequences.decode(key, value)
        except InvalidRecord:
            continue  # completeness ignores it too
        counted[sequences.partition] = sequences.offset
    return counted


def _loss(missing: Iterable[Missing], through: int, note: str, by: str) -> AcceptedLoss:
    # The one that lacks most says how much is lost: others may have read a part of it.
    worst = max(missing, key=lambda each: (each.anew, each.records))
    if not worst.anew and not worst.first < through <= worst.through:
        raise ConfigurationError(
            f"--through {through}: {worst.of} lacks offsets {worst.first} to {worst.through - 1}; give up to "
            f"{worst.through}"
        )
    if worst.anew and through != worst.through:
        raise ConfigurationError(
            f"--through {through}: {worst.of} was made anew; give {worst.through}, where it begins"
        )
    records = worst.records if worst.anew else through - worst.first
    return AcceptedLoss(
        worst.of.topic, worst.of.number, worst.first, through, records, now(), by, note, anew=worst.anew
    )


async def _lacked_by_audit(log: Log, name: Name, number: int) -> list[TopicFault]:
    """What is gone of a partition without anybody having accounted for it."""
    if name not in COUNTED:
        return []
    accounts, look = Accounts(), TopicsLook()
    await accounts.read(log)
    await look.begin(log, accounts)
    facts = look.partitions.get((name, number))
    if facts is None:
        raise ConfigurationError(f"{log.topics[name]} has no partition {number}")
    if name in WITHOUT_HOLES:
        facts.holes = await _holes(log, name, facts)
    return [fault for fault in facts.faults(now()) if fault.kind in ("removed", "gone_inside", "anew")]


async def _holes(log: Log, name: Name, facts: PartitionFacts) -> list[Range]:
    holes, at = [], facts.first
    async with aclosing(log.read(name, begin={facts.number: None})) as batches:
        async for batch in batches:
            for record in batch:
                if record.offset > at:
                    holes.append((at, record.offset))
                at = record.offset + 1
    return holes if at >= facts.end else [*holes, (at, facts.end)]


def _losses(of: str, faults: Sequence[TopicFault], through: int, note: str, by: str) -> list[AcceptedLoss]:
    if not faults:
        raise ConfigurationError(f"{of}: no record is missing there; nothing was recorded")
    if through not in {fault.goes_on for fault in faults}:
        raise ConfigurationError(f"--through {through}: {' '.join(fault.why for fault in faults)}")
    at = now()
    return [
        AcceptedLoss(
            fault.topic, fault.partition, fault.first, fault.goes_on, fault.records, at, by, note, fault.kind == "anew"
        )
        for fault in faults
        if fault.goes_on <= through
    ]
