"""The nightly reconcile of a ledger as a process, on both brokers: killed and started again, it has reconciled once."""

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.records.raw_event import RawEvent, Source
from attendance.settings import KafkaSettings
from attendance.times import from_wall_clock, now, to_wall_clock
from sandbox.ports import free_port
from sandbox.process import ChildProcess

pytestmark = pytest.mark.broker

ZONE = "Asia/Riyadh"
DEADLINE = 120
NOON = to_wall_clock(now(), ZONE).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


def send(kafka: KafkaSettings, user: str) -> None:
    at = from_wall_clock(NOON, ZONE)
    event = RawEvent("D1", "riyadh", user, "IN", at, f"{NOON}", ZONE, at, Source("push", "json"))

    async def sending() -> None:
        producer = Producer(kafka, kafka.client_id("test"))
        await producer.send(OutRecord(kafka.topics["raw"], event.key, event.encode()))
        await producer.stop()

    asyncio.run(sending())


class Ledger:
    """Its database, and its processes."""

    def __init__(self, kafka: KafkaSettings, directory: Path) -> None:
        self.kafka = kafka
        self.directory = directory
        self.port = free_port()
        devices = [{"device_id": "D1", "site": "riyadh", "timezone": ZONE, "mode": "file", "adapter": "csv"}]
        (directory / "devices.yaml").write_text(yaml.safe_dump(devices))

    def start(self, name: str) -> ChildProcess:
        env = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_ENABLE_IDEMPOTENCE": str(self.kafka.enable_idempotence),
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_PARTITIONS": str(self.kafka.partitions),
            "PUNCHSTREAM_DEVICES": str(self.directory / "devices.yaml"),
            "LEDGER_URL": f"sqlite:///{self.directory}/ledger.sqlite",
            "LEDGER_RECONCILE_AT": "00:00",
            "METRICS_PORT": str(self.port),
        }
        env.pop("ERPNEXT_URL", None)
        command = [sys.executable, "-m", "punchstream", "ledger"]
        return ChildProcess(command, log_file=self.directory / f"{name}.log", env=env)

    def rows(self, query: str) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"file:{self.directory}/ledger.sqlite?mode=ro", uri=True)) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []

    def shows(self) -> str:
        """Its metrics."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_day_is_reconciled_once_though_the_process_is_killed(kafka: KafkaSettings, tmp_path: Path) -> None:
    ledger = Ledger(kafka, tmp_path)
    send(kafka, "1")
    results = "select site, day, devices, devices_with_gap, missing, problem from reconciliations"
    day = f"{NOON:%Y-%m-%d}"
    with ledger.start("first") as first:
        until(lambda: ledger.rows(results) == [("riyadh", day, 1, 1, 1, None)])
        first.kill()
    at = ledger.rows("select reconciled_at from reconciliations")

    send(kafka, "2")
    with ledger.start("second"):
        until(lambda: ledger.rows("select count(*) from raw_records") == [(2,)])
        # What is shown is the end of a look whether anything is due.
        until(lambda: 'punchstream_reconciled_missing_punches{site="riyadh"} 1.0' in ledger.shows())
    assert ledger.rows("select reconciled_at from reconciliations") == at, "it was reconciled before"
    assert ledger.rows("select device_id, gaps, undecided from reconciled_devices") == [("D1", "undecided", 1)]
    for name in ("first", "second"):
        assert "Reconciling failed" not in (tmp_path / f"{name}.log").read_text()
