"""`python -m bench.push`: the HTTP way in beside bare Starlette with the same acknowledged produce.

`--other CHECKOUT` compares this checkout with another one instead, such as a worktree of the commit before.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console

from attendance.fleet import hash_token
from attendance.records.raw_event import RawEvent
from bench.client import adms_request, heystar_request, post, request
from bench.cluster import Cluster, TopicSet, cluster, of_checkout
from bench.events import Workload
from bench.measure import cpu_seconds, percentile, spread
from bench.report import table
from bench.results import ROOT, Row, save
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
    """A fleet file with the workload's fleet, each device with a token, as a ZKTeco and as a HeyStar terminal."""
    fleet = {event.device_id: event for event in workload.new(0, workload.devices)}
    entries: list[dict[str, object]] = []
    for each in fleet.values():
        entry = {"device_id": each.device_id, "site": each.site, "timezone": "UTC"}
        entries.append({**entry, "token_sha256": hash_token(TOKEN)})
        entries.append(
            {**entry, "device_id": f"adms-{each.device_id}", "adapter": "zkteco_adms", "serial": each.device_id}
        )
        token = hash_token(heystar_token(each.device_id))
        entries.append({**entry, "device_id": f"hf-{each.device_id}", "adapter": "hfsecurity", "token_sha256": token})
    path.write_text(yaml.safe_dump(entries))


def heystar_token(device_id: str) -> str:
    """In the address of a HeyStar terminal, which is its alone."""
    return f"{TOKEN}-{device_id}"


def heystar_post(events: Sequence[RawEvent]) -> bytes:
    """As a HeyStar terminal posts them."""
    return heystar_request(events, heystar_token(events[0].device_id))


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


def serves(port: int) -> bool:
    """Whether a server takes in requests; push listens before it knows the whole fleet, and answers 503 until then."""
    connection = HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("POST", "/v1/events")
        return connection.getresponse().status != HTTPStatus.SERVICE_UNAVAILABLE
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def running(topics: TopicSet, server: str, workload: Workload, root: Path = ROOT) -> Iterator[tuple[ChildProcess, int]]:
    """One server that takes in requests, as it stands in a checkout, and its port."""
    registry(topics.directory / "devices.yaml", workload)
    port = free_port()
    environment = topics.environment() | {
        "PUSH_PORT": str(port),
        "PEER_SERVERS": topics.kafka.bootstrap_servers,
        "PEER_RAW": topics.kafka.topics["raw"],
    }
    command, of_its_own = of_checkout(root, *SERVERS[server])
    with ChildProcess(command, log_file=topics.directory / "push.log", env=environment | of_its_own) as process:
        process.wait_until_ready(lambda: serves(port), timeout=60)
        yield process, port


async def serve(
    topics: TopicSet,
    server: str,
    workload: Workload,
    batch: int,
    count: int,
    build: Builder = json_request,
    root: Path = ROOT,
) -> Row:
    """One server, warm, for so many requests."""
    with running(topics, server, workload, root) as (process, port):
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


async def single(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """Beside bare Starlette, one event a request."""
    return await compare(kafka, arguments, 1, arguments.requests)


async def batches(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """The same of 500 events a request."""
    return await compare(kafka, arguments, 500, arguments.batches)


async def adms(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """What ZKTeco terminals post."""
    runs = []
    for _ in range(arguments.repetitions):
        async with kafka.topics("push") as topics:
            workload = Workload(seed=arguments.seed)
            runs.append(await serve(topics, "punchstream", workload, 500, arguments.batches, adms_request))
    return [{"what": "punchstream, ADMS", "requests": arguments.batches, "events a request": 500, **merged(runs)}]


async def heystar(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """What HeyStar terminals post beside the JSON contract, one event a request; each begins every second turn."""
    ways: dict[str, Builder] = {"punchstream, JSON": json_request, "punchstream, HeyStar": heystar_post}
    runs: dict[str, list[Row]] = {what: [] for what in ways}
    for turn in range(arguments.repetitions):
        for what in [*ways] if turn % 2 else [*reversed(ways)]:
            async with kafka.topics("push") as topics:
                workload = Workload(seed=arguments.seed)
                runs[what].append(await serve(topics, "punchstream", workload, 1, arguments.requests, ways[what]))
    return [
        {"what": what, "requests": arguments.requests, "events a request": 1, **beside(runs[what], *runs.values())}
        for what in ways
    ]


async def checkouts(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """This checkout beside another one, in turns; each of the two begins every second turn."""
    sizes = [
        ("JSON", 1, arguments.requests, json_request),
        ("JSON", 500, arguments.batches, json_request),
        ("ADMS", 500, arguments.batches, adms_request),
    ]
    rows: list[Row] = []
    for what, batch, count, build in sizes:
        runs: dict[Path, list[Row]] = {arguments.other: [], ROOT: []}
        for turn in range(arguments.repetitions):
            for root in [*runs] if turn % 2 else [*reversed(runs)]:
                async with kafka.topics("push", root=root) as topics:
                    workload = Workload(seed=arguments.seed)
                    runs[root].append(await serve(topics, "punchstream", workload, batch, count, build, root))
        rows += [
            {"what": f"{what}, {root}", "requests": count, "events a request": batch, **beside(own, *runs.values())}
            for root, own in runs.items()
        ]
    return rows


def beside(own: Sequence[Row], first: Sequence[Row], *_others: Sequence[Row]) -> Row:
    """The spread of each figure over the turns, and of the CPU time beside that of the first in the same turn."""
    cpu = "CPU µs/event"
    return merged(own) | {"ratio": spread([row[cpu] / its[cpu] for row, its in zip(own, first, strict=True)])}


def merged(rows: Sequence[Row]) -> Row:
    """The spread of each figure over the repetitions."""
    return {name: spread([row[name] for row in rows]) for name in rows[0]}


EXPERIMENTS: Final[dict[str, Callable[[Cluster, argparse.Namespace], Awaitable[list[Row]]]]] = {
    "single": single,
    "batches": batches,
    "heystar": heystar,
    "adms": adms,
}


async def main() -> None:
    """Run what is asked for, and write `bench/results/push.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.push", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="of one event, in each run (%(default)s)")
    parser.add_argument("--batches", type=int, default=200, help="requests of 500 events, in each run (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="of each run (%(default)s)")
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
            rows = await EXPERIMENTS[name](kafka, arguments)
            save("push", name, rows, seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
