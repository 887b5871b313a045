"""Each way in which Faust by itself loses records (docs/adr/0001) is shut: on Apache Kafka, by what is on the wire.

Kafka itself is made to misbehave where it can be: a topic that is not there leaves an outcome unacknowledged.
What a step does not survive is raised where it sends.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from msgspec.structs import replace

from attendance.errors import Reason
from attendance.kafka.admin import create_topics
from attendance.records.outcomes import Dropped
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from sandbox.broker import Broker
from stream_process import DEADLINE, HANGER, OUTCAST, RAISER, Stream, administrator, punch
from streams.app import EXIT_FAULT
from streams.dedup import Kept
from streams.state import FLOOR_KEY, decode

pytestmark = pytest.mark.broker

# Logged when a send is given up, which is said once a minute, and by Kafka's client at each look for the topic.
UNACKNOWLEDGED = ("Waiting for Kafka.", "checkins.v1 not found in cluster metadata")
SOON = "1s"  # given up after so long, and tried again some seconds later


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    return kafka_broker


@pytest.fixture
def stream(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(kafka, tmp_path)
    stream.know(Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
    yield stream
    stream.kill_all()


@contextmanager
def refusing(stream: Stream, topic: str, larger_than: int) -> Iterator[None]:
    """Kafka takes no batch into the topic that is larger than so many bytes."""

    async def configure(**configs: str) -> None:
        async with administrator(stream.kafka) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])

    asyncio.run(configure(**{"max.message.bytes": str(larger_than)}))
    try:
        yield
    finally:
        asyncio.run(configure())


@pytest.fixture
def checkins_unacknowledged(stream: Stream) -> None:
    """The topic of the check-ins is not there, until `acknowledge` is called."""

    topic = stream.kafka.topics["checkins"]

    async def topics() -> list[str]:
        async with administrator(stream.kafka) as admin:
            return list(await admin.list_topics())

    async def delete() -> None:
        async with administrator(stream.kafka) as admin:
            await admin.delete_topics([topic])

    asyncio.run(delete())
    stream.until(lambda: topic not in asyncio.run(topics()))


def acknowledge(stream: Stream) -> None:
    asyncio.run(create_topics(stream.kafka))


def unacknowledged(stream: Stream, seconds: float = 0) -> None:
    """Return when a send was given up, and then one that many seconds later: Faust would have committed meanwhile."""

    def given_up() -> list[datetime]:
        log = stream.log.read_text().splitlines()
        lines = [line for line in log if any(said in line for said in UNACKNOWLEDGED)]
        return [datetime.fromisoformat(orjson.loads(line)["timestamp"]) for line in lines]

    before = len(given_up())
    stream.until(lambda: (times := given_up()[before:]) != [] and (times[-1] - times[0]).total_seconds() >= seconds)


def all_kept(stream: Stream, punches: list[RawEvent]) -> None:
    """Return when the sink sees each of these punches and no other; none was taken for a repeat of itself."""
    stream.until(lambda: {checkin.event_id for checkin in stream.checkins()} == ids(punches))
    # What came twice is the same twice, so the sink can tell.
    assert len(set(stream.checkins())) == len(punches)
    assert stream.values("dropped") == []


def in_changelog(stream: Stream) -> list[Kept]:
    # The first record of a changelog says from when on it is whole, under the key of no user.
    return [kept for value in stream.values("dedup_state") for kept in decode(value) if kept.key != FLOOR_KEY]


def ids(punches: list[RawEvent]) -> set[str]:
    return {event.event_id for event in punches}


def values(punches: list[RawEvent]) -> list[bytes]:
    return sorted(event.encode() for event in punches)


def test_a_step_that_raises_commits_nothing_and_its_punches_come_again(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    assert stream.start("-c", RAISER, "checkins.v1", "100").wait(DEADLINE) == EXIT_FAULT

    assert stream.committed() == []
    stream.start()
    all_kept(stream, kept)


def test_a_step_that_raises_takes_neither_its_own_punches_along_nor_those_gathered_behind_it(stream: Stream) -> None:
    kept = [punch(n, device_id="D1") for n in range(60)]
    kept[30] = replace(kept[30], site="s" * 400_000)
    process = stream.start("-c", RAISER, "checkins.v1", "300000")
    stream.punches(*kept[:30])
    stream.until(lambda: len(stream.committed()) == 30)
    stream.punches(*kept[30:])
    assert process.wait(DEADLINE) == EXIT_FAULT

    assert sorted(filter(None, stream.committed())) == values(kept[:30])
    stream.start()
    all_kept(stream, kept)


@pytest.mark.usefixtures("checkins_unacknowledged")
def test_sigterm_during_a_step_ends_the_stream_only_once_the_step_is_done(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    process = stream.start(KAFKA_REQUEST_TIMEOUT=SOON)
    unacknowledged(stream)
    process.terminate()
    unacknowledged(stream, seconds=2)
    assert process.poll() is None
    assert stream.committed() == []

    acknowledge(stream)
    assert process.wait(DEADLINE) == 0
    committed = {RawEvent.decode(value).event_id for value in stream.committed()}
    assert committed
    assert committed <= {checkin.event_id for checkin in stream.checkins()}
    stream.start()
    all_kept(stream, kept)


@pytest.mark.usefixtures("checkins_unacknowledged")
def test_a_stream_killed_while_it_was_ending_has_committed_nothing_that_was_not_done(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    process = stream.start(KAFKA_REQUEST_TIMEOUT=SOON)
    unacknowledged(stream)
    process.terminate()
    unacknowledged(stream)
    process.kill()
    assert process.wait(DEADLINE) == -signal.SIGKILL

    assert stream.committed() == []
    acknowledge(stream)
    stream.start()
    all_kept(stream, kept)


@pytest.mark.usefixtures("checkins_unacknowledged")
def test_a_punch_whose_checkin_kafka_did_not_acknowledge_is_not_committed(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    stream.start(KAFKA_REQUEST_TIMEOUT=SOON)
    unacknowledged(stream, seconds=2)

    assert stream.committed() == []
    acknowledge(stream)
    all_kept(stream, kept)
    stream.until(lambda: len(stream.committed()) == 30)


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_a_punch_is_not_committed_before_its_changelog_record_is_in_kafka_and_then_is_no_duplicate_of_itself(
    stream: Stream, store: str, tmp_path: Path
) -> None:
    settings = {"DEDUP_STORE": store, "DEDUP_DIRECTORY": str(tmp_path / "store")}
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    process = stream.start("-c", HANGER, "dedup-state.v1", **settings)
    stream.until(lambda: stream.says("No acknowledgement for 3 s.") > 0)

    assert stream.checkins() != []
    assert stream.committed() == []
    process.kill()
    stream.start(**settings)
    all_kept(stream, kept)


def test_what_was_committed_before_a_kill_is_known_after_it(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    second_taps = [replace(event, event_time=event.event_time + timedelta(seconds=9)) for event in kept]
    stream.punches(*kept)
    process = stream.start()
    stream.until(lambda: len(stream.committed()) == 30)
    process.kill()

    stream.punches(*kept, *second_taps)
    stream.start()
    stream.until(lambda: len(stream.committed()) == 90)

    assert Counter(checkin.event_id for checkin in stream.checkins()) == Counter(event.event_id for event in kept)
    reasons = Counter(Dropped.decode(value).reason for value in stream.values("dropped"))
    assert reasons == {Reason.DUPLICATE: 30, Reason.REPEAT: 30}


def test_a_punch_written_but_not_committed_is_emitted_again_and_is_no_duplicate_of_itself(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    process = stream.start()
    stream.until(stream.has_begun)
    with refusing(stream, "__consumer_offsets", larger_than=1):
        stream.punches(*kept)
        stream.until(lambda: len(stream.checkins()) == 30 and len(in_changelog(stream)) == 30)
        process.kill()

    assert stream.committed() == []
    stream.start()
    stream.until(lambda: len(stream.committed()) == 30)
    all_kept(stream, kept)


def in_transactions(stream: Stream, records: list[tuple[bytes, bytes]]) -> None:
    """Write raw records, each in a transaction: the marker at its end takes the offset behind it."""

    async def write() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=stream.kafka.bootstrap_servers, transactional_id=stream.kafka.topic_prefix
        ) as producer:
            for key, value in records:
                async with producer.transaction():
                    await producer.send(stream.kafka.topics["raw"], key=key, value=value)

    asyncio.run(write())


@pytest.mark.usefixtures("checkins_unacknowledged")
def test_what_is_done_behind_an_unfinished_punch_is_not_committed_past_it(stream: Stream) -> None:
    poison = [(b"D1", b"poison %d" % n) for n in range(20)]
    unfinished = punch(1)
    stream.punches(unfinished)
    stream.start(KAFKA_REQUEST_TIMEOUT=SOON)
    unacknowledged(stream)
    stream.send("raw", *poison)
    unacknowledged(stream, seconds=2)

    assert stream.committed() == []
    acknowledge(stream)
    all_kept(stream, [unfinished])
    stream.until(lambda: len(stream.committed()) == 21)


@pytest.mark.usefixtures("checkins_unacknowledged")
def test_gaps_in_the_offsets_neither_commit_past_an_unfinished_punch_nor_hold_commits_up(stream: Stream) -> None:
    poison = [(b"D1", b"poison %d" % n) for n in range(160)]
    unfinished = punch(1)
    in_transactions(stream, poison[:80])
    stream.start(KAFKA_REQUEST_TIMEOUT=SOON)
    stream.until(lambda: len(stream.committed()) == 80)

    in_transactions(stream, [(unfinished.key, unfinished.encode())])
    unacknowledged(stream)
    in_transactions(stream, poison[80:])
    unacknowledged(stream, seconds=2)
    assert len(stream.committed()) == 80

    acknowledge(stream)
    all_kept(stream, [unfinished])
    stream.until(lambda: len(stream.committed()) == 161)
    assert Counter(letter.value for letter in stream.dead_letters()) == Counter(value for _, value in poison)


def test_what_cannot_be_read_is_dead_lettered_as_it_came_and_its_neighbours_flow(stream: Stream) -> None:
    kept = [punch(n, device_id="D1") for n in range(12)]
    poison = [
        (b"D1", b"\x00\xff not JSON"),
        (b"D1", None),
        (b"D1", b""),
        (b"D1", b"null"),
        (b"D1", b"[1, 2]"),
        (b"D1", b'{"event_id": 7}'),
        (b"D1", kept[0].encode().replace(b'"D1"', b"{}")),
        (b"D1", b"x" * 900_000),
        (b"D1", b"[" * 900_000),
        (b"\xff\xfe", b"a key that is no text"),
        (None, b"no key"),
    ]
    for n, event in enumerate(kept):
        stream.send("raw", (event.key, event.encode()), *poison[n : n + 1])
    stream.start()

    stream.until(lambda: len(stream.committed()) == len(kept) + len(poison))

    assert Counter(checkin.event_id for checkin in stream.checkins()) == Counter(event.event_id for event in kept)
    assert Counter((letter.key, letter.value) for letter in stream.dead_letters()) == Counter(poison)


def test_a_worker_that_cannot_be_a_member_of_its_group_ends_and_does_not_stand_still(stream: Stream) -> None:
    assert stream.start("-c", OUTCAST).wait(DEADLINE) == EXIT_FAULT
    stream.punches(punch(0))
    stream.start()
    stream.until(lambda: len(stream.checkins()) == 1)
