"""`punchstream import`: the punches of files into Kafka."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import yaml
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from attendance.errors import ConfigurationError
from attendance.plausibility import TimeFault
from attendance.records.raw_event import RawEvent
from attendance.registry import Registry
from attendance.runtime import run_until_signalled
from attendance.settings import PushSettings
from attendance.times import format_seconds
from producers.devices.contract import Rejected
from punchstream.commands.arguments import known_fleet
from punchstream.commands.stages import begin
from punchstream.output import AsJson, counted, print_json, print_whole, say, terminal

if TYPE_CHECKING:
    from operations.imports import Imported
    from producers.devices.contract import Reading
    from producers.files.importer import Import

NAMED: Final = 10  # so many users who are unknown are named


def import_files(
    files: Annotated[list[Path] | None, typer.Argument(help="CSV, XLSX or attlog.dat.", show_default=False)] = None,
    *,
    device: Annotated[str, typer.Option(help="Whose punches they hold: a device_id of the fleet file.")],
    profile: Annotated[
        str | None, typer.Option(help="An adapter or a known table, where neither entry nor suffix says it.")
    ] = None,
    date_format: Annotated[
        str | None, typer.Option(help="`dmy`, `mdy` or a strptime format, where the file leaves it open.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the entry, for this import; as often as needed."),
    ] = None,
    watch: Annotated[Path | None, typer.Option(help="Import what comes into this directory, until stopped.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be read. Send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take in punches from files, as often as you like. Exit status 1 when rows become dead letters.

    Those are rows that are rejected, and punches whose time cannot be true; the rest of their file is taken in. Exit
    status 2 when a file is refused, or cannot be read to its end; what stood before is taken in.
    """
    from operations import imports
    from producers.files.importer import prepare

    if (watch is None) == (not files) or (watch is not None and (dry_run or as_json)):
        raise ConfigurationError("import: needs either files or --watch, and shows nothing while it watches")
    given: dict[str, Any] = {"profile": profile, "date_format": date_format, "options": _options(option or ())}
    if watch is not None:
        common, metrics = begin("import")
        registry = Registry.load(common)
        run_until_signalled(imports.watch(watch, device, registry, metrics, **given))
        return
    fleet, fields = known_fleet(), PushSettings.load().payload_fields
    prepared = [prepare(file, device, fleet, fields, **given) for file in files or ()]
    raise typer.Exit(run(prepared, dry_run=dry_run, as_json=as_json))


def _options(given: Sequence[str]) -> Mapping[str, object]:
    """The options that a command line has, by name. What is no YAML, such as `%d.%m.%Y`, is a text.

    Raises:
        ConfigurationError: one has no name.
    """
    options: dict[str, object] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not name or not sign:
            raise ConfigurationError(f"--option: {each!r} is not NAME=VALUE")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            options[name.strip()] = value
    return options


def run(files: Sequence["Import"], *, dry_run: bool, as_json: bool) -> int:
    """Import files one after the other, or only look at them, and print what came of each.

    Args:
        files: Which files, and whose punches they hold.
        dry_run: Whether to send nothing, and to show the first rows.
        as_json: Whether to print JSON.

    Returns:
        The exit status: 0; 1 where rows become dead letters; 2 where a file could not be read to its end.

    Raises:
        ConfigurationError: the options of the device's entry are wrong.
        KafkaUnavailable: Kafka does not acknowledge.
    """
    from operations import imports

    results = asyncio.run(imports.look(files)) if dry_run else _take_in(files)
    if as_json:
        print_json([{**each.as_row(), **(_preview(each) if dry_run else {})} for each in results])
    else:
        for each in results:
            _show(each, dry_run=dry_run)
    if any(each.error is not None for each in results):
        return 2
    return 1 if any(each.tally.failed for each in results) else 0


def _take_in(files: Sequence["Import"]) -> Sequence["Imported"]:
    from operations import imports

    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.fields[rows]:,} rows", markup=False))
    console = terminal(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        tasks: list[TaskID] = []

        def note(file: "Import", rows: int) -> None:
            if rows == 0:
                if tasks:
                    progress.update(tasks[-1], visible=False)
                tasks.append(progress.add_task(file.path.name, total=None, rows=0))
            progress.update(tasks[-1], rows=rows)

        return asyncio.run(imports.take_in(files, note))


def _show(imported: "Imported", *, dry_run: bool) -> None:
    tally = imported.tally
    if dry_run:
        for each in imported.readings:
            say(_columns(each))
        names = ("Line", "Device", "User", "Time", "UTC", "Direction", "Rejected")
        print_whole(names, (row.values() for row in _first(imported)))
    counts = {"rejected": tally.rejected, "that are no punches": tally.ignored} | {
        f"whose time {fault.value}": tally.implausible[fault] for fault in TimeFault
    }
    said = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    rows, punches = counted(tally.rows, "row"), counted(tally.events, "punch", "punches")
    say(f"{imported.file.path.name}: {rows}, {punches}{said}")
    if dry_run:
        say(_who_is_unknown(imported.unknown_users))
    if tally.rejected and not dry_run:
        say("`punchstream dead-letters list --stage import --each` has the rejected rows.", err=True)
    if imported.error is not None:
        say(imported.error, err=True)


def _who_is_unknown(users: Sequence[str] | None) -> str:
    if users is None:
        return "Users were not looked up: Kafka does not answer."
    more = ", …" if len(users) > NAMED else ""
    unknown = counted(len(users), "user is", "users are")
    return f"{unknown} not in the user map{': ' if users else ''}{', '.join(users[:NAMED])}{more}"


def _columns(reading: "Reading") -> str:
    columns = ", ".join(f"{what} from {name}" for what, name in reading.columns.items())
    dates = f"; dates are {reading.dates}" if reading.dates else ""
    return "\n".join((f"{reading.place}, read as {reading.profile}: {columns}{dates}", *reading.notes))


def _preview(imported: "Imported") -> Mapping[str, object]:
    readings = [
        {
            "place": each.place,
            "profile": each.profile,
            "columns": each.columns,
            "dates": each.dates,
            "notes": each.notes,
        }
        for each in imported.readings
    ]
    return {"readings": readings, "first": _first(imported)}


def _first(imported: "Imported") -> Sequence[Mapping[str, object]]:
    return [_as_row(line, outcome) for line, outcome in imported.tally.first]


def _as_row(line: int, outcome: RawEvent | Rejected) -> Mapping[str, object]:
    if isinstance(outcome, Rejected):
        empty = dict.fromkeys(("device_id", "user", "time", "utc", "direction"))
        return {"line": line, **empty, "rejected": outcome.message}
    return {
        "line": line,
        "device_id": outcome.device_id,
        "user": outcome.device_user_id,
        "time": outcome.device_time,
        "utc": None if outcome.event_time is None else format_seconds(outcome.event_time),
        "direction": outcome.event_type,
        "rejected": None,
    }
