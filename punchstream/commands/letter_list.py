"""`punchstream dead-letters list`: the dead letters, by stage and reason or one by one."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Annotated, Final

import typer

from attendance.errors import ConfigurationError, Reason
from attendance.records.dead_letter_action import LetterId
from operations.dead_letters import Selection, State
from operations.letter_lists import (
    GROUP,
    ROW,
    Group,
    Groups,
    LetterLine,
    LettersOnTopics,
    LetterSource,
    Readable,
    seconds,
)
from operations.log import Skipped
from operations.reading_again import Fleet
from punchstream.commands.arguments import fleet_has, kafka_log, known_fleet
from punchstream.commands.ledger_database import FromTopics, ledger_to_ask, say_source
from punchstream.output import AsCsv, AsJson, counted, cut, print_records, print_whole, say, say_skipped

SHOWN_MESSAGE: Final = 200

OfReason = Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="Only letters of this reason.")]
OfStage = Annotated[str | None, typer.Option("--stage", help="Only letters of this stage, such as push or sink.")]
OfDevice = Annotated[str | None, typer.Option("--device", help="Only letters about this device's punches.")]


def list_letters(  # noqa: PLR0913 - the options of the command
    *,
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
    each: Annotated[bool, typer.Option("--each", help="One row for each letter, not for each group.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="With `--each`: so many rows at most.")] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="With `--each`: go on after this letter, by their ids.")
    ] = None,
    from_topics: FromTopics = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the dead letters, grouped by stage and reason.

    The ledger is asked where LEDGER_URL is set, and otherwise the topics. Of what no adapter understood, the topics say
    how much the adapters and the fleet of today understand. Exit status 1 if there is no such device.
    """
    if not each and (limit is not None or after is not None):
        raise ConfigurationError("--limit and --after need --each")
    last = None if after is None else _id(after)
    skipped, fleet = Skipped(), Fleet(known_fleet)
    source = _source(fleet, skipped, from_topics=from_topics)
    wanted = Selection.of(reason, stage, device)
    groups, lines, readable = asyncio.run(_gather(source, wanted, each=each))
    say_skipped(skipped)
    say_source(source)
    found = groups.sorted()
    if device is not None and not found and not fleet_has()(device) and not asyncio.run(source.has_heard_of(device)):
        say(f"There is no device {device}: the fleet file does not have it, and no record names it.", err=True)
        raise typer.Exit(1)
    if readable is None:
        say("What today's adapters understand of it, only --from-topics says.", err=True)
    elif fleet.problem is not None:
        say(f"What could be read again is not known: {fleet.problem}", err=True)
        readable = []
    groups.note(readable or ())
    understood = {each.id: each.is_understood for each in readable or ()}
    lines = sorted((line for line in lines if last is None or line.id > last), key=lambda line: line.id)
    page = lines[:limit]
    rows = [line.to_json() | {"readable": understood.get(line.id)} for line in page]
    if as_json or as_csv:
        names, records = (ROW, rows) if each else (GROUP, [group.to_json() for group in found])
        print_records(names, records, as_json=as_json, as_csv=as_csv)
    elif each:
        _print_rows(rows)
    else:
        _print_groups(found)
    if len(page) < len(lines):
        say(f"The list goes on with --after {page[-1].id}", err=True)


def _id(text: str) -> LetterId:
    try:
        return LetterId.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"--after: {error}") from error


def _source(fleet: Fleet, skipped: Skipped, *, from_topics: bool) -> LetterSource:
    database = ledger_to_ask(from_topics=from_topics)
    if database is None:
        return LettersOnTopics(kafka_log("dead-letters"), fleet.read, skipped)
    from ledger.letters import LedgerLetters

    return LedgerLetters(database, skipped)


async def _gather(
    source: LetterSource, wanted: Selection, *, each: bool
) -> tuple[Groups, list[LetterLine], Sequence[Readable] | None]:
    groups, lines = Groups(), []
    async with aclosing(source.lines(wanted)) as found:
        async for line in found:
            groups.add(line)
            if each:
                lines.append(line)
    return groups, lines, await source.readable()


def _print_rows(rows: Iterable[dict[str, object]]) -> None:
    names = ("Id", "State", "Stage", "Reason", "At (UTC)", "Device", "Message")
    cells = [
        (
            row["id"],
            f"{row['state']}{', readable' if row['readable'] else ''}",
            row["stage"],
            row["reason"],
            row["at"],
            row["device"],
            cut(str(row["message"]), SHOWN_MESSAGE),
        )
        for row in rows
    ]
    print_whole(names, cells)


def _print_groups(groups: Iterable[Group]) -> None:
    names = ("Stage", "Reason", "Letters", "First (UTC)", "Last (UTC)", "Id", "Sample")
    rows = []
    total: Counter[State] = Counter()
    readable = None
    for group in groups:
        total += group.states
        if group.readable is not None:
            readable = (readable or 0) + group.readable
        rows.append(
            (
                group.stage,
                group.reason,
                _counts(group.states, ", ") + (f", {group.readable} readable" if group.readable else ""),
                seconds(group.first),
                seconds(group.last),
                group.sample,
                cut(group.message, SHOWN_MESSAGE),
            )
        )
    print_whole(names, rows)
    say(f"{counted(total.total(), 'dead letter')}{': ' if total else ''}{_counts(total, ', ')}")
    if readable is not None:
        say(f"Today's adapters understand {readable} of what no adapter understood; `replay` reads it again.")


def _counts(states: Counter[State], separator: str) -> str:
    return separator.join(f"{states[state]} {state}" for state in State if states[state])
