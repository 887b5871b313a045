"""Cursors: where each device that is asked goes on, and the wire format of the cursors topic."""

from dataclasses import dataclass, field
from datetime import date
from typing import Self

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.event import decode_object, text
from producers.devices.base import Cursor


@dataclass(frozen=True, slots=True)
class Position:
    """How far a device has been read. It is written after Kafka has acknowledged everything before it.

    `cursor` is understood by the adapter of that name and version alone; None begins anew. `swept_on` is the day, by
    the device's own calendar, of the last sweep for late records.
    """

    device_id: str
    adapter: str
    version: str
    cursor: Cursor | None = field(default=None)
    swept_on: date | None = None

    @property
    def key(self) -> bytes:
        """The record key. By its partition a device belongs to one member of the group."""
        return self.device_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return orjson.dumps(
            {
                "device_id": self.device_id,
                "adapter": self.adapter,
                "version": self.version,
                "cursor": self.cursor,
                "swept_on": self.swept_on,
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
            cursor, swept_on = data["cursor"], data["swept_on"]
            if cursor is not None and not isinstance(cursor, dict):
                raise TypeError(f"a cursor is an object, not {type(cursor).__name__}")
            return cls(
                device_id=text(data, "device_id"),
                adapter=text(data, "adapter"),
                version=text(data, "version"),
                cursor=cursor,
                swept_on=None if swept_on is None else date.fromisoformat(swept_on),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a cursor: {error!r}") from error
