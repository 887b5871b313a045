"""What the product asks of aiokafka's consumer."""

import asyncio
import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalOperation,
    IllegalStateError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndTimestamp
from aiokafka.util import commit_structure_validate

from memory_broker.broker import MemoryBroker
from memory_broker.groups import Member

log = logging.getLogger(__name__)


class MemoryConsumer:
    """A consumer of a broker in memory: alone with all partitions of its topics, or a member of a group."""

    def __init__(
        self,
        broker: MemoryBroker,
        *topics: str,
        client_id: str,
        group_id: str | None = None,
        enable_auto_commit: bool = True,
        auto_offset_reset: str = "latest",
        session_timeout_ms: int = 10_000,
        heartbeat_interval_ms: int = 3000,
        request_timeout_ms: int = 40_000,
        max_poll_records: int | None = None,
        **_: Any,
    ) -> None:
        assert not enable_auto_commit, "the product commits by itself"
        assert auto_offset_reset in ("earliest", "none"), "the product loses nothing that was there before it"
        self._resets = auto_offset_reset == "earliest"
        self._broker = broker
        self._group = None if group_id is None else broker.groups[group_id]
        self._member = Member(client_id, session_timeout_ms / 1000, heartbeat_interval_ms / 1000)
        self._request_timeout = request_timeout_ms / 1000
        self._max_poll_records = max_poll_records
        self._topics = topics
        self._listener: ConsumerRebalanceListener | None = None
        self._positions: dict[TopicPartition, int | None] = {}
        self._paused: set[TopicPartition] = set()
        self._polled: dict[TopicPartition, int] = {}
        self._turn = 0
        self._has_assignment = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None
        self._is_started = False
        self._is_closed = False
        self._client = SimpleNamespace(cluster=SimpleNamespace(unauthorized_topics=broker.forbidden))

    # membership

    async def start(self) -> None:
        self._broker.connect(self._member.client_id)
        self._is_started = True
        for topic in self._topics:
            await self._broker.known(topic, self._request_timeout)
        if self._group is None:
            self._assign({tp for topic in self._topics for tp in self._partitions(topic)})
        elif self._topics:
            self._begin_coordination()
            await self._has_assignment.wait()

    async def stop(self) -> None:
        """Leave the group. The listener is not asked."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._coordination is not None:
            self._coordination.cancel()
            await asyncio.wait({self._coordination})
        if self._group is not None:
            self._group.leave(self._member)
        self._broker.wake()

    def subscribe(self, topics: Sequence[str], listener: ConsumerRebalanceListener | None = None) -> None:
        assert listener is None or isinstance(listener, ConsumerRebalanceListener)
        self._topics, self._listener = tuple(topics), listener
        if self._is_started and self._group is not None:
            self._begin_coordination()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._assign(set(partitions))

    def _begin_coordination(self) -> None:
        self._coordination = asyncio.get_running_loop().create_task(self._coordinate())

    async def _coordinate(self) -> None:
        assert self._group is not None
        while True:
            revoked = set(self._positions)
            await self._tell("on_partitions_revoked", revoked)
            self._member.wanted = {tp for topic in self._topics for tp in self._partitions(topic)}
            assigned = await self._group.join(self._member)
            self._assign(assigned)
            await self._tell("on_partitions_assigned", assigned)
            await self._member.rejoin.wait()
            self._has_assignment.clear()

    async def _tell(self, what: str, partitions: set[TopicPartition]) -> None:
        if self._listener is None:
            return
        try:
            answered = getattr(self._listener, what)(partitions)
            if inspect.isawaitable(answered):
                await answered
        except Exception:
            log.exception("the listener failed, and aiokafka goes on")

    def _assign(self, partitions: set[TopicPartition]) -> None:
        self._positions = dict.fromkeys(sorted(partitions))
        self._paused = set()
        self._has_assignment.set()
        self._broker.wake()

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(len(self._broker.topics.get(topic, ())))]

    def assignment(self) -> set[TopicPartition]:
        return set(self._positions)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {tp.partition for tp in self._partitions(topic)} or None

    # positions

    def _check_assigned(self, tp: TopicPartition) -> None:
        if tp not in self._positions:
            raise IllegalStateError(f"Partition {tp} is not assigned")

    async def position(self, tp: TopicPartition) -> int:
        self._check_assigned(tp)
        while self._broker.is_away and self._positions[tp] is None:
            await self._broker.changed()
            self._check_assigned(tp)
        return self._position(tp)

    def _position(self, tp: TopicPartition) -> int:
        position = self._positions[tp]
        if position is None:
            committed = None if self._group is None else self._group.offsets.get(tp)
            if committed is None and not self._resets:
                raise NoOffsetForPartitionError(tp)
            position = self._broker.partition(tp).start if committed is None else committed
            self._positions[tp] = position
        return position

    async def seek_to_beginning(self, *partitions: TopicPartition) -> bool:
        for tp in partitions or tuple(self._positions):
            self._positions[tp] = self._broker.partition(tp).start
        return True

    def last_poll_timestamp(self, tp: TopicPartition) -> int | None:
        assert tp in self._positions, "Partition is not assigned"
        return self._polled.get(tp)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        if offset < 0:
            raise ValueError("Offset must be a positive integer")
        self._check_assigned(tp)
        self._positions[tp] = offset

    def pause(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            self._check_assigned(tp)
            self._paused.add(tp)

    def resume(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            self._check_assigned(tp)
            self._paused.discard(tp)
        self._broker.wake()

    def paused(self) -> set[TopicPartition]:
        return set(self._paused)

    async def _ask(self) -> None:
        self._broker.raise_if_told("end_offsets", self._member.client_id)
        await self._broker.answer(self._request_timeout)

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await self._ask()
        return {tp: self._broker.partition(tp).start for tp in partitions}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await self._ask()
        return {tp: self._broker.partition(tp).end for tp in partitions}

    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        await self._ask()
        found: dict[TopicPartition, OffsetAndTimestamp | None] = {}
        for tp, timestamp in timestamps.items():
            later = (each for each in self._broker.partition(tp).records if each.timestamp >= timestamp)
            first = next(later, None)
            found[tp] = None if first is None else OffsetAndTimestamp(first.offset, first.timestamp)
        return found

    # commits

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self._group is None:
            raise IllegalOperation("Requires group_id")
        self._broker.raise_if_told("commit", self._member.client_id)
        formatted = commit_structure_validate(dict(offsets))
        for tp in formatted:
            self._check_assigned(tp)
        await self._broker.until_free("commit")
        by_hand = self._coordination is None and self._group.is_empty()
        if not by_hand and not self._group.accepts(self._member):
            raise CommitFailedError("the group has already rebalanced")
        self._group.offsets |= {tp: each.offset for tp, each in formatted.items()}
        self._broker.log.append(("commit", {tp.partition: each.offset for tp, each in formatted.items()}))

    async def committed(self, tp: TopicPartition) -> int | None:
        if self._group is None:
            raise IllegalOperation("Requires group_id")
        await self._broker.answer(self._request_timeout)
        return self._group.offsets.get(tp)

    # records

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Records of these partitions, or of all: those that are there, or those that come in time.

        While the group rebalances this waits, however long it takes.
        """
        if self._is_closed:
            raise ConsumerStoppedError
        await asyncio.sleep(0)
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1000
        while True:
            self._broker.raise_if_told("fetch", self._member.client_id)
            if not self._has_assignment.is_set() and self._coordination is not None:
                await self._has_assignment.wait()
            found = self._fetch(partitions or tuple(self._positions), max_records or self._max_poll_records)
            left = deadline - asyncio.get_running_loop().time()
            if found or left <= 0:
                return found
            try:
                async with asyncio.timeout(left):
                    await self._broker.changed()
            except TimeoutError:
                return {}

    def _fetch(
        self, partitions: Sequence[TopicPartition], most: int | None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        if self._broker.is_away or not partitions:
            return found
        # In turn, so that no partition waits for the others for ever.
        first = self._turn % len(partitions)
        self._turn += 1
        room = most or 500
        for tp in [*partitions[first:], *partitions[:first]]:
            if tp in self._paused or tp not in self._positions or not room:
                continue
            self._polled[tp] = round(self._broker.clock() * 1000)
            log = self._broker.partition(tp)
            position = self._position(tp)
            if not log.start <= position <= log.end:
                if not self._resets:
                    if found:
                        break
                    raise OffsetOutOfRangeError({tp: position})
                position = self._positions[tp] = log.start
            taken = [record for record in log.records if record.offset >= position][:room]
            if taken:
                found[tp] = taken
                room -= len(taken)
                self._positions[tp] = taken[-1].offset + 1
            else:
                self._positions[tp] = log.end  # what compaction left out at the end
        return found

    async def getone(self) -> ConsumerRecord:
        while True:
            for records in (await self.getmany(timeout_ms=1000, max_records=1)).values():
                return records[0]
