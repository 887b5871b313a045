"""`punchstream set-time`: the right time of a punch whose clock was wrong."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attendance.errors import ConfigurationError
from attendance.settings import StreamSettings
from attendance.times import format_seconds, now, to_wall_clock
from operations.log import Log, Skipped
from operations.trace import TopicsSource, TraceSource
from punchstream.commands.arguments import device_finder, kafka_log, who
from punchstream.commands.ledger_database import FromTopics, ledger_to_ask
from punchstream.output import AsJson, print_json, say, say_skipped

if TYPE_CHECKING:
    from attendance.records.raw_event import RawEvent
    from operations.right_time import TimePlan

REACH_SECONDS: Final = 20.0
"""So long the ledger may take to have what the topics had when it was asked."""


def set_time(
    punch: Annotated[str, typer.Argument(help="Its event id, or the id of its dead letter, such as 3:17.")],
    *,
    time: Annotated[
        str, typer.Option(help="The right time where the device is, such as `2026-03-02 08:00`; or one with an offset.")
    ],
    note: Annotated[str, typer.Option(help="Why, for whoever asks later.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done. Send nothing.")] = False,
    from_topics: FromTopics = False,
    as_json: AsJson = False,
) -> None:
    """Give a punch its right time, because the clock of its device was wrong.

    It is for a punch that failed for its time, or that ERPNext has at a wrong one. The punch counts once, at the time
    given: what ERPNext has of it is replaced, and its dead letters are discarded with the note. The raw record stays.
    `punchstream trace` shows who gave the time, when and why.

    Where LEDGER_URL is set, the ledger is asked, once it has what the topics have now; otherwise the topics are read.
    """
    log, skipped = kafka_log("set-time"), Skipped()
    plan = asyncio.run(_set_time(log, skipped, punch, time, note, from_topics=from_topics, dry_run=dry_run))
    say_skipped(skipped)
    wrong, right = plan.wrong, plan.right
    if as_json:
        print_json(
            {
                "event_id": wrong.event_id,
                "superseded_by": right.event_id,
                "device_id": wrong.device_id,
                "device_user_id": wrong.device_user_id,
                "wrong": None if wrong.event_time is None else format_seconds(wrong.event_time),
                "right": None if right.event_time is None else format_seconds(right.event_time),
                "delivered": plan.is_delivered,
                "letters": [str(each) for each in plan.letters],
                "sent": not dry_run,
            }
        )
        return
    whose = f"{wrong.device_id}, user {wrong.device_user_id}"
    say(f"{whose}: {_at(wrong)} → {_at(right)} ({right.device_timezone})")
    say("Nothing was sent." if dry_run else f"Sent: {right.event_id} takes the place of {wrong.event_id}.")


async def _set_time(
    log: Log, skipped: Skipped, punch: str, time: str, note: str, *, from_topics: bool, dry_run: bool
) -> "TimePlan":
    from operations.right_time import SaidTime, give_time, plan_time

    source = await _source(log, skipped, from_topics=from_topics)
    event_id = await _event_id(log, skipped, punch)
    tolerance = StreamSettings.load().future_tolerance
    find = device_finder()
    said = SaidTime(time, who(), note, now())
    plan = await plan_time(source, log, find, event_id, said, future_tolerance=tolerance)
    if not dry_run:
        await give_time(log, plan)
    return plan


async def _source(log: Log, skipped: Skipped, *, from_topics: bool) -> TraceSource:
    database = ledger_to_ask(from_topics=from_topics)
    if database is None:
        return TopicsSource(log, skipped)
    from ledger.behind import until_reached
    from ledger.trace import LedgerTrace

    # What somebody else gave a moment ago must not be given twice.
    if (await until_reached(database, log, REACH_SECONDS)).behind:
        raise ConfigurationError("the ledger lacks records that the topics have: use --from-topics, or wait")
    return LedgerTrace(database)


async def _event_id(log: Log, skipped: Skipped, punch: str) -> str:
    """The event id of a punch that is named by it or by a dead letter."""
    from attendance.records.dead_letter_action import LetterId
    from operations.dead_letters import find

    if ":" not in punch:
        return punch
    try:
        letter = await find(log, LetterId.parse(punch), skipped)
    except ValueError as error:
        raise ConfigurationError(f"`{punch}` is neither an event id nor the id of a dead letter") from error
    if letter is None or letter.content.event_id is None:
        raise ConfigurationError(f"{punch} is no dead letter of a punch")
    return letter.content.event_id


def _at(event: "RawEvent") -> str:
    """Its time, on the clock where the device is."""
    if event.event_time is None:
        return event.device_time or "no time"
    return str(to_wall_clock(event.event_time, event.device_timezone))
