"""Whether what somebody asks about is there at all: the device, and anything in the time.

An answer about nothing looks like a good one: a misspelt device has lost no punch.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery
from attendance.times import format_seconds, now
from attendance.topics import Name
from operations.dead_letters import dead_letter, device_of
from operations.log import Log


def in_no_fleet(_: str) -> bool:
    """A fleet without devices."""
    return False


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked about: records of a time, of these devices or of all.

    Attributes:
        since: From when on they arrived; None for all that are there.
        until: Before when; None for no end.
        devices: Whose they are; empty for everybody's.
        in_fleet: Whether the fleet file has a device.
    """

    since: datetime | None = None
    until: datetime | None = None
    devices: Collection[str] = ()
    in_fleet: Callable[[str], bool] = in_no_fleet

    async def not_there(self, log: Log, topics: Sequence[Name]) -> list[str]:
        """What of it is not there, each as a sentence; empty where an answer means something.

        A device is known if the fleet file has it, or a record of the time names it: one that is in the fleet file and
        has sent nothing yet is there. A time without any record of any device is not.

        Args:
            log: The topics.
            topics: Where records may be, those that most likely have one first.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        unknown = {device for device in self.devices if not self.in_fleet(device)}
        empty = self.since is not None or self.until is not None
        for topic in topics:
            if not (empty or unknown):
                return []
            async with aclosing(log.read(topic, since=self.since)) as batches:
                async for batch in batches:
                    found = [record for record in batch if self._includes(record)]
                    empty = empty and not found
                    unknown -= {_device(topic, record, log) for record in found} if unknown else set()
                    if not (empty or unknown):
                        return []
        if empty:
            return [f"Nothing arrived {self._time()}: nothing is looked at. Give another time."]
        return [
            f"There is no device {device}: the fleet file does not have it, and no record{self._within()} names it."
            for device in sorted(unknown)
        ]

    def _includes(self, record: Record) -> bool:
        return self.until is None or record.timestamp < self.until.timestamp() * 1000

    def _time(self) -> str:
        words = []
        if self.since is not None:
            future = ", which is in the future" if self.since > now() else ""
            words.append(f"since {format_seconds(self.since)}{future}")
        if self.until is not None:
            words.append(f"before {format_seconds(self.until)}")
        return " and ".join(words)

    def _within(self) -> str:
        return "" if self.since is None and self.until is None else " of that time"


def _device(topic: Name, record: Record, log: Log) -> str | None:
    """The device that a record names, None where it names none."""
    try:
        match topic:
            case "checkins":
                return Checkin.decode(record.value).device_id
            case "dead_letters":
                return device_of(dead_letter(record), log.topics)
            case "deliveries":
                late = Delivery.decode(record.value).late
                return None if late is None else late.device_id
            case _:
                return (record.key or b"").decode(errors="replace")
    except InvalidRecord:
        return None
