"""`python -m bench.ledger`: what a record costs the ledger in CPU, and how long what pages ask takes.

The records are made here, without Kafka, and taken in as the stage takes them in. Only the CPU of this process counts:
that of a server of PostgreSQL does not.
"""

import argparse
import gc
import re
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from sqlalchemy import text

from attendance.adoptions import NOTHING_MOVED
from bench.ledger_pages import SITE, Answers, Questions
from bench.ledger_records import TOPICS, Maker, Shape
from bench.ledger_rows import add_reconciled_days, copy_days
from ledger.database import Database
from ledger.store import Store
from operations.fact_reading import FactReader, milliseconds
from punchstream.commands.stages import YOUNG_OBJECTS

SHAPE: Final = Shape(
    devices=5_000,
    sites=100,
    employees=100_000,
    seconds_between=0.864,  # 100,000 punches a day
    one_fails_of=1_000,
)
A_DAY: Final = SHAPE.employees
"""So many punches are a day, and the next day has the same again."""
AT_ONCE: Final = 700  # punches, which are some 2,000 records
console = Console()


def fill(database: Database, maker: Maker, punches: int, begin: int = 0) -> None:
    """Take in the records of so many punches, from one on, and print what each cost."""
    store, reader = Store(database), FactReader(TOPICS, NOTHING_MOVED)
    positions = store.load()
    records, cpu, wall = 0, 0.0, 0.0
    for first in range(begin, begin + punches, AT_ONCE):
        batch = maker.batch(first, min(AT_ONCE, begin + punches - first))
        began, cpu_before = time.perf_counter(), time.process_time()
        positions |= store.apply(reader, batch, positions, 0)
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - began
        records += sum(map(len, batch.values()))
    each = f"{cpu / records * 1e6:.1f} µs of CPU and {wall / records * 1e6:.1f} µs of the clock for each"
    console.print(f"{records:,} records of {punches:,} punches: {each}")


def report(database: Database, maker: Maker, at: datetime) -> None:
    """Take in what each device says of itself at a time; the ledger has then all that there is."""
    store, reader = Store(database), FactReader(TOPICS, NOTHING_MOVED)
    positions = store.load()
    positions |= store.apply(reader, maker.reports(at), positions, milliseconds(at))
    store.note_read([*positions], milliseconds(at))


def ask(database: Database, punches: int, seed: int, times: int, only: str) -> None:
    """Ask what pages ask, and print how long each answer takes."""
    with database.transaction() as connection:
        if not database.is_sqlite:
            connection.execute(text("analyze"))
        questions, answers = Questions(database, connection, SHAPE, punches, seed), Answers()
        for name, question in questions.all():
            if re.search(only, name):
                answers.ask(name, question, times)
        answers.show()
        if not only:
            of_site = Answers()
            of_site.ask(
                f"a day of {SITE} devices, reconciled: {questions.site_day()} punches", questions.site_day, times
            )
            of_site.show()


def main() -> None:
    """Fill a new ledger, and ask it."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--punches", type=int, default=1_000_000, help="that there are to be (%(default)s)")
    parser.add_argument(
        "--days-taken-in", type=int, help="so many days are taken in, and later ones are copied from them"
    )
    parser.add_argument("--url", help="of an empty database; SQLite in a temporary folder if it is not given")
    parser.add_argument("--is-filled", action="store_true", help="that database has the punches already")
    parser.add_argument("--more", type=int, default=0, help="punches that are taken in at the end, once all is there")
    parser.add_argument("--times", type=int, default=40, help="that each question is asked (%(default)s)")
    parser.add_argument("--only", default="", help="questions whose name has this regular expression")
    parser.add_argument("--seed", type=int, default=1, help="of the questions (%(default)s)")
    arguments = parser.parse_args()
    # As in each process of a stage.
    gc.set_threshold(YOUNG_OBJECTS)
    gc.freeze()
    with TemporaryDirectory() as directory:
        database = Database(arguments.url or f"sqlite:///{Path(directory, 'ledger.sqlite')}")
        database.prepare()
        if not arguments.is_filled:
            taken_in = min(arguments.punches, (arguments.days_taken_in or arguments.punches) * A_DAY)
            fill(database, Maker(SHAPE), taken_in)
            if taken_in < arguments.punches:
                copy_days(database, taken_in // A_DAY, arguments.punches // taken_in - 1)
            report(database, Maker(SHAPE), SHAPE.at(arguments.punches - 1))
            add_reconciled_days(database, SHAPE, SHAPE.days(arguments.punches))
        if arguments.more:
            ends = {at: position.next_offset for at, position in Store(database).load().items()}
            fill(database, Maker(SHAPE, ends), arguments.more, begin=arguments.punches)
        ask(database, arguments.punches, arguments.seed, arguments.times, arguments.only)
        database.close()


if __name__ == "__main__":
    main()
