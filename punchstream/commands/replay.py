"""`punchstream replay`: raw events once more through the stream, and corrections of what ERPNext holds."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.progress import Progress

from attendance.settings import ErpnextSettings
from attendance.site import site_of
from operations.log import Log
from punchstream.commands.arguments import SINCE, UNTIL, instant, kafka_log, known_fleet, stop_where_nothing_is
from punchstream.output import AsJson, counted, print_json, print_whole, say, say_skipped, terminal

if TYPE_CHECKING:
    from operations.corrections import Corrections
    from operations.replay import Range, RangeTables

NAMED: Final = 20  # so many differences and days are shown to people


def replay(  # noqa: PLR0913 - as many as it has options
    *,
    since: Annotated[str, typer.Option(help=SINCE)],
    until: Annotated[str | None, typer.Option(help=UNTIL)] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only this device's punches. May be given again.")] = None,
    against_erpnext: Annotated[
        bool, typer.Option(help="First show what ERPNext holds that would now be different.")
    ] = False,
    correct: Annotated[
        bool, typer.Option("--correct", help="Replace what is different in ERPNext, and replay nothing else.")
    ] = False,
    written_in: Annotated[
        list[str] | None,
        typer.Option(help="A wrong zone of ERPNext in which the sink has written. May be given again."),
    ] = None,
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

    if written_in and not (against_erpnext or correct):
        raise typer.BadParameter("is of use with --against-erpnext or --correct", param_hint="--written-in")
    begin = instant(since)
    assert begin is not None
    log, end = kafka_log("replay"), instant(until, "--until")
    stop_where_nothing_is(log, "raw", since=begin, until=end, devices=device or ())
    run(
        log,
        Range(begin, end, frozenset(device or ())),
        ErpnextSettings.load() if against_erpnext or correct else None,
        correcting=correct,
        written_in=written_in or (),
        dry_run=dry_run,
        per_second=rate,
        as_json=as_json,
    )


def run(
    log: Log,
    wanted: "Range",
    erpnext: ErpnextSettings | None,
    *,
    correcting: bool,
    written_in: Sequence[str] = (),
    dry_run: bool,
    per_second: float,
    as_json: bool,
) -> None:
    """Compare with ERPNext, send, and print what was found and done.

    Args:
        log: The topics.
        wanted: Which raw records.
        erpnext: The site that is compared with; None compares with none.
        correcting: Whether to send corrections of what is different, and nothing else.
        written_in: See `operations.corrections.Corrections.compare`.
        dry_run: Whether to send nothing.
        per_second: At most so many records in a second.
        as_json: Whether to print JSON.

    Raises:
        ConfigurationError: the fleet file is wrong, or the site has no `event_id`.
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        TargetUnavailable: ERPNext does not answer.
        AccessDenied: ERPNext does not let us look, or its zone is in doubt.
    """
    from operations.replay import RangeTables

    with RangeTables() as tables:
        asyncio.run(tables.fill(log, wanted))
        corrections = None if erpnext is None else _compare(log, tables, erpnext, written_in)
        say_skipped(tables.skipped)
        to_send = corrections if correcting else None
        total = 0 if dry_run else tables.records if to_send is None else to_send.correctable
        count = _send_all(log, wanted, tables, to_send, per_second, total) if total else 0
        if as_json:
            print_json(_report(tables, corrections) | {"sent": count, "skipped": tables.skipped.counts})
            return
        if corrections is not None:
            _show(corrections)
        sent = counted(count, "correction") if correcting else counted(count, "copy", "copies")
        say(f"{counted(tables.records, 'raw record')} in the range, {sent} sent")


def _compare(log: Log, tables: "RangeTables", erpnext: ErpnextSettings, written_in: Sequence[str]) -> "Corrections":
    from attendance.erpnext import ErpnextClient
    from operations.corrections import Corrections
    from operations.site.zone import the_sites_zone
    from operations.users import read_user_map

    users = asyncio.run(read_user_map(log, tables.skipped))
    fleet = known_fleet()
    corrections = Corrections(tables)
    with closing(ErpnextClient(erpnext)) as client:
        site_zone = asyncio.run(the_sites_zone(log, client, site_of(erpnext.url)))
        corrections.compare(client, site_zone, users, fleet.get, written_in)
    return corrections


def _send_all(
    log: Log,
    wanted: "Range",
    tables: "RangeTables",
    corrections: "Corrections | None",
    per_second: float,
    total: int,
) -> int:
    """Send the corrections or, where there are to be none, the range. Returns how many records were sent."""
    from operations.corrections import correct
    from operations.replay import replay

    count = 0
    with Progress(console=terminal(stderr=True), transient=True) as progress:
        task = progress.add_task("Replaying" if corrections is None else "Correcting", total=total)

        def sent(records: int) -> None:
            nonlocal count
            count += records
            progress.advance(task, records)

        if corrections is None:
            asyncio.run(replay(log, wanted, tables, per_second, sent))
        else:
            say("Waiting until the sink has committed the check-ins that are there.", err=True)
            asyncio.run(correct(log, corrections.corrections(), per_second, sent))
    return count


def _report(tables: "RangeTables", corrections: "Corrections | None") -> dict[str, object]:
    report: dict[str, object] = {"records": tables.records}
    if corrections is not None:
        report |= {
            "differences": [each.to_json() for each in corrections.differences()],
            "correctable": corrections.correctable,
            "without_employee_now": corrections.unassigned,
            "days": [{"employee": employee, "date": date} for employee, date in corrections.days()],
        }
    return report


def _show(corrections: "Corrections") -> None:
    cells = (
        (
            each.document,
            _change(each.stored.employee, each.expected.employee),
            _change(each.stored.time, each.expected.time),
            _change(each.stored.log_type, each.expected.log_type),
            each.attendance or ("an edit in ERPNext" if each.edited else None),
        )
        for each in islice(corrections.differences(), NAMED)
    )
    print_whole(("Document", "Employee", "Time", "Log type", "Not replaced for"), cells)
    days = corrections.days()
    for employee, date in days[:NAMED]:
        say(f"touches {employee} {date}")
    different = corrections.different
    if max(different, len(days)) > NAMED:
        shown = f"{counted(different, 'check-in')}, {counted(len(days), 'attendance day')}"
        say(f"… --json shows all of them: {shown}")
    differ = counted(different, "check-in differs", "check-ins differ")
    say(
        f"{differ}; {different - corrections.correctable:,} of them cannot be replaced, because of an Attendance or an "
        f"edit in ERPNext. {counted(corrections.unassigned, 'punch has', 'punches have')} no employee now."
    )


def _change(stored: str, expected: str) -> str:
    return stored if stored == expected else f"{stored or 'none'} → {expected or 'none'}"
