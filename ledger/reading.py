"""LedgerReader: what every answer of a ledger begins with: as of when it is, and what the ledger could not read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from attendance.times import format_milliseconds, from_milliseconds
from attendance.topics import TABLE, Name
from ledger.database import Database
from ledger.tables import CAUGHT_UP, UNREADABLE
from operations.log import Skipped

NEVER: Final = "the ledger, which has not read all of the topics yet"


class LedgerReader:
    """A ledger that is asked. See `operations.sources.Source`."""

    def __init__(self, database: Database, topics: Sequence[Name], skipped: Skipped | None = None) -> None:
        """Nothing is read yet.

        Args:
            database: Prepared.
            topics: Of which the answer is.
            skipped: Where the records are counted that the ledger could not read; None where nobody asks.
        """
        self._database = database
        self._suffixes = [TABLE[name].suffix for name in topics]
        self._skipped = skipped
        self.name = "the ledger"
        self.as_of: datetime | None = None

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """A transaction. As of when the ledger is, is looked up first: what is read then may be newer.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        with self._database.transaction() as connection:
            self._note_as_of(connection)
            if self._skipped is not None:
                self._count(connection, self._skipped)
            yield connection

    def _note_as_of(self, connection: Connection) -> None:
        its = CAUGHT_UP.c.topic.in_(self._suffixes)
        found, oldest = connection.execute(select(func.count(), func.min(CAUGHT_UP.c.as_of)).where(its)).one()
        if found < len(self._suffixes):
            self.name = NEVER
            return
        self.as_of = from_milliseconds(oldest)
        self.name = f"the ledger, as of {format_milliseconds(self.as_of)}"

    def _count(self, connection: Connection, skipped: Skipped) -> None:
        for suffix in self._suffixes:
            its = UNREADABLE.c.topic == suffix
            count = connection.execute(select(func.count()).select_from(UNREADABLE).where(its)).scalar_one()
            if count:
                place = UNREADABLE.c.kafka_partition, UNREADABLE.c.kafka_offset
                first = connection.execute(
                    select(*place, UNREADABLE.c.error).where(its).order_by(*place).limit(1)
                ).one()
                skipped.counts[suffix] = count
                skipped.first[suffix] = "{}:{}, {}".format(*first)
