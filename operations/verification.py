"""Whether Kafka has what a terminal counts: the terminal's own count of a time, beside the punches of that time."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.records.terminals import Order
from attendance.times import from_wall_clock, now, to_wall_clock
from operations.devices import check_times, terminals
from operations.log import Log, Skipped, decoded
from producers.devices.zkteco import adms as zkteco_adms
from producers.devices.zkteco import adms_commands
from producers.devices.zkteco.adms_handshake import is_access
from producers.terminals import new_order, order_record

_COUNT: Final = re.compile(adms_commands.COUNTED)


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known of a time.

    `counted` is how many records the terminal has of it, None while it has not said so; `punches` how many punches of
    it are in Kafka, None while there is nothing to compare them with.
    """

    order: Order
    counted: int | None = None
    punches: int | None = None


async def verify(
    log: Log, device: Device, since: datetime, until: datetime | None, skipped: Skipped, *, again: bool = False
) -> Verification:
    """Have a ZKTeco terminal that pushes count its records of a time; once it has, compare.

    Args:
        log: The topics.
        device: Which terminal.
        since: From when, by the terminal's own clock.
        until: Until when, by that clock, counted in; None for the second before its last midnight.
        skipped: Where the records are counted that cannot be read.
        again: Ask anew, though it has been asked before.

    Returns:
        What the terminal counted and what is in Kafka; or that the terminal has still to answer.

    Raises:
        ConfigurationError: its adapter or its kind takes no such command, or the time is none.
        KafkaUnavailable: Kafka does not answer; the command may be there or not.
    """
    if device.adapter != zkteco_adms.NAME:
        raise ConfigurationError(
            f"DEVICE: {device.device_id} has adapter {device.adapter}, and only {zkteco_adms.NAME} is told"
        )
    clock = to_wall_clock(now(), device.timezone)
    today = clock.replace(hour=0, minute=0, second=0)
    end = until or today - timedelta(seconds=1)
    check_times(since, end, clock)
    known = await terminals(log, skipped)
    if is_access({}, known.stamps(device.device_id)):
        raise ConfigurationError(f"DEVICE: {device.device_id} is an access terminal, and those do not count")
    command = adms_commands.count(since, end)
    asked = [
        order
        for order in known.orders()
        if (order.device_id, order.command) == (device.device_id, command) and (order.returned is None or not again)
    ]
    if not asked:
        order = new_order(device.device_id, command)
        async with log.sending() as send:
            await send(order_record(log.topics["terminals"], order))
        return Verification(order)
    order = asked[-1]
    number = counted_by(order)
    if number is None:
        return Verification(order)
    return Verification(order, number, await _punches(log, device, since, end, skipped))


def counted_by(order: Order) -> int | None:
    """How many records a terminal counted; None while it has not answered with a number."""
    found = _COUNT.fullmatch(order.returned or "")
    return None if found is None else int(found[1])


async def _punches(log: Log, device: Device, since: datetime, until: datetime, skipped: Skipped) -> int:
    """How many punches a device has from the one time to the other."""
    first, last = (from_wall_clock(moment, device.timezone) for moment in (since, until))
    found: set[str] = set()
    # A terminal whose clock was ahead may have sent them before.
    async for batch in log.read("raw", since=first - timedelta(days=1)):
        for _, event in decoded(batch, lambda record: RawEvent.decode(record.value), skipped):
            if event.device_id == device.device_id and event.event_time and first <= event.event_time <= last:
                found.add(event.event_id)
    return len(found)
