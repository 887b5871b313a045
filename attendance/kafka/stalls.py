"""StallWatch: finds a partition of which nothing is read, although the broker answers and has more.

aiokafka learns where a partition ends from the answers to its fetches. A consumer that does not fetch takes itself for
one that has read everything, and so does whoever asks it. So the broker is asked.
"""

import asyncio
from collections.abc import Collection, Mapping
from math import inf
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from attendance.runtime import was_cancelled

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 30.0
"""Between two looks."""
STALL_SECONDS: Final = 300.0
"""So long a partition may stand before its end. A seek, an assignment and a slow broker take less."""
ANSWER_SECONDS: Final = 5.0
"""For the broker's answer. One that takes longer serves no fetches either."""


class Stalled(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """A partition is not read, for no reason that anybody knows. The client is of no use any more; a new one is."""


class StallWatch:
    """Watches one consumer while it is asked for records."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._looked_at = -inf
        self._positions: Mapping[TopicPartition, int] = {}
        self._behind: Mapping[tuple[TopicPartition, int], float] = {}

    def rest(self) -> None:
        """Count anew, for nobody asks for records now."""
        self._behind = {}

    async def look(self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition] = ()) -> None:
        """Look, if the last time is long ago. To be called in the consumer's event loop, every few seconds.

        Args:
            consumer: Always the same one.
            partitions: Which are asked for; none is all that it has. Those that are paused are left out.

        Raises:
            Stalled: for `STALL_SECONDS` one of them stood at one offset, and in each look the broker had more.
        """
        clock = asyncio.get_running_loop().time
        last, now = self._looked_at, clock()
        if now - last < LOOK_SECONDS:
            return
        if now - last > 2 * LOOK_SECONDS:
            self.rest()  # nobody asked, or the whole process slept
        self._looked_at = now
        before, positions = self._positions, _positions(consumer, partitions)
        self._positions = positions
        # What is fetched waits its turn while records of other partitions are taken.
        takes_turns = any(before.get(tp) != offset for tp, offset in positions.items())
        fetched = consumer._fetcher._records if takes_turns else ()  # noqa: SLF001 - it has no name that is public
        idle = [tp for tp in positions if tp not in fetched]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                ends: Mapping[TopicPartition, int] = await consumer.end_offsets(idle) if idle else {}
        except (KafkaError, TimeoutError):
            self.rest()  # nothing comes because Kafka does not answer
            return
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            self.rest()  # aiokafka cancels what waits for a broker that is gone
            return
        behind = [(tp, positions[tp]) for tp, end in ends.items() if positions[tp] < end]
        self._behind = {at: self._behind.get(at, now) for at in behind}
        for (tp, offset), since in self._behind.items():
            if now - since >= STALL_SECONDS:
                log.critical(
                    "Nothing is read of a partition, although Kafka has more.",
                    topic=tp.topic,
                    partition=tp.partition,
                    offset=offset,
                    records=ends[tp] - offset,
                    seconds=round(now - since),
                )
                raise Stalled(f"{tp.topic}:{tp.partition} is not read from offset {offset} on, and Kafka has more")


def _positions(consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """The next offset of each partition that is to be read, as far as it has one."""
    subscription = consumer._subscription.subscription  # noqa: SLF001 - what is public waits for a position
    assignment = None if subscription is None else subscription.assignment
    if assignment is None or not assignment.active:
        return {}
    states = {tp: assignment.state_value(tp) for tp in partitions or assignment.tps if tp in assignment.tps}
    return {tp: state.position for tp, state in states.items() if state.has_valid_position and not state.paused}
