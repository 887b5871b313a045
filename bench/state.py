"""`python -m bench.state`: what the stream's memory takes, and how long it takes to get it back."""

import argparse
import asyncio
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.cluster import Cluster, TopicSet, cluster
from bench.events import Workload
from bench.measure import cpu_seconds, resident_bytes
from bench.results import Row, save
from bench.runs import Bench, joined
from bench.subjects import PUNCHSTREAM, Subject

PUNCHES_PER_USER: Final = 100  # 25 days of four; all within the horizon
# Enough to fill every buffer, so that what more of them take is the memory's own.
FEW: Final = 200_000
STORES: Final = ("memory", "rocksdb")
_TIMEOUT_SECONDS: Final = 3600
console = Console()


def subject(store: str) -> Subject:
    """The stream with that store."""

    def prepare(topics: TopicSet, workload: Workload) -> tuple[list[str | Path], dict[str, str]]:
        command, environment = PUNCHSTREAM.prepare(topics, workload)
        return command, environment | {"DEDUP_STORE": store, "DEDUP_DIRECTORY": str(_directory(topics))}

    return replace(PUNCHSTREAM, prepare=prepare)


def _directory(topics: TopicSet) -> Path:
    return topics.directory / "dedup-state"


async def remember(kafka: Cluster, store: str, punches: int, mapped: int, seed: int) -> Row:
    """Have so many punches remembered, restart, and wait for the first new one to be decided."""
    workload = Workload(users=punches // PUNCHES_PER_USER, seed=seed)
    stream = subject(store)
    async with kafka.topics("state") as topics:
        await topics.know(Workload(users=mapped).user_map())
        with stream.process(topics, workload) as process:
            await joined(topics, stream, [process])
            run = await Bench(stream, topics, [process]).work_off(workload.new(0, punches), punches)
        seconds, cpu, resident = await recovery(topics, stream, workload, punches)
        row = {
            "remembered": punches,
            "CPU µs/event": run.cpu_microseconds,
            "RSS MB after processing": run.resident / 1e6,
            "RSS MB after recovery": resident / 1e6,
            "first decision s": seconds,
            "first decision CPU s": cpu,
        }
        if store == "rocksdb":
            row["disk MB"] = sum(file.stat().st_size for file in _directory(topics).rglob("*") if file.is_file()) / 1e6
            shutil.rmtree(_directory(topics))
            lost, cpu, _ = await recovery(topics, stream, workload, punches + 1)
            row |= {"first decision s, disk lost": lost, "first decision CPU s, disk lost": cpu}
    console.print(f"  {store}: {row}")
    return row


async def recovery(topics: TopicSet, stream: Subject, workload: Workload, known: int) -> tuple[float, float, int]:
    """Seconds of the clock and of CPU from the start of a process to its first check-in; its memory then, in bytes."""
    before = await topics.count("checkins")
    await topics.punches(workload.new(known, 1))
    started = time.monotonic()
    with stream.process(topics, workload, known) as process:
        while await topics.count("checkins") == before:
            if time.monotonic() - started > _TIMEOUT_SECONDS:
                raise TimeoutError(process.log_tail())
            await asyncio.sleep(0.02)
        return time.monotonic() - started, cpu_seconds([process.pid]), resident_bytes([process.pid])


async def main() -> None:
    """Measure few punches and many with each store, and write `bench/results/state.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.state", description=__doc__)
    parser.add_argument("--punches", type=int, default=5_000_000, help=f"to remember, beside {FEW} (%(default)s)")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--seed", type=int, default=1, help="of the punches (%(default)s)")
    arguments = parser.parse_args()
    users = arguments.punches // PUNCHES_PER_USER
    async with cluster() as kafka:
        for store in arguments.stores:
            few = await remember(kafka, store, FEW, users, arguments.seed)
            many = await remember(kafka, store, arguments.punches, users, arguments.seed)
            more = many["remembered"] - few["remembered"]
            for when in ("processing", "recovery"):
                bytes_more = (many[f"RSS MB after {when}"] - few[f"RSS MB after {when}"]) * 1e6
                many[f"bytes a punch after {when}"] = bytes_more / more
            lost = ", disk lost" if store == "rocksdb" else ""
            for unit in ("s", "CPU s"):
                taken = many[f"first decision {unit}{lost}"] - few[f"first decision {unit}{lost}"]
                many[f"recovered punches/{unit}"] = more / max(0.001, taken)
            save("state", store, [few, many], seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
