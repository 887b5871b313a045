"""Corrections: what ERPNext has that would now be different, and its replacement."""

from attendance.records.job import JobAsked
from console.actions.plans import Wanted, agree, begin, range_of, source_of
from console.context import Context
from console.plans import Plan
from console.rights import Actor
from operations.correction_plans import plan_corrections


async def plan(context: Context, actor: Actor, wanted: Wanted, seconds: float | None = None) -> Plan:
    """Compare ERPNext with the punches that arrived on some days. Nothing is sent.

    Args:
        context: Of the console.
        actor: Who asks.
        wanted: Which days and devices.
        seconds: How long to wait at most until that is known; None for as long as it takes.

    Raises:
        Refused: no device is like that, or the console does not know ERPNext, or has too much to do.
    """
    source, of = source_of(context), range_of(context, actor, wanted)
    return await begin(context, actor, "corrections", wanted, lambda: plan_corrections(source, of), seconds)


async def apply(context: Context, actor: Actor, agreed: Plan, note: str) -> JobAsked:
    """Store a job that sends the corrections of a plan, if nothing has changed until it runs.

    Args:
        context: Of the console.
        actor: Who agrees to it.
        agreed: The plan.
        note: Why.

    Raises:
        Refused: the plan is not known yet or says that nothing can be replaced, or there is no note.
        KafkaUnavailable: Kafka does not answer; it may be stored or not.
    """
    return await agree(context, actor, "correct_checkins", "correction.apply", agreed, note)
