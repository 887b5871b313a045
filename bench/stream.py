"""`python -m bench.stream`: the stream beside its peers; with several workers; as the fleet and the memory grow.

`--other CHECKOUT` compares this checkout with another one instead, such as a worktree of the commit before.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.cluster import Cluster, cluster
from bench.events import Workload
from bench.measure import spread
from bench.rebalance import rebalance
from bench.report import table
from bench.results import ROOT, Row, save
from bench.runs import WARM_UP, Bench, Run, bench
from bench.subjects import BYTEWAX, FAUST, PLAIN, PUNCHSTREAM, QUIX, Subject, checkout

FIRST: Final = WARM_UP // 2  # the warm-up took the punches before it
WORKERS: Final = (1, 2, 4)
GROWTH_PIECE: Final = 1_000_000  # that fill a topic while the process is paused: less than its session timeout
TURNS: Final = 3  # of `growth` for each repetition: short beside the way between them, and as noisy as every run
console = Console()


async def half_repeats(
    kafka: Cluster, subject: Subject, workload: Workload, events: int, *, workers: int = 1, partitions: int = 4
) -> Run:
    """So many events of which half are repeats, on fresh topics by fresh processes."""
    async with bench(kafka, subject, workload, workers=workers, partitions=partitions) as running:
        run = await running.work_off(workload.half_repeats(FIRST, events), events // 2)
    label = f"{subject.name}, {workers} workers, {partitions} partitions, {workload.devices} devices"
    console.print(f"  {label}: {run.cpu_microseconds:.1f} µs/event, {run.per_second:,.0f} events/s")
    return run


async def only_repeats(kafka: Cluster, subject: Subject, workload: Workload, events: int) -> Run:
    """Nothing but repeats: a tenth as many punches that are known, sent ten times over."""
    known = events // 10
    async with bench(kafka, subject, workload) as running:
        await running.work_off(workload.new(FIRST, known), known)
        again = (event for _ in range(10) for event in workload.new(FIRST, known))
        run = await running.work_off(again, 0)
    console.print(f"  {subject.name}, only repeats: {run.cpu_microseconds:.1f} µs/event")
    return run


def row(runs: Sequence[Run], reference: Sequence[Run], **name: str | int) -> Row:
    """A line of a table: the figures of the repetitions, and the ratio of their CPU time to that of the reference."""
    cpu = spread([run.cpu_microseconds for run in runs])
    return {
        **name,
        "events": runs[0].events,
        "CPU µs/event": cpu,
        "ratio": cpu["median"] / spread([run.cpu_microseconds for run in reference])["median"],
        "events/s": spread([run.per_second for run in runs]),
        "RSS MB": max(run.resident for run in runs) / 1e6,
    }


async def compare(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """Beside the peers, in turns."""
    subjects = (PUNCHSTREAM, PLAIN, FAUST, QUIX, BYTEWAX)
    runs: dict[str, list[Run]] = {subject.name: [] for subject in subjects}
    for _ in range(arguments.repetitions):
        for subject in subjects:
            events = round(arguments.events * subject.share)
            runs[subject.name].append(await half_repeats(kafka, subject, Workload(seed=arguments.seed), events))
    return [
        row(runs[subject.name], runs[PUNCHSTREAM.name], what=subject.name, does=subject.does) for subject in subjects
    ]


async def checkouts(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """This checkout beside another one, in turns; each of the two begins every second turn."""
    ours, other = checkout("this-checkout", ROOT), checkout("other-checkout", arguments.other)
    runs: dict[str, list[Run]] = {ours.name: [], other.name: []}
    for turn in range(arguments.repetitions):
        for subject in (ours, other) if turn % 2 else (other, ours):
            run = await half_repeats(kafka, subject, Workload(seed=arguments.seed), arguments.events)
            runs[subject.name].append(run)
    ratios = [
        mine.cpu_microseconds / its.cpu_microseconds
        for mine, its in zip(runs[ours.name], runs[other.name], strict=True)
    ]
    return [
        row(runs[other.name], runs[other.name], what=f"{arguments.other}"),
        row(runs[ours.name], runs[other.name], what=f"{ROOT}") | {"ratio of each turn": spread(ratios)},
    ]


async def repeats(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """Beside a plain loop that decodes and drops."""
    runs: dict[str, list[Run]] = {PUNCHSTREAM.name: [], PLAIN.name: []}
    for _ in range(arguments.repetitions):
        for subject in (PUNCHSTREAM, PLAIN):
            run = await only_repeats(kafka, subject, Workload(seed=arguments.seed), arguments.events)
            runs[subject.name].append(run)
    return [row(runs[name], runs[PUNCHSTREAM.name], what=name) for name in runs]


async def workers(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """One to four workers on four partitions; the CPU time is that of all."""
    return await _shared(kafka, arguments, PUNCHSTREAM)


async def plain_workers(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """The same of the plain loop: what processes that share nothing cost one another on this machine."""
    return await _shared(kafka, arguments, PLAIN)


async def _shared(kafka: Cluster, arguments: argparse.Namespace, subject: Subject) -> list[Row]:
    # So many that the share of each of four is a run by itself.
    workload, events = Workload(seed=arguments.seed), arguments.events * max(WORKERS)
    return await _scaled(
        arguments, "workers", WORKERS, lambda n: half_repeats(kafka, subject, workload, events, workers=n)
    )


async def partitions(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """One worker on more and more partitions."""
    return await _scaled(arguments, "partitions", (1, 4, 12), lambda n: _punchstream(kafka, arguments, partitions=n))


async def devices(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """Fleets of 10 to 5,000 terminals."""
    return await _scaled(
        arguments, "devices", (10, 100, 1000, 5000), lambda n: _punchstream(kafka, arguments, devices=n)
    )


async def _scaled(
    arguments: argparse.Namespace, name: str, sizes: Sequence[int], run: Callable[[int], Awaitable[Run]]
) -> list[Row]:
    """The same for each size, in turns."""
    runs: dict[int, list[Run]] = {size: [] for size in sizes}
    for _ in range(arguments.repetitions):
        for size in sizes:
            runs[size].append(await run(size))
    return [row(runs[size], runs[sizes[0]], **{name: size}) for size in sizes]


async def _punchstream(
    kafka: Cluster, arguments: argparse.Namespace, *, devices: int = 100, partitions: int = 4
) -> Run:
    workload = Workload(devices=devices, seed=arguments.seed)
    return await half_repeats(kafka, PUNCHSTREAM, workload, arguments.events, partitions=partitions)


class Feed:
    """A running process and how much of the workload it was given."""

    def __init__(self, running: Bench, workload: Workload) -> None:
        self.given = 0
        self._running = running
        self._workload = workload

    async def give(self, events: int) -> Run:
        """Have it work off so many more events, half of them repeats."""
        run = await self._running.work_off(self._workload.half_repeats(FIRST + self.given // 2, events), events // 2)
        self.given += events
        return run


async def growth(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """One process that goes on and on; on its way it takes turns with ones that have seen a hundredth of it all.

    In turns, because the machine is not as fast at the end as it was at the start.
    """
    workload, few = Workload(seed=arguments.seed), arguments.growth // 100
    rows: list[Row] = []
    async with bench(kafka, PUNCHSTREAM, workload) as running:
        grown = Feed(running, workload)
        for events_before in (few, few * 3, few * 10, few * 30, few * 100):
            while grown.given < events_before:
                await grown.give(min(GROWTH_PIECE, events_before - grown.given))
            async with bench(kafka, PUNCHSTREAM, workload) as beginning:
                young = Feed(beginning, workload)
                await young.give(few)
                turns = [
                    (await grown.give(arguments.events), await young.give(arguments.events))
                    for _ in range(TURNS * arguments.repetitions)
                ]
            runs = [run for run, _ in turns]
            rows.append(
                {
                    "events before": events_before,
                    "CPU µs/event": spread([run.cpu_microseconds for run in runs]),
                    "CPU µs/event, young": spread([run.cpu_microseconds for _, run in turns]),
                    "ratio": spread([run.cpu_microseconds / other.cpu_microseconds for run, other in turns]),
                    "events/s": spread([run.per_second for run in runs]),
                    "RSS MB": runs[-1].resident / 1e6,
                }
            )
            console.print(f"  growth: {rows[-1]}")
    return rows


EXPERIMENTS: Final = {
    "compare": compare,
    "repeats": repeats,
    "workers": workers,
    "plain_workers": plain_workers,
    "partitions": partitions,
    "devices": devices,
    "growth": growth,
    "rebalance": rebalance,
}


async def main() -> None:
    """Run what is asked for, and write `bench/results/stream.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.stream", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="in each run (%(default)s)")
    parser.add_argument(
        "--growth", type=int, default=10_000_000, help="events of `growth` before its last turns (%(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=3, help="of each run (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the events (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument(
        "--other", type=Path, metavar="CHECKOUT", help="only compare this checkout with another one; nothing is saved"
    )
    arguments = parser.parse_args()
    async with cluster() as kafka:
        if arguments.other:
            print(*table(await checkouts(kafka, arguments)), sep="\n")
            return
        for name in arguments.only:
            console.print(f"stream: {name}")
            rows = await EXPERIMENTS[name](kafka, arguments)
            save("stream", name, rows, seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
