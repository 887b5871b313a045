"""Makes the topics, and describes them."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_admin, create_consumer, unavailable
from attendance.kafka.topic_facts import find, findings, refuse_if_blind, wanted
from attendance.settings import DeadLetterSettings, KafkaSettings, UnreadSettings
from attendance.topics import TABLE, WANTED_REPLICAS, topic_configs

# A broker hears of new topics a moment after the controller made them.
LOOKS: Final = 50
LOOK_SECONDS: Final = 0.1


async def create_topics(settings: KafkaSettings) -> dict[str, bool]:
    """Create the topics that are missing. Returns each name and whether it was created now.

    A topic that exists is left as it is; `describe_topics` shows where it differs. How long unread requests and dead
    letters are kept is read from the settings.

    Raises:
        KafkaUnavailable: Kafka does not answer or refuses.
    """
    unread_days, dead_letter_days = UnreadSettings.load().days, DeadLetterSettings.load().days
    admin = create_admin(settings, "punchstream-admin")
    try:
        await admin.start()
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = settings.replication_factor or min(WANTED_REPLICAS, brokers)
        all_topics = {}
        for name, topic in TABLE.items():
            configs = topic_configs(
                topic, settings.retention_days, unread_days, replicas, dead_letter_days=dead_letter_days
            )
            full_name = settings.topics[name]
            all_topics[full_name] = NewTopic(
                full_name, topic.partitions or settings.partitions, replicas, topic_configs=configs
            )
        existing = set(await admin.list_topics())
        missing = [topic for name, topic in all_topics.items() if name not in existing]
        created = set()
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *_ in response.topic_errors:
                error = for_code(code)
                if code == 0:
                    created.add(name)
                elif error is not TopicAlreadyExistsError:
                    raise await _refused(settings, error, name)
        for _ in range(LOOKS):
            if created <= set(await admin.list_topics()):
                break
            await asyncio.sleep(LOOK_SECONDS)
        return {name: name in created for name in all_topics}
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await admin.close()


async def _refused(settings: KafkaSettings, error: type[KafkaError], topic: str) -> KafkaUnavailable:
    """Why a topic was not created."""
    if error is TopicAuthorizationFailedError:
        return await unavailable(settings, error(topic), operation="Create")
    return KafkaUnavailable(f"topic {topic}: {error.__name__}")


async def describe_topics(settings: KafkaSettings) -> list[dict[str, Any]]:
    """Each topic as the broker has it: partitions, replicas, records and configuration, and where that is wrong.

    `partitions` is 0 where a topic does not exist, or may not be looked at. `configs` is None where it may not be read,
    and on the embedded broker, which has none.

    Raises:
        KafkaUnavailable: Kafka does not answer, or lets this principal look at no topic.
        ConfigurationError: a setting is wrong.
    """
    client_id = "punchstream-admin"
    admin = create_admin(settings, client_id)
    consumer = create_consumer(settings, client_id=client_id)
    try:
        await admin.start()
        await consumer.start()
        facts = await find(admin, settings, tuple(TABLE), client_id)
        refuse_if_blind(settings, facts)
        replicas = wanted(settings, facts.brokers).replicas
        wrong = findings(settings, facts)
        described = {entry["topic"]: entry["partitions"] for entry in await admin.describe_topics()}
        unread_days, dead_letter_days = UnreadSettings.load().days, DeadLetterSettings.load().days
        rows = []
        for name, topic in TABLE.items():
            full_name = settings.topics[name]
            there = described.get(full_name, [])
            partitions = [TopicPartition(full_name, partition["partition"]) for partition in there]
            first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            last: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
            found = facts.topics.get(name)
            right = topic_configs(
                topic, settings.retention_days, unread_days, replicas, dead_letter_days=dead_letter_days
            )
            rows.append(
                {
                    "topic": full_name,
                    "partitions": len(there),
                    "replicas": min((len(each["replicas"]) for each in there), default=0),
                    "records": sum(last.values()) - sum(first.values()),
                    "key": topic.key,
                    "holds": topic.holds,
                    "configs": None
                    if found is None or found.configs is None
                    else {key: found.configs.get(key) for key in right},
                    "wanted": {"partitions": settings.partitions_of(name), "replicas": replicas, **right},
                    "findings": [asdict(each) | {"says": str(each)} for each in wrong if each.topic == full_name],
                }
            )
        return rows
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await consumer.stop()
        await admin.close()
