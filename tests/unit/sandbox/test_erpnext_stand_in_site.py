from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.erpnext.doctypes import CUSTOM_FIELD, EMPLOYEE, SHIFT_TYPE
from sandbox.erpnext.errors import FrappeError
from sandbox.erpnext.site import Site
from sandbox.erpnext.users import ADMIN, GUEST, HR_USER, NO_ROLE_USER

CHECKIN = "Employee Checkin"
EVENT_ID_FIELD = {"dt": CHECKIN, "fieldname": "event_id", "label": "Event ID", "fieldtype": "Data", "unique": 1}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


def new_site(journal: Path | None = None) -> Site:
    site = Site(clock=Clock(), journal=journal)
    site.put_employees({"attendance_device_id": str(number)} for number in range(1001, 1004))
    return site


@pytest.fixture
def site() -> Site:
    return new_site()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def punch(employee: str = "HR-EMP-00001", time: str = "2026-11-01 08:00:00", **more: Any) -> dict[str, Any]:
    return {"employee": employee, "time": time, "log_type": "IN", **more}


def store(site: Site, *documents: dict[str, Any]) -> list[str]:
    transaction = site.begin(ADMIN)
    for document in documents:
        transaction.insert(document)
    return [row["name"] for row in transaction.commit()]


def stored(site: Site, **filters: Any) -> list[dict[str, Any]]:
    arguments = {"fields": ["*"], "filters": filters, "limit_page_length": 0}
    return site.list_rows(ADMIN, CHECKIN, arguments)


def names(site: Site, doctype: str, **arguments: Any) -> list[str]:
    return [row["name"] for row in site.list_rows(ADMIN, doctype, arguments)]


def test_a_refused_document_leaves_nothing_of_its_transaction(site: Site) -> None:
    with pytest.raises(FrappeError) as raised:
        store(site, punch(), punch("HR-EMP-00002"), punch())
    assert (raised.value.status, raised.value.exc_type) == (417, "ValidationError")
    assert stored(site) == []
    assert store(site, punch()) == ["EMP-CKIN-11-2026-000001"]


def test_transactions_that_overlap_store_a_punch_twice(site: Site) -> None:
    first, second = site.begin(ADMIN), site.begin(ADMIN)
    first.insert(punch())
    second.insert(punch())
    assert first.commit()[0]["name"] != second.commit()[0]["name"]
    assert len(stored(site)) == 2


def test_a_unique_field_keeps_out_what_overlaps(site: Site) -> None:
    site.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    first, second = site.begin(ADMIN), site.begin(ADMIN)
    first.insert(punch(event_id="a"))
    second.insert(punch("HR-EMP-00002", event_id="b"))
    second.insert(punch(event_id="a"))
    first.commit()
    with pytest.raises(FrappeError) as raised:
        second.commit()
    assert raised.value.exc_type == "UniqueValidationError"
    assert [row["event_id"] for row in stored(site)] == ["a"]


def test_a_value_may_not_repeat_within_a_transaction(site: Site) -> None:
    site.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    with pytest.raises(FrappeError) as raised:
        store(site, punch(event_id="a"), punch("HR-EMP-00002", event_id="a"))
    assert raised.value.exc_type == "UniqueValidationError"


def test_any_number_of_check_ins_have_no_event_id(site: Site) -> None:
    store(site, punch())
    site.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    store(site, punch("HR-EMP-00002"), punch("HR-EMP-00003", event_id=""))
    assert [row["event_id"] for row in stored(site)] == [None, None, None]


def test_the_event_id_is_no_field_before_it_was_created(site: Site) -> None:
    with pytest.raises(FrappeError) as raised:
        site.list_rows(ADMIN, CHECKIN, {"fields": ["event_id"]})
    assert raised.value.exc_type == "DataError"


@pytest.mark.parametrize("spelling", ["hr-emp-00001", "HR-EMP-00001  "])
def test_the_spelling_of_an_employee_makes_no_other_punch(site: Site, spelling: str) -> None:
    store(site, punch())
    with pytest.raises(FrappeError):
        store(site, punch(spelling))


def test_the_name_of_the_last_check_in_is_given_again_once_it_is_deleted(site: Site) -> None:
    first, last = store(site, punch(), punch("HR-EMP-00002"))
    site.delete(ADMIN, CHECKIN, last)
    assert store(site, punch("HR-EMP-00003")) == [last]
    site.delete(ADMIN, CHECKIN, first)
    assert store(site, punch()) == ["EMP-CKIN-11-2026-000003"]


def test_a_check_in_that_is_changed_is_no_duplicate_of_itself_but_may_be_of_another(site: Site) -> None:
    first, second = store(site, punch(), punch(time="2026-11-01 09:00:00"))
    site.update(ADMIN, CHECKIN, first, {"device_id": "gate"})
    with pytest.raises(FrappeError):
        site.update(ADMIN, CHECKIN, second, {"time": "2026-11-01 08:00:00"})
    assert [(row["time"], row["device_id"]) for row in stored(site)] == [
        ("2026-11-01 08:00:00", "gate"),
        ("2026-11-01 09:00:00", None),
    ]


def test_a_changed_employee_is_found_by_when_it_was_modified(site: Site) -> None:
    before = max(row["modified"] for row in site.rows(EMPLOYEE))
    site.update(ADMIN, EMPLOYEE, "HR-EMP-00002", {"status": "Left", "relieving_date": "2026-11-30"})
    [row] = site.list_rows(
        HR_USER, EMPLOYEE, {"fields": ["name", "status", "relieving_date"], "filters": [["modified", ">", before]]}
    )
    assert row == {"name": "HR-EMP-00002", "status": "Left", "relieving_date": "2026-11-30"}


def test_a_device_user_belongs_to_one_employee(site: Site) -> None:
    with pytest.raises(FrappeError) as raised:
        site.update(ADMIN, EMPLOYEE, "HR-EMP-00002", {"attendance_device_id": "1001"})
    assert raised.value.exc_type == "UniqueValidationError"
    site.insert(ADMIN, EMPLOYEE, {"first_name": "Ana", "attendance_device_id": "1004"})
    assert names(site, EMPLOYEE, filters={"attendance_device_id": "1004"}) == ["HR-EMP-00004"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"name": "HR-EMP-00002"}, [2]),
        ({"name": ["in", ["HR-EMP-00001", "HR-EMP-00003", "none"]]}, [1, 3]),
        ([["name", "not in", ["HR-EMP-00001"]]], [2, 3]),
        ([["Employee", "attendance_device_id", ">", "1001"]], [2, 3]),
        ([["attendance_device_id", "=", 1001]], [1]),
        ([["attendance_device_id", "in", [1001, "1002"]]], [1, 2]),
        ([["attendance_device_id", "like", "%3"]], [3]),
        ([["attendance_device_id", "between", ["1002", "1003"]]], [2, 3]),
        ([["attendance_device_id", "is", "set"]], [1, 2, 3]),
        ([["attendance_device_id", "is", "not set"]], []),
        ([["branch", "!=", "North"]], [1, 2, 3]),
        ([["docstatus", "<", "1"]], [1, 2, 3]),
        ('[["status","=","ACTIVE"]]', [1, 2, 3]),
        ("HR-EMP-00003", [3]),
    ],
)
def test_filters_are_those_of_frappe(site: Site, filters: Any, found: list[int]) -> None:
    assert names(site, EMPLOYEE, filters=filters) == [f"HR-EMP-{number:05}" for number in found]


def test_an_unknown_operator_is_refused(site: Site) -> None:
    with pytest.raises(FrappeError) as raised:
        names(site, EMPLOYEE, filters=[["name", "~", "x"]])
    assert raised.value.status == 417


def test_rows_come_in_the_order_asked_for_page_by_page(site: Site) -> None:
    site.update(ADMIN, EMPLOYEE, "HR-EMP-00001", {"branch": "North"})
    assert names(site, EMPLOYEE, order_by="`tabEmployee`.`modified` desc", limit_page_length=2) == [
        "HR-EMP-00001",
        "HR-EMP-00003",
    ]
    assert names(site, EMPLOYEE, order_by="branch desc, name desc", limit_start=1) == ["HR-EMP-00003", "HR-EMP-00002"]


def test_a_stamp_without_microseconds_is_compared_as_the_time_it_is(site: Site) -> None:
    site.update(ADMIN, EMPLOYEE, "HR-EMP-00001", {})
    first = str(site.employees.rows["HR-EMP-00001"]["creation"])
    assert names(site, EMPLOYEE, filters=[["creation", ">", first[:19]]], order_by="name asc")[0] == "HR-EMP-00001"
    assert names(site, EMPLOYEE, filters=[["creation", "=", first.replace(" ", "T")]]) == ["HR-EMP-00001"]


@pytest.mark.parametrize(
    ("user", "doctype", "allowed"),
    [
        (ADMIN, CUSTOM_FIELD, True),
        (HR_USER, CUSTOM_FIELD, False),
        (HR_USER, SHIFT_TYPE, True),
        (NO_ROLE_USER, EMPLOYEE, False),
        (GUEST, CHECKIN, False),
    ],
)
def test_roles_decide_who_may_see_what(site: Site, user: Any, doctype: str, allowed: bool) -> None:  # noqa: FBT001 - a case
    if allowed:
        site.list_rows(user, doctype, {})
        return
    with pytest.raises(FrappeError) as raised:
        site.list_rows(user, doctype, {})
    assert raised.value.status == 403


def test_an_hr_user_cannot_create_the_field(site: Site) -> None:
    with pytest.raises(FrappeError) as raised:
        site.insert(HR_USER, CUSTOM_FIELD, EVENT_ID_FIELD)
    assert raised.value.status == 403


def test_what_was_committed_is_there_after_a_crash(journal: Path) -> None:
    before = new_site(journal)
    before.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    kept, gone = store(before, punch(event_id="a"), punch("HR-EMP-00002", event_id="b"))
    before.update(ADMIN, EMPLOYEE, "HR-EMP-00003", {"status": "Inactive"})
    before.delete(ADMIN, CHECKIN, gone)
    before.begin(ADMIN).insert(punch("HR-EMP-00001", "2026-11-01 11:00:00", event_id="c"))
    before.close()

    after = Site(clock=Clock(), journal=journal)
    assert [row["name"] for row in after.rows(CHECKIN)] == [kept]
    assert after.employees.rows == before.employees.rows
    with pytest.raises(FrappeError) as raised:
        store(after, punch(time="2026-11-01 10:00:00", event_id="a"))
    assert raised.value.exc_type == "UniqueValidationError"
    assert store(after, punch("HR-EMP-00002", event_id="b")) == ["EMP-CKIN-11-2026-000002"]
    after.close()


def test_a_reset_forgets_the_journal_too(journal: Path) -> None:
    before = new_site(journal)
    store(before, punch())
    before.reset()
    store(before, punch("HR-EMP-00009"))
    before.close()
    after = Site(journal=journal)
    assert [row["employee"] for row in after.rows(CHECKIN)] == ["HR-EMP-00009"]
    assert list(after.rows(EMPLOYEE)) == []
    after.close()


def test_zones_series_and_fields_are_as_they_were_after_a_crash(journal: Path) -> None:
    before = new_site(journal)
    before.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    [name] = store(before, punch(event_id="a"))
    before.set_time_zone("Asia/Tokyo")
    before.set_time_zone("Asia/Kolkata", HR_USER.name)
    before.set_series(CHECKIN, 0)
    before.delete(ADMIN, CUSTOM_FIELD, f"{CHECKIN}-event_id")
    before.close()

    after = Site(clock=Clock(), journal=journal)
    assert (after.time_zone, after.user_time_zone(HR_USER.name)) == ("Asia/Tokyo", "Asia/Kolkata")
    assert after.user_time_zone(ADMIN.name) == "Asia/Riyadh"
    with pytest.raises(FrappeError) as raised:
        store(after, punch("HR-EMP-00002"))
    assert (raised.value.status, after.next_name(CHECKIN)) == (409, name)
    assert "event_id" not in after.document(ADMIN, CHECKIN, name)
    after.close()
