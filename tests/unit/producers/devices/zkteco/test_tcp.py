"""ZKTeco over TCP 4370: pyzk in its own process against a terminal on 127.0.0.1, and the decoding of what it reads."""

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import orjson
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import ConfigurationError, DeviceRefused, DeviceUnavailable, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from producers.devices import create_pull_adapter
from producers.devices.contract import Cursor, Fetch, Page, PullAdapter, Tools
from producers.devices.zkteco import tcp as zkteco_tcp
from producers.devices.zkteco.attendance_log import Users, clock, read_log, time_text
from sandbox.terminals.base import Punch
from sandbox.terminals.zkteco_tcp import ZktecoTcp

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
EIGHT = datetime.fromisoformat("2026-03-05 08:00")
THIRTY_FIRST_OF_FEBRUARY = ((26 * 12 + 1) * 31 + 30) * 86400
READS = {9, 11, 13, 50, 201, 1000, 1001, 1102, 1502, 1503, 1504}


@dataclass
class Setup:
    """An adapter beside the terminal that it asks."""

    runner: asyncio.Runner
    terminal: ZktecoTcp
    adapter: PullAdapter
    entry: dict[str, Any]

    @property
    def source(self) -> Device:
        return Device.model_validate(self.entry)

    def pages(self, cursor: Cursor | None = None, since: datetime | None = None) -> Sequence[Page]:
        async def fetch() -> Sequence[Page]:
            stored = None if cursor is None else orjson.loads(orjson.dumps(cursor))
            return [page async for page in self.adapter.fetch(Fetch(self.source, {}, stored, since, NOW))]

        return self.runner.run(fetch())

    def events(self, cursor: Cursor | None = None, since: datetime | None = None) -> Sequence[RawEvent]:
        return [event for page in self.pages(cursor, since) for event in page.events]


@contextmanager
def set_up(punches: Sequence[Punch] = (), width: int = 40, password: str = "hunter2") -> Iterator[Setup]:
    terminal = ZktecoTcp("SN0001", "Asia/Riyadh", password, width)
    terminal.memory.extend(punches)
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404)))
    with asyncio.Runner() as runner:
        serving = terminal.serving()
        runner.run(serving.__aenter__())
        try:
            adapter = create_pull_adapter("zkteco_tcp", Tools(http, lambda _, name: terminal.credentials()[name], ()))
            entry = {"device_id": "gate", "site": "hq", "timezone": "Asia/Riyadh", **terminal.registry_entry()}
            yield Setup(runner, terminal, adapter, entry | {"credentials": {"comm_key": "GATE_KEY"}})
        finally:
            runner.run(serving.__aexit__(None, None, None))


def punches(count: int, user: str = "0417") -> list[Punch]:
    return [Punch(user, EIGHT + timedelta(seconds=second), "IN") for second in range(count)]


def times(events: Sequence[RawEvent]) -> list[str | None]:
    return [event.device_time for event in events]


def written(punches: Sequence[Punch]) -> list[str]:
    return [punch.at.isoformat(sep=" ") for punch in punches]


def test_a_punch_is_read_in_the_zone_of_its_terminal_and_its_user_id_stays_a_string() -> None:
    with set_up([Punch("0417", EIGHT, "OUT")]) as setup:
        [page] = setup.pages()
    [event] = page.events
    assert (event.device_id, event.device_user_id, event.event_type) == ("gate", "0417", "OUT")
    assert (event.event_time, event.device_time) == (datetime(2026, 3, 5, 5, tzinfo=UTC), "2026-03-05 08:00:00")
    assert event.payload == {"state": 1, "verify": 15}
    assert (event.source.transport, event.source.adapter) == ("pull", "zkteco_tcp")


@pytest.mark.parametrize("width", [8, 16, 40])
def test_records_of_every_width_are_read_whether_they_come_at_once_or_by_the_piece(width: int) -> None:
    few = [Punch("0417", EIGHT, "IN"), Punch("7", EIGHT, "OUT"), Punch("0417", EIGHT + timedelta(hours=9), "")]
    with set_up(few, width) as setup:
        read = [(event.device_user_id, event.device_time, event.event_type) for event in setup.events()]
        assert read == [
            ("0417", "2026-03-05 08:00:00", "IN"),
            ("7", "2026-03-05 08:00:00", "OUT"),
            ("0417", "2026-03-05 17:00:00", "UNKNOWN"),
        ]
        setup.terminal.memory[:] = many = punches(2_000)
        assert times(setup.events()) == written(many)


@pytest.mark.parametrize("width", [16, 40])
def test_a_record_of_nobody_is_no_punch(width: int) -> None:
    with set_up([Punch("0", EIGHT, "IN"), Punch("7", EIGHT, "OUT")], width) as setup:
        [page] = setup.pages()
    assert [event.device_user_id for event in page.events] == ["7"]
    assert [other.kind for other in page.others] == ["stranger"]


def test_a_terminal_is_only_ever_read() -> None:
    with set_up(punches(2_000)) as setup:
        setup.events()
        setup.runner.run(setup.adapter.probe(setup.source))
        assert set(setup.terminal.commands) <= READS


def test_only_what_was_added_is_handed_over_the_next_time() -> None:
    with set_up(punches(3)) as setup:
        cursor = setup.pages()[-1].cursor
        [page] = setup.pages(cursor)
        assert not page.events
        assert page.cursor == cursor
        late = Punch("7", EIGHT - timedelta(days=40), "OUT")
        setup.terminal.memory.append(late)
        assert times(setup.events(cursor)) == written([late])


def test_a_log_that_was_cleared_is_handed_over_whole() -> None:
    with set_up(punches(3)) as setup:
        cursor = setup.pages()[-1].cursor
        setup.terminal.memory[:] = anew = [Punch("7", EIGHT + timedelta(hours=hour), "IN") for hour in range(4)]
        assert times(setup.events(cursor)) == written(anew)
        setup.terminal.memory.clear()
        [page] = setup.pages(cursor)
        setup.terminal.memory[:] = punches(3)
        assert times(setup.events(page.cursor)) == written(punches(3))


def test_a_log_whose_oldest_records_gave_way_is_handed_over_whole() -> None:
    with set_up(punches(5)) as setup:
        cursor = setup.pages()[-1].cursor
        setup.terminal.memory[:] = rest = [*punches(5)[1:], Punch("7", EIGHT, "IN")]
        assert times(setup.events(cursor)) == written(rest)


def test_a_restart_from_any_page_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zkteco_tcp, "PAGE_RECORDS", 4)
    memory = punches(11)
    with set_up(memory) as setup:
        pages = setup.pages()
        assert [len(page.events) for page in pages] == [4, 4, 3]
        before: list[RawEvent] = []
        for page in pages:
            before += page.events
            assert times([*before, *setup.events(page.cursor)]) == written(memory)


def test_a_sweep_brings_all_since_a_time_and_does_not_move_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zkteco_tcp, "PAGE_RECORDS", 4)
    with set_up(punches(11)) as setup:
        cursor = setup.pages()[-1].cursor
        setup.terminal.memory.append(Punch("7", EIGHT - timedelta(days=400), "IN"))
        pages = setup.pages(cursor, EIGHT.replace(second=6, hour=5, tzinfo=UTC))
        events = [event for page in pages for event in page.events]
        assert times(events) == written([*punches(11)[6:], setup.terminal.memory[-1]])
        assert all(page.cursor["records"] >= cursor["records"] for page in pages)
        assert not setup.events(pages[-1].cursor)


def test_a_punch_that_comes_while_the_log_is_read_is_not_lost() -> None:
    with set_up(punches(3)) as setup:
        grown = [Punch("7", EIGHT + timedelta(hours=hour), "IN") for hour in (1, 2)]
        setup.terminal.faults.grows.extend(grown)
        pages = setup.pages()
        events = [event for page in pages for event in page.events] + list(setup.events(pages[-1].cursor))
        assert times(events) == written([*punches(3), *grown])


def test_a_wrong_comm_key_is_refused_after_one_login() -> None:
    with set_up(punches(1)) as setup:
        setup.terminal.faults.password_wrong = True
        with pytest.raises(DeviceRefused, match="comm key"):
            setup.events()
        assert setup.terminal.logins_refused == 1


@pytest.mark.parametrize("key", ["hunter2", "-1", "4294967296", "١٢"])
def test_a_comm_key_that_is_no_number_is_refused_and_not_quoted(key: str) -> None:
    with set_up(punches(1)) as setup:
        setup.adapter._secret = lambda *_: key  # type: ignore[attr-defined]
        with pytest.raises(DeviceRefused) as caught:
            setup.events()
        assert key not in str(caught.value)
        assert setup.terminal.requests == 0


def test_a_terminal_without_a_comm_key_needs_none() -> None:
    with set_up(punches(1), password="") as setup:
        setup.entry["credentials"] = {}
        assert len(setup.events()) == 1


def test_another_terminal_at_the_address_is_refused() -> None:
    with set_up(punches(1)) as setup:
        setup.entry["serial"] = "SN0002"
        with pytest.raises(DeviceRefused, match="is SN0001, not SN0002"):
            setup.events()


def test_a_terminal_that_does_not_answer_is_unavailable() -> None:
    with set_up(punches(1)) as setup:
        setup.terminal.faults.unavailable = 1
        with pytest.raises(DeviceUnavailable):
            setup.events()
        assert len(setup.events()) == 1
        setup.entry["port"] = 1
        with pytest.raises(DeviceUnavailable):
            setup.events()


@pytest.mark.parametrize(("records", "cut"), [(5, 2), (4_700, 1_671)])
def test_a_log_that_is_cut_off_fails_the_read_at_once_and_loses_nothing(records: int, cut: int) -> None:
    with set_up(punches(records)) as setup:
        setup.terminal.faults.cut_after = cut
        with pytest.raises(DeviceUnavailable):
            setup.events()
        setup.terminal.faults.cut_after = None
        assert len(setup.events()) == records


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("records", [2, 5])
def test_a_count_that_does_not_fit_fails_the_read(records: int, off: int) -> None:
    with set_up(punches(records)) as setup:
        setup.terminal.faults.count_off = off
        with pytest.raises(UnreadableAnswer):
            setup.events()


def test_a_time_that_is_none_costs_no_other_record() -> None:
    with set_up(punches(3)) as setup:
        setup.terminal.damage = lambda log: log[:67] + struct.pack("<I", THIRTY_FIRST_OF_FEBRUARY) + log[71:]
        events = setup.events()
    assert times(events) == ["2026-03-05 08:00:00", "2026-02-31 00:00:00", "2026-03-05 08:00:02"]
    assert events[1].event_time is None


def test_a_record_without_a_user_is_rejected_and_its_neighbours_are_kept() -> None:
    with set_up(punches(3)) as setup:
        setup.terminal.damage = lambda log: log[:42] + b"\xff" * 24 + log[66:]
        [page] = setup.pages()
        assert times(page.events) == written([punches(3)[0], punches(3)[2]])
        [rejected] = page.rejected
        assert (rejected.index, rejected.reason) == (1, "invalid_event")
        assert setup.pages(page.cursor)[0].rejected == []


def test_a_log_that_holds_no_user_or_only_the_first_moment_was_misread() -> None:
    with set_up(punches(3)) as setup:
        setup.terminal.damage = lambda log: bytes(len(log))
        with pytest.raises(UnreadableAnswer, match="wrong places"):
            setup.events()


def test_a_clock_that_shows_no_time_costs_no_punch() -> None:
    with set_up(punches(1)) as setup:
        setup.terminal.clock = THIRTY_FIRST_OF_FEBRUARY
        [page] = setup.pages()
    assert len(page.events) == 1
    assert page.report is not None
    assert (page.report.device_time, page.complete_until) == (None, None)


def test_a_terminal_is_complete_up_to_what_its_clock_showed_before_the_log_was_read() -> None:
    with set_up(punches(1)) as setup:
        setup.terminal.clock = (((26 * 12 + 2) * 31 + 4) * 24 + 15) * 3600
        [page] = setup.pages()
        assert page.complete_until == NOW
        assert setup.terminal.commands.index(201) < setup.terminal.commands.index(1503)
        setup.terminal.memory.clear()
        [page] = setup.pages(page.cursor)
        assert page.complete_until is None


def test_a_deleted_users_place_in_memory_is_not_taken_for_a_user_id() -> None:
    with set_up([Punch("2", EIGHT, "IN"), Punch("0417", EIGHT, "IN")], width=8) as setup:
        setup.terminal.deleted.add("0417")
        assert [event.device_user_id for event in setup.events()] == ["2", "uid:2"]


def test_a_probe_says_who_the_terminal_is_without_reading_its_log() -> None:
    with set_up(punches(3)) as setup:
        probed = setup.runner.run(setup.adapter.probe(setup.source))
        assert probed.serial == "SN0001"
        assert probed.report.details == {"records": 3, "capacity": 100_000}
        assert probed.report.device_time is not None
        assert 1503 not in setup.terminal.commands


def readers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "zkreader" in child.cmdline()]


def test_a_terminal_that_hangs_is_given_up_and_nothing_is_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zkteco_tcp, "DEADLINE", 1)
    with set_up(punches(1)) as setup:
        setup.terminal.faults.delay = 60
        with pytest.raises(DeviceUnavailable):
            setup.events()
    assert not readers()


def test_a_fetch_that_is_cancelled_leaves_nothing_running() -> None:
    with set_up(punches(1)) as setup:
        setup.terminal.faults.delay = 60

        async def cancel() -> None:
            fetch = setup.adapter.fetch(Fetch(setup.source, {}, None, None, NOW))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(fetch)

        setup.runner.run(cancel())
    assert not readers()


def test_an_answer_that_is_too_long_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zkteco_tcp, "MAX_ANSWER", 1_000)
    with set_up(punches(2_000)) as setup, pytest.raises(UnreadableAnswer):
        setup.events()
    assert not readers()


def test_a_program_that_ends_without_an_answer_is_told_from_a_terminal_that_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zkteco_tcp, "_PROGRAM", (sys.executable, "-c", "pass"))
    with set_up(punches(1)) as setup, pytest.raises(DeviceUnavailable):
        setup.events()


def test_the_program_gets_no_secret_but_the_comm_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERPNEXT_API_SECRET", "hunter2")
    monkeypatch.setattr(
        zkteco_tcp, "_PROGRAM", (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    )
    environment = asyncio.run(zkteco_tcp._run(b"{}\n"))
    assert "PATH" in orjson.loads(environment)
    assert b"hunter2" not in environment


def test_without_pyzk_the_adapter_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zkteco_tcp, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"punchstream\[zk-tcp\]"), set_up():
        pass


def test_the_stages_never_import_pyzk() -> None:
    program = (
        "import sys, producers.devices.zkteco.tcp;"
        "assert not {'zk', 'zkreader'} & set(sys.modules), 'GPL code was imported'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)


def long_record(user: bytes = b"7", time: int = 1, state: int = 0) -> bytes:
    return struct.pack("<H24sBIB8s", 1, user, 15, time, state, b"")


@given(
    data=st.binary(max_size=400) | st.lists(st.builds(long_record, st.binary(max_size=24)), max_size=6).map(b"".join),
    missing=st.integers(-8, 8),
    before=st.integers(0, 50),
    grown=st.integers(0, 3),
)
@settings(max_examples=300, deadline=None)
def test_a_log_is_read_whole_or_not_at_all(data: bytes, missing: int, before: int, grown: int) -> None:
    users = Users.of([(1, "0007"), (2, "8")])
    try:
        log = read_log(data, max(len(data) + missing, 0), (before, before + grown), users)
    except UnreadableAnswer:
        return
    assert before <= len(log) <= before + grown
    for index in range(len(log)):
        record = log.record(index, users)
        assert record.user is None or record.user.isprintable()
        assert 0 <= record.state <= 255


@given(code=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_a_time_is_written_for_every_number(code: int) -> None:
    text = time_text(code)
    at = clock(code)
    assert at is None or at.isoformat(sep=" ") == text


def test_the_terminals_numbers_rise_with_its_time() -> None:
    assert time_text(0) == "2000-01-01 00:00:00"
    assert all(before < after for before, after in pairwise(time_text(code) for code in range(0, 10**8, 999_983)))


def test_a_number_that_two_users_share_stands_for_neither() -> None:
    users: Mapping[int, str] = Users.of([(1, "07"), (2, "007"), (3, "8"), (4, "A8")]).by_number
    assert users == {8: "8"}
