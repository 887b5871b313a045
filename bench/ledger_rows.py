"""Rows that a bench writes itself, so that it has ten million punches within minutes.

- Later days, copied from the rows of punches. A copy has ids, places and times of its own, and the same people, devices
  and outcomes. It has the text of the device's own clock of the first day. An index is built once over all rows, so
  its pages are fuller than those of a ledger that grew.
- What the nightly reconcile found of each device and day.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from sqlite3 import Connection as SqliteConnection
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, MetaData, Table, case, func, insert, select, update

from attendance.topics import DAY_MS, TABLE, Name
from bench.ledger_records import START, Shape
from ledger.database import Database
from ledger.store import positions
from ledger.tables import (
    CHECKINS,
    DEAD_LETTERS,
    DELIVERIES,
    DROPPED,
    NOT_DELIVERED,
    POSITIONS,
    RAW_RECORDS,
    RECONCILED_DEVICES,
    WAITING,
)
from operations.fact_reading import milliseconds

_TOPIC_OF: Final[Mapping[Table, Name]] = {
    RAW_RECORDS: "raw",
    DROPPED: "dropped",
    CHECKINS: "checkins",
    DELIVERIES: "deliveries",
    WAITING: "unmapped",
    DEAD_LETTERS: "dead_letters",
    NOT_DELIVERED: "raw",
}
_IDS: Final = frozenset({"event_id", "kept_event_id", "wait_key"})
_TIMES: Final = frozenset(
    (
        *("event_time", "received_at", "stored_at", "decided_at", "delivered_at", "waiting_since"),
        *("failed_at", "failed_stored_at"),
    )
)
_PLACES: Final = {"raw_offset": "raw_partition", "failed_offset": "failed_partition"}
"""Columns with the offset of a raw record, and those with its partition."""


def copy_days(database: Database, days: int, times: int) -> None:
    """Copy every row of punches, each time to so many days later.

    Args:
        database: A ledger that took in whole days of punches, and nothing else, since it was made.
        days: How many.
        times: How often.
    """
    with database.transaction() as connection:
        ends = {at: position.next_offset for at, position in positions(connection).items()}
    for table, name in _TOPIC_OF.items():
        with database.transaction() as connection, _without_indexes(connection, table):
            driver = connection.connection.driver_connection
            if isinstance(driver, SqliteConnection):
                driver.create_function("md5", 1, _md5, deterministic=True)
            base = Table(
                "base", MetaData(), *(Column(each.name, each.type) for each in table.c), prefixes=["temporary"]
            )
            base.create(connection)
            connection.execute(insert(base).from_select(base.c.keys(), select(*table.c)))
            spans = {what: {number: end for (of, number), end in ends.items() if of == what} for what in (name, "raw")}
            for copy in range(1, times + 1):
                values = [_copied(column, base, spans[name], spans["raw"], days, copy) for column in base.c]
                connection.execute(insert(table).from_select(base.c.keys(), select(*values)))
            base.drop(connection)
    moved = {
        "next_offset": POSITIONS.c.next_offset * (times + 1),
        "last_offset": POSITIONS.c.last_offset + POSITIONS.c.next_offset * times,
        "last_stored_at": POSITIONS.c.last_stored_at + days * DAY_MS * times,
    }
    with database.transaction() as connection:
        topics = {TABLE[name].suffix for name in _TOPIC_OF.values()}
        connection.execute(update(POSITIONS).where(POSITIONS.c.topic.in_(topics)).values(moved))


def _copied(
    column: "Column[object]", base: Table, its: Mapping[int, int], raw: Mapping[int, int], days: int, copy: int
) -> ColumnElement[object]:
    if column.name in _IDS:
        return func.md5(column.concat(f":{copy}"))
    if column.name in _TIMES:
        return column + days * DAY_MS * copy
    if column.name == "kafka_offset":
        return column + case(its, value=base.c.kafka_partition, else_=0) * copy
    if column.name in _PLACES:
        return column + case(raw, value=base.c[_PLACES[column.name]], else_=0) * copy
    if column.name == "document":
        return column.concat(f"-{copy}")
    return column


def add_reconciled_days(database: Database, shape: Shape, days: int) -> None:
    """Results of every device and day; of one device of fifty something waits.

    Args:
        database: A ledger that has none.
        shape: What devices there are.
        days: From the first one on.
    """
    counts = dict.fromkeys(("raw_records", "punches", "delivered"), 20)
    counts |= dict.fromkeys(("superseded", "dropped", "discarded", "undecided", "undelivered", "waiting"), 0)
    counts |= dict.fromkeys(("dead_letters", "rejected", "missing"), 0)
    for number in range(days):
        day = START + timedelta(days=number)
        of_day = {"day": day.date().isoformat(), "timezone": "UTC", "reconciled_at": milliseconds(day) + DAY_MS}
        rows = []
        for device in range(shape.devices):
            has_gap = device % 50 == number % 50
            gap = {"waiting": int(has_gap), "missing": int(has_gap), "gaps": "waiting" if has_gap else ""}
            rows.append(of_day | counts | gap | {"device_id": shape.device(device), "site": shape.site(device)})
        with database.transaction() as connection:
            connection.execute(insert(RECONCILED_DEVICES), rows)


@contextmanager
def _without_indexes(connection: Connection, table: Table) -> Iterator[None]:
    """The table has no indexes, and all of them again at the end: to build one is quicker than to change it."""
    for index in table.indexes:
        index.drop(connection)
    yield
    for index in table.indexes:
        index.create(connection)


def _md5(of: str | None) -> str | None:
    return None if of is None else hashlib.md5(of.encode(), usedforsecurity=False).hexdigest()
