"""`make faults`: every cell of the fault matrix on one cluster. Exit status 0 only when none fails."""

import argparse
import logging
import random
import re
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from msgspec import json
from rich.console import Console

from attendance import logs
from harness import certificate_cells, clock_cells, ledger_cells, progress_cells, report, topics_cells
from harness.cells import Cell, Result, matrix
from harness.cells import run as run_cell
from harness.cluster import Cluster, cluster
from harness.network import Network

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
WIDTH = 160  # where nobody looks at a terminal
BESIDE = {
    cell: module.run
    for module in (clock_cells, topics_cells, progress_cells, certificate_cells, ledger_cells)
    for cell in module.CELLS
}
ABREAST = 3
"""Cells at once of those that strike only their own processes: most of a cell is waiting, if the machine is idle."""


def main() -> int:
    """Parse the arguments, run the cells, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--cells", default="", help="A regular expression; only the cells whose name it finds.")
    parser.add_argument("--abreast", type=int, default=ABREAST, help="So many cells at once, where they may be.")
    parser.add_argument("--list", action="store_true", help="Print the names of the cells, and run none.")
    parser.add_argument(
        "--results", type=Path, help="A file that keeps what came of each cell: what is ok there, is not run."
    )
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
    before = kept(arguments.results, arguments.seed)
    found = {cell: before[cell.name] for cell in cells if cell.name in before}
    found |= run_all([cell for cell in cells if cell not in found], arguments, directory, console)
    results = [found[cell] for cell in cells]
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


def kept(file: Path | None, seed: int) -> dict[str, Result]:
    """By name what came of the cells that were ok with this seed, by a file that need not be there."""
    if file is None or not file.exists():
        return {}
    found = (json.decode(line, type=tuple[int, Result]) for line in file.read_bytes().splitlines())
    return {result.cell.name: result for of, result in found if of == seed and not result.problems}


def run_all(cells: Sequence[Cell], arguments: Namespace, directory: Path, console: Console) -> dict[Cell, Result]:
    """Run the cells, and say and keep what came of each."""
    brokers = directory / "brokers"
    brokers.mkdir()
    results: dict[Cell, Result] = {}

    def one(cell: Cell, kafka: Cluster, network: Network) -> Result:
        run = BESIDE.get(cell, run_cell)
        return run(cell, arguments.seed, kafka, network, directory / re.sub(r"\W+", "-", cell.name))

    def note(result: Result) -> None:
        results[result.cell] = result
        if arguments.results is not None:
            with arguments.results.open("ab") as file:
                file.write(json.encode((arguments.seed, result)) + b"\n")
        verdict = "FAILED" if result.problems else "ok"
        console.print(
            f"{len(results)}/{len(cells)} {result.cell.name}: {verdict}, {result.seconds:.0f} s", markup=False
        )
        for problem in result.problems:
            console.print(f"    {problem}", markup=False, soft_wrap=True)

    if not cells:
        return results
    with Network() as network, cluster(brokers, network) as kafka:
        with ThreadPoolExecutor(arguments.abreast) as pool:
            # The longest first, so that none is left over at the end.
            ordered = sorted((cell for cell in cells if not cell.alone), key=lambda cell: -cell.lasts)
            for future in as_completed([pool.submit(one, cell, kafka, network) for cell in ordered]):
                note(future.result())
        for cell in cells:
            if cell.alone:
                kafka.wait_until_whole()
                note(one(cell, kafka, network))
    return results


if __name__ == "__main__":
    sys.exit(main())
