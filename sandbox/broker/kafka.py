"""Apache Kafka in KRaft mode: each node is broker and controller in one small JVM."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sandbox.broker.base import Broker, BrokerFailed, BrokerNode
from sandbox.ports import free_ports
from sandbox.process import ChildProcess

# A small heap, and start-up before peak speed: most of these brokers live for seconds.
_JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dlog4j2.level=WARN")
_FORMAT_SECONDS = 60


@dataclass(frozen=True)
class KafkaNode:
    """Where one node lives. The others and the clients reach it at the advertised ports."""

    node_id: int
    client_port: int
    controller_port: int
    advertised_client_port: int
    advertised_controller_port: int
    directory: Path

    @property
    def data(self) -> Path:
        """The directory of the partitions' logs."""
        return self.directory / "data"

    @property
    def config(self) -> Path:
        """The properties file."""
        return self.directory / "server.properties"

    def properties(self, cluster: Sequence["KafkaNode"]) -> dict[str, str]:
        """The configuration of this node as a member of the cluster, which includes it."""
        replicas = min(3, len(cluster))
        in_sync = max(1, replicas - 1)
        voters = ",".join(f"{node.node_id}@127.0.0.1:{node.advertised_controller_port}" for node in cluster)
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "listeners": f"CLIENT://127.0.0.1:{self.client_port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": (
                f"CLIENT://127.0.0.1:{self.advertised_client_port},"
                f"CONTROLLER://127.0.0.1:{self.advertised_controller_port}"
            ),
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.data),
            "auto.create.topics.enable": "false",
            "default.replication.factor": str(replicas),
            "min.insync.replicas": str(in_sync),
            "offsets.topic.replication.factor": str(replicas),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(in_sync),
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            # A node that was killed cannot come back, nor its leadership move, before the controller misses it.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Allocated in full at the start, 128 MiB by default.
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        }


class Kafka(Broker):
    """Apache Kafka; topics, records and offsets stay in its directory when it stops.

    A later object on the same directory, with as many nodes, finds them again, at another address.
    """

    name: ClassVar[str] = "kafka"
    supports_idempotence: ClassVar[bool] = True
    start_seconds: ClassVar[float] = 60.0

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 1,
        advertise: Callable[[int], int] = lambda port: port,
        java_options: Sequence[str] = (),
    ) -> None:
        """Nothing is started yet.

        Args:
            directory: An existing directory, for the data, the configuration and the logs of all nodes.
            nodes: The size of the cluster. Topics have up to three replicas by default.
            advertise: The port at which a node that listens on the given port is reached by all others: a proxy's.
            java_options: Further ones of each node's JVM.

        Raises:
            BrokerFailed: `unavailable_reason` has one.
        """
        reason = self.unavailable_reason()
        if reason is not None:
            raise BrokerFailed(reason)
        ports = free_ports(2 * nodes)
        self._cluster = [
            KafkaNode(
                node_id,
                client_port,
                controller_port,
                advertise(client_port),
                advertise(controller_port),
                directory / f"node-{node_id}",
            )
            for node_id, client_port, controller_port in zip(
                range(1, nodes + 1), ports[:nodes], ports[nodes:], strict=True
            )
        ]
        super().__init__(
            [
                BrokerNode(
                    ChildProcess(
                        [*_java(), *java_options, "kafka.Kafka", node.config],
                        log_file=node.directory / "kafka.log",
                        stop_seconds=30.0,
                    ),
                    node.advertised_client_port,
                )
                for node in self._cluster
            ]
        )

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """One line that says what is missing on this machine and how to get it, or None."""
        if shutil.which("java") is None:
            return "Apache Kafka needs Java 17 or later as `java` on the PATH, and `make kafka`."
        if not any(_jars().glob("kafka_*.jar")):
            return f"Apache Kafka is not in {_jars()}: run `make kafka`, or set PUNCHSTREAM_KAFKA_JARS."
        return None

    def properties(self, node: KafkaNode) -> dict[str, str]:
        """The configuration of a node. A kind with other listeners or an authorizer adds to it."""
        return node.properties(self._cluster)

    def start(self) -> None:
        """Start all nodes, the first time after formatting their directories; returns when the broker answers.

        Raises:
            BrokerFailed: A node ended or did not answer in time; nothing is left running.
        """
        for node in self._cluster:
            node.directory.mkdir(exist_ok=True)
            lines = [f"{key}={value}\n" for key, value in self.properties(node).items()]
            node.config.write_text("".join(lines), encoding="utf-8")
            if not (node.data / "meta.properties").exists():
                _format(node)
        super().start()


def _format(node: KafkaNode) -> None:
    command = [*_java(), "kafka.tools.StorageTool", "format", "--cluster-id=punchstream", f"--config={node.config}"]
    try:
        done = subprocess.run(  # noqa: S603 - every part is ours, and no shell reads it
            command, capture_output=True, text=True, check=False, timeout=_FORMAT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerFailed(f"formatting {node.data} took longer than {_FORMAT_SECONDS} s") from error
    if done.returncode != 0:
        raise BrokerFailed(f"formatting {node.data} ended with status {done.returncode}:\n{done.stderr[-2000:]}")


def _java() -> list[str]:
    return ["java", *_JVM_OPTIONS, "-cp", f"{_jars()}/*"]


def _jars() -> Path:
    """The directory of the jars: the one that is set, or where `make kafka` puts them in the checkout."""
    configured = os.environ.get("PUNCHSTREAM_KAFKA_JARS")
    checkout = Path(__file__).resolve().parents[2]
    return Path(configured) if configured else checkout / "deploy" / "kafka" / "target" / "dependency"
