"""The state is what the changelog says, is written there first, and is kept only if the changelog verifies it."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from changelog import Changelog
from example_records import golden
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import ConfigurationError, InvalidRecord
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord, Record
from attendance.settings import KafkaSettings, StreamSettings
from streams import state as module
from streams.dedup import Kept, Punch, insert
from streams.open_store import store_opener
from streams.state import FLOOR_KEY, DeduplicationState, decode, encode

HORIZON = 90 * 86400
AHEAD = 300
T = 1_800_000_000
KEY = b'["D1","7"]'
OTHER = b'["D1","8"]'


@pytest.fixture
def changelog(monkeypatch: pytest.MonkeyPatch) -> Changelog:
    changelog = Changelog(T)
    monkeypatch.setattr(module, "read", changelog.read)
    return changelog


Start = Callable[[str], DeduplicationState]


def starter(changelog: Changelog, directory: Path, store: str) -> Start:
    """What starts a worker on a machine."""

    def start(machine: str) -> DeduplicationState:
        settings = StreamSettings.load(dedup_store=store, dedup_directory=directory / machine)
        return DeduplicationState(
            KafkaSettings.load(), cast("Producer", changelog), HORIZON, AHEAD, store_opener(settings, "changelog")
        )

    return start


@pytest.fixture(params=["memory", "rocksdb"])
def start(request: pytest.FixtureRequest, changelog: Changelog, tmp_path: Path) -> Start:
    return starter(changelog, tmp_path, request.param)


@pytest.fixture
def start_on_disk(changelog: Changelog, tmp_path: Path) -> Start:
    return starter(changelog, tmp_path, "rocksdb")


def kept(n: int, key: bytes = KEY) -> Kept:
    return Kept(key, Punch(T + 100 * n, 1, n).pack())


def lists(*punches: Kept) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for key, entry in punches:
        found[key] = insert(found.get(key, b""), entry, HORIZON)
    return found


def content(state: DeduplicationState, partition: int = 0) -> dict[bytes, bytes]:
    found = {key: state[partition].get(key, b"") for key in (KEY, OTHER)}
    return {key: value for key, value in found.items() if value}


@given(st.lists(st.builds(Kept, st.binary(max_size=300), st.integers(0, 1000).map(lambda n: kept(n).entry))))
def test_a_changelog_record_holds_the_punches_that_were_written(punches: list[Kept]) -> None:
    assert list(decode(encode(punches))) == punches


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"{}", b"\x01\x00", encode([kept(1)])[:-1]])
def test_a_record_of_somebody_else_is_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord):
        decode(value)


def test_a_record_of_a_later_version_stops_the_stream() -> None:
    with pytest.raises(ConfigurationError, match="later version"):
        decode(b"\x02" + encode([kept(1)]))


def test_the_changelog_is_read_as_its_golden_file_has_it() -> None:
    value = golden("dedup-state").value
    punches = decode(value)
    assert [punch.key for punch in punches] == [b'["riyadh-01","001042"]', b'["gate","7"]']
    assert encode(punches) == value


def test_the_floor_of_a_changelog_is_read_as_its_golden_file_has_it() -> None:
    value = golden("dedup-state-floor").value
    floor, punch = decode(value)
    assert (floor.key, Punch.unpack(floor.entry).seconds) == (FLOOR_KEY, 1_767_243_600)
    assert punch.key == b'["gate","7"]'
    assert encode([floor, punch]) == value


def test_another_worker_restores_what_one_wrote(changelog: Changelog, start: Start) -> None:
    first, second = start("A"), start("B")

    async def act() -> None:
        await first.catch_up([0, 1])
        await first.add(0, [kept(1), kept(2, OTHER)], lists(kept(1), kept(2, OTHER)))
        await first.add(0, [kept(3)], lists(kept(1), kept(3)))
        await second.catch_up([0, 1])

    asyncio.run(act())

    assert content(first) == content(second) == lists(kept(1), kept(2, OTHER), kept(3))
    assert content(first, 1) == content(second, 1) == {}


def test_after_a_rebalance_only_what_others_may_have_written_is_read(changelog: Changelog, start: Start) -> None:
    changelog.write(kept(1))
    state = start("A")

    async def act() -> None:
        await state.catch_up([0])
        await state.add(0, [kept(2)], lists(kept(1), kept(2)))
        await state.catch_up([0, 1])

    asyncio.run(act())

    assert changelog.reads == [{0: None}, {0: 1, 1: None}]


def test_what_another_wrote_in_between_is_found_and_nothing_of_ours_is_undone(
    changelog: Changelog, start: Start
) -> None:
    """A worker that was paused, and whose partition another had meanwhile."""
    paused, other = start("A"), start("B")

    async def act() -> None:
        await paused.catch_up([0])
        await paused.add(0, [kept(1)], lists(kept(1)))
        await other.catch_up([0])
        await other.add(0, [kept(2)], lists(kept(1), kept(2)))
        await paused.add(0, [kept(3)], lists(kept(1), kept(3)))  # it does not know yet that it lost the partition
        await paused.catch_up([0])
        await other.catch_up([0])

    asyncio.run(act())

    assert content(paused) == content(other) == lists(kept(1), kept(2), kept(3))


def test_partitions_that_went_away_are_closed_and_read_whole_when_they_come_back(
    changelog: Changelog, tmp_path: Path
) -> None:
    state = starter(changelog, tmp_path, "memory")("A")

    async def act() -> None:
        await state.catch_up([0])
        await state.add(0, [kept(1)], lists(kept(1)))
        await state.catch_up([1])
        with pytest.raises(KeyError):
            state[0]
        await state.catch_up([0])

    asyncio.run(act())

    assert changelog.reads[-1] == {0: None}
    assert content(state) == lists(kept(1))


def test_of_a_partition_that_another_machine_had_meanwhile_only_the_rest_is_read(
    changelog: Changelog, start_on_disk: Start
) -> None:
    here, there = start_on_disk("A"), start_on_disk("B")

    async def act() -> None:
        await here.catch_up([0])
        await here.add(0, [kept(1)], lists(kept(1)))
        await here.catch_up([])
        await there.catch_up([0])
        await there.add(0, [kept(2)], lists(kept(1), kept(2)))
        await there.catch_up([])
        await here.catch_up([0])

    asyncio.run(act())

    assert changelog.reads[-1] == {0: 0}
    assert content(here) == lists(kept(1), kept(2))


def test_two_workers_on_one_machine_pass_a_partition_on(changelog: Changelog, start_on_disk: Start) -> None:
    one, other = start_on_disk("A"), start_on_disk("A")

    async def act() -> None:
        await one.catch_up([0, 1])
        await one.add(0, [kept(1)], lists(kept(1)))
        await one.catch_up([1])
        await other.catch_up([0])

    asyncio.run(act())

    assert changelog.reads[-1] == {0: 0}
    assert content(other) == lists(kept(1))


def test_a_restarted_worker_starts_from_its_checkpoint_and_reads_the_rest(
    changelog: Changelog, start_on_disk: Start
) -> None:
    async def act() -> DeduplicationState:
        before = start_on_disk("A")
        await before.catch_up([0])
        await before.add(0, [kept(1)], lists(kept(1)))
        await before.add(0, [kept(2)], lists(kept(1), kept(2)))
        before.close()
        changelog.write(kept(3))
        state = start_on_disk("A")
        await state.catch_up([0])
        return state

    state = asyncio.run(act())

    assert changelog.reads[-1] == {0: 1}
    assert content(state) == lists(kept(1), kept(2), kept(3))


def test_a_record_of_somebody_else_in_the_changelog_is_left_out(changelog: Changelog, start: Start) -> None:
    changelog.write(kept(1))
    changelog.put(b'{"not": "ours"}', key=b"foreign")
    changelog.write(kept(2))
    state = start("A")

    asyncio.run(state.catch_up([0]))

    assert content(state) == lists(kept(1), kept(2))


def made_anew(changelog: Changelog) -> None:
    changelog.make_anew()
    for n in (7, 8, 9):
        changelog.write(kept(n), key=b"another %d" % n)


def shorter(changelog: Changelog) -> None:
    del changelog.records[0][1:]
    changelog.records[0][0] = OutRecord("changelog", b"another", encode([kept(7), kept(8), kept(9)]))


def empty(changelog: Changelog) -> None:
    changelog.make_anew()


def expired(changelog: Changelog) -> None:
    changelog.write(kept(7), kept(8), kept(9))
    changelog.first[0] = len(changelog.records[0]) - 1


def without_keys(changelog: Changelog) -> None:
    changelog.make_anew()
    for n in (7, 8, 9):
        changelog.write(kept(n), key=None)


@pytest.mark.parametrize("change", [made_anew, shorter, empty, expired, without_keys])
def test_a_store_that_does_not_match_the_changelog_is_rebuilt(
    changelog: Changelog, start: Start, change: Callable[[Changelog], None]
) -> None:
    state = start("A")

    async def act() -> None:
        await state.catch_up([0, 1])
        await state.add(0, [kept(1)], lists(kept(1)))
        await state.add(0, [kept(2)], lists(kept(1), kept(2)))
        await state.add(1, [kept(3)], lists(kept(3)))
        change(changelog)
        await state.catch_up([0, 1])

    asyncio.run(act())

    assert changelog.reads[1:] == [{0: 1, 1: 0}, {0: None}]
    assert content(state) == ({} if change is empty else lists(kept(7), kept(8), kept(9)))
    assert content(state, 1) == lists(kept(3))


def test_a_changelog_of_records_without_keys_verifies_nothing_even_if_it_is_the_same(
    changelog: Changelog, start: Start
) -> None:
    changelog.write(kept(1), key=None)
    state = start("A")

    async def act() -> None:
        await state.catch_up([0])
        await state.catch_up([0])

    asyncio.run(act())

    assert changelog.reads == [{0: None}, {0: 0}, {0: None}]
    assert content(state) == lists(kept(1))


def test_what_kafka_has_not_acknowledged_is_not_in_the_state(
    changelog: Changelog, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act() -> None:
        state = start("A")
        await state.catch_up([0])
        await state.add(0, [kept(1)], lists(kept(1)))
        asked = asyncio.Event()

        async def send(_: OutRecord) -> Mapping[tuple[str, int], int]:
            asked.set()
            return await asyncio.Future()

        monkeypatch.setattr(changelog, "send", send)
        adding = asyncio.create_task(state.add(0, [kept(2)], lists(kept(1), kept(2))))
        await asked.wait()
        assert content(state) == lists(kept(1))
        adding.cancel()

    asyncio.run(act())


def test_while_kafka_is_away_it_waits_and_goes_on_where_it_was(
    changelog: Changelog, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def come_back(_: float) -> None:
        """The wait is over at once."""

    changelog.write(kept(1), key=b"one")
    changelog.write(kept(2), key=b"two")
    changelog.failures = 1
    monkeypatch.setattr("attendance.kafka.producer.asyncio.sleep", come_back)
    state = start("A")

    asyncio.run(state.catch_up([0]))

    assert content(state) == lists(kept(1), kept(2))


def raw(offset: int, at: int = T) -> Record:
    """The first raw record that a process decides."""
    return cast("Record", SimpleNamespace(offset=offset, timestamp=at * 1000))


def marker(seconds: int) -> Kept:
    return Kept(FLOOR_KEY, Punch(seconds, 0, 0).pack())


async def known(state: DeduplicationState, first: Record) -> tuple[float, float]:
    """Up to when the lists, and up to when the whole changelog may lack something."""
    await state.catch_up([0])
    await state.begin(0, first)
    await state.recall(0)
    return state[0].floor, state[0].near(KEY, 0, 1)[1]


def test_of_a_changelog_that_begins_with_the_raw_topic_nothing_is_missing(changelog: Changelog, start: Start) -> None:
    async def act() -> list[tuple[float, float]]:
        first, second = start("A"), start("B")
        found = [await known(first, raw(0))]
        await first.add(0, [], {})
        return [*found, await known(second, raw(55))]

    assert asyncio.run(act()) == [(0, 0), (0, 0)]
    assert [decode(record.value) for record in changelog.records[0]] == [[marker(0)]]


def test_where_all_that_was_before_was_gone_before_it_could_be_decided_nothing_is_missing(
    changelog: Changelog, start: Start
) -> None:
    async def act() -> list[tuple[float, float]]:
        first, second = start("A"), start("B")
        first.is_untouched = lambda *place: place == (0, 60)
        found = [await known(first, raw(60))]
        await first.add(0, [], {})
        return [*found, await known(second, raw(90))]

    assert asyncio.run(act()) == [(0, 0), (0, 0)]


def test_a_step_that_keeps_nothing_writes_nothing_but_the_first_time(changelog: Changelog, start: Start) -> None:
    async def act() -> None:
        state = start("A")
        await known(state, raw(0))
        for _ in range(3):
            await state.add(0, [], {})

    asyncio.run(act())

    assert len(changelog.records[0]) == 1


def test_a_changelog_that_was_made_anew_lacks_all_that_was_decided_before(changelog: Changelog, start: Start) -> None:
    async def act() -> list[tuple[float, float]]:
        state = start("A")
        found = [await known(state, raw(12, at=T + 50))]
        await state.add(0, [kept(1)], lists(kept(1)))
        return [*found, await known(start("B"), raw(90))]

    assert asyncio.run(act()) == [(T + 50 + AHEAD, T + 50 + AHEAD)] * 2


def test_a_changelog_of_an_older_version_that_has_its_begin_lacks_nothing(changelog: Changelog, start: Start) -> None:
    changelog.write(kept(1))

    assert asyncio.run(known(start("A"), raw(90))) == (0, 0)


def test_a_changelog_that_lost_its_begin_lacks_what_came_before(changelog: Changelog, start: Start) -> None:
    for day in range(3):
        changelog.time = T + day * 86400
        changelog.write(kept(day))
    changelog.first[0] = 2

    assert asyncio.run(known(start("A"), raw(90))) == (T + 2 * 86400 + AHEAD,) * 2


def test_lists_lack_what_is_older_than_what_a_process_reads_and_the_changelog_has_it(
    changelog: Changelog, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    changelog.write(kept(1))
    later = T + 2 * HORIZON
    monkeypatch.setattr(module, "now", lambda: datetime.fromtimestamp(later, UTC))
    changelog.time = later - 10
    for recent in ([], [kept(9)]):
        if recent:
            changelog.write(*recent)
        state = start("A" if recent else "B")

        floor, unknown_until = asyncio.run(known(state, raw(90)))

        assert later - HORIZON <= floor <= later - 10 + AHEAD
        assert unknown_until == 0
        assert state[0].near(KEY, 0, T + 1000)[0].startswith(kept(1).entry)
        state.close()


def test_a_changelog_without_any_record_is_known_to_have_lost_them(changelog: Changelog, start: Start) -> None:
    changelog.write(kept(1))
    changelog.first[0] = 1

    assert asyncio.run(known(start("A"), raw(90, at=T + 7))) == (T + 7 + AHEAD,) * 2


def test_a_store_on_disk_keeps_what_it_lacks(changelog: Changelog, start_on_disk: Start) -> None:
    async def act() -> tuple[float, float]:
        state = start_on_disk("A")
        await known(state, raw(12, at=T + 50))
        await state.add(0, [kept(1)], lists(kept(1)))
        state.close()
        return await known(start_on_disk("A"), raw(90))

    assert asyncio.run(act()) == (T + 50 + AHEAD,) * 2


def test_if_the_changelog_is_made_anew_under_a_running_process_the_next_one_knows_what_it_lacks(
    changelog: Changelog, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "now", lambda: datetime.fromtimestamp(T + 500, UTC))

    async def act() -> tuple[float, float]:
        state = start("A")
        await known(state, raw(0))
        for n in range(3):
            await state.add(0, [kept(n)], lists(*map(kept, range(n + 1))))
        changelog.make_anew()
        await state.add(0, [kept(7)], lists(*map(kept, (0, 1, 2, 7))))
        await state.add(0, [kept(8)], lists(*map(kept, (0, 1, 2, 7, 8))))
        return await known(start("B"), raw(90))

    assert asyncio.run(act()) == (T + 500 + AHEAD,) * 2


def test_what_others_write_after_a_rebalance_is_part_of_the_history(changelog: Changelog, start: Start) -> None:
    async def act() -> bytes:
        state = start("A")
        await known(state, raw(0))
        await state.add(0, [kept(1)], lists(kept(1)))
        changelog.write(kept(2))
        await known(state, raw(5))
        return state[0].everything(KEY)

    assert asyncio.run(act()) == lists(kept(1), kept(2))[KEY]
