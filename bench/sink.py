"""`python -m bench.sink`: delivery beside the one-by-one way of the usual sync tool, and beside ERPNext's own time."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import requests
from rich.console import Console

from attendance.erpnext import CHECKIN
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.settings import ErpnextSettings
from bench.cluster import Cluster, TopicSet, cluster
from bench.events import Workload
from bench.measure import cpu_seconds, spread
from bench.results import Row, save
from bench.site import ADD_LOG
from operations.site.setup import ensure_event_id_field
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.process import ChildProcess

BATCH: Final = 100
THREADS: Final = 4
USERS: Final = 300
console = Console()


def checkins(workload: Workload, first: int, count: int) -> list[Checkin]:
    """The check-ins of so many punches."""
    employees = workload.employees()
    return [
        Checkin(
            event_id=event.event_id,
            employee=employees[event.device_user_id],
            event_time=event.event_time,
            log_type="IN" if event.event_type == "IN" else "OUT",
            device_id=event.device_id,
            device_user_id=event.device_user_id,
            site=event.site,
            device_timezone="UTC",
        )
        for event in workload.new(first, count)
        if event.event_time is not None
    ]


def site(directory: Path, workload: Workload, *, slow: bool) -> ErpnextStandIn:
    """A stand-in, started and set up: as slow as ERPNext, or as fast as it can."""
    stand_in = ErpnextStandIn(log_file=directory / "site.log", time_zone="UTC")
    if slow:
        command = [sys.executable, "-m", "bench.site", "--port", str(stand_in.port)]
        stand_in.process = ChildProcess(command, log_file=directory / "site.log")
    stand_in.start()
    stand_in.employees(
        {"name": name, "attendance_device_id": user, "status": "Active"} for user, name in workload.employees().items()
    )
    ensure_event_id_field(settings(stand_in))
    return stand_in


def settings(stand_in: ErpnextStandIn) -> ErpnextSettings:
    """How to reach it."""
    return ErpnextSettings.load(url=stand_in.url, api_key=stand_in.api_key, api_secret=stand_in.api_secret)


def inserted(stand_in: ErpnextStandIn) -> int:
    """Documents stored so far."""
    return int(stand_in.stats()["documents_inserted"])


async def by_sink(kafka: Cluster, workload: Workload, count: int, *, slow: bool) -> Row:
    """`punchstream sink`, warm, for so many check-ins."""
    async with AsyncExitStack() as stack:
        topics = await stack.enter_async_context(kafka.topics("sink"))
        stand_in = site(topics.directory, workload, slow=slow)
        stack.callback(stand_in.stop)
        await topics.know(workload.user_map())
        await fill(topics, checkins(workload, 0, USERS))
        environment = topics.environment() | {
            "ERPNEXT_URL": stand_in.url,
            "ERPNEXT_API_KEY": stand_in.api_key,
            "ERPNEXT_API_SECRET": stand_in.api_secret,
        }
        process = ChildProcess(
            [sys.executable, "-m", "punchstream", "sink"], log_file=topics.directory / "sink.log", env=environment
        )
        stack.enter_context(process)
        process.wait_until_ready(lambda: inserted(stand_in) == USERS, timeout=120)
        process.pause()
        await fill(topics, checkins(workload, USERS, count))
        before, started = cpu_seconds([process.pid]), time.monotonic()
        process.resume()
        process.wait_until_ready(lambda: inserted(stand_in) == USERS + count, timeout=1200)
        seconds = time.monotonic() - started
        return row("punchstream sink", count, seconds, cpu_seconds([process.pid]) - before)


async def fill(topics: TopicSet, entries: Iterable[Checkin]) -> None:
    """Put check-ins on their topic as the stream does."""
    name = topics.kafka.topics["checkins"]
    await topics.send(OutRecord(name, each.key, each.encode(), each.headers()) for each in entries)


def by_tool(directory: Path, workload: Workload, count: int) -> Row:
    """As the usual sync tool: one request for each punch, one after the other, each on a connection of its own."""

    def post(stand_in: ErpnextStandIn, checkin: Checkin) -> None:
        log = {
            "employee_field_value": checkin.device_user_id,
            "timestamp": wall_clock(checkin),
            "device_id": checkin.device_id,
            "log_type": checkin.log_type,
        }
        authorized(requests.post, stand_in, ADD_LOG, log)

    return direct("one by one, as the usual sync tool", directory, workload, count, 1, 1, post)


def by_batches(directory: Path, workload: Workload, count: int) -> Row:
    """The least that insert_many can take: prepared batches, nothing recorded, several threads."""
    sessions: dict[str, requests.Session] = {}

    def post(stand_in: ErpnextStandIn, *batch: Checkin) -> None:
        session = sessions.setdefault(batch[0].event_id, requests.Session())
        docs = [
            {
                "doctype": CHECKIN,
                "employee": each.employee,
                "time": wall_clock(each),
                "device_id": each.device_id,
                "log_type": each.log_type,
                "event_id": each.event_id,
            }
            for each in batch
        ]
        authorized(session.post, stand_in, "/api/method/frappe.client.insert_many", {"docs": docs})

    return direct("insert_many alone: ERPNext's own time", directory, workload, count, BATCH, THREADS, post)


def wall_clock(checkin: Checkin) -> str:
    """The time as ERPNext keeps it."""
    return checkin.event_time.strftime("%Y-%m-%d %H:%M:%S")


def authorized(post: Callable[..., requests.Response], stand_in: ErpnextStandIn, path: str, content: object) -> None:
    """Post JSON, which must succeed."""
    token = {"Authorization": f"token {stand_in.api_key}:{stand_in.api_secret}"}
    post(stand_in.url + path, json=content, headers=token, timeout=60).raise_for_status()


def direct(
    name: str,
    directory: Path,
    workload: Workload,
    count: int,
    batch: int,
    threads: int,
    post: Callable[..., Any],
) -> Row:
    """So many check-ins from memory, straight to a fresh site."""
    stand_in = site(directory, workload, slow=True)
    try:
        entries = checkins(workload, 0, count)
        batches = [entries[start : start + batch] for start in range(0, count, batch)]
        started = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda each: post(stand_in, *each), batches))
        seconds = time.monotonic() - started
        if inserted(stand_in) != count:
            raise RuntimeError(f"{name}: {inserted(stand_in)} documents, not {count}")
        return row(name, count, seconds, None)
    finally:
        stand_in.stop()


def row(name: str, count: int, seconds: float, cpu: float | None) -> Row:
    """One run."""
    result: Row = {"what": name, "documents": count, "documents/s": count / seconds}
    if cpu is not None:
        result["CPU µs/document"] = cpu / count * 1e6
    console.print(f"  {result}")
    return result


def merged(runs: Sequence[Row], reference: Sequence[Row]) -> Row:
    """Repetitions as one line; the ratio is that of the throughput to the reference's."""
    rates = spread([run["documents/s"] for run in runs])
    line: Row = {
        **runs[0],
        "documents/s": rates,
        "ratio": rates["median"] / spread([run["documents/s"] for run in reference])["median"],
    }
    if "CPU µs/document" in line:
        line["CPU µs/document"] = spread([run["CPU µs/document"] for run in runs])
    return line


async def main() -> None:
    """Run all ways in turns, and write `bench/results/sink.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.sink", description=__doc__)
    parser.add_argument("--documents", type=int, default=2000, help="in each run (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each run (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the punches (%(default)s)")
    arguments = parser.parse_args()
    workload, count = Workload(users=USERS, seed=arguments.seed), arguments.documents
    slow: list[list[Row]] = [[], [], []]
    fast: list[Row] = []
    async with cluster() as kafka:
        for _ in range(arguments.repetitions):
            slow[0].append(await by_sink(kafka, workload, count, slow=True))
            slow[1].append(await asyncio.to_thread(by_batches, kafka.directory, workload, count))
            slow[2].append(await asyncio.to_thread(by_tool, kafka.directory, workload, count // 10))
            fast.append(await by_sink(kafka, workload, 5 * count, slow=False))
    for table, rows in (("erpnext", [merged(runs, slow[2]) for runs in slow]), ("no_latency", [merged(fast, fast)])):
        save("sink", table, rows, seed=arguments.seed, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
