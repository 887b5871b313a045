"""One pipeline of processes with its own topics: two of each stage, a directory and a stand-in for ERPNext."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml
from aiokafka import ConsumerRecord

from attendance.kafka.admin import create_topics
from attendance.kafka.readers import snapshot
from attendance.settings import ErpnextSettings, KafkaSettings
from harness.bystanders import SHIFT, Bystanders
from harness.cluster import Cluster, Victim
from harness.network import Network
from operations.site.setup import ensure_event_id_field
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.fleet.model import FleetPlan
from sandbox.fleet.registry import employees, registry_yaml
from sandbox.ports import free_port
from sandbox.process import ChildProcess

ERPNEXT_ZONE = "Asia/Riyadh"
PARTITIONS = 4
READY_SECONDS = 150
RESTART_SECONDS = 1.0
BESIDE = ("completeness", "pull")
SHIFTS = (
    {"name": "Day", "start_time": "08:00:00", "end_time": "17:00:00", "enable_auto_attendance": 1},
    {"name": SHIFT, "start_time": "08:00:00", "end_time": "17:00:00", "enable_auto_attendance": 0},
)
STAGES = ("directory", "stream-1", "stream-2", "sink-1", "sink-2", "push-1", "push-2")

# What a stage's log says once it takes part.
_READY = {"stream": "[^Worker]: Ready", "sink": "Partitions assigned."}


class Member(Victim):
    """A process of a stage. It is started again where it ends, as a supervisor would."""

    def __init__(self, name: str, log_file: Path, env: Mapping[str, str], *ports: int) -> None:
        super().__init__(name, *ports)
        self.stage = name.partition("-")[0]
        self.log_file = log_file
        self._env = env
        self._process: ChildProcess | None = None
        self._ended = 0.0
        self.rests = False
        """Whether it stays down where it ends, until it is started."""

    @property
    def process(self) -> ChildProcess:
        assert self._process is not None
        return self._process

    def start(self, *program: str) -> None:
        """Start it, as it is or by a program that runs the stage."""
        command = [sys.executable, *(program or ("-m", "punchstream")), self.stage]
        self._process = ChildProcess(command, log_file=self.log_file, env=self._env)
        self._process.start()
        self._ended = 0.0
        self.rests = False

    def supervise(self) -> None:
        """Start it again if it ended a second ago."""
        if self.rests or self.process.running:
            return
        self._ended = self._ended or time.monotonic()
        if time.monotonic() - self._ended >= RESTART_SECONDS:
            self.start()

    def said(self, text: str) -> bool:
        """Whether its log has the text."""
        return self.log_file.exists() and text in self.log_file.read_text(errors="replace")


class ErpnextVictim(Victim):
    """The stand-in."""

    def __init__(self, stand_in: ErpnextStandIn) -> None:
        super().__init__("erpnext", stand_in.port)
        self._stand_in = stand_in

    @property
    def process(self) -> ChildProcess:
        return self._stand_in.process


class Pipeline:
    """All processes of one cell, started on entry and killed on exit. Not safe for use by several threads at once."""

    def __init__(
        self,
        directory: Path,
        cluster: Cluster,
        network: Network,
        plan: FleetPlan,
        prefix: str,
        withheld: int = 0,
        bystanders: Bystanders | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            directory: An existing directory, for logs and data.
            cluster: The brokers.
            network: Between all processes.
            plan: Whose devices and employees it serves.
            prefix: Of the topics.
            withheld: So many employees, as the prefix chooses, are not in ERPNext before `map_withheld`.
            bystanders: Devices beside those of the plan. With them, pull and completeness run too.
            settings: What the processes have beside, or instead of, their settings here.
        """
        self.directory = directory
        self._cluster = cluster
        self._network = network
        registry = directory / "devices.yaml"
        fleet = registry_yaml(plan)
        registry.write_text(fleet if bystanders is None else yaml.safe_dump(bystanders.fleet(yaml.safe_load(fleet))))
        self._bystanders = bystanders
        self.stand_in = ErpnextStandIn(
            log_file=directory / "erpnext.log",
            journal=directory / "erpnext.journal",
            time_zone=ERPNEXT_ZONE,
            latency_ms=10,
        )
        self.erpnext = ErpnextSettings(
            url=f"http://127.0.0.1:{network.forward(self.stand_in.port)}",
            api_key=self.stand_in.api_key,
            api_secret=self.stand_in.api_secret,
            timeout=5,
            _env_file=None,
        )
        self.kafka = KafkaSettings(
            bootstrap_servers=cluster.bootstrap_servers,
            topic_prefix=prefix,
            partitions=PARTITIONS,
            session_timeout=6,
            _env_file=None,
        )
        self._env = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": prefix,
            "KAFKA_PARTITIONS": str(PARTITIONS),
            "KAFKA_SESSION_TIMEOUT": "6s",
            "PUNCHSTREAM_DEVICES": str(registry),
            "ERPNEXT_URL": self.erpnext.url,
            "ERPNEXT_API_KEY": self.stand_in.api_key,
            "ERPNEXT_API_SECRET": self.stand_in.api_secret,
            "ERPNEXT_TIMEOUT": "5s",
            "DIRECTORY_INTERVAL": "1s",
            "SINK_BATCH": "20",
            "SINK_RETRY_MAX": "5s",
            "STREAM_BATCH": "50",
            "COMPLETENESS_INTERVAL": "0.5s",
            **(settings or {}),
        }
        self.members: dict[str, Member] = {}
        self.doors: list[int] = []  # where terminals reach a push process
        known = employees(plan)
        who_punch = [person.employee for person in plan.people if person.employee and person.status == "Active"]
        self.withheld = frozenset(random.Random(prefix).sample(who_punch, withheld))
        self._late = [row for row in known if row["name"] in self.withheld]
        self._known = [row for row in known if row["name"] not in self.withheld]

    def __enter__(self) -> Self:
        try:
            asyncio.run(create_topics(self.kafka))
            self.stand_in.start()
            ensure_event_id_field(self.erpnext)
            self.stand_in.employees(self._known)
            if self._bystanders is not None:
                self.stand_in.shift_types(SHIFTS)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for member in self.members.values():
            member.process.kill()
        self.stand_in.kill()

    def member(self, name: str, settings: Mapping[str, str] | None = None) -> Member:
        """A new member, not started, with settings of its own."""
        ports = [free_port()] if name.startswith("push") else []
        env = self._env | ({"PUSH_PORT": str(ports[0])} if ports else {}) | (settings or {})
        self.doors += [self._network.forward(port) for port in ports]
        self.members[name] = Member(name, self.directory / f"{name}.log", env, *ports)
        return self.members[name]

    def start(self, programs: Mapping[str, Sequence[str]]) -> None:
        """Start two of each stage, those that are named by a program of their own, and return when all take part."""
        for name in STAGES if self._bystanders is None else (*BESIDE, *STAGES):
            self.member(name).start(*programs.get(name, ()))
        self.until(self._all_take_part, READY_SECONDS)

    def supervise(self) -> None:
        """Start again what has ended, brokers included."""
        self._cluster.supervise()
        if not self.stand_in.process.running:
            self.stand_in.start()  # returns when it answers
        for member in self.members.values():
            member.supervise()

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Return when the condition holds; meanwhile everything is supervised.

        Raises:
            TimeoutError: it did not come to hold.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {condition}")
            self.supervise()
            time.sleep(0.1)

    def map_withheld(self) -> None:
        """Have ERPNext know the employees that were withheld."""
        self.stand_in.employees(self._late)

    def values(self, topic: Any) -> list[bytes | None]:
        """The values of a topic's records."""
        return [record.value for record in self._records(topic)]

    def filled(self, topic: Any) -> int:
        """How many of a topic's partitions have a record."""
        return len({record.partition for record in self._records(topic)})

    def _records(self, topic: Any) -> list[ConsumerRecord]:
        return asyncio.run(snapshot(self.kafka, self.kafka.topics[topic], "oracle"))

    def _all_take_part(self) -> bool:
        return (
            all(each.said(_READY.get(each.stage, "")) for each in self.members.values())
            and all(is_ready(door) for door in self.doors)
            and len(self.values("user_map")) >= len(self._known)
        )


def is_ready(port: int) -> bool:
    """Whether the push process that is reached by this port says that it can take punches in."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
