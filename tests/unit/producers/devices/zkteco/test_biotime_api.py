import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import DeviceRefused, DeviceUnavailable, Reason, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.settings import PushSettings
from producers.devices.contract import Cursor, Fetch, Page, Tools
from producers.devices.zkteco.biotime_api import SEEN, ZkBioTime
from sandbox.terminals.base import NAME, Punch
from sandbox.terminals.zkbiotime import BioTimeServer

FIXTURES = Path(__file__).parents[4] / "fixtures" / "zkbiotime"
FIELDS = PushSettings.model_fields["payload_fields"].default
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOON = datetime.fromisoformat("2026-03-02T12:00:00")  # in Riyadh, at NOW
GATE = Device(device_id="GATE-1", site="riyadh", timezone="Asia/Riyadh", serial="BOCK000000001", via="BIOTIME")
DOOR = Device(device_id="DOOR-2", site="berlin", timezone="Europe/Berlin", serial="BOCK000000002", via="BIOTIME")


def punches(count: int, until: datetime = NOON, first: int = 1, step: float = 60) -> list[Punch]:
    return [
        Punch(f"{number:06}", until - timedelta(seconds=step * (count - index)), "IN" if number % 2 else "OUT")
        for index, number in enumerate(range(first, first + count))
    ]


class Pull:
    """An adapter at work on a simulated server, with what it handed over so far."""

    def __init__(self, server: BioTimeServer, http: httpx.AsyncClient) -> None:
        entry: dict[str, Any] = dict(server.registry_entry())
        self.device = Device(device_id="BIOTIME", site="hq", timezone=server.zone, **entry)
        self.server = server
        self.adapter = ZkBioTime(Tools(http, lambda _, name: server.credentials()[name], FIELDS))
        self.terminals: dict[str, Device] = {}
        self.cursor: Cursor | None = None
        self.events: list[RawEvent] = []
        self.now = NOW

    async def fetch(self, since: datetime | None = None) -> list[Page]:
        pages = []
        async for page in self.adapter.fetch(Fetch(self.device, self.terminals, self.cursor, since, self.now)):
            pages.append(page)
            self.events += page.events
        self.cursor = json.loads(json.dumps(pages[-1].cursor))
        return pages

    def users(self) -> list[str]:
        return [event.device_user_id for event in self.events]


def pulling(server: BioTimeServer, body: Callable[[Pull], Awaitable[None]]) -> None:
    async def run() -> None:
        async with server.serving(), httpx.AsyncClient(timeout=5, trust_env=False) as http:
            await body(Pull(server, http))

    asyncio.run(run())


def server_with(memory: list[Punch], **quirks: Any) -> BioTimeServer:
    return BioTimeServer("BOCK000000001", "Asia/Riyadh", "s3cret", memory, **quirks)


def read(answer: bytes, terminals: dict[str, Device]) -> Page:
    def answered(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json={"token": "t"})
        return httpx.Response(200, content=answer)

    async def run() -> Page:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as http:
            adapter = ZkBioTime(Tools(http, lambda _, name: name, FIELDS))
            source = Device(device_id="BIOTIME", site="hq", timezone="Asia/Riyadh", mode="pull", host="127.0.0.1")
            page, _ = [page async for page in adapter.fetch(Fetch(source, terminals, None, None, NOW))]
            return page

    return asyncio.run(run())


def test_a_punch_is_that_of_its_terminal_and_read_in_its_zone() -> None:
    page = read((FIXTURES / "transactions.json").read_bytes(), {"BOCK000000001": GATE, "BOCK000000002": DOOR})
    first, second, third = page.events
    assert (first.device_id, first.site, first.device_user_id, first.event_type) == (
        "GATE-1",
        "riyadh",
        "000417",
        "IN",
    )
    assert first.event_time == datetime(2026, 1, 1, 5, 0, 2, tzinfo=UTC)
    assert (first.sequence, first.device_time, first.source.transport) == (90211, "2026-01-01 08:00:02", "pull")
    assert (second.device_id, second.event_type) == ("DOOR-2", "OUT")
    assert second.event_time == datetime(2026, 1, 1, 7, 0, 9, tzinfo=UTC)
    assert (third.device_id, third.event_type) == ("BIOTIME", "UNKNOWN")
    kept = b"".join(event.encode() for event in page.events)
    assert "Zoë".encode() not in kept
    assert "Müller".encode() not in kept


def test_a_punch_on_a_terminal_that_no_entry_names_counts_for_the_servers() -> None:
    page = read((FIXTURES / "transactions.json").read_bytes(), {"BOCK000000002": DOOR})
    assert [event.device_id for event in page.events] == ["BIOTIME", "DOOR-2", "BIOTIME"]
    assert page.events[0].payload["terminal_sn"] == "BOCK000000001"


def test_a_punch_on_a_disabled_terminal_is_nobody_elses() -> None:
    off = DOOR.model_copy(update={"disabled": True})
    page = read((FIXTURES / "transactions.json").read_bytes(), {"BOCK000000002": off})
    assert [event.device_id for event in page.events] == ["BIOTIME", "BIOTIME"]
    [rejected] = page.rejected
    assert (rejected.index, rejected.reason) == (1, Reason.UNKNOWN_DEVICE)
    assert "DOOR-2 is disabled" in rejected.message


@pytest.mark.parametrize(
    ("state", "meant"),
    [
        *[("0", "IN"), ("3", "IN"), ("4", "IN"), ("1", "OUT"), ("2", "OUT"), ("5", "OUT")],
        *[("255", "UNKNOWN"), ("", "UNKNOWN"), (None, "UNKNOWN"), ("Check In", "UNKNOWN"), (0, "IN"), ([], "UNKNOWN")],
    ],
)
def test_breaks_and_overtime_are_punches_and_an_unknown_state_is_one_too(state: object, meant: str) -> None:
    row = {"id": 1, "emp_code": "7", "punch_time": "2026-01-01 08:00:02", "punch_state": state}
    [event] = read(json.dumps({"count": 1, "next": None, "data": [row]}).encode(), {}).events
    assert event.event_type == meant


def test_a_row_that_names_two_users_is_rejected_with_its_neighbours_kept() -> None:
    answer = (FIXTURES / "transactions.json").read_bytes().replace(b'"emp_code"', b'"emp_code": "1", "emp_code"', 1)
    page = read(answer, {})
    [rejected] = page.rejected
    assert (rejected.index, rejected.message) == (0, "emp_code is given twice")
    assert len(page.events) == 2


def test_a_row_that_can_be_nobodys_punch_is_rejected_with_its_neighbours_kept() -> None:
    good = {"id": 1, "emp_code": "7", "punch_time": "2026-01-01 08:00:02"}
    rows = [good, None, {"id": 2, "emp_code": "", "first_name": "Zoë"}, good | {"id": 3, "punch_time": "?"}]
    page = read(json.dumps({"count": 4, "next": None, "data": rows}).encode(), {})
    assert [event.sequence for event in page.events] == [1, 3]
    assert page.events[1].event_time is None
    assert [each.index for each in page.rejected] == [1, 2]
    assert "Zo" not in page.rejected[1].value.decode()


@pytest.mark.parametrize("newest_first", [False, True])
def test_all_is_handed_over_once_and_then_only_what_is_new(newest_first: bool) -> None:  # noqa: FBT001 - a parameter
    server = server_with(punches(250), newest_first=newest_first)

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert sorted(pull.users()) == [punch.user for punch in server.memory]
        server.memory += punches(3, NOON + timedelta(minutes=4), first=251)
        pull.now += timedelta(minutes=4)
        await pull.fetch()
        await pull.fetch()
        assert sorted(pull.users()) == [punch.user for punch in server.memory]
        assert NAME.encode() not in b"".join(event.encode() for event in pull.events)

    pulling(server, body)


@pytest.mark.parametrize("days", [0.1, 0.9, 5, 25, 300, 9_000])
def test_what_a_terminal_sends_late_is_found_however_old_it_is(days: float) -> None:
    server = server_with([*punches(50, NOON - timedelta(days=days)), *punches(50, first=51)])

    async def body(pull: Pull) -> None:
        await pull.fetch()
        await pull.fetch()
        server.memory += punches(3, NOON - timedelta(days=days), first=101, step=90)
        server.memory += punches(1, NOON + timedelta(minutes=1), first=104)
        pull.now += timedelta(minutes=1)
        await pull.fetch()
        assert sorted(pull.users()[100:]) == ["000101", "000102", "000103", "000104"]
        rows_read = server.rows_read
        await pull.fetch()
        assert len(pull.events) == 104
        assert server.rows_read - rows_read <= 15

    pulling(server, body)


def test_a_late_punch_that_comes_while_the_server_is_read_is_found_by_the_next_fetch() -> None:
    server = server_with(punches(50))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        server.memory += punches(1, first=51)
        server.faults.grows = punches(1, NOON - timedelta(days=3), first=52)
        await pull.fetch()
        server.memory += punches(1, NOON + timedelta(seconds=30), first=53)
        await pull.fetch()
        assert set(pull.users()) == {punch.user for punch in server.memory}

    pulling(server, body)


def test_a_number_that_was_given_before_a_higher_one_and_is_there_after_it_is_not_passed_over() -> None:
    server = server_with(punches(50))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        server.memory += [*punches(1, NOON - timedelta(hours=2), first=51), *punches(2, first=52)]
        server.gone = {51}
        await pull.fetch()
        assert "000051" not in pull.users()
        server.gone = set()
        await pull.fetch()
        assert set(pull.users()) == {punch.user for punch in server.memory}

    pulling(server, body)


def test_a_terminal_in_a_zone_behind_the_servers_is_not_late_each_time() -> None:
    server = server_with(punches(400, step=600))

    async def body(pull: Pull) -> None:
        pull.terminals = {"BOCK000000009": DOOR.model_copy(update={"timezone": "America/New_York"})}
        await pull.fetch()
        server.memory += [Punch("9001", datetime.fromisoformat("2026-03-02T04:00:30"))]
        rows_read = server.rows_read
        await pull.fetch()
        assert pull.users()[-1] == "9001"
        assert server.rows_read - rows_read < 60

    pulling(server, body)


def test_a_server_that_grows_while_it_is_read_loses_nothing() -> None:
    server = server_with(punches(250), newest_first=True)
    server.faults.grows = punches(3, NOON + timedelta(seconds=50), first=251, step=1)

    async def body(pull: Pull) -> None:
        await pull.fetch()
        await pull.fetch()
        await pull.fetch()
        assert set(pull.users()) == {punch.user for punch in server.memory}
        assert len(server.memory) == 253

    pulling(server, body)


def test_many_punches_are_read_in_windows_and_any_cursor_loses_nothing() -> None:
    server = server_with(punches(2_500, step=600))

    async def body(pull: Pull) -> None:
        async for page in pull.adapter.fetch(Fetch(pull.device, {}, None, None, NOW)):
            pull.events += page.events
            pull.cursor = page.cursor
            if pull.cursor and pull.events:
                break
        assert len(pull.events) < 2_500
        await pull.fetch()
        assert set(pull.users()) == {punch.user for punch in server.memory}

    pulling(server, body)


@pytest.mark.parametrize("together", [3, 40, 430])
@pytest.mark.parametrize("newest_first", [True, False])
def test_rows_of_one_time_that_change_places_are_all_read(together: int, newest_first: bool) -> None:  # noqa: FBT001
    memory = [Punch(f"{number:06}", NOON - timedelta(minutes=1 + number // together), "IN") for number in range(430)]
    server = server_with(memory, ordered=False, newest_first=newest_first)

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert set(pull.users()) == {punch.user for punch in memory}
        await pull.fetch()

    pulling(server, body)


def test_a_sweep_hands_over_everything_and_leaves_the_cursor() -> None:
    server = server_with(punches(100, step=3600))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        cursor = pull.cursor
        await pull.fetch(NOW - timedelta(days=1))
        assert pull.cursor == cursor
        assert sorted(pull.users()[100:])[-24:] == [punch.user for punch in server.memory[-24:]]

    pulling(server, body)


def test_a_cursor_stays_small() -> None:
    server = server_with(punches(SEEN + 50, step=0.01))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert pull.cursor is not None
        assert len(pull.cursor["seen"]) == SEEN

    pulling(server, body)


@pytest.mark.parametrize("off", [1, -1, 50, -50])
@pytest.mark.parametrize("held", [7, 250])
def test_a_count_that_does_not_fit_is_no_answer(off: int, held: int) -> None:
    server = server_with(punches(held))
    server.faults.count_off = off

    async def body(pull: Pull) -> None:
        with pytest.raises(UnreadableAnswer):
            await pull.fetch()

    pulling(server, body)


def test_a_wrong_password_is_tried_once() -> None:
    server = server_with(punches(1))
    server.faults.password_wrong = True

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="credentials"):
            await pull.fetch()
        assert server.logins_refused == 1

    pulling(server, body)


@pytest.mark.parametrize("jwt", [True, False])
def test_a_token_serves_until_it_expires_and_is_renewed_then(jwt: bool) -> None:  # noqa: FBT001 - a parameter
    server = server_with(punches(250), token_uses=2, jwt=jwt)

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert len(pull.events) == 250
        server.token_uses = 0
        with pytest.raises(DeviceRefused, match="token"):
            await pull.fetch()

    pulling(server, body)


def test_a_licence_without_the_api_is_said_to_be_that() -> None:
    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="licence"):
            await pull.fetch()

    pulling(server_with([], licensed=False), body)


def test_the_token_goes_nowhere_but_to_the_server() -> None:
    elsewhere = server_with([])

    async def body(pull: Pull) -> None:
        async with elsewhere.serving():
            await pull.fetch()
        assert len(pull.events) == 250
        assert elsewhere.requests == 0

    pulling(server_with(punches(250), elsewhere=f"http://127.0.0.1:{elsewhere.port}"), body)


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_cannot_serve_now_is_asked_later(times: int) -> None:
    server = server_with(punches(3))
    server.faults.unavailable = times

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceUnavailable):
            await pull.fetch()
        server.faults.unavailable = 0
        await pull.fetch()
        assert len(pull.events) == 3

    pulling(server, body)


def test_a_probe_changes_nothing_and_says_how_many_terminals_there_are() -> None:
    async def body(pull: Pull) -> None:
        probed = await pull.adapter.probe(pull.device)
        assert (probed.serial, probed.report.details) == (None, {"terminals": 1})

    pulling(server_with([]), body)


values = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)
names = st.sampled_from(["id", "emp_code", "punch_time", "punch_state", "terminal_sn"])
rows = st.lists(st.dictionaries(names, values) | values, max_size=4)
pages = rows.map(lambda data: json.dumps({"count": len(data), "next": None, "data": data}).encode())
answers = st.dictionaries(st.sampled_from(["count", "next", "data"]), values | rows).map(json.dumps).map(str.encode)


@given(st.binary(max_size=60) | answers | pages)
@settings(deadline=None, max_examples=80)
def test_any_answer_is_read_or_is_none(answer: bytes) -> None:
    try:
        page = read(answer, {})
    except UnreadableAnswer:
        return
    found = {json.dumps(row) for row in json.loads(answer)["data"]}
    assert len(page.events) + len(page.rejected) == len(found)
    for event in page.events:
        assert RawEvent.decode(event.encode()) == event
