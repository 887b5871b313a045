"""The two clocks of a HeyStar record: a wrong zone is found, however the record comes."""

import asyncio
from collections.abc import Mapping

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from attendance.fleet import Device
from attendance.times import now
from producers.devices.common.bodies import read_json
from producers.devices.contract import Fetch, Head, Page, Parsed, PushRequest, Tools
from producers.devices.hfsecurity.pull import HfSecurityPull
from producers.devices.hfsecurity.push import HfSecurity
from producers.devices.hfsecurity.two_clocks import AS_WANTED, zone_of

INSTANT = "1772427602000"  # 2026-03-02 05:00:02 UTC
RECORD: Mapping[str, object] = {
    "recordId": "114",
    "recordTime": INSTANT,
    "recordTimeStr": "2026-03-02 08:00:02",
    "personSn": "000417",
    "personType": "1",
    "resultFlag": "1",
    "strangerFlag": "0",
}


def device(timezone: str = "Asia/Riyadh") -> Device:
    options = {"api": "cgi"}
    return Device(device_id="GATE-3", site="riyadh", timezone=timezone, host="10.0.0.5", options=options)


@pytest.mark.parametrize(
    "shown", ["2026-03-02 08:00:02", "2026/03/02 08:00:02", "2026-03-02 08:01:02", " 2026-03-02 08:00"]
)
def test_a_wall_clock_in_the_zone_of_the_entry_is_as_wanted(shown: str) -> None:
    assert zone_of({**RECORD, "recordTimeStr": shown}, device()) == AS_WANTED


@pytest.mark.parametrize(
    ("shown", "minutes"),
    [("2026-03-02 13:00:02", "+300"), ("2026-03-02 05:00:02", "-180"), ("2026-03-02 08:01:03", "+1")],
)
def test_a_wall_clock_in_another_zone_differs_by_so_many_minutes(shown: str, minutes: str) -> None:
    found = zone_of({**RECORD, "recordTimeStr": shown}, device())
    assert found == f"differs: its wall clock is {minutes} min from that of Asia/Riyadh"


def test_a_clock_that_is_given_twice_says_nothing_of_the_zone() -> None:
    record = read_json(orjson.dumps(RECORD)[:-1] + b',"recordTime":"1772420000000"}')
    assert zone_of(record, device()) is None


def test_an_hour_that_is_there_twice_is_in_its_zone_both_times() -> None:
    for instant in ("1793511000000", "1793514600000"):  # 01:30 in New York, an hour apart
        record = {"recordTime": instant, "recordTimeStr": "2026-11-01 01:30:00"}
        assert zone_of(record, device("America/New_York")) == AS_WANTED


@pytest.mark.parametrize(
    "fields",
    [
        {"recordTimeStr": ""},
        {"recordTimeStr": None},
        {"recordTimeStr": 7},
        {"recordTimeStr": "yesterday"},
        {"recordTimeStr": "2026-03-02T08:00:02+03:00"},
        {"recordTime": ""},
        {"recordTime": "2026-03-02 08:00:02"},
        {"recordTime": "99999999999999999"},
        {"recordTime": True},
    ],
)
def test_a_record_without_both_clocks_says_nothing(fields: Mapping[str, object]) -> None:
    assert zone_of({**RECORD, **fields}, device()) is None


def pushed(adapter: HfSecurity, **fields: object) -> Parsed:
    request = PushRequest(Head("POST", "/hf/{token}/record", {}, {}, {}), orjson.dumps({**RECORD, **fields}), now())
    return adapter.parse(request, {"GATE-3": device()})


def test_a_push_reports_the_zone_and_keeps_the_instant() -> None:
    adapter = HfSecurity(())
    wrong = pushed(adapter, recordTimeStr="2026-03-02 09:00:02")
    right = pushed(adapter)
    silent = pushed(adapter, recordTimeStr="")
    assert [each.report and each.report.details for each in (wrong, right, silent)] == [
        {"zone": "differs: its wall clock is +60 min from that of Asia/Riyadh"},
        {"zone": AS_WANTED},
        None,
    ]
    assert {event.event_time for each in (wrong, right, silent) for event in each.events} == {
        right.events[0].event_time
    }


def test_a_zone_that_is_another_with_every_request_is_logged_once() -> None:
    adapter = HfSecurity(())
    with capture_logs() as logs:
        for _ in range(100):
            pushed(adapter, recordTimeStr="2026-03-02 09:00:02")
            pushed(adapter)
    assert [each["event"] for each in logs] == ["A terminal's zone is not that of its entry."]


def test_strangers_tell_the_zone_as_well() -> None:
    parsed = pushed(HfSecurity(()), strangerFlag="1", personSn="", recordTimeStr="2026-03-02 05:00:02")
    assert parsed.report is not None
    assert [other.kind for other in parsed.others] == ["stranger"]


def test_a_pull_reports_the_zone_of_the_newest_record() -> None:
    rows = [{**RECORD, "id": 1, "recordTimeStr": "2026-03-02 05:00:02"}, {**RECORD, "id": 2}]

    def handle(request: httpx.Request) -> httpx.Response:
        index = orjson.loads(request.content).get("index")
        return httpx.Response(200, json={"code": "000", "data": rows if index == 1 else []})

    async def work() -> list[Page]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            adapter = HfSecurityPull(Tools(http, lambda _device, _name: "x", ()))
            return [page async for page in adapter.fetch(Fetch(device(), {}, None, None, now()))]

    report = asyncio.run(work())[-1].report
    assert report is not None
    assert report.details["zone"] == AS_WANTED
    rows[1]["recordTimeStr"] = "2026-03-02 09:00:02"
    report = asyncio.run(work())[-1].report
    assert report is not None
    assert str(report.details["zone"]).startswith("differs: its wall clock is +60 min")
