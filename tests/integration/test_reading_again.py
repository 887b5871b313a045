"""A dialect is taken away, devices speak it and hear "ok", it comes back: then their punches are read after all."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from click.testing import Result
from pushing import GATE, TOPICS, Bench
from typer.testing import CliRunner

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import hash_token
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent
from attendance.settings import KafkaSettings, PushSettings
from attendance.topics import Name
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from producers.devices import create_pull_adapter
from producers.devices.contract import Fetch, Rejected, Tools
from producers.devices.generic.json_v1 import JsonV1
from producers.devices.hfsecurity.push import HfSecurity
from producers.devices.hikvision.push import Hikvision
from producers.devices.zkteco.adms import ZktecoAdms
from producers.files.importer import Tally, prepare, store
from producers.intake import Intake, Place
from producers.publisher import Publisher
from punchstream.commands import dead_letters

pytestmark = pytest.mark.broker

JSON, FACES, DOORS = "gate-token-7f3a", "face-token-6b1e", "door-token-90aa"
FLEET: list[dict[str, Any]] = [
    GATE | {"token_sha256": hash_token(JSON)},
    GATE | {"device_id": "HF-1", "adapter": "hfsecurity", "token_sha256": hash_token(FACES)},
    GATE | {"device_id": "HIK-1", "adapter": "hikvision", "token_sha256": hash_token(DOORS)},
    {"device_id": "ADMS-1", "site": "riyadh", "timezone": "Asia/Riyadh", "adapter": "zkteco_adms", "serial": "SN1"},
    {"device_id": "FILES", "site": "riyadh", "timezone": "Asia/Riyadh", "mode": "file", "adapter": "csv"},
    {
        "device_id": "ASKED",
        "site": "riyadh",
        "timezone": "Asia/Riyadh",
        "mode": "pull",
        "adapter": "hikvision",
        "host": "192.0.2.4",
    },
]
EVENT = {"major": 5, "minor": 75, "time": "2026-03-02T08:00:00+03:00", "employeeNoString": "417", "serialNo": 9}
# What each device sends, and how many punches that is.
REQUESTS: list[tuple[str, dict[str, str], bytes]] = [
    (
        "/v1/events",
        {"X-Device-Token": JSON},
        b'{"device_id":"GATE-1","events":[{"user_id":"1","time":"2026-03-02"},{"user_id":"2","time":"2026-03-02"}]}',
    ),
    (
        "/iclock/cdata.aspx?SN=SN1&table=ATTLOG&Stamp=7",
        {"content-type": "text/plain"},
        b"3\t2026-03-02 08:00:00\t0\t1\n4\t2026-03-02 08:00:00\t1\t1\n",
    ),
    (
        f"/hik/{DOORS}",
        {"content-type": "application/json"},
        orjson.dumps(
            {
                "eventType": "AccessControllerEvent",
                "dateTime": "2026-03-02T08:00:00+03:00",
                "AccessControllerEvent": {"majorEventType": 5, "subEventType": 75, "employeeNoString": "5"},
            }
        ),
    ),
    (
        f"/hf/{FACES}/identify?deviceKey=HF-1",
        {"content-type": "application/x-www-form-urlencoded"},
        b"personId=6&time=1772427600000&type=face_0",
    ),
]
TABLE = "Employee ID,Punch Time\n7,14/03/2026 08:00:00\n8,02/03/2026 08:00:00\n"


def not_understood(*_: object, **__: object) -> Any:
    raise InvalidRecord(Reason.UNREADABLE_BODY, "a dialect that is not known yet")


@contextmanager
def without_dialects() -> Iterator[None]:
    """While this lasts, no adapter understands anything."""
    with pytest.MonkeyPatch.context() as patch:
        for adapter in (JsonV1, ZktecoAdms, Hikvision, HfSecurity):
            patch.setattr(adapter, "parse", not_understood)
        patch.setattr("producers.devices.hikvision.pull.read_record", not_understood)
        patch.setattr("producers.devices.common.tables.table.punch", not_understood)
        yield


class Site:
    """Devices of every way in, the topics, and the commands."""

    def __init__(self, kafka: KafkaSettings, directory: Path, environment: pytest.MonkeyPatch) -> None:
        self.kafka = kafka
        self.bench = Bench(directory, FLEET)
        self.directory = directory
        environment.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        environment.setenv("KAFKA_ENABLE_IDEMPOTENCE", str(kafka.enable_idempotence))
        environment.setenv("KAFKA_TOPIC_PREFIX", kafka.topic_prefix)
        environment.setenv("KAFKA_PARTITIONS", str(kafka.partitions))
        environment.setenv("PUNCHSTREAM_DEVICES", str(self.bench.file))

    def punch(self) -> None:
        """Everybody punches: four terminals push, one is asked, and one hands over a file."""
        for path, headers, body in REQUESTS:
            asyncio.run(self.bench.request("POST", path, content=body, headers=headers))
        asyncio.run(self._pull_and_import())
        self.flush()

    def flush(self) -> None:
        """Have the broker take what was published."""
        self.send(*(each._replace(topic=self._topic(each.topic)) for each in self.bench.kafka.records))
        self.bench.kafka.records.clear()

    async def _pull_and_import(self) -> None:
        producer: Any = self.bench.kafka
        publisher = Publisher(producer, TOPICS, Metrics(), 10**9)
        tools = Tools(httpx.AsyncClient(), lambda _device, name: name, ())
        adapter, device = create_pull_adapter("hikvision", tools), self.bench.registry.get("ASKED")
        assert device is not None
        now = datetime.now(UTC)
        page = adapter.read_again(orjson.dumps(EVENT), Fetch(device, {}, None, None, now))

        def place_of(rejected: Rejected) -> Place:
            return Place(f"record {rejected.index} of a page", "pull:hikvision")

        await publisher.publish(*Intake("pull").to_records(page, device, adapter, now, place_of))
        path = self.directory / "march.csv"
        path.write_text(TABLE)
        fields = PushSettings.load().payload_fields
        await store(prepare(path, "FILES", self.bench.registry, fields), publisher, Tally(300.0))

    def _topic(self, name: str) -> str:
        return f"{self.kafka.topic_prefix}{name.removeprefix(TOPICS.prefix)}"

    def send(self, *records: OutRecord) -> None:
        async def send() -> None:
            producer = Producer(self.kafka, "test")
            await producer.send(*records)
            await producer.stop()

        asyncio.run(send())

    def events(self) -> list[RawEvent]:
        records = asyncio.run(snapshot(self.kafka, self.kafka.topics["raw"], "test"))
        return [RawEvent.decode(record.value) for record in records]

    def count(self, topic: Name) -> int:
        return len(asyncio.run(snapshot(self.kafka, self.kafka.topics[topic], "test")))

    def audit(self) -> Report:
        return asyncio.run(audit(KafkaLog(self.kafka, "audit")))


def run(*command: str) -> Result:
    result = CliRunner().invoke(dead_letters.app, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def readable() -> int:
    """How many letters today's adapters understand, as `list` says."""
    groups = orjson.loads(run("list", "--json").stdout)
    return sum(group["readable"] for group in groups)


@pytest.fixture
def site(kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(kafka, tmp_path, monkeypatch)


def ids(events: list[RawEvent]) -> list[str]:
    return sorted(each.event_id for each in events)


def test_what_was_acknowledged_in_a_dialect_that_nobody_knew_is_read_once_it_is_known(site: Site) -> None:
    before = datetime.now(UTC)
    with without_dialects():
        site.punch()
        assert (site.events(), readable()) == ([], 0)
        refused = run("replay", "--all")
        assert (refused.exit_code, refused.stderr.count("a dialect that is not known yet")) == (1, 7)
    report = site.audit()
    assert (report.refused, len(report.unread), report.read_again) == (7, 7, 0)
    assert readable() == 7
    after = datetime.now(UTC)

    assert run("replay", "--all").stdout == "7 replayed, 0 refused\n"

    read = site.events()
    assert sorted(each.device_user_id for each in read) == ["1", "2", "3", "4", "417", "5", "6", "7", "8"]
    assert all(before <= each.received_at <= after for each in read)
    report = site.audit()
    assert (report.refused, report.unread, report.read_again) == (7, [], 7)
    # Whoever sends it once more, now that it is understood, sends the same.
    site.punch()
    assert ids(site.events()) == sorted(ids(read) * 2)


def test_reading_again_twice_makes_nothing_double(site: Site) -> None:
    with without_dialects():
        site.punch()
    letters = [row["id"] for row in orjson.loads(run("list", "--each", "--json").stdout)]
    run("replay", "--all")
    read = ids(site.events())

    assert run("replay", "--all").stdout == "0 replayed, 0 refused\n"
    assert run("replay", *letters, "--force").exit_code == 0

    assert (ids(site.events()), site.count("other_events"), site.count("dead_letters")) == (read, 0, 7)


def test_what_was_understood_in_part_is_completed(site: Site) -> None:
    path, headers, body = REQUESTS[0]
    without_user = body.replace(b'"user_id":"2",', b"")
    asyncio.run(site.bench.request("POST", path, content=without_user, headers=headers))
    site.flush()
    assert [each.device_user_id for each in site.events()] == ["1"]
    refused = run("replay", "--all")
    assert (refused.exit_code, "user_id must be" in refused.stderr, len(site.events())) == (1, True, 1)

    with pytest.MonkeyPatch.context() as patch:
        # A later release knows whose it is.
        patch.setattr("producers.devices.common.punch._user_id", lambda value: value or "2")
        assert run("replay", "--all").stdout == "1 replayed, 0 refused\n"

    assert sorted(each.device_user_id for each in site.events()) == ["1", "2"]
