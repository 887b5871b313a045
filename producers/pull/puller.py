"""One device that is asked again and again: when, what becomes of its pages, and what follows a failure."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal, NoReturn
from zlib import crc32

import structlog
from msgspec.structs import replace

from attendance.errors import (
    DeviceRefused,
    DeviceUnavailable,
    KafkaUnavailable,
    Overloaded,
    RetriableError,
    UnreadableAnswer,
)
from attendance.kafka.records import MAX_VALUE_BYTES
from attendance.metrics import Metrics
from attendance.records.cursor import SavedCursor
from attendance.records.dead_letter import DeadLetter
from attendance.records.other_event import OtherEvent
from attendance.records.raw_event import RawEvent
from attendance.registry import Device
from attendance.runtime import full_jitter
from attendance.settings import PullSettings
from attendance.times import from_wall_clock, to_wall_clock
from producers.clocks import Clocks
from producers.devices.contract import DeviceReport, Fetch, Other, Page, PullAdapter, Rejected
from producers.publisher import Publisher
from producers.pull.cursors import Cursors
from producers.status import heartbeat, newest

log = structlog.get_logger(__name__)

STAGE: Final = "pull"

State = Literal["new", "ok", "unavailable", "unreadable", "refused", "failed"]
"""What became of the last time that a device was asked."""

SPREAD: Final = 300.0
"""Seconds over which the first questions are spread at most, so that a device with a long interval is asked soon."""
RECENT: Final = 256
"""Records that are remembered of each device, so that an overlap does not send them again at every turn."""
CHUNK: Final = 2000  # records whose acknowledgements are awaited together
KAFKA_PAUSE: Final = 1.0

NIGHT: Final = timedelta(hours=1)  # after midnight: when the first sweeps begin
NIGHTS_LENGTH: Final = timedelta(hours=4)
LONGEST_SWEEP_RETRY: Final = 3600.0


class Lanes:
    """How many devices are asked at a time.

    A device that does not answer holds its place until it times out. So those that answered when they were last asked
    have places of their own, and no number of dead devices can keep them waiting.
    """

    def __init__(self, size: int) -> None:
        """`size` is the number of places in each of the two."""
        self._answering = asyncio.Semaphore(size)
        self._others = asyncio.Semaphore(size)

    def of(self, state: State) -> asyncio.Semaphore:
        """The places that a device in this state waits for."""
        return self._answering if state == "ok" else self._others


class Recent:
    """What of a device was published lately, by digest. What is forgotten here is removed downstream."""

    def __init__(self, most: int = RECENT) -> None:
        self._most = most
        self._digests: dict[bytes, None] = {}

    def seen(self, digest: bytes) -> bool:
        """Whether it was published lately. If so it is remembered anew."""
        if digest not in self._digests:
            return False
        del self._digests[digest]
        self._digests[digest] = None
        return True

    def add(self, digests: Iterable[bytes]) -> None:
        """Remember these, and forget as many others as it takes, those first that came first."""
        self._digests.update(dict.fromkeys(digests))
        while len(self._digests) > self._most:
            del self._digests[next(iter(self._digests))]


@dataclass(frozen=True, slots=True)
class House:
    """What all devices of one process have in common. `now` is the server's clock, UTC."""

    settings: PullSettings
    publisher: Publisher
    cursors: Cursors
    clocks: Clocks
    metrics: Metrics
    lanes: Lanes
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Entry:
    """A device that is asked, with the terminals whose records it holds, by serial number."""

    device: Device
    terminals: Mapping[str, Device]


class Puller:
    """Asks one device.

    It is due at regular times, which an outage or a takeover moves but a slow answer does not. `run` may be cancelled
    at any moment and run again: the cursor is written last.
    """

    def __init__(self, entry: Entry, adapter: PullAdapter, house: House) -> None:
        self.entry = entry
        self.state: State = "new"
        self.answered_at: datetime = house.now()
        """When the device last answered; before it did, since when it is waited for."""
        self._device = entry.device
        self._adapter = adapter
        self._house = house
        self._recent = Recent()
        self._saved: SavedCursor | None = None
        self._failures = 0
        self._sweep_failures = 0
        self._sweep_after = 0.0
        self.interval = self._device.interval or house.settings.interval
        self._due = _time() + random.uniform(0, min(self.interval, SPREAD))  # noqa: S311 - jitter

    async def run(self) -> NoReturn:
        """Ask the device for ever, beginning with the cursor that the topic has now."""
        self._saved = self._house.cursors.of(self._device, self._adapter)
        while True:
            await asyncio.sleep(self._due - _time())
            async with self._house.lanes.of(self.state):
                await self._turn()

    async def _turn(self) -> None:
        state, error = await self._attempt("fetch", None)
        self._conclude(state, error)
        if state == "ok" and self._sweep_is_due():
            state, error = await self._attempt("sweep", timedelta(days=self._house.settings.sweep_days))
            if state == "refused":
                self._conclude(state, error)
            self._sweep_failures = 0 if state == "ok" else self._sweep_failures + 1
            self._sweep_after = _time() + full_jitter(self._sweep_failures, LONGEST_SWEEP_RETRY, first=self.interval)

    def _conclude(self, state: State, error: Exception | None) -> None:
        """Decide when the device is due again."""
        settings = self._house.settings
        self._log(state, error)
        self.state = state
        if state == "ok":
            self._failures = 0
            self.answered_at = self._house.now()
            late = max(0.0, _time() - self._due)  # a timer may go a moment early
            self._due += self.interval * (late // self.interval + 1)
            return
        self._failures += 1
        pause = settings.refused_pause
        if state != "refused":
            asked_for = error.retry_after or 0.0 if isinstance(error, RetriableError) else 0.0
            pause = max(full_jitter(self._failures, settings.retry_max, first=self.interval), asked_for)
        self._due = _time() + pause

    def _log(self, state: State, error: Exception | None) -> None:
        """Say what changed; and what a person has to look at, each time."""
        device_id = self._device.device_id
        match state:
            case "ok" if self._failures:
                log.info("A device answers again.", device_id=device_id, failures=self._failures)
            case "unavailable" if self.state != state:
                log.warning("A device does not answer.", device_id=device_id, error=str(error))
            case "unreadable":
                log.error("A device's answer cannot be right; its cursor stays.", device_id=device_id, error=str(error))
            case "refused":
                log.error("A device refuses; a person has to act.", device_id=device_id, error=str(error))
            case _:
                pass

    async def _attempt(self, kind: Literal["fetch", "sweep"], back: timedelta | None) -> tuple[State, Exception | None]:
        """Ask the device, and say what became of it. No exception but a cancellation leaves here."""
        started = _time()
        state: State = "ok"
        failure: Exception | None = None
        try:
            await self._fetch(back)
        except DeviceRefused as error:
            state, failure = "refused", error
        except UnreadableAnswer as error:
            state, failure = "unreadable", error
        except DeviceUnavailable as error:
            state, failure = "unavailable", error
        except Exception as error:
            log.exception(
                "An adapter failed on a device.", device_id=self._device.device_id, adapter=self._adapter.name
            )
            state, failure = "failed", error
        self._house.metrics.count("punchstream_pulls_total", adapter=self._adapter.name, kind=kind, result=state)
        self._house.metrics.observe("punchstream_pull_seconds", _time() - started, adapter=self._adapter.name)
        return state, failure

    async def _fetch(self, back: timedelta | None) -> None:
        """Fetch what is new, or with `back` all that is not older; each page is in Kafka before the next is asked for.

        Raises:
            DeviceRefused, DeviceUnavailable, UnreadableAnswer: as the adapter has it.
        """
        begun_at = self._house.now()
        everything = back is not None or self._saved is None
        cursor = None if self._saved is None else self._saved.cursor
        since = None if back is None else begun_at - back
        pages = self._adapter.fetch(Fetch(self._device, self.entry.terminals, cursor, since, begun_at))
        try:
            while (page := await self._next(pages)) is not None:
                await self._keep(page)
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()
        if everything and self._saved is not None:
            await self._save(replace(self._saved, swept_at=begun_at, at=self._house.now()))

    async def _next(self, pages: AsyncIterator[Page]) -> Page | None:
        seconds = self._house.settings.page_timeout
        try:
            async with asyncio.timeout(seconds):
                return await anext(pages, None)
        except TimeoutError as error:
            raise DeviceUnavailable(f"{self._device.device_id}: no page within {seconds:g} s") from error

    async def _keep(self, page: Page) -> None:
        """Return when Kafka has the page, the cursor after it, and what the device claims by it; in this order."""
        house, device_id, at = self._house, self._device.device_id, self._house.now()
        heard = page.heard
        if heard is not None and heard.device_time is not None:
            house.clocks.measured(device_id, heard.device_time, at)
        await self._publish(page, at)
        before = self._saved
        until = max(filter(None, (page.complete_until, before.complete_until if before else None)), default=None)
        last_event = newest(page.events, before.last_event if before else None)
        if before is None or before.cursor != page.cursor:
            await self._save(
                SavedCursor(
                    device_id=device_id,
                    adapter=self._adapter.name,
                    version=self._adapter.version,
                    serial=self._device.serial,
                    cursor=page.cursor,
                    at=at,
                    complete_until=until,
                    swept_at=before.swept_at if before else None,
                    last_event=last_event,
                )
            )
        else:
            # In the topic they are written with the next cursor only: the status has them.
            self._saved = replace(before, complete_until=until, last_event=last_event)
        if page.complete_until is not None or heard is not None:
            status = replace(
                heartbeat(device_id, at, heard or DeviceReport()),
                complete_until=None if until is None else until.replace(microsecond=0),
                last_event=last_event,
            )
            await _until_taken(lambda: house.publisher.report(status))

    async def _publish(self, page: Page, at: datetime) -> None:
        """Return when Kafka has all of the page that was not published lately."""
        device = self._device
        events, letters, others, digests = [], [], [], []
        for event in page.events:
            digest = bytes.fromhex(event.event_id)
            if self._recent.seen(digest):
                continue
            marked = self._house.clocks.mark(event.device_id, (event,))[0]
            events.append(marked)
            if marked.clock_skew is None:  # or it waits for a person's word, and may come again with its clock right
                digests.append(digest)
        for rejected in page.rejected:
            digest = _digest(rejected.reason, rejected.value)
            if not self._recent.seen(digest):
                letters.append(self._letter(rejected, at))
                digests.append(digest)
        for other in page.others:
            digest = _digest(other.kind, other.value)
            if not self._recent.seen(digest):
                others.append(self._other(other, at))
                digests.append(digest)
        for start in range(0, max(len(events), len(letters), len(others)), CHUNK):
            part = slice(start, start + CHUNK)
            await self._send(events[part], letters[part], others[part])
        self._recent.add(digests)
        if letters:
            log.warning(
                "Records of a device are rejected.",
                device_id=device.device_id,
                rejected=len(letters),
                first=letters[0].message,
            )

    async def _send(self, events: list[RawEvent], letters: list[DeadLetter], others: list[OtherEvent]) -> None:
        await _until_taken(lambda: self._house.publisher.publish(events, letters, others))

    def _letter(self, rejected: Rejected, at: datetime) -> DeadLetter:
        return DeadLetter(
            stage=STAGE,
            reason=rejected.reason,
            message=f"record {rejected.index} of a page: {rejected.message}",
            at=at,
            key=self._device.device_id.encode(),
            value=rejected.value[:MAX_VALUE_BYTES],
            where=f"pull:{self._adapter.name}",
        )

    def _other(self, other: Other, at: datetime) -> OtherEvent:
        device = self._device
        value = other.value[:MAX_VALUE_BYTES]
        return OtherEvent(device.device_id, device.site, self._adapter.name, other.kind, at, value)

    async def _save(self, saved: SavedCursor) -> None:
        await _until_taken(lambda: self._house.cursors.save(saved))
        self._saved = saved

    def _sweep_is_due(self) -> bool:
        if self._saved is None or _time() < self._sweep_after:
            return False
        swept_at = self._saved.swept_at
        return swept_at is None or swept_at < last_night(self._device, self._house.now())


def last_night(device: Device, now: datetime) -> datetime:
    """The last time, not after now, at which the device's nightly sweep was due; UTC.

    It is at night by the device's wall clock, for each device at a time of its own.
    """
    into_the_night = NIGHT + crc32(device.device_id.encode()) / 2**32 * NIGHTS_LENGTH
    today = to_wall_clock(now, device.timezone).replace(hour=0, minute=0, second=0)
    due = from_wall_clock(today + into_the_night, device.timezone)
    return due if due <= now else from_wall_clock(today - timedelta(days=1) + into_the_night, device.timezone)


async def _until_taken(send: Callable[[], Awaitable[None]]) -> None:
    """Send, as often as it takes until Kafka has it: the device need not be asked again, and others wait likewise."""
    while True:
        try:
            return await send()
        except (KafkaUnavailable, Overloaded):  # the publisher says so, once
            await asyncio.sleep(random.uniform(0, 2 * KAFKA_PAUSE))  # noqa: S311 - jitter


def _digest(kind: str, value: bytes) -> bytes:
    return blake2b(value, digest_size=16, key=kind.encode()).digest()


def _time() -> float:
    """Seconds of the clock that timers go by."""
    return asyncio.get_running_loop().time()
