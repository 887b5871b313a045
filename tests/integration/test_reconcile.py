"""`punchstream reconcile --fetch` as its own process, on both brokers and a simulated terminal."""

import asyncio
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from attendance.kafka.readers import snapshot
from attendance.records.raw_event import RawEvent
from attendance.settings import KafkaSettings
from attendance.times import now, to_wall_clock
from sandbox.terminals.base import Punch
from sandbox.terminals.rest import NumberedRest

pytestmark = pytest.mark.broker

ZONE = "Asia/Riyadh"
NOON = to_wall_clock(now(), ZONE).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


async def reconcile(kafka: KafkaSettings, directory: Path, *options: str) -> tuple[int, Any]:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "PUNCHSTREAM_DEVICES": str(directory / "devices.yaml"),
        "REST_TOKEN": NumberedRest("S1", ZONE, "right").credentials()["token"],
    }
    command = "-m", "punchstream", "reconcile", "--device", "D1", "--day", f"{NOON:%Y-%m-%d}", "--json", *options
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, cwd=directory, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(output)


def test_what_kafka_lacks_of_a_day_is_fetched_once(kafka: KafkaSettings, tmp_path: Path) -> None:
    async def scenario() -> None:
        terminal = NumberedRest("S1", ZONE, "right")
        terminal.memory += [
            Punch("001", NOON - timedelta(days=1), "IN"),
            Punch("001", NOON, "IN"),
            Punch("002", NOON + timedelta(hours=1), "OUT"),
        ]
        entry = {"device_id": "D1", "site": "riyadh", "timezone": ZONE, "credentials": {"token": "REST_TOKEN"}}
        (tmp_path / "devices.yaml").write_text(yaml.safe_dump([entry | dict(terminal.registry_entry())]))
        async with terminal.serving():
            status, before = await reconcile(kafka, tmp_path)
            assert (status, before["is_whole"]) == (0, True), "nobody has said that the device has anything"
            assert before["devices"][0]["counted"] is None

            status, found = await reconcile(kafka, tmp_path, "--fetch")
            [row] = found["devices"]
            assert (status, row["counted"], row["punches"]) == (1, 2, 0)
            [gap] = row["gaps"]
            assert (gap["kind"], gap["count"]) == ("not_in_kafka", 2)
            records = [record for record in await snapshot(kafka, kafka.topics["raw"], "test") if record.value]
            events = [RawEvent.decode(record.value) for record in records]
            assert sorted(event.device_user_id for event in events) == ["001", "002"]
            assert sorted(event.event_id for event in events) == sorted(gap["names"])
            assert {event.source.transport for event in events} == {"pull"}

            status, after = await reconcile(kafka, tmp_path, "--fetch")
            [row] = after["devices"]
            assert (status, row["counted"], row["raw"], row["undecided"]) == (1, 2, 2, 2)
            assert [each["kind"] for each in row["gaps"]] == ["undecided"], "no stream runs here"
            assert len([each for each in await snapshot(kafka, kafka.topics["raw"], "test") if each.value]) == 2
        status, silent = await reconcile(kafka, tmp_path, "--fetch")
        assert (status, silent["devices"][0]["counted"]) == (1, None)
        assert "D1 was not asked" in silent["problems"][0]

    asyncio.run(scenario())
