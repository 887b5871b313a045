"""`punchstream fleet`: the fleet on its topic."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from attendance.errors import ConfigurationError, PunchstreamError
from attendance.fleet_file import whole
from attendance.fleet_topic import FILE
from attendance.registry import REFRESH_SECONDS, Registry
from attendance.times import format_seconds
from punchstream.commands.arguments import kafka_log, known_fleet, who
from punchstream.commands.device_filters import (
    OfAdapter,
    OfSites,
    Silent,
    SortBy,
    chosen,
    is_silent,
    newest_statuses,
    silent_before,
    sort_rows,
)
from punchstream.commands.ledger_database import FromTopics
from punchstream.output import AsCsv, AsJson, counted, print_facts, print_json, print_records, say

app = typer.Typer(help="The fleet on its topic: devices, sites and shifts.", no_args_is_help=True)

Source = Annotated[str, typer.Option("--source", help="Who writes: only it changes these entries from then on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
SHOWN: Final = ("device_id", "site", "name", "mode", "adapter", "timezone", "disabled", "source")


@app.command()
def apply(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Files, or folders of them: .yaml, .csv, .xlsx.")
    ],
    *,
    source: Source = FILE,
    dry_run: DryRun = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and write each change of the files.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove more than half of the source's devices.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write what files say of the fleet to its topic, which every stage follows.

    The files are all that the source has: what it had before and they do not have is removed. Everything that is wrong
    is said at once, and then nothing is written.
    """
    from operations.fleet import check_source
    from operations.fleet_sources import stamps_of

    check_source(source)
    if watch and (dry_run or as_json):
        raise ConfigurationError("--watch: writes, and prints sentences")
    if not watch:
        _apply(paths, source, dry_run=dry_run, force=force, as_json=as_json)
        return
    taken: object = None
    seen: object = None
    while True:
        stamps = stamps_of(paths)
        # Once it was the same at two looks: it may be written in parts.
        if stamps != taken and (stamps == seen or taken is None):
            try:
                _apply(paths, source, dry_run=False, force=force, as_json=False)
            except PunchstreamError as error:
                if taken is None:
                    raise
                say(str(error), err=True)
            taken = stamps
        seen = stamps
        time.sleep(REFRESH_SECONDS)


def _apply(paths: Sequence[Path], source: str, *, dry_run: bool, force: bool, as_json: bool) -> None:
    from operations.fleet import plan, read_fleet, removes_most, whole_source, write_planned
    from operations.fleet_sources import read_entries

    log = kafka_log("fleet")
    before = asyncio.run(read_fleet(log))
    entries = read_entries(paths)
    whole(entries)
    wanted = whole_source(entries, before, source, who())
    found = plan(wanted, before)
    if removes_most(found, before, source) and not force:
        gone = sum(each.what == "removed" and each.kind == "device" for each in found)
        raise ConfigurationError(f"{counted(gone, 'device')} of the source {source} would go, more than half; --force")
    if not dry_run:
        asyncio.run(write_planned(log, wanted, before, found))
    if as_json:
        print_json([each._asdict() for each in found])
        return
    for each in found:
        say(str(each))
    say(f"{counted(len(found), 'change')}{' would be written' if dry_run else ' written'}, of the source {source}.")


@app.command("list")
def list_(
    *,
    site: OfSites = None,
    adapter: OfAdapter = None,
    source: Annotated[str | None, typer.Option(help="Only what this source wrote.")] = None,
    silent: Silent = None,
    sort: SortBy = "device_id",
    from_topics: FromTopics = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the devices, of the fleet file and of the topic.

    When a device was heard is asked of the ledger where LEDGER_URL is set, and otherwise of its topic.
    """
    fleet = known_fleet()
    devices = chosen(fleet, site, adapter)
    before = None if silent is None else silent_before(silent)
    statuses = {} if before is None else newest_statuses(from_topics=from_topics)
    columns = [*SHOWN, *(["heard_at"] if before is not None else [])]
    sources = _sources(fleet)
    rows = []
    for device in devices:
        row = {name: getattr(device, name, None) for name in SHOWN} | {"source": sources[device.device_id]}
        status = statuses.get(device.device_id)
        if before is not None:
            row["heard_at"] = None if status is None else format_seconds(status.heard_at)
        if source in (None, row["source"]) and (before is None or is_silent(device, status, before)):
            rows.append(row)
    sort_rows(rows, columns, sort)
    print_records(columns, rows, as_json=as_json, as_csv=as_csv)
    if silent is not None and rows:
        raise typer.Exit(1)


def _sources(fleet: Registry) -> dict[str, str]:
    """The source of each device. What only the fleet file has is of the source that it is."""
    owned = fleet.topic.owned()
    return {
        device.device_id: owned["device", device.device_id].entry.source
        if ("device", device.device_id) in owned
        else FILE
        for device in fleet
    }


@app.command()
def show(
    device_id: Annotated[str, typer.Argument(metavar="DEVICE", help="Its device_id.")], *, as_json: AsJson = False
) -> None:
    """Show one device, with the defaults of its site, and who wrote its entry."""
    fleet = known_fleet()
    device = fleet.get(device_id)
    if device is None:
        raise ConfigurationError(f"DEVICE: {device_id} is not in the fleet")
    written = fleet.topic.owned().get(("device", device_id))
    facts = device.model_dump(mode="json") | {
        "source": FILE if written is None else written.entry.source,
        "written_by": None if written is None else written.entry.by,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts(facts.items())


@app.command()
def check() -> None:
    """Look at the fleet as this machine has it: what is wrong, and what does not count. Exit status 1 if so."""
    from operations.fleet import options_problems

    fleet = known_fleet()
    owners = fleet.topic.owned()
    problems = [*fleet.fleet.problems, *options_problems(fleet)]
    problems += [
        f"source {each.entry.source}: {each.entry.name}: it belongs to the source {owner.entry.source}, which counts"
        for each in fleet.topic.all()
        if (owner := owners[each.entry.kind, each.entry.name]).entry.source != each.entry.source
    ]
    for problem in problems:
        say(problem)
    say(f"{counted(len(fleet), 'device')}, {counted(len(problems), 'fault')}.")
    if problems:
        raise typer.Exit(1)


@app.command()
def move(
    devices: Annotated[list[str], typer.Argument(metavar="DEVICE…", help="Their device_ids.")],
    *,
    source: Annotated[str, typer.Option("--source", help="To whom.")],
) -> None:
    """Hand devices over to another source, which alone changes them from then on."""
    from operations.fleet import check_source
    from operations.fleet import move as hand_over

    moved = asyncio.run(hand_over(kafka_log("fleet"), devices, check_source(source), who()))
    say(f"{counted(len(moved), 'device')} handed over to the source {source}.")
