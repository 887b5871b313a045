"""The `users` commands: who a device's user is, and whose punches wait for an answer to that."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from attendance.errors import Reason
from attendance.settings import KafkaSettings
from attendance.times import format_seconds
from operations.log import Skipped
from operations.users import read_user_map, user_rows
from operations.waiting import WaitingOfDevice, WaitingPunches, Which, discard, read_discards
from punchstream.commands.arguments import kafka_log, who
from punchstream.output import AsJson, counted, print_json, print_json_list, print_rows, say, say_skipped

app = typer.Typer(help="The user map, and who is waiting for it.", no_args_is_help=True)


_SHOWN_PROBLEMS: Final = 20
PAGE: Final = 100  # lines


@app.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """Who each device user is, by the user map as Kafka has it."""
    skipped = Skipped()
    rows = user_rows(asyncio.run(read_user_map(kafka_log("users"), skipped)))
    say_skipped(skipped)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    cells = (
        (
            row.device_user_id,
            row.scope,
            row.employee,
            row.status or "not in the directory",
            row.relieving_date,
            f"{row.source} (overridden)" if row.overridden else row.source,
        )
        for row in rows
    )
    print_rows(("Device user", "Scope", "Employee", "Status", "Relieved", "Source"), cells)
    say(counted(len(rows), "mapping"))


@app.command("import")
def import_users(
    file: Annotated[Path, typer.Argument(help="CSV: device_user_id, employee and, if needed, site or device_id.")],
    *,
    replace: Annotated[bool, typer.Option(help="Remove mappings of earlier files that this one lacks.")] = False,
) -> None:
    """Add the mappings of a CSV file. They count before ERPNext's own in the same scope; waiting punches then flow."""
    from producers.directory.csv_files import InvalidUserMapFile, import_csv

    try:
        result = asyncio.run(import_csv(KafkaSettings.load(), file, replace=replace))
    except InvalidUserMapFile as error:
        for problem in error.problems[:_SHOWN_PROBLEMS]:
            say(f"{file}: {problem}", err=True)
        raise
    say(f"{result.written} written, {result.unchanged} unchanged, {result.removed} removed")
    if result.unknown_employees:
        count = len(result.unknown_employees)
        names = ", ".join(result.unknown_employees[:_SHOWN_PROBLEMS]) + (", …" if count > _SHOWN_PROBLEMS else "")
        unknown = counted(count, "employee is", "employees are")
        say(f"{unknown} not in the directory, their punches will wait: {names}", err=True)


OfDevice = Annotated[str | None, typer.Option("--device", help="Only punches of this device.")]
OfSite = Annotated[str | None, typer.Option("--site", help="Only punches of this site.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Only punches of this device user id.")]


@app.command()
def unmapped(
    *,
    device: OfDevice = None,
    site: OfSite = None,
    user: OfUser = None,
    by_device: Annotated[bool, typer.Option("--by-device", help="Count users and punches by device, instead.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Lines of a page; if it is not given, 100 in a table, and all in JSON.")
    ] = None,
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Whose punches wait for a mapping, or for an employee to become active: a line for each user."""
    skipped = Skipped()
    which = Which(device, site, user)
    with WaitingPunches() as waiting:
        asyncio.run(waiting.fill(kafka_log("users"), skipped))
        say_skipped(skipped)
        if by_device:
            _show_by_device(waiting.devices(which), as_json=as_json)
            return
        most = limit or (-1 if as_json else PAGE)
        rows = waiting.users(which, most=most, after=(page - 1) * max(most, 0))
        if as_json:
            print_json_list(asdict(row) | {"since": format_seconds(row.since)} for row in rows)
            return
        cells = (
            (
                row.site,
                row.device_user_id,
                row.reason,
                row.employee,
                row.punches,
                format_seconds(row.since),
                _named(row.devices),
            )
            for row in rows
        )
        print_rows(("Site", "Device user", "Reason", "Employee", "Punches", "Since (UTC)", "Devices"), cells, whole=3)
        punches, lines = waiting.count(which)
    pages = -(-lines // most)
    wait = "waits" if punches == 1 else "wait"
    where = f"; page {page} of {pages:,}, --page shows others" if pages > 1 else ""
    say(f"{counted(punches, 'punch', 'punches')} of {counted(lines, 'user')} {wait}{where}")


def _named(devices: Sequence[str]) -> str:
    return ", ".join(devices[:_SHOWN_PROBLEMS]) + (", …" if len(devices) > _SHOWN_PROBLEMS else "")


def _show_by_device(rows: Sequence[WaitingOfDevice], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(row) | {"since": format_seconds(row.since)} for row in rows])
        return
    cells = ((row.device_id, row.users, row.punches, format_seconds(row.since)) for row in rows)
    print_rows(("Device", "Users", "Punches", "Since (UTC)"), cells)


@app.command("discard")
def discard_waiting(
    *,
    device: Annotated[str, typer.Option("--device", help="Punches of this device.")],
    note: Annotated[str, typer.Option(help="Why nothing is to come of them. It is kept.")],
    site: OfSite = None,
    user: OfUser = None,
    reason: Annotated[
        Reason, typer.Option(metavar="REASON", help="Only punches that wait for this reason.")
    ] = Reason.UNMAPPED_USER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Discard nothing, and count what would be.")] = False,
) -> None:
    """Discard punches that wait. They stay on the raw topic: `punchstream replay` has them decided again.

    Exit status 1 when none waits.
    """
    if not note.strip():
        raise typer.BadParameter("must say why", param_hint="--note")
    skipped = Skipped()
    which = Which(device, site, user, reason)
    log = kafka_log("users")
    with WaitingPunches() as waiting:
        asyncio.run(waiting.fill(log, skipped))
        say_skipped(skipped)
        punches, lines = waiting.count(which)
        if not punches:
            say(f"Nothing of {device} waits that is meant.", err=True)
            raise typer.Exit(1)
        if not dry_run:
            asyncio.run(discard(log, waiting, which, note=note, by=who()))
    would_be = "would be discarded" if dry_run else "discarded"
    say(f"{counted(punches, 'punch', 'punches')} of {counted(lines, 'user')} {would_be}")


@app.command()
def discarded(*, device: OfDevice = None, as_json: AsJson = False) -> None:
    """Show the waiting punches that were discarded: when, by whom, of which device, how many and why."""
    skipped = Skipped()
    found = asyncio.run(read_discards(kafka_log("users"), skipped, device))
    say_skipped(skipped)
    if as_json:
        print_json_list(
            asdict(each) | {"at": format_seconds(each.at), "punches": len(each.event_ids)} for each in found
        )
        return
    cells = ((format_seconds(each.at), each.by, each.device_id, len(each.event_ids), each.note) for each in found)
    print_rows(("At (UTC)", "By", "Device", "Punches", "Note"), cells)
    say(
        f"{counted(sum(len(each.event_ids) for each in found), 'punch', 'punches')} in {counted(len(found), 'discard')}"
    )
