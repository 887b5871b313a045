"""A change of the fleet topic reaches every stage, and a stage that starts has all of the topic before it works."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fleet_stages import FleetStages, fleet_stages
from process_log import until

from attendance.fleet import hash_token
from attendance.kafka.clients import create_admin
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, topic_configs
from operations.fleet import read_fleet, write
from operations.fleet_plan import About, Fields, Wanted
from operations.log import KafkaLog
from sandbox.broker import Broker
from sandbox.erpnext.server import ErpnextStandIn
from stream_process import punch

pytestmark = pytest.mark.broker

TOKEN = "gate-token-7f3a"
GATE: dict[str, Any] = {"site": "hq", "token_sha256": hash_token(TOKEN)}
FOLLOWERS = ("push", "pull", "stream", "completeness")
REST: dict[str, Any] = {
    "path": "/punches",
    "records": "rows",
    "fields": {"user": "user", "time": "time", "sequence": "id"},
    "query": {"after": "{cursor}"},
    "cursor": {"by": "number", "overlap": 1},
}
COMPACTED = {
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.0",
    "max.compaction.lag.ms": "100",
}
COMPACTION_SECONDS = 120


def put(kafka: KafkaSettings, entries: dict[About, Fields | None], source: str = "command") -> None:
    async def written() -> None:
        log = KafkaLog(kafka, "test")
        await write(log, Wanted(source, "fatima", entries), await read_fleet(log))

    asyncio.run(written())


def send(kafka: KafkaSettings, *records: OutRecord) -> None:
    async def sent() -> None:
        producer = Producer(kafka, "test")
        await producer.send(*records)
        await producer.stop()

    asyncio.run(sent())


def know_user(kafka: KafkaSettings) -> None:
    entries = (Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
    send(kafka, *(OutRecord(kafka.topics["user_map"], each.key, each.encode()) for each in entries))


def directions(kafka: KafkaSettings) -> dict[str, str]:
    """The direction of each check-in, by its time."""
    records = asyncio.run(snapshot(kafka, kafka.topics["checkins"], "test"))
    checkins = [Checkin.decode(record.value) for record in records]
    return {f"{each.event_time:%H:%M}": each.log_type for each in checkins}


@pytest.fixture
def stages(kafka: KafkaSettings, tmp_path: Path) -> Iterator[FleetStages]:
    """Every stage that follows the fleet, with an ERPNext that has the shift."""
    with ErpnextStandIn(log_file=tmp_path / "erpnext.log", time_zone="UTC") as site:
        site.shift_types([{"name": "Day", "process_attendance_after": "2026-01-01"}])
        settings = {
            "ERPNEXT_URL": site.url,
            "ERPNEXT_API_KEY": site.api_key,
            "ERPNEXT_API_SECRET": site.api_secret,
        }
        know_user(kafka)
        with fleet_stages(kafka, tmp_path, *FOLLOWERS, token=TOKEN, settings=settings) as running:
            yield running


def test_a_change_of_sites_devices_and_shifts_reaches_every_stage(kafka: KafkaSettings, stages: FleetStages) -> None:
    with socket.create_server(("127.0.0.1", 0)) as terminal:
        asked = {"site": "hq", "mode": "pull", "adapter": "rest", "host": "127.0.0.1", "interval": 1, "options": REST}
        put(
            kafka,
            {
                ("site", "hq"): {"timezone": "UTC", "direction": "in"},
                ("device", "GATE"): GATE,
                ("device", "ASKED"): asked | {"port": terminal.getsockname()[1]},
                ("shift", "Day"): {"sites": ["hq"]},
            },
        )
        stages.until_taken_up(FOLLOWERS, devices=2, sites=1, shifts=1)
        terminal.settimeout(60)
        terminal.accept()[0].close()
    until(lambda: stages.post("GATE") == 200, stages.log("push"))
    until(lambda: directions(kafka) == {"08:00": "IN"}, stages.log("stream"))

    put(kafka, {("site", "hq"): {"timezone": "UTC", "direction": "out"}, ("device", "NEW"): GATE})
    stages.until_taken_up(FOLLOWERS, devices=3)
    assert stages.post("NEW", "2026-01-01T09:00:00Z") == 200
    until(lambda: directions(kafka) == {"08:00": "IN", "09:00": "OUT"}, stages.log("stream"))

    put(kafka, {("shift", "Day"): None, ("device", "NEW"): None})
    stages.until_taken_up(FOLLOWERS, devices=2, shifts=0)
    assert stages.post("NEW") == 401


async def compact(kafka: KafkaSettings) -> None:
    """Have the broker take away what later records of the fleet topic replace, as soon as it can."""
    admin = create_admin(kafka, "test")
    await admin.start()
    try:
        # What is not given here goes back to the broker's default.
        configs = topic_configs(TABLE["fleet"], kafka.retention_days) | COMPACTED
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, kafka.topics["fleet"], configs)])
    finally:
        await admin.close()


def fleet_records(kafka: KafkaSettings) -> int:
    return len(asyncio.run(snapshot(kafka, kafka.topics["fleet"], "test")))


def test_a_stage_that_starts_has_the_whole_fleet_before_it_takes_anything_in(
    kafka: KafkaSettings, broker: Broker, tmp_path: Path
) -> None:
    # The embedded broker compacts nothing and takes a record at a time.
    number = 5_000 if broker.name == "kafka" else 300
    device = GATE | {"timezone": "UTC"}
    last, removed = f"D{number - 1:05}", "GONE-1"
    if broker.name == "kafka":
        asyncio.run(compact(kafka))
    put(kafka, {("device", f"D{each:05}"): device for each in range(number)} | {("device", removed): device})
    changed: dict[About, Fields | None] = {
        ("device", f"D{each:05}"): device | {"direction": "out"} for each in range(number // 2, number)
    }
    put(kafka, changed | {("device", removed): None})
    written = number + 1 + len(changed) + 1
    if broker.name == "kafka":
        deadline = time.monotonic() + COMPACTION_SECONDS
        while fleet_records(kafka) >= written:
            assert time.monotonic() < deadline, "the broker has not compacted the topic"
            time.sleep(1)
            # A segment ends with the next record; only then it may be compacted.
            put(kafka, {("device", "D00000"): device | {"name": f"{time.time()}"}})
    know_user(kafka)
    waits = punch(0, device_id=last, event_type="IN")
    send(kafka, OutRecord(kafka.topics["raw"], waits.key, waits.encode()))

    with fleet_stages(kafka, tmp_path, "push", "stream", token=TOKEN, settings={}) as stages:
        seen = []
        until(lambda: seen.append(stages.post(last)) or seen[-1] == 200, stages.log("push"))
        assert set(seen) <= {503, 200}, "401 would say that push does not know the device"
        assert {stages.post(f"D{each:05}") for each in range(0, number, number // 10)} == {200}
        assert stages.post(removed) == 401
        until(lambda: "05:00" in directions(kafka), stages.log("stream"))
        assert directions(kafka)["05:00"] == "OUT", "the stream decided before it knew the newest entry"
        assert stages.lines("push", "The fleet topic was taken up.")[0]["devices"] == number
