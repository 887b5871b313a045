"""What the brokers have in common: processes that speak the Kafka protocol on 127.0.0.1."""

import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

import structlog

from attendance.errors import PunchstreamError
from sandbox.process import ChildProcess, ProcessFailed

log = structlog.get_logger(__name__)

_ANSWER_SECONDS = 1.0


class BrokerFailed(PunchstreamError):
    """A broker cannot be run here, or did not start; the message says why."""


@dataclass(frozen=True)
class BrokerNode:
    """One process of a broker, and the port on 127.0.0.1 where it serves clients."""

    process: ChildProcess
    port: int


class Broker(ABC):
    """A Kafka-compatible broker for trying out and for tests: one node or more, on this machine only.

    Nothing runs until `start` or entry into the context, nothing is left after `stop` or its exit. All calls block;
    none is safe for use by several threads at once.
    """

    name: ClassVar[str]
    """The kind, as `create_broker` takes it."""

    supports_idempotence: ClassVar[bool]
    """Whether an idempotent producer can be used."""

    start_seconds: ClassVar[float]
    """How long `start` waits for the first answer."""

    session_timeout: ClassVar[float] = 6.0
    """The session timeout, in seconds, for consumers: the least that brokers allow, so a dead one is soon replaced."""

    def __init__(self, nodes: Sequence[BrokerNode]) -> None:
        self.nodes = tuple(nodes)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @classmethod
    @abstractmethod
    def unavailable_reason(cls) -> str | None:
        """One line that says what is missing on this machine and how to get it, or None."""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, comma-separated. Known before the start, and the same for the life of the object."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def client_settings(self) -> dict[str, str]:
        """The environment variables by which a client finds this broker and gets along with it."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_ENABLE_IDEMPOTENCE": str(self.supports_idempotence).lower(),
            "KAFKA_SESSION_TIMEOUT": f"{self.session_timeout:g}s",
        }

    def answers(self) -> bool:
        """Whether every node answers a metadata request within a second, and knows of all the others."""
        return all(_brokers_seen_by(node.port) == len(self.nodes) for node in self.nodes)

    def start(self) -> None:
        """Start all nodes; returns when the broker answers.

        Raises:
            BrokerFailed: A node ended or did not answer in time; nothing is left running.
        """
        try:
            for node in self.nodes:
                node.process.start()
            for node in self.nodes:
                node.process.wait_until_ready(self.answers, timeout=self.start_seconds)
        except ProcessFailed as error:
            self.kill()
            raise BrokerFailed(str(error)) from error
        log.info("Broker started.", broker=self.name, bootstrap_servers=self.bootstrap_servers)

    def stop(self) -> None:
        """End all nodes in good order, by SIGKILL those that do not comply. Does nothing when none is running."""
        # All at once: the last of several cannot leave in good order when it waits for a quorum that is gone.
        for node in self.nodes:
            node.process.terminate()
        for node in self.nodes:
            node.process.stop()

    def kill(self) -> None:
        """End all nodes by SIGKILL: a broker that crashes."""
        for node in self.nodes:
            node.process.kill()

    def pause(self) -> None:
        """Stop all nodes in their tracks (SIGSTOP): a broker that hangs, with its connections open."""
        for node in self.nodes:
            node.process.pause()

    def resume(self) -> None:
        """Let paused nodes go on (SIGCONT)."""
        for node in self.nodes:
            node.process.resume()


def _brokers_seen_by(port: int) -> int:
    """How many live brokers the one at this port lists, itself included; 0 when it does not answer."""
    # Metadata request, version 1: no client id, and an empty list of topics asks for none.
    metadata, version, correlation, no_client_id, topics = 3, 1, 1, -1, 0
    request = struct.pack(">hhihi", metadata, version, correlation, no_client_id, topics)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            _, _, brokers = struct.unpack(">iii", connection.makefile("rb").read(12))
    except (OSError, struct.error):
        return 0
    return int(brokers)
