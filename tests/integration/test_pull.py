"""Two pull processes share a fleet on Apache Kafka, and one of them is killed."""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from attendance.kafka.readers import snapshot
from attendance.records.cursor import SavedCursor
from attendance.records.raw_event import RawEvent
from attendance.settings import KafkaSettings
from attendance.times import now, to_wall_clock
from sandbox.process import ChildProcess
from sandbox.terminals.base import Punch
from sandbox.terminals.rest import NumberedRest

pytestmark = pytest.mark.broker

ZONE = "Asia/Riyadh"
DEADLINE = 40
BEGIN = to_wall_clock(now(), ZONE) - timedelta(days=1)


def punch(number: int) -> Punch:
    return Punch(f"{number:03}", BEGIN + timedelta(minutes=number), "IN")


class World:
    """A fleet that serves, and processes that ask it."""

    def __init__(self, kafka: KafkaSettings, directory: Path, devices: int) -> None:
        self.kafka = kafka
        self.fleet = {f"D{number}": NumberedRest(f"S{number}", ZONE, "right") for number in range(devices)}
        entries = [
            {
                "device_id": device_id,
                "site": "riyadh",
                "timezone": ZONE,
                "interval": 1,
                "credentials": {"token": "REST_TOKEN"},
                **terminal.registry_entry(),
            }
            for device_id, terminal in self.fleet.items()
        ]
        self._registry = directory / "devices.yaml"
        self._registry.write_text(yaml.safe_dump(entries))
        self._directory = directory

    def process(self, name: str) -> ChildProcess:
        env = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_PARTITIONS": str(self.kafka.partitions),
            "KAFKA_SESSION_TIMEOUT": "6",
            "PUNCHSTREAM_DEVICES": str(self._registry),
            "REST_TOKEN": "right",
        }
        log_file = self._directory / f"{name}.log"
        return ChildProcess([sys.executable, "-m", "punchstream", "pull"], log_file=log_file, env=env, stop_seconds=15)

    async def arrived(self) -> dict[str, dict[int, int]]:
        """When each record of each device came into the raw topic, milliseconds, by device and number."""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        for record in await snapshot(self.kafka, self.kafka.topics["raw"], "test"):
            event = RawEvent.decode(record.value)
            assert event.sequence is not None
            found[event.device_id].setdefault(event.sequence, record.timestamp)
        return found

    async def all_arrived(self) -> bool:
        found = await self.arrived()
        return all(len(found[device_id]) == len(terminal.memory) for device_id, terminal in self.fleet.items())


def share(process: ChildProcess) -> int:
    """How many devices a process asks, by what it logged last."""
    lines = [json.loads(line) for line in process.log_file.read_text().splitlines() if line.startswith("{")]
    shares: list[int] = [line["devices"] for line in lines if line["event"] == "Asking devices."]
    return shares[-1] if shares else 0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await condition():  # noqa: ASYNC110 - it waits for other processes
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("broker_kind", ["kafka"], indirect=True)
def test_two_processes_share_the_fleet_and_one_takes_up_what_the_other_left(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    world = World(kafka, tmp_path, devices=16)
    for terminal in world.fleet.values():
        terminal.memory.extend(punch(number) for number in range(70))
    one, two = world.process("one"), world.process("two")

    async def both_have_a_share() -> bool:
        shares = share(one), share(two)
        return all(shares) and sum(shares) == len(world.fleet)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            for terminal in world.fleet.values():
                await stack.enter_async_context(terminal.serving())
            stack.callback(one.kill)
            one.start()
            two.start()
            stack.callback(two.stop)
            await until(both_have_a_share)
            await until(world.all_arrived)
            one.kill()
            for terminal in world.fleet.values():
                terminal.memory.append(punch(500))
            await until(world.all_arrived)
            assert share(two) == len(world.fleet)

        found = await world.arrived()
        cursors = [
            (SavedCursor.decode(record.value), record.timestamp)
            for record in await snapshot(kafka, kafka.topics["cursors"], "test")
        ]
        assert {saved.device_id for saved, _ in cursors} == world.fleet.keys()
        for saved, written_at in cursors:
            before = {number for number, at in found[saved.device_id].items() if at <= written_at}
            assert set(range(1, saved.cursor["number"] + 1)) <= before

    asyncio.run(scenario())
    assert not two.running
