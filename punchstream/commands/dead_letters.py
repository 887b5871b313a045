"""The `dead-letters` commands: list what failed and why, show it, send it back, or set it aside."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress

from attendance.errors import Reason
from attendance.records.dead_letter_action import LetterId
from attendance.times import format_milliseconds, format_seconds
from attendance.topics import Topics
from operations.dead_letter_actions import (
    REPLAYS_PER_SECOND,
    Plan,
    discard,
    make_plan,
    make_replay_plan,
    objection_to_discard,
    replay,
)
from operations.dead_letters import (
    Group,
    Groups,
    Letter,
    Selection,
    State,
    describe,
    find,
    read_letters,
    readable,
    seconds,
)
from operations.log import Skipped
from punchstream.commands.arguments import kafka_log, who
from punchstream.output import AsJson, counted, print_facts, print_json, print_rows, safe, say_skipped

SHOWN_MESSAGE: Final = 200
SHOWN_VALUE: Final = 4000  # characters
MANY: Final = 10  # from here on progress is shown

app = typer.Typer(help="What failed and why; send it back, or set it aside.", no_args_is_help=True)


def _letter_id(text: str) -> LetterId:
    try:
        return LetterId.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, as `punchstream dead-letters list` shows it") from error


Ids = Annotated[
    list[LetterId] | None, typer.Argument(metavar="ID", parser=_letter_id, help="As `list` shows it: `3:17`.")
]
OfReason = Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="Only letters of this reason.")]
OfStage = Annotated[str | None, typer.Option("--stage", help="Only letters of this stage, such as push or sink.")]
OfDevice = Annotated[str | None, typer.Option("--device", help="Only letters about this device's punches.")]


@app.command("list")
def list_letters(
    *,
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
    each: Annotated[bool, typer.Option("--each", help="One row for each letter, not for each group.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the dead letters, grouped by stage and reason."""
    log = kafka_log("dead-letters")
    wanted = Selection(reason=reason, stage=stage, device=device)
    groups, skipped = Groups(), Skipped()
    rows: list[dict[str, object]] = []

    async def gather() -> None:
        async with aclosing(read_letters(log, skipped)) as letters:
            async for letter in letters:
                if wanted.matches(letter, log.topics):
                    groups.add(letter)
                    if each:
                        rows.append(_row(letter, log.topics))

    asyncio.run(gather())
    say_skipped(skipped)
    if as_json:
        print_json(rows if each else [group.to_json() for group in groups.sorted()])
    elif each:
        _print_rows(rows)
    else:
        _print_groups(groups.sorted())


def _row(letter: Letter, topics: Topics) -> dict[str, object]:
    content = letter.content
    return {
        "id": str(letter.id),
        "state": letter.state,
        "stage": content.stage,
        "reason": content.reason,
        "at": format_seconds(content.at),
        "device": letter.device(topics),
        "replay_count": content.replay_count,
        "message": content.message,
    }


def _print_rows(rows: Iterable[Mapping[str, object]]) -> None:
    names = ("Id", "State", "Stage, reason", "At (UTC)", "Device", "Message")
    cells = (
        (
            row["id"],
            row["state"],
            f"{row['stage']}\n{row['reason']}",
            row["at"],
            row["device"],
            cut(str(row["message"]), SHOWN_MESSAGE),
        )
        for row in rows
    )
    print_rows(names, cells, whole=len(names) - 1)


def _print_groups(groups: Iterable[Group]) -> None:
    names = ("Stage, reason", "Letters", "First, last (UTC)", "Id", "Sample")
    rows = []
    total: Counter[State] = Counter()
    for group in groups:
        total += group.states
        rows.append(
            (
                f"{group.stage}\n{group.reason}",
                _counts(group.states, "\n"),
                f"{seconds(group.first)}\n{seconds(group.last)}",
                group.sample,
                cut(group.message, SHOWN_MESSAGE),
            )
        )
    print_rows(names, rows, whole=len(names) - 1)
    typer.echo(f"{counted(total.total(), 'dead letter')}{': ' if total else ''}{_counts(total, ', ')}")


def _counts(states: Counter[State], separator: str) -> str:
    return separator.join(f"{states[state]} {state}" for state in State if states[state])


@app.command("show")
def show_letter(
    id_: Annotated[LetterId, typer.Argument(metavar="ID", parser=_letter_id, help="As `list` shows it: `3:17`.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show all about one dead letter: why it failed, the record itself, and what was done about it."""
    skipped = Skipped()
    letter = asyncio.run(find(kafka_log("dead-letters"), id_, skipped))
    say_skipped(skipped)
    if letter is None:
        typer.echo(f"{id_}: no such dead letter", err=True)
        raise typer.Exit(1)
    if as_json:
        print_json(describe(letter))
    else:
        _print_letter(letter)


def _print_letter(letter: Letter) -> None:
    content = letter.content
    origin = f"{content.topic} {content.partition}:{content.offset}" if content.topic else content.where
    facts: dict[str, object] = {
        "id": f"{letter.id}, {letter.state}",
        "reason": f"{content.reason}, found by the stage {content.stage}",
        "message": content.message,
        "at": format_milliseconds(content.at),
        "from": origin,
        "event_id": content.event_id,
        "attempts": content.attempts,
        "replay_count": content.replay_count,
        "key": _shown(content.key),
        **{f"header {name}": _shown(data) for name, data in content.headers},
        "value": _shown(content.value),
    }
    actions = (
        (action.action, f"{format_milliseconds(action.at)} by {action.by}{f': {action.note}' if action.note else ''}")
        for action in letter.history
    )
    print_facts([*facts.items(), *actions])


def _shown(data: bytes | None) -> str:
    content = readable(data)
    if content is None:
        return "none"
    text = content.get("text")
    shown = f"{content['hex']} (hex, {content['bytes']} bytes)" if text is None else str(text)
    return cut(shown, SHOWN_VALUE)


@app.command("replay")
def replay_letters(
    ids: Ids = None,
    *,
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
    everything: Annotated[bool, typer.Option("--all", help="All that nothing was done about yet.")] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="At most so many in a second.")] = REPLAYS_PER_SECOND,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what is parked and, by ID, what was replayed or discarded.")
    ] = False,
) -> None:
    """Send records back to the topic that they came from, once their cause is repaired.

    Exit status 1 when one was refused.
    """
    wanted = _wanted(ids, reason, stage, device, everything=everything)
    log = kafka_log("dead-letters")
    plan = asyncio.run(make_replay_plan(log, wanted, force=force))
    if dry_run:
        for id_ in plan.ids:
            where = ", from its raw record" if id_ in plan.begin_at_raw else ""
            typer.echo(f"{id_}: would be replayed{where}")
        _finish(plan, f"{len(plan.ids)} would be replayed")
        return
    sent = 0
    with Progress(console=Console(stderr=True), transient=True, disable=len(plan.ids) < MANY) as progress:
        task = progress.add_task("Replaying", total=len(plan.ids))

        def report(id_: LetterId, problem: str | None) -> None:
            nonlocal sent
            if problem is None:
                sent += 1
            else:
                plan.refused[id_] = problem
            progress.advance(task)

        try:
            if plan.ids:
                asyncio.run(replay(log, plan, per_second=rate, by=who(), report=report))
        except BaseException:
            progress.stop()
            typer.echo(f"{sent} of {len(plan.ids)} replayed; one more may have been sent", err=True)
            raise
    _finish(plan, f"{sent} replayed")


@app.command("discard")
def discard_letters(
    ids: Ids = None,
    *,
    note: Annotated[str, typer.Option(help="Why nothing is to be done. It is kept.")],
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
) -> None:
    """Record that nothing is to be done about letters. They stay where they are. Exit status 1 when one was refused."""
    if not note.strip():
        raise typer.BadParameter("must say why", param_hint="--note")
    wanted = _wanted(ids, reason, stage, device)
    log = kafka_log("dead-letters")
    plan = asyncio.run(make_plan(log, wanted, objection_to_discard))
    if plan.ids:
        asyncio.run(discard(log, plan.ids, note=note, by=who()))
    _finish(plan, f"{len(plan.ids)} discarded")


def _wanted(
    ids: list[LetterId] | None,
    reason: Reason | None,
    stage: str | None,
    device: str | None,
    *,
    everything: bool = False,
) -> Selection:
    """The selection. One that is empty by mistake must not become all."""
    if [bool(ids), reason is not None, everything].count(True) != 1:
        raise typer.BadParameter("give either IDs, or --reason, or (to replay) --all")
    if ids and (stage or device):
        raise typer.BadParameter("--stage and --device narrow --reason or --all, not IDs")
    return Selection(frozenset(ids or ()), reason, stage, device)


def _finish(plan: Plan, done: str) -> None:
    say_skipped(plan.skipped)
    for id_, problem in plan.refused.items():
        typer.echo(safe(f"{id_}: {problem}"), err=True)
    superseded = f", {plan.superseded} of them superseded" if plan.superseded else ""
    typer.echo(f"{done}, {len(plan.refused)} refused{superseded}")
    if plan.refused:
        raise typer.Exit(1)


def cut(text: str, length: int) -> str:
    """Text of at most so many characters, and a note of what is missing."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length} more characters)"
