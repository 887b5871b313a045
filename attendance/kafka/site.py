"""SiteTopic: the site topic, followed and written."""

import asyncio
from typing import Final

from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.readers import follow
from attendance.kafka.records import OutRecord
from attendance.records.site import SiteZone
from attendance.settings import KafkaSettings
from attendance.site import ZoneRecords

TOPIC: Final = "site"


class SiteTopic:
    """What is recorded of ERPNext sites, as new as the topic is."""

    def __init__(self, kafka: KafkaSettings, producer: Producer, client_id: str) -> None:
        """Nothing is read yet.

        Args:
            kafka: Where the topic is.
            producer: Writes to it.
            client_id: By what name Kafka knows the consumer.
        """
        self._kafka = kafka
        self._producer = producer
        self._client_id = client_id
        self._records = ZoneRecords()
        self.caught_up = asyncio.Event()
        """Set once everything that was there at the start is known."""

    async def follow(self) -> None:
        """Take in every record, for ever."""
        await follow(
            self._kafka,
            self._kafka.topics[TOPIC],
            self._records.learn,
            client_id=self._client_id,
            caught_up=self.caught_up,
        )

    def get(self, site: str) -> SiteZone | None:
        """What is recorded of a site. Safe from any thread.

        Args:
            site: By the name that `attendance.site.site_of` gives it.
        """
        return self._records.get(site)

    async def put(self, zone: SiteZone) -> None:
        """Record a zone; return when Kafka has it."""
        record = OutRecord(self._kafka.topics[TOPIC], zone.key, zone.encode())
        await send_until_acknowledged(self._producer, [record])
        self._records.learn(record)
