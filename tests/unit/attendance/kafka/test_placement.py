"""The stream does not decide where the number of partitions was changed with the setting."""

import asyncio

import pytest
from example_records import EVENT
from msgspec.structs import replace

from attendance.errors import ConfigurationError
from attendance.kafka.placement import misplaced
from attendance.kafka.producer import partition_of
from attendance.kafka.topics_guard import refuse_wrong_topics
from attendance.settings import KafkaSettings
from memory_broker import MemoryBroker, install

DEVICES = [f"D{number}" for number in range(20)]


def punches(broker: MemoryBroker, kafka: KafkaSettings, partitions: int, devices: list[str] = DEVICES) -> None:
    for device in devices:
        event, key = replace(EVENT, device_id=device), device.encode()
        broker.put(kafka.topics["raw"], event.encode(), key, partition=partition_of(key, partitions))


def test_punches_that_are_where_the_setting_puts_them_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch, partitions=4)
    assert asyncio.run(misplaced(kafka, "c")) is None
    punches(broker, kafka, 4)
    broker.put(kafka.topics["raw"], b"{}", b"somebody else's", partition=1)
    broker.put(kafka.topics["raw"], EVENT.encode(), b"another key", partition=1)
    assert asyncio.run(misplaced(kafka, "c")) is None


def test_a_setting_that_was_changed_with_the_topics_is_refused_with_the_number_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch, partitions=6)
    punches(broker, kafka, 4)
    for _ in range(100):
        punches(broker, kafka, 6)
    with pytest.raises(ConfigurationError, match=r"punches of \d+ of \d+ devices, such as D\d+, are not where"):
        asyncio.run(refuse_wrong_topics("stream", kafka))


def test_it_names_the_number_with_which_all_were_written_and_with_that_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch, partitions=6)
    punches(broker, kafka, 4)
    reason = asyncio.run(misplaced(kafka, "c"))
    assert reason is not None
    assert "set KAFKA_PARTITIONS=4 for every process" in reason
    _, mended = install(monkeypatch, broker, partitions=4, make_topics=False)
    asyncio.run(refuse_wrong_topics("stream", mended))


def test_a_few_punches_of_another_program_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch, partitions=4)
    punches(broker, kafka, 4)
    broker.put(
        kafka.topics["raw"], replace(EVENT, device_id="odd").encode(), b"odd", partition=3 - partition_of(b"odd", 4)
    )
    assert asyncio.run(misplaced(kafka, "c")) is None
