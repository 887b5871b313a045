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
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT
from mode import Service

from attendance.kafka.clients import FETCH_MAX_WAIT_MS, login, logs_in
from attendance.kafka.consumer import check_tasks
from attendance.kafka.credentials import log_in_anew
from attendance.settings import KafkaSettings

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0


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

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @Service.task  # type: ignore[untyped-decorator]
    async def _check_membership(self) -> None:
        was_idle = False
        while not self.should_stop:
            await self.sleep(CHECK_SECONDS)
            was_idle = self._look_at_fetching(was_idle=was_idle)
            try:
                await self._look_at_membership()
            except Exception:
                if self.should_stop or self.app.should_stop:
                    return  # the thread has ended, as it was to
                log.critical("The stream ends, because its consumer is of no use any more.", exc_info=True)
                self.transport.on_fault()

    async def _look_at_membership(self) -> None:
        await self._thread.call_thread(self._raise_error_of_membership)
        if self.transport.stands():
            await self._thread.call_thread(self._say_that_it_lives)

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

        Returns the committed offset of each partition, None where there is none.
        """
        committed: Mapping[TP, int | None] = await super().seek_to_committed()
        never = [tp for tp, offset in committed.items() if not offset]
        if never:
            await self.seek_wait(await self.earliest_offsets(*never))
            for tp in never:
                # Faust may hold one for committed whose commit failed, and ignores what is acknowledged before it.
                self._committed_offset.pop(tp, None)
        return committed

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Mapping[TP, list[Any]]:
        # A copy: the set may be emptied before the fetcher's thread looks at it.
        fetched = await super()._getmany(active_partitions and set(active_partitions), timeout)
        return {tp: [records] for tp, records in fetched.items() if records}

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
        self, app: AppT, kafka: KafkaSettings, on_fault: Callable[[], None], stands: Callable[[], bool]
    ) -> None:
        """Make the transport of an application.

        Args:
            app: The application.
            kafka: How its clients log in.
            on_fault: Called when this process cannot be a member of its consumer group any more.
            stands: Whether the stream stands still on purpose. Then it fetches nothing, and yet stays a member.
        """
        super().__init__(app.conf.broker_consumer, app)
        self.kafka = kafka
        self.on_fault = on_fault
        self.stands = stands
