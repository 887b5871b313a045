"""Employees change in ERPNext while their check-ins are on the way: nobody is paid for them who should not be."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from attendance.erpnext import ErpnextClient
from attendance.errors import Reason
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import ErpnextSettings, KafkaSettings, SinkSettings
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from operations.site.setup import EVENT_ID
from producers.directory.employees import FIELDS, read_person
from sandbox.erpnext.server import ErpnextStandIn
from sinks.delivery.deliverer import SinkTimings
from sinks.delivery.runner import run
from sinks.targets.erpnext.target import ErpnextTarget
from stream_process import Stream, punch

pytestmark = pytest.mark.broker

USERS = ("1", "2", "3", "4", "5")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path_factory.mktemp("erpnext") / "stand-in.log") as stand_in:
        yield stand_in


class Site:
    """ERPNext with an employee for each user, and a directory that hears of changes only when it is told to look."""

    def __init__(self, server: ErpnextStandIn, stream: Stream) -> None:
        self.server = server
        self.stream = stream
        self.settings = ErpnextSettings(
            url=server.url, api_key=server.api_key, api_secret=server.api_secret, timeout=5, _env_file=None
        )
        server.reset()
        server.employees([{"name": f"E{user}", "date_of_joining": "2026-01-01"} for user in USERS])
        self.client = ErpnextClient(self.settings)
        self.client.insert(EVENT_ID)

    def look(self, **users: str) -> None:
        """The directory tells the stream of all employees, and of the users (`u1`) that are theirs now."""
        people = [read_person(row).employee for row in self.client.get_list("Employee", FIELDS)]
        self.stream.know(*people, *(UserMapping("*", user[1:], name, "erpnext") for user, name in users.items()))

    def gone(self, name: str) -> None:
        self.stream.send("user_map", (Employee(name, "?").key, None))

    @contextmanager
    def sink(self) -> Iterator[None]:
        """A sink, in a thread of its own, until it is stopped."""
        settings = SinkSettings(batch=20, retry_max=0.5, max_in_flight=50, _env_file=None)
        timings = SinkTimings(recheck=0.5, unknown=0.5, commit=0.2, stop=10)
        target = ErpnextTarget(lambda: ErpnextClient(self.settings), settings.concurrency, settings.batch)
        loop, stop = asyncio.new_event_loop(), asyncio.Event()
        work = run(self.stream.kafka, settings, target, Metrics(), stop, timings=timings)
        thread = threading.Thread(target=lambda: loop.run_until_complete(work))
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    def stored(self) -> list[tuple[str, str]]:
        return sorted((row["event_id"], row["employee"]) for row in self.server.checkins())

    def waiting(self) -> Counter[tuple[str, Reason]]:
        return Counter((each.event.device_user_id, each.reason) for each in self.stream.waiting())

    def audited(self) -> Report:
        return asyncio.run(audit(KafkaLog(self.stream.kafka, "audit")))


@pytest.fixture
def site(kafka: KafkaSettings, server: ErpnextStandIn, tmp_path: Path) -> Iterator[Site]:
    stream = Stream(kafka, tmp_path)
    yield Site(server, stream)
    stream.kill_all()


def of(employees: dict[str, str], events: list[RawEvent]) -> list[tuple[str, str]]:
    return sorted((event.event_id, employees[event.device_user_id]) for event in events)


def test_renamed_merged_deleted_and_given_away_numbers_get_nothing_and_all_flows_when_the_map_knows(site: Site) -> None:
    site.look(**{f"u{user}": f"E{user}" for user in USERS})
    events = [punch(n, user) for n, user in enumerate(USERS * 4)]
    site.stream.start()
    site.stream.punches(*events)
    site.stream.until(lambda: len(site.stream.checkins()) == 20)
    site.server.rename_employee("E2", "E2-NEW")
    site.server.rename_employee("E3", "E1", merge=True)
    for name in ("E4", "E5"):
        site.client.delete("Employee", name)
    site.server.employees([{"name": "E5", "date_of_joining": "2026-03-10"}, {"name": "E6"}, {"name": "E7"}])

    with site.sink():
        site.stream.until(lambda: len(site.stream.waiting()) == 16)
        assert site.stored() == of({"1": "E1"}, events[::5])
        assert site.waiting() == {(user, Reason.UNKNOWN_EMPLOYEE): 4 for user in "2345"}
        report = site.audited()
        assert (report.delivered, report.waiting, report.balanced) == (4, 16, True)

        site.stream.punches(events[1])  # sent again, it is the duplicate of a punch that waits
        site.look(u2="E2-NEW", u3="E1", u4="E4", u5="E5")
        for name in ("E2", "E3", "E4"):
            site.gone(name)
        site.stream.until(lambda: len(site.stored()) == 12)
        site.stream.until(
            lambda: set(site.waiting()) == {("4", Reason.UNKNOWN_EMPLOYEE), ("5", Reason.UNKNOWN_EMPLOYEE)}
        )
        assert site.stored() == of(
            {"1": "E1", "2": "E2-NEW", "3": "E1"}, [e for e in events if e.device_user_id in "123"]
        )

        site.look(u4="E6", u5="E7")
        site.stream.until(lambda: len(site.stored()) == 20)
        site.stream.until(lambda: site.stream.waiting() == [])
    whose = {"1": "E1", "2": "E2-NEW", "3": "E1", "4": "E6", "5": "E7"}
    assert site.stored() == of(whose, events)
    assert site.stream.dead_letters() == []
    report = site.audited()
    assert (report.raw, report.delivered, report.dropped, report.balanced) == (21, 20, 1, True)


def test_what_is_refused_for_want_of_coordinates_waits_and_flows_with_those_that_the_fleet_gets(
    site: Site,
) -> None:
    site.look(u1="E1", u2="E2")
    site.server.geolocation(wanted=True)
    site.stream.fleet({"device_id": "D2", "latitude": 24.7, "longitude": 46.7})
    events = [punch(1, "1"), replace(punch(2, "2"), device_id="D2")]
    site.stream.start()
    site.stream.punches(*events)
    with site.sink():
        site.stream.until(lambda: site.stored() == of({"2": "E2"}, events[1:]))
        site.stream.until(lambda: site.waiting() == {("1", Reason.COORDINATES_REFUSED): 1})
        site.stream.fleet(*({"device_id": name, "latitude": 24.7, "longitude": 46.7} for name in ("D1", "D2")))
        # News of the employee, rather than the minute after which it is tried again.
        for day in range(2, 28):
            site.client.update("Employee", "E1", {"date_of_joining": f"2026-01-{day:02}"})
            site.look()
            time.sleep(1)
            if len(site.stored()) == 2:
                break
        site.stream.until(lambda: site.stream.waiting() == [])
    assert site.stored() == of({"1": "E1", "2": "E2"}, events)
    assert site.stream.dead_letters() == []
