"""Whatever comes, however old, in whatever order and however often, has its one row, as if nothing was forgotten."""

import asyncio
import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import pytest
from changelog import Changelog
from hypothesis import given, settings
from hypothesis import strategies as st
from known_punches import KnownPunches
from msgspec.structs import replace

from attendance.errors import Reason
from attendance.fleet import Device
from attendance.kafka.producer import Producer
from attendance.kafka.records import Headers
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Dropped
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings, StreamSettings
from attendance.user_map import UserMap
from streams import state as module
from streams.open_store import store_opener
from streams.pipeline import Outcome, Pipeline, Rules
from streams.state import DeduplicationState
from streams.store import HistoryNeeded

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ZONE, OLD_ZONE = "Asia/Riyadh", "UTC"
WINDOW, HORIZON = 60, 90 * 86400
RULES = Rules(WINDOW, HORIZON, future_tolerance=300, clock_tolerance=600)
FOR_EVER = Rules(WINDOW, math.inf, future_tolerance=300, clock_tolerance=600)
DEVICE = Device.model_validate({"device_id": "D1", "site": "s", "timezone": ZONE, "token_sha256": "0" * 64})
REPLAY = [("x-replay-of", b"0:0")]


@dataclass
class Record:
    value: bytes | None
    offset: int
    headers: Headers = ()
    partition: int = 0
    topic: str = "attendance.raw.v1"
    timestamp: int = round(NOW.timestamp() * 1000)
    key: bytes | None = b"D1"


def event(days: int, second: int, kind: EventType, user: str = "1", zone: str = ZONE) -> RawEvent:
    """A punch so many days ago, so many seconds after ten."""
    time = NOW - timedelta(days=days, hours=14) + timedelta(seconds=second)
    wall_clock = (time + timedelta(hours=3 if zone == ZONE else 0)).strftime("%Y-%m-%d %H:%M:%S")
    return RawEvent("D1", "s", user, kind, time, wall_clock, zone, NOW, Source("file", "csv"))


def corrected(wrong: RawEvent) -> RawEvent:
    """What `replay --correct` makes of a punch that was read in the old zone."""
    assert wrong.event_time is not None
    time = wrong.event_time - timedelta(hours=3)
    return replace(wrong, event_time=time, device_timezone=ZONE, supersedes=wrong.event_id)


def user_map() -> UserMap:
    users = UserMap()
    for entry in (Employee("E1", "Active"), UserMapping("*", "1", "E1", "csv"), UserMapping("*", "2", "E1", "csv")):
        users.apply(entry.key, entry.encode())
    return users


USERS = user_map()


@dataclass
class Stream:
    """A stream of one partition, whose process starts anew from its changelog as often as it is told to."""

    changelog: Changelog
    directory: Path
    store: Literal["memory", "rocksdb"] = "memory"
    raw: list[Record] = field(default_factory=list)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(RULES, USERS, lambda _: DEVICE)
        self.start()

    def start(self) -> None:
        options = StreamSettings.load(dedup_store=self.store, dedup_directory=self.directory)
        self.state = DeduplicationState(
            KafkaSettings.load(), cast("Producer", self.changelog), HORIZON, 300, store_opener(options, "changelog")
        )
        asyncio.run(self.state.catch_up([0]))

    def restart(self) -> None:
        self.state.close()
        self.start()

    def arrive(self, *events: RawEvent, headers: Headers = ()) -> list[Record]:
        records = [Record(each.encode(), len(self.raw) + n, headers) for n, each in enumerate(events)]
        self.raw += records
        return records

    def decide(self, records: list[Record]) -> list[Outcome]:
        """One step."""
        return asyncio.run(self._decide(records)) if records else []

    async def _decide(self, records: list[Record]) -> list[Outcome]:
        await self.state.begin(0, records[0])
        while True:
            try:
                decisions = self.pipeline.decide(records, self.state[0], self.now)
                break
            except HistoryNeeded:
                await self.state.recall(0)
        await self.state.add(0, decisions.kept, decisions.lists)
        return decisions.outcomes


class Truth:
    """The same decisions by somebody who forgets nothing."""

    def __init__(self) -> None:
        self._pipeline = Pipeline(FOR_EVER, USERS, lambda _: DEVICE)
        self._known = KnownPunches()
        self._known.floor = -1

    def decide(self, records: list[Record]) -> list[Outcome]:
        decisions = self._pipeline.decide(records, self._known, NOW)
        self._known.take(decisions)
        return decisions.outcomes


def same(one: Outcome, other: Outcome) -> bool:
    if isinstance(one, Dropped) and isinstance(other, Dropped):
        return (one.event_id, one.reason, one.offset) == (other.event_id, other.reason, other.offset)
    return one == other


@contextmanager
def stream(store: Literal["memory", "rocksdb"] = "memory") -> Iterator[Stream]:
    changelog = Changelog(NOW.timestamp())
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as directory:
        patch.setattr(module, "read", changelog.read)
        made: list[Stream] = []
        patch.setattr(module, "now", lambda: made[0].now if made else NOW)
        made.append(Stream(changelog, Path(directory), store))
        yield made[0]
        made[0].state.close()


def pass_days(stream: Stream, days: int) -> None:
    stream.now += timedelta(days=days)
    stream.changelog.time = stream.now.timestamp()


days = st.integers(0, 1800)
clusters = st.builds(
    lambda day, taps: [replace(each, event_time=each.event_time - timedelta(days=day)) for each in taps],
    days,
    st.lists(st.builds(event, st.just(0), st.integers(0, 200), st.sampled_from(["IN", "OUT", "UNKNOWN"])), max_size=4),
)
files = st.lists(clusters, max_size=4).map(lambda parts: [each for part in parts for each in part])
acts = st.one_of(
    st.tuples(st.just("import"), files),
    st.tuples(st.just("again"), st.randoms(use_true_random=False)),
    st.tuples(st.just("newest first"), st.none()),
    st.tuples(st.just("wrong zone"), st.integers(0, 1800)),
    st.tuples(st.just("correct"), st.integers(0, 30)),
    st.tuples(st.just("replay"), st.integers(0, 60)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("days pass"), st.integers(1, 120)),
    st.tuples(st.just("offsets are lost"), st.none()),
)


def decoded(record: Record) -> RawEvent:
    return RawEvent.decode(record.value)


def perform(stream: Stream, act: str, what: Any, rows: Collection[str]) -> list[Record]:
    """Have something happen. Returns the raw records that the stream gets by it."""
    events = [decoded(each) for each in stream.raw]
    terminals = [each for each in events if each.supersedes is None]
    records: list[Record] = []
    match act:
        case "import":
            records = stream.arrive(*what)
        case "again":
            what.shuffle(terminals)
            records = stream.arrive(*terminals)
        case "newest first":
            records = stream.arrive(*sorted(terminals, key=lambda each: each.event_time or NOW, reverse=True))
        case "wrong zone":
            records = stream.arrive(event(what, 0, "IN", zone=OLD_ZONE), event(what, 20, "IN", zone=OLD_ZONE))
        case "correct":
            wrong = [each for each in terminals if each.device_timezone == OLD_ZONE and each.event_id in rows]
            records = stream.arrive(*(corrected(each) for each in wrong[:what]))
        case "replay" if events:
            records = stream.arrive(events[what % len(events)], headers=REPLAY)
        case "offsets are lost":
            records = list(stream.raw)
        case "restart":
            stream.restart()
        case "days pass":
            pass_days(stream, what)
    return records


def check(store: Literal["memory", "rocksdb"], story: list[tuple[str, Any]], size: int) -> None:
    truth, rows, wrong = Truth(), set[str](), set[str]()
    with stream(store) as tested:
        for act, what in story:
            records = perform(tested, act, what, rows)
            wrong |= {event.supersedes for event in map(decoded, records) if event.supersedes}
            for start in range(0, len(records), size):
                step = records[start : start + size]
                for record, found, true in zip(step, tested.decide(step), truth.decide(step), strict=True):
                    assert same(found, true), (act, found, true)
                    if isinstance(found, Checkin):
                        assert found.event_id not in wrong or decoded(record).device_timezone == ZONE
                        rows.add(found.event_id)


@given(st.lists(acts, max_size=12), st.integers(1, 9))
def test_any_history_is_decided_as_if_nothing_was_ever_forgotten(story: list[tuple[str, Any]], size: int) -> None:
    check("memory", story, size)


@settings(max_examples=15, deadline=None)
@given(st.lists(acts, max_size=8), st.integers(1, 9))
def test_the_same_holds_for_a_store_on_disk(story: list[tuple[str, Any]], size: int) -> None:
    check("rocksdb", story, size)


def repeat(one: RawEvent, other: RawEvent) -> bool:
    assert one.event_time is not None
    assert other.event_time is not None
    near = abs(one.event_time - other.event_time) <= timedelta(seconds=WINDOW)
    alike = one.event_type == other.event_type or "UNKNOWN" in (one.event_type, other.event_type)
    return near and alike and one.device_user_id == other.device_user_id


losses = st.tuples(st.just("the changelog loses its begin"), st.integers(1, 5))
made_anew = st.tuples(st.just("the changelog is made anew"), st.none())
releases = st.tuples(st.just("release"), st.none())
without_corrections = acts.filter(lambda act: act[0] not in ("correct", "wrong zone"))


@given(st.lists(st.one_of(without_corrections, losses, made_anew, releases), max_size=14), st.integers(1, 9))
def test_whatever_the_changelog_has_lost_no_row_comes_a_second_time(story: list[tuple[str, Any]], size: int) -> None:
    """What nobody knows any more is held, and a person releases what ERPNext has nothing near of."""
    rows: dict[str, RawEvent] = {}
    with stream() as tested:
        held: list[DeadLetter] = []
        for act, what in story:
            records = perform(tested, act, what, rows.keys())
            if act == "the changelog loses its begin":
                log = tested.changelog
                log.first[0] = min(log.first[0] + what, len(log.records[0]))
                pass_days(tested, 1)
                tested.restart()
            elif act == "the changelog is made anew":
                tested.changelog.make_anew()
                pass_days(tested, 1)
            elif act == "release":
                records = list(release(tested, held, rows.values()))
                held = []
            for start in range(0, len(records), size):
                step = records[start : start + size]
                for record, found in zip(step, tested.decide(step), strict=True):
                    if isinstance(found, DeadLetter):
                        assert found.reason is Reason.BEYOND_HORIZON
                        held.append(found)
                    elif isinstance(found, Checkin):
                        new = decoded(record)
                        others = (each for id_, each in rows.items() if id_ != new.event_id)
                        assert not any(repeat(each, new) for each in others)
                        rows[found.event_id] = new


def release(stream: Stream, held: Iterable[DeadLetter], rows: Iterable[RawEvent]) -> Iterator[Record]:
    """Replay the letters of which there is no row near."""
    rows = list(rows)
    for letter in held:
        old = RawEvent.decode(letter.value)
        if not any(repeat(row, old) for row in rows):
            yield from stream.arrive(old, headers=letter.to_replay().headers)


def test_five_years_come_in_newest_first_without_a_person_and_a_second_time_make_no_row() -> None:
    years = [event(day, second, "IN") for day in range(0, 1800, 10) for second in (0, 20)]
    with stream() as tested:
        first = tested.decide(tested.arrive(*years))
        tested.restart()
        again = [tested.decide([each])[0] for each in tested.arrive(*reversed(years))]

    assert [type(outcome) for outcome in first] == [Checkin, Dropped] * 180
    assert {type(outcome) for outcome in again} == {Dropped}


def test_what_is_beyond_the_horizon_reads_the_changelog_once() -> None:
    years = [event(day, 0, "IN") for day in range(0, 1800, 10)]
    with stream() as tested:
        for each in tested.arrive(*years):
            tested.decide([each])
        before = len(tested.changelog.reads)
        for each in tested.arrive(*years):
            tested.decide([each])

        assert len(tested.changelog.reads) == before


def test_what_nobody_knows_is_held_and_passes_once_when_a_person_releases_it() -> None:
    old, tap = event(500, 0, "IN"), event(500, 20, "IN")
    with stream() as tested:
        tested.decide(tested.arrive(event(0, 0, "IN"), event(0, 300, "OUT")))
        tested.changelog.first[0] = 1
        pass_days(tested, 100)
        tested.restart()
        tested.decide(tested.arrive(event(1, 0, "IN")))
        held = tested.decide(tested.arrive(old, tap))
        headers = [letter.to_replay().headers for letter in held if isinstance(letter, DeadLetter)]
        released = [tested.decide(tested.arrive(*(old, tap), headers=each))[0] for each in (headers[0], headers[1])]
        again = tested.decide(tested.arrive(old, tap))

    assert len(headers) == 2
    assert [type(outcome) for outcome in (*released, *again)] == [Checkin, Dropped, Dropped, Dropped]
