"""run: consumes the checkins topic and delivers its check-ins until it is stopped."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from attendance.errors import InvalidRecord, KafkaUnavailable
from attendance.kafka.accounts import AccountsTopic
from attendance.kafka.clients import create_consumer, unavailable, wait_for_cause
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.progress import WRITE_SECONDS, Placement, Progress
from attendance.kafka.readers import PlaceReader, follow
from attendance.kafka.records import OutRecord, Record
from attendance.kafka.site import SiteTopic
from attendance.kafka.stage_guards import stage_guards
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.runtime import raise_why_ended
from attendance.settings import KafkaSettings, SinkSettings
from attendance.tracing import OFF, Tracing
from attendance.user_map import UserMap
from sinks.delivery.deliverer import Deliverer
from sinks.delivery.offsets import OffsetTracker
from sinks.delivery.outcomes import STAGE, OutcomeWriter
from sinks.delivery.queue import QueuedCheckin
from sinks.delivery.timings import SinkTimings
from sinks.targets.base import HasClock, HasZone, Target

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.5
FULL_POLL_SECONDS: Final = 0.05  # while partitions are paused, so that room is noticed soon
MAX_POLL_RECORDS: Final = 500  # in one poll
LOOK_SECONDS: Final = 10.0  # between two questions whether the target is to look at its zone
LEAVE_SECONDS: Final = 5.0  # for the last commit, and for leaving the group
SESSION_SECONDS: Final = 8.0
"""A sink that was killed keeps its partitions no longer, and nobody delivers their check-ins until then: so that it, or
another, delivers again within 10 s. A sink works in threads, so it is not silent for so long; and one that was has done
no harm, for a target is idempotent."""


async def run(
    kafka: KafkaSettings,
    sink: SinkSettings,
    target: Target,
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    timings: SinkTimings | None = None,
    tracing: Tracing = OFF,
) -> None:
    """Deliver check-ins to the target until `stop` is set; then finish what is in flight, commit and leave the group.

    Assumes that the topics exist. It waits for Kafka, for the target, and for the first employees of the user map.
    Whatever else goes wrong is raised: what was not committed is redelivered to whoever has the partitions next, and
    the target knows what it has. The target is closed in every case.

    Args:
        kafka: Where check-ins come from, and where their outcomes go.
        sink: Batch size, pauses, tries, limits.
        target: Where check-ins are delivered to. Not opened yet.
        metrics: What is counted.
        stop: Set when the process is to stop.
        timings: How long the sink waits.
        tracing: Of deliveries.

    Raises:
        ConfigurationError: A setting of the target or of Kafka is wrong.
        KafkaUnavailable: The consumer failed in a way that only a new one survives.
    """
    producer = Producer(kafka, kafka.client_id(STAGE))
    try:
        await _Runner(kafka, sink, target, producer, metrics, timings or SinkTimings(), tracing).run(stop)
    finally:
        await producer.stop()
        await target.close()


class _Runner(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One membership of the consumer group."""

    def __init__(
        self,
        kafka: KafkaSettings,
        sink: SinkSettings,
        target: Target,
        producer: Producer,
        metrics: Metrics,
        timings: SinkTimings,
        tracing: Tracing,
    ) -> None:
        self._kafka = kafka.model_copy(update={"session_timeout": min(kafka.session_timeout, SESSION_SECONDS)})
        self._sink = sink
        self._producer = producer
        self._metrics = metrics
        self._timings = timings
        self._tracing = tracing
        self._topic = kafka.topics["checkins"]
        self._users = UserMap()
        self._users_caught_up = asyncio.Event()
        self._offsets = OffsetTracker()
        self._committing = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._read_raw = PlaceReader(kafka, kafka.topics["raw"], kafka.client_id(f"{STAGE}-raw"))
        self._has_zone = target if isinstance(target, HasZone) else None
        self._site = SiteTopic(kafka, producer, kafka.client_id(f"{STAGE}-site"))
        if self._has_zone is not None:
            self._has_zone.use_zones(self._site, self._report_zone)
        other_clocks = [target.read_clock] if isinstance(target, HasClock) else []
        self._accounts = AccountsTopic(kafka, producer, kafka.client_id(f"{STAGE}-accounts"))
        self._progress = Progress(kafka, STAGE, self._topic, self._accounts, metrics)
        self._guards = stage_guards(STAGE, kafka, metrics, producer, *other_clocks, own=[self._progress])
        self._progress.on_change = self._guards.ask
        self._placement = Placement(self._progress)
        # Not what the consumer says: until a rebalance has ended, it still names the partitions that were revoked.
        self._assigned: list[int] = []
        self._committed: dict[int, int | None] = {}
        self._deliverer = Deliverer(
            target,
            sink,
            metrics,
            employee_exists=self._employee_exists,
            writer=OutcomeWriter(target.name, kafka.topics, metrics, self._publish_outcomes, self._read_raw),
            timings=timings,
            guards=self._guards,
        )
        self._deliverer.tracing = tracing

    async def run(self, stop: asyncio.Event) -> None:
        """See `run`."""
        workers = [asyncio.create_task(self._work(stop)) for _ in range(self._deliverer.workers)]
        others = (self._follow_users(), self._consume(stop), self._commit_regularly(), self._watch_zone())
        waits = (
            self._guards.keep(),
            self._accounts.follow(),
            self._write_regularly(),
            self._progress.keep_lag(self._committed.copy),
            _until(stop),
        )
        tasks = [*workers, *map(asyncio.create_task, (*others, *waits))]
        try:
            # None of them ends before the stop, unless it fails.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._deliverer.wake()
            if stop.is_set():
                _, late = await asyncio.wait(workers, timeout=self._timings.stop)
                if late:
                    log.warning("Abandoning in-flight requests; their records will be redelivered.", requests=len(late))
                for task in tasks:
                    if task.done():
                        task.result()
            else:
                raise_why_ended(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._leave()

    async def _work(self, stop: asyncio.Event) -> None:
        """Deliver, once it is known what is recorded of the site."""
        if self._has_zone is not None:
            self._metrics.ready("zone", "what is recorded of the site's zone is not read yet")
            waits = [asyncio.create_task(each.wait()) for each in (self._site.caught_up, stop)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()
            self._metrics.ready("zone", None)
        await self._deliverer.work(stop)

    async def _watch_zone(self) -> None:
        """Follow what is recorded of the site, and have the target look at its zone, also while idle."""
        if self._has_zone is None:
            await asyncio.Event().wait()
        else:
            await asyncio.gather(self._site.follow(), self._look_regularly(self._has_zone))

    async def _look_regularly(self, target: HasZone) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._guards.until_clear()
            await target.look_at_zone()

    def _report_zone(self, doubt: str | None) -> None:
        self._metrics.ready("zone", None if doubt is None else f"zone in doubt: {doubt}")

    async def _follow_users(self) -> None:
        await follow(
            self._kafka,
            self._kafka.topics["user_map"],
            self._users.learn,
            client_id=self._kafka.client_id(f"{STAGE}-users"),
            caught_up=self._users_caught_up,
        )

    def _directory_is_known(self) -> bool:
        # If the directory never ran, there is no employee, and every check-in would be that of an unknown one.
        return self._users_caught_up.is_set() and next(self._users.employees(), None) is not None

    def _employee_exists(self, employee: str) -> bool | None:
        if self._users.employee(employee) is not None:
            return True
        return False if self._directory_is_known() else None

    async def _consume(self, stop: asyncio.Event) -> None:
        consumer = await self._join()
        try:
            await self._fetch(consumer, stop)
        except KafkaError as error:
            failure = await unavailable(self._kafka, error, operation="Read", topics=[self._topic])
            raise KafkaUnavailable(f"the consumer failed: {failure}") from error

    async def _join(self) -> AIOKafkaConsumer:
        while True:
            consumer = create_consumer(
                self._kafka, client_id=self._kafka.client_id(STAGE), group=self._kafka.group(STAGE), reset="none"
            )
            consumer.subscribe([self._topic], listener=self)
            self._consumer = consumer
            try:
                await consumer.start()
            except KafkaError as error:
                await consumer.stop()
                self._consumer = None
                await wait_for_cause(self._kafka, error, topic=self._topic)
                continue
            log.info("Consuming check-ins.", topic=self._topic, group=self._kafka.group(STAGE))
            return consumer

    async def _fetch(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        warned = False
        while not stop.is_set():
            await self._place(consumer)
            ready = self._directory_is_known()
            if not ready and self._users_caught_up.is_set() and not warned:
                warned = True
                log.warning("The user map has no employees yet. Waiting for `punchstream directory` to add them.")
            self._metrics.ready("user map", None if ready else "the user map is not read, or has no employees yet")
            room = self._deliverer.room if ready and not self._guards.standing else 0
            # Paused, but still polled: a consumer that does not poll is removed from the group. A rebalance ends all
            # pauses, so they are made anew each time.
            read = self._placed if room > 0 else set()
            consumer.pause(*(consumer.assignment() - read))
            consumer.resume(*(consumer.paused() & read))
            try:
                batches = await consumer.getmany(
                    timeout_ms=round(1000 * (POLL_SECONDS if room > 0 else FULL_POLL_SECONDS)),
                    max_records=min(max(room, 1), MAX_POLL_RECORDS),
                )
            except (OffsetOutOfRangeError, NoOffsetForPartitionError):
                self._placement.look_soon()
                await asyncio.sleep(POLL_SECONDS)
                continue
            for tp, records in batches.items():
                # What came of a partition before it has its place comes again.
                for record in records if tp in self._placed else ():
                    self._add(record)

    @property
    def _placed(self) -> set[TopicPartition]:
        return {TopicPartition(self._topic, number) for number in self._placement.placed}

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        """Have each partition read from where it has to be, and from nowhere else."""

        async def committed(number: int) -> int | None:
            found: int | None = await consumer.committed(TopicPartition(self._topic, number))
            return found

        async def next_offset(number: int) -> int:
            found: int = await consumer.position(TopicPartition(self._topic, number))
            return found

        try:
            places = await self._placement.look(self._assigned, committed, next_offset)
        except IllegalStateError:  # not ours any more: a rebalance is under way
            return
        for number, place in places.items():
            consumer.seek(TopicPartition(self._topic, number), place.offset)
            if place.offset == place.before:
                self._committed.setdefault(number, place.before)
            else:
                # It is committed even where nothing has come yet: else what is gone before it is read is not missed.
                self._offsets.skip(number, place.offset)

    def _add(self, record: ConsumerRecord) -> None:
        self._offsets.add(record.partition, record.offset)
        record = self._as_of_now(record)
        try:
            checkin = Checkin.decode(record.value)
        except InvalidRecord as problem:
            self._deliverer.add_undecodable(record, problem)
        else:
            self._deliverer.add(QueuedCheckin(record, checkin))

    def _as_of_now(self, record: ConsumerRecord) -> ConsumerRecord:
        """A check-in of before an adoption, with the places that it names as they are now."""
        moves = self._accounts.moves
        if not moves.is_before(record):
            return record
        headers = moves.headers(record.headers, record.topic, self._kafka.topics["raw"], record)
        return replace(record, headers=tuple(headers))

    async def _publish_outcomes(self, outcomes: Sequence[tuple[Record, OutRecord]]) -> None:
        """Return when Kafka has the outcomes; only then may their records be committed."""
        with self._tracing.carried("deliver", outcomes) as carried:
            await send_until_acknowledged(self._producer, carried)
        for record, _ in outcomes:
            self._offsets.done(record.partition, record.offset)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._timings.commit)
            await self._commit()

    async def _commit(self) -> None:
        # One at a time: an older commit that is retried must not overtake a newer one.
        async with self._committing:
            offsets = self._offsets.committable()
            if self._consumer is None or not offsets:
                return
            try:
                await self._consumer.commit({TopicPartition(self._topic, each): at for each, at in offsets.items()})
            except (CommitFailedError, IllegalStateError) as error:
                log.info(
                    "Partitions were revoked before a commit; their last records will be redelivered.", error=str(error)
                )
            except KafkaError as error:
                log.warning("Could not commit offsets; trying again.", error=str(error))
            else:
                self._offsets.committed(offsets)
                self._committed |= offsets

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self._progress.write(self._committed)

    async def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        """Finish what is in flight, if it does not take long, and commit: the next owner then begins after it."""
        # aiokafka revokes all partitions and then assigns anew. The group waits for us no longer than a session.
        longest = min(LEAVE_SECONDS, self._kafka.session_timeout / 3)
        self._assigned = []
        self._deliverer.revoke()
        try:
            await _within(longest, self._deliverer.wait_until_idle())
            await _within(longest, self._commit())
        finally:
            self._offsets.clear()
            self._placement.revoke()
            self._committed.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Delivery begins where `_place` finds that it has to."""
        self._assigned = sorted(each.partition for each in assigned)
        log.info("Partitions assigned.", topic=self._topic, partitions=self._assigned)

    async def _leave(self) -> None:
        if self._consumer is not None:
            await _within(LEAVE_SECONDS, self._commit())
            await _within(LEAVE_SECONDS, self._progress.write(self._committed))
            await _within(LEAVE_SECONDS, self._consumer.stop())
        await _within(LEAVE_SECONDS, self._progress.close())
        await _within(LEAVE_SECONDS, self._read_raw.close())


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


async def _within(seconds: float, work: Awaitable[None]) -> None:
    """Wait for it, but no longer."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except (TimeoutError, KafkaError) as error:
        log.info("Stopped waiting.", seconds=seconds, error=repr(error))
