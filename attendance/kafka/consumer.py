"""WatchedConsumer: aiokafka's consumer, without its silent death or stall, and without what it keeps after its end.

It works by tasks of its own. One that dies by an error that nobody thought of, or is cancelled, is missed by nobody:
`getmany` then returns nothing for ever, as of a topic without news, and a leader that moved is never found again.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from attendance.kafka.stalls import StallWatch

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0
"""How often is looked while nothing comes."""


class TaskDied(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """A task of the client has ended by itself. The client is of no use any more; a new one is."""


def check_tasks(consumer: AIOKafkaConsumer) -> None:
    """See that the tasks run by which a consumer lives. To be called in its event loop, once it has started.

    Args:
        consumer: Any.

    Raises:
        ConsumerStoppedError: it was stopped.
        TaskDied: one of them has ended.
        KafkaError: the consumer cannot be a member of its group.
    """
    if consumer._closed:  # noqa: SLF001
        raise ConsumerStoppedError
    consumer._coordinator.check_errors()  # noqa: SLF001 - aiokafka's own callers do so
    for name, task in _tasks(consumer):
        if task.done():
            cause = None if task.cancelled() else task.exception()
            log.critical("A task of Kafka's client has died.", task=name, error=repr(cause))
            raise TaskDied(f"the {name} task of Kafka's client has died: {cause!r}") from cause


def _tasks(consumer: AIOKafkaConsumer) -> Iterator[tuple[str, "asyncio.Task[Any]"]]:
    yield "fetch", consumer._fetcher._fetch_task  # noqa: SLF001 - it has no name that is public
    yield "metadata", consumer._client._sync_task  # noqa: SLF001
    # Where there is a group, this one is all that takes part in it; of the errors that it ends with
    # `check_errors` knows, not that it was cancelled.
    coordination = getattr(consumer._coordinator, "_coordination_task", None)  # noqa: SLF001
    if coordination is not None:
        yield "coordination", coordination


class WatchedConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose `getmany` and `position` raise `TaskDied` where they would wait for ever.

    `getmany` raises `Stalled` where the broker has more of a partition, and nothing comes.
    """

    def __init__(self, *topics: str, **options: Any) -> None:
        """A consumer that is not started. Takes what aiokafka's takes."""
        super().__init__(*topics, **options)
        self._stalls = StallWatch()

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Records, or none within the time. Raises TaskDied and Stalled, before anything is taken."""
        check_tasks(self)
        await self._stalls.look(self, partitions)
        found: dict[TopicPartition, list[ConsumerRecord]] = await super().getmany(
            *partitions, timeout_ms=timeout_ms, max_records=max_records
        )
        return found

    async def position(self, partition: TopicPartition) -> int:
        """The offset of the next record. Raises TaskDied."""
        while True:
            check_tasks(self)
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    offset: int = await super().position(partition)
                    return offset

    async def stop(self) -> None:
        """Leave the group, disconnect, and let go of what was fetched and not asked for.

        Such a client is full of circles, and Python looks for those that old objects are in only now and then. By
        then the records of hundreds of clients were waiting.
        """
        # aiokafka cancels its tasks and awaits them. One that had no turn yet hands on that cancellation, and whoever
        # stops the consumer would die of it in silence.
        await asyncio.sleep(0)
        if self._fetcher is not None:
            await _end_fetches(self._fetcher)
        try:
            await super().stop()
        finally:
            if self._fetcher is not None:
                self._fetcher._records.clear()  # noqa: SLF001


async def _end_fetches(fetcher: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """End what fetches. One that pauses after a failure hands its cancellation on to whoever stops the consumer.

    The client would stay connected too, and each outage would leave another one.
    """
    pending = fetcher._pending_tasks  # noqa: SLF001 - it has no name that is public
    for tasks in ([fetcher._fetch_task], pending):  # noqa: SLF001 - the one that begins others first
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    pending.clear()
