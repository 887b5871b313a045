"""`python -m bench.pull`: a fleet of pulled devices, some of them dead, on one process."""

import argparse
import asyncio
import json
import random
import socket
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import yaml
from rich.console import Console

from bench.cluster import TopicSet, cluster
from bench.measure import cpu_seconds, percentile, resident_bytes
from bench.results import Row, save
from sandbox.process import ChildProcess

BACKLOG: Final = 4096
ANSWER_SECONDS: Final = 0.05
NEW_PART: Final = 0.1
"""Of the answers, that have a new punch in them."""
_HEADERS: Final = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length"
console = Console()


class Fleet:
    """Devices behind one server, each on a path of its own, which note when they were asked.

    Half of the dead ones refuse connections; the other half take one and say nothing.
    """

    def __init__(self, devices: int, dead: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._names = [f"device-{number:05}" for number in range(devices)]
        self._dead = set(self._random.sample(self._names, dead))
        self._begin = datetime(2026, 1, 1, tzinfo=UTC)
        self.punches: dict[str, int] = defaultdict(int)
        self.asked: dict[str, list[float]] = defaultdict(list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[int, int]]:
        """Serve on two ports of 127.0.0.1 while entered; at the second one nobody answers."""
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as silent:
            async with await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=BACKLOG) as server:
                yield server.sockets[0].getsockname()[1], silent.getsockname()[1]

    def registry(self, port: int, silent: int, refusing: int, interval: int) -> list[dict[str, Any]]:
        """The entries of the fleet file."""
        ports = dict.fromkeys(self._names, port)
        ports |= {name: (silent, refusing)[number % 2] for number, name in enumerate(sorted(self._dead))}
        return [
            {
                "device_id": name,
                "site": f"site-{number % 20}",
                "timezone": "UTC",
                "mode": "pull",
                "adapter": "rest",
                "host": "127.0.0.1",
                "port": ports[name],
                "interval": interval,
                "options": {
                    "path": f"/{name}",
                    "query": {"after": "{cursor}", "page": "{page}"},
                    "records": "rows",
                    "total": "total",
                    "fields": {"user": "user", "time": "time", "sequence": "id"},
                    "cursor": {"by": "number", "overlap": 10},
                    "paging": {"by": "page"},
                },
            }
            for number, name in enumerate(self._names)
        ]

    @property
    def live(self) -> int:
        """Devices that answer."""
        return len(self._names) - len(self._dead)

    def gaps(self, since: float) -> list[float]:
        """Seconds between two times that a live device was asked, of those after a moment."""
        return [after - before for times in self.asked.values() for before, after in pairwise(times) if before >= since]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            url = urlsplit(head.split(b" ", 2)[1].decode())
            name = url.path.removeprefix("/")
            self.asked[name].append(time.monotonic())
            await asyncio.sleep(ANSWER_SECONDS)
            body = self._answer(name, int(parse_qs(url.query)["after"][0]))
            writer.write(f"{_HEADERS}: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, name: str, after: int) -> bytes:
        if self._random.random() < NEW_PART:
            self.punches[name] += 1
        rows = [
            {"id": number, "user": f"{number % 50:04}", "time": (self._begin + timedelta(minutes=number)).isoformat()}
            for number in range(after + 1, self.punches[name] + 1)
        ]
        return json.dumps({"total": len(rows), "rows": rows}).encode()


async def measure(topics: TopicSet, arguments: argparse.Namespace) -> Row:
    """One process, from its third interval on."""
    fleet = Fleet(arguments.devices, round(arguments.devices * arguments.dead), arguments.seed)
    async with fleet.serving() as (port, silent):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and never listens
            entries = fleet.registry(port, silent, closed.getsockname()[1], arguments.interval)
            (topics.directory / "devices.yaml").write_text(yaml.safe_dump(entries))
            command = [sys.executable, "-m", "punchstream", "pull"]
            log_file = topics.directory / "pull.log"
            process = ChildProcess(command, log_file=log_file, env=topics.environment())
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
    row = {
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
    console.print("  " + ", ".join(f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float)))
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
    arguments = parser.parse_args()
    async with cluster() as kafka, kafka.topics("pull", partitions=12, session_seconds=30) as topics:
        row = await measure(topics, arguments)
    save("pull", "fleet", [row], seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
