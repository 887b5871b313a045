"""Who is in a consumer group, and what it has committed where nobody is in it."""

from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, for_code

from attendance.kafka.clients import create_admin, create_consumer, unavailable
from attendance.settings import KafkaSettings

_MEMBERS: Final = 5
_CLIENT_ID: Final = 1


async def members(settings: KafkaSettings, group: str, client_id: str) -> list[str]:
    """The client ids of those who are in a consumer group now. There may be no such group.

    Args:
        settings: How to reach Kafka.
        group: Its full name.
        client_id: As whom.

    Raises:
        KafkaUnavailable: Kafka does not answer, or does not let us look.
    """
    admin = create_admin(settings, client_id)
    try:
        await admin.start()
        found: list[str] = []
        for answer in await admin.describe_consumer_groups([group]):
            for described in answer.groups:
                error = for_code(described[0])
                if error.errno:
                    raise error(group)
                found += [member[_CLIENT_ID] for member in described[_MEMBERS]]
        return found
    except GroupCoordinatorNotAvailableError:
        return []  # a cluster that never had a group
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await admin.close()


async def commit(settings: KafkaSettings, topic: str, group: str, offsets: Mapping[int, int], client_id: str) -> None:
    """Commit offsets for a group that has no members.

    Args:
        settings: How to reach Kafka.
        topic: Its full name.
        group: Its full name.
        offsets: By partition. Of none, nothing is committed.
        client_id: As whom.

    Raises:
        KafkaUnavailable: Kafka does not answer, or does not take them: somebody has joined the group.
    """
    if not offsets:
        return
    consumer = create_consumer(settings, client_id=client_id, group=group)
    try:
        await consumer.start()
        at = {TopicPartition(topic, number): offset for number, offset in offsets.items()}
        consumer.assign(list(at))
        await consumer.commit(at)
    except KafkaError as error:
        raise await unavailable(settings, error, operation="Read", topics=[topic]) from error
    finally:
        await consumer.stop()
