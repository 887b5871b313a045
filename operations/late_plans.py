"""Plans of repairs: which days are to be put right for punches that came late, and the job that does it."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from attendance.erpnext import ErpnextClient
from attendance.records.job import AgreedPlan
from attendance.site import site_of
from operations.late import (
    Day,
    LateDelivery,
    PlannedRepair,
    Repair,
    day_of,
    days_of,
    late_deliveries,
    looked_up,
    plan_repair,
    repair,
)
from operations.log import Log, Skipped
from operations.plan_jobs import Counts, PlanRange, PlanSource, digest, range_of
from operations.site.zone import the_sites_zone

MOST_DAYS: Final = 500
"""So many days a plan looks at: ERPNext is asked about each. The others come once these are put right."""
AT_ONCE: Final = 20
"""Days of a shift that are put right together. A job stops between two such groups."""
GONE: Final = "nothing is known any more that came late of that day"


@dataclass(frozen=True, slots=True)
class LatePlan:
    """What came late, and what a repair would do.

    Attributes:
        deliveries: Each late delivery, with what ERPNext has of its day now.
        days: Their days, at most `MOST_DAYS`.
        more: How many days more there are.
    """

    deliveries: Sequence[LateDelivery]
    days: Sequence[PlannedRepair]
    more: int = 0

    @property
    def repairable(self) -> Sequence[PlannedRepair]:
        """The days that a repair puts right."""
        return [each for each in self.days if each.left_alone is None]

    @property
    def digests(self) -> Sequence[str]:
        """By which the days are known again that a repair puts right."""
        return [digest_of(each.day) for each in self.repairable]


def digest_of(day: Day) -> str:
    """By which a day is known again."""
    return digest(day.shift_type, str(day.attendance_date), day.employee)


async def late_of(log: Log, wanted: PlanRange, skipped: Skipped) -> Sequence[LateDelivery]:
    """What came late of a range: what was delivered in it, of its devices.

    Args:
        log: The topics.
        wanted: Which deliveries.
        skipped: Where the records are counted that are no deliveries.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    found = await late_deliveries(log, skipped, since=wanted.since)
    return [
        each
        for each in found
        if (not wanted.devices or each.device_id in wanted.devices)
        and (wanted.until is None or each.delivered_at < wanted.until)
    ]


async def plan_late(source: PlanSource, wanted: PlanRange) -> LatePlan:
    """What came late of a range, and what a repair of its days would do. Nothing is changed.

    Args:
        source: The topics and the site.
        wanted: Which deliveries.

    Raises:
        PunchstreamError: Kafka or ERPNext does not let us look.
    """
    found = await late_of(source.log, wanted, Skipped())
    return await asyncio.to_thread(_plan, source, found)


def _plan(source: PlanSource, deliveries: Sequence[LateDelivery]) -> LatePlan:
    with closing(ErpnextClient(source.erpnext)) as client:
        found = looked_up(client, deliveries)
        days = days_of(found)
        return LatePlan(found, plan_repair(client, days[:MOST_DAYS]), max(len(days) - MOST_DAYS, 0))


async def repair_agreed(source: PlanSource, agreed: AgreedPlan, counts: Counts) -> None:
    """Put right the days of a plan that somebody agreed to. Each is looked at again: what changed is left alone.

    Args:
        source: The topics and the site.
        agreed: The plan.
        counts: Says how far it is.

    Raises:
        PunchstreamError: Kafka or ERPNext does not let us. What was done stays done, and may be done again.
    """
    wanted = frozenset(agreed.agreed)
    found = await late_of(source.log, range_of(agreed), Skipped())
    deliveries, planned = await asyncio.to_thread(_look_again, source, found, wanted)
    refused = {_named(each.day): str(each.left_alone) for each in planned if each.left_alone is not None}
    gone = wanted - {digest_of(each.day) for each in planned}
    refused |= {f"one day ({number})": GONE for number, _ in enumerate(sorted(gone), 1)}
    to_do = [each.day for each in planned if each.left_alone is None]
    await counts.begin(len(to_do), refused)
    for group in _groups(to_do):
        mine = [each for each in deliveries if day_of(each) in group]
        for each in await asyncio.to_thread(_repair, source, mine):
            if each.result == "repaired":
                counts.did(1)
            else:
                counts.failed(_named(each.day), each.why)


def _look_again(
    source: PlanSource, deliveries: Sequence[LateDelivery], wanted: frozenset[str]
) -> tuple[Sequence[LateDelivery], Sequence[PlannedRepair]]:
    with closing(ErpnextClient(source.erpnext)) as client:
        # Check-ins in a wrong zone would be counted for good.
        asyncio.run(the_sites_zone(source.log, client, site_of(source.erpnext.url)))
        found = looked_up(client, deliveries)
        return found, plan_repair(client, [day for day in days_of(found) if digest_of(day) in wanted])


def _repair(source: PlanSource, deliveries: Sequence[LateDelivery]) -> Sequence[Repair]:
    with closing(ErpnextClient(source.erpnext)) as client:
        return list(repair(client, deliveries))


def _groups(days: Iterable[Day]) -> Iterator[frozenset[Day]]:
    """Days of one shift, so many that auto attendance need not run for each."""
    for _, members in groupby(days, lambda each: each.shift_type):
        of_shift = list(members)
        for first in range(0, len(of_shift), AT_ONCE):
            yield frozenset(of_shift[first : first + AT_ONCE])


def _named(day: Day) -> str:
    return f"{day.employee} {day.attendance_date} {day.shift_type}"
