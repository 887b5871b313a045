"""`python -m bench.fleet`: how long a large fleet takes to its topic, and a change of it to each stage."""

import argparse
import asyncio
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import yaml
from msgspec import structs
from rich.console import Console

from attendance.kafka.admin import create_topics
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings
from bench.measure import cpu_seconds, spread
from bench.results import Row, save
from operations.fleet import read_fleet
from operations.log import KafkaLog
from sandbox.broker import Broker, BrokerKind, create_broker
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.process import ChildProcess, ProcessFailed

FOLLOWERS: Final = ("push", "pull", "stream", "completeness")
TAKEN_UP: Final = "The fleet topic was taken up."
APPLIED: Final[Mapping[BrokerKind, str]] = {"kafka": "apply", "embedded": "apply_embedded"}
"""The tables of what a fleet takes to a topic, by the broker."""
SITES: Final = 50
SHIFT: Final = "Day"
DEADLINE_SECONDS: Final = 300
console = Console()


def settings_of(broker: Broker, prefix: str) -> KafkaSettings:
    """Topics of their own, not made yet."""
    return KafkaSettings.load(
        bootstrap_servers=broker.bootstrap_servers,
        enable_idempotence=broker.supports_idempotence,
        topic_prefix=prefix,
        partitions=4,
    )


def environment(kafka: KafkaSettings) -> dict[str, str]:
    """Of a process of the product on these topics that has no fleet file."""
    found = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "PUSH_HOST": "127.0.0.1",
        "PUSH_PORT": "0",
        "METRICS_PORT": "0",
    }
    found.pop("PUNCHSTREAM_DEVICES", None)
    return found


def write_files(directory: Path, devices: int) -> Mapping[str, Path]:
    """The same fleet as a table and as a fleet file, by their formats."""
    rows = [
        {
            "device_id": f"D{number:05}",
            "site": f"site-{number % SITES}",
            "timezone": "Asia/Riyadh",
            "adapter": "zkteco_adms",
            "serial": f"SN{number:05}",
        }
        for number in range(devices)
    ]
    table, file = directory / "fleet.csv", directory / "fleet.yaml"
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shifts = [{"shift_type": SHIFT, "sites": [f"site-{number}" for number in range(SITES)]}]
    file.write_text(yaml.safe_dump({"devices": rows, "shifts": shifts}, sort_keys=False))
    return {"CSV": table, "YAML": file}


def apply(kafka: KafkaSettings, path: Path) -> tuple[float, float]:
    """Seconds by the clock and of CPU that `punchstream fleet apply` takes, from its start to its end.

    Raises:
        CalledProcessError: it failed; its error stands above.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "punchstream", "fleet", "apply", str(path)]
    subprocess.run(command, env=environment(kafka), cwd=path.parent, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


async def measure_apply(kind: BrokerKind, broker: Broker, directory: Path, arguments: argparse.Namespace) -> list[Row]:
    """A fleet that is new, one that is as it was, and one in which a field of each device is another."""
    rows = []
    files = write_files(directory, arguments.devices)
    # A broker that has just started takes seconds for its first producer.
    kafka = settings_of(broker, "warm")
    await create_topics(kafka)
    await asyncio.to_thread(apply, kafka, files["CSV"])
    for name, path in files.items():
        taken: dict[str, list[tuple[float, float]]] = {"new": [], "unchanged": [], "all changed": []}
        for number in range(arguments.repetitions):
            kafka = settings_of(broker, f"apply-{name.lower()}-{number}")
            await create_topics(kafka)
            for what, seconds in taken.items():
                if what == "all changed":
                    path.write_text(path.read_text().replace("Asia/Riyadh", "Asia/Dubai"))
                seconds.append(await asyncio.to_thread(apply, kafka, path))
            path.write_text(path.read_text().replace("Asia/Dubai", "Asia/Riyadh"))
        for what, found in taken.items():
            rows.append(
                {
                    "file": name,
                    "fleet": what,
                    "devices": arguments.devices,
                    "s": spread([seconds for seconds, _ in found]),
                    "CPU s": spread([cpu for _, cpu in found]),
                }
            )
            console.print(f"  {kind}, {name}, {what}: {found}")
    return rows


@contextmanager
def stages(kafka: KafkaSettings, directory: Path) -> Iterator[Mapping[str, ChildProcess]]:
    """The stages that follow the fleet."""
    with ErpnextStandIn(log_file=directory / "erpnext.log", time_zone="UTC") as site, ExitStack() as stack:
        site.shift_types([{"name": SHIFT, "process_attendance_after": "2026-01-01"}])
        more = {"ERPNEXT_URL": site.url, "ERPNEXT_API_KEY": site.api_key, "ERPNEXT_API_SECRET": site.api_secret}
        yield {
            stage: stack.enter_context(
                ChildProcess(
                    [sys.executable, "-m", "punchstream", stage],
                    log_file=directory / f"{stage}.log",
                    env=environment(kafka) | more,
                    cwd=directory,
                    stop_seconds=30,
                )
            )
            for stage in FOLLOWERS
        }


def taken_up(process: ChildProcess) -> list[datetime]:
    """When a stage took up the fleet topic, by its log."""
    lines = process.log_file.read_bytes().splitlines(keepends=True)
    decoded: list[dict[str, Any]] = [orjson.loads(line) for line in lines if line[:1] == b"{" and line[-1:] == b"\n"]
    return [datetime.fromisoformat(line["timestamp"]) for line in decoded if line["event"] == TAKEN_UP]


async def until_taken_up(processes: Mapping[str, ChildProcess], since: datetime) -> dict[str, float]:
    """Seconds from a moment until each stage took up the fleet topic.

    Raises:
        ProcessFailed: a stage ended, or did not.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    found: dict[str, float] = {}
    while len(found) < len(processes):
        for stage, process in processes.items():
            later = [(at - since).total_seconds() for at in taken_up(process) if at >= since]
            if later:
                found[stage] = later[0]
            elif not process.running or time.monotonic() > deadline:
                raise ProcessFailed(f"{stage} has not taken up the fleet:\n{process.log_tail()}")
        await asyncio.sleep(0.05)
    return found


async def measure_reach(broker: Broker, directory: Path, arguments: argparse.Namespace) -> list[Row]:
    """How long a stage that starts takes until it has the fleet, and how long a change takes until each has it."""
    kafka = settings_of(broker, "reach")
    await create_topics(kafka)
    await asyncio.to_thread(apply, kafka, write_files(directory, arguments.devices)["YAML"])
    log = KafkaLog(kafka, "bench")
    changes: dict[str, list[float]] = {stage: [] for stage in FOLLOWERS}
    cpu: dict[str, list[float]] = {stage: [] for stage in FOLLOWERS}
    owned = (await read_fleet(log)).owned()
    began = datetime.now(UTC)
    async with AsyncExitStack() as opened:
        processes = opened.enter_context(stages(kafka, directory))
        start = await until_taken_up(processes, began)
        sending = await opened.enter_async_context(log.sending())
        for number in range(arguments.changes):
            await asyncio.sleep(arguments.pause)
            used = {stage: cpu_seconds([process.pid]) for stage, process in processes.items()}
            written = owned["device", f"D{number:05}"]
            fields = {**written.entry.fields, "name": f"Gate {number}"}
            entry = structs.replace(written.entry, fields=fields, claimed=written.claimed)
            since = datetime.now(UTC)
            await sending(OutRecord(kafka.topics["fleet"], entry.key, entry.encode()))
            for stage, seconds in (await until_taken_up(processes, since)).items():
                changes[stage].append(seconds)
                cpu[stage].append(cpu_seconds([processes[stage].pid]) - used[stage])
    return [
        {
            "stage": stage,
            "devices": arguments.devices,
            "whole after its start s": start[stage],
            "change s": spread(changes[stage]),
            "CPU s of a change": spread(cpu[stage]),
        }
        for stage in FOLLOWERS
    ]


async def main() -> None:
    """Measure, and write `bench/results/fleet.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--devices", type=int, default=5000, help="of the fleet (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each writing (%(default)s)")
    parser.add_argument("--changes", type=int, default=20, help="whose way to each stage is measured (%(default)s)")
    parser.add_argument("--pause", type=float, default=1.3, help="seconds before each of them (%(default)s)")
    parser.add_argument("--brokers", nargs="+", choices=["kafka", "embedded"], default=["kafka", "embedded"])
    parser.add_argument("--only", nargs="+", choices=["apply", "reach"], default=["apply", "reach"])
    arguments = parser.parse_args()
    for kind in arguments.brokers:
        with tempfile.TemporaryDirectory(prefix="punchstream-bench-", ignore_cleanup_errors=True) as name:
            directory = Path(name)
            with create_broker(kind, directory) as broker:
                if "apply" in arguments.only:
                    rows = await measure_apply(kind, broker, directory, arguments)
                    save("fleet", APPLIED[kind], rows, seed=0, parameters=vars(arguments))
                if kind == "kafka" and "reach" in arguments.only:
                    reach = await measure_reach(broker, directory, arguments)
                    console.print(reach)
                    save("fleet", "reach", reach, seed=0, parameters=vars(arguments))


if __name__ == "__main__":
    asyncio.run(main())
