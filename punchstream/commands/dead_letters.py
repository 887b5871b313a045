"""The `dead-letters` commands: list what failed and why, show it, send it back or read it again, or set it aside."""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Final

import typer
from rich.progress import Progress

from attendance.errors import Reason
from attendance.records.dead_letter_action import LetterId
from attendance.records.unread import UnreadRequest
from attendance.settings import ErpnextSettings, StreamSettings
from attendance.site import site_of
from attendance.times import format_milliseconds
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
    Letter,
    Selection,
    describe,
    find,
    readable,
)
from operations.log import Log, Skipped
from operations.reading_again import Fleet
from operations.unread import GONE, describe_request, find_request
from producers.pictures import redact
from punchstream.commands.arguments import kafka_log, known_fleet, stop_where_nothing_is, who
from punchstream.commands.letter_list import OfDevice, OfReason, OfStage, list_letters
from punchstream.output import AsJson, cut, print_facts, print_json, say, say_skipped, terminal

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
app.command("list")(list_letters)


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
    wanted = wanted_letters(ids, reason, stage, device, everything=everything)
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
    wanted = wanted_letters(ids, reason, stage, device)
    log = kafka_log("dead-letters")
    _stop_at_unknown(log, device)
    plan = asyncio.run(make_plan(log, wanted, objection_to_discard))
    if plan.ids:
        asyncio.run(discard(log, plan.ids, note=note, by=who()))
    _finish(plan, f"{len(plan.ids)} discarded")


def wanted_letters(
    ids: list[LetterId] | None,
    reason: Reason | None,
    stage: str | None,
    device: str | None,
    *,
    everything: bool = False,
) -> Selection:
    """The selection that options name. One that is empty by mistake must not become all.

    Args:
        ids: Letters, as they are listed.
        reason: A reason.
        stage: A stage, which narrows the reason or all.
        device: A device, likewise.
        everything: Whether all are meant.

    Raises:
        typer.BadParameter: none of these is given, or more than one.
    """
    if [bool(ids), reason is not None, everything].count(True) != 1:
        raise typer.BadParameter("give either IDs, or --reason, or (to replay) --all")
    if ids and (stage or device):
        raise typer.BadParameter("--stage and --device narrow --reason or --all, not IDs")
    return replace(Selection.of(reason, stage, device), ids=frozenset(ids or ()))


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
