"""History: all that the changelog says of one partition, for punches that are older than what the lists reach back to.

It is read when the first such punch comes, and stays for as long as the partition does. It is in a temporary SQLite
file, so that it takes no more memory than a list does, however many years it has.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from streams.dedup import Kept, between, is_later, union
from streams.store import HistoryNeeded, StoreFailed

SPAN_BITS: Final = 21
"""A row of the file has the punches of one device user from 2**21 seconds, 24 days: what one punch writes anew."""
PENDING: Final = 100_000
"""So many punches that this process kept are remembered until they are asked for. If there are more, they are read."""

_SCHEMA: Final = """
pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -8192;
create table kept (key, span, list, primary key (key, span)) without rowid;
"""
_NEAR: Final = "select list from kept where key = ? and span between ? and ? order by span"
_ONE: Final = "select list from kept where key = ? and span = ?"
_EVERYTHING: Final = "select list from kept where key = ? order by span"


@contextmanager
def _disk() -> Iterator[None]:
    """A disk that is full says nothing about a record."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreFailed(f"the temporary file of the history: {error}") from error


class History:
    """Every punch that was kept of a partition, as far as the changelog has it. One task at a time uses it."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a file of SQLite's own, gone when it is closed
        self._db.executescript(_SCHEMA)
        self._pending: list[Kept] = []
        self._pending_end = 0  # the offset after the last changelog record of these
        self.next_offset: int | None = None
        """Of the first changelog record that is not in the file; None before any was read."""
        self.unknown_until = 0.0
        """Punches up to this time, in seconds since the epoch, may have been kept without being here."""
        self.is_current = False
        """Whether it has all that this process knows to be on the changelog."""

    def near(self, key: bytes, first: float, last: float) -> bytes:
        """The punches of a device user from one time to another, both included, in seconds since the epoch.

        Raises:
            HistoryNeeded: the changelog has to be read first.
            StoreFailed: the file cannot be read or written.
        """
        self._catch_up()
        spans = (key, int(max(0, first)) >> SPAN_BITS, int(last) >> SPAN_BITS)
        return between(self._lists(_NEAR, spans), first, last)

    def everything(self, key: bytes) -> bytes:
        """All punches of a device user. Raises as `near` does."""
        self._catch_up()
        return self._lists(_EVERYTHING, (key,))

    def add(self, punches: Iterable[Kept]) -> None:
        """Take in punches of the changelog; more than once, and in any order.

        Raises:
            StoreFailed: the file cannot be written.
        """
        lists: dict[tuple[bytes, int], bytes] = {}
        for key, entry in punches:
            place = (key, int.from_bytes(entry[:4], "big") >> SPAN_BITS)
            kept = lists.get(place)
            if kept is None:
                kept = self._lists(_ONE, place)
            # Nearly always it comes last, as the changelog has punches in about the order of their times.
            lists[place] = kept + entry if is_later(entry, kept) else union(kept, entry)
        with _disk():
            self._db.execute("begin")
            self._db.executemany(
                "insert or replace into kept values (?, ?, ?)", ((*place, kept) for place, kept in lists.items())
            )
            self._db.execute("commit")

    def note(self, punches: Iterable[Kept], offset: int) -> None:
        """This process has written punches to the changelog. They are taken in when somebody asks.

        Args:
            punches: What it wrote.
            offset: Of the changelog record.
        """
        if not self.is_current:
            return
        end = self._pending_end if self._pending else self.next_offset
        if offset != end or len(self._pending) > PENDING:
            self.read_on()
        else:
            self._pending += punches
            self._pending_end = offset + 1

    def read_on(self) -> None:
        """Have the changelog read on before the next question is answered: somebody else may have written."""
        self._pending.clear()
        self.is_current = False

    def read_anew(self) -> None:
        """Have the changelog read from its begin: it is another one. What the old one had stays known."""
        self.read_on()
        self.next_offset = 0

    def close(self) -> None:
        """Remove the file."""
        self._db.close()

    def _lists(self, query: str, of: tuple[object, ...]) -> bytes:
        with _disk():
            return b"".join(row[0] for row in self._db.execute(query, of))

    def _catch_up(self) -> None:
        if not self.is_current:
            raise HistoryNeeded
        if self._pending:
            self.add(self._pending)
            self.next_offset = self._pending_end
            self._pending.clear()
