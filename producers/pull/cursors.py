"""Up to where each device was asked, in a compacted topic: written once Kafka has all that was fetched up to there."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord, Record
from attendance.registry import Device
from attendance.times import format_milliseconds, format_seconds, parse_utc
from attendance.wire import decode_object, encode_json, text
from producers.devices.contract import Cursor, PullAdapter

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SavedCursor:
    """Where to go on with one device. Times are UTC.

    `cursor` is the adapter's own; `adapter`, `version` and `serial` say whose and of which device it is.
    `complete_until` is the newest claim that came with a page, `last_event` that of `DeviceStatus`. `swept_at` is when
    the nightly sweep last began that went through, or the first fetch of all. `at` is the server's clock.
    """

    device_id: str
    adapter: str
    version: str
    serial: str | None
    cursor: Cursor
    at: datetime
    complete_until: datetime | None = None
    swept_at: datetime | None = None
    last_event: datetime | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return key_of(self.device_id)

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json(
            {
                "device_id": self.device_id,
                "adapter": self.adapter,
                "version": self.version,
                "serial": self.serial,
                "cursor": self.cursor,
                "at": format_milliseconds(self.at),
                "complete_until": None if self.complete_until is None else format_seconds(self.complete_until),
                "swept_at": None if self.swept_at is None else format_seconds(self.swept_at),
                "last_event": None if self.last_event is None else format_seconds(self.last_event),
            }
        )

    @classmethod
    def decode(cls, value: bytes | None) -> Self:
        """What `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        data = decode_object(value)
        try:
            cursor = data["cursor"]
            if not isinstance(cursor, dict):
                raise TypeError("the cursor is no object")
            until, swept_at, last_event = (data.get(name) for name in ("complete_until", "swept_at", "last_event"))
            return cls(
                device_id=text(data, "device_id"),
                adapter=text(data, "adapter"),
                version=text(data, "version"),
                serial=data.get("serial"),
                cursor=cursor,
                at=parse_utc(data["at"]),
                complete_until=None if until is None else parse_utc(until),
                swept_at=None if swept_at is None else parse_utc(swept_at),
                last_event=None if last_event is None else parse_utc(last_event),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a cursor: {error!r}") from error

    def fits(self, device: Device, adapter: PullAdapter) -> bool:
        """Whether it was written by this adapter, in this version, of the terminal that the entry now means."""
        return (self.adapter, self.version, self.serial) == (adapter.name, adapter.version, device.serial)


def key_of(device_id: str) -> bytes:
    """The key of a device's records, which also decides which process asks it."""
    return device_id.encode()


class Cursors:
    """The cursors of this process's share of the fleet, as the topic has them.

    A process that lost a device may still write its last cursor over that of its successor. Then somebody fetches what
    is there already, and the repeats are removed downstream: a cursor may be behind, it is never ahead.
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
            log.error("A cursor cannot be read.", key=record.key, error=error.message)
            return
        self._saved[saved.key] = saved

    def forget(self) -> None:
        """Forget all of them: others may write them from now on."""
        self._saved.clear()

    def of(self, device: Device, adapter: PullAdapter) -> SavedCursor | None:
        """Where to go on with a device; None where all that it has is to be fetched."""
        saved = self._saved.get(key_of(device.device_id))
        if saved is None or saved.fits(device, adapter):
            return saved
        log.warning(
            "A cursor is of another adapter or terminal; the device is read from its beginning.",
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
