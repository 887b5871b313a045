"""`make faults`: every cell of the fault matrix on one cluster. Exit status 0 only when none fails."""

import argparse
import logging
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console

from attendance import logs
from harness import certificate_cells, clock_cells, progress_cells, report, topics_cells
from harness.cells import Cell, Result, matrix
from harness.cells import run as run_cell
from harness.cluster import Cluster, cluster
from harness.network import Network

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
WIDTH = 160  # where nobody looks at a terminal
BESIDE = {
    cell: module.run
    for module in (clock_cells, topics_cells, progress_cells, certificate_cells)
    for cell in module.CELLS
}
ABREAST = 3  # cells that strike only their own processes; most of a cell is waiting


def main() -> int:
    """Parse the arguments, run the cells, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--cells", default="", help="A regular expression; only the cells whose name it finds.")
    parser.add_argument("--list", action="store_true", help="Print the names of the cells, and run none.")
    parser.add_argument("--write", action="store_true", help="Put the table into docs/guarantees.md.")
    arguments = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    cells = [cell for cell in (*matrix(), *BESIDE) if re.search(arguments.cells, cell.name)]
    if arguments.list:
        for cell in cells:
            console.print(cell.name)
        return 0
    logs.configure("WARNING", "text")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says of our faults is no news
    console.print(f"{len(cells)} cells, seed {arguments.seed}.")
    directory = Path(tempfile.mkdtemp(prefix="punchstream-faults-"))
    started = time.monotonic()
    results = run_all(cells, arguments.seed, directory, console)
    console.print(report.table(results))
    failed = [result for result in results if result.problems]
    console.print(f"\n{len(failed)} of {len(results)} failed. {(time.monotonic() - started) / 60:.1f} min.")
    if failed:
        console.print(f"Again: make faults SEED={arguments.seed}. Logs: {directory}", soft_wrap=True)
        return 1
    if arguments.write:
        report.write(PAGE, results, arguments.seed)
    shutil.rmtree(directory)
    return 0


def run_all(cells: Sequence[Cell], seed: int, directory: Path, console: Console) -> list[Result]:
    """The results, in the order of the cells."""
    brokers = directory / "brokers"
    brokers.mkdir()
    results: dict[Cell, Result] = {}

    def one(cell: Cell, kafka: Cluster, network: Network) -> Result:
        run = BESIDE.get(cell, run_cell)
        return run(cell, seed, kafka, network, directory / re.sub(r"\W+", "-", cell.name))

    def note(result: Result) -> None:
        results[result.cell] = result
        verdict = "FAILED" if result.problems else "ok"
        console.print(
            f"{len(results)}/{len(cells)} {result.cell.name}: {verdict}, {result.seconds:.0f} s", markup=False
        )
        for problem in result.problems:
            console.print(f"    {problem}", markup=False, soft_wrap=True)

    with Network() as network, cluster(brokers, network) as kafka:
        with ThreadPoolExecutor(ABREAST) as pool:
            # The longest first, so that none is left over at the end.
            abreast = sorted((cell for cell in cells if not cell.alone), key=lambda cell: -cell.lasts)
            for future in as_completed([pool.submit(one, cell, kafka, network) for cell in abreast]):
                note(future.result())
        for cell in cells:
            if cell.alone:
                kafka.wait_until_whole()
                note(one(cell, kafka, network))
    return [results[cell] for cell in cells]


if __name__ == "__main__":
    sys.exit(main())
