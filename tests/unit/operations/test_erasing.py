"""A person is erased: what is left of them has a day on which it goes, and never becomes a second row."""

import base64
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from example_records import UNREAD
from msgspec.structs import replace
from sqlalchemy import select

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import InvalidRecord, KafkaUnavailable, Reason
from attendance.kafka.producer import Producer
from attendance.kafka.removal import KafkaCluster
from attendance.personal_data import HOLDINGS
from attendance.records.attendance_day import AttendanceDay
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import LetterId
from attendance.records.job import JobAsked, JobCancel, JobProgress, LettersWanted
from attendance.records.outcomes import Delivery, Dropped, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent, Source
from attendance.records.unread import UnreadRequest
from attendance.records.user_map import Employee, IgnoredUser, UserMapping
from attendance.sealing import Seal
from attendance.times import now
from attendance.topics import EMBEDDED_CLUSTER, Name
from ledger.database import Database
from ledger.store import LEDGER_TOPICS, Store
from ledger.tables import FACTS
from memory_broker import MemoryBroker, install
from operations.audit import audit
from operations.changelog import ChangelogRewriting
from operations.erasing import Erasure, NotErased, erase, plan_erasure, readmit
from operations.fact_reading import FactReader
from operations.log import KafkaLog
from operations.personal_records import records_of
from operations.persons import Asked, find_person
from streams.dedup import Kept, Punch
from streams.open_store import open_dict_store
from streams.pipeline import Outcome, Pipeline, Rules, user_key
from streams.state import FLOOR_KEY, DeduplicationState, encode
from streams.store import HistoryNeeded
from virtual_time import run_in_virtual_time

EMPLOYEE, OTHER = "HR-EMP-00001", "HR-EMP-000011"
NUMBER, OTHERS = "17", "170"
HORIZON, AHEAD = 90 * 86_400, 300
SECONDS = int(now().timestamp()) // 86_400 * 86_400


def event(user: str = NUMBER, days: float = 1, device: str = "D1") -> RawEvent:
    time = datetime.fromtimestamp(round(SECONDS - days * 86_400), UTC)
    wall_clock = time.strftime("%Y-%m-%d %H:%M:%S")
    return RawEvent(device, "riyadh", user, "IN", time, wall_clock, "UTC", time, Source("push", "json_v1"))


class Scene:
    """A pipeline that has run, of two people whose names and numbers begin alike, and of a third."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker: MemoryBroker
        self.broker, self.kafka = install(monkeypatch, partitions=1)
        self.log = KafkaLog(self.kafka, "test")
        self.cluster = KafkaCluster(self.kafka, "test")
        for number, employee in ((NUMBER, EMPLOYEE), (OTHERS, OTHER)):
            self.put("user_map", Employee(employee, "Active", created=f"2020-01-01 {employee}"))
            self.put("user_map", UserMapping("*", number, employee, "erpnext"))
        self.changelog(Kept(FLOOR_KEY, Punch(0, 0, 0).pack()))

    def put(self, name: Name, record: Any, headers: Iterable[tuple[str, bytes]] = (), key: bytes | None = None) -> int:
        return self.broker.put(self.kafka.topics[name], record.encode(), key or record.key, headers=tuple(headers))

    def changelog(self, *kept: Kept) -> None:
        self.broker.put(self.kafka.topics["dedup_state"], encode(kept), b"random")

    def arrive(self, raw: RawEvent) -> int:
        offset = self.put("raw", raw)
        self.kept(raw, offset)
        return offset

    def kept(self, raw: RawEvent, offset: int) -> None:
        assert raw.event_time is not None
        self.changelog(Kept(user_key(raw), Punch.of(raw.event_time, raw.event_type, offset).pack()))

    def deliver(self, raw: RawEvent, employee: str) -> None:
        offset = self.arrive(raw)
        assert raw.event_time is not None
        checkin = Checkin(
            raw.event_id, employee, raw.event_time, "IN", raw.device_id, raw.device_user_id, raw.site, "UTC"
        )
        self.put("checkins", checkin, [(RAW_RECORD, b"0:%d" % offset)])
        self.put("deliveries", Delivery(raw.event_id, employee, f"CHK-{offset}", "created", "erpnext", now()))
        copy = self.put("raw", raw)
        self.put(
            "dropped",
            Dropped(
                raw.event_id, raw.event_id, Reason.DUPLICATE, raw.device_id, raw.device_user_id, raw.event_time, 0, copy
            ),
        )

    def wait(self, raw: RawEvent, employee: str | None = None) -> None:
        offset = self.arrive(raw)
        self.put("unmapped", Waiting(raw, Reason.EMPLOYEE_INACTIVE, employee), [(RAW_RECORD, b"0:%d" % offset)])

    def fail(self, raw: RawEvent) -> None:
        topic = self.kafka.topics["raw"]
        offset = self.put("raw", raw)
        record = self.broker.records(topic)[offset]

        letter = DeadLetter.of(record, "stream", InvalidRecord(Reason.IMPLAUSIBLE_TIME, "no"), now(), event_id="e")
        out = letter.to_record(self.kafka.topics["dead_letters"])
        self.broker.put(out.topic, out.value, out.key, headers=tuple(out.headers))

    def finish(self) -> None:
        """The stream and the sink have come to the end."""
        for stage, name in (("stream", "raw"), ("sink", "checkins")):
            tp = TopicPartition(self.kafka.topics[name], 0)  # type: ignore[index]
            self.broker.groups[self.kafka.group(stage)].offsets[tp] = self.broker.partition(tp).end

    def run(self) -> None:
        """What a person leaves on every topic, and two others."""
        for user, employee in ((NUMBER, EMPLOYEE), (OTHERS, OTHER)):
            self.deliver(event(user, 2), employee)
            self.deliver(event(user, 200), employee)
            self.wait(event(user, 1), employee)
            self.fail(event(user, 3))
            self.put("attendance_days", AttendanceDay(employee, "Day", date(2026, 1, 1), "written", now()))
            body = f"ATTLOG {user} and no more".encode()
            request = UnreadRequest("u", "D1", "riyadh", "adms", "1", "push", now(), Reason.UNREADABLE_BODY, "no", body)
            self.put("unread", request.with_id())
        self.wait(event("99"))
        self.finish()

    def plan(self, asked: Asked | None = None, site_of: Callable[[str], str | None] = lambda _: None) -> Erasure:
        async def plan() -> Erasure:
            person = await find_person(self.log, asked or Asked(EMPLOYEE), site_of)
            return await plan_erasure(self.log, self.cluster, {"stream": self.kafka.group("stream")}, person)

        return run_in_virtual_time(plan())

    def erase(self, erasure: Erasure) -> int:
        groups = {"stream": self.kafka.group("stream")}
        return run_in_virtual_time(erase(self.log, self.cluster, groups, erasure, ahead=AHEAD, by="fatima"))

    def balanced(self) -> bool:
        return run_in_virtual_time(audit(self.log)).balanced

    def values(self, name: Name) -> list[bytes]:
        return [
            b"|".join((each.key or b"", each.value or b"", *(data for _, data in each.headers)))
            for each in self.broker.records(self.kafka.topics[name])
        ]

    def decide(self, *events: RawEvent, headers: Iterable[tuple[str, bytes]] = ()) -> list[Outcome]:
        """What a stream that starts now makes of raw records."""

        async def decide() -> list[Outcome]:
            producer = Producer(self.kafka, "test")
            state = DeduplicationState(self.kafka, producer, HORIZON, AHEAD, open_dict_store)
            users = (await find_person(self.log, Asked(EMPLOYEE))).users
            pipeline = Pipeline(Rules(60, HORIZON, AHEAD, 600), users, lambda _: None)
            topic = self.kafka.topics["raw"]
            ends = [self.put("raw", each, headers) for each in events]
            records = [each for each in self.broker.records(topic) if each.offset in ends]
            try:
                await state.catch_up([0])
                await state.begin(0, records[0])
                while True:
                    try:
                        return pipeline.decide(records, state[0], now()).outcomes
                    except HistoryNeeded:
                        await state.recall(0)
            finally:
                state.close()
                await producer.stop()

        return run_in_virtual_time(decide())


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


# Not the minute or the second of a time.
THEIRS = re.compile(rb"HR-EMP-00001(?!\d)|(?<![\w-])(?<!\d\d:)17(?![\w-])")


def test_what_is_left_of_an_erased_person_has_a_day_on_which_it_goes(scene: Scene) -> None:
    scene.run()
    others = {name: [each for each in scene.values(name) if not THEIRS.search(each)] for name in HOLDINGS}
    erasure = scene.plan()
    assert erasure.objections == []
    assert scene.erase(erasure) == 3
    for name in ("user_map", "unmapped"):
        scene.broker.compact(scene.kafka.topics[name])
    for name, holding in HOLDINGS.items():
        left = [each for each in scene.values(name) if THEIRS.search(each)]
        if name in ("user_map", "unmapped"):
            left = [each for each in left if each.strip(b"|") and b"{" in each]  # a tombstone goes a day later
        if left:
            assert holding.goes == "expires", name
            assert erasure.until[name] > now(), name
        if holding.goes == "expires" or name == "unmapped":
            kept = scene.values(name)
            assert [each for each in kept if each in others[name]] == others[name], name
    assert erasure.last_day == max(erasure.until.values())
    assert {"raw", "checkins", "dropped", "deliveries", "dead_letters", "attendance_days"} <= erasure.until.keys()
    assert erasure.mentions == {"unread": 1}


def test_what_was_decided_about_the_numbers_of_an_erased_person_goes_with_its_notes(scene: Scene) -> None:
    scene.deliver(event(), EMPLOYEE)
    for user, note in ((NUMBER, "his"), (OTHERS, "hers")):
        for scope in ("device:D1", "site:riyadh", "site:jeddah"):
            scene.put("user_map", IgnoredUser(scope, user, f"{user}{scope}", now(), "fatima", f"{note} at {scope}"))
    scene.put("user_map", UserMapping("site:jeddah", "4", EMPLOYEE, "console", now(), "fatima", "his too"))
    scene.put("user_map", UserMapping("site:jeddah", "5", OTHER, "console", now(), "fatima", "hers too"))
    letter = DeadLetter(
        "stream", Reason.USER_IGNORED, "his", now(), b"D1", event(days=3).encode(), topic=scene.kafka.topics["raw"]
    )
    out = letter.to_record("")
    scene.broker.put(scene.kafka.topics["dead_letters"], out.value, out.key, headers=tuple(out.headers))
    scene.finish()

    erasure = scene.plan()
    assert [str(each) for each in erasure.open_letters] == ["0:0"]
    scene.erase(erasure)

    scene.broker.compact(scene.kafka.topics["user_map"])
    notes = re.findall(rb'"note":"([^"]*)"', b"".join(scene.values("user_map")))
    assert sorted(notes) == [b"hers at device:D1", b"hers at site:jeddah", b"hers at site:riyadh", b"hers too"]


def test_the_notes_about_a_visitor_who_was_ignored_go_with_them(scene: Scene) -> None:
    for scope in ("device:D1", "device:D2", "site:riyadh"):
        scene.put("user_map", IgnoredUser(scope, "99", scope, now(), "fatima", scope))
    scene.wait(event("99"))
    scene.finish()
    scene.erase(scene.plan(Asked(device_user_id="99", scope="device:D1"), {"D1": "riyadh"}.get))
    scene.broker.compact(scene.kafka.topics["user_map"])
    assert re.findall(rb'"note":"([^"]*)"', b"".join(scene.values("user_map"))) == [b"device:D2"]


def test_a_job_is_of_a_person_whose_letter_or_name_it_has_and_goes_with_its_day(scene: Scene) -> None:
    scene.run()
    (number,) = {each.offset for each in find_letters(scene)}
    for job_id, ids, note in (("a", (f"0:{number}",), None), ("b", (), f"for {EMPLOYEE}"), ("c", ("9:9",), OTHER)):
        asked = JobAsked(job_id, "replay_letters", LettersWanted({0: 9}, ids), now(), "fatima", note)
        scene.put("jobs", asked)
    scene.put("jobs", JobProgress("c", "w", "done", now(), 1, problems=(f"no employee {EMPLOYEE}",)))
    scene.put("jobs", JobCancel("c", now(), "fatima"))
    erasure = scene.plan()
    assert erasure.records["jobs"] == 3
    assert erasure.until["jobs"] > now()


def find_letters(scene: Scene) -> set[LetterId]:
    async def find() -> set[LetterId]:
        person = await find_person(scene.log, Asked(EMPLOYEE))
        async for _ in records_of(scene.log, person):
            pass
        return person.letters

    return run_in_virtual_time(find())


def test_the_audit_balances_before_and_after(scene: Scene) -> None:
    scene.run()
    assert scene.balanced()
    scene.erase(scene.plan())
    assert scene.balanced()
    assert scene.plan().waiting == {}
    assert scene.plan().open_letters == []


def test_a_ledger_has_no_row_of_an_erased_person_and_has_those_of_others(scene: Scene, tmp_path: Path) -> None:
    scene.run()
    scene.erase(scene.plan())
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite")
    database.prepare()
    store = Store(database)
    for name in LEDGER_TOPICS:
        records = scene.broker.records(scene.kafka.topics[name])
        if records:
            store.apply(FactReader(scene.kafka.topics, NOTHING_MOVED), {(name, 0): records}, {}, 0)

    with database.transaction() as connection:
        rows = [tuple(row) for table in FACTS.values() for row in connection.execute(select(table))]
    database.close()
    words = {each for row in rows for each in row if isinstance(each, str)}
    assert words >= {OTHERS, OTHER}
    assert not words & {NUMBER, EMPLOYEE}


def test_what_comes_again_of_an_erased_person_is_held_for_a_person(scene: Scene) -> None:
    scene.run()
    scene.erase(scene.plan())
    copies = scene.decide(event(days=2), event(days=200), event(days=400))
    assert [each.reason for each in copies if isinstance(each, DeadLetter)] == [Reason.ERASED] * 3
    [sent] = scene.decide(event(days=2), headers=[("x-replay-count", b"1"), ("x-replay-reason", b"erased")])
    assert isinstance(sent, Waiting)


def test_everybody_else_is_decided_as_if_nobody_had_been_erased(scene: Scene) -> None:
    scene.run()
    scene.erase(scene.plan())
    near, far, old, waits = scene.decide(event(OTHERS, 2), event(OTHERS, 200), event(OTHERS, 300), event("99"))
    assert [type(each) for each in (near, far, old, waits)] == [Dropped, Dropped, Checkin, Dropped]


def test_whoever_gets_the_number_later_has_their_punches(scene: Scene) -> None:
    scene.run()
    scene.erase(scene.plan())
    scene.put("user_map", UserMapping("*", NUMBER, OTHER, "csv"))
    in_a_minute = now().timestamp() + 60
    [punch] = scene.decide(event(days=(SECONDS - in_a_minute) / 86_400))
    assert isinstance(punch, Checkin)
    assert punch.employee == OTHER


def test_of_a_number_that_two_had_only_the_punches_of_one_go(scene: Scene) -> None:
    scene.deliver(event(days=9), EMPLOYEE)
    scene.deliver(event(days=2), OTHER)
    scene.finish()
    erasure = scene.plan()
    assert erasure.records["checkins"] == 1
    assert scene.erase(erasure) == 1
    first, second, late = scene.decide(event(days=9), event(days=2), event(days=5))
    assert isinstance(first, DeadLetter)
    assert isinstance(second, Dropped)
    assert isinstance(late, Waiting)


def test_a_device_user_is_erased_only_within_the_scope_that_was_named(scene: Scene) -> None:
    scene.put("user_map", UserMapping("device:D2", NUMBER, OTHER, "csv"))
    scene.wait(event("55", device="D1"))
    scene.wait(event("55", device="D2"))
    scene.finish()
    erasure = scene.plan(Asked(None, "55", "device:D1"))
    assert erasure.person.device_users == [("D1", "55")]
    scene.erase(erasure)
    waiting = [each for each in scene.values("unmapped") if b"{" in each]
    assert scene.plan(Asked(None, "55")).person.device_users == [("D1", "55"), ("D2", "55")]
    assert len(waiting) == 2  # of which the first has its tombstone
    everywhere = scene.plan(Asked(None, NUMBER))
    assert not any(device == "D2" for device, _ in everywhere.person.device_users)


def test_a_stream_that_runs_or_lags_and_a_sink_that_lags_are_named_and_nothing_is_done(scene: Scene) -> None:
    scene.run()
    scene.arrive(event(days=0.5))
    scene.put("checkins", Checkin("e", EMPLOYEE, now().replace(microsecond=0), "IN", "D1", NUMBER, "riyadh", "UTC"))
    before = {name: scene.values(name) for name in HOLDINGS}
    said = " ".join(scene.plan().objections)
    assert "the stream has not decided 1 of their punches" in said
    assert "the sink has not delivered 1 of their check-ins" in said
    with pytest.raises(NotErased):
        scene.erase(scene.plan())
    assert {name: scene.values(name) for name in HOLDINGS} == before


def test_where_no_record_can_be_deleted_nothing_is_done(scene: Scene) -> None:
    scene.run()
    before = {name: scene.values(name) for name in HOLDINGS}
    changelog = scene.kafka.topics["dedup_state"]
    scene.broker.configs[changelog] = {"cleanup.policy": "compact"}
    with pytest.raises(KafkaUnavailable, match=f"topic {changelog}: .*cleanup.policy"):
        scene.erase(scene.plan())
    assert {name: scene.values(name) for name in HOLDINGS} == before


def test_a_running_stream_is_named(scene: Scene) -> None:
    scene.run()
    scene.broker.groups[scene.kafka.group("stream")]._members.append(_Member())  # type: ignore[arg-type]
    assert "`punchstream stream` runs" in " ".join(scene.plan().objections)


class _Member:
    client_id = "stream"


def test_what_is_sealed_is_opened_with_its_key_and_without_it_may_mention_whoever_uses_the_device(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.run()
    key = b"k" * 32
    for number in (NUMBER, OTHERS):
        request = replace(UNREAD, body=f"PIN={number}".encode(), device_id="D1").with_id()
        scene.put("unread", Seal([key]).seal(request))
    assert scene.plan().mentions == {"unread": 3}
    monkeypatch.setenv("SEAL_KEY", base64.b64encode(key).decode())
    assert scene.plan().mentions == {"unread": 2}


def test_the_embedded_broker_is_refused(scene: Scene) -> None:
    scene.run()
    scene.broker.cluster_id = EMBEDDED_CLUSTER
    assert "embedded" in " ".join(scene.plan().objections)


@pytest.mark.parametrize("writes", range(1, 4))
def test_wherever_the_rewriting_is_cut_off_nothing_of_others_is_lost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    scene.run()
    erasure = scene.plan()
    real, count = ChangelogRewriting._send, 0

    async def cut_off(self: ChangelogRewriting, *args: Any) -> int:
        nonlocal count
        count += 1
        if count == writes:
            raise ConnectionError
        return await real(self, *args)

    monkeypatch.setattr(ChangelogRewriting, "_send", cut_off)
    if writes < 3:
        with pytest.raises(ConnectionError):
            scene.erase(erasure)
        near, far = scene.decide(event(OTHERS, 2), event(OTHERS, 200))
        assert (type(near), type(far)) == (Dropped, Dropped)
    monkeypatch.setattr(ChangelogRewriting, "_send", real)
    scene.finish()
    scene.erase(scene.plan())
    assert scene.plan().records["dedup_state"] == 0
    near, old = scene.decide(event(OTHERS, 200), event(OTHERS, 300))
    assert (type(near), type(old)) == (Dropped, Checkin)


def test_a_floor_that_the_changelog_had_is_still_there(scene: Scene) -> None:
    floor = SECONDS - 100 * 86_400
    scene.changelog(Kept(FLOOR_KEY, Punch(floor, 0, 0).pack()))
    scene.run()
    scene.erase(scene.plan())
    before, after = scene.decide(event(OTHERS, 150), event(OTHERS, 95))
    assert isinstance(before, DeadLetter)
    assert before.reason is Reason.BEYOND_HORIZON
    assert isinstance(after, Checkin)


def test_an_erased_employee_stays_out_of_the_map_until_readmitted(scene: Scene) -> None:

    scene.run()
    scene.erase(scene.plan())
    users = run_in_virtual_time(find_person(scene.log, Asked(EMPLOYEE))).users
    employee = Employee(EMPLOYEE, "Active", created=f"2020-01-01 {EMPLOYEE}")
    assert users.has_erased(employee)
    assert not users.has_erased(replace(employee, created="2026-01-01 somebody else"))
    assert not users.has_erased(Employee(OTHER, "Active", created=employee.created))
    assert run_in_virtual_time(readmit(scene.log, EMPLOYEE))
    assert not run_in_virtual_time(readmit(scene.log, EMPLOYEE))
