"""The right time of a punch whose clock was wrong."""

from typing import Final

from attendance.errors import TargetUnavailable
from attendance.records.raw_event import RawEvent
from attendance.settings import StreamSettings
from attendance.times import format_seconds
from console.acting import Refused, recorded
from console.actions.fresh import fresh_trace
from console.context import Context
from console.language import marked as _
from console.record_words import TIME_REFUSALS
from console.rights import Actor
from operations import right_time
from operations.facts import RawFact
from operations.right_time import SaidTime, TimePlan, TimeRefused
from operations.trace import Asked

SINK_SECONDS: Final = 20.0
"""So long the sink may take to deliver what is on its way."""


async def plan_time(context: Context, actor: Actor, event_id: str, time: str, note: str) -> TimePlan:
    """Find out what giving a punch its right time will do. Nothing is sent.

    Args:
        context: Of the console.
        actor: Who asks.
        event_id: Which punch.
        time: The right time, on the clock where the device is.
        note: Why.

    Raises:
        Refused: it cannot be given this time, or the actor does not see its site.
        RetriableError: Kafka or the ledger does not answer.
    """
    source = await fresh_trace(context)
    facts = await source.facts(Asked(event_id=event_id))
    sites = {each.site for each in facts if isinstance(each, RawFact) and each.event_id == event_id}
    if not all(map(actor.sees, sites)):
        raise Refused(TIME_REFUSALS["unknown"])
    said = SaidTime(time, actor.name, note, context.clock())
    tolerance = StreamSettings.load().future_tolerance
    try:
        return await right_time.plan_time(
            source, context.log, context.registry.get, event_id, said, future_tolerance=tolerance
        )
    except TimeRefused as error:
        raise Refused(TIME_REFUSALS[error.why], about=error.about) from error


async def give_time(context: Context, actor: Actor, event_id: str, time: str, note: str) -> TimePlan:
    """Give a punch its right time. Takes and raises what `plan_time` does.

    Raises:
        Refused: also where the sink has too much to do.
    """
    # Of two who give one punch a time, the second is to see what the first did.
    async with context.giving:
        plan = await plan_time(context, actor, event_id, time, note)
        wrong, right = plan.wrong, plan.right
        about = {
            "event_id": event_id,
            "device": wrong.device_id,
            "number": wrong.device_user_id,
            "wrong_time": _written(wrong),
            "right_time": _written(right),
        }
        async with recorded(context, actor, "time.give", about, note.strip()) as ending:
            try:
                await right_time.give_time(context.log, plan, seconds=SINK_SECONDS)
            except TargetUnavailable as error:
                raise Refused(_("ERPNext has much to do at the moment. Try again in a minute.")) from error
            ending.result = right.event_id
        return plan


def _written(event: RawEvent) -> str:
    return event.device_time or "" if event.event_time is None else format_seconds(event.event_time)
