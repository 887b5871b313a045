"""What is concluded from rows and kept beside them, in the transaction that changes them, for lists and counts.

- Which raw records are not delivered, and what became of them instead: the table `not_delivered`.
- Which record of what waits is the newest of its punch: `waiting.is_newest`.
- What was last done about a dead letter: `dead_letters.last_action`.

Each follows from the rows alone. So it is the same whatever was read first, and can be made anew at any time.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection, exists, select

from attendance.wire import Place
from ledger.database import Database
from ledger.tables import DELIVERIES, DROPPED, RAW_RECORDS, STORED_AT
from operations.facts import (
    ActionFact,
    CheckinFact,
    DeliveryFact,
    DiscardFact,
    DroppedFact,
    Fact,
    LetterFact,
    RawFact,
    WaitingFact,
)
from operations.trace import RAW_SUFFIX

_COLUMNS: Final = "kafka_partition, kafka_offset, event_id, event_time, site"
_INSERT: Final = f"insert into not_delivered ({_COLUMNS}, outcome) select {_COLUMNS}"
_AGAIN: Final = (
    "update not_delivered set outcome = (select outcome from punches p where"
    " p.kafka_partition = not_delivered.kafka_partition and p.kafka_offset = not_delivered.kafka_offset)"
)
_HAS_NEWER: Final = (
    "exists (select 1 from waiting newer where newer.event_id = waiting.event_id"
    " and (newer.kafka_partition, newer.kafka_offset) > (waiting.kafka_partition, waiting.kafka_offset))"
)
AnyFact = TypeVar(
    "AnyFact", RawFact, DroppedFact, CheckinFact, DeliveryFact, WaitingFact, DiscardFact, LetterFact, ActionFact
)


class Derived:
    """What is concluded from the rows of a ledger."""

    def __init__(self, database: Database) -> None:
        """Nothing is concluded yet.

        Args:
            database: Prepared.
        """
        self._among, self._listed = database.among, database.listed
        at = f"kafka_partition = {database.parameter} and kafka_offset = {database.parameter}"
        between = f"kafka_partition = {database.parameter} and kafka_offset between {database.parameter} and"
        # The outcome is asked for once and used twice.
        found = "with found as materialized (select {columns}, outcome from punches where {which})"
        wanted = " {insert}, outcome from found where outcome <> 'delivered'"
        self._add_some = (found + wanted).format(
            columns=_COLUMNS, insert=_INSERT, which=f"{between} {database.parameter}"
        )
        self._add_events = (found + wanted).format(columns=_COLUMNS, insert=_INSERT, which=self._among("event_id"))
        its = f"coalesce(event_id, {database.parameter}) = {database.parameter}"
        self._add_dropped = (
            f"{_INSERT}, 'dropped' from raw_records where {at} and {its} on conflict (kafka_partition, kafka_offset)"
            " do update set outcome = 'dropped' where not_delivered.outcome <> 'dropped'"
        )
        self._conclude_failed = (
            f"{_AGAIN} where {at}",
            f"{_AGAIN} where event_id = (select event_id from raw_records where {at})",  # noqa: S608 - only our words
        )
        self._note_action = (
            "update dead_letters set last_action = (select action from dead_letter_actions a"  # noqa: S608 - only our words
            " where a.letter_partition = dead_letters.kafka_partition and a.letter_offset = dead_letters.kafka_offset"
            f" order by a.kafka_partition desc, a.kafka_offset desc limit 1) where {at}"
        )

    def follow(self, connection: Connection, rows: Mapping[type[Fact], Sequence[Fact]], ended: Collection[str]) -> None:
        """Conclude what follows from rows that were written.

        Args:
            connection: In the transaction that has written them.
            rows: The new ones, by kind. Between raw records of a partition there is none of before.
            ended: The punches of which a row of what waits is gone.
        """
        raw, dropped, letters = _of(RawFact, rows), _of(DroppedFact, rows), _of(LetterFact, rows)
        actions = {(each.letter_partition, each.letter_offset) for each in _of(ActionFact, rows)}
        if places := actions | {(each.kafka_partition, each.kafka_offset) for each in letters}:
            connection.exec_driver_sql(self._note_action, [*places])
        waiting = {*ended, *(each.event_id for each in _of(WaitingFact, rows))}
        which = f"{self._among('event_id')} and is_newest = {_HAS_NEWER}"
        self._do(connection, f"update waiting set is_newest = not is_newest where {which}", waiting)  # noqa: S608 - only our words
        self._add_raw(connection, raw)
        self._drop(connection, dropped)
        failed = ((each.failed_partition, each.failed_offset) for each in letters if each.failed_topic == RAW_SUFFIX)
        self.conclude_places(connection, {(at, n) for at, n in failed if at is not None and n is not None})
        delivered = {each.event_id for each in _of(DeliveryFact, rows)}
        changed = {each.event_id for each in _of(CheckinFact, rows)} | delivered | waiting
        changed |= {each.event_id for each in dropped} | {each.event_id for each in _of(DiscardFact, rows)}
        # What became of a copy also became of its original.
        changed |= {each.event_id for each in raw if each.event_id is not None and each.copy_partition is not None}
        changed |= {each.event_id for each in letters if each.event_id is not None}
        self._conclude(connection, changed, delivered)

    def conclude_places(self, connection: Connection, places: Collection[Place]) -> None:
        """Conclude again what became of raw records whose places letters name, or named that have gone.

        Args:
            connection: In the transaction that has written or deleted the letters.
            places: Of the raw records.
        """
        if places:
            # What became of a copy also became of its original, which has the same id.
            for statement in self._conclude_failed:
                connection.exec_driver_sql(statement, [*places])

    def forget_waiting(self, connection: Connection) -> None:
        """Conclude again after what waits or was discarded has gone.

        Args:
            connection: In the transaction that has deleted it.
        """
        connection.exec_driver_sql(f"{_AGAIN} where outcome in ('waiting', 'discarded_waiting')")
        connection.exec_driver_sql("delete from not_delivered where outcome = 'delivered'")

    def find_loosened(self, connection: Connection, before: int) -> set[str]:
        """The punches of which a raw record will stay when older rows go by which it may have been decided.

        Args:
            connection: In a transaction.
            before: What is older goes, in milliseconds since the epoch.
        """
        found: set[str] = set()
        for table in (RAW_RECORDS, DROPPED, DELIVERIES):
            staying = RAW_RECORDS.alias("staying")
            stays = exists().where(staying.c.event_id == table.c.event_id, staying.c.stored_at >= before)
            is_old = table.c[STORED_AT[table.name]] < before
            found.update(connection.execute(select(table.c.event_id).where(is_old, stays)).scalars())
        return found

    def forget_old(self, connection: Connection, loosened: Collection[str]) -> None:
        """Conclude again after old rows have gone.

        Args:
            connection: In the transaction that has deleted them.
            loosened: What `find_loosened` found before.
        """
        at = "r.kafka_partition = not_delivered.kafka_partition and r.kafka_offset = not_delivered.kafka_offset"
        there = f"exists (select 1 from raw_records r where {at})"  # noqa: S608 - only our words
        connection.exec_driver_sql(f"delete from not_delivered where not {there}")  # noqa: S608 - only our words
        self._do(connection, f"delete from not_delivered where {self._among('event_id')}", loosened)  # noqa: S608 - only our words
        self._do(connection, self._add_events, loosened)
        others = "('dead_lettered', 'discarded_waiting', 'undelivered', 'undecided')"
        connection.exec_driver_sql(f"{_AGAIN} where outcome in {others} or event_id is null")

    def _add_raw(self, connection: Connection, raw: Sequence[RawFact]) -> None:
        offsets: dict[int, list[int]] = defaultdict(list)
        for each in raw:
            offsets[each.kafka_partition].append(each.kafka_offset)
        for partition, of_partition in offsets.items():
            connection.exec_driver_sql(self._add_some, (partition, of_partition[0], of_partition[-1]))

    def _drop(self, connection: Connection, dropped: Sequence[DroppedFact]) -> None:
        places = [
            (each.raw_partition, each.raw_offset, each.event_id, each.event_id)
            for each in dropped
            if each.raw_partition is not None
        ]
        if places:
            connection.exec_driver_sql(self._add_dropped, places)

    def _conclude(self, connection: Connection, changed: Collection[str], delivered: Collection[str]) -> None:
        which = self._among("event_id")
        # Most of a batch is not there: it is all delivered within the batch.
        query = f"select distinct event_id from not_delivered where {which}"  # noqa: S608 - only our words
        there = {*connection.exec_driver_sql(query, (self._listed(changed),)).scalars()} if changed else set()
        # Whatever else is known of these, they were dropped themselves or they are delivered now.
        gone = f"delete from not_delivered where {which} and outcome <> 'dropped'"  # noqa: S608 - only our words
        self._do(connection, gone, there.intersection(delivered))
        self._do(connection, f"{_AGAIN} where {which}", there)
        self._do(connection, f"delete from not_delivered where {which} and outcome = 'delivered'", there)  # noqa: S608 - only our words

    def _do(self, connection: Connection, statement: str, events: Collection[str]) -> None:
        if events:
            connection.exec_driver_sql(statement, (self._listed(events),))


def _of(kind: type[AnyFact], rows: Mapping[type[Fact], Sequence[Fact]]) -> list[AnyFact]:
    return [each for each in rows.get(kind, ()) if isinstance(each, kind)]
