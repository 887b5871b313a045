"""What the broker is asked, and what is made of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from attendance.errors import KafkaUnavailable
from attendance.kafka.admin import describe_topics
from attendance.kafka.topic_facts import check_topics
from attendance.kafka.topic_repair import repair_topics
from attendance.settings import KafkaSettings
from attendance.topics import EMBEDDED_CLUSTER, TABLE
from memory_broker import install


def test_nothing_is_found_of_topics_that_are_right_and_of_no_others_than_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    assert asyncio.run(check_topics(kafka)) == []
    broker.configs[kafka.topics["raw"]]["cleanup.policy"] = "compact"
    assert [each.topic for each in asyncio.run(check_topics(kafka))] == [kafka.topics["raw"]]
    assert asyncio.run(check_topics(kafka, ["checkins", "user_map"])) == []


def test_the_brokers_default_counts_where_a_topic_has_no_value_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    del broker.configs[kafka.topics["raw"]]["retention.ms"]
    [finding] = asyncio.run(check_topics(kafka))
    assert (finding.what, finding.found, finding.severity) == ("retention.ms", "7 days", "refuses")


def test_records_in_partitions_that_nobody_wants_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    users = kafka.topics["user_map"]
    broker.add_partitions(users, 3)
    assert [each.severity for each in asyncio.run(check_topics(kafka))] == ["warns"]
    broker.put(users, b"{}", b"k", partition=2)
    [finding] = asyncio.run(check_topics(kafka))
    assert (finding.found, finding.severity) == ("3, with 1 record beyond those that are wanted", "refuses")


def test_a_topic_that_is_missing_and_one_that_may_not_be_read_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    raw, dropped = kafka.topics["raw"], kafka.topics["dropped"]
    del broker.topics[raw], broker.configs[raw]
    broker.secret_configs.add(dropped)
    found = {each.topic: each.severity for each in asyncio.run(check_topics(kafka))}
    assert found == {raw: "refuses", dropped: "unknown"}


def test_a_topic_that_may_not_be_looked_at_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    raw = kafka.topics["raw"]
    broker.secret_topics.add(raw)
    [finding] = asyncio.run(check_topics(kafka))
    assert (finding.topic, finding.severity) == (raw, "unknown")
    assert str(finding) == (
        f"topic {raw} does not exist, or may not be looked at: this principal needs Describe and DescribeConfigs on it"
    )


@pytest.mark.parametrize("work", [describe_topics, repair_topics])
def test_who_may_look_at_no_topic_is_told_so(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[KafkaSettings], Coroutine[Any, Any, object]]
) -> None:
    broker, kafka = install(monkeypatch)
    broker.secret_topics |= set(broker.topics)
    with pytest.raises(KafkaUnavailable, match=r"needs Describe and DescribeConfigs on the topic attendance\.\*"):
        asyncio.run(work(kafka))


def test_the_embedded_broker_is_exempt_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch, make_topics=False)
    assert len(asyncio.run(check_topics(kafka))) == len(TABLE)
    broker.cluster_id = EMBEDDED_CLUSTER
    assert asyncio.run(check_topics(kafka)) == []


def test_where_kafka_is_away_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.fail("admin", KafkaConnectionError("away"))
    with pytest.raises(KafkaUnavailable, match="away"):
        asyncio.run(check_topics(kafka))
