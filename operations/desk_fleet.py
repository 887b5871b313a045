"""The devices and shifts of ERPNext's desk, which are the entries of the fleet that have the source `erpnext`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, NoReturn

import orjson
import structlog

from attendance.erpnext import Document, ErpnextClient
from attendance.errors import AccessDenied, ConfigurationError, DocumentRejected, RetriableError, TargetUnavailable
from attendance.fleet_entries import GivenEntry, compiled
from attendance.fleet_topic import ERPNEXT, FleetTopicEntries, Written
from attendance.guards import Guards
from attendance.settings import DirectorySettings, ErpnextSettings
from operations.desk_shifts import DeskShifts
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


class _Desk(NamedTuple):
    """What the desk has; None for its shifts where it does not say."""

    devices: DeskDevices
    shifts: Sequence[GivenEntry] | None


@dataclass(frozen=True, slots=True)
class DeskPlan:
    """What the desk's devices and shifts come to.

    Attributes:
        wanted: The entries of the source.
        changes: What would be different.
        refused: The devices that cannot be as the desk says, each with why. They stay as they are.
        refused_shifts: The same of shifts. One that cannot stay as it is either goes: it would be called complete
            without a device that it needs.
    """

    wanted: Wanted
    changes: list[Change]
    refused: Mapping[str, str]
    refused_shifts: Mapping[str, str]


def plan_desk(
    given: Sequence[GivenEntry], before: FleetTopicEntries, shifts: Sequence[GivenEntry] | None = None
) -> DeskPlan:
    """What the desk's devices and shifts come to. One that is wrong holds up no other.

    Args:
        given: All devices of the desk.
        before: What the topic says.
        shifts: All shifts of the desk; None where nobody knows them, so that those of the topic stay.

    Raises:
        ConfigurationError: the fleet would be wrong in a way that is not of one device, as where a shift names one that
            is to go.
    """
    owned = before.owned()
    mine = {about: each for about, each in of_source(before, ERPNEXT).items() if about[0] == "device"}
    names = {each.name for each in given}
    good, refused = _of_nobody_else(given, owned)
    fleet = compiled([*(each.as_entry() for each in owned.values() if each.entry.source != ERPNEXT), *good])
    refused |= {each.name or each.position: why for each, why in fleet.wrong if each in good}
    refused |= options_problems(each for name, each in fleet.devices.items() if name in names)
    entries: dict[About, Fields | None] = {
        about: each.entry.fields if about[1] in names else None for about, each in mine.items()
    }
    entries |= dict(fields_of(each) for each in good if each.name not in refused)
    refused_shifts: dict[str, str] = {}
    if shifts is not None:
        entries |= _plan_shifts(shifts, entries, before, refused_shifts)
    wanted = Wanted(ERPNEXT, BY, entries)
    return DeskPlan(wanted, plan(wanted, before), refused, refused_shifts)


def _of_nobody_else(
    given: Sequence[GivenEntry], owned: Mapping[About, Written]
) -> tuple[list[GivenEntry], dict[str, str]]:
    """Those of the desk's entries that no other source has, and why each of the others is refused."""
    good: list[GivenEntry] = []
    refused: dict[str, str] = {}
    for each in given:
        owner = owned.get((each.kind, each.name or ""))
        if owner is None or owner.entry.source == ERPNEXT:
            good.append(each)
        else:
            refused[each.name or each.position] = f"it belongs to {whose(owner.entry.source)}"
    return good, refused


def _plan_shifts(
    given: Sequence[GivenEntry],
    devices: Mapping[About, Fields | None],
    before: FleetTopicEntries,
    refused: dict[str, str],
) -> dict[About, Fields | None]:
    """The entries of the desk's shifts, beside its devices as they will be. What is refused is added to `refused`."""
    owned = before.owned()
    own = {about: each for about, each in of_source(before, ERPNEXT).items() if about[0] == "shift"}
    beside = [each.as_entry() for each in owned.values() if each.entry.source != ERPNEXT]
    beside += [
        GivenEntry("device", {"device_id": name, **fields}, "ERPNext", f"device {name}")
        for (_, name), fields in devices.items()
        if fields is not None
    ]
    good, taken = _of_nobody_else(given, owned)
    refused |= taken
    wrong = {each.name or each.position: why for each, why in compiled([*beside, *good]).wrong if each in good}
    refused |= wrong
    as_it_was = [each.as_entry() for about, each in own.items() if about[1] in refused]
    stays = compiled([*beside, *as_it_was]).shift_entries
    entries: dict[About, Fields | None] = {
        about: each.entry.fields if about[1] in refused and about[1] in stays else None for about, each in own.items()
    }
    for _, name in entries.keys() - {("shift", each) for each in stays}:
        if name in wrong:
            refused[name] += "; it is out of the fleet until then"
    return entries | dict(fields_of(each) for each in good if each.name not in wrong)


class DeskFleet:
    """Keeps the entries of the source `erpnext` equal to the devices and shifts of the desk.

    Where the app is not installed the fleet stays as it is, and its topic is not read.
    """

    def __init__(
        self,
        devices: DeskList[DeskDevice],
        shifts: DeskShifts,
        topics: Log,
        settings: DirectorySettings,
        *,
        force: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet.

        Args:
            devices: Those of the desk.
            shifts: Those of the desk.
            topics: The fleet's among them.
            settings: How often to look, and to read everything.
            force: Whether more than half of the devices may go, once.
            clock: Seconds, from any beginning.
        """
        self._devices = devices
        self._shifts = shifts
        self._topics = topics
        self._settings = settings
        self._force = force
        self._clock = clock
        self._read_at: float | None = None
        self._written: _Desk | None = None
        self._refused: Mapping[tuple[str, str], str] = {}

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

    async def _look(self) -> _Desk | None:
        """What the desk has, if it is something else than what was written, or others may have written since."""
        now = self._clock()
        if whole := self._read_at is None or now - self._read_at >= self._settings.full_interval:
            found = await self._devices.read()
            self._read_at = now
        else:
            found = await self._devices.look()
        if found is None or not self._devices.is_installed:
            return None
        desk = _Desk(found, await self._shifts.look())
        return desk if whole or desk != self._written else None

    async def _write(self, found: _Desk) -> None:
        before = await read_fleet(self._topics)
        planned = plan_desk([each.entry for each in found.devices.values()], before, found.shifts)
        refused = {("device", name): why for name, why in planned.refused.items()}
        refused |= {("shift", name): why for name, why in planned.refused_shifts.items()}
        for (kind, name), why in refused.items():
            if self._refused.get((kind, name)) == why:
                continue
            if kind == "device":
                log.warning("A device of ERPNext is not in the fleet as it stands there.", device_id=name, error=why)
            else:
                log.warning("A shift of ERPNext is not in the fleet as it stands there.", shift_type=name, error=why)
        self._refused = refused
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
    """Keep the entries of the source `erpnext` equal to the devices and shifts of the desk, while no guard stands.

    Args:
        erpnext: The site, and the API user who may read them.
        topics: The fleet's among them.
        settings: How often to look, and to read everything.
        guards: Say when nothing may be written.
        force: Whether more than half of the devices may go, once.
    """
    client = ErpnextClient(erpnext)
    try:
        reader = DocumentReader(client, DEVICE, FIELDS, read_device)
        devices, shifts = DeskList(client, DEVICE, reader), DeskShifts(client)
        await DeskFleet(devices, shifts, topics, settings, force=force).keep(guards)
    finally:
        client.close()
