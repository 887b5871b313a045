"""One Apache Kafka for a run: topics, records in bulk, and how far a consumer group is."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count, islice
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from attendance.kafka.clients import create_consumer
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from attendance.topics import Name
from bench.results import ROOT
from sandbox.broker import create_broker

SESSION_SECONDS: Final = 300
"""Processes are paused while their topics are filled; their group must not miss them."""
_AT_A_TIME: Final = 5000


def of_checkout(root: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command that runs a module as it stands in a checkout, with what is installed here, and its environment.

    Args:
        root: The checkout's folder.
        arguments: The module's name and its arguments.

    Raises:
        FileNotFoundError: There is no Punchstream in that folder.
    """
    if not (root / "punchstream" / "__main__.py").exists():
        raise FileNotFoundError(f"{root} holds no checkout of Punchstream.")
    # -P, so that the folder in which the benchmark runs does not come before that of the checkout.
    return [sys.executable, "-P", "-m", *arguments], {"PYTHONPATH": str(root.resolve())}


class Cluster:
    """A running broker. Every benchmark on it has topics of its own."""

    def __init__(self, directory: Path, servers: str) -> None:
        self.directory = directory
        self._servers = servers
        self._numbers = count(1)

    @asynccontextmanager
    async def topics(
        self, label: str, *, partitions: int = 4, session_seconds: float = SESSION_SECONDS, root: Path = ROOT
    ) -> AsyncIterator["TopicSet"]:
        """All topics of the product under a prefix of their own, empty.

        Args:
            label: The end of the prefix.
            partitions: Of each topic.
            session_seconds: How long a consumer may be silent.
            root: The checkout that makes them. Each refuses topics with other settings than its own.

        Raises:
            RuntimeError: They were not made; the reason is on standard error.
        """
        settings = KafkaSettings.load(
            bootstrap_servers=self._servers,
            topic_prefix=f"bench{next(self._numbers)}-{label}",
            partitions=partitions,
            session_timeout=session_seconds,
            request_timeout=60,
        )
        topics = TopicSet(settings, self.directory)
        command, environment = of_checkout(root, "punchstream", "topics", "create")
        process = await asyncio.create_subprocess_exec(
            *command, env=topics.environment() | environment, stdout=subprocess.DEVNULL
        )
        if await process.wait():
            raise RuntimeError(f"{root} made no topics; its error stands above")
        try:
            await topics.open()
            yield topics
        finally:
            await topics.close()


class TopicSet:
    """The topics of one benchmark."""

    def __init__(self, kafka: KafkaSettings, directory: Path) -> None:
        self.kafka = kafka
        self.directory = directory / kafka.topic_prefix
        self.directory.mkdir()
        self._producer = Producer(kafka, "bench")
        self._consumer: AIOKafkaConsumer = create_consumer(kafka, client_id="bench")
        self._admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)

    async def open(self) -> None:
        """Connect."""
        await self._consumer.start()
        await self._admin.start()

    async def close(self) -> None:
        """Disconnect."""
        await self._producer.stop()
        await self._consumer.stop()
        await self._admin.close()

    def environment(self) -> dict[str, str]:
        """The environment of a process of the product on these topics."""
        registry = self.directory / "devices.yaml"
        if not registry.exists():
            registry.write_text("[]")
        return os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_PARTITIONS": str(self.kafka.partitions),
            "KAFKA_SESSION_TIMEOUT": f"{self.kafka.session_timeout:g}",
            "KAFKA_REQUEST_TIMEOUT": f"{self.kafka.request_timeout:g}",
            "PUNCHSTREAM_DEVICES": str(registry),
            "LOG_LEVEL": "INFO",
        }

    async def know(self, entries: Iterable[Employee | UserMapping]) -> None:
        """Fill the user map."""
        await self.send(OutRecord(self.kafka.topics["user_map"], entry.key, entry.encode()) for entry in entries)

    async def punches(self, events: Iterable[RawEvent]) -> int:
        """Put events on the raw topic as push does, and return how many."""
        raw = self.kafka.topics["raw"]
        return await self.send(OutRecord(raw, *event.record()) for event in events)

    async def send(self, records: Iterable[OutRecord]) -> int:
        """Send records, and return how many once all are acknowledged."""
        remaining = iter(records)
        sent = 0
        while batch := list(islice(remaining, _AT_A_TIME)):
            await self._producer.send(*batch)
            sent += len(batch)
        return sent

    async def ends(self, *names: Name) -> dict[TopicPartition, int]:
        """The end offset of each partition of these topics."""
        partitions = [
            TopicPartition(self.kafka.topics[name], number) for name in names for number in range(self.kafka.partitions)
        ]
        return dict(await self._consumer.end_offsets(partitions))

    async def count(self, *names: Name) -> int:
        """Records ever written to these topics."""
        return sum((await self.ends(*names)).values())

    async def committed(self, group: str) -> int:
        """How many records of its topics the group has committed."""
        offsets = await self._admin.list_consumer_group_offsets(group)
        return sum(max(0, each.offset) for each in offsets.values())

    async def stable_members(self, group: str) -> int:
        """How many members the group has; 0 while it is on the move."""
        try:
            (response,) = await self._admin.describe_consumer_groups([group])
        except GroupCoordinatorNotAvailableError:
            return 0  # the broker makes its offsets topic for the first group
        ((_, _, state, _, _, members, *_),) = response.groups
        return len(members) if state == "Stable" else 0

    async def records(self, name: Name) -> list[tuple[int, bytes]]:
        """Timestamp in milliseconds and value of every record of a topic."""
        consumer = create_consumer(self.kafka, self.kafka.topics[name], client_id="bench-reader")
        await consumer.start()
        try:
            wanted = await self.count(name)
            found: list[tuple[int, bytes]] = []
            while len(found) < wanted:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    found += [(record.timestamp, record.value) for record in batch]
            return found
        finally:
            await consumer.stop()


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    """Apache Kafka, one node, in a directory that is gone afterwards.

    Raises:
        BrokerFailed: it cannot be run on this machine.
    """
    with (
        tempfile.TemporaryDirectory(prefix="punchstream-bench-", ignore_cleanup_errors=True) as name,
        create_broker("kafka", Path(name)) as broker,
    ):
        yield Cluster(Path(name), broker.bootstrap_servers)
