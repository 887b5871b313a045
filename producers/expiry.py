"""Says in time that unread requests and dead letters will be deleted with which nobody has done anything."""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Final, NoReturn

import structlog

from attendance.accounts import Accounts
from attendance.errors import InvalidRecord, KafkaUnavailable
from attendance.kafka.readers import read
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.records.unread import UnreadRequest
from attendance.settings import KafkaSettings
from attendance.times import format_seconds, from_milliseconds, now

log = structlog.get_logger(__name__)

AHEAD: Final = timedelta(days=30)
EVERY: Final = 86_400.0  # seconds
_AGAIN: Final = 600.0  # seconds, after Kafka did not answer
_AROUND: Final = timedelta(hours=1)  # a letter and its request were sent together


class Expiry:
    """Looks once a day for what will be deleted within 30 days, or within the second half of a shorter time.

    Args:
        settings: How to reach Kafka.
        days: How long unread requests are kept.
        letter_days: How long dead letters are kept.
        metrics: Where it is shown.
        client_id: As whom it reads.
        clock: The server's clock, UTC.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        days: int,
        letter_days: int,
        metrics: Metrics,
        client_id: str,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._settings = settings
        self._kept = timedelta(days=days)
        self._letters_kept = timedelta(days=letter_days)
        self._metrics = metrics
        self._client_id = client_id
        self._clock = clock

    async def watch(self) -> NoReturn:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except KafkaUnavailable as error:
                log.warning("Could not look for unread requests and dead letters that expire.", error=str(error))
                await asyncio.sleep(_AGAIN)
            else:
                await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Look once, and say what was found.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        done = await self._done()
        await self._look_for_letters(done)
        await self._look_for_requests(done)

    async def _look_for_letters(self, done: Collection[LetterId]) -> None:
        until = self._until(self._letters_kept)
        came: list[datetime] = []
        async for batch in read(self._settings, self._settings.topics["dead_letters"], self._client_id, until=until):
            for record in batch:
                at = from_milliseconds(record.timestamp)
                try:
                    DeadLetter.decode(record.key, record.value, record.headers)
                except InvalidRecord:
                    continue
                if at < until and LetterId(record.partition, record.offset) not in done:
                    came.append(at)
        first = min(came) + self._letters_kept if came else None
        self._metrics.gauge(
            "punchstream_dead_letters_expire_timestamp_seconds", 0 if first is None else first.timestamp()
        )
        if first is not None:
            log.warning(
                "Dead letters will be deleted, and nobody has dealt with them.",
                first=format_seconds(first),
                letters=len(came),
            )

    async def _look_for_requests(self, done: Collection[LetterId]) -> None:
        came = await self._expiring()
        for id_ in came.keys() - (await self._open(came, done) if came else set()):
            del came[id_]
        if not came:
            self._metrics.gauge("punchstream_unread_expires_timestamp_seconds", 0)
            return
        first = min(came.values()) + self._kept
        self._metrics.gauge("punchstream_unread_expires_timestamp_seconds", first.timestamp())
        log.warning(
            "Requests that no adapter understood will be deleted, and nobody has done anything with them.",
            first=format_seconds(first),
            requests=len(came),
        )

    def _until(self, kept: timedelta) -> datetime:
        return self._clock() - kept + min(AHEAD, kept / 2)

    async def _expiring(self) -> dict[str, datetime]:
        """When those came that will soon be deleted, by their ids; of what came several times, the first."""
        until = self._until(self._kept)
        came: dict[str, datetime] = {}
        async for batch in read(self._settings, self._settings.topics["unread"], self._client_id, until=until):
            for record in batch:
                at = from_milliseconds(record.timestamp)
                try:
                    id_ = UnreadRequest.decode(record.value).unread_id
                except InvalidRecord:
                    continue
                if at < until:
                    came[id_] = min(at, came.get(id_, at))
        return came

    async def _done(self) -> set[LetterId]:
        """The dead letters with which somebody has done something."""
        topics, accounts = self._settings.topics, Accounts()
        async for batch in read(self._settings, topics["accounts"], self._client_id):
            for record in batch:
                accounts.learn(record)
        done: set[LetterId] = set()
        async for batch in read(self._settings, topics["dead_letter_actions"], self._client_id):
            for record in batch:
                try:
                    letter_id = Action.decode(record.key, record.value).letter
                except InvalidRecord:
                    continue
                at = (letter_id.partition, letter_id.offset)
                now_at = accounts.moves.now(topics["dead_letters"], at, record)
                if now_at is not None:
                    done.add(LetterId(*now_at))
        return done

    async def _open(self, came: dict[str, datetime], done: Collection[LetterId]) -> set[str]:
        """Those of them that a dead letter names with which nobody has done anything."""
        topics = self._settings.topics
        found: set[str] = set()
        since = min(came.values()) - _AROUND
        async for batch in read(self._settings, topics["dead_letters"], self._client_id, since=since):
            for record in batch:
                try:
                    letter = DeadLetter.decode(record.key, record.value, record.headers)
                except InvalidRecord:
                    continue
                if letter.unread in came and LetterId(record.partition, record.offset) not in done:
                    found.add(letter.unread)
        return found
