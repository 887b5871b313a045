"""`punchstream import`: the command beside `producers.files.importer`."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from attendance.errors import PunchstreamError, UnreadableFile
from attendance.kafka.producer import Producer
from attendance.metrics import Metrics
from attendance.plausibility import TimeFault
from attendance.records.raw_event import RawEvent
from attendance.registry import Registry
from attendance.settings import KafkaSettings, PushSettings, StreamSettings
from attendance.times import format_seconds
from producers.devices.contract import Row
from producers.directory.user_map import read_user_map
from producers.files.folder import Folder
from producers.files.folder import watch as watch_folder
from producers.files.importer import Import, Tally, find_device, prepare, read, store
from producers.publisher import Publisher
from punchstream.output import print_json, print_table

log = structlog.get_logger(__name__)

MAP_SECONDS: Final = 10.0  # for the user map to be read; a preview does without
NAMED: Final = 10  # so many users who are unknown are named


@dataclass(slots=True)
class Imported:
    """What came of a file. `error` says why it could not be read to its end.

    `unknown_users` are the device users whom the user map does not have; None where it was not asked.
    """

    file: Import
    tally: Tally
    error: str | None = None
    unknown_users: Sequence[str] | None = None

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
            "unreadable_times": tally.implausible[TimeFault.UNREADABLE],
            "before_installed_on": tally.implausible[TimeFault.BEFORE_INSTALLED],
            "future": tally.implausible[TimeFault.AHEAD],
            "unknown_users": self.unknown_users,
            "error": self.error,
        }


def run(files: Sequence[Import], *, dry_run: bool, as_json: bool) -> int:
    """Import files one after the other, or only look at them.

    Returns:
        The exit status: 0; 1 where rows were rejected; 2 where a file could not be read to its end.

    Raises:
        ConfigurationError: the options of the device's entry are wrong.
        KafkaUnavailable: Kafka does not acknowledge.
    """
    results = asyncio.run(_look(files) if dry_run else _import(files))
    if as_json:
        print_json([{**each.as_row(), **({"first": _first(each)} if dry_run else {})} for each in results])
    else:
        for each in results:
            _show(each, dry_run=dry_run)
    if any(each.error is not None for each in results):
        return 2
    return 1 if any(each.tally.rejected for each in results) else 0


async def watch(
    directory: Path, device_id: str, registry: Registry, profile: str | None, date_format: str | None, metrics: Metrics
) -> None:
    """Import what comes into a directory, until cancelled.

    Raises:
        ConfigurationError: there is no such directory or device.
    """
    find_device(registry, device_id)
    folder, fields = Folder(directory), PushSettings.load().payload_fields
    publisher = _publisher(metrics)

    async def take_in(path: Path) -> None:
        registry.refresh()
        file = prepare(path, device_id, registry, fields, profile=profile, date_format=date_format)
        tally = _new_tally()
        await store(file, publisher, tally)
        log.info("A file was imported.", file=path.name, rows=tally.rows, events=tally.events, rejected=tally.rejected)

    try:
        await watch_folder(folder, take_in)
    finally:
        await publisher.stop()


def _publisher(metrics: Metrics) -> Publisher:
    kafka = KafkaSettings.load()
    producer = Producer(kafka, kafka.client_id("import"), batches=True)
    return Publisher(producer, kafka.topics, metrics, PushSettings.load().max_in_flight)


def _new_tally() -> Tally:
    return Tally(StreamSettings.load().future_tolerance)


async def _look(files: Sequence[Import]) -> Sequence[Imported]:
    results = [Imported(file, _new_tally()) for file in files]
    for each in results:
        with _noting(each):
            await read(each.file, each.tally)
    try:
        users = await asyncio.wait_for(read_user_map(KafkaSettings.load()), MAP_SECONDS)
    except (PunchstreamError, TimeoutError):
        return results  # a preview needs no Kafka; it says that it could not look
    for each in results:
        each.unknown_users = sorted({user[-1] for user in each.tally.users if users.mapping(*user) is None})
    return results


async def _import(files: Sequence[Import]) -> Sequence[Imported]:
    publisher = _publisher(Metrics())
    results = [Imported(file, _new_tally()) for file in files]
    try:
        with _progress() as progress:
            for each in results:
                task = progress.add_task(each.file.path.name, total=None, rows=0)
                with _noting(each):
                    await store(each.file, publisher, each.tally, partial(progress.update, task))
                progress.update(task, visible=False)
    finally:
        await publisher.stop()
    return results


@contextmanager
def _noting(imported: Imported) -> Iterator[None]:
    try:
        yield
    except UnreadableFile as error:
        imported.error = str(error)


def _progress() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.fields[rows]:,} rows", markup=False))
    console = Console(stderr=True)
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not sys.stderr.isatty())


def _show(imported: Imported, *, dry_run: bool) -> None:
    tally = imported.tally
    if dry_run:
        table = Table("Line", "Device", "User", "Time", "UTC", "Direction", "Rejected")
        for row in _first(imported):
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        print_table(table)
    counts = {"rejected": tally.rejected} | {
        f"whose time {fault.value}": tally.implausible[fault] for fault in TimeFault
    }
    said = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    typer.echo(f"{imported.file.path.name}: {tally.rows:,} rows, {tally.events:,} punches{said}")
    if dry_run:
        typer.echo(_who_is_unknown(imported.unknown_users))
    if tally.rejected and not dry_run:
        typer.echo("`punchstream dead-letters list --stage import --each` has the rejected rows.", err=True)
    if imported.error is not None:
        typer.echo(imported.error, err=True)


def _who_is_unknown(users: Sequence[str] | None) -> str:
    if users is None:
        return "Users were not looked up: Kafka does not answer."
    more = ", …" if len(users) > NAMED else ""
    return f"{len(users):,} users are not in the user map{': ' if users else ''}{', '.join(users[:NAMED])}{more}"


def _first(imported: Imported) -> Sequence[Mapping[str, object]]:
    return [_as_row(row) for row in imported.tally.first]


def _as_row(row: Row) -> Mapping[str, object]:
    outcome = row.outcome
    if not isinstance(outcome, RawEvent):
        empty = dict.fromkeys(("device_id", "user", "time", "utc", "direction"))
        return {"line": row.line, **empty, "rejected": outcome.message}
    return {
        "line": row.line,
        "device_id": outcome.device_id,
        "user": outcome.device_user_id,
        "time": outcome.device_time,
        "utc": None if outcome.event_time is None else format_seconds(outcome.event_time),
        "direction": outcome.event_type,
        "rejected": None,
    }
