"""A stream over a log in memory: its steps and its release, from record to record, without Kafka and Faust."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, cast

from known_punches import KnownPunches
from memory_log import MemoryLog, StoredRecord

from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.topics import TABLE, Name
from attendance.user_map import UserMap
from operations.log import Send
from streams.pipeline import Pipeline, Rules
from streams.step import to_record
from streams.waiting import Release

NOW: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
RULES: Final = Rules(window=60, horizon=90 * 86400, future_tolerance=300, clock_tolerance=600)


class StandingLog(MemoryLog):
    """A log on which all that is sent stands. Each record comes a second after the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = int(NOW.timestamp() * 1000)

    def stand(self, record: OutRecord) -> None:
        self.clock += 1000
        name = next(name for name in TABLE if self.topics[name] == record.topic)
        self.add(name, record.key, record.value, record.headers, timestamp=self.clock)

    async def send(self, *records: OutRecord) -> dict[tuple[str, int], int]:
        for record in records:
            self.stand(record)
        return {}

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        yield self.send


class RunningStream:
    """A stream worker that follows a log. It reads when it is told to."""

    def __init__(self, log: StandingLog) -> None:
        self.log = log
        self.known = KnownPunches()
        self.metrics = Metrics()
        self._read: dict[Name, int] = {}
        self.restart()

    def restart(self) -> None:
        """A new process: what it knows of kept punches it reads again, and what waits too."""
        self.users = UserMap()
        self.pipeline = Pipeline(RULES, self.users, lambda _: None)
        self.release = Release(self.users, lambda _: None, cast("Producer", self.log), self.log.topics, self.metrics)
        self._read |= {"user_map": 0, "unmapped": 0}

    def learn(self) -> None:
        """Read the user map to its end."""
        for record in self._new("user_map"):
            self.release.learn(record)

    def decide(self) -> None:
        """Decide the raw records that came, and then release what may be released."""
        for record in self._new("raw"):
            decisions = self.pipeline.decide([record], self.known, NOW)
            self.log.stand(to_record(decisions.outcomes[0], self.log.topics, record))
            self.known.take(decisions)
        for record in self._new("unmapped"):
            self.release.take(record)
        asyncio.run(self.release.caught_up())

    def run(self) -> None:
        self.learn()
        self.decide()

    def _new(self, name: Name) -> list[StoredRecord]:
        records = self.log.records(name)
        begin, self._read[name] = self._read.get(name, 0), len(records)
        return records[begin:]
