"""Behind: which records the topics had when somebody asked, and the ledger has not; and from when on it has rows."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

from attendance.errors import ConfigurationError
from attendance.topics import TABLE, Name
from ledger.database import Database
from ledger.store import Partition, kept_from, positions
from operations.facts import OF_PUNCHES
from operations.log import Log
from operations.trace import EARLIER

LOOK_SECONDS: Final = 0.5
"""Between two looks at the positions."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Up to where the ledger has the topics.

    Attributes:
        next_offsets: By topic, without its prefix, and partition: the record that comes next.
        behind: How many records the topics had when it was asked, and the ledger has not.
    """

    next_offsets: Mapping[str, Mapping[int, int]]
    behind: int

    def to_json(self) -> dict[str, object]:
        """The same for programs."""
        named = {topic: {str(number): at for number, at in of.items()} for topic, of in self.next_offsets.items()}
        return {"next_offsets": named, "behind": self.behind}


async def until_reached(database: Database, log: Log, seconds: float) -> Reached:
    """Return once the ledger has all that the topics have now, or time is up.

    What is asked of the ledger then is as of these offsets or later. No clock is compared.

    Args:
        database: A ledger's, prepared.
        log: The topics.
        seconds: How long to wait at most.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        LedgerUnavailable: the database does not answer.
    """
    wanted = {(name, number): ends for name in OF_PUNCHES for number, ends in (await log.extents(name)).items()}
    until = asyncio.get_running_loop().time() + seconds
    while True:
        next_offsets = await asyncio.to_thread(_next_offsets, database)
        lacking = {
            at: (max(next_offsets.get(at, 0), first), end)
            for at, (first, end) in wanted.items()
            if max(next_offsets.get(at, 0), first) < end
        }
        if not lacking or asyncio.get_running_loop().time() >= until:
            break
        await asyncio.sleep(LOOK_SECONDS)
    shown: dict[str, dict[int, int]] = {}
    for name, number in sorted(wanted):
        shown.setdefault(TABLE[name].suffix, {})[number] = next_offsets.get((name, number), 0)
    return Reached(shown, await _records(log, lacking))


def refuse_days_gone(database: Database, day: date, days: int) -> None:
    """Return where the ledger still has the rows of a day.

    Args:
        database: A ledger's, prepared.
        day: A date, in any zone.
        days: How many days of rows stay.

    Raises:
        ConfigurationError: they are too old for it.
        LedgerUnavailable: the database does not answer.
    """
    with database.transaction() as connection:
        kept = datetime.fromtimestamp(kept_from(connection, days) / 1000, UTC)
    if datetime.combine(day, time(), UTC) - EARLIER < kept:
        raise ConfigurationError(f"--day: the ledger has {days} days of rows (LEDGER_DAYS): ask with --from-topics")


async def _records(log: Log, lacking: Mapping[Partition, tuple[int, int]]) -> int:
    """How many records there are. Of a compacted topic they may be gone, and nobody reads them any more."""
    records = sum(end - first for (name, _), (first, end) in lacking.items() if TABLE[name].cleanup == "delete")
    compacted: dict[Name, dict[int, int | None]] = {}
    for (name, number), (first, _) in lacking.items():
        if TABLE[name].cleanup != "delete":
            compacted.setdefault(name, {})[number] = first
    for name, begin in compacted.items():
        async with aclosing(log.read(name, begin=begin)) as batches:
            async for batch in batches:
                records += sum(record.offset < lacking[name, record.partition][1] for record in batch)
    return records


def _next_offsets(database: Database) -> Mapping[Partition, int]:
    with database.transaction() as connection:
        return {partition: position.next_offset for partition, position in positions(connection).items()}
