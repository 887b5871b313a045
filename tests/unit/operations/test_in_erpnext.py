"""What ERPNext has of what was delivered is compared document by document."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from checkin_site import CHECKIN, EMPLOYEE, CheckinSite
from msgspec.structs import replace

from attendance.erpnext import ErpnextClient
from attendance.records.checkin import Checkin
from operations.deleted_rows import SCHEMA as DELETED_ROWS
from operations.in_erpnext import MISSING, SCHEMA, ErpnextRows, Finding, Kind

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
DELIVERED = """
create table standing (event_id, document, employee, primary key (event_id, document));
create table waiting (event_id);
"""
KINDS: tuple[Kind, ...] = ("surplus", "of_nobody", "different", "off_shift")


class Scene:
    """Deliveries, and the site that has them."""

    def __init__(self) -> None:
        self.db = sqlite3.connect("")
        self.db.executescript(DELIVERED + SCHEMA + DELETED_ROWS)
        self.rows = ErpnextRows(self.db)
        self.site = CheckinSite()
        self.zone: str | None = "UTC"

    def deliver(self, event_id: str, document: str, *, stored: bool = True, **changes: Any) -> None:
        checkin = replace(Checkin(event_id, "E1", AT, "IN", "D1", "1", "s", "UTC"), **changes)
        self.rows.add_versions([checkin])
        self.db.execute("insert or replace into standing values (?, ?, ?)", (event_id, document, checkin.employee))
        if stored:
            time = f"{checkin.event_time:%Y-%m-%d %H:%M:%S}"
            self.site.store(document, event_id, employee=checkin.employee, time=time, log_type=checkin.log_type)

    def look_up(self) -> dict[str, list[str]]:
        """The documents of each kind of finding."""
        self.rows.look_up(cast("ErpnextClient", self.site), self.zone)
        return {kind: [each.document for each in found] for kind in KINDS if (found := self.rows.findings(kind))}

    def missing(self) -> list[str]:
        return [row[0] for row in self.db.execute(MISSING)]

    def first(self, kind: Kind) -> Finding:
        return self.rows.findings(kind)[0]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.db.close()


def test_what_is_there_as_it_was_delivered_is_right(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.deliver("b", "B", event_time=AT + timedelta(hours=9), log_type="OUT")
    assert scene.look_up() == {}
    assert scene.missing() == []


def test_every_row_of_an_event_is_counted_and_the_linked_one_is_kept(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.site.store("B", "a", attendance="ATT-1")
    scene.site.store("C", "a")
    assert scene.look_up() == {"surplus": ["A", "C"]}
    assert scene.first("surplus").instead == "B"
    assert scene.first("surplus").stays is None


def test_without_attendance_the_delivered_row_is_kept(scene: Scene) -> None:
    scene.site.store("0", "a", creation="2026-03-02 04:59:59")
    scene.deliver("a", "A")
    assert scene.look_up() == {"surplus": ["0"]}


def test_a_copy_that_says_something_else_or_is_counted_is_not_removed(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.site.document("A")["attendance"] = "ATT-1"
    scene.site.store("B", "a", attendance="ATT-1")
    scene.site.store("C", "a", log_type="OUT", modified_by="hr@example.com")
    found = {each.document: each.stays for each in scene.rows.findings("surplus")} if scene.look_up() else {}
    assert found == {"B": "linked to ATT-1: cancel that first", "C": "hr@example.com changed it"}


def test_copies_that_were_stored_without_the_field_are_found_by_what_they_say(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.site.store("B", None)
    scene.site.store("other", None, log_type="OUT")
    assert scene.look_up() == {"surplus": ["B"]}


def test_a_site_without_the_field_is_asked_by_name(scene: Scene) -> None:
    scene.site.with_event_id = False
    scene.deliver("a", "A")
    scene.deliver("b", "B", event_time=AT + timedelta(hours=1))
    scene.deliver("c", "C", stored=False, event_time=AT + timedelta(hours=2))
    scene.site.store("A2", None)
    assert scene.look_up() == {"surplus": ["A2"]}
    assert scene.missing() == ["c"]


def test_a_row_of_nobody_is_found(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.site.dismiss("E1")
    assert scene.look_up() == {"of_nobody": ["A"]}
    assert scene.first("of_nobody").stays is None


def test_an_employee_whom_a_user_permission_hides_is_somebody(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.site.hidden = {"E1"}
    assert scene.look_up() == {}


def test_a_row_that_the_next_holder_of_the_number_inherited_is_of_nobody(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.deliver("b", "B", event_time=AT + timedelta(hours=1), employee_created="2020-01-01 00:00:00")
    scene.site.dismiss("E1")
    scene.site.employ("E1", "2026-03-05 09:00:00")
    assert scene.look_up() == {"of_nobody": ["A", "B"]}


def test_a_row_of_an_employee_who_is_who_they_were_is_right_also_when_it_is_older_than_they(scene: Scene) -> None:
    scene.site.dismiss("E1")
    scene.site.employ("E1", "2026-03-05 09:00:00")
    scene.deliver("a", "A", employee_created="2026-03-05 09:00:00")
    assert scene.look_up() == {}


def test_a_rename_or_a_merge_takes_its_rows_along_and_that_is_right(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.site.dismiss("E1")
    scene.site.employ("E9", "2026-03-05 09:00:00")
    scene.site.document("A")["employee"] = "E9"
    assert scene.look_up() == {}


def test_so_it_is_when_somebody_else_got_the_number_of_who_was_merged(scene: Scene) -> None:
    scene.deliver("a", "A", employee_created="2020-01-01 00:00:00")
    scene.site.dismiss("E1")
    scene.site.employ("E9")
    scene.site.employ("E1", "2026-03-05 09:00:00")
    scene.site.document("A")["employee"] = "E9"
    assert scene.look_up() == {}


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("employee", "E2", "delivered for E1"),
        ("time", "2026-03-02 07:30:00", "delivered for 2026-03-02 05:00:00"),
        ("log_type", "OUT", "delivered as IN"),
    ],
)
def test_a_row_that_says_something_else_than_was_delivered_is_found(
    scene: Scene, field: str, value: str, why: str
) -> None:
    scene.site.employ("E2")
    scene.deliver("a", "A")
    scene.site.document("A").update({field: value, "modified_by": "hr@example.com"})
    assert scene.look_up() == {"different": ["A"]}
    assert scene.first("different").why == f"{why}; last changed by hr@example.com"


def test_times_are_compared_in_the_zone_of_the_site_and_not_at_all_while_that_is_in_doubt(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.zone = "Asia/Riyadh"
    assert scene.look_up() == {"different": ["A"]}
    scene.db.execute("delete from finding")
    scene.zone = None
    assert scene.look_up() == {}
    assert not scene.rows.times_compared


def test_a_name_that_erpnext_gave_again_after_a_restore_is_not_what_was_delivered(scene: Scene) -> None:
    scene.deliver("a", "A", stored=False)
    scene.deliver("b", "B", event_time=AT + timedelta(hours=1), stored=False)
    scene.site.store("A", "b", time="2026-03-02 06:00:00")
    assert scene.look_up() == {}
    assert scene.missing() == ["a"]


def test_the_row_of_another_punch_of_the_same_second_stands_for_both(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.deliver("b", "A", stored=False)
    assert scene.look_up() == {}
    assert scene.missing() == []


def test_what_is_on_no_shift_is_found(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.site.document("A")["offshift"] = 1
    assert scene.look_up() == {"off_shift": ["A"]}


def test_what_somebody_deleted_is_told_from_what_is_lost(scene: Scene) -> None:
    for name in "ABC":
        scene.deliver(name.lower(), name, event_time=AT + timedelta(hours=ord(name)))
    scene.site.delete(CHECKIN, "A", by="hr@example.com")
    scene.site.delete(CHECKIN, "B")
    scene.site.tables[CHECKIN].clear()
    scene.look_up()
    assert scene.missing() == ["a", "b", "c"]
    assert scene.db.execute("select * from deleted").fetchall() == [("a", "hr@example.com")]
    assert scene.rows.deletions_known


def test_a_user_who_may_not_see_deletions_does_not_know_of_them(scene: Scene) -> None:
    scene.deliver("a", "A", stored=False)
    scene.site.forbidden = {"Deleted Document"}
    scene.look_up()
    assert not scene.rows.deletions_known


def test_many_events_are_asked_for_page_by_page_and_each_employee_once(scene: Scene) -> None:
    for number in range(1200):
        scene.deliver(str(number), f"D{number}", event_time=AT + timedelta(minutes=number))
    assert scene.look_up() == {}
    assert scene.site.requests.count(("list", EMPLOYEE)) == 1
    assert scene.site.requests.count(("list", CHECKIN)) == 1 + 2 * 3


@pytest.mark.parametrize("named", ["b", None])
def test_any_number_of_events_may_share_a_document_and_it_is_looked_at_once(scene: Scene, named: str | None) -> None:
    for event_id in "abc":
        scene.deliver(event_id, "A", stored=False)
    scene.site.store("A", named, offshift=1)
    assert scene.look_up() == {"off_shift": ["A"]}
    assert scene.first("off_shift").event_id == (named or "a")
    assert scene.missing() == []


def test_a_punch_that_another_document_says_is_there(scene: Scene) -> None:
    scene.deliver("a", "A")
    scene.deliver("b", "GONE", stored=False)
    scene.deliver("c", "GONE", stored=False, log_type="OUT")
    assert scene.look_up() == {}
    assert scene.missing() == ["c"]
