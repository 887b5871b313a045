"""Backfill: a device gives the punches of some days again, by the way that its protocol has."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final, Literal

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.times import now, to_wall_clock
from operations.day_punches import day_punches
from operations.devices import order_backfill
from operations.log import Log, Skipped
from operations.own_counts import whole_day
from operations.reconcile import Fetched
from operations.refetch import Days, refetching
from operations.trace import Asked, TraceSource
from producers.devices.zkteco import adms as zkteco_adms
from producers.pull.sources import sources

LONGEST: Final = 31
"""Days that one device may be asked for at a time: its whole log may have to be read, over a slow line."""

Way = Literal["asked", "ordered"]
"""The device is asked, and answers at once; or it gets a command, and does it when it next comes."""


def way_of(device: Device, fleet: Iterable[Device]) -> Way | None:
    """How a device gives punches again; None where its protocol has no such question, or it is stopped.

    Args:
        device: Which one.
        fleet: Every entry: a server may hold its records.
    """
    if device.disabled or device.paused:
        return None
    if (device.via or device.device_id) in sources(fleet):
        return "asked"
    is_ordered = device.via is None and device.mode == "push" and device.adapter == zkteco_adms.NAME
    return "ordered" if is_ordered else None


def check_days(device: Device, days: Days) -> None:
    """Refuse days of which a device can have nothing, and too many.

    Args:
        device: Which one.
        days: On the clock of its zone.

    Raises:
        ConfigurationError: they end before they begin, begin in the future, or are more than `LONGEST`.
    """
    today = to_wall_clock(now(), device.timezone).date()
    if days.last < days.first:
        raise ConfigurationError("the last day is before the first one")
    if days.first > today:
        raise ConfigurationError(f"the first day is in the future: where the device is, it is {today}")
    if (days.last - days.first).days >= LONGEST:
        raise ConfigurationError(f"these are more than {LONGEST} days: ask for fewer at a time")


async def order(log: Log, device: Device, days: Days, skipped: Skipped) -> str:
    """Have a terminal send days again when it next comes.

    Args:
        log: The topics.
        device: One whose `way_of` is `ordered`.
        days: As `check_days` accepts them.
        skipped: Where the records are counted that cannot be read.

    Returns:
        The number of the command.

    Raises:
        ConfigurationError: the terminal takes no such command.
        KafkaUnavailable: Kafka does not answer; the command may be there or not.
    """
    begin, end = whole_day(days.first)[0], whole_day(days.last)[1]
    return (await order_backfill(log, device, begin, end, skipped)).id


async def ask(
    log: Log, source: TraceSource, fleet: Iterable[Device], device: Device, days: Days, pages: Callable[[int], None]
) -> Fetched:
    """Ask a device for days again, and publish what Kafka lacks of them.

    What the source has not heard of yet is published twice, and counts once.

    Args:
        log: The topics.
        source: Says which punches Kafka has.
        fleet: Every entry.
        device: One whose `way_of` is `asked`.
        days: As `check_days` accepts them.
        pages: Is given how many pages have come, whenever one does.

    Raises:
        ConfigurationError: it cannot be asked, or a setting is wrong.
        RetriableError: Kafka or the source does not answer; some punches may be there.
    """
    known: frozenset[str] = frozenset()
    zones = {device.device_id: device.timezone}
    for number in range((days.last - days.first).days + 1):
        asked = Asked(day=days.first + timedelta(days=number), zones=zones)
        known |= day_punches(await source.facts(asked), asked)[device.device_id].ids
    async with refetching(log, fleet, Skipped()) as refetch:
        return await refetch.days(device, days, {device.device_id: known}, pages)
