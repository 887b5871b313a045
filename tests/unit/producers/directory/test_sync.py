import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
from directory_bench import START, TOPIC, Bench, FakeSite
from fake_guard import standing
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import AccessDenied, KafkaUnavailable, TargetUnavailable
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.user_map import EVERYWHERE, Employee, ErasedEmployee, UserMapping
from attendance.settings import DirectorySettings, ErpnextSettings
from memory_broker import install
from producers.directory import sync
from producers.directory.employees import EmployeeReader
from producers.directory.sync import RemovalRefused
from producers.directory.user_map import read_user_map
from virtual_time import run_in_virtual_time


@pytest.fixture(params=["summed", "counted"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """On an ERPNext that sums checksums up, and on one that only counts."""
    bench = Bench()
    bench.site.sums = request.param == "summed"
    return bench


def test_every_employee_is_written_whatever_the_status(bench: Bench) -> None:
    bench.site.save("E1", "1", company="Acme", branch="Riyadh", date_of_joining="2024-05-01")
    bench.site.save("E2", "2", "Left", relieving_date="2026-01-31")
    bench.site.save("E3", None, "Suspended")
    bench.step()
    assert bench.users() == {"1": "E1", "2": "E2"}
    assert bench.employee("E1") == Employee(
        "E1", "Active", None, "Acme", "Riyadh", date(2024, 5, 1), "2026-03-01 08:00:01"
    )
    assert bench.employee("E2") == Employee("E2", "Left", date(2026, 1, 31), created="2026-03-01 08:00:02")
    assert bench.employee("E3") == Employee("E3", "Suspended", created="2026-03-01 08:00:03")


def test_who_was_erased_stays_out_until_readmitted_and_somebody_else_of_the_name_comes_in(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "2")
    bench.step()
    known = bench.employee("E1")
    assert known is not None
    erased = ErasedEmployee.of(known, datetime.now(UTC), "fatima")
    gone = [OutRecord(TOPIC, key, None) for key in (known.key, UserMapping(EVERYWHERE, "1", "E1", "erpnext").key)]
    bench.topic.records += [OutRecord(TOPIC, erased.key, erased.encode()), *gone]
    bench.restart()
    bench.step()
    assert (bench.users(), bench.employee("E1")) == ({"2": "E2"}, None)
    bench.site.rows["E1"]["creation"] = "2026-03-02 08:00:00"
    bench.site.save("E1", "1")
    bench.step()
    assert bench.users() == {"1": "E1", "2": "E2"}


def test_a_look_that_finds_nothing_new_writes_nothing(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    written = bench.written()
    bench.step()
    bench.step(seconds=3600)
    bench.restart()
    bench.step()
    assert bench.written() == written


def test_a_change_is_written_at_the_next_look(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "2")
    bench.step()
    bench.site.save("E1", "1", "Left", relieving_date="2026-02-28")
    bench.site.save("E2", "22")
    bench.site.save("E3", "3")
    bench.step()
    assert bench.users() == {"1": "E1", "22": "E2", "3": "E3"}
    left = bench.employee("E1")
    assert left is not None
    assert (left.status, left.relieving_date) == ("Left", date(2026, 2, 28))


def test_a_change_that_was_committed_late_is_still_seen(bench: Bench) -> None:
    bench.site.save("E1", "1")
    begun = bench.site.time
    bench.site.save("E2", "2")
    bench.step()
    bench.site.save("E3", "3", modified=str(begun + timedelta(milliseconds=500)))
    bench.step()
    assert bench.users() == {"1": "E1", "2": "E2", "3": "E3"}


def test_an_emptied_device_id_removes_the_mapping_and_keeps_the_employee(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    bench.site.save("E1", None)
    bench.step()
    assert bench.users() == {}
    assert bench.employee("E1") is not None


def test_a_deleted_employee_is_gone_from_the_map_at_the_next_look(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "2")
    bench.step()
    del bench.site.rows["E1"]
    bench.step()
    assert bench.users() == {"2": "E2"}
    assert bench.employee("E1") is None


def test_a_renamed_employee_has_the_new_name_at_the_next_look(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "2")
    bench.step()
    bench.site.rename("E1", "E9")
    bench.step()
    assert bench.users() == {"1": "E9", "2": "E2"}
    assert bench.employee("E1") is None


def test_an_employee_who_is_merged_into_another_is_gone_at_the_next_look(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "2")
    bench.step()
    del bench.site.rows["E1"]
    bench.site.save("E2", "2")
    bench.step()
    assert bench.users() == {"2": "E2"}


def test_a_number_that_is_used_again_is_another_person_at_the_next_look(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    first = bench.employee("E1")
    del bench.site.rows["E1"]
    bench.site.save("E1", "9")
    bench.step()
    second = bench.employee("E1")
    assert first is not None
    assert second is not None
    assert second.created != first.created
    assert bench.users() == {"9": "E1"}


def test_one_who_goes_while_another_comes_is_noticed(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "2")
    bench.step()
    del bench.site.rows["E1"]
    bench.site.save("E3", "3")
    bench.step()
    assert bench.users() == {"2": "E2", "3": "E3"}


def test_while_nothing_changes_a_look_costs_two_requests_at_most_also_after_a_mass_import(bench: Bench) -> None:
    bench.site.save("E0", "0")
    bench.step()
    for number in range(1, 200):
        bench.site.save(f"E{number}", str(number), modified=str(bench.site.wall_clock()))
    bench.step(seconds=600)
    bench.step(seconds=600)
    requests = bench.site.requests
    for _ in range(5):
        bench.step()
    assert bench.site.requests == requests + (5 if bench.site.sums else 10)


def test_one_who_comes_between_two_requests_causes_no_full_comparison(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    requests = bench.site.requests

    def come() -> None:
        if bench.site.requests == requests + 1:
            bench.site.save("E2", "2")

    bench.site.save("E1", "1")
    bench.site.meanwhile = come
    bench.step()
    assert bench.users() == {"1": "E1", "2": "E2"}
    assert bench.site.requests <= requests + 4


def test_a_count_that_is_never_that_of_the_list_causes_no_full_comparison_each_time(bench: Bench) -> None:
    for number in range(5):
        bench.site.save(f"E{number}", str(number))
    counted, summed = bench.site.count, bench.site.summary
    bench.site.count = lambda doctype: counted(doctype) + 7  # type: ignore[method-assign]
    bench.site.summary = lambda: {**summed(), "names": 7}  # type: ignore[method-assign]
    bench.step()
    bench.step(seconds=600)
    requests = bench.site.requests
    bench.step()
    assert bench.site.requests <= requests + 2
    del bench.site.rows["E1"]
    bench.step()
    assert "1" not in bench.users()


def test_a_site_that_does_not_count_is_said_once_and_compared_by_the_hour(bench: Bench) -> None:
    bench.site.sums = bench.site.counts = False
    bench.site.save("E1", "1")
    bench.site.save("E2", "2")
    with structlog.testing.capture_logs() as logs:
        bench.step()
        del bench.site.rows["E1"]
        bench.step()
        assert bench.users() == {"1": "E1", "2": "E2"}
        bench.step(seconds=3600)
    assert bench.users() == {"2": "E2"}
    assert [entry["log_level"] for entry in logs].count("warning") == 1


def test_employees_who_are_hidden_from_us_are_a_removal_that_is_refused(bench: Bench) -> None:
    for number in range(20):
        bench.site.save(f"E{number}", str(number))
    bench.step()
    written = bench.written()
    bench.site.hidden = set(list(bench.site.rows)[:15])
    bench.step()
    assert bench.written() == written
    assert bench.counted("removal_refused")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Riyadh", "America/Los_Angeles", None])
def test_employees_from_the_future_hide_nobody_neither_now_nor_when_their_time_comes(
    bench: Bench, zone: str | None
) -> None:
    bench.site.zone = None if zone is None else ZoneInfo(zone)
    for number in range(20):
        bench.site.save(f"F{number}", f"F{number}", modified=str(bench.site.wall_clock() + timedelta(hours=2)))
    bench.step()
    for number in range(20):
        bench.site.save(f"E{number}", str(number))
        bench.step(seconds=600)
        assert bench.users().get(str(number)) == f"E{number}"
    bench.site.save("F3", "new")
    bench.step()
    assert "new" in bench.users()


def test_many_employees_from_the_future_cost_no_request(bench: Bench) -> None:
    later = str(bench.site.wall_clock() + timedelta(days=300))
    for number in range(60):
        bench.site.save(f"F{number}", f"F{number}", modified=later)
    bench.step()
    requests = bench.site.requests
    bench.step(seconds=600)
    bench.step()
    assert bench.site.requests <= requests + 4


@pytest.mark.parametrize("start", ["2026-10-25 00:30:00", "2026-03-29 00:30:00"])
def test_a_change_while_the_clocks_are_changed_is_seen_at_the_next_look(bench: Bench, start: str) -> None:
    bench.site.zone = ZoneInfo("Europe/Berlin")
    bench.site.time = datetime.fromisoformat(start)
    for number in range(12):
        bench.site.save(f"E{number}", str(number))
        bench.step(seconds=580)
        assert bench.users().get(str(number)) == f"E{number}"


@pytest.mark.parametrize("minutes", [-30, -4, 4, 30])
def test_a_clock_that_is_wrong_by_minutes_hides_no_change_for_longer_than_that(bench: Bench, minutes: int) -> None:
    bench.site.save("E0", "0")
    ours = bench.site.wall_clock
    bench.site.wall_clock = lambda: ours() + timedelta(minutes=minutes)  # type: ignore[method-assign]
    bench.step()
    for number in range(40):
        bench.site.save(f"E{number}", str(number))
        bench.step(seconds=100)
    bench.step(seconds=max(minutes, 0) * 60)
    bench.step()
    assert len(bench.users()) == 40


def test_a_device_id_that_moves_on_from_a_deleted_employee_moves_at_once(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    del bench.site.rows["E1"]
    bench.site.save("E2", "1")
    bench.step()
    assert bench.users() == {"1": "E2"}


def test_what_others_did_to_the_topic_is_repaired_by_a_full_comparison(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    mapping = UserMapping(EVERYWHERE, "1", "E1", "erpnext")
    bench.topic.records.append(OutRecord(TOPIC, mapping.key, None))
    bench.step(seconds=3600)
    assert bench.users() == {"1": "E1"}


def test_a_csv_mapping_is_left_alone_and_gives_way_to_erpnext_when_it_goes(bench: Bench) -> None:
    mine = UserMapping(EVERYWHERE, "1", "E9", "csv")
    bench.topic.records.append(OutRecord(TOPIC, mine.key, mine.encode()))
    bench.site.save("E1", "1")
    bench.step()
    assert bench.users() == {"1": "E9"}
    bench.topic.records.append(OutRecord(TOPIC, mine.key, None))
    assert bench.users() == {"1": "E1"}


def test_an_employee_that_changes_while_pages_are_read_is_written_as_it_became(bench: Bench) -> None:
    for number in range(1, 8):
        bench.site.save(f"E{number}", str(number))

    def move() -> None:
        if bench.site.requests == 3:
            bench.site.save("E1", None)
            bench.site.save("E9", "1")

    bench.site.meanwhile = move
    bench.step()
    assert bench.users() == {"1": "E9"} | {str(number): f"E{number}" for number in range(2, 8)}


def test_a_change_that_was_committed_late_while_pages_are_read_is_seen_too(bench: Bench) -> None:
    for number in range(1, 8):
        bench.site.save(f"E{number}", str(number))
    begun = bench.site.time - timedelta(seconds=1)

    def commit() -> None:
        if bench.site.requests == 3:
            bench.site.save("E1", "11", modified=str(begun))

    bench.site.meanwhile = commit
    bench.step()
    assert "11" in bench.users()


def test_a_change_while_changes_are_read_hides_no_other(bench: Bench) -> None:
    for number in range(1, 8):
        bench.site.save(f"E{number}")

    def save_again() -> None:
        if bench.site.requests == 1:
            bench.site.save("E1")

    bench.site.meanwhile = save_again
    reader = EmployeeReader(bench.site, 3)  # type: ignore[arg-type]
    now = START.replace(tzinfo=UTC)
    assert set(asyncio.run(reader.changed({}, now, now))) == set(bench.site.rows)


def test_a_deletion_while_pages_are_read_makes_nobody_else_vanish(bench: Bench) -> None:
    for number in range(1, 10):
        bench.site.save(f"E{number}", str(number), modified=str(START))

    def delete() -> None:
        bench.site.rows.pop("E1", None)

    bench.site.meanwhile = delete
    bench.step()
    assert set(bench.users()) >= {str(number) for number in range(2, 10)}


@given(
    tens=st.lists(st.integers(0, 4), max_size=25),
    page=st.integers(1, 6),
    since=st.integers(0, 5),
)
def test_no_change_is_missed_at_the_edge_of_a_page(tens: list[int], page: int, since: int) -> None:
    site = FakeSite()
    for number, ten in enumerate(tens):
        site.save(f"E{number}", modified=str(START + timedelta(minutes=10 * ten)))
    reader = EmployeeReader(site, page, lambda: ZoneInfo("UTC"))  # type: ignore[arg-type]
    begin = START.replace(tzinfo=UTC)
    last, now = begin + timedelta(minutes=10 * since), begin + timedelta(minutes=30)
    found = asyncio.run(reader.changed({}, last, now))
    assert set(found) == {f"E{number}" for number, ten in enumerate(tens) if since <= ten <= 3}
    assert set(asyncio.run(reader.everything())) == set(site.rows)


def test_a_device_id_of_two_employees_goes_to_the_active_one(bench: Bench) -> None:
    bench.site.save("E1", "1", "Left", relieving_date="2025-12-31")
    bench.site.save("E2", "1")
    with structlog.testing.capture_logs() as logs:
        bench.step()
        bench.step(seconds=3600)
    assert bench.users() == {"1": "E2"}
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [(entry["taken"], entry["others"]) for entry in warnings] == [("E2", ["E1"])]


def test_an_edit_that_changes_nothing_else_does_not_move_a_device_id(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "1")
    bench.step()
    written = bench.written()
    for name in ("E1", "E2", "E1"):
        bench.site.save(name, "1")
        bench.step()
    assert bench.users() == {"1": "E1"}
    assert bench.written() == written


def test_two_known_holders_of_one_device_id_do_not_cause_full_comparisons(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.site.save("E2", "1")
    bench.step()
    requests = bench.site.requests
    bench.site.save("E2", "1", branch="Jeddah")
    bench.step()
    assert bench.site.requests == requests + 2


def test_a_space_around_a_device_id_is_no_part_of_it(bench: Bench) -> None:
    bench.site.save("E1", " 007 ")
    bench.site.save("E2", "  ")
    bench.step()
    assert bench.users() == {"007": "E1"}


def test_an_empty_answer_does_not_empty_the_map(bench: Bench) -> None:
    for number in range(20):
        bench.site.save(f"E{number}", str(number))
    bench.step()
    written = bench.written()
    bench.site.rows.clear()
    with structlog.testing.capture_logs() as logs:
        assert bench.step(seconds=3600) > 60
        bench.restart()
        bench.step()
    assert bench.written() == written
    assert bench.counted("removal_refused")
    refused = "Refused to remove a large part of the user map; keeping the previous one."
    assert [(entry["event"], entry["percent"]) for entry in logs] == [(refused, 100)] * 2
    assert "DIRECTORY_MAX_REMOVED" in logs[0]["error"]


def test_device_ids_that_all_vanish_at_once_are_refused_too(bench: Bench) -> None:
    for number in range(20):
        bench.site.save(f"E{number}", str(number))
    bench.step()
    for number in range(20):
        bench.site.save(f"E{number}", None)
    bench.step()
    assert len(bench.users()) == 20


def test_a_great_removal_happens_when_it_is_forced_and_only_once(bench: Bench) -> None:
    for number in range(20):
        bench.site.save(f"E{number}", str(number))
    bench.step()
    bench.site.rows.clear()
    for number in range(100, 120):
        bench.site.save(f"E{number}", str(number))
    bench.restart(force=True)
    bench.step()
    assert set(bench.users()) == {str(number) for number in range(100, 120)}
    bench.site.rows.clear()
    bench.step(seconds=3600)
    assert len(bench.users()) == 20


def test_a_small_site_may_lose_half_of_its_people(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    del bench.site.rows["E1"]
    bench.step(seconds=3600)
    assert bench.users() == {}


def test_while_erpnext_is_away_the_map_stays_and_looks_go_on(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    bench.site.failure = TargetUnavailable("503 SessionStopped")
    pauses = [bench.step() for _ in range(2000)]
    assert 0 <= min(pauses) <= max(pauses) <= 60
    assert bench.users() == {"1": "E1"}
    bench.site.failure = None
    bench.site.save("E2", "2")
    assert bench.step() == 60
    assert bench.users() == {"1": "E1", "2": "E2"}


def test_erpnext_names_the_pause_when_it_asks_for_fewer_requests(bench: Bench) -> None:
    bench.site.failure = TargetUnavailable("429 TooManyRequestsError", retry_after=300)
    assert bench.step() == 300


def test_refused_credentials_are_an_error_and_are_tried_again_slowly(bench: Bench) -> None:
    bench.site.failure = AccessDenied("401 AuthenticationError")
    with structlog.testing.capture_logs() as logs:
        assert bench.step() == 300
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert bench.counted("refused")
    bench.site.failure = None
    bench.site.save("E1", "1")
    bench.step()
    assert bench.users() == {"1": "E1"}


@pytest.mark.parametrize(
    "wrong", [{"modified": None}, {"relieving_date": "soon"}, {"attendance_device_id": 7}, {"modified": "yesterday"}]
)
def test_an_employee_that_cannot_be_read_stops_the_look_and_not_the_stage(bench: Bench, wrong: dict[str, Any]) -> None:
    bench.site.save("E1", "1")
    bench.step()
    bench.site.get_list = lambda *_, **__: [bench.site.rows["E1"] | wrong]  # type: ignore[method-assign]
    bench.step(seconds=3600)
    assert bench.counted("unavailable")
    assert bench.users() == {"1": "E1"}


def test_what_kafka_did_not_acknowledge_is_written_by_the_next_look(bench: Bench) -> None:
    bench.site.save("E1", "1")
    bench.step()
    bench.site.save("E2", "2")
    bench.topic.failure = KafkaUnavailable("no acknowledgement within 10 s")
    bench.step()
    bench.topic.failure = None
    bench.step()
    assert bench.users() == {"1": "E1", "2": "E2"}


def test_a_removal_that_is_refused_writes_nothing_at_all(bench: Bench) -> None:
    for number in range(20):
        bench.site.save(f"E{number}", str(number))
    bench.step()
    written = bench.written()
    bench.site.rows.clear()
    bench.site.save("X1", "1")
    with pytest.raises(RemovalRefused):
        asyncio.run(bench.directory.compare())
    assert bench.written() == written


def test_the_process_writes_the_map_and_ends_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = install(monkeypatch)[1]
    stop = asyncio.Event()

    class StopsOnceSynced(Metrics):
        def gauge(self, name: str, value: float, **labels: str) -> None:
            super().gauge(name, value, **labels)
            if name == "punchstream_directory_synced_timestamp_seconds":
                stop.set()

    class ClosingSite(FakeSite):
        closed = False

        def close(self) -> None:
            self.closed = True

    site = ClosingSite()
    site.save("E1", "1")
    monkeypatch.setattr(sync, "ErpnextClient", lambda _: site)
    erpnext = ErpnextSettings.load(url="http://site.invalid", api_key="key", api_secret="secret")
    asyncio.run(sync.run(kafka, erpnext, DirectorySettings(), StopsOnceSynced(), stop))
    assert asyncio.run(read_user_map(kafka)).employee("E1") == Employee("E1", "Active", created="2026-03-01 08:00:01")
    assert site.closed


def test_while_a_guard_stands_erpnext_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    guard, guards = standing(bench.metrics)
    looks: list[float] = []

    async def look() -> float:
        looks.append(asyncio.get_running_loop().time())
        return 60

    async def story() -> None:
        await guards.ask()
        keeping = asyncio.create_task(bench.directory.keep(guards))
        await asyncio.sleep(3600)
        assert looks == []
        guard.answer = None
        await guards.ask()
        await asyncio.sleep(90)
        keeping.cancel()

    monkeypatch.setattr(bench.directory, "run_once", look)
    run_in_virtual_time(story())
    assert looks == pytest.approx([3600, 3660])
