"""ClockGuard: this machine's clock beside the broker's, and beside others where that proves nothing."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from attendance.errors import KafkaUnavailable
from attendance.guards import Cause
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.server_clock import Clock, ClockReader, conclude, is_here
from attendance.settings import ClockSettings, KafkaSettings
from attendance.times import from_milliseconds, now

log = structlog.get_logger(__name__)

LONGEST_ANSWER: Final = 10.0
"""Seconds. An acknowledgement that took longer says too little of the time at which the broker wrote it."""


class ClockGuard:
    """A `Guard`. A broker has no clock that could be asked: it dates a record that is written for that alone."""

    cause: Cause = "clock"

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: ClockSettings,
        producer: Producer,
        others: Sequence[ClockReader] = (),
        *,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet.

        Args:
            kafka: The topics, and whether it is the embedded broker.
            settings: How far clocks may differ.
            producer: Writes to the topic of probes.
            others: Further clocks.
            clock: This machine's, UTC.
            monotonic: Seconds that no setting of the clock changes.
        """
        self._topic = kafka.topics["probe"]
        # The embedded broker dates nothing, and has this machine's clock.
        self._is_embedded = not kafka.enable_idempotence
        self._settings = settings
        self._producer = producer
        self._others = others
        self._clock = clock
        self._monotonic = monotonic
        self._warned: set[str] = set()

    async def find_reason(self) -> str | None:
        """See `Guard.find_reason`."""
        broker, host = (None, "") if self._is_embedded else await self._broker()
        others = [clock for clock in [await read() for read in self._others] if clock is not None]
        apart = bool(others) and broker is not None and not await self._is_this_machine(host)
        found = conclude(broker, others, apart=apart, warn=self._settings.warn, limit=self._settings.limit)
        for clock in found.warnings:
            self._warn(clock.whose, "Another clock differs from this machine's; one of the two is wrong.", clock)
        self._warned.intersection_update({clock.whose for clock in found.warnings} | {self._topic})
        return found.reason

    async def _broker(self) -> tuple[Clock | None, str]:
        """The clock of a broker, if it tells it, and the broker's host."""
        at, began = self._clock(), self._monotonic()
        found = await self._producer.append(OutRecord(self._topic, None, b"what time is it?"))
        seconds = self._monotonic() - began
        if found.appended_ms is None:
            self._warn(self._topic, "The topic of probes does not say the broker's time, or may not be written to.")
            return None, ""
        if seconds > LONGEST_ANSWER:
            raise KafkaUnavailable(f"the broker took {seconds:.0f} s for one record")
        appended = from_milliseconds(found.appended_ms)
        ahead = (appended - at).total_seconds() - seconds / 2
        return Clock("that of the broker", ahead, seconds / 2), found.host

    async def _is_this_machine(self, host: str) -> bool:
        shared = self._settings.same_machine
        return await is_here(host) if shared is None else shared

    def _warn(self, about: str, sentence: str, clock: Clock | None = None) -> None:
        if about not in self._warned:
            log.warning(sentence, topic=self._topic) if clock is None else log.warning(sentence, clock=str(clock))
        self._warned.add(about)
