"""The console's process on a broker."""

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest
from console_site import NAME, PASSWORD

from attendance.settings import KafkaSettings
from operations.console_users import add_user, set_disabled
from operations.log import KafkaLog, Skipped
from sandbox.ports import free_port
from sandbox.process import ChildProcess


@pytest.mark.broker
def test_the_console_follows_who_may_use_it(kafka: KafkaSettings, tmp_path: Path) -> None:
    log = KafkaLog(kafka, "test")
    asyncio.run(add_user(log, NAME, PASSWORD, "test", Skipped()))
    port, metrics = free_port(), free_port()
    (tmp_path / "devices.yaml").write_text("[]")
    env = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.sqlite'}",
        "PUNCHSTREAM_DEVICES": str(tmp_path / "devices.yaml"),
        "CONSOLE_PORT": str(port),
        "METRICS_PORT": str(metrics),
    }
    command = [sys.executable, "-m", "punchstream", "console"]
    address, ours = f"http://127.0.0.1:{port}", {"sec-fetch-site": "same-origin"}
    with (
        ChildProcess(command, log_file=tmp_path / "console.log", env=env) as process,
        httpx.Client(base_url=address, headers=ours, timeout=30) as browser,
    ):

        def is_ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{metrics}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        process.wait_until_ready(is_ready, timeout=60)
        assert browser.post("/sign-in", data={"name": NAME, "password": "something else"}).status_code == 401
        assert browser.post("/sign-in", data={"name": NAME, "password": PASSWORD}).status_code == 303
        assert browser.get("/").status_code == 200

        asyncio.run(set_disabled(log, NAME, "test", Skipped(), disabled=True))
        process.wait_until_ready(lambda: browser.get("/").status_code == 303, timeout=30)
    assert "Traceback" not in (tmp_path / "console.log").read_text()
