"""A secured cluster with a principal for each row of the table of access rules, and the stages as processes there."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

import httpx
import pytest
import structlog
from secured_kafka import Operation, Right, SecuredKafka, environment, run
from typer.testing import CliRunner

from attendance.errors import PunchstreamError
from attendance.fleet import hash_token
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from attendance.topics import Name
from punchstream.cli import app
from sandbox.ports import free_port

DEADLINE = 120
TOKEN = "gate-token-7f3a"
DEVICE = {"device_id": "GATE-1", "site": "s", "timezone": "UTC", "token_sha256": hash_token(TOKEN)}
FILES = {"device_id": "USB-1", "site": "s", "timezone": "UTC", "mode": "file", "adapter": "attlog"}
PAGE = Path(__file__).parents[2] / "docs" / "installing.md"
OPERATIONS: dict[str, Operation] = {
    "Read": "read",
    "Create": "create",
    "Describe": "describe",
    "AlterConfigs": "alter_configs",
    "Delete": "delete",
}
_COUNTED: tuple[Name, ...] = ("raw", "checkins", "dropped", "unmapped", "dead_letters")
CONFIGS_OF_ITS_ROW = "Each stage also needs DescribeConfigs on the topics of its row"
CONFIGS_OF_ALL = "`punchstream audit`, the `topics` commands and the `privacy`\n  commands need it on all."


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
    for part in row[2].split("; "):
        yield from _more(part, prefix, own_group)


def _more(part: str, prefix: str, own_group: str) -> Iterator[Right]:
    """What a part of the last cell allows."""
    granted, _, on = part.partition(" on ")
    if on == "all topics, by the prefix attendance.":
        for each in granted.split(" and "):
            yield Right("topic", f"{prefix}.", OPERATIONS[each], prefixed=True)
    elif on:
        yield Right("topic", f"{prefix}.{on.removeprefix('the topic ')}", OPERATIONS[granted])
    elif part != "none":
        operation, _, names = part.partition(": ")
        for name in names.split(", "):
            full = own_group if name == "their own" else f"{prefix}.{name.removeprefix('attendance.')}"
            yield Right("group", full, OPERATIONS[operation])


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
        self.login: Literal["password", "certificate", "ticket"] = "password"
        self._processes: list[subprocess.Popen[bytes]] = []
        (directory / "devices.yaml").write_text(json.dumps([DEVICE | {"mode": "push", "adapter": "json"}, FILES]))

    def principal(self, who: str) -> KafkaSettings:
        """The user of a row, with its rights and no other, who logs in as the site says."""
        name = f"{self.prefix}-{who.replace(' ', '-')}"
        found = dict.fromkeys(rights(self._row(who), self.prefix, own_group=f"{self.prefix}-own"))
        of_topics = {"topic_prefix": self.prefix, "partitions": 2}
        if self.login == "ticket":
            assert self.broker.kerberos is not None
            self.more |= self.broker.kerberos.variables(self.broker.kerberos.keytab(name))
            return self.broker.ticketed(name, found, **of_topics)
        known = self.broker.user if self.login == "password" else self.broker.certified
        return known(name, found, **of_topics)

    def beyond(self, who: str, other: str) -> set[Right]:
        """What a row allows that another does not."""
        mine, others = (set(rights(self._row(each), self.prefix)) for each in (who, other))
        return mine - others

    def _row(self, who: str) -> list[str]:
        (row,) = (row for name, row in self.rows.items() if name.replace("punchstream ", "").startswith(who))
        return row

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

    def start(self, stage: str, kafka: KafkaSettings | None = None) -> KafkaSettings:
        kafka = kafka or self.principal(stage)
        with self.log(stage).open("ab") as log:
            command = [sys.executable, "-m", "punchstream", stage]
            self._processes.append(
                subprocess.Popen(command, env=self.environment(kafka), cwd=self.directory, stdout=log, stderr=log)
            )
        return kafka

    def running(self) -> int:
        """How many of the processes have not ended."""
        return sum(process.poll() is None for process in self._processes)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def command(self, kafka: KafkaSettings, *argv: str, status: int = 0) -> str:
        """What a command prints, in this process: another would take longer to load than most commands run."""
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        variables = {**dict.fromkeys(os.environ), **self.environment(kafka)}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.directory)
            patch.setattr(asyncio, "run", run)
            done = CliRunner().invoke(app, argv, env=variables)
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        found = 2 if isinstance(done.exception, PunchstreamError) else done.exit_code
        assert found == status, (argv, done.output, done.exception)
        return f"{done.output}{done.exception or ''}" if status else done.stdout

    def values(self, topic: Name) -> list[bytes]:
        return [record.value for record in run(snapshot(self.all, self.all.topics[topic], "test"))]

    def checkins(self) -> set[bytes]:
        """What the check-ins say, each once. Where a commit was lost, the stream decides again, and writes the same."""
        return {*self.values("checkins")}

    def post(self, user: str, minute: int, day: str = "2026-03-02") -> int:
        event = {"user_id": user, "time": f"{day}T05:{minute:02}:00Z", "type": "IN"}
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
            if time.monotonic() > deadline:
                # How many records there are tells a stage that took nothing from a condition that is not met.
                records = {topic: len(self.values(topic)) for topic in _COUNTED}
                pytest.fail(f"{records}\n{self.log(stage).read_text()[-6000:]}")
            time.sleep(0.3)


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
