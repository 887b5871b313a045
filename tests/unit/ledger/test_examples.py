"""`examples/ledger.sql` as it stands there, on PostgreSQL."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger_story import START_MS, TOPICS, Story, event
from msgspec.structs import replace
from postgres import Postgres
from sqlalchemy import text

from attendance.adoptions import NOTHING_MOVED
from attendance.records.raw_event import RawEvent
from ledger.database import Database
from ledger.store import Store
from operations.fact_reading import FactReader

QUESTIONS = (Path(__file__).parents[3] / "examples" / "ledger.sql").read_text()


def answers(url: str, story: Story) -> list[list[tuple[Any, ...]]]:
    """What the ledger of a story says to each question."""
    database = Database(url)
    database.prepare()
    store = Store(database)
    store.apply(FactReader(TOPICS, NOTHING_MOVED), dict(story.log), store.load(), START_MS)
    with database.transaction() as connection:
        found = [
            [tuple(row) for row in connection.execute(text(each))] for each in QUESTIONS.split(";") if each.strip()
        ]
    database.close()
    return found


def test_every_question_is_answered(postgres: Postgres) -> None:
    story = Story()
    first, last = story.raw(event("1", 8)), story.raw(event("1", 17))
    again = story.raw(event("1", 8))
    wrong = story.raw(event("1", 20))
    right = story.give(wrong)
    late = event("7", 9, "D2")
    story.wait(story.raw(replace(late, received_at=late.received_at + timedelta(seconds=90))))
    story.drop(again, RawEvent.decode(first.value).event_id)
    for number, record in enumerate((first, last, wrong)):
        story.deliver(story.checkin(record, "EMP-1"), f"CHECKIN-{number}")
    corrected = story.checkin(right, "EMP-1", supersedes=RawEvent.decode(wrong.value).event_id)
    story.deliver(corrected, "CHECKIN-2")

    days, missing, lateness = answers(postgres.new_database(), story)

    hours = ("2026-03-02T08:00:00", "2026-03-02T21:00:00")
    assert days == [("EMP-1", date(2026, 3, 2), *(datetime.fromisoformat(each) for each in hours), 3)]
    assert missing == [("D1", "dropped", "duplicate", 1), ("D2", "waiting", "unmapped_user", 1)]
    assert lateness == [("D1", 0, 0), ("D2", 90, 90)]
