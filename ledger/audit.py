"""The audit of what a ledger has: each raw record and its outcome, by the view `punches`, as of which offsets."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from attendance.kafka.readers import Extent
from attendance.kafka.records import Record
from attendance.topics import Name
from attendance.wire import Place
from ledger.behind import Reached, until_reached
from ledger.database import Database
from ledger.guard import PositionsGuard
from ledger.reading import LedgerReader
from ledger.store import positions
from operations.audit_report import NAMED, Report
from operations.fact_reading import milliseconds
from operations.facts import OF_PUNCHES
from operations.log import Log, Skipped

NOT_LOOKED_FOR: Final = (
    "The ledger does not say whether records are gone from the topics, check-ins of raw records that are gone were"
    " delivered, a punch has two documents, or a punch was dropped for nothing: `punchstream audit` does."
)
_PLACE: Final = "cast(kafka_partition as text) || ':' || cast(kafka_offset as text)"
_REFUSED: Final = """select kafka_partition, kafka_offset, coalesce((select action from dead_letter_actions
where letter_partition = l.kafka_partition and letter_offset = l.kafka_offset
order by kafka_partition desc, kafka_offset desc limit 1), 'unread') as what
from dead_letters l where failed_topic is null and event_id is null"""


class LedgerAudit(LedgerReader):
    """A ledger whose punches are accounted for."""

    def __init__(self, database: Database, skipped: Skipped) -> None:
        """Nothing is read yet. Takes what `LedgerReader` takes."""
        super().__init__(database, [name for name in OF_PUNCHES if name != "raw"], skipped)

    async def report(
        self, log: Log, seconds: float, *, since: datetime | None, device: str | None, named: int = NAMED
    ) -> tuple[Report, Reached]:
        """What the punches come to, once the ledger has what the topics have now, or time is up.

        It is not balanced where the ledger is behind, or has other records than the topics.

        Args:
            log: The topics, whose ends are looked at, and whose configuration.
            seconds: How long to wait for the ledger at most.
            since: Only punches that arrived since then; None for all that it has.
            device: Only this device's; None for all.
            named: How many ids of each problem are listed at most; -1 for all.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
            LedgerUnavailable: the database does not answer.
        """
        reached = await until_reached(self._database, log, seconds)
        faults = []
        if reached.behind:
            faults.append(
                f"The ledger lacks {reached.behind:,} records that the topics have: see whether `punchstream ledger`"
                " keeps up."
            )
        if (reason := await self._is_of_other_records(log)) is not None:
            faults.append(f"The ledger is of other records than the topics have. {reason}")
        configuration = [*await log.configuration_faults(), *faults]
        counted = await asyncio.to_thread(self._count_outcomes, since, device, named)
        return Report(skipped=self._skipped or Skipped(), configuration=configuration, **counted), reached

    async def _is_of_other_records(self, log: Log) -> str | None:
        with self._database.transaction() as connection:
            read = {at: each for at, each in positions(connection).items() if at[0] in OF_PUNCHES}
        places = {name: _PlacesOfLog(log, name) for name in OF_PUNCHES}
        return await PositionsGuard(lambda: read, places).find_reason()

    def _count_outcomes(self, since: datetime | None, device: str | None, named: int) -> dict[str, Any]:
        with self._asking() as connection:
            which = " and stored_at >= :since" if since is not None else ""
            which += " and device_id = :device" if device is not None else ""
            given = {"since": since and milliseconds(since), "device": device}
            asked = _Asked(connection, which, {name: each for name, each in given.items() if each is not None}, named)
            counts = asked.counts("select outcome as what from punches where 1 = 1")
            refused = asked.counts(_REFUSED)
            unread = f"select {_PLACE} from ({_REFUSED}{which}) r where what = 'unread'"  # noqa: S608 - only our words
            without = f"select coalesce(event_id, {_PLACE}) from punches where outcome in ('undelivered', 'undecided')"  # noqa: S608 - only our words
            return {
                **counts,
                "raw": sum(counts.values()),
                "refused": sum(refused.values()),
                "read_again": refused.get("replayed", 0),
                "discarded": refused.get("discarded", 0),
                "unread": asked.names(unread),
                "without_outcome": asked.names(without + which),
            }


class _Asked:
    """Queries about the punches of a time and a device."""

    def __init__(self, connection: Connection, which: str, given: Mapping[str, object], named: int) -> None:
        self._connection = connection
        self._which = which
        self._given = given
        self._most = "" if named < 0 else f" limit {named}"

    def counts(self, query: str) -> dict[str, int]:
        """How many rows a query has of each `what`."""
        counted = f"select what, count(*) from ({query}{self._which}) of_these group by what"  # noqa: S608 - only our words
        return {row.what: row[1] for row in self._connection.execute(text(counted), self._given)}

    def names(self, query: str) -> list[str]:
        """The first few of what a query names."""
        return [name for (name,) in self._connection.execute(text(query + self._most), self._given)]


class _PlacesOfLog:
    """Single records of a topic of a log. See `ledger.guard.Places`."""

    def __init__(self, log: Log, name: Name) -> None:
        self._log = log
        self._name = name

    async def __call__(self, places: Collection[Place]) -> Mapping[Place, Record]:
        return await self._log.at(self._name, places)

    async def extents(self, partitions: Collection[int]) -> Mapping[int, Extent]:
        found = await self._log.extents(self._name)
        # A partition that is not there any more has nothing.
        return {number: Extent(*found.get(number, (0, 0))) for number in partitions}
