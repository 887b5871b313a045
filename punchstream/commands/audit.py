"""`punchstream audit`: every raw event and its outcome."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from attendance.settings import ErpnextSettings
from attendance.times import format_seconds, now
from punchstream.commands import attendance_days
from punchstream.commands import late as late_deliveries
from punchstream.commands.arguments import SINCE, fleet_has, instant, kafka_log, known_fleet, stop_where_nothing_is
from punchstream.commands.audit_metrics import write_metrics
from punchstream.output import AsJson, counted, print_json, print_whole, say, say_skipped, terminal

if TYPE_CHECKING:
    from operations.audit_report import Report
    from operations.erpnext_repairs import Change

FEW: Final = 3  # documents on no shift are shown: where nobody has a shift, it is all of them


def audit(  # noqa: C901, PLR0913 - the options of the command
    *,
    since: Annotated[str | None, typer.Option(help=SINCE)] = None,
    device: Annotated[str | None, typer.Option(help="Only this device's punches.")] = None,
    against_erpnext: Annotated[bool, typer.Option(help="Also look up in ERPNext what was delivered.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Send what is missing again.")] = False,
    including_deleted: Annotated[
        bool, typer.Option("--including-deleted", help="With --repair: also what somebody deleted in ERPNext.")
    ] = False,
    remove_surplus: Annotated[
        bool, typer.Option("--remove-surplus", help="Remove copies from ERPNext; the one that counts stays.")
    ] = False,
    correct_employees: Annotated[
        bool,
        typer.Option("--correct-employees", help="Decide anew whose the documents without their employee are."),
    ] = False,
    refetch_shift: Annotated[
        bool, typer.Option("--refetch-shift", help="Have ERPNext look again for the shift of what is on none.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Repair nothing, and say what would be done.")] = False,
    late: Annotated[bool, typer.Option("--late", help="List what came after its day was closed, instead.")] = False,
    repair_late: Annotated[
        bool, typer.Option("--repair-late", help="Have ERPNext process again the days that are Absent for that.")
    ] = False,
    attendance: Annotated[
        bool, typer.Option("--attendance", help="List the days that became Attendance directly, or not, instead.")
    ] = False,
    from_ledger: Annotated[
        bool, typer.Option("--from-ledger", help="Count what the ledger has, and not the topics. Repairs nothing.")
    ] = False,
    metrics: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write whether it balances, for Prometheus' textfile collector."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Account for every raw event, and with --against-erpnext for every document.

    Exit status 1 when an event has no outcome or a document is not as it was delivered, also where that was repaired.
    With --from-ledger also while the ledger is behind.
    """
    changing = remove_surplus or correct_employees or refetch_shift
    if from_ledger:
        if any((against_erpnext, repair, including_deleted, changing, late, repair_late, attendance, metrics)):
            raise typer.BadParameter("goes with --since, --device and --json alone", param_hint="--from-ledger")
        _from_ledger(instant(since), device, as_json=as_json)
        return
    if metrics and any((since, device, late, repair_late, attendance)):
        raise typer.BadParameter("goes with an audit of everything", param_hint="--metrics")
    erpnext_settings = ErpnextSettings.load() if against_erpnext or changing or repair_late else None
    log, begin = kafka_log("late" if late or repair_late else "audit"), instant(since)
    if late or repair_late:
        stop_where_nothing_is(log, "raw", "deliveries", since=begin, devices=[device] if device else ())
        raise typer.Exit(
            late_deliveries.run(
                log,
                erpnext_settings,
                since=begin,
                device=device,
                repairing=repair_late,
                as_json=as_json,
            )
        )
    if attendance:
        if device is not None:
            raise typer.BadParameter("days of attendance are of employees, not of devices", param_hint="--device")
        stop_where_nothing_is(log, "raw", "attendance_days", since=begin)
        raise typer.Exit(attendance_days.run(log, erpnext_settings, since=begin, as_json=as_json))
    from operations.audit import audit as account
    from operations.audit_report import NAMED
    from operations.erpnext_repairs import Repairs

    def tell(change: "Change") -> None:
        """Print a change at once: what is done is done, also where the next one fails."""
        if not as_json:
            done = f"{change.done} (dry run)" if dry_run else change.done
            say(f"{change.document}: {done}: {change.why}")

    if correct_employees and not dry_run:
        say("Waiting until the sink has committed the check-ins that are there.", err=True)
    fleet = known_fleet().get if correct_employees else lambda _: None
    report = asyncio.run(
        account(
            log,
            since=begin,
            device=device,
            in_fleet=fleet_has(),
            erpnext=erpnext_settings,
            repair=repair,
            including_deleted=including_deleted,
            repairs=Repairs(remove_surplus, correct_employees, refetch_shift, dry_run, fleet, tell),
            named=-1 if as_json else NAMED,
        )
    )
    days = attendance_days.in_the_audit(log, erpnext_settings, since=begin) if erpnext_settings else []
    if as_json:
        found = {"attendance_days": attendance_days.to_json(days)} if days else {}
        print_json(report.to_json() | found)
    else:
        if device is not None and not report.raw and not report.not_there:
            say(f"Nothing of {device} arrived{'' if since is None else f' since {since}'}.")
        show(report, terminal(), dry_run=dry_run)
        attendance_days.show_summary(days)
    is_balanced = report.balanced and not attendance_days.needs_a_look(days)
    if metrics is not None:
        write_metrics(metrics, is_balanced=is_balanced, at=now().timestamp())
    if not is_balanced:
        raise typer.Exit(1)


def _from_ledger(since: datetime | None, device: str | None, *, as_json: bool) -> None:
    from operations.audit_report import NAMED
    from punchstream.commands.ledger_audit import audit_ledger, say_offsets

    named = -1 if as_json else NAMED
    report, reached = audit_ledger(kafka_log("audit"), since=since, device=device, named=named)
    if as_json:
        print_json(report.to_json() | reached.to_json())
    else:
        show(report, terminal())
        say_offsets(reached)
    if not report.balanced:
        raise typer.Exit(1)


def _show_rows(report: "Report", console: Console) -> None:
    """Print what is wrong with documents in ERPNext."""
    from operations.audit_report import NAMED

    by: dict[str, list[str]] = {}
    for event_id, user in (report.deleted_in_target or {}).items():
        by.setdefault(user, []).append(event_id)
    for user, ids in by.items():
        console.print(f"Of these, {user} deleted in ERPNext: {', '.join(ids)}")
    if report.deletions_known is False and report.missing_in_target:
        console.print(
            "ERPNext does not show what was deleted there: the API user may not read Deleted Document. So --repair"
            " sends nothing of this again, unless --including-deleted is given."
        )
    kinds = {
        "In ERPNext more than once; the copies": report.surplus,
        "In ERPNext without the employee who punched": report.of_nobody,
        "In ERPNext otherwise than delivered": report.different,
        "On no shift, so that ERPNext does not count them (no fault of the delivery)": report.off_shift,
    }
    for (kind, findings), name in zip(kinds.items(), report.found or {}, strict=False):
        if findings:
            console.print(
                f"{kind} ({(report.found or {})[name]:,}):", style="red" if findings is not report.off_shift else None
            )
            named = FEW if findings is report.off_shift else NAMED
            cells = (
                (each.document, each.employee, each.time, f"{each.why}{'; ' + each.stays if each.stays else ''}")
                for each in findings[:named]
            )
            print_whole(("Document", "Employee", "Time", "What is wrong"), cells)
            if len(findings) >= named:
                console.print("… --json shows all of them")
    if report.times_compared is False:
        console.print("Times were not compared, because the time zone of ERPNext is in doubt.", style="red")


def _show_topics(report: "Report", console: Console) -> None:
    """Print what is gone from the topics, what people accepted of that, and from where on it counts."""
    if report.counted_from:
        begins = ", ".join(f"{each} from offset {first:,}" for each, first in report.counted_from.items())
        console.print(f"What was before has been accounted for: {begins}")
    for loss in report.accepted:
        what = f"{loss.topic}:{loss.partition}, offsets {loss.first} to {loss.through - 1}"
        if loss.anew:
            what = f"{loss.topic}:{loss.partition}, made anew, from offset {loss.through} on"
        when = format_seconds(loss.at)
        text = f"Accepted loss of {counted(loss.records, 'record')}: {what}; {when} by {loss.by}: {loss.note}"
        console.print(text)
    for each in report.adoptions:
        topics = ", ".join(sorted({moved.topic for moved in each.moved})) or "no topic"
        without = f", without {counted(each.missing, 'record')}" if each.missing else ""
        text = f"Adopted at {format_seconds(each.at)} by {each.by}{without}: {topics}: {each.note}"
        console.print(text)
    for fault in (*report.faults, *report.configuration):
        console.print(str(fault), style="red")
    if report.outcome_gone:
        console.print(
            "Outcomes were removed before an audit counted them: `punchstream audit --repair` has those events decided "
            "again, which changes nothing that is right.",
            style="red",
        )


def show(report: "Report", console: Console, *, dry_run: bool = False) -> None:
    """Print a report for people.

    Args:
        report: Of any audit.
        console: Where to; what was skipped goes to standard error.
        dry_run: Whether nothing was repaired.
    """
    from operations.audit_report import NAMED

    say_skipped(report.skipped)
    for sentence in report.not_there:
        console.print(sentence, style="red")
    line = (
        f"{report.raw:,} raw = {report.delivered:,} delivered + {report.dropped:,} dropped"
        f" + {report.waiting:,} waiting + {report.dead_lettered:,} dead-lettered"
    )
    if report.discarded_waiting:
        line += f" + {report.discarded_waiting:,} discarded while they waited"
    if report.accounted_before:
        line += f" + {report.accounted_before:,} accounted for before (the outcomes are not kept any more)"
    if report.undelivered or report.undecided or report.outcome_gone:
        line += f" + {report.undelivered:,} not delivered yet + {report.undecided:,} without any outcome"
    if report.outcome_gone:
        line += f" + {report.outcome_gone:,} whose outcome is gone or never was"
    console.print(line)
    _show_topics(report, console)
    if report.refused:
        open_ = report.refused - report.read_again - report.discarded
        of_them = [
            f"{count:,} {what}"
            for count, what in (
                (report.read_again, "read again"),
                (report.discarded, "discarded"),
                (open_, "that nobody has read again or discarded (punchstream dead-letters list)"),
            )
            if count
        ]
        console.print(
            f"{counted(report.refused, 'more dead letter')} of what never became a raw event: {', '.join(of_them)}"
        )
    problems = {
        "Without an outcome": report.without_outcome,
        "Not delivered, and the raw record is gone": report.older_undelivered,
        "Delivered as two documents": report.delivered_twice,
        "Dropped although nothing was kept": report.dropped_for_nothing,
        "Delivered, but not in ERPNext": report.missing_in_target or [],
    }
    for problem, ids in problems.items():
        if ids:
            console.print(f"{problem}: {', '.join(ids)}{' …' if len(ids) == NAMED else ''}", style="red")
    _show_rows(report, console)
    for topic, count in (report.sent_again or {}).items():
        console.print(f"{counted(count, 'record')} {'to be ' if dry_run else ''}sent again to {topic}")
    console.print("Balanced." if report.balanced else "NOT balanced.", style="green" if report.balanced else "red")
