"""Up to where each device was asked, in a compacted topic: written once Kafka has all that was fetched up to there."""

import structlog

from attendance.errors import InvalidRecord
from attendance.fleet import Device
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord, Record
from attendance.records.cursor import SavedCursor, cursor_key
from producers.devices.contract import PullAdapter

log = structlog.get_logger(__name__)


class Cursors:
    """The cursors of this process's share of the fleet, as the topic has them.

    A process that lost a device may still write its last cursor over that of its successor. Then somebody fetches what
    is there already, and the stream drops the duplicates: a cursor may be behind, it is never ahead.

    Args:
        producer: Writes new cursors.
        topic: The full name of the cursors topic.
    """

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._saved: dict[bytes, SavedCursor] = {}

    def take(self, record: Record) -> None:
        """Take in one record of the topic; one without a value has the device read from its beginning.

        So does one that cannot be read, which is logged.
        """
        self._saved.pop(record.key or b"", None)
        if record.value is None:
            return
        try:
            saved = SavedCursor.decode(record.value)
        except InvalidRecord as error:
            log.error(
                "Ignored a cursor that cannot be read; reading its device from the beginning.",
                key=record.key,
                error=error.message,
            )
            return
        self._saved[saved.key] = saved

    def forget(self) -> None:
        """Forget all of them: others may write them from now on."""
        self._saved.clear()

    def of(self, device: Device, adapter: PullAdapter) -> SavedCursor | None:
        """Where to go on with a device.

        Args:
            device: Its entry as it is now.
            adapter: The adapter that is to go on. Only a cursor of its own name and version counts.

        Returns:
            The cursor; None where all that the device has is to be fetched.
        """
        saved = self._saved.get(cursor_key(device.device_id))
        wanted = (adapter.name, adapter.version, device.serial)
        if saved is None or (saved.adapter, saved.version, saved.serial) == wanted:
            return saved
        log.warning(
            "A cursor belongs to another adapter or terminal; reading the device from the beginning.",
            device_id=device.device_id,
            adapter=saved.adapter,
            version=saved.version,
            serial=saved.serial,
        )
        return None

    async def save(self, saved: SavedCursor) -> None:
        """Return when Kafka has it. Assumes that Kafka has everything that was fetched up to there.

        Raises:
            KafkaUnavailable: it may be there or not.
        """
        await self._producer.send(OutRecord(self._topic, saved.key, saved.encode()))
        self._saved[saved.key] = saved
