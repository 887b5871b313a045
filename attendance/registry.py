"""The registry: the fleet as a process has it, from a fleet file and from the fleet topic."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn, Self

import structlog

from attendance.errors import ConfigurationError
from attendance.fleet import Device, Shift
from attendance.fleet_entries import Compiled, GivenEntry, compiled
from attendance.fleet_file import parse, read_bytes, whole
from attendance.fleet_topic import FILE, FleetTopicEntries
from attendance.settings import CommonSettings
from attendance.settling import Settling, wait_for

log = structlog.get_logger(__name__)

REFRESH_SECONDS: Final = 1.0  # between two looks for a change
EXAMPLES: Final = 5  # devices, or faults, that a log line names


class Registry:
    """The fleet: what the file says, and what the fleet topic says beside it.

    A process that has a fleet file goes by that file, as the source `file` of the topic. Of the other entries the topic
    decides; what is on it by another source is not the file's.

    A change is taken up by `refresh`: of the topic at once, of the file once it is whole: it was the same at two looks,
    and for longer where devices are missing in it (`attendance.settling`). While the file is wrong or gone, the last
    good one counts.

    Attributes:
        topic: What the topic says. It is empty until somebody follows the topic for it.
        whole: Set once the fleet has all that the topic had when it was first read.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, *, may_be_missing: bool = False
    ) -> None:
        """Read the file.

        Args:
            path: The file.
            clock: Seconds, from any beginning.
            may_be_missing: Whether the topic may have the whole fleet.

        Raises:
            ConfigurationError: it cannot be read or entries are wrong; the message names the file, and lines and
                devices.
        """
        self._path = path
        self._settling = Settling(path, clock)
        self._file = self._found = _File(b"", (), compiled(())) if may_be_missing and not path.exists() else _read(path)
        self.has_file = bool(self._file.content) or path.exists()
        self._fleet = self._file.fleet
        self._waits = False
        self._version = 0
        self._takes_topic = False
        self.topic = FleetTopicEntries()
        self.whole = asyncio.Event()
        self._alone = asyncio.Lock()

    @classmethod
    def load(cls, settings: CommonSettings) -> Self:
        """The fleet as the settings have it. A file that nobody named may be missing, for the topic may have the fleet.

        Args:
            settings: Name the file.

        Raises:
            ConfigurationError: it is missing and was named, cannot be read, or entries are wrong.
        """
        return cls(settings.punchstream_devices, may_be_missing="punchstream_devices" not in settings.model_fields_set)

    def __iter__(self) -> Iterator[Device]:
        return iter(self._fleet.devices.values())

    def __len__(self) -> int:
        return len(self._fleet.devices)

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return self._path

    @property
    def fleet(self) -> Compiled:
        """All of it: sites, devices and shifts."""
        return self._fleet

    @property
    def file_entries(self) -> Sequence[GivenEntry]:
        """What the file says."""
        return self._file.entries

    def get(self, device_id: str) -> Device | None:
        """The device of that id, disabled or not."""
        return self._fleet.devices.get(device_id)

    @property
    def shifts(self) -> Mapping[str, Sequence[Device]]:
        """The devices of each Shift Type that the fleet lists, at least one, without the disabled ones."""
        return self._fleet.shifts

    @property
    def direct_shifts(self) -> Mapping[str, Shift]:
        """Those of the shifts whose days Punchstream turns into Attendance, by Shift Type."""
        return self._fleet.direct

    async def keep(self) -> NoReturn:
        """Take up changes once a second, for ever."""
        while True:
            await self.refreshed()
            await asyncio.sleep(REFRESH_SECONDS)

    async def refreshed(self) -> bool:
        """Take up a change, in a thread: thousands of entries take seconds to read. True when the fleet changed.

        Whatever goes wrong is logged and changes nothing.
        """
        try:
            async with self._alone:
                version = self._version
                is_changed = await asyncio.to_thread(self.refresh)
            if self._version != version:
                fleet = self._fleet
                log.info(
                    "The fleet topic was taken up.",
                    devices=len(fleet.devices),
                    sites=len(fleet.sites),
                    shifts=len(fleet.shifts),
                )
            return is_changed
        except Exception:
            log.exception("The fleet cannot be read; the last good fleet stays.")
            return False
        finally:
            if self._takes_topic:
                self.whole.set()

    async def caught_up(self) -> None:
        """Take up a file that has just been changed, for whoever does not look every second."""
        await self.refreshed()
        if self._settling.is_new:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refreshed()

    def refresh(self) -> bool:
        """Take up a change. True when the fleet changed; a bad file is logged and changes nothing."""
        changed = self._refresh_file()
        # A reading that is not whole goes through what once was.
        takes_topic, version = self.topic.caught_up.is_set(), self.topic.version
        changed |= takes_topic and (version, True) != (self._version, self._takes_topic)
        if not changed:
            return False
        before = self._fleet
        self._fleet = self._merged() if takes_topic else self._file.fleet
        self._version, self._takes_topic = version, takes_topic
        if self._fleet.problems and self._fleet.problems != before.problems:
            log.error(
                "Entries of the fleet are wrong; they are left out.",
                faults=len(self._fleet.problems),
                examples=list(self._fleet.problems[:EXAMPLES]),
            )
        return True

    def _merged(self) -> Compiled:
        """The fleet of the file and the topic."""
        owned, pauses = self.topic.owned(), self.topic.pauses()
        if not owned and not pauses:
            return self._file.fleet
        of_file = {(each.kind, each.name): each for each in self._file.entries}
        entries: list[GivenEntry] = []
        problems: list[str] = []
        for about, written in owned.items():
            own = of_file.pop(about, None)
            if written.entry.source == FILE and self.has_file:
                entries += [own] if own is not None else []
                continue
            entry = written.as_entry()
            entries.append(entry if own is None or own.kind != "shift" else _with_places_of(entry, own))
            if own is not None:
                problems.append(own.problem(f"it belongs to the source {written.entry.source}, which counts"))
        fleet = compiled([*entries, *of_file.values()], pauses, known_fields_only=True)
        return replace(fleet, problems=(*problems, *fleet.problems))

    def _refresh_file(self) -> bool:
        """Take up a changed file. True when it was."""
        if not self._settling.look():
            return False
        if self._settling.is_first_whole_look:
            self._waits = False
            try:
                self._found = _read(self._path)
            except ConfigurationError as error:
                self._settling.take()
                log.error("The fleet file is wrong; the last good fleet stays.", error=str(error))
                return False
        before, found = self._file, self._found
        lost = before.fleet.devices.keys() - found.fleet.devices.keys()
        seconds = wait_for(len(before.fleet.devices), len(lost), before.content, found.content)
        if not self._settling.has_lasted(seconds):
            if not self._waits:
                log.warning(
                    "The fleet file may be half-written: devices or its end are missing. It is taken up once it has"
                    " stayed as it is for a while.",
                    devices=len(found.fleet.devices),
                    missing=len(lost),
                    examples=sorted(lost)[:EXAMPLES],
                )
            self._waits = True
            return False
        self._settling.take()
        self._file, self._waits, self.has_file = found, False, True
        log.info("The fleet file was read again.", devices=len(found.fleet.devices))
        return True


def _with_places_of(entry: GivenEntry, other: GivenEntry) -> GivenEntry:
    """A shift that waits for the devices of two entries: without one's, its days would be complete too early."""
    fields = dict(entry.fields) if isinstance(entry.fields, Mapping) else {}
    others = other.fields if isinstance(other.fields, Mapping) else {}
    for name in ("sites", "devices"):
        ours, theirs = fields.get(name) or [], others.get(name) or []
        if isinstance(ours, list) and isinstance(theirs, list):
            fields[name] = [*dict.fromkeys([*ours, *theirs])]
    return replace(entry, fields=fields)


@dataclass(frozen=True, slots=True)
class _File:
    """What a fleet file has: its bytes, its entries, and the fleet that they make by themselves."""

    content: bytes
    entries: Sequence[GivenEntry]
    fleet: Compiled


def _read(path: Path) -> _File:
    content = read_bytes(path)
    entries = parse(path, content)
    return _File(content, entries, whole(entries))
