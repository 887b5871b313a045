"""On a cluster that refuses what no rule allows, each stage and command with exactly the rights that the page lists."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from secured_kafka import Operation, Right, SecuredKafka, environment, run

from attendance.kafka.admin import create_topics
from attendance.kafka.clients import create_consumer
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.user_map import Employee, UserMapping
from attendance.registry import hash_token
from attendance.settings import KafkaSettings
from attendance.times import now
from attendance.topics import Name
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.ports import free_port
from sandbox.terminals.base import Punch
from sandbox.terminals.rest import NumberedRest

DEADLINE = 60
ABSENCE = 6  # seconds: that something does not come is seen only over a time
TOKEN = "gate-token-7f3a"
DEVICE = {"device_id": "GATE-1", "site": "s", "timezone": "UTC", "token_sha256": hash_token(TOKEN)}
PAGE = Path(__file__).parents[2] / "docs" / "installing.md"
CONFIGS_OF_ITS_ROW = "Each stage also needs DescribeConfigs on the topics of its row"
CONFIGS_OF_ALL = "`punchstream audit` and the `topics` commands need it on all."


def table() -> dict[str, list[str]]:
    """The page's cells by who: topics to read, topics to write, groups."""
    text = PAGE.read_text().partition("\n## Access rules in Kafka\n")[2].partition("\n## ")[0]
    assert CONFIGS_OF_ITS_ROW in text
    assert CONFIGS_OF_ALL in text
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def rights(row: list[str], prefix: str, own_group: str = "") -> Iterator[Right]:
    """What a row of the table allows, for topics and groups under a prefix."""
    for cell, operation in zip(row[:2], ("read", "write"), strict=True):
        if cell.startswith("all, by the prefix attendance."):
            yield Right("topic", f"{prefix}.", operation, prefixed=True)
            yield Right("topic", f"{prefix}.", "describe_configs", prefixed=True)
        elif cell != "none":
            for suffix in cell.split(", "):
                yield Right("topic", f"{prefix}.{suffix}", operation)
                yield Right("topic", f"{prefix}.{suffix}", "describe_configs")
    groups, _, creates = row[2].partition("; ")
    if creates:
        assert creates == "Create and Describe on all topics, by the prefix attendance."
        yield Right("topic", f"{prefix}.", "create", prefixed=True)
        yield Right("topic", f"{prefix}.", "describe", prefixed=True)
    if groups != "none":
        operation_of, _, names = groups.partition(": ")
        of_groups: Operation = "read" if operation_of == "Read" else "describe"
        for name in names.split(", "):
            full = own_group if name == "their own" else f"{prefix}.{name.removeprefix('attendance.')}"
            yield Right("group", full, of_groups)


class Site:
    """A cluster with a principal for each row of the table, and the processes of the stages."""

    def __init__(self, broker: SecuredKafka, directory: Path) -> None:
        self.broker, self.directory = broker, directory
        self.prefix = f"test-{uuid4().hex[:8]}"
        self.all = KafkaSettings.load(
            bootstrap_servers=broker.bootstrap_servers, topic_prefix=self.prefix, partitions=2, session_timeout=6.0
        )
        self.rows = table()
        self.port = free_port()
        self.more: dict[str, str] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        (directory / "devices.yaml").write_text(json.dumps([DEVICE | {"mode": "push", "adapter": "json"}]))

    def principal(self, who: str) -> KafkaSettings:
        """The user of a row, with its rights and no other."""
        (row,) = (row for name, row in self.rows.items() if name.startswith(who))
        name = f"{self.prefix}-{who.removeprefix('punchstream ').replace(' ', '-')}"
        found = dict.fromkeys(rights(row, self.prefix, own_group=f"{self.prefix}-own"))
        return self.broker.user(name, found, topic_prefix=self.prefix, partitions=2)

    def environment(self, kafka: KafkaSettings) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
        return (
            own
            | environment(kafka)
            | {
                "PUNCHSTREAM_DEVICES": str(self.directory / "devices.yaml"),
                "PUSH_PORT": str(self.port),
                "SINK_TARGET": "jsonl",
                "SINK_JSONL_PATH": str(self.directory / "checkins.jsonl"),
                "KAFKA_REQUEST_TIMEOUT": "5",
                **self.more,
            }
        )

    def log(self, stage: str) -> Path:
        return self.directory / f"{stage}.log"

    def start(self, stage: str) -> KafkaSettings:
        kafka = self.principal(f"punchstream {stage}")
        with self.log(stage).open("ab") as log:
            command = [sys.executable, "-m", "punchstream", stage]
            self._processes.append(
                subprocess.Popen(command, env=self.environment(kafka), cwd=self.directory, stdout=log, stderr=log)
            )
        return kafka

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def command(self, kafka: KafkaSettings, *argv: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "punchstream", *argv],
            env=self.environment(kafka),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == status, (argv, done.stdout, done.stderr)
        return done.stdout

    def values(self, topic: Name) -> list[bytes]:
        return [record.value for record in run(snapshot(self.all, self.all.topics[topic], "test"))]

    def post(self, user: str, minute: int) -> int:
        event = {"user_id": user, "time": f"2026-03-02T05:{minute:02}:00Z", "type": "IN"}
        with suppress(httpx.TransportError):
            return httpx.post(
                f"http://127.0.0.1:{self.port}/v1/events",
                json={"device_id": "GATE-1", "events": [event]},
                headers={"X-Device-Token": TOKEN},
                timeout=10,
            ).status_code
        return 0

    def ready(self) -> int:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=10).status_code
        return 0

    def until(self, condition: Callable[[], bool], stage: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.log(stage).read_text()[-6000:]
            time.sleep(0.3)


@pytest.fixture
def site(secured_kafka: SecuredKafka, tmp_path: Path) -> Iterator[Site]:
    site = Site(secured_kafka, tmp_path)
    yield site
    site.stop()


def know_employee(kafka: KafkaSettings) -> None:
    entries: list[Employee | UserMapping] = [
        Employee("EMP-1", "Active"),
        UserMapping("*", "1", "EMP-1", "csv"),
    ]

    async def send() -> None:
        producer = Producer(kafka, "test")
        await producer.send(*(OutRecord(kafka.topics["user_map"], each.key, each.encode()) for each in entries))
        await producer.stop()

    run(send())


def test_stages_and_commands_work_with_the_rights_of_the_page(site: Site) -> None:
    creator = site.principal("whoever runs")
    site.command(creator, "topics", "create")
    know_employee(site.all)
    site.start("push")
    site.start("stream")
    site.start("sink")
    site.until(lambda: site.post("1", 1) == 200, "push")
    site.until(lambda: len(site.values("checkins")) == 1, "stream")
    site.until(lambda: len(site.values("deliveries")) == 1, "sink")

    operator = site.principal("an operator")
    site.command(operator, "topics", "describe")
    for argv in ("audit", "users list", "users unmapped", "devices list", "devices pending", "dead-letters list"):
        site.command(operator, *argv.split())
    site.command(operator, "replay", "--since", "2026-01-01")

    team = site.principal("a data team")

    async def read_as_a_team() -> bytes:
        consumer = create_consumer(team, team.topics["raw"], client_id="team", group=f"{site.prefix}-own")
        await consumer.start()
        try:
            record = await asyncio.wait_for(consumer.getone(), DEADLINE)
            await consumer.commit()
            return bytes(record.value)
        finally:
            await consumer.stop()

    assert run(read_as_a_team()) in site.values("raw")


def test_stages_that_ask_others_work_with_the_rights_of_the_page(site: Site, tmp_path: Path) -> None:
    run(create_topics(site.all))
    terminal = NumberedRest("S1", "UTC", "right")
    terminal.memory.append(Punch("1", now().replace(tzinfo=None) - timedelta(hours=1), "IN"))
    asked = {"device_id": "D1", "site": "s", "timezone": "UTC", "interval": 1, "credentials": {"token": "REST_TOKEN"}}
    shifts = [{"shift_type": "Day", "sites": ["s"]}]
    fleet = {"devices": [DEVICE, asked | terminal.registry_entry()], "shifts": shifts}
    (tmp_path / "devices.yaml").write_text(json.dumps(fleet))

    def play() -> None:
        with ErpnextStandIn(log_file=tmp_path / "erpnext.log", time_zone="UTC") as erpnext:
            erpnext.shift_types([{"name": "Day", "process_attendance_after": "2026-01-01"}])
            erpnext.employees([{"name": "EMP-1", "attendance_device_id": "1", "default_shift": "Day"}])
            site.more = {
                "ERPNEXT_URL": erpnext.url,
                "ERPNEXT_API_KEY": erpnext.api_key,
                "ERPNEXT_API_SECRET": erpnext.api_secret,
                "REST_TOKEN": "right",
                "COMPLETENESS_INTERVAL": "0.5",
            }
            site.command(site.principal("an operator"), "erpnext", "zone", "--accept", "UTC")
            # The last waits until the outcomes of stream and sink are there.
            stages = ("pull", "directory", "stream", "sink", "completeness")
            for stage in stages:
                site.start(stage)
            site.until(lambda: bool(site.values("cursors")) and len(site.values("raw")) == 1, "pull")
            site.until(lambda: bool(site.values("user_map")), "directory")
            # It has read the status topic, and what the groups of stream and sink have committed.
            site.until(lambda: "Devices hold a shift back." in site.log("completeness").read_text(), "completeness")
            site.until(lambda: bool(site.values("deliveries")), "sink")
            for stage in stages:
                assert "not authorized" not in site.log(stage).read_text()

    async def beside_the_terminal() -> None:
        async with terminal.serving():
            await asyncio.to_thread(play)

    asyncio.run(beside_the_terminal())


def test_push_is_ready_where_it_can_answer_every_post_and_only_there(site: Site) -> None:
    run(create_topics(site.all))
    push = site.start("push")
    site.until(lambda: site.ready() == 200, "push")
    user = push.sasl_username or ""
    letters, probe = (Right("topic", site.all.topics[name], "write") for name in ("dead_letters", "probe"))
    site.broker.forbid(user, letters)
    site.until(lambda: site.ready() == 503, "push")
    assert site.post("", 1) == 503, "it would be a dead letter"
    site.broker.allow(user, [letters])
    site.until(lambda: site.ready() == 200, "push")
    assert site.post("", 1) == 200
    site.broker.forbid(user, probe)
    site.until(lambda: probe.name in site.log("push").read_text(), "push")
    assert site.ready() == site.post("1", 1) == 200
    assert site.values("raw")


def test_a_right_to_write_that_is_taken_away_is_named_and_adds_no_copies_while_it_is_missing(site: Site) -> None:
    run(create_topics(site.all))
    know_employee(site.all)
    stream = site.start("stream")
    unmapped = Right("topic", site.all.topics["unmapped"], "write")
    site.start("push")
    site.until(lambda: site.post("1", 1) == 200, "push")
    site.until(lambda: len(site.values("checkins")) == 1, "stream")
    site.broker.forbid(stream.sasl_username or "", unmapped)
    # One that waits, for the topic that is refused, and one that flows, in the same step or not.
    assert site.post("2", 5) == site.post("1", 9) == 200
    site.until(lambda: f"Write on the topic {unmapped.name}" in site.log("stream").read_text(), "stream")
    before = len(site.values("checkins"))
    time.sleep(ABSENCE)
    assert len(site.values("checkins")) == before <= 2
    site.broker.allow(stream.sasl_username or "", [unmapped])
    site.until(lambda: len(site.values("unmapped")) == 1 and len(site.values("checkins")) >= 2, "stream")
    assert len(site.values("checkins")) == 2
    assert len(site.values("raw")) == 3
