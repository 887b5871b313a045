"""LedgerStatuses: a ledger as a source of what devices last said of themselves."""

import asyncio
import json
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
        return await asyncio.to_thread(self._newest)

    def _newest(self) -> dict[str, DeviceStatus]:
        # A device is in one partition. Whoever wrote it to another one did that at some time.
        with self._asking() as connection:
            rows = connection.execute(select(DEVICE_STATUS).order_by(DEVICE_STATUS.c.stored_at))
            return {fact.device_id: _status(fact) for fact in (StatusFact(*row) for row in rows)}


def _status(fact: StatusFact) -> DeviceStatus:
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
