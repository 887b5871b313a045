"""The `erpnext` commands: make the site ready for check-ins, and find out what is missing."""

from contextlib import closing
from dataclasses import asdict

import typer

from attendance.settings import ErpnextSettings
from punchstream.output import AsJson, print_json, print_rows

app = typer.Typer(help="The ERPNext site: make it ready, and check it.", no_args_is_help=True)


@app.command()
def setup() -> None:
    """Create the unique field event_id on Employee Checkin, by which ERPNext stores each punch once."""
    from attendance.erpnext import CHECKIN, EVENT_ID_FIELD
    from operations.site import ensure_event_id_field

    created = ensure_event_id_field(ErpnextSettings.load())
    typer.echo(f"{CHECKIN}.{EVENT_ID_FIELD} {'was created' if created else 'was there already'}, and is unique.")


@app.command()
def check(*, as_json: AsJson = False) -> None:
    """Check what deliveries need, and what some commands need, without writing anything.

    Exit code 1 when something that deliveries need is not right.
    """
    from attendance.erpnext import ErpnextClient
    from operations.site import checks

    with closing(ErpnextClient(ErpnextSettings.load())) as client:
        found = list(checks(client))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        cells = ((each.name, each.state, each.detail, each.only_for, each.remedy) for each in found)
        print_rows(("Check", "Result", "Detail", "Only for", "Remedy"), cells)
    if any(each.state != "ok" and each.only_for is None for each in found):
        raise typer.Exit(code=1)
