"""`punchstream trace`: what became of each punch of somebody, and how long each milestone took."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Annotated, Final

import typer

from attendance.durations import format_rounded
from attendance.errors import ConfigurationError
from attendance.times import format_milliseconds, format_seconds, from_milliseconds, to_wall_clock
from operations.facts import RawFact
from operations.journeys import Journey, Milestone, journeys
from operations.log import Skipped
from operations.trace import Asked, TopicsSource, TraceSource
from punchstream.commands.arguments import kafka_log
from punchstream.commands.ledger_database import FromTopics, ledger_to_ask, say_if_old
from punchstream.output import AsCsv, AsJson, counted, print_csv, print_json, say, say_skipped

_MILESTONES: Final = ("received", "stored", "decided", "delivered")
_BECAME: Final = {
    "delivered": "kept",
    "undelivered": "kept, and on its way to the target",
    "dropped": "dropped",
    "waiting": "waits",
    "dead_lettered": "failed",
    "discarded_waiting": "discarded while it waited",
}


def trace(
    *,
    employee: Annotated[str | None, typer.Option(help="Punches of this employee, on a day.")] = None,
    day: Annotated[str | None, typer.Option(help="The date on the device's clock, such as 2026-03-02.")] = None,
    device: Annotated[str | None, typer.Option(help="Punches of a user of this device.")] = None,
    user: Annotated[str | None, typer.Option(help="The device user id, with --device.")] = None,
    event_id: Annotated[str | None, typer.Option("--event-id", help="The punch of this id, and its copies.")] = None,
    from_topics: FromTopics = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show each punch of an employee on a day, of a device user, or of an event id, and what became of it.

    Where LEDGER_URL is set, the ledger is asked; otherwise the topics are read, from that day on if one is given.
    The exit status is 1 if nobody knows who or what is asked about.
    """
    asked = _asked(employee, day, device, user, event_id)
    skipped = Skipped()
    source = _source(skipped, from_topics=from_topics)
    found, is_known = asyncio.run(_ask(source, asked))
    say_skipped(skipped)
    say_if_old(source)
    if not is_known:
        say(f"There is no {asked.whom}, as far as {source.name} goes.", err=True)
        raise typer.Exit(1)
    if as_json:
        print_json([_to_json(each) for each in found])
    elif as_csv:
        print_csv(_COLUMNS, ([_to_json(each)[name] for name in _COLUMNS] for each in found))
    else:
        for each in found:
            say("\n".join(_lines(each)))
        on = "" if asked.day is None else f" on {asked.day}"
        say(f"{counted(len(found), 'record')} of {asked.whom}{on}, from {source.name}")


def _asked(employee: str | None, day: str | None, device: str | None, user: str | None, event_id: str | None) -> Asked:
    ways = [employee is not None, device is not None or user is not None, event_id is not None]
    if sum(ways) != 1:
        raise ConfigurationError("give one of --employee with --day, --device with --user, or --event-id")
    if employee is not None and day is None:
        raise ConfigurationError("--employee needs --day")
    if (device is None) != (user is None):
        raise ConfigurationError("--device and --user need each other")
    if event_id is not None and day is not None:
        raise ConfigurationError("--event-id needs no --day")
    try:
        on = None if day is None else date.fromisoformat(day)
    except ValueError as error:
        raise ConfigurationError(f"--day: `{day}` is no date such as 2026-03-02") from error
    return Asked(employee, on, device, user, event_id)


def _source(skipped: Skipped, *, from_topics: bool) -> TraceSource:
    database = ledger_to_ask(from_topics=from_topics)
    if database is None:
        return TopicsSource(kafka_log("trace"), skipped)
    from ledger.trace import LedgerTrace

    return LedgerTrace(database)


async def _ask(source: TraceSource, asked: Asked) -> tuple[list[Journey], bool]:
    found = journeys(await source.facts(asked))
    return found, bool(found) or await source.is_known(asked)


_COLUMNS: Final = (
    *(
        "event_id",
        "device_id",
        "device_user_id",
        "site",
        "event_type",
        "event_time",
        "device_time",
        "outcome",
        "reason",
    ),
    *("kept_event_id", "employee", "document", "message", "partition", "offset"),
    *("supersedes", "time_given_by", "time_given_at", "time_given_note", "time_given_instead_of"),
    *(f"{name}_at" for name in _MILESTONES),
    *(f"{name}_after" for name in _MILESTONES[1:]),
)


def _to_json(journey: Journey) -> dict[str, object]:
    raw = journey.raw
    milestones = {milestone.name: milestone for milestone in journey.milestones}
    return {
        "event_id": raw.event_id,
        "device_id": raw.device_id,
        "device_user_id": raw.device_user_id,
        "site": raw.site,
        "event_type": raw.event_type,
        "event_time": None if raw.event_time is None else format_seconds(from_milliseconds(raw.event_time)),
        "device_time": raw.device_time,
        "outcome": journey.outcome,
        "reason": journey.reason,
        "kept_event_id": journey.kept_event_id,
        "employee": journey.employee,
        "document": journey.document,
        "message": journey.message,
        "partition": raw.kafka_partition,
        "offset": raw.kafka_offset,
        "supersedes": raw.supersedes,
        "time_given_by": raw.time_given_by,
        "time_given_at": _instant(raw.time_given_at, format_milliseconds),
        "time_given_note": raw.time_given_note,
        "time_given_instead_of": _instant(raw.time_given_instead_of, format_seconds),
        **{
            f"{name}_at": format_milliseconds(from_milliseconds(milestones[name].at)) if name in milestones else None
            for name in _MILESTONES
        },
        **{f"{name}_after": milestones[name].after if name in milestones else None for name in _MILESTONES[1:]},
    }


def _lines(journey: Journey) -> Iterator[str]:
    raw = journey.raw
    yield f"{_time_of(raw)}  {raw.event_type or ''}  {raw.device_id}  user {raw.device_user_id}  {journey.outcome}"
    yield f"  event      {raw.event_id}"
    for milestone in journey.milestones:
        after = "" if milestone.after is None else f"  {format_rounded(milestone.after)} later"
        at = format_milliseconds(from_milliseconds(milestone.at))
        yield f"  {milestone.name:10} {at}{after}{_what(journey, milestone)}"
    if journey.message:
        yield f"  message    {journey.message}"
    if raw.supersedes not in (None, raw.event_id):
        yield f"  corrects   {raw.supersedes}"
    if raw.time_given_at is not None:
        wrong = _instant(raw.time_given_instead_of, format_seconds) or "no time"
        at = format_milliseconds(from_milliseconds(raw.time_given_at))
        yield f"  time given {at} by {raw.time_given_by}, instead of {wrong}: {raw.time_given_note}"
    yield ""


def _instant(at: int | None, written: Callable[[datetime], str]) -> str | None:
    return None if at is None else written(from_milliseconds(at))


def _time_of(raw: RawFact) -> str:
    if raw.event_time is None:
        return f"{raw.device_time or 'without a time'} (cannot be read)"
    at = from_milliseconds(raw.event_time)
    try:
        return f"{to_wall_clock(at, raw.device_timezone or 'UTC'):%Y-%m-%d %H:%M:%S} ({raw.device_timezone})"
    except (ConfigurationError, OverflowError):
        return format_seconds(at)


def _what(journey: Journey, milestone: Milestone) -> str:
    """What came of a milestone."""
    if milestone.name == "delivered":
        return f": {journey.document}"
    if milestone.name != "decided":
        return ""
    words: Sequence[str | None] = (
        _BECAME.get(journey.outcome),
        journey.reason,
        None if journey.kept_event_id is None else f"of {journey.kept_event_id}",
        None if journey.employee is None else f"for {journey.employee}",
    )
    return f": {' '.join(word for word in words if word)}"
