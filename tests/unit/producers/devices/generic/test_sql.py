"""The adapters that read databases, against SQLite files with the vendors' tables."""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.mssql.pymssql import MSDialect_pymssql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from structlog.testing import capture_logs

from attendance.errors import ConfigurationError, DeviceRefused, DeviceUnavailable, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from producers.devices import create_pull_adapter
from producers.devices.common.sql import adapter as sql_adapter
from producers.devices.common.sql import database as sql_database
from producers.devices.common.sql.adapter import GAP_TIMEOUT, WINDOW, Columns, Position
from producers.devices.common.sql.tables import TableAdapter
from producers.devices.contract import Cursor, Fetch, Page, PullAdapter, Tools
from sandbox.terminals import PULL_TERMINALS, simulator
from sandbox.terminals.base import PHOTO, Punch
from sandbox.terminals.sql import SqlDatabase

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
EIGHT = datetime.fromisoformat("2026-03-05 08:00")
PASSWORD = "hunter2"
BY_TIME = 'SELECT badge AS "user", at AS "time", way AS direction FROM punches WHERE at >= :cursor ORDER BY at'
ON_2000 = datetime.fromisoformat("2000-01-01")
ON_2099 = ON_2000.replace(year=2099)
JANUARY = EIGHT.replace(month=1)
LATE_IN_JANUARY = datetime.fromisoformat("2026-01-31 23:59:55")

each_adapter = pytest.mark.parametrize("name", ["biotime_sql", "etimetracklite", "sql"])
each_vendor = pytest.mark.parametrize("name", ["biotime_sql", "etimetracklite"])


@dataclass
class Setup:
    """An adapter beside the database that it reads."""

    runner: asyncio.Runner
    terminal: SqlDatabase
    adapter: PullAdapter
    entry: dict[str, Any]
    terminals: Mapping[str, Device] = field(default_factory=dict)

    @property
    def source(self) -> Device:
        return Device.model_validate(self.entry)

    def pages(
        self, cursor: Cursor | None = None, *, since: datetime | None = None, now: datetime = NOW
    ) -> Sequence[Page]:
        async def fetch() -> Sequence[Page]:
            # A cursor has been JSON in Kafka.
            stored = None if cursor is None else orjson.loads(orjson.dumps(cursor))
            return [page async for page in self.adapter.fetch(Fetch(self.source, self.terminals, stored, since, now))]

        return self.runner.run(fetch())

    def events(self, cursor: Cursor | None = None, *, since: datetime | None = None) -> Sequence[RawEvent]:
        return [event for page in self.pages(cursor, since=since) for event in page.events]

    def after_all(self) -> Cursor:
        return self.pages()[-1].cursor

    def execute(self, statement: str, *values: Any) -> None:
        path = self.terminal.credentials()["url"].removeprefix("sqlite:///").partition("?")[0]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement, values)


@contextmanager
def set_up(name: str, punches: Sequence[Punch] = (), **entry: Any) -> Iterator[Setup]:
    terminal: SqlDatabase = simulator(PULL_TERMINALS[name])(serial="SN0001", zone="Asia/Riyadh", password=PASSWORD)
    terminal.memory.extend(punches)
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404)))
    with asyncio.Runner() as runner:
        serving = terminal.serving()
        runner.run(serving.__aenter__())
        try:
            adapter = create_pull_adapter(name, Tools(http, lambda _, secret: terminal.credentials()[secret], ()))
            device = {"device_id": "server", "site": "hq", "timezone": "Asia/Riyadh", **terminal.registry_entry()}
            device["options"] = device["options"] | entry.pop("options", {})
            yield Setup(runner, terminal, adapter, device | entry)
        finally:
            runner.run(serving.__aexit__(None, None, None))


def punches(count: int, start: datetime = EIGHT) -> list[Punch]:
    return [Punch("0417", start + timedelta(seconds=second), "IN") for second in range(count)]


def times(events: Sequence[RawEvent]) -> list[str | None]:
    return sorted(event.device_time or "" for event in events)


def written(punches: Sequence[Punch]) -> list[str]:
    return sorted(punch.at.isoformat(sep=" ") for punch in punches)


@each_adapter
def test_a_punch_is_read_in_the_zone_of_its_terminal_and_its_user_id_stays_a_string(name: str) -> None:
    with set_up(name, [Punch("0417", EIGHT, "OUT", photo=PHOTO)]) as setup:
        [event] = setup.events()
    assert (event.device_id, event.device_user_id, event.event_type) == ("server", "0417", "OUT")
    assert event.event_time == datetime(2026, 3, 5, 5, 0, tzinfo=UTC)
    assert (event.device_time, event.sequence) == ("2026-03-05 08:00:00", 1)
    assert (event.source.transport, event.source.adapter) == ("sql", name)


@each_adapter
@pytest.mark.parametrize(("direction", "event_type"), [("IN", "IN"), ("OUT", "OUT"), ("", "UNKNOWN")])
def test_a_direction_is_what_the_row_says(name: str, direction: Any, event_type: str) -> None:
    with set_up(name, [Punch("7", EIGHT, direction)]) as setup:
        [event] = setup.events()
    assert event.event_type == event_type


@pytest.mark.parametrize(
    ("state", "event_type"),
    [
        ("0", "IN"),
        ("3", "IN"),
        ("4", "IN"),
        ("1", "OUT"),
        ("2", "OUT"),
        ("5", "OUT"),
        ("255", "UNKNOWN"),
        (None, "UNKNOWN"),
    ],
)
def test_biotimes_state_is_mapped_as_a_terminals_push_is(state: str | None, event_type: str) -> None:
    with set_up("biotime_sql", punches(1)) as setup:
        setup.execute("UPDATE iclock_transaction SET punch_state = ?", state)
        [event] = setup.events()
    assert event.event_type == event_type


@each_adapter
def test_neither_name_nor_photograph_is_kept_anywhere(name: str) -> None:
    with set_up(name, [Punch("7", EIGHT, photo=PHOTO), Punch("", EIGHT, photo=PHOTO)]) as setup:
        pages = setup.pages()
    [event] = [event for page in pages for event in page.events]
    [rejected] = [rejected for page in pages for rejected in page.rejected]
    for kept in (event.encode(), rejected.value):
        assert b"photograph" not in kept
        assert "Müller".encode() not in kept


@each_adapter
def test_a_row_without_a_user_is_rejected_and_its_neighbours_are_kept(name: str) -> None:
    memory = punches(3)
    memory[1] = Punch("", memory[1].at)
    with set_up(name, memory) as setup:
        pages = setup.pages()
        assert not setup.events(pages[-1].cursor)
    assert times([event for page in pages for event in page.events]) == written([memory[0], memory[2]])
    [rejected] = [rejected for page in pages for rejected in page.rejected]
    assert rejected.reason == "invalid_event"


@each_adapter
def test_times_that_cannot_be_right_are_left_to_the_stream(name: str) -> None:
    memory = [*punches(1), Punch("7", ON_2000, "IN"), Punch("7", ON_2099, "IN")]
    with set_up(name, memory) as setup:
        assert times(setup.events()) == written(memory)


@each_adapter
def test_an_unreadable_time_is_kept_without_an_event_time(name: str) -> None:
    table, column = {
        "biotime_sql": ("iclock_transaction", "punch_time"),
        "etimetracklite": ("DeviceLogs_3_2026", "LogDate"),
        "sql": ("punches", "at"),
    }[name]
    with set_up(name, punches(1)) as setup:
        setup.execute(f"UPDATE {table} SET {column} = 'yesterday'")
        [event] = setup.events()
    assert (event.event_time, event.device_time) == (None, "yesterday")


@each_adapter
def test_only_what_is_new_is_fetched_the_next_time(name: str) -> None:
    with set_up(name, punches(3)) as setup:
        cursor = setup.after_all()
        assert not setup.events(cursor)
        late = Punch("9", EIGHT - timedelta(hours=3), "OUT")
        setup.terminal.memory.append(late)
        assert times(setup.events(cursor)) == written([late])


@each_adapter
def test_a_restart_from_any_page_loses_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_pages(monkeypatch)
    memory = [*punches(11, LATE_IN_JANUARY), *punches(11)]
    with set_up(name, memory) as setup:
        pages = setup.pages()
        assert len(pages) > 5
        assert times([event for page in pages for event in page.events]) == written(memory)
        before: list[RawEvent] = []
        for page in pages:
            before += page.events
            assert times([*before, *setup.events(page.cursor)]) == written(memory)


def shorten_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("generic.sql", "common.sql.tables"):
        monkeypatch.setattr(f"producers.devices.{module}.PAGE_ROWS", 4)


@each_adapter
def test_rows_that_are_larger_than_memory_should_hold_are_read_in_slices(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = [*punches(11, LATE_IN_JANUARY), *punches(11)]
    monkeypatch.setattr(sql_database, "SLICE_BYTES", 1000)
    monkeypatch.setattr("producers.devices.generic.sql.SLICE_BYTES", 1000)
    with set_up(name, memory) as setup:
        pages = setup.pages()
        assert max(len(page.events) for page in pages) <= 4
        assert times([event for page in pages for event in page.events]) == written(memory)


def test_a_value_of_any_length_is_cut_and_its_neighbours_are_read() -> None:
    with set_up("sql", punches(3)) as setup:
        setup.execute("UPDATE punches SET badge = ?, way = ? WHERE id = 2", "7" * 30_000_000, "IN" * 10_000_000)
        pages = setup.pages()
    assert times([event for page in pages for event in page.events]) == written([punches(3)[0], punches(3)[2]])
    [rejected] = [rejected for page in pages for rejected in page.rejected]
    assert rejected.reason == "invalid_event"
    assert len(rejected.raw or b"") < 3 * sql_database.LONGEST_TEXT


def bound_looks(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    shorten_pages(monkeypatch)
    monkeypatch.setattr(sql_database, "LOOK_ROWS", rows)


@each_adapter
def test_a_look_reads_so_many_rows_and_the_next_goes_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bound_looks(monkeypatch, 8)
    memory = [*punches(11, LATE_IN_JANUARY), *punches(11)]
    events: list[RawEvent] = []
    with set_up(name, memory) as setup:
        cursor: Cursor | None = None
        for _ in range(5):
            pages = setup.pages(cursor)
            assert sum(len(page.events) for page in pages) <= 12
            events += [event for page in pages for event in page.events]
            cursor = pages[-1].cursor if pages else cursor
    assert times(events) == written(memory)


@each_adapter
def test_a_look_reads_so_many_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_pages(monkeypatch)
    monkeypatch.setattr(sql_database, "LOOK_BYTES", 1)
    with set_up(name, punches(11)) as setup:
        assert sum(len(page.events) for page in setup.pages()) == 4


@each_adapter
def test_a_sweep_that_finds_more_than_may_be_read_keeps_it_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with set_up(name, punches(30)) as setup:
        cursor = setup.after_all()
        bound_looks(monkeypatch, 8)
        seen, error = failing(setup, cursor, since=datetime(2026, 3, 5, 4, 0, tzinfo=UTC))
        assert "a sweep finds more than 8 rows" in error
        assert 4 <= sum(len(page.events) for page in seen) <= 8
        assert {str(page.cursor) for page in seen} == {str(cursor)}


def failing(setup: Setup, cursor: Cursor | None = None, since: datetime | None = None) -> tuple[list[Page], str]:
    """The pages before the error, and what it says."""
    seen: list[Page] = []

    async def fetch() -> None:
        async for page in setup.adapter.fetch(Fetch(setup.source, {}, cursor, since, NOW)):
            seen.append(page)  # noqa: PERF401 - pages before a failure count

    with pytest.raises(UnreadableAnswer) as raised:
        setup.runner.run(fetch())
    return seen, str(raised.value)


def test_by_time_a_look_goes_on_in_the_next_and_not_where_the_cursor_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_looks(monkeypatch, 8)
    far_apart = [Punch("7", EIGHT - timedelta(hours=hour), "IN") for hour in range(20)]
    with by_time(far_apart, overlap=60) as setup:
        cursor: Cursor | None = None
        events: list[RawEvent] = []
        for _ in range(6):
            pages = setup.pages(cursor)
            events += [event for page in pages for event in page.events]
            cursor = pages[-1].cursor
        assert set(times(events)) == set(written(far_apart))
    for memory in (punches(30), [Punch("7", ON_2099 + timedelta(days=day), "IN") for day in range(30)]):
        with by_time(memory, overlap=60) as setup:
            seen, error = failing(setup, {"time": "2026-03-05 08:30:00"})
        assert "its cursor cannot go on" in error
        assert sum(len(page.events) for page in seen) >= 8


def test_by_time_more_rows_of_one_second_than_may_be_in_memory_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_pages(monkeypatch)
    monkeypatch.setattr("producers.devices.generic.sql.SLICE_BYTES", 1000)
    monkeypatch.setattr("producers.devices.generic.sql._MOST_BYTES", 3000)
    with by_time([Punch(str(user), EIGHT, "IN") for user in range(40)]) as setup:
        assert "rows of one time" in failing(setup)[1]


def test_etimetracklite_leaves_out_no_terminal_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.devices.essl.etimetracklite._MOST_TERMINALS", 1)
    with set_up("etimetracklite", punches(1)) as setup:
        assert len(setup.events()) == 1
        monkeypatch.setattr("producers.devices.essl.etimetracklite._MOST_TERMINALS", 0)
        with pytest.raises(UnreadableAnswer, match="more than 0 terminals"):
            setup.events()


@each_adapter
def test_rows_that_come_while_pages_are_read_are_not_lost(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_pages(monkeypatch)
    memory, grown = punches(11), [Punch("8", EIGHT - timedelta(hours=hour), "IN") for hour in (1, 2, 3)]
    with set_up(name, memory) as setup:
        setup.terminal.faults.grows.extend(grown)
        pages = setup.pages()
        events = [event for page in pages for event in page.events] + list(setup.events(pages[-1].cursor))
        assert not setup.terminal.faults.grows
    assert times(events) == written([*memory, *grown])


@each_adapter
def test_a_sweep_brings_all_since_a_time_and_leaves_the_cursor(name: str) -> None:
    old, young = punches(3, JANUARY), punches(3)
    with set_up(name, [*old, *young]) as setup:
        cursor = setup.after_all()
        swept = setup.pages(cursor, since=datetime(2026, 3, 5, 5, 0, tzinfo=UTC))
        events = [event for page in swept for event in page.events]
        assert set(written(young)) <= set(times(events))
        assert not set(written(old)) & set(times(events))
        assert not setup.events(swept[-1].cursor)


@each_adapter
def test_a_sweep_before_the_first_fetch_takes_nothing_from_it(name: str) -> None:
    memory = [*punches(3, JANUARY), *punches(3)]
    with set_up(name, memory) as setup:
        swept = setup.pages(since=datetime(2026, 3, 5, 5, 0, tzinfo=UTC))
        assert times(setup.events(swept[-1].cursor)) == written(memory)


@each_adapter
def test_what_was_before_the_installation_is_not_fetched_at_first(name: str) -> None:
    old, young = punches(3, JANUARY), punches(3)
    with set_up(name, [*old, *young], installed_on=date(2026, 3, 1)) as setup:
        assert times(setup.events()) == written(young)
        cursor = setup.after_all()
        late = Punch("7", ON_2000, "IN")
        setup.terminal.memory.append(late)
        assert times(setup.events(cursor)) == written([late])
        setup.terminal.memory.pop()
        swept = setup.pages(since=datetime(2026, 3, 5, 5, 0, tzinfo=UTC))
        assert times(setup.events(swept[-1].cursor)) == written(young)


@each_vendor
def test_a_table_that_was_made_anew_is_read_from_its_beginning(name: str) -> None:
    with set_up(name, punches(5)) as setup:
        cursor = setup.after_all()
        setup.terminal.memory.clear()
        setup.terminal.write()
        setup.execute("DELETE FROM sqlite_sequence")
        cursor = setup.pages(cursor)[-1].cursor
        anew = punches(7, EIGHT + timedelta(hours=1))
        setup.terminal.memory.extend(anew)
        assert times(setup.events(cursor)) == written(anew)


@each_vendor
def test_a_record_that_is_committed_behind_its_successor_is_not_lost(name: str) -> None:
    table = {"biotime_sql": "iclock_transaction", "etimetracklite": "DeviceLogs_3_2026"}[name]
    number = {"biotime_sql": "id", "etimetracklite": "DeviceLogId"}[name]
    with set_up(name, punches(5)) as setup:
        # Number 3 is in a transaction that is still open.
        setup.execute(f"UPDATE {table} SET {number} = -1 WHERE {number} = 3")
        setup.execute(f"DELETE FROM {table} WHERE {number} = -1")
        cursor = setup.after_all()
        setup.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE 0")
        setup.execute(f"UPDATE {table} SET {number} = 3 WHERE {number} = 2")
        assert times(setup.events(cursor)) == written(punches(2)[1:])


def test_an_unregistered_terminals_punch_counts_for_the_server_and_names_the_terminal() -> None:
    with set_up("biotime_sql", punches(1)) as setup:
        [event] = setup.events()
    assert (event.device_id, event.payload["terminal_sn"]) == ("server", "SN0001")


@pytest.mark.parametrize(
    ("name", "serial"), [("biotime_sql", "SN0001"), ("etimetracklite", "SN0001"), ("etimetracklite", "17")]
)
def test_a_registered_terminals_punch_is_its_own(name: str, serial: str) -> None:
    gate = Device(device_id="gate", site="berlin", timezone="Europe/Berlin", serial=serial, via="server")
    with set_up(name, punches(1)) as setup:
        setup.terminals = {serial: gate}
        [event] = setup.events()
    assert (event.device_id, event.site, event.event_time) == ("gate", "berlin", datetime(2026, 3, 5, 7, tzinfo=UTC))


def test_etimetracklites_months_are_read_whichever_they_are() -> None:
    memory = [
        Punch("7", EIGHT.replace(year=year, month=month), "IN")
        for year, month in ((2000, 1), (2025, 12), (2026, 2), (2026, 3))
    ]
    with set_up("etimetracklite", memory) as setup:
        cursor = setup.after_all()
        assert len(cursor["tables"]) == 4
        late = Punch("7", EIGHT.replace(year=2025, month=12, day=31), "OUT")
        setup.terminal.memory.append(late)
        assert times(setup.events(cursor)) == written([late])


MONTHS = ["DeviceLogs_08_2026", "devicelogs_10_2026", "DEVICELOGS_9_2026", "DeviceLogs_2026_07", "DeviceLogs_062026"]
NO_MONTHS = ["DeviceLogs", "DeviceLogs_13_2026", "DeviceLogs_8_2026_old"]


def test_etimetracklites_months_are_read_in_every_spelling_and_what_is_not_read_is_said() -> None:
    with set_up("etimetracklite", punches(1)) as setup:
        for name in (*MONTHS, *NO_MONTHS):
            setup.execute(f'CREATE TABLE "{name}" AS SELECT * FROM DeviceLogs_3_2026')
            setup.execute(f"UPDATE \"{name}\" SET UserId = '{name}', LogDate = '2026-10-01 08:00:00'")
        with capture_logs() as logs:
            users = {event.device_user_id for event in setup.events()}
            assert {event.device_user_id for event in setup.events()} == users == {"0417", *MONTHS}
        assert sorted(line["table"] for line in logs) == sorted(NO_MONTHS)
        details = setup.runner.run(setup.adapter.probe(setup.source)).report.details
        assert details == {"tables": 6, "newest_record": 1, "tables_not_read": ", ".join(NO_MONTHS)}
        swept = setup.events(since=datetime(2026, 8, 5, tzinfo=UTC))
        assert {event.device_user_id for event in swept} == set(MONTHS[:3])


def test_etimetracklite_without_a_months_table_is_read_without_an_error() -> None:
    with set_up("etimetracklite") as setup:
        assert not setup.events()


@each_adapter
def test_a_database_is_not_read_before_its_entry_says_so(name: str) -> None:
    with set_up(name, punches(1)) as setup:
        for flag in (False, 0, 2, None, "yes"):
            setup.entry["options"] |= {"read_database": flag}
            with pytest.raises(ConfigurationError, match=r"options\.read_database: true is needed"):
                setup.events()
        assert setup.terminal.requests == 0


@each_adapter
def test_a_flag_of_1_is_true(name: str) -> None:
    with set_up(name, punches(1)) as setup:
        setup.entry["options"] |= {"read_database": 1}
        assert len(setup.events()) == 1


@each_adapter
def test_a_wrong_password_is_refused_at_once(name: str) -> None:
    with set_up(name, punches(1)) as setup:
        setup.terminal.faults.password_wrong = True
        with pytest.raises(DeviceRefused):
            setup.events()
        assert setup.terminal.logins_refused == 1


@each_adapter
@pytest.mark.parametrize("fault", ["unavailable", "cut_after"])
def test_a_database_that_does_not_answer_loses_nothing(name: str, fault: str) -> None:
    memory = punches(3)
    with set_up(name, memory) as setup:
        setattr(setup.terminal.faults, fault, 1)
        with pytest.raises(DeviceUnavailable):
            setup.events()
        setup.terminal.faults.cut_after = None
        assert times(setup.events()) == written(memory)


@each_adapter
def test_a_probe_says_whether_the_tables_can_be_read(name: str) -> None:
    with set_up(name, punches(1)) as setup:
        assert setup.runner.run(setup.adapter.probe(setup.source)).serial is None
        setup.terminal.faults.password_wrong = True
        with pytest.raises(DeviceRefused):
            setup.runner.run(setup.adapter.probe(setup.source))


@each_adapter
def test_the_file_is_opened_for_reading_alone(name: str) -> None:
    with set_up(name, punches(1)) as setup:
        database = setup.adapter.database(setup.source)  # type: ignore[attr-defined]
        with database._engine.connect() as connection, pytest.raises(Exception, match="readonly"):
            connection.exec_driver_sql("CREATE TABLE t (x)")


def test_a_query_that_could_write_is_refused_before_anything_is_asked() -> None:
    with set_up("sql", punches(1)) as setup:
        setup.entry["options"] |= {"query": "DELETE FROM punches WHERE id > :cursor"}
        with pytest.raises(ConfigurationError, match=r"options\.query: .*must begin by SELECT"):
            setup.events()
        assert setup.terminal.requests == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('SELECT id AS sequence, at AS "time" FROM punches WHERE id > :cursor ORDER BY id', "no column user"),
        ('SELECT badge AS "user", at AS "time" FROM punches WHERE id > :cursor', "no column sequence"),
        (
            'SELECT id AS sequence, badge AS "user", at AS "time" FROM punches WHERE id >= :cursor ORDER BY id',
            "above :cursor",
        ),
        ("SELECT id FROM nowhere WHERE id > :cursor", "refuses the login or the query"),
    ],
)
def test_a_query_that_cannot_be_right_is_refused(query: str, message: str) -> None:
    memory = punches(3)
    with set_up("sql", memory) as setup:
        cursor = setup.after_all()
        setup.entry["options"] |= {"query": query}
        with pytest.raises(DeviceRefused, match=message):
            setup.events(cursor if ">=" in query else None)


@pytest.mark.parametrize("order", ["id DESC", "at"])
def test_rows_that_are_not_in_order_fail_the_read(order: str) -> None:
    query = f'SELECT id AS sequence, badge AS "user", at AS "time" FROM punches WHERE id > :cursor ORDER BY {order}'
    with set_up("sql", list(reversed(punches(3))), options={"query": query}) as setup, pytest.raises(UnreadableAnswer):
        setup.events()


def test_a_query_may_say_what_directions_mean() -> None:
    with set_up("sql", punches(1), options={"directions": {"Eingang": "IN", 1: "OUT"}}) as setup:
        setup.execute("UPDATE punches SET way = 'EINGANG'")
        [event] = setup.events()
    assert event.event_type == "IN"


def by_time(punches: Sequence[Punch], **options: Any) -> Any:
    return set_up("sql", punches, options={"query": BY_TIME, "cursor": "time", **options})


def test_by_time_each_fetch_goes_back_by_the_overlap() -> None:
    old, young = punches(1, EIGHT - timedelta(minutes=90)), punches(3)
    with by_time([*old, *young], overlap=60) as setup:
        cursor = setup.after_all()
        assert cursor == {"time": "2026-03-05 08:00:02"}
        late = Punch("8", EIGHT - timedelta(minutes=30), "IN")
        setup.terminal.memory.append(late)
        assert times(setup.events(cursor)) == written([late, *young])


def test_an_entry_that_changes_what_its_cursor_is_begins_anew() -> None:
    with by_time(punches(3)) as setup, set_up("sql", punches(3)) as other:
        assert len(setup.events(other.after_all())) == 3
        assert len(other.events(setup.after_all())) == 3


def test_by_time_a_clock_that_ran_ahead_does_not_hide_what_comes() -> None:
    ahead = Punch("7", ON_2099, "IN")
    with by_time([*punches(1), ahead]) as setup:
        cursor = setup.after_all()
        assert cursor == {"time": "2026-03-05 15:00:00"}
        young = Punch("7", EIGHT.replace(hour=15, minute=1), "OUT")
        setup.terminal.memory.append(young)
        assert times(setup.events(cursor)) == written([young, ahead])


def test_by_time_more_rows_of_one_second_than_a_page_holds_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_pages(monkeypatch)
    same = [Punch(str(user), ON_2000, "IN") for user in range(11)]
    with by_time([*same, *punches(3)]) as setup:
        users = {event.device_user_id for event in setup.events()}
    assert users == {"0417", *map(str, range(11))}


def test_by_time_rows_that_are_not_in_order_fail_the_read() -> None:
    with by_time(punches(3), query=BY_TIME + " DESC") as setup, pytest.raises(UnreadableAnswer):
        setup.events()


@pytest.mark.parametrize(
    "url", [f"mysql://me:{PASSWORD}@db/punches", f"{PASSWORD}", "sqlite://", f"sqlite:///file:{PASSWORD}?mode=rwc", ""]
)
def test_a_url_that_cannot_be_used_is_refused_and_never_quoted(url: str) -> None:
    with set_up("biotime_sql") as setup:
        setup.adapter._secret = lambda *_: url  # type: ignore[attr-defined]
        with pytest.raises(DeviceRefused) as caught:
            setup.events()
    assert PASSWORD not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@each_adapter
@pytest.mark.parametrize("fault", ["unavailable", "password_wrong"])
def test_no_error_quotes_the_url(name: str, fault: str) -> None:
    with set_up(name, punches(1)) as setup:
        setattr(setup.terminal.faults, fault, 1)
        with pytest.raises((DeviceUnavailable, DeviceRefused)) as caught:
            setup.events()
        url = setup.terminal.credentials()["url"]
    assert PASSWORD not in str(caught.value)
    assert not any(part in str(caught.value) for part in url.split("/") if len(part) > 3)


def test_postgresql_and_sql_server_are_asked_to_refuse_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(sql_database, "create_engine", lambda url, **options: asked.append({"url": url, **options}))
    sql_database._engine("postgresql://me:secret@db/punches?options=-c%20default_transaction_read_only=off")
    sql_database._engine("mssql://me:secret@db/punches?read_only=false")
    assert "default_transaction_read_only=on" in asked[0]["connect_args"]["options"]
    assert asked[1]["connect_args"]["read_only"] is True
    assert [str(call["url"].drivername) for call in asked] == ["postgresql+psycopg", "mssql+pymssql"]


class WithNumber(Exception):
    """As pymssql raises them."""


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [((18456, b"Login failed"), True), (((18456, b"Login failed"),), True), ((20009, b"Unable to connect"), False)],
)
def test_sql_servers_numbers_tell_a_refusal_from_an_outage(arguments: tuple[Any, ...], *, refused: bool) -> None:
    error = sql_database.DBAPIError("SELECT 1", {}, WithNumber(*arguments))
    assert isinstance(sql_database._failure(error), DeviceRefused if refused else DeviceUnavailable)


class WithState(Exception):
    """As psycopg raises them."""

    sqlstate: str | None = None


@pytest.mark.parametrize(
    ("state", "words", "refused"),
    [
        ("42P01", "", True),
        ("28P01", "", True),
        ("57P01", "", False),
        (None, "FATAL:  password authentication failed for user", True),
        (None, "connection refused", False),
    ],
)
def test_postgresqls_states_tell_a_refusal_from_an_outage(state: str | None, words: str, *, refused: bool) -> None:
    original = WithState(words)
    original.sqlstate = state
    failure = sql_database._failure(sql_database.DBAPIError("SELECT 1", {}, original))
    assert isinstance(failure, DeviceRefused if refused else DeviceUnavailable)
    assert words not in str(failure) or not words


@each_vendor
@pytest.mark.parametrize("dialect", [MSDialect_pymssql, PGDialect_psycopg])
def test_the_vendors_queries_are_of_sql_server_and_postgresql_too(name: str, dialect: Any) -> None:
    with set_up(name) as setup:
        assert isinstance(setup.adapter, TableAdapter)
        compiled = str(setup.adapter.query("DeviceLogs_3_2026", EIGHT).compile(dialect=dialect()))
    number = setup.adapter.columns.sequence
    assert ("TOP" in compiled) == (dialect is MSDialect_pymssql)
    assert ("LIMIT" in compiled) == (dialect is PGDialect_psycopg)
    assert number in compiled.partition("ORDER BY")[2]
    quoted = "[DeviceLogs_3_2026]" if dialect is MSDialect_pymssql else '"DeviceLogs_3_2026"'
    assert quoted in compiled


def test_a_number_that_was_left_out_is_waited_for_and_not_for_ever() -> None:
    position = Position().after([7, 8, 11], NOW)
    assert (position.last, position.missing, position.floor) == (11, {9, 10}, 8)
    assert position.after([10, 11], NOW).missing == {9}
    assert position.after([11], NOW) is position
    assert Position.from_cursor(position.to_cursor(), NOW + GAP_TIMEOUT).missing == set()
    assert position.after([11 + 2 * WINDOW], NOW).floor >= 11 + WINDOW - 1


@given(
    committed=st.lists(st.sets(st.integers(2, 60), max_size=20), max_size=6),
    page=st.integers(2, 9),
)
@settings(max_examples=60, deadline=None)
def test_in_whatever_order_numbers_are_committed_each_is_read_once(committed: list[set[int]], page: int) -> None:
    stored: set[int] = set()
    read: list[int] = []
    # Numbers before the first that is ever seen cannot be known to be missing.
    stored.add(1)
    position = Position().after([1], NOW)
    for transaction in committed:
        stored |= transaction
        floor, full = position.floor, True
        while full:
            numbers = sorted(number for number in stored if number > floor)[:page]
            read += [number for number in numbers if position.is_new(number)]
            position = position.after(numbers, NOW)
            full = len(numbers) == page
            floor = numbers[-1] if numbers else floor
    assert sorted(read) == sorted(stored - {1})


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300), st.binary(max_size=9),
    st.decimals(), st.datetimes(), st.dates(),
)  # fmt: skip


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS, CELLS), max_size=5))
@settings(max_examples=60, deadline=None)
def test_every_row_becomes_an_event_or_is_rejected(rows: list[tuple[Any, ...]]) -> None:
    columns = Columns("user", "time", "direction", "sequence", "serial", ("extra",))
    names = ("user", "time", "direction", "serial", "extra")
    plain = [
        dict(zip(names, map(sql_database._plain, row), strict=True)) | {"sequence": number}
        for number, row in enumerate(rows)
    ]
    source = Device(device_id="server", site="hq", timezone="Europe/Berlin", mode="pull")
    adapter = create_pull_adapter(
        "sql", Tools(httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404))), lambda *_: "", ())
    )
    assert isinstance(adapter, sql_adapter.SqlAdapter)
    page = adapter.page(Fetch(source, {}, None, None, NOW), {}, columns, plain, lambda _: "UNKNOWN")
    assert sorted(
        [event.source.line for event in page.events] + [rejected.index for rejected in page.rejected]
    ) == list(range(len(rows)))
    for event in page.events:
        assert RawEvent.decode(event.encode()).event_id == event.event_id


def test_a_number_without_a_fraction_is_an_integer_whatever_its_type() -> None:
    assert sql_database._plain(Decimal(417)) == 417
    assert sql_database._plain(Decimal("4.17")) == "4.17"
    assert sql_database._plain(b"\xff\xd8") is None
