"""The cells in which ledgers are struck, beside the matrix: one on SQLite and one on PostgreSQL, both at once.

Whatever happens to a ledger or to its database, it ends with the rows of one that read everything in one pass, and says
of each punch what the audit says.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from postgres import Postgres, unavailable_reason
from sqlalchemy import select, text

from attendance.times import now
from harness.cells import (
    LEAST_LOAD,
    LOAD_AFTERWARDS,
    POINT_SECONDS,
    SETTLE_SECONDS,
    SHAPE,
    WITHHELD,
    Cell,
    Result,
    await_outcomes,
    points_program,
)
from harness.cluster import Cluster, Victim
from harness.faults import FAULTS, LASTS, has_struck, strike
from harness.load import Load
from harness.network import Network
from harness.pipeline import Pipeline
from ledger.database import Database, LedgerUnavailable
from ledger.tables import METADATA
from operations.audit_report import Report
from sandbox.fleet.model import FleetPlan
from sandbox.fleet.plan import plan as make_plan
from sandbox.process import ChildProcess

POINTS: Final = ("ledger: rows written, not committed", "ledger: after the commit")
CELLS = (
    *(Cell("ledger", fault, lasts=LASTS[fault]) for fault in FAULTS),
    *(Cell("ledger", "SIGKILL", point) for point in POINTS),
    *(Cell("ledger", "SIGSTOP", point, POINT_SECONDS) for point in POINTS),
    Cell("database", "SIGKILL"),
    Cell("database", "SIGSTOP", lasts=LASTS["SIGSTOP"] / 2),
)
BATCHES: Final = 2, 12
"""A ledger strikes itself at one of these transactions, from and to."""
AWAY_SECONDS: Final = 5.0
"""A database that was killed is started again after so long."""
IN_ONE_PASS: Final = "ledger-3"

Rows = Mapping[str, list[tuple[Any, ...]]]


class _DatabaseVictim(Victim):
    """The server of PostgreSQL."""

    def __init__(self, server: Postgres) -> None:
        super().__init__("PostgreSQL", server.port)
        self._server = server

    @property
    def process(self) -> ChildProcess:
        return self._server.process


def run(cell: Cell, seed: int, cluster: Cluster, network: Network, directory: Path) -> Result:
    """Run one cell; as `harness.cells.run`."""
    started = time.monotonic()
    directory.mkdir(parents=True)
    random_ = random.Random(f"{seed} {cell.name}")
    plan = make_plan(random_.getrandbits(32), now(), SHAPE)
    prefix = f"cell-{random_.getrandbits(32):08x}"
    result = Result(cell, "PostgreSQL" if cell.target == "database" else "ledger-1 and -2")
    try:
        if (reason := unavailable_reason()) is not None:
            return replace(result, problems=(reason,))
        with Postgres() as server, Pipeline(directory, cluster, network, plan, prefix, WITHHELD) as pipeline:
            result = _Scene(cell, random_, pipeline, network, server, plan).play(result)
        if not result.problems:
            cluster.delete_topics(prefix)
    except Exception as error:  # noqa: BLE001 - the other cells go on
        result = replace(result, problems=(*result.problems, repr(error)))
    return replace(result, seconds=time.monotonic() - started)


class _Scene:
    """One run of a cell."""

    def __init__(
        self,
        cell: Cell,
        random_: random.Random,
        pipeline: Pipeline,
        network: Network,
        server: Postgres,
        plan: FleetPlan,
    ) -> None:
        self._cell = cell
        self._random = random_
        self._pipeline = pipeline
        self._network = network
        self._server = server
        self._plan = plan
        # A test reads a database straight, and a ledger by way of the network, which can be cut.
        url = server.new_database()
        sqlite = f"sqlite:///{pipeline.directory}/ledger-1.sqlite"
        self._urls = {"ledger-1": sqlite, "ledger-2": url}
        by_network = url.replace(str(server.port), str(network.forward(server.port)))
        self._ledgers = [
            pipeline.member(name, {"LEDGER_URL": each})
            for name, each in (("ledger-1", sqlite), ("ledger-2", by_network))
        ]

    def play(self, result: Result) -> Result:
        """Start everything, send the load, strike, wait until all is settled, and judge."""
        cell, pipeline = self._cell, self._pipeline
        for each in self._ledgers:
            count = str(self._random.randint(*BATCHES))
            each.start(*((points_program(), cell.point, count, cell.fault) if cell.point else ()))
        pipeline.start({})
        load = Load(self._plan, pipeline.doors, max(LEAST_LOAD, 6 + cell.lasts + LOAD_AFTERWARDS))
        load.start()
        if cell.point:
            self._await_point()
        else:
            self._pass(self._random.uniform(3, 6))
            self._strike()
        pipeline.map_withheld()
        pipeline.until(lambda: not load.running, SETTLE_SECONDS)
        report, _, found = await_outcomes(pipeline, self._plan, load.tally)
        resent = report.raw - self._plan.expectation.totals().raw
        return replace(result, raw=report.raw, resent=resent, problems=(*found, *self._problems(report)))

    def _strike(self) -> None:
        cell = self._cell
        if cell.target == "database":
            strike(cell.fault, _DatabaseVictim(self._server), self._network, lambda: self._pass(cell.lasts))
            if not self._server.process.running:
                self._pass(AWAY_SECONDS)
                self._server.start()
            return
        first, second = self._ledgers
        strike(
            cell.fault,
            first,
            self._network,
            lambda: strike(cell.fault, second, self._network, lambda: self._pass(cell.lasts)),
        )
        if not cell.lasts:
            strike(cell.fault, second, self._network, lambda: None)

    def _await_point(self) -> None:
        """Return when both have struck themselves and, if they only stopped, go on."""
        number = signal.Signals[self._cell.fault]
        struck: set[str] = set()

        def both() -> bool:
            struck.update(each.name for each in self._ledgers if has_struck(each, number))
            return len(struck) == len(self._ledgers)

        self._pipeline.until(both, SETTLE_SECONDS)
        if number == signal.SIGSTOP:
            self._pass(self._cell.lasts)
            for each in self._ledgers:
                each.process.resume()

    def _pass(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._pipeline.until(lambda: time.monotonic() >= deadline, seconds + 30)

    def _problems(self, report: Report) -> Iterable[str]:
        """What is wrong with the rows, once every ledger has had the time to read all that is there."""
        once = f"sqlite:///{self._pipeline.directory}/{IN_ONE_PASS}.sqlite"
        self._pipeline.member(IN_ONE_PASS, {"LEDGER_URL": once}).start()

        def is_exact() -> bool:
            wanted = rows(once)
            are_equal = bool(wanted) and all(rows(url) == wanted for url in self._urls.values())
            return are_equal and outcomes(once) == outcomes_of(report)

        try:
            self._pipeline.until(is_exact, SETTLE_SECONDS)
        except TimeoutError:
            yield from self._differences(report, once)

    def _differences(self, report: Report, once: str) -> Iterable[str]:
        wanted = rows(once)
        for name, url in self._urls.items():
            found = rows(url)
            for table in sorted({*wanted, *found}):
                here, there = Counter(found.get(table, ())), Counter(wanted.get(table, ()))
                more, fewer = (here - there).total(), (there - here).total()
                if more or fewer:
                    yield f"{name}: {table} has {more} rows too many and lacks {fewer}"
        yield f"the ledger says {outcomes(once)}, the audit {outcomes_of(report)}"


def rows(url: str) -> Rows:
    """By table the rows of a ledger, which say nothing of when it read them. Empty where its database is away."""
    database = Database(url)
    try:
        with database.transaction() as connection:
            return {
                name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for name, table in METADATA.tables.items()
                if name not in {"positions", "caught_up"}
            }
    except LedgerUnavailable:
        return {}
    finally:
        database.close()


def outcomes(url: str) -> dict[str, int]:
    """How many raw records have which outcome, by a ledger."""
    database = Database(url)
    try:
        with database.transaction() as connection:
            found = connection.execute(text("select outcome, count(*) as number from punches group by outcome"))
            return {row.outcome: row.number for row in found}
    finally:
        database.close()


def outcomes_of(report: Report) -> dict[str, int]:
    """The same by an audit that balances."""
    found = {name: getattr(report, name) for name in ("delivered", "dropped", "waiting", "dead_lettered")}
    return {name: number for name, number in found.items() if number}
