"""What devices themselves say of a day: how many records they have of it, and up to when they have sent everything."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time

from attendance.fleet import Device
from operations.device_statuses import newest_statuses
from operations.devices import terminals
from operations.log import Log, Skipped
from operations.verification import counted_by
from producers.devices.zkteco import adms as zkteco_adms
from producers.devices.zkteco import adms_commands


@dataclass(frozen=True, slots=True)
class OwnCount:
    """What a device says of a day.

    Attributes:
        counted: How many records of it the device has; None where it did not say.
        complete_until: Up to when it claims to have sent everything; None where it claims nothing.
        pending: How many punches, of any day, it had not handed over when it was last heard; None where it did not say.
    """

    counted: int | None = None
    complete_until: datetime | None = None
    pending: int | None = None


def whole_day(day: date) -> tuple[datetime, datetime]:
    """The first and the last second of a day, by the clock of a terminal."""
    return datetime.combine(day, time()), datetime.combine(day, time(23, 59, 59))


async def own_counts(log: Log, devices: Iterable[Device], day: date, skipped: Skipped) -> dict[str, OwnCount]:
    """What the topics have of what devices said of a day. No device is asked.

    A ZKTeco terminal that pushes has counted the day where somebody had it do so. A claim is that of the newest status.

    Args:
        log: The topics.
        devices: Which ones.
        day: By their own clocks.
        skipped: Where the records are counted that cannot be read.

    Returns:
        By device; each of them is there.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    statuses = await newest_statuses(log, skipped)
    asked = list(devices)
    counts = await _counted(log, day, skipped) if any(each.adapter == zkteco_adms.NAME for each in asked) else {}
    found = {}
    for device in asked:
        status = statuses.get(device.device_id)
        until, pending = (None, None) if status is None else (status.complete_until, status.pending)
        found[device.device_id] = OwnCount(counts.get(device.device_id), until, pending)
    return found


async def _counted(log: Log, day: date, skipped: Skipped) -> Mapping[str, int]:
    command = adms_commands.count(*whole_day(day))
    newest: dict[str, int] = {}
    for order in (await terminals(log, skipped)).orders():
        number = counted_by(order)
        if order.command == command and number is not None:
            newest[order.device_id] = number
    return newest
