"""Records as a ledger reads them, made without Kafka: punches and what became of them, and what devices say."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import Headers, OutRecord
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.device_status import DeviceStatus
from attendance.records.outcomes import Delivery, Dropped, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent, Source
from attendance.topics import Name, Topics
from ledger.store import Partition
from operations.fact_reading import milliseconds

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TOPICS: Final = Topics("bench")
PARTITIONS: Final = 12
_REASONS: Final = (Reason.IMPLAUSIBLE_TIME, Reason.CLOCK_SKEW, Reason.BEYOND_HORIZON, Reason.UNREADABLE_TIME)
"""Why punches fail, in turns."""


class Made(NamedTuple):
    """A record that no broker has."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Shape:
    """What punches there are.

    Attributes:
        devices: How many, each in turn.
        sites: How many the devices are of.
        employees: How many, each in turn.
        seconds_between: Between a punch and the next one.
        one_dropped_of: So many punches.
        one_waits_of: So many punches.
        one_fails_of: So many punches; 0 for none.
    """

    devices: int = 2_000
    sites: int = 1
    employees: int = 24_000
    seconds_between: float = 3.6  # 24,000 punches a day
    one_dropped_of: int = 20
    one_waits_of: int = 100
    one_fails_of: int = 0

    def at(self, number: int) -> datetime:
        """When a punch is made."""
        return START + timedelta(seconds=int(number * self.seconds_between))

    def days(self, punches: int) -> int:
        """How many whole days so many punches are of, at least one."""
        return max(1, int(punches * self.seconds_between / 86_400))

    def device(self, number: int) -> str:
        """The device of a punch."""
        return f"D{number % self.devices}"

    def site(self, number: int) -> str:
        """The site of a punch."""
        return f"S{number % self.devices % self.sites}"

    def employee(self, number: int) -> str:
        """The employee of a punch."""
        return f"HR-EMP-{number % self.employees:>05}"


class Maker:
    """Makes the records of punches, and their offsets."""

    def __init__(self, shape: Shape, ends: Mapping[Partition, int] | None = None) -> None:
        """Nothing is made yet.

        Args:
            shape: What punches there are.
            ends: Where each partition ends, if there are records already.
        """
        self._shape = shape
        self._ends: dict[Partition, int] = defaultdict(int, ends or {})

    def batch(self, first: int, punches: int) -> dict[Partition, list[Made]]:
        """The records of so many punches, from one on."""
        batch: dict[Partition, list[Made]] = defaultdict(list)
        for number in range(first, first + punches):
            for name, made in self._of(number):
                batch[name, made.partition].append(made)
        return dict(batch)

    def reports(self, at: datetime) -> dict[Partition, list[Made]]:
        """What each device says of itself: the first spoke at a time, and each other a minute before the last."""
        batch: dict[Partition, list[Made]] = defaultdict(list)
        for number in range(self._shape.devices):
            reported = at - timedelta(minutes=number)
            details = {"firmware": f"1.{number % 7}", "serial": f"SN{number:08}"}
            device = self._shape.device(number)
            status = DeviceStatus(device, reported, reported, number % 3, number, 0, details, reported, reported)
            made = self._made("device_status", number, at, OutRecord("", status.key, status.encode()))
            batch["device_status", made.partition].append(made)
        return dict(batch)

    def _of(self, number: int) -> Iterator[tuple[Name, Made]]:
        shape, at = self._shape, self._shape.at(number)
        device, site, user = shape.device(number), shape.site(number), str(number % shape.employees)
        event = RawEvent(device, site, user, "IN", at, f"{at:%F %T}", "UTC", at, Source("push", "json"), number)
        raw = self._made("raw", number, at, OutRecord("", *event.record()))
        yield "raw", raw
        if number % shape.one_dropped_of == 0:
            of = event.event_id, event.event_id, Reason.DUPLICATE, device, user, at, raw.partition, raw.offset
            dropped = Dropped(*of)
            out = OutRecord("", dropped.key, dropped.encode(), dropped.headers(raw.headers))
            yield "dropped", self._made("dropped", number, at, out)
        elif number % shape.one_waits_of == 1:
            waiting = Waiting(event, Reason.UNMAPPED_USER)
            yield "unmapped", self._made("unmapped", number, at, OutRecord("", waiting.key, waiting.encode()))
        elif shape.one_fails_of and number % shape.one_fails_of == 2:
            reason = _REASONS[number // shape.one_fails_of % len(_REASONS)]
            letter = DeadLetter.of(raw, "stream", InvalidRecord(reason, "made"), at, event_id=event.event_id)
            yield "dead_letters", self._made("dead_letters", number, at, letter.to_record(""))
        else:
            yield from self._delivered(number, at, event, raw)

    def _delivered(self, number: int, at: datetime, event: RawEvent, raw: Made) -> Iterator[tuple[Name, Made]]:
        employee, whose = self._shape.employee(number), (event.device_id, event.device_user_id, event.site)
        checkin = Checkin(event.event_id, employee, at, "IN", *whose, "UTC")
        place = [*checkin.headers(), (RAW_RECORD, b"%d:%d" % (raw.partition, raw.offset))]
        yield "checkins", self._made("checkins", number, at, OutRecord("", checkin.key, checkin.encode(), place))
        delivery = Delivery(event.event_id, employee, f"EMP-CKIN-{number}", "created", "erpnext", at)
        yield "deliveries", self._made("deliveries", number, at, OutRecord("", delivery.key, delivery.encode()))

    def _made(self, name: Name, number: int, at: datetime, out: OutRecord) -> Made:
        partition = number % self._shape.devices % PARTITIONS
        offset = self._ends[name, partition]
        self._ends[name, partition] += 1
        key, value = out.key or b"", out.value or b""
        return Made(TOPICS[name], partition, offset, milliseconds(at), key, value, out.headers or ())
