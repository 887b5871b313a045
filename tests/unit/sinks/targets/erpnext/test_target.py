import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from ingest_site import FakeSite, checkin, deliver, statuses, target_of

from attendance.errors import (
    AccessDenied,
    Conflict,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    Reason,
    ServerError,
    TargetUnavailable,
)
from sinks.targets.base import Delivered, Result, SentBack
from sinks.targets.erpnext.documents import to_document


@pytest.fixture(params=["insert_many", "fast ingest"])
def site(request: pytest.FixtureRequest) -> FakeSite:
    """A site without and with fast ingest: what becomes of a check-in is the same."""
    made = FakeSite()
    made.has_app = request.param == "fast ingest"
    return made


def test_a_document_has_the_sites_wall_clock_and_whole_seconds() -> None:
    time = datetime(2026, 1, 1, 21, 30, 15, 999_000, tzinfo=UTC)
    assert to_document(checkin(1, event_time=time), "Asia/Riyadh", event_id=True) == {
        "doctype": "Employee Checkin",
        "employee": "HR-EMP-00001",
        "time": "2026-01-02 00:30:15",
        "log_type": "IN",
        "device_id": "D1",
        "event_id": f"{1:032x}",
    }


def test_a_document_has_the_devices_wall_clock_where_the_site_asks_for_it() -> None:
    document = to_document(checkin(1, checkin_time="device_local"), "Asia/Riyadh", event_id=True)
    assert document["time"] == "2026-01-01 09:00:00"


def test_a_document_has_the_place_of_the_device_where_the_fleet_file_says_it() -> None:
    document = to_document(checkin(1, latitude=24.7, longitude=46.7), "Asia/Riyadh", event_id=True)
    assert (document["latitude"], document["longitude"]) == (24.7, 46.7)


def test_a_document_has_no_direction_where_there_is_none_and_no_field_that_the_site_lacks() -> None:
    document = to_document(checkin(1, log_type=""), "Asia/Riyadh", event_id=False)
    assert set(document) == {"doctype", "employee", "time", "device_id"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"employee": " "}, Reason.UNKNOWN_EMPLOYEE),
        ({"event_time": datetime(9999, 12, 31, 23, tzinfo=UTC)}, Reason.UNREADABLE_TIME),
        ({"checkin_time": "device_local", "device_timezone": "Mars/Base"}, Reason.UNREADABLE_TIME),
    ],
)
def test_a_checkin_without_an_employee_or_a_time_is_never_sent(
    site: FakeSite, changes: dict[str, Any], reason: Reason
) -> None:
    [[bad, good]] = deliver(site, [checkin(1, **changes), checkin(2)])
    assert isinstance(bad, InvalidRecord)
    assert bad.reason == reason
    assert good == Delivered("CKIN-1", "created")


def test_a_batch_is_one_request_and_a_look_whether_it_has_its_ids() -> None:
    site = FakeSite()
    [results] = deliver(site, [checkin(number) for number in range(50)])
    assert results == [Delivered(f"CKIN-{number + 1}", "created") for number in range(50)]
    assert site.requests == ["insert_many 50", "get_list"]


def test_a_batch_that_was_stored_without_an_answer_is_found_by_two_more_requests() -> None:
    site = FakeSite()
    site.lost_answers = 1
    batch = [checkin(number) for number in range(50)]
    first, second = deliver(site, batch, batch)
    assert statuses(first) == ["TargetUnavailable"] * 50
    assert statuses(second) == ["already_there"] * 50
    assert len(site.rows) == 50
    assert site.requests == ["insert_many 50", "insert_many 50", "get_list"]


def test_rows_of_the_tool_used_before_are_found_by_employee_time_and_direction(site: FakeSite) -> None:
    before = [checkin(number) for number in range(20)]
    site.rows = [
        {**to_document(each, site.zone, event_id=False), "event_id": None, "name": f"OLD-{number}"}
        for number, each in enumerate(before)
    ]
    [results] = deliver(site, [*before, checkin(3, event_id="other", log_type="OUT"), checkin(99)])
    assert results[:20] == [Delivered(f"OLD-{number}", "already_there") for number in range(20)]
    assert statuses(results[20:]) == ["created", "created"]
    assert len(site.requests) <= 5


def test_one_bad_document_among_many_costs_few_requests_and_its_neighbours_are_stored(site: FakeSite) -> None:
    site.inactive = {"HR-EMP-00077"}
    [results] = deliver(site, [checkin(number) for number in range(200)])
    assert isinstance(results[77], SentBack)
    assert results[77].reason == Reason.EMPLOYEE_INACTIVE
    assert "InactiveEmployeeStatusError" in results[77].message
    assert statuses(results[:77] + results[78:]) == ["created"] * 199
    assert len(site.requests) <= 20


def test_order_is_kept_when_a_batch_is_divided(site: FakeSite) -> None:
    site.inactive = {"HR-EMP-00005"}
    minute = timedelta(minutes=1)
    time = datetime(2026, 1, 1, 5, tzinfo=UTC)
    mine = [checkin(number, employee="E", event_time=time + number * minute) for number in range(10)]
    [results] = deliver(site, [*mine[:5], checkin(5), *mine[5:]])
    assert statuses(results).count("created") == 10
    assert [row["event_id"] for row in site.rows] == [each.event_id for each in mine]


def test_a_document_that_is_rejected_for_good_is_told_by_the_sites_own_words(site: FakeSite) -> None:
    [[result]] = deliver(site, [checkin(1, device_id="D" * 141)])
    assert isinstance(result, InvalidRecord)
    assert result.reason == Reason.TARGET_REJECTED
    assert result.message == "417 CharacterLengthExceededError: Device ID"


def test_an_employee_who_became_inactive_after_the_check_in_was_stored_is_no_dead_letter(site: FakeSite) -> None:
    site.lost_answers = 1

    async def run() -> list[Result]:
        target = target_of(site)
        await target.open()
        await target.deliver([checkin(1)])
        site.inactive = {"HR-EMP-00001"}
        results = await target.deliver([checkin(1)])
        await target.close()
        return results

    assert asyncio.run(run()) == [Delivered("CKIN-1", "already_there")]


def test_a_copy_that_is_stored_between_look_up_and_retry_is_found() -> None:
    site = FakeSite()
    site.write_errors = [DocumentRejected(417, "QueryRejected", "something else")]
    get_list = site.get_list

    def stored_by_another_meanwhile(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        rows = get_list(*arguments, **options)
        if not site.rows and site.requests.count("get_list") == 2:
            site.rows = [
                {**to_document(checkin(1), site.zone, event_id=True), "name": "OTHER-1"},
                {**to_document(checkin(2), site.zone, event_id=True), "name": "OTHER-2"},
            ]
        return rows

    site.get_list = stored_by_another_meanwhile  # type: ignore[method-assign]
    [results] = deliver(site, [checkin(1), checkin(2)])
    assert results == [Delivered("OTHER-1", "already_there"), Delivered("OTHER-2", "already_there")]


def test_the_same_check_in_twice_in_a_batch_is_one_row(site: FakeSite) -> None:
    [results] = deliver(site, [checkin(1), checkin(2), checkin(1)])
    assert statuses(results) == ["created", "created", "already_there"]
    assert results[0].document == results[2].document
    assert len(site.rows) == 2


def test_a_batch_that_is_too_large_for_what_stands_before_the_site_is_divided(site: FakeSite) -> None:
    site.largest = 30
    [results] = deliver(site, [checkin(number) for number in range(100)])
    assert statuses(results) == ["created"] * 100


def test_a_document_that_breaks_the_site_fails_alone_and_its_neighbours_are_stored(site: FakeSite) -> None:
    site.breaking = {"BROKEN"}
    [results] = deliver(site, [checkin(number, device_id="BROKEN" if number == 40 else "D1") for number in range(100)])
    assert isinstance(results[40], ServerError)
    assert statuses(results[:40] + results[41:]) == ["created"] * 99


def test_later_check_ins_of_an_employee_are_not_stored_before_the_one_that_breaks_the_site(site: FakeSite) -> None:
    site.breaking = {"BROKEN"}
    later = datetime(2026, 1, 1, 14, tzinfo=UTC)
    batch = [checkin(1, device_id="BROKEN"), checkin(2), checkin(3, employee="HR-EMP-00001", event_time=later)]
    [results] = deliver(site, batch)
    assert statuses(results) == ["ServerError", "created", "NoneType"]


def test_a_site_that_breaks_on_everything_is_left_alone_after_eight_documents() -> None:
    site = FakeSite()
    site.breaking = {"D1"}
    [results] = deliver(site, [checkin(number) for number in range(128)])
    assert statuses(results) == ["ServerError"] * 8 + ["NoneType"] * 120
    assert len(site.requests) == 19


def test_what_was_stored_before_the_site_went_away_is_not_forgotten() -> None:
    site = FakeSite()
    site.write_errors = [DocumentRejected(413, "RequestEntityTooLarge", "")]
    batch = [checkin(number) for number in range(4)]

    class Away(FakeSite):
        def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
            if self.rows:
                raise TargetUnavailable("503", retry_after=9)
            return super().insert_many(documents)

    site.__class__ = Away
    [results] = deliver(site, batch)
    assert statuses(results) == ["created", "created", "TargetUnavailable", "TargetUnavailable"]
    assert isinstance(results[2], TargetUnavailable)
    assert results[2].retry_after == 9


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (AccessDenied("401"), "AccessDenied"),
        (PermissionDenied("403"), "AccessDenied"),
        (TargetUnavailable("503"), "TargetUnavailable"),
        (ServerError("500"), "TargetUnavailable"),
        (DocumentRejected(417, "DataError", "Field not permitted in query"), "AccessDenied"),
    ],
)
def test_a_look_up_that_fails_says_nothing_against_the_documents(error: Exception, result: str) -> None:
    site = FakeSite()
    site.write_errors = [DocumentRejected(417, "ValidationError", "")]

    async def run() -> list[Result]:
        target = target_of(site)
        await target.open()
        site.read_errors = [error]
        results = await target.deliver([checkin(1), checkin(2)])
        await target.close()
        return results

    assert statuses(asyncio.run(run())) == [result] * 2


@pytest.mark.parametrize(
    ("error", "alone", "together"),
    [
        (DocumentRejected(417, "DataError", "too long"), "InvalidRecord", "created"),
        (DocumentRejected(413, "RequestEntityTooLarge", ""), "InvalidRecord", "created"),
        (ServerError("500"), "ServerError", "created"),
        (PermissionDenied("403"), "PermissionDenied", "created"),
        (TargetUnavailable("503"), "TargetUnavailable", "TargetUnavailable"),
        (Conflict("417"), "Conflict", "Conflict"),
        (AccessDenied("401"), "AccessDenied", "AccessDenied"),
    ],
)
def test_what_one_answer_says_of_a_document_alone_and_of_two_together(
    error: Exception, alone: str, together: str
) -> None:
    """Two are divided where one of them may be the cause; each is then stored."""
    for count, result in ((1, alone), (2, together)):
        site = FakeSite()
        site.write_errors = [error]
        [results] = deliver(site, [checkin(number) for number in range(count)])
        assert statuses(results) == [result] * count


def test_without_the_field_every_try_looks_before_it_writes() -> None:
    site = FakeSite(unique=False)
    site.lost_answers = 1
    first, second, third = deliver(site, [checkin(1)], [checkin(1)], [checkin(1)])
    assert statuses(first + second + third) == ["TargetUnavailable", "already_there", "already_there"]
    assert site.requests == ["get_list", "insert", "get_list", "get_list"]
    assert len(site.rows) == 1
    assert site.rows[0]["event_id"] is None


def test_without_the_field_documents_go_one_by_one_and_the_bad_one_does_not_stop_the_others() -> None:
    site = FakeSite(unique=False)
    site.inactive = {"HR-EMP-00001"}
    site.breaking = {"BROKEN"}
    [results] = deliver(site, [checkin(0), checkin(1), checkin(2, device_id="BROKEN"), checkin(3)])
    assert statuses(results) == ["created", "SentBack", "ServerError", "created"]
    assert not any(request.startswith("insert_many") for request in site.requests)


def test_without_the_field_a_call_is_small_and_the_log_says_what_is_not_promised() -> None:
    async def run() -> tuple[int, int]:
        site = FakeSite(unique=False)
        target = target_of(site, batch=100)
        await target.open()
        small = target.max_batch
        site.unique = True
        await target.open()
        await target.close()
        return small, target.max_batch

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(run()) == (20, 100)
    assert [entry["log_level"] for entry in logs if "may be stored twice" in entry["event"]] == ["warning"]


def test_a_site_without_the_doctype_is_refused_and_no_record_is_blamed() -> None:
    site = FakeSite()
    site.no_checkins = True
    with pytest.raises(AccessDenied, match="Frappe HR"):
        deliver(site)


def test_nothing_is_written_before_the_target_is_open() -> None:
    site = FakeSite()

    async def run() -> None:
        target = target_of(site)
        try:
            await target.deliver([checkin(1)])
        finally:
            await target.close()

    with pytest.raises(TargetUnavailable):
        asyncio.run(run())
    assert site.rows == []
    assert site.requests == []


def test_what_the_site_refuses_for_its_coordinates_waits_and_everything_else_is_stored(site: FakeSite) -> None:
    site.coordinates, site.far = True, {"FAR"}
    place = {"latitude": 24.7, "longitude": 46.7}
    batch = [checkin(1, **place), checkin(2), checkin(3, device_id="FAR", **place), checkin(4, **place)]
    [results] = deliver(site, batch)
    assert statuses(results) == ["created", "SentBack", "SentBack", "created"]
    assert {result.reason for result in results if isinstance(result, SentBack)} == {Reason.COORDINATES_REFUSED}


def test_a_site_that_begins_to_ask_for_coordinates_dead_letters_nothing(site: FakeSite) -> None:

    async def run() -> list[Result]:
        target = target_of(site)
        try:
            await target.open()
            await target.deliver([checkin(1)])
            site.coordinates = True
            return await target.deliver([checkin(2), checkin(3)])
        finally:
            await target.close()

    assert statuses(asyncio.run(run())) == ["SentBack", "SentBack"]
