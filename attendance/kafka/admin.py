"""Makes the topics, and describes them."""

from collections.abc import Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_admin, create_consumer, unavailable
from attendance.kafka.records import MAX_RECORD_BYTES
from attendance.settings import KafkaSettings, UnreadSettings
from attendance.topics import TABLE, topic_configs

WANTED_REPLICAS: Final = 3


async def create_topics(settings: KafkaSettings) -> dict[str, bool]:
    """Create the topics that are missing. Returns each name and whether it was created now.

    A topic that exists is left as it is; `describe_topics` shows where it differs. How long unread requests are kept is
    read from the settings.

    Raises:
        KafkaUnavailable: Kafka does not answer or refuses.
    """
    unread_days = UnreadSettings.load().days
    admin = create_admin(settings, "punchstream-admin")
    try:
        await admin.start()
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = settings.replication_factor or min(WANTED_REPLICAS, brokers)
        wanted = {}
        for name, topic in TABLE.items():
            configs = topic_configs(topic, settings.retention_days, unread_days)
            configs["max.message.bytes"] = str(MAX_RECORD_BYTES)
            if replicas >= WANTED_REPLICAS:
                # With acks=all a record then survives the loss of any one broker.
                configs["min.insync.replicas"] = str(replicas - 1)
            full_name = settings.topics[name]
            wanted[full_name] = NewTopic(
                full_name, topic.partitions or settings.partitions, replicas, topic_configs=configs
            )
        existing = set(await admin.list_topics())
        missing = [topic for name, topic in wanted.items() if name not in existing]
        created = set()
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *_ in response.topic_errors:
                error = for_code(code)
                if code == 0:
                    created.add(name)
                elif error is not TopicAlreadyExistsError:
                    raise KafkaUnavailable(f"topic {name}: {error.__name__}")
        return {name: name in created for name in wanted}
    except KafkaError as error:
        raise unavailable(settings, error) from error
    finally:
        await admin.close()


async def describe_topics(settings: KafkaSettings) -> list[dict[str, Any]]:
    """Each topic with partitions, replicas and records held; `partitions` is 0 where it does not exist.

    Raises:
        KafkaUnavailable: Kafka does not answer.
    """
    admin = create_admin(settings, "punchstream-admin")
    consumer = create_consumer(settings, client_id="punchstream-admin")
    try:
        await admin.start()
        await consumer.start()
        names = [settings.topics[name] for name in TABLE]
        existing = set(await admin.list_topics())
        described = {
            entry["topic"]: entry["partitions"]
            for entry in await admin.describe_topics([name for name in names if name in existing])
        }
        rows = []
        for (_, topic), name in zip(TABLE.items(), names, strict=True):
            found = described.get(name, [])
            partitions = [TopicPartition(name, partition["partition"]) for partition in found]
            first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            last: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
            rows.append(
                {
                    "topic": name,
                    "partitions": len(found),
                    "replicas": len(found[0]["replicas"]) if found else 0,
                    "records": sum(last.values()) - sum(first.values()),
                    "key": topic.key,
                    "cleanup": topic.cleanup,
                    "holds": topic.holds,
                }
            )
        return rows
    except KafkaError as error:
        raise unavailable(settings, error) from error
    finally:
        await consumer.stop()
        await admin.close()
