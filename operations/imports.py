"""Imports: the punches of files into Kafka, or a look at what they hold."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from attendance.errors import KafkaUnavailable, PunchstreamError, UnreadableFile
from attendance.kafka.fleet import FleetTopic
from attendance.metrics import Metrics
from attendance.plausibility import TimeFault
from attendance.registry import Registry
from attendance.settings import KafkaSettings, PushSettings, StreamSettings
from operations.publishing import check_clock, create_publisher
from producers.devices import FILE_ADAPTERS
from producers.devices.common.tables.profiles import TABLES
from producers.devices.contract import Reading
from producers.directory.user_map import read_user_map
from producers.files.folder import Folder
from producers.files.folder import watch as watch_folder
from producers.files.importer import Import, Tally, find_device, prepare, read, store

log = structlog.get_logger(__name__)

MAP_SECONDS: Final = 10.0  # for the user map to be read; a preview does without


PROFILES: Final = (*FILE_ADAPTERS, *TABLES)
"""What a file may be read as."""


@dataclass(frozen=True, slots=True)
class HowRead:
    """How a file is read, where neither the device's entry nor the file says it. Empty is nothing said."""

    profile: str = ""
    date_format: str = ""
    options: Mapping[str, object] = field(default_factory=dict)


def prepare_file(path: Path, device_id: str, registry: Registry, how: HowRead) -> Import:
    """Find out how a file is read. Takes and raises what `producers.files.importer.prepare` does.

    Args:
        path: The file.
        device_id: Whose punches it holds.
        registry: The fleet.
        how: What somebody says of it.
    """
    return prepare(
        path,
        device_id,
        registry,
        PushSettings.load().payload_fields,
        profile=how.profile or None,
        date_format=how.date_format or None,
        options=how.options,
    )


@dataclass(slots=True)
class Imported:
    """What came of a file. `error` says why it could not be read to its end.

    `unknown_users` are the device users whom the user map does not have; None where it was not asked. `readings` say
    which columns are taken for what; empty where nobody asked.
    """

    file: Import
    tally: Tally
    error: str | None = None
    unknown_users: Sequence[str] | None = None
    readings: Sequence[Reading] = ()

    def as_row(self) -> Mapping[str, object]:
        """For people and programs alike."""
        tally = self.tally
        return {
            "file": str(self.file.path),
            "device_id": self.file.device.device_id,
            "adapter": self.file.adapter.name,
            "rows": tally.rows,
            "events": tally.events,
            "rejected": tally.rejected,
            "ignored": tally.ignored,
            "unreadable_times": tally.implausible[TimeFault.UNREADABLE],
            "before_installed_on": tally.implausible[TimeFault.BEFORE_INSTALLED],
            "future": tally.implausible[TimeFault.AHEAD],
            "unknown_users": self.unknown_users,
            "error": self.error,
        }


async def watch(directory: Path, device_id: str, registry: Registry, metrics: Metrics, **given: Any) -> None:
    """Import what comes into a directory, until cancelled.

    Args:
        directory: Which one.
        device_id: Whose punches its files hold.
        registry: Read again before each file.
        metrics: Where records are counted.
        given: How files are read, where neither the device's entry nor the file says it. See `prepare`.

    Raises:
        ConfigurationError: there is no such directory or device.
    """
    folder, fields = Folder(directory), PushSettings.load().payload_fields
    fleet = FleetTopic(KafkaSettings.load(), registry, "import")
    following = [asyncio.create_task(fleet.follow()), asyncio.create_task(registry.keep())]
    publisher, clock = create_publisher("import", metrics)

    async def import_one(path: Path) -> None:
        await check_clock(clock)
        await registry.caught_up()
        file = prepare(path, device_id, registry, fields, **given)
        tally = _new_tally()
        await store(file, publisher, tally)
        log.info("A file was imported.", file=path.name, **_counts(tally))

    try:
        await _until_known(fleet)
        find_device(registry, device_id)
        await watch_folder(folder, import_one)
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await publisher.stop()


async def _until_known(fleet: FleetTopic) -> None:
    """Return once the whole fleet is known."""
    while True:
        try:
            await fleet.find_reason()
            return
        except KafkaUnavailable as error:
            log.warning("Waiting for the fleet.", error=str(error))
            await asyncio.sleep(1)


def _new_tally(kind: type[Tally] = Tally) -> Tally:
    return kind(StreamSettings.load().future_tolerance)


async def look(files: Sequence[Import], kind: type[Tally] = Tally) -> Sequence[Imported]:
    """What an import of the files would take in, and which of their users the user map does not have.

    Args:
        files: Which files, and whose punches they hold.
        kind: What counts their rows.
    """
    results = [Imported(file, _new_tally(kind)) for file in files]
    for each in results:
        with _noting(each):
            each.readings = await asyncio.to_thread(each.file.readings)
            await read(each.file, each.tally)
    try:
        users = await asyncio.wait_for(read_user_map(KafkaSettings.load()), MAP_SECONDS)
    except (PunchstreamError, TimeoutError):
        return results  # a preview needs no Kafka; it says that it could not look
    for each in results:
        each.unknown_users = sorted({user[-1] for user in each.tally.users if users.mapping(*user) is None})
    return results


async def take_in(
    files: Sequence[Import], progress: Callable[[Import, int], object], kind: type[Tally] = Tally
) -> Sequence[Imported]:
    """Import files one after the other.

    Args:
        files: Which files, and whose punches they hold.
        progress: Called with how many rows of a file Kafka has acknowledged: 0 at its begin, then after each part.
        kind: What counts their rows.

    Raises:
        ConfigurationError: the options of the device's entry are wrong.
        KafkaUnavailable: Kafka does not acknowledge.
        StandingStill: this machine's clock is wrong; nothing was imported.
    """
    publisher, clock = create_publisher("import", Metrics())
    results = [Imported(file, _new_tally(kind)) for file in files]
    try:
        await check_clock(clock)
        for each in results:
            progress(each.file, 0)
            with _noting(each):
                await store(each.file, publisher, each.tally, lambda rows, each=each: progress(each.file, rows))
    finally:
        await publisher.stop()
    return results


def _counts(tally: Tally) -> Mapping[str, int]:
    return {
        "rows": tally.rows,
        "events": tally.events,
        "rejected": tally.rejected,
        "implausible_times": tally.implausible.total(),
    }


@contextmanager
def _noting(imported: Imported) -> Iterator[None]:
    try:
        yield
    except UnreadableFile as error:
        imported.error = str(error)
