"""The `erpnext` commands: make the site ready for check-ins, and find out what is missing."""

import asyncio
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from attendance.errors import KafkaUnavailable
from attendance.settings import ErpnextSettings
from attendance.site import site_of
from punchstream.commands.arguments import kafka_log, known_fleet, who
from punchstream.output import AsCsv, AsJson, print_csv, print_facts, print_json, print_whole, say

if TYPE_CHECKING:
    from attendance.records.site import SiteZone
    from operations.site.results import Check

app = typer.Typer(help="The ERPNext site: make it ready, and check it.", no_args_is_help=True)


@app.command()
def setup() -> None:
    """Create the unique fields by which ERPNext stores each punch, and each day of Attendance directly, once.

    They are event_id on Employee Checkin and punchstream_day on Attendance.
    """
    from attendance.erpnext import CHECKIN, EVENT_ID_FIELD
    from operations.site.setup import ensure_day_field, ensure_event_id_field
    from sinks.attendance.policy import MARKER

    settings = ErpnextSettings.load()
    created = ensure_event_id_field(settings)
    say(f"{CHECKIN}.{EVENT_ID_FIELD} {'was created' if created else 'was there already'}, and is unique.")
    state, why = ensure_day_field(settings)
    if state == "not made":
        say(f"Attendance.{MARKER} was not made, which only shifts with `attendance: direct` need: {why}", err=True)
    else:
        say(f"Attendance.{MARKER} {'was created' if state == 'created' else 'was there already'}.")


@app.command()
def check(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Check what deliveries need, and what some commands need. Nothing is left at the site.

    Among the checks is a check-in that is stored and undone in one request. A warning is for a person to look at;
    deliveries work. Exit code 1 when something that deliveries need is not right, or the site did not answer.
    """
    from attendance.erpnext import ErpnextClient
    from operations.site.checks import checks

    settings = ErpnextSettings.load()
    recorded = _recorded(site_of(settings.url))
    with closing(ErpnextClient(settings)) as client:
        found = list(checks(client, known_fleet, recorded))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        cells = [(each.name, each.state, _in_words(each)) for each in found]
        (print_csv if as_csv else print_whole)(("Check", "Result", "Detail"), cells)
    if any(each.hinders for each in found):
        raise typer.Exit(code=1)


@app.command()
def zone(
    *,
    accept: Annotated[str | None, typer.Option(help="Take this IANA zone for the site's. It is recorded.")] = None,
    prove_again: Annotated[
        bool, typer.Option("--prove-again", help="Have the sink prove the zone by its next check-in.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show in which zone ERPNext keeps its times, and how that is known; or decide it.

    Nothing is written into ERPNext while the zone is in doubt. Exit code 1 while it is.
    """
    from attendance.erpnext import ErpnextClient
    from operations.site import zone as zones

    if accept is not None and prove_again:
        raise typer.BadParameter("give either --accept or --prove-again")
    settings = ErpnextSettings.load()
    log, site = kafka_log("erpnext"), site_of(settings.url)
    with closing(ErpnextClient(settings)) as client:
        reading = zones.read_or_problem(client)
    recorded = asyncio.run(zones.recorded_zone(log, site))
    if accept is not None:
        recorded = asyncio.run(zones.accept(log, site, accept, reading, who()))
    elif prove_again and recorded is not None:
        asyncio.run(zones.prove_again(log, recorded))
        recorded = None
    found = zones.report(site, reading, recorded)
    if as_json:
        print_json(asdict(found))
    else:
        print_facts((name.capitalize(), fact) for name, fact in asdict(found).items() if fact is not None)
    if found.state == "in doubt":
        raise typer.Exit(code=1)


def _recorded(site: str) -> "SiteZone | KafkaUnavailable | None":
    """What is recorded of the zone, or why Kafka cannot be asked: the other checks do not need it."""
    from operations.site.zone import recorded_zone

    try:
        return asyncio.run(recorded_zone(kafka_log("erpnext"), site))
    except KafkaUnavailable as error:
        return error


def _in_words(check: "Check") -> str:
    """What was found and what to do, in one cell, which stays readable in a narrow terminal."""
    lines = [check.detail]
    if check.remedy:
        lines.append(f"Do: {check.remedy}.")
    if check.only_for and check.state != "ok":
        lines.append(f"Only for: {check.only_for}.")
    return "\n".join(lines)
