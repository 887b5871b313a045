"""The open letters of a ledger are those of the topics, however they are counted, sampled or listed."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from ledger_story import Log, Story, event, kept_ledger, stories
from memory_log import MemoryLog

from attendance.errors import Reason
from attendance.records.dead_letter_action import LetterId
from attendance.records.unread import UnreadRequest
from ledger.database import Database
from ledger.open_letters import OpenLetters
from operations.dead_letters import SETTLED, Selection
from operations.letter_lists import LetterLine, LettersOnTopics
from operations.log import Skipped
from operations.paging import InvalidPageToken
from operations.reading_again import NotUnderstood, Reading

SELECTIONS = [
    Selection(),
    Selection.of(Reason.TARGET_REJECTED),
    Selection.of(stage="push", device="D2"),
    Selection(devices=frozenset(("D1", "D2")), reasons=frozenset((Reason.IMPLAUSIBLE_TIME, Reason.TARGET_REJECTED))),
    Selection(devices=frozenset()),
]


@contextmanager
def filled(log: Log) -> Iterator[OpenLetters]:
    story = Story()
    story.log |= log
    with TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/ledger.sqlite"
        kept_ledger(url, story)
        database = Database(url)
        try:
            yield OpenLetters(database)
        finally:
            database.close()


def open_lines(log: Log, wanted: Selection) -> list[LetterLine]:
    """Those of the topics, the newest first."""

    def not_understood(_request: UnreadRequest) -> Reading:
        raise NotUnderstood("json: not JSON")

    async def find() -> list[LetterLine]:
        memory = MemoryLog()
        for (name, _), records in log.items():
            memory.put(name, *records)
        async with aclosing(LettersOnTopics(memory, not_understood, Skipped()).lines(wanted)) as lines:
            return [each async for each in lines if each.state not in SETTLED]

    return sorted(asyncio.run(find()), key=lambda each: (each.at, each.id), reverse=True)


@settings(max_examples=30)
@given(stories())
def test_the_ledger_has_the_open_letters_of_the_topics(log: Log) -> None:
    log = {partition: records for partition, records in log.items() if partition[0] != "user_map"}
    with filled(log) as letters:
        for wanted in SELECTIONS:
            expected = open_lines(log, wanted)
            assert list(letters.page(wanted, 1_000).rows) == expected
            by_reason = Counter((each.stage, each.reason) for each in expected)
            groups = letters.groups(wanted)
            assert {(each.count.stage, each.count.reason): each.count.letters for each in groups} == by_reason
            newest = {(each.stage, each.reason): (each.id, each.message) for each in reversed(expected)}
            assert {(each.count.stage, each.count.reason): (each.sample, each.message) for each in groups} == newest
            devices = {each.device: each.letters for each in letters.devices(wanted, 100)}
            assert devices == Counter(each.device for each in expected)
            counted = letters.count(wanted)
            assert counted.letters == len(expected)
            ends = {number: len(records) for (name, number), records in log.items() if name == "dead_letters"}
            assert counted.ends == ends


@pytest.fixture
def letters() -> Iterator[OpenLetters]:
    story = Story()
    for hour in range(5):
        story.fail(story.raw(event("1", hour)))
    story.act(story.fail(story.raw(event("2", 1)), Reason.CLOCK_SKEW), "replayed")
    story.reject("D2")
    with filled(dict(story.log)) as found:
        yield found


def test_a_list_goes_on_where_the_page_before_ended(letters: OpenLetters) -> None:
    found, token = [], None
    while True:
        page = letters.page(Selection(), 2, token)
        found += [each.id.offset for each in page.rows]
        token = page.next
        if token is None:
            break
    assert found == [6, 4, 3, 2, 1, 0]
    with pytest.raises(InvalidPageToken):
        letters.page(Selection(), 2, "nonsense")


def test_letters_may_be_named_and_what_is_done_is_not_among_them(letters: OpenLetters) -> None:
    named = Selection(frozenset((LetterId(0, 1), LetterId(0, 5), LetterId(0, 99), LetterId(7, 1))))
    assert [each.id.offset for each in letters.page(named, 10).rows] == [1]
    assert letters.count(named).letters == 1


def test_a_group_that_was_dealt_with_since_it_was_counted_is_no_group(
    letters: OpenLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = [each.count for each in letters.groups(Selection())]
    gone = replace(counted[0], reason=Reason.ERASED)
    monkeypatch.setattr("ledger.open_letters.count_open_letters", lambda *_: [gone, *counted])
    assert [each.count for each in letters.groups(Selection())] == counted


def test_one_letter_has_what_was_done_about_it(letters: OpenLetters) -> None:
    found = letters.letter(LetterId(0, 5))
    assert found is not None
    assert [(each.action, each.by, each.note) for each in found.history] == [("replayed", "fatima", "known")]
    assert (found.line.state, found.line.device, found.device_user_id) == ("replayed", "D1", "2")
    assert letters.letter(LetterId(0, 99)) is None
