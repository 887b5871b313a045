"""How long a rebalance stops the stream: the longest that an event waits for its outcome while workers come and go."""

import argparse
import asyncio
import time
from contextlib import ExitStack
from typing import Final

import orjson

from bench.cluster import Cluster, TopicSet
from bench.events import Workload
from bench.results import Row
from bench.runs import joined
from bench.subjects import PUNCHSTREAM

_RATE: Final = 200  # events a second
_SESSION_SECONDS: Final = 10
_STEADY_SECONDS: Final = 15


async def rebalance(kafka: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """A steady flow while a second worker joins, leaves by SIGTERM, joins again and is killed."""
    workload = Workload(seed=arguments.seed)
    waits: dict[str, list[float]] = {"steady": [], "a worker joins": [], "it leaves": [], "it is killed": []}
    async with kafka.topics("rebalance", session_seconds=_SESSION_SECONDS) as topics:
        await topics.know(workload.user_map())
        flow = _Flow(topics, workload)
        with ExitStack() as stack:
            first = stack.enter_context(PUNCHSTREAM.process(topics, workload, 1))
            other = PUNCHSTREAM.process(topics, workload, 2)
            stack.callback(other.stop)
            await joined(topics, PUNCHSTREAM, [first])
            await flow.run(5)
            for repetition in range(arguments.repetitions):
                marks = []
                for what, act in (
                    ("steady", None),
                    ("a worker joins", other.start),
                    ("it leaves", other.terminate),
                    ("a worker joins", other.start),
                    ("it is killed", other.kill),
                ):
                    marks.append((what, time.time()))
                    if act is not None:
                        act()
                    await flow.run(_STEADY_SECONDS)
                    if what == "it leaves":
                        other.stop()
                del repetition
                ended = time.time()
                await asyncio.sleep(3)
                longest = await flow.longest_waits([at for _, at in marks], ended)
                for (what, _), seconds in zip(marks, longest, strict=True):
                    waits[what].append(seconds)
    kafkas = {"steady": 0, "a worker joins": 0, "it leaves": 0, "it is killed": _SESSION_SECONDS}
    return [
        {
            "what": what,
            "longest wait ms": max(found) * 1000,
            "Kafka's own delay s": kafkas[what],
            "times": len(found),
        }
        for what, found in waits.items()
    ]


class _Flow:
    """A steady flow of new punches, and when the outcome of each came."""

    def __init__(self, topics: TopicSet, workload: Workload) -> None:
        self._topics = topics
        self._workload = workload
        self._sent: dict[str, float] = {}

    async def run(self, seconds: float) -> None:
        """Send for so long, a twentieth of a second's worth at a time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            events = list(self._workload.new(len(self._sent), _RATE // 20))
            self._sent |= dict.fromkeys((event.event_id for event in events), time.time())
            await asyncio.gather(self._topics.punches(events), asyncio.sleep(0.05))

    async def longest_waits(self, starts: list[float], end: float) -> list[float]:
        """The longest wait among the events sent from each of these times until the next."""
        done: dict[str, float] = {}
        for timestamp, value in await self._topics.records("checkins"):
            done.setdefault(orjson.loads(value)["event_id"], timestamp / 1000)
        return [
            max(done[event_id] - sent for event_id, sent in self._sent.items() if since <= sent < until)
            for since, until in zip(starts, [*starts[1:], end], strict=True)
        ]
