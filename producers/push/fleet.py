"""Which devices may push, by what a request can say of its sender."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NoReturn

import structlog

from attendance.errors import ConfigurationError
from attendance.fleet import Device, hash_token, is_among
from attendance.registry import EXAMPLES, REFRESH_SECONDS, Registry
from producers.devices import PUSH_ADAPTERS, check_entry
from producers.devices.contract import Sender

log = structlog.get_logger(__name__)


class Fleet:
    """The enabled push devices, by adapter and by their tokens or serial numbers. Several may share a token."""

    def __init__(self, registry: Registry) -> None:
        """Take the fleet as it is.

        Raises:
            ConfigurationError: the options of an entry are wrong; the message names the device and the option.
        """
        self._registry = registry
        self._by_token: dict[tuple[str, str], dict[str, Device]] = {}
        self._by_serial: dict[tuple[str, str], dict[str, Device]] = {}
        self._tokens: frozenset[str] = frozenset()
        self._bound: frozenset[str] = frozenset()
        self._unbound: set[str] = set()
        self._checked: dict[str, Device] = {}
        self._index(at_start=True)

    def of(self, adapter: str, sender: Sender) -> Mapping[str, Device]:
        """The devices that a sender may speak for.

        Args:
            adapter: Only devices of this adapter count.
            sender: What the request says of its sender. An empty token or serial number stands for no device.

        Returns:
            The devices' entries, by id; empty where the sender is unknown.
        """
        if sender.token:
            # How long it takes to find a hash, or none, tells nothing of the token.
            found = self._by_token.get((adapter, hash_token(sender.token)), {})
            if sender.serial is None:
                return found
            return {device_id: device for device_id, device in found.items() if device.serial == sender.serial}
        return self._by_serial.get((adapter, sender.serial), {}) if sender.serial else {}

    def at(self, client: str | None, devices: Mapping[str, Device]) -> Mapping[str, Device]:
        """Those of the devices that may push from an address.

        Args:
            client: The address; None where it is not known.
            devices: As `of` has just returned them.
        """
        # Thousands may share a token.
        if devices.keys().isdisjoint(self._bound):
            return devices
        return {
            device_id: device
            for device_id, device in devices.items()
            if not device.addresses or is_among(client, device.addresses)
        }

    def is_token(self, word: str) -> bool:
        """Whether a word is the token of an entry, one that may not push included."""
        return hash_token(word) in self._tokens

    async def refresh(self) -> None:
        """Take up a changed fleet. While the options of an entry are wrong, the last good entry of the device stays."""
        if await self._registry.refreshed():
            self._index()

    async def follow(self) -> NoReturn:
        """Take up changes of the fleet for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refresh()

    def _index(self, *, at_start: bool = False) -> None:
        by_token: dict[tuple[str, str], dict[str, Device]] = defaultdict(dict)
        by_serial: dict[tuple[str, str], dict[str, Device]] = defaultdict(dict)
        self._checked = {device.device_id: device for device in self._right_entries(at_start=at_start)}
        for device in self._checked.values():
            if device.token_sha256 is not None:
                by_token[device.adapter, device.token_sha256][device.device_id] = device
            elif device.serial is not None:
                # One with a token is not open to whoever knows its serial number.
                by_serial[device.adapter, device.serial][device.device_id] = device
        self._by_token, self._by_serial = dict(by_token), dict(by_serial)
        self._bound = frozenset(device.device_id for device in self._checked.values() if device.addresses)
        self._say_unbound()
        self._tokens = frozenset(device.token_sha256 for device in self._registry if device.token_sha256)

    def _right_entries(self, *, at_start: bool) -> Iterator[Device]:
        """The entries whose options are right, and the last good ones of those whose are not."""
        for device in self._registry:
            if device.mode != "push" or device.disabled:
                continue
            if device.adapter not in PUSH_ADAPTERS:
                log.error(
                    "A device cannot push: there is no such push adapter.",
                    device_id=device.device_id,
                    adapter=device.adapter,
                )
                continue
            before = self._checked.get(device.device_id)
            try:
                if device != before:
                    check_entry("push", device)
            except ConfigurationError as error:
                if at_start:
                    raise
                log.error("An entry of the fleet is wrong; its last good one stays, if it had one.", error=str(error))
                if before is not None:
                    yield before
            else:
                yield device

    def _say_unbound(self) -> None:
        """Log the devices for which whoever knows their serial number may speak, once each."""
        devices = (device for found in self._by_serial.values() for device in found.values())
        unbound = {device.device_id for device in devices if not device.addresses}
        if new := unbound - self._unbound:
            log.warning(
                "Devices are known by their serial number alone: whoever knows it can send punches in their name. Give"
                " their entries addresses, or a token for the path.",
                devices=len(unbound),
                examples=sorted(new)[:EXAMPLES],
            )
        self._unbound |= unbound
