"""What is kept beside the rows is what the rows say, whatever was read first, and after rows went."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_story import START_MS, TOPICS, Log, Story, event, prepared, stories
from postgres import Postgres
from sqlalchemy import Connection, select, text

from attendance.adoptions import NOTHING_MOVED
from attendance.topics import DAY_MS
from ledger.database import Database
from ledger.store import Store
from ledger.tables import NOT_DELIVERED
from operations.fact_reading import FactReader

READER = FactReader(TOPICS, NOTHING_MOVED)
_PLACE = "kafka_partition, kafka_offset"
_OTHERS = f"select {_PLACE}, event_id, event_time, site, outcome from punches where outcome <> 'delivered'"
_OLDER = """select kafka_partition, wait_key from waiting w where exists (select 1 from waiting n
where n.event_id = w.event_id and (n.kafka_partition, n.kafka_offset) > (w.kafka_partition, w.kafka_offset))"""
_ACTIONS = f"""select {_PLACE}, (select action from dead_letter_actions where letter_partition = l.kafka_partition
and letter_offset = l.kafka_offset order by kafka_partition desc, kafka_offset desc limit 1) from dead_letters l"""


def check(connection: Connection) -> None:
    """What is kept is what a query of the rows concludes."""

    def rows(query: Any) -> set[tuple[Any, ...]]:
        return {tuple(row) for row in connection.execute(text(query) if isinstance(query, str) else query)}

    assert rows(select(NOT_DELIVERED)) == rows(_OTHERS)
    assert rows("select kafka_partition, wait_key from waiting where not is_newest") == rows(_OLDER)
    assert rows(f"select {_PLACE}, last_action from dead_letters") == rows(_ACTIONS)


def read_on(database: Database, log: Log, chance: random.Random) -> None:
    """Take a log in, some records of some partition at a time."""
    store, positions = Store(database), Store(database).load()
    left = {partition: list(records) for partition, records in log.items()}
    while left:
        partition = chance.choice(sorted(left))
        some = [left[partition].pop(0) for _ in range(min(chance.randint(1, 4), len(left[partition])))]
        positions |= store.apply(READER, {partition: some}, positions, START_MS)
        if not left[partition]:
            del left[partition]
        with database.transaction() as connection:
            check(connection)


@given(log=stories(), seed=st.integers(0, 9))
@settings(max_examples=30)
def test_after_each_batch_what_is_kept_is_what_the_rows_say(log: Log, seed: int) -> None:
    with TemporaryDirectory() as directory:
        database = Database(prepared(Path(directory, "ledger.sqlite")))
        read_on(database, log, random.Random(seed))
        database.close()


@given(log=stories(), more=stories(), ages=st.lists(st.integers(0, 3), min_size=9, max_size=9), days=st.integers(0, 3))
@settings(max_examples=30)
def test_when_old_rows_have_gone_what_is_kept_is_what_the_rows_say(
    log: Log, more: Log, ages: list[int], days: int
) -> None:
    """Topics are of any age, so an outcome may go before its record or stay after it."""
    aged: Log = {}
    for number, (partition, records) in enumerate(sorted(log.items())):
        later = [replace(record, offset=len(records) + record.offset) for record in more.get(partition, [])]
        shift = ages[number % len(ages)] * DAY_MS
        aged[partition] = [
            replace(record, timestamp=record.timestamp + shift * (offset % 2))
            for offset, record in enumerate([*records, *later])
        ]
    with TemporaryDirectory() as directory:
        database = Database(prepared(Path(directory, "ledger.sqlite")))
        read_on(database, aged, random.Random(1))
        Store(database).prune(days, {0: 1})
        with database.transaction() as connection:
            check(connection)
        database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        database = Database(server.new_database())
        database.prepare()
    else:
        database = Database(prepared(tmp_path / "ledger.sqlite"))
    yield database
    database.close()


def everything() -> Log:
    """A punch of each outcome, one that was sent back, letters with and without an action, and a copy that failed."""
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 0)), "EMP-1"), "CHK-1")
    story.drop(story.raw(event("1", 0)), event("1", 0).event_id)
    sent_back = story.raw(event("1", 1))
    story.wait(sent_back)
    story.send_back(sent_back, "EMP-1", 7)
    discarded = story.raw(event("1", 2))
    story.release(story.wait(discarded))
    story.discard(discarded)
    for what in ("replayed", "discarded"):
        story.act(story.fail(story.raw(event("1", 3))), what)
    lost = story.raw(event("1", 4))
    story.fail(story.raw(event("1", 4), copy_of=lost))
    story.checkin(story.raw(event("1", 5)), "EMP-1")
    story.garbage("raw")
    return dict(story.log)


def test_each_database_keeps_what_its_rows_say_until_they_go(ledger: Database) -> None:
    read_on(ledger, everything(), random.Random(3))
    store = Store(ledger)
    store.load()
    store.begin_anew(("unmapped", 0), START_MS)
    with ledger.transaction() as connection:
        check(connection)
        assert not connection.execute(text("select 1 from not_delivered where outcome like '%waiting'")).all()
    store.prune(-1, {0: 9})
    with ledger.transaction() as connection:
        check(connection)
        assert not connection.execute(select(NOT_DELIVERED)).all()


def outcomes(ledger: Database) -> list[str]:
    """What became of raw records that were not delivered, by their places."""
    with ledger.transaction() as connection:
        kept = connection.execute(select(NOT_DELIVERED.c.outcome).order_by(NOT_DELIVERED.c.kafka_offset))
        return [*kept.scalars()]


def test_a_letter_that_goes_with_an_erased_person_decides_no_other_punch_any_more(ledger: Database) -> None:
    """The topic was made anew: the place that the letter names is the record of another punch now."""
    story = Story()
    waits, theirs = story.raw(event("1", 0)), story.raw(event("3", 0))
    story.wait(waits)
    letter = story.fail(theirs)
    place = {"x-original-offset": b"%d" % waits.offset, "x-original-timestamp": b"%d" % waits.timestamp}
    letter.headers = [(name, place.get(name, value)) for name, value in letter.headers]
    read_on(ledger, dict(story.log), random.Random(5))
    assert outcomes(ledger) == ["dead_lettered", "undecided"]
    story.erase("EMP-3", ("D1", "3"))
    read_on(ledger, {at: records for at, records in story.log.items() if at[0] == "user_map"}, random.Random(6))
    assert outcomes(ledger) == ["waiting"]


STEP_BEFORE = (
    "drop table not_delivered",
    *(f"drop index raw_records_{name}" for name in ("event_time_site", "site_event_time")),
    *(f"drop index reconciled_devices_{name}" for name in ("device_id_day", "with_gap")),
    *(f"drop index waiting_{name}" for name in ("by_line", "by_device", "by_reason", "employee")),
    *(f"drop index dead_letters_{name}" for name in ("open", "employee")),
    "alter table waiting drop column is_newest",
    "alter table dead_letters drop column last_action",
    "create index raw_records_event_time on raw_records (event_time)",
    "create index waiting_site_device_user_id_reason on waiting (site, device_user_id, reason)",
    "create index waiting_device_id on waiting (device_id)",
    "update alembic_version set version_num = '0006'",
)
"""From the tables of today to those of step 0006."""


def test_a_ledger_of_the_release_before_is_given_what_its_rows_say(ledger: Database) -> None:
    read_on(ledger, everything(), random.Random(4))
    with ledger.transaction() as connection:
        kept = connection.execute(select(NOT_DELIVERED)).all()
        for statement in STEP_BEFORE:
            connection.execute(text(statement))

    ledger.prepare()

    with ledger.transaction() as connection:
        assert {*connection.execute(select(NOT_DELIVERED)).all()} == {*kept}
        check(connection)
