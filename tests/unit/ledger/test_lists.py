"""A list says the same of the same records, whether the ledger or the topics are asked."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_story import START_MS, TOPICS, Log, Story, event, prepared, stories
from memory_log import MemoryLog
from msgspec.structs import replace
from postgres import Postgres
from sqlalchemy.event import listen

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import Reason
from attendance.kafka.records import OutRecord
from attendance.records.outcomes import Waiting
from ledger.database import Database
from ledger.device_statuses import LedgerStatuses
from ledger.letters import LedgerLetters
from ledger.reading import NEVER
from ledger.store import Store
from ledger.waiting import LedgerWaiting
from operations.dead_letters import Selection
from operations.device_statuses import StatusesOnTopic
from operations.fact_reading import FactReader
from operations.letter_lists import LetterLine, LettersOnTopics, LetterSource
from operations.log import Skipped
from operations.reading_again import NotUnderstood, Reading
from operations.waiting import WaitingPunches, Which


def memory_log(log: Log) -> MemoryLog:
    memory = MemoryLog()
    for (name, _), records in log.items():
        memory.put(name, *records)
    return memory


def without_the_erased(log: Log) -> Log:
    return {partition: records for partition, records in log.items() if partition[0] != "user_map"}


@contextmanager
def filled(log: Log) -> Iterator[Database]:
    """A ledger that has read a log, which it took in two steps."""
    with TemporaryDirectory() as directory:
        database = Database(prepared(Path(directory, "ledger.sqlite")))
        store, reader = Store(database), FactReader(TOPICS, NOTHING_MOVED)
        halves = {at: (records[: len(records) // 2], records[len(records) // 2 :]) for at, records in log.items()}
        positions: dict[Any, Any] = {}
        for half in (0, 1):
            batch = {at: both[half] for at, both in halves.items() if both[half]}
            positions |= store.apply(reader, batch, positions, START_MS)
        store.note_read(list(positions), START_MS)
        yield database
        database.close()


def unread(skipped: Skipped) -> dict[str, tuple[int, str]]:
    return {topic.removeprefix("t."): (count, skipped.first[topic]) for topic, count in skipped.counts.items()}


@given(log=stories())
@settings(max_examples=25)
def test_devices_have_said_the_same(log: Log) -> None:
    on_topic, in_ledger = Skipped(), Skipped()
    with filled(log) as database:
        ledger = asyncio.run(LedgerStatuses(database, in_ledger).newest())
    assert ledger == asyncio.run(StatusesOnTopic(memory_log(log), on_topic).newest())
    assert unread(in_ledger) == unread(on_topic)


def test_what_a_device_said_of_itself_stands_beside_what_it_says_later() -> None:
    story = Story()
    story.report("D1", 3, serial="S1", firmware="1", faces=2**70)
    story.report("D1", None, firmware="2")
    story.report("D2", 2**40)
    with filled(dict(story.log)) as database:
        source = LedgerStatuses(database, Skipped())
        found = asyncio.run(source.newest())
    assert found["D1"].details == {"serial": "S1", "firmware": "2", "faces": 2**70}
    assert (found["D1"].pending, found["D2"].pending) == (None, 2**40)
    assert source.as_of == datetime.fromtimestamp(START_MS / 1000, UTC)
    assert source.name == "the ledger, as of 2026-03-02T00:00:00.000Z"


WHICH = (
    Which(),
    Which(device="D1"),
    Which(user="1"),
    Which(device="D2", reason=Reason.EMPLOYEE_INACTIVE),
    Which(site="elsewhere"),
)


@given(log=stories(), most=st.sampled_from((-1, 1, 2, 5)), after=st.integers(0, 3))
@settings(max_examples=25)
def test_the_same_punches_wait(log: Log, most: int, after: int) -> None:
    log = without_the_erased(log)
    on_topic, in_ledger = Skipped(), Skipped()
    with filled(log) as database, LedgerWaiting(database, in_ledger) as ledger, WaitingPunches() as topic:
        asyncio.run(topic.fill(memory_log(log), on_topic))
        for which in WHICH:
            assert ledger.count(which) == topic.count(which)
            assert ledger.devices(which) == topic.devices(which)
            every = [*ledger.users(which)]
            assert every == [*topic.users(which)]
            token = every[after - 1].token if 0 < after <= len(every) else None
            found = [*ledger.users(which, most=most, after=token)]
            assert found == [*topic.users(which, most=most, after=token)]
            assert token is None or found == every[after:][: most if most > 0 else None]
        for device in ("D1", "D2", "D3"):
            assert asyncio.run(ledger.has_heard_of(device)) == asyncio.run(topic.has_heard_of(device))
    assert unread(in_ledger) == unread(on_topic)


def a_crowd() -> Log:
    """Ten punches of each of five users, some of whom wait for two reasons."""
    story = Story()
    for number in range(50):
        raw = story.raw(event(str(number % 5), number))
        story.wait(raw, Reason.EMPLOYEE_INACTIVE if number % 3 == 0 else Reason.UNMAPPED_USER)
    waiting = Waiting(replace(event("9", 0), event_time=None), Reason.UNMAPPED_USER)
    story.put("unmapped", OutRecord("", waiting.key, waiting.encode()))
    return dict(story.log)


def test_all_lines_come_where_they_are_more_than_one_query_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.waiting.AT_ONCE", 3)
    log = a_crowd()
    with filled(log) as database, LedgerWaiting(database, Skipped()) as ledger, WaitingPunches() as topic:
        asyncio.run(topic.fill(memory_log(log), Skipped()))
        every = [*ledger.users(Which())]
        assert len(every) == 11
        for most, after in ((-1, 0), (-1, 4), (7, 2), (3, 0), (2, 10), (6, 11)):
            token = every[after - 1].token if after else None
            assert [*ledger.users(Which(), most=most, after=token)] == every[after:][: most if most > 0 else None]
            assert [*topic.users(Which(), most=most, after=token)] == every[after:][: most if most > 0 else None]


def test_postgresql_says_the_same_of_what_waits(postgres: Postgres) -> None:
    log = a_crowd()
    database = Database(postgres.new_database())
    database.prepare()
    Store(database).apply(FactReader(TOPICS, NOTHING_MOVED), log, {}, START_MS)
    with LedgerWaiting(database, Skipped()) as ledger, WaitingPunches() as topic:
        asyncio.run(topic.fill(memory_log(log), Skipped()))
        of_device = [*topic.users(Which(device="D1"))]
        after = of_device[1].token
        assert [*ledger.users(Which(device="D1"), most=4, after=after)] == of_device[2:6]
        assert ledger.devices(Which()) == topic.devices(Which())
        assert ledger.count(Which(user="3")) == topic.count(Which(user="3"))
    database.close()


def test_a_page_of_what_waits_is_found_by_indexes(tmp_path: Path) -> None:
    database = Database(prepared(tmp_path / "ledger.sqlite"))
    asked: list[Any] = []
    listen(
        database._engine,
        "before_cursor_execute",
        lambda _, __, statement, given, *___: asked.append((statement, given)),
    )
    with LedgerWaiting(database, Skipped()) as ledger:
        [*ledger.users(Which(), most=100, after=None)]
        [*ledger.devices(Which(device="D1"))]
    with database.transaction() as connection:
        for statement, given in [each for each in asked if "waiting" in each[0]]:
            plan = [row[3] for row in connection.exec_driver_sql(f"explain query plan {statement}", given)]
            assert plan
            assert not [step for step in plan if step.startswith("SCAN waiting") and "INDEX" not in step], plan
            # Users of a device are counted once their punches are.
            assert "USE TEMP B-TREE FOR GROUP BY" not in plan or "anon_1" in statement
    database.close()


WANTED = (
    Selection(),
    Selection.of(device="D1"),
    Selection.of(Reason.TARGET_REJECTED),
    Selection.of(stage="stream", device="D2"),
    Selection(stage="nobody"),
)


async def lines(source: LetterSource, wanted: Selection) -> list[LetterLine]:
    async with aclosing(source.lines(wanted)) as found:
        return [line async for line in found]


def on_topics(log: Log, skipped: Skipped) -> LettersOnTopics:
    def read(_: object) -> Reading:
        raise NotUnderstood("nobody asks")

    return LettersOnTopics(memory_log(log), read, skipped)


@given(log=stories())
@settings(max_examples=25)
def test_the_same_letters_are_dead(log: Log) -> None:
    log = without_the_erased(log)
    for wanted in WANTED:
        on_topic, in_ledger = Skipped(), Skipped()
        with filled(log) as database:
            ledger, topics = LedgerLetters(database, in_ledger), on_topics(log, on_topic)
            found = asyncio.run(lines(ledger, wanted))
            assert found == asyncio.run(lines(topics, wanted))
            for device in ("D1", "D2", "D3"):
                assert asyncio.run(ledger.has_heard_of(device)) == asyncio.run(topics.has_heard_of(device))
        assert unread(in_ledger) == unread(on_topic)


def test_letters_come_page_by_page_with_what_was_last_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.letters.AT_ONCE", 3)
    story = Story()
    letters = [story.fail(story.raw(event("1", hour))) for hour in range(10)]
    story.act(letters[2], "replayed")
    story.act(letters[2])
    story.act(letters[4])
    story.act(letters[4], "replayed")
    log = dict(story.log)
    with filled(log) as database:
        found = asyncio.run(lines(LedgerLetters(database, Skipped()), Selection()))
    assert found == asyncio.run(lines(on_topics(log, Skipped()), Selection()))
    assert [found[number].state for number in (1, 2, 4)] == ["open", "discarded", "replayed"]


def test_postgresql_says_the_same_of_dead_letters(postgres: Postgres) -> None:
    story = Story()
    for user in ("1", "2"):
        story.act(story.fail(story.raw(event(user, 1))), "replayed")
        story.fail(story.checkin(story.raw(event(user, 2, "D2")), "EMP-1"), Reason.TARGET_REJECTED, "sink")
    log = dict(story.log)
    database = Database(postgres.new_database())
    database.prepare()
    Store(database).apply(FactReader(TOPICS, NOTHING_MOVED), log, {}, START_MS)
    for wanted in WANTED:
        assert asyncio.run(lines(LedgerLetters(database, Skipped()), wanted)) == asyncio.run(
            lines(on_topics(log, Skipped()), wanted)
        )
    database.close()


def test_a_ledger_that_has_not_read_all_once_says_so(tmp_path: Path) -> None:
    database = Database(prepared(tmp_path / "ledger.sqlite"))
    source = LedgerStatuses(database, Skipped())
    assert asyncio.run(source.newest()) == {}
    assert (source.name, source.as_of) == (NEVER, None)
    database.close()
