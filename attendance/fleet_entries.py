"""Entries of the fleet, wherever they were read, and the fleet that they make together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from attendance.fleet import Device, Shift, Site
from attendance.records.fleet import DevicePause, Kind
from attendance.working_hours import WorkingHours, parse_spans

MODELS: Final[Mapping[Kind, type[BaseModel]]] = {"site": Site, "device": Device, "shift": Shift}
NAMED_BY: Final[Mapping[Kind, str]] = {"site": "site", "device": "device_id", "shift": "shift_type"}
"""The field that names an entry of a kind."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class GivenEntry:
    """One entry of the fleet as somebody gave it, right or wrong.

    Attributes:
        kind: What it is of.
        fields: What it says: names with values, unless somebody wrote something else.
        where: The file and the line, or the source, for an error.
        position: Such as `device 2`, by which it is named where it has no name.
    """

    kind: Kind
    fields: object
    where: str
    position: str

    @property
    def name(self) -> str | None:
        """The site, device_id or Shift Type; None where it says none."""
        found = self.fields.get(NAMED_BY[self.kind]) if isinstance(self.fields, Mapping) else None
        return found if isinstance(found, str) and found else None

    def problem(self, text: str) -> str:
        """A sentence that says where the entry is, which it is, and what is wrong with it."""
        return f"{self.where}: {self.name or self.position}: {text}"


@dataclass(frozen=True, slots=True)
class Compiled:
    """The fleet that entries make.

    Attributes:
        sites: By name.
        devices: By device_id, each with the defaults of its site.
        shifts: The devices of each shift, without those that are disabled.
        shift_entries: What those shifts say.
        hours: The working hours of the devices that have some, by device_id: those of its site, or else those of its
            shifts together, if each of them says some.
        problems: What is wrong, in the order of the entries. What is wrong is left out.
        wrong: The entries that are left out, each with the first thing that is wrong with it.
    """

    sites: Mapping[str, Site]
    devices: Mapping[str, Device]
    shifts: Mapping[str, tuple[Device, ...]]
    shift_entries: Mapping[str, Shift]
    hours: Mapping[str, WorkingHours]
    problems: Sequence[str]
    wrong: Sequence[tuple[GivenEntry, str]]

    @property
    def direct(self) -> dict[str, Shift]:
        """The shifts whose days become Attendance directly."""
        return {name: shift for name, shift in self.shift_entries.items() if shift.attendance == "direct"}


def compiled(
    entries: Iterable[GivenEntry],
    pauses: Mapping[str, DevicePause] = MappingProxyType({}),
    *,
    known_fields_only: bool = False,
) -> Compiled:
    """The fleet of these entries.

    Where two cannot both be right, such as two devices with one serial number, the earlier one is.

    Args:
        entries: In the order in which they count.
        pauses: The devices that are paused, by device_id.
        known_fields_only: Whether a field that this release does not know is left out, and not wrong.
    """
    return _Compiler(entries, pauses, known_fields_only=known_fields_only).compile()


class _Compiler:
    def __init__(
        self, entries: Iterable[GivenEntry], pauses: Mapping[str, DevicePause], *, known_fields_only: bool
    ) -> None:
        self._entries = list(entries)
        self._pauses = pauses
        self._known_fields_only = known_fields_only
        self._problems: list[str] = []
        self._wrong: list[tuple[GivenEntry, str]] = []

    def compile(self) -> Compiled:
        sites = {site.site: site for _, site in self._valid("site", Site)}
        devices = self._devices(sites)
        shifts, shift_entries = self._shifts(devices)
        hours = _working_hours(sites, devices, shifts, shift_entries)
        return Compiled(sites, devices, shifts, shift_entries, hours, tuple(self._problems), tuple(self._wrong))

    def _valid(
        self, kind: Kind, model: type[_Model], sites: Mapping[str, Site] | None = None
    ) -> Iterator[tuple[GivenEntry, _Model]]:
        """The entries of a kind that are right by themselves, each name once."""
        seen: dict[str, GivenEntry] = {}
        for entry in self._entries:
            if entry.kind != kind:
                continue
            try:
                found = model.model_validate(self._fields(entry, model, sites))
            except ValidationError as error:
                self._refuse(entry, *said(error))
                continue
            name = entry.name
            assert name is not None
            if name in seen:
                self._refuse(entry, f"{name} is there twice; first: {seen[name].where}")
                continue
            seen[name] = entry
            yield entry, found

    def _refuse(self, entry: GivenEntry, *problems: str) -> None:
        self._problems += [entry.problem(each) for each in problems]
        self._wrong.append((entry, problems[0]))

    def _fields(self, entry: GivenEntry, model: type[BaseModel], sites: Mapping[str, Site] | None) -> object:
        fields = entry.fields
        if not isinstance(fields, Mapping):
            return fields
        known: dict[str, Any] = dict(fields)
        if self._known_fields_only:
            known = {name: value for name, value in known.items() if name in model.model_fields}
        site = sites.get(str(known.get("site"))) if sites else None
        return {**site.defaults(known), **known} if site else known

    def _devices(self, sites: Mapping[str, Site]) -> dict[str, Device]:
        devices: dict[str, Device] = {}
        of: dict[str, GivenEntry] = {}
        for entry, device in self._valid("device", Device, sites):
            if device.mode == "push" and device.via is None and device.token_sha256 is None and device.serial is None:
                self._refuse(
                    entry,
                    "it pushes, so it needs token_sha256 (`punchstream devices token` makes one), or its serial where"
                    " the protocol has no token",
                )
                continue
            devices[device.device_id], of[device.device_id] = device, entry
        holders: dict[tuple[str, str], str] = {}
        for device in list(devices.values()):
            if problem := _clash(device, devices, holders):
                self._refuse(of[device.device_id], problem)
                del devices[device.device_id]
        for device in devices.values() if self._pauses else ():
            # A server hands over the records of all of its terminals, so they are paused together.
            if pause := self._pauses.get(device.via or device.device_id):
                devices[device.device_id] = device.model_copy(update={"paused": pause})
        return devices

    def _shifts(self, devices: Mapping[str, Device]) -> tuple[dict[str, tuple[Device, ...]], dict[str, Shift]]:
        sites = {device.site for device in devices.values()}
        shifts: dict[str, tuple[Device, ...]] = {}
        entries: dict[str, Shift] = {}
        for entry, shift in self._valid("shift", Shift):
            # A name that is wrong would be a device that nobody waits for.
            unknown = [*(set(shift.devices) - devices.keys()), *(set(shift.sites) - sites)]
            if unknown:
                self._refuse(entry, f"no such device or site: {', '.join(sorted(unknown))}")
                continue
            members = tuple(
                device
                for device in devices.values()
                if not device.disabled and (device.device_id in shift.devices or device.site in shift.sites)
            )
            if not members:
                self._refuse(entry, f"{shift.shift_type} has no device that is not disabled")
                continue
            shifts[shift.shift_type], entries[shift.shift_type] = members, shift
        return shifts, entries


def _working_hours(
    sites: Mapping[str, Site],
    devices: Mapping[str, Device],
    shifts: Mapping[str, Sequence[Device]],
    shift_entries: Mapping[str, Shift],
) -> dict[str, WorkingHours]:
    of_shifts: dict[str, list[str | None]] = {}
    for name, members in shifts.items():
        for device in members:
            of_shifts.setdefault(device.device_id, []).append(shift_entries[name].working_hours)
    found: dict[str, WorkingHours] = {}
    for device in devices.values():
        site = sites.get(device.site)
        texts = [site.working_hours] if site and site.working_hours else of_shifts.get(device.device_id, [])
        # A shift that says nothing may punch at any hour.
        spans = {span for text in texts if text for span in parse_spans(text)} if all(texts) else set()
        if spans:
            found[device.device_id] = WorkingHours((site and site.timezone) or device.timezone, tuple(sorted(spans)))
    return found


def _clash(device: Device, devices: Mapping[str, Device], holders: dict[tuple[str, str], str]) -> str | None:
    """What is wrong with a device beside the others; None if nothing is."""
    if device.via is not None and device.via not in devices:
        return f"via: no such device: {device.via}"
    if device.serial is None:
        return None
    # A server's own numbers may repeat those of terminals that speak for themselves.
    holder = holders.setdefault((device.via or device.adapter, device.serial), device.device_id)
    return None if holder == device.device_id else f"serial {device.serial} is {holder}'s already"


def said(error: ValidationError) -> Iterator[str]:
    """What is wrong with the fields of an entry, a sentence for each.

    Args:
        error: What pydantic has to say.
    """
    for each in error.errors():
        field = ".".join(str(part) for part in each["loc"])  # none where fields do not go together
        yield ": ".join(filter(None, (field, each["msg"].removeprefix("Value error, "))))
