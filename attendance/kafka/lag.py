"""Lag: how many records of a topic a stage has not done yet, and how old the oldest of them is."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from attendance.kafka.readers import Extent, PlaceReader
from attendance.metrics import Metrics

LOOK_SECONDS: Final = 15.0
"""Between two looks. What came since the last look counts as new: its age is 0."""


class Lag:
    """The lag of one stage in its partitions of a topic, beside its work: it is right for a stage that stands too.

    A look costs Kafka two requests for each broker, and a record of each partition in which the stage is further behind
    than what came since the last look.
    """

    def __init__(self, places: PlaceReader, topic: str, metrics: Metrics) -> None:
        """Nothing is asked yet, and nothing lags.

        Args:
            places: Reads the topic.
            topic: Its full name, by which the lag is shown.
            metrics: Where it is shown.
        """
        self._places = places
        self._topic = topic
        self._metrics = metrics
        self._extents: dict[int, Extent] = {}
        self._oldest: dict[int, tuple[int, float]] = {}
        metrics.watch("punchstream_lag_records", lambda: self.records, topic=topic)
        metrics.watch("punchstream_lag_seconds", lambda: self.seconds, topic=topic)
        self.records = 0

    @property
    def seconds(self) -> float:
        """The age of the oldest record that is not done. It grows while nobody looks."""
        oldest = min((at for _, at in self._oldest.values()), default=None)
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    async def keep(self, done: Callable[[], Mapping[int, int | None]]) -> NoReturn:
        """Look for ever.

        Args:
            done: The partitions that the stage has now, and up to which offset each is done; None where nothing is.
        """
        while True:
            await self.look(done())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, done: Mapping[int, int | None]) -> None:
        """Look once. While Kafka is away, this waits.

        Args:
            done: As of `keep`.
        """
        extents = await self._places.extents(done) if done else {}
        # What is gone is not behind; a stage that lacks records says so elsewhere.
        begin = {number: max(offset or 0, extents[number].first) for number, offset in done.items()}
        old = {
            number: (number, offset)
            for number, offset in begin.items()
            if offset < self._extents.get(number, extents[number]).end
        }
        oldest = {number: known for number, known in self._oldest.items() if old.get(number) == (number, known[0])}
        records = await self._places([place for number, place in old.items() if number not in oldest]) if old else {}
        oldest |= {number: (offset, record.timestamp / 1000) for (number, offset), record in records.items()}
        self._extents, self._oldest = extents, oldest
        self.records = sum(max(0, extents[number].end - offset) for number, offset in begin.items())
