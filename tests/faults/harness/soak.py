"""What a soak samples, and whether it is flat."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import linear_regression, mean

import psutil
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from attendance.kafka.clients import create_consumer
from attendance.kafka.readers import snapshot
from attendance.settings import KafkaSettings
from harness.pipeline import Member
from streams.dedup import unpack
from streams.state import FLOOR_KEY, decode

WARM_UP = 0.25  # the first part of the run, which is not looked at
LEAST_LIFE = 0.5  # of the run; a process that was killed in between began anew

# What the straight line through the samples may rise by from the end of the warm-up to the end of the run.
MOST_MEMORY = 0.10  # of the mean
MOST_FILES = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment. `at` is in seconds since the beginning, `memory` in bytes (resident)."""

    at: float
    memory: int
    files: int


@dataclass(frozen=True, slots=True)
class Trend:
    """The straight line through one process's samples: means, and by how much the line rises."""

    name: str
    seconds: float
    memory: float
    memory_rise: float
    files: float
    files_rise: float

    @property
    def is_flat(self) -> bool:
        """Whether neither rises by more than the bounds."""
        return self.memory_rise <= MOST_MEMORY * self.memory and self.files_rise <= MOST_FILES


def trend(name: str, samples: Sequence[Sample]) -> Trend:
    """The trend of two samples or more."""
    at = [each.at for each in samples]
    memory, files = [each.memory for each in samples], [each.files for each in samples]
    seconds = at[-1] - at[0]
    return Trend(
        name,
        seconds,
        mean(memory),
        linear_regression(at, memory).slope * seconds,
        mean(files),
        linear_regression(at, files).slope * seconds,
    )


@dataclass(slots=True)
class Gauges:
    """Samples of every process, by name and process id, and of the lag."""

    began: float = field(default_factory=time.monotonic)
    processes: dict[tuple[str, int], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    lags: list[int] = field(default_factory=list)

    def look(self, members: Sequence[Member]) -> None:
        """Take one sample of each process that runs."""
        at = time.monotonic() - self.began
        for member in members:
            pid = member.pid()
            if pid is None:
                continue
            try:
                process = psutil.Process(pid)
                self.processes[member.name, pid].append(Sample(at, process.memory_info().rss, process.num_fds()))
            except psutil.Error:
                continue  # it ended a moment ago

    def trends(self) -> list[Trend]:
        """Of the processes that lived long enough after their warm-up."""
        whole = time.monotonic() - self.began
        found = []
        for (name, _), samples in sorted(self.processes.items()):
            # A process that began later warms up later.
            warm = [each for each in samples if each.at >= samples[0].at + WARM_UP * whole]
            if len(warm) > 2 and warm[-1].at - warm[0].at >= LEAST_LIFE * whole:
                found.append(trend(name, warm))
        return found


def lag(kafka: KafkaSettings) -> int | None:
    """Records that the stream and the sink have not committed yet; None while Kafka does not say."""

    async def ask() -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, request_timeout_ms=5000)
        consumer = create_consumer(kafka, client_id="soak")
        try:
            await admin.start()
            await consumer.start()
            behind = 0
            for stage, topic in (("stream", kafka.topics["raw"]), ("sink", kafka.topics["checkins"])):
                committed = await admin.list_consumer_group_offsets(kafka.group(stage))
                ends = await consumer.end_offsets([TopicPartition(topic, each) for each in range(kafka.partitions)])
                behind += sum(end - (committed[tp].offset if tp in committed else 0) for tp, end in ends.items())
            return behind
        finally:
            await consumer.stop()
            await admin.close()

    try:
        return asyncio.run(ask())
    except (KafkaError, TimeoutError):
        return None


def remembered(kafka: KafkaSettings) -> tuple[int, int]:
    """Punches that the stream remembers, as their log has them, and the bytes of the log: it may have some twice."""
    records = asyncio.run(snapshot(kafka, kafka.topics["dedup_state"], "soak"))
    punches = {
        (kept.key, unpack(kept.entry)[0][:2])
        for record in records
        for kept in decode(record.value)
        if kept.key != FLOOR_KEY
    }
    return len(punches), sum(len(record.value) for record in records)
