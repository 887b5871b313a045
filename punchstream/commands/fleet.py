"""`punchstream fleet`: the fleet on its topic."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from pydantic import BaseModel

from attendance.errors import ConfigurationError, KafkaUnavailable, PunchstreamError
from attendance.fleet_topic import FILE
from attendance.records.fleet import Kind
from attendance.registry import REFRESH_SECONDS, Registry
from attendance.times import format_seconds, now
from operations.fleet_plan import Change
from punchstream.commands.arguments import kafka_log, known_fleet, who
from punchstream.commands.device_filters import (
    OfAdapter,
    OfSites,
    Silent,
    SortBy,
    chosen,
    is_silent,
    newest_statuses,
    silence,
    sort_rows,
)
from punchstream.commands.fleet_changes import Name, Names, OfKind, as_cell, print_changes
from punchstream.commands.ledger_database import FromTopics
from punchstream.on_demand import on_demand
from punchstream.output import AsCsv, AsJson, counted, print_csv, print_facts, print_json, print_records, say

if TYPE_CHECKING:
    from operations.fleet_sources import Found

ELSEWHERE: Final = {
    "add": "fleet_edit:add",
    "set": "fleet_edit:set_",
    "disable": "fleet_edit:disable",
    "pause": "fleet_edit:pause",
    "resume": "fleet_edit:resume",
    "remove": "fleet_edit:remove",
    "export": "fleet_edit:export",
    "tokens": "fleet_edit:tokens",
    "sites": "fleet_lists:sites",
    "shifts": "fleet_lists:shifts",
}
app = typer.Typer(
    cls=on_demand(ELSEWHERE), help="The fleet on its topic: devices, sites and shifts.", no_args_is_help=True
)

Source = Annotated[str, typer.Option("--source", help="Who writes: only it changes these entries from then on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
SHOWN: Final = ("device_id", "site", "name", "mode", "adapter", "timezone", "disabled", "paused", "source")


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
    as_csv: AsCsv = False,
) -> None:
    """Write what files say of the fleet to its topic, which every stage follows.

    The files are all that the source has: what it had before and they do not have is removed. Everything that is wrong
    is said at once, and then nothing is written.
    """
    from operations.fleet_plan import check_writer
    from operations.fleet_sources import files_of, read_all

    check_writer(source)
    if watch and (dry_run or as_json or as_csv):
        raise ConfigurationError("--watch: writes, and prints sentences")
    if watch:
        _watch(paths, source, force=force)
    found = _apply(read_all(files_of(paths)), source, dry_run=dry_run, force=force)
    done = "would be written" if dry_run else "written"
    print_changes(found, source, as_json=as_json, as_csv=as_csv, done=done)


def _watch(paths: Sequence[Path], source: str, *, force: bool) -> NoReturn:
    from operations.fleet_watch import FleetWatch

    watch = FleetWatch(paths, force=force)
    print_changes(_apply(watch.begin(), source, force=force), source, as_json=False, as_csv=False)
    watch.take(applied=True)
    said = ""
    while True:
        time.sleep(REFRESH_SECONDS)
        content, sentence = watch.look()
        if sentence is not None:
            say(sentence, err=True)
        if content is None:
            continue
        try:
            found = _apply(content, source, force=force)
        except KafkaUnavailable as error:
            # Nothing is wrong with the files, so it is tried again.
            if str(error) != said:
                say(str(error), err=True)
            said = str(error)
        except PunchstreamError as error:
            say(str(error), err=True)
            watch.take(applied=False)
        else:
            print_changes(found, source, as_json=False, as_csv=False)
            watch.take(applied=True)
            said = ""


def _apply(content: "Found", source: str, *, force: bool, dry_run: bool = False) -> list[Change]:
    from operations.fleet import read_fleet, write_planned
    from operations.fleet_plan import plan_source, removes_most

    log = kafka_log("fleet")
    before = asyncio.run(read_fleet(log))
    wanted, found = plan_source(content.entries, before, source, who(), content.problems)
    if removes_most(found, before, source) and not force:
        gone = sum(each.what == "removed" and each.kind == "device" for each in found)
        raise ConfigurationError(f"{counted(gone, 'device')} of the source {source} would go, more than half; --force")
    if not dry_run:
        asyncio.run(write_planned(log, wanted, before, found))
    return found


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
    longest = None if silent is None else silence(silent)
    statuses = {} if longest is None else newest_statuses(from_topics=from_topics)
    columns = [*SHOWN, *(["heard_at"] if longest is not None else [])]
    sources, hours, at = _sources(fleet), fleet.fleet.hours, now()
    rows = []
    for device in devices:
        own = {"paused": bool(device.paused), "source": sources[device.device_id]}
        row = {name: getattr(device, name, None) for name in SHOWN} | own
        status = statuses.get(device.device_id)
        if longest is not None:
            row["heard_at"] = None if status is None else format_seconds(status.heard_at)
        if source in (None, row["source"]) and (
            longest is None or is_silent(device, status, hours.get(device.device_id), at, longest)
        ):
            rows.append(row)
    sort_rows(rows, columns, sort)
    print_records(columns, rows, as_json=as_json, as_csv=as_csv)
    if longest is not None and rows:
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
def show(name: Name, *, kind: OfKind = "device", as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show one device with the defaults of its site, one site, or one shift with its devices; and who wrote it."""
    fleet = known_fleet()
    entries: Mapping[Kind, Mapping[str, BaseModel]] = {
        "device": fleet.fleet.devices,
        "site": fleet.fleet.sites,
        "shift": fleet.fleet.shift_entries,
    }
    entry = entries[kind].get(name)
    if entry is None:
        raise ConfigurationError(f"NAME: {name}: the fleet has no such {kind}")
    written = fleet.topic.owned().get((kind, name))
    if written is not None and written.entry.source == FILE and fleet.has_file:
        written = None
    facts = entry.model_dump(mode="json") | {
        "source": FILE if written is None else written.entry.source,
        "written_by": None if written is None else written.entry.by,
    }
    if kind == "shift":
        facts["has_devices"] = [device.device_id for device in fleet.shifts[name]]
    if as_json:
        print_json(facts)
    elif as_csv:
        print_csv(list(facts), [[as_cell(each) for each in facts.values()]])
    else:
        print_facts(facts.items())


@app.command()
def check(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Look at the fleet as this machine has it: what is wrong, and what does not count. Exit status 1 if so."""
    from operations.fleet_plan import options_problems, whose

    fleet = known_fleet()
    owners = fleet.topic.owned()
    wrong = [*fleet.fleet.problems, *options_problems(fleet).values()]
    ignored = [
        f"source {each.entry.source}: {each.entry.name}: it belongs to {whose(owner.entry.source)}, which counts"
        for each in fleet.topic.all()
        if (owner := owners[each.entry.kind, each.entry.name]).entry.source != each.entry.source
    ]
    if as_json or as_csv:
        faults = [{"what": "wrong", "fault": each} for each in wrong]
        faults += [{"what": "does not count", "fault": each} for each in ignored]
        print_records(("what", "fault"), faults, as_json=as_json, as_csv=as_csv)
    else:
        for problem in (*wrong, *ignored):
            say(problem)
        say(f"{counted(len(fleet), 'device')}, {counted(len(wrong) + len(ignored), 'fault')}.")
    if wrong or ignored:
        raise typer.Exit(1)


@app.command()
def move(
    names: Names,
    *,
    source: Annotated[str, typer.Option("--source", help="To whom.")],
    kind: OfKind = "device",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Hand entries over to another source, which alone changes them from then on."""
    from operations.fleet import move as hand_over
    from operations.fleet_plan import check_source

    abouts = [(kind, name) for name in names]
    moved = asyncio.run(hand_over(kafka_log("fleet"), abouts, check_source(source), who()))
    print_changes(moved, source, as_json=as_json, as_csv=as_csv)
