"""One run: processes that are warm and idle, a topic that is filled, and what it takes to work it off."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from attendance.records.raw_event import RawEvent
from bench.cluster import Cluster, TopicSet
from bench.events import Workload
from bench.measure import cpu_seconds, resident_bytes
from bench.subjects import Subject
from sandbox.process import ChildProcess, ProcessFailed

WARM_UP: Final = 2000
_POLL_SECONDS: Final = 0.1
_TIMEOUT_SECONDS: Final = 1200
_JOIN_SECONDS: Final = 120
_SETTLE_SECONDS: Final = 5  # a group is stable for Kafka before its members have taken up their partitions


@dataclass(frozen=True, slots=True)
class Run:
    """What a number of events took: CPU of all processes, and the time until their outcomes were in Kafka."""

    events: int
    cpu: float
    seconds: float
    resident: int

    @property
    def cpu_microseconds(self) -> float:
        """CPU time for each event."""
        return self.cpu / self.events * 1e6

    @property
    def per_second(self) -> float:
        """Events for each second of the clock."""
        return self.events / self.seconds


class Bench:
    """Running processes of one subject, and how far they are."""

    def __init__(self, subject: Subject, topics: TopicSet, processes: list[ChildProcess]) -> None:
        self.topics = topics
        self._subject = subject
        self._processes = processes
        self._sent = 0
        self._expected = 0

    @property
    def pids(self) -> list[int]:
        """Of all processes."""
        return [process.pid for process in self._processes]

    async def work_off(self, events: Iterable[RawEvent], new: int) -> Run:
        """Fill the raw topic while the processes are paused, and let them work it off.

        `new` is how many of the events are no repeats. The CPU time runs until the offsets are committed, the time
        until the outcomes are there; where repeats leave no outcome and there is nothing else, until the commit too.
        """
        for process in self._processes:
            process.pause()
        count = await self.topics.punches(events)
        self._sent += count
        self._expected += self._subject.expected(count, new)
        cpu, started = cpu_seconds(self.pids), time.monotonic()
        for process in self._processes:
            process.resume()
        outcomes_after = None
        while True:
            self._check(started)
            # In this order: what is committed must have its outcomes.
            committed = not self._subject.commits or await self._committed()
            outcomes = await self.topics.count(*self._subject.outputs)
            if outcomes >= self._expected:
                outcomes_after = outcomes_after or time.monotonic() - started
                if committed:
                    break
            elif committed and self._subject.commits:
                raise ProcessFailed(f"{self._subject.name} lost {self._expected - outcomes} records: all are committed")
            await asyncio.sleep(_POLL_SECONDS)
        if outcomes > self._expected:
            raise ProcessFailed(f"{self._subject.name} wrote {outcomes} records, not {self._expected}")
        seconds = outcomes_after if self._subject.expected(count, new) else time.monotonic() - started
        return Run(count, cpu_seconds(self.pids) - cpu, seconds, resident_bytes(self.pids))

    async def _committed(self) -> bool:
        return await self.topics.committed(self._subject.group(self.topics)) >= self._sent

    def _check(self, started: float) -> None:
        for process in self._processes:
            if not process.running:
                raise ProcessFailed(f"{self._subject.name} ended:\n{process.log_tail()}")
            if time.monotonic() - started > _TIMEOUT_SECONDS:
                raise ProcessFailed(f"{self._subject.name} is not done:\n{process.log_tail()}")


@asynccontextmanager
async def bench(
    cluster: Cluster, subject: Subject, workload: Workload, *, workers: int = 1, partitions: int = 4
) -> AsyncIterator[Bench]:
    """So many processes of a subject on topics of their own, each with its share of the partitions and warm.

    The workload's first `WARM_UP // 2` punches are used up.
    """
    async with AsyncExitStack() as stack:
        topics = await stack.enter_async_context(cluster.topics(subject.name, partitions=partitions, root=subject.root))
        await topics.know(workload.user_map())
        processes = [subject.process(topics, workload, number) for number in range(workers)]
        for process in processes:
            stack.enter_context(process)
        running = Bench(subject, topics, processes)
        await joined(topics, subject, processes)
        await asyncio.sleep(_SETTLE_SECONDS)
        await running.work_off(workload.half_repeats(0, WARM_UP), WARM_UP // 2)
        yield running


async def joined(topics: TopicSet, subject: Subject, processes: Sequence[ChildProcess]) -> None:
    """Return once the subject's group consists of these processes, each with its partitions."""
    deadline = time.monotonic() + _JOIN_SECONDS
    while subject.commits and await topics.stable_members(subject.group(topics)) != len(processes):
        if time.monotonic() > deadline or not all(process.running for process in processes):
            tails = "\n".join(process.log_tail() for process in processes)
            raise ProcessFailed(f"{subject.name}: no group of {len(processes)}\n{tails}")
        await asyncio.sleep(_POLL_SECONDS)
