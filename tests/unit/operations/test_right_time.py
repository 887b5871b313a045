"""A punch whose clock was wrong gets its right time from a person, and counts once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from ledger_story import START, TOPICS, Story, event
from memory_log import MemoryLog, StoredRecord
from msgspec.structs import replace

from attendance.errors import Reason, TargetUnavailable
from attendance.fleet import Device
from attendance.kafka.records import OutRecord
from attendance.records.dead_letter_action import Action
from attendance.records.raw_event import GivenTime, RawEvent
from operations.audit import audit
from operations.day_punches import day_punches
from operations.log import Skipped
from operations.right_time import SaidTime, TimePlan, TimeRefused, give_time, plan_time, read_given
from operations.trace import Asked, TopicsSource

WRONG = replace(event("1", 8), device_timezone="Asia/Riyadh", received_at=START + timedelta(hours=12), clock_skew=-4000)
NOW = START + timedelta(days=1)
RIGHT = "2026-03-02 12:30"
"""On the wall in Riyadh: half past nine in UTC."""


def memory(story: Story) -> MemoryLog:
    log = MemoryLog()
    for (name, _), records in story.log.items():
        log.put(name, *records)
    return log


def plan(log: MemoryLog, event_id: str = WRONG.event_id, text: str = RIGHT, **given: Any) -> TimePlan:
    source = TopicsSource(log, Skipped())
    find = given.pop("device", lambda _: None)
    said = SaidTime(text, "fatima", given.pop("note", "the clock lost its battery"), NOW)
    return asyncio.run(plan_time(source, log, find, event_id, said, future_tolerance=300))


def failed(reason: Reason = Reason.CLOCK_SKEW) -> Story:
    story = Story()
    story.fail(story.raw(WRONG), reason)
    return story


def delivered() -> Story:
    story = Story()
    story.deliver(story.checkin(story.raw(WRONG), "EMP-1"), "CHK-1")
    return story


def take(story: Story, log: MemoryLog) -> StoredRecord | None:
    """What was sent stands on its topics now. Returns the raw record of it."""
    raw = None
    for each in log.sent:
        if each.topic == TOPICS["raw"]:
            raw = story.put("raw", each)
        else:
            story.put("dead_letter_actions", each)
    return raw


def refused(why: str, log: MemoryLog, *args: Any, **given: Any) -> TimeRefused:
    with pytest.raises(TimeRefused) as caught:
        plan(log, *args, **given)
    assert caught.value.why == why
    assert log.sent == []
    return caught.value


@pytest.mark.parametrize("reason", [Reason.CLOCK_SKEW, Reason.IMPLAUSIBLE_TIME])
def test_a_punch_that_failed_for_its_time_is_sent_with_the_right_one_and_its_letter_is_discarded(
    reason: Reason,
) -> None:
    log = memory(failed(reason))

    found = plan(log)
    asyncio.run(give_time(log, found))

    raw, action = log.sent
    sent = RawEvent.decode(raw.value)
    assert (raw.topic, raw.key) == (TOPICS["raw"], b"D1")
    assert sent.event_time == START + timedelta(hours=9, minutes=30)
    assert (sent.supersedes, sent.superseded_document, sent.clock_skew) == (WRONG.event_id, None, None)
    assert sent.given_time == GivenTime("fatima", NOW, "the clock lost its battery", WRONG.event_time)
    # All else is as the device had it.
    assert replace(sent, event_time=None, supersedes=None, given_time=None) == replace(
        WRONG, event_time=None, clock_skew=None
    )
    done = Action.decode(action.key, action.value)
    assert (done.action, done.by) == ("discarded", "fatima")
    assert done.note == "given the time 2026-03-02T09:30:00Z: the clock lost its battery"


def test_what_the_target_has_is_named_so_that_it_is_replaced() -> None:
    log = memory(delivered())

    found = plan(log)
    asyncio.run(give_time(log, found))

    assert found.is_delivered
    (raw,) = log.sent
    assert RawEvent.decode(raw.value).superseded_document == "CHK-1"


@pytest.mark.parametrize("story", [failed(), delivered()], ids=["dead letter", "delivered"])
def test_the_audit_balances_and_the_punch_counts_once(story: Story) -> None:
    log = memory(story)
    asyncio.run(give_time(log, plan(log)))
    raw = take(story, log)
    assert raw is not None
    story.deliver(story.checkin(raw, "EMP-1", WRONG.event_id), "CHK-1")
    # The terminal sends its history again, and the stream drops what a person said is wrong.
    story.drop(story.raw(replace(WRONG, clock_skew=None)), WRONG.event_id)
    log = memory(story)

    report = asyncio.run(audit(log))
    assert report.balanced, report.to_json()
    asked = Asked(event_id=WRONG.event_id)
    facts = asyncio.run(TopicsSource(log, Skipped()).facts(asked))
    punches = day_punches(facts, replace_zones(asked))["D1"].punches
    assert sorted(each.became for each in punches) in (["delivered", "discarded"], ["delivered", "superseded"])


def replace_zones(asked: Asked) -> Asked:
    return Asked(zones={"D1": "UTC"}, event_id=asked.event_id)


def test_what_was_begun_is_finished_and_nothing_is_sent_twice() -> None:
    story = failed()
    log = memory(story)
    asyncio.run(give_time(log, plan(log)))
    story.put("raw", log.sent[0])  # the process ended before the letter was discarded
    log = memory(story)

    found = plan(log)
    asyncio.run(give_time(log, found))

    assert found.is_sent
    assert [each.topic for each in log.sent] == [TOPICS["dead_letter_actions"]]
    assert refused("corrected", memory(story), text="2026-03-02 12:31").about == found.right.event_id


def test_a_time_that_was_given_wrongly_may_be_given_again_and_given_back() -> None:
    story = delivered()
    log = memory(story)
    asyncio.run(give_time(log, plan(log)))
    raw = take(story, log)
    assert raw is not None
    story.deliver(story.checkin(raw, "EMP-1", WRONG.event_id), "CHK-1")
    first = RawEvent.decode(raw.value)

    assert plan(memory(story), first.event_id, "2026-03-02 12:40").right.supersedes == first.event_id
    log = memory(story)
    asyncio.run(give_time(log, plan(log, first.event_id, "2026-03-02 11:00")))
    raw = take(story, log)
    assert raw is not None
    back = RawEvent.decode(raw.value)
    assert (back.event_id, back.supersedes, back.superseded_document) == (WRONG.event_id, first.event_id, "CHK-1")
    story.deliver(story.checkin(raw, "EMP-1", first.event_id), "CHK-1")
    # It stands again, so it may be given another one.
    assert plan(memory(story)).is_delivered


def test_a_correction_that_failed_is_made_anew_in_the_place_of_the_first() -> None:
    story = delivered()
    log = memory(story)
    asyncio.run(give_time(log, plan(log)))
    raw = take(story, log)
    assert raw is not None
    failing = story.checkin(raw, "EMP-1", WRONG.event_id)
    story.fail(failing, Reason.ATTENDANCE_MARKED, "sink")

    again = plan(memory(story))
    assert not again.is_sent
    assert (again.right.supersedes, again.right.superseded_document) == (WRONG.event_id, "CHK-1")
    first = RawEvent.decode(raw.value).event_id
    assert refused("correction_failed", memory(story), first, "2026-03-02 12:40").about == WRONG.event_id


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-03-02", "no_time"),
        ("half past nine", "no_time"),
        ("2026-13-02 08:00", "no_time"),
        ("", "no_time"),
        ("2026-03-02 11:00", "same"),
        ("2026-03-02 15:06", "ahead"),
        ("2001-01-01 00:00", "before_installed"),
    ],
)
def test_a_time_that_cannot_be_is_refused(text: str, why: str) -> None:
    refused(why, memory(failed()), text=text)


def test_a_time_before_the_device_was_installed_is_refused() -> None:
    fields = {"device_id": "D1", "site": "s", "timezone": "Asia/Riyadh", "mode": "file", "installed_on": "2026-03-02"}
    device = Device.model_validate(fields)
    refused("before_installed", memory(failed()), text="2026-03-01 23:59", device=lambda _: device)


@pytest.mark.parametrize("note", ["", "  ", "x" * 501])
def test_without_a_note_of_some_length_nothing_is_given(note: str) -> None:
    refused("no_note", memory(failed()), note=note)


def test_what_is_not_known_or_not_decided_or_failed_for_something_else_is_refused() -> None:
    assert refused("unknown", memory(failed()), "0" * 32).about == "0" * 32
    on_its_way = Story()
    raw = on_its_way.raw(WRONG)
    refused("on_its_way", memory(on_its_way))
    on_its_way.checkin(raw, "EMP-1")
    refused("on_its_way", memory(on_its_way))
    waiting = Story()
    waiting.wait(waiting.raw(WRONG))
    refused("waits", memory(waiting))
    repeat = Story()
    repeat.drop(repeat.raw(WRONG), "another")
    refused("dropped", memory(repeat))
    refused("other_reason", memory(failed(Reason.BEYOND_HORIZON)))


def test_a_punch_whose_raw_record_is_gone_is_refused() -> None:
    log = memory(failed())
    facts = asyncio.run(TopicsSource(log, Skipped()).facts(Asked(event_id=WRONG.event_id)))

    class Kept:
        name = "the ledger"
        as_of = None

        async def facts(self, _: Asked) -> Any:
            return facts

        async def is_known(self, _: Asked) -> bool:
            return True

    log.retain("raw", 1)
    said = SaidTime(RIGHT, "f", "n", NOW)
    with pytest.raises(TimeRefused) as caught:
        asyncio.run(plan_time(Kept(), log, lambda _: None, WRONG.event_id, said, future_tolerance=300))
    assert caught.value.why == "gone"


def test_while_the_sink_is_behind_nothing_is_sent() -> None:
    class Behind(MemoryLog):
        async def until_delivered(self) -> None:
            await asyncio.Event().wait()

    log = Behind()
    for (name, _), records in delivered().log.items():
        log.put(name, *records)

    found = plan(log)
    with pytest.raises(TargetUnavailable):
        asyncio.run(give_time(log, found, seconds=0.01))
    assert log.sent == []


def test_a_time_with_an_offset_is_that_instant() -> None:
    assert read_given("2026-03-02T08:00:00+05:30", "Asia/Riyadh") == START + timedelta(hours=2, minutes=30)
    assert read_given("2026-03-02T08:00", "Asia/Riyadh") == START + timedelta(hours=5)


def test_a_punch_without_a_readable_time_may_be_given_one() -> None:
    story = Story()
    unreadable = replace(WRONG, event_time=None, device_time="no battery")
    story.fail(story.put("raw", OutRecord("", unreadable.key, unreadable.encode())), Reason.UNREADABLE_TIME)

    found = plan(memory(story), unreadable.event_id)

    assert found.right.given_time is not None
    assert found.right.given_time.instead_of is None
    assert len(found.letters) == 1
