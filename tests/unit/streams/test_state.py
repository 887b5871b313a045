"""The state is what the changelog says, is written there first, and is kept only if the changelog verifies it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from example_records import golden
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import ConfigurationError, InvalidRecord, KafkaUnavailable
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings, StreamSettings
from streams import state as module
from streams.dedup import Kept, Punch, insert
from streams.open_store import store_opener
from streams.state import DeduplicationState, decode, encode

HORIZON = 90 * 86400
T = 1_800_000_000
KEY = b'["D1","7"]'
OTHER = b'["D1","8"]'


class Changelog:
    """The changelog topic, as `attendance.kafka.read` and a producer see it."""

    def __init__(self) -> None:
        self.records: dict[int, list[OutRecord]] = {0: [], 1: []}
        self.first = {0: 0, 1: 0}
        self.reads: list[dict[int, int | None]] = []
        self.failures = 0

    def write(self, *punches: Kept, key: bytes | None = b"somebody") -> None:
        """A record in partition 0, as another worker writes it."""
        self.records[0].append(OutRecord("changelog", key, encode(punches)))

    async def send(self, record: OutRecord) -> Mapping[tuple[str, int], int]:
        assert record.partition is not None
        self.records[record.partition].append(record)
        return {(record.topic, record.partition): len(self.records[record.partition]) - 1}

    async def read(
        self, _kafka: object, _topic: str, _client: str, _since: datetime, begin: Mapping[int, int | None]
    ) -> AsyncGenerator[list[Any], None]:
        self.reads.append(dict(begin))
        for partition, offset in begin.items():
            records = self.records[partition]
            for at in range(max(self.first[partition], offset or 0), len(records)):
                if self.failures:
                    self.failures -= 1
                    raise KafkaUnavailable("away")
                record = records[at]
                yield [SimpleNamespace(partition=partition, offset=at, key=record.key, value=record.value)]


@pytest.fixture
def changelog(monkeypatch: pytest.MonkeyPatch) -> Changelog:
    changelog = Changelog()
    monkeypatch.setattr(module, "read", changelog.read)
    return changelog


Start = Callable[[str], DeduplicationState]


def starter(changelog: Changelog, directory: Path, store: str) -> Start:
    """What starts a worker on a machine."""

    def start(machine: str) -> DeduplicationState:
        settings = StreamSettings.load(dedup_store=store, dedup_directory=directory / machine)
        return DeduplicationState(
            KafkaSettings.load(), cast("Producer", changelog), HORIZON, store_opener(settings, "changelog")
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
    changelog.records[0].append(OutRecord("changelog", b"foreign", b'{"not": "ours"}'))
    changelog.write(kept(2))
    state = start("A")

    asyncio.run(state.catch_up([0]))

    assert content(state) == lists(kept(1), kept(2))


def made_anew(changelog: Changelog) -> None:
    changelog.records[0] = []
    for n in (7, 8, 9):
        changelog.write(kept(n), key=b"another %d" % n)


def shorter(changelog: Changelog) -> None:
    del changelog.records[0][1:]
    changelog.records[0][0] = OutRecord("changelog", b"another", encode([kept(7), kept(8), kept(9)]))


def empty(changelog: Changelog) -> None:
    changelog.records[0] = []


def expired(changelog: Changelog) -> None:
    changelog.write(kept(7), kept(8), kept(9))
    changelog.first[0] = len(changelog.records[0]) - 1


def without_keys(changelog: Changelog) -> None:
    changelog.records[0] = []
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
