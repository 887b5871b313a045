"""The `users` commands: who a device's user is, and whose punches wait for an answer to that."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from attendance.settings import KafkaSettings
from attendance.times import format_seconds
from operations.log import Skipped
from operations.users import by_user, read_user_map, read_waiting, user_rows
from punchstream.commands.arguments import kafka_log
from punchstream.output import AsJson, print_json, print_table, say_skipped

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
    table = Table("Device user", "Scope", "Employee", "Status", "Relieved", "Source")
    for row in rows:
        source = f"{row.source} (overridden)" if row.overridden else row.source
        status = row.status or "not in the directory"
        table.add_row(row.device_user_id, row.scope, row.employee, status, row.relieving_date, source)
    print_table(table)
    typer.echo(f"{len(rows)} mappings")


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
            typer.echo(f"{file}: {problem}", err=True)
        raise
    typer.echo(f"{result.written} written, {result.unchanged} unchanged, {result.removed} removed")
    if result.unknown_employees:
        count = len(result.unknown_employees)
        names = ", ".join(result.unknown_employees[:_SHOWN_PROBLEMS]) + (", …" if count > _SHOWN_PROBLEMS else "")
        typer.echo(f"{count} employees are not in the directory, their punches will wait: {names}", err=True)


@app.command()
def unmapped(*, as_json: AsJson = False) -> None:
    """Whose punches wait for a mapping, or for an employee to become active."""
    skipped = Skipped()
    rows = by_user(asyncio.run(read_waiting(kafka_log("users"), skipped)))
    say_skipped(skipped)
    if as_json:
        print_json([asdict(row) | {"since": format_seconds(row.since)} for row in rows])
        return
    table = Table("Site", "Device user", "Reason", "Employee", "Punches", "Since (UTC)", "Devices")
    for row in rows:
        table.add_row(
            row.site,
            row.device_user_id,
            row.reason,
            row.employee,
            str(row.punches),
            format_seconds(row.since),
            ", ".join(row.devices),
        )
    print_table(table)
    typer.echo(f"{sum(row.punches for row in rows)} punches of {len(rows)} users wait")
