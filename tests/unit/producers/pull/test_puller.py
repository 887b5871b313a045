"""A device that is asked again and again, in virtual time, on a fleet of fakes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest
from fake_guard import WRONG, standing
from structlog.testing import capture_logs

from attendance.errors import (
    DeviceRefused,
    DeviceUnavailable,
    Reason,
    UnreadableAnswer,
)
from attendance.kafka.records import MAX_VALUE_BYTES, OutRecord
from attendance.metrics import Metrics
from attendance.records.cursor import SavedCursor
from attendance.records.dead_letter import DeadLetter
from attendance.records.raw_event import RawEvent
from producers.devices.contract import DeviceReport, Fetch, Other, Page, Rejected
from producers.status import newest
from pulling import (
    BEGIN,
    DAY,
    HOUR,
    TOPICS,
    FakeAdapter,
    asking,
    device,
    event,
    for_a_while,
    in_virtual_time,
    nothing_new,
    numbered,
    scene,
)


@in_virtual_time
async def test_a_cursor_is_written_after_all_of_its_page_and_the_claim_after_that() -> None:
    async def answer(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.cursor is None:
            yield Page(
                {"id": 1},
                [event("7")],
                [Rejected(1, Reason.INVALID_EVENT, "no user", b"{}")],
                [Other("stranger", b"{}")],
                DeviceReport(pending=0, details={"firmware": "1.2"}),
                BEGIN,
            )

    stage = scene(answer)
    await for_a_while(100, stage.puller())
    assert [record.topic.split(".")[1] for record in stage.wire.records] == [
        "raw",
        "dead-letters",
        "other-events",
        "cursors",
        "device-status",
        "cursors",  # that all of it was read is known at the end
    ]
    (first, last) = stage.wire.cursors()
    assert (first.cursor, first.complete_until, first.swept_at) == ({"id": 1}, BEGIN, None)
    assert last.swept_at is not None
    (status,) = stage.wire.statuses()
    assert (status.complete_until, status.pending, status.details) == (BEGIN, 0, {"firmware": "1.2"})
    assert status.last_event == first.last_event == last.last_event == newest([event("7")], None)
    letter = stage.wire.of("dead_letters")[0]
    decoded = DeadLetter.decode(letter.key, letter.value, letter.headers)
    assert (decoded.stage, decoded.reason, decoded.key, decoded.where) == (
        "pull",
        Reason.INVALID_EVENT,
        b"D1",
        "pull:fake",
    )


@in_virtual_time
async def test_while_kafka_is_away_no_cursor_moves_and_then_the_page_goes_without_asking_again() -> None:
    stage = scene(numbered(["1", "2", "3"]))
    stage.wire.away = True
    puller = stage.puller()
    with asking(puller):
        await asyncio.sleep(HOUR)
        assert (stage.wire.records, len(stage.adapter.wanted)) == ([], 1)
        stage.wire.away = False
        await asyncio.sleep(10)
    assert stage.wire.users() == ["1", "2", "3"]
    assert stage.wire.cursors()[-1].cursor == {"id": 3}


@in_virtual_time
async def test_a_cursor_that_kafka_does_not_take_holds_up_its_device() -> None:
    stage = scene(numbered(["1", "2", "3"]))
    stage.wire.away_for = {TOPICS["cursors"]}
    await for_a_while(HOUR, stage.puller())
    assert stage.wire.users() == ["1", "2"]


@in_virtual_time
async def test_what_comes_next_goes_on_at_the_cursor() -> None:
    users = ["1", "2", "3"]
    stage = scene(numbered(users))
    with asking(stage.puller()):
        await asyncio.sleep(100)
        users.append("4")
        await asyncio.sleep(100)
    assert stage.wire.users() == ["1", "2", "3", "4"]


@in_virtual_time
async def test_a_process_that_is_killed_between_any_two_records_loses_nothing() -> None:
    users = [str(number) for number in range(9)]
    full = scene(numbered(users))
    await for_a_while(100, full.puller())
    for survived in range(full.wire.sends):
        stage = scene(numbered(users))
        puller = stage.puller()
        with asking(puller):
            stage.wire.last = survived
            await asyncio.sleep(100)
        assert stage.wire.sends == survived
        stage.wire.last = None
        stage.context.cursors.forget()
        for record in stage.wire.of("cursors"):
            stage.context.cursors.take(cast("Any", record))
        await for_a_while(100, stage.puller())
        assert set(stage.wire.users()) == set(users)


@in_virtual_time
async def test_an_idle_device_writes_no_cursor_again_but_says_each_time_how_far_it_is() -> None:
    stage = scene(nothing_new)
    await for_a_while(605, stage.puller())
    assert len(stage.wire.cursors()) == 2
    claims = [status.complete_until for status in stage.wire.statuses()]
    assert len(claims) == len(stage.adapter.wanted) >= 10
    assert claims == sorted(cast("list[datetime]", claims))


@in_virtual_time
async def test_a_claim_once_made_stays_in_the_status() -> None:
    async def answer(adapter: FakeAdapter, _: Fetch) -> AsyncIterator[Page]:
        first = len(adapter.wanted) == 1
        yield Page({"id": 1}, report=DeviceReport(last_sequence=5), complete_until=BEGIN if first else None)

    stage = scene(answer)
    await for_a_while(200, stage.puller())
    assert {status.complete_until for status in stage.wire.statuses()} == {BEGIN}


@in_virtual_time
async def test_what_a_device_said_of_itself_stays_in_the_status() -> None:
    async def answer(adapter: FakeAdapter, _: Fetch) -> AsyncIterator[Page]:
        said = {1: {"settings": "differs", "version": "1"}, 3: {"settings": "as wanted"}}.get(len(adapter.wanted), {})
        yield Page({"id": 1}, report=DeviceReport(details=said) if said else None, complete_until=BEGIN)

    stage = scene(answer)
    await for_a_while(300, stage.puller())
    details = [status.details for status in stage.wire.statuses()]
    assert details[0] == details[1] == {"settings": "differs", "version": "1"}
    assert details[2] == details[3] == {"settings": "as wanted", "version": "1"}


@in_virtual_time
async def test_an_overlap_is_published_once_garbage_and_others_included() -> None:
    async def answer(adapter: FakeAdapter, _: Fetch) -> AsyncIterator[Page]:
        garbage = Rejected(0, Reason.INVALID_EVENT, "no user", b"\xff")
        count = len(adapter.wanted)
        yield Page({"id": count}, [event("1"), event(f"new {count}")], [garbage], [Other("door", b"{}")])

    stage = scene(answer)
    await for_a_while(HOUR, stage.puller())
    users = stage.wire.users()
    assert users.count("1") == 1
    assert len(users) == len(stage.adapter.wanted) + 1
    assert len(stage.wire.of("dead_letters")) == len(stage.wire.of("other_events")) == 1


@in_virtual_time
async def test_the_same_garbage_twice_in_a_page_is_kept_twice() -> None:
    async def answer(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
        yield Page({}, rejected=[Rejected(index, Reason.INVALID_EVENT, "no user", b"") for index in range(2)])

    stage = scene(answer)
    await for_a_while(HOUR, stage.puller())
    assert len(stage.wire.of("dead_letters")) == 2


@in_virtual_time
async def test_what_a_wrong_clock_dated_is_marked_and_may_come_again() -> None:
    async def answer(adapter: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        ahead = timedelta(hours=1) if len(adapter.wanted) == 1 else timedelta()
        yield Page({"id": 1}, [event("1")], report=DeviceReport(device_time=wanted.now + ahead))

    stage = scene(answer)
    await for_a_while(200, stage.puller())
    skews = [RawEvent.decode(record.value).clock_skew for record in stage.wire.of("raw")]
    assert skews == [3600, None]
    assert [status.clock_skew for status in stage.wire.statuses()][:2] == [3600, 0]


@in_virtual_time
async def test_a_record_of_any_size_ends_as_a_dead_letter() -> None:
    async def answer(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
        yield Page({"id": 1}, rejected=[Rejected(0, Reason.INVALID_EVENT, "far too long", b"\xfe" * 5_000_000)])

    stage = scene(answer)
    await for_a_while(100, stage.puller())
    assert len(stage.wire.of("dead_letters")[0].value or b"") == MAX_VALUE_BYTES


@in_virtual_time
async def test_a_device_is_asked_at_its_interval_however_long_it_takes() -> None:
    async def slow(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
        await asyncio.sleep(17)
        yield Page({})

    stage = scene(slow)
    await for_a_while(HOUR, stage.puller(), stage.puller(device("D2", interval=10)))
    assert stage.adapter.gaps("D1") == pytest.approx([60] * len(stage.adapter.gaps("D1")))
    # One that takes longer than its interval leaves out turns, and is never asked twice at a time.
    assert stage.adapter.gaps("D2") == pytest.approx([20] * len(stage.adapter.gaps("D2")))


@in_virtual_time
async def test_the_first_questions_are_spread_over_the_interval() -> None:
    stage = scene(nothing_new)
    pullers = [stage.puller(device(f"D{number}")) for number in range(600)]
    await for_a_while(60, *pullers)
    seconds = [int(times[0]) for times in stage.adapter.asked.values()]
    assert len(seconds) == 600
    assert max(seconds.count(second) for second in range(60)) < 40


@in_virtual_time
async def test_a_device_with_a_long_interval_is_asked_soon() -> None:
    stage = scene(nothing_new)
    await for_a_while(300, stage.puller(device(interval=86_400)))
    assert stage.adapter.asked["D1"]


@in_virtual_time
async def test_a_device_that_does_not_answer_is_asked_less_and_less_often_and_then_goes_on() -> None:
    async def dead(adapter: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.now < BEGIN + timedelta(hours=12):
            raise DeviceUnavailable("no answer")
        yield Page({"id": 1})

    stage = scene(dead)
    with capture_logs() as logs:
        await for_a_while(24 * HOUR, stage.puller())
    gaps = stage.adapter.gaps("D1")
    assert max(gaps) <= 600
    tries = [at for at in stage.adapter.asked["D1"] if at < 12 * HOUR]
    assert 72 < len(tries) < 300  # five minutes apart on average, where the interval would have been 720 tries
    later = [at for at in stage.adapter.asked["D1"] if at > 13 * HOUR]
    assert [b - a for a, b in pairwise(later)] == pytest.approx([60] * (len(later) - 1))
    assert [each["event"] for each in logs] == ["A device does not answer.", "A device answers again."]


@in_virtual_time
async def test_a_device_that_names_a_time_is_not_asked_before() -> None:
    async def busy(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
        raise DeviceUnavailable("busy", retry_after=900)
        yield

    stage = scene(busy)
    await for_a_while(10 * HOUR, stage.puller())
    assert min(stage.adapter.gaps("D1")) == pytest.approx(900)


@in_virtual_time
async def test_a_device_that_refuses_is_left_alone_for_a_long_while() -> None:
    async def refusing(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
        raise DeviceRefused("D1: wrong password")
        yield

    stage = scene(refusing)
    with capture_logs() as logs:
        await for_a_while(5 * HOUR, stage.puller())
    assert stage.adapter.gaps("D1") == pytest.approx([1800] * len(stage.adapter.gaps("D1")))
    assert stage.counted(result="refused") == len(stage.adapter.wanted) == len(logs)


@in_virtual_time
async def test_an_answer_that_cannot_be_right_leaves_the_cursor_and_is_loud() -> None:
    async def broken(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        yield Page({"id": 2}, [event("1"), event("2")])
        raise UnreadableAnswer("D1: 3 records where 5 must be")

    stage = scene(broken)
    with capture_logs() as logs:
        await for_a_while(HOUR, stage.puller())
    assert [saved.cursor for saved in stage.wire.cursors()] == [{"id": 2}]
    assert stage.counted(result="unreadable") == len(stage.adapter.wanted)
    assert [each["log_level"] for each in logs] == ["error"] * len(stage.adapter.wanted)


@in_virtual_time
async def test_a_fault_in_an_adapter_stops_nothing_but_its_own_turn() -> None:
    async def faulty(adapter: FakeAdapter, _: Fetch) -> AsyncIterator[Page]:
        if len(adapter.wanted) == 1:
            raise KeyError("records")
        yield Page({}, [event("1")])

    stage = scene(faulty)
    with capture_logs():
        await for_a_while(HOUR, stage.puller())
    assert stage.wire.users() == ["1"]
    assert stage.counted(result="failed") == 1


@in_virtual_time
async def test_a_device_that_hangs_is_given_up_page_by_page() -> None:
    async def hanging(adapter: FakeAdapter, _: Fetch) -> AsyncIterator[Page]:
        await asyncio.sleep(50)
        yield Page({"id": len(adapter.wanted)}, [event(str(len(adapter.wanted)))])
        await asyncio.sleep(HOUR)

    stage = scene(hanging)
    await for_a_while(2 * HOUR, stage.puller())
    assert len(set(stage.wire.users())) - stage.counted(result="unavailable") in (0, 1)  # the last may be under way
    assert stage.counted(result="unavailable") > 5
    assert stage.adapter.closed == len(stage.adapter.wanted)


@in_virtual_time
async def test_a_hundred_dead_devices_delay_no_live_one() -> None:
    async def answer(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.source.device_id.startswith("dead"):
            await asyncio.sleep(HOUR)  # it takes the connection, and says nothing
        await asyncio.sleep(0.05)
        yield Page({})

    # Each holds a place for half of the time, so fifty places would be taken, and there are eight.
    stage = scene(answer, concurrency=8, page_timeout=60, retry_max=120)
    live = [stage.puller(device(f"live-{number}")) for number in range(100)]
    dead = [stage.puller(device(f"dead-{number}")) for number in range(100)]
    await for_a_while(2 * HOUR, *dead, *live)
    gaps = [gap for puller in live for gap in stage.adapter.gaps(puller.source.device.device_id)]
    assert len(gaps) > 100 * 90
    assert max(gaps) < 61


@in_virtual_time
async def test_a_hundred_devices_that_die_together_delay_no_live_one() -> None:
    async def answer(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.source.device_id.startswith("dies") and wanted.now > BEGIN + timedelta(minutes=10):
            await asyncio.sleep(5)
            raise DeviceUnavailable("no connection")
        await asyncio.sleep(0.05)
        yield Page({})

    stage = scene(answer)
    pullers = [stage.puller(device(f"{kind}-{number}")) for number in range(100) for kind in ("dies", "lives")]
    await for_a_while(HOUR / 2, *pullers)
    gaps = [gap for number in range(100) for gap in stage.adapter.gaps(f"lives-{number}")]
    assert max(gaps) < 60.5


@in_virtual_time
async def test_no_more_devices_are_asked_at_a_time_than_may_be() -> None:
    now_asked = most = 0

    async def answer(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
        nonlocal now_asked, most
        now_asked += 1
        most = max(most, now_asked)
        await asyncio.sleep(1)
        now_asked -= 1
        yield Page({})

    stage = scene(answer, concurrency=5)
    await for_a_while(600, *(stage.puller(device(f"D{number}")) for number in range(400)))
    assert most <= 10


@in_virtual_time
async def test_a_device_is_swept_once_in_its_night() -> None:
    stage = scene(numbered(["1", "2"]))
    riyadh = device(timezone="Asia/Riyadh")
    await for_a_while(5 * DAY, stage.puller(riyadh))
    sweeps = stage.adapter.sweeps()
    assert len(sweeps) == 5
    for sweep in sweeps:
        local = (sweep.now + timedelta(hours=3)).time()
        assert 1 <= local.hour < 6
        assert sweep.now - cast("datetime", sweep.since) == timedelta(days=3)
        assert sweep.cursor == {"id": 2}


@in_virtual_time
async def test_a_sweep_finds_what_the_cursor_has_passed_and_leaves_the_cursor() -> None:
    users = ["1", "2"]
    stage = scene(numbered(users))
    with asking(stage.puller()):
        await asyncio.sleep(HOUR)
        users[0] = "late"
        await asyncio.sleep(DAY)
    assert stage.wire.users() == ["1", "2", "late"]
    assert {saved.cursor["id"] for saved in stage.wire.cursors()} == {2}


@in_virtual_time
async def test_a_sweep_that_fails_is_tried_again_while_the_device_keeps_its_interval() -> None:
    failures = 5

    async def answer(adapter: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.since is not None and len(adapter.sweeps()) <= failures:
            raise DeviceUnavailable("too much to read")
        yield Page({"id": 1})

    stage = scene(answer)
    await for_a_while(DAY, stage.puller())
    assert len(stage.adapter.sweeps()) == failures + 1
    assert stage.counted(kind="sweep", result="ok") == 1
    plain = [wanted.now for wanted in stage.adapter.wanted if wanted.since is None]
    assert max(after - before for before, after in pairwise(plain)) < timedelta(seconds=61)


@in_virtual_time
async def test_a_sweep_that_is_refused_pauses_the_device() -> None:
    async def answer(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.since is not None:
            raise DeviceRefused("D1: wrong password")
        yield Page({"id": 1})

    stage = scene(answer)
    with capture_logs():
        await for_a_while(DAY, stage.puller())
    sweeps = [sweep.now for sweep in stage.adapter.sweeps()]
    assert min(after - before for before, after in pairwise(sweeps)) >= timedelta(seconds=1800)


@in_virtual_time
async def test_a_sweep_that_a_stop_made_impossible_is_made_up_for() -> None:
    stage = scene(nothing_new)
    saved = SavedCursor("D1", "fake", "1", None, {"id": 7}, BEGIN, swept_at=BEGIN - timedelta(days=2))
    stage.context.cursors.take(cast("Any", OutRecord("", saved.key, saved.encode())))
    await for_a_while(100, stage.puller())
    (sweep,) = stage.adapter.sweeps()
    assert sweep.cursor == {"id": 7}
    assert stage.wire.cursors()[-1].swept_at == sweep.now.replace(microsecond=0)


@in_virtual_time
async def test_a_puller_that_is_stopped_in_the_middle_closes_the_fetch_and_begins_again_at_the_cursor() -> None:
    stage = scene(numbered(["1", "2", "3", "4"]))
    stage.wire.away_for = {TOPICS["device_status"]}
    puller = stage.puller()
    send = stage.wire.send

    async def slow(*records: OutRecord) -> Any:
        await asyncio.sleep(30)
        return await send(*records)

    stage.wire.send = slow  # type: ignore[method-assign]
    with asking(puller) as tasks:
        while not stage.wire.cursors():  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(1)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert stage.adapter.closed == 1
    await for_a_while(HOUR, puller)
    assert stage.adapter.wanted[1].cursor == {"id": 2}
    assert stage.wire.users() == ["1", "2", "3", "4"]


@in_virtual_time
async def test_while_a_guard_stands_no_device_is_asked_and_then_it_is_at_once() -> None:
    guard, guards = standing(Metrics())
    stage = scene(nothing_new, guards=guards)
    puller = stage.puller()
    await guards.ask()
    with asking(puller):
        await asyncio.sleep(3600)
        assert not stage.adapter.wanted
        guard.answer = None
        await guards.ask()
        await asyncio.sleep(1)
        assert len(stage.adapter.wanted) == 1


@in_virtual_time
async def test_a_guard_that_comes_to_stand_in_the_middle_of_a_fetch_lets_no_page_in() -> None:
    guard, guards = standing(Metrics())
    guard.answer = None
    await guards.ask()

    async def answer(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.cursor is None:
            yield Page({"id": 1}, [event("7")])
            guard.answer = WRONG
            await guards.ask()
            yield Page({"id": 2}, [event("8")])
            yield Page({"id": 3}, [event("9")])

    stage = scene(answer, guards=guards)
    with asking(stage.puller()):
        await asyncio.sleep(3600)
        assert [saved.cursor for saved in stage.wire.cursors()] == [{"id": 1}]
        guard.answer = None
        await guards.ask()
        await asyncio.sleep(1)
        assert [saved.cursor for saved in stage.wire.cursors()][:3] == [{"id": 1}, {"id": 2}, {"id": 3}]
