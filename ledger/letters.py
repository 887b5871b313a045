"""LedgerLetters: a ledger as a source of dead letters. They are read a page at a time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, select, tuple_

from attendance.errors import Reason
from attendance.records.dead_letter_action import LetterId
from attendance.times import from_milliseconds
from attendance.wire import Place
from ledger.database import Database
from ledger.reading import LedgerReader
from ledger.tables import DEAD_LETTERS, RAW_RECORDS
from operations.dead_letters import Selection, state_of
from operations.letter_lists import LetterLine, Readable
from operations.log import Skipped

AT_ONCE: Final = 1_000
"""Letters of one query."""
_PLACE: Final = DEAD_LETTERS.c.kafka_partition, DEAD_LETTERS.c.kafka_offset


class LedgerLetters(LedgerReader):
    """A ledger. See `operations.letter_lists.LetterSource`."""

    def __init__(self, database: Database, skipped: Skipped) -> None:
        """Nothing is read yet. Takes what `LedgerReader` takes."""
        super().__init__(database, ["dead_letters", "dead_letter_actions"], skipped)

    async def has_heard_of(self, device: str) -> bool:
        """See `LetterSource.has_heard_of`. Raises LedgerUnavailable."""
        return await asyncio.to_thread(self._has_heard_of, device)

    async def lines(self, wanted: Selection) -> AsyncGenerator[LetterLine, None]:
        """See `LetterSource.lines`. Raises LedgerUnavailable."""
        last: Place | None = None
        while True:
            page = await asyncio.to_thread(self._page, wanted, last)
            for row in page:
                yield line(row)
            if len(page) < AT_ONCE:
                return
            last = page[-1].kafka_partition, page[-1].kafka_offset

    async def readable(self) -> Sequence[Readable] | None:
        """See `LetterSource.readable`: the ledger has nothing of what an adapter did not understand."""
        return None

    def _has_heard_of(self, device: str) -> bool:
        with self._database.transaction() as connection:
            for table in (RAW_RECORDS, DEAD_LETTERS):
                query = select(table.c.kafka_offset).where(table.c.device_id == device).limit(1)
                if connection.execute(query).first() is not None:
                    return True
        return False

    def _page(self, wanted: Selection, last: Place | None) -> Sequence[Row[Any]]:
        query = select(DEAD_LETTERS).where(*of_selection(wanted)).order_by(*_PLACE).limit(AT_ONCE)
        if last is not None:
            query = query.where(tuple_(*_PLACE) > last)
        with self._asking() if last is None else self._database.transaction() as connection:
            return connection.execute(query).all()


def of_selection(wanted: Selection) -> list[ColumnElement[bool]]:
    """That a letter is of the reasons, the stage and the devices that are wanted, whatever is named by its id."""
    stages = None if wanted.stage is None else (wanted.stage,)
    asked = {"reason": wanted.reasons, "stage": stages, "device_id": wanted.devices}
    return [DEAD_LETTERS.c[name].in_(sorted(of)) for name, of in asked.items() if of is not None]


def line(row: Row[Any]) -> LetterLine:
    """A letter, as a list has it.

    Args:
        row: Its row.
    """
    return LetterLine(
        LetterId(row.kafka_partition, row.kafka_offset),
        state_of(Reason(row.reason), row.last_action, row.replay_count),
        row.stage,
        Reason(row.reason),
        from_milliseconds(row.failed_at),
        row.device_id,
        row.replay_count,
        row.message,
    )
