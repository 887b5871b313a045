"""What the fleet topic says: of each site, device and shift what its owner wrote. Loads no Kafka library.

A source is who writes entries: a file, an approval, a command. An entry belongs to the source that wrote it first, by
the order of the topic's one partition, and only that source changes it. Each source has a key of its own for an entry,
so compaction never takes away what the owner wrote. The owner's later records say at which offset the entry came
(`claimed`), so the order is the same for whoever reads only what compaction left.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

import structlog

from attendance.errors import InvalidRecord
from attendance.fleet_entries import NAMED_BY, GivenEntry
from attendance.kafka.records import Record
from attendance.records.fleet import DevicePause, FleetEntry, FleetKey, Kind, PauseKey, decode_key

log = structlog.get_logger(__name__)

FILE: Final = "file"
"""The source that a fleet file is, where nobody names it otherwise. A process that has a file goes by that file."""
COMMAND: Final = "command"
"""The source of what `punchstream fleet add`, `set`, `disable` and `remove` write."""
APPROVAL: Final = "approval"
"""The source of what `punchstream devices approve` writes."""
CONSOLE: Final = "console"
ERPNEXT: Final = "erpnext"
WRITERS: Final[Mapping[str, str]] = {
    FILE: "fleet files",
    COMMAND: "punchstream fleet",
    APPROVAL: "punchstream devices approve",
    CONSOLE: "the console",
    ERPNEXT: "ERPNext",
}
"""Who writes as the sources that have fixed names. Any other source is a name that people gave to files of theirs."""
PROGRAMS: Final = frozenset((CONSOLE, ERPNEXT))
"""Sources as which only a program writes: it would write over what a person wrote as one of them."""


class Written(NamedTuple):
    """An entry as its source wrote it last, and the offset of that record."""

    entry: FleetEntry
    offset: int

    @property
    def claimed(self) -> int:
        """The offset of the record by which the entry came."""
        return self.offset if self.entry.claimed is None else self.entry.claimed

    @property
    def order(self) -> tuple[int, int, str]:
        """The least of several sources' is the owner's. Of those that share a claim, it was handed to the last."""
        return self.claimed, -self.entry.handed_over, self.entry.source

    def as_entry(self) -> GivenEntry:
        """The entry as a file would have it."""
        kind, name = self.entry.kind, self.entry.name
        fields = {NAMED_BY[kind]: name, **self.entry.fields}
        return GivenEntry(kind, fields, f"source {self.entry.source}", f"{kind} {name}")


class FleetTopicEntries:
    """The entries of the fleet topic, of every source; and the pauses of devices.

    Attributes:
        caught_up: Set once all is known that was there when the reading began.
        version: Another number after each record.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._written: dict[FleetKey, Written] = {}
        self._pauses: dict[str, DevicePause] = {}
        self.caught_up = asyncio.Event()
        self.version = 0

    def learn(self, record: Record) -> None:
        """Take in a record. One that cannot be read is logged, and changes nothing."""
        try:
            self.take(record)
        except InvalidRecord as error:
            log.error("A record of the fleet topic cannot be read; it is left out.", error=str(error))

    def take(self, record: Record) -> None:
        """Take in a record.

        Raises:
            InvalidRecord: it cannot be read, and changes nothing.
        """
        match decode_key(record.key), record.value:
            case FleetKey() as key, None:
                self._written.pop(key, None)
            case FleetKey() as key, value:
                self._written[key] = Written(FleetEntry.decode(record.key, value), record.offset)
            case PauseKey(device_id), None:
                self._pauses.pop(device_id, None)
            case PauseKey(device_id), value:
                self._pauses[device_id] = DevicePause.decode(record.key, value)
        self.version += 1

    def all(self) -> list[Written]:
        """What every source says, whether it counts or not. Safe from any thread."""
        return list(self._written.copy().values())

    def pauses(self) -> dict[str, DevicePause]:
        """The devices that are paused, in the fleet or not. Safe from any thread."""
        return self._pauses.copy()

    def owned(self) -> dict[tuple[Kind, str], Written]:
        """What counts of each kind and name, in the order in which the entries came. Safe from any thread."""
        found: dict[tuple[Kind, str], Written] = {}
        for each in sorted(self.all(), key=lambda written: written.order):
            found.setdefault((each.entry.kind, each.entry.name), each)
        return found
