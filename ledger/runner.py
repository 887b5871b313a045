"""run: the stage that keeps a ledger in step with the topics."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

import structlog

from attendance.errors import KafkaUnavailable
from attendance.guards import Guards
from attendance.kafka.following import READ_AGAIN_AFTER_MS
from attendance.kafka.readers import Extent, PlaceReader
from attendance.kafka.several import At, Ends, SeveralTopics
from attendance.kafka.stage_guards import reader_guards
from attendance.metrics import Metrics
from attendance.runtime import full_jitter, run_until_stopped, say_waiting
from attendance.settings import KafkaSettings
from attendance.topics import DAY_MS, TABLE, Name
from ledger.database import Database, LedgerTakenOver, LedgerUnavailable
from ledger.guard import PositionsGuard
from ledger.nightly import Nightly
from ledger.store import LEDGER_TOPICS, Batch, Partition, Position, Store
from operations.audit_accounts import read_moves
from operations.fact_reading import FactReader
from operations.log import KafkaLog

log = structlog.get_logger(__name__)

STAGE: Final = "ledger"
LONGEST_PAUSE: Final = 30.0
NOTE_MS: Final = 5_000
"""Between two notes as of when everything was read."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at how far behind the ledger is."""
BEHIND_SECONDS: Final = 60
"""So far behind a ledger is not ready."""


class EndsAt(NamedTuple):
    """Up to where the topics had records at a time, in milliseconds since the epoch."""

    at: int
    ends: Ends


async def run(
    kafka: KafkaSettings,
    database: Database,
    days: int,
    metrics: Metrics,
    stop: asyncio.Event,
    nightly: Nightly | None = None,
) -> None:
    """Keep a ledger until `stop` is set. It waits for Kafka and for the database.

    Args:
        kafka: Where the topics are.
        database: Of one ledger, which no other process writes.
        days: How many days of rows stay.
        metrics: Show how far behind the ledger is.
        stop: Set when the process is to stop.
        nightly: Reconciles beside it; None does not.

    Raises:
        ConfigurationError: a setting is wrong, or the tables are of a later release.
    """
    keeper = Keeper(kafka, database, days, metrics)
    try:
        beside = [] if nightly is None else [nightly.keep()]
        await run_until_stopped(stop, keeper.keep(), keeper.guards.keep(), *beside)
    finally:
        await keeper.close()
        database.close()


class Keeper:
    """The stage: one ledger, and what it has read."""

    def __init__(self, kafka: KafkaSettings, database: Database, days: int, metrics: Metrics) -> None:
        """Nothing is read or written yet. Takes what `run` takes."""
        self._kafka = kafka
        self._database = database
        self._store = Store(database)
        self._days = days
        self._metrics = metrics
        self._names = {kafka.topics[name]: name for name in LEDGER_TOPICS}
        self._positions: dict[Partition, Position] = {}
        self._pruned_before = 0
        self._has_succeeded = False
        self._places: dict[Name, PlaceReader] = {
            name: PlaceReader(kafka, kafka.topics[name], kafka.client_id(f"{STAGE}-places")) for name in LEDGER_TOPICS
        }
        guard = PositionsGuard(lambda: self._positions, self._places)
        self.guards: Guards = reader_guards(STAGE, kafka, metrics, own=[guard])
        metrics.ready(STAGE, "the ledger has not read the topics yet")
        self._behind_seconds = 0.0
        self._looked_at = time.monotonic()
        metrics.watch("punchstream_ledger_behind_seconds", self.behind_seconds)

    async def keep(self) -> NoReturn:
        """Read on for ever. Whenever Kafka or the database breaks off, begin again at the positions that are there."""
        failures = 0
        while True:
            try:
                await asyncio.to_thread(self._database.prepare)
                await self._read_on()
            except KafkaUnavailable as error:
                say_waiting(error, stage=STAGE)
            except LedgerTakenOver as error:
                log.error("Nothing was written: every ledger needs a database of its own.", error=str(error))
            except LedgerUnavailable as error:
                self._metrics.ready(STAGE, str(error))
                log.warning("Waiting for the database of the ledger.", error=str(error))
            failures = 0 if self._has_succeeded else failures + 1
            self._has_succeeded = False
            await asyncio.sleep(full_jitter(failures, LONGEST_PAUSE, first=1.0))

    def behind_seconds(self) -> float:
        """How far behind the ledger is, the time included for which it could not look, where that is long."""
        unknown = time.monotonic() - self._looked_at
        return self._behind_seconds + unknown if unknown > BEHIND_SECONDS else self._behind_seconds

    async def close(self) -> None:
        """Let go of the clients of Kafka."""
        for each in self._places.values():
            await each.close()

    async def _read_on(self) -> NoReturn:
        self._positions = await asyncio.to_thread(self._store.load)
        topics = SeveralTopics(self._kafka, list(self._names), self._kafka.client_id(STAGE))
        try:
            extents = await topics.extents()
            facts = FactReader(self._kafka.topics, await read_moves(KafkaLog(self._kafka, f"{STAGE}-accounts")))
            # What was found before is of other positions.
            await self.guards.ask()
            await self._read_waiting_anew()
            topics.begin({at: self._begin(at, extent) for at, extent in extents.items()})
            await self._follow(topics, facts, extents)
        finally:
            await topics.close()

    async def _follow(self, topics: SeveralTopics, facts: FactReader, extents: Mapping[At, Extent]) -> NoReturn:
        noted, looked = 0, 0.0
        reaching = await _ends_now(topics)
        while True:
            await self.guards.until_clear()
            found = await topics.next()
            batch = {(self._names[topic], number): records for (topic, number), records in found.items()}
            oldest = min((records[0].timestamp for records in batch.values()), default=None)
            if batch:
                await self._check(batch, extents)
                await self._apply(facts, batch)
                self._has_succeeded = True
            clock = time.monotonic()
            if clock >= looked + LOOK_SECONDS or not batch:
                looked = clock
                # While records come all the time there is always one that is not read. What was there earlier is.
                if not await topics.behind(reaching.ends):
                    if reaching.at >= noted + NOTE_MS:
                        noted = reaching.at
                        await asyncio.to_thread(self._store.note_read, list(self._positions), noted)
                    reaching = await _ends_now(topics)
                if not await self._show_behind(topics, oldest):
                    await self._prune()

    async def _apply(self, facts: FactReader, batch: Batch) -> None:
        read_at = _now_ms()
        self._positions |= await asyncio.to_thread(self._store.apply, facts, batch, self._positions, read_at)

    def _begin(self, at: At, extent: Extent) -> int:
        topic, number = at
        position = self._positions.get((self._names[topic], number))
        # Never beyond the end, nor before the beginning: the consumer would choose another offset. Where that is not
        # the position, the guard stands.
        return extent.first if position is None else min(max(position.next_offset, extent.first), extent.end)

    async def _read_waiting_anew(self) -> None:
        """Forget what waits where removals may be gone that were not read."""
        too_old = _now_ms() - READ_AGAIN_AFTER_MS
        anew = [
            partition
            for partition, position in self._positions.items()
            if partition[0] == "unmapped" and position.read_at < too_old and position.next_offset
        ]
        for partition in anew:
            await asyncio.to_thread(self._store.begin_anew, partition, _now_ms())
        if anew:
            self._positions = await asyncio.to_thread(self._store.load)

    async def _check(self, batch: Batch, extents: Mapping[At, Extent]) -> None:
        """Return where records follow those that were read.

        Raises:
            KafkaUnavailable: they are other records. The guard says more.
        """
        for (name, number), records in batch.items():
            position = self._positions.get((name, number))
            extent = extents.get((self._kafka.topics[name], number))
            expected = position.next_offset if position is not None else None if extent is None else extent.first
            is_whole = TABLE[name].cleanup == "delete" and position is not None
            first = records[0].offset
            if expected is None or first < expected or (is_whole and first > expected):
                await self.guards.ask()
                if self.guards.standing or expected is None or first < expected:
                    raise KafkaUnavailable(f"{self._kafka.topics[name]}:{number} goes on at offset {first}")

    async def _show_behind(self, topics: SeveralTopics, oldest: int | None) -> int:
        """Show how many records the ledger is behind, and how many seconds. Returns the records."""
        behind = await topics.behind(await topics.ends())
        seconds = 0.0 if not behind or oldest is None else max(0.0, time.time() - oldest / 1000)
        self._metrics.gauge("punchstream_ledger_behind_records", behind)
        self._behind_seconds, self._looked_at = seconds, time.monotonic()
        is_late = seconds > BEHIND_SECONDS
        self._metrics.ready(STAGE, f"the ledger is {behind} records and {seconds:.0f} s behind" if is_late else None)
        return behind

    async def _prune(self) -> None:
        newest = max((each.last.timestamp for each in self._positions.values() if each.last is not None), default=0)
        if newest // DAY_MS * DAY_MS - self._days * DAY_MS > self._pruned_before:
            numbers = [number for name, number in self._positions if name == "dead_letters"]
            extents = await self._places["dead_letters"].extents(numbers) if numbers else {}
            firsts = {number: extent.first for number, extent in extents.items()}
            self._pruned_before = await asyncio.to_thread(self._store.prune, self._days, firsts)


async def _ends_now(topics: SeveralTopics) -> EndsAt:
    # The time first: what comes meanwhile is among the records then, and not the other way round.
    at = _now_ms()
    return EndsAt(at, await topics.ends())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
