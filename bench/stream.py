"""`python -m bench.stream`: the stream beside its peers; with several workers; as the fleet and the memory grow."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rich.console import Console

from bench.cluster import Cluster, cluster
from bench.events import Workload
from bench.measure import spread
from bench.rebalance import rebalance
from bench.results import Row, save
from bench.runs import WARM_UP, Run, bench
from bench.subjects import BYTEWAX, FAUST, PLAIN, PUNCHSTREAM, QUIX, Subject

FIRST: Final = WARM_UP // 2  # the warm-up took the punches before it
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
    return await _scaled(arguments, "workers", (1, 2, 4), lambda n: _punchstream(kafka, arguments, workers=n))


async def plain_workers(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """The same of the plain loop: what processes that share nothing cost one another on this machine."""

    def run(count: int) -> Awaitable[Run]:
        return half_repeats(kafka, PLAIN, Workload(seed=arguments.seed), arguments.events, workers=count)

    return await _scaled(arguments, "workers", (1, 2, 4), run)


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
    kafka: Cluster, arguments: argparse.Namespace, *, devices: int = 100, workers: int = 1, partitions: int = 4
) -> Run:
    workload = Workload(devices=devices, seed=arguments.seed)
    return await half_repeats(kafka, PUNCHSTREAM, workload, arguments.events, workers=workers, partitions=partitions)


async def growth(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """One process that goes on and on, measured piece by piece."""
    workload, piece = Workload(seed=arguments.seed), max(arguments.growth // 10, 1000)
    rows: list[Row] = []
    async with bench(kafka, PUNCHSTREAM, workload) as running:
        first = FIRST
        while len(rows) < arguments.growth // piece:
            run = await running.work_off(workload.half_repeats(first, piece), piece // 2)
            first += piece // 2
            rows.append(
                {
                    "events so far": (len(rows) + 1) * piece,
                    "CPU µs/event": run.cpu_microseconds,
                    "ratio": run.cpu_microseconds / (rows[0]["CPU µs/event"] if rows else run.cpu_microseconds),
                    "events/s": run.per_second,
                    "RSS MB": run.resident / 1e6,
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
    parser.add_argument("--growth", type=int, default=1_000_000, help="events in all of `growth` (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each run (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the events (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    arguments = parser.parse_args()
    async with cluster() as kafka:
        for name in arguments.only:
            console.print(f"stream: {name}")
            rows = await EXPERIMENTS[name](kafka, arguments)
            save("stream", name, rows, seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
