"""A ledger has the same rows whatever is read first, wherever it was interrupted, and on either database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_story import START_MS, TOPICS, Log, Story, event, prepared, stories
from postgres import Postgres
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy import event as on_event

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import ConfigurationError, Reason
from attendance.records.outcomes import Late
from attendance.records.raw_event import RawEvent
from attendance.topics import DAY_MS
from ledger.database import Database, LedgerTakenOver, LedgerUnavailable
from ledger.store import LEDGER_TOPICS, Batch, Partition, Store
from ledger.tables import FACTS, METADATA
from operations.fact_reading import FactReader

READER = FactReader(TOPICS, NOTHING_MOVED)
Dump = dict[str, list[tuple[Any, ...]]]


class Killed(Exception):
    """The process ended here."""


class Ledger:
    """One ledger's database, and processes that write it."""

    def __init__(self, url: str, *, is_new: bool = True) -> None:
        self.database = Database(url)
        if is_new:
            self.database.prepare()
        self.begin()

    def begin(self) -> None:
        """A process begins."""
        self.store = Store(self.database)
        self.positions = self.store.load()

    def take(self, batch: Batch) -> None:
        self.positions |= self.store.apply(READER, batch, self.positions, START_MS)

    def read_on(self, log: Log, partition: Partition, most: int) -> None:
        begin = self.positions[partition].next_offset if partition in self.positions else 0
        if records := log.get(partition, [])[begin : begin + most]:
            self.take({partition: records})

    def read_all(self, log: Log) -> None:
        for partition in log:
            self.read_on(log, partition, len(log[partition]))

    def dump(self) -> Dump:
        with self.database.transaction() as connection:
            return {
                name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for name, table in METADATA.tables.items()
            }

    def punches(self) -> list[Any]:
        with self.database.transaction() as connection:
            rows = connection.execute(text("select * from punches order by kafka_partition, kafka_offset"))
            return [each._asdict() for each in rows]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database
    names = iter(range(100))
    return lambda: f"sqlite:///{tmp_path}/{next(names)}.sqlite"


@pytest.fixture
def ledger(new_url: Callable[[], str]) -> Iterator[Ledger]:
    ledger = Ledger(new_url())
    yield ledger
    ledger.database.close()


def in_one_pass(log: Log, url: str) -> Dump:
    ledger = Ledger(url, is_new=False)
    ledger.read_all(log)
    ledger.database.close()
    return ledger.dump()


@contextmanager
def killed(ledger: Ledger, *, before_commit: bool) -> Iterator[None]:
    """The process ends within its next transaction, or right after it."""
    transaction = ledger.database.transaction

    @contextmanager
    def dying() -> Iterator[Connection]:
        with transaction() as connection:
            yield connection
            if before_commit:
                raise Killed
        raise Killed

    ledger.database.transaction = dying  # type: ignore[method-assign]
    try:
        yield
    except Killed:
        pass
    finally:
        ledger.database.transaction = transaction  # type: ignore[method-assign]


Step = tuple[int, int, str]
steps = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 9), st.sampled_from(("read", "die", "die after", "begin")))
)


def play(ledger: Ledger, log: Log, played: Sequence[Step]) -> None:
    partitions = sorted(log)
    for number, most, what in played:
        partition = partitions[number % len(partitions)]
        match what:
            case "read":
                ledger.read_on(log, partition, most)
            case "begin":
                ledger.begin()
            case _:
                with killed(ledger, before_commit=what == "die"):
                    ledger.read_on(log, partition, most)
                ledger.begin()
    ledger.read_all(log)


@given(log=stories(), played=steps)
@settings(max_examples=60)
def test_any_interleaving_with_ends_and_beginnings_gives_the_rows_of_one_pass(log: Log, played: list[Step]) -> None:
    with TemporaryDirectory() as directory:
        ledger = Ledger(prepared(Path(directory, "played.sqlite")), is_new=False)
        play(ledger, log, played)
        ledger.database.close()
        assert ledger.dump() == in_one_pass(log, prepared(Path(directory, "one.sqlite")))


@pytest.mark.parametrize("seed", range(3))
def test_both_databases_have_the_same_rows_and_the_same_punches(seed: int, postgres: Postgres, tmp_path: Path) -> None:
    log = a_log_of_everything()
    played = [
        (seed * 7 + each * 5, 1 + each % 4, ("read", "die", "die after", "begin")[each % 4]) for each in range(40)
    ]
    lite, server = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite"), Ledger(postgres.new_database())
    play(lite, log, played)
    play(server, log, played[::-1])

    assert lite.dump() == server.dump()
    assert lite.punches() == server.punches()
    for each in (lite, server):
        each.database.close()


def a_log_of_everything() -> Log:
    """A punch of each outcome, each of another hour."""
    story = Story()
    kept = story.raw(event("1", 0))
    story.deliver(story.checkin(kept, "EMP-1"), "CHK-1")
    story.drop(story.raw(event("1", 0)), event("1", 0).event_id)
    story.wait(story.raw(event("1", 1)))
    discarded = story.raw(event("1", 2))
    story.release(story.wait(discarded))
    story.discard(discarded)
    story.act(story.fail(story.raw(event("1", 3))))
    story.fail(story.checkin(story.raw(event("1", 4)), "EMP-1"), Reason.TARGET_REJECTED, "sink")
    story.checkin(story.raw(event("1", 5)), "EMP-1")
    lost = story.raw(event("1", 6))
    copy = story.raw(event("1", 6), copy_of=lost)
    story.fail(copy, Reason.BEYOND_HORIZON)
    story.raw(event("1", 7))
    story.garbage("raw")
    story.report("D1", 3, serial="S1", faces=2**70)
    story.report("D1", None, firmware="2\0")
    story.report("D2")
    for name in LEDGER_TOPICS[1:]:
        story.garbage(name)
    return dict(story.log)


def test_each_punch_has_the_outcome_that_the_audit_would_count(ledger: Ledger) -> None:
    ledger.read_all(a_log_of_everything())

    found = [(each["outcome"], each["reason"]) for each in ledger.punches()]
    assert found == [
        ("delivered", None),
        ("dropped", "duplicate"),
        ("waiting", "unmapped_user"),
        ("discarded_waiting", None),
        ("dead_lettered", "implausible_time"),
        ("dead_lettered", "target_rejected"),
        ("undelivered", None),
        ("dead_lettered", "beyond_horizon"),
        ("dead_lettered", "beyond_horizon"),
        ("undecided", None),
        ("undecided", None),
    ]
    first, second = ledger.punches()[:2]
    assert (first["employee"], first["document"]) == ("EMP-1", "CHK-1")
    assert first["stored_at"] < first["decided_at"] <= first["delivered_at"]
    assert second["kept_event_id"] == first["event_id"]


def test_what_cannot_be_read_is_a_row_that_says_why(ledger: Ledger) -> None:
    ledger.read_all(a_log_of_everything())

    unreadable = ledger.dump()["unreadable"]
    assert {row[0] for row in unreadable} == {
        *("checkins.v1", "dropped.v1", "unmapped.v1", "deliveries.v1", "dead-letters.v1", "dead-letter-actions.v1"),
        "device-status.v1",
    }
    assert ledger.punches()[-1]["event_id"] is None


def test_the_views_show_corrections_late_deliveries_actions_and_days_of_devices(ledger: Ledger) -> None:

    story = Story()
    wrong, right = story.raw(event("1", 0)), story.raw(event("1", 1))
    story.deliver(story.checkin(wrong, "EMP-1"), "CHK-1", Late("D1", "Day", date(2026, 3, 2)))
    story.checkin(right, "EMP-1", RawEvent.decode(wrong.value).event_id)
    story.act(story.fail(story.raw(event("2", 25))))
    ledger.read_all(dict(story.log))

    with ledger.database.transaction() as connection:
        asked = {name: connection.execute(text(f"select * from {name}")).mappings().all() for name in VIEWS}
    assert [each["supersedes"] for each in asked["corrections"]] == [RawEvent.decode(wrong.value).event_id]
    assert [(each["document"], each["late_date"]) for each in asked["late"]] == [("CHK-1", "2026-03-02")]
    assert [(each["action"], each["device_id"], each["note"]) for each in asked["actions"]] == [
        ("discarded", "D1", "known")
    ]
    days = sorted((each["day"], each["records"], each["device_users"]) for each in asked["device_days"])
    assert days == [(START_MS // DAY_MS, 2, 1), (START_MS // DAY_MS + 1, 1, 1)]


VIEWS = ("corrections", "late", "actions", "device_days")


def test_a_second_process_that_writes_the_same_ledger_writes_nothing(ledger: Ledger) -> None:
    log = a_log_of_everything()
    other = Store(ledger.database)
    before = other.load()
    ledger.read_on(log, ("raw", 0), 2)
    rows = ledger.dump()

    with pytest.raises((LedgerTakenOver, LedgerUnavailable)):
        other.apply(READER, {("raw", 0): log["raw", 0][:3]}, before, START_MS)
    ledger.read_on(log, ("raw", 0), 1)
    with pytest.raises(LedgerTakenOver):
        other.apply(
            READER,
            {("raw", 0): log["raw", 0][2:4]},
            {("raw", 0): ledger.positions["raw", 0]._replace(next_offset=2)},
            START_MS,
        )
    assert len(ledger.dump()["raw_records"]) == len(rows["raw_records"]) + 1


def test_rows_that_are_too_old_by_the_newest_record_go_and_what_waits_stays(ledger: Ledger) -> None:
    story = Story()
    story.wait(story.raw(event("1", 0)))
    story.deliver(story.checkin(story.raw(event("1", 1)), "EMP-1"), "CHK-1")
    story.clock += 3 * DAY_MS
    story.raw(event("1", 80))
    ledger.read_all(dict(story.log))

    ledger.store.prune(3, {})
    assert len(ledger.punches()) == 3
    ledger.store.prune(2, {})
    assert [each["stored_at"] for each in ledger.punches()] == [story.clock]
    rows = ledger.dump()
    assert not rows["checkins"]
    assert not rows["deliveries"]
    assert len(rows["waiting"]) == 1


def test_a_dead_letter_about_which_nothing_was_done_stays_until_its_topic_lets_go_of_it(ledger: Ledger) -> None:
    story = Story()
    for hour in range(4):
        story.fail(story.raw(event("1", hour)))
    done = story.fail(story.raw(event("1", 4)))
    story.act(done)
    story.clock += 9 * DAY_MS
    story.raw(event("1", 240))
    ledger.read_all(dict(story.log))

    ledger.store.prune(8, {0: 0})
    assert len(ledger.dump()["dead_letters"]) == 4
    assert not ledger.dump()["dead_letter_actions"]
    ledger.store.prune(8, {0: 3})
    assert [row[1] for row in ledger.dump()["dead_letters"]] == [3]


def test_what_was_done_lately_about_an_old_dead_letter_stays_with_it(ledger: Ledger) -> None:
    story = Story()
    letter = story.fail(story.raw(event("1", 0)))
    story.clock += 9 * DAY_MS
    story.act(letter)
    story.raw(event("1", 240))
    ledger.read_all(dict(story.log))

    ledger.store.prune(8, {})
    rows = ledger.dump()
    assert len(rows["dead_letters"]) == len(rows["dead_letter_actions"])


def test_whoever_was_erased_is_in_no_row_whenever_that_was_read(ledger: Ledger) -> None:
    story = Story()
    for user, employee in (("1", "EMP-1"), ("2", "EMP-2")):
        story.deliver(story.checkin(story.raw(event(user, 0)), employee), f"CHK-{user}")
        story.drop(story.raw(event(user, 0)), event(user, 0).event_id)
        story.wait(story.raw(event(user, 1)))
        story.fail(story.raw(event(user, 2)))
    story.erase("EMP-1", ("D1", "1"))
    log = dict(story.log)
    ledger.read_all({partition: log[partition] for partition in reversed(log)})

    rows = ledger.dump()
    kept = [row for table in FACTS.values() for row in rows[table.name]]
    assert not [row for row in kept if {"1", "EMP-1", "CHK-1"} & {each for each in row if isinstance(each, str)}]
    assert all(rows[table] for table in ("raw_records", "dropped", "checkins", "deliveries", "waiting", "dead_letters"))
    assert {each["device_user_id"] for each in ledger.punches()} == {"2"}


def test_what_waits_is_read_anew_and_is_what_the_topic_has(ledger: Ledger) -> None:
    story = Story()
    first, second = story.wait(story.raw(event("1", 0))), story.wait(story.raw(event("1", 1)))
    ledger.read_all(dict(story.log))
    story.release(first)

    ledger.store.begin_anew(("unmapped", 0), START_MS)
    ledger.begin()
    # Compaction has let go of the first and of its removal.
    ledger.take({("unmapped", 0): [second]})
    assert [row[3] for row in ledger.dump()["waiting"]] == [event("1", 1).event_id]


def test_the_steps_of_alembic_make_the_tables_that_the_code_has(new_url: Callable[[], str]) -> None:
    database = Database(new_url())
    database.prepare()
    database.prepare()
    database.refuse_unprepared()

    with database.transaction() as connection:
        assert not compare_metadata(MigrationContext.configure(connection), METADATA)
    database.delete()
    with pytest.raises(ConfigurationError, match="not of this release"):
        database.refuse_unprepared()
    database.prepare()
    with database.transaction() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="later release"):
        database.prepare()
    database.close()


def test_a_start_that_is_broken_off_between_two_steps_leaves_nothing_in_the_way_of_the_next(
    new_url: Callable[[], str],
) -> None:
    database = Database(new_url())

    def stop(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lower().startswith("alter table"):
            raise SystemExit

    on_event.listen(database._engine, "before_cursor_execute", stop)
    with pytest.raises(SystemExit):
        database.prepare()
    on_event.remove(database._engine, "before_cursor_execute", stop)
    with database.transaction() as connection:
        assert inspect(connection).get_table_names() == []
    database.prepare()
    database.refuse_unprepared()
    database.close()


def test_tables_of_facts_have_the_fields_of_facts() -> None:
    for kind, table in FACTS.items():
        assert tuple(column.name for column in table.columns)[: len(kind._fields)] == kind._fields


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/db", "neither sqlite nor postgresql|No module"),
        ("no url", "LEDGER_URL"),
        ("sqlite://", "needs a file"),
    ],
)
def test_an_address_that_is_no_database_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Database(url)


def test_a_database_that_does_not_answer_is_waited_for_and_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="the ledger's database"):
        Database("postgresql://nobody@127.0.0.1:1/none").prepare()
    with pytest.raises(ConfigurationError, match="is not there"):
        Database(f"sqlite:///{tmp_path}/none.sqlite", must_exist=True)
    database = Database(f"sqlite:///{tmp_path}/folder/ledger.sqlite")
    database.prepare()
    database.close()
    assert (tmp_path / "folder" / "ledger.sqlite").stat().st_mode & 0o777 == 0o600
