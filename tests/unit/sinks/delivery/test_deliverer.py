import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import isinf
from typing import Any

import pytest
import structlog
from msgspec import structs

from attendance.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidRecord,
    PermissionDenied,
    Reason,
    ServerError,
    TargetUnavailable,
)
from attendance.kafka.records import MAX_RECORD_BYTES, OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import SENT_BACK, Delivery, Late, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent, Source
from attendance.settings import SinkSettings
from attendance.topics import Topics
from attendance.wire import Place
from sinks.delivery.concurrency import OVERDUE_SECONDS
from sinks.delivery.deliverer import Deliverer
from sinks.delivery.outcomes import OutcomeWriter, dead_letter
from sinks.delivery.queue import QueuedCheckin
from sinks.delivery.timings import SinkTimings
from sinks.targets.base import Delivered, Result, SentBack
from tests.support.fake_records import CheckinRecord

TOPICS = Topics("test")
TIMINGS = SinkTimings(recheck=30, unknown=5)
NOW = datetime(2026, 1, 1, 5, 0, 2, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeTarget:
    """Stores check-ins in memory and can be made to fail as targets do."""

    name = "fake"
    max_batch = 200
    looks_up_employees = False

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.batches: list[list[str]] = []
        self.opened = 0
        self.down: TargetUnavailable | None = None
        self.refuses: AccessDenied | None = None
        self.cannot_write = False
        self.broken_by: set[str] = set()
        self.rejects: dict[str, InvalidRecord] = {}
        self.forbids: set[str] = set()
        self.late: dict[str, Late] = {}
        self.sends_back: dict[str, SentBack] = {}
        self.answers_get_lost = 0
        self.wrong_setting = False
        self.asked = asyncio.Event()
        self.release: asyncio.Event | None = None

    async def open(self) -> None:
        if self.wrong_setting:
            raise ConfigurationError("FAKE_SETTING: is wrong")
        if self.refuses or self.down:
            raise self.refuses or self.down
        self.opened += 1

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        self.batches.append([checkin.event_id for checkin in checkins])
        self.asked.set()
        if self.release is not None:
            await self.release.wait()
        if self.refuses or self.down:
            raise self.refuses or self.down
        results = self._store(checkins)
        if self.answers_get_lost:
            self.answers_get_lost -= 1
            raise TargetUnavailable("no answer")
        return results

    def _store(self, checkins: Sequence[Checkin]) -> list[Result]:
        results: list[Result] = []
        held: set[str] = set()
        for checkin in checkins:
            if checkin.employee in held:
                results.append(None)
            elif self.cannot_write or checkin.event_id in self.broken_by:
                held.add(checkin.employee)
                results.append(ServerError("500"))
            elif checkin.employee in self.forbids:
                held.add(checkin.employee)
                results.append(PermissionDenied("403"))
            elif back := self.sends_back.get(checkin.employee):
                results.append(back)
            elif problem := self.rejects.get(checkin.event_id, self.rejects.get("every one")):
                results.append(problem)
            elif checkin.event_id in self.rows:
                results.append(Delivered(f"DOC-{checkin.event_id}", "already_there"))
            else:
                self.rows.append(checkin.event_id)
                results.append(Delivered(f"DOC-{checkin.event_id}", "created", self.late.get(checkin.event_id)))
        return results

    async def close(self) -> None:
        pass


class Bench:
    """A deliverer with everything around it, on a clock of its own."""

    def __init__(self, **settings: Any) -> None:
        self.target = FakeTarget()
        self.clock = Clock()
        self.metrics = Metrics()
        self.employees: set[str] | None = set("ABCDEFGHIJ")
        self.deliveries: list[Delivery] = []
        self.dead_letters: list[DeadLetter] = []
        self.waiting: list[tuple[bytes | None, Waiting]] = []
        self.raw: dict[Place, CheckinRecord] = {}
        self.done: list[int] = []
        self.deliverer = Deliverer(
            self.target,
            SinkSettings(**{"error_attempts": 3, "batch": 10} | settings),
            self.metrics,
            employee_exists=lambda name: None if self.employees is None else name in self.employees,
            writer=OutcomeWriter("fake", TOPICS, self.metrics, self.publish, self.read_raw),
            timings=TIMINGS,
            clock=self.clock,
        )

    async def publish(self, outcomes: Sequence[tuple[Record, OutRecord]]) -> None:
        for record, outcome in outcomes:
            if outcome.topic == TOPICS["deliveries"]:
                self.deliveries.append(Delivery.decode(outcome.value))
            elif outcome.topic == TOPICS["unmapped"]:
                assert outcome.partition_key == b"7"
                self.waiting.append((outcome.key, Waiting.decode(outcome.value)))
            else:
                assert outcome.topic == TOPICS["dead_letters"]
                self.dead_letters.append(DeadLetter.decode(outcome.key, outcome.value, outcome.headers))
            self.done.append(record.offset)

    async def read_raw(self, places: Collection[Place]) -> dict[Place, Record]:
        return {place: self.raw[place] for place in places if place in self.raw}

    def add(self, *names: str) -> None:
        """Check-ins named like `A1`: the first one of employee A. The digit is the offset too."""
        for name in names:
            self.deliverer.add(QueuedCheckin(CheckinRecord(int(name[1:])), checkin(name)))

    async def until_idle(self, seconds: float = 10_000) -> None:
        """Work, with time passing where there is nothing to do now, for at most so many seconds."""
        end = self.clock.now + seconds
        while True:
            wait = await self.deliverer.send_next()
            if isinf(wait):
                return
            if self.clock.now + wait > end:
                self.clock.now = end
                return
            self.clock.now += wait

    def count(self, name: str, **labels: str) -> float:
        wanted = name + (
            "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}" if labels else ""
        )
        lines = self.metrics.exposition().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{wanted} ")), 0.0)


def checkin(name: str) -> Checkin:
    return Checkin(
        event_id=name,
        employee=name[0],
        event_time=datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(minutes=int(name[1:])),
        log_type="IN",
        device_id="D1",
        device_user_id="7",
        site="HQ",
        device_timezone="Asia/Riyadh",
    )


def scenario(play: Callable[[Bench], Coroutine[Any, Any, None]], **settings: Any) -> Bench:
    async def run() -> Bench:
        bench = Bench(**settings)
        await play(bench)
        return bench

    return asyncio.run(run())


def test_a_checkin_is_delivered_and_its_delivery_says_where_it_is() -> None:
    async def play(bench: Bench) -> None:
        bench.add("A1", "B2")
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.rows == ["A1", "B2"]
    delivery = bench.deliveries[0]
    assert (delivery.event_id, delivery.employee, delivery.document) == ("A1", "A", "DOC-A1")
    assert (delivery.status, delivery.target, delivery.attempts) == ("created", "fake", 1)
    assert bench.done == [1, 2]
    assert bench.count("punchstream_deliveries_total", status="created") == 2
    assert bench.count("punchstream_target_available") == 1
    assert bench.count("punchstream_sink_in_flight") == 0


def test_the_target_is_opened_before_the_first_checkin_comes() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        assert bench.target.opened == 1

    scenario(play)


def test_no_batch_is_larger_than_the_setting_or_the_target_allows() -> None:
    async def play(bench: Bench) -> None:
        bench.add("A1", "B2", "C3", "D4", "E5")
        bench.target.max_batch = 2
        await bench.until_idle()

    assert scenario(play, batch=3).target.batches == [["A1", "B2"], ["C3", "D4"], ["E5"]]


def test_the_sink_waits_for_a_target_that_is_down_and_dead_letters_nothing() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.target.down = TargetUnavailable("down")
        bench.add("A1", "B2", "A3")
        await bench.until_idle(seconds=3600)
        assert bench.target.rows == []
        assert bench.count("punchstream_target_available") == 0
        bench.target.down = None
        await bench.until_idle()

    bench = scenario(play, retry_max=60)
    assert bench.target.rows == ["A1", "A3", "B2"]
    assert bench.dead_letters == []
    assert bench.deliveries[0].attempts > 50
    # An hour of full jitter up to ten seconds: some 720 requests, each of them alone.
    assert len(bench.target.batches) < 1000


def test_a_target_recovers_only_after_it_failed() -> None:
    async def play(bench: Bench) -> None:
        with structlog.testing.capture_logs() as at_first:
            await bench.until_idle()
            bench.add("A1")
            await bench.until_idle()
        assert "Target recovered." not in [entry["event"] for entry in at_first]
        bench.target.down = TargetUnavailable("down")
        bench.add("B2")
        await bench.until_idle(seconds=60)
        bench.target.down = None
        with structlog.testing.capture_logs() as afterwards:
            await bench.until_idle()
        assert [entry["event"] for entry in afterwards].count("Target recovered.") == 1

    scenario(play)


def test_a_target_that_asks_for_time_is_not_asked_before() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.target.down = TargetUnavailable("429", retry_after=57)
        bench.add("A1")
        await bench.until_idle(seconds=56)
        assert len(bench.target.batches) == 1
        bench.target.down = None
        await bench.until_idle()

    assert scenario(play, retry_max=1).target.rows == ["A1"]


def test_while_the_target_is_down_one_request_at_a_time_finds_out() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.target.down = TargetUnavailable("down")
        bench.add("A1", "B2")
        await bench.deliverer.send_next()
        bench.clock.now += 60
        bench.target.release = asyncio.Event()
        probe = asyncio.create_task(bench.deliverer.send_next())
        await asyncio.sleep(0)
        assert isinf(await bench.deliverer.send_next())
        assert len(bench.target.batches) == 2
        bench.target.release.set()
        await probe

    scenario(play, batch=1)


def test_an_answer_that_got_lost_leads_to_no_second_row() -> None:
    async def play(bench: Bench) -> None:
        bench.target.answers_get_lost = 1
        bench.add("A1", "B2")
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.rows == ["A1", "B2"]
    assert [delivery.status for delivery in bench.deliveries] == ["already_there", "already_there"]
    assert [delivery.attempts for delivery in bench.deliveries] == [2, 2]


def test_a_refusal_stops_delivery_until_it_is_repaired_and_dead_letters_nothing() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.target.refuses = AccessDenied("401")
        bench.add("A1", "B2")
        await bench.until_idle(seconds=29)
        assert len(bench.target.batches) == 1
        assert bench.count("punchstream_target_available") == 0
        await bench.until_idle(seconds=600)
        assert len(bench.target.batches) == 1  # it is opened to see, not written to
        bench.target.refuses = None
        await bench.until_idle()

    bench = scenario(play, retry_max=1)
    assert bench.target.rows == ["A1", "B2"]
    assert bench.dead_letters == []
    assert bench.count("punchstream_target_errors_total", kind="refused") > 15


def test_a_wrong_setting_of_the_target_ends_the_worker() -> None:
    async def play(bench: Bench) -> None:
        bench.target.wrong_setting = True
        with pytest.raises(ConfigurationError, match="FAKE_SETTING"):
            await bench.deliverer.work(asyncio.Event())

    scenario(play)


def test_a_checkin_that_the_target_rejects_is_dead_lettered_and_the_others_are_delivered() -> None:
    async def play(bench: Bench) -> None:
        bench.target.rejects["B2"] = InvalidRecord(Reason.TARGET_REJECTED, "417 MandatoryError: shift")
        bench.add("A1", "B2", "C3", "B4")
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.rows == ["A1", "B4", "C3"]
    [letter] = bench.dead_letters
    assert (letter.reason, letter.message) == (Reason.TARGET_REJECTED, "417 MandatoryError: shift")
    assert (letter.stage, letter.event_id, letter.offset, letter.attempts) == ("sink", "B2", 2, 1)
    assert sorted(bench.done) == [1, 2, 3, 4]
    assert bench.count("punchstream_dead_letters_total", stage="sink", reason="target_rejected") == 1


def test_a_checkin_that_breaks_the_target_is_dead_lettered_after_its_tries_and_holds_up_its_employee_only() -> None:
    async def play(bench: Bench) -> None:
        bench.target.broken_by = {"B2"}
        bench.add("A1", "B2", "B3", "C4")
        await bench.deliverer.send_next()
        await bench.deliverer.send_next()
        assert bench.target.rows == ["A1", "C4"]
        bench.add("D5")
        await bench.deliverer.send_next()
        assert bench.target.rows == ["A1", "C4", "D5"]
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.rows == ["A1", "C4", "D5", "B3"]
    [letter] = bench.dead_letters
    assert (letter.reason, letter.event_id, letter.attempts) == (Reason.TARGET_ERROR, "B2", 3)


def test_a_checkin_that_broke_the_target_is_tried_again_alone() -> None:
    async def play(bench: Bench) -> None:
        bench.target.broken_by = {"B2"}
        bench.add("A1", "B2", "B3")
        await bench.until_idle(seconds=0)
        bench.target.broken_by = set()
        bench.add("C4")
        bench.clock.now += 60
        await bench.until_idle()

    bench = scenario(play)
    assert ["B2"] in bench.target.batches[1:]
    assert bench.target.rows.index("B2") < bench.target.rows.index("B3")
    assert bench.dead_letters == []


def test_checkins_that_broke_the_target_while_it_served_others_are_dead_lettered_though_nothing_else_comes() -> None:
    async def play(bench: Bench) -> None:
        bench.target.broken_by = {"B2", "C3"}
        bench.add("A1", "B2", "C3")
        await bench.until_idle()

    bench = scenario(play)
    assert {letter.event_id for letter in bench.dead_letters} == {"B2", "C3"}


def test_one_checkin_that_breaks_the_target_is_dead_lettered_where_nothing_else_comes_but_the_target_opens() -> None:
    async def play(bench: Bench) -> None:
        bench.target.broken_by = {"A1"}
        bench.add("A1")
        await bench.until_idle()

    bench = scenario(play)
    assert [letter.reason for letter in bench.dead_letters] == [Reason.TARGET_ERROR]


def test_a_target_that_answers_but_stores_nothing_leads_to_no_dead_letters() -> None:
    async def play(bench: Bench) -> None:
        bench.target.cannot_write = True
        bench.add("A1", "B2", "C3")
        await bench.until_idle(seconds=3600)
        assert bench.dead_letters == []
        bench.target.cannot_write = False
        await bench.until_idle()

    bench = scenario(play)
    assert sorted(bench.target.rows) == ["A1", "B2", "C3"]
    assert bench.dead_letters == []


PUNCH = RawEvent("D1", "HQ", "7", "IN", datetime(2026, 1, 1, 5, tzinfo=UTC), None, "UTC", NOW, Source("push", "json"))


def from_punch(employee: str, *headers: tuple[str, bytes]) -> QueuedCheckin:
    """A check-in that was made of `PUNCH`, at 0:4 of its topic; the raw record is at 2:31."""
    made = structs.replace(checkin(f"{employee}4"), event_id=PUNCH.event_id, employee_created="2026-01-01 09:00:00")
    return QueuedCheckin(CheckinRecord(4, headers=((RAW_RECORD, b"2:31"), *headers)), made)


def test_what_the_target_sends_back_waits_again_whole_and_under_a_key_of_its_own() -> None:
    async def play(bench: Bench) -> None:
        bench.target.sends_back["A"] = SentBack(Reason.BEFORE_JOINING, "joined later")
        bench.raw[2, 31] = CheckinRecord(31, PUNCH.encode())
        bench.deliverer.add(from_punch("A", (SENT_BACK, b"2")))
        bench.add("B5")
        await bench.until_idle()

    bench = scenario(play)
    [(key, waiting)] = bench.waiting
    assert key == f"{PUNCH.event_id}:0:4".encode()
    assert (waiting.event, waiting.reason, waiting.message) == (PUNCH, Reason.BEFORE_JOINING, "joined later")
    assert (waiting.employee, waiting.employee_created, waiting.sent_back) == ("A", "2026-01-01 09:00:00", 3)
    assert (bench.dead_letters, bench.target.rows, sorted(bench.done)) == ([], ["B5"], [4, 5])
    assert bench.count("punchstream_sent_back_total", reason="before_joining") == 1


@pytest.mark.parametrize("raw", [None, b"{}", structs.replace(PUNCH, device_user_id="8").encode()])
def test_a_punch_whose_raw_record_is_gone_cannot_wait_and_is_dead_lettered(raw: bytes | None) -> None:
    async def play(bench: Bench) -> None:
        bench.target.sends_back["A"] = SentBack(Reason.UNKNOWN_EMPLOYEE, "ERPNext has no employee 'A'")
        if raw is not None:
            bench.raw[2, 31] = CheckinRecord(31, raw)
        bench.deliverer.add(from_punch("A"))
        await bench.until_idle()

    bench = scenario(play)
    [letter] = bench.dead_letters
    assert letter.reason == Reason.UNKNOWN_EMPLOYEE
    assert letter.message == (
        "ERPNext has no employee 'A'; it cannot wait, because the raw topic does not have its record 2:31 any more"
    )
    assert bench.done == [4]


def test_what_is_sent_back_counts_for_no_limit_of_dead_letters() -> None:
    async def play(bench: Bench) -> None:
        bench.target.sends_back = dict.fromkeys("ABCDEFGH", SentBack(Reason.UNKNOWN_EMPLOYEE, "no"))
        bench.raw[2, 31] = CheckinRecord(31, PUNCH.encode())
        for employee in "ABCDEFGH":
            bench.deliverer.add(from_punch(employee))
        await bench.until_idle()

    bench = scenario(play, dead_letter_run=4)
    assert (len(bench.waiting), bench.dead_letters) == (8, [])


def test_an_employee_whom_the_user_map_lacks_has_the_punch_wait_where_the_target_looks_nobody_up() -> None:
    async def play(bench: Bench) -> None:
        bench.raw[2, 31] = CheckinRecord(31, PUNCH.encode())
        bench.deliverer.add(from_punch("X"))
        await bench.until_idle()
        assert bench.target.batches == []

    [(_, waiting)] = scenario(play).waiting
    assert (waiting.reason, waiting.message) == (Reason.UNKNOWN_EMPLOYEE, "the user map has no employee 'X'")


def test_a_target_that_looks_employees_up_decides_alone() -> None:
    async def play(bench: Bench) -> None:
        bench.target.looks_up_employees = True
        bench.add("X1")
        await bench.until_idle()

    assert scenario(play).target.rows == ["X1"]


def test_an_unknown_employee_is_dead_lettered_without_asking_the_target() -> None:
    async def play(bench: Bench) -> None:
        bench.add("A1", "X2")
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.batches == [["A1"]]
    [letter] = bench.dead_letters
    assert (letter.reason, letter.event_id) == (Reason.UNKNOWN_EMPLOYEE, "X2")


def test_an_employee_that_the_directory_learns_of_a_little_late_is_not_dead_lettered() -> None:
    async def play(bench: Bench) -> None:
        bench.add("X1")
        await bench.until_idle(seconds=TIMINGS.unknown - 1)
        assert bench.employees is not None
        bench.employees.add("X")
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.rows == ["X1"]
    assert bench.dead_letters == []


def test_while_the_directory_is_not_known_nobody_is_dead_lettered() -> None:
    async def play(bench: Bench) -> None:
        bench.employees = None
        bench.add("A1", "X2")
        await bench.until_idle(seconds=3600)
        assert bench.dead_letters == []
        assert bench.target.batches == []
        bench.employees = {"A"}
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.rows == ["A1"]
    assert [letter.event_id for letter in bench.dead_letters] == ["X2"]


def test_a_directory_that_is_emptied_makes_nobody_unknown() -> None:
    async def play(bench: Bench) -> None:
        bench.add("X1")
        await bench.until_idle(seconds=1)
        bench.employees = None
        await bench.until_idle(seconds=3600)
        bench.employees = {"X"}
        await bench.until_idle()

    bench = scenario(play)
    assert bench.target.rows == ["X1"]
    assert bench.dead_letters == []


def test_where_nearly_everything_fails_no_more_is_dead_lettered_and_nothing_is_done_with_what_is_in_hand() -> None:
    async def play(bench: Bench) -> None:
        bench.target.rejects["every one"] = InvalidRecord(Reason.TARGET_REJECTED, "417")
        bench.add(*(f"{employee}{number}" for number, employee in enumerate("ABCDEFGHIJ", 1)))
        with structlog.testing.capture_logs() as logs:
            await bench.until_idle(seconds=3600)
        assert not [entry for entry in logs if "recovered" in entry["event"]]
        assert len(bench.deliverer) == 6
        assert bench.count("punchstream_sink_stopped") == 1
        assert bench.count("punchstream_target_available") == 0
        assert all(len(batch) == 1 for batch in bench.target.batches[1:])
        assert 3600 / 60 <= len(bench.target.batches) <= 3600 / TIMINGS.recheck + 2
        assert len({name for batch in bench.target.batches[1:] for name in batch}) == 6

    bench = scenario(play, dead_letter_run=4, batch=4, retry_max=60)
    assert len(bench.dead_letters) == 4
    assert sorted(bench.done) == [1, 2, 3, 4]


def test_a_sink_that_was_stopped_by_its_dead_letters_goes_on_when_something_is_delivered() -> None:
    async def play(bench: Bench) -> None:
        bench.target.rejects["every one"] = InvalidRecord(Reason.TARGET_REJECTED, "417")
        bench.add(*(f"{employee}{number}" for number, employee in enumerate("ABCDEFGHIJ", 1)))
        await bench.until_idle(seconds=300)
        bench.target.rejects.clear()
        await bench.until_idle(seconds=150)
        assert bench.count("punchstream_sink_stopped") == 0
        assert bench.count("punchstream_target_available") == 1

    bench = scenario(play, dead_letter_run=4, batch=4)
    assert len(bench.dead_letters) == 4
    assert len(bench.target.rows) == 6


def test_a_good_check_in_behind_a_run_of_bad_ones_is_delivered_while_the_bad_ones_wait() -> None:
    async def play(bench: Bench) -> None:
        bench.target.rejects = {f"A{number}": InvalidRecord(Reason.TARGET_REJECTED, "417") for number in range(9)}
        bench.add(*bench.target.rejects)
        await bench.until_idle(seconds=100)
        bench.add("B9")
        await bench.until_idle(seconds=600)

    bench = scenario(play, dead_letter_run=4, batch=1)
    assert bench.target.rows == ["B9"]
    assert bench.count("punchstream_sink_stopped") == 1
    assert [letter.event_id for letter in bench.dead_letters] == [f"A{number}" for number in range(8)]


def test_unknown_employees_count_for_the_limit_too() -> None:
    async def play(bench: Bench) -> None:
        bench.add(*(f"{employee}{number}" for number, employee in enumerate("OPQRSTUVWXYZ", 1)))
        await bench.until_idle(seconds=3600)

    bench = scenario(play, dead_letter_run=4)
    assert len(bench.dead_letters) == 4
    assert len(bench.deliverer) == 8


def test_records_that_hold_no_check_in_are_dead_lettered_even_while_the_target_is_down() -> None:
    async def play(bench: Bench) -> None:
        bench.target.down = TargetUnavailable("down")
        bench.deliverer.add_undecodable(
            CheckinRecord(7, value=b"\xff"), InvalidRecord(Reason.UNDECODABLE_RECORD, "not JSON")
        )
        await bench.until_idle(seconds=10)

    bench = scenario(play)
    [letter] = bench.dead_letters
    assert (letter.reason, letter.offset, letter.value) == (Reason.UNDECODABLE_RECORD, 7, b"\xff")
    assert bench.done == [7]
    assert bench.count("punchstream_dead_letters_total", stage="sink", reason="undecodable_record") == 1


def test_records_that_hold_no_check_in_count_for_the_limit_and_wait_beyond_it() -> None:
    async def play(bench: Bench) -> None:
        for offset in range(1, 9):
            problem = InvalidRecord(Reason.UNDECODABLE_RECORD, "not JSON")
            bench.deliverer.add_undecodable(CheckinRecord(offset, value=b"\xff"), problem)
        await bench.until_idle(seconds=3600)
        assert bench.done == [1, 2, 3, 4]
        assert len(bench.deliverer) == 4
        bench.add("A9")
        await bench.until_idle()

    bench = scenario(play, dead_letter_run=4)
    assert bench.done == [1, 2, 3, 4, 9, 5, 6, 7, 8]
    assert bench.target.rows == ["A9"]


def test_records_without_a_check_in_are_dropped_when_their_partitions_are_revoked() -> None:
    async def play(bench: Bench) -> None:
        bench.deliverer.add_undecodable(CheckinRecord(1), InvalidRecord(Reason.UNDECODABLE_RECORD, "not JSON"))
        bench.deliverer.revoke()
        await bench.until_idle()

    assert scenario(play).done == []


def test_a_check_in_that_alone_is_forbidden_is_dead_lettered_after_its_tries_and_holds_up_its_employee_only() -> None:
    async def play(bench: Bench) -> None:
        bench.target.forbids = {"B"}
        bench.add("A1", "B2", "C3")
        await bench.until_idle(seconds=5)
        assert bench.target.rows == ["A1", "C3"]
        assert bench.count("punchstream_target_available") == 1
        for number in range(4, 9):
            bench.add(f"D{number}")
            await bench.until_idle(seconds=60)
        bench.target.forbids = set()

    bench = scenario(play)
    assert bench.target.rows == ["A1", "C3", "D4", "D5", "D6", "D7", "D8"]
    [letter] = bench.dead_letters
    assert (letter.reason, letter.event_id) == (Reason.TARGET_FORBIDDEN, "B2")
    assert bench.count("punchstream_target_errors_total", kind="refused") == 0


def test_that_the_target_opens_is_no_evidence_against_a_forbidden_check_in() -> None:
    async def play(bench: Bench) -> None:
        bench.target.forbids = {"B"}
        bench.add("A1", "B2", "C3")
        await bench.until_idle(seconds=36_000)

    bench = scenario(play)
    assert bench.target.rows == ["A1", "C3"]
    assert bench.dead_letters == []


def test_a_failure_of_a_record_whose_partition_was_revoked_says_nothing_about_the_next() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.target.broken_by = {"A1", "B2"}
        bench.target.release = asyncio.Event()
        bench.add("A1")
        request = asyncio.create_task(bench.deliverer.send_next())
        await asyncio.sleep(0)
        bench.deliverer.revoke()
        bench.target.release.set()
        await request
        bench.add("B2")
        await bench.until_idle()

    assert [letter.event_id for letter in scenario(play).dead_letters] == ["B2"]


def test_where_nothing_else_comes_a_forbidden_check_in_is_tried_again_and_delivered_when_permitted() -> None:
    async def play(bench: Bench) -> None:
        bench.target.forbids = {"B"}
        bench.add("B2")
        await bench.until_idle(seconds=36_000)
        assert bench.count("punchstream_sink_suspects") == 1
        assert bench.dead_letters == []
        bench.target.forbids = set()
        await bench.until_idle()
        assert bench.count("punchstream_sink_suspects") == 0

    bench = scenario(play)
    assert bench.target.rows == ["B2"]
    assert bench.dead_letters == []


def test_others_that_come_while_all_that_came_before_is_forbidden_are_delivered_at_the_next_try() -> None:
    async def play(bench: Bench) -> None:
        bench.target.forbids = {"B", "D"}
        bench.add("B2", "D1")
        await bench.until_idle(seconds=100)
        assert bench.count("punchstream_target_available") == 0
        bench.add("A3", "C4")
        await bench.until_idle(seconds=TIMINGS.doubt)
        assert bench.target.rows == ["A3", "C4"]
        assert bench.count("punchstream_target_available") == 1

    scenario(play)


def test_where_everything_is_forbidden_the_sink_stops_and_dead_letters_nothing() -> None:
    async def play(bench: Bench) -> None:
        bench.target.forbids = set("ABCDE")
        bench.add("A1", "B2", "C3", "D4", "E5")
        await bench.until_idle(seconds=36_000)
        assert bench.dead_letters == []
        assert bench.count("punchstream_target_available") == 0
        assert len(bench.target.batches) < 36_000
        bench.target.forbids = set()
        await bench.until_idle()

    bench = scenario(play)
    assert sorted(bench.target.rows) == ["A1", "B2", "C3", "D4", "E5"]
    assert bench.dead_letters == []


def test_to_begin_with_one_request_is_under_way_however_many_workers_there_are() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.add("A1", "B2")
        bench.target.release = asyncio.Event()
        request = asyncio.create_task(bench.deliverer.send_next())
        await asyncio.sleep(0)
        other = asyncio.create_task(bench.deliverer.send_next())
        await asyncio.sleep(0)
        assert bench.target.batches == [["A1"]]
        bench.target.release.set()
        await request
        assert await other == OVERDUE_SECONDS

    scenario(play, batch=1)


def test_more_requests_are_under_way_together_as_long_as_answers_take_no_longer() -> None:
    async def play(bench: Bench) -> None:
        bench.add(*(f"{'ABCDEFGHIJ'[number % 10]}{number}" for number in range(9)))
        await bench.until_idle()
        assert bench.count("punchstream_sink_concurrency") == 2
        bench.target.down = TargetUnavailable("429")
        bench.add("A9")
        await bench.until_idle(seconds=1)
        assert bench.count("punchstream_sink_concurrency") == 1

    scenario(play, batch=1)


def test_what_is_queued_when_partitions_are_revoked_is_not_delivered() -> None:
    async def play(bench: Bench) -> None:
        bench.add("A1", "B2")
        bench.deliverer.revoke()
        await bench.until_idle()
        assert len(bench.deliverer) == 0

    assert scenario(play).target.rows == []


def test_what_is_in_flight_when_partitions_are_revoked_is_finished_and_recorded() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.add("A1")
        bench.target.release = asyncio.Event()
        request = asyncio.create_task(bench.deliverer.send_next())
        await asyncio.sleep(0)
        bench.deliverer.revoke()
        idle = asyncio.create_task(bench.deliverer.wait_until_idle())
        await asyncio.sleep(0)
        assert not idle.done()
        bench.target.release.set()
        await asyncio.gather(request, idle)

    bench = scenario(play)
    assert [delivery.event_id for delivery in bench.deliveries] == ["A1"]


def test_what_fails_after_its_partition_was_revoked_is_left_to_the_next_owner() -> None:
    async def play(bench: Bench) -> None:
        await bench.until_idle()
        bench.add("A1")
        bench.target.release = asyncio.Event()
        bench.target.down = TargetUnavailable("down")
        request = asyncio.create_task(bench.deliverer.send_next())
        await asyncio.sleep(0)
        bench.deliverer.revoke()
        bench.target.release.set()
        await request
        bench.target.down = None
        await bench.until_idle()
        assert len(bench.deliverer) == 0

    bench = scenario(play)
    assert bench.target.rows == []
    assert bench.done == []


def test_two_workers_never_have_the_same_employee_in_flight() -> None:
    async def play(bench: Bench) -> None:
        bench.add("C7", "C8", "C9")
        await bench.until_idle()
        bench.target.batches.clear()
        bench.add("A1", "A2", "B3", "A4")
        bench.target.release = asyncio.Event()
        requests = [asyncio.create_task(bench.deliverer.send_next()) for _ in range(4)]
        await asyncio.sleep(0)
        in_flight = Counter(name[0] for batch in bench.target.batches for name in batch)
        assert in_flight == {"A": 1, "B": 1}
        bench.target.release.set()
        await asyncio.gather(*requests)
        await bench.until_idle()

    bench = scenario(play, batch=1)
    assert [name for name in bench.target.rows if name[0] == "A"] == ["A1", "A2", "A4"]


def test_a_worker_finishes_its_request_and_stops() -> None:
    async def play(bench: Bench) -> None:
        stop = asyncio.Event()
        bench.target.release = asyncio.Event()
        bench.add("A1")
        worker = asyncio.create_task(bench.deliverer.work(stop))
        await bench.target.asked.wait()
        bench.add("B2")
        stop.set()
        bench.deliverer.wake()
        bench.target.release.set()
        await worker

    bench = scenario(play)
    assert bench.target.rows == ["A1"]
    assert bench.done == [1]


def test_an_idle_worker_begins_when_a_checkin_comes_and_stops_when_told_to() -> None:
    async def play(bench: Bench) -> None:
        stop = asyncio.Event()
        worker = asyncio.create_task(bench.deliverer.work(stop))
        for _ in range(10):
            await asyncio.sleep(0)
        assert bench.target.opened
        bench.add("A1")
        await bench.target.asked.wait()
        stop.set()
        bench.deliverer.wake()
        await worker

    assert scenario(play).target.rows == ["A1"]


def test_a_dead_letter_keeps_its_record_unless_kafka_would_refuse_it_for_its_size() -> None:
    record = CheckinRecord(7, value=b"x" * 100)
    error = InvalidRecord(Reason.UNDECODABLE_RECORD, "not JSON")
    assert dead_letter(TOPICS, record, error).value == record.value
    large = dead_letter(TOPICS, replace(record, value=b"x" * MAX_RECORD_BYTES), error)
    assert large.value is None
    assert large.size < MAX_RECORD_BYTES
    letter = DeadLetter.decode(large.key, large.value, large.headers)
    assert (letter.topic, letter.partition, letter.offset) == ("test.checkins.v1", 0, 7)
    assert "too large" in letter.message


def test_what_came_too_late_is_said_in_its_delivery_and_counted_by_shift() -> None:
    async def story() -> None:
        bench = Bench()
        bench.target.late = {"A1": Late("D1", "Day Shift", date(2026, 1, 1)), "B2": Late("D1")}
        bench.add("A1", "B2", "C3")
        await bench.until_idle()
        late = {each.event_id: each.late for each in bench.deliveries}
        assert late == {"A1": Late("D1", "Day Shift", date(2026, 1, 1)), "B2": Late("D1"), "C3": None}
        assert bench.count("punchstream_late_deliveries_total", shift_type="Day Shift") == 1
        assert bench.count("punchstream_late_deliveries_total", shift_type="") == 0
        assert bench.count("punchstream_lateness_unknown_total") == 1

    asyncio.run(story())
