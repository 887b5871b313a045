"""What must hold after any fault, told from what the terminals, Kafka and ERPNext hold."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from operations.audit_report import Report
from sandbox.fleet.compare import compare
from sandbox.fleet.model import FleetPlan
from sandbox.fleet.send import Tally

Rows = Sequence[Mapping[str, Any]]


def together(tallies: Sequence[Tally]) -> Tally:
    """The tallies of several loads as that of one."""
    return Tally(
        acknowledged=sum((each.acknowledged for each in tallies), Counter()),
        rejected_events=sum(each.rejected_events for each in tallies),
        refused_bodies=sum(each.refused_bodies for each in tallies),
        transmissions=sum(each.transmissions for each in tallies),
        attempts=sum(each.attempts for each in tallies),
        attempted_events=sum(each.attempted_events for each in tallies),
        contradictions=[line for each in tallies for line in each.contradictions],
    )


def problems(
    plan: FleetPlan,
    tally: Tally,
    report: Report,
    raw_ids: Collection[str],
    rows: Rows,
    withheld: Collection[str],
    erpnext_zone: str,
) -> list[str]:
    """What is wrong, each in one line; none is the verdict that is wanted.

    Args:
        plan: What the terminals had to send, and what must become of it.
        tally: What they were answered.
        report: The audit's, against ERPNext.
        raw_ids: The `event_id`s of the raw topic.
        rows: ERPNext's check-ins, in the order in which they were stored.
        withheld: Employees that were mapped late, whose punches may overtake each other.
        erpnext_zone: ERPNext's zone.
    """
    found = [*tally.contradictions, *compare(plan, tally, rows, erpnext_zone)]
    if not report.balanced:
        found.append(f"the audit does not balance: {report}")
    if not tally.acknowledged_events <= report.raw <= tally.attempted_events:
        found.append(f"raw: {report.raw}, acknowledged {tally.acknowledged_events}, tried {tally.attempted_events}")
    if lost := set(tally.acknowledged) - set(raw_ids):
        found.append(f"acknowledged and not in the raw topic: {sorted(lost)[:5]}")
    expected = plan.expectation.totals()
    for name, has, wants in (
        ("waiting", report.waiting, sum(expected.waiting.values())),
        ("dead-lettered", report.dead_lettered, sum(expected.dead_letters.values())),
        ("refused", report.refused, expected.rejected + expected.unreadable_bodies),
    ):
        if has < wants:
            found.append(f"{name}: {has}, at least {wants} are wanted")
    return [*found, *_doubles(rows), *_out_of_order(plan, rows, withheld)]


def _doubles(rows: Rows) -> list[str]:
    punches = Counter((row["employee"], row["time"], row.get("log_type") or "") for row in rows)
    return [f"there {count} times: {punch}" for punch, count in punches.items() if count > 1]


def _out_of_order(plan: FleetPlan, rows: Rows, withheld: Collection[str]) -> list[str]:
    """Where a device user's punches were stored in another order than the terminal first sent them in."""
    place: dict[str, int] = {}
    for transmissions in plan.transmissions.values():
        for one in transmissions:
            for id_ in one.accepted:
                place.setdefault(id_, len(place))
    last: dict[tuple[str, str], int] = {}
    found = []
    for row in rows:
        expected = plan.expectation.events.get(row["event_id"])
        if expected is None or expected.employee in withheld:
            continue
        device_user = (expected.terminal.device_id, expected.device_user_id)
        if place[expected.event_id] < last.get(device_user, -1):
            found.append(f"{row['name']}: out of order for {device_user}")
        last[device_user] = place[expected.event_id]
    return found
