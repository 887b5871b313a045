"""Plans of what would be done in ERPNext: worked out for somebody, and agreed to by them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from fastapi import HTTPException

from attendance.errors import ConfigurationError
from attendance.records.job import JobAsked, PlanKind
from attendance.times import midnight
from console.acting import Refused, recorded
from console.context import Context
from console.language import marked as _
from console.plans import Kind, Plan, TooManyPlans
from console.rights import Actor
from operations import jobs
from operations.activity import Act
from operations.correction_plans import CorrectionPlan
from operations.jobs import Job
from operations.late_plans import LatePlan
from operations.plan_jobs import PlanRange, PlanSource, new_plan_job

EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""Kafka has no record from before."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan is of: some days, of a site or a device.

    Attributes:
        first: The first day.
        last: The last day; None where there is no end.
        site: Its name; empty for every site.
        device: Of one device, which counts before the site; empty for all.
    """

    first: date
    last: date | None = None
    site: str = ""
    device: str = ""

    @classmethod
    def read(cls, first: str, last: str | None, site: str, device: str) -> "Wanted":
        """What a form says.

        Args:
            first: The first day, as ISO 8601 has it.
            last: The last day; None where the form has none.
            site: The name of a site, or nothing.
            device: A device id, or nothing.

        Raises:
            Refused: that is no day, or the last is before the first.
        """
        try:
            days = [date.fromisoformat(each) for each in (first, last) if each is not None]
        except ValueError as error:
            raise Refused(_("That day is no date such as 2026-03-02.")) from error
        if days != sorted(days):
            raise Refused(_("The last day is before the first."))
        return cls(days[0], days[1] if last is not None else None, site.strip(), device.strip())

    @property
    def about(self) -> Mapping[str, str]:
        """For the topic of the console's activity."""
        days = f"{self.first}" if self.last is None else f"{self.first}, {self.last}"
        said = {"days": days, "site": self.site, "device": self.device}
        return {name: value for name, value in said.items() if value}


def source_of(context: Context) -> PlanSource:
    """What plans are made of.

    Args:
        context: Of the console.

    Raises:
        Refused: the console does not know ERPNext.
    """
    if context.erpnext is None:
        raise Refused(_("The console does not know your ERPNext: IT has to set ERPNEXT_URL for it."))
    return PlanSource(context.log, context.erpnext, lambda: context.registry)


def range_of(context: Context, actor: Actor, wanted: Wanted) -> PlanRange:
    """Of which records a plan is, as far as somebody sees them.

    Args:
        context: Of the console.
        actor: Who asks. Of somebody with sites, it is only of devices that are there now.
        wanted: Which days, on the clock of the console.

    Raises:
        Refused: no device is like that, or there is no such day.
    """
    devices = frozenset(
        each.device_id
        for each in context.registry
        if (each.device_id == wanted.device if wanted.device else wanted.site in ("", each.site))
        and actor.sees(each.site)
    )
    if not devices:
        raise Refused(_("No device is like that."))
    zone = context.settings.zone
    try:
        since = max(midnight(wanted.first, zone), EPOCH)
        until = None if wanted.last is None else midnight(wanted.last + timedelta(days=1), zone)
    except OverflowError as error:
        raise Refused(_("That day is no date such as 2026-03-02.")) from error
    # Whoever sees every site may mean devices that are not in the fleet any more.
    is_everything = actor.sites is None and not (wanted.site or wanted.device)
    return PlanRange(since, until, frozenset() if is_everything else devices)


async def begin(
    context: Context,
    actor: Actor,
    kind: Kind,
    wanted: Wanted,
    work_out: Callable[[], Awaitable[Any]],
    seconds: float | None,
) -> Plan:
    """Have a plan worked out. Nothing is changed.

    Args:
        context: Of the console.
        actor: For whom.
        kind: What it is of.
        wanted: What was asked.
        work_out: Returns what would be done.
        seconds: How long to wait for that at most; None for as long as it takes.

    Raises:
        Refused: others are worked out at the moment.
    """
    plan = Plan(kind, actor.name, wanted, context.clock())
    try:
        await context.plans.begin(plan, work_out, seconds)
    except TooManyPlans as error:
        raise Refused(_("Others have plans worked out at the moment. Try again in a minute.")) from error
    return plan


def known_plan(context: Context, actor: Actor, kind: Kind, plan_id: str) -> Plan:
    """A plan that was worked out for somebody.

    Args:
        context: Of the console.
        actor: For whom it was worked out.
        kind: What the plan is of.
        plan_id: Its id.

    Raises:
        HTTPException: there is none, or it was forgotten or agreed to.
    """
    plan = context.plans.find(kind, plan_id, actor.name, context.clock())
    if plan is None:
        raise HTTPException(404, "there is no such plan; ask for it again")
    return plan


async def agree(context: Context, actor: Actor, kind: PlanKind, act: Act, plan: Plan, note: str) -> JobAsked:
    """Store a job that does what somebody agreed to.

    Args:
        context: Of the console.
        actor: Who agrees.
        kind: Of the job.
        act: What is written down.
        plan: What they were shown. All of it is done that has a digest.
        note: Why.

    Raises:
        Refused: the plan is not known yet or has nothing to do, or there is no note.
        KafkaUnavailable: Kafka does not answer; it may be stored or not.
    """
    found: LatePlan | CorrectionPlan | None = plan.found
    if found is None:
        raise Refused(_("It is not known yet what would be done."))
    agreed, note = found.digests, note.strip()
    if not note:
        raise Refused(_("Say why."))
    if not agreed:
        raise Refused(_("There is nothing left to do here."))
    wanted = range_of(context, actor, plan.wanted)
    try:
        asked = new_plan_job(kind, wanted, agreed, actor.name, note)
    except ConfigurationError as error:
        raise Refused(_("It did not work. Show this to IT: %(why)s"), why=str(error)) from error
    about = {**plan.wanted.about, "count": str(len(agreed))}
    # Whoever sends the form twice agrees once.
    context.plans.drop(plan)
    try:
        async with recorded(context, actor, act, about, note) as ending:
            await jobs.store(context.log, asked)
            ending.result = asked.job_id
    except BaseException:
        context.plans.keep(plan)
        raise
    context.jobs.put(Job(asked))
    return asked
