"""The `users` commands: who a device's user is, and whose punches wait for an answer to that."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from attendance.errors import Reason
from attendance.settings import KafkaSettings
from attendance.times import format_seconds
from operations.log import Skipped
from operations.users import UserRow, read_user_map, user_rows
from operations.waiting import (
    WaitingOfDevice,
    WaitingPunches,
    WaitingSource,
    WaitingUser,
    Which,
    discard,
    line_key,
    page_of_users,
    read_discards,
    unknown,
)
from punchstream.commands import user_decisions
from punchstream.commands.arguments import fleet_has, kafka_log, known_devices, who
from punchstream.commands.ledger_database import FromTopics, ledger_to_ask, say_source
from punchstream.output import (
    AsCsv,
    AsJson,
    counted,
    print_csv,
    print_json_list,
    print_records,
    print_whole,
    say,
    say_skipped,
)

app = typer.Typer(help="The user map, and who is waiting for it.", no_args_is_help=True)
user_decisions.add_to(app)

_SHOWN_PROBLEMS: Final = 20
PAGE: Final = 100  # lines
_MAPPING: Final = tuple(each.name for each in fields(UserRow))
_WAITING: Final = tuple(each.name for each in fields(WaitingUser))
_OF_DEVICE: Final = tuple(each.name for each in fields(WaitingOfDevice))
_DISCARD: Final = ("at", "by", "device_id", "punches", "note", "event_ids")


@app.command("list")
def list_users(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Who each device user is, by the user map as Kafka has it."""
    skipped = Skipped()
    users = asyncio.run(read_user_map(kafka_log("users"), skipped))
    # Of whom else a mapping of one device may be, the site of the device says. Few are the console's.
    by_console = any(each.source == "console" for each in users.mappings())
    sites = {each.device_id: each.site for each in known_devices()} if by_console else {}
    rows = user_rows(users, sites.get)
    say_skipped(skipped)
    if as_json or as_csv:
        print_records(_MAPPING, [asdict(row) for row in rows], as_json=as_json, as_csv=as_csv)
        return
    cells = [
        (
            row.device_user_id,
            row.scope,
            row.employee,
            row.status or "not in the directory",
            row.relieving_date,
            f"{row.source} (overridden)" if row.overridden else row.source,
        )
        for row in rows
    ]
    print_whole(("Device user", "Scope", "Employee", "Status", "Relieved", "Source"), cells)
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
def unmapped(  # noqa: PLR0913 - the options of the command
    *,
    device: OfDevice = None,
    site: OfSite = None,
    user: OfUser = None,
    by_device: Annotated[bool, typer.Option("--by-device", help="Count users and punches by device, instead.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Lines of a page; if it is not given, 100 in a table, and all in JSON and CSV."),
    ] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="TOKEN", help="Go on after the page that ended with this token.")
    ] = None,
    from_topics: FromTopics = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Whose punches wait for a mapping, or for an employee to become active: a line for each user.

    The ledger is asked where LEDGER_URL is set, and otherwise the topic. Exit status 1 if there is no such device, site
    or user.
    """
    which = Which(device, site, user)
    if after is not None:
        line_key(after)
    with _waiting(from_topics=from_topics) as waiting:
        punches, lines = waiting.count(which)
        if not lines:
            _stop_at_unknown(waiting, which)
        if by_device:
            devices = [asdict(row) | {"since": format_seconds(row.since)} for row in waiting.devices(which)]
            print_records(_OF_DEVICE, devices, as_json=as_json, as_csv=as_csv)
            return
        rows, token = _page(waiting, which, limit or (None if as_json or as_csv else PAGE), after)
        described = map(_described, rows)
        if as_json:
            print_json_list(described)
        elif as_csv:
            print_csv(_WAITING, ([*{**row, "devices": " ".join(row["devices"])}.values()] for row in described))
        else:
            cells = [[*{**row, "devices": _named(row["devices"])}.values()] for row in described]
            print_whole(("Site", "Device user", "Reason", "Employee", "Punches", "Since (UTC)", "Devices"), cells)
    wait = "waits" if punches == 1 else "wait"
    if not (as_json or as_csv):
        say(f"{counted(punches, 'punch', 'punches')} of {counted(lines, 'user')} {wait}")
    if token is not None:
        say(f"The list goes on with --after {token}", err=True)


def _page(
    waiting: WaitingSource, which: Which, most: int | None, after: str | None
) -> tuple[Iterable[WaitingUser], str | None]:
    """Some lines, and the token by which the list goes on after them. All lines, one by one, without a limit."""
    if most is None:
        return waiting.users(which, after=after), None
    found = page_of_users(waiting, which, most, after)
    return found.rows, found.next


def _described(row: WaitingUser) -> dict[str, Any]:
    return asdict(row) | {"since": format_seconds(row.since)}


def _named(devices: Sequence[str]) -> str:
    return ", ".join(devices[:_SHOWN_PROBLEMS]) + (", …" if len(devices) > _SHOWN_PROBLEMS else "")


@contextmanager
def _waiting(*, from_topics: bool) -> Iterator[WaitingSource]:
    """What waits, by the ledger or the topic."""
    skipped = Skipped()
    database = ledger_to_ask(from_topics=from_topics)
    if database is None:
        with WaitingPunches() as punches:
            asyncio.run(punches.fill(kafka_log("users"), skipped))
            say_skipped(skipped)
            yield punches
        return
    from ledger.waiting import LedgerWaiting

    with LedgerWaiting(database, skipped) as waiting:
        say_skipped(skipped)
        say_source(waiting)
        yield waiting


def _stop_at_unknown(waiting: WaitingSource, which: Which) -> None:
    """End with status 1 where nobody has heard of the device, the site or the user that was asked about."""
    if which == Which():
        return
    users = None
    if which.user is not None:
        skipped = Skipped()
        users = asyncio.run(read_user_map(kafka_log("users"), skipped))
        say_skipped(skipped)
    sentences = asyncio.run(unknown(waiting, which, users, known_devices()))
    for sentence in sentences:
        say(sentence, err=True)
    if sentences:
        raise typer.Exit(1)


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
def discarded(*, device: OfDevice = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show the waiting punches that were discarded: when, by whom, of which device, how many and why.

    Exit status 1 if the fleet has no such device, and nothing of it was discarded.
    """
    skipped = Skipped()
    found = asyncio.run(read_discards(kafka_log("users"), skipped, device))
    say_skipped(skipped)
    if device is not None and not found and not fleet_has()(device):
        say(f"There is no device {device}: the fleet does not have it, and nothing of it was discarded.", err=True)
        raise typer.Exit(1)
    if as_json:
        print_json_list(
            asdict(each) | {"at": format_seconds(each.at), "punches": len(each.event_ids)} for each in found
        )
        return
    if as_csv:
        rows = ({**asdict(each), "at": format_seconds(each.at), "punches": len(each.event_ids)} for each in found)
        print_csv(_DISCARD, ([row[name] for name in _DISCARD[:-1]] + [" ".join(row["event_ids"])] for row in rows))
        return
    cells = [(format_seconds(each.at), each.by, each.device_id, len(each.event_ids), each.note) for each in found]
    print_whole(("At (UTC)", "By", "Device", "Punches", "Note"), cells)
    say(
        f"{counted(sum(len(each.event_ids) for each in found), 'punch', 'punches')} in {counted(len(found), 'discard')}"
    )
