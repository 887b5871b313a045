"""`python -m bench.ledger`: what a record costs the ledger in CPU, and how long the queries of a page take.

The records are made here, without Kafka, and taken in as the stage takes them in. Only the CPU of this process counts:
that of a server of PostgreSQL does not.
"""

import argparse
import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from rich.console import Console
from sqlalchemy import text

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import Reason
from attendance.kafka.records import Headers
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery, Dropped, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent, Source
from attendance.topics import DAY_MS, Name, Topics
from ledger.counts import count_outcomes, count_waiting
from ledger.database import Database
from ledger.punches import WhichPunches, newest_punches
from ledger.store import Partition, Store
from ledger.trace import LedgerTrace
from ledger.waiting import LedgerWaiting
from operations.day_punches import day_punches
from operations.fact_reading import FactReader, milliseconds
from operations.log import Skipped
from operations.paging import page_token
from operations.trace import Asked
from operations.waiting import Which

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TOPICS: Final = Topics("bench")
PARTITIONS: Final = 12
DEVICES: Final = 2_000
EMPLOYEES: Final = 24_000
SECONDS_BETWEEN: Final = 3.6  # 24,000 punches a day
ONE_DROPPED_OF: Final = 20
ONE_WAITS_OF: Final = 100
AT_ONCE: Final = 700  # punches, which are some 2,000 records
QUERIES: Final = 300
LISTS: Final = 60
PAGE: Final = 100  # lines
SITE: Final = 100  # devices
SITE_DAYS: Final = 20
console = Console()


class Made(NamedTuple):
    """A record that no broker has."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers


class Maker:
    """Makes the records of punches, and their offsets."""

    def __init__(self) -> None:
        self._ends: dict[Partition, int] = defaultdict(int)

    def batch(self, first: int, punches: int) -> dict[Partition, list[Made]]:
        """The records of so many punches, from one on."""
        batch: dict[Partition, list[Made]] = defaultdict(list)
        for number in range(first, first + punches):
            for name, made in self._of(number):
                batch[name, made.partition].append(made)
        return dict(batch)

    def _of(self, number: int) -> Iterator[tuple[Name, Made]]:
        at = START + timedelta(seconds=int(number * SECONDS_BETWEEN))
        user, device = str(number % EMPLOYEES), f"D{number % DEVICES}"
        event = RawEvent(device, "s", user, "IN", at, f"{at:%F %T}", "UTC", at, Source("push", "json"), number)
        key, value, headers = event.record()
        raw = self._made("raw", number, at, key, value, headers)
        yield "raw", raw
        if number % ONE_DROPPED_OF == 0:
            of = event.event_id, event.event_id, Reason.DUPLICATE, device, user, at, raw.partition, raw.offset
            dropped = Dropped(*of)
            yield "dropped", self._made("dropped", number, at, dropped.key, dropped.encode(), dropped.headers(headers))
            return
        if number % ONE_WAITS_OF == 1:
            waiting = Waiting(event, Reason.UNMAPPED_USER)
            yield "unmapped", self._made("unmapped", number, at, waiting.key, waiting.encode(), ())
            return
        employee = f"HR-EMP-{user:>05}"
        checkin = Checkin(event.event_id, employee, at, "IN", device, user, "s", "UTC")
        place = [*checkin.headers(), (RAW_RECORD, b"%d:%d" % (raw.partition, raw.offset))]
        yield "checkins", self._made("checkins", number, at, checkin.key, checkin.encode(), place)
        delivery = Delivery(event.event_id, employee, f"EMP-CKIN-{number}", "created", "erpnext", at)
        yield "deliveries", self._made("deliveries", number, at, delivery.key, delivery.encode(), ())

    def _made(self, name: Name, number: int, at: datetime, key: bytes, value: bytes, headers: Headers) -> Made:
        partition = number % DEVICES % PARTITIONS
        offset = self._ends[name, partition]
        self._ends[name, partition] += 1
        return Made(TOPICS[name], partition, offset, milliseconds(at), key, value, headers)


def fill(database: Database, punches: int) -> None:
    """Take in the records of so many punches, and print what each cost."""
    store, reader, maker = Store(database), FactReader(TOPICS, NOTHING_MOVED), Maker()
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
    chance, days = random.Random(seed), max(1, int(punches * SECONDS_BETWEEN / 86_400))
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
                of = f"D{number % DEVICES}" if "device" in page else f"HR-EMP-{number % EMPLOYEES:>05}"
                first = milliseconds(START) + chance.randrange(days) * DAY_MS
                began = time.perf_counter()
                connection.execute(text(query), {"of": of, "first": first, "last": first + length}).fetchall()
                seconds.append(time.perf_counter() - began)
            show(page, seconds)


def list_pages(database: Database, punches: int, seed: int) -> None:
    """Ask for the pages of lists and for counts, and print how long that takes."""
    chance, days = random.Random(seed), max(1, int(punches * SECONDS_BETWEEN / 86_400))

    def day() -> tuple[datetime, datetime]:
        first = START + timedelta(days=chance.randrange(days))
        return first, first + timedelta(days=1)

    def deep() -> str:
        return page_token(milliseconds(day()[0]), 0, 0)

    def dropped() -> WhichPunches:
        first, last = day()
        return WhichPunches(outcome="dropped", first=first, last=last)

    def of_employee() -> WhichPunches:
        return WhichPunches(f"HR-EMP-{chance.randrange(EMPLOYEES):>05}")

    with database.transaction() as connection, LedgerWaiting(database, Skipped()) as waiting:
        middle = page_token("s", str(EMPLOYEES // 2), "unmapped_user")
        pages: dict[str, Callable[[], object]] = {
            "the newest punches": lambda: newest_punches(connection, WhichPunches(), PAGE),
            "punches before some day": lambda: newest_punches(connection, WhichPunches(), PAGE, deep()),
            "the newest punches of an employee": lambda: newest_punches(connection, of_employee(), PAGE),
            "what was dropped on a day": lambda: newest_punches(connection, dropped(), PAGE),
            "what became of a day": lambda: count_outcomes(connection, *day()),
            "what waits, counted by reason": lambda: count_waiting(connection),
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
    p95 = sorted(seconds)[int(0.95 * len(seconds))]
    console.print(f"{name}: {median(seconds) * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms")


def reconcile(database: Database, punches: int, seed: int) -> None:
    """Compare a day of the devices of a site by what the ledger has, and print how long that takes."""
    chance, days = random.Random(seed), max(1, int(punches * SECONDS_BETWEEN / 86_400))
    source = LedgerTrace(database)
    seconds, found = [], 0
    for _ in range(SITE_DAYS):
        first, day = chance.randrange(DEVICES - SITE), START.date() + timedelta(days=chance.randrange(days))
        asked = Asked(day=day, zones={f"D{number}": "UTC" for number in range(first, first + SITE)})
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
    parser.add_argument("--seed", type=int, default=1, help="of the questions (%(default)s)")
    arguments = parser.parse_args()
    with TemporaryDirectory() as directory:
        database = Database(arguments.url or f"sqlite:///{Path(directory, 'ledger.sqlite')}")
        database.prepare()
        fill(database, arguments.punches)
        ask(database, arguments.punches, arguments.seed)
        list_pages(database, arguments.punches, arguments.seed)
        reconcile(database, arguments.punches, arguments.seed)
        database.close()


if __name__ == "__main__":
    main()
