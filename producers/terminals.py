"""What has to be known of terminals beside the registry file, by every push process: the terminals topic.

It holds three kinds of records, told apart by their key: the marks that a terminal has to be given back (the stamp of
its last upload), the commands that wait for a terminal to fetch them and what it answered, and the serial numbers that
nobody has approved.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from typing import Any, Final, NoReturn

import orjson
import structlog

from attendance.errors import KafkaUnavailable
from attendance.kafka.records import OutRecord
from attendance.times import format_seconds, now
from attendance.wire import encode_json
from producers.devices.contract import Command, Result

log = structlog.get_logger(__name__)

Send = Callable[..., Awaitable[object]]

AGAIN: Final = 600.0  # seconds, until a command that was fetched and not answered is handed out again
NOTED: Final = 60.0  # seconds between two records of the same serial number
MOST_STRANGERS: Final = 1000  # serial numbers that are remembered; whoever makes them up fills nothing
SILENT: Final = 600.0  # seconds after which a serial number makes room: a terminal knocks every half minute
WRITE_SECONDS: Final = 1.0  # between two writes of the marks that are new
MAX_FACT: Final = 64  # characters


@dataclass(frozen=True, slots=True)
class PendingDevice:
    """A serial number that no entry has. Times are UTC, `YYYY-MM-DDTHH:MM:SSZ`; `facts` are what it told of itself."""

    adapter: str
    serial: str
    first_seen: str
    last_seen: str
    requests: int
    client: str | None
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Order:
    """A command for a device. `returned` is what the terminal answered, None while it has not."""

    device_id: str
    id: str
    command: str
    queued_at: str
    returned: str | None = None
    answered_at: str | None = None


class Terminals:
    """The topic in memory: fed record by record, and written through.

    Args:
        topic: The full name of the terminals topic.
        send: Returns when Kafka has all of the records that it is given. Raises KafkaUnavailable.
        clock: Seconds, from any beginning.
    """

    def __init__(self, topic: str, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = topic
        self._send = send
        self._clock = clock
        self._marks: dict[str, Mapping[str, str]] = {}
        self._unwritten: dict[str, Mapping[str, str]] = {}
        self._orders: dict[str, dict[str, Order]] = defaultdict(dict)
        self._handed_out: dict[tuple[str, str], float] = {}
        self._strangers: dict[tuple[str, str], PendingDevice] = {}
        self._knocked: dict[tuple[str, str], float] = {}  # the longest silent first
        self._noted: dict[tuple[str, str], float] = {}

    def apply(self, record: Any) -> None:  # noqa: ANN401 - whatever has a key and a value
        """Take in one record of the topic. One that cannot be read is logged and ignored."""
        try:
            kind, *names = orjson.loads(record.key or b"")
            value: Any = None if record.value is None else orjson.loads(record.value)
            match kind, *names:
                case "marks", str(device_id):
                    self._marks[device_id] = dict(value or {})
                case "command", str(device_id), str(id_) if value is None:
                    self._orders[device_id].pop(id_, None)
                case "command", str(device_id), str(id_):
                    self._orders[device_id][id_] = Order(**value)
                case "stranger", str(adapter), str(serial) if value is None:
                    self._forget((adapter, serial))
                case "stranger", str(adapter), str(serial):
                    self._strangers[adapter, serial] = PendingDevice(**value)
                    self._has_knocked((adapter, serial))
        except (ValueError, TypeError) as error:
            log.error("A record of the terminals topic is ignored.", key=record.key, error=repr(error))

    def marks(self, device_id: str) -> Mapping[str, str]:
        """What the device was last to be given back."""
        return self._unwritten.get(device_id) or self._marks.get(device_id, {})

    def mark(self, device_id: str, marks: Mapping[str, str]) -> None:
        """Have the device be given these back. They may be lost, and older ones stand: it then sends again.

        Assumes that Kafka has the events that they stand for.
        """
        merged = {**self.marks(device_id), **marks}
        if merged != self.marks(device_id):
            # Not yet on the topic. Were it there before the events, a crash between the two would lose them.
            self._unwritten[device_id] = merged

    async def write(self) -> None:
        """Return when Kafka has the marks that are new. Raises KafkaUnavailable; then they are as new as before."""
        written = dict(self._unwritten)
        await self._send(*(self._record(["marks", device_id], marks) for device_id, marks in written.items()))
        self._marks.update(written)
        for device_id, marks in written.items():
            if self._unwritten[device_id] is marks:
                del self._unwritten[device_id]

    async def keep(self) -> NoReturn:
        """Write the marks that are new, now and then, for ever."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            with suppress(KafkaUnavailable):
                await self.write()

    def waiting(self, device_id: str) -> list[Command]:
        """The commands that the device has not answered, but for those that it has just been given; oldest first."""
        orders = self._orders.get(device_id)
        if not orders:
            return []
        return [
            Command(order.id, order.command)
            for order in sorted(orders.values(), key=_age)
            if order.returned is None and self._clock() - self._handed_out.get((device_id, order.id), -AGAIN) >= AGAIN
        ]

    def handed_out(self, device_id: str, commands: Iterable[Command]) -> None:
        """Note that the device has been given these."""
        for command in commands:
            self._handed_out[device_id, command.id] = self._clock()

    async def answered(self, device_id: str, results: Sequence[Result]) -> None:
        """Return when Kafka has what the device answered. Raises KafkaUnavailable."""
        for result in results:
            order = self._orders.get(device_id, {}).get(result.id)
            if order is None:
                log.warning("A device answers a command that nobody gave.", device_id=device_id, command=result.id)
                continue
            order = replace(order, returned=result.returned[:MAX_FACT], answered_at=format_seconds(now()))
            await self._send(order_record(self._topic, order))
            self._orders[device_id][result.id] = order
            log.info(
                "A device has answered a command.", device_id=device_id, command=order.command, result=order.returned
            )

    async def seen(self, adapter: str, serial: str, client: str | None, facts: Mapping[str, str]) -> None:
        """Note a serial number that no entry has. Where Kafka is away, the next request says it again."""
        key = adapter, serial
        known = self._strangers.get(key)
        displaced = None
        if known is None and len(self._strangers) >= MOST_STRANGERS:
            displaced, knocked = next(iter(self._knocked.items()))
            if self._clock() - knocked < SILENT:
                return
            self._forget(displaced)
        moment = format_seconds(now())
        told = {name: value[:MAX_FACT] for name, value in facts.items()}
        stranger = PendingDevice(
            adapter,
            serial,
            known.first_seen if known else moment,
            moment,
            known.requests + 1 if known else 1,
            client,
            told or (known.facts if known else {}),
        )
        self._strangers[key] = stranger
        self._has_knocked(key)
        if self._clock() - self._noted.get(key, -NOTED) < NOTED:
            return
        self._noted[key] = self._clock()
        log.warning("An unknown terminal asks to be let in.", adapter=adapter, serial=serial, client=client)
        removed = [] if displaced is None else [self._record(["stranger", *displaced], None)]
        try:
            await self._send(*removed, self._record(["stranger", adapter, serial], asdict(stranger)))
        except KafkaUnavailable:
            self._noted.pop(key, None)

    def strangers(self) -> list[PendingDevice]:
        """The serial numbers that were heard of, the latest last."""
        return sorted(self._strangers.values(), key=lambda stranger: stranger.last_seen)

    def orders(self) -> list[Order]:
        """Every command, oldest first."""
        return sorted((order for orders in self._orders.values() for order in orders.values()), key=_age)

    def _has_knocked(self, key: tuple[str, str]) -> None:
        self._knocked.pop(key, None)
        self._knocked[key] = self._clock()

    def _forget(self, key: tuple[str, str]) -> None:
        for each in (self._strangers, self._knocked, self._noted):
            each.pop(key, None)

    def _record(self, key: list[str], value: object) -> OutRecord:
        return OutRecord(self._topic, encode_json(key), None if value is None else encode_json(value))


def _age(order: Order) -> tuple[str, str]:
    return order.queued_at, order.id


def order_record(topic: str, order: Order) -> OutRecord:
    """The record of a command."""
    return OutRecord(topic, encode_json(["command", order.device_id, order.id]), encode_json(asdict(order)))


def approved_record(topic: str, stranger: PendingDevice) -> OutRecord:
    """The record that removes a serial number, once an entry has it."""
    return OutRecord(topic, encode_json(["stranger", stranger.adapter, stranger.serial]), None)


def new_order(device_id: str, command: str) -> Order:
    """A command that nobody has fetched yet."""
    moment = now()
    return Order(device_id, str(int(moment.timestamp() * 1000)), command, format_seconds(moment.astimezone(UTC)))
