"""Plans of corrections: what ERPNext has of a range that would now be different, and the job that replaces it.

The comparison stands in SQLite, which is of one thread, and ERPNext's client waits: so it has a thread of its own.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Final

from attendance.erpnext import ErpnextClient
from attendance.errors import TargetUnavailable
from attendance.records.job import AgreedPlan
from attendance.records.raw_event import RawEvent
from attendance.site import site_of
from operations.corrections import Corrections, Difference, correct
from operations.plan_jobs import MOST_AGREED, Counts, PlanChanged, PlanRange, PlanSource, digest, range_of
from operations.replay import Range, RangeTables
from operations.site.zone import the_sites_zone
from operations.users import read_user_map
from sinks.targets.erpnext.documents import StoredPunch

PER_SECOND: Final = 500.0
"""Corrections that are sent in a second, at most."""
SHOWN: Final = 500
"""Differences and days that a plan names. What it counts is all of them."""
SINK_SECONDS: Final = 300.0
"""So long the sink may take to deliver what is on its way."""
CHANGED: Final = (
    "ERPNext, the user map or the fleet changed since this was agreed to: nothing was sent; look at it again"
)


@dataclass(frozen=True, slots=True)
class CorrectionPlan:
    """What corrections of a range would do.

    Attributes:
        different: Documents that would be different.
        correctable: Those of them that can be replaced.
        unassigned: Punches in ERPNext whose number has no employee who may check in now.
        differences: The first of them, by document.
        stay: Those of `differences`, by event id, that stay as they are.
        days: The first attendance days that are touched: employee and date.
        digests: Of the first `MOST_AGREED` corrections, in the order in which they are sent. The others come once these
            are made.
    """

    different: int
    correctable: int
    unassigned: int
    differences: Sequence[Difference]
    stay: frozenset[str]
    days: Sequence[tuple[str, str]]
    digests: Sequence[str]


async def plan_corrections(source: PlanSource, wanted: PlanRange) -> CorrectionPlan:
    """Compare ERPNext with a range. Nothing is sent.

    Args:
        source: The topics, the site and the fleet.
        wanted: Which raw records, by their arrival.

    Raises:
        ConfigurationError: ERPNext's documents have no `event_id`, or the fleet is not known.
        PunchstreamError: Kafka or ERPNext does not let us look, or its zone is in doubt.
    """
    plan, _ = await asyncio.to_thread(_work_out, source, wanted)
    return plan


async def correct_agreed(source: PlanSource, agreed: AgreedPlan, counts: Counts) -> None:
    """Send the corrections of a plan that somebody agreed to, if they are what would be sent now.

    One that goes on after its process was killed sends what is left of them.

    Args:
        source: The topics, the site and the fleet.
        agreed: The plan.
        counts: Says how far it is.

    Raises:
        PlanChanged: something else would be sent now. Nothing was sent.
        TargetUnavailable: also where the sink has not delivered in time what was on its way. Nothing was sent.
        PunchstreamError: as for the plan. What was sent before counts, and to send it again does no harm.
    """
    _, corrections = await asyncio.to_thread(_work_out, source, range_of(agreed))
    if not counts.is_resumed and tuple(corrections) != agreed.agreed:
        raise PlanChanged(CHANGED)
    wanted = frozenset(agreed.agreed)
    to_send = [event for each, event in corrections.items() if each in wanted]
    await counts.begin(len(to_send), {})
    try:
        async with asyncio.timeout(SINK_SECONDS) as waiting:
            await source.log.until_delivered()
    except TimeoutError as error:
        if not waiting.expired():
            raise
        raise TargetUnavailable("the sink is still busy with other check-ins; nothing was sent") from error
    await correct(source.log, to_send, PER_SECOND, counts.did)


def _work_out(source: PlanSource, wanted: PlanRange) -> tuple[CorrectionPlan, Mapping[str, RawEvent]]:
    """The plan, and the corrections that it has digests of, by digest."""
    with RangeTables() as tables:
        asyncio.run(tables.fill(source.log, Range(wanted.since, wanted.until, wanted.devices)))
        users = asyncio.run(read_user_map(source.log, tables.skipped))
        corrections = Corrections(tables)
        with closing(ErpnextClient(source.erpnext)) as client:
            zone = asyncio.run(the_sites_zone(source.log, client, site_of(source.erpnext.url)))
            corrections.compare(client, zone, users, source.fleet().get)
        events, movable = dict[str, RawEvent](), set[str | None]()
        for event, stored, expected in corrections.moves():
            movable.add(event.supersedes)
            if len(events) < MOST_AGREED:
                events[_digest_of(event, stored, expected)] = event
        differences = list(islice(corrections.differences(), SHOWN))
        plan = CorrectionPlan(
            corrections.different,
            corrections.correctable,
            corrections.unassigned,
            differences,
            frozenset(each.event_id for each in differences if each.event_id not in movable),
            corrections.days()[:SHOWN],
            list(events),
        )
        return plan, events


def _digest_of(event: RawEvent, stored: StoredPunch, expected: StoredPunch) -> str:
    """Of what is sent, and of what was shown: from what to what."""
    return digest(event.encode().decode(), *astuple(stored), *astuple(expected))
