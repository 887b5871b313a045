"""What every push process has to know of terminals beside the fleet file: the terminals topic in memory.

Its records are those of `attendance/records/terminals.py`: stamps, commands, serial numbers that wait for approval, and
knocks.
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
from attendance.logs import Seldom
from attendance.records.terminals import (
    RESET,
    KnockKey,
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
from producers.devices.contract import Command, Result
from producers.knocks import Knocks
from producers.pending import PendingDevices

log = structlog.get_logger(__name__)

Send = Callable[..., Awaitable[object]]

AGAIN: Final = 600.0  # seconds, until a command that was fetched and not answered is handed out again
WRITE_SECONDS: Final = 1.0  # between two writes of what is new
MAX_FACT: Final = 64  # characters
KNOCKS_AT_ONCE: Final = 100  # records that are written together


class Terminals:
    """The topic in memory: fed record by record, and written through.

    Args:
        topic: The full name of the terminals topic.
        send: Returns when Kafka has all of the records that it is given. Raises KafkaUnavailable.
        clock: Seconds, from any beginning.

    Attributes:
        knocks: The requests that were turned away.
        pending_devices: The serial numbers that wait for approval.
    """

    def __init__(self, topic: str, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self.knocks = Knocks()
        self.seldom = Seldom()
        self.pending_devices = PendingDevices(clock)
        self._topic = topic
        self._send = send
        self._clock = clock
        self._stamps: dict[str, Mapping[str, str]] = {}
        self._unwritten: dict[str, Mapping[str, str]] = {}
        self._orders: dict[str, dict[str, Order]] = defaultdict(dict)
        self._handed_out: dict[tuple[str, str], float] = {}
        self._written_at = -WRITE_SECONDS

    def apply(self, record: KeyValue) -> None:
        """Take in one record of the topic.

        Raises:
            InvalidRecord: it is none of its kinds; what is known is unchanged.
        """
        match decode_key(record.key):
            case StampsKey(device_id) as key:
                stamps = decode_stamps(key, record.value).stamps
                if stamps.get(RESET) and stamps[RESET] != self.stamps(device_id).get(RESET):
                    # What an upload has just moved would undo it.
                    self._unwritten.pop(device_id, None)
                self._stamps[device_id] = stamps
            case OrderKey(device_id, id_) if record.value is None:
                self._orders[device_id].pop(id_, None)
            case OrderKey(device_id, id_):
                self._orders[device_id][id_] = Order.decode(record.value)
            case PendingKey() as about:
                self.pending_devices.apply(about, record.value)
            case KnockKey() as about:
                self.knocks.apply(about, record.value)

    def learn(self, record: KeyValue) -> None:
        """Take in one record, as `apply` does; one of no kind is logged and ignored."""
        try:
            self.apply(record)
        except InvalidRecord as error:
            log.error("Ignored a record of the terminals topic.", key=record.key, error=error.message)

    def stamps(self, device_id: str) -> Mapping[str, str]:
        """What the device was last to be given back."""
        return self._unwritten.get(device_id) or self._stamps.get(device_id, {})

    def set_stamps(self, device_id: str, stamps: Mapping[str, str]) -> None:
        """Have the device be given these stamps back. They may be lost: then it sends again what Kafka has.

        Args:
            device_id: The device.
            stamps: New stamps, by name; the others stay. Kafka has the events that they stand for.
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
            if self._unwritten.get(device_id) is stamps:
                del self._unwritten[device_id]

    async def write_knocks(self) -> None:
        """Return when Kafka has the knocks that are due. Raises KafkaUnavailable; then they are due again."""
        records = self.knocks.due(self._topic)
        try:
            for start in range(0, len(records), KNOCKS_AT_ONCE):
                await self._send(*records[start : start + KNOCKS_AT_ONCE])
        except KafkaUnavailable:
            self.knocks.lost([key for key in (decode_key(each.key) for each in records) if isinstance(key, KnockKey)])
            raise

    async def keep(self) -> NoReturn:
        """Write what is new of stamps, serial numbers and knocks, and log the knocks, now and then, for ever."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            self.knocks.say()
            self.seldom.flush()
            with suppress(KafkaUnavailable):
                await self.write()
                await self.write_pending()
                await self.write_knocks()

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
        """Remember when a device was given commands, so that it is not given them again at once.

        Args:
            device_id: The device.
            commands: What it was given.
        """
        for command in commands:
            self._handed_out[device_id, command.id] = self._clock()

    async def answered(self, device_id: str, results: Sequence[Result]) -> None:
        """Return when Kafka has what a device answered to commands.

        Args:
            device_id: The device.
            results: Its answers. Those to commands that it was not given are logged and ignored.

        Raises:
            KafkaUnavailable: some may be there or not.
        """
        for result in results:
            order = self._orders.get(device_id, {}).get(result.id)
            if order is None:
                self.seldom.say(
                    ("not given", device_id),
                    log.warning,
                    "A device answered a command that it was not given.",
                    device_id=device_id,
                    command=result.id,
                )
                continue
            order = replace(order, returned=result.returned[:MAX_FACT], answered_at=format_seconds(now()))
            await self._send(order_record(self._topic, order))
            self._orders[device_id][result.id] = order
            self.seldom.say(
                ("answered", device_id, result.id),
                log.info,
                "A device answered a command.",
                device_id=device_id,
                command=order.command,
                result=order.returned,
            )

    async def note_unknown(
        self, adapter: str, serial: str, client: str | None, facts: Mapping[str, str], device_id: str | None = None
    ) -> None:
        """Remember a terminal that is not let in. It is written within a second or so, or once Kafka is back.

        Args:
            adapter: The adapter whose protocol it speaks.
            serial: Its serial number.
            client: The address that it connected from.
            facts: What it said of itself, to show to whoever has to approve it.
            device_id: The device whose entry has this serial number and not this address; None where none has it.
        """
        self.pending_devices.note(adapter, serial, client, facts, device_id)
        if self._clock() - self._written_at >= WRITE_SECONDS:
            with suppress(KafkaUnavailable):
                await self.write_pending()

    async def write_pending(self) -> None:
        """Return when Kafka has the serial numbers that are due. Raises KafkaUnavailable; then they are due again."""
        self._written_at = self._clock()
        records = self.pending_devices.due(self._topic)
        if not records:
            return
        try:
            await self._send(*records)
        except KafkaUnavailable:
            keys = (decode_key(each.key) for each in records)
            self.pending_devices.lost([key for key in keys if isinstance(key, PendingKey)])
            raise

    def pending(self) -> list[PendingDevice]:
        """The devices that wait for approval: those of entries first, then by how likely each is a terminal."""
        return self.pending_devices.all()

    def orders(self) -> list[Order]:
        """Every command, oldest first."""
        return sorted((order for orders in self._orders.values() for order in orders.values()), key=_age)


def _age(order: Order) -> tuple[str, str]:
    return order.queued_at, order.id


def order_record(topic: str, order: Order) -> OutRecord:
    """The record of a command.

    Args:
        topic: The full name of the terminals topic.
        order: The command.
    """
    return OutRecord(topic, order.key, order.encode())


def approved_record(topic: str, device: PendingDevice) -> OutRecord:
    """The record that removes a pending device, once an entry has its serial number.

    Args:
        topic: The full name of the terminals topic.
        device: The pending device.
    """
    return OutRecord(topic, device.key, None)


def new_order(device_id: str, command: str) -> Order:
    """A command that no terminal has fetched yet, queued now.

    Args:
        device_id: Who is to fetch it.
        command: In the protocol's own words.
    """
    moment = now()
    return Order(device_id, str(int(moment.timestamp() * 1000)), command, format_seconds(moment.astimezone(UTC)))
