"""What a page shows of punches and of counts is what the view `punches` and single rows say, on either database."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_story import START, START_MS, TOPICS, Log, Story, event, prepared, stories
from postgres import Postgres
from sqlalchemy import Connection, text

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import Reason
from ledger.counts import (
    DeviceLetters,
    LetterCount,
    OutcomeCount,
    WaitingCount,
    count_hours,
    count_letters_by_device,
    count_open_letters,
    count_outcomes,
    count_undelivered,
    count_waiting,
)
from ledger.database import Database
from ledger.punches import OUTCOMES, PunchRow, WhichPunches, count_punches, newest_punches
from ledger.store import Store
from operations.fact_reading import FactReader, milliseconds
from operations.paging import InvalidPageToken, page_token

HOUR = timedelta(hours=1)


def take_in(database: Database, log: Log) -> None:
    Store(database).apply(FactReader(TOPICS, NOTHING_MOVED), log, {}, START_MS)


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


def all_pages(connection: Connection, which: WhichPunches, most: int) -> list[PunchRow]:
    rows: list[PunchRow] = []
    token = None
    for _ in range(1_000):
        page = newest_punches(connection, which, most, token)
        assert len(page.rows) <= most
        rows += page.rows
        if (token := page.next) is None:
            return rows
    raise AssertionError("the list has no end")


def every_count(connection: Connection, which: WhichPunches) -> Counter[str]:
    counted = Counter[str]()
    token = None
    for _ in range(1_000):
        count = count_punches(connection, which, token)
        counted.update(count.outcomes)
        if (token := count.next) is None:
            return counted
    raise AssertionError("the count has no end")


def matching(view: list[Any], which: WhichPunches) -> list[tuple[int, int]]:
    def is_wanted(row: Any) -> bool:
        asked = {"employee": which.employee, "device_id": which.device, "site": which.site, "outcome": which.outcome}
        asked["device_user_id"] = which.device_user
        is_of_time = row.event_time is not None and (
            (which.first is None or row.event_time >= milliseconds(which.first))
            and (which.last is None or row.event_time < milliseconds(which.last))
        )
        is_of_sites = which.sites is None or row.site in which.sites
        return (
            is_of_time
            and is_of_sites
            and all(value is None or getattr(row, name) == value for name, value in asked.items())
        )

    wanted = [row for row in view if is_wanted(row)]
    wanted.sort(key=lambda row: (row.event_time, row.kafka_partition, row.kafka_offset), reverse=True)
    return [(row.kafka_partition, row.kafka_offset) for row in wanted]


whiches = st.builds(
    WhichPunches,
    st.sampled_from((None, None, "EMP-1", "EMP-9")),
    st.sampled_from((None, "D1", "D2")),
    device_user=st.sampled_from((None, None, "1", "9")),
    site=st.sampled_from((None, None, "s", "elsewhere")),
    sites=st.sampled_from((None, None, frozenset(("s", "t")), frozenset(("elsewhere",)), frozenset())),
    outcome=st.sampled_from((None, None, *OUTCOMES)),
    first=st.sampled_from((None, START + HOUR)),
    last=st.sampled_from((None, START + 4 * HOUR)),
)


@given(log=stories(), which=whiches, most=st.integers(1, 4), looked_at=st.integers(1, 5))
@settings(max_examples=40)
def test_the_pages_have_every_punch_that_is_meant_once_the_newest_first(
    log: Log, which: WhichPunches, most: int, looked_at: int
) -> None:
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        patched.setattr("ledger.punches.LOOKED_AT", looked_at)
        patched.setattr("ledger.punches.COUNTED", looked_at)
        database = Database(prepared(Path(directory, "ledger.sqlite")))
        take_in(database, log)
        with database.transaction() as connection:
            view = connection.execute(text("select * from punches")).all()
            found = all_pages(connection, which, most)
            assert [(each.kafka_partition, each.kafka_offset) for each in found] == matching([*view], which)
            outcome_of = {(row.kafka_partition, row.kafka_offset): row.outcome for row in view}
            assert every_count(connection, which) == Counter(map(outcome_of.get, matching([*view], which)))
            counts = count_outcomes(connection, START + HOUR, START + 4 * HOUR)
            between = matching([*view], WhichPunches(first=START + HOUR, last=START + 4 * HOUR))
            of_place = {(row.kafka_partition, row.kafka_offset): (row.site, row.outcome) for row in view}
            assert {(each.site, each.outcome): each.records for each in counts} == Counter(map(of_place.get, between))
        database.close()


def a_day_of_everything() -> Log:
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 0)), "EMP-1"), "CHK-1")
    story.drop(story.raw(event("1", 0)), event("1", 0).event_id)
    for hour in (3, 2, 5):
        story.wait(story.raw(event("1", hour)))
    sent_back = story.raw(event("1", 6))
    story.wait(sent_back)
    story.send_back(sent_back, "EMP-1", 7)
    story.fail(story.raw(event("1", 7)))
    story.act(story.fail(story.raw(event("1", 8))), "replayed")
    story.fail(story.checkin(story.raw(event("1", 9, "D2")), "EMP-1"), Reason.TARGET_REJECTED, "sink")
    return dict(story.log)


def test_each_database_shows_the_punches_of_an_employee_and_of_a_device(ledger: Database) -> None:
    take_in(ledger, a_day_of_everything())
    with ledger.transaction() as connection:
        of_employee = all_pages(connection, WhichPunches("EMP-1"), 2)
        of_device = all_pages(connection, WhichPunches(device="D1", first=START, last=START + 3 * HOUR), 2)
    assert [(each.event_time - START) // HOUR for each in of_employee] == [9, 6, 0, 0]
    assert [each.outcome for each in of_employee] == ["dead_lettered", "waiting", "dropped", "delivered"]
    assert of_employee[3].document == "CHK-1"
    assert of_employee[2].kept_event_id == of_employee[3].event_id
    assert [(each.event_time - START) // HOUR for each in of_device] == [2, 0, 0]
    assert {each.device_id for each in of_device} == {"D1"}


def test_each_database_counts_the_punches_of_an_employee_and_of_sites(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.punches.COUNTED", 3)
    take_in(ledger, a_day_of_everything())
    with ledger.transaction() as connection:
        counted = every_count(connection, WhichPunches("EMP-1", sites=frozenset(("s", "t"))))
        assert counted == {"dead_lettered": 1, "waiting": 1, "dropped": 1, "delivered": 1}
        assert not every_count(connection, WhichPunches(sites=frozenset(("t",))))
        assert every_count(connection, WhichPunches(outcome="waiting")) == {"waiting": 4}


def test_each_database_counts_what_came_of_a_day_what_waits_and_what_failed(ledger: Database) -> None:
    take_in(ledger, a_day_of_everything())
    with ledger.transaction() as connection:
        outcomes = count_outcomes(connection, START, START + 24 * HOUR)
        waiting, letters = count_waiting(connection), count_open_letters(connection)
        day = START, START + 24 * HOUR
        assert count_outcomes(connection, *day, {"s", "t"}) == outcomes
        assert sum(count_hours(connection, *day, {"s", "t"})) == sum(count_hours(connection, *day)) == 9
        assert count_waiting(connection, {"s", "t"}) == waiting
        assert count_letters_by_device(connection) == [DeviceLetters("D1", 1), DeviceLetters("D2", 1)]
        assert not count_undelivered(connection)
        for elsewhere in ({"t"}, ()):
            assert not count_outcomes(connection, *day, elsewhere)
            assert not any(count_hours(connection, *day, elsewhere))
            assert not count_waiting(connection, elsewhere)
    assert outcomes == [
        OutcomeCount("s", "dead_lettered", 3),
        OutcomeCount("s", "delivered", 1),
        OutcomeCount("s", "dropped", 1),
        OutcomeCount("s", "waiting", 4),
    ]
    assert waiting == [
        WaitingCount("s", Reason.EMPLOYEE_INACTIVE, 1, START + 6 * HOUR),
        WaitingCount("s", Reason.UNMAPPED_USER, 3, START + 2 * HOUR),
    ]
    assert letters == [
        LetterCount("sink", Reason.TARGET_REJECTED, 1, 0, START, START),
        LetterCount("stream", Reason.IMPLAUSIBLE_TIME, 1, 0, START, START),
    ]


@pytest.mark.parametrize("token", ["", "no token", page_token(1), page_token("1", 2, 3), "WzEsMl0"])
def test_a_token_of_another_list_is_refused(token: str, ledger: Database) -> None:
    with ledger.transaction() as connection, pytest.raises(InvalidPageToken, match="first page"):
        newest_punches(connection, WhichPunches(), 10, token)
