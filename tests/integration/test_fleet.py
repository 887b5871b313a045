"""The fleet on its topic, on real brokers: push goes by it as its own process, and many write it at once."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml
from aiokafka.admin import NewTopic
from process_log import DEADLINE, until

from attendance.errors import ConfigurationError
from attendance.fleet import hash_token
from attendance.kafka.admin import create_topics
from attendance.kafka.clients import create_admin
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, topic_configs
from operations.fleet import read_fleet, write
from operations.fleet_plan import Wanted
from operations.log import KafkaLog

pytestmark = pytest.mark.broker

TOKEN = "gate-token-7f3a"
GATE = {"site": "riyadh", "timezone": "Asia/Riyadh", "token_sha256": hash_token(TOKEN)}


def device(name: str, source: str, **fields: Any) -> Wanted:
    return Wanted(source, "fatima", {("device", name): GATE | fields})


async def put(kafka: KafkaSettings, what: Wanted) -> None:
    log = KafkaLog(kafka, "test")
    await write(log, what, await read_fleet(log))


async def create_all_but_the_fleet(kafka: KafkaSettings) -> None:
    """Make the topics that a release before the fleet's topic had."""
    names = [name for name in TABLE if name != "fleet"]
    admin = create_admin(kafka, "test")
    await admin.start()
    try:
        await admin.create_topics(
            NewTopic(
                *(kafka.topics[name], kafka.partitions_of(name), 1),
                topic_configs=topic_configs(TABLE[name], kafka.retention_days),
            )
            for name in names
        )
    finally:
        await admin.close()


@contextmanager
def push(kafka: KafkaSettings, directory: Path) -> Iterator[Callable[[str], int]]:
    """A push process. Yields what posts a punch of a device, and returns the status of the answer."""
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "PUSH_HOST": "127.0.0.1",
        "PUSH_PORT": "0",
        "METRICS_PORT": "0",
    }
    path = directory / "push.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "punchstream", "push"], env=environment, cwd=directory, stdout=log, stderr=log
        )

    def port() -> int | None:
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return next((line["port"] for line in lines if line["event"] == "Listening."), None)

    try:
        url = f"http://127.0.0.1:{until(port, path)}/v1/events"
        batch = {"events": [{"user_id": "1", "time": "2026-01-01T08:00:00Z", "type": "IN"}]}

        def post(device_id: str) -> int:
            content = orjson.dumps(batch | {"device_id": device_id})
            return httpx.post(url, content=content, headers={"X-Device-Token": TOKEN}, timeout=DEADLINE).status_code

        yield post
    finally:
        process.terminate()
        assert process.wait(DEADLINE) == 0


def test_push_takes_nothing_in_before_it_knows_a_device_and_goes_by_the_topic_alone(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    with push(kafka, tmp_path) as post:
        assert post("GATE-1") == 503
        asyncio.run(put(kafka, device("GATE-1", "file")))
        until(lambda: post("GATE-1") == 200, tmp_path / "push.log")
        asyncio.run(put(kafka, device("GATE-2", "approval")))
        until(lambda: post("GATE-2") == 200, tmp_path / "push.log")
        asyncio.run(put(kafka, Wanted("file", "fatima", {("device", "GATE-1"): None})))
        until(lambda: post("GATE-1") != 200, tmp_path / "push.log")
        assert post("GATE-2") == 200
    # The same for a process that has the whole fleet from its start.
    with push(kafka, tmp_path) as post:
        until(lambda: post("GATE-2") != 503, tmp_path / "push.log")
        assert post("GATE-2") == 200


def test_without_the_topic_the_file_counts_and_the_topic_does_once_it_is_there(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    earlier = kafka.model_copy(update={"topic_prefix": f"{kafka.topic_prefix}-earlier"})
    asyncio.run(create_all_but_the_fleet(earlier))
    (tmp_path / "devices.yaml").write_text(yaml.safe_dump([GATE | {"device_id": "GATE-1"}]))
    with push(earlier, tmp_path) as post:
        until(lambda: post("GATE-1") == 200, tmp_path / "push.log")
        asyncio.run(create_topics(earlier))
        asyncio.run(put(earlier, device("GATE-2", "approval")))
        until(lambda: post("GATE-2") == 200, tmp_path / "push.log")
        assert post("GATE-1") == 200


def test_of_ten_sources_that_write_one_device_at_once_one_has_it_and_the_others_say_whose_it_is(
    kafka: KafkaSettings,
) -> None:
    async def story() -> list[BaseException | None]:
        writers = (put(kafka, device("GATE-1", f"source-{number}")) for number in range(10))
        return await asyncio.gather(*writers, return_exceptions=True)

    results = asyncio.run(story())
    entries = asyncio.run(read_fleet(KafkaLog(kafka, "test")))
    [owner] = entries.all()
    assert results.count(None) == 1
    assert owner.entry.source == f"source-{results.index(None)}"
    assert all(isinstance(each, ConfigurationError) for each in results if each is not None)


def test_ten_that_write_a_device_each_at_once_all_have_theirs(kafka: KafkaSettings) -> None:
    async def story() -> None:
        await asyncio.gather(*(put(kafka, device(f"GATE-{number}", "approval")) for number in range(10)))

    asyncio.run(story())
    assert len(asyncio.run(read_fleet(KafkaLog(kafka, "test"))).owned()) == 10
