"""Approvals: terminals that ask to be let in get an entry of the fleet, or the address from which they push now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from attendance.errors import ConfigurationError
from attendance.fleet import Device, network_of
from attendance.fleet_topic import APPROVAL, FILE
from attendance.records.terminals import PendingDevice
from attendance.registry import Registry
from operations.devices import terminals
from operations.fleet import edit, read_fleet, write
from operations.fleet_file import add_entry, set_addresses
from operations.fleet_plan import About, Fields, Wanted
from operations.log import Log, Skipped
from producers.devices import PUSH_ADAPTERS
from producers.terminals import approved_record

HEARD: Final = "heard"
"""Stands for the address from which a terminal was heard."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What is approved of terminals: the device_id, where they stand, and the IANA zone of their clocks.

    `device_id` is for one terminal; None where each gets its serial number. `timezone` is None where the site has one.
    `addresses` are from where they may push: addresses, networks, or `heard` for where each was heard from; from
    anywhere where there are none. `direction` is as in an entry; None where the site or the default has it.
    """

    device_id: str | None = None
    site: str | None = None
    timezone: str | None = None
    addresses: Sequence[str] = ()
    direction: str | None = None


async def approve(
    log: Log,
    registry: Registry,
    skipped: Skipped,
    *,
    serials: Sequence[str],
    adapter: str | None,
    approval: Approval,
    by: str,
    source: str = APPROVAL,
) -> list[str]:
    """Let terminals in. Each gets an entry on the fleet topic, or other addresses in its entry.

    Where the topic could not be read, as in an installation that has none yet, it is the fleet file that changes.

    Safe while others approve at the same moment: of two that let one terminal in, the second is told so.

    Args:
        log: The topics.
        registry: The fleet.
        skipped: As in `pending_devices`.
        serials: The serial numbers with which they ask.
        adapter: Their adapter; None for that with which each asks.
        approval: What is approved.
        by: Who decides.
        source: As whom their entries are written.

    Returns:
        The device_ids.

    Raises:
        ConfigurationError: it is not plain which terminal is meant, the fleet would be wrong, or an entry belongs to
            another source.
        KafkaUnavailable: Kafka does not answer, or a topic is missing; the entries may have been written.
    """
    if adapter is not None and adapter not in PUSH_ADAPTERS:
        raise ConfigurationError(f"--adapter: {adapter!r} is none of {', '.join(sorted(PUSH_ADAPTERS))}")
    if approval.device_id is not None and len(serials) > 1:
        raise ConfigurationError("--device-id: for one terminal; several get their serial numbers as device_ids")
    pending = (await terminals(log, skipped)).pending()
    asked = {serial: _asking(pending, serial, adapter) for serial in dict.fromkeys(serials)}
    new: dict[str, dict[str, Any]] = {}
    known: dict[str, tuple[Device, list[str]]] = {}
    for serial, found in asked.items():
        networks = _networks(approval.addresses, found, serial)
        device = next((each for each in registry if found and _is_of(found[0], each)), None)
        if device is None:
            new[approval.device_id or serial] = _entry(approval, adapter or found[0].adapter, serial, networks)
        elif networks:
            known[serial] = device, networks
        else:
            raise ConfigurationError(f"SERIAL: {device.device_id} has {serial}; --address says from where it may push")
    if taken := [each for each in new if registry.get(each) is not None]:
        raise ConfigurationError(f"--device-id: there is {', '.join(taken)} already")
    await _add(log, registry, new, source, by)
    for device, networks in known.values():
        await _move(log, registry, device, networks, source, by)
    await forget(log, [each for found in asked.values() for each in found])
    return [*new, *(device.device_id for device, _ in known.values())]


async def forget(log: Log, pending: Sequence[PendingDevice]) -> None:
    """Take terminals from those that wait. One that comes again waits again.

    Args:
        log: The topics.
        pending: Which ones.

    Raises:
        KafkaUnavailable: Kafka does not answer; some may wait or not.
    """
    async with log.sending() as send:
        await send(*(approved_record(log.topics["terminals"], each) for each in pending))


async def _add(log: Log, registry: Registry, new: Mapping[str, Fields], source: str, by: str) -> None:
    """Give terminals entries: on the topic, or in the file where the topic could not be read."""
    if registry.topic.caught_up.is_set():
        wanted = Wanted(source, by, {("device", device_id): fields for device_id, fields in new.items()})
        await write(log, wanted, await read_fleet(log))
        return
    for device_id, fields in new.items():
        add_entry(registry.path, {"device_id": device_id, **fields})


def _asking(pending: Sequence[PendingDevice], serial: str, adapter: str | None) -> list[PendingDevice]:
    found = [each for each in pending if each.serial == serial and adapter in (None, each.adapter)]
    if adapter is None and len(found) != 1:
        raise ConfigurationError(
            f"SERIAL: {len(found) or 'no'} terminals with {serial} ask to be let in; --adapter says which it is"
        )
    return found


def _entry(approval: Approval, adapter: str, serial: str, networks: Sequence[str]) -> dict[str, Any]:
    if approval.site is None:
        raise ConfigurationError("--site is needed for a terminal that no entry has, and --timezone if it has none")
    fields: dict[str, Any] = {"site": approval.site, "timezone": approval.timezone, "mode": "push", "adapter": adapter}
    fields |= {"serial": serial, "addresses": list(networks) or None, "direction": approval.direction}
    return {name: value for name, value in fields.items() if value is not None}


async def _move(log: Log, registry: Registry, device: Device, networks: Sequence[str], source: str, by: str) -> None:
    """Have a device that is in the fleet push from these addresses alone."""
    written = registry.topic.owned().get(("device", device.device_id))
    in_file = any(each.name == device.device_id for each in registry.file_entries if each.kind == "device")
    if in_file and (written is None or written.entry.source == FILE):
        set_addresses(registry.path, device, networks)
        return

    def moved(_: About, fields: Fields) -> Fields:
        return {**fields, "addresses": list(networks)}

    await edit(log, [("device", device.device_id)], source, by, moved)


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
