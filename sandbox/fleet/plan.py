"""Plans what a simulated fleet sends, and by the same stroke what must become of it.

The account is exact and independent of the order in which the terminals are heard, because of how punches are placed:
one person's genuine punches are further apart than twice the punch window on any clock, and a double tap lies within
the window of exactly one of them and is always sent after it, by the same terminal.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from attendance.errors import Reason
from attendance.fleet import Direction
from attendance.records.checkin import LogType
from attendance.records.raw_event import EventType, event_id
from attendance.times import format_seconds
from sandbox.fleet.model import (
    MAX_BATCH,
    Expectation,
    Expected,
    FleetPlan,
    Outcome,
    Person,
    Says,
    Site,
    Terminal,
    TimeFormat,
    Transmission,
)

# What a terminal may attach and Kafka must never hold. Recognisable, so that a test can look for it.
PHOTO: Final = base64.b64encode(b"\xff\xd8\xff\xe0 no face, but as unwanted as one " * 12).decode()

_MAX_DRIFT: Final = 150
_WORKDAY_FROM: Final = time(7)
_WORKDAY_SECONDS: Final = 12 * 3600
_GAP: Final = 900  # least seconds between one person's genuine punches, before clock drift
_MAX_WINDOW: Final = (_GAP - 2 * _MAX_DRIFT) // 2 - 1
_MAX_PUNCHES_A_DAY: Final = _WORKDAY_SECONDS // (2 * _GAP)
_LIVE_FROM: Final = 40 * 60  # seconds before now between which the newest punches lie
_LIVE_TO: Final = 5 * 60
_MAX_DAYS: Final = 30  # well within the duplicates' horizon
_INSTALLED_DAYS: Final = 200

_SITES: Final = (
    Site("riyadh", "Asia/Riyadh", frozenset({4, 5}), "erpnext_zone"),
    Site("berlin", "Europe/Berlin", frozenset({5, 6}), "erpnext_zone"),
    Site("new-york", "America/New_York", frozenset({5, 6}), "device_local"),
    Site("kolkata", "Asia/Kolkata", frozenset({6}), "erpnext_zone"),
    Site("sydney", "Australia/Sydney", frozenset({5, 6}), "device_local"),
)
_MODELS: Final[tuple[tuple[Says, Direction, TimeFormat], ...]] = (
    ("direction", "from_device", "local"),
    ("direction", "from_device", "offset"),
    ("nothing", "none", "slashes"),
    ("direction", "from_device", "utc"),
    ("unknown", "from_device", "epoch"),
    ("nothing", "in", "local"),
    ("direction", "from_device", "local"),
    ("unknown", "out", "offset"),
)
_UNREADABLE_TIMES: Final = (None, "", "0000-00-00 00:00:00", "31.12.2025 08:15:00", "2025-02-30 08:15:00", "no battery")
_MALFORMED: Final[tuple[object, ...]] = (
    {"time": "2026-01-01 08:00:00", "type": "IN"},
    "1042 2026-01-01 08:00:00 IN",
    {"user_id": "", "time": "2026-01-01 08:00:00"},
    None,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a fleet, and how many of its punches go wrong in which way.

    `punches` are genuine ones; beside them stand `repeats` (a share of them) as double taps and as copies of what was
    sent before, and the given numbers of implausible and unreadable times, malformed lines and unreadable bodies.
    `window` is `PUNCH_WINDOW` in seconds. Of `people`, `unknown_users` are not in ERPNext and `inactive` not active.
    """

    sites: int = 3
    terminals: int = 15
    people: int = 300
    punches: int = 5000
    days: int = 3
    repeats: float = 0.10
    unknown_users: int = 6
    inactive: int = 6
    implausible: int = 12
    unreadable_times: int = 9
    malformed: int = 12
    unreadable_bodies: int = 4
    window: int = 60

    def __post_init__(self) -> None:
        if not 1 <= self.sites <= min(len(_SITES), self.terminals):
            raise ValueError(f"1 to {len(_SITES)} sites, and a terminal for each")
        if self.unknown_users + self.inactive > self.people or self.people < 1:
            raise ValueError("at least one person, and no more odd people than people")
        if not 1 <= self.days <= _MAX_DAYS:
            raise ValueError(f"1 to {_MAX_DAYS} days")
        if self.punches > self.people * self.days * _MAX_PUNCHES_A_DAY:
            raise ValueError(f"at most {_MAX_PUNCHES_A_DAY} punches a person and day")
        if not 1 < self.window <= _MAX_WINDOW:
            raise ValueError(f"a window of 2 to {_MAX_WINDOW} seconds")


@dataclass(frozen=True, slots=True)
class _Line:
    """One element of `events` in a request body. `at` is when the terminal made it, by a true clock."""

    at: datetime
    event: object
    event_id: str | None


@dataclass(frozen=True, slots=True)
class _Genuine:
    """A punch that somebody meant to make."""

    at: datetime
    person: Person
    terminal: Terminal
    event_type: EventType


def plan(seed: int, now: datetime, shape: Shape | None = None) -> FleetPlan:
    """The plan of that seed: the same arguments, the same plan to the byte.

    Punches lie in the last working days of each site before `now` (aware) and, some of them, up to a few minutes
    before it; so they are plausible when they are sent at `now` or later.
    """
    return _Planner(seed, now, shape or Shape()).plan()


class _Planner:
    def __init__(self, seed: int, now: datetime, shape: Shape) -> None:
        self._random = Random(seed)  # noqa: S311 - a simulation, not a secret
        self._now = now.astimezone(UTC).replace(microsecond=0)
        self._shape = shape
        self._sites = _SITES[: shape.sites]
        self._days = {site.name: _working_days(site, self._now, shape.days) for site in self._sites}
        self._terminals = [self._terminal(index) for index in range(shape.terminals)]
        self._people = self._hire()
        self._lines: dict[str, list[_Line]] = {terminal.device_id: [] for terminal in self._terminals}
        self._events: dict[str, Expected] = {}
        self._sequence: Counter[str] = Counter()

    def plan(self) -> FleetPlan:
        extra = round(self._shape.punches * self._shape.repeats)
        taps = extra // 2
        genuine = self._genuine()
        for punch in genuine:
            self._punch(punch)
        for punch in self._random.sample(genuine, taps):
            self._double_tap(punch)
        self._wrong_clocks(genuine)
        self._malformed_lines(genuine)
        batches = {device_id: self._batches(lines) for device_id, lines in self._lines.items() if lines}
        self._send_again(batches, extra - taps)
        transmissions = self._transmissions(batches)
        sent = Counter(id_ for each in transmissions.values() for one in each for id_ in one.accepted)
        return FleetPlan(
            now=self._now,
            sites=self._sites,
            terminals=tuple(self._terminals),
            people=tuple(self._people),
            transmissions=transmissions,
            expectation=Expectation(
                events=self._events,
                copies=sent,
                rejected=sum(len(one.rejected) for each in transmissions.values() for one in each),
                unreadable_bodies=sum(one.event_ids is None for each in transmissions.values() for one in each),
            ),
        )

    # The fleet and its people

    def _terminal(self, index: int) -> Terminal:
        site = self._sites[index % len(self._sites)]
        device_id = f"{site.name}-{index // len(self._sites) + 1:02d}"
        says, direction, time_format = _MODELS[index % len(_MODELS)]
        drift = self._random.choice((0, 0, self._random.randint(-_MAX_DRIFT, _MAX_DRIFT)))
        installed = (self._now - timedelta(days=_INSTALLED_DAYS + index % 30)).date() if index % 3 else None
        token = sha256(f"{device_id}|{self._random.getrandbits(128)}".encode()).hexdigest()
        return Terminal(device_id, site, token, direction, says, time_format, drift, installed)

    def _hire(self) -> list[Person]:
        """Codes with leading zeros stand beside the same ones without: they are different people."""
        people = []
        for index in range(self._shape.people):
            number = 1000 + index
            code = (str(number), f"00{number - 1}", f"E{number}", f"{number}-K")[index % 4]
            people.append(Person(code, self._sites[index % len(self._sites)], f"HR-EMP-{index + 1:05d}"))
        odd = self._random.sample(range(len(people)), self._shape.unknown_users + self._shape.inactive)
        for index in odd[: self._shape.unknown_users]:
            people[index] = replace(people[index], employee=None)
        for turn, index in enumerate(odd[self._shape.unknown_users :]):
            days = self._days[people[index].site.name]
            status = ("Inactive", "Left", "Suspended")[turn % 3]
            # Relieved in the middle of the period: what was punched before counts.
            relieved = days[len(days) // 2] if status == "Left" else None
            people[index] = replace(people[index], status=status, relieving_date=relieved)
        return people

    # What is punched

    def _genuine(self) -> list[_Genuine]:
        live = min(len(self._people), self._shape.punches // 50)
        person_days = [(person, day) for person in self._people for day in self._days[person.site.name]]
        each, more = divmod(self._shape.punches - live, len(person_days))
        self._random.shuffle(person_days)
        punches = [
            punch
            for index, (person, day) in enumerate(person_days)
            for punch in self._workday(person, day, each + (index < more))
        ]
        for person in self._random.sample(self._people, live):
            at = self._now - timedelta(seconds=self._random.randint(_LIVE_TO, _LIVE_FROM))
            punches.append(self._genuine_punch(person, at, "IN"))
        return sorted(punches, key=lambda punch: (punch.at, punch.person.code))

    def _workday(self, person: Person, day: date, punches: int) -> Iterable[_Genuine]:
        """In, out for lunch, in again, out: one punch in each equal part of the day, `_GAP` from the next at least."""
        start = datetime.combine(day, _WORKDAY_FROM, ZoneInfo(person.site.zone)).astimezone(UTC)
        for index in range(punches):
            part = _WORKDAY_SECONDS // punches
            at = start + timedelta(seconds=index * part + self._random.randint(0, part - _GAP))
            yield self._genuine_punch(person, at, "OUT" if index % 2 else "IN")

    def _genuine_punch(self, person: Person, at: datetime, direction: EventType) -> _Genuine:
        near = [terminal for terminal in self._terminals if terminal.site is person.site]
        # Most people use the terminal at their own door.
        usual = near[sum(person.code.encode()) % len(near)]
        terminal = usual if self._random.random() < 0.8 else self._random.choice(near)
        return _Genuine(at, person, terminal, direction if terminal.says == "direction" else "UNKNOWN")

    def _punch(self, punch: _Genuine) -> None:
        when = punch.at + timedelta(seconds=punch.terminal.drift)
        self._add(punch, when, _fate(punch, when))

    def _double_tap(self, punch: _Genuine) -> None:
        """The same person again, while the terminal still shows the first. Some forget the direction key then."""
        delay = timedelta(seconds=self._random.randint(1, self._shape.window - 1))
        forgets = self._random.random() < 0.3
        tap = replace(punch, at=punch.at + delay, event_type="UNKNOWN" if forgets else punch.event_type)
        drift = timedelta(seconds=punch.terminal.drift)
        kept = _id(punch, format_seconds(punch.at + drift))
        when = tap.at + drift
        self._add(tap, when, replace(_expected(tap, when, "repeat", Reason.REPEAT), kept_event_id=kept))

    def _wrong_clocks(self, genuine: Sequence[_Genuine]) -> None:
        for turn in range(self._shape.implausible if genuine else 0):
            punch = self._random.choice(genuine)
            seconds = timedelta(seconds=self._random.randrange(86400))
            lost_battery = datetime(2000, 1, 1, tzinfo=UTC) + seconds
            ahead = self._now + timedelta(days=self._random.randint(2, 9)) + seconds
            before_installation = self._now - timedelta(days=_INSTALLED_DAYS + 60) + seconds
            when = (lost_battery, ahead, before_installation if punch.terminal.installed_on else lost_battery)[turn % 3]
            self._add(punch, when, _expected(punch, when, "dead_letter", Reason.IMPLAUSIBLE_TIME))
        for turn in range(self._shape.unreadable_times if genuine else 0):
            punch = self._random.choice(genuine)
            text = _UNREADABLE_TIMES[turn % len(_UNREADABLE_TIMES)]
            id_ = _id(punch, text or "")
            expected = replace(_expected(punch, punch.at, "dead_letter", Reason.UNREADABLE_TIME), event_time=None)
            self._events[id_] = replace(expected, event_id=id_)
            self._lines[punch.terminal.device_id].append(_Line(punch.at, self._written(punch, text), id_))

    def _malformed_lines(self, genuine: Sequence[_Genuine]) -> None:
        for turn in range(self._shape.malformed if genuine else 0):
            punch = self._random.choice(genuine)
            event = _MALFORMED[turn % len(_MALFORMED)]
            self._lines[punch.terminal.device_id].append(_Line(punch.at, event, None))

    def _add(self, punch: _Genuine, when: datetime, expected: Expected) -> None:
        text = _device_time(when, punch.terminal)
        self._events[expected.event_id] = expected
        line = _Line(punch.at, self._written(punch, text), expected.event_id)
        self._lines[punch.terminal.device_id].append(line)

    def _written(self, punch: _Genuine, text: str | None) -> dict[str, Any]:
        """The event as the terminal writes it, with what it adds of its own."""
        terminal = punch.terminal
        self._sequence[terminal.device_id] += 1
        event: dict[str, Any] = {"user_id": punch.person.code, "sequence": self._sequence[terminal.device_id]}
        if text is not None:
            event["time"] = text
        # An UNKNOWN of a terminal that has direction keys is one that nobody pressed.
        if terminal.says == "unknown" or punch.event_type != "UNKNOWN":
            event["type"] = punch.event_type
        event["verify_mode"] = self._random.choice(("FACE", "FINGER", "CARD"))
        if self._random.random() < 0.1:
            event["photo"] = PHOTO
        return event

    # How it is sent

    def _batches(self, lines: list[_Line]) -> list[list[_Line]]:
        """In time order, a few at a time; what a terminal made on a day offline, all at once."""
        lines.sort(key=lambda line: line.at)
        days = sorted({line.at.date() for line in lines})
        always = self._random.random() < 0.2
        offline = {day for day in days if always or self._random.random() < 0.15}
        batches: list[list[_Line]] = []
        room = 0
        was_offline = False
        for line in lines:
            is_offline = line.at.date() in offline
            if room == 0 or is_offline != was_offline:
                batches.append([])
                room = MAX_BATCH if is_offline else self._random.randint(1, 20)
            batches[-1].append(line)
            room -= 1
            was_offline = is_offline
        return batches

    def _send_again(self, batches: dict[str, list[list[_Line]]], lines: int) -> None:
        """Copies of what was sent before, `lines` in all: half of them as whole batches, as after a lost answer."""
        names = list(batches)
        again = lines // 2
        for _ in range(lines):
            sent = batches[self._random.choice(names)]
            index = self._random.randrange(len(sent))
            if 1 < len(sent[index]) <= again:
                sent.insert(self._random.randint(index + 1, len(sent)), list(sent[index]))
                again -= len(sent[index])
                lines -= len(sent[index])
        for _ in range(lines):
            sent = batches[self._random.choice(names)]
            index = self._random.randrange(len(sent))
            copy = self._random.choice(sent[index])
            later = sent[self._random.randrange(index, len(sent))]
            if len(later) < MAX_BATCH:
                later.append(copy)
            else:
                sent.append([copy])

    def _transmissions(self, batches: dict[str, list[list[_Line]]]) -> dict[str, tuple[Transmission, ...]]:
        bodies: dict[str, list[tuple[bytes, tuple[str | None, ...] | None]]] = {
            device_id: [
                (
                    orjson.dumps({"device_id": device_id, "events": [line.event for line in batch]}),
                    tuple(line.event_id for line in batch),
                )
                for batch in sent
            ]
            for device_id, sent in batches.items()
        }
        for _ in range(self._shape.unreadable_bodies if bodies else 0):
            sent = bodies[self._random.choice(list(bodies))]
            index = self._random.randrange(len(sent))
            whole = sent[index][0]
            # The line broke in the middle of it; the whole batch comes next.
            sent.insert(index, (whole[: len(whole) * 2 // 3], None))
        transmissions = {}
        for device_id, sent in bodies.items():
            phase = self._random.random()
            transmissions[device_id] = tuple(
                Transmission(device_id, body, ids, (index + phase) / len(sent))
                for index, (body, ids) in enumerate(sent)
            )
        return transmissions


def _working_days(site: Site, now: datetime, count: int) -> list[date]:
    """The last working days before today at the site, oldest first."""
    day = now.astimezone(ZoneInfo(site.zone)).date()
    days: list[date] = []
    while len(days) < count:
        day -= timedelta(days=1)
        if day.weekday() not in site.weekend:
            days.append(day)
    return days[::-1]


def _id(punch: _Genuine, when: str) -> str:
    return event_id(punch.terminal.device_id, punch.person.code, when, punch.event_type)


def _expected(punch: _Genuine, when: datetime, outcome: Outcome, reason: Reason | None) -> Expected:
    return Expected(
        event_id=_id(punch, format_seconds(when)),
        outcome=outcome,
        terminal=punch.terminal,
        device_user_id=punch.person.code,
        event_type=punch.event_type,
        event_time=when,
        reason=reason,
    )


def _fate(punch: _Genuine, when: datetime) -> Expected:
    """What must become of a genuine punch, by who made it."""
    person = punch.person
    if person.employee is None:
        return _expected(punch, when, "waiting", Reason.UNMAPPED_USER)
    relieved = person.relieving_date
    local = when.astimezone(ZoneInfo(punch.terminal.site.zone)).date()
    if person.status != "Active" and (relieved is None or local > relieved):
        expected = _expected(punch, when, "waiting", Reason.EMPLOYEE_INACTIVE)
        return replace(expected, employee=person.employee)
    expected = _expected(punch, when, "delivered", None)
    return replace(expected, employee=person.employee, log_type=_log_type(punch))


def _log_type(punch: _Genuine) -> LogType:
    match punch.terminal.direction, punch.event_type:
        case ("in", _) | ("from_device", "IN"):
            return "IN"
        case ("out", _) | ("from_device", "OUT"):
            return "OUT"
        case _:
            return ""


def _device_time(when: datetime, terminal: Terminal) -> str:
    """The instant as this terminal writes it."""
    local = when.astimezone(ZoneInfo(terminal.site.zone))
    match terminal.time_format:
        case "local":
            return local.strftime("%Y-%m-%d %H:%M:%S")
        case "slashes":
            return local.strftime("%Y/%m/%d %H:%M:%S")
        case "offset":
            return local.isoformat(timespec="seconds")
        case "utc":
            return format_seconds(when)
        case "epoch":
            return str(int(when.timestamp()))
