"""`punchstream up`: every stage on one machine. What is missing is started from the sandbox, and it says so."""

import asyncio
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console

from attendance.kafka import create_topics
from attendance.registry import hash_token
from attendance.settings import CommonSettings, ErpnextSettings, KafkaSettings
from attendance.times import format_seconds, now
from punchstream.erpnext import ensure_event_id_field
from punchstream.settings import is_set
from punchstream.stages import STAGES, Stages
from sandbox.broker import BrokerKind, create_broker
from sandbox.erpnext.server import ErpnextStandIn

SAMPLE_EMPLOYEE: Final = {"name": "HR-EMP-00001", "attendance_device_id": "1001", "status": "Active"}


def run(directory: Path, console: Console) -> None:
    """Run until SIGTERM or SIGINT, with logs and data in the directory, which is made."""
    common = CommonSettings.load()
    directory.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        token = None
        if not is_set("KAFKA_BOOTSTRAP_SERVERS"):
            stack.enter_context(sandbox_broker("embedded", directory))
            console.print("Kafka: the embedded broker, in memory: what it holds is gone at the end.", style="yellow")
        if not is_set("ERPNEXT_URL"):
            stand_in = stack.enter_context(sandbox_erpnext(directory))
            stand_in.employees([SAMPLE_EMPLOYEE])
            console.print(f"ERPNext: a stand-in at {stand_in.url}, in memory.", style="yellow")
        if not common.punchstream_devices.exists():
            token = sample_registry(directory / "devices.yaml")
            console.print(f"Fleet: one sample device, in {directory / 'devices.yaml'}.", style="yellow")
        asyncio.run(create_topics(KafkaSettings.load()))
        stages = stack.enter_context(Stages(directory))
        console.print(f"Running {', '.join(STAGES)}; their logs are in {directory}/.")
        console.print(f"Punches: POST {stages.url}/v1/events")
        if token:
            console.print(f"Try it:\n{example(stages.url, token)}", markup=False, soft_wrap=True)
        while not stop.wait(1):
            stages.check()
        console.print("Stopping.")


@contextmanager
def sandbox_broker(kind: BrokerKind, directory: Path) -> Iterator[None]:
    """A broker of the sandbox while the context lasts. The environment of this process leads to it.

    Raises:
        BrokerFailed: it cannot be run here, or did not start.
    """
    with create_broker(kind, directory) as broker:
        os.environ.update(broker.client_settings() | {"KAFKA_PARTITIONS": "4"})
        yield


@contextmanager
def sandbox_erpnext(directory: Path, *, time_zone: str = "UTC", latency_ms: int = 0) -> Iterator[ErpnextStandIn]:
    """A stand-in for ERPNext while the context lasts, set up. The environment of this process leads to it."""
    log_file = directory / "erpnext-stand-in.log"
    with ErpnextStandIn(log_file=log_file, time_zone=time_zone, latency_ms=latency_ms) as stand_in:
        os.environ.update(
            ERPNEXT_URL=stand_in.url, ERPNEXT_API_KEY=stand_in.api_key, ERPNEXT_API_SECRET=stand_in.api_secret
        )
        ensure_event_id_field(ErpnextSettings.load())
        yield stand_in


def sample_registry(path: Path) -> str:
    """Write a registry file of one device, lead this process's environment to it, and return the device's token."""
    token = secrets.token_urlsafe(24)
    device = {"device_id": "sample", "site": "sample", "timezone": "UTC", "token_sha256": hash_token(token)}
    path.write_text(yaml.safe_dump([device]))
    os.environ["PUNCHSTREAM_DEVICES"] = str(path)
    return token


def example(url: str, token: str) -> str:
    """A command line that posts a punch of the sample employee on the sample device."""
    body = {"device_id": "sample", "events": [{"user_id": "1001", "time": format_seconds(now()), "type": "IN"}]}
    return f"curl {url}/v1/events -H 'X-Device-Token: {token}' -d '{json.dumps(body)}'"
