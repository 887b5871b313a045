"""Reconciliations: the results of the nightly reconcile, as rows of a ledger. They name devices and nobody else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, and_, delete, func, insert, or_, select, text, tuple_

from attendance.times import from_milliseconds
from ledger.database import Database
from ledger.tables import RECONCILED_DEVICES, RECONCILIATIONS
from operations.fact_reading import milliseconds
from operations.paging import Page, page_key, page_token
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


@dataclass(frozen=True, slots=True)
class WhichDays:
    """Which days of devices: None is any.

    Attributes:
        sites: Of devices of these sites.
        device: Of this device_id.
        first: From this day on.
        last: Up to this day.
        only_gaps: Only those that have a gap.
    """

    sites: frozenset[str] | None = None
    device: str | None = None
    first: date | None = None
    last: date | None = None
    only_gaps: bool = False


class ReconciledDay(NamedTuple):
    """A day of a device, as it was reconciled at `reconciled_at`, UTC. The counts are those of `DeviceDay`.

    Attributes:
        raw_records: Raw records, with copies.
        gaps: The kinds of its gaps, of `operations.reconcile.Kind`.
    """

    day: date
    device_id: str
    site: str
    timezone: str
    reconciled_at: datetime
    complete_until: datetime | None
    counted: int | None
    raw_records: int
    punches: int
    delivered: int
    superseded: int
    dropped: int
    discarded: int
    undecided: int
    undelivered: int
    waiting: int
    dead_letters: int
    rejected: int
    in_erpnext: int | None
    missing: int
    gaps: tuple[str, ...]


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

    def days(self, which: WhichDays, most: int, after: str | None = None) -> Page[ReconciledDay]:
        """A page of the days of devices, the newest day first.

        Args:
            which: Of which days.
            most: At most so many rows, at least one.
            after: The token of the page before; None for the first.

        Raises:
            InvalidPageToken: `after` is of no such list.
            LedgerUnavailable: the database does not answer.
        """
        of = RECONCILED_DEVICES.c
        query = select(*(of[name] for name in ReconciledDay._fields)).order_by(of.day.desc(), of.device_id, of.site)
        if after is not None:
            day, *its = page_key(after, str, str, str)
            query = query.where(or_(of.day < day, and_(of.day == day, tuple_(of.device_id, of.site) > tuple_(*its))))
        if which.sites is not None:
            query = query.where(of.site.in_(sorted(which.sites)))
        if which.device is not None:
            query = query.where(of.device_id == which.device)
        if which.first is not None:
            query = query.where(of.day >= which.first.isoformat())
        if which.last is not None:
            query = query.where(of.day <= which.last.isoformat())
        if which.only_gaps:
            # As the index has it: SQLite takes none whose condition has a parameter.
            query = query.where(text("gaps <> ''"))
        with self._database.transaction() as connection:
            rows = connection.execute(query.limit(most)).all()
        last = rows[-1] if len(rows) == most else None
        token = None if last is None else page_token(last.day, last.device_id, last.site)
        return Page([_reconciled(row) for row in rows], token)

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


def _reconciled(row: Row[Any]) -> ReconciledDay:
    said = row._asdict()
    until = said["complete_until"]
    return ReconciledDay(
        **said
        | {
            "day": date.fromisoformat(said["day"]),
            "reconciled_at": from_milliseconds(said["reconciled_at"]),
            "complete_until": None if until is None else from_milliseconds(until),
            "gaps": tuple(said["gaps"].split()),
        }
    )


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
