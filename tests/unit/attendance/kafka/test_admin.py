"""The topics that are made, and what is said of those that there are."""

import asyncio

import pytest
from aiokafka.errors import InvalidReplicationFactorError, KafkaConnectionError

from attendance.errors import KafkaUnavailable
from attendance.kafka.admin import create_topics, describe_topics
from attendance.kafka.records import MAX_RECORD_BYTES
from attendance.topics import TABLE
from memory_broker import install


def test_every_topic_is_made_with_its_partitions_and_takes_our_largest_record(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch, make_topics=False, partitions=3)
    assert asyncio.run(create_topics(kafka)) == {kafka.topics[name]: True for name in TABLE}
    for name, topic in TABLE.items():
        full_name = kafka.topics[name]
        assert len(broker.topics[full_name]) == (topic.partitions or 3)
        assert broker.configs[full_name]["max.message.bytes"] == str(MAX_RECORD_BYTES)
        assert "min.insync.replicas" not in broker.configs[full_name], "a cluster of one could then take no record"


def test_a_topic_that_exists_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch, make_topics=False, partitions=3)
    raw = kafka.topics["raw"]
    broker.create_topic(raw, 7)
    created = asyncio.run(create_topics(kafka))
    assert [name for name, is_new in created.items() if not is_new] == [raw]
    assert len(broker.topics[raw]) == 7


def test_a_topic_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, kafka = install(monkeypatch, make_topics=False, replication_factor=3)
    with pytest.raises(KafkaUnavailable, match=f"topic .*: {InvalidReplicationFactorError.__name__}"):
        asyncio.run(create_topics(kafka))


def test_a_topic_that_is_missing_has_no_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    raw, gone = kafka.topics["raw"], kafka.topics["dropped"]
    del broker.topics[gone]
    for partition in (0, 1, 1):
        broker.put(raw, b"x", partition=partition)
    broker.delete_before(raw, 1, 1)
    rows = {row["topic"]: row for row in asyncio.run(describe_topics(kafka))}
    assert (rows[raw]["partitions"], rows[raw]["replicas"], rows[raw]["records"]) == (2, 1, 2)
    assert (rows[gone]["partitions"], rows[gone]["replicas"], rows[gone]["records"]) == (0, 0, 0)


@pytest.mark.parametrize("work", [create_topics, describe_topics])
def test_where_kafka_is_away_it_is_said_and_every_client_is_closed(
    monkeypatch: pytest.MonkeyPatch, work: object
) -> None:
    broker, kafka = install(monkeypatch)
    broker.fail("admin", KafkaConnectionError("away"))
    with pytest.raises(KafkaUnavailable, match="away"):
        asyncio.run(work(kafka))  # type: ignore[operator]
