"""Faust's Kafka transport, handing over records by the chunk, with three losses and four standstills closed.

Faust takes some 300 microseconds of CPU for each message that it carries from the fetcher to an agent. Here a message
is a chunk: what one fetch brought from one partition. Its value is the list of records, its offset that of the last.

The losses are races between a rebalance and the running fetcher. After a rebalance Faust resumes the stream's
partitions, seeks, and then resumes the flow, which empties the agents' queues: records that arrive in between are lost.
And it hands the fetcher its live set of active partitions: while that is empty, aiokafka takes it for "all", and Faust
throws away what it did not ask for. And a worker that keeps a partition over a rebalance may fetch from it before it
hears of the new assignment; Faust throws that away as of an older generation. A partition without a committed offset is
not sought back in any of these cases, and the next commit passes over the records.

And four standstills. aiokafka asks each broker one thing at a time, and Faust has it wait 1.5 s for partitions that
have nothing new, while the next records of one that is behind are there. Faust takes a partition from the active ones
while the agent's queue is full, and where that leaves none it sleeps for a second, although the queue is empty long
before. And it fetches past the call in which aiokafka says that it cannot be a member of the group any more, because it
is not permitted, or because its coordination failed when the cluster had only begun: nobody would ever know.
And where the agent takes nothing in, nothing is fetched, and aiokafka leaves the group of one that fetches nothing for
long: a stream that stands still on purpose (`attendance.guards`) says that it lives.

Where nothing is read for no reason that is known (`attendance.kafka.stalls`), the process ends. Faust's own look asks
aiokafka for that, which knows of no end that it has not fetched.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT
from mode import Service

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import FETCH_MAX_WAIT_MS, login, logs_in
from attendance.kafka.consumer import check_tasks
from attendance.kafka.credentials import log_in_anew
from attendance.kafka.progress import WRITE_SECONDS, Placement
from attendance.kafka.stalls import StallWatch
from attendance.settings import KafkaSettings
from streams.progress import StreamProgress

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 0.2  # where no partition may be read
LEAVE_SECONDS: Final = 5.0  # for the last account


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread with aiokafka's consumer, which does not let a partition that is behind wait for the others."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:  # noqa: ANN401 - Faust's types are not ours
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001 - Faust has no setting for it
        if logs_in(transport.kafka):
            log_in_anew(consumer._client, login(transport.kafka))  # noqa: SLF001 - aiokafka makes it itself
        return consumer


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Brings chunks, once the flow is resumed, and only from the partitions it was asked for.

    Assumes that the chunks of a partition are acknowledged in their order.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._postponed: set[TP] = set()
        self._drains = 0
        self._stalls = StallWatch()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @Service.task  # type: ignore[untyped-decorator]
    async def _check_membership(self) -> None:
        was_idle = False
        while not self.should_stop:
            await self.sleep(CHECK_SECONDS)
            was_idle = self._look_at_fetching(was_idle=was_idle)
            await self._end_where_it_fails(self._look_at_membership())

    @Service.task  # type: ignore[untyped-decorator]
    async def _check_progress(self) -> None:
        # A task of its own: calls to the thread wait for their turn there, and what stalls may have taken all turns.
        while not self.should_stop:
            await self.sleep(CHECK_SECONDS)
            await self._end_where_it_fails(self._look_at_progress())

    async def _end_where_it_fails(self, look: Awaitable[None]) -> None:
        try:
            await look
        except Exception:
            if self.should_stop or self.app.should_stop:
                return  # the thread has ended, as it was to
            log.critical("The stream ends, because its consumer is of no use any more.", exc_info=True)
            self.transport.on_fault()

    async def _look_at_membership(self) -> None:
        await self._thread.call_thread(self._raise_error_of_membership)
        if self.transport.stands():
            await self._thread.call_thread(self._say_that_it_lives)

    async def _look_at_progress(self) -> None:
        if self.transport.stands() or self.transport.is_full():
            self._stalls.rest()  # the fetcher waits, as it has to
            return
        consumer = self._thread._consumer  # noqa: SLF001
        if consumer is not None:  # else the thread is about to begin
            looking = self._stalls.look(consumer)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(looking, self._thread.thread_loop))

    async def _raise_error_of_membership(self) -> None:
        # In the thread whose tasks these are.
        check_tasks(self._thread._ensure_consumer())  # noqa: SLF001

    async def _drain_messages(self, fetcher: Service) -> None:
        """Hand over what is fetched, until Faust stops the fetcher."""
        self._drains += 1
        try:
            await super()._drain_messages(fetcher)
        except Exception:
            if not (self.should_stop or self.app.should_stop):
                log.critical("The stream ends, because its fetching failed.", exc_info=True)
                self.transport.on_fault()
            raise
        finally:
            self._drains -= 1

    def _look_at_fetching(self, *, was_idle: bool) -> bool:
        """Whether nobody fetches, although Faust began to and did not stop it. Twice in a row is the stream's end.

        Faust takes it for a stop where the fetcher's task is cancelled, whoever did so. Once may be a fetcher that was
        begun a moment ago.
        """
        fetcher: Service = self.app._fetcher  # noqa: SLF001
        is_idle = fetcher.started and not fetcher.should_stop and not self._drains
        if is_idle and was_idle:
            log.critical("The stream ends, because its fetching ended by itself.")
            self.transport.on_fault()
        return is_idle

    async def _say_that_it_lives(self) -> None:
        with self._thread._ensure_consumer()._subscription.fetch_context():  # noqa: SLF001 - as a fetch does
            pass

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: the conductor waits for room in a full queue, and the fetcher for the conductor."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing: the partition is active as before."""

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Postpone these partitions until the flow is resumed."""
        self._postponed = set(tps)

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Pause these partitions, those postponed included."""
        self._postponed -= set(tps)
        super().pause_partitions(tps)

    def resume_flow(self) -> None:
        """Resume the flow, and then the partitions that were postponed for it."""
        super().resume_flow()
        super().resume_partitions(self._postponed)
        self._postponed = set()

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek each partition to its committed offset, those that have none to their beginning.

        Nothing is read there before `_take_places` has found that this is right.

        Returns the committed offset of each partition, None where there is none.
        """
        self.transport.placement.revoke()
        committed: Mapping[TP, int | None] = await super().seek_to_committed()
        never = [tp for tp, offset in committed.items() if not offset]
        if never:
            await self.seek_wait(await self.earliest_offsets(*never))
            for tp in never:
                # Faust may hold one for committed whose commit failed, and ignores what is acknowledged before it.
                self._committed_offset.pop(tp, None)
        return committed

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """These partitions are not ours any more."""
        self.transport.placement.revoke()
        await super().on_partitions_revoked(revoked)

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Mapping[TP, list[Any]]:
        try:
            await self._take_places()
            # While the stream stands still, nobody makes room for what is handed over, and the fetcher would wait for
            # that: but only here is found that nothing is missing any more.
            placed = () if self.transport.stands() else self._placed
            # A copy: the set may be emptied before the fetcher's thread looks at it.
            wanted = {tp for tp in active_partitions or () if tp.partition in placed}
            fetched = await super()._getmany(wanted, timeout) if wanted else await self._nothing()
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self.transport.placement.look_soon()
            fetched = await self._nothing()
        # What came of a partition that has no place any more comes again.
        return {tp: [records] for tp, records in fetched.items() if records and tp.partition in self._placed}

    @property
    def _placed(self) -> Collection[int]:
        placement: Placement = self.transport.placement
        return placement.placed

    async def _nothing(self) -> Mapping[TP, list[Any]]:
        await self.sleep(IDLE_SECONDS)
        return {}

    async def _take_places(self) -> None:
        """Have each partition read from where it has to be, and from nowhere else."""
        partitions = {tp.partition: tp for tp in self.assignment()}

        async def committed(number: int) -> int | None:
            return await self._committed(partitions[number])

        async def next_offset(number: int) -> int:
            return await self.position(partitions[number]) or 0

        try:
            places = await self.transport.placement.look(partitions, committed, next_offset)
            for number, place in places.items():
                tp = partitions[number]
                await self.seek_wait({tp: place.offset})
                if place.is_first and place.offset != place.before:
                    # At once: nothing may ever come of a partition that lacks what was to come, and others wait for it.
                    # Where nothing ever came, that much is known of it if what comes is gone before it is read.
                    await self._thread.commit({tp: place.offset})
                    self._committed_offset[tp] = place.offset
        except IllegalStateError:
            return  # not ours any more: a rebalance is under way
        except KafkaUnavailable:
            log.critical("The stream ends, because its topic was made anew under it.", exc_info=True)
            self.transport.on_fault()
        except KafkaError as error:
            log.warning("Waiting for Kafka.", error=str(error))

    async def _committed(self, tp: TP) -> int | None:
        found: int | None = await self._thread.call_thread(self._thread._ensure_consumer().committed, tp)  # noqa: SLF001
        return found

    @Service.task  # type: ignore[untyped-decorator]
    async def _write_regularly(self) -> None:
        while not self.should_stop:
            await self.sleep(WRITE_SECONDS)
            if not self.should_stop:  # else `on_stop` does it
                await self._write_account()

    async def _write_account(self) -> None:
        try:
            # What is committed has its outcomes in Kafka, and its kept punches in the changelog.
            committed = {tp.partition: await self._committed(tp) for tp in self.assignment()}
            placed = self._placed
            await self.transport.progress.raw.write({each: at for each, at in committed.items() if each in placed})
        except (IllegalStateError, KafkaError) as error:
            log.warning("Could not write how far this stage has come; trying again.", error=str(error))

    @Service.task  # type: ignore[untyped-decorator]
    async def _keep_lag(self) -> None:
        await self.transport.progress.raw.keep_lag(self._done)

    def _done(self) -> Mapping[int, int | None]:
        placed = self._placed
        # Before there are any, the client may not have been started: it knows no assignment then, and raises.
        assigned = self.assignment() if placed else ()
        return {tp.partition: self._committed_offset.get(tp) for tp in assigned if tp.partition in placed}

    async def on_stop(self) -> None:
        """Wait for what is under way, commit, and write the account."""
        await super().on_stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._write_account()
        await self.transport.progress.close()

    def _to_message(self, tp: TP, record: list[Any]) -> Any:  # noqa: ANN401 - Faust's types are not ours
        message = super()._to_message(tp, record[-1])
        message.value = record
        return message

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: where every chunk before is done, it does not matter which offsets exist."""

    def _new_offset(self, tp: TP) -> int | None:
        """The offset after the newest chunk that is acknowledged; None where none is since the last commit."""
        acknowledged: list[int] = self._acked.pop(tp, [])
        self._acked_index.pop(tp, None)
        return max(acknowledged) + 1 if acknowledged else None


class Producer(driver.Producer):  # type: ignore[misc]
    """Faust's producer, with which nothing is sent, but which is connected all the same."""

    def _new_producer(self, transactional_id: str | None = None) -> Any:  # noqa: ANN401 - Faust's types are not ours
        producer = super()._new_producer(transactional_id)
        if logs_in(self.transport.kafka):
            log_in_anew(producer.client, login(self.transport.kafka))
        return producer


class Transport(driver.Transport):  # type: ignore[misc]
    """The transport with that consumer."""

    Consumer = Consumer
    Producer = Producer

    def __init__(
        self,
        app: AppT,
        kafka: KafkaSettings,
        on_fault: Callable[[], None],
        stands: Callable[[], bool],
        is_full: Callable[[], bool],
        progress: StreamProgress,
    ) -> None:
        """Make the transport of an application.

        Args:
            app: The application.
            kafka: How its clients log in.
            on_fault: Called when this process cannot be a member of its consumer group any more.
            stands: Whether the stream stands still on purpose. Then it fetches nothing, and yet stays a member.
            is_full: Whether so much waits for its step that the agent takes nothing in.
            progress: Where the stream begins, and how far it has come. It is closed at the end.
        """
        super().__init__(app.conf.broker_consumer, app)
        self.kafka = kafka
        self.on_fault = on_fault
        self.stands = stands
        self.is_full = is_full
        self.progress = progress
        self.placement = Placement(progress.raw)
