"""`make soak`: steady load with random faults. Exit status 0 only when all is delivered once and nothing grows."""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from attendance import logs
from attendance.times import now
from harness.bystanders import Bystanders
from harness.cells import await_outcomes
from harness.cluster import Cluster, Victim, cluster
from harness.faults import FAULTS, Fault, strike
from harness.load import Load
from harness.network import Network
from harness.pipeline import Pipeline
from harness.soak import MOST_FILES, MOST_MEMORY, Gauges, lag, remembered
from sandbox.fleet.plan import Shape
from sandbox.fleet.plan import plan as make_plan

WIDTH = 160  # where nobody looks at a terminal
RATE = 12  # punches a second
TERMINALS = 15  # that punch
BYSTANDERS = 2000 - TERMINALS
PEOPLE = 300
PUNCHES_A_DAY = 20  # of one person
LASTS = (5.0, 15.0)  # seconds of a fault
BETWEEN = (5.0, 20.0)  # seconds between two
LOOK_SECONDS = 2.0
LAG_SECONDS = 15.0
# Only these are ended; the others live on, so that what they hold can be seen to grow or not.
MORTAL = ("push-2", "stream-2", "sink-2")
LASTING = ("push-1", "stream-1", "sink-1", "directory", "pull", "completeness")
MEGABYTE = 1_000_000


def main() -> int:
    """Parse the arguments, run, print what was sampled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    arguments = parser.parse_args()
    logs.configure("WARNING", "text")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says of our faults is no news
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"{arguments.minutes:g} minutes, seed {arguments.seed}.")
    directory = Path(tempfile.mkdtemp(prefix="punchstream-soak-"))
    (directory / "brokers").mkdir()
    with Network() as network, cluster(directory / "brokers", network) as kafka, Bystanders(BYSTANDERS) as others:
        good = _Soak(arguments.seed, arguments.minutes * 60, directory, kafka, network, others, console).run()
    if good:
        shutil.rmtree(directory)
    else:
        console.print(f"Logs: {directory}", soft_wrap=True)
    return 0 if good else 1


class _Soak:
    """One soak."""

    def __init__(
        self,
        seed: int,
        seconds: float,
        directory: Path,
        kafka: Cluster,
        network: Network,
        bystanders: Bystanders,
        console: Console,
    ) -> None:
        self._random = random.Random(seed)
        self._seconds = seconds
        self._cluster = kafka
        self._network = network
        self._console = console
        punches = round(RATE * seconds)
        shape = Shape(
            terminals=TERMINALS,
            people=PEOPLE,
            punches=punches,
            days=1 + punches // (PEOPLE * PUNCHES_A_DAY),
            repeats=0.15,
        )
        self._plan = make_plan(seed, now(), shape)
        self._bystanders = bystanders
        self._pipeline = Pipeline(directory, kafka, network, self._plan, "soak", bystanders=bystanders)
        self._gauges = Gauges()
        self._looked = self._asked = 0.0
        self._struck: list[str] = []

    def run(self) -> bool:
        """True when nothing is lost, nothing double, and nothing grows."""
        with self._pipeline as pipeline:
            pipeline.start({})
            load = Load(self._plan, pipeline.doors, self._seconds)
            load.start()
            self._bystanders.live(pipeline.doors)
            self._gauges = Gauges()
            while load.running:
                self._pass(self._random.uniform(*BETWEEN))
                if load.running:
                    self._strike()
            self._cluster.wait_until_whole()
            report, _, problems = await_outcomes(pipeline, self._plan, load.tally)
            punches, size = remembered(pipeline.kafka)
            pipeline.until(lambda: lag(pipeline.kafka) == 0, 60)
            self._look()
        kept = self._plan.expectation.totals()
        if punches != kept.delivered + sum(kept.waiting.values()):
            problems = [*problems, f"the memory holds {punches} punches, {kept} were kept"]
        return self._show(report.raw, punches, size, problems)

    def _strike(self) -> None:
        fault: Fault = self._random.choice(FAULTS)
        names = MORTAL if fault in {"SIGKILL", "SIGTERM"} else MORTAL + LASTING
        victims: list[Victim] = [*(self._pipeline.members[name] for name in names), *self._cluster.nodes]
        victim = self._random.choice(victims)
        if victim in self._cluster.nodes:
            self._cluster.wait_until_whole()  # of three brokers one at a time
        seconds = self._random.uniform(*LASTS)
        self._struck.append(f"{fault} {victim.name}")
        self._console.print(f"{time.monotonic() - self._gauges.began:5.0f} s: {fault}, {victim.name}", markup=False)
        strike(fault, victim, self._network, lambda: self._pass(seconds))

    def _pass(self, seconds: float) -> None:
        until = time.monotonic() + seconds

        def over() -> bool:
            self._look()
            return time.monotonic() >= until

        self._pipeline.until(over, seconds + 60)

    def _look(self) -> None:
        at = time.monotonic()
        if at - self._looked >= LOOK_SECONDS:
            self._looked = at
            self._gauges.look(list(self._pipeline.members.values()))
        if at - self._asked >= LAG_SECONDS:
            self._asked = at
            behind = lag(self._pipeline.kafka)
            if behind is not None:
                self._gauges.lags.append(behind)

    def _show(self, raw: int, punches: int, size: int, problems: list[str]) -> bool:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("process", "sampled for", "memory", "rises by", "open files", "rise by", ""):
            table.add_column(column, justify="left" if column in {"process", ""} else "right")
        trends = self._gauges.trends()
        for each in trends:
            table.add_row(
                each.name,
                f"{each.seconds:.0f} s",
                f"{each.memory / MEGABYTE:.1f} MB",
                f"{each.memory_rise / MEGABYTE:+.1f} MB",
                f"{each.files:.0f}",
                f"{each.files_rise:+.1f}",
                "flat" if each.is_flat else "GROWS",
                style=None if each.is_flat else "red",
            )
        self._console.print(table)
        self._console.print(
            f"Flat: memory rises by at most {MOST_MEMORY:.0%}, open files by {MOST_FILES}, on the straight line through"
            f" the samples.\nLag: {max(self._gauges.lags, default=0)} records at most, 0 at the end."
            f"\nMemory of the stream: {punches:,} punches in {size:,} bytes."
            f"\n{raw:,} raw events, {len(self._struck)} faults."
        )
        for problem in problems[:10]:
            self._console.print(problem, style="red", markup=False)
        good = not problems and bool(trends) and all(each.is_flat for each in trends)
        verdict = "Nothing lost, nothing double, nothing grows." if good else "NOT good."
        self._console.print(verdict, style="green" if good else "red")
        return good


if __name__ == "__main__":
    sys.exit(main())
