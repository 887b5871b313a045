"""The push application, without a network and on a Kafka that fails and hangs on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import orjson
import yaml
from pausing import pause

from attendance.errors import InvalidRecord, KafkaUnavailable, Reason
from attendance.fleet import hash_token
from attendance.guards import Guard, Guards
from attendance.kafka.records import MAX_RECORD_BYTES, OutRecord
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.device_status import DeviceStatus
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest
from attendance.registry import Registry
from attendance.settings import PushSettings
from attendance.topics import Topics
from attendance.tracing import OFF, Tracing
from producers.clocks import Clocks
from producers.publisher import Publisher
from producers.push.app import create_app
from producers.status import Statuses
from producers.terminals import Terminals

TOPICS = Topics("t")
# A fleet file is written for each of some thousand tests: in C, where PyYAML has that, it takes less of their time.
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
TOKEN = "gate-token-7f3a"
SHARED = "shared-token-91bc"
OLD = "old-token-55ce"
PULLED = "pulled-token-02ad"
TYPO = "typo-token-44aa"
IN_THE_PATH = "path-Token-6d20"

GATE: dict[str, object] = {
    "device_id": "GATE-1",
    "site": "riyadh",
    "timezone": "Asia/Riyadh",
    "token_sha256": hash_token(TOKEN),
}
DEVICES = [
    GATE,
    {"device_id": "DOOR-1", "site": "berlin", "timezone": "Europe/Berlin", "token_sha256": hash_token(SHARED)},
    {"device_id": "DOOR-2", "site": "berlin", "timezone": "Europe/Berlin", "token_sha256": hash_token(SHARED)},
    GATE | {"device_id": "OLD", "token_sha256": hash_token(OLD), "disabled": True},
    GATE | {"device_id": "PULLED", "token_sha256": hash_token(PULLED), "mode": "pull"},
    GATE | {"device_id": "NO-TOKEN", "token_sha256": hash_token("")},
    GATE | {"device_id": "TYPO", "token_sha256": hash_token(TYPO), "adapter": "jsn"},
    GATE | {"device_id": "FACE-1", "adapter": "hfsecurity", "token_sha256": hash_token(IN_THE_PATH)},
    {"device_id": "ADMS-1", "site": "riyadh", "timezone": "Asia/Riyadh", "adapter": "zkteco_adms", "serial": "SN1"},
]
PUNCH = {"user_id": "1042", "time": "2026-03-02 08:00:00", "type": "IN"}


@dataclass
class FakeProducer:
    """Keeps what it acknowledges, where there is a `release` not before that.

    Away, it acknowledges nothing; full, so much waits that nothing more may.
    """

    away: bool = False
    full: bool = False
    takes: int = MAX_RECORD_BYTES
    release: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    records: list[OutRecord] = field(default_factory=list)
    sends: int = 0
    stopped: bool = False

    @property
    def in_flight_bytes(self) -> int:
        return 10**9 if self.full else 0

    async def send(self, *records: OutRecord) -> None:
        self.asked.set()
        if self.release is not None:
            await self.release.wait()
        if self.away:
            raise KafkaUnavailable("no brokers")
        if any(record.size > self.takes for record in records):
            raise InvalidRecord(Reason.INVALID_EVENT, "larger than it takes")
        self.sends += 1
        self.records.extend(records)

    async def stop(self) -> None:
        self.stopped = True

    def events(self) -> list[RawEvent]:
        return [RawEvent.decode(each.value) for each in self.records if each.topic == TOPICS["raw"]]

    def dead_letters(self) -> list[DeadLetter]:
        return [
            DeadLetter.decode(each.key, each.value, each.headers)
            for each in self.records
            if each.topic == TOPICS["dead_letters"]
        ]

    def unread(self) -> list[UnreadRequest]:
        return [UnreadRequest.decode(each.value) for each in self.records if each.topic == TOPICS["unread"]]


class Bench:
    """The application with its fleet, its Kafka and its metrics."""

    def __init__(
        self,
        directory: Path,
        devices: object = DEVICES,
        *,
        guards: Sequence[Guard] = (),
        paused: Sequence[str] = (),
        tracing: Tracing = OFF,
        **settings: Any,
    ) -> None:
        self.file = directory / "devices.yaml"
        self.write(devices)
        self.kafka = FakeProducer()
        self.metrics = Metrics()
        self.registry = Registry(self.file, count(0, 100).__next__)  # minutes pass between two looks
        pause(self.registry, *paused)
        self.registry.refresh()
        self.settings = PushSettings.load(**settings)
        publisher = Publisher(
            self.kafka,  # type: ignore[arg-type]
            TOPICS,
            self.metrics,
            self.settings.max_in_flight,
            tracing=tracing,
        )
        self.terminals = Terminals(TOPICS["terminals"], self.kafka.send)
        self.clocks = Clocks(self.metrics)
        self.statuses = Statuses(publisher, self.clocks)
        self.guards = Guards(self.metrics, guards)
        self.app = create_app(
            *(self.settings, self.registry, publisher, self.terminals, self.statuses, self.metrics),
            guards=self.guards,
            clocks=self.clocks,
        )

    def write(self, devices: object) -> None:
        # A file of its own each time, as an editor saves it: the same second and length are a change all the same.
        new = self.file.with_suffix(".new")
        new.write_text(yaml.dump(devices, Dumper=DUMPER))
        new.replace(self.file)

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://push") as client:
            return await client.request(method, path, **options)

    async def send(
        self, body: bytes | AsyncIterator[bytes], token: str | None = TOKEN, path: str = "/v1/events", **headers: str
    ) -> httpx.Response:
        if token is not None:
            headers["X-Device-Token"] = token
        return await self.request("POST", path, content=body, headers=headers)

    def post(self, body: bytes, **options: Any) -> tuple[int, Any]:
        response = asyncio.run(self.send(body, **options))
        return response.status_code, response.json()

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self.request("GET", path))

    def exposition(self) -> str:
        return self.metrics.exposition().decode()

    def refused(self, reason: str) -> bool:
        return f'punchstream_requests_refused_total{{reason="{reason}"}} 1.0' in self.exposition()


def batch(*events: object, device_id: object = "GATE-1") -> bytes:
    return orjson.dumps({"device_id": device_id, "events": events})


def refusal(reason: str) -> dict[str, object]:
    return {"ok": False, "error": reason}


def heartbeat(**fields: object) -> bytes:
    return orjson.dumps({"device_id": "GATE-1", "time": "2026-03-02 08:00:00", "pending": 0} | fields)


def statuses(bench: Bench) -> list[DeviceStatus]:
    return [DeviceStatus.decode(each.value) for each in bench.kafka.records if each.topic == TOPICS["device_status"]]


async def call(
    bench: Bench,
    receive: Callable[[], Awaitable[dict[str, Any]]],
    *headers: tuple[bytes, bytes],
    path: str = "/v1/events",
) -> tuple[int, Any]:
    """One request at the level of ASGI, where the other side decides when its bytes come."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.7", 4370),
        "server": ("push", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    await bench.app(scope, receive, send)
    return sent[0]["status"], orjson.loads(sent[1]["body"] or b"null")
