"""Pauses: nothing is taken from a device for a while, and it keeps what it has.

A pause belongs to nobody's list of devices. Whoever is to look after a device may pause it, whoever wrote its entry.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.kafka.records import OutRecord
from attendance.records.fleet import DevicePause, PauseKey
from attendance.wire import encode_json
from operations.fleet import read_fleet
from operations.log import Log


async def pause(
    log: Log, fleet: Iterable[Device], device_ids: Sequence[str], *, by: str, why: str, at: datetime
) -> list[str]:
    """Have nothing taken from devices. All of them are paused, or none is.

    Args:
        log: The topics.
        fleet: Every device.
        device_ids: Which ones.
        by: Who decides.
        why: What they say of it.
        at: The time, UTC.

    Returns:
        Those that were not paused before. A pause that is there stays as it is.

    Raises:
        ConfigurationError: one is not in the fleet, or cannot be paused by itself; or nobody said why.
        KafkaUnavailable: Kafka does not answer; each may be paused or not.
    """
    if not why.strip():
        raise ConfigurationError("a pause needs a reason")
    known = {device.device_id: device for device in fleet}
    problems = [problem for each in device_ids if (problem := _problem(each, known.get(each)))]
    if problems:
        raise ConfigurationError("\n".join(problems))
    there = (await read_fleet(log)).pauses()
    new = [each for each in dict.fromkeys(device_ids) if each not in there]
    pauses = [DevicePause(each, at, by, why.strip()) for each in new]
    async with log.sending() as send:
        await send(*(OutRecord(log.topics["fleet"], each.key, each.encode()) for each in pauses))
    return new


async def resume(log: Log, device_ids: Sequence[str]) -> list[str]:
    """End the pauses of devices.

    Args:
        log: The topics.
        device_ids: Which ones.

    Returns:
        Those that were paused.

    Raises:
        KafkaUnavailable: Kafka does not answer; each may be paused or not.
    """
    there = (await read_fleet(log)).pauses()
    ended = [each for each in dict.fromkeys(device_ids) if each in there]
    async with log.sending() as send:
        await send(*(OutRecord(log.topics["fleet"], encode_json(PauseKey(each)), None) for each in ended))
    return ended


def _problem(device_id: str, device: Device | None) -> str | None:
    if device is None:
        return f"{device_id} is not in the fleet"
    if device.via is not None:
        return f"{device_id}: {device.via} holds its records: pause that one, with all of its terminals"
    if device.mode == "file":
        return f"{device_id}: its punches come when somebody brings a file, so there is nothing to pause"
    return None
