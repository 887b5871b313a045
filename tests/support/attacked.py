"""A push process under attack: a real one, with low limits, and what it has cost since it was looked at last."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from uuid import uuid4

import orjson
import psutil
import yaml

from attendance.fleet import hash_token
from attendance.kafka.admin import create_topics
from attendance.kafka.readers import snapshot
from attendance.records.raw_event import RawEvent
from attendance.settings import KafkaSettings
from attendance.topics import Name
from sandbox.broker import Broker

DEADLINE: Final = 30
MEGABYTE: Final = 1_000_000
TOKEN: Final = "gate-token-7f3a"
DEVICES: Final[tuple[Mapping[str, Any], ...]] = (
    {"device_id": "GATE-1", "site": "riyadh", "timezone": "Asia/Riyadh", "token_sha256": hash_token(TOKEN)},
    {
        "device_id": "ADMS-1",
        "site": "riyadh",
        "timezone": "Asia/Riyadh",
        "adapter": "zkteco_adms",
        "serial": "SN1",
        "checkin_time": "erpnext_zone",
    },
)


class Cost(NamedTuple):
    """What a process took: seconds of CPU, and bytes of memory at its highest."""

    cpu: float
    memory: int


class Answered(NamedTuple):
    """One answer, whole."""

    status: int
    head: bytes
    body: bytes


class Attacked:
    """`punchstream push` on a broker, with topics of its own. A context manager.

    Args:
        broker: Which one. The embedded one costs least.
        directory: For its fleet file and its log.
        files: How many files it may have open, soft and hard; None leaves that as it is.
        devices: The fleet.
        settings: By their names in the environment.
    """

    def __init__(
        self,
        broker: Broker,
        directory: Path,
        *,
        files: tuple[int, int] | None = None,
        devices: tuple[Mapping[str, Any], ...] = DEVICES,
        **settings: str,
    ) -> None:
        self.kafka = KafkaSettings.load(
            bootstrap_servers=broker.bootstrap_servers,
            enable_idempotence=broker.supports_idempotence,
            topic_prefix=f"attack-{uuid4().hex[:8]}",
            partitions=2,
        )
        self.log = directory / "push.log"
        self._directory = directory
        self._files = files
        fleet = directory / "devices.yaml"
        fleet.write_text(yaml.safe_dump([dict(device) for device in devices]))
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_ENABLE_IDEMPOTENCE": str(self.kafka.enable_idempotence),
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_PARTITIONS": "2",
            "PUNCHSTREAM_DEVICES": str(fleet),
            "PUSH_HOST": "127.0.0.1",
            "PUSH_PORT": "0",
            **settings,
        }

    def __enter__(self) -> Self:
        asyncio.run(create_topics(self.kafka))
        command = [sys.executable, "-m", "punchstream", "push"]
        if self._files is not None:
            soft, hard = self._files
            command = ["bash", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "-", *command]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=self._directory, stdout=log, stderr=log
            )
        try:
            self.port = int(until(self._port, self.said))
            until(lambda: self.get("/readyz").status == 200, self.said)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    @property
    def process(self) -> psutil.Process:
        """The process, to be looked at."""
        return psutil.Process(self._process.pid)

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-5000:]

    def logged(self) -> list[dict[str, Any]]:
        """Every whole line of its log."""
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def begin(self) -> Cost:
        """The costs of before: what it takes from now on is counted from them."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        return self.cost()

    def cost(self) -> Cost:
        """What it has cost since it was started; of memory the most since `begin`."""
        times = self.process.cpu_times()
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        highest = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return Cost(times.user + times.system, int(highest.split()[1]) * 1024)

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection from an address of this machine, such as 127.0.0.7."""
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE, source_address=(source, 0))

    def ask(self, request: bytes, source: str = "127.0.0.1") -> Answered:
        """What one request is answered, on a connection of its own."""
        with self.connect(source) as connection:
            connection.sendall(request)
            return Answers(connection).next()

    def get(self, path: str) -> Answered:
        """What a path is answered."""
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: push\r\nConnection: close\r\n\r\n".encode())

    def is_served(self, user: str, source: str = "127.0.0.1") -> bool:
        """Whether a terminal that connects once gets a punch acknowledged. That Kafka is slow counts for nothing."""
        with suppress(OSError), self.connect(source) as connection:
            return self.is_answered(connection, user)
        return False

    def is_answered(self, connection: socket.socket, user: str) -> bool:
        """Whether a punch of a user is acknowledged on a connection."""
        answers = Answers(connection)
        while True:
            connection.sendall(post(batch(user)))
            answer = answers.next()
            if b"kafka_unavailable" not in answer.body:
                return answer.status == 200

    def command(self, *arguments: str) -> bytes:
        """What `punchstream` prints with these arguments, on the topics and the fleet of the process."""
        command = [sys.executable, "-m", "punchstream", *arguments]
        return subprocess.run(
            command,
            env=self._environment,
            cwd=self._directory,
            stdout=subprocess.PIPE,
            timeout=4 * DEADLINE,
            check=True,
        ).stdout

    def users(self) -> list[str]:
        """The users of the punches that are on the raw topic."""
        return [RawEvent.decode(record.value).device_user_id for record in self.records("raw")]

    def records(self, topic: Name) -> list[Any]:
        """What is on a topic."""
        return asyncio.run(snapshot(self.kafka, self.kafka.topics[topic], "test"))

    def _port(self) -> int | None:
        assert self._process.poll() is None, self.said()
        return next((entry["port"] for entry in self.logged() if entry["event"] == "Listening."), None)


def until(condition: Callable[[], Any], said: Callable[[], str]) -> Any:
    """Wait for a condition, and return what it returned."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)
    return found


def batch(*users: str) -> bytes:
    """Punches of these users, as GATE-1 sends them."""
    events = [{"user_id": user, "time": "2026-03-02 08:00:00", "type": "IN"} for user in users]
    return orjson.dumps({"device_id": "GATE-1", "events": events})


def post(body: bytes, *headers: str, chunked: bool = False) -> bytes:
    """A whole request with a body."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    lines = ["POST /v1/events HTTP/1.1", "Host: push", f"X-Device-Token: {TOKEN}", framing, *headers]
    if chunked:
        body = b"%x\r\n%b\r\n%x;name=value\r\n%b\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Answers:
    """The answers on a connection, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def next(self) -> Answered:
        """The next one; a `100 Continue` is one of its own.

        Raises:
            ConnectionError: the connection ended before it.
        """
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = lengths[0] if lengths else 0
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        return Answered(int(head.split()[1]), head, body)

    def _more(self) -> None:
        data = self._connection.recv(65_536)
        if not data:
            raise ConnectionError("the connection ended before its answer")
        self._received += data


Attack = Callable[..., Attacked]
"""Starts a process; as `Attacked` without the broker and the directory."""
