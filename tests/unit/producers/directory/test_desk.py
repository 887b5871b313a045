"""The user map of ERPNext's desk, as the directory writes it to the topic."""

import asyncio
from typing import Any

import pytest
import structlog
from directory_bench import Bench

from attendance.errors import PermissionDenied, ServerError


@pytest.fixture(params=["summed", "counted"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """On an ERPNext that sums checksums up, and on one that only counts."""
    bench = Bench()
    bench.site.sums = request.param == "summed"
    bench.site.save("E1", "1001")
    bench.site.save("E2")
    return bench


def employee(bench: Bench, device_user_id: str, *, device: str = "other-01", site: str = "elsewhere") -> str | None:
    """Whose a number is on a device of a site, as the topic says."""
    mapping = asyncio.run(bench.topic.load()).mapping(site, device, device_user_id)
    return mapping and mapping.employee


def test_a_row_holds_on_its_device_or_its_site_and_nowhere_else(bench: Bench) -> None:
    bench.site.map("r1", "0042", "E1", site="riyadh")
    bench.site.map("r2", "7", "E2", device="riyadh-01")
    bench.step()
    assert employee(bench, "0042", site="riyadh") == "E1"
    assert employee(bench, "7", device="riyadh-01", site="riyadh") == "E2"
    assert employee(bench, "7", site="riyadh") is None
    assert employee(bench, "0042") is None


def test_a_row_counts_before_the_attendance_device_id_of_somebody_else(bench: Bench) -> None:
    bench.site.map("r1", "1001", "E2", site="riyadh")
    bench.step()
    assert employee(bench, "1001", site="riyadh") == "E2"
    assert employee(bench, "1001") == "E1"


@pytest.mark.parametrize("full", [False, True])
def test_rows_that_are_new_changed_or_removed_are_in_the_map_after_the_next_look(bench: Bench, *, full: bool) -> None:
    seconds = 3600 if full else 60
    bench.site.map("r1", "7", "E1", site="riyadh")
    bench.step()
    bench.site.map("r1", "7", "E2", site="riyadh")
    bench.site.map("r2", "8", "E1", site="riyadh")
    bench.step(seconds)
    assert (employee(bench, "7", site="riyadh"), employee(bench, "8", site="riyadh")) == ("E2", "E1")
    assert bench.site.desk is not None
    del bench.site.desk["r1"]
    bench.step(seconds)
    assert (employee(bench, "7", site="riyadh"), employee(bench, "8", site="riyadh")) == (None, "E1")


def test_a_look_that_finds_nothing_new_writes_nothing_and_costs_one_request(bench: Bench) -> None:
    bench.site.map("r1", "7", "E1", site="riyadh")
    bench.step()
    written, requests = bench.written(), bench.site.desk_requests
    bench.step()
    assert bench.written() == written
    if bench.site.sums:
        assert bench.site.desk_requests == requests + 1


def test_where_the_app_is_not_installed_nothing_is_said_and_it_is_looked_for_by_the_hour(bench: Bench) -> None:
    with structlog.testing.capture_logs() as logs:
        bench.step()
        requests = bench.site.desk_requests
        bench.step()
        assert bench.site.desk_requests == requests
        bench.site.map("r1", "7", "E1", site="riyadh")
        bench.step(seconds=3600)
    assert {entry["log_level"] for entry in logs} == {"info"}
    assert employee(bench, "7", site="riyadh") == "E1"
    assert employee(bench, "1001") == "E1"


def test_an_app_that_is_gone_takes_its_rows_with_it(bench: Bench) -> None:
    bench.site.map("r1", "7", "E1", site="riyadh")
    bench.step()
    bench.site.desk = None
    bench.step(seconds=3600)
    assert employee(bench, "7", site="riyadh") is None
    assert employee(bench, "1001") == "E1"


def test_rows_that_may_not_be_read_stay_and_employees_go_on(bench: Bench) -> None:
    bench.site.map("r1", "7", "E1", site="riyadh")
    bench.step()
    bench.site.desk_failure = PermissionDenied("403 PermissionError")
    bench.site.map("r1", "7", "E2", site="riyadh")
    bench.site.save("E3", "1003")
    with structlog.testing.capture_logs() as logs:
        bench.step()
        bench.step()
        # The next process knows what the topic has.
        bench.restart()
        bench.step()
    assert employee(bench, "7", site="riyadh") == "E1"
    assert employee(bench, "1003") == "E3"
    # Each process says it once.
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["doctype"] for entry in errors] == ["Biometric User Map"] * 2

    bench.site.desk_failure = None
    bench.step()
    assert employee(bench, "7", site="riyadh") == "E2"


def test_while_the_list_fails_nothing_is_removed_and_the_next_look_reads_it(bench: Bench) -> None:
    bench.site.map("r1", "7", "E1", site="riyadh")
    bench.step()
    bench.site.map("r2", "8", "E1", site="riyadh")
    bench.site.desk_failure = ServerError("500 OperationalError")
    bench.site.save("E3", "1003")
    bench.step()
    assert employee(bench, "1003") == "E3"
    assert employee(bench, "7", site="riyadh") == "E1"
    bench.site.desk_failure = None
    bench.step()
    assert employee(bench, "8", site="riyadh") == "E1"


def test_what_kafka_did_not_take_is_written_by_the_next_look(bench: Bench) -> None:
    bench.step()
    bench.site.map("r1", "7", "E1", site="riyadh")
    bench.topic.failure = ServerError("not acknowledged")
    bench.step(seconds=3600)
    bench.topic.failure = None
    bench.step()
    assert employee(bench, "7", site="riyadh") == "E1"


def test_a_row_follows_its_employee_to_another_name(bench: Bench) -> None:
    bench.site.map("r1", "7", "E2", site="riyadh")
    bench.step()
    bench.site.rename("E2", "E9")
    assert bench.site.desk is not None
    # As Frappe does: the link is changed, and no `modified`.
    bench.site.desk["r1"]["employee"] = "E9"
    bench.step()
    assert employee(bench, "7", site="riyadh") == "E9"


def test_a_row_of_somebody_who_is_not_there_is_left_out(bench: Bench) -> None:
    bench.site.map("r1", "7", "nobody", site="riyadh")
    bench.step()
    assert employee(bench, "7", site="riyadh") is None


@pytest.mark.parametrize("wrong", [{"site": None}, {"device": "riyadh-01"}, {"device_user_id": None}, {"modified": ""}])
def test_a_row_that_cannot_be_read_holds_up_no_employee(bench: Bench, wrong: dict[str, Any]) -> None:
    bench.site.map("r1", "7", "E1", site="riyadh")
    bench.step()
    bench.site.map("r2", "8", "E1", site="riyadh")
    assert bench.site.desk is not None
    bench.site.desk["r2"] |= wrong
    bench.site.save("E3", "1003")
    with structlog.testing.capture_logs() as logs:
        bench.step()
    assert [entry["log_level"] for entry in logs if entry["log_level"] != "info"] == ["warning"]
    assert employee(bench, "7", site="riyadh") == "E1"
    assert employee(bench, "1003") == "E3"
