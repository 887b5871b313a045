"""Builds the aiokafka clients from settings, and sends records so that an acknowledgement means what it says."""

import asyncio
import random
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from attendance.errors import ConfigurationError, InvalidRecord, KafkaUnavailable, Reason
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, topic_configs

log = structlog.get_logger(__name__)

MAX_RECORD_BYTES: Final = 2 * 1024 * 1024  # a dead letter holds a whole request body
# A value up to here has room for the headers of a dead letter, and for what an outcome wraps around it.
MAX_VALUE_BYTES: Final = MAX_RECORD_BYTES - 64 * 1024
HEADER_BYTES: Final = 64  # what a header takes, about
RECORD_OVERHEAD: Final = 256  # what the wire adds to a record that travels alone, and more
WANTED_REPLICAS: Final = 3

# From so many records for one partition on, a batch of their own costs less than a future for each.
BATCHED: Final = 16

_T = TypeVar("_T")

# aiokafka 0.14 does not look for a partition's new leader where the old one refuses to tell the offset to begin at. It
# asks the same broker until its metadata are this old; by default that is five minutes.
METADATA_MAX_AGE_MS: Final = 10_000

# How long a broker holds a fetch that finds nothing. aiokafka asks it for nothing else meanwhile, not for a partition
# either that is behind. The embedded broker answers only when half of this is over, whatever it has.
FETCH_MAX_WAIT_MS: Final = 100


class OutRecord(NamedTuple):
    """A record to be sent. `partition` None leaves the choice to `partition_key`, and that None to the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    partition_key: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.key or b"") + len(self.value or b"") + HEADER_BYTES * len(self.headers)


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """The TLS context that the settings ask for, None for a plain connection.

    Raises:
        ConfigurationError: a certificate cannot be read.
    """
    if "SSL" not in settings.security_protocol:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"KAFKA_SSL_*: {error}") from error
    return context


def _connection(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": client_id,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
        "request_timeout_ms": round(settings.request_timeout * 1000),
    }
    if settings.security_protocol.startswith("SASL"):
        if settings.sasl_username is None or settings.sasl_password is None:
            raise ConfigurationError("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed with a SASL protocol")
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return options


def _unavailable(settings: KafkaSettings, error: KafkaError) -> KafkaUnavailable:
    return KafkaUnavailable(f"{settings.bootstrap_servers}: {error}")


def create_producer(settings: KafkaSettings, client_id: str) -> AIOKafkaProducer:
    """A producer, not started, whose acknowledgement means that every in-sync replica has the record."""
    return AIOKafkaProducer(
        **_connection(settings, client_id),
        acks="all",
        enable_idempotence=settings.enable_idempotence,
        max_request_size=MAX_RECORD_BYTES,
        # A broker without idempotent producers is the embedded one. It takes the first offset of a partition's last
        # batch for the last, so whoever reads up to the end (Faust's recovery does) stops short, unless each batch
        # holds one record.
        max_batch_size=131_072 if settings.enable_idempotence else 1,
    )


def create_consumer(
    settings: KafkaSettings, *topics: str, client_id: str, group: str | None = None, **options: Any
) -> AIOKafkaConsumer:
    """A consumer, not started, that begins at the earliest record and commits only when told to.

    Without a group it is assigned every partition of its topics.
    """
    return AIOKafkaConsumer(
        *topics,
        **_connection(settings, client_id),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=round(settings.session_timeout * 1000),
        heartbeat_interval_ms=round(settings.heartbeat_interval * 1000),
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        **options,
    )


class Producer:
    """Sends records and returns when Kafka has them.

    It connects when it is first used, and is built anew after an error that an idempotent producer does not survive
    (aiokafka then fails every later send). Records that timed out may still arrive.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        create: Callable[[KafkaSettings, str], AIOKafkaProducer] = create_producer,
        *,
        batches: bool = False,
    ) -> None:
        """Nothing is connected yet.

        With `batches`, many records for one partition are made a batch here, which costs a fraction. It is for one
        caller at a time: aiokafka has batches of several callers wait for one another, and soon gives up. Where each
        batch may hold one record only there are none.

        Raises:
            ConfigurationError: a setting is missing or a certificate cannot be read.
        """
        _connection(settings, client_id)  # for its errors: they should stop the start, not the first send
        self._settings = settings
        self._client_id = client_id
        self._create = create
        self._batches = batches and settings.enable_idempotence
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._sending: set[asyncio.Task[Any]] = set()
        self.in_flight_bytes = 0

    async def send(self, *records: OutRecord) -> Mapping[tuple[str, int], int]:
        """Return when every record is acknowledged by all in-sync replicas.

        Returns:
            The offset of the first of them in each topic and partition.

        Raises:
            KafkaUnavailable: not within `KAFKA_REQUEST_TIMEOUT`; each record may be there or not.
            InvalidRecord: a record is larger than Kafka takes; the others may be there or not.
        """
        if not records:
            return {}
        loop = asyncio.get_running_loop()
        # Cancelling an idempotent send would tear its sequence; so a late one is left to finish by itself, and what is
        # waited for is another future. `asyncio.wait` would do the same for half as much again.
        task = loop.create_task(self._send(records))
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(self._settings.request_timeout, _set, over)
        size = sum(record.size for record in records)
        self.in_flight_bytes += size
        self._sending.add(task)

        def finished(done: asyncio.Task[Mapping[tuple[str, int], int]]) -> None:
            timer.cancel()
            self.in_flight_bytes -= size
            self._sending.discard(done)
            if not done.cancelled():
                done.exception()  # seen here, so that asyncio does not report it for a caller that gave up
            _set(over)

        task.add_done_callback(finished)
        await over
        if not task.done():
            raise KafkaUnavailable(f"no acknowledgement within {self._settings.request_timeout:g} s")
        return task.result()

    async def _send(self, records: Sequence[OutRecord]) -> Mapping[tuple[str, int], int]:
        producer = self._producer or await self._started()
        try:
            acknowledgements: list[asyncio.Future[RecordMetadata]] = []
            for (topic, partition), members in (await _by_partition(producer, records)).items():
                if self._batches and len(members) >= BATCHED:
                    acknowledgements += [
                        await producer.send_batch(batch, topic, partition=partition)
                        for batch in _batches(producer, members)
                    ]
                else:
                    acknowledgements += [await _enqueue(producer, record, partition) for record in members]
            return await _first_offsets(acknowledgements)
        except MessageSizeTooLargeError as error:
            raise InvalidRecord(Reason.INVALID_EVENT, f"larger than {MAX_RECORD_BYTES} bytes") from error
        except KafkaError as error:
            await self._discard(producer, error)
            raise _unavailable(self._settings, error) from error

    async def _started(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = self._create(self._settings, self._client_id)
                try:
                    await producer.start()
                except KafkaError as error:
                    await producer.stop()
                    raise _unavailable(self._settings, error) from error
                self._producer = producer
            return self._producer

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


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _first_offsets(
    acknowledgements: Iterable[Awaitable[RecordMetadata]],
) -> dict[tuple[str, int], int]:
    """The first offset in each topic and partition, once every one is in. Raises the first error, then too."""
    first: dict[tuple[str, int], int] = {}
    failure: Exception | None = None
    # In turn, which costs half of what `gather` does; all of them, for none may stay unobserved.
    for acknowledgement in acknowledgements:
        try:
            result = await acknowledgement
        except Exception as error:  # noqa: BLE001 - raised below
            failure = failure or error
        else:
            first.setdefault((result.topic, result.partition), result.offset)
    if failure is not None:
        raise failure
    return first


async def _by_partition(
    producer: AIOKafkaProducer, records: Sequence[OutRecord]
) -> dict[tuple[str, int], list[OutRecord]]:
    """The records by topic and partition, in their order."""
    counts = {topic: len(await producer.partitions_for(topic)) for topic in {record.topic for record in records}}
    groups: dict[tuple[str, int], list[OutRecord]] = defaultdict(list)
    for record in records:
        groups[record.topic, _partition(record, counts[record.topic])].append(record)
    return groups


def _partition(record: OutRecord, partitions: int) -> int:
    if record.partition is not None:
        return record.partition
    key = record.key if record.partition_key is None else record.partition_key
    return random.randrange(partitions) if key is None else _partition_of(key, partitions)  # noqa: S311 - no secret


@lru_cache(maxsize=65_536)
def _partition_of(key: bytes, partitions: int) -> int:
    """The partition that every Kafka client chooses for a key. The library's hash is slow, and keys come again."""
    chosen: int = DefaultPartitioner()(key, range(partitions), range(partitions))
    return chosen


async def _enqueue(producer: AIOKafkaProducer, record: OutRecord, partition: int) -> asyncio.Future[RecordMetadata]:
    acknowledgement: asyncio.Future[RecordMetadata] = await producer.send(
        record.topic, value=record.value, key=record.key, partition=partition, headers=list(record.headers)
    )
    return acknowledgement


def _batches(producer: AIOKafkaProducer, records: Iterable[OutRecord]) -> Iterator[BatchBuilder]:
    """The records of one partition as batches, each as full as it may be."""
    batch = producer.create_batch()
    for record in records:
        if record.size > MAX_RECORD_BYTES - RECORD_OVERHEAD:
            raise MessageSizeTooLargeError
        content = {"timestamp": None, "key": record.key, "value": record.value, "headers": list(record.headers)}
        # The first record of a batch is taken whatever its size.
        if batch.append(**content) is None:
            yield batch
            batch = producer.create_batch()
            batch.append(**content)
    yield batch


async def _stop_quietly(producer: AIOKafkaProducer) -> None:
    try:
        # stop() flushes, and a flush that cannot succeed never ends.
        await asyncio.wait_for(producer.stop(), timeout=5)
    except (KafkaError, TimeoutError) as error:
        log.info("Kafka producer did not stop cleanly.", error=repr(error))


async def until_available(work: Callable[[], Awaitable[_T]]) -> _T:
    """Do what needs Kafka, as often as it takes until Kafka is there for all of it."""
    while True:
        try:
            return await work()
        except KafkaUnavailable as error:
            log.warning("Kafka is waited for.", error=str(error))
            await asyncio.sleep(1)


async def send_until_acknowledged(producer: Producer, records: Sequence[OutRecord]) -> None:
    """Send records, as often as it takes until Kafka has all of them."""
    await until_available(lambda: producer.send(*records))


async def _begin(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Start a consumer without a group, and return its partitions.

    Raises:
        KafkaError: Kafka does not answer.
        KafkaUnavailable: there is no such topic.
    """
    await consumer.start()
    partitions = list(consumer.assignment())
    if not partitions:
        raise KafkaUnavailable(f"topic {topic} does not exist; `punchstream topics create` makes it")
    return partitions


async def until_there(settings: KafkaSettings, topic: str, client_id: str) -> None:
    """Return when Kafka answers and has the topic."""
    while True:
        consumer = create_consumer(settings, topic, client_id=client_id)
        try:
            await _begin(consumer, topic)
            return
        except (KafkaError, KafkaUnavailable) as error:
            log.warning("Kafka is waited for.", topic=topic, error=str(error))
            await asyncio.sleep(1)
        finally:
            await consumer.stop()


async def follow(
    settings: KafkaSettings,
    topic: str,
    apply: Callable[[ConsumerRecord], object],
    *,
    client_id: str,
    caught_up: asyncio.Event | None = None,
) -> None:
    """Give every record of a compacted topic to `apply`, from the first, for ever; without a consumer group.

    `caught_up` is set once everything that was there at the start has been applied. Where Kafka is not there yet it is
    waited for.
    """
    while True:
        consumer = create_consumer(settings, topic, client_id=client_id)
        try:
            missing = dict(await consumer.end_offsets(await _begin(consumer, topic)))
            while True:
                if caught_up is not None and not caught_up.is_set():
                    missing = {tp: end for tp, end in missing.items() if await consumer.position(tp) < end}
                    if not missing:
                        caught_up.set()
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        apply(record)
        except (KafkaError, KafkaUnavailable) as error:
            log.warning("Kafka is waited for.", topic=topic, error=str(error))
            await asyncio.sleep(1)
        finally:
            await consumer.stop()


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions of a topic that one member of a consumer group has, and how many there are in all."""

    partitions: frozenset[int]
    total: int

    def has(self, key: bytes) -> bool:
        """Whether a record with this key is, or would be, in one of them."""
        return _partition_of(key, self.total) in self.partitions


class Share(Protocol):
    """What one member of a consumer group holds of a compacted topic: the records of its share of the partitions."""

    def lost(self) -> None:
        """Forget every record: other members may have the partitions from now on."""

    def take(self, record: ConsumerRecord) -> None:
        """Take in one record."""

    async def caught_up(self) -> None:
        """Act on what is held. Called between reads, once all that was there at the assignment has been taken in."""


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells a share that its partitions are gone, and notes that it has others."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self.is_new = False

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - always all of them
        self._share.lost()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - see assignment()
        self.is_new = True


async def follow_share(
    settings: KafkaSettings,
    topic: str,
    group: str,
    share: Share,
    *,
    client_id: str,
    assigned: Callable[[Assignment], object] | None = None,
) -> None:
    """Keep `share` fed with the partitions of a compacted topic that this member of the group has, for ever.

    No offset is ever committed, so each assignment begins at the first record of each partition. `caught_up` is called
    about twice a second, or after each batch of records; no record is taken in while it runs, but `lost` may be called.
    Before its first call for an assignment `assigned` is told which that is. Where Kafka is not there it is waited for.
    """
    while True:
        consumer = create_consumer(settings, client_id=client_id, group=group)
        rebalance = _Rebalance(share)
        missing: dict[TopicPartition, int] = {}
        try:
            await consumer.start()
            consumer.subscribe([topic], listener=rebalance)
            while True:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        share.take(record)
                try:
                    if rebalance.is_new:
                        rebalance.is_new = False
                        partitions = consumer.assignment()
                        missing = dict(await consumer.end_offsets(list(partitions)))
                        if assigned is not None:
                            total = len(consumer.partitions_for_topic(topic) or ())
                            assigned(Assignment(frozenset(tp.partition for tp in partitions), total))
                    missing = {tp: end for tp, end in missing.items() if await consumer.position(tp) < end}
                except IllegalStateError:  # not ours any more: a rebalance is under way
                    continue
                if not missing and not rebalance.is_new:
                    await share.caught_up()
        except (KafkaError, KafkaUnavailable) as error:
            log.warning("Kafka is waited for.", topic=topic, error=str(error))
            share.lost()
            await asyncio.sleep(1)
        finally:
            await consumer.stop()


async def read(
    settings: KafkaSettings,
    topic: str,
    client_id: str,
    since: datetime | None = None,
    begin: Mapping[int, int | None] | None = None,
) -> AsyncGenerator[list[ConsumerRecord], None]:
    """Every record that a topic holds now, in batches, in offset order within a partition.

    With `since`, from the first record of that time on. With `begin`, only the partitions that it names, each from the
    offset given there, if one is. Records that arrive meanwhile may be among them.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    consumer = create_consumer(settings, topic, client_id=client_id)
    try:
        partitions = await _begin(consumer, topic)
        others = [tp for tp in partitions if begin is not None and tp.partition not in begin]
        # Somebody may go on writing to them.
        consumer.pause(*others)
        ends = await consumer.end_offsets(set(partitions) - set(others))
        if since is not None:
            times = dict.fromkeys(ends, int(since.timestamp() * 1000))
            for tp, found in (await consumer.offsets_for_times(times)).items():
                consumer.seek(tp, ends[tp] if found is None else found.offset)
        for tp, end in ends.items():
            offset = begin[tp.partition] if begin is not None else None
            if offset is not None:
                # Never beyond the end: from there a consumer goes back to the earliest record.
                consumer.seek(tp, min(offset, end))
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            # By name, for what was fetched before the others were paused is still there.
            for batch in (await consumer.getmany(*ends, timeout_ms=500)).values():
                yield batch
    except KafkaError as error:
        raise _unavailable(settings, error) from error
    finally:
        await consumer.stop()


async def until_through(settings: KafkaSettings, topic: str, group: str, client_id: str) -> None:
    """Return when a consumer group has committed all that the topic holds at the time of the call.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    consumer = create_consumer(settings, topic, client_id=client_id)
    admin = AIOKafkaAdminClient(**_connection(settings, client_id))
    try:
        partitions = await _begin(consumer, topic)
        await admin.start()
        first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        # Where nothing is held there may never have been anything to commit.
        missing = {tp: end for tp, end in (await consumer.end_offsets(partitions)).items() if end > first[tp]}
        while True:
            if missing:
                committed = await admin.list_consumer_group_offsets(group, partitions=list(missing))
                missing = {tp: end for tp, end in missing.items() if tp not in committed or committed[tp].offset < end}
            if not missing:
                return
            log.debug("A consumer group is waited for.", topic=topic, group=group, partitions=len(missing))
            await asyncio.sleep(1)
    except KafkaError as error:
        raise _unavailable(settings, error) from error
    finally:
        await consumer.stop()
        await admin.close()


async def snapshot(settings: KafkaSettings, topic: str, client_id: str) -> list[ConsumerRecord]:
    """All that `read` gives, at once. For topics that are known to be small.

    Raises:
        KafkaUnavailable: see `read`.
    """
    return [record async for batch in read(settings, topic, client_id) for record in batch]


async def create_topics(settings: KafkaSettings) -> dict[str, bool]:
    """Create the topics that are missing. Returns each name and whether it was created now.

    A topic that exists is left as it is; `describe_topics` shows where it differs.

    Raises:
        KafkaUnavailable: Kafka does not answer or refuses.
    """
    admin = AIOKafkaAdminClient(**_connection(settings, "punchstream-admin"))
    try:
        await admin.start()
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = settings.replication_factor or min(WANTED_REPLICAS, brokers)
        wanted = {}
        for name, topic in TABLE.items():
            configs = topic_configs(topic, settings.retention_days)
            configs["max.message.bytes"] = str(MAX_RECORD_BYTES)
            if replicas >= WANTED_REPLICAS:
                # With acks=all a record then survives the loss of any one broker.
                configs["min.insync.replicas"] = str(replicas - 1)
            full_name = settings.topics[name]
            wanted[full_name] = NewTopic(
                full_name, topic.partitions or settings.partitions, replicas, topic_configs=configs
            )
        existing = set(await admin.list_topics())
        missing = [topic for name, topic in wanted.items() if name not in existing]
        created = set()
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *_ in response.topic_errors:
                error = for_code(code)
                if code == 0:
                    created.add(name)
                elif error is not TopicAlreadyExistsError:
                    raise KafkaUnavailable(f"topic {name}: {error.__name__}")
        return {name: name in created for name in wanted}
    except KafkaError as error:
        raise _unavailable(settings, error) from error
    finally:
        await admin.close()


async def describe_topics(settings: KafkaSettings) -> list[dict[str, Any]]:
    """Each topic with partitions, replicas and records held; `partitions` is 0 where it does not exist.

    Raises:
        KafkaUnavailable: Kafka does not answer.
    """
    admin = AIOKafkaAdminClient(**_connection(settings, "punchstream-admin"))
    consumer = create_consumer(settings, client_id="punchstream-admin")
    try:
        await admin.start()
        await consumer.start()
        names = [settings.topics[name] for name in TABLE]
        existing = set(await admin.list_topics())
        described = {
            entry["topic"]: entry["partitions"]
            for entry in await admin.describe_topics([name for name in names if name in existing])
        }
        rows = []
        for (_, topic), name in zip(TABLE.items(), names, strict=True):
            found = described.get(name, [])
            partitions = [TopicPartition(name, partition["partition"]) for partition in found]
            first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            last: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
            rows.append(
                {
                    "topic": name,
                    "partitions": len(found),
                    "replicas": len(found[0]["replicas"]) if found else 0,
                    "records": sum(last.values()) - sum(first.values()),
                    "key": topic.key,
                    "cleanup": topic.cleanup,
                    "holds": topic.holds,
                }
            )
        return rows
    except KafkaError as error:
        raise _unavailable(settings, error) from error
    finally:
        await consumer.stop()
        await admin.close()
