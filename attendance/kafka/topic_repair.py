"""Sets what may be set on topics of a running system, and says what may not."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, PolicyViolationError, TopicAuthorizationFailedError, for_code

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_admin, unavailable
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.kafka.topic_facts import check_topics, find, findings, refuse_if_blind
from attendance.settings import KafkaSettings
from attendance.topic_findings import REPAIR, Finding
from attendance.topics import TABLE, Name

CLIENT_ID: Final = "punchstream-admin"
ATTEMPTS: Final = 20  # half a second apart: a broker takes a new configuration up a moment later
AT_ONCE: Final = 500  # records whose acknowledgements are awaited together


@dataclass(slots=True)
class Repair:
    """What a repair did, or would do.

    Attributes:
        mended: What is right now.
        left: What is wrong still, with what to do about each.
    """

    mended: list[Finding] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)


async def repair_topics(
    settings: KafkaSettings, *, dry_run: bool = False, spare: Collection[tuple[Name, str]] = ()
) -> Repair:
    """Set every topic's configuration to what it has to be; move records out of partitions that nobody wants.

    What else is set for a topic stays. Nothing is done on the embedded broker.

    Args:
        settings: What topics have to be.
        dry_run: Whether to change nothing.
        spare: Topics, and what of them is left as it is.

    Raises:
        KafkaUnavailable: Kafka does not answer, or refuses.
        ConfigurationError: a setting is wrong.
    """
    admin = create_admin(settings, CLIENT_ID)
    try:
        await admin.start()
        facts = await find(admin, settings, tuple(TABLE), CLIENT_ID)
        refuse_if_blind(settings, facts)
        wrong = findings(settings, facts)
        spared = {(settings.topics[name], what) for name, what in spare}
        mending: dict[str, list[Finding]] = defaultdict(list)
        for each in wrong:
            if each.mend == REPAIR and (each.topic, each.what) not in spared:
                mending[each.topic].append(each)
        if dry_run or not mending:
            done = [each for group in mending.values() for each in group]
            return Repair(done, [each for each in wrong if each not in done])
        for name, own in facts.own.items():
            differences = mending.get(settings.topics[name], [])
            configs = {each.what: each.set_to for each in differences if each.set_to is not None}
            if configs:
                await _set(admin, settings, name, {**own, **configs})
            if any(each.what == "partitions" for each in differences):
                await _move_home(admin, settings, name, {**own, **configs})
        left = await check_topics(settings, tuple(TABLE), CLIENT_ID)
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await admin.close()
    still = {(each.topic, each.what) for each in left if each.mend == REPAIR}
    return Repair([each for group in mending.values() for each in group if (each.topic, each.what) not in still], left)


async def _set(admin: AIOKafkaAdminClient, settings: KafkaSettings, name: Name, configs: Mapping[str, str]) -> None:
    """Replace all that is set for a topic."""
    topic = settings.topics[name]
    for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(configs))]):
        for code, message, *_ in response.resources:
            error = for_code(code)
            if error is TopicAuthorizationFailedError:
                raise await unavailable(settings, error(topic), operation="AlterConfigs")
            if code:
                raise KafkaUnavailable(f"topic {topic}: {error.__name__} {message or ''}".rstrip())


async def _move_home(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, name: Name, configs: Mapping[str, str]
) -> None:
    """Write to the one partition what others have and it has not, or has older; delete it there."""
    topic, count = settings.topics[name], settings.partitions_of(name)
    records = await snapshot(settings, topic, CLIENT_ID)
    beyond = sorted((each for each in records if each.partition >= count), key=_age)
    at_home = {each.key: each for each in records if each.partition < count}
    producer = Producer(settings, CLIENT_ID, compares=False)
    try:
        moved = [
            OutRecord(topic, each.key, each.value, tuple(each.headers), partition=0)
            for each in (_newest(beyond).values() if TABLE[name].cleanup == "compact" else beyond)
            if TABLE[name].cleanup == "delete" or each.key not in at_home or _age(each) >= _age(at_home[each.key])
        ]
        for first in range(0, len(moved), AT_ONCE):
            await producer.send(*moved[first : first + AT_ONCE])
    finally:
        await producer.stop()
    ends = {TopicPartition(topic, each.partition): RecordsToDelete(each.offset + 1) for each in _last(beyond)}
    if TABLE[name].cleanup == "compact":
        # No record of a topic that is compacted only can be deleted.
        await _set(admin, settings, name, {**configs, "cleanup.policy": "compact,delete"})
    try:
        await _delete(admin, ends)
    except TopicAuthorizationFailedError as error:
        raise await unavailable(settings, error, operation="Delete", topics=[topic]) from error
    finally:
        if TABLE[name].cleanup == "compact":
            await _set(admin, settings, name, configs)


def _age(record: ConsumerRecord) -> tuple[int, int, int]:
    return record.timestamp, record.partition, record.offset


def _newest(records: Collection[ConsumerRecord]) -> dict[bytes | None, ConsumerRecord]:
    """The last record of each key, of records in the order of their age."""
    return {each.key: each for each in records}


def _last(records: Collection[ConsumerRecord]) -> Collection[ConsumerRecord]:
    """The record of each partition with the highest offset."""
    return {each.partition: each for each in sorted(records, key=lambda each: each.offset)}.values()


async def _delete(admin: AIOKafkaAdminClient, before: Mapping[TopicPartition, RecordsToDelete]) -> None:
    for attempt in range(ATTEMPTS):
        try:
            await admin.delete_records(dict(before))
            return
        except PolicyViolationError:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.5)
