"""Counts: how many punches of a time came to what, how many wait, and how many dead letters nobody has dealt with."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, text

from attendance.errors import Reason
from attendance.times import from_milliseconds
from ledger.letters import OF_LETTER, of_selection
from ledger.punches import PUNCHES
from ledger.tables import DEAD_LETTER_ACTIONS, DEAD_LETTERS, RAW_RECORDS, WAITING
from ledger.waiting import SINCE, is_newest
from operations.dead_letters import BORN_DISCARDED, MAX_REPLAYS, Selection
from operations.fact_reading import milliseconds

EVERY: Final = Selection()
"""Every dead letter."""
IS_OPEN: Final = and_(
    ~select(DEAD_LETTER_ACTIONS.c.action).where(*OF_LETTER).exists(), DEAD_LETTERS.c.reason != BORN_DISCARDED
)
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
    """The punches that wait for one reason. `oldest` is the time of the oldest punch, UTC."""

    reason: Reason
    punches: int
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


def count_outcomes(
    connection: Connection, first: datetime, last: datetime, sites: Collection[str] | None = None
) -> list[OutcomeCount]:
    """What became of the raw records whose punch is of a time, by site and outcome, in that order.

    It costs some lookups by index for each raw record of that time: some 10 µs each, so a large day takes longer than a
    page should. Whoever shows it often keeps the answer for a while.

    Args:
        connection: In a transaction.
        first: From this time on.
        last: Before this time.
        sites: Of which sites; None for all.
    """
    at, of = PUNCHES.c.event_time, (PUNCHES.c.site, PUNCHES.c.outcome)
    which = at >= milliseconds(first), at < milliseconds(last), *_one_of(PUNCHES.c.site, sites)
    query = select(*of, func.count()).where(*which).group_by(*of)
    return sorted((OutcomeCount(*row) for row in connection.execute(query)), key=lambda each: (each.site, each.outcome))


def count_hours(
    connection: Connection, first: datetime, last: datetime, sites: Collection[str] | None = None
) -> list[int]:
    """The raw records of each hour of a time, by when the punch was made.

    It costs the reading of an index for each raw record of that time.

    Args:
        connection: In a transaction.
        first: When the first hour begins.
        last: Before this time. The last hour may be shorter.
        sites: Of which sites; None for all.

    Returns:
        One number for each hour.
    """
    hour, begin = timedelta(hours=1), milliseconds(first)
    length = round(hour.total_seconds()) * 1000
    at = RAW_RECORDS.c.event_time
    of = (at - begin - (at - begin) % length) / length
    which = at >= begin, at < milliseconds(last), *_one_of(RAW_RECORDS.c.site, sites)
    query = select(of.label("hour"), func.count()).where(*which).group_by(text("1"))
    counted = {round(number): count for number, count in connection.execute(query)}
    return [counted.get(number, 0) for number in range(-((first - last) // hour))]


def count_waiting(connection: Connection, sites: Collection[str] | None = None) -> list[WaitingCount]:
    """How many punches wait for each reason, in the order of reasons.

    It costs one pass over what waits.

    Args:
        connection: In a transaction.
        sites: Of which sites; None for all.
    """
    reason = WAITING.c.reason
    which = is_newest(), *_one_of(WAITING.c.site, sites)
    rows = connection.execute(select(reason, func.count(), SINCE).where(*which).group_by(reason).order_by(reason))
    return [WaitingCount(Reason(of), punches, from_milliseconds(oldest)) for of, punches, oldest in rows]


def count_open_letters(connection: Connection, wanted: Selection = EVERY) -> list[LetterCount]:
    """How many dead letters of each stage and reason nobody has dealt with, in that order.

    It costs a lookup by index for each dead letter of the ledger that is wanted.

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


def _one_of(column: ColumnElement[str], names: Collection[str] | None) -> list[ColumnElement[bool]]:
    return [] if names is None else [column.in_(sorted(names))]
