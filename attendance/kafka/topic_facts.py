"""What the broker says of the topics, and where that is not what they have to be."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from attendance.errors import KafkaUnavailable
from attendance.kafka.causes import what_is_not_allowed
from attendance.kafka.clients import create_admin, create_consumer, unavailable
from attendance.settings import DeadLetterSettings, KafkaSettings, StreamSettings, UnreadSettings
from attendance.topic_findings import Finding, Found, Wanted, compare, hidden
from attendance.topics import EMBEDDED_CLUSTER, TABLE, WANTED_REPLICAS, Name

# How DescribeConfigs names where a value comes from: set for this topic, or anywhere else.
OF_THE_TOPIC: Final = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What the broker says.

    Attributes:
        is_embedded: Whether it is the embedded broker, which has no configuration to compare.
        brokers: How many there are.
        topics: Of each topic that exists.
        own: What is set for each topic itself, where that may be read.
        hidden: Topics of which this principal may not know whether they exist.
    """

    is_embedded: bool
    brokers: int
    topics: Mapping[Name, Found]
    own: Mapping[Name, Mapping[str, str]]
    hidden: frozenset[Name] = frozenset()


def wanted(settings: KafkaSettings, brokers: int) -> Wanted:
    """What the settings say that topics have to be.

    Args:
        settings: Of Kafka; those of the stream and of what was not understood are read beside them.
        brokers: How many the cluster has.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return Wanted(
        partitions=settings.partitions,
        retention_days=settings.retention_days,
        unread_days=UnreadSettings.load().days,
        horizon=StreamSettings.load().dedup_horizon,
        replicas=settings.replication_factor or min(WANTED_REPLICAS, brokers),
        dead_letter_days=DeadLetterSettings.load().days,
    )


async def check_topics(
    settings: KafkaSettings, names: Collection[Name] = tuple(TABLE), client_id: str = "punchstream-admin"
) -> list[Finding]:
    """Where topics are not what they have to be, by what the broker says; empty on the embedded broker.

    Args:
        settings: How to reach Kafka, and what topics have to be.
        names: Which topics.
        client_id: As whom to ask.

    Raises:
        KafkaUnavailable: Kafka does not answer.
        ConfigurationError: a setting is wrong.
    """
    admin = create_admin(settings, client_id)
    try:
        await admin.start()
        facts = await find(admin, settings, names, client_id)
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await admin.close()
    return findings(settings, facts, names)


async def check_partitions(settings: KafkaSettings, topic: str, count: int, client_id: str) -> list[Finding]:
    """What forbids to write to a topic by the number of its partitions. Nothing is asked where it is the wanted one.

    Args:
        settings: How to reach Kafka, and how many partitions are wanted.
        topic: The full name; of one that is not ours any number is right.
        count: How many there are.
        client_id: As whom to ask.

    Raises:
        KafkaUnavailable: Kafka does not answer.
    """
    name = next((each for each in TABLE if settings.topics[each] == topic), None)
    if name is None or count == settings.partitions_of(name):
        return []
    found = await check_topics(settings, [name], client_id)
    return [each for each in found if each.what == "partitions" and each.severity == "refuses"]


def findings(settings: KafkaSettings, facts: Facts, names: Collection[Name] = tuple(TABLE)) -> list[Finding]:
    """Where topics are not what they have to be; empty on the embedded broker.

    Args:
        settings: What topics have to be.
        facts: What the broker says.
        names: Which topics.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    if facts.is_embedded:
        return []
    want = wanted(settings, facts.brokers)
    return [
        finding
        for name in names
        for finding in (
            [hidden(settings.topics[name])]
            if name in facts.hidden
            else compare(name, settings.topics[name], facts.topics.get(name), want)
        )
    ]


def refuse_if_blind(settings: KafkaSettings, facts: Facts) -> None:
    """Return where this principal may look at one topic at least, or none exists.

    Args:
        settings: The prefix of the topics.
        facts: What the broker says of all topics.

    Raises:
        KafkaUnavailable: it may look at none; the message says which right it needs.
    """
    if len(facts.hidden) == len(TABLE):
        refusal = TopicAuthorizationFailedError(f"{settings.topic_prefix}.*")
        why = what_is_not_allowed(settings, refusal, "Describe and DescribeConfigs", ())
        raise KafkaUnavailable(f"{settings.bootstrap_servers}: {why}")


async def find(admin: AIOKafkaAdminClient, settings: KafkaSettings, names: Collection[Name], client_id: str) -> Facts:
    """Ask the broker.

    Args:
        admin: Started.
        settings: The prefix of the topics, and how many partitions are wanted.
        names: Which topics.
        client_id: As whom to ask for offsets.

    Raises:
        KafkaError: it does not answer.
        KafkaUnavailable: it answers that something else is wrong.
    """
    cluster = await admin.describe_cluster()
    if cluster.get("cluster_id") == EMBEDDED_CLUSTER:
        return Facts(is_embedded=True, brokers=1, topics={}, own={})
    # All of them: asking by name has a careless broker make the topic.
    described = {entry["topic"]: entry["partitions"] for entry in await admin.describe_topics()}
    existing = [name for name in names if settings.topics[name] in described]
    configs, unknown = await _configs(admin, {settings.topics[name]: name for name in names})
    counts = {name: len(described[settings.topics[name]]) for name in existing}
    beyond = await _beyond(settings, counts, client_id)
    topics = {
        name: Found(
            partitions=counts[name],
            replicas=min(len(partition["replicas"]) for partition in described[settings.topics[name]]),
            configs=None if name not in configs else {key: value for key, (value, _) in configs[name].items()},
            beyond=beyond.get(name, 0),
        )
        for name in existing
    }
    own = {
        name: {key: value for key, (value, is_own) in configs[name].items() if is_own}
        for name in existing
        if name in configs
    }
    # A broker leaves what may not be looked at out of the list, as it does what does not exist.
    concealed = frozenset(names) - frozenset(existing) - unknown
    return Facts(is_embedded=False, brokers=len(cluster["brokers"]), topics=topics, own=own, hidden=concealed)


async def _configs(
    admin: AIOKafkaAdminClient, names: Mapping[str, Name]
) -> tuple[dict[Name, dict[str, tuple[str, bool]]], set[Name]]:
    """Each value, and whether it is set for the topic itself; and the topics that do not exist.

    Topics that may not be looked at are in neither.
    """
    found: dict[Name, dict[str, tuple[str, bool]]] = {}
    unknown: set[Name] = set()
    if not names:
        return found, unknown
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    for response in responses:
        for code, message, _, full_name, entries in response.resources:
            error = for_code(code)
            if error is UnknownTopicOrPartitionError:
                unknown.add(names[full_name])
            if error in (TopicAuthorizationFailedError, UnknownTopicOrPartitionError):
                continue
            if code:
                raise KafkaUnavailable(f"topic {full_name}: {error.__name__} {message or ''}".rstrip())
            found[names[full_name]] = {
                entry[0]: (entry[1], _is_own(entry, response.API_VERSION)) for entry in entries if entry[1] is not None
            }
    return found, unknown


def _is_own(entry: Sequence[object], version: int) -> bool:
    # Before version 1 the broker said only whether a value is the default.
    return not entry[3] if version == 0 else bool(entry[3] == OF_THE_TOPIC)


async def _beyond(settings: KafkaSettings, counts: Mapping[Name, int], client_id: str) -> dict[Name, int]:
    """How many records are in partitions beyond those that are wanted, where there are any."""
    extra = {
        name: [TopicPartition(settings.topics[name], number) for number in range(settings.partitions_of(name), count)]
        for name, count in counts.items()
    }
    partitions = [tp for each in extra.values() for tp in each]
    if not partitions:
        return {}
    consumer = create_consumer(settings, client_id=client_id)
    try:
        await consumer.start()
        first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {name: sum(end[tp] - first[tp] for tp in each) for name, each in extra.items()}
