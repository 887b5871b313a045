import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from attendance.errors import DeviceRefused, DeviceUnavailable, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.settings import PushSettings
from producers.devices.contract import Cursor, Fetch, Head, Page, PushRequest, Tools
from producers.devices.hikvision.pull import SEEN, HikvisionPull
from producers.devices.hikvision.push import Hikvision
from sandbox.terminals.base import PHOTO, Punch
from sandbox.terminals.hikvision import AskedTerminal, PushingTerminal

FIELDS = PushSettings.model_fields["payload_fields"].default
SERIAL = "DS-K1T00020260101V000000ENF12345678"
MORNING = datetime.fromisoformat("2026-01-01T08:00:00")


def punches(count: int, start: datetime = MORNING, step: float = 1, first: int = 1) -> list[Punch]:
    return [
        Punch(f"{number:06}", start + timedelta(seconds=step * number), "IN" if number % 2 else "", number)
        for number in range(first, first + count)
    ]


class Pull:
    """An adapter at work on a simulated terminal, with what it handed over so far."""

    def __init__(self, terminal: AskedTerminal, http: httpx.AsyncClient, **entry: Any) -> None:
        fields: dict[str, Any] = {**terminal.registry_entry(), **entry}
        self.device = Device(device_id="GATE-2", site="riyadh", timezone=terminal.zone, **fields)
        self.terminal = terminal
        self.adapter = HikvisionPull(Tools(http, lambda _, name: terminal.credentials()[name], FIELDS))
        self.cursor: Cursor | None = None
        self.events: list[RawEvent] = []

    async def fetch(self, since: datetime | None = None, *, pages: int | None = None) -> list[Page]:
        wanted = Fetch(self.device, {}, self.cursor, since, datetime.now(UTC))
        got = []
        async with aclosing(self.adapter.fetch(wanted)) as found:  # type: ignore[type-var]
            async for page in found:
                got.append(page)
                self.cursor = json.loads(json.dumps(page.cursor))
                self.events += page.events
                if pages is not None and len(got) == pages:
                    break
        return got

    def users(self) -> list[str]:
        return [event.device_user_id for event in self.events]


def pulling(terminal: AskedTerminal, body: Callable[[Pull], Awaitable[None]], **entry: Any) -> None:
    async def run() -> None:
        async with terminal.serving(), httpx.AsyncClient(timeout=5, trust_env=False) as http:
            await body(Pull(terminal, http, **entry))

    asyncio.run(run())


def terminal_with(memory: list[Punch], **quirks: Any) -> AskedTerminal:
    return AskedTerminal(SERIAL, "Asia/Riyadh", "s3cret pass", memory, **quirks)


def test_everything_in_a_memory_is_handed_over_once_and_then_only_what_is_new() -> None:
    terminal = terminal_with(punches(100))

    async def body(pull: Pull) -> None:
        pages = await pull.fetch()
        assert pull.users() == [punch.user for punch in terminal.memory]
        assert pages[-1].complete_until is not None
        assert pages[0].report is not None
        assert pages[0].report.device_time is not None
        assert pages[-1].report == pages[0].report
        assert all(page.report is None for page in pages[1:-1])
        terminal.memory += punches(1, datetime.now(ZoneInfo("Asia/Riyadh")).replace(tzinfo=None), first=101)
        await pull.fetch()
        await pull.fetch()
        assert len(pull.events) == 101
        assert terminal.logins_refused == 0

    pulling(terminal, body)


def test_a_punch_is_the_same_by_push_and_by_pull() -> None:
    memory = [Punch("007", MORNING, direction, 5, photo=PHOTO) for direction in ("IN", "OUT", "")]
    memory += [Punch("سارة", datetime.fromisoformat("2000-01-01T00:00:09"), "", 6)]
    memory += [Punch("1", datetime.fromisoformat("2031-01-01T00:00:09"), "", 7)]
    memory += [Punch("2", datetime.fromisoformat("2025-10-26T02:30:00"), "", 8)]
    terminal = AskedTerminal(
        "S1", "Europe/Berlin", "p", [Punch(p.user, p.at, p.direction, n) for n, p in enumerate(memory)]
    )

    async def body(pull: Pull) -> None:
        await pull.fetch()
        from_push = []
        for request in PushingTerminal("S1", "token-of-the-gate", "Europe/Berlin").upload(memory):
            from_push += read_push(request.body, pull.device)
        assert {event.event_id for event in pull.events} == {event.event_id for event in from_push}
        assert all(PHOTO[:40] not in event.encode() for event in pull.events)

    pulling(terminal, body)


def read_push(body: bytes, device: Device) -> list[RawEvent]:
    head = Head("POST", "/hik/{token}", {"token": "token-of-the-gate"}, {}, {})
    return list(Hikvision(FIELDS).parse(PushRequest(head, body, datetime.now(UTC)), {"GATE-2": device}).events)


def test_a_large_memory_is_read_in_windows_and_any_of_their_cursors_loses_nothing() -> None:
    terminal = terminal_with(punches(1_500, step=600))

    async def body(pull: Pull) -> None:
        for _ in range(4):
            await pull.fetch(pages=40)
        assert set(pull.users()) == {punch.user for punch in terminal.memory}
        assert len(pull.events) < 3_000
        [*_, last] = await pull.fetch()
        assert last.complete_until is not None
        assert not last.events

    pulling(terminal, body)


def test_more_punches_in_one_second_than_a_window_holds_are_all_read() -> None:
    terminal = terminal_with(punches(950, step=0))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert len(set(pull.users())) == 950

    pulling(terminal, body)


def test_a_memory_that_grows_while_it_is_read_loses_nothing() -> None:
    terminal = terminal_with(punches(95))
    terminal.faults.grows = punches(5, first=96)

    async def body(pull: Pull) -> None:
        await pull.fetch()
        await pull.fetch()
        await pull.fetch()
        assert {punch.user for punch in terminal.memory} == set(pull.users())
        assert not terminal.faults.grows

    pulling(terminal, body)


@pytest.mark.parametrize("off", [1, -1, 50, -100])
@pytest.mark.parametrize("held", [0, 7, 95])
def test_a_total_that_does_not_fit_is_no_answer(off: int, held: int) -> None:
    terminal = terminal_with(punches(held))
    terminal.faults.count_off = off

    async def body(pull: Pull) -> None:
        with pytest.raises(UnreadableAnswer):
            await pull.fetch()
        assert not pull.cursor

    pulling(terminal, body)


@pytest.mark.parametrize("records", [0, 1, 30])
def test_an_answer_that_is_cut_off_leaves_the_cursor(records: int) -> None:
    terminal = terminal_with(punches(95))
    terminal.faults.cut_after = records

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceUnavailable):
            await pull.fetch()
        assert not pull.cursor
        terminal.faults.cut_after = None
        await pull.fetch()
        assert len(pull.users()) == 95

    pulling(terminal, body)


def test_a_terminal_that_restarts_while_it_is_read_has_forgotten_the_search() -> None:
    terminal = terminal_with(punches(95), restarts_after=2)

    async def body(pull: Pull) -> None:
        with pytest.raises(UnreadableAnswer):
            await pull.fetch()
        assert len(pull.users()) < 95
        await pull.fetch()
        assert len(set(pull.users())) == 95

    pulling(terminal, body)


@pytest.mark.parametrize("times", [1, 2])
def test_a_terminal_that_cannot_serve_now_is_asked_later(times: int) -> None:
    terminal = terminal_with(punches(3))
    terminal.faults.unavailable = times

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceUnavailable):
            await pull.fetch()
        terminal.faults.unavailable = 0
        await pull.fetch()
        assert len(pull.users()) == 3

    pulling(terminal, body)


def test_a_wrong_password_is_tried_once_and_no_more() -> None:
    terminal = terminal_with(punches(3))
    terminal.faults.password_wrong = True

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="credentials"):
            await pull.fetch()
        assert terminal.logins_refused == 1
        with pytest.raises(DeviceRefused):
            await pull.adapter.probe(pull.device)
        assert terminal.logins_refused == 2

    pulling(terminal, body)


def test_a_password_that_is_changed_while_a_terminal_is_read_is_tried_twice_at_most() -> None:
    terminal = terminal_with(punches(1_500, step=600))

    async def body(pull: Pull) -> None:
        pages = pull.adapter.fetch(Fetch(pull.device, {}, None, None, datetime.now(UTC)))
        await anext(pages)
        terminal.faults.password_wrong = True
        with pytest.raises(DeviceRefused):
            await anext(pages)
        assert terminal.logins_refused <= 2

    pulling(terminal, body)


def test_a_nonce_that_is_used_up_is_no_refused_login() -> None:
    terminal = terminal_with(punches(200), nonce_uses=2)

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert len(pull.users()) == 200
        assert terminal.logins_refused == 0

    pulling(terminal, body)


def test_a_terminal_that_cannot_be_searched_is_told_to_push() -> None:
    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="push"):
            await pull.fetch()

    pulling(terminal_with([], supported=False), body)


def test_a_terminal_that_wants_local_times_is_asked_so_and_that_is_remembered() -> None:
    terminal = terminal_with(punches(40), local_times=True)

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert len(pull.users()) == 40
        assert pull.events[0].event_time == datetime(2026, 1, 1, 5, 0, 1, tzinfo=UTC)
        before = terminal.requests
        await pull.fetch()
        assert pull.cursor is not None
        assert pull.cursor["local_times"] is True
        local = terminal.requests - before
        terminal.local_times = False
        pull.cursor = {**pull.cursor, "local_times": False}
        before = terminal.requests
        await pull.fetch()
        assert terminal.requests - before == local

    pulling(terminal, body)


CAPABILITIES = "/ISAPI/AccessControl/AcsEvent/capabilities"


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 501])
def test_a_terminal_that_does_not_tell_what_it_can_is_searched_all_the_same(status: int) -> None:
    terminal = terminal_with(punches(40), missing={CAPABILITIES: status})

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert len(pull.users()) == 40

    pulling(terminal, body)


def test_a_terminal_that_takes_no_page_of_the_usual_size_is_asked_for_smaller_ones() -> None:
    terminal = terminal_with(
        punches(40), missing={CAPABILITIES: 404}, max_results=10, refuses_large_pages=True, local_times=True
    )

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert len(pull.users()) == 40
        before = terminal.requests
        await pull.fetch()
        assert terminal.requests - before == 8  # a challenge, who it is, its clock, and two searches, one of four pages

    pulling(terminal, body)


DOOR = {"major": 5, "minor": 21, "time": "2026-01-01T08:00:02+03:00", "serialNo": 900}
LOGIN = {"major": 3, "minor": 112, "time": "2026-01-01T08:00:02+03:00", "serialNo": 901}


@pytest.mark.parametrize(
    "refusal", [(403, 4, "Invalid Operation", "invalidOperation"), (400, 6, "Invalid Content", "x")]
)
@pytest.mark.parametrize("answers_200", [False, True])
@pytest.mark.parametrize("searchable", [[(0, 0)], [(5, 75), (5, 1)], [(5, 181), (5, 75)]])
def test_a_terminal_that_takes_another_search_is_searched_so_and_that_is_remembered(
    searchable: list[tuple[int, int]],
    answers_200: bool,  # noqa: FBT001 - a parameter of the test
    refusal: tuple[int, int, str, str],
) -> None:
    refused = (200, *refusal[1:]) if answers_200 else refusal
    terminal = terminal_with(punches(40), searchable=searchable, refusal=refused, extra=[DOOR, LOGIN])

    async def body(pull: Pull) -> None:
        pages = await pull.fetch()
        assert len(pull.users()) == 40
        assert pages[-1].complete_until is not None
        terminal.memory += punches(1, datetime.now(ZoneInfo("Asia/Riyadh")).replace(tzinfo=None), first=101)
        before = terminal.requests
        await pull.fetch()
        assert len(pull.users()) == 41
        assert terminal.requests - before < 10 or (0, 0) not in searchable

    pulling(terminal, body)


@pytest.mark.parametrize("kind", ["lowPrivilege", "userLocked", "notActivated"])
def test_an_account_that_may_not_search_is_not_asked_in_every_form(kind: str) -> None:
    terminal = terminal_with(punches(3), searchable=[], refusal=(403, 4, "Invalid Operation", kind))

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="account"):
            await pull.fetch()
        assert terminal.requests < 10

    pulling(terminal, body)


def test_a_terminal_that_is_busy_is_asked_later() -> None:
    terminal = terminal_with(punches(3), searchable=[], refusal=(403, 2, "Device Busy", "deviceBusy"))

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceUnavailable):
            await pull.fetch()

    pulling(terminal, body)


def test_a_terminal_that_does_not_tell_its_clock_is_read_and_claims_nothing() -> None:
    terminal = terminal_with(punches(40), missing={"/ISAPI/System/time": 403})

    async def body(pull: Pull) -> None:
        pages = await pull.fetch()
        assert len(pull.users()) == 40
        assert all(page.complete_until is None for page in pages)
        assert all(page.report is None or page.report.device_time is None for page in pages)
        await pull.fetch()
        assert len(pull.users()) == 40

    pulling(terminal, body)


def test_a_terminal_that_does_not_tell_its_number_is_not_taken_for_the_one_of_the_entry() -> None:
    terminal = terminal_with(punches(3), missing={"/ISAPI/System/deviceInfo": 404})

    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="serial number"):
            await pull.fetch()

    pulling(terminal, body)
    pulling(terminal, lambda pull: pull.fetch(), serial=None)


def test_a_terminal_that_has_no_other_scheme_gets_its_password_by_basic() -> None:
    terminal = terminal_with(punches(40), scheme="Basic")

    async def body(pull: Pull) -> None:
        with capture_logs() as logs:
            await pull.fetch()
            await pull.fetch()
        assert len(pull.users()) == 40
        assert terminal.logins_refused == 0
        assert [line["event"][:42] for line in logs] == ["A terminal wants its password in the clear"]
        terminal.faults.password_wrong = True
        with pytest.raises(DeviceRefused, match="refuses the credentials"):
            await pull.fetch()
        assert terminal.logins_refused == 1

    pulling(terminal, body)


def test_a_terminal_that_asked_for_a_digest_never_gets_its_password_in_the_clear() -> None:
    terminal = terminal_with(punches(3))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        terminal.scheme = "Basic"
        with pytest.raises(DeviceRefused, match="sent none"):
            await pull.fetch()
        assert terminal.schemes_seen == {"", "Digest"}

    pulling(terminal, body)


def test_a_terminal_that_asks_for_what_nobody_speaks_is_said_to_and_refuses_nothing() -> None:
    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="asks for ntlm, so it was sent none"):
            await pull.fetch()

    pulling(terminal_with(punches(3), scheme="NTLM"), body)


def test_what_was_punched_after_the_clock_was_lost_is_found_and_not_given_twice() -> None:
    terminal = terminal_with(punches(3))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        terminal.memory += punches(2, datetime.fromisoformat("2000-01-01T00:00:00"), first=4)
        await pull.fetch()
        await pull.fetch()
        await pull.fetch()
        assert pull.users() == ["000001", "000002", "000003", "000004", "000005"]

    pulling(terminal, body)


def test_what_was_punched_after_the_clock_was_put_back_is_found() -> None:
    wall = datetime.now(ZoneInfo("Asia/Riyadh")).replace(tzinfo=None, microsecond=0)
    terminal = terminal_with(punches(3, wall + timedelta(minutes=110)), clock_off=timedelta(hours=2))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        terminal.clock_off = timedelta(0)
        terminal.memory += punches(1, wall - timedelta(minutes=1), first=4)
        await pull.fetch()
        await pull.fetch()
        assert pull.users() == ["000001", "000002", "000003", "000004"]

    pulling(terminal, body)


def test_a_punch_that_is_dated_ahead_hides_nothing_that_follows_it() -> None:
    wall = datetime.now(ZoneInfo("Asia/Riyadh")).replace(tzinfo=None, microsecond=0)
    terminal = terminal_with([*punches(1), *punches(1, wall + timedelta(days=400), first=2)])

    async def body(pull: Pull) -> None:
        await pull.fetch()
        terminal.memory += punches(1, wall - timedelta(minutes=1), first=3)
        await pull.fetch()
        await pull.fetch()
        assert pull.users() == ["000001", "000002", "000003"]

    pulling(terminal, body)


@pytest.mark.parametrize("fields", [{"InfoList": None}, {"numOfMatches": "0", "totalMatches": "0"}])
def test_a_page_of_nothing_is_one_however_it_is_written(fields: dict[str, Any]) -> None:
    page = {"responseStatusStrg": "NO MATCH", "numOfMatches": 0, "totalMatches": 0, "InfoList": []} | fields
    clock = b'{"Time": {"localTime": "2026-01-01T08:00:00+03:00"}}'

    def answered(request: httpx.Request) -> httpx.Response:
        body = clock if request.url.path == "/ISAPI/System/time" else json.dumps({"AcsEvent": page}).encode()
        return httpx.Response(200, content=body)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as http:
            device = Device(device_id="D", site="s", timezone="Asia/Riyadh", mode="pull", host="127.0.0.1")
            adapter = HikvisionPull(Tools(http, lambda _, name: name, FIELDS))
            pages = [page async for page in adapter.fetch(Fetch(device, {}, None, None, datetime.now(UTC)))]
            assert pages[-1].complete_until == datetime(2026, 1, 1, 4, 58, tzinfo=UTC)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("OK", None),
        ("more", {"responseStatusStrg": "NO MATCH", "numOfMatches": 0, "totalMatches": 0}),
        ("MORE", {"responseStatusStrg": "NO MATCH", "numOfMatches": 0, "totalMatches": 1, "InfoList": []}),
        ("MORE", {"responseStatusStrg": "MORE", "numOfMatches": 0, "totalMatches": 1}),
    ],
)
def test_a_search_ends_where_all_that_it_says_has_come(first: str, last: dict[str, Any] | None) -> None:
    record = {"major": 5, "minor": 75, "time": "2026-01-01T07:00:00+03:00", "employeeNoString": "7", "serialNo": 1}
    page = {"responseStatusStrg": first, "numOfMatches": 1, "totalMatches": 1, "InfoList": [record]}
    asked: list[int] = []

    def answered(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/ISAPI/System/time":
            return httpx.Response(200, content=b'{"Time": {"localTime": "2026-01-01T08:00:00+03:00"}}')
        if request.method == "GET":
            return httpx.Response(404)
        asked.append(json.loads(request.content)["AcsEventCond"]["searchResultPosition"])
        return httpx.Response(200, json={"AcsEvent": last if asked[-1] else page})

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as http:
            device = Device(device_id="D", site="s", timezone="Asia/Riyadh", mode="pull", host="127.0.0.1")
            adapter = HikvisionPull(Tools(http, lambda _, name: name, FIELDS))
            wanted = Fetch(device, {}, None, datetime(2025, 12, 31, tzinfo=UTC), datetime.now(UTC))
            found = [event.device_user_id async for page in adapter.fetch(wanted) for event in page.events]
            assert found == ["7"]
            assert asked == ([0] if last is None else [0, 1])

    asyncio.run(run())


def test_a_search_that_gives_a_record_twice_is_no_answer() -> None:
    row = {"major": 5, "minor": 75, "time": "2026-01-01T08:00:02+03:00", "employeeNoString": "7", "serialNo": 900}

    async def body(pull: Pull) -> None:
        with pytest.raises(UnreadableAnswer, match="twice"):
            await pull.fetch()

    pulling(terminal_with([], extra=[row, row]), body)


def test_numbers_that_begin_again_hide_nothing() -> None:
    wall = datetime.now(ZoneInfo("Asia/Riyadh")).replace(tzinfo=None)
    terminal = terminal_with(punches(5, wall - timedelta(seconds=60)))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        terminal.memory[:] = [Punch(f"9{n}", wall - timedelta(seconds=40 - n), "", n) for n in range(1, 6)]
        await pull.fetch()
        assert pull.users()[5:] == ["91", "92", "93", "94", "95"]

    pulling(terminal, body)


def test_a_sweep_hands_over_everything_and_leaves_the_cursor() -> None:
    terminal = terminal_with(punches(40, step=3600))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        cursor = pull.cursor
        pages = await pull.fetch(datetime(2026, 1, 2, tzinfo=UTC))
        assert pull.cursor == cursor
        assert {event.event_time for event in pull.events[40:]} >= {
            event.event_time
            for event in pull.events
            if event.event_time is not None and event.event_time >= datetime(2026, 1, 2, tzinfo=UTC)
        }
        assert len(pull.events) < 80
        assert all(page.complete_until is None for page in pages)

    pulling(terminal, body)


def test_the_hour_that_comes_twice_is_not_passed_over() -> None:
    terminal = AskedTerminal(
        "S1", "Europe/Berlin", "p", punches(90, datetime.fromisoformat("2025-10-26T01:00:00"), 120)
    )

    async def body(pull: Pull) -> None:
        await pull.fetch(datetime(2025, 10, 26, 0, 30, tzinfo=UTC))
        assert {event.event_time for event in pull.events} >= {
            datetime(2025, 10, 26, 0, 30, tzinfo=UTC) + timedelta(seconds=120 * n) for n in range(10)
        }

    pulling(terminal, body)


def test_records_that_are_no_punches_and_those_that_cannot_be_read_are_kept_apart() -> None:
    row = {"major": 5, "minor": 75, "time": "2026-01-01T08:00:02+03:00", "employeeNoString": "7", "serialNo": 900}
    extra = [
        None,
        row | {"minor": 21, "employeeNoString": "", "serialNo": 901},
        row,
        row | {"minor": 222, "serialNo": 902, "name": "Zoë"},
        row | {"minor": 76, "serialNo": 903},
    ]

    async def body(pull: Pull) -> None:
        page = (await pull.fetch())[0]
        assert [event.device_user_id for event in page.events] == ["7"]
        assert [other.kind for other in page.others] == ["device", "refused"]
        assert [each.index for each in page.rejected] == [0, 3]
        assert b"Zo" not in page.rejected[1].value
        for page in await pull.fetch():
            assert (page.events, page.others, page.rejected) == ([], [], [])

    pulling(terminal_with([], extra=extra), body)


def test_another_terminal_at_the_address_is_not_taken_for_this_one() -> None:
    async def body(pull: Pull) -> None:
        with pytest.raises(DeviceRefused, match="F87654321"):
            await pull.fetch()

    pulling(terminal_with(punches(1)), body, serial="F87654321")


def test_the_serial_number_of_the_label_is_enough() -> None:
    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert len(pull.events) == 1

    pulling(terminal_with(punches(1)), body, serial="F12345678")


def test_a_probe_says_who_answers_and_how_its_clock_stands() -> None:
    async def body(pull: Pull) -> None:
        probed = await pull.adapter.probe(pull.device)
        assert probed.serial == SERIAL
        assert probed.report.details["model"] == "DS-K1T000"
        assert probed.report.device_time is not None
        assert abs(probed.report.device_time - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=5)

    pulling(terminal_with([], clock_off=timedelta(hours=1)), body)


def test_a_cursor_of_an_overlap_stays_small() -> None:
    wall = datetime.now(ZoneInfo("Asia/Riyadh")).replace(tzinfo=None)
    terminal = terminal_with(punches(SEEN + 50, wall, step=0.01))

    async def body(pull: Pull) -> None:
        await pull.fetch()
        assert pull.cursor is not None
        assert len(pull.cursor["seen"]) == SEEN

    pulling(terminal, body)


values = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)
names = st.sampled_from(["responseStatusStrg", "numOfMatches", "totalMatches", "InfoList"])
records = st.dictionaries(st.sampled_from(["major", "minor", "time", "employeeNoString", "serialNo"]), values)
answers = (
    st.binary(max_size=60)
    | values.map(json.dumps).map(str.encode)
    | st.dictionaries(names, values | st.just("OK") | st.lists(records | values, max_size=3)).map(
        lambda answer: json.dumps({"AcsEvent": answer}).encode()
    )
    | st.lists(records | values, max_size=4).map(
        lambda rows: json.dumps(
            {
                "AcsEvent": {
                    "responseStatusStrg": "OK",
                    "numOfMatches": len(rows),
                    "totalMatches": len(rows),
                    "InfoList": rows,
                }
            }
        ).encode()
    )
)


@given(answers, st.binary(max_size=30) | st.just(b"<Time><localTime>2026-01-01T08:00:00+08:00</localTime></Time>"))
@settings(deadline=None, max_examples=100)
def test_any_answer_is_read_or_is_none(answer: bytes, clock: bytes) -> None:
    def answered(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=clock if request.url.path == "/ISAPI/System/time" else answer)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as http:
            device = Device(device_id="D", site="s", timezone="Asia/Riyadh", mode="pull", host="127.0.0.1")
            adapter = HikvisionPull(Tools(http, lambda _, name: name, FIELDS))
            try:
                pages = [page async for page in adapter.fetch(Fetch(device, {}, None, None, datetime.now(UTC)))]
            except UnreadableAnswer:
                return
            rows = json.loads(answer)["AcsEvent"].get("InfoList", [])
            assert sum(len(page.events) + len(page.others) + len(page.rejected) for page in pages) == len(rows)

    asyncio.run(run())
