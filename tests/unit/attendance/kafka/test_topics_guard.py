"""A stage refuses topics that would lose records at its start, and stands still while there are any."""

import asyncio

import pytest

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.kafka.topics_guard import MOST, TopicsGuard, refuse_wrong_topics
from attendance.topics import USED_BY
from memory_broker import install


def test_a_reason_names_topic_both_values_and_the_command_and_goes_once_it_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    configs = broker.configs[kafka.topics["raw"]]
    guard = TopicsGuard("push", kafka)
    assert asyncio.run(guard.find_reason()) is None
    configs["cleanup.policy"] = "compact"
    assert asyncio.run(guard.find_reason()) == (
        "topic attendance.raw.v1: cleanup.policy is compact, wanted is delete; `punchstream topics repair` mends it"
    )
    configs["cleanup.policy"] = "delete"
    assert asyncio.run(guard.find_reason()) is None


def test_a_start_is_refused_for_the_stages_own_topics_only(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.configs[kafka.topics["dedup_state"]]["retention.ms"] = "1000"
    asyncio.run(refuse_wrong_topics("push", kafka))
    with pytest.raises(ConfigurationError, match=r"dedup-state\.v1: retention\.ms is 1 s"):
        asyncio.run(refuse_wrong_topics("stream", kafka))


def test_what_is_unwise_and_what_may_not_be_read_and_what_is_missing_keep_no_stage_from_working(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    broker.add_partitions(kafka.topics["terminals"], 2)
    broker.secret_configs.add(kafka.topics["raw"])
    del broker.topics[kafka.topics["probe"]]
    asyncio.run(refuse_wrong_topics("push", kafka))


def test_a_stage_whose_kafka_does_not_answer_starts_and_its_guard_knows_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    broker.go_away()
    asyncio.run(refuse_wrong_topics("push", kafka))
    with pytest.raises(KafkaUnavailable):
        asyncio.run(TopicsGuard("push", kafka).find_reason())


def test_of_many_reasons_the_first_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    for configs in broker.configs.values():
        configs["max.message.bytes"] = "1000"
    reason = asyncio.run(TopicsGuard("stream", kafka).find_reason())
    assert reason is not None
    large = USED_BY["stream"] - {"probe"}  # which holds nothing large
    assert reason.endswith(f"and {len(large) - MOST} more: `punchstream topics describe`")
