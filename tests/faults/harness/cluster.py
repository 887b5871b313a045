"""Three brokers of Apache Kafka behind the network, and who of them does what."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from harness.network import Network
from sandbox.broker.base import BrokerNode
from sandbox.broker.kafka import Kafka
from sandbox.process import ChildProcess, ProcessFailed

HEAL_SECONDS = 90


class Victim:
    """A process that something is done to. `ports` are those that it serves at, behind the network."""

    def __init__(self, name: str, *ports: int) -> None:
        self.name = name
        self.ports = ports

    @property
    def process(self) -> ChildProcess:
        raise NotImplementedError

    def pid(self) -> int | None:
        """The process id, None while there is no process."""
        try:
            return self.process.pid
        except ProcessFailed:
            return None


class Node(Victim):
    """One broker."""

    def __init__(self, number: int, node: BrokerNode, *ports: int) -> None:
        super().__init__(f"broker {number}", *ports)
        self._node = node

    @property
    def process(self) -> ChildProcess:
        return self._node.process


class Cluster:
    """The brokers, running."""

    def __init__(self, kafka: Kafka, nodes: list[Node]) -> None:
        self._kafka = kafka
        self.nodes = nodes
        self.bootstrap_servers = kafka.bootstrap_servers
        self._supervising = threading.Lock()

    def supervise(self) -> None:
        """Start again what has ended. Cells that run abreast may all call this."""
        with self._supervising:
            for node in self.nodes:
                if not node.process.running:
                    node.process.start()

    def coordinator(self, group: str) -> Node:
        """The broker that coordinates a consumer group, and so leads its part of the offsets topic."""

        async def ask(admin: AIOKafkaAdminClient) -> int:
            return int(await admin.find_coordinator(group))

        return self.nodes[self._ask(ask) - 1]

    def wait_until_whole(self) -> None:
        """Return when every broker answers and every partition has all its copies in sync."""

        async def lacks_a_copy(admin: AIOKafkaAdminClient) -> bool:
            topics = await admin.describe_topics()
            return any(len(each["isr"]) < len(each["replicas"]) for topic in topics for each in topic["partitions"])

        deadline = time.monotonic() + HEAL_SECONDS
        while not self._kafka.answers() or self._ask(lacks_a_copy):
            if time.monotonic() > deadline:
                raise TimeoutError("the cluster is not whole")
            self.supervise()
            time.sleep(0.5)

    def delete_topics(self, prefix: str) -> None:
        """Remove the topics of a cell that is over; the brokers would carry them for nothing."""

        async def delete(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(f"{prefix}.")])

        self._ask(delete)

    def _ask(self, question: Any) -> Any:
        async def connected() -> Any:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
            try:
                await admin.start()
                return await question(admin)
            finally:
                await admin.close()

        deadline = time.monotonic() + HEAL_SECONDS
        while True:
            try:
                return asyncio.run(connected())
            except KafkaError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


@contextmanager
def cluster(directory: Path, network: Network) -> Iterator[Cluster]:
    """Three brokers that reach each other, and are reached, by way of the network."""
    ports: list[int] = []

    def advertise(port: int) -> int:
        ports.append(port)
        return network.forward(port)

    kafka = Kafka(directory, nodes=3, advertise=advertise)
    with kafka:
        nodes = [Node(number, node, *ports[2 * number - 2 : 2 * number]) for number, node in enumerate(kafka.nodes, 1)]
        yield Cluster(kafka, nodes)
