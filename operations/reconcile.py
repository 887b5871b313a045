"""reconcile: what a device has of a day, what Kafka has, what became of it, and what ERPNext has; and each gap.

A gap is a punch of which nobody can say that it is where it belongs: the device has it and Kafka has not, it has no
outcome yet, it waits, it failed, or ERPNext lacks it. What was dropped, corrected or discarded is no gap.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final, Literal

from attendance.errors import PunchstreamError
from attendance.fleet import Device
from attendance.times import format_seconds, midnight, to_wall_clock
from operations.day_punches import DayPunches, Punch, day_punches
from operations.log import Log, Skipped
from operations.own_counts import OwnCount, own_counts
from operations.trace import Asked, TraceSource

TARGET: Final = "erpnext"
"""As deliveries name it."""

Kind = Literal[
    "not_in_kafka",
    "numbers_missing",
    "not_complete",
    "undecided",
    "undelivered",
    "waiting",
    "dead_letters",
    "rejected",
    "not_in_erpnext",
]

ADVICE: Final[Mapping[Kind, str]] = {
    "not_in_kafka": "ask the device again: punchstream reconcile --device {device} --day {day} --fetch",
    "numbers_missing": "ask the device again: punchstream reconcile --device {device} --day {day} --fetch",
    "not_complete": "see whether the device is switched on and connected: punchstream devices test {device}",
    "undecided": "see whether the stream runs: punchstream audit --device {device}",
    "undelivered": "see whether the sink runs and ERPNext answers: punchstream erpnext check",
    "waiting": "map its users, or discard: punchstream users unmapped",
    "dead_letters": "repair the cause, then replay: punchstream dead-letters list --device {device}",
    "rejected": "read again or discard: punchstream dead-letters list --device {device}",
    "not_in_erpnext": "send it again: punchstream audit --device {device} --against-erpnext --repair",
}
"""By kind of gap what to do about it."""
AGAIN: Final = "run this again in a minute: they are on their way"
"""What to do about what was fetched."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Punches of a device and a day that are not where they belong, for one cause.

    Attributes:
        kind: The cause.
        count: How many; None where that is not known.
        names: Their event ids, as far as they are known; of what has none, where it is in Kafka, or its number.
        what: The gap in words.
        do: What a person can do.
    """

    kind: Kind
    count: int | None
    names: Sequence[str]
    what: str
    do: str


@dataclass(frozen=True, slots=True)
class DeviceDay:
    """One device on one day. A count that is None is not known, and not 0.

    Attributes:
        device_id, site: Which device.
        day: The date.
        timezone: In which zone that day is.
        counted: How many records the device itself has of the day.
        complete_until: Up to when the device claims to have sent everything, UTC.
        raw: Raw records, with copies.
        punches: Punches, each once, with raw records that cannot be read.
        delivered: Of these, those that the target has.
        superseded: Those of which a correction took the place.
        dropped: Those all of whose records are duplicates or repeats of other punches.
        discarded: Those that failed or waited, and were discarded.
        undecided: Those without an outcome of the stream.
        undelivered: Those on their way to the target.
        waiting: Those that wait.
        dead_letters: Those that failed.
        rejected: Dead letters of what arrived on that day and never became a raw record.
        in_erpnext: Those of `delivered` that ERPNext has.
        gaps: What is not where it belongs.
    """

    device_id: str
    site: str
    day: date
    timezone: str
    counted: int | None
    complete_until: datetime | None
    raw: int
    punches: int
    delivered: int
    superseded: int
    dropped: int
    discarded: int
    undecided: int
    undelivered: int
    waiting: int
    dead_letters: int
    rejected: int
    in_erpnext: int | None
    gaps: Sequence[Gap] = ()

    @property
    def missing(self) -> int:
        """How many punches its gaps are of, as far as they are numbers."""
        return sum(gap.count or 0 for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A day of some devices.

    Attributes:
        devices: A row for each.
        problems: Why the answer is not whole, each as a sentence.
        notes: What to know beside it.
    """

    devices: Sequence[DeviceDay]
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def is_whole(self) -> bool:
        """Whether there is no gap, and nothing that could hide one."""
        return not self.problems and not any(each.gaps for each in self.devices)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a device gave when it was asked for a day again.

    Attributes:
        names: The event ids of the day that it has; None where it has not answered yet, or cannot be asked.
        said: What came of it, in words.
        failed: Whether it should have answered, and did not.
        new: How many of them Kafka lacked, which were published.
    """

    names: frozenset[str] | None
    said: str
    failed: bool = False
    new: int = 0


InErpnext = Callable[[Log, Sequence[Punch]], Awaitable[frozenset[str]]]
"""The event ids of the punches that ERPNext has. Raises PunchstreamError."""
Fetch = Callable[[Sequence[Device], date, Mapping[str, frozenset[str]]], Awaitable[Mapping[str, Fetched]]]
"""Asks devices for a day again; given by device the event ids that Kafka has of it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the day beside what Kafka has."""

    own: Mapping[str, OwnCount]
    fetched: Mapping[str, Fetched]
    in_erpnext: frozenset[str] | None
    now: datetime


async def reconcile(
    source: TraceSource,
    log: Log,
    devices: Sequence[Device],
    day: date,
    skipped: Skipped,
    *,
    now: datetime,
    in_erpnext: InErpnext | None = None,
    fetch: Fetch | None = None,
) -> Reconciliation:
    """Compare what devices, Kafka and ERPNext have of a day.

    Args:
        source: Has the facts.
        log: The topics: what devices said of themselves.
        devices: Which ones.
        day: On the clock of each device's zone.
        skipped: Where the records are counted that cannot be read.
        now: The time, UTC.
        in_erpnext: Asks ERPNext; None asks nobody.
        fetch: Asks the devices again; None does not.

    Returns:
        A row for each device; of several, not for a disabled one that has nothing of the day.

    Raises:
        RetriableError: the source or Kafka does not answer.
    """
    asked = Asked(day=day, zones={device.device_id: device.timezone for device in devices})
    # In a thread: a day of a large site takes a while, and the ledger goes on meanwhile.
    found = await asyncio.to_thread(day_punches, await source.facts(asked), asked) if devices else {}
    own = await own_counts(log, devices, day, skipped)
    fetched: Mapping[str, Fetched] = {}
    if fetch is not None:
        fetched = await fetch(devices, day, {device_id: each.ids for device_id, each in found.items()})
    problems = [each.said for each in fetched.values() if each.failed]
    stored: frozenset[str] | None = None
    if in_erpnext is not None:
        at_target = [punch for each in found.values() for punch in each.delivered_to(TARGET)]
        try:
            stored = await in_erpnext(log, at_target) if at_target else frozenset()
        except PunchstreamError as error:
            problems.append(f"ERPNext was not asked: {error}")
    known = _Known(own, fetched, stored, now)
    rows = [_device_day(device, day, found[device.device_id], known) for device in devices]
    zones = sorted({device.timezone for device in devices if not is_over(device, day, now)})
    notes = [each.said for each in fetched.values() if not each.failed]
    notes += [f"The day is not over in {zone}." for zone in zones]
    idle = {device.device_id for device in devices if device.disabled and len(devices) > 1}
    return Reconciliation([row for row in rows if row.device_id not in idle or row.raw or row.gaps], problems, notes)


def is_over(device: Device, day: date, now: datetime) -> bool:
    """Whether a day has ended in the zone of a device."""
    return to_wall_clock(now, device.timezone).date() > day


def end_of(device: Device, day: date) -> datetime:
    """When a day ends in the zone of a device, UTC."""
    return midnight(day + timedelta(days=1), device.timezone)


def _device_day(device: Device, day: date, found: DayPunches, known: _Known) -> DeviceDay:
    own = known.own[device.device_id]
    fetched = known.fetched.get(device.device_id)
    if fetched is not None and fetched.names is not None:
        own = replace(own, counted=len(fetched.names))
    number = Counter(each.became for each in found.punches)
    row = DeviceDay(
        device_id=device.device_id,
        site=device.site,
        day=day,
        timezone=device.timezone,
        counted=own.counted,
        complete_until=own.complete_until,
        raw=found.raw,
        punches=len(found.punches),
        delivered=number["delivered"],
        superseded=number["superseded"],
        dropped=number["dropped"],
        discarded=number["discarded"],
        undecided=number["undecided"],
        undelivered=number["undelivered"],
        waiting=number["waiting"],
        dead_letters=number["dead_lettered"],
        rejected=len(found.rejected),
        in_erpnext=None if known.in_erpnext is None else len(known.in_erpnext.intersection(found.that("delivered"))),
    )
    gaps = _Gaps(device, day)
    gaps.add_of_device(found, own, fetched, known.now)
    gaps.add_of_outcomes(found, known.in_erpnext)
    return replace(row, gaps=gaps.found)


@dataclass(slots=True)
class _Gaps:
    """The gaps of one device."""

    device: Device
    day: date
    found: list[Gap] = field(default_factory=list)

    def add_of_device(self, found: DayPunches, own: OwnCount, fetched: Fetched | None, now: datetime) -> None:
        """What the device has and Kafka has not."""
        if fetched is not None and fetched.names is not None:
            missing = sorted(fetched.names - found.ids)
            self._add("not_in_kafka", missing, "the device had and Kafka had not; they are published now", do=AGAIN)
        elif own.counted is not None:
            there = len(found.punches) + len(found.rejected) + found.settled
            if own.counted > there:
                self._add_number("not_in_kafka", own.counted - there, "the device counts and Kafka has not")
        if self.device.numbered and found.numbers_missing:
            names = [str(first) if first == last else f"{first}-{last}" for first, last in found.numbers_missing]
            count = sum(last - first + 1 for first, last in found.numbers_missing)
            self._add_number("numbers_missing", count, "missing in the numbers of the device", names)
        self._add_not_complete(own, now)

    def _add_not_complete(self, own: OwnCount, now: datetime) -> None:
        if self.device.disabled:
            return
        if own.pending:
            self._add_number("not_complete", own.pending, "of any day the device has not handed over")
        elif own.complete_until is not None and own.complete_until < end_of(self.device, self.day) <= now:
            what = f"the device claims to have sent everything up to {format_seconds(own.complete_until)} only"
            self.found.append(Gap("not_complete", None, (), what, self._do("not_complete")))

    def add_of_outcomes(self, found: DayPunches, in_erpnext: frozenset[str] | None) -> None:
        """What Kafka has and is not where it belongs."""
        self._add("undecided", found.that("undecided"), "without an outcome")
        self._add("undelivered", found.that("undelivered"), "not delivered yet")
        self._add("waiting", found.that("waiting"), "waiting")
        self._add("dead_letters", found.that("dead_lettered"), "failed")
        self._add("rejected", found.rejected, "rejected before they became a raw record; the dead letters")
        if in_erpnext is not None:
            lacking = [each.name for each in found.delivered_to(TARGET) if each.name not in in_erpnext]
            self._add("not_in_erpnext", lacking, "delivered, and not in ERPNext")

    def _add(self, kind: Kind, names: Sequence[str], what: str, *, do: str | None = None) -> None:
        if names:
            self._add_number(kind, len(names), what, names, do=do)

    def _add_number(
        self, kind: Kind, count: int, what: str, names: Sequence[str] = (), *, do: str | None = None
    ) -> None:
        self.found.append(Gap(kind, count, tuple(names), f"{count:,} {what}", do or self._do(kind)))

    def _do(self, kind: Kind) -> str:
        return ADVICE[kind].format(device=self.device.device_id, day=self.day)
