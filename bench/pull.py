"""`python -m bench.pull`: fleets of pulled devices, some of them dead, each on one process."""

import argparse
import asyncio
import socket
import sys
import time

import yaml
from rich.console import Console

from bench.cluster import TopicSet, cluster
from bench.fleets import FLEETS
from bench.measure import cpu_seconds, percentile, resident_bytes
from bench.results import Row, save
from sandbox.process import ChildProcess

console = Console()


async def measure(topics: TopicSet, arguments: argparse.Namespace, kind: str) -> Row:
    """One process with a fleet of one kind, from its third interval on."""
    fleet = FLEETS[kind](arguments.devices, round(arguments.devices * arguments.dead), arguments.seed)
    async with fleet.serving() as (port, silent):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and never listens
            entries = fleet.registry(port, silent, closed.getsockname()[1], arguments.interval)
            (topics.directory / "devices.yaml").write_text(yaml.safe_dump(entries))
            command = [sys.executable, "-m", "punchstream", "pull"]
            log_file = topics.directory / "pull.log"
            process = ChildProcess(command, log_file=log_file, env=topics.environment() | fleet.environment())
            process.start()
            try:
                await asyncio.sleep(2 * arguments.interval)
                began, cpu = time.monotonic(), cpu_seconds([process.pid])
                await asyncio.sleep(arguments.seconds)
                lasted, cpu = time.monotonic() - began, cpu_seconds([process.pid]) - cpu
                memory = resident_bytes([process.pid])
            finally:
                await asyncio.to_thread(process.stop)
    gaps = fleet.gaps(began)
    asked = sum(at >= began for times in fleet.asked.values() for at in times)
    row: Row = {
        "what": kind,
        "devices": arguments.devices,
        "dead": arguments.devices - fleet.live,
        "interval s": arguments.interval,
        "asked": asked,
        "interval p50 s": percentile(gaps, 50),
        "interval p99 s": percentile(gaps, 99),
        "longest s": max(gaps),
        "CPU of one core": cpu / lasted,
        "CPU ms for each": cpu / asked * 1000,
        "memory MB": memory / 2**20,
    }
    console.print(
        f"  {kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float))
    )
    return row


async def main() -> None:
    """Measure, and write `bench/results/pull.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.pull", description=__doc__)
    parser.add_argument("--devices", type=int, default=2000, help="that are pulled (%(default)s)")
    parser.add_argument("--dead", type=float, default=0.05, help="part of them that does not answer (%(default)s)")
    parser.add_argument("--interval", type=int, default=60, help="seconds between two questions (%(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=300, help="of the measurement, after two intervals (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the dead and of the punches (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=FLEETS, default=list(FLEETS))
    arguments = parser.parse_args()
    rows = []
    async with cluster() as kafka:
        for kind in arguments.only:
            async with kafka.topics("pull", partitions=12, session_seconds=30) as topics:
                rows.append(await measure(topics, arguments, kind))
    save("pull", "fleet", rows, seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
