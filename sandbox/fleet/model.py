"""What a simulated fleet is, what it sends, and what must become of it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

from attendance.errors import Reason
from attendance.fleet import Direction
from attendance.records.checkin import CheckinTime, LogType
from attendance.records.raw_event import EventType

Outcome = Literal["delivered", "repeat", "waiting", "dead_letter"]
TimeFormat = Literal["local", "slashes", "offset", "utc", "epoch"]
Says = Literal["direction", "unknown", "nothing"]

MAX_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Site:
    """A place with its own zone. `weekend` holds weekdays, Monday being 0."""

    name: str
    zone: str
    weekend: frozenset[int]
    checkin_time: CheckinTime


@dataclass(frozen=True, slots=True)
class Terminal:
    """One device. `says` is what it reports of the direction; `drift` is its clock's error in seconds."""

    device_id: str
    site: Site
    token: str
    direction: Direction
    says: Says
    time_format: TimeFormat
    drift: int
    installed_on: date | None


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who punches. `code` is the user id on the terminals; `employee` is None for one ERPNext does not know."""

    code: str
    site: Site
    employee: str | None
    status: str = "Active"
    relieving_date: date | None = None


@dataclass(frozen=True, slots=True)
class Transmission:
    """One HTTP request of a terminal.

    `event_ids` has one entry for each event in the body, None where that event must be rejected; it is None itself
    where the whole body must be refused as unreadable. `at` is when to send it, as a share of the run from 0 to 1.
    """

    device_id: str
    body: bytes
    event_ids: tuple[str | None, ...] | None
    at: float

    @property
    def accepted(self) -> tuple[str, ...]:
        """The ids of the events that must be acknowledged."""
        return tuple(id_ for id_ in self.event_ids or () if id_ is not None)

    @property
    def rejected(self) -> tuple[int, ...]:
        """The indexes of the events that must be rejected."""
        return tuple(index for index, id_ in enumerate(self.event_ids or ()) if id_ is None)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must become of one punch, whatever the order in which the terminals are heard.

    The first record of a `delivered` or `waiting` punch has that outcome and its copies are dropped as duplicates;
    every record of a `repeat` is dropped, naming `kept_event_id`; every record of a `dead_letter` is one.
    """

    event_id: str
    outcome: Outcome
    terminal: Terminal
    device_user_id: str
    event_type: EventType
    event_time: datetime | None
    reason: Reason | None = None
    employee: str | None = None
    log_type: LogType = ""
    kept_event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Records and what must become of them, each transmission being acknowledged exactly once.

    `raw` is the sum of the outcomes. `rejected` events and `unreadable_bodies` never become raw records: the push
    stage keeps them as dead letters.
    """

    raw: int
    delivered: int
    duplicates: int
    repeats: int
    waiting: Mapping[Reason, int]
    dead_letters: Mapping[Reason, int]
    rejected: int
    unreadable_bodies: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """The account of a plan. `copies` is how often each event is sent, by event_id."""

    events: Mapping[str, Expected]
    copies: Mapping[str, int]
    rejected: int
    unreadable_bodies: int

    def of(self, outcome: Outcome) -> Iterator[Expected]:
        """The punches that must end so."""
        return (expected for expected in self.events.values() if expected.outcome == outcome)

    def totals(self) -> Totals:
        """The account in numbers. Sending a transmission again adds to `raw` and to what its events' copies become."""
        kept = [*self.of("delivered"), *self.of("waiting")]
        dead_letters: Counter[Reason] = Counter()
        for each in self.of("dead_letter"):
            assert each.reason is not None
            dead_letters[each.reason] += self.copies[each.event_id]
        return Totals(
            raw=sum(self.copies.values()),
            delivered=sum(1 for _ in self.of("delivered")),
            duplicates=sum(self.copies[each.event_id] - 1 for each in kept),
            repeats=sum(self.copies[each.event_id] for each in self.of("repeat")),
            waiting=Counter(each.reason for each in self.of("waiting") if each.reason),
            dead_letters=dead_letters,
            rejected=self.rejected,
            unreadable_bodies=self.unreadable_bodies,
        )


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """A fleet, everything it will send, and the account. `transmissions` are in each terminal's own order."""

    now: datetime
    sites: tuple[Site, ...]
    terminals: tuple[Terminal, ...]
    people: tuple[Person, ...]
    transmissions: Mapping[str, tuple[Transmission, ...]]
    expectation: Expectation
