"""Counts: how many punches of a time came to what, how many wait, and how many dead letters nobody has dealt with.

Each reads one index from one end to the other, and no rows.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import CTE, ColumnElement, Connection, and_, case, func, null, select, union_all

from attendance.errors import Reason
from attendance.times import from_milliseconds
from ledger.letters import of_selection
from ledger.punches import OUTCOMES
from ledger.tables import DEAD_LETTERS, NOT_DELIVERED, RAW_RECORDS, WAITING
from ledger.waiting import SINCE
from operations.dead_letters import BORN_DISCARDED, MAX_REPLAYS, Selection
from operations.fact_reading import milliseconds

EVERY: Final = Selection()
"""Every dead letter."""
IS_OPEN: Final = and_(DEAD_LETTERS.c.last_action.is_(None), DEAD_LETTERS.c.reason != BORN_DISCARDED)
"""Nobody has dealt with a dead letter, and somebody has to."""
PARKED: Final = func.coalesce(func.sum(case((DEAD_LETTERS.c.replay_count >= MAX_REPLAYS, 1), else_=0)), 0)
"""How many of some dead letters have failed after so many replays that one more is refused."""


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """The raw records of a site that came to one outcome, of `ledger.punches.OUTCOMES`."""

    site: str
    outcome: str
    records: int


@dataclass(frozen=True, slots=True)
class WaitingCount:
    """The punches of a site that wait for one reason. `oldest` is the time of the oldest punch, UTC."""

    site: str
    reason: Reason
    punches: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class UndeliveredCount:
    """The check-ins of a site that are on their way to ERPNext. `oldest` is the time of the oldest punch, UTC."""

    site: str
    records: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class LetterCount:
    """The dead letters of one stage and reason about which nothing was done.

    Attributes:
        stage: Where they failed.
        reason: Why.
        letters: How many.
        parked: How many of these have failed after so many replays that one more is refused.
        oldest: When the first failed, UTC.
        newest: When the last failed, UTC.
    """

    stage: str
    reason: Reason
    letters: int
    parked: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, slots=True)
class DeviceLetters:
    """How many open letters there are about a device; `device` is None where nothing says which."""

    device: str | None
    letters: int


def count_outcomes(
    connection: Connection, first: datetime, last: datetime, sites: Collection[str] | None = None
) -> list[OutcomeCount]:
    """What became of the raw records whose punch is of a time, by site and outcome, in that order.

    Args:
        connection: In a transaction.
        first: From this time on.
        last: Before this time.
        sites: Of which sites; None for all.
    """
    raw, others = RAW_RECORDS.c, NOT_DELIVERED.c
    of_time = raw.event_time >= milliseconds(first), raw.event_time < milliseconds(last)
    if sites is None:
        # By site, each a range of an index. To group a day by its sites, SQLite would sort its records.
        named = _every_site()
        its = select(func.count()).where(raw.site == named.c.site, *of_time).scalar_subquery()
        every = select(named.c.site, null().label("outcome"), its.label("records")).where(named.c.site.is_not(None))
    else:
        every = select(raw.site, null().label("outcome"), func.count().label("records"))
        every = every.where(*of_time, raw.site.in_(sorted(sites))).group_by(raw.site)
    # The outcome first, for it is first in the index.
    is_other = others.outcome.in_([each for each in OUTCOMES if each != "delivered"])
    of_time = others.event_time >= milliseconds(first), others.event_time < milliseconds(last)
    other = select(others.site, others.outcome, func.count())
    other = other.where(is_other, *of_time, *_one_of(others.site, sites)).group_by(others.site, others.outcome)
    found, delivered = [], Counter[str]()
    # One statement: what is stored between two would be counted by the one and not by the other.
    for site, outcome, records in connection.execute(union_all(every, other)):
        delivered[site] += records if outcome is None else -records
        if outcome is not None:
            found.append(OutcomeCount(site, outcome, records))
    found += [OutcomeCount(site, "delivered", records) for site, records in delivered.items() if records]
    return sorted(found, key=lambda each: (each.site, each.outcome))


def count_hours(
    connection: Connection, first: datetime, last: datetime, sites: Collection[str] | None = None
) -> list[int]:
    """The raw records of each hour of a time, by when the punch was made.

    Args:
        connection: In a transaction.
        first: When the first hour begins.
        last: Before this time. The last hour may be shorter.
        sites: Of which sites; None for all.

    Returns:
        One number for each hour.
    """
    hour, raw = timedelta(hours=1), RAW_RECORDS.c
    begins = [first + number * hour for number in range(-((first - last) // hour))]
    of_hours = []
    for begin in begins:
        of_hour = raw.event_time >= milliseconds(begin), raw.event_time < milliseconds(min(begin + hour, last))
        of_hours.append(select(func.count()).where(*of_hour, *_one_of(raw.site, sites)).scalar_subquery())
    return [*connection.execute(select(*of_hours)).one()] if of_hours else []


def count_waiting(connection: Connection, sites: Collection[str] | None = None) -> list[WaitingCount]:
    """How many punches of each site wait for each reason, in that order.

    Args:
        connection: In a transaction.
        sites: Of which sites; None for all.
    """
    # In this order an index has them.
    of = WAITING.c.reason, WAITING.c.site
    which = WAITING.c.is_newest, *_one_of(WAITING.c.site, sites)
    rows = connection.execute(select(*of, func.count(), SINCE).where(*which).group_by(*of))
    counts = [
        WaitingCount(site, Reason(reason), punches, from_milliseconds(oldest)) for reason, site, punches, oldest in rows
    ]
    return sorted(counts, key=lambda each: (each.site, each.reason))


def count_undelivered(connection: Connection, sites: Collection[str] | None = None) -> list[UndeliveredCount]:
    """How many check-ins of each site are on their way to ERPNext, however old they are, by site.

    Args:
        connection: In a transaction.
        sites: Of which sites; None for all.
    """
    site, at = NOT_DELIVERED.c.site, NOT_DELIVERED.c.event_time
    which = NOT_DELIVERED.c.outcome == "undelivered", at.is_not(None), *_one_of(site, sites)
    rows = connection.execute(select(site, func.count(), func.min(at)).where(*which).group_by(site).order_by(site))
    return [UndeliveredCount(of, records, from_milliseconds(oldest)) for of, records, oldest in rows]


def count_letters_by_device(
    connection: Connection, wanted: Selection = EVERY, most: int | None = None
) -> list[DeviceLetters]:
    """How many dead letters of each device nobody has dealt with, the most first.

    Args:
        connection: In a transaction.
        wanted: By reason, stage and device.
        most: At most so many devices; None for all.
    """
    of, count = DEAD_LETTERS.c.device_id, func.count().label("letters")
    query = select(of, count).where(IS_OPEN, *of_selection(wanted)).group_by(of).order_by(count.desc(), of)
    return [DeviceLetters(*row) for row in connection.execute(query.limit(most))]


def count_open_letters(connection: Connection, wanted: Selection = EVERY) -> list[LetterCount]:
    """How many dead letters of each stage and reason nobody has dealt with, in that order.

    Args:
        connection: In a transaction.
        wanted: By reason, stage and device.
    """
    letters, of = DEAD_LETTERS.c, (DEAD_LETTERS.c.stage, DEAD_LETTERS.c.reason)
    counted = func.count(), PARKED, func.min(letters.failed_at), func.max(letters.failed_at)
    query = select(*of, *counted).where(IS_OPEN, *of_selection(wanted)).group_by(*of)
    rows = connection.execute(query.order_by(*of))
    return [
        LetterCount(stage, Reason(reason), count, int(parked), from_milliseconds(oldest), from_milliseconds(newest))
        for stage, reason, count, parked, oldest, newest in rows
    ]


def _every_site() -> CTE:
    """The sites that raw records have, and a null behind them: each by one look into an index, after the one before."""
    site = RAW_RECORDS.c.site
    found = select(func.min(site).label("site")).cte("sites", recursive=True)
    following = select(func.min(site)).where(site > found.c.site).scalar_subquery()
    return found.union_all(select(following).where(found.c.site.is_not(None)))


def _one_of(column: ColumnElement[str], names: Collection[str] | None) -> list[ColumnElement[bool]]:
    return [] if names is None else [column.in_(sorted(names))]
