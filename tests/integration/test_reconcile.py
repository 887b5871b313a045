"""`punchstream reconcile` as its own process, on both brokers: a simulated terminal, and a stand-in for ERPNext."""

import asyncio
import json
import os
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pydantic import SecretStr

from attendance.erpnext import ErpnextClient
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery
from attendance.records.raw_event import RawEvent, Source
from attendance.settings import ErpnextSettings, KafkaSettings
from attendance.times import from_wall_clock, now, to_wall_clock
from attendance.topics import Name
from operations.site.setup import ensure_event_id_field
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.terminals.base import Punch
from sandbox.terminals.rest import NumberedRest
from sinks.targets.erpnext.documents import to_document

pytestmark = pytest.mark.broker

ZONE = "Asia/Riyadh"
EMPLOYEE = "HR-EMP-00001"
NOON = to_wall_clock(now(), ZONE).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


async def reconcile(kafka: KafkaSettings, directory: Path, *options: str, **settings: str) -> tuple[int, Any]:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "PUNCHSTREAM_DEVICES": str(directory / "devices.yaml"),
        "REST_TOKEN": NumberedRest("S1", ZONE, "right").credentials()["token"],
        **settings,
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


def test_erpnext_is_asked_for_each_punch_that_was_delivered(kafka: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text(
        yaml.safe_dump([{"device_id": "D1", "site": "riyadh", "timezone": ZONE, "mode": "file", "adapter": "csv"}])
    )
    checkins, records = [], []
    for hour in range(3):
        at = from_wall_clock(NOON + timedelta(hours=hour), ZONE)
        event = RawEvent("D1", "riyadh", "1", "IN", at, f"{at}", ZONE, at, Source("file", "csv"))
        checkin = Checkin(event.event_id, EMPLOYEE, at, "IN", "D1", "1", "riyadh", ZONE)
        checkins.append(checkin)
        delivery = Delivery(event.event_id, EMPLOYEE, f"CHK-{hour}", "created", "erpnext", at)
        for name, record in (("raw", event), ("checkins", checkin), ("deliveries", delivery)):
            records.append(OutRecord(kafka.topics[cast("Name", name)], record.key, record.encode()))

    async def send() -> None:
        producer = Producer(kafka, kafka.client_id("test"))
        await producer.send(*records)
        await producer.stop()

    asyncio.run(send())
    with ErpnextStandIn(log_file=tmp_path / "erpnext.log", time_zone=ZONE) as erpnext:
        erpnext.employees([{"name": EMPLOYEE, "attendance_device_id": "1"}])
        site = ErpnextSettings(url=erpnext.url, api_key=erpnext.api_key, api_secret=SecretStr(erpnext.api_secret))
        setting = {"ERPNEXT_URL": site.url, "ERPNEXT_API_KEY": site.api_key, "ERPNEXT_API_SECRET": erpnext.api_secret}
        ensure_event_id_field(site)
        with closing(ErpnextClient(site)) as client:
            for checkin in checkins[:2]:
                client.insert(to_document(checkin, ZONE, event_id=True))
        status, found = asyncio.run(reconcile(kafka, tmp_path, **setting))
        [row] = found["devices"]
        assert (status, row["delivered"], row["in_erpnext"]) == (1, 3, 2)
        [gap] = row["gaps"]
        assert (gap["kind"], gap["names"]) == ("not_in_erpnext", [checkins[2].event_id])

        with closing(ErpnextClient(site)) as client:
            client.insert(to_document(checkins[2], ZONE, event_id=True))
        status, found = asyncio.run(reconcile(kafka, tmp_path, **setting))
        assert (status, found["devices"][0]["in_erpnext"], found["problems"]) == (0, 3, [])
    status, found = asyncio.run(reconcile(kafka, tmp_path, **setting))
    assert (status, found["devices"][0]["in_erpnext"]) == (1, None)
    assert "ERPNext was not asked" in found["problems"][0]
