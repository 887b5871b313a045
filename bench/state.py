"""`python -m bench.state`: what the stream's memory takes, and how long it takes to get it back."""

import argparse
import asyncio
import time
from typing import Final

from rich.console import Console

from bench.cluster import Cluster, TopicSet, cluster
from bench.events import Workload
from bench.measure import resident_bytes
from bench.results import Row, save
from bench.runs import Bench, joined
from bench.subjects import PUNCHSTREAM

PUNCHES_PER_USER: Final = 100  # 25 days of four; all within the horizon
FEW: Final = 1000
_TIMEOUT_SECONDS: Final = 3600
console = Console()


async def remember(kafka: Cluster, punches: int, seed: int) -> Row:
    """Have so many punches remembered, restart, and wait for the first new one to be decided."""
    workload = Workload(users=max(10, punches // PUNCHES_PER_USER), seed=seed)
    async with kafka.topics("state") as topics:
        await topics.know(workload.user_map())
        with PUNCHSTREAM.process(topics, workload) as process:
            await joined(topics, PUNCHSTREAM, [process])
            run = await Bench(PUNCHSTREAM, topics, [process]).work_off(workload.new(0, punches), punches)
        seconds, resident = await recovery(topics, workload, punches)
    row = {
        "remembered": punches,
        "CPU µs/event": run.cpu_microseconds,
        "RSS MB after processing": run.resident / 1e6,
        "RSS MB after recovery": resident / 1e6,
        "first decision s": seconds,
    }
    console.print(f"  {row}")
    return row


async def recovery(topics: TopicSet, workload: Workload, punches: int) -> tuple[float, int]:
    """Seconds from the start of a process until it has decided one new punch, and its memory then, in bytes."""
    before = await topics.count("checkins")
    await topics.punches(workload.new(punches, 1))
    started = time.monotonic()
    with PUNCHSTREAM.process(topics, workload, 2) as process:
        while await topics.count("checkins") == before:
            if time.monotonic() - started > _TIMEOUT_SECONDS:
                raise TimeoutError(process.log_tail())
            await asyncio.sleep(0.02)
        return time.monotonic() - started, resident_bytes([process.pid])


async def main() -> None:
    """Measure few punches and many, and write `bench/results/state.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.state", description=__doc__)
    parser.add_argument("--punches", type=int, default=1_000_000, help="to remember (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the punches (%(default)s)")
    arguments = parser.parse_args()
    async with cluster() as kafka:
        few = await remember(kafka, FEW, arguments.seed)
        many = await remember(kafka, arguments.punches, arguments.seed)
    more = many["remembered"] - few["remembered"]
    for when in ("processing", "recovery"):
        bytes_more = (many[f"RSS MB after {when}"] - few[f"RSS MB after {when}"]) * 1e6
        many[f"bytes a punch after {when}"] = bytes_more / more
    many["recovered punches/s"] = more / max(0.001, many["first decision s"] - few["first decision s"])
    save("state", "memory", [few, many], seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
