"""Records of a few people on every topic that a ledger reads, in any order, with what the product never writes too."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from hypothesis import strategies as st
from memory_log import StoredRecord
from msgspec.structs import replace

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.records.device_status import DeviceStatus
from attendance.records.discard import DiscardedWaiting
from attendance.records.outcomes import Delivery, Dropped, Late, Waiting
from attendance.records.raw_event import RAW_RECORD, REPLAY_OF, GivenTime, RawEvent, Source
from attendance.records.user_map import Employee, ErasedEmployee
from attendance.topics import Name, Topics
from ledger.database import Database
from ledger.store import LEDGER_TOPICS, Partition, Store
from operations.fact_reading import FactReader

START: Final = datetime(2026, 3, 2, tzinfo=UTC)
START_MS: Final = round(START.timestamp() * 1000)
TOPICS: Final = Topics("t")
EMPLOYEES: Final = {"1": "EMP-1", "2": "EMP-2"}

Log = dict[Partition, list[StoredRecord]]


def event(user: str, hour: int, device: str = "D1") -> RawEvent:
    time = START + timedelta(hours=hour)
    return RawEvent(device, "s", user, "IN", time, f"{hour} o'clock", "UTC", time, Source("push", "json"))


class Story:
    """Records as they came to stand on their topics."""

    def __init__(self) -> None:
        self.log: Log = defaultdict(list)
        self.clock = START_MS

    def put(self, name: Name, out: OutRecord, partition: int = 0) -> StoredRecord:
        self.clock += 1_000
        records = self.log[name, partition]
        record = StoredRecord(TOPICS[name], partition, len(records), self.clock, out.key, out.value, out.headers)
        records.append(record)
        return record

    def raw(self, raw: RawEvent, *, copy_of: StoredRecord | None = None) -> StoredRecord:
        headers = [] if copy_of is None else [(REPLAY_OF, b"%d:%d" % (copy_of.partition, copy_of.offset))]
        return self.put("raw", OutRecord("", raw.key, raw.encode(), headers), int(raw.device_id == "D2"))

    def give(self, raw: StoredRecord) -> StoredRecord:
        """A person gives a punch the time one hour later."""
        wrong = RawEvent.decode(raw.value)
        assert wrong.event_time is not None
        said = GivenTime("fatima", START, "the clock was off", wrong.event_time)
        time = wrong.event_time + timedelta(hours=1)
        return self.raw(replace(wrong, event_time=time, supersedes=wrong.event_id, given_time=said))

    def checkin(self, raw: StoredRecord, employee: str, supersedes: str | None = None) -> StoredRecord:
        of = RawEvent.decode(raw.value)
        assert of.event_time is not None
        checkin = Checkin(
            of.event_id,
            employee,
            of.event_time,
            "IN",
            of.device_id,
            of.device_user_id,
            "s",
            "UTC",
            supersedes=supersedes,
        )
        place = [*checkin.headers(), (RAW_RECORD, b"%d:%d" % (raw.partition, raw.offset))]
        return self.put("checkins", OutRecord("", checkin.key, checkin.encode(), place), int(employee == "EMP-2"))

    def deliver(self, checkin: StoredRecord, document: str, late: Late | None = None) -> StoredRecord:
        of = Checkin.decode(checkin.value)
        at = datetime.fromtimestamp(self.clock / 1000, UTC)
        delivery = Delivery(of.event_id, of.employee, document, "created", "erpnext", at, 1, late, of.supersedes)
        return self.put("deliveries", OutRecord("", delivery.key, delivery.encode()))

    def drop(self, raw: StoredRecord, kept: str, reason: Reason = Reason.DUPLICATE) -> StoredRecord:
        of = RawEvent.decode(raw.value)
        assert of.event_time is not None
        whose = of.device_id, of.device_user_id, of.event_time
        dropped = Dropped(of.event_id, kept, reason, *whose, raw.partition, raw.offset)
        return self.put("dropped", OutRecord("", dropped.key, dropped.encode()), raw.partition)

    def wait(self, raw: StoredRecord, reason: Reason = Reason.UNMAPPED_USER) -> StoredRecord:
        waiting = Waiting(RawEvent.decode(raw.value), reason)
        return self.put("unmapped", OutRecord("", waiting.key, waiting.encode()), raw.partition)

    def send_back(self, raw: StoredRecord, employee: str, checkin: int) -> StoredRecord:
        """Of several that wait for one punch the newest counts."""
        place = f"0:{checkin}"
        waiting = Waiting(RawEvent.decode(raw.value), Reason.EMPLOYEE_INACTIVE, employee, 1, checkin=place)
        return self.put("unmapped", OutRecord("", waiting.key, waiting.encode()), raw.partition)

    def release(self, waiting: StoredRecord) -> StoredRecord:
        return self.put("unmapped", OutRecord("", waiting.key, None), waiting.partition)

    def discard(self, raw: StoredRecord) -> StoredRecord:
        of = RawEvent.decode(raw.value)
        at = datetime.fromtimestamp(self.clock / 1000, UTC)
        done = DiscardedWaiting(f"{self.clock}", (of.event_id,), of.device_id, at, "fatima", "a visitor")
        return self.put("unmapped", OutRecord("", done.key, done.encode()), raw.partition)

    def fail(
        self, record: StoredRecord, reason: Reason = Reason.IMPLAUSIBLE_TIME, stage: str = "stream"
    ) -> StoredRecord:
        kind: type[Checkin | RawEvent] = Checkin if record.topic == TOPICS["checkins"] else RawEvent
        try:
            event_id = kind.decode(record.value).event_id
        except InvalidRecord:
            event_id = None
        letter = DeadLetter.of(record, stage, InvalidRecord(reason, "no"), START, event_id=event_id)
        return self.put("dead_letters", letter.to_record(""))

    def reject(self, device: str) -> StoredRecord:
        """A line of a device that never became a raw record."""
        at = datetime.fromtimestamp(self.clock / 1000, UTC)
        whose = {"key": device.encode(), "value": b"1,2", "where": "http:/v1/events"}
        letter = DeadLetter(stage="push", reason=Reason.UNDECODABLE_RECORD, message="no", at=at, **whose)
        return self.put("dead_letters", letter.to_record(""))

    def act(self, letter: StoredRecord, what: Literal["replayed", "discarded"] = "discarded") -> StoredRecord:
        at = datetime.fromtimestamp(self.clock / 1000, UTC)
        action = Action(LetterId(letter.partition, letter.offset), what, at, "fatima", "known")
        return self.put("dead_letter_actions", OutRecord("", action.key, action.encode()))

    def erase(self, employee: str, *users: tuple[str, str]) -> None:
        at = datetime.fromtimestamp(self.clock / 1000, UTC) + timedelta(days=2)
        people = [ErasedEmployee.of(Employee(employee, "Active"), at, "fatima")]
        people += [ErasedEmployee.of_user(*user, at, "fatima") for user in users]
        for each in people:
            self.put("user_map", OutRecord("", each.key, each.encode()))

    def report(self, device: str, pending: int | None = None, **details: int | str) -> StoredRecord:
        at = datetime.fromtimestamp(self.clock / 1000, UTC)
        status = DeviceStatus(device, at, at.replace(microsecond=0), pending, 7, -3, details, None, at)
        return self.put("device_status", OutRecord("", status.key, status.encode()), int(device == "D2"))

    def garbage(self, name: Name) -> StoredRecord:
        return self.put(name, OutRecord("", b"D1", b'{"\\u0000": "no such record"'))


def _id(raw: StoredRecord) -> str:
    return RawEvent.decode(raw.value).event_id


Become = Callable[[Story, StoredRecord, str, str], object]


def _released(story: Story, raw: StoredRecord, employee: str, _: str) -> None:
    story.release(story.wait(raw))
    story.checkin(raw, employee)


def _discarded(story: Story, raw: StoredRecord, _: str, __: str) -> None:
    story.release(story.wait(raw))
    story.discard(raw)


FATES: Final[Sequence[Become]] = (
    lambda story, raw, employee, _: story.checkin(raw, employee),
    lambda story, raw, employee, _: story.deliver(story.checkin(raw, employee), f"CHK-{raw.offset}"),
    lambda story, raw, employee, _: story.deliver(story.checkin(raw, employee), "LATE", Late("D1", "Day")),
    lambda story, raw, _, other: story.drop(raw, other),
    lambda story, raw, *_: story.wait(raw),
    lambda story, raw, employee, _: story.send_back(raw, employee, raw.offset % 3),
    _released,
    _discarded,
    lambda story, raw, *_: story.fail(raw),
    lambda story, raw, *_: story.act(story.fail(raw)),
    lambda story, raw, *_: story.reject((raw.key or b"").decode()),
    lambda story, raw, *_: story.act(story.reject((raw.key or b"").decode())),
    lambda story, raw, employee, other: story.deliver(story.checkin(raw, employee, other), f"CHK-{raw.offset}"),
    lambda story, raw, employee, _: story.fail(story.checkin(raw, employee), Reason.TARGET_REJECTED, "sink"),
    lambda story, raw, *_: story.raw(RawEvent.decode(raw.value), copy_of=raw),
    lambda story, raw, *_: story.give(raw),
    lambda story, raw, employee, _: story.deliver(story.checkin(story.give(raw), employee, _id(raw)), "GIVEN"),
    lambda story, _, employee, __: story.erase(employee),
    lambda story, _, employee, __: story.erase(employee, ("D1", employee[-1])),
    lambda story, raw, *_: story.report(RawEvent.decode(raw.value).device_id, raw.offset, serial="S1"),
    lambda story, raw, *_: story.report(RawEvent.decode(raw.value).device_id, None, firmware=raw.offset),
    lambda *_: None,
)
"""What may become of a punch: of its raw record, its employee, and the id of another punch."""


@st.composite
def stories(draw: st.DrawFn) -> Log:
    """A log of some length."""
    story = Story()
    ids: list[str] = []
    for _ in range(draw(st.integers(1, 25))):
        user = draw(st.sampled_from(sorted(EMPLOYEES)))
        raw = event(user, draw(st.integers(0, 5)), draw(st.sampled_from(("D1", "D2"))))
        ids.append(raw.event_id)
        draw(st.sampled_from(FATES))(story, story.raw(raw), EMPLOYEES[user], draw(st.sampled_from(ids)))
        if draw(st.integers(0, 9)) == 0:
            story.garbage(draw(st.sampled_from(LEDGER_TOPICS)))
    return dict(story.log)


@cache
def _template() -> bytes:
    with TemporaryDirectory() as directory:
        database = Database(f"sqlite:///{directory}/template.sqlite")
        database.prepare()
        database.close()
        return Path(directory, "template.sqlite").read_bytes()


def prepared(file: Path) -> str:
    """The URL of a new ledger. Alembic makes only the first: that takes longer than a test takes to fill one."""
    file.write_bytes(_template())
    return f"sqlite:///{file}"


_FEW: Final = 16
_KEPT: Final[dict[str, bytes]] = {}
"""The files of the last few ledgers, by the records that they have read."""


def kept_ledger(url: str, story: Story) -> None:
    """A new ledger in SQLite that has read all of a story, as of its beginning. What many tests tell is read once."""
    file = Path(url.removeprefix("sqlite:///"))
    key = repr(story.log)
    if key not in _KEPT:
        prepared(file)
        database = Database(url)
        store = Store(database)
        store.note_read(list(store.apply(FactReader(TOPICS, NOTHING_MOVED), dict(story.log), {}, START_MS)), START_MS)
        database.close()
        if len(_KEPT) == _FEW:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[key] = file.read_bytes()
    file.write_bytes(_KEPT[key])
