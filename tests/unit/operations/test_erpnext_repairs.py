"""Repairs in ERPNext: only what is asked for, only what is certain, and each with a trace."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from checkin_site import CHECKIN, DELETED, CheckinSite
from memory_log import MemoryLog
from msgspec import structs

from attendance.erpnext import ErpnextClient
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from operations.audit_tables import AuditTables
from operations.erpnext_repairs import Change, Repairs, make_repairs
from operations.log import DryRun

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
BORN = "2020-01-01 00:00:00"


class Scene:
    """What was delivered to a site, and a user map."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.site = CheckinSite()

    def deliver(self, document: str, user: str = "1", *, raw: bool = True) -> RawEvent:
        event = RawEvent("D1", "s", user, "IN", AT, None, "UTC", AT, Source("push", "json"))
        if raw:
            self.log.add("raw", event.key, event.encode())
        checkin = Checkin(event.event_id, "E1", AT, "IN", "D1", user, "s", "UTC", employee_created=BORN)
        self.log.add("checkins", checkin.key, checkin.encode())
        delivery = Delivery(event.event_id, "E1", document, "created", "erpnext", AT)
        self.log.add("deliveries", delivery.key, delivery.encode())
        self.site.store(document, event.event_id)
        return event

    def know(self, employee: str, user: str = "1") -> None:
        self.site.employ(employee)
        known, mapping = Employee(employee, "Active", created=BORN), UserMapping("*", user, employee, "erpnext")
        self.log.add("user_map", known.key, known.encode())
        self.log.add("user_map", mapping.key, mapping.encode())

    def repair(self, *, meanwhile: Any = None, **wanted: Any) -> dict[str, Change]:
        async def play() -> list[Change]:
            repairs = Repairs(**wanted)
            client = cast("ErpnextClient", self.site)
            with AuditTables() as tables:
                await tables.fill(self.log, None, None)
                tables.rows.look_up(client, "UTC")
                if meanwhile is not None:
                    meanwhile()
                log = DryRun(self.log) if repairs.dry_run else self.log
                return [each async for each in make_repairs(log, client, tables.rows, repairs, None)]

        return {change.document: change for change in asyncio.run(play())}

    def done(self, **wanted: Any) -> dict[str, str]:
        return {name: change.done for name, change in self.repair(**wanted).items()}

    def corrections(self) -> list[RawEvent]:
        return [RawEvent.decode(each.value) for each in self.log.sent if each.topic == self.log.topics["raw"]]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_nothing_is_changed_that_was_not_asked_for(scene: Scene) -> None:
    event = scene.deliver("A")
    scene.site.store("B", event.event_id, offshift=1)
    scene.site.dismiss("E1")
    assert scene.repair() == {}
    assert scene.site.changes == scene.log.sent == []


@pytest.mark.parametrize("wanted", ["surplus", "employees", "shifts"])
def test_a_dry_run_says_what_it_would_do_and_changes_nothing(scene: Scene, wanted: str) -> None:
    event = scene.deliver("A")
    scene.site.document("A")["offshift"] = 1
    if wanted == "surplus":
        scene.site.store("B", event.event_id)
    if wanted == "employees":
        scene.site.dismiss("E1")
    changes = scene.done(dry_run=True, **{wanted: True})
    assert set(changes.values()) <= {"removed", "waits", "shift found"}
    assert len(changes) == 1
    assert scene.site.changes == scene.log.sent == []


def test_a_copy_is_removed_and_the_removal_is_recorded(scene: Scene) -> None:
    event = scene.deliver("A")
    scene.site.store("B", event.event_id, attendance="ATT-1")
    assert scene.done(surplus=True) == {"A": "removed"}
    assert scene.site.names() == ["B"]
    [record] = scene.log.sent
    delivery = Delivery.decode(record.value)
    assert (delivery.event_id, delivery.document, delivery.removed) == (event.event_id, "B", "A")
    assert dict(record.headers)["ce_source"] == b"/sites/s/devices/D1"


def test_the_audit_knows_of_a_removal_by_its_record(scene: Scene) -> None:
    event = scene.deliver("A")
    scene.site.store("B", event.event_id)
    scene.log.add("deliveries", b"", Delivery(event.event_id, "E1", "B", "created", "erpnext", AT).encode())
    scene.done(surplus=True)
    [record] = scene.log.sent
    scene.log.add("deliveries", record.key, record.value)
    with AuditTables() as tables:
        asyncio.run(tables.fill(scene.log, None, None))
        assert tables.report().delivered_twice == []


def test_a_copy_that_changed_since_the_audit_looked_stays(scene: Scene) -> None:
    event = scene.deliver("A")
    for name in "BCD":
        scene.site.store(name, event.event_id)

    def others_work() -> None:
        scene.site.document("B")["attendance"] = "ATT-1"
        scene.site.document("C")["log_type"] = "OUT"

    assert {name: each.done for name, each in scene.repair(surplus=True, meanwhile=others_work).items()} == {
        "B": "left alone",
        "C": "left alone",
        "D": "removed",
    }
    assert scene.site.names() == ["A", "B", "C"]


def test_no_copy_is_removed_when_the_one_that_was_to_stay_is_gone(scene: Scene) -> None:
    event = scene.deliver("A")
    scene.site.store("B", event.event_id)
    scene.repair(surplus=True, meanwhile=lambda: scene.site.delete(CHECKIN, "A"))
    assert scene.site.names() == ["B"]


def test_what_erpnext_does_not_let_us_delete_is_said_and_the_others_go(scene: Scene) -> None:
    event = scene.deliver("A")
    for name in "BC":
        scene.site.store(name, event.event_id)
    scene.site.unsaved = {"B"}
    assert scene.done(surplus=True) == {"B": "left alone", "C": "removed"}


def test_a_document_of_nobody_is_taken_over_by_whom_the_map_names_now(scene: Scene) -> None:
    event = scene.deliver("A")
    scene.site.dismiss("E1")
    scene.know("E2")
    assert scene.done(employees=True) == {"A": "corrected"}
    [correction] = scene.corrections()
    assert (correction.event_id, correction.supersedes, correction.superseded_document) == (
        event.event_id,
        event.event_id,
        "A",
    )
    assert scene.site.names() == ["A"], "the sink replaces it, so that there is always one"


def test_a_document_that_the_next_holder_of_the_number_inherited_goes_if_the_map_names_nobody(scene: Scene) -> None:
    scene.deliver("A")
    scene.site.dismiss("E1")
    scene.site.employ("E1", "2026-03-05 09:00:00")
    assert scene.done(employees=True) == {"A": "waits"}
    assert scene.site.names() == []
    assert [each.supersedes for each in scene.corrections()] == [scene.corrections()[0].event_id]
    assert scene.site.tables[DELETED][0]["deleted_name"] == "A"


@pytest.mark.parametrize("change", [{"attendance": "ATT-1"}, {"time": "2026-03-02 06:00:00"}])
def test_a_document_of_nobody_that_is_counted_or_was_changed_is_left_alone(
    scene: Scene, change: dict[str, str]
) -> None:
    scene.deliver("A")
    scene.site.dismiss("E1")
    scene.know("E2")
    scene.site.document("A").update(change)
    assert scene.done(employees=True) == {"A": "left alone"}
    assert scene.log.sent == scene.site.changes == []


def test_a_document_of_nobody_whose_punch_is_gone_from_the_topic_is_left_alone(scene: Scene) -> None:
    scene.deliver("A", raw=False)
    scene.site.dismiss("E1")
    assert scene.done(employees=True) == {"A": "left alone"}
    assert scene.site.names() == ["A"]


def test_copies_of_a_document_of_nobody_are_removed_first(scene: Scene) -> None:
    event = scene.deliver("A")
    scene.site.store("B", event.event_id)
    scene.site.dismiss("E1")
    scene.know("E2")
    assert scene.done(employees=True) == {"A": "left alone"}
    assert scene.log.sent == []


def test_one_correction_is_sent_however_often_the_topic_has_the_punch(scene: Scene) -> None:
    event = scene.deliver("A")
    scene.log.add("raw", event.key, event.encode(), [("x-replay-of", b"0:0")])
    scene.site.dismiss("E1")
    scene.know("E2")
    scene.done(employees=True)
    assert len(scene.corrections()) == 1
    assert structs.replace(scene.corrections()[0], supersedes=None, superseded_document=None) == event


@pytest.mark.parametrize("fetches", [True, False], ids=["by hrms' method", "by saving"])
def test_shifts_are_fetched_again_and_what_came_of_it_is_looked_at(scene: Scene, *, fetches: bool) -> None:
    for number in range(120):
        scene.deliver(f"D{number}", str(number))
        scene.site.document(f"D{number}").update(offshift=1, time=f"2026-03-02 {number // 60:02}:{number % 60:02}:00")
    scene.site.fetches_shifts = fetches
    scene.site.shifts = {f"D{number}": {"offshift": 0, "shift": "Day Shift"} for number in range(1, 120)}
    scene.site.unsaved = {"D7"}
    scene.site.document("D9")["attendance"] = "ATT-1"
    changes = scene.repair(shifts=True)
    alone = {name: change.why for name, change in changes.items() if change.done == "left alone"}
    assert alone == {
        "D0": "ERPNext finds no shift for that time: assign one",
        "D7": "ERPNext refuses: 417 ValidationError: Log Type is required",
        "D9": "linked to ATT-1: cancel that first",
    }
    assert scene.site.document("D119")["shift"] == "Day Shift"
    assert len(changes) == 120
