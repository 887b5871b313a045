"""The way in by file: rows that a device or another vendor's software exported, once or from a watched folder.

A file that is imported again is harmless, whole or in part: an event's id follows from what it says.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from attendance.errors import ConfigurationError, RetriableError, UnreadableFile
from attendance.fleet import Device
from attendance.plausibility import TimeFault, find_time_fault
from attendance.records.raw_event import RawEvent
from attendance.registry import Registry
from attendance.times import now
from producers.devices import FILE_ADAPTERS, create_file_adapter
from producers.devices.common.options import read_options
from producers.devices.common.tables.profiles import TABLES
from producers.devices.contract import DeviceReport, FileAdapter, Ignored, Other, Reading, Rejected, Row
from producers.intake import Intake, Place, Records
from producers.publisher import Publisher

log = structlog.get_logger(__name__)

STAGE: Final = "import"
BATCH: Final = 1_000  # rows that wait for one acknowledgement
PREVIEW: Final = 10  # punches and rejected rows that are shown
TRIES: Final = 5
PAUSE: Final = 2.0  # seconds, between two tries while Kafka does not acknowledge

_BY_SUFFIX: Final[Mapping[str, str]] = {
    ".csv": "csv",
    ".txt": "csv",
    ".dat": "attlog",
    # The adapter says why it reads no other kind of workbook.
    **dict.fromkeys((".xlsx", ".xlsm", ".xls"), "xlsx"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """A file that belongs to a device. `terminals` are the entries of its own serial numbers."""

    path: Path
    device: Device
    terminals: Mapping[str, Device]
    adapter: FileAdapter

    def rows(self) -> Iterator[Row]:
        """Its rows. See `FileAdapter.rows`."""
        return self.adapter.rows(self.path, self.device, self.terminals)

    def readings(self) -> Sequence[Reading]:
        """Which column is taken for what. See `FileAdapter.readings`."""
        return self.adapter.readings(self.path, self.device)

    def place_of(self, rejected: Rejected) -> Place:
        """Where a rejected row stood."""
        line = rejected.index + 1
        # A name is bytes, which need not be text.
        return Place(f"line {line}", f"file:{os.fsencode(self.path.name).decode(errors='replace')}:{line}")

    def devices(self) -> Mapping[str, Device]:
        """The entries that its events may name, by id."""
        return {each.device_id: each for each in (*self.terminals.values(), self.device)}


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of a file, as a batch."""

    events: Sequence[RawEvent]
    rejected: Sequence[Rejected]
    others: Sequence[Other] = ()
    report: DeviceReport | None = None


@dataclass(slots=True)
class Tally:
    """What a file's rows came to. Of the events, the stream will dead-letter those whose time cannot be true.

    `future_tolerance` is the stream's, in seconds. `users` are site, device and device user of each who punched.
    """

    future_tolerance: float
    rows: int = 0
    events: int = 0
    rejected: int = 0
    ignored: int = 0
    implausible: Counter[TimeFault] = field(default_factory=Counter)
    first: list[tuple[int, RawEvent | Rejected]] = field(default_factory=list)
    users: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def failed(self) -> int:
        """How many of its rows are dead letters, or will be."""
        return self.rejected + self.implausible.total()

    def add(self, row: Row, devices: Mapping[str, Device]) -> TimeFault | None:
        """Count a row.

        Args:
            row: The row.
            devices: The entries that its event may name, by id.

        Returns:
            What is wrong with the time of its event, if anything is.
        """
        self.rows += not row.is_further
        if isinstance(row.outcome, Ignored):
            self.ignored += 1
            return None
        if len(self.first) < PREVIEW:
            self.first.append((row.line, row.outcome))
        if isinstance(row.outcome, Rejected):
            self.rejected += 1
            return None
        self.events += 1
        self.users.add((row.outcome.site, row.outcome.device_id, row.outcome.device_user_id))
        implausible = find_time_fault(row.outcome, devices.get(row.outcome.device_id), self.future_tolerance)
        if implausible is None:
            return None
        self.implausible[implausible.fault] += 1
        return implausible.fault


def prepare(
    path: Path,
    device_id: str,
    registry: Registry,
    payload_fields: Collection[str],
    *,
    profile: str | None = None,
    date_format: str | None = None,
    options: Mapping[str, object] | None = None,
) -> Import:
    """Find out how a file is read: by the entry of a device whose files are read, by the profile, or by its name.

    Args:
        path: The file.
        device_id: Whose punches it holds.
        registry: The fleet.
        payload_fields: The vendor's fields that are kept beside the adapter's own.
        profile: An adapter, or the name of a table that is known. None for what the entry or the file's name says.
        date_format: Counts before the entry's own. See `TableOptions`.
        options: Further options of the adapter. They count before the entry's own.

    Raises:
        ConfigurationError: no such device, it is disabled, its options are wrong, or nothing says how the file is read.
    """
    device = find_device(registry, device_id)
    by_name = _BY_SUFFIX.get(path.suffix.lower())
    is_table = profile in TABLES
    if is_table:
        name = by_name if by_name == "xlsx" else "csv"
    elif profile is not None:
        name = profile
    elif device.mode == "file":
        name = device.adapter
    elif by_name is not None:
        name = by_name
    else:
        known = ", ".join((*FILE_ADAPTERS, *TABLES))
        raise ConfigurationError(f"{path.name}: --profile must say how it is read: {known}")
    # Those of an entry that is pushed or pulled are another adapter's.
    chosen = (dict(device.options) if device.mode == "file" else {}) | dict(options or {})
    if is_table:
        chosen["profile"] = profile
    if date_format is not None:
        chosen["date_format"] = date_format
    terminals = {each.serial: each for each in registry if each.via == device_id and each.serial}
    if device.serial is not None:
        terminals[device.serial] = device
    device = device.model_copy(update={"options": chosen})
    adapter = create_file_adapter(name, payload_fields)
    read_options(device, adapter.options)
    return Import(path, device, terminals, adapter)


def find_device(registry: Registry, device_id: str) -> Device:
    """The device that files are imported for.

    Args:
        registry: The fleet.
        device_id: As the option `--device` names it.

    Raises:
        ConfigurationError: there is none, or it is disabled.
    """
    device = registry.get(device_id)
    if device is None:
        raise ConfigurationError(f"--device: {device_id} is not in the fleet file")
    if device.disabled:
        raise ConfigurationError(f"--device: {device_id} is disabled")
    return device


async def read(wanted: Import, tally: Tally) -> None:
    """Count what a file holds, and send nothing.

    Args:
        wanted: The file.
        tally: Where its rows are counted.

    Raises:
        UnreadableFile: see `FileAdapter.rows`, or the file changed while it was read.
    """
    devices = wanted.devices()
    async for batch in _batches(wanted):
        for row in batch:
            tally.add(row, devices)


def _ignore(*, rows: int) -> None:
    """Show nothing."""


async def store(wanted: Import, publisher: Publisher, tally: Tally, progress: Callable[..., object] = _ignore) -> None:
    """Return when Kafka has every row of a file, as an event or as a dead letter.

    Args:
        wanted: The file.
        publisher: Where they go.
        tally: Counts what Kafka has acknowledged.
        progress: Called after each part, with the number of `rows` so far.

    Raises:
        UnreadableFile: see `FileAdapter.rows`, or the file changed while it was read. What was read before that has
            been stored.
        KafkaUnavailable: several tries in a row were not acknowledged.
    """
    intake, devices = Intake(STAGE), wanted.devices()
    async for batch in _batches(wanted):
        outcomes = [row.outcome for row in batch]
        part = _Part(
            [each for each in outcomes if isinstance(each, RawEvent)],
            [each for each in outcomes if isinstance(each, Rejected)],
        )
        await _publish(publisher, intake.to_records(part, wanted.device, wanted.adapter, now(), wanted.place_of))
        for row in batch:
            tally.add(row, devices)
        progress(rows=tally.rows)


async def _batches(wanted: Import) -> AsyncIterator[Sequence[Row]]:
    before, rows = _stamp(wanted.path), wanted.rows()
    while True:
        # In a thread: a large workbook takes many seconds, in which Kafka's connection has to live.
        batch, error = await asyncio.to_thread(_take, rows)
        if _stamp(wanted.path) != before:
            # One of these rows may be the beginning of what another program still writes, and be another person's.
            raise UnreadableFile(f"{wanted.path.name}: changed while it was read; import it again once it is complete")
        if batch:
            yield batch
        if error is not None:
            raise error
        if len(batch) < BATCH:
            return


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _take(rows: Iterator[Row]) -> tuple[list[Row], UnreadableFile | None]:
    """The next rows, and what keeps the file from being read further."""
    batch: list[Row] = []
    try:
        for row in islice(rows, BATCH):
            batch.append(row)  # noqa: PERF402 - the rows before an error are kept
    except UnreadableFile as error:
        return batch, error
    return batch, None


async def _publish(publisher: Publisher, records: Records) -> None:
    for tries_left in reversed(range(TRIES)):
        try:
            await publisher.publish(*records)
        except RetriableError as error:
            if not tries_left:
                raise
            log.debug("Waiting for Kafka.", error=str(error))
            await asyncio.sleep(PAUSE)
        else:
            return
