"""HeyStar terminals that are asked: themselves, and by the middleware."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
from producers.devices.common.settings import DIFFERS
from producers.devices.contract import Cursor, Fetch, Head, Page, PushRequest, Tools
from producers.devices.hfsecurity.heystar import LENGTH, READING, WRITING, HeyStarApi
from producers.devices.hfsecurity.heystar_pull import OVERLAP
from producers.devices.hfsecurity.pull import HfSecurityPull
from producers.devices.hfsecurity.push import HfSecurity
from sandbox.terminals.base import NAME, PHOTO, Punch
from sandbox.terminals.heystar_asked import HeyStarDevice, HeyStarMiddleware
from streams import dedup

SERIAL, ZONE = "00aa11bb22cc33dd44", "Asia/Riyadh"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
CALLBACK = "http://10.0.0.9:8080/hf/t%2F1"
NEVER = (
    *("device/reboot", "device/reset", "device/upgradeApk", "device/setNetwork", "device/setWiFi"),
    *("device/setLocalPwd", "device/output", "record/delete", "person/empty", "person/delete", "face/delete"),
)
T = TypeVar("T")
wall = datetime.fromisoformat


@pytest.fixture
def terminal() -> HeyStarDevice:
    return HeyStarDevice(SERIAL, ZONE, "HFSecurity")


def entry(terminal: HeyStarDevice, options: Mapping[str, object] | None = None, **changes: Any) -> Device:
    credentials = {name: name.upper() for name in terminal.credentials()}
    common = {"device_id": "GATE-3", "site": "riyadh", "timezone": ZONE, "credentials": credentials}
    of_terminal = dict(terminal.registry_entry())
    of_terminal["options"] = {**of_terminal["options"], **(options or {})}
    return Device.model_validate(common | of_terminal | changes)


def with_adapter(terminal: HeyStarDevice, work: Callable[[HfSecurityPull], Awaitable[T]]) -> T:
    secrets = {**terminal.credentials(), "token": "t/1"}

    async def run() -> T:
        async with terminal.serving(), httpx.AsyncClient(timeout=5, trust_env=False) as http:
            return await work(HfSecurityPull(Tools(http, lambda _device, name: secrets[name], ())))

    return asyncio.run(run())


async def pages(
    adapter: HfSecurityPull,
    device: Device,
    cursor: Cursor | None = None,
    since: datetime | None = None,
    now: datetime = NOW,
) -> list[Page]:
    found = []
    async for page in adapter.fetch(Fetch(device, {}, cursor, since, now)):
        orjson.dumps(page.cursor)
        found.append(page)
    return found


def fetched(terminal: HeyStarDevice, device: Device | None = None, cursor: Cursor | None = None) -> list[Page]:
    return with_adapter(terminal, lambda adapter: pages(adapter, device or entry(terminal), cursor))


def keys(punches: list[Punch]) -> set[tuple[str, datetime]]:
    return {(punch.user, from_wall_clock(punch.at, ZONE)) for punch in punches}


def found_keys(found: list[Page]) -> set[tuple[str, datetime | None]]:
    return {(event.device_user_id, event.event_time) for event in events(found)}


def events(found: list[Page]) -> list[RawEvent]:
    return [event for page in found for event in page.events]


def details(found: list[Page]) -> Mapping[str, object]:
    report = found[-1].report
    assert report is not None
    return report.details


def many(count: int, start: str = "2026-03-01 08:00:00") -> list[Punch]:
    return [Punch(f"{number:04}", wall(start) + timedelta(seconds=7 * number), "IN") for number in range(count)]


def milliseconds(at: str) -> int:
    return int(from_wall_clock(wall(at), ZONE).timestamp()) * 1000


def test_a_record_that_is_asked_for_is_the_one_that_was_pushed(terminal: HeyStarDevice) -> None:
    at = milliseconds("2026-03-02 08:00:04")
    row = {"id": 116, "personSn": "000417", "personType": 1, "createTime": at, "resultFlag": 1, "strangerFlag": 0}
    terminal.extra = [(at, row)]
    (event,) = events(fetched(terminal))
    assert (event.device_user_id, event.sequence, event.event_type) == ("000417", 116, "UNKNOWN")
    assert event.event_time == datetime(2026, 3, 2, 5, 0, 4, tzinfo=UTC)
    callback = {"recordId": "116", "deviceKey": SERIAL, "recordTime": str(at), "personSn": "000417", "resultFlag": "1"}
    request = PushRequest(Head("POST", "/hf/{token}/record", {}, {}, {}), orjson.dumps(callback), NOW)
    (pushed,) = HfSecurity(()).parse(request, {"GATE-3": entry(terminal)}).events
    assert (pushed.event_id, pushed.sequence) == (event.event_id, event.sequence)


def test_a_punch_that_has_its_direction_by_push_alone_is_one_punch_whichever_comes_first(
    terminal: HeyStarDevice,
) -> None:
    at = milliseconds("2026-03-02 08:00:04")
    terminal.extra = [(at, {"id": 116, "personSn": "000417", "createTime": at, "resultFlag": 1})]
    found = fetched(terminal)
    [pulled] = events(found)
    callback = {"recordId": "116", "recordTime": str(at), "personSn": "000417", "resultFlag": "1", "direction": "4"}
    request = PushRequest(Head("POST", "/hf/{token}/record", {}, {}, {}), orjson.dumps(callback), NOW)
    [pushed] = HfSecurity(()).parse(request, {"GATE-3": entry(terminal)}).events
    assert (pulled.event_type, pushed.event_type) == ("UNKNOWN", "OUT")
    assert pulled.event_time is not None
    for first, second in ((pulled, pushed), (pushed, pulled)):
        kept = dedup.Punch.of(pulled.event_time, first.event_type, 0).pack()
        classification = dedup.classify(kept, dedup.Punch.of(pulled.event_time, second.event_type, 1), window=0)
        assert classification.verdict is dedup.Verdict.REPEAT
    assert str(details(found)["direction"]).startswith(DIFFERS)


def test_directions_in_the_records_are_no_finding_nor_are_they_where_the_entry_wants_none(
    terminal: HeyStarDevice,
) -> None:
    terminal.memory = many(1)
    assert details(fetched(terminal))["direction"] == "in its records"
    assert "direction" not in details(fetched(terminal, entry(terminal, {"direction": {}})))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"strangerFlag": 1, "personSn": ""}, "stranger"),
        ({"personType": 3}, "blacklist"),
        ({"resultFlag": 3}, "denied"),
        ({"personType": 2}, "visitor"),
        ({"personSn": "", "cardFlag": 1, "cardNo": "04A1B2C3"}, "unknown_card"),
    ],
)
def test_what_is_no_punch_is_none_when_it_is_asked_for(
    terminal: HeyStarDevice, fields: Mapping[str, object], kind: str
) -> None:
    at = milliseconds("2026-03-02 08:00:04")
    row = {"id": 1, "personSn": "7", "personType": 1, "createTime": at, "resultFlag": 1, "strangerFlag": 0}
    terminal.extra = [(at, row | fields)]
    found = fetched(terminal)
    assert [other.kind for page in found for other in page.others] == [kind]
    assert events(found) == []


def test_names_and_photographs_stay_out(terminal: HeyStarDevice) -> None:
    terminal.memory = [Punch("7", wall("2026-03-02 08:00:00"), photo=PHOTO)]
    (event,) = events(fetched(terminal))
    assert NAME not in event.encode().decode()
    assert b"base64" not in event.encode().lower()


@pytest.mark.parametrize("count", [LENGTH - 1, LENGTH, LENGTH + 1, 3 * LENGTH])
def test_a_memory_is_read_to_the_page_that_is_empty(terminal: HeyStarDevice, count: int) -> None:
    terminal.memory = many(count)
    assert found_keys(fetched(terminal)) == keys(terminal.memory)


@pytest.mark.parametrize("most", [1, 7, 60])
def test_a_terminal_that_gives_fewer_than_it_is_asked_for_loses_nothing(terminal: HeyStarDevice, most: int) -> None:
    terminal.memory = many(90)
    terminal.most = most
    assert found_keys(fetched(terminal)) == keys(terminal.memory)


@pytest.mark.parametrize("count", [3, LENGTH, 3 * LENGTH + 1])
def test_a_terminal_that_knows_no_pages_is_asked_from_its_last_record_on(terminal: HeyStarDevice, count: int) -> None:
    terminal.memory = many(count)
    terminal.without_pages = True
    assert found_keys(fetched(terminal)) == keys(terminal.memory)


def test_a_terminal_that_gives_the_newest_page_for_ever_is_not_taken_for_read(terminal: HeyStarDevice) -> None:
    terminal.memory = many(LENGTH + 1)
    terminal.without_pages = terminal.newest_first = True
    with pytest.raises(UnreadableAnswer, match="the same page"):
        fetched(terminal)


def test_the_newest_first_loses_nothing_and_moves_the_cursor_at_the_end(terminal: HeyStarDevice) -> None:
    terminal.memory = many(2 * LENGTH)
    terminal.newest_first = True
    found = fetched(terminal)
    assert found_keys(found) == keys(terminal.memory)
    assert [page.cursor for page in found[1:-1]] == [{}] * (len(found) - 2)
    assert found[-1].cursor["record"] == str(2 * LENGTH)


@pytest.mark.parametrize("broken", [{1}, {250}, {LENGTH, 3 * LENGTH}, {2 * LENGTH + 7, 2 * LENGTH + 9}])
def test_a_record_that_cannot_be_read_is_kept_as_it_came_and_hides_no_other(
    terminal: HeyStarDevice, broken: set[int]
) -> None:
    terminal.memory = many(3 * LENGTH)
    terminal.broken = broken
    found = fetched(terminal)
    assert keys(terminal.memory) - found_keys(found) == keys([terminal.memory[each - 1] for each in broken])
    rejected = [each for page in found for each in page.rejected]
    assert len(rejected) == len(broken)
    for each, number in zip(rejected, sorted(broken), strict=True):
        assert f'"id": {number},' in json.loads(each.raw or b"")
        assert NAME not in each.value.decode()
        [again] = (
            HfSecurityPull(Tools(httpx.AsyncClient(), lambda *_: "", ()))
            .read_again(each.raw or b"", Fetch(entry(terminal), {}, None, None, NOW))
            .rejected
        )
        assert again.raw == each.raw
    newest = max(set(range(1, 3 * LENGTH + 1)) - broken)
    assert found[-1].cursor["record"] == str(newest)
    assert terminal.asked.count("record/findList") < 150


def test_where_no_record_can_be_read_nothing_is_passed_by(terminal: HeyStarDevice) -> None:
    terminal.memory = many(3)
    terminal.broken = {1, 2, 3}

    async def first(adapter: HfSecurityPull) -> Page:
        return await anext(adapter.fetch(Fetch(entry(terminal), {}, None, None, NOW)))

    with pytest.raises(UnreadableAnswer, match="not JSON"):
        with_adapter(terminal, first)


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(terminal: HeyStarDevice) -> None:
    terminal.memory = [replace(each, photo=PHOTO * 100) for each in many(45)]
    assert found_keys(fetched(terminal)) == keys(terminal.memory)


def test_null_in_the_place_of_a_list_is_an_end_and_claims_nothing_by_itself(terminal: HeyStarDevice) -> None:
    terminal.null_at_the_end = True
    [page] = fetched(terminal)
    assert page.complete_until is None
    terminal.memory = many(LENGTH + 1)
    found = fetched(terminal)
    assert found_keys(found) == keys(terminal.memory)
    assert found[-1].complete_until is not None


@pytest.mark.parametrize("changes", [{"one_bare": True}, {"as_text": True}, {"one_bare": True, "as_text": True}])
def test_a_record_without_a_list_and_a_list_as_text_are_read(
    terminal: HeyStarDevice, changes: Mapping[str, bool]
) -> None:
    terminal.memory = many(1)
    for name, value in changes.items():
        setattr(terminal, name, value)
    assert found_keys(fetched(terminal)) == keys(terminal.memory)


def test_a_fetch_goes_on_at_the_newest_record_and_asks_for_little(terminal: HeyStarDevice) -> None:
    terminal.memory = many(3, "2026-03-01 08:00:00") + many(1, "2026-03-02 08:00:00")
    cursor = fetched(terminal)[-1].cursor
    terminal.memory.append(Punch("9", wall("2026-03-02 08:00:30")))
    again = fetched(terminal, cursor=cursor)
    assert found_keys(again) == keys(terminal.memory[-2:])
    assert again[-1].cursor == {"record": "5", "made_at": "2026-03-02T05:00:30Z"}


def test_more_records_than_a_page_before_the_newest_known_are_no_new_beginning(terminal: HeyStarDevice) -> None:
    start = wall("2026-03-02 07:51:00")
    terminal.memory = [Punch(f"{n}", start + timedelta(seconds=n)) for n in range(LENGTH + 50)]
    cursor = fetched(terminal)[-1].cursor
    again = fetched(terminal, cursor=cursor)
    assert timedelta(seconds=LENGTH + 50) < OVERLAP
    assert "memory" not in details(again)


@pytest.mark.parametrize("before", [1, 3, 40])
def test_a_memory_that_begins_again_at_1_is_read_from_its_beginning(terminal: HeyStarDevice, before: int) -> None:
    """The record of the cursor's number is there again, and is another one."""
    terminal.memory = many(before, "2026-03-02 08:00:00")
    cursor = fetched(terminal)[-1].cursor
    terminal.reset()
    terminal.memory = [*many(2, "2026-02-27 07:00:00"), *many(before, "2026-03-02 08:10:00")]
    again = fetched(terminal, cursor=cursor)
    assert found_keys(again) == keys(terminal.memory)
    assert again[-1].complete_until is None
    assert "begun anew" in str(details(again)["memory"])
    assert again[-1].cursor["record"] == str(before + 2)
    usual = fetched(terminal, cursor=again[-1].cursor)
    assert usual[-1].complete_until is not None


def test_a_stop_before_the_known_record_was_seen_goes_on_from_the_old_cursor(terminal: HeyStarDevice) -> None:
    terminal.memory = many(2, "2026-03-02 08:00:00")
    cursor = fetched(terminal)[-1].cursor
    terminal.reset()
    terminal.memory = many(2 * LENGTH, "2026-03-02 08:10:00")

    async def first(adapter: HfSecurityPull) -> Page:
        return await anext(adapter.fetch(Fetch(entry(terminal), {}, cursor, None, NOW)))

    assert with_adapter(terminal, first).cursor == cursor


def test_a_memory_that_was_cleared_and_is_empty_begins_anew_once(terminal: HeyStarDevice) -> None:
    terminal.memory = many(2)
    cursor = fetched(terminal)[-1].cursor
    terminal.reset()
    (page,) = fetched(terminal, cursor=cursor)
    assert page.cursor == {}
    terminal.memory = many(1)
    assert found_keys(fetched(terminal, cursor=page.cursor)) == keys(terminal.memory)


def test_a_restart_from_the_cursor_of_any_page_loses_nothing(terminal: HeyStarDevice) -> None:
    terminal.memory = many(3 * LENGTH)
    found = fetched(terminal)
    for number, page in enumerate(found):
        rest = fetched(terminal, cursor=page.cursor)
        assert found_keys([*found[: number + 1], *rest]) == keys(terminal.memory)


def test_the_cursor_is_not_moved_by_a_record_that_is_dated_ahead(terminal: HeyStarDevice) -> None:
    terminal.memory = [Punch("1", wall("2031-01-01 08:00:00"))]
    found = fetched(terminal)
    assert found[-1].cursor == {}
    terminal.memory.append(Punch("2", wall("2026-03-02 11:00:00")))
    assert found_keys(fetched(terminal, cursor=found[-1].cursor)) == keys(terminal.memory)


def test_records_that_go_while_they_are_read_fail_the_fetch(terminal: HeyStarDevice) -> None:
    terminal.memory = many(3 * LENGTH)

    async def work(adapter: HfSecurityPull) -> None:
        reading = adapter.fetch(Fetch(entry(terminal), {}, None, None, NOW))
        await anext(reading)
        del terminal.memory[:30]
        async for _ in reading:
            pass

    with pytest.raises(UnreadableAnswer, match="records went"):
        with_adapter(terminal, work)


def test_a_sweep_goes_back_as_far_as_the_terminal_keeps_records(terminal: HeyStarDevice) -> None:
    terminal.recognition["recRecordSaveDays"] = 20
    terminal.memory = many(1, "2026-03-02 08:00:00")

    async def work(adapter: HfSecurityPull) -> list[Page]:
        device = entry(terminal)
        cursor = (await pages(adapter, device))[-1].cursor
        late = [*many(1, "2026-02-12 08:00:00"), *many(1, "2000-01-01 00:01:00")]
        terminal.memory += late
        assert not keys(late) & found_keys(await pages(adapter, device, cursor))
        swept = await pages(adapter, device, cursor, since=NOW - timedelta(days=3))
        assert {orjson.dumps(page.cursor) for page in swept} == {orjson.dumps(cursor)}
        return swept

    assert found_keys(with_adapter(terminal, work)) == keys(terminal.memory)


def test_a_terminal_that_answers_without_a_list_claims_nothing() -> None:
    answers = {"device/get": {}, "device/getConfig": {}, "record/findList": None}
    (page,) = answered_with({verb: {"code": "000", "data": data} for verb, data in answers.items()})
    assert page.complete_until is None


def answered_with(answers: Mapping[str, object], status: int = 200, **headers: str) -> list[Page]:
    """The pages of a terminal that gives these answers to these verbs; any other is refused."""

    def handle(request: httpx.Request) -> httpx.Response:
        verb = request.url.path.removeprefix("/cgi-bin/js/")
        content = answers.get(verb, {"code": "100", "msg": "unknown"})
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return httpx.Response(status, content=body, headers=headers)

    async def work() -> list[Page]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            adapter = HfSecurityPull(Tools(http, lambda _device, _name: "x", ()))
            common = {"device_id": "GATE-3", "site": "riyadh", "timezone": ZONE, "mode": "pull", "host": "10.0.0.5"}
            return await pages(adapter, Device.model_validate(common | {"options": {"api": "cgi"}}))

    return asyncio.run(work())


def failure(answer: object, status: int = 200, **headers: str) -> Exception:
    with pytest.raises((DeviceUnavailable, DeviceRefused)) as caught:
        answered_with(dict.fromkeys(READING, answer), status, **headers)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"code": "401", "msg": ""}, DeviceRefused),
        ({"code": 401, "msg": ""}, DeviceRefused),
        ({"code": "403"}, DeviceRefused),
        ({"code": "1002", "msg": ""}, DeviceUnavailable),
        ({"code": "404", "msg": ""}, DeviceUnavailable),
        ({"code": "408", "msg": ""}, DeviceUnavailable),
        ({"code": "400", "msg": ""}, UnreadableAnswer),
        ({"code": 200, "msg": "", "rows": []}, UnreadableAnswer),
        ({"code": "000", "success": False, "data": []}, UnreadableAnswer),
        ({"code": "000", "data": {"total": 3}}, UnreadableAnswer),
        ({"code": "000", "data": "text"}, UnreadableAnswer),
        ({"success": False}, UnreadableAnswer),
        (b"<html></html>", UnreadableAnswer),
        (b"", UnreadableAnswer),
        ([], UnreadableAnswer),
    ],
)
def test_a_failure_within_an_answer_of_200_is_a_failure(answer: object, kind: type[Exception]) -> None:
    assert type(failure(answer)) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, DeviceRefused),
        (403, DeviceRefused),
        (302, DeviceRefused),
        (429, DeviceUnavailable),
        (503, DeviceUnavailable),
    ],
)
def test_a_status_is_understood_as_every_other_devices_is(status: int, kind: type[Exception]) -> None:
    headers = {"retry-after": "120", "location": "http://10.0.0.6/"}
    error = failure({"code": "000", "data": []}, status, **headers)
    assert type(error) is kind
    if isinstance(error, DeviceUnavailable):
        assert error.retry_after == 120


def test_a_terminal_that_does_not_know_what_it_is_hands_over_its_punches_nevertheless() -> None:
    row = {"id": 1, "personSn": "7", "createTime": milliseconds("2026-03-02 08:00:00"), "resultFlag": 1}
    found = answered_with({"record/findList": {"code": "000", "data": row}})
    assert len(events(found)) == 1
    assert str(details(found)["settings"]).startswith("unknown")


def test_a_wrong_password_is_tried_once_and_is_in_no_message(terminal: HeyStarDevice) -> None:
    terminal.faults.password_wrong = True
    with pytest.raises(DeviceRefused) as caught:
        fetched(terminal)
    assert terminal.logins_refused == 1
    assert terminal.password not in str(caught.value)


def test_another_terminal_at_the_same_address_is_not_read(terminal: HeyStarDevice) -> None:
    terminal.memory = many(1)
    with pytest.raises(DeviceRefused, match="not 00ee"):
        fetched(terminal, entry(terminal, serial="00ee"))
    assert "record/findList" not in terminal.asked


def test_records_of_another_terminal_are_refused(terminal: HeyStarDevice) -> None:
    at = milliseconds("2026-03-02 08:00:00")
    terminal.extra = [(at, {"id": 1, "deviceKey": "00ee", "personSn": "7", "createTime": at, "resultFlag": 1})]
    with pytest.raises(DeviceRefused, match="00ee"):
        fetched(terminal)


class TestTheMiddleware:
    @pytest.fixture
    def terminal(self) -> HeyStarMiddleware:
        return HeyStarMiddleware(SERIAL, ZONE, "123456", memory=many(3))

    def test_its_terminals_are_read_by_their_key_and_secret(self, terminal: HeyStarMiddleware) -> None:
        assert found_keys(fetched(terminal)) == keys(terminal.memory)

    def test_a_terminal_that_is_not_connected_keeps_its_cursor(self, terminal: HeyStarMiddleware) -> None:
        terminal.connected = False
        with pytest.raises(DeviceUnavailable, match="not connected"):
            fetched(terminal)

    def test_an_entry_without_a_serial_number_is_refused_before_anything_is_sent(
        self, terminal: HeyStarMiddleware
    ) -> None:
        with pytest.raises(DeviceRefused, match="serial"):
            fetched(terminal, entry(terminal, serial=None))
        assert terminal.requests == 0

    def test_a_secret_under_the_name_of_a_password_is_sent(self, terminal: HeyStarMiddleware) -> None:
        async def work() -> list[Page]:
            async with terminal.serving(), httpx.AsyncClient(trust_env=False) as http:
                adapter = HfSecurityPull(Tools(http, lambda _device, name: {"password": "123456"}[name], ()))
                return await pages(adapter, entry(terminal, credentials={"password": "P"}))

        assert len(events(asyncio.run(work()))) == 3


class TestRecognising:
    def test_a_terminal_is_known_before_it_is_given_a_password(self, terminal: HeyStarDevice) -> None:
        terminal.memory = many(2)
        assert found_keys(fetched(terminal, entry(terminal, options={"api": None}))) == keys(terminal.memory)

    @pytest.mark.parametrize("status", [200, 404, 501])
    def test_whatever_else_listens_there_hears_no_password(self, status: int) -> None:
        requests = []

        def handle(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(status, content=b"<html></html>")

        async def work() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
                adapter = HfSecurityPull(Tools(http, lambda _device, _name: "a-secret", ()))
                common = {"device_id": "G", "site": "s", "timezone": ZONE, "mode": "pull", "host": "10.0.0.5"}
                await pages(adapter, Device.model_validate(common))

        with pytest.raises(UnreadableAnswer if status != 501 else DeviceUnavailable):
            asyncio.run(work())
        assert requests
        assert not any("authorization" in request.headers or b"a-secret" in request.content for request in requests)
        assert not any("a-secret" in str(request.url) for request in requests)

    def test_after_a_failure_it_is_recognised_anew(self, terminal: HeyStarDevice) -> None:
        async def work(adapter: HfSecurityPull) -> None:
            device = entry(terminal, options={"api": None})
            await pages(adapter, device)
            before = terminal.requests
            await pages(adapter, device)
            usual = terminal.requests - before
            terminal.connected = False
            with pytest.raises(DeviceUnavailable):
                await pages(adapter, device)
            terminal.connected = True
            before = terminal.requests
            await pages(adapter, device)
            assert terminal.requests - before == usual + 2

        with_adapter(terminal, work)

    def test_the_port_of_the_middleware_is_that_of_the_middleware(self) -> None:
        def handle(request: httpx.Request) -> httpx.Response:
            assert request.url.path.startswith("/api/")
            return httpx.Response(200, json={"success": True, "data": []})

        async def work() -> list[Page]:
            async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
                adapter = HfSecurityPull(Tools(http, lambda _device, _name: "x", ()))
                common = {"device_id": "G", "site": "s", "timezone": ZONE, "mode": "pull", "host": "10.0.0.5"}
                return await pages(adapter, Device.model_validate(common | {"port": 8190, "serial": SERIAL}))

        (page,) = asyncio.run(work())
        assert page.complete_until is not None


class TestVerbs:
    @pytest.mark.parametrize("verb", NEVER)
    def test_a_verb_that_does_harm_is_never_sent(self, terminal: HeyStarDevice, verb: str) -> None:
        async def work() -> None:
            async with httpx.AsyncClient() as http:
                api = HeyStarApi(Tools(http, lambda _device, _name: "x", ()), entry(terminal), "cgi")
                await api.read(verb)  # type: ignore[arg-type]

        assert verb not in READING | WRITING
        with pytest.raises(AssertionError, match="never sent"):
            asyncio.run(work())

    def test_fetching_and_probing_write_nothing(self, terminal: HeyStarDevice) -> None:
        terminal.memory = many(2)
        device = entry(terminal, {"callback_url": "http://10.0.0.9:8080/hf/{token}"})

        async def work(adapter: HfSecurityPull) -> None:
            await pages(adapter, device)
            await pages(adapter, device, since=NOW - timedelta(days=3))
            probed = await adapter.probe(device)
            assert (probed.serial, probed.report.details["version"]) == (SERIAL, "1.42.0.2")
            await adapter.settings(device)

        with_adapter(terminal, work)
        assert set(terminal.asked) == READING
        assert terminal.writes == []

    def test_one_terminal_is_asked_one_thing_at_a_time_with_basic_and_json(self, terminal: HeyStarDevice) -> None:
        seen: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json={"code": "000", "data": []})

        async def work() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
                await pages(HfSecurityPull(Tools(http, lambda _device, _name: "päss", ())), entry(terminal))

        asyncio.run(work())
        request = next(each for each in seen if each.url.path.endswith("findList"))
        scheme, _, given_ = request.headers["authorization"].partition(" ")
        assert (scheme, b64decode(given_).decode()) == ("Basic", "admin:päss")
        content = orjson.loads(request.content)
        assert content | {"startTime": 0, "endTime": 0} == {
            "startTime": 0,
            "endTime": 0,
            "index": 1,
            "length": LENGTH,
            "order": 1,
            "recordType": 0,
            "personType": -1,
        }


names = st.sampled_from(["id", "personSn", "createTime", "resultFlag", "deviceKey", "records", "recordTimeStr"])
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=6,
)


@given(content=st.binary(max_size=60) | data)
@settings(deadline=None, max_examples=80)
def test_any_answer_is_read_or_an_error(content: object) -> None:
    answer = content if isinstance(content, bytes) else {"code": "000", "data": content}
    try:
        found = answered_with(dict.fromkeys(READING, answer))
    except (DeviceUnavailable, DeviceRefused):
        return
    if isinstance(content, list):
        assert sum(len(page.events) + len(page.others) + len(page.rejected) for page in found) >= len(content)
