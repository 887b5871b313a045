"""OpenLetters: the dead letters of a ledger that nobody has dealt with, counted, sampled and listed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, false, func, or_, select, tuple_

from attendance.records.dead_letter_action import LetterId
from attendance.times import from_milliseconds
from attendance.topics import TABLE
from ledger.counts import IS_OPEN, PARKED, DeviceLetters, LetterCount, count_letters_by_device, count_open_letters
from ledger.database import Database
from ledger.letters import line, of_selection
from ledger.reading import LedgerReader
from ledger.tables import DEAD_LETTER_ACTIONS, DEAD_LETTERS, POSITIONS
from operations.dead_letters import Selection
from operations.letter_lists import LetterLine
from operations.paging import Page, page_key, page_token

_LETTERS: Final = DEAD_LETTERS.c
_PLACE: Final = _LETTERS.kafka_partition, _LETTERS.kafka_offset
_KEY: Final = _LETTERS.failed_at, *_PLACE


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """The open letters of one stage and reason, the id of the last one, and what was said of that."""

    count: LetterCount
    sample: LetterId
    message: str


@dataclass(frozen=True, slots=True)
class Counted:
    """How many letters there are, and by partition where those end that were counted."""

    letters: int
    parked: int
    ends: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Done:
    """What was done about a letter: `replayed` or `discarded`, when (UTC), by whom, and why."""

    action: str
    at: datetime
    by: str
    note: str | None


@dataclass(frozen=True, slots=True)
class KnownLetter:
    """A dead letter, open or not, and what was done about it, oldest first."""

    line: LetterLine
    event_id: str | None
    device_user_id: str | None
    employee: str | None
    attempts: int
    history: Sequence[Done]


class OpenLetters(LedgerReader):
    """The open letters of a ledger. Its methods read the database, and each raises LedgerUnavailable.

    Each reads the open letters that are wanted. All of a selection counts, for named
    letters too; `ids` and `ends` only for a page and a count.
    """

    def __init__(self, database: Database) -> None:
        """Nothing is read yet. Takes what `LedgerReader` takes."""
        super().__init__(database, ["dead_letters", "dead_letter_actions"])

    def groups(self, wanted: Selection) -> list[LetterGroup]:
        """The letters that are wanted by stage and reason, the largest group first."""
        with self._asking() as connection:
            counts = count_open_letters(connection, wanted)
            groups = [_group(connection, wanted, each) for each in counts]
        return sorted((each for each in groups if each is not None), key=lambda each: -each.count.letters)

    def devices(self, wanted: Selection, most: int) -> list[DeviceLetters]:
        """About which devices most of the letters are that are wanted, at most so many devices."""
        with self._asking() as connection:
            return count_letters_by_device(connection, wanted, most)

    def count(self, wanted: Selection) -> Counted:
        """How many of the letters are wanted, and where those end that the ledger has."""
        ends = select(POSITIONS.c.kafka_partition, POSITIONS.c.next_offset).where(
            POSITIONS.c.topic == TABLE["dead_letters"].suffix
        )
        query = select(func.count(), PARKED).select_from(DEAD_LETTERS).where(IS_OPEN, *_wanted(wanted))
        with self._asking() as connection:
            letters, parked = connection.execute(query).one()
            found = {row.kafka_partition: row.next_offset for row in connection.execute(ends)}
            return Counted(letters, int(parked), found)

    def page(self, wanted: Selection, most: int, after: str | None = None) -> Page[LetterLine]:
        """A page of the letters that are wanted, the newest first.

        Args:
            wanted: Which ones.
            most: At most so many.
            after: The token of the page before; None for the first.

        Raises:
            InvalidPageToken: `after` is of no such list.
        """
        query = _lines().where(IS_OPEN, *_wanted(wanted)).order_by(*(each.desc() for each in _KEY)).limit(most)
        if after is not None:
            query = query.where(tuple_(*_KEY) < page_key(after, int, int, int))
        with self._asking() as connection:
            rows = connection.execute(query).all()
        last = rows[-1] if len(rows) == most else None
        token = None if last is None else page_token(last.failed_at, last.kafka_partition, last.kafka_offset)
        return Page([*map(line, rows)], token)

    def letter(self, id_: LetterId) -> KnownLetter | None:
        """One letter, open or not; None where the ledger does not have it."""
        actions = DEAD_LETTER_ACTIONS.c
        done = select(actions.action, actions.done_at, actions.done_by, actions.note).where(
            actions.letter_partition == id_.partition, actions.letter_offset == id_.offset
        )
        with self._asking() as connection:
            row = connection.execute(_lines().where(*_are([id_]))).first()
            if row is None:
                return None
            history = [
                Done(action, from_milliseconds(at), by, note)
                for action, at, by, note in connection.execute(done.order_by(actions.kafka_offset))
            ]
        return KnownLetter(line(row), row.event_id, row.device_user_id, row.employee, row.attempts, history)


def _group(connection: Connection, wanted: Selection, count: LetterCount) -> LetterGroup | None:
    """A group with its last letter; None where somebody has dealt with all of them since they were counted.

    The letter is found by the index, which has no message, and only its row is read.
    """
    its = _LETTERS.stage == count.stage, _LETTERS.reason == count.reason
    open_ones = select(*_PLACE).where(IS_OPEN, *of_selection(wanted), *its)
    newest = connection.execute(open_ones.order_by(*(each.desc() for each in _KEY)).limit(1)).first()
    if newest is None:
        return None
    sample = LetterId(*newest)
    message = connection.execute(select(_LETTERS.message).where(*_are([sample]))).scalar()
    return None if message is None else LetterGroup(count, sample, message)


def _lines() -> Select[Any]:
    return select(DEAD_LETTERS)


def _wanted(wanted: Selection) -> list[ColumnElement[bool]]:
    conditions = of_selection(wanted)
    if wanted.ids:
        conditions += _are(sorted(wanted.ids))
    if wanted.ends is not None:
        partition, offset = _PLACE
        conditions.append(or_(false(), *(and_(partition == at, offset < end) for at, end in wanted.ends.items())))
    return conditions


def _are(ids: Sequence[LetterId]) -> list[ColumnElement[bool]]:
    """That a letter is one of these. SQLite finds no index for a list of pairs."""
    offsets: dict[int, list[int]] = {}
    for each in ids:
        offsets.setdefault(each.partition, []).append(each.offset)
    partition, offset = _PLACE
    return [or_(*(and_(partition == number, offset.in_(of)) for number, of in offsets.items()))]
