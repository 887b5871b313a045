"""The audit knows what is gone from the topics: any history, any loss."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_log import MemoryLog, StoredRecord

from attendance.accounts import fingerprint
from attendance.errors import InvalidRecord, Reason
from attendance.records.account import AcceptedLoss, Account, Adoption, Ended, Moved
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery, Dropped, Waiting
from attendance.records.raw_event import RawEvent, Source
from attendance.topics import Name
from operations.audit import audit
from operations.audit_report import Report

NOW = datetime(2026, 3, 2, 5, tzinfo=UTC)
DAY_MS = 24 * 60 * 60 * 1000


class Pipeline(MemoryLog):
    """A log with stages that do their work one record at a time, and stand still where records are missing."""

    def __init__(self) -> None:
        super().__init__()
        self.position: dict[str, int] = {"stream": 0, "sink": 0}
        self.groups = {("stream", "raw"): {0: 0}, ("sink", "checkins"): {0: 0}}
        self.acknowledged: list[RawEvent] = []
        self.decided: set[str] = set()
        """Events that had an outcome which is final, whatever became of its record."""
        self.kept: dict[str, str] = {}
        self.clock = 0
        self.write_account("stream", "raw")
        self.write_account("sink", "checkins")

    def write(self, topic: Name, key: bytes | None, value: bytes | None, headers: Any = ()) -> StoredRecord:
        self.clock += 60_000
        return self.add(topic, key, value, headers, timestamp=self.clock)

    def punch(self, what: str) -> RawEvent:
        """A punch: the stream will have it checked in, made wait, dead-lettered, or dropped as a repeat."""
        number = len(self.acknowledged)
        event = RawEvent(
            what, "s", str(number), "IN", NOW + timedelta(hours=number), None, "UTC", NOW, Source("push", "json")
        )
        self.write("raw", event.key, event.encode())
        self.acknowledged.append(event)
        return event

    def write_account(self, stage: str, topic: Name) -> None:
        through = self.position[stage]
        before = [each for each in self.records(topic) if each.offset < through]
        identity = fingerprint(before[-1]) if before else None
        end = asyncio.run(self.extents(topic))[0][1]
        account = Account(stage, self.topics[topic], 0, 0, through, NOW, identity, end)
        self.add("accounts", account.key, account.encode())

    def next(self, stage: str, topic: Name) -> StoredRecord | None:
        first, end = asyncio.run(self.extents(topic))[0]
        if not first <= self.position[stage] <= end:
            return None  # it stands still
        found = next((each for each in self.records(topic) if each.offset >= self.position[stage]), None)
        if found is not None:
            self.position[stage] = found.offset + 1
            self.groups[stage, topic] = {0: self.position[stage]}
        return found

    def stream(self) -> None:
        """The stream decides one record."""
        record = self.next("stream", "raw")
        if record is None:
            return
        event = RawEvent.decode(record.value)
        kept = next((each.event_id for each in self.acknowledged if each.event_id in self.kept), None)
        match event.device_id:
            case "dropped" if kept is not None:
                dropped = Dropped(event.event_id, kept, Reason.REPEAT, "D1", "1", NOW, record.partition, record.offset)
                self.write("dropped", dropped.key, dropped.encode())
                self.decided.add(event.event_id)
            case "dead":
                letter = DeadLetter.of(record, "stream", InvalidRecord(Reason.UNREADABLE_TIME, "no"), NOW)
                self.write("dead_letters", letter.key, letter.value, letter.encode_headers())
                self.decided.add(event.event_id)
            case "waiting":
                waiting = Waiting(event, Reason.UNMAPPED_USER)
                self.write("unmapped", waiting.key, waiting.encode())
                self.decided.add(event.event_id)
            case _:
                self.check_in(event)

    def check_in(self, event: RawEvent) -> None:
        checkin = Checkin(event.event_id, "E1", event.event_time or NOW, "IN", "D1", "1", "s", "UTC")
        self.write("checkins", checkin.key, checkin.encode())

    def sink(self) -> None:
        """The sink delivers one check-in."""
        record = self.next("sink", "checkins")
        if record is not None:
            checkin = Checkin.decode(record.value)
            delivery = Delivery(checkin.event_id, "E1", f"DOC-{checkin.event_id}", "created", "erpnext", NOW)
            self.write("deliveries", delivery.key, delivery.encode())
            self.decided.add(checkin.event_id)
            self.kept[checkin.event_id] = "delivered"

    def drain(self) -> None:
        """Everything that is there is decided and delivered, and said so."""
        for _ in range(len(self.acknowledged) * 2 + 2):
            self.stream()
            self.sink()
        self.write_account("stream", "raw")
        self.write_account("sink", "checkins")

    def audit(self, **options: Any) -> Report:
        return asyncio.run(audit(self, **options))

    def accept(self, topic: Name, first: int, through: int, *, anew: bool = False) -> None:
        loss = AcceptedLoss(self.topics[topic], 0, first, through, through - first, NOW, "amina", "the disk died", anew)
        self.add("accounts", loss.key, loss.encode())


@pytest.fixture
def log() -> Pipeline:
    return Pipeline()


def words(report: Report) -> str:
    return " ".join(map(str, report.faults))


def test_retention_that_passes_the_stream_is_no_balance(log: Pipeline) -> None:
    for _ in range(4):
        log.punch("checkin")
    log.stream()
    log.retain("raw", 3)
    log.sink()

    found = log.audit()

    assert not found.balanced
    [fault] = found.faults
    assert (fault.kind, fault.topic, fault.first, fault.through, fault.records) == ("removed", "t.raw.v1", 1, 3, 2)
    assert str(fault) == (
        "2 records of t.raw.v1:0 are gone, offsets 1 to 2: its beginning moved past what was accounted for. stream "
        "has done its work up to offset 1. `punchstream topics accept-loss t.raw.v1:0 --through 3 --note TEXT` accepts "
        "that."
    )
    assert found.to_json()["faults"] == [fault.to_json()]


def test_so_it_is_where_no_stage_ever_began(log: Pipeline) -> None:
    log.remove("accounts", lambda _: True)
    log.groups.clear()
    log.punch("checkin")
    log.punch("checkin")
    log.retain("raw", 2)
    assert [(each.kind, each.first, each.through) for each in log.audit().faults] == [("removed", 0, 2)]
    assert not log.audit().balanced  # its own account does not hide it


def test_check_ins_that_are_gone_before_they_were_delivered_are_no_balance(log: Pipeline) -> None:
    for _ in range(3):
        log.punch("checkin")
        log.stream()
    log.sink()
    log.write_account("stream", "raw")
    log.retain("raw", 3)
    log.retain("checkins", 2)

    found = log.audit()

    assert [(each.topic, each.first, each.through) for each in found.faults] == [("t.checkins.v1", 1, 2)]
    assert len(found.older_undelivered) == 1  # it is there, and its raw record is not
    assert not found.balanced
    asyncio.run(audit(log, repair=True))
    assert [each.topic for each in log.sent] == ["t.checkins.v1"]


@pytest.mark.parametrize("with_audit", [False, True])
def test_what_retention_removed_after_it_was_accounted_for_is_balanced_and_named(
    log: Pipeline, *, with_audit: bool
) -> None:
    for what in ("checkin", "dropped", "dead", "checkin"):
        log.punch(what)
    log.drain()
    if with_audit:
        assert log.audit().balanced
    for topic in ("raw", "checkins", "dropped", "deliveries"):
        log.retain(topic, 99)
    log.punch("checkin")
    log.drain()

    found = log.audit()

    assert found.balanced, words(found)
    assert found.counted_from["t.raw.v1:0"] == 4


def test_outcomes_that_went_before_their_raw_records_are_not_called_undecided(log: Pipeline) -> None:
    for _ in range(3):
        log.punch("checkin")
    log.drain()
    log.retain("checkins", 2)
    log.retain("deliveries", 2)

    found = log.audit()

    assert (found.outcome_gone, found.undecided, found.undelivered, found.delivered) == (2, 0, 0, 1)
    assert not found.balanced


def test_after_an_audit_has_counted_them_they_may_go_first(log: Pipeline) -> None:
    for what in ("checkin", "checkin", "dropped"):
        log.punch(what)
    log.drain()
    assert log.audit().balanced
    for topic in ("checkins", "deliveries", "dropped"):
        log.retain(topic, 2)

    found = log.audit()

    assert (found.accounted_before, found.balanced) == (3, True), words(found)


def test_records_that_compaction_removed_are_no_balance(log: Pipeline) -> None:
    for _ in range(4):
        log.punch("checkin")
    log.remove("raw", lambda record: record.offset in (1, 2))
    log.drain()

    found = log.audit()

    assert [(each.kind, each.first, each.through) for each in found.faults] == [("gone_inside", 1, 3)]
    log.retain("raw", 99)
    assert [(each.kind, each.first, each.through) for each in log.audit().faults] == [("removed", 1, 4)]


@pytest.mark.parametrize("topic", ["raw", "checkins", "dropped", "deliveries", "dead_letters", "unmapped"])
@pytest.mark.parametrize("grows", [False, True])
def test_a_topic_that_was_made_anew_is_no_balance_until_that_is_accepted(
    log: Pipeline, topic: Name, *, grows: bool
) -> None:
    for what in ("checkin", "dropped", "dead", "waiting"):
        log.punch(what)
        log.drain()
    assert log.audit().balanced
    old = log.records(topic)
    log.cut(topic, 0)
    if grows:
        for each in old:
            log.write(topic, each.key, each.value, each.headers)

    found = log.audit()

    assert (topic, "anew") in [(log_name(each.topic), each.kind) for each in found.faults]
    assert not found.balanced
    log.accept(topic, 0, 0, anew=True)
    for stage, of in log.groups:
        if of == topic:
            log.groups[stage, of] = {0: 0}  # it goes on
    accepted = log.audit()
    assert "anew" not in [each.kind for each in accepted.faults if log_name(each.topic) == topic]
    assert [each.note for each in accepted.accepted] == ["the disk died"]


def test_a_topic_that_was_deleted_with_the_progress_in_it_is_said_to_be_anew_and_nothing_else(log: Pipeline) -> None:
    log.punch("checkin")
    log.drain()
    log.cut("raw", 0)
    log.punch("dropped")
    log.groups["stream", "raw"] = {0: None}
    assert [each.kind for each in log.audit().faults if log_name(each.topic) == "raw"] == ["anew"]


def log_name(topic: str) -> str:
    return topic.removeprefix("t.").removesuffix(".v1").replace("-", "_")


def test_a_log_that_was_cut_short_and_has_grown_again_is_known_again(log: Pipeline) -> None:
    for _ in range(3):
        log.punch("checkin")
    log.audit()  # it has seen all three, and none has an outcome
    log.cut("raw", 1)
    for _ in range(3):
        log.punch("checkin")
    log.drain()
    assert [each.kind for each in log.audit().faults] == ["anew"]


def test_an_accepted_loss_is_balanced_and_named_by_every_later_audit(log: Pipeline) -> None:
    for _ in range(3):
        log.punch("checkin")
    log.retain("raw", 2)
    assert not log.audit().balanced
    log.accept("raw", 0, 2)
    log.position["stream"] = 2
    log.drain()
    for _ in range(2):
        found = log.audit()
        assert found.balanced, words(found)
        assert [(each.first, each.through, each.note) for each in found.accepted] == [(0, 2, "the disk died")]
    assert found.to_json()["accepted"][0]["note"] == "the disk died"  # type: ignore[index]


def test_what_is_gone_later_is_not_accepted_with_it(log: Pipeline) -> None:
    log.accept("raw", 0, 1)
    for _ in range(3):
        log.punch("checkin")
    log.retain("raw", 2)
    assert [(each.first, each.through) for each in log.audit().faults] == [(1, 2)]


def test_after_an_adoption_outcomes_are_found_by_where_their_records_are_now(log: Pipeline) -> None:
    for what in ("checkin", "dropped", "dead"):
        log.punch(what)
        log.drain()
    assert log.audit().balanced
    old = log.records("raw")
    log.cut("raw", 0)
    other = log.punch("checkin")
    for each in old:
        log.add("raw", each.key, each.value, each.headers, timestamp=each.timestamp)
    assert not log.audit().balanced
    same = (Moved(log.topics[name], 0, 0, 9, 0) for name in ("checkins", "dropped", "deliveries", "dead_letters"))
    ended = tuple(Ended(log.topics[name], 0, 9) for name in ("raw", "checkins", "dropped", "dead_letters"))
    adoption = Adoption(NOW, "amina", "restored", (Moved("t.raw.v1", 0, 0, 3, 1), *same), ended)
    log.add("accounts", adoption.key, adoption.encode())
    log.check_in(other)
    log.sink()

    found = log.audit()

    assert (found.balanced, found.dropped, found.dead_lettered, found.delivered) == (True, 1, 1, 2), words(found)
    assert [each.note for each in found.adoptions] == ["restored"]


def test_dead_letters_may_go_once_an_audit_has_counted_them(log: Pipeline) -> None:
    log.punch("dead")
    log.drain()
    assert log.audit().balanced
    log.retain("dead_letters", 1)
    assert log.audit().faults == []
    log.punch("dead")
    log.drain()
    log.retain("dead_letters", 2)
    assert [(each.topic, each.records) for each in log.audit().faults] == [("t.dead-letters.v1", 1)]


def test_a_group_without_progress_is_said(log: Pipeline) -> None:
    log.punch("checkin")
    log.drain()
    log.groups["sink", "checkins"] = {0: None}
    found = log.audit()
    assert (found.balanced, [each.kind for each in found.faults]) == (False, ["no_progress"])
    assert "Start sink: it goes on at offset 1, by its account." in words(found)


def test_progress_without_an_account_is_said_once_it_should_be_there(log: Pipeline) -> None:
    log.remove("accounts", lambda _: True)
    log.clock = int(datetime.now(UTC).timestamp() * 1000) - 2 * 60_000
    log.punch("checkin")
    log.stream()
    log.sink()
    assert log.audit().balanced
    log.remove("accounts", lambda _: True)
    for record in log.records("raw"):
        record.timestamp -= DAY_MS
    found = log.audit()
    assert (found.balanced, [each.kind for each in found.faults]) == (False, ["no_account"])


def test_a_configuration_that_loses_records_is_no_balance(log: Pipeline) -> None:
    log.configuration = ["topic t.raw.v1: cleanup.policy is compact, wanted is delete"]
    found = log.audit()
    assert (found.balanced, found.configuration) == (False, log.configuration)


def test_an_audit_of_a_part_writes_no_account_and_knows_what_is_gone_all_the_same(log: Pipeline) -> None:
    log.punch("checkin")
    log.punch("checkin")
    log.retain("raw", 1)
    before = log.records("accounts")
    assert [each.kind for each in log.audit(device="checkin").faults] == ["removed"]
    assert [each.kind for each in log.audit(since=datetime(1970, 1, 1, tzinfo=UTC)).faults] == ["removed"]
    assert log.records("accounts") == before


def test_its_accounts_are_bounded(log: Pipeline) -> None:
    for _ in range(20):
        log.punch("checkin")
        log.drain()
        log.audit()
    keys = {each.key for each in log.records("accounts")}
    assert len(keys) <= 2 + 2 * 6


KINDS = ("checkin", "checkin", "dropped", "dead", "waiting")
LOSABLE: tuple[Name, ...] = ("raw", "checkins", "dropped", "deliveries", "dead_letters", "unmapped")
PUNCHES = [("punch", kind) for kind in KINDS]
WORK = [(work, "") for work in ("stream", "stream", "stream", "sink", "sink", "release", "account", "audit")]
LOSSES = [
    (how, topic)
    for how in ("front", "middle", "end", "anew")
    for topic in LOSABLE
    if how != "middle" or topic != "unmapped"
]
ACTIONS = st.sampled_from([*(PUNCHES * 8), *(WORK * 8), *LOSSES])


@given(st.lists(ACTIONS, max_size=30), st.data())
def test_no_history_and_no_loss_is_balanced_while_an_acknowledged_event_has_no_outcome(
    actions: list[tuple[str, Any]], data: st.DataObject
) -> None:
    log = Pipeline()
    for action, what in actions:
        match action:
            case "punch":
                log.punch(what)
            case "stream":
                log.stream()
            case "sink":
                log.sink()
            case "account":
                log.write_account("stream", "raw")
                log.write_account("sink", "checkins")
            case "release":
                _release(log)
            case "audit":
                _check(log)
            case _:
                # What nobody has looked at before it was cut off, nobody knows of.
                _check(log)
                _lose(log, action, what, data.draw(st.integers(0, 8)))
                _check(log)
    _check(log)
    log.drain()
    _check(log)


def _release(log: Pipeline) -> None:
    """The first punch that waits is checked in."""
    gone = {each.key for each in log.records("unmapped") if each.value is None}
    for record in log.records("unmapped"):
        if record.value is not None and record.key not in gone:
            event = Waiting.decode(record.value).event
            log.decided.discard(event.event_id)
            log.check_in(event)
            log.write("unmapped", record.key, None)
            return


def _lose(log: Pipeline, how: str, topic: Name, number: int) -> None:
    match how:
        case "front":
            log.retain(topic, number)
        case "middle":
            log.remove(topic, lambda record: record.offset == number)
        case "end":
            log.cut(topic, number)
        case "anew":
            log.cut(topic, 0)


def _check(log: Pipeline) -> None:
    found = log.audit()
    open_ = [each.event_id for each in log.acknowledged if each.event_id not in log.decided]
    assert not (found.balanced and open_), f"balanced, but {len(open_)} events have no outcome"


@given(
    st.lists(st.sampled_from(["checkin", "dropped", "dead", "waiting"]), max_size=8),
    st.lists(st.sampled_from(["checkin", "dropped", "dead", "waiting"]), max_size=4),
    st.fixed_dictionaries({name: st.integers(0, 9) for name in ("raw", "checkins", "dropped", "deliveries")}),
)
def test_what_was_accounted_for_may_go_from_any_topic_and_is_balanced(
    first: list[str], then: list[str], retained: dict[Name, int]
) -> None:
    log = Pipeline()
    for what in first:
        log.punch(what)
    log.drain()
    assert log.audit().balanced
    for topic, offset in retained.items():
        log.retain(topic, offset)
    assert log.audit().balanced
    for what in then:
        log.punch(what)
    log.drain()
    found = log.audit()
    assert found.balanced, (words(found), found)
