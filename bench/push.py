"""`python -m bench.push`: the HTTP way in beside bare Starlette with the same acknowledged produce."""

import argparse
import asyncio
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console

from attendance.records.raw_event import RawEvent
from attendance.registry import hash_token
from bench.client import adms_request, post, request
from bench.cluster import Cluster, TopicSet, cluster
from bench.events import Workload
from bench.measure import cpu_seconds, percentile, spread
from bench.results import Row, save
from sandbox.ports import free_port
from sandbox.process import ChildProcess

TOKEN: Final = "a-token-of-the-benchmark"
WARM_UP: Final = 50
CONNECTIONS: Final = {1: 32, 500: 8}
"""By the events of a request; few of them fill the wire where they are many."""
SERVERS: Final = {"punchstream": ["punchstream", "push"], "bare Starlette": ["bench.starlette_peer"]}
Builder = Callable[[Sequence[RawEvent]], bytes]
console = Console()


def registry(path: Path, workload: Workload) -> None:
    """A fleet file with the workload's fleet, each device twice: with a token, and as a ZKTeco terminal."""
    fleet = {event.device_id: event for event in workload.new(0, workload.devices)}
    entries: list[dict[str, object]] = []
    for each in fleet.values():
        entry = {"device_id": each.device_id, "site": each.site, "timezone": "UTC"}
        entries.append({**entry, "token_sha256": hash_token(TOKEN)})
        entries.append(
            {**entry, "device_id": f"adms-{each.device_id}", "adapter": "zkteco_adms", "serial": each.device_id}
        )
    path.write_text(yaml.safe_dump(entries))


def json_request(events: Sequence[RawEvent]) -> bytes:
    """As a terminal with a token posts them."""
    return request(events, TOKEN)


def requests(workload: Workload, first: int, count: int, batch: int, build: Builder = json_request) -> list[bytes]:
    """So many requests of so many events each, from the nth on; each of one device."""
    step = workload.devices
    made = []
    for number in range(count):
        # The punches of one device lie `devices` apart.
        start = first + number // step * step * batch + number % step
        made.append(build([workload.punch(start + step * each) for each in range(batch)]))
    return made


def listens(port: int) -> bool:
    """Whether something does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(topics: TopicSet, server: str, workload: Workload) -> Iterator[tuple[ChildProcess, int]]:
    """One server that listens, and its port."""
    registry(topics.directory / "devices.yaml", workload)
    port = free_port()
    environment = topics.environment() | {
        "PUSH_PORT": str(port),
        "PEER_SERVERS": topics.kafka.bootstrap_servers,
        "PEER_RAW": topics.kafka.topics["raw"],
    }
    command = [sys.executable, "-m", *SERVERS[server]]
    with ChildProcess(command, log_file=topics.directory / "push.log", env=environment) as process:
        process.wait_until_ready(lambda: listens(port), timeout=60)
        yield process, port


async def serve(
    topics: TopicSet, server: str, workload: Workload, batch: int, count: int, build: Builder = json_request
) -> Row:
    """One server, warm, for so many requests."""
    with running(topics, server, workload) as (process, port):
        prepared = requests(workload, 0, WARM_UP + count, batch, build)
        await post(port, prepared[:WARM_UP], connections=CONNECTIONS[batch])
        before = cpu_seconds([process.pid])
        times = await post(port, prepared[WARM_UP:], connections=CONNECTIONS[batch])
        cpu = cpu_seconds([process.pid]) - before
    events = count * batch
    stored = await topics.count("raw")
    if stored != events + WARM_UP * batch:
        raise RuntimeError(f"{server}: {stored} events stored")
    seconds = max(answered for _, answered in times) - min(sent for sent, _ in times)
    waits = [(answered - sent) * 1000 for sent, answered in times]
    row = {
        "CPU µs/event": cpu / events * 1e6,
        "events/s": events / seconds,
        "events/s of one core": events / cpu,
        "p50 ms": percentile(waits, 50),
        "p99 ms": percentile(waits, 99),
    }
    console.print(f"  {server}, {batch} a request: {row}")
    return row


async def compare(kafka: Cluster, arguments: argparse.Namespace, batch: int, count: int) -> list[Row]:
    """Both servers in turns."""
    workload = Workload(seed=arguments.seed)
    runs: dict[str, list[Row]] = {server: [] for server in SERVERS}
    for _ in range(arguments.repetitions):
        for server in SERVERS:
            async with kafka.topics("push") as topics:
                runs[server].append(await serve(topics, server, workload, batch, count))
    figures = {server: merged(rows) for server, rows in runs.items()}
    bare = figures["bare Starlette"]["CPU µs/event"]["median"]
    return [
        {
            "what": server,
            "requests": count,
            "events a request": batch,
            **line,
            # Of throughput for each second of CPU, which is the inverse of CPU time.
            "ratio": bare / line["CPU µs/event"]["median"],
        }
        for server, line in figures.items()
    ]


async def terminals(kafka: Cluster, arguments: argparse.Namespace, batch: int, count: int) -> list[Row]:
    """What ZKTeco terminals post."""
    runs = []
    for _ in range(arguments.repetitions):
        async with kafka.topics("push") as topics:
            workload = Workload(seed=arguments.seed)
            runs.append(await serve(topics, "punchstream", workload, batch, count, adms_request))
    return [{"what": "punchstream, ADMS", "requests": count, "events a request": batch, **merged(runs)}]


def merged(rows: Sequence[Row]) -> Row:
    """The spread of each figure over the repetitions."""
    return {name: spread([row[name] for row in rows]) for name in rows[0]}


async def main() -> None:
    """Run both sizes and both protocols, and write `bench/results/push.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.push", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="of one event, in each run (%(default)s)")
    parser.add_argument("--batches", type=int, default=200, help="requests of 500 events, in each run (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="of each run (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the events (%(default)s)")
    arguments = parser.parse_args()
    async with cluster() as kafka:
        for table, batch, count in (("single", 1, arguments.requests), ("batches", 500, arguments.batches)):
            rows = await compare(kafka, arguments, batch, count)
            save("push", table, rows, seed=arguments.seed, parameters=vars(arguments))
        rows = await terminals(kafka, arguments, 500, arguments.batches)
        save("push", "adms", rows, seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
