"""The `erpnext` commands: make the site ready for check-ins, and find out what is missing."""

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from attendance.settings import CommonSettings, ErpnextSettings
from punchstream.output import AsJson, print_json, print_rows

if TYPE_CHECKING:
    from operations.site.results import Check

app = typer.Typer(help="The ERPNext site: make it ready, and check it.", no_args_is_help=True)


@app.command()
def setup() -> None:
    """Create the unique fields by which ERPNext stores each punch, and each day of Attendance directly, once.

    They are event_id on Employee Checkin and punchstream_day on Attendance.
    """
    from attendance.erpnext import CHECKIN, EVENT_ID_FIELD
    from operations.attendance_days import ensure_day_field
    from operations.site.setup import ensure_event_id_field
    from sinks.attendance.policy import MARKER

    settings = ErpnextSettings.load()
    created = ensure_event_id_field(settings)
    typer.echo(f"{CHECKIN}.{EVENT_ID_FIELD} {'was created' if created else 'was there already'}, and is unique.")
    state, why = ensure_day_field(settings)
    if state == "not made":
        typer.echo(
            f"Attendance.{MARKER} was not made, which only shifts with `attendance: direct` need: {why}", err=True
        )
    else:
        typer.echo(f"Attendance.{MARKER} {'was created' if state == 'created' else 'was there already'}.")


@app.command()
def check(*, as_json: AsJson = False) -> None:
    """Check what deliveries need, and what some commands need. Nothing is left at the site.

    Among the checks is a check-in that is stored and undone in one request. A warning is for a person to look at;
    deliveries work. Exit code 1 when something that deliveries need is not right, or the site did not answer.
    """
    from attendance.erpnext import ErpnextClient
    from operations.site.checks import checks

    with closing(ErpnextClient(ErpnextSettings.load())) as client:
        found = list(checks(client, CommonSettings.load().punchstream_devices))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        cells = ((each.name, each.state, _in_words(each)) for each in found)
        print_rows(("Check", "Result", "Detail"), cells, whole=2)
    if any(each.hinders for each in found):
        raise typer.Exit(code=1)


def _in_words(check: "Check") -> str:
    """What was found and what to do, in one cell, which stays readable in a narrow terminal."""
    lines = [check.detail]
    if check.remedy:
        lines.append(f"Do: {check.remedy}.")
    if check.only_for:
        lines.append(f"Only for: {check.only_for}.")
    return "\n".join(lines)
