"""`python -m bench.latency`: from a terminal's request to the row in ERPNext, with every stage on this machine."""

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console

from attendance.kafka.admin import create_topics
from attendance.settings import KafkaSettings
from bench.client import post
from bench.events import Workload
from bench.measure import percentile, spread
from bench.push import registry, requests
from bench.results import Row, save
from punchstream.stages import Stages
from punchstream.up import sandbox_broker, sandbox_erpnext
from sandbox.erpnext.server import ErpnextStandIn

LATENCY_MS: Final = 20
WARM_UP_SECONDS: Final = 10
_DRAIN_SECONDS: Final = 120
PERCENTS: Final = (50, 90, 99, 99.9, 100)
console = Console()


def measure(directory: Path, workload: Workload, rate: int, seconds: int, repetitions: int) -> list[list[float]]:
    """The latencies in milliseconds of every punch, for each repetition."""
    with ExitStack() as stack:
        stack.enter_context(sandbox_broker("kafka", directory))
        stand_in = stack.enter_context(sandbox_erpnext(directory, latency_ms=LATENCY_MS))
        stand_in.employees(
            {"name": name, "attendance_device_id": user, "status": "Active"}
            for user, name in workload.employees().items()
        )
        registry(directory / "devices.yaml", workload)
        os.environ.update(
            PUNCHSTREAM_DEVICES=str(directory / "devices.yaml"), PUSH_PORT="0", KAFKA_SESSION_TIMEOUT="30"
        )
        asyncio.run(create_topics(KafkaSettings.load()))
        port = urlsplit(stack.enter_context(Stages(directory)).url).port
        assert port is not None
        found = []
        first = 0
        for duration in (WARM_UP_SECONDS, *[seconds] * repetitions):
            found.append(once(stand_in, port, workload, first, rate, duration))
            first += -(-rate * duration // workload.devices) * workload.devices
        return found[1:]


def once(stand_in: ErpnextStandIn, port: int, workload: Workload, first: int, rate: int, seconds: int) -> list[float]:
    """The latencies of a steady flow for so long, from the nth punch on."""
    count = rate * seconds
    times = asyncio.run(post(port, requests(workload, first, count, 1), rate=rate))
    sent = {workload.punch(first + n).event_id: at for n, (at, _) in enumerate(times)}
    deadline = time.monotonic() + _DRAIN_SECONDS
    while True:
        rows = {row["event_id"]: row["creation"] for row in stand_in.checkins()}
        if sent.keys() <= rows.keys():
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(sent.keys() - rows.keys())} punches did not arrive")
        time.sleep(0.5)
    stored = {each: datetime.fromisoformat(rows[each]).replace(tzinfo=UTC).timestamp() for each in sent}
    latencies = [(stored[each] - at) * 1000 for each, at in sent.items()]
    console.print("  " + ", ".join(f"p{percent:g} {percentile(latencies, percent):.0f} ms" for percent in PERCENTS))
    return latencies


def main() -> None:
    """Measure, and write `bench/results/latency.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="punches a second (%(default)s)")
    parser.add_argument("--seconds", type=int, default=30, help="of each run (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of the run (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the punches (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="punchstream-bench-", ignore_cleanup_errors=True) as directory:
        found = measure(
            Path(directory), Workload(seed=arguments.seed), arguments.rate, arguments.seconds, arguments.repetitions
        )
    line: Row = {"punches/s": arguments.rate, "punches": len(found[0])}
    line |= {f"p{percent:g} ms": spread([percentile(run, percent) for run in found]) for percent in PERCENTS}
    every = [latency for run in found for latency in run]
    curve = [{"percent": percent, "ms": percentile(every, percent)} for percent in range(1, 101)]
    for table, rows in (("request_to_row", [line]), ("curve", curve)):
        save("latency", table, rows, seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    main()
