"""The `users` commands: who a device's user is, and whose punches wait for an answer to that."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from attendance.settings import KafkaSettings
from attendance.times import format_seconds
from operations.log import Skipped
from operations.users import by_user, read_user_map, read_waiting, user_rows
from punchstream.commands.arguments import kafka_log
from punchstream.output import AsJson, counted, print_json, print_rows, say, say_skipped

app = typer.Typer(help="The user map, and who is waiting for it.", no_args_is_help=True)


_SHOWN_PROBLEMS: Final = 20


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


@app.command()
def unmapped(*, as_json: AsJson = False) -> None:
    """Whose punches wait for a mapping, or for an employee to become active."""
    skipped = Skipped()
    rows = by_user(asyncio.run(read_waiting(kafka_log("users"), skipped)))
    say_skipped(skipped)
    if as_json:
        print_json([asdict(row) | {"since": format_seconds(row.since)} for row in rows])
        return
    cells = (
        (
            row.site,
            row.device_user_id,
            row.reason,
            row.employee,
            row.punches,
            format_seconds(row.since),
            ", ".join(row.devices),
        )
        for row in rows
    )
    print_rows(("Site", "Device user", "Reason", "Employee", "Punches", "Since (UTC)", "Devices"), cells, whole=3)
    punches = sum(row.punches for row in rows)
    waiting = f"{counted(punches, 'punch', 'punches')} of {counted(len(rows), 'user')}"
    say(f"{waiting} {'waits' if punches == 1 else 'wait'}")
