"""LedgerStatuses: a ledger as a source of what devices last said of themselves."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from attendance.records.device_status import DeviceStatus
from attendance.times import from_milliseconds
from ledger.database import Database
from ledger.reading import LedgerReader
from ledger.tables import DEVICE_STATUS
from operations.facts import StatusFact
from operations.log import Skipped


class LedgerStatuses(LedgerReader):
    """A ledger. See `operations.device_statuses.StatusSource`."""

    def __init__(self, database: Database, skipped: Skipped) -> None:
        """Nothing is read yet. Takes what `LedgerReader` takes."""
        super().__init__(database, ["device_status"], skipped)

    async def newest(self) -> dict[str, DeviceStatus]:
        """See `StatusSource.newest`. Raises LedgerUnavailable."""
        return {device_id: status_of(fact) for device_id, fact in (await self.facts()).items()}

    async def facts(self, device_ids: Sequence[str] | None = None) -> dict[str, StatusFact]:
        """The rows of `newest`, by device_id: for whoever shows a few of many, as to make a status takes longer.

        Args:
            device_ids: Of which devices; None for all.

        Raises:
            LedgerUnavailable: it does not answer.
        """
        return await asyncio.to_thread(self._facts, device_ids)

    def _facts(self, device_ids: Sequence[str] | None) -> dict[str, StatusFact]:
        # A device is in one partition. Whoever wrote it to another one did that at some time.
        asked = select(DEVICE_STATUS).order_by(DEVICE_STATUS.c.stored_at)
        if device_ids is not None:
            asked = asked.where(DEVICE_STATUS.c.device_id.in_(device_ids))
        with self._asking() as connection:
            rows = connection.execute(asked)
            return {fact.device_id: fact for fact in map(StatusFact._make, rows)}


def status_of(fact: StatusFact) -> DeviceStatus:
    """What a row says.

    Args:
        fact: Of the table of statuses.
    """
    heard_at = _instant(fact.heard_at)
    assert heard_at is not None
    return DeviceStatus(
        device_id=fact.device_id,
        heard_at=heard_at,
        complete_until=_instant(fact.complete_until),
        pending=fact.pending,
        last_sequence=fact.last_sequence,
        clock_skew=fact.clock_skew,
        details=json.loads(fact.details),
        last_event=_instant(fact.last_event),
        clock_measured_at=_instant(fact.clock_measured_at),
    )


def _instant(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_milliseconds(milliseconds)
