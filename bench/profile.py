"""`python -m bench.profile`: where the CPU time of the stream and of push goes, from samples of the running process."""

import argparse
import asyncio
import re
import signal
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from attendance.records.raw_event import RawEvent
from bench.client import post
from bench.cluster import Cluster, cluster
from bench.events import Workload
from bench.measure import cpu_seconds
from bench.push import CONNECTIONS, WARM_UP, requests, running
from bench.results import ROOT, Row, save
from bench.runs import bench
from bench.stream import FIRST
from bench.subjects import PUNCHSTREAM

PY_SPY: Final = ROOT / "bench" / ".venvs" / "profiler" / "bin" / "py-spy"
SAMPLES_A_SECOND: Final = 250
_REST: Final = "the event loop, the interpreter's own"

Parts = Sequence[tuple[str, str]]
"""What a sample counts for, and a pattern of frames (`function (file:line)`): the innermost frame that any matches."""

STREAM: Final[Parts] = (
    ("reading the raw event", r"(decode|decode_as) \(attendance/event\.py"),
    ("deciding", r"\((streams/(pipeline|dedup|mapping)|attendance/(registry|user_map|errors))\.py"),
    ("writing the outcome", r"\((streams/step|attendance/(checkin|outcomes|event|dead_letter))\.py"),
    ("state and changelog", r"\(streams/(state|store)\.py"),
    ("record batches", r"\(attendance/kafka\.py|\(aiokafka/producer/message_accumulator\.py"),
    ("aiokafka: sending", r"\(aiokafka/(producer|protocol|conn|client)"),
    ("aiokafka: fetching", r"\(aiokafka/"),
    ("Faust", r"\((faust|mode|streams/(transport|app))[/.]"),
)
PUSH: Final[Parts] = (
    ("HTTP: uvicorn, httptools", r"\(uvicorn/"),
    (
        "the endpoint: who it is, the body, the answer",
        r"\((producers/(push/\w+|intake|terminals|clocks|status)|attendance/(registry|fleet))\.py",
    ),
    ("reading the body", r"\(producers/devices/"),
    ("writing the raw event", r"\(attendance/(records/raw_event|wire)\.py"),
    ("publishing and counting", r"\((producers/publisher|attendance/(metrics|kafka/\w+))\.py|\(prometheus_client/"),
    ("aiokafka: the record into its batch", r"\(aiokafka/producer/(message_accumulator|producer)\.py"),
    ("aiokafka: sending", r"\(aiokafka/"),
)
console = Console()


@asynccontextmanager
async def sampled(pid: int, parts: Parts, shares: dict[str, float]) -> AsyncIterator[None]:
    """Sample a process meanwhile; `shares` then has each part's share of the time that its threads were at work."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "stacks"
        # It must not stop the process: that would be stopped by somebody else as well.
        options = ["--nonblocking", "--rate", str(SAMPLES_A_SECOND), "--duration", "unlimited", "--format", "raw"]
        command = [str(PY_SPY), "record", *options, "--pid", str(pid), "--output", str(file)]
        sampler = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
        await asyncio.sleep(1)
        yield
        sampler.send_signal(signal.SIGINT)
        said, _ = await sampler.communicate()
        if not file.exists():
            raise RuntimeError(f"no profile: {said.decode(errors='replace')}")
        counts = Counter(dict.fromkeys((name for name, _ in (*parts, (_REST, ""))), 0))
        for stack, count in stacks(file.read_text()):
            counts[part_of(stack, parts)] += count
        shares.update({name: count / max(1, counts.total()) for name, count in counts.items()})


def stacks(text: str) -> Iterator[tuple[list[str], int]]:
    """The stacks of a profile, outermost frame first, and how often each was seen."""
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        yield frames.split(";"), int(count)


def part_of(stack: Sequence[str], parts: Parts) -> str:
    """What a sample counts for."""
    for frame in reversed(stack):
        for name, pattern in parts:
            if re.search(pattern, frame):
                return name
    return _REST


async def stream(kafka: Cluster, events: int, seed: int, *, repeats: bool) -> tuple[float, Mapping[str, float]]:
    """CPU µs an event, and the shares: of half repeats, or of nothing but repeats."""
    workload, shares = Workload(seed=seed), dict[str, float]()
    async with bench(kafka, PUNCHSTREAM, workload) as process:
        known = events // 10
        await process.work_off(workload.new(FIRST, known), known)
        if repeats:
            sent: Iterator[RawEvent] = (event for _ in range(10) for event in workload.new(FIRST, known))
        else:
            sent = workload.half_repeats(FIRST + known, events)
        async with sampled(process.pids[0], STREAM, shares):
            run = await process.work_off(sent, 0 if repeats else events // 2)
    return run.cpu_microseconds, shares


async def push(kafka: Cluster, count: int, batch: int, seed: int) -> tuple[float, Mapping[str, float]]:
    """CPU µs an event, and the shares: of so many requests of so many events."""
    workload, shares = Workload(seed=seed), dict[str, float]()
    async with kafka.topics("push") as topics:
        with running(topics, "punchstream", workload) as (process, port):
            prepared = requests(workload, 0, WARM_UP + count, batch)
            await post(port, prepared[:WARM_UP], connections=CONNECTIONS[batch])
            async with sampled(process.pid, PUSH, shares):
                before = cpu_seconds([process.pid])
                await post(port, prepared[WARM_UP:], connections=CONNECTIONS[batch])
                cpu = cpu_seconds([process.pid]) - before
    return cpu / count / batch * 1e6, shares


def rows(measured: Mapping[str, tuple[float, Mapping[str, float]]]) -> list[Row]:
    """A line for each part, with its µs of CPU an event in each of the runs; the whole at the end."""
    names = next(iter(measured.values()))[1]
    lines: list[Row] = [
        {"CPU µs/event": name} | {run: cpu * shares[name] for run, (cpu, shares) in measured.items()} for name in names
    ]
    return [*lines, {"CPU µs/event": "in all"} | {run: cpu for run, (cpu, _) in measured.items()}]


async def main() -> None:
    """Sample all four, and write `bench/results/profile.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="of the stream, in each run (%(default)s)")
    parser.add_argument("--requests", type=int, default=20_000, help="of one event (%(default)s)")
    parser.add_argument("--batches", type=int, default=400, help="requests of 500 events (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the events (%(default)s)")
    arguments = parser.parse_args()
    async with cluster() as kafka:
        found = {
            "half repeats": await stream(kafka, arguments.events, arguments.seed, repeats=False),
            "nothing but repeats": await stream(kafka, arguments.events, arguments.seed, repeats=True),
        }
        save("profile", "stream", rows(found), seed=arguments.seed, parameters=vars(arguments))
        found = {
            "one a request": await push(kafka, arguments.requests, 1, arguments.seed),
            "500 a request": await push(kafka, arguments.batches, 500, arguments.seed),
        }
        save("profile", "push", rows(found), seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
