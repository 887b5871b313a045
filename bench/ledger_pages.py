"""What pages and commands ask a ledger, and how long each answer takes."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, select, text

from bench.ledger_records import START, Shape
from bench.measure import percentile
from ledger.counts import count_hours, count_open_letters, count_outcomes, count_undelivered, count_waiting
from ledger.database import Database
from ledger.device_statuses import LedgerStatuses
from ledger.numbers import count_ignored
from ledger.open_letters import OpenLetters
from ledger.punches import WhichPunches, count_punches, newest_punches
from ledger.reconciliations import Reconciliations, WhichDays
from ledger.tables import RAW_RECORDS
from ledger.trace import LedgerTrace
from ledger.waiting import LedgerWaiting
from operations.day_punches import day_punches
from operations.dead_letters import Selection
from operations.fact_reading import milliseconds
from operations.log import Skipped
from operations.paging import page_token
from operations.trace import Asked
from operations.waiting import Which

PAGE: Final = 100  # lines
SITE: Final = 50  # devices
TARGET_MS: Final = 50.0
Question = Callable[[], object]


class Questions:
    """What is asked of a ledger, each time of something else."""

    def __init__(self, database: Database, connection: Connection, shape: Shape, punches: int, seed: int) -> None:
        """Nothing is asked yet.

        Args:
            database: Prepared, with so many punches.
            connection: In a transaction.
            shape: What punches there are.
            punches: How many.
            seed: Of the questions.
        """
        self._database, self._connection, self._shape = database, connection, shape
        self._punches, self._chance = punches, random.Random(seed)
        # A page has a loop already.
        self._run = asyncio.Runner().run
        self._ids = [*connection.execute(select(RAW_RECORDS.c.event_id).limit(1_000)).scalars()]

    def all(self) -> Iterator[tuple[str, Question]]:
        """Each question, by a name."""
        yield from self._of_punches().items()
        yield from self._of_what_waits().items()
        yield from self._of_letters().items()
        yield from self._of_days().items()
        statuses = LedgerStatuses(self._database, Skipped())
        yield "what each device last said", lambda: self._run(statuses.facts())

    def _of_punches(self) -> Mapping[str, Question]:
        connection, shape = self._connection, self._shape

        def page(which: WhichPunches, after: str | None = None) -> object:
            return newest_punches(connection, which, PAGE, after)

        def of_day(**asked: str) -> WhichPunches:
            first, last = self._day()
            return WhichPunches(**asked, first=first, last=last)  # type: ignore[arg-type]

        def of_hour() -> WhichPunches:
            first = self._day()[0]
            return WhichPunches(site=self._site(), first=first, last=first + timedelta(hours=1))

        some = frozenset(map(shape.site, range(30)))
        trace = LedgerTrace(self._database)
        return {
            "the newest punches": lambda: page(WhichPunches()),
            "punches before some day": lambda: page(WhichPunches(), self._deep()),
            "the newest punches of an employee": lambda: page(WhichPunches(self._employee())),
            "a day of a device": lambda: page(of_day(device=self._device())),
            "the newest punches of a site": lambda: page(WhichPunches(site=self._site())),
            "the delivered ones of a site": lambda: page(WhichPunches(site=self._site(), outcome="delivered")),
            "the newest punches of some sites": lambda: page(WhichPunches(sites=some)),
            "what was dropped on a day": lambda: page(of_day(outcome="dropped")),
            "an hour of a site, counted": lambda: count_punches(connection, of_hour()),
            "what became of a day": lambda: count_outcomes(connection, *self._day()),
            "what became of a day of a site": lambda: count_outcomes(connection, *self._day(), [self._site()]),
            "what became of a day of some sites": lambda: count_outcomes(connection, *self._day(), some),
            "the hours of a day, counted": lambda: count_hours(connection, *self._day()),
            "the hours of a day of some sites": lambda: count_hours(connection, *self._day(), some),
            "what is on its way": lambda: count_undelivered(connection),
            "a trace of an employee": lambda: self._facts(trace, Asked(self._employee(), self._date())),
            "a trace of an id": lambda: self._facts(trace, Asked(event_id=self._chance.choice(self._ids))),
            "the view, a day of a device": self._view_of_device,
            "the view, a week of an employee": self._view_of_employee,
        }

    def _of_what_waits(self) -> Mapping[str, Question]:
        def asked(ask: Callable[[LedgerWaiting], object]) -> Question:
            def answer() -> object:
                with LedgerWaiting(self._database, Skipped()) as waiting:
                    return ask(waiting)

            return answer

        # As `one_waits_of` has it, all of them are of one site.
        site = self._shape.site(1)
        middle = page_token(site, "5", "unmapped_user")
        return {
            "what waits, counted by reason": lambda: count_waiting(self._connection),
            "what waits, counted by device": asked(lambda waiting: waiting.devices(Which())),
            "what waits, its lines counted": asked(lambda waiting: waiting.count(Which())),
            "who waits, the first page": asked(lambda waiting: [*waiting.users(Which(), most=PAGE)]),
            "who waits, a page in the middle": asked(
                lambda waiting: [*waiting.users(Which(), most=PAGE, after=middle)]
            ),
            "who waits at a site, in the middle": asked(
                lambda waiting: [*waiting.users(Which(site=site), most=PAGE, after=middle)]
            ),
            "who waits at a site": asked(lambda waiting: [*waiting.users(Which(site=site), most=PAGE)]),
        }

    def _of_letters(self) -> Mapping[str, Question]:
        letters, every = OpenLetters(self._database), Selection()
        return {
            "what failed, counted": lambda: count_open_letters(self._connection),
            "what failed, in groups": lambda: letters.groups(every),
            "what failed, by device": lambda: letters.devices(every, PAGE),
            "dead letters, the first page": lambda: letters.page(every, PAGE),
            "dead letters, a page in the middle": lambda: letters.page(every, PAGE, self._deep()),
            "dead letters of a device": lambda: letters.page(Selection.of(device=self._device()), PAGE),
            "who is ignored": lambda: count_ignored(self._connection),
        }

    def _of_days(self) -> Mapping[str, Question]:
        days = Reconciliations(self._database)
        return {
            "reconciled days, the first page": lambda: days.days(WhichDays(), PAGE),
            "reconciled days of a device": lambda: days.days(WhichDays(device=self._device()), PAGE),
            "reconciled days of a site with a gap": lambda: days.days(
                WhichDays(frozenset((self._site(),)), only_gaps=True), PAGE
            ),
            "the newest reconciled day of each site": days.newest,
        }

    def site_day(self) -> int:
        """Compare a day of the devices of a site: how many punches that are."""
        first, day = self._chance.randrange(self._shape.devices - SITE), self._date()
        zones = {self._shape.device(number): "UTC" for number in range(first, first + SITE)}
        asked = Asked(day=day, zones=zones)
        facts = self._run(LedgerTrace(self._database).facts(asked))
        return sum(len(each.punches) for each in day_punches(facts, asked).values())

    def _view_of_device(self) -> object:
        query = (
            "select * from punches where device_id = :of and event_time >= :first and event_time < :last"
            " order by event_time limit 200"
        )
        first, last = map(milliseconds, self._day())
        return self._connection.execute(text(query), {"of": self._device(), "first": first, "last": last}).all()

    def _view_of_employee(self) -> object:
        query = (
            "select * from punches where event_id in (select event_id from checkins"
            " where employee = :of and event_time >= :first and event_time < :last)"
        )
        first = self._day()[0]
        days = {"first": milliseconds(first), "last": milliseconds(first + timedelta(days=7))}
        return self._connection.execute(text(query), {"of": self._employee()} | days).all()

    def _facts(self, trace: LedgerTrace, asked: Asked) -> object:
        return self._run(trace.facts(asked))

    def _day(self) -> tuple[datetime, datetime]:
        first = START + timedelta(days=self._chance.randrange(self._shape.days(self._punches)))
        return first, first + timedelta(days=1)

    def _date(self) -> date:
        return self._day()[0].date()

    def _deep(self) -> str:
        return page_token(milliseconds(self._day()[0]), 0, 0)

    def _device(self) -> str:
        return self._shape.device(self._chance.randrange(self._shape.devices))

    def _site(self) -> str:
        return self._shape.site(self._chance.randrange(self._shape.devices))

    def _employee(self) -> str:
        return self._shape.employee(self._chance.randrange(self._shape.employees))


class Answers:
    """How long answers took, as a table."""

    def __init__(self) -> None:
        """None is there yet."""
        self._table = Table("asked", "median, ms", "p95, ms", "CPU median, ms", "CPU p95, ms", "")

    def ask(self, name: str, question: Question, times: int) -> None:
        """Ask for something, and once before that, which has the database prepare it.

        Args:
            name: Of the question.
            question: Asks.
            times: How often.
        """
        question()
        wall: list[float] = []
        cpu: list[float] = []
        for _ in range(times):
            with _measured(wall, cpu):
                question()
        figures = [*_figures(wall), *_figures(cpu)]
        is_over = percentile(cpu, 95) * 1e3 > TARGET_MS
        self._table.add_row(name, *(f"{each * 1e3:.1f}" for each in figures), "over" if is_over else "")

    def show(self) -> None:
        """Print all of it."""
        Console().print(self._table)


@contextmanager
def _measured(wall: list[float], cpu: list[float]) -> Iterator[None]:
    began, cpu_before = time.perf_counter(), time.process_time()
    yield
    wall.append(time.perf_counter() - began)
    cpu.append(time.process_time() - cpu_before)


def _figures(seconds: list[float]) -> tuple[float, float]:
    return median(seconds), percentile(seconds, 95)
