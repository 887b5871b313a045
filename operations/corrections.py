"""Corrections: what ERPNext holds that would now be different, and the events that replace it.

Only a correction replaces documents: it is a raw event that names the one whose place it takes.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Final

from msgspec.structs import replace

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import ConfigurationError, InvalidRecord
from attendance.fleet import Device
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.raw_event import RawEvent
from attendance.times import read_device_time, zone
from attendance.user_map import UserMap
from operations.log import Log
from operations.replay import RangeTables, send_slowly
from sinks.targets.erpnext.documents import StoredPunch, to_document
from streams.mapping import assign

LOOK_UP: Final = 500  # documents in one request
ZONE_STEP: Final = timedelta(minutes=15)  # zones differ by multiples of it
FURTHEST_ZONES: Final = timedelta(hours=26)

_SCHEMA: Final = """
create table difference (
    event_id primary key, document, attendance, edited, stored_employee, stored_time, stored_log_type,
    employee, time, log_type, event, event_time, moved, corrected_id
) without rowid;
create index corrected on difference (corrected_id);
create index target on difference (employee, time, log_type);
-- What cannot move, and what would move to where such a one stands: to its event_id, or to what ERPNext takes for a
-- double.
create view blocked as with recursive stays(event_id) as (
    select event_id from difference where attendance is not null or edited
    union select d.event_id from difference d join stays on d.corrected_id = stays.event_id
    union select d.event_id from stays join difference s on s.event_id = stays.event_id join difference d on
        (d.employee, d.time, d.log_type) = (s.stored_employee, s.stored_time, s.stored_log_type)
) select event_id from stays;
create view correctable as select * from difference where event_id not in (select event_id from blocked);
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that would be another by the present user map and registry.

    `attendance` is the Attendance that was made from it, if one was. `edited`: somebody changed it in ERPNext, because
    no check-in of that event ever had this content. Such documents are not replaced.

    Content that the sink wrote in a wrong zone of the site is no edit. That is known of a document that was never
    changed since it was stored, and of one that says what the sink would have written in a zone that is named.
    """

    event_id: str
    document: str
    attendance: str | None
    edited: bool
    stored: StoredPunch
    expected: StoredPunch

    @property
    def days(self) -> set[tuple[str, str]]:
        """The attendance days that it touches: employee and date, of what is there and of what would be."""
        return {(each.employee, each.time[:10]) for each in (self.stored, self.expected)}

    def to_json(self) -> dict[str, object]:
        """The difference for programs."""
        return {
            "event_id": self.event_id,
            "document": self.document,
            "attendance": self.attendance,
            "edited": self.edited,
            "held": asdict(self.stored),
            "wanted": asdict(self.expected),
        }


class Corrections:
    """How ERPNext differs from the events of a range. Memory is bounded: the differences stand beside the events."""

    def __init__(self, events: RangeTables) -> None:
        self._events = events
        self._db = events.db
        self._db.executescript(_SCHEMA)
        self.unassigned = 0
        """Events in ERPNext whose device user has no employee who may check in now."""

    def compare(
        self,
        client: ErpnextClient,
        site_zone: str,
        users: UserMap,
        device: Callable[[str], Device | None],
        written_in: Collection[str] = (),
    ) -> None:
        """Look for the documents of the events, and keep the differences.

        What waits, was dropped or was dead-lettered has no document, and no difference. What is superseded has none
        either, unless its correction did not get through; then it is as different as it was.

        Args:
            client: The site.
            site_zone: In which it keeps its times.
            users: The user map as it is now.
            device: Finds a device of the present fleet by its device_id.
            written_in: Zones in which the sink has written before, by mistake. What says exactly what it would have
                written in one of them was not edited.

        Raises:
            ConfigurationError: there is no such zone; or the site's documents have no `event_id` to find them by.
            PunchstreamError: what `ErpnextClient.call` raises.
        """
        if not client.has_event_id_field():
            raise ConfigurationError("Employee Checkin has no field event_id; `punchstream erpnext setup` makes it")
        zones = [site_zone, *(zone(each).key for each in written_in)]
        for events in self._events.events(LOOK_UP):
            fields = ["name", EVENT_ID_FIELD, "employee", "time", "log_type", "attendance", "creation", "modified"]
            for row in client.get_list(CHECKIN, fields, [(EVENT_ID_FIELD, "in", list(events))]):
                event = RawEvent.decode(events[row[EVENT_ID_FIELD]])
                self._compare_one(event, row, users, device(event.device_id), zones)

    def _compare_one(
        self, event: RawEvent, row: Document, users: UserMap, device: Device | None, zones: Sequence[str]
    ) -> None:
        corrected = reread(event, device)
        assert event.event_time is not None
        assert corrected.event_time is not None
        outcome = assign(corrected, users, device)
        if not isinstance(outcome, Checkin):
            self.unassigned += 1
            return
        stored, expected = StoredPunch.of(row), StoredPunch.of(to_document(outcome, zones[0], event_id=True))
        if stored == expected:
            return
        correction = replace(corrected, supersedes=event.event_id, superseded_document=row["name"])
        moved = _apart(stored, expected) / timedelta(seconds=1)
        self._db.execute(
            "insert or replace into difference values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(event.event_id, row["name"], row["attendance"] or None, self._is_edited(event, row, zones)),
                *(stored.employee, stored.time, stored.log_type),
                *(expected.employee, expected.time, expected.log_type),
                *(correction.encode(), event.event_time.timestamp(), moved, correction.event_id),
            ),
        )

    def _is_edited(self, event: RawEvent, row: Document, zones: Sequence[str]) -> bool:
        ours: set[StoredPunch] = set()
        for checkin, zone_name in product(self._events.checkins(event.event_id), zones):
            with suppress(InvalidRecord):  # never was a document
                ours.add(StoredPunch.of(to_document(checkin, zone_name, event_id=True)))
        stored = StoredPunch.of(row)
        if not ours or stored in ours:
            return False
        # ERPNext dates every change that a person or a program makes by REST or in a form.
        untouched = row.get("creation") is not None and row.get("creation") == row.get("modified")
        return not (untouched and any(_differs_by_zone(stored, each) for each in ours))

    @property
    def different(self) -> int:
        """How many documents would be different."""
        return self._count("select count(*) from difference")

    @property
    def correctable(self) -> int:
        """How many of them can be replaced."""
        return self._count("select count(*) from correctable")

    def _count(self, query: str) -> int:
        count: int = self._db.execute(query).fetchone()[0]
        return count

    def differences(self) -> Iterator[Difference]:
        """The differences, by document."""
        query = (
            "select event_id, document, attendance, edited, stored_employee, stored_time, stored_log_type,"
            " employee, time, log_type from difference order by document"
        )
        for event_id, document, attendance, edited, *rest in self._db.execute(query):
            stored, expected = StoredPunch(*rest[:3]), StoredPunch(*rest[3:])
            yield Difference(event_id, document, attendance, bool(edited), stored, expected)

    def days(self) -> list[tuple[str, str]]:
        """The attendance days that the differences touch, each once."""
        query = (
            "select stored_employee, substr(stored_time, 1, 10) from difference"
            " union select employee, substr(time, 1, 10) from difference order by 1, 2"
        )
        return list(self._db.execute(query))

    def corrections(self) -> Iterator[RawEvent]:
        """An event for each difference that can be corrected, in the order of `moves`."""
        return (event for event, _, _ in self.moves())

    def moves(self) -> Iterator[tuple[RawEvent, StoredPunch, StoredPunch]]:
        """An event for each difference that can be corrected, with what is stored and what is expected.

        Times that move forward come newest first, the others oldest first: so none moves to where one stands that is
        still to move away.
        """
        query = (
            "select event, stored_employee, stored_time, stored_log_type, employee, time, log_type from correctable"
            " order by moved > 0, case when moved > 0 then -event_time else event_time end"
        )
        for value, *rest in self._db.execute(query):
            yield RawEvent.decode(value), StoredPunch(*rest[:3]), StoredPunch(*rest[3:])


def _apart(stored: StoredPunch, other: StoredPunch) -> timedelta:
    return datetime.fromisoformat(other.time) - datetime.fromisoformat(stored.time)


def _differs_by_zone(stored: StoredPunch, ours: StoredPunch) -> bool:
    """Whether a site in another zone would have been given the one in the place of the other."""
    apart = abs(_apart(stored, ours))
    same = (stored.employee, stored.log_type) == (ours.employee, ours.log_type)
    return same and apart <= FURTHEST_ZONES and not apart % ZONE_STEP


def reread(event: RawEvent, device: Device | None) -> RawEvent:
    """The event as it would be with the device's present zone.

    The time changes only where it can be seen to come from the device's own text and the zone of then.

    Args:
        event: As it was recorded.
        device: The device as the fleet has it now, None where it has no such device.
    """
    if device is None or device.timezone == event.device_timezone or event.device_time is None:
        return event
    if read_device_time(event.device_time, event.device_timezone) != event.event_time:
        return event
    event_time = read_device_time(event.device_time, device.timezone)
    return replace(event, event_time=event_time, device_timezone=device.timezone)


async def correct(log: Log, corrections: Iterable[RawEvent], per_second: float, sent: Callable[[int], object]) -> None:
    """Send corrections, in the order in which they are given.

    First wait until the sink has committed the check-ins that are there: one that is in ERPNext and not committed may
    come again, and find nothing of itself any more.

    Args:
        log: The topics.
        corrections: As `Corrections.corrections` has them.
        per_second: At most so many events in a second.
        sent: Called with the number of events of each part, once Kafka has them.

    Raises:
        KafkaUnavailable: Kafka does not answer; it does no harm to begin anew.
    """

    async def events() -> AsyncGenerator[OutRecord, None]:
        for event in corrections:
            yield OutRecord(log.topics["raw"], *event.record())

    await log.until_delivered()
    await send_slowly(log, events(), per_second, sent)
