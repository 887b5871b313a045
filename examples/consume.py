"""Every punch of the raw topic as a row of SQLite, counted once.

It needs the package `attendance` of Punchstream and aiokafka, and nothing else of Punchstream:

    python consume.py --bootstrap kafka:9092 --database punches.sqlite

It may be killed at any moment, and begins again where it was: it commits after the write, and writes by `event_id`.
"""

import argparse
import asyncio
import os
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from attendance.errors import InvalidRecord
from attendance.records.raw_event import RawEvent, is_replay_copy

TABLES = """
CREATE TABLE IF NOT EXISTS punches (
    event_id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    device_user_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_time TEXT,
    received_at TEXT NOT NULL,
    time_given INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS superseded (event_id TEXT PRIMARY KEY, given INTEGER NOT NULL);
"""
INSERT = """
INSERT INTO punches VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO UPDATE SET time_given = MAX(time_given, excluded.time_given)
"""


def write(database: sqlite3.Connection, records: Iterable[ConsumerRecord]) -> None:
    """Takes records in, in one transaction. To take them in again changes nothing."""
    with database:
        for record in records:
            try:
                event = RawEvent.decode(record.value)
            except InvalidRecord as error:
                # Anybody who may write to the topic may write something else.
                print(f"{record.partition}:{record.offset} is skipped: {error.message}", file=sys.stderr)
                continue
            take(database, event, is_copy=is_replay_copy(record.headers))


def take(database: sqlite3.Connection, event: RawEvent, *, is_copy: bool) -> None:
    """One event, with what corrections of it have said."""
    given = event.given_time is not None
    superseded = database.execute("SELECT given FROM superseded WHERE event_id = ?", (event.event_id,)).fetchone()
    if superseded is not None:
        is_wrong_once_more = is_copy or (superseded[0] and not given)
        if is_wrong_once_more:
            return
        database.execute("DELETE FROM superseded WHERE event_id = ?", (event.event_id,))
    if event.supersedes not in (None, event.event_id):
        database.execute("DELETE FROM punches WHERE event_id = ?", (event.supersedes,))
        database.execute("INSERT OR REPLACE INTO superseded VALUES (?, ?)", (event.supersedes, given))
    when = None if event.event_time is None else event.event_time.isoformat()
    who = (event.device_id, event.device_user_id, event.event_type)
    database.execute(INSERT, (event.event_id, *who, when, event.received_at.isoformat(), given))


async def consume(bootstrap: str, topic: str, group: str, database: sqlite3.Connection, *, until_end: bool) -> None:
    """Follows the topic, or reads what is there now."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    async with consumer:
        while True:
            batches = await consumer.getmany(timeout_ms=1000, max_records=500)
            write(database, [record for records in batches.values() for record in records])
            if batches:
                await consumer.commit()
            elif until_end and consumer.assignment():
                ends = await consumer.end_offsets(list(consumer.assignment()))
                if all([await consumer.position(each) >= end for each, end in ends.items()]):
                    return


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Every punch of the raw topic as a row of SQLite, counted once.")
    parser.add_argument("--bootstrap", default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"))
    parser.add_argument("--topic", default="attendance.raw.v1")
    parser.add_argument("--group", default="analytics.example", help="never one that begins with the topics' prefix")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--until-end", action="store_true", help="end once everything that is there was read")
    given = parser.parse_args()
    database = sqlite3.connect(given.database)
    database.executescript(TABLES)
    asyncio.run(consume(given.bootstrap, given.topic, given.group, database, until_end=given.until_end))
    database.close()


if __name__ == "__main__":
    main()
