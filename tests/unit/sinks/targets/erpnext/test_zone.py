"""Documents go to a site only while its zone is certain."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from site_zones import RecordedZones
from structlog.testing import capture_logs
from uniqueness_trial import answer_trial

from attendance.errors import DocumentRejected, PermissionDenied, TargetUnavailable, ZoneInDoubt
from attendance.records.checkin import Checkin
from attendance.records.site import SiteZone
from attendance.times import now, to_wall_clock
from sinks.targets.base import Delivered, Result
from sinks.targets.erpnext.target import ErpnextTarget
from sinks.targets.erpnext.zone import LOOK_SECONDS, OwnMemory, ZoneGuard

SITE = "http://erp"


class Site:
    """ERPNext that says one zone, and dates its documents in another."""

    def __init__(self, says: str = "Asia/Riyadh", dates: str = "Asia/Riyadh") -> None:
        self.says: str | Exception = says
        self.dates = dates
        self.rows: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.creation_errors: list[Exception] = []
        self.keeps = False
        self.clock_ahead = timedelta()
        self.away = False
        self.looks = 0

    def call(self, *_: object) -> dict[str, Any]:
        raise DocumentRejected(417, "ValidationError", "App biometric_integration is not installed")

    def logged_user(self) -> str:
        return "api@example.com"

    def has_event_id_field(self) -> bool:
        return True

    def wants_coordinates(self) -> bool:
        return False

    def site_zone(self) -> str:
        self.looks += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def get_list(
        self, doctype: str, fields: Sequence[str], filters: Sequence[tuple[str, str, Any]] = (), *, limit: int = 0
    ) -> list[dict[str, Any]]:
        if doctype == "Shift Type":
            return []
        if doctype == "Employee":
            dates = {"date_of_joining": "2025-01-01", "relieving_date": None, "creation": "2024-12-20 09:00:00"}
            return [{"name": name, "status": "Active", **dates} for name in filters[0][2]]
        if "creation" in fields and self.creation_errors:
            raise self.creation_errors.pop(0)
        rows = list(self.rows.values())
        for field, operator, value in filters:
            rows = [row for row in rows if row[field] in ([value] if operator == "=" else value)]
        return [{field: row[field] for field in fields} for row in rows[: limit or None]]

    def insert(self, document: Mapping[str, Any]) -> str:
        return self.insert_many([document])[0]

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        if self.away:
            raise TargetUnavailable("503")
        answer_trial(documents, unique=True)
        self.requests.append(f"insert {len(documents)}")
        names = []
        for document in documents:
            if any(row["event_id"] == document["event_id"] for row in self.rows.values()):
                raise DocumentRejected(417, "UniqueValidationError", "")
            names.append(f"C{len(self.requests)}-{len(self.rows)}")
            self.rows[names[-1]] = {**document, "name": names[-1], "creation": self.stamp()}
        return names

    def stamp(self) -> str:
        return str(to_wall_clock(now() + self.clock_ahead, self.dates))

    def delete(self, _: str, name: str) -> None:
        if self.keeps:
            raise PermissionDenied("403")
        del self.rows[name]

    def close(self) -> None:
        pass


def checkin(number: int) -> Checkin:
    time = datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(minutes=number)
    return Checkin(f"{number:032x}", f"E{number}", time, "IN", "D1", str(number), "HQ", "Asia/Dubai")


BATCH = [checkin(number) for number in range(10)]


class Process:
    """A sink's target, and what it says of its readiness."""

    def __init__(self, site: Site, zones: Any) -> None:
        self.doubt: str | None = None
        self.seconds = 0.0
        self.target = ErpnextTarget(lambda: site, site=SITE)  # type: ignore[arg-type,return-value]
        self.target._zone = ZoneGuard(SITE, self.target._in_thread, clock=lambda: self.seconds)
        self.target.use_zones(zones, self._report)

    def _report(self, doubt: str | None) -> None:
        self.doubt = doubt

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        try:
            return await self.target.deliver(checkins)
        except ZoneInDoubt as error:
            return [error] * len(checkins)


def run(scene: Callable[[Process], Any], site: Site, zones: Any) -> Process:
    async def opened() -> Process:
        process = Process(site, zones)
        try:
            await process.target.open()
            await scene(process)
        finally:
            await process.target.close()
        return process

    return asyncio.run(opened())


def deliver(site: Site, zones: Any, *calls: Sequence[Checkin]) -> list[list[str]]:
    words: list[list[str]] = []

    async def scene(process: Process) -> None:
        for call in calls:
            results = await process.deliver(call)
            words.append([each.status if isinstance(each, Delivered) else type(each).__name__ for each in results])

    run(scene, site, zones)
    return words


def test_one_document_proves_the_zone_and_then_the_rest_flows() -> None:
    site, zones = Site(), OwnMemory()
    assert deliver(site, zones, BATCH) == [["created"] * 10]
    assert site.requests == ["insert 1", "insert 9"]
    proven = zones.get(SITE)
    assert proven is not None
    assert (proven.zone, proven.state, proven.document) == ("Asia/Riyadh", "proven", "C1-0")


def test_another_process_does_not_prove_again_what_is_recorded() -> None:
    site, zones = Site(), OwnMemory()
    deliver(site, zones, BATCH[:1])
    deliver(site, zones, BATCH[1:])
    assert site.requests == ["insert 1", "insert 9"]


def test_calls_at_the_same_time_send_one_document_between_them() -> None:
    site, zones = Site(), OwnMemory()

    async def scene(process: Process) -> None:
        await asyncio.gather(*(process.deliver(BATCH[first : first + 5]) for first in (0, 5)))

    run(scene, site, zones)
    assert sorted(site.requests) == ["insert 1", "insert 4", "insert 5"]


def test_what_is_there_already_proves_nothing() -> None:
    site, zones = Site(), OwnMemory()
    site.insert_many([{"event_id": each.event_id, "employee": each.employee} for each in BATCH[:2]])
    site.requests.clear()
    assert deliver(site, zones, BATCH[:2]) == [["already_there"] * 2]
    assert zones.get(SITE) is None
    assert deliver(site, zones, BATCH[2:4]) == [["created"] * 2]
    assert zones.get(SITE) is not None


def test_a_document_that_is_dated_otherwise_is_taken_back_and_nothing_more_is_sent_by_anybody() -> None:
    site, zones = Site(says="Asia/Kolkata", dates="Asia/Riyadh"), OwnMemory()
    assert deliver(site, zones, BATCH, BATCH) == [["ZoneInDoubt"] * 10] * 2
    assert (site.rows, site.requests) == ({}, ["insert 1"])
    with pytest.raises(ZoneInDoubt, match=r"Asia/Kolkata \(UTC\+05:30\).*UTC\+03:00"):
        deliver(site, zones, BATCH)
    assert site.requests == ["insert 1"]


def test_a_document_that_cannot_be_taken_back_is_no_reason_to_send_more() -> None:
    site, zones = Site(says="Asia/Kolkata"), OwnMemory()
    site.keeps = True
    assert deliver(site, zones, BATCH) == [["ZoneInDoubt"] * 10]
    assert len(site.rows) == 1


@pytest.mark.parametrize("hidden", [PermissionDenied("403"), DocumentRejected(417, "DataError", "creation")])
def test_a_creation_that_cannot_be_read_is_not_guessed(hidden: Exception) -> None:
    site, zones = Site(), OwnMemory()
    site.creation_errors = [hidden]
    assert deliver(site, zones, BATCH) == [["ZoneInDoubt"] * 10]
    with pytest.raises(ZoneInDoubt, match="cannot be read"):
        deliver(site, zones, BATCH)


def test_a_site_that_goes_away_before_it_shows_the_creation_is_asked_again() -> None:
    site, zones = Site(), OwnMemory()
    site.creation_errors = [TargetUnavailable("503")]
    first, second = deliver(site, zones, BATCH, BATCH)
    assert first == ["TargetUnavailable"] + ["NoneType"] * 9
    assert second == ["already_there"] + ["created"] * 9
    assert zones.get(SITE) is not None


def test_a_site_that_does_not_say_its_zone_gets_nothing_until_a_person_decides() -> None:
    site, zones = Site(), OwnMemory()
    site.says = ZoneInDoubt("a page of a proxy")
    with pytest.raises(ZoneInDoubt, match=r"a page of a proxy.*punchstream erpnext zone --accept"):
        deliver(site, zones, BATCH)
    asyncio.run(zones.put(SiteZone(SITE, "Asia/Riyadh", "accepted", now(), "fatima")))
    assert deliver(site, zones, BATCH) == [["created"] * 10]
    assert site.rows["C1-0"]["time"] == "2026-01-01 08:00:00"


def test_a_zone_that_changes_while_the_sink_runs_stops_it_within_a_minute_until_it_is_accepted() -> None:
    site, zones = Site(), OwnMemory()

    async def scene(process: Process) -> None:
        await process.deliver(BATCH[:2])
        site.says = site.dates = "Asia/Tokyo"
        process.seconds += LOOK_SECONDS
        [result] = await process.deliver(BATCH[2:3])
        assert isinstance(result, ZoneInDoubt)
        assert process.doubt is not None
        assert "was Asia/Riyadh" in process.doubt
        await zones.put(SiteZone(SITE, "Asia/Tokyo", "accepted", now(), "fatima", "Asia/Tokyo"))
        await process.deliver(BATCH[2:3])
        assert process.doubt is None

    run(scene, site, zones)
    assert [row["time"] for row in site.rows.values()][1:] == ["2026-01-01 08:01:00", "2026-01-01 14:02:00"]


def test_a_site_that_was_away_is_asked_for_its_zone_before_anything_else_is_sent() -> None:
    site, zones = Site(), RecordedZones("Asia/Riyadh", "proven")

    async def scene(process: Process) -> None:
        site.away = True
        assert isinstance((await process.deliver(BATCH[:1]))[0], TargetUnavailable)
        site.away, site.says = False, "Asia/Tokyo"
        with capture_logs() as logs:
            assert isinstance((await process.deliver(BATCH[:1]))[0], ZoneInDoubt)
        assert [(entry["before"], entry["now"]) for entry in logs] == [("Asia/Riyadh", "Asia/Tokyo")]

    run(scene, site, zones)
    assert site.rows == {}


def test_an_idle_sink_notices_it_as_well_and_does_not_ask_more_often() -> None:
    site, zones = Site(), RecordedZones("Asia/Riyadh", "proven")

    async def scene(process: Process) -> None:
        site.says = "Asia/Tokyo"
        looks = site.looks
        await process.target.look_at_zone()
        assert site.looks == looks
        process.seconds += LOOK_SECONDS
        await process.target.look_at_zone()
        assert process.doubt is not None

    run(scene, site, zones)


def test_calls_at_the_same_time_ask_for_the_zone_once() -> None:
    site, zones = Site(), OwnMemory()

    async def scene(process: Process) -> None:
        await process.deliver(BATCH)
        before, process.seconds = site.looks, 60.0
        await asyncio.gather(*(process.deliver([each]) for each in BATCH))
        assert site.looks == before + 1

    run(scene, site, zones)


def test_a_site_that_says_the_old_zone_and_dates_in_another_is_found_out_by_its_newest_document() -> None:
    site, zones = Site(), RecordedZones("Asia/Riyadh", "proven")

    async def scene(process: Process) -> None:
        site.dates = "Asia/Tokyo"
        assert isinstance((await process.deliver(BATCH[:1]))[0], Delivered)
        process.seconds += LOOK_SECONDS
        assert isinstance((await process.deliver(BATCH[1:2]))[0], ZoneInDoubt)

    run(scene, site, zones)
    assert zones.put_ones[-1].state == "in_doubt"


@pytest.mark.parametrize(("dates", "words"), [("Asia/Riyadh", ["created"] * 10), ("Asia/Dubai", ["ZoneInDoubt"] * 10)])
@pytest.mark.parametrize("ahead", [timedelta(minutes=-60), timedelta(minutes=20), timedelta(hours=1)])
def test_clocks_that_differ_are_no_other_zone_and_hide_none(ahead: timedelta, dates: str, words: list[str]) -> None:
    site = Site(dates=dates)
    site.clock_ahead = ahead
    assert deliver(site, OwnMemory(), BATCH) == [words]


def test_a_document_that_got_the_name_of_ours_proves_nothing_and_is_not_touched() -> None:
    site, zones = Site(), OwnMemory()
    site.creation_errors = [TargetUnavailable("503")]

    async def scene(process: Process) -> None:
        await process.deliver(BATCH[:1])
        [name] = site.rows
        site.rows[name] |= {"employee": "E99", "creation": "2026-01-01 00:00:00"}
        process.target._zone._utc = lambda: now() + timedelta(hours=1)
        assert isinstance((await process.deliver(BATCH[1:2]))[0], ZoneInDoubt)

    run(scene, site, zones)
    assert [row["employee"] for row in site.rows.values()] == ["E99"]


def test_the_newest_document_is_looked_at_once_for_its_name_may_become_that_of_another() -> None:
    site, zones = Site(), RecordedZones("Asia/Riyadh", "proven")

    async def scene(process: Process) -> None:
        await process.deliver(BATCH[:1])
        process.seconds += LOOK_SECONDS
        await process.target.look_at_zone()
        for row in site.rows.values():
            row["creation"] = "2026-01-01 00:00:00"
        process.seconds += LOOK_SECONDS
        await process.target.look_at_zone()
        assert process.doubt is None

    run(scene, site, zones)


def test_what_a_person_accepted_is_not_doubted_for_a_document() -> None:
    site, zones = Site(dates="Asia/Tokyo"), RecordedZones("Asia/Riyadh")

    async def scene(process: Process) -> None:
        for each in BATCH[:3]:
            process.seconds += LOOK_SECONDS
            assert isinstance((await process.deliver([each]))[0], Delivered)

    run(scene, site, zones)


def test_what_another_process_finds_out_holds_here_at_once() -> None:
    site, zones = Site(), RecordedZones("Asia/Riyadh", "proven")

    async def scene(process: Process) -> None:
        await zones.put(SiteZone(SITE, "Asia/Riyadh", "in_doubt", now(), "another", why="its clock"))
        assert isinstance((await process.deliver(BATCH[:1]))[0], ZoneInDoubt)

    run(scene, site, zones)
    assert site.rows == {}
