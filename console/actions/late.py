"""Late punches: what came after its day was closed in ERPNext, what a repair would do, and the repair."""

from attendance.records.job import JobAsked
from console.actions.plans import Wanted, agree, begin, range_of, source_of
from console.context import Context
from console.plans import Plan
from console.rights import Actor
from operations.late_plans import plan_late


async def plan(context: Context, actor: Actor, wanted: Wanted, seconds: float | None = None) -> Plan:
    """List what came late, and what a repair would do. Nothing is changed.

    Args:
        context: Of the console.
        actor: Who asks.
        wanted: Since which day it was delivered, and at which devices it was made.
        seconds: How long to wait at most until that is known; None for as long as it takes.

    Raises:
        Refused: no device is like that, or the console does not know ERPNext, or has too much to do.
    """
    source, of = source_of(context), range_of(context, actor, wanted)
    return await begin(context, actor, "late", wanted, lambda: plan_late(source, of), seconds)


async def repair(context: Context, actor: Actor, agreed: Plan, note: str) -> JobAsked:
    """Store a job that puts right the days of a plan that can be put right.

    Args:
        context: Of the console.
        actor: Who agrees to it.
        agreed: The plan.
        note: Why.

    Raises:
        Refused: the plan is not known yet or says that nothing can be done, or there is no note.
        KafkaUnavailable: Kafka does not answer; it may be stored or not.
    """
    return await agree(context, actor, "repair_days", "late.repair", agreed, note)
