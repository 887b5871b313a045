"""The `dead-letters` commands: list what failed and why, show it, send it back or read it again, or set it aside."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import aclosing, closing
from typing import Annotated, Final

import typer
from rich.progress import Progress

from attendance.errors import Reason
from attendance.records.dead_letter_action import LetterId
from attendance.records.unread import UnreadRequest
from attendance.settings import ErpnextSettings, StreamSettings
from attendance.site import site_of
from attendance.times import format_milliseconds, format_seconds
from attendance.topics import Topics
from operations.dead_letter_actions import (
    REPLAYS_PER_SECOND,
    Plan,
    discard,
    discard_each,
    make_plan,
    make_replay_plan,
    objection_to_discard,
    replay,
)
from operations.dead_letters import (
    SETTLED,
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
from operations.log import Log, Skipped
from operations.reading_again import Fleet
from operations.unread import GONE, ReadingAgain, describe_request, find_request
from producers.pictures import redact
from punchstream.commands.arguments import kafka_log, known_fleet, stop_where_nothing_is, who
from punchstream.output import AsJson, counted, print_facts, print_json, print_rows, say, say_skipped, terminal

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
    """Show the dead letters, grouped by stage and reason.

    Of what no adapter understood, it says how much the adapters and the fleet file of today understand.
    """
    log = kafka_log("dead-letters")
    _stop_at_unknown(log, device)
    wanted = Selection(reason=reason, stage=stage, device=device)
    groups, skipped = Groups(), Skipped()
    rows: list[dict[str, object]] = []
    fleet = Fleet(known_fleet)
    reading = ReadingAgain(fleet.read, log.topics)
    unsettled: dict[LetterId, Group] = {}

    async def gather() -> None:
        async with aclosing(read_letters(log, skipped)) as letters:
            async for letter in letters:
                if wanted.matches(letter, log.topics):
                    group = groups.add(letter)
                    if letter.state not in SETTLED and reading.add(letter):
                        unsettled[letter.id] = group
                    if each:
                        rows.append(_row(letter, log.topics))
        await reading.find(log, skipped)

    asyncio.run(gather())
    say_skipped(skipped)
    if fleet.problem is not None:
        say(f"What could be read again is not known: {fleet.problem}", err=True)
    else:
        _note_readable(reading.readable(), unsettled, rows)
    if as_json:
        print_json(rows if each else [group.to_json() for group in groups.sorted()])
    elif each:
        _print_rows(rows)
    else:
        _print_groups(groups.sorted())


def _note_readable(
    readable: Mapping[LetterId, bool], groups: Mapping[LetterId, Group], rows: Iterable[dict[str, object]]
) -> None:
    for id_, understood in readable.items():
        groups[id_].readable = (groups[id_].readable or 0) + understood
    by_row = {str(id_): understood for id_, understood in readable.items()}
    for row in rows:
        row["readable"] = by_row.get(str(row["id"]))


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
        "readable": None,
        "message": content.message,
    }


def _print_rows(rows: Iterable[Mapping[str, object]]) -> None:
    names = ("Id", "State", "Stage, reason", "At (UTC)", "Device", "Message")
    cells = (
        (
            row["id"],
            f"{row['state']}{', readable' if row['readable'] else ''}",
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
    readable = None
    for group in groups:
        total += group.states
        if group.readable is not None:
            readable = (readable or 0) + group.readable
        rows.append(
            (
                f"{group.stage}\n{group.reason}",
                _counts(group.states, "\n") + (f"\n{group.readable} readable" if group.readable else ""),
                f"{seconds(group.first)}\n{seconds(group.last)}",
                group.sample,
                cut(group.message, SHOWN_MESSAGE),
            )
        )
    print_rows(names, rows, whole=len(names) - 1)
    say(f"{counted(total.total(), 'dead letter')}{': ' if total else ''}{_counts(total, ', ')}")
    if readable is not None:
        say(f"Today's adapters understand {readable} of what no adapter understood; `replay` reads it again.")


def _counts(states: Counter[State], separator: str) -> str:
    return separator.join(f"{states[state]} {state}" for state in State if states[state])


@app.command("show")
def show_letter(
    id_: Annotated[LetterId, typer.Argument(metavar="ID", parser=_letter_id, help="As `list` shows it: `3:17`.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show all about one dead letter: why it failed, the record itself, and what was done about it."""
    skipped, log = Skipped(), kafka_log("dead-letters")
    letter = asyncio.run(find(log, id_, skipped))
    request = None
    if letter is not None and letter.content.unread is not None:
        request = asyncio.run(find_request(log, letter.content.unread, skipped))
    say_skipped(skipped)
    if letter is None:
        say(f"{id_}: no such dead letter", err=True)
        raise typer.Exit(1)
    if as_json:
        print_json(describe(letter) | ({} if letter.content.unread is None else {"unread": describe_request(request)}))
    else:
        _print_letter(letter, request)


def _print_letter(letter: Letter, request: UnreadRequest | None = None) -> None:
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
    if content.unread is not None:
        facts |= _facts(request)
    actions = (
        (action.action, f"{format_milliseconds(action.at)} by {action.by}{f': {action.note}' if action.note else ''}")
        for action in letter.history
    )
    print_facts([*facts.items(), *actions])


def _facts(request: UnreadRequest | None) -> Mapping[str, object]:
    """What is shown of an unread request."""
    if request is None:
        return {"unread": GONE}
    facts: dict[str, object] = {
        "unread": request.unread_id,
        "came by": f"{request.transport}, adapter {request.adapter} {request.adapter_version}",
        "request": f"{request.method} {request.path}{'?' if request.query else ''}{request.query}".strip(),
        "place": request.place,
        **{f"request header {name}": text for name, text in request.headers.items()},
        **{f"option {name}": text for name, text in request.options.items()},
        "removed": ", ".join(request.removed),
        "sealed": request.message if request.sealed else "",
        "body": "" if request.sealed else _shown(redact(request.body)),
    }
    return {name: fact for name, fact in facts.items() if fact != ""}


def _shown(data: bytes | None) -> str:
    content = readable(data)
    if content is None:
        return "none"
    text = content.get("text")
    shown = f"{content['hex']} (hex, {content['bytes']} bytes)" if text is None else str(text)
    return cut(shown, SHOWN_VALUE)


@app.command("replay")
def replay_letters(  # noqa: PLR0913 - as many as it has options
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
    against_erpnext: Annotated[
        bool,
        typer.Option(
            "--against-erpnext",
            help="Of what is beyond the horizon, replay what ERPNext has nothing near of, and discard what it has.",
        ),
    ] = False,
) -> None:
    """Send records back to the topic that they came from, once their cause is repaired.

    What no adapter understood is given to the adapter that its device has today. Exit status 1 when one was refused.
    """
    wanted = _wanted(ids, reason, stage, device, everything=everything)
    log, fleet = kafka_log("dead-letters"), Fleet(known_fleet)
    _stop_at_unknown(log, device)
    plan = asyncio.run(make_replay_plan(log, wanted, fleet.read, force=force))
    discards = _compare(log, plan) if against_erpnext else {}
    if dry_run:
        made = {} if plan.reading is None else plan.reading.words()
        for id_ in plan.ids:
            how = f"read again: {made[id_]}" if id_ in made else "replayed"
            where = ", from its raw record" if id_ in plan.begin_at_raw else ""
            say(f"{id_}: would be {how}{where}")
        for id_, note in discards.items():
            say(f"{id_}: would be discarded: {note}")
        _finish(plan, f"{len(plan.ids)} would be replayed{_also(discards)}")
        return
    sent = 0
    with Progress(console=terminal(stderr=True), transient=True, disable=len(plan.ids) < MANY) as progress:
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
            say(f"{sent} of {len(plan.ids)} replayed; one more may have been sent", err=True)
            raise
    if discards:
        asyncio.run(discard_each(log, discards, by=who()))
    _finish(plan, f"{sent} replayed{_also(discards)}")


def _also(discards: Mapping[LetterId, str]) -> str:
    return f", {len(discards)} discarded" if discards else ""


def _compare(log: Log, plan: Plan) -> Mapping[LetterId, str]:
    """Take out of a plan what ERPNext decides. Returns what is to be discarded, with the notes."""
    from attendance.erpnext import ErpnextClient
    from operations.beyond_horizon import UndecidedPunches
    from operations.site.zone import the_sites_zone

    erpnext, window = ErpnextSettings.load(), StreamSettings.load().punch_window
    undecided = UndecidedPunches(log, plan, known_fleet().get)
    asyncio.run(undecided.read())
    with closing(ErpnextClient(erpnext)) as client:
        undecided.compare(client, asyncio.run(the_sites_zone(log, client, site_of(erpnext.url))), window)
    return undecided.discards


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
    _stop_at_unknown(log, device)
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


def _stop_at_unknown(log: Log, device: str | None) -> None:
    if device is not None:
        stop_where_nothing_is(log, "dead_letters", "raw", devices=[device])


def _finish(plan: Plan, done: str) -> None:
    say_skipped(plan.skipped)
    for id_, problem in plan.refused.items():
        say(f"{id_}: {problem}", err=True)
    superseded = f", {plan.superseded} of them superseded" if plan.superseded else ""
    say(f"{done}, {len(plan.refused)} refused{superseded}")
    if plan.refused:
        raise typer.Exit(1)


def cut(text: str, length: int) -> str:
    """Text of at most so many characters, and a note of what is missing."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length} more characters)"
