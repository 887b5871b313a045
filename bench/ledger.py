"""`python -m bench.ledger`: what a record costs the ledger in CPU, and how long the queries of a page take.

The records are made here, without Kafka, and taken in as the stage takes them in. Only the CPU of this process counts:
that of a server of PostgreSQL does not.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from sqlalchemy import text

from attendance.adoptions import NOTHING_MOVED
from attendance.topics import DAY_MS
from bench.ledger_records import START, TOPICS, Maker, Shape
from bench.measure import percentile
from ledger.counts import count_open_letters, count_outcomes, count_waiting
from ledger.database import Database
from ledger.punches import WhichPunches, newest_punches
from ledger.store import Store
from ledger.trace import LedgerTrace
from ledger.waiting import LedgerWaiting
from operations.day_punches import day_punches
from operations.fact_reading import FactReader, milliseconds
from operations.log import Skipped
from operations.paging import page_token
from operations.trace import Asked
from operations.waiting import Which

SHAPE: Final = Shape()
AT_ONCE: Final = 700  # punches, which are some 2,000 records
QUERIES: Final = 300
LISTS: Final = 60
PAGE: Final = 100  # lines
SITE: Final = 100  # devices
SITE_DAYS: Final = 20
console = Console()


def fill(database: Database, maker: Maker, punches: int) -> None:
    """Take in the records of so many punches, and print what each cost."""
    store, reader = Store(database), FactReader(TOPICS, NOTHING_MOVED)
    positions = store.load()
    records, cpu, wall = 0, 0.0, 0.0
    for first in range(0, punches, AT_ONCE):
        batch = maker.batch(first, min(AT_ONCE, punches - first))
        began, cpu_before = time.perf_counter(), time.process_time()
        positions |= store.apply(reader, batch, positions, 0)
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - began
        records += sum(map(len, batch.values()))
    each = f"{cpu / records * 1e6:.1f} µs of CPU and {wall / records * 1e6:.1f} µs of the clock for each"
    console.print(f"{records:,} records of {punches:,} punches: {each}")


def ask(database: Database, punches: int, seed: int) -> None:
    """Ask what a page asks, and print how long that takes."""
    chance, days = random.Random(seed), SHAPE.days(punches)
    pages = {
        "the day of a device": "select * from punches where device_id = :of and event_time >= :first"
        " and event_time < :last order by event_time limit 200",
        "a week of an employee": "select * from punches where event_id in (select event_id from checkins"
        " where employee = :of and event_time >= :first and event_time < :last)",
    }
    with database.transaction() as connection:
        if not database.is_sqlite:
            connection.execute(text("analyze"))
        for page, query in pages.items():
            seconds = []
            for _ in range(QUERIES):
                number = chance.randrange(punches)
                length = DAY_MS if "device" in page else 7 * DAY_MS
                of = SHAPE.device(number) if "device" in page else SHAPE.employee(number)
                first = milliseconds(START) + chance.randrange(days) * DAY_MS
                began = time.perf_counter()
                connection.execute(text(query), {"of": of, "first": first, "last": first + length}).fetchall()
                seconds.append(time.perf_counter() - began)
            show(page, seconds)


def list_pages(database: Database, punches: int, seed: int) -> None:
    """Ask for the pages of lists and for counts, and print how long that takes."""
    chance, days = random.Random(seed), SHAPE.days(punches)

    def day() -> tuple[datetime, datetime]:
        first = START + timedelta(days=chance.randrange(days))
        return first, first + timedelta(days=1)

    def deep() -> str:
        return page_token(milliseconds(day()[0]), 0, 0)

    def dropped() -> WhichPunches:
        first, last = day()
        return WhichPunches(outcome="dropped", first=first, last=last)

    def of_employee() -> WhichPunches:
        return WhichPunches(SHAPE.employee(chance.randrange(SHAPE.employees)))

    with database.transaction() as connection, LedgerWaiting(database, Skipped()) as waiting:
        middle = page_token(SHAPE.site(0), str(SHAPE.employees // 2), "unmapped_user")
        pages: dict[str, Callable[[], object]] = {
            "the newest punches": lambda: newest_punches(connection, WhichPunches(), PAGE),
            "punches before some day": lambda: newest_punches(connection, WhichPunches(), PAGE, deep()),
            "the newest punches of an employee": lambda: newest_punches(connection, of_employee(), PAGE),
            "what was dropped on a day": lambda: newest_punches(connection, dropped(), PAGE),
            "what became of a day": lambda: count_outcomes(connection, *day()),
            "what waits, counted by reason": lambda: count_waiting(connection),
            "what waits, counted by device": lambda: waiting.devices(Which()),
            "what failed, counted": lambda: count_open_letters(connection),
            "what waits, its lines counted": lambda: waiting.count(Which()),
            "who waits, the first page": lambda: [*waiting.users(Which(), most=PAGE)],
            "who waits, a page in the middle": lambda: [*waiting.users(Which(), most=PAGE, after=middle)],
        }
        for name, ask_for in pages.items():
            seconds = []
            for _ in range(LISTS):
                began = time.perf_counter()
                ask_for()
                seconds.append(time.perf_counter() - began)
            show(name, seconds)


def show(name: str, seconds: Sequence[float]) -> None:
    """Print how long something took: the median and the 95th percentile."""
    console.print(f"{name}: {median(seconds) * 1e3:.1f} ms, p95 {percentile(seconds, 95) * 1e3:.1f} ms")


def reconcile(database: Database, punches: int, seed: int) -> None:
    """Compare a day of the devices of a site by what the ledger has, and print how long that takes."""
    chance, days = random.Random(seed), SHAPE.days(punches)
    source = LedgerTrace(database)
    seconds, found = [], 0
    for _ in range(SITE_DAYS):
        first, day = chance.randrange(SHAPE.devices - SITE), START.date() + timedelta(days=chance.randrange(days))
        asked = Asked(day=day, zones={SHAPE.device(number): "UTC" for number in range(first, first + SITE)})
        began = time.perf_counter()
        devices = day_punches(asyncio.run(source.facts(asked)), asked)
        seconds.append(time.perf_counter() - began)
        found += sum(len(each.punches) for each in devices.values())
    show(f"a day of {SITE} devices, {found / SITE_DAYS:,.0f} punches", seconds)


def main() -> None:
    """Fill a new ledger, and ask it."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--punches", type=int, default=1_000_000, help="to take in (%(default)s)")
    parser.add_argument("--url", help="of an empty database; SQLite in a temporary folder if it is not given")
    parser.add_argument("--is-filled", action="store_true", help="that database has the punches already")
    parser.add_argument("--seed", type=int, default=1, help="of the questions (%(default)s)")
    arguments = parser.parse_args()
    with TemporaryDirectory() as directory:
        database = Database(arguments.url or f"sqlite:///{Path(directory, 'ledger.sqlite')}")
        database.prepare()
        if not arguments.is_filled:
            fill(database, Maker(SHAPE), arguments.punches)
        ask(database, arguments.punches, arguments.seed)
        list_pages(database, arguments.punches, arguments.seed)
        reconcile(database, arguments.punches, arguments.seed)
        database.close()


if __name__ == "__main__":
    main()
