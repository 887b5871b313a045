"""Devices: what they last said of themselves, whether they answer, who wants to join them, and their commands."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from msgspec import structs

from attendance.errors import ConfigurationError, InvalidRecord, KafkaUnavailable, PunchstreamError
from attendance.fleet import Device, is_among, network_of
from attendance.kafka.records import OutRecord
from attendance.records.device_status import DeviceStatus
from attendance.records.terminals import RESET, Knock, Order, PendingDevice, Stamps
from attendance.registry import Registry
from attendance.settings import PullSettings
from attendance.times import format_seconds, now, to_wall_clock
from operations.device_settings import adapter_of
from operations.fleet import read_fleet
from operations.fleet_file import add_entry, set_addresses
from operations.log import Log, Skipped, decoded
from producers.devices import PUSH_ADAPTERS, check_entry
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.common.settings import DIFFERS, Configurable, Setting, summary
from producers.devices.zkteco import adms as zkteco_adms
from producers.devices.zkteco import adms_commands
from producers.devices.zkteco.adms_handshake import STAMP, is_access, reset_to
from producers.pull.sources import sources
from producers.terminals import Terminals, approved_record, new_order, order_record

WRONG_CLOCK: Final = 60  # seconds
HEARD: Final = "heard"
"""Stands for the address from which a terminal was heard."""


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Approval:
    """What is approved of a terminal: the device_id that it gets, where it stands, and the IANA zone of its clock.

    These are None where it has an entry. `addresses` are from where it may push: addresses, networks, or `heard` for
    where it was heard from; from anywhere where there are none.
    """

    device_id: str | None = None
    site: str | None = None
    timezone: str | None = None
    addresses: Sequence[str] = ()


async def newest_statuses(log: Log, skipped: Skipped) -> dict[str, DeviceStatus]:
    """What each device last said of itself, by device_id; of its details, what it last said of each.

    Args:
        log: The topics.
        skipped: Where the records are counted that are no status.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    newest: dict[str, DeviceStatus] = {}
    async for batch in log.read("device_status"):
        there = [record for record in batch if record.value is not None]
        for _, status in decoded(there, lambda record: DeviceStatus.decode(record.value), skipped):
            before = newest.get(status.device_id)
            # A terminal that pushes and is asked says some things to the one process only.
            details = {**(before.details if before else {}), **status.details}
            newest[status.device_id] = structs.replace(status, details=details)
    return newest


async def check_device(log: Log, device: Device, skipped: Skipped) -> list[DeviceCheck]:
    """Ask a device who it is, as the pull stage would, where it can be asked; and when it was last heard.

    Args:
        log: The topics.
        device: Its entry.
        skipped: As in `newest_statuses`.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    checks = [_check_entry(device)]
    if sources([device]):
        checks += await _ask(device)
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


def _check_entry(device: Device) -> DeviceCheck:
    try:
        if device.via is None:  # otherwise another entry's adapter reads its records
            check_entry(device.mode, device)
    except ConfigurationError as error:
        return DeviceCheck("entry", False, str(error))
    unbound = device.mode == "push" and device.serial and not device.token_sha256 and not device.addresses
    open_to = "; whoever knows its serial number can push in its name: it has no addresses and no token"
    detail = f"{device.mode}, adapter {device.adapter}{open_to if unbound else ''}"
    return DeviceCheck("entry", not device.disabled, detail)


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
    known = {(device.adapter, device.serial): device for device in fleet}
    found = await terminals(log, skipped)
    waiting = [each for each in found.pending() if _waits(each, known.get((each.adapter, each.serial)))]
    return waiting, found.knocks.all()


def _waits(pending: PendingDevice, device: Device | None) -> bool:
    if device is None:
        return True
    # Its entry may have got the address since.
    return pending.device_id is not None and bool(device.addresses) and not is_among(pending.client, device.addresses)


async def approve(
    log: Log,
    registry_file: Path,
    skipped: Skipped,
    *,
    serial: str,
    adapter: str | None,
    approval: Approval,
) -> str:
    """Let a terminal in: add its entry to the fleet file, which push takes up by itself, or change its addresses.

    Args:
        log: The topics.
        registry_file: What the entry is added to.
        skipped: As in `pending_devices`.
        serial: The serial number with which it asks.
        adapter: Its adapter; None for that with which it asks.
        approval: What is approved.

    Returns:
        The device_id.

    Raises:
        ConfigurationError: it is not plain which terminal is meant, or the file would be wrong.
        KafkaUnavailable: Kafka does not answer, or the topic is missing; the entry may have been added.
    """
    if adapter is not None and adapter not in PUSH_ADAPTERS:
        raise ConfigurationError(f"--adapter: {adapter!r} is none of {', '.join(sorted(PUSH_ADAPTERS))}")
    pending = (await terminals(log, skipped)).pending()
    found = [each for each in pending if each.serial == serial and adapter in (None, each.adapter)]
    if adapter is None and len(found) != 1:
        raise ConfigurationError(
            f"SERIAL: {len(found) or 'no'} terminals with {serial} ask to be let in; --adapter says which it is"
        )
    networks = _networks(approval.addresses, found, serial)
    known = next((each for each in _fleet(registry_file) if found and _is_of(found[0], each)), None)
    if known is None:
        await _refuse_what_the_topic_has(log, registry_file, approval.device_id, adapter or found[0].adapter, serial)
    if known is not None:
        if not networks:
            raise ConfigurationError(f"SERIAL: {known.device_id} has {serial}; --address says from where it may push")
        set_addresses(registry_file, known, networks)
        device_id: str | None = known.device_id
    elif None in (device_id := approval.device_id, approval.site, approval.timezone):
        raise ConfigurationError("--device-id, --site and --timezone are needed for a terminal that no entry has")
    else:
        entry: dict[str, object] = {
            "device_id": device_id,
            "site": approval.site,
            "timezone": approval.timezone,
            "mode": "push",
            "adapter": adapter or found[0].adapter,
            "serial": serial,
        }
        add_entry(registry_file, entry | ({"addresses": networks} if networks else {}))
    async with log.sending() as send:
        await send(*(approved_record(log.topics["terminals"], each) for each in found))
    assert device_id is not None
    return device_id


async def _refuse_what_the_topic_has(
    log: Log, registry_file: Path, device_id: str | None, adapter: str, serial: str
) -> None:
    """Refuse an entry of the file that would not count beside the topic, and a file that would take its place.

    Raises:
        ConfigurationError: so it would be.
        KafkaUnavailable: Kafka does not answer.
    """
    has_file = await asyncio.to_thread(registry_file.exists)
    try:
        owned = (await read_fleet(log)).owned()
    except KafkaUnavailable:
        if not has_file:
            raise
        return  # an installation that has no such topic yet
    for (kind, name), written in owned.items():
        fields = written.entry.fields
        has_serial = (fields.get("adapter", "json"), fields.get("serial")) == (adapter, serial)
        if kind == "device" and (has_serial or name == device_id):
            raise ConfigurationError(
                f"SERIAL: {name} of the fleet topic has this serial number or device_id. Change it where the source"
                f" {written.entry.source} has it, and write that by `punchstream fleet apply`"
            )
    if owned and not has_file:
        raise ConfigurationError(
            f"the fleet is on its topic, and {registry_file} is not there: add the device where its source has the"
            " others, and write that by `punchstream fleet apply`"
        )


def _fleet(registry_file: Path) -> Iterable[Device]:
    return Registry(registry_file) if registry_file.exists() else ()


def _is_of(pending: PendingDevice, device: Device) -> bool:
    return (pending.adapter, pending.serial) == (device.adapter, device.serial)


def _networks(addresses: Sequence[str], found: Sequence[PendingDevice], serial: str) -> list[str]:
    """The addresses of an approval. Where others may have used the serial number, nobody knows which is the terminal's.

    Raises:
        ConfigurationError: it was not heard, or from several addresses.
    """
    networks: list[str] = []
    for address in addresses:
        if address != HEARD:
            try:
                networks.append(str(ip_network(address, strict=False)))
            except ValueError:
                raise ConfigurationError(f"--address: {address!r} is no address and no network") from None
            continue
        clients = {
            client for each in found for client in (each.clients or {each.client or "": 1}) if network_of(client)
        }
        if len(clients) != 1:
            said = ", ".join(sorted(clients)) or "nowhere"
            raise ConfigurationError(f"--address: {serial} was heard from {said}; say which one is the terminal's")
        networks += filter(None, map(network_of, clients))
    return networks


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

    async def refuse(*_: OutRecord) -> None:
        raise AssertionError("a view that only reads")

    found = Terminals(log.topics["terminals"], refuse)
    async for batch in log.read("terminals"):
        for record in batch:
            try:
                found.apply(record)
            except InvalidRecord as error:
                skipped.add(record, error)
    return found
