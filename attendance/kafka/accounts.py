"""AccountsTopic: the accounts topic, followed and written."""

import asyncio
from typing import Final

from attendance.accounts import Accounts
from attendance.kafka.producer import Producer
from attendance.kafka.readers import follow, snapshot
from attendance.kafka.records import OutRecord
from attendance.records.account import AcceptedLoss, Account, Adoption
from attendance.settings import KafkaSettings

TOPIC: Final = "accounts"


class AccountsTopic(Accounts):
    """What stages have accounted for and what people accepted, as new as the topic is."""

    def __init__(self, kafka: KafkaSettings, producer: Producer, client_id: str) -> None:
        """Nothing is read yet.

        Args:
            kafka: Where the topic is.
            producer: Writes to it.
            client_id: By what name Kafka knows the consumer.
        """
        super().__init__()
        self._kafka = kafka
        self._producer = producer
        self._client_id = client_id
        self.caught_up = asyncio.Event()
        """Set once everything that was there at the start is known."""

    async def follow(self) -> None:
        """Take in every record, for ever."""
        topic = self._kafka.topics[TOPIC]
        await follow(self._kafka, topic, self.learn, client_id=self._client_id, caught_up=self.caught_up)

    async def read(self) -> None:
        """Take in every record that is there now.

        Raises:
            KafkaUnavailable: Kafka does not answer, or there is no such topic.
        """
        for record in await snapshot(self._kafka, self._kafka.topics[TOPIC], self._client_id):
            self.learn(record)
        self.caught_up.set()

    async def put(self, *written: Account | AcceptedLoss | Adoption) -> None:
        """Write records; return when Kafka has them.

        Raises:
            KafkaUnavailable: It has not; each may be there or not.
        """
        topic = self._kafka.topics[TOPIC]
        offsets = await self._producer.send(*(OutRecord(topic, each.key, each.encode()) for each in written))
        for each in written:
            self.add(each, offsets[topic, 0])
