import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import DeviceRefused, DeviceUnavailable, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.times import from_wall_clock
from producers.devices.contract import Cursor, Fetch, Head, Page, PushRequest, Tools
from producers.devices.hfsecurity.lan_api import LENGTH, MAX_ANSWER, addresses_in, unfolded
from producers.devices.hfsecurity.pull import LOOK_AFTER, HfSecurityPull
from producers.devices.hfsecurity.push import HfSecurity
from sandbox.terminals.base import NAME, PHOTO, Punch
from sandbox.terminals.hfsecurity import LanDevice

BODIES = Path(__file__).parents[4] / "fixtures" / "hfsecurity"
SERIAL, ZONE = "84E0F42AFFFF0001", "Asia/Riyadh"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
T = TypeVar("T")
wall = datetime.fromisoformat


def entry(terminal: LanDevice, **changes: Any) -> Device:
    common = {"device_id": "GATE-3", "site": "riyadh", "timezone": terminal.zone, "credentials": {"password": "P"}}
    return Device.model_validate(common | dict(terminal.registry_entry()) | changes)


@asynccontextmanager
async def connected(terminal: LanDevice) -> AsyncIterator[HfSecurityPull]:
    secrets = dict(terminal.credentials()) | {"token": "t/1"}
    async with terminal.serving(), httpx.AsyncClient(timeout=5, trust_env=False) as http:
        yield HfSecurityPull(Tools(http, lambda _device, name: secrets[name], ()))


def with_adapter(terminal: LanDevice, work: Callable[[HfSecurityPull], Awaitable[T]]) -> T:
    async def run() -> T:
        async with connected(terminal) as adapter:
            return await work(adapter)

    return asyncio.run(run())


def wanted(device: Device, cursor: Cursor | None = None, since: datetime | None = None, now: datetime = NOW) -> Fetch:
    return Fetch(device, {}, cursor, since, now)


async def pages(adapter: HfSecurityPull, fetch: Fetch) -> tuple[list[Page], Exception | None]:
    """The pages, and what ended them."""
    found = []
    try:
        async for page in adapter.fetch(fetch):
            orjson.dumps(page.cursor)
            found.append(page)
    except (DeviceUnavailable, DeviceRefused) as error:
        return found, error
    return found, None


def fetched(terminal: LanDevice, *fetches: Fetch) -> list[list[Page]]:
    """The pages of several fetches, which all end well."""

    async def work(adapter: HfSecurityPull) -> list[list[Page]]:
        results = []
        for fetch in fetches:
            found, error = await pages(adapter, fetch)
            assert error is None
            results.append(found)
        return results

    return with_adapter(terminal, work)


def failed(terminal: LanDevice, fetch: Fetch) -> tuple[list[Page], Exception]:
    found, error = with_adapter(terminal, lambda adapter: pages(adapter, fetch))
    assert error is not None
    return found, error


def events(*found: Page) -> list[RawEvent]:
    return [event for page in found for event in page.events]


def keys(punches: list[Punch], zone: str = ZONE) -> set[tuple[str, datetime, str]]:
    return {(punch.user, from_wall_clock(punch.at, zone), punch.direction or "UNKNOWN") for punch in punches}


def found_keys(*found: Page) -> set[tuple[str, datetime | None, str]]:
    return {(event.device_user_id, event.event_time, event.event_type) for event in events(*found)}


def many(count: int, start: str = "2026-03-01 08:00:00") -> list[Punch]:
    first = wall(start)
    return [Punch(f"{number:04}", first + timedelta(seconds=7 * number), "IN") for number in range(count)]


@pytest.fixture
def terminal() -> LanDevice:
    return LanDevice(SERIAL, ZONE, "12345678")


PUNCHES = [
    Punch("8", wall("2000-01-01 00:00:05")),
    Punch("007", wall("2026-03-02 08:00:00"), "IN", photo=PHOTO),
    Punch("A-17", wall("2026-03-02 08:00:01"), "OUT"),
    Punch("8", wall("2031-07-01 12:00:00")),
]


def test_what_is_in_a_devices_memory_comes_out_as_it_was_punched(terminal: LanDevice) -> None:
    terminal.memory = list(PUNCHES)
    [[page]] = fetched(terminal, wanted(entry(terminal)))
    assert found_keys(page) == keys(PUNCHES)
    assert [event.sequence for event in page.events] == [1, 2, 3, 4]
    for event in page.events:
        assert event.source.transport == "pull"
        assert NAME not in event.encode().decode()
        assert b64encode(PHOTO)[:40] not in event.encode()


def test_a_punch_has_the_id_by_pull_that_it_has_by_push(terminal: LanDevice) -> None:
    record = orjson.loads((BODIES / "lan-records.json").read_bytes())["data"]["records"][0]
    terminal.extra = [(wall("2026-03-02 08:00:02"), record)]
    device = entry(terminal)
    [[page]] = fetched(terminal, wanted(device))
    head = Head("POST", "/hf/{token}/identify", {}, {}, {})
    request = PushRequest(head, (BODIES / "lan-identify.json").read_bytes(), NOW)
    [pushed] = HfSecurity(()).parse(request, {"GATE-3": device}).events
    assert [event.event_id for event in page.events] == [pushed.event_id]


def test_strangers_and_garbage_in_memory_take_nothing_from_their_neighbours(terminal: LanDevice) -> None:
    terminal.memory = many(3)
    at = terminal.memory[1].at
    stranger = {"id": 90, "personId": "STRANGERBABY", "time": 1772427655100, "type": "face_2", "model": 0}
    terminal.extra = [(at, stranger), (at, None), (at, {"personId": ["?"], "type": "face_0"})]
    [[page]] = fetched(terminal, wanted(entry(terminal)))
    assert found_keys(page) == keys(terminal.memory)
    assert [other.kind for other in page.others] == ["stranger"]
    assert len(page.rejected) == 2


def test_a_memory_of_many_pages_is_read_to_its_end(terminal: LanDevice) -> None:
    terminal.memory = many(2 * LENGTH + 1)
    [found] = fetched(terminal, wanted(entry(terminal)))
    assert [len(page.events) for page in found] == [LENGTH, LENGTH, 1]
    assert found_keys(*found) == keys(terminal.memory)


def test_only_the_last_page_claims_that_all_is_there(terminal: LanDevice) -> None:
    terminal.memory = many(LENGTH + 1)
    terminal.clock_off = timedelta(days=-9_000)
    [found] = fetched(terminal, wanted(entry(terminal)))
    assert [page.complete_until is None for page in found] == [True, False]


def test_a_total_that_may_be_that_of_the_page_claims_nothing_and_the_next_fetch_has_the_rest(
    terminal: LanDevice,
) -> None:
    terminal.memory = many(LENGTH + 1)
    terminal.faults.count_off = -1
    device = entry(terminal)
    [[first]] = fetched(terminal, wanted(device))
    assert (len(first.events), first.complete_until) == (LENGTH, None)
    terminal.faults.count_off = 0
    [rest] = fetched(terminal, wanted(device, first.cursor))
    assert found_keys(first, *rest) == keys(terminal.memory)


def test_what_is_claimed_is_not_later_than_the_devices_own_clock(terminal: LanDevice) -> None:
    terminal.clock_off = timedelta(days=-9_000)
    [[page]] = fetched(terminal, wanted(entry(terminal)))
    assert page.report is not None
    assert page.complete_until == page.report.device_time
    [[_], [second]] = fetched(terminal, wanted(entry(terminal)), wanted(entry(terminal)))
    assert second.complete_until == NOW - timedelta(minutes=5)


def test_a_fetch_goes_on_where_the_last_one_ended(terminal: LanDevice) -> None:
    terminal.memory = many(LENGTH)
    [[first]] = fetched(terminal, wanted(entry(terminal)))
    new = Punch("9", terminal.memory[-1].at + timedelta(seconds=1))
    terminal.memory.append(new)
    [[second]] = fetched(terminal, wanted(entry(terminal), first.cursor))
    assert keys([new]) <= found_keys(second)
    assert len(second.events) < LENGTH


def test_a_punch_that_is_a_few_minutes_late_is_found_by_the_next_fetch(terminal: LanDevice) -> None:
    terminal.memory = many(1, "2026-03-02 08:00:00")
    device = entry(terminal)
    [[first]] = fetched(terminal, wanted(device))
    terminal.memory.append(Punch("9", wall("2026-03-02 07:50:30")))
    [[second]] = fetched(terminal, wanted(device, first.cursor))
    assert found_keys(second) == keys(terminal.memory)


def test_a_restart_from_the_cursor_of_any_page_loses_nothing(terminal: LanDevice) -> None:
    terminal.memory = many(3 * LENGTH)
    device = entry(terminal)
    [found] = fetched(terminal, wanted(device))
    for number, page in enumerate(found):
        [rest] = fetched(terminal, wanted(device, page.cursor))
        assert found_keys(*found[: number + 1], *rest) == keys(terminal.memory)


def test_punches_made_while_the_memory_is_read_are_not_lost(terminal: LanDevice) -> None:
    terminal.memory = many(2 * LENGTH)
    later = terminal.memory[-1].at
    terminal.faults.grows = [Punch("9", later + timedelta(seconds=number)) for number in range(1, 4)]
    device = entry(terminal)
    [found] = fetched(terminal, wanted(device))
    [rest] = fetched(terminal, wanted(device, found[-1].cursor))
    assert found_keys(*found, *rest) == keys(terminal.memory)
    assert len(terminal.memory) == 2 * LENGTH + 3


def test_the_cursor_is_not_moved_by_a_punch_that_is_dated_ahead(terminal: LanDevice) -> None:
    terminal.memory = [Punch("1", wall("2031-01-01 08:00:00"))]
    device = entry(terminal)
    [[first]] = fetched(terminal, wanted(device))
    terminal.memory.append(Punch("2", wall("2026-03-02 11:00:00")))
    [[second]] = fetched(terminal, wanted(device, first.cursor))
    assert found_keys(second) == keys(terminal.memory)
    [[third]] = fetched(terminal, wanted(device, second.cursor))
    assert found_keys(third) == keys(terminal.memory)


def test_the_cursor_is_not_moved_by_a_time_before_all_clocks(terminal: LanDevice) -> None:
    record = {"id": 1, "personId": "7", "time": "0001-01-01 00:00:00", "type": "face_0", "model": 0}
    terminal.extra = [(wall("2026-03-01 08:00:00"), record)]
    device = entry(terminal)
    [[first]] = fetched(terminal, wanted(device))
    assert first.cursor == {}
    [[again], [swept]] = fetched(
        terminal,
        wanted(device, {"through": "0001-01-01T00:00:00Z"}),
        wanted(device, first.cursor, since=datetime.min.replace(tzinfo=UTC)),
    )
    assert len(again.events) == len(swept.events) == 1


def test_a_device_that_does_not_sort_moves_the_cursor_only_at_the_end(terminal: LanDevice) -> None:
    terminal.memory = many(LENGTH + 1)
    wrong = {"id": 0, "personId": "7", "time": 1000 * int(NOW.timestamp()), "type": "face_0", "model": 0}
    terminal.extra = [(wall("2026-03-01 07:00:00"), wrong)]
    [found] = fetched(terminal, wanted(entry(terminal)))
    assert found[0].cursor == {}
    assert found[-1].cursor == {"through": "2026-03-02T09:00:00Z"}


def test_a_wall_clock_in_another_zone_than_the_entrys_loses_nothing(terminal: LanDevice) -> None:
    terminal.zone = "America/New_York"
    device = entry(terminal, timezone="Asia/Tokyo")
    terminal.memory = many(3, "2026-03-01 08:00:00")
    [[first]] = fetched(terminal, wanted(device))
    terminal.memory.append(Punch("9", wall("2026-03-01 08:30:00")))
    terminal.memory.append(Punch("9", wall("2026-03-02 00:30:00")))
    [[second]] = fetched(terminal, wanted(device, first.cursor))
    assert found_keys(second) == keys(terminal.memory, "America/New_York")


def test_a_device_whose_memory_was_cleared_goes_on(terminal: LanDevice) -> None:
    terminal.memory = [Punch("9", wall("2026-03-02 11:30:00"))]
    [[page]] = fetched(terminal, wanted(entry(terminal), {"through": "2026-03-02T08:00:00Z"}))
    assert found_keys(page) == keys(terminal.memory)


def test_the_hour_that_a_change_of_clocks_repeats_is_read_twice_and_lost_never() -> None:
    terminal = LanDevice(SERIAL, "Europe/Berlin", "12345678")
    at = datetime(2025, 10, 26, 0, 50, tzinfo=UTC)  # 02:50, for the first time
    wall_clock = wall("2025-10-26 02:50:00")
    record = {"id": 1, "personId": "7", "time": int(at.timestamp()) * 1000, "type": "face_0", "model": 0}
    terminal.extra = [(wall_clock, record)]
    device = entry(terminal)
    [[first]] = fetched(terminal, wanted(device, now=at))
    again = at + timedelta(minutes=30)  # 02:20, for the second time
    record = {"id": 2, "personId": "8", "time": int(again.timestamp()) * 1000, "type": "face_0", "model": 0}
    terminal.extra.append((wall("2025-10-26 02:20:00"), record))
    [[second]] = fetched(terminal, wanted(device, first.cursor, now=again))
    assert [event.event_time for event in second.events if event.device_user_id == "8"] == [again]


def test_a_sweep_finds_what_came_late_and_leaves_the_cursor(terminal: LanDevice) -> None:
    terminal.memory = many(1, "2026-03-02 08:00:00")
    device = entry(terminal)
    [[first]] = fetched(terminal, wanted(device))
    late = [Punch("5", wall("2026-03-01 09:00:00")), Punch("6", wall("2000-01-01 00:01:00"))]
    terminal.memory += late
    [[usual]] = fetched(terminal, wanted(device, first.cursor))
    assert not keys(late) & found_keys(usual)
    [sweep] = fetched(terminal, wanted(device, first.cursor, since=NOW - timedelta(days=3)))
    assert found_keys(*sweep) == keys(terminal.memory)
    assert {page.complete_until for page in sweep} == {None}
    assert sweep[-1].cursor == first.cursor


@pytest.mark.parametrize("cursor", [None, {"through": "2026-02-01T00:00:00Z"}])
def test_a_sweep_that_begins_after_the_cursor_leaves_no_gap_behind_it(
    terminal: LanDevice, cursor: Cursor | None
) -> None:
    terminal.memory = many(1, "2026-02-10 08:00:00") + many(1, "2026-03-02 08:00:00")
    device = entry(terminal)
    [sweep] = fetched(terminal, wanted(device, cursor, since=NOW - timedelta(days=3)))
    [[usual]] = fetched(terminal, wanted(device, sweep[-1].cursor))
    assert found_keys(usual) == keys(terminal.memory)


@pytest.mark.parametrize("cursor", [{}, {"through": "yesterday"}, {"through": 7}, {"other": True}])
def test_a_cursor_that_says_nothing_begins_anew(terminal: LanDevice, cursor: Cursor) -> None:
    terminal.memory = many(1)
    [[page]] = fetched(terminal, wanted(entry(terminal), cursor))
    assert found_keys(page) == keys(terminal.memory)


@pytest.mark.parametrize("off", [1, -1, 600])
def test_a_total_that_does_not_fit_fails_the_fetch_and_keeps_the_punches(terminal: LanDevice, off: int) -> None:
    terminal.memory = many(3)
    terminal.faults.count_off = off
    found, error = failed(terminal, wanted(entry(terminal)))
    assert isinstance(error, UnreadableAnswer)
    assert found_keys(*found) == keys(terminal.memory)
    assert {orjson.dumps(page.cursor) for page in found} == {b"{}"}
    assert {page.complete_until for page in found} == {None}


def test_a_memory_that_shrinks_while_it_is_read_fails_the_fetch(terminal: LanDevice) -> None:
    terminal.memory = many(3 * LENGTH)

    async def work(adapter: HfSecurityPull) -> None:
        reading = adapter.fetch(wanted(entry(terminal)))
        await anext(reading)
        del terminal.memory[: LENGTH // 2]
        await anext(reading)
        await anext(reading)

    with pytest.raises(UnreadableAnswer, match="are left"):
        with_adapter(terminal, work)


@pytest.mark.parametrize("cut_after", [0, 1, 2])
def test_a_page_that_is_cut_off_fails_the_fetch_and_the_next_one_has_all(terminal: LanDevice, cut_after: int) -> None:
    terminal.memory = many(3)
    terminal.faults.cut_after = cut_after
    found, error = failed(terminal, wanted(entry(terminal)))
    assert isinstance(error, DeviceUnavailable)
    assert not found
    terminal.faults.cut_after = None
    [[page]] = fetched(terminal, wanted(entry(terminal)))
    assert found_keys(page) == keys(terminal.memory)


def test_a_wrong_password_is_tried_once(terminal: LanDevice) -> None:
    terminal.faults.password_wrong = True
    found, error = failed(terminal, wanted(entry(terminal)))
    assert isinstance(error, DeviceRefused)
    assert "password is wrong" in str(error)
    assert terminal.password not in str(error)
    assert (found, terminal.logins_refused) == ([], 1)


@pytest.mark.parametrize("unavailable", [1, 2])
def test_a_device_that_does_not_answer_is_unavailable(terminal: LanDevice, unavailable: int) -> None:
    terminal.faults.unavailable = unavailable
    terminal.memory = many(1)

    async def work(adapter: HfSecurityPull) -> None:
        for _ in range(unavailable):
            assert type((await pages(adapter, wanted(entry(terminal))))[1]) is DeviceUnavailable
        found, error = await pages(adapter, wanted(entry(terminal)))
        assert error is None
        assert len(events(*found)) == 1

    with_adapter(terminal, work)


def test_nothing_listening_is_a_device_that_is_unavailable(terminal: LanDevice) -> None:
    async def work() -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            adapter = HfSecurityPull(Tools(http, lambda _device, _name: "x", ()))
            assert type((await pages(adapter, wanted(entry(terminal))))[1]) is DeviceUnavailable

    asyncio.run(work())


def test_another_device_at_the_same_address_is_not_read(terminal: LanDevice) -> None:
    terminal.memory = many(1)
    found, error = failed(terminal, wanted(entry(terminal, serial="84E0F42AFFFF0009")))
    assert isinstance(error, DeviceRefused)
    assert not found


def test_an_entry_without_a_host_is_refused(terminal: LanDevice) -> None:
    _, error = failed(terminal, wanted(entry(terminal, host=None)))
    assert isinstance(error, DeviceRefused)
    assert "GATE-3" in str(error)


ENVELOPE = {"code": "LAN_SUS-0", "msg": "", "result": 1, "success": True}


def answered(content: bytes, status: int = 200) -> Exception | None:
    """How a fetch ends whose first answer is this."""

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content)

    async def work() -> Exception | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            adapter = HfSecurityPull(Tools(http, lambda _device, _name: "x", ()))
            device = Device(device_id="GATE-3", site="riyadh", timezone=ZONE, mode="pull", host="10.0.0.5")
            return (await pages(adapter, wanted(device)))[1]

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("1000", DeviceUnavailable),
        ("1001", DeviceRefused),
        ("1002", DeviceRefused),
        ("1003", DeviceRefused),
        ("1004", DeviceRefused),
        ("1005", DeviceUnavailable),
        ("1006", DeviceRefused),
        ("3018", UnreadableAnswer),
        ("3019", UnreadableAnswer),
        ("3031", UnreadableAnswer),
        ("3040", UnreadableAnswer),
        ("9999", UnreadableAnswer),
    ],
)
def test_a_failure_within_an_answer_of_200_is_a_failure(code: str, kind: type[Exception]) -> None:
    error = answered(orjson.dumps({"code": f"LAN_EXP-{code}", "msg": "", "result": 1, "success": False}))
    assert type(error) is kind
    assert code in str(error)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>a=b</html>",
        b"{}",
        b"[]",
        b" " * (MAX_ANSWER + 1),
        orjson.dumps(ENVELOPE),
        orjson.dumps(ENVELOPE | {"success": "yes"}),
        orjson.dumps(ENVELOPE | {"data": {"records": []}}),
        orjson.dumps(ENVELOPE | {"data": {"pageInfo": {"total": -1}, "records": []}}),
        orjson.dumps(ENVELOPE | {"data": {"pageInfo": {"total": True}, "records": [{}]}}),
        orjson.dumps(ENVELOPE | {"data": {"pageInfo": {"total": 0}}}),
    ],
)
def test_an_answer_that_is_none_of_the_lan_apis_is_unreadable(content: bytes) -> None:
    assert type(answered(content)) is UnreadableAnswer


@pytest.mark.parametrize("status", [401, 403, 302])
def test_a_status_that_refuses_needs_a_person(status: int) -> None:
    assert type(answered(b"{}", status)) is DeviceRefused


def test_a_device_that_asks_for_patience_is_given_it() -> None:
    error = answered(b"{}", 429)
    assert type(error) is DeviceUnavailable


def test_a_word_of_its_own_counts_before_a_status_that_says_nothing() -> None:
    wrong = orjson.dumps({"code": "LAN_EXP-1006", "msg": "", "result": 1, "success": False})
    assert "its firmware does not do this" in str(answered(wrong, 404))


def test_a_total_may_be_written_as_text() -> None:
    assert answered(orjson.dumps(ENVELOPE | {"data": {"pageInfo": {"total": "1"}, "records": [{}]}})) is None


def folded(content: object) -> str:
    return orjson.dumps(content).decode()


@pytest.mark.parametrize(
    "data",
    [
        folded({"pageInfo": {"total": 1}, "records": [{}]}),
        {"pageInfo": folded({"total": "1"}), "records": folded([{}])},
        " " + folded({"pageInfo": {"total": 1}, "records": folded([{}])}),
    ],
)
def test_a_page_that_is_written_as_text_is_read(data: object) -> None:
    assert answered(orjson.dumps(ENVELOPE | {"data": data})) is None


@pytest.mark.parametrize("data", ["", "{", "[]", '{"pageInfo": {"total": 1}}', '"text"'])
def test_text_that_is_no_page_is_unreadable(data: str) -> None:
    assert type(answered(orjson.dumps(ENVELOPE | {"data": data}))) is UnreadableAnswer


def test_addresses_that_are_written_as_text_are_compared_as_any_others() -> None:
    content = {"identifyCallBack": "http://10.0.0.9:8080/hf/t%2F1/identify"}
    assert addresses_in(unfolded(folded(content))) == addresses_in(content) != set()


def test_a_name_in_another_encoding_does_not_hide_a_page() -> None:
    content = (BODIES / "lan-records.json").read_bytes().replace("Zoë".encode(), b"\xd5\xc5")
    assert answered(content) is None


def test_a_probe_says_who_the_device_is_and_changes_nothing(terminal: LanDevice) -> None:
    probed = with_adapter(terminal, lambda adapter: adapter.probe(entry(terminal)))
    assert (probed.serial, probed.report.details["personCount"]) == (SERIAL, 815)
    assert probed.report.device_time is not None
    assert terminal.writes == []


def with_callback(terminal: LanDevice) -> Device:
    options = {"callback_url": "http://10.0.0.9:8080/hf/{token}"}
    return entry(terminal, options=options)


def test_without_a_wanted_address_nothing_is_ever_written_to_a_device(terminal: LanDevice) -> None:
    terminal.callbacks["identify"] = "http://10.9.9.9/elsewhere"
    [[page]] = fetched(terminal, wanted(entry(terminal)))
    assert terminal.writes == []
    assert page.report is not None
    assert "callback" not in page.report.details


def test_a_device_that_posts_elsewhere_is_told_where_to_without_photographs(terminal: LanDevice) -> None:
    terminal.callbacks["identify"] = "http://10.9.9.9:8080/hf/t%2F1/identify"
    [[page]] = fetched(terminal, wanted(with_callback(terminal)))
    assert terminal.callbacks == {
        "identify": "http://10.0.0.9:8080/hf/t%2F1/identify",
        "heartbeat": "http://10.0.0.9:8080/hf/t%2F1/heartbeat",
    }
    assert [path for path, _ in terminal.writes] == ["/setIdentifyCallBack", "/setDeviceHeartBeat"]
    assert terminal.writes[0][1]["base64Enable"] == "1"
    assert page.report is not None
    assert page.report.details["callback"] == "set again: it posted to 10.9.9.9:8080"


def test_the_address_is_looked_at_now_and_then_and_put_right_when_it_was_forgotten(terminal: LanDevice) -> None:
    device = with_callback(terminal)

    async def work(adapter: HfSecurityPull) -> list[object]:
        callbacks = []
        for minutes in (0, 1, 16, 31):
            [page], _ = await pages(adapter, wanted(device, now=NOW + timedelta(minutes=minutes)))
            callbacks.append(None if page.report is None else page.report.details["callback"])
            if minutes == 16:
                terminal.callbacks.clear()
        return callbacks

    callbacks = with_adapter(terminal, work)
    assert callbacks == ["set again: it posted to nowhere", None, "as wanted", "set again: it posted to nowhere"]
    assert len(terminal.writes) == 4
    assert timedelta(minutes=15) == LOOK_AFTER


def test_settings_that_cannot_be_written_hold_up_no_punch(terminal: LanDevice) -> None:
    terminal.memory = many(1)
    [[page]] = fetched(terminal, wanted(entry(terminal, options={"callback_url": "https://10.0.0.9/x"})))
    assert len(page.events) == 1
    assert page.report is not None
    assert str(page.report.details["callback"]).startswith("unknown")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
names = st.sampled_from(["id", "personId", "time", "type", "model", "identifyType", "attendance", "base64", "name"])
records = st.lists(st.dictionaries(names, values, max_size=6) | values, max_size=4)


@given(st.binary(max_size=100) | records)
@settings(deadline=None, max_examples=60)
def test_any_page_is_accounted_for(content: bytes | list[object]) -> None:
    if isinstance(content, bytes):
        assert isinstance(answered(content), UnreadableAnswer)
        return
    data = {"pageInfo": {"total": len(content)}, "records": content}

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=ENVELOPE | {"data": data})

    async def work() -> list[Page]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            adapter = HfSecurityPull(Tools(http, lambda _device, _name: "x", ()))
            device = Device(device_id="GATE-3", site="riyadh", timezone=ZONE, mode="pull", host="10.0.0.5")
            return (await pages(adapter, wanted(device)))[0]

    [page] = asyncio.run(work())
    assert len(page.events) + len(page.others) + len(page.rejected) == len(content)
