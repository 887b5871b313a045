"""A loss is accepted where there is one, and nowhere else."""

import asyncio

import pytest
from aiokafka import TopicPartition

from attendance.errors import ConfigurationError
from attendance.records.account import AcceptedLoss, Account
from attendance.records.sequences import Sequences
from attendance.settings import KafkaSettings
from attendance.times import now
from memory_broker import MemoryBroker, install
from operations.losses import accept_loss
from virtual_time import run_in_virtual_time

RAW = "attendance.raw.v1"
ACCOUNTS = "attendance.accounts.v1"


def accept(kafka: KafkaSettings, of: str, through: int, note: str = "known") -> AcceptedLoss:
    (loss,) = accept_all(kafka, of, through, note)
    return loss


def accept_all(kafka: KafkaSettings, of: str, through: int, note: str = "known") -> list[AcceptedLoss]:
    found: list[AcceptedLoss] = []

    async def story() -> None:
        found.extend(await accept_loss(kafka, of, through, note, "fatima"))

    run_in_virtual_time(asyncio.wait_for(story(), 3600))
    return found


def commit(broker: MemoryBroker, group: str, topic: str, offset: int) -> None:
    broker.groups[group].offsets[TopicPartition(topic, 0)] = offset


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryBroker, KafkaSettings]:
    """A raw topic whose first 8 records are gone, of which the stream has read 3 and completeness 5."""
    broker, kafka = install(monkeypatch)
    for _ in range(10):
        broker.put(RAW, b"punch", b"riyadh-01")
    broker.delete_before(RAW, 0, 8)
    commit(broker, kafka.group("stream"), RAW, 3)
    sequences = Sequences(0, 5, {})
    broker.put("attendance.sequences.v1", sequences.encode(), sequences.key)
    return broker, kafka


def test_what_is_recorded_says_how_many_records_are_lost_and_where_stages_go_on(
    passed: tuple[MemoryBroker, KafkaSettings],
) -> None:
    broker, kafka = passed
    loss = accept(kafka, f"{RAW}:0", 8)
    assert (loss.first, loss.through, loss.records, loss.anew) == (3, 8, 5, False)
    assert (loss.by, loss.note) == ("fatima", "known")
    (record,) = broker.records(ACCOUNTS)
    assert (record.key, record.value) == (loss.key, loss.encode())


@pytest.mark.parametrize("through", [0, 3, 9, 11])
def test_a_loss_ends_where_records_are_missing(passed: tuple[MemoryBroker, KafkaSettings], through: int) -> None:
    broker, kafka = passed
    with pytest.raises(ConfigurationError, match="lacks offsets 3 to 7"):
        accept(kafka, f"{RAW}:0", through)
    assert not broker.records(ACCOUNTS)


@pytest.mark.parametrize("of", [f"{RAW}:1", "attendance.checkins.v1:0", "attendance.dedup-state.v1:0"])
def test_where_nothing_is_missing_nothing_is_recorded(passed: tuple[MemoryBroker, KafkaSettings], of: str) -> None:
    broker, kafka = passed
    with pytest.raises(ConfigurationError, match="no record is missing there"):
        accept(kafka, of, 8)
    assert not broker.records(ACCOUNTS)


@pytest.mark.parametrize(
    ("of", "note", "why"),
    [
        (RAW, "known", "is no partition"),
        ("attendance.user-map.v1:0", "known", "is no partition"),
        (f"{RAW}:7", "known", "has no partition 7"),
        (f"{RAW}:0", " ", "--note"),
    ],
)
def test_what_is_asked_for_has_to_be_a_partition_that_stages_read_and_a_reason(
    passed: tuple[MemoryBroker, KafkaSettings], of: str, note: str, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        accept(passed[1], of, 8, note)


def test_a_loss_is_accepted_once(passed: tuple[MemoryBroker, KafkaSettings]) -> None:
    _, kafka = passed
    accept(kafka, f"{RAW}:0", 8)
    with pytest.raises(ConfigurationError, match="no record is missing there"):
        accept(kafka, f"{RAW}:0", 8)


def test_a_topic_that_was_made_anew_goes_on_at_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    account = Account("sink", "attendance.checkins.v1", 0, first=0, through=50, at=now(), end=57)
    broker.put(ACCOUNTS, account.encode(), account.key)
    with pytest.raises(ConfigurationError, match="give 0, where it begins"):
        accept(kafka, "attendance.checkins.v1:0", 50)
    loss = accept(kafka, "attendance.checkins.v1:0", 0)
    assert (loss.first, loss.through, loss.records, loss.anew) == (50, 0, 7, True)


@pytest.fixture
def compacted(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryBroker, KafkaSettings]:
    """A raw topic of which the stream has read all, and of which compaction has left offsets 2, 4 and 5."""
    broker, kafka = install(monkeypatch)
    for key in (b"riyadh-01", b"riyadh-01", b"riyadh-01", b"jeddah-01", b"jeddah-01", b"dammam-01"):
        broker.put(RAW, b"punch", key)
    broker.compact(RAW)
    broker.delete_before(RAW, 0, 2)
    commit(broker, kafka.group("stream"), RAW, 6)
    account = Account("stream", RAW, 0, first=0, through=6, at=now(), end=6)
    broker.put(ACCOUNTS, account.encode(), account.key)
    return broker, kafka


def test_what_only_the_audit_lacks_is_accepted_range_by_range(compacted: tuple[MemoryBroker, KafkaSettings]) -> None:
    _, kafka = compacted
    with pytest.raises(ConfigurationError, match="offsets 3 to 3"):
        accept(kafka, f"{RAW}:0", 5)
    loss = accept(kafka, f"{RAW}:0", 4)
    assert (loss.first, loss.through, loss.records, loss.anew) == (3, 4, 1, False)
    with pytest.raises(ConfigurationError, match="no record is missing there"):
        accept(kafka, f"{RAW}:0", 4)


def test_outcomes_that_were_removed_before_an_audit_counted_them_are_accepted(
    compacted: tuple[MemoryBroker, KafkaSettings],
) -> None:
    broker, kafka = compacted
    waiting = kafka.topics["unmapped"]
    for _ in range(5):
        broker.put(waiting, b"a punch", b"riyadh-01")
    broker.delete_before(waiting, 0, 3)
    loss = accept(kafka, f"{waiting}:0", 3)
    assert (loss.first, loss.through, loss.records) == (0, 3, 3)
    with pytest.raises(ConfigurationError, match="no record is missing there"):
        accept(kafka, f"{waiting}:0", 3)
