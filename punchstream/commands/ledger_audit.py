"""`punchstream audit --from-ledger`: what the ledger has of each raw event, and as of which offsets."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from attendance.times import format_seconds
from ledger.settings import LedgerSettings
from operations.log import Log, Skipped
from punchstream.commands.arguments import fleet_has
from punchstream.commands.ledger_database import open_database, say_source
from punchstream.output import say

if TYPE_CHECKING:
    from ledger.behind import Reached
    from operations.audit_report import Report

REACH_SECONDS: Final = 20.0
"""So long the ledger may take to have what the topics had when it was asked."""


def audit_ledger(log: Log, *, since: datetime | None, device: str | None, named: int) -> "tuple[Report, Reached]":
    """Account for the punches that the ledger has, and say which ledger that is.

    Args:
        log: The topics, whose ends are looked at.
        since: Only punches that arrived since then; None for all that it has.
        device: Only this device's; None for all.
        named: How many ids of each problem are listed at most; -1 for all.

    Raises:
        ConfigurationError: there is no such ledger, or it is of another release.
        RetriableError: Kafka or the database does not answer.
    """
    database = open_database(LedgerSettings.load(), must_exist=True)
    database.refuse_unprepared()
    from ledger.audit import LedgerAudit

    ledger = LedgerAudit(database, Skipped())
    report, reached = asyncio.run(ledger.report(log, REACH_SECONDS, since=since, device=device, named=named))
    say_source(ledger)
    database.close()
    not_there = []
    if not report.raw and device is not None and not fleet_has()(device):
        not_there.append(f"There is no device {device}: the fleet file does not have it, and no record names it.")
    if not report.raw and since is not None:
        not_there.append(f"Nothing arrived since {format_seconds(since)}: nothing is looked at. Give another time.")
    return replace(report, not_there=not_there), reached


def say_offsets(reached: "Reached") -> None:
    """Say as of which offsets the ledger was asked, and what it does not know."""
    from ledger.audit import NOT_LOOKED_FOR

    say("As of these offsets, by partition:")
    for topic, of in reached.next_offsets.items():
        say(f"  {topic}  {', '.join(f'{number}: {offset:,}' for number, offset in of.items())}")
    say(NOT_LOOKED_FOR)
