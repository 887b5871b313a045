"""The `users` commands: who a device's user is, and whose punches wait for an answer to that."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer
from rich.table import Table

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.readers import snapshot
from attendance.kafka.records import KeyValue
from attendance.records.outcomes import Waiting
from attendance.settings import KafkaSettings
from attendance.times import format_seconds
from attendance.user_map import UserMap
from punchstream.output import AsJson, print_json, print_table

log = structlog.get_logger(__name__)

app = typer.Typer(help="The user map, and who is waiting for it.", no_args_is_help=True)


_SHOWN_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True)
class UserRow:
    """One mapping with what is known of its employee. `status` is None where the directory does not know it.

    `overridden` means that a CSV file names another employee in the same scope, and that one counts.
    """

    device_user_id: str
    scope: str
    employee: str
    source: str
    status: str | None
    relieving_date: str | None
    overridden: bool


@dataclass(frozen=True, slots=True)
class WaitingUser:
    """The punches of one device user at one site that wait for one reason. `since` is the oldest punch, UTC."""

    site: str
    device_user_id: str
    reason: Reason
    employee: str | None
    punches: int
    since: datetime
    devices: tuple[str, ...]


def user_rows(users: UserMap) -> list[UserRow]:
    """Every mapping, by user and scope."""
    rows = []
    for mapping in sorted(users.mappings(), key=lambda entry: (entry.device_user_id, entry.scope, entry.source)):
        employee = users.employee(mapping.employee)
        relieved = employee.relieving_date if employee else None
        rows.append(
            UserRow(
                device_user_id=mapping.device_user_id,
                scope=mapping.scope,
                employee=mapping.employee,
                source=mapping.source,
                status=employee.status if employee else None,
                relieving_date=relieved.isoformat() if relieved else None,
                overridden=users.in_scope(mapping.scope, mapping.device_user_id) != mapping,
            )
        )
    return rows


def waiting_now(records: Iterable[KeyValue]) -> list[Waiting]:
    """What waits, by records of the unmapped topic: the newest of each key, unless that one removes it."""
    newest = {record.key: record.value for record in records}
    waiting = []
    for key, value in newest.items():
        if value is None:
            continue
        try:
            waiting.append(Waiting.decode(value))
        except InvalidRecord as error:
            log.error("A waiting punch cannot be read.", key=key, error=error.message)
    return waiting


def by_user(waiting: Iterable[Waiting]) -> list[WaitingUser]:
    """The waiting punches counted, by site, user and reason."""
    groups: dict[tuple[str, str, Reason], list[Waiting]] = defaultdict(list)
    for each in waiting:
        groups[each.event.site, each.event.device_user_id, each.reason].append(each)
    return [
        WaitingUser(
            site=site,
            device_user_id=device_user_id,
            reason=reason,
            employee=next((each.employee for each in reversed(members) if each.employee), None),
            punches=len(members),
            since=min(each.event.event_time or each.event.received_at for each in members),
            devices=tuple(sorted({each.event.device_id for each in members})),
        )
        for (site, device_user_id, reason), members in sorted(groups.items())
    ]


@app.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """Who each device user is, by the user map as Kafka has it."""
    from producers.directory.user_map import read_user_map

    rows = user_rows(asyncio.run(read_user_map(KafkaSettings.load())))
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
    kafka = KafkaSettings.load()
    records = asyncio.run(snapshot(kafka, kafka.topics["unmapped"], kafka.client_id("users")))
    rows = by_user(waiting_now(records))
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
