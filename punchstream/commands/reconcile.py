"""`punchstream reconcile`: a day of devices: what they, Kafka and ERPNext have of it, and each gap."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.registry import Registry
from attendance.settings import ErpnextSettings
from attendance.times import format_seconds, now, to_wall_clock
from ledger.settings import LedgerSettings
from operations.log import Log, Skipped
from operations.reconcile import DeviceDay, Gap, InErpnext, Reconciliation
from operations.reconcile import reconcile as reconciled
from operations.trace import TopicsSource, TraceSource
from punchstream.commands.arguments import kafka_log, known_fleet
from punchstream.commands.ledger_database import FromTopics, ledger_to_ask
from punchstream.commands.settings import is_set
from punchstream.output import AsCsv, AsJson, counted, print_csv, print_json, print_whole, say, say_skipped

if TYPE_CHECKING:
    from ledger.behind import Reached

REACH_SECONDS: Final = 20.0
"""So long the ledger may take to have what the topics had when it was asked."""
_COUNTS: Final = (
    *("counted", "raw", "punches", "delivered", "superseded", "dropped", "discarded"),
    *("undecided", "undelivered", "waiting", "dead_letters", "rejected", "in_erpnext"),
)
_COLUMNS: Final = ("device_id", "site", "day", "timezone", *_COUNTS, "complete_until", "missing", "gaps")
_SHOWN: Final = {
    "device_id": "device",
    "counted": "device counts",
    "raw": "raw",
    "punches": "punches",
    "delivered": "delivered",
    "in_erpnext": "in ERPNext",
    "dropped": "dropped",
    "superseded": "corrected",
    "discarded": "discarded",
    "waiting": "waiting",
    "dead_letters": "failed",
    "rejected": "rejected",
    "undelivered": "not delivered",
    "undecided": "undecided",
}
"""The columns of the table. Without a number in any row, one that is not of `_ALWAYS` is left out."""
_ALWAYS: Final = frozenset({"device_id", "counted", "raw", "punches", "delivered", "in_erpnext"})


def reconcile(
    *,
    day: Annotated[str, typer.Option(help="The date where the device is, such as 2026-03-02.")],
    site: Annotated[str | None, typer.Option(help="The devices of this site.")] = None,
    device: Annotated[str | None, typer.Option(help="This device.")] = None,
    without_erpnext: Annotated[
        bool, typer.Option("--without-erpnext", help="Do not ask ERPNext what it has, though ERPNEXT_URL is set.")
    ] = False,
    from_topics: FromTopics = False,
    fetch: Annotated[bool, typer.Option("--fetch", help="Ask the devices for that day again.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare what devices, Kafka and ERPNext have of a day, and name each gap with what to do.

    With --fetch, a device that is asked gives the day again, and what Kafka lacked of it is published. A ZKTeco
    terminal that pushes is told to send the day and to count it, and does so when it next asks. Other devices cannot be
    asked, which is said.

    Where LEDGER_URL is set, the ledger is asked, once it has what the topics have now; otherwise the topics are read.

    The exit status is 1 if there is a gap, or something was not answered that could show one, or the ledger is behind.
    It is 2 if there is no such site or device.
    """
    fleet, skipped = known_fleet(), Skipped()
    devices = _devices(fleet, site, device)
    on = _day(day, devices)
    log = kafka_log("reconcile")
    erpnext = None if without_erpnext or not is_set("ERPNEXT_URL") else _erpnext()
    source, reach = _source(log, skipped, on, from_topics=from_topics)

    async def ask() -> "tuple[Reconciliation, Reached | None]":
        reached = None if reach is None else await reach()
        if not fetch:
            return await reconciled(source, log, devices, on, skipped, now=now(), in_erpnext=erpnext), reached
        from operations.refetch import refetching

        async with refetching(log, fleet, skipped) as refetch:
            ways: dict[str, Any] = {"in_erpnext": erpnext, "fetch": refetch}
            return await reconciled(source, log, devices, on, skipped, now=now(), **ways), reached

    found, reached = asyncio.run(ask())
    if reached is not None and reached.behind:
        lacks = counted(reached.behind, "record")
        sentence = f"The ledger lacks {lacks} that the topics have: see whether `punchstream ledger` keeps up."
        found = replace(found, problems=[*found.problems, sentence])
    say_skipped(skipped)
    if as_json:
        print_json(_to_json(found, source.name, on) | _offsets(reached))
    elif as_csv:
        print_csv(_COLUMNS, (list(_to_row(each).values()) for each in found.devices))
        for sentence in (*found.notes, *found.problems):
            say(sentence, err=True)
    else:
        _show(found, source.name, on)
    if not found.is_whole:
        raise typer.Exit(1)


def _erpnext() -> InErpnext:
    from operations.day_in_erpnext import Erpnext

    return Erpnext(ErpnextSettings.load()).which


def _source(
    log: Log, skipped: Skipped, day: date, *, from_topics: bool
) -> "tuple[TraceSource, Callable[[], Awaitable[Reached]] | None]":
    """Where the facts are; and of a ledger, how to wait until it has what the topics have now."""
    database = ledger_to_ask(from_topics=from_topics)
    if database is None:
        return TopicsSource(log, skipped), None
    from ledger.behind import refuse_days_gone, until_reached
    from ledger.trace import LedgerTrace

    refuse_days_gone(database, day, LedgerSettings.load().days)
    return LedgerTrace(database), lambda: until_reached(database, log, REACH_SECONDS)


def _offsets(reached: "Reached | None") -> dict[str, object]:
    """Up to where the ledger has the topics."""
    if reached is None:
        return {}
    return reached.to_json()


def _devices(fleet: Registry, site: str | None, device: str | None) -> Sequence[Device]:
    if (site is None) == (device is None):
        raise ConfigurationError("give one of --site and --device")
    if device is not None:
        found = fleet.get(device)
        if found is None:
            raise ConfigurationError(f"--device: {device} is not in the fleet")
        return [found]
    devices = [each for each in fleet if each.site == site]
    if not devices:
        raise ConfigurationError(f"--site: no device is of {site}")
    return devices


def _day(text: str, devices: Sequence[Device]) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"--day: `{text}` is no date such as 2026-03-02") from error
    if all(to_wall_clock(now(), each.timezone).date() < day for each in devices):
        raise ConfigurationError(f"--day: {day} is in the future")
    return day


def _show(found: Reconciliation, source: str, day: date) -> None:
    unknown = {"counted": "not said", "in_erpnext": "not asked"}
    names = [name for name in _SHOWN if name in _ALWAYS or any(getattr(each, name) for each in found.devices)]
    rows = [[_or(getattr(each, name), unknown.get(name, "")) for name in names] for each in found.devices]
    print_whole([_SHOWN[name] for name in names], rows)
    for each in found.devices:
        for gap in each.gaps:
            say(f"\n{each.device_id}: {gap.what}{': ' if gap.names else ''}{', '.join(gap.names)}\n  {gap.do}")
    say("")
    for sentence in (*found.notes, *found.problems):
        say(sentence)
    gaps = sum(bool(each.gaps) for each in found.devices)
    of = counted(len(found.devices), "device")
    verdict = "No gap" if found.is_whole else f"{counted(gaps, 'device')} with a gap"
    say(f"{verdict}: {of} on {day}, from {source}")


def _or(value: object, unknown: str) -> object:
    return unknown if value is None else value


def _to_row(each: DeviceDay) -> dict[str, object]:
    """A row of CSV."""
    until = None if each.complete_until is None else format_seconds(each.complete_until)
    gaps = "; ".join(" ".join([gap.what, *gap.names]) for gap in each.gaps)
    row = {name: getattr(each, name) for name in _COLUMNS if name not in ("gaps", "complete_until")}
    known = row | {"day": each.day.isoformat(), "complete_until": until, "gaps": gaps}
    return {name: known[name] for name in _COLUMNS}


def _to_json(found: Reconciliation, source: str, day: date) -> dict[str, object]:
    return {
        "day": day.isoformat(),
        "source": source,
        "is_whole": found.is_whole,
        "devices": [_to_row(each) | {"gaps": [_gap(gap) for gap in each.gaps]} for each in found.devices],
        "notes": list(found.notes),
        "problems": list(found.problems),
    }


def _gap(gap: Gap) -> dict[str, object]:
    return {"kind": gap.kind, "count": gap.count, "names": list(gap.names), "what": gap.what, "do": gap.do}
