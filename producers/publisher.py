"""The one door to the raw topic. What has passed it is durable, and holds no photograph."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import structlog
from msgspec.structs import replace

from attendance.errors import CannotBeKept, InvalidRecord, KafkaUnavailable, Overloaded
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.device_status import DeviceStatus
from attendance.records.other_event import OtherEvent
from attendance.records.raw_event import RawEvent, Scalar
from attendance.records.unread import UnreadRequest
from attendance.runtime import pause_for_kafka
from attendance.sealing import Seal
from attendance.topics import Name, Topics
from attendance.tracing import OFF, Tracing
from producers.pictures import redact
from producers.shapes import SHORTEST

log = structlog.get_logger(__name__)

PROBE_SECONDS: Final = 1.0
NEEDED: Final[Sequence[Name]] = ("raw", "dead_letters", "device_status", "other_events", "unread", "terminals")
"""The topics on which an answer to a terminal waits for an acknowledgement."""


class Publisher:
    """Publishes raw events, and as dead letters what never became one.

    Args:
        producer: Closed by `stop`.
        topics: The topics' names.
        metrics: Where everything that Kafka acknowledged is counted.
        max_in_flight: Bytes that may wait for Kafka's acknowledgement.
        clock: Seconds, from any beginning.
        refused: Which of some topics Kafka does not let the producer write to, as `Producer.refused` finds out; None
            where that is not asked.
        seal: Seals what was not understood.
        tracing: Of what is published, and of the requests and pages that brought it.
    """

    def __init__(
        self,
        producer: Producer,
        topics: Topics,
        metrics: Metrics,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        refused: Callable[[Sequence[str]], Awaitable[AbstractSet[str]]] | None = None,
        seal: Seal | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._metrics = metrics
        metrics.watch("punchstream_in_flight_bytes", lambda: producer.in_flight_bytes)
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._ask_refused = refused
        self._seal = seal or Seal()
        self.tracing = tracing
        self._refused: AbstractSet[str] = frozenset()
        self._answering = True
        self._probing = asyncio.Lock()
        self._probed_at: float | None = None
        self._probe_error: str | None = None

    async def publish(
        self,
        events: Sequence[RawEvent],
        dead_letters: Sequence[DeadLetter] = (),
        others: Sequence[OtherEvent] = (),
        unread: Sequence[UnreadRequest] = (),
    ) -> None:
        """Return when Kafka has acknowledged every one of them.

        Args:
            events: Punches. Those of one device keep their order.
            dead_letters: What never became a punch; published without photographs and templates.
            others: What was never meant as a punch; likewise.
            unread: What was not understood, as `producers.unread.ready` made it.

        Raises:
            Overloaded: with these, more bytes would wait for Kafka than may; nothing was sent. Bytes of earlier calls
                that gave up count for as long as Kafka may still take them. A call that alone is over the limit goes
                when nothing else waits.
            KafkaUnavailable: each of them may be there or not. The same events may be published again.
            CannotBeKept: one is larger than Kafka takes; the others may be there or not.
        """
        records, dead_letters, others = self._to_records(events, dead_letters, others, unread)
        if not records:
            return
        self._admit(records)
        with self.tracing.published(records) as traced:
            await self._send(traced)
        self._count(events, dead_letters, others, unread)

    async def publish_until_acknowledged(
        self,
        events: Sequence[RawEvent],
        dead_letters: Sequence[DeadLetter] = (),
        others: Sequence[OtherEvent] = (),
        unread: Sequence[UnreadRequest] = (),
    ) -> None:
        """Return when Kafka has acknowledged every one of them, however long. Only what is missing is sent again.

        Args:
            events: As in `publish`.
            dead_letters: As in `publish`.
            others: As in `publish`.
            unread: As in `publish`.

        Raises:
            CannotBeKept: one is larger than Kafka takes; the others may be there or not.
        """
        records, dead_letters, others = self._to_records(events, dead_letters, others, unread)
        failures = 0
        while records:
            try:
                self._admit(records)
                break
            except Overloaded:
                await asyncio.sleep(pause_for_kafka(failures))
                failures += 1
        try:
            with self.tracing.published(records) as traced:
                await send_until_acknowledged(self._producer, traced, self._say_silent)
        except InvalidRecord as error:
            raise CannotBeKept(error.message) from error
        self._say_answering()
        self._count(events, dead_letters, others, unread)

    def _to_records(
        self,
        events: Sequence[RawEvent],
        dead_letters: Sequence[DeadLetter],
        others: Sequence[OtherEvent],
        unread: Sequence[UnreadRequest],
    ) -> tuple[list[OutRecord], list[DeadLetter], list[OtherEvent]]:
        """What is sent, without photographs and templates, and the letters and the others as they are in it."""
        events = [event if _is_short(event) else _redacted(event) for event in events]
        dead_letters = [
            replace(letter, value=redact(letter.value or b""), message=_text(letter.message)) for letter in dead_letters
        ]
        others = [replace(other, value=redact(other.value)) for other in others]
        raw, dead = self._topics["raw"], self._topics["dead_letters"]
        records = [OutRecord(raw, *event.record()) for event in events]
        records += [letter.to_record(dead) for letter in dead_letters]
        records += [other.to_record(self._topics["other_events"]) for other in others]
        for each in unread:
            records += self._seal.seal(each).to_records(self._topics["unread"])
        return records, dead_letters, others

    def _admit(self, records: Sequence[OutRecord]) -> None:
        """Return where they may wait for Kafka too. Raises Overloaded."""
        size = sum(record.size for record in records)
        waiting = self._producer.in_flight_bytes
        if waiting and waiting + size > self._max_in_flight:
            raise Overloaded(f"{waiting} bytes wait for Kafka's acknowledgement")

    def _count(
        self,
        events: Sequence[RawEvent],
        dead_letters: Sequence[DeadLetter],
        others: Sequence[OtherEvent],
        unread: Sequence[UnreadRequest],
    ) -> None:
        received: dict[tuple[str, str, str], int] = defaultdict(int)
        for event in events:
            received[event.site, event.source.adapter, event.source.transport] += 1
        for (site, adapter, transport), count in received.items():
            self._metrics.count(
                "punchstream_events_received_total", count, site=site, adapter=adapter, transport=transport
            )
        for letter in dead_letters:
            self._metrics.count("punchstream_dead_letters_total", stage=letter.stage, reason=letter.reason)
        for other in others:
            self._metrics.count("punchstream_other_events_total", adapter=other.adapter, kind=other.kind)
        for each in unread:
            self._metrics.count("punchstream_unread_total", adapter=each.adapter, transport=each.transport)

    async def report(self, *statuses: DeviceStatus) -> None:
        """Return when Kafka has acknowledged what devices say of themselves.

        Assumes that every event they may claim has been published before.

        Raises:
            KafkaUnavailable: it may be there or not.
        """
        statuses = tuple(replace(status, details=_details(status.details)) for status in statuses)
        records = [OutRecord(self._topics["device_status"], status.key, status.encode()) for status in statuses]
        await self._send(records)

    async def probe(self) -> None:
        """Return when Kafka would acknowledge whatever may be published. Asked twice a second, repeat the last answer.

        Kafka has just acknowledged a record of a topic that nobody reads, and lets us write to all others.

        Raises:
            KafkaUnavailable: it does not.
        """
        async with self._probing:
            if self._probed_at is None or self._clock() - self._probed_at >= PROBE_SECONDS:
                try:
                    await self._probe()
                    self._probe_error = None
                except KafkaUnavailable as error:
                    self._probe_error = str(error)
                self._probed_at = self._clock()
            if self._probe_error is not None:
                raise KafkaUnavailable(self._probe_error)

    async def _probe(self) -> None:
        needed, probe = {self._topics[name] for name in NEEDED}, self._topics["probe"]
        refused: AbstractSet[str] = frozenset()
        if self._ask_refused is not None:
            refused = await self._ask_refused(sorted({*needed, probe}))
            if refused != self._refused:
                log.warning("The topics that may not be written to have changed.", topics=sorted(refused))
            self._refused = refused
        if missing := refused & needed:
            raise KafkaUnavailable(f"not authorized: it needs Write on the topics {', '.join(sorted(missing))}")
        if probe not in refused:
            await self._send([OutRecord(probe, None, b"ready?")])

    async def stop(self) -> None:
        """Wait for what is in flight, at most `KAFKA_REQUEST_TIMEOUT`, and disconnect."""
        await self._producer.stop()

    async def _send(self, records: Sequence[OutRecord]) -> None:
        try:
            await self._producer.send(*records)
        except InvalidRecord as error:
            raise CannotBeKept(error.message) from error
        except KafkaUnavailable as error:
            self._say_silent(error)
            raise
        self._say_answering()

    def _say_silent(self, error: KafkaUnavailable) -> None:
        # Once, not for each of the thousands of requests that an outage turns away.
        if self._answering:
            log.warning("Kafka does not acknowledge; nothing can be published.", error=str(error))
        self._answering = False

    def _say_answering(self) -> None:
        if not self._answering:
            log.info("Kafka acknowledges again.")
            self._answering = True


def _is_short(event: RawEvent) -> bool:
    """Whether no text of an event is long enough for a picture. The user's id is one whatever it is."""
    if event.device_time is not None and len(event.device_time) >= SHORTEST:
        return False
    return not any(isinstance(value, str) and len(value) >= SHORTEST for value in event.payload.values())


def _redacted(event: RawEvent) -> RawEvent:
    time = None if event.device_time is None else _text(event.device_time)
    return replace(event, device_time=time, payload=_details(event.payload))


def _details(details: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {name: _text(value) if isinstance(value, str) else value for name, value in details.items()}


def _text(text: str) -> str:
    return text if len(text) < SHORTEST else redact(text.encode(errors="surrogatepass")).decode(errors="replace")
