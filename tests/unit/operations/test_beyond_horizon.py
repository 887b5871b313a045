"""What ERPNext has decides about punches that nobody else knows any more, or leaves them to a person."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from checkin_site import CheckinSite
from memory_log import MemoryLog

from attendance.erpnext import ErpnextClient
from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from operations.beyond_horizon import NOBODY, REPEATED, THERE, UndecidedPunches
from operations.dead_letter_actions import Plan

TIME = datetime(2021, 3, 2, 5, tzinfo=UTC)
EVENT = RawEvent("D1", "s", "1", "IN", TIME, None, "UTC", TIME, Source("file", "csv"))
LETTER = LetterId(0, 0)


def device(direction: str = "from_device") -> Device:
    entry = {"device_id": "D1", "site": "s", "timezone": "UTC", "token_sha256": "0" * 64, "direction": direction}
    return Device.model_validate(entry)


def compare(
    site: CheckinSite, *, reason: Reason = Reason.BEYOND_HORIZON, user: str = "1", direction: str = "from_device"
) -> tuple[Plan, dict[LetterId, str]]:
    log = MemoryLog()
    for entry in (Employee("E1", "Active"), UserMapping("*", "1", "E1", "csv")):
        log.add("user_map", entry.key, entry.encode())
    event = RawEvent("D1", "s", user, "IN", TIME, None, "UTC", TIME, Source("file", "csv"))
    record = log.add("raw", event.key, event.encode())
    letter = DeadLetter.of(record, "stream", InvalidRecord(reason, "a test"), TIME)
    log.add("dead_letters", letter.key, letter.value, letter.encode_headers())
    plan = Plan(ids=[LETTER])
    undecided = UndecidedPunches(log, plan, lambda _: device(direction))
    asyncio.run(undecided.read())
    undecided.compare(cast("ErpnextClient", site), "UTC", 60)
    return plan, undecided.discards


def site(event_id: str = "of another", seconds: int = 20, **fields: object) -> CheckinSite:
    site = CheckinSite()
    time = (TIME + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")
    site.store("CKIN-1", event_id, **({"time": time, "device_id": "D1"} | fields))
    return site


@pytest.mark.parametrize(
    ("there", "note"),
    [
        (site(EVENT.event_id, seconds=99_999), THERE),
        (site(), f"{REPEATED}: CKIN-1"),
        (site(seconds=-60), f"{REPEATED}: CKIN-1"),
        (site(log_type=""), f"{REPEATED}: CKIN-1"),
    ],
)
def test_what_erpnext_has_or_has_what_it_repeats_is_discarded(there: CheckinSite, note: str) -> None:
    plan, discards = compare(there)

    assert (plan.ids, plan.refused, discards) == ([], {}, {LETTER: note})


@pytest.mark.parametrize(
    "there",
    [CheckinSite(), site(seconds=61), site(log_type="OUT"), site(device_id="D2"), site(employee="E2")],
)
def test_what_erpnext_has_nothing_near_of_is_replayed(there: CheckinSite) -> None:
    plan, discards = compare(there)

    assert (plan.ids, plan.refused, discards) == ([LETTER], {}, {})


def test_where_erpnext_does_not_say_what_the_device_said_a_person_decides() -> None:
    for plan, discards in (compare(site(), direction="in"), compare(site(device_id=None))):
        assert (plan.ids, discards) == ([], {})
        assert "CKIN-1" in plan.refused[LETTER]


def test_a_punch_of_somebody_whom_the_user_map_does_not_have_stays() -> None:
    plan, discards = compare(CheckinSite(), user="2")

    assert (plan.ids, plan.refused, discards) == ([], {LETTER: NOBODY}, {})


def test_letters_of_other_reasons_are_replayed_as_ever() -> None:
    plan, _ = compare(site(EVENT.event_id), reason=Reason.IMPLAUSIBLE_TIME)

    assert plan.ids == [LETTER]
