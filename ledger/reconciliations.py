"""Reconciliations: the results of the nightly reconcile, as rows of a ledger. They name devices and nobody else."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import and_, delete, func, insert, select

from ledger.database import Database
from ledger.tables import RECONCILED_DEVICES, RECONCILIATIONS
from operations.fact_reading import milliseconds
from operations.reconcile import DeviceDay, Reconciliation


class SiteDay(NamedTuple):
    """The result of one site and day.

    Attributes:
        site, day: Which.
        devices_with_gap: How many devices have a gap.
        missing: How many punches the gaps are of, as far as that is known.
        problem: Why the answer is not whole; None where it is.
    """

    site: str
    day: date
    devices_with_gap: int
    missing: int
    problem: str | None


class Reconciliations:
    """The results in one ledger."""

    def __init__(self, database: Database) -> None:
        """Nothing is read yet.

        Args:
            database: Prepared.
        """
        self._database = database

    def newest(self) -> list[SiteDay]:
        """The newest result of each site.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        table = RECONCILIATIONS
        last = select(table.c.site, func.max(table.c.day).label("day")).group_by(table.c.site).subquery()
        its = and_(table.c.site == last.c.site, table.c.day == last.c.day)
        wanted = table.c.site, table.c.day, table.c.devices_with_gap, table.c.missing, table.c.problem
        with self._database.transaction() as connection:
            rows = connection.execute(select(*wanted).join(last, its)).fetchall()
        return [SiteDay(row.site, date.fromisoformat(row.day), *row[2:]) for row in rows]

    def save(self, site: str, day: date, found: Reconciliation, at: datetime) -> None:
        """Keep a result, in the place of an earlier one of that site and day.

        Args:
            site: Of which site.
            day: Of which day.
            found: What was found.
            at: When, UTC.

        Raises:
            LedgerUnavailable: the database does not answer. The earlier result is there, or this one.
        """
        of = {"site": site, "day": day.isoformat(), "reconciled_at": milliseconds(at)}
        row = {
            **of,
            "devices": len(found.devices),
            "devices_with_gap": sum(bool(each.gaps) for each in found.devices),
            "missing": sum(each.missing for each in found.devices),
            "problem": " ".join(found.problems) or None,
        }
        devices = [_row(each, of) for each in found.devices]
        with self._database.transaction() as connection:
            for table in (RECONCILIATIONS, RECONCILED_DEVICES):
                connection.execute(delete(table).where(table.c.site == site, table.c.day == day.isoformat()))
            connection.execute(insert(RECONCILIATIONS), [row])
            if devices:
                connection.execute(insert(RECONCILED_DEVICES), devices)


def _row(each: DeviceDay, of: dict[str, object]) -> dict[str, object]:
    until = each.complete_until
    return {
        **of,
        "device_id": each.device_id,
        "timezone": each.timezone,
        "counted": each.counted,
        "complete_until": None if until is None else milliseconds(until),
        "raw_records": each.raw,
        **{name: getattr(each, name) for name in _COUNTS},
        "gaps": " ".join(gap.kind for gap in each.gaps),
    }


_COUNTS: Sequence[str] = (
    *("punches", "delivered", "superseded", "dropped", "discarded", "undecided", "undelivered"),
    *("waiting", "dead_letters", "rejected", "in_erpnext", "missing"),
)
