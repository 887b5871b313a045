"""One device that is asked again and again: when, what becomes of its pages, and what follows a failure."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, NoReturn

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
from attendance.records.cursor import SavedCursor
from attendance.records.dead_letter import DeadLetter
from attendance.records.other_event import OtherEvent
from attendance.records.raw_event import RawEvent
from attendance.runtime import full_jitter
from producers.devices.contract import DeviceReport, Fetch, Page, PullAdapter, Rejected
from producers.intake import Place, log_rejected
from producers.pull.context import PullContext, State
from producers.pull.recent import Recent, digest_of
from producers.pull.sources import PullSource
from producers.pull.sweeps import last_night
from producers.status import heartbeat, newest

log = structlog.get_logger(__name__)

SPREAD: Final = 300.0
"""Seconds over which the first questions are spread at most, so that a device with a long interval is asked soon."""
CHUNK: Final = 2000  # records whose acknowledgements are awaited together
KAFKA_PAUSE: Final = 1.0
LONGEST_SWEEP_RETRY: Final = 3600.0


class Puller:
    """Asks one device.

    It is due at regular times, which an outage or a takeover moves but a slow answer does not. `run` may be cancelled
    at any moment and run again: the cursor is written last.

    Args:
        source: The device.
        adapter: Speaks its protocol.
        context: What all pullers of the process share.
    """

    def __init__(self, source: PullSource, adapter: PullAdapter, context: PullContext) -> None:
        self.source = source
        self.state: State = "new"
        self.answered_at: datetime = context.now()
        """When the device last answered; until it has answered once, when this was created."""
        self._device = source.device
        self._adapter = adapter
        self._context = context
        self._recent = Recent()
        self._details: Mapping[str, str | int | float] = {}
        self._saved: SavedCursor | None = None
        self._failures = 0
        self._sweep_failures = 0
        self._sweep_after = 0.0
        self.interval = self._device.interval or context.settings.interval
        self._due = _time() + random.uniform(0, min(self.interval, SPREAD))  # noqa: S311 - jitter

    async def run(self) -> NoReturn:
        """Ask the device for ever, beginning with the cursor that the topic has now."""
        self._saved = self._context.cursors.of(self._device, self._adapter)
        while True:
            await asyncio.sleep(self._due - _time())
            await self._context.guards.until_clear()
            async with self._context.concurrency.of(self.state):
                await self._turn()

    async def _turn(self) -> None:
        state, error = await self._attempt("fetch", None)
        self._conclude(state, error)
        if state == "ok" and self._sweep_is_due():
            state, error = await self._attempt("sweep", timedelta(days=self._context.settings.sweep_days))
            if state == "refused":
                self._conclude(state, error)
            self._sweep_failures = 0 if state == "ok" else self._sweep_failures + 1
            self._sweep_after = _time() + full_jitter(self._sweep_failures, LONGEST_SWEEP_RETRY, first=self.interval)

    def _conclude(self, state: State, error: Exception | None) -> None:
        """Decide when the device is due again."""
        settings = self._context.settings
        self._log(state, error)
        self.state = state
        if state == "ok":
            self._failures = 0
            self.answered_at = self._context.now()
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
                log.error(
                    "A device's answer cannot be right; keeping its cursor.", device_id=device_id, error=str(error)
                )
            case "refused":
                log.error("A device refuses to answer; a person has to act.", device_id=device_id, error=str(error))
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
        self._context.metrics.count("punchstream_pulls_total", adapter=self._adapter.name, kind=kind, result=state)
        self._context.metrics.observe("punchstream_pull_seconds", _time() - started, adapter=self._adapter.name)
        return state, failure

    async def _fetch(self, back: timedelta | None) -> None:
        """Fetch what is new, or with `back` all that is not older; each page is in Kafka before the next is asked for.

        Raises:
            DeviceRefused, DeviceUnavailable, UnreadableAnswer: as the adapter has it.
        """
        begun_at = self._context.now()
        is_complete = back is not None or self._saved is None
        cursor = None if self._saved is None else self._saved.cursor
        since = None if back is None else begun_at - back
        pages = self._adapter.fetch(Fetch(self._device, self.source.terminals, cursor, since, begun_at))
        try:
            while (page := await self._next(pages)) is not None:
                await self._take_in(page)
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()
        if is_complete and self._saved is not None:
            await self._save(replace(self._saved, swept_at=begun_at, at=self._context.now()))

    async def _next(self, pages: AsyncIterator[Page]) -> Page | None:
        seconds = self._context.settings.page_timeout
        try:
            async with asyncio.timeout(seconds):
                return await anext(pages, None)
        except TimeoutError as error:
            raise DeviceUnavailable(f"{self._device.device_id}: no page within {seconds:g} s") from error

    async def _take_in(self, page: Page) -> None:
        """Return when Kafka has the page, the cursor after it, and what the device claims by it; in this order."""
        await self._context.guards.until_clear()
        device_id, at, report = self._device.device_id, self._context.now(), page.report
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
        if page.complete_until is not None or report is not None:
            report = report or DeviceReport()
            # A device says some things only now and then; they stand beside whatever it says after that.
            self._details = {**self._details, **report.details}
            status = replace(
                heartbeat(device_id, at, replace(report, details=self._details)),
                complete_until=None if until is None else until.replace(microsecond=0),
                last_event=last_event,
            )
            await _until_acknowledged(lambda: self._context.publisher.report(status))

    async def _publish(self, page: Page, at: datetime) -> None:
        """Return when Kafka has all of the page that was not published lately."""
        found = self._context.intake.to_records(page, self._device, self._adapter, at, self._place_of)
        events: list[RawEvent] = []
        letters: list[DeadLetter] = []
        others: list[OtherEvent] = []
        digests: list[bytes] = []
        for event in found.events:
            digest = bytes.fromhex(event.event_id)
            if not self._recent.seen(digest):
                events.append(event)
                if event.clock_skew is None:  # or it waits for a person, and may come again with its clock right
                    digests.append(digest)
        for letter in found.dead_letters:
            digest = digest_of(letter.reason, (letter.unread or "").encode() + (letter.value or b""))
            if not self._recent.seen(digest):
                letters.append(letter)
                digests.append(digest)
        for other in found.other_events:
            digest = digest_of(other.kind, other.value)
            if not self._recent.seen(digest):
                others.append(other)
                digests.append(digest)
        named = {letter.unread for letter in letters}
        unread = [each for each in found.unread if each.unread_id in named]
        for start in range(0, max(len(events), len(letters), len(others), len(unread)), CHUNK):
            part = slice(start, start + CHUNK)
            await self._context.publisher.publish_until_acknowledged(
                events[part], letters[part], others[part], unread[part]
            )
        self._recent.add(digests)
        log_rejected(self._device.device_id, letters, self._context.seldom)

    def _place_of(self, rejected: Rejected) -> Place:
        return Place(f"record {rejected.index} of a page", f"pull:{self._adapter.name}")

    async def _save(self, saved: SavedCursor) -> None:
        await _until_acknowledged(lambda: self._context.cursors.save(saved))
        self._saved = saved

    def _sweep_is_due(self) -> bool:
        if self._saved is None or _time() < self._sweep_after:
            return False
        swept_at = self._saved.swept_at
        return swept_at is None or swept_at < last_night(self._device, self._context.now())


async def _until_acknowledged(send: Callable[[], Awaitable[None]]) -> None:
    """Send again and again until Kafka has it: the device need not be asked again, and others wait likewise."""
    while True:
        try:
            return await send()
        except (KafkaUnavailable, Overloaded):  # the publisher says so, once
            await asyncio.sleep(random.uniform(0, 2 * KAFKA_PAUSE))  # noqa: S311 - jitter


def _time() -> float:
    """Seconds of the clock that timers go by."""
    return asyncio.get_running_loop().time()
