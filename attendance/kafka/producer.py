"""Sends records so that an acknowledgement means what it says."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import RecordMetadata

from attendance.errors import InvalidRecord, KafkaUnavailable, Reason
from attendance.kafka.asked_cause import AskedCause
from attendance.kafka.clients import cause_of_connections, connection_options, create_producer, unavailable
from attendance.kafka.records import MAX_RECORD_BYTES, MAX_VALUE_BYTES, RECORD_OVERHEAD, OutRecord
from attendance.kafka.sending import NotAcknowledged, Place, Sending
from attendance.kafka.topic_facts import check_partitions
from attendance.runtime import pause_for_kafka, say_waiting
from attendance.settings import KafkaSettings

log = structlog.get_logger(__name__)

# So long, in seconds, what was sent is given to arrive before it is sent again.
LONGEST_ON_ITS_WAY: Final = 300
SAY_SECONDS: Final = 30

_T = TypeVar("_T")

# From so many records for one partition on, a batch of their own costs less than a future for each.
BATCHED: Final = 16


class Appended(NamedTuple):
    """A record that a broker has.

    Attributes:
        appended_ms: When it wrote it, by its own clock, in milliseconds since the epoch; None where the topic has the
            senders' times, or may not be written to.
        host: The broker that leads the partition.
    """

    appended_ms: int | None
    host: str


class Producer:
    """Sends records and returns when Kafka has them.

    It connects when it is first used, and is built anew after an error that an idempotent producer does not survive
    (aiokafka then fails every later send). Records that timed out may still arrive.

    A topic that Kafka did not let it write to is tried first, and alone, the next time: whoever sends the same again
    and again, as a terminal does, would fill the other topics with copies.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        create: Callable[[KafkaSettings, str], AIOKafkaProducer] = create_producer,
        *,
        batches: bool = False,
        compares: bool = True,
    ) -> None:
        """Nothing is connected yet.

        Without `compares`, a topic is written to whatever its partitions are: by who repairs that.

        With `batches`, many records for one partition are made a batch here, which costs a fraction. It is for one
        caller at a time: aiokafka has batches of several callers wait for one another, and soon gives up. Where each
        batch may hold one record only there are none.

        Raises:
            ConfigurationError: a setting is missing or a certificate cannot be read.
        """
        connection_options(settings, client_id)  # for its errors: they should stop the start, not the first send
        self._settings = settings
        self._client_id = client_id
        self._create = create
        self._batches = batches and settings.enable_idempotence
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._sending: set[asyncio.Task[Any]] = set()
        self._refused: set[str] = set()
        self._compares = compares
        self._looked_at: dict[str, int] = {}
        self._cause = AskedCause(partial(cause_of_connections, settings), client_id)
        self.in_flight_bytes = 0

    async def send(self, *records: OutRecord) -> Mapping[tuple[str, int], int]:
        """Return when every record is acknowledged by all in-sync replicas.

        Returns:
            The offset of the first of them in each topic and partition.

        Raises:
            NotAcknowledged: not within `KAFKA_REQUEST_TIMEOUT`, or not at all; each record that is missing may be there
                or not.
            KafkaUnavailable: likewise, before anything was sent.
            InvalidRecord: a record is larger than Kafka takes; the others may be there or not.
        """
        if not records:
            return {}
        sending = Sending(records)
        return await self._within(self._send(sending), sum(record.size for record in records), sending)

    async def refused(self, topics: Sequence[str]) -> set[str]:
        """Those of some topics that Kafka does not let it write to. Adds no record to any.

        A request that holds nothing is invalid, and whether the topic may be written to is looked at before that.

        Raises:
            KafkaUnavailable: Kafka does not answer.
        """
        producer = self._producer or await self._started(topics)
        timeout = self._settings.request_timeout
        request = ProduceRequest(None, -1, round(timeout * 1000), [(topic, [(0, b"")]) for topic in topics])
        try:
            async with asyncio.timeout(timeout):
                response = await producer.client.send(producer.client.get_random_node(), request)
        except (KafkaError, TimeoutError) as error:
            failure = error if isinstance(error, KafkaError) else KafkaTimeoutError(f"no answer within {timeout:g} s")
            raise await self._unavailable(failure, topics) from error
        answers = [(topic, code) for topic, partitions in response.topics for _, code, *_ in partitions]
        return {topic for topic, code in answers if code == TopicAuthorizationFailedError.errno}

    async def append(self, record: OutRecord) -> Appended:
        """Return when one record is acknowledged, with what the broker says of it. Raises what `send` raises."""
        return await self._within(self._append(record), record.size)

    async def _within(self, work: Coroutine[Any, Any, _T], size: int, sending: Sending | None = None) -> _T:
        """What the work returns, if that is within the time that a request may take."""
        loop = asyncio.get_running_loop()
        # Cancelling an idempotent send would tear its sequence; so a late one is left to finish by itself, and what is
        # waited for is another future. `asyncio.wait` would do the same for half as much again.
        task = loop.create_task(work)
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(self._settings.request_timeout, _set, over)
        self.in_flight_bytes += size
        self._sending.add(task)

        def finished(done: asyncio.Task[_T]) -> None:
            timer.cancel()
            self.in_flight_bytes -= size
            self._sending.discard(done)
            if not done.cancelled():
                done.exception()  # seen here, so that asyncio does not report it for a caller that gave up
            _set(over)

        task.add_done_callback(finished)
        await over
        if not task.done():
            why = self._cause.too_late(f"no acknowledgement within {self._settings.request_timeout:g} s")
            if sending is None:
                raise KafkaUnavailable(why)
            raise NotAcknowledged(why, sending.missing(), sending.first(), task)
        if task.cancelled():
            # As an error: for a cancellation a caller takes it that nobody asked for, and ends in silence.
            raise KafkaUnavailable("the producer was stopped before an acknowledgement")
        return task.result()

    async def _send(self, sending: Sending) -> Mapping[Place, int]:
        topics = {record.topic for record in sending.records}
        producer = await self._alive(topics)
        refused = self._refused & topics
        failures: list[Exception] = []
        try:
            sending.groups = await self._by_partition(producer, sending.records)
            for turn in filter(None, (refused, topics - refused)):
                failures += await self._send_to(turn, producer, sending)
                if failures:
                    break
        except KafkaError as error:
            failures.append(error)
        self._refused = self._refused - topics | {each.args[0] for each in failures if _is_refusal(each)}
        if not failures:
            return sending.first()
        # A refusal leaves the producer as it was.
        lasting = [each for each in failures if isinstance(each, KafkaError) and not _is_refusal(each)]
        if lasting:
            await self._discard(producer, lasting[0])
        failure = failures[0]
        if not isinstance(failure, KafkaError):
            raise failure
        if not isinstance(failure, MessageSizeTooLargeError):
            why = str(await self._unavailable(failure, topics))
        elif any(record.size > MAX_VALUE_BYTES for record in sending.records):
            raise InvalidRecord(Reason.INVALID_EVENT, f"larger than {MAX_RECORD_BYTES} bytes") from failure
        else:
            # No record is too large that the topic has to take: it is the topic that somebody has changed.
            why = (
                f"{self._settings.bootstrap_servers}: a record is larger than max.message.bytes of "
                f"{' or '.join(sorted(topics))} allows; `punchstream topics repair` mends it"
            )
        raise NotAcknowledged(why, sending.missing(), sending.first()) from failure

    async def _send_to(self, topics: Iterable[str], producer: AIOKafkaProducer, sending: Sending) -> list[Exception]:
        """Send the records of some topics. Returns what failed, once it is known of each record.

        Raises:
            InvalidRecord: a record is larger than Kafka takes.
        """
        failures: list[Exception] = []
        too_large: KafkaError | None = None
        try:
            for place, members in sending.groups.items():
                topic, partition = place
                if topic not in topics:
                    continue
                if self._batches and len(members) >= BATCHED:
                    for batch, records in _batches(producer, members):
                        acknowledgement = await producer.send_batch(batch, topic, partition=partition)
                        sending.add(place, acknowledgement, records)
                else:
                    for record in members:
                        sending.add(place, await _enqueue(producer, record, partition), 1)
        except MessageSizeTooLargeError as error:
            too_large = error
        except KafkaError as error:
            failures.append(error)
        failures += await sending.finish()
        if too_large is not None:
            raise InvalidRecord(Reason.INVALID_EVENT, f"larger than {MAX_RECORD_BYTES} bytes") from too_large
        return failures

    async def _append(self, record: OutRecord) -> Appended:
        producer = await self._alive([record.topic])
        try:
            partition = _partition(record, await self._partitions(producer, record.topic))
            found = await (await _enqueue(producer, record, partition))
        except TopicAuthorizationFailedError:
            return Appended(None, "")
        except KafkaError as error:
            await self._discard(producer, error)
            raise await self._unavailable(error, [record.topic]) from error
        cluster = producer.client.cluster
        leader = cluster.broker_metadata(cluster.leader_for_partition(TopicPartition(record.topic, partition)))
        return Appended(found.timestamp if found.timestamp_type else None, leader.host if leader else "")

    async def _by_partition(
        self, producer: AIOKafkaProducer, records: Sequence[OutRecord]
    ) -> dict[tuple[str, int], list[OutRecord]]:
        """The records by topic and partition, in their order."""
        counts = {topic: await self._partitions(producer, topic) for topic in {record.topic for record in records}}
        used = {topic: self._settings.partitions_used(topic, count) for topic, count in counts.items()}
        groups: dict[tuple[str, int], list[OutRecord]] = defaultdict(list)
        for record in records:
            partition = _partition(record, used[record.topic])
            if partition >= counts[record.topic]:
                raise KafkaUnavailable(
                    f"topic {record.topic} has no partition {partition}; `punchstream topics describe` says more"
                )
            groups[record.topic, partition].append(record)
        return groups

    async def _partitions(self, producer: AIOKafkaProducer, topic: str) -> int:
        # The library asks for a topic that does not exist for as long as a caller waits, who then would not learn why.
        try:
            async with asyncio.timeout(self._settings.request_timeout / 2):
                count = len(await producer.partitions_for(topic))
        except TimeoutError as error:
            why = f"{self._settings.bootstrap_servers}: no topic {topic}; `punchstream topics create` makes it"
            raise KafkaUnavailable(self._cause.too_late(why)) from error
        if self._compares and self._looked_at.get(topic) != count:
            # The key of a record decides its partition by how many there were from the beginning.
            for finding in await check_partitions(self._settings, topic, count, self._client_id):
                raise KafkaUnavailable(str(finding))
            self._looked_at[topic] = count
        return count

    async def _alive(self, topics: Iterable[str]) -> AIOKafkaProducer:
        producer = self._producer or await self._started(topics)
        if (name := _dead_task(producer)) is None:
            return producer
        log.critical("A task of Kafka's client has died.", client_id=self._client_id, task=name)
        await self._discard(producer, KafkaError(f"its {name} task has died"))
        return await self._started(topics)

    async def _started(self, topics: Iterable[str]) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = self._create(self._settings, self._client_id)
                try:
                    await producer.start()
                except KafkaError as error:
                    await producer.stop()
                    raise await self._unavailable(error, topics) from error
                self._producer = producer
            return self._producer

    async def _unavailable(self, error: KafkaError, topics: Iterable[str]) -> KafkaUnavailable:
        found = await unavailable(self._settings, error, operation="Write", topics=topics)
        return KafkaUnavailable(self._cause.too_late(str(found))) if isinstance(error, KafkaTimeoutError) else found

    async def _discard(self, producer: AIOKafkaProducer, error: Exception) -> None:
        async with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        log.warning("Kafka producer is rebuilt.", client_id=self._client_id, error=repr(error))
        task = asyncio.create_task(_stop_quietly(producer))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def stop(self) -> None:
        """Wait for what is in flight, at most `KAFKA_REQUEST_TIMEOUT`, and disconnect."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._settings.request_timeout)
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop_quietly(producer)
        for task in self._sending:
            task.cancel()
        await self._cause.stop()


def _dead_task(producer: AIOKafkaProducer) -> str | None:
    """The task of aiokafka's without which nothing is sent any more, if it has ended by itself."""
    tasks = {
        "sender": getattr(getattr(producer, "_sender", None), "sender_task", None),
        "metadata": getattr(getattr(producer, "client", None), "_sync_task", None),
    }
    return next((name for name, task in tasks.items() if task is not None and task.done()), None)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, TopicAuthorizationFailedError)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _partition(record: OutRecord, partitions: int) -> int:
    if record.partition is not None:
        return record.partition
    key = record.key if record.partition_key is None else record.partition_key
    return random.randrange(partitions) if key is None else partition_of(key, partitions)  # noqa: S311 - no secret


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that every Kafka client chooses for a key. The library's hash is slow, and keys come again."""
    chosen: int = DefaultPartitioner()(key, range(partitions), range(partitions))
    return chosen


async def _enqueue(producer: AIOKafkaProducer, record: OutRecord, partition: int) -> asyncio.Future[RecordMetadata]:
    # aiokafka sends nothing that has neither key nor value, and the dead letter of such a record has neither.
    value = b"" if record.key is None and record.value is None else record.value
    acknowledgement: asyncio.Future[RecordMetadata] = await producer.send(
        record.topic, value=value, key=record.key, partition=partition, headers=list(record.headers)
    )
    return acknowledgement


def _batches(producer: AIOKafkaProducer, records: Iterable[OutRecord]) -> Iterator[tuple[BatchBuilder, int]]:
    """The records of one partition as batches, each as full as it may be, with the number of its records."""
    batch, count = producer.create_batch(), 0
    for record in records:
        if record.size > MAX_RECORD_BYTES - RECORD_OVERHEAD:
            raise MessageSizeTooLargeError
        content = {"timestamp": None, "key": record.key, "value": record.value, "headers": list(record.headers)}
        # The first record of a batch is taken whatever its size.
        if batch.append(**content) is None:
            yield batch, count
            batch, count = producer.create_batch(), 0
            batch.append(**content)
        count += 1
    yield batch, count


async def _stop_quietly(producer: AIOKafkaProducer) -> None:
    try:
        # stop() flushes, and a flush that cannot succeed never ends.
        await asyncio.wait_for(producer.stop(), timeout=5)
    except (KafkaError, TimeoutError) as error:
        log.info("Kafka producer did not stop cleanly.", error=repr(error))


async def send_until_acknowledged(
    producer: Producer, records: Sequence[OutRecord], say: Callable[[KafkaUnavailable], object] = say_waiting
) -> Mapping[Place, int]:
    """Send records, as often as it takes until Kafka has all of them. What it acknowledged is not sent again.

    Nor is what may still arrive: a producer that waits for a broker keeps what it was given, and after an outage of an
    hour hundreds of copies would come.

    Args:
        producer: Sends them.
        records: Those of one partition keep their order.
        say: Told of each failure, before the pause.

    Returns:
        The offset of the first of them in each topic and partition.

    Raises:
        InvalidRecord: a record is larger than Kafka takes; the others may be there or not.
    """
    first: dict[Place, int] = {}
    failures = 0
    while True:
        try:
            return {**await _until_known(producer.send(*records), say), **first}
        except NotAcknowledged as error:
            first = {**error.first, **first}
            failures = 0 if len(error.missing) < len(records) else failures
            records = error.missing
            say(error)
        except KafkaUnavailable as error:
            say(error)
        await asyncio.sleep(pause_for_kafka(failures))
        failures += 1


async def _until_known(
    sending: Awaitable[Mapping[Place, int]], say: Callable[[KafkaUnavailable], object]
) -> Mapping[Place, int]:
    """What a send gives or raises, once nothing of it is on its way any more."""
    try:
        return await sending
    except NotAcknowledged as error:
        if error.sending is None:
            raise
        for _ in range(LONGEST_ON_ITS_WAY // SAY_SECONDS):
            say(error)
            if (await asyncio.wait([error.sending], timeout=SAY_SECONDS))[0]:
                if error.sending.cancelled():
                    break
                offsets: Mapping[Place, int] = error.sending.result()
                return offsets
        raise
