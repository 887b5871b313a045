"""Devices: what they last said of themselves, whether they answer, who wants to join them, and their commands."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attendance.errors import ConfigurationError, PunchstreamError
from attendance.fleet import Device, is_among
from attendance.kafka.records import OutRecord
from attendance.records.terminals import RESET, Knock, Order, PendingDevice, Stamps
from attendance.settings import PullSettings
from attendance.times import format_seconds, now, to_wall_clock
from operations.device_settings import adapter_of
from operations.device_statuses import newest_statuses
from operations.log import Log, Skipped, take_all
from producers.devices import check_entry
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.common.settings import DIFFERS, Configurable, Setting, summary
from producers.devices.zkteco import adms as zkteco_adms
from producers.devices.zkteco import adms_commands
from producers.devices.zkteco.adms_handshake import STAMP, is_access, reset_to
from producers.pull.sources import sources
from producers.terminals import Terminals, new_order, order_record

WRONG_CLOCK: Final = 60  # seconds


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str


async def check_device(log: Log, device: Device, skipped: Skipped) -> list[DeviceCheck]:
    """Ask a device who it is, as the pull stage would, where it can be asked; and when it was last heard.

    Args:
        log: The topics.
        device: Its entry.
        skipped: Where the records are counted that are no status.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    checks = await ask_device(device)
    try:
        status = (await newest_statuses(log, skipped)).get(device.device_id)
    except PunchstreamError as error:
        return [*checks, DeviceCheck("last heard", False, str(error))]
    heard_at = "never" if status is None else format_seconds(status.heard_at)
    checks.append(DeviceCheck("last heard", status is not None, heard_at))
    shown = {each.check for each in checks}
    details = {} if status is None else status.details
    findings = {name: str(each) for name, each in details.items() if str(each).startswith(DIFFERS)}
    # What was asked just now is newer.
    return checks + [DeviceCheck(name, False, found) for name, found in findings.items() if name not in shown]


async def ask_device(device: Device) -> list[DeviceCheck]:
    """Look at a device's entry, and ask the device who it is, where it can be asked. Nothing is changed or taken.

    Args:
        device: Its entry.

    Returns:
        What was looked at, within the time limit of a page (`PullSettings`).

    Raises:
        ConfigurationError: a setting is wrong.
    """
    checks = [_check_entry(device)]
    # To ask who it is takes nothing from it, so a pause does not matter.
    if sources([device.model_copy(update={"paused": None})]):
        checks += await _ask(device)
    return checks


def _check_entry(device: Device) -> DeviceCheck:
    try:
        if device.via is None:  # otherwise another entry's adapter reads its records
            check_entry(device.mode, device)
    except ConfigurationError as error:
        return DeviceCheck("entry", False, str(error))
    unbound = device.mode == "push" and device.serial and not device.token_sha256 and not device.addresses
    open_to = "; whoever knows its serial number can push in its name: it has no addresses and no token"
    paused = f"; paused by {device.paused.by}: {device.paused.why}" if device.paused else ""
    detail = f"{device.mode}, adapter {device.adapter}{paused}{open_to if unbound else ''}"
    return DeviceCheck("entry", not device.disabled and not paused, detail)


async def _ask(device: Device) -> list[DeviceCheck]:
    settings = PullSettings.load()
    compared: Sequence[Setting] = ()
    try:
        async with adapter_of(device, settings) as adapter, asyncio.timeout(settings.page_timeout):
            probed = await adapter.probe(device)
            if isinstance(adapter, Configurable):
                compared = await adapter.settings(device)
    except (PunchstreamError, TimeoutError) as error:
        return [DeviceCheck("answer", False, str(error) or f"none within {settings.page_timeout:g} s")]
    details = ", ".join(f"{name}: {value}" for name, value in probed.report.details.items())
    wanted, found = device.serial, probed.serial
    same = wanted is None or found is None or is_serial_of_entry(found, wanted)
    checks = [
        DeviceCheck("answer", True, details or "it answers"),
        DeviceCheck("serial", same, found or "it does not tell"),
    ]
    if probed.report.device_time is not None:
        skew = round((probed.report.device_time - now()).total_seconds())
        checks.append(DeviceCheck("clock", abs(skew) <= WRONG_CLOCK, f"{skew} s ahead"))
    if compared:
        checks.append(DeviceCheck("settings", not any(each.differs for each in compared), summary(compared)))
    return checks


async def pending_devices(
    log: Log, fleet: Iterable[Device], skipped: Skipped
) -> tuple[list[PendingDevice], list[Knock]]:
    """The terminals that ask to be let in, the likeliest first; and what push turned away else.

    No entry has their serial number, or one has it and not the address from which they came: those stand first.

    Args:
        log: The topics.
        fleet: Every entry.
        skipped: Where the records are counted that are of no kind.

    Returns:
        The serial numbers, and the knocks of the last seven days: likely terminals first, the latest last in each.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    found = await terminals(log, skipped)
    return still_pending(found, fleet), found.knocks.all()


def still_pending(found: Terminals, fleet: Iterable[Device]) -> list[PendingDevice]:
    """The terminals that ask to be let in, the likeliest first.

    Args:
        found: What is known of terminals.
        fleet: Every entry.
    """
    known = {(device.adapter, device.serial): device for device in fleet}
    return [each for each in found.pending() if _waits(each, known.get((each.adapter, each.serial)))]


def _waits(pending: PendingDevice, device: Device | None) -> bool:
    if device is None:
        return True
    # Its entry may have got the address since.
    return pending.device_id is not None and bool(device.addresses) and not is_among(pending.client, device.addresses)


async def order_backfill(log: Log, device: Device, since: datetime, until: datetime | None, skipped: Skipped) -> Order:
    """Have a ZKTeco terminal that pushes send the punches of a time again. It does so when it next asks.

    Args:
        log: The topics.
        device: Which terminal.
        since: From when, by the terminal's own clock.
        until: Until when, by that clock; None for now.
        skipped: As in `pending_devices`.

    Raises:
        ConfigurationError: its adapter takes no such command, or the time is none.
        KafkaUnavailable: Kafka does not answer; the command may be there or not.
    """
    if device.adapter != zkteco_adms.NAME:
        raise ConfigurationError(
            f"DEVICE: {device.device_id} has adapter {device.adapter}, and only {zkteco_adms.NAME} is told"
        )
    clock = to_wall_clock(now(), device.timezone)
    end = until or clock
    check_times(since, end, clock)
    # What it did since it was last let in says of which kind it is.
    access = is_access({}, (await terminals(log, skipped)).stamps(device.device_id))
    order = new_order(device.device_id, adms_commands.backfill(since, end, access=access))
    async with log.sending() as send:
        await send(order_record(log.topics["terminals"], order))
    return order


async def reset_stamps(log: Log, device: Device, since: datetime | None, skipped: Skipped) -> Order:
    """Have a ZKTeco terminal that pushes go on from an earlier stamp than it is known to have reached.

    No upload moves the stamp until the terminal has connected and heard it. A command has it connect.

    Args:
        log: The topics.
        device: Which terminal.
        since: From when it is to send again, by its own clock; None for all it has.
        skipped: As in `pending_devices`.

    Returns:
        The command.

    Raises:
        ConfigurationError: its adapter knows no stamps, or the terminal does not, or the time is in the future.
        KafkaUnavailable: Kafka does not answer; the stamp may be reset or not.
    """
    if device.adapter != zkteco_adms.NAME:
        raise ConfigurationError(
            f"DEVICE: {device.device_id} has adapter {device.adapter}, and only {zkteco_adms.NAME} has stamps"
        )
    clock = to_wall_clock(now(), device.timezone)
    if since is not None and since > clock:
        raise ConfigurationError(f"--since: {since} is in the future where the device is, where it is {clock:%F %T}")
    stamps = (await terminals(log, skipped)).stamps(device.device_id)
    if is_access({}, stamps):
        raise ConfigurationError(
            f"DEVICE: {device.device_id} is an access terminal, which has no stamp; devices backfill asks it"
        )
    anew = Stamps(device.device_id, {**stamps, STAMP: reset_to(since), RESET: format_seconds(now())})
    order, topic = new_order(device.device_id, adms_commands.CONNECT), log.topics["terminals"]
    async with log.sending() as send:
        await send(OutRecord(topic, anew.key, anew.encode()), order_record(topic, order))
    return order


def check_times(since: datetime, until: datetime, clock: datetime) -> None:
    """Refuse a time of which a terminal can have nothing.

    Args:
        since: From when.
        until: Until when.
        clock: The time of day where the terminal is.

    Raises:
        ConfigurationError: it ends before it begins, or begins in the future.
    """
    if not since < until:
        raise ConfigurationError("--since: must be before --until")
    if since > clock:
        raise ConfigurationError(f"--since: {since} is in the future where the device is, where it is {clock:%F %T}")


async def orders(log: Log, skipped: Skipped) -> list[Order]:
    """The commands for terminals, oldest first, with what came back.

    Args:
        log: The topics.
        skipped: As in `pending_devices`.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    return (await terminals(log, skipped)).orders()


async def terminals(log: Log, skipped: Skipped) -> Terminals:
    """What is known of terminals beside the fleet file, to be looked at.

    Args:
        log: The topics.
        skipped: As in `pending_devices`.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    found = terminals_view()
    await take_all(log, "terminals", found.apply, skipped)
    return found


def terminals_view() -> Terminals:
    """What is known of terminals, to be fed and looked at. It writes nothing."""

    async def refuse(*_: OutRecord) -> None:
        raise AssertionError("a view that only reads")

    return Terminals("", refuse)
