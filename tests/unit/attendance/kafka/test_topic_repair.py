"""What a repair sets on a running system, what it moves, and what it leaves."""

import asyncio

import pytest

from attendance.kafka.topic_facts import check_topics
from attendance.kafka.topic_repair import repair_topics
from memory_broker import install


def test_the_configuration_is_set_and_what_else_is_set_for_the_topic_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    raw = kafka.topics["raw"]
    right = dict(broker.configs[raw])
    broker.configs[raw] = {"cleanup.policy": "compact", "retention.ms": "604800000", "compression.type": "zstd"}
    result = asyncio.run(repair_topics(kafka))
    assert (result.left, asyncio.run(check_topics(kafka))) == ([], [])
    assert {each.what for each in result.mended} == {
        "cleanup.policy",
        "retention.ms",
        "max.message.bytes",
        "message.timestamp.type",
    }
    assert broker.configs[raw].items() <= (right | {"compression.type": "zstd"}).items()
    assert broker.configs[raw]["compression.type"] == "zstd"


def test_a_dry_run_says_the_same_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    raw = kafka.topics["raw"]
    broker.configs[raw] = before = {"cleanup.policy": "compact"}
    first = asyncio.run(repair_topics(kafka, dry_run=True)).mended
    assert broker.configs[raw] == before
    assert asyncio.run(repair_topics(kafka)).mended == first


def test_partitions_and_missing_topics_are_left_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    raw, dropped = kafka.topics["raw"], kafka.topics["dropped"]
    broker.add_partitions(raw, 3)
    broker.put(raw, b"x", partition=2)
    del broker.topics[dropped]
    result = asyncio.run(repair_topics(kafka))
    assert {(each.topic, each.mend) for each in result.left} == {
        (raw, "docs/topics.md"),
        (dropped, "punchstream topics create"),
    }


def test_entries_that_were_written_beyond_the_one_partition_come_home_the_newest_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    users = kafka.topics["user_map"]
    right = dict(broker.configs[users])
    for key, value in ((b"a", b"old"), (b"b", b"old"), (b"c", b"old")):
        broker.put(users, value, key, timestamp_ms=1000)
    broker.add_partitions(users, 3)
    broker.put(users, b"newer", b"a", partition=1, timestamp_ms=2000)
    broker.put(users, b"newest", b"a", partition=2, timestamp_ms=3000)
    broker.put(users, None, b"b", partition=1, timestamp_ms=2000)
    broker.put(users, b"only there", b"d", partition=2, timestamp_ms=2000)
    broker.put(users, b"home again", b"c", timestamp_ms=4000)
    broker.put(users, b"newer", b"c", partition=1, timestamp_ms=2000)
    result = asyncio.run(repair_topics(kafka))
    assert [each.severity for each in result.left] == ["warns"], "three partitions, of which two are empty for good"
    assert {record.partition for record in broker.records(users)} == {0}
    last = {record.key: record.value for record in broker.records(users)}
    assert last == {b"a": b"newest", b"b": None, b"c": b"home again", b"d": b"only there"}
    assert broker.configs[users] == right


def test_where_all_is_right_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    _, kafka = install(monkeypatch)
    result = asyncio.run(repair_topics(kafka))
    assert (result.mended, result.left) == ([], [])
