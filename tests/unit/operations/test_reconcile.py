"""A day of devices: what they count, what Kafka has, what became of it, what ERPNext has, and each gap."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from checkin_site import CheckinSite
from ledger_story import START, Story, event
from memory_log import MemoryLog
from msgspec.structs import replace

from attendance.errors import Reason, TargetUnavailable
from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.records.terminals import Order
from operations.day_in_erpnext import find
from operations.day_punches import Punch
from operations.log import Skipped
from operations.reconcile import DeviceDay, Fetched, Reconciliation, reconcile
from operations.trace import TopicsSource
from producers.devices.zkteco import adms_commands

DAY = START.date()
LATER = START + timedelta(days=2)


def device(device_id: str = "D1", **fields: Any) -> Device:
    return Device.model_validate({"device_id": device_id, "site": "s", "timezone": "UTC"} | fields)


def memory_log(story: Story) -> MemoryLog:
    log = MemoryLog()
    for (name, _), records in story.log.items():
        log.put(name, *records)
    return log


def asked(
    story: Story, *devices: Device, log: MemoryLog | None = None, now: datetime = LATER, **ways: Any
) -> Reconciliation:
    log = log or memory_log(story)
    source = TopicsSource(log, Skipped())
    return asyncio.run(reconcile(source, log, devices or (device(),), DAY, Skipped(), now=now, **ways))


def kinds(row: DeviceDay) -> list[tuple[str, int | None]]:
    return [(gap.kind, gap.count) for gap in row.gaps]


def has(*names: str) -> Any:
    async def in_erpnext(_: object, punches: Sequence[Punch]) -> frozenset[str]:
        return frozenset(names) & {each.name for each in punches}

    return in_erpnext


@pytest.fixture
def story() -> Story:
    """A day with one punch of each outcome, some of them more than once, and a punch of another day."""
    story = Story()
    kept = story.raw(event("1", 8))
    story.deliver(story.checkin(kept, "EMP-1"), "CHK-1")
    story.drop(story.raw(event("1", 8)), event("1", 8).event_id)
    story.drop(story.raw(replace(event("1", 8), event_time=START + timedelta(hours=8, seconds=9))), "kept")
    story.wait(story.raw(event("9", 9)))
    story.fail(story.raw(event("1", 10)), Reason.CLOCK_SKEW)
    story.act(story.fail(story.raw(event("1", 11)), Reason.CLOCK_SKEW))
    story.checkin(story.raw(event("1", 12)), "EMP-1")
    story.raw(event("1", 13))
    story.garbage("raw")
    story.reject("D1")
    story.act(story.reject("D1"))
    story.raw(event("1", 30))
    story.raw(event("1", 8, "D2"))
    return story


def test_each_punch_is_counted_once_by_what_became_of_it(story: Story) -> None:
    [row] = asked(story, in_erpnext=has(event("1", 8).event_id)).devices
    counts = {name: getattr(row, name) for name in DeviceDay.__dataclass_fields__ if name != "gaps"}
    assert counts == {
        "device_id": "D1",
        "site": "s",
        "day": DAY,
        "timezone": "UTC",
        "counted": None,
        "complete_until": None,
        "raw": 9,
        "punches": 8,
        "delivered": 1,
        "superseded": 0,
        "dropped": 1,
        "discarded": 1,
        "undecided": 2,
        "undelivered": 1,
        "waiting": 1,
        "dead_letters": 1,
        "rejected": 1,
        "in_erpnext": 1,
    }
    assert {gap.kind: list(gap.names) for gap in row.gaps} == {
        "undecided": ["0:8", event("1", 13).event_id],
        "undelivered": [event("1", 12).event_id],
        "waiting": [event("9", 9).event_id],
        "dead_letters": [event("1", 10).event_id],
        "rejected": ["0:2"],
    }
    assert all(gap.do for gap in row.gaps)


def test_a_day_of_which_everything_is_in_erpnext_has_no_gap() -> None:
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    found = asked(story, in_erpnext=has(event("1", 8).event_id))
    assert found.is_whole
    found = asked(story, in_erpnext=has())
    assert not found.is_whole
    assert kinds(found.devices[0]) == [("not_in_erpnext", 1)]


def test_a_day_is_that_of_the_zone_of_the_device() -> None:
    story = Story()
    story.raw(event("1", 22))
    assert asked(story, device(timezone="UTC")).devices[0].raw == 1
    assert asked(story, device(timezone="Asia/Riyadh")).devices[0].raw == 0


def test_an_erpnext_that_does_not_answer_is_no_erpnext_that_has_everything() -> None:
    async def fails(*_: object) -> frozenset[str]:
        raise TargetUnavailable("no answer")

    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    found = asked(story, in_erpnext=fails)
    assert (found.is_whole, found.devices[0].in_erpnext) == (False, None)
    assert found.problems == ["ERPNext was not asked: no answer"]


def test_what_a_correction_replaced_is_not_expected_in_erpnext() -> None:
    story = Story()
    wrong, right = story.raw(event("1", 8)), story.raw(event("1", 30))
    story.deliver(story.checkin(wrong, "EMP-1"), "CHK-1")
    story.deliver(story.checkin(right, "EMP-1", event("1", 8).event_id), "CHK-1")
    [row] = asked(story, in_erpnext=has()).devices
    assert (row.superseded, row.delivered, row.in_erpnext, row.gaps) == (1, 0, 0, [])


def counted(log: MemoryLog, returned: str | None, command: str | None = None) -> MemoryLog:
    command = command or adms_commands.count(datetime(2026, 3, 2), datetime(2026, 3, 2, 23, 59, 59))  # noqa: DTZ001 - the terminal's own clock
    order = Order("D1", "7", command, "2026-03-03T00:00:00Z", returned)
    log.add("terminals", order.key, order.encode())
    return log


@pytest.mark.parametrize(
    ("returned", "number", "gaps"),
    [("0, 3 records", 3, [("not_in_kafka", 1)]), ("0, 2 records", 2, []), ("-1", None, []), (None, None, [])],
)
def test_the_count_of_a_terminal_is_compared_with_what_arrived(
    returned: str | None, number: int | None, gaps: list[object]
) -> None:
    story = Story()
    for hour in (8, 9):
        story.deliver(story.checkin(story.raw(event("1", hour)), "EMP-1"), f"CHK-{hour}")
    found = asked(story, device(adapter="zkteco_adms", serial="S1"), log=counted(memory_log(story), returned))
    assert (found.devices[0].counted, kinds(found.devices[0])) == (number, gaps)


def test_a_count_of_another_time_says_nothing() -> None:
    command = adms_commands.count(datetime(2026, 3, 2), datetime(2026, 3, 2, 12))  # noqa: DTZ001 - the terminal's own clock
    log = counted(MemoryLog(), "0, 3 records", command)
    [row] = asked(Story(), device(adapter="zkteco_adms", serial="S1"), log=log).devices
    assert (row.counted, row.gaps) == (None, [])


def test_numbers_that_are_missing_are_named_of_a_device_that_numbers_its_punches() -> None:
    story = Story()
    for hour, number in enumerate((4, 5, 9, 11)):
        raw = story.raw(replace(event("1", hour), sequence=number))
        story.deliver(story.checkin(raw, "EMP-1"), f"CHK-{number}")
    [row] = asked(story, device(numbered=True)).devices
    assert [(gap.kind, gap.count, list(gap.names)) for gap in row.gaps] == [
        ("numbers_missing", 4, ["6-8", "10"]),
    ]
    assert asked(story).is_whole, "it does not say that its numbers count its punches"


@pytest.mark.parametrize(
    ("status", "gaps"),
    [
        ({"complete_until": START + timedelta(days=1)}, []),
        ({"complete_until": START + timedelta(hours=23)}, [("not_complete", None)]),
        ({"pending": 4}, [("not_complete", 4)]),
        ({"pending": 0}, []),
    ],
)
def test_a_device_that_has_not_sent_everything_has_a_gap(status: Any, gaps: list[object]) -> None:
    log = MemoryLog()
    said = DeviceStatus("D1", LATER, **status)
    log.add("device_status", said.key, said.encode())
    assert kinds(asked(Story(), log=log).devices[0]) == gaps
    off = asked(Story(), device(disabled=True), log=log)
    assert kinds(off.devices[0]) == []


def test_a_day_that_is_not_over_is_said_and_a_claim_need_not_be_of_all_of_it() -> None:
    log = MemoryLog()
    said = DeviceStatus("D1", START, complete_until=START + timedelta(hours=8))
    log.add("device_status", said.key, said.encode())
    found = asked(Story(), log=log, now=START + timedelta(hours=9))
    assert (found.is_whole, found.notes) == (True, ["The day is not over in UTC."])


def test_of_several_devices_one_that_is_disabled_and_has_nothing_is_left_out() -> None:
    devices = device("D1", disabled=True), device("D2")
    assert [row.device_id for row in asked(Story(), *devices).devices] == ["D2"]
    story = Story()
    story.raw(event("1", 8))
    assert [row.device_id for row in asked(story, *devices).devices] == ["D1", "D2"]


def test_what_a_device_gave_again_is_compared_by_event_id() -> None:
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    lost = event("1", 9).event_id

    async def fetch(_: object, __: object, known: Any) -> dict[str, Fetched]:
        assert known == {"D1": {event("1", 8).event_id}}
        return {"D1": Fetched(frozenset((event("1", 8).event_id, lost)), "D1 was asked.")}

    found = asked(story, fetch=fetch)
    [row] = found.devices
    assert (row.counted, found.notes) == (2, ["D1 was asked."])
    assert [(gap.kind, gap.names) for gap in row.gaps] == [("not_in_kafka", (lost,))]
    assert "run this again" in row.gaps[0].do


def punch(story: Story, hour: int, document: str, employee: str = "E1") -> Punch:
    story.deliver(story.checkin(story.raw(event("1", hour)), employee), document)
    [found] = [each for each in _punches(story) if each.name == event("1", hour).event_id]
    return found


def _punches(story: Story) -> list[Punch]:
    got: list[Punch] = []

    async def keep(_: object, punches: Sequence[Punch]) -> frozenset[str]:
        got.extend(punches)
        return frozenset()

    asked(story, in_erpnext=keep)
    return got


def test_erpnext_is_asked_by_event_id_and_then_by_the_document() -> None:
    story = Story()
    names = [event("1", hour).event_id for hour in (1, 2, 3, 4, 5)]
    its = [punch(story, hour, f"CHK-{hour}") for hour in (1, 2, 3, 4, 5)]
    site: Any = CheckinSite()
    site.store("OTHER-1", names[0])  # under another name than the delivery says
    site.store("CHK-2", None)  # it was there before us
    site.store("CHK-3", "another", time="2026-03-02 06:00:00")  # shared with a terminal of the same second
    site.store("CHK-4", "another", time="2026-03-02 09:00:00")  # ERPNext gave the name of what was deleted again
    assert find(site, its, "Asia/Riyadh") == {*names[:3]}
    assert find(site, its, None) == {*names[:2]}
    site.with_event_id = False
    assert find(site, its[:2], "UTC") == {names[1]}


def test_the_reading_of_a_day_that_nobody_has_punched_on_asks_nobody() -> None:
    async def fails(*_: object) -> frozenset[str]:
        raise AssertionError("there is nothing to ask about")

    found = asked(Story(), in_erpnext=fails)
    assert (found.is_whole, found.devices[0].in_erpnext, found.devices[0].raw) == (True, 0, 0)
