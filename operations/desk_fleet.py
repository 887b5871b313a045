"""The devices of ERPNext's desk, which are the entries of the fleet that have the source `erpnext`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

import orjson
import structlog

from attendance.erpnext import Document, ErpnextClient
from attendance.errors import AccessDenied, ConfigurationError, DocumentRejected, RetriableError, TargetUnavailable
from attendance.fleet_entries import GivenEntry, compiled
from attendance.fleet_topic import ERPNEXT, FleetTopicEntries
from attendance.guards import Guards
from attendance.settings import DirectorySettings, ErpnextSettings
from operations.fleet import read_fleet, write_planned
from operations.fleet_plan import (
    About,
    Change,
    Fields,
    Wanted,
    fields_of,
    of_source,
    options_problems,
    plan,
    removes_most,
    whose,
)
from operations.log import Log
from producers.directory.desk import DeskList
from producers.directory.documents import DocumentReader
from producers.directory.sync import SLOWLY

log = structlog.get_logger(__name__)

DEVICE: Final = "Biometric Device"
FIELDS: Final = (
    *("name", "device_name", "site", "timezone", "disabled", "mode", "adapter", "serial", "host", "port"),
    *("direction", "token_sha256", "latitude", "longitude", "more_settings", "modified"),
)
BY: Final = "ERPNext"

# As they are, where they are given.
_AS_THEY_ARE: Final = ("site", "timezone", "adapter", "serial", "host", "port", "token_sha256")


@dataclass(frozen=True, slots=True)
class DeskDevice:
    """A device of the desk as an entry of the fleet, right or wrong. `modified` is naive, in the site's own zone."""

    name: str
    entry: GivenEntry
    modified: datetime


DeskDevices = Mapping[str, DeskDevice]


def read_device(document: Document) -> DeskDevice:
    """The entry of a listed document.

    Raises:
        TargetUnavailable: the document cannot be read, so the answer it came with is not to be trusted.
    """
    try:
        name = document["name"]
        # Frappe has 0 and an empty text for what nobody filled in.
        fields: dict[str, Any] = {each: document[each] for each in _AS_THEY_ARE if document[each]}
        fields |= {"device_id": name, "name": document["device_name"] or "", "mode": document["mode"].lower()}
        fields["disabled"] = bool(document["disabled"])
        if document["direction"]:
            fields["direction"] = document["direction"].lower().replace(" ", "_")
        if document["latitude"] or document["longitude"]:
            fields |= {"latitude": float(document["latitude"]), "longitude": float(document["longitude"])}
        if document["more_settings"]:
            fields |= orjson.loads(document["more_settings"])
        entry = GivenEntry("device", fields, "ERPNext", f"device {name}")
        return DeskDevice(name, entry, datetime.fromisoformat(document["modified"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable(f"a Biometric Device that cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class DeskPlan:
    """What the desk's devices come to.

    Attributes:
        wanted: The entries of the source.
        changes: What would be different.
        refused: The devices that cannot be as the desk says, each with why. They stay as they are.
    """

    wanted: Wanted
    changes: list[Change]
    refused: Mapping[str, str]


def plan_desk(given: Sequence[GivenEntry], before: FleetTopicEntries) -> DeskPlan:
    """What the desk's devices come to. One that is wrong holds up no other.

    Args:
        given: All devices of the desk.
        before: What the topic says.

    Raises:
        ConfigurationError: the fleet would be wrong in a way that is not of one device, as where a shift names one that
            is to go.
    """
    owned = before.owned()
    mine = {about: each for about, each in of_source(before, ERPNEXT).items() if about[0] == "device"}
    names = {each.name for each in given}
    refused: dict[str, str] = {}
    good: list[GivenEntry] = []
    for each in given:
        owner = owned.get(("device", each.name or ""))
        if owner is None or owner.entry.source == ERPNEXT:
            good.append(each)
        else:
            refused[each.name or each.position] = f"it belongs to {whose(owner.entry.source)}"
    fleet = compiled([*(each.as_entry() for each in owned.values() if each.entry.source != ERPNEXT), *good])
    refused |= {each.name or each.position: why for each, why in fleet.wrong if each in good}
    refused |= options_problems(each for name, each in fleet.devices.items() if name in names)
    entries: dict[About, Fields | None] = {
        about: each.entry.fields if about[1] in names else None for about, each in mine.items()
    }
    entries |= dict(fields_of(each) for each in good if each.name not in refused)
    wanted = Wanted(ERPNEXT, BY, entries)
    return DeskPlan(wanted, plan(wanted, before), refused)


class DeskFleet:
    """Keeps the entries of the source `erpnext` equal to the devices of the desk.

    Where the app is not installed the fleet stays as it is, and its topic is not read.
    """

    def __init__(
        self,
        devices: DeskList[DeskDevice],
        topics: Log,
        settings: DirectorySettings,
        *,
        force: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet.

        Args:
            devices: Those of the desk.
            topics: The fleet's among them.
            settings: How often to look, and to read everything.
            force: Whether more than half of the devices may go, once.
            clock: Seconds, from any beginning.
        """
        self._devices = devices
        self._topics = topics
        self._settings = settings
        self._force = force
        self._clock = clock
        self._read_at: float | None = None
        self._written: DeskDevices | None = None
        self._refused: Mapping[str, str] = {}

    async def keep(self, guards: Guards) -> NoReturn:
        """Update the fleet for ever, while no guard stands."""
        await guards.repeat(self.run_once)

    async def run_once(self) -> float:
        """Update the fleet once. What fails is logged, and tried again the next time.

        Returns:
            The seconds until then.
        """
        try:
            if (found := await self._look()) is not None:
                # Until it is written, nobody knows what of it is.
                self._written = None
                await self._write(found)
        except RetriableError as error:
            log.warning("Could not update the fleet from ERPNext; trying again.", error=str(error))
        except (AccessDenied, ConfigurationError, DocumentRejected) as error:
            log.error("The fleet is not as ERPNext says; trying again.", error=str(error))
            return SLOWLY * self._settings.interval
        return self._settings.interval

    async def _look(self) -> DeskDevices | None:
        """The devices, if they are others than those that were written or others may have written since."""
        now = self._clock()
        if whole := self._read_at is None or now - self._read_at >= self._settings.full_interval:
            found = await self._devices.read()
            self._read_at = now
        else:
            found = await self._devices.look()
        if found is None or not self._devices.is_installed or (found == self._written and not whole):
            return None
        return found

    async def _write(self, found: DeskDevices) -> None:
        before = await read_fleet(self._topics)
        planned = plan_desk([each.entry for each in found.values()], before)
        for name, why in planned.refused.items():
            if self._refused.get(name) != why:
                log.warning("A device of ERPNext is not in the fleet as it stands there.", device_id=name, error=why)
        self._refused = planned.refused
        if removes_most(planned.changes, before, ERPNEXT) and not self._force:
            raise ConfigurationError(
                "ERPNext has less than half of its devices in the fleet; nothing is written. If that is right, start "
                "`punchstream directory --force` once"
            )
        await write_planned(self._topics, planned.wanted, before, planned.changes)
        if planned.changes:
            removed = sum(each.what == "removed" for each in planned.changes)
            log.info("Fleet updated from ERPNext.", changed=len(planned.changes) - removed, removed=removed)
        self._written, self._force = found, False


async def keep_desk_fleet(
    erpnext: ErpnextSettings, topics: Log, settings: DirectorySettings, guards: Guards, *, force: bool = False
) -> NoReturn:
    """Keep the entries of the source `erpnext` equal to the devices of the desk, while no guard stands.

    Args:
        erpnext: The site, and the API user who may read its devices.
        topics: The fleet's among them.
        settings: How often to look, and to read everything.
        guards: Say when nothing may be written.
        force: Whether more than half of the devices may go, once.
    """
    client = ErpnextClient(erpnext)
    try:
        reader = DocumentReader(client, DEVICE, FIELDS, read_device)
        await DeskFleet(DeskList(client, DEVICE, reader), topics, settings, force=force).keep(guards)
    finally:
        client.close()
