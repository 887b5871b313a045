"""What has to be known of terminals beside the fleet file, by every push process: the terminals topic.

Its records are those of `attendance/records/terminals.py`: stamps, commands, and serial numbers that wait for approval.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Final, NoReturn

import structlog
from msgspec.structs import replace

from attendance.errors import InvalidRecord, KafkaUnavailable
from attendance.kafka.records import KeyValue, OutRecord
from attendance.records.terminals import (
    Order,
    OrderKey,
    PendingDevice,
    PendingKey,
    Stamps,
    StampsKey,
    decode_key,
    decode_stamps,
)
from attendance.times import format_seconds, now
from attendance.wire import encode_json
from producers.devices.contract import Command, Result

log = structlog.get_logger(__name__)

Send = Callable[..., Awaitable[object]]

AGAIN: Final = 600.0  # seconds, until a command that was fetched and not answered is handed out again
NOTED: Final = 60.0  # seconds between two records of the same serial number
MOST_PENDING: Final = 1000  # serial numbers that are remembered; whoever makes them up fills nothing
SILENT: Final = 600.0  # seconds after which a serial number makes room: a terminal knocks every half minute
WRITE_SECONDS: Final = 1.0  # between two writes of the stamps that are new
MAX_FACT: Final = 64  # characters


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
        self._stamps: dict[str, Mapping[str, str]] = {}
        self._unwritten: dict[str, Mapping[str, str]] = {}
        self._orders: dict[str, dict[str, Order]] = defaultdict(dict)
        self._handed_out: dict[tuple[str, str], float] = {}
        self._pending: dict[tuple[str, str], PendingDevice] = {}
        self._knocked: dict[tuple[str, str], float] = {}  # the longest silent first
        self._noted: dict[tuple[str, str], float] = {}

    def apply(self, record: KeyValue) -> None:
        """Take in one record of the topic.

        Raises:
            InvalidRecord: it is none of its kinds; what is known is unchanged.
        """
        match decode_key(record.key):
            case StampsKey(device_id) as key:
                self._stamps[device_id] = decode_stamps(key, record.value).stamps
            case OrderKey(device_id, id_) if record.value is None:
                self._orders[device_id].pop(id_, None)
            case OrderKey(device_id, id_):
                self._orders[device_id][id_] = Order.decode(record.value)
            case PendingKey(adapter, serial) if record.value is None:
                self._forget((adapter, serial))
            case PendingKey(adapter, serial):
                self._pending[adapter, serial] = PendingDevice.decode(record.value)
                self._has_knocked((adapter, serial))

    def learn(self, record: KeyValue) -> None:
        """Take in one record, as `apply` does; one of no kind is logged and ignored."""
        try:
            self.apply(record)
        except InvalidRecord as error:
            log.error("A record of the terminals topic is ignored.", key=record.key, error=error.message)

    def stamps(self, device_id: str) -> Mapping[str, str]:
        """What the device was last to be given back."""
        return self._unwritten.get(device_id) or self._stamps.get(device_id, {})

    def set_stamps(self, device_id: str, stamps: Mapping[str, str]) -> None:
        """Have the device be given these back. They may be lost, and older ones stand: it then sends again.

        Assumes that Kafka has the events that they stand for.
        """
        merged = {**self.stamps(device_id), **stamps}
        if merged != self.stamps(device_id):
            # Not yet on the topic. Were it there before the events, a crash between the two would lose them.
            self._unwritten[device_id] = merged

    async def write(self) -> None:
        """Return when Kafka has the stamps that are new. Raises KafkaUnavailable; then they are as new as before."""
        written = dict(self._unwritten)
        new = [Stamps(device_id, stamps) for device_id, stamps in written.items()]
        await self._send(*(OutRecord(self._topic, each.key, each.encode()) for each in new))
        self._stamps.update(written)
        for device_id, stamps in written.items():
            if self._unwritten[device_id] is stamps:
                del self._unwritten[device_id]

    async def keep(self) -> NoReturn:
        """Write the stamps that are new, now and then, for ever."""
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
        known = self._pending.get(key)
        displaced = None
        if known is None and len(self._pending) >= MOST_PENDING:
            displaced, knocked = next(iter(self._knocked.items()))
            if self._clock() - knocked < SILENT:
                return
            self._forget(displaced)
        moment = format_seconds(now())
        short = {name: value[:MAX_FACT] for name, value in facts.items()}
        device = PendingDevice(
            adapter,
            serial,
            known.first_seen if known else moment,
            moment,
            known.requests + 1 if known else 1,
            client,
            short or (known.facts if known else {}),
        )
        self._pending[key] = device
        self._has_knocked(key)
        if self._clock() - self._noted.get(key, -NOTED) < NOTED:
            return
        self._noted[key] = self._clock()
        log.warning("An unknown terminal asks to be let in.", adapter=adapter, serial=serial, client=client)
        removed = [] if displaced is None else [OutRecord(self._topic, encode_json(PendingKey(*displaced)), None)]
        try:
            await self._send(*removed, OutRecord(self._topic, device.key, device.encode()))
        except KafkaUnavailable:
            self._noted.pop(key, None)

    def pending(self) -> list[PendingDevice]:
        """The serial numbers that were heard of, the latest last."""
        return sorted(self._pending.values(), key=lambda device: device.last_seen)

    def orders(self) -> list[Order]:
        """Every command, oldest first."""
        return sorted((order for orders in self._orders.values() for order in orders.values()), key=_age)

    def _has_knocked(self, key: tuple[str, str]) -> None:
        self._knocked.pop(key, None)
        self._knocked[key] = self._clock()

    def _forget(self, key: tuple[str, str]) -> None:
        for each in (self._pending, self._knocked, self._noted):
            each.pop(key, None)


def _age(order: Order) -> tuple[str, str]:
    return order.queued_at, order.id


def order_record(topic: str, order: Order) -> OutRecord:
    """The record of a command."""
    return OutRecord(topic, order.key, order.encode())


def approved_record(topic: str, device: PendingDevice) -> OutRecord:
    """The record that removes a serial number, once an entry has it."""
    return OutRecord(topic, device.key, None)


def new_order(device_id: str, command: str) -> Order:
    """A command that nobody has fetched yet."""
    moment = now()
    return Order(device_id, str(int(moment.timestamp() * 1000)), command, format_seconds(moment.astimezone(UTC)))
