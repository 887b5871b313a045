"""`punchstream replay`: raw events once more through the stream, and corrections of what ERPNext holds."""

import asyncio
import tempfile
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from attendance.erpnext import ErpnextClient
from attendance.registry import Registry
from attendance.settings import CommonSettings, ErpnextSettings, KafkaSettings
from punchstream.commands.arguments import instant
from punchstream.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    from operations.replay import Plan, Range

NAMED: Final = 20  # so many differences and days are shown to people


def replay(
    *,
    since: Annotated[str, typer.Option(help="Punches that arrived since then, as `2026-01-01`.")],
    until: Annotated[str | None, typer.Option(help="Only punches that arrived before then.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only this device's punches. May be given again.")] = None,
    against_erpnext: Annotated[
        bool, typer.Option(help="First show what ERPNext holds that would now be different.")
    ] = False,
    correct: Annotated[
        bool, typer.Option("--correct", help="Replace what is different in ERPNext, and replay nothing else.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing.")] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="At most so many records in a second.")] = 500.0,
    as_json: AsJson = False,
) -> None:
    """Send raw events through the stream again: harmless, and what ERPNext lost comes back.

    A wrong user map or zone is repaired first, and its past with --correct. What waits, was dropped or was
    dead-lettered has nothing in ERPNext and is not corrected. A document that an Attendance was made from is not
    replaced; cancel that first.
    """
    from operations.replay import Range

    begin = instant(since)
    assert begin is not None
    run(
        KafkaSettings.load(),
        Range(begin, instant(until, "--until"), frozenset(device or ())),
        ErpnextSettings.load() if against_erpnext or correct else None,
        correcting=correct,
        dry_run=dry_run,
        per_second=rate,
        as_json=as_json,
    )


def run(
    kafka: KafkaSettings,
    wanted: "Range",
    erpnext: ErpnextSettings | None,
    *,
    correcting: bool,
    dry_run: bool,
    per_second: float,
    as_json: bool,
) -> None:
    """Compare where `erpnext` is given, print that, and then send unless `dry_run`.

    Raises:
        ConfigurationError: the registry file is wrong, or the site has no `event_id`.
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        TargetUnavailable: ERPNext does not answer.
        AccessDenied: ERPNext does not let us look.
    """
    from operations.replay import Plan
    from producers.directory.user_map import read_user_map

    with tempfile.TemporaryDirectory() as directory, Plan(Path(directory) / "replay.sqlite") as plan:
        asyncio.run(plan.fill(kafka, wanted))
        if erpnext is not None:
            users = asyncio.run(read_user_map(kafka))
            fleet = Registry(CommonSettings.load().punchstream_devices)
            client = ErpnextClient(erpnext)
            try:
                plan.compare(client, users, fleet.get)
            finally:
                client.close()
        sending = 0 if dry_run else plan.correctable if correcting else plan.records
        count = _send_all(kafka, wanted, plan, per_second, sending, correcting=correcting) if sending else 0
        if as_json:
            print_json(_report(plan, compared=erpnext is not None) | {"sent": count})
        else:
            if erpnext is not None:
                _show(plan)
            typer.echo(
                f"{plan.records} raw records in the range, {count} {'corrections' if correcting else 'copies'} sent"
            )


def _send_all(
    kafka: KafkaSettings, wanted: "Range", plan: "Plan", per_second: float, total: int, *, correcting: bool
) -> int:
    from operations.replay import correct, replay

    count = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Correcting" if correcting else "Replaying", total=total)

        def sent(records: int) -> None:
            nonlocal count
            count += records
            progress.advance(task, records)

        if correcting:
            typer.echo("Waiting until the sink has committed the check-ins that are there.", err=True)
            asyncio.run(correct(kafka, plan, per_second, sent))
        else:
            asyncio.run(replay(kafka, wanted, plan, per_second, sent))
    return count


def _report(plan: "Plan", *, compared: bool) -> dict[str, object]:
    report: dict[str, object] = {"records": plan.records}
    if compared:
        report |= {
            "differences": [asdict(each) for each in plan.differences()],
            "correctable": plan.correctable,
            "without_employee_now": plan.unassigned,
            "days": [{"employee": employee, "date": date} for employee, date in plan.days()],
        }
    return report


def _show(plan: "Plan") -> None:
    table = Table("Document", "Employee", "Time", "Log type", "Not replaced for", box=None, pad_edge=False)
    for each in islice(plan.differences(), NAMED):
        held, now = each.held, each.wanted
        table.add_row(
            each.document,
            _change(held.employee, now.employee),
            _change(held.time, now.time),
            _change(held.log_type, now.log_type),
            each.attendance or ("an edit in ERPNext" if each.edited else ""),
        )
    if table.row_count:
        print_table(table)
    days = plan.days()
    for employee, date in days[:NAMED]:
        typer.echo(f"touches {employee} {date}")
    if max(plan.different, len(days)) > NAMED:
        typer.echo(f"… --json shows all of them: {plan.different} documents, {len(days)} attendance days")
    typer.echo(
        f"{plan.different} documents would be different; {plan.different - plan.correctable} of them cannot be, for an "
        f"Attendance or an edit in ERPNext. {plan.unassigned} have no employee now."
    )


def _change(held: str, wanted: str) -> str:
    return held if held == wanted else f"{held or 'none'} → {wanted or 'none'}"
