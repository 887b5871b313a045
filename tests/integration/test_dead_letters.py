"""The dead-letters commands on real brokers: listed, shown, sent back, set aside, and accounted for."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.erpnext import ErpnextClient
from attendance.errors import InvalidRecord, Reason
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import ErpnextSettings, KafkaSettings, SinkSettings
from attendance.topics import Name
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from operations.site.setup import EVENT_ID
from punchstream.commands import dead_letters
from sandbox.erpnext.server import ErpnextStandIn
from sinks.delivery.runner import run
from sinks.delivery.timings import SinkTimings
from sinks.targets.erpnext.target import ErpnextTarget

pytestmark = pytest.mark.broker

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
DEADLINE = 45


def punch(n: int, **changes: object) -> RawEvent:
    event = RawEvent(
        device_id="D1",
        site="HQ",
        device_user_id="1",
        event_type="IN",
        event_time=START + timedelta(minutes=2 * n),
        device_time=None,
        device_timezone="UTC",
        received_at=START + timedelta(days=7),
        source=Source("push", "json"),
    )
    return replace(event, **changes)  # type: ignore[arg-type]


class Operator:
    """Runs the commands, and looks into the topics."""

    def __init__(self, kafka: KafkaSettings, environment: pytest.MonkeyPatch) -> None:
        self.kafka = kafka
        environment.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        environment.setenv("KAFKA_ENABLE_IDEMPOTENCE", str(kafka.enable_idempotence))
        environment.setenv("KAFKA_SESSION_TIMEOUT", str(kafka.session_timeout))
        environment.setenv("KAFKA_TOPIC_PREFIX", kafka.topic_prefix)
        environment.setenv("KAFKA_PARTITIONS", str(kafka.partitions))

    def __call__(self, *command: str) -> Result:
        result = CliRunner().invoke(dead_letters.app, command)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def groups(self, *options: str) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = orjson.loads(self("list", "--json", *options).stdout)
        return groups

    def letters(self, *options: str) -> list[dict[str, Any]]:
        """One row for each letter, oldest first."""
        rows: list[dict[str, Any]] = orjson.loads(self("list", "--each", "--json", *options).stdout)
        return sorted(rows, key=lambda row: (row["replay_count"], row["at"]))

    def states(self) -> Counter[str]:
        return Counter(row["state"] for row in self.letters())

    def send(self, *records: OutRecord) -> None:
        async def send() -> None:
            producer = Producer(self.kafka, "test")
            await producer.send(*records)
            await producer.stop()

        asyncio.run(send())

    def records(self, topic: Name) -> list[Any]:
        return asyncio.run(snapshot(self.kafka, self.kafka.topics[topic], "test"))

    def checkins(self) -> list[Checkin]:
        return [Checkin.decode(record.value) for record in self.records("checkins")]

    def raw(self, event: RawEvent) -> OutRecord:
        return OutRecord(self.kafka.topics["raw"], event.key, event.encode(), event.headers())

    def dead(self, topic: Name, *, reason: Reason = Reason.IMPLAUSIBLE_TIME, event_id: str | None = None) -> None:
        """Make a dead letter of the newest record of a topic, as the stages do."""
        record = max(self.records(topic), key=lambda each: (each.timestamp, each.offset))
        stage = "stream" if topic == "raw" else "sink"
        letter = DeadLetter.of(record, stage, InvalidRecord(reason, "a test"), START, event_id=event_id)
        self.send(letter.to_record(self.kafka.topics["dead_letters"]))

    def delivered(self, event: RawEvent) -> None:
        delivery = Delivery(event.event_id, "HR-EMP-1", "EMP-CKIN-1", "created", "erpnext", START)
        self.send(OutRecord(self.kafka.topics["deliveries"], delivery.key, delivery.encode()))

    def audit(self) -> Report:
        return asyncio.run(audit(KafkaLog(self.kafka, "audit")))


@pytest.fixture
def operator(kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(kafka, monkeypatch)


class Stream:
    """The stream as a process, with a registry that can be changed."""

    def __init__(self, directory: Path) -> None:
        self._registry = directory / "devices.yaml"
        self._log = directory / "stream.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.installed_on("2026-01-01")

    def installed_on(self, date: str) -> None:
        self._registry.write_text(
            f"- {{device_id: D1, name: Gate, site: HQ, timezone: UTC, mode: file, adapter: json, installed_on: {date}}}"
        )

    def start(self) -> None:
        env = os.environ | {"PUNCHSTREAM_DEVICES": str(self._registry)}
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "punchstream", "stream"]
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def has_read_the_registry_again(self) -> bool:
        return "The fleet file was read again." in self._log.read_text()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self._log.read_text()[-5000:]
            time.sleep(0.3)


@pytest.fixture
def stream(operator: Operator, tmp_path: Path) -> Iterator[Stream]:
    employee, mapping = Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext")
    user_map = operator.kafka.topics["user_map"]
    operator.send(*(OutRecord(user_map, each.key, each.encode()) for each in (employee, mapping)))
    stream = Stream(tmp_path)
    yield stream
    stream.kill()


def test_a_poison_record_comes_back_from_each_replay_until_it_is_parked(operator: Operator, stream: Stream) -> None:
    broken = punch(1, event_time=None, device_time="yesterday")
    operator.send(OutRecord(operator.kafka.topics["raw"], b"D1", b"\xffpoison"), operator.raw(broken))
    stream.start()
    stream.until(lambda: len(operator.letters()) == 2)

    groups = {group["reason"]: group for group in operator.groups()}
    assert {reason: group["open"] for reason, group in groups.items()} == {
        "undecodable_record": 1,
        "unreadable_time": 1,
    }
    assert "yesterday" in groups["unreadable_time"]["sample_message"]
    shown = orjson.loads(operator("show", groups["undecodable_record"]["sample_id"], "--json").stdout)
    assert shown["value"] == {"bytes": 7, "hex": b"\xffpoison".hex()}
    assert shown["original"]["topic"] == operator.kafka.topics["raw"]
    assert shown["history"] == []

    for replays in (1, 2, 3):
        assert operator("replay", "--reason", "undecodable_record").exit_code == 0
        stream.until(lambda: len(operator.letters("--reason", "undecodable_record")) == replays + 1)  # noqa: B023 - awaited here
        rows = operator.letters("--reason", "undecodable_record")
        assert [row["replay_count"] for row in rows] == list(range(replays + 1))
        assert [row["state"] for row in rows[:-1]] == ["replayed"] * replays

    refused = operator("replay", "--all", "--stage", "stream")
    assert refused.exit_code == 1
    assert "parked" in refused.stderr
    stream.until(lambda: operator.states() == {"replayed": 4, "parked": 1, "open": 1})
    assert {record.value for record in operator.records("dead_letters")} == {b"\xffpoison", broken.encode()}
    report = operator.audit()
    assert (report.raw, report.dead_lettered, report.balanced) == (6, 6, True)


def test_a_punch_that_is_replayed_after_its_cause_is_repaired_is_no_duplicate_of_itself(
    operator: Operator, stream: Stream
) -> None:
    early, other = punch(1), punch(2, device_id="D2")
    stream.installed_on("2026-06-01")
    operator.send(operator.raw(early), operator.raw(other))
    stream.start()
    stream.until(lambda: len(operator.letters("--reason", "implausible_time")) == 1 and len(operator.checkins()) == 1)

    stream.installed_on("2026-01-01")
    stream.until(stream.has_read_the_registry_again)
    assert operator("replay", "--all").exit_code == 0

    stream.until(lambda: len(operator.checkins()) == 2)
    assert Counter(c.event_id for c in operator.checkins()) == {early.event_id: 1, other.event_id: 1}
    assert operator.records("dropped") == []
    # Sent once more, as after a replay that was not recorded, it is one.
    (letter,) = operator.letters()
    assert operator("replay", letter["id"]).exit_code == 1
    assert operator("replay", letter["id"], "--force").exit_code == 0
    stream.until(lambda: len(operator.records("dropped")) == 1)
    assert len(operator.checkins()) == 2


def erpnext_of(site: ErpnextStandIn) -> ErpnextClient:
    settings = ErpnextSettings(
        url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=5, _env_file=None
    )
    return ErpnextClient(settings)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path_factory.mktemp("erpnext") / "stand-in.log") as stand_in:
        yield stand_in


@pytest.fixture
def site(server: ErpnextStandIn) -> ErpnextStandIn:
    """The stand-in with one employee, who is inactive, and the unique field."""
    server.reset()
    server.employees([{"name": "HR-EMP-1", "status": "Inactive"}])
    client = erpnext_of(server)
    client.insert(EVENT_ID)
    client.close()
    return server


def sink_until(kafka: KafkaSettings, site: ErpnextStandIn, topic: Name, records: int) -> None:
    """Run a sink until a topic holds so many records."""
    settings = SinkSettings(batch=20, retry_max=0.5, max_in_flight=50, _env_file=None)
    target = ErpnextTarget(lambda: erpnext_of(site), settings.concurrency, settings.batch)

    async def deliver() -> None:
        stop = asyncio.Event()
        timings = SinkTimings(recheck=0.5, unknown=0.5, commit=0.2, stop=10)
        sink = asyncio.create_task(run(kafka, settings, target, Metrics(), stop, timings=timings))
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    if len(await snapshot(kafka, kafka.topics[topic], "test")) >= records:
                        break
                    await asyncio.sleep(0.2)
        finally:
            stop.set()
            await sink

    asyncio.run(deliver())


def test_a_check_in_that_is_replayed_after_its_cause_is_repaired_is_delivered_once(
    operator: Operator, site: ErpnextStandIn
) -> None:
    topics = operator.kafka.topics
    employee = Employee("HR-EMP-1", "Active")
    checkin = Checkin(
        event_id=punch(1).event_id,
        employee="HR-EMP-1",
        event_time=START,
        log_type="IN",
        device_id="D1",
        device_user_id="1",
        site="HQ",
        device_timezone="UTC",
    )
    operator.send(
        OutRecord(topics["user_map"], employee.key, employee.encode()),
        OutRecord(topics["checkins"], checkin.key, checkin.encode(), checkin.headers()),
    )
    sink_until(operator.kafka, site, "dead_letters", 1)
    (letter,) = operator.letters("--stage", "sink", "--device", "D1")
    assert letter["reason"] == "employee_inactive"

    site.employees([{"name": "HR-EMP-1", "status": "Active"}])
    assert operator("replay", letter["id"]).exit_code == 0
    assert operator("replay", letter["id"], "--force").exit_code == 0
    replayed = operator.records("checkins")[1:]
    assert [dict(record.headers)["x-replay-count"] for record in replayed] == [b"1", b"1"]
    assert {record.key for record in operator.records("checkins")} == {checkin.key}

    sink_until(operator.kafka, site, "deliveries", 2)
    assert [row["event_id"] for row in site.checkins()] == [checkin.event_id]
    statuses = [Delivery.decode(record.value).status for record in operator.records("deliveries")]
    assert sorted(statuses) == ["already_there", "created"]


def test_a_discarded_letter_is_still_there_and_says_why(operator: Operator) -> None:
    event = punch(1)
    operator.send(operator.raw(event))
    operator.dead("raw", event_id=event.event_id)
    (letter,) = operator.letters()
    assert operator("discard", letter["id"], "--note", "  ").exit_code == 2

    assert operator("discard", "--reason", "implausible_time", "--note", "test terminal").exit_code == 0

    assert operator.states() == {"discarded": 1}
    shown = orjson.loads(operator("show", letter["id"], "--json").stdout)
    assert (shown["state"], shown["value"]["text"]) == ("discarded", event.encode().decode())
    assert [(each["action"], each["note"]) for each in shown["history"]] == [("discarded", "test terminal")]
    assert "test terminal" in operator("show", letter["id"]).stdout
    again = operator("discard", letter["id"], "--note", "twice")
    assert (again.exit_code, "discarded already" in again.stderr) == (1, True)
    assert "0 replayed, 0 refused" in operator("replay", "--all").stdout
    assert len(operator.records("dead_letters")) == 1
    report = operator.audit()
    assert (report.dead_lettered, report.balanced) == (1, True)


def test_a_request_that_never_became_a_record_is_refused_and_the_others_are_replayed(operator: Operator) -> None:
    event = punch(1)
    operator.send(operator.raw(event))
    operator.dead("raw", event_id=event.event_id)
    request = DeadLetter("push", Reason.UNREADABLE_BODY, "cut off", START, b"D1", b"{", where="http:/v1/events")
    operator.send(request.to_record(operator.kafka.topics["dead_letters"]))

    rehearsed = operator("replay", "--all", "--dry-run")
    assert (rehearsed.exit_code, operator.states()) == (1, {"open": 2})
    assert len(operator.records("raw")) == 1
    result = operator("replay", "--all", "--rate", "1000")

    assert (result.exit_code, result.stdout) == (1, "1 replayed, 1 refused\n")
    assert "devices.yaml" in result.stderr  # nothing says which adapter could read it
    assert operator.states() == {"open": 1, "replayed": 1}
    first, second = operator.records("raw")
    assert (second.key, second.value, second.partition) == (first.key, first.value, first.partition)
    assert list(second.headers) == [
        *first.headers,
        ("x-replay-count", b"1"),
        ("x-replay-reason", b"implausible_time"),
    ]


def test_a_letter_of_what_was_corrected_since_is_refused_however_often_it_is_asked_for(operator: Operator) -> None:
    right, wrong = punch(1), punch(50)
    for number, event in enumerate((right, wrong)):
        operator.send(operator.raw(event))
        checkin = Checkin(event.event_id, "HR-EMP-1", START, "IN", "D1", "1", "HQ", "UTC")
        of = next(record for record in operator.records("raw") if record.value == event.encode())
        headers = [*checkin.headers(), ("x-raw-record", f"{of.partition}:{of.offset}".encode())]
        operator.send(OutRecord(operator.kafka.topics["checkins"], checkin.key, checkin.encode(), headers))
        operator.dead("checkins", event_id=event.event_id)
        assert len(operator.records("dead_letters")) == number + 1
    operator.send(operator.raw(punch(20, supersedes=wrong.event_id, superseded_document="CI-1")))

    rehearsed = operator("replay", "--all", "--dry-run")
    assert (rehearsed.exit_code, rehearsed.stdout.splitlines()[-1]) == (
        1,
        "1 would be replayed, 1 refused, 1 of them superseded",
    )
    for replayed in (1, 0):
        result = operator("replay", "--all")
        assert result.stdout == f"{replayed} replayed, 1 refused, 1 of them superseded\n"
        assert "superseded: " in result.stderr
    (letter,) = (row for row in operator.letters() if row["state"] == "open")
    assert operator("replay", letter["id"], "--force").exit_code == 1
    assert [each.event_id for each in operator.checkins()[2:]] == [right.event_id]


def test_ids_that_lead_to_no_letter_are_named(operator: Operator) -> None:
    result = operator("replay", "0:0", "3:99", "77:1")
    assert result.exit_code == 1
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["0:0", "3:99", "77:1"]
    assert operator("show", "0:0").exit_code == 1
    assert "0 dead letters" in operator("list").stdout


def outcomes(report: Report) -> dict[str, int]:
    names: Sequence[str] = ("raw", "delivered", "dead_lettered", "undecided")
    return {name: getattr(report, name) for name in names}


def test_the_audit_gives_a_replayed_event_one_outcome_whatever_became_of_it(operator: Operator) -> None:
    healed, hopeless = punch(1), punch(50, device_id="D2")
    for event in (healed, hopeless):
        operator.send(operator.raw(event))
        operator.dead("raw", event_id=event.event_id)
    assert outcomes(operator.audit()) == {"raw": 2, "delivered": 0, "dead_lettered": 2, "undecided": 0}

    assert operator("replay", "--all", "--device", "D1").exit_code == 0
    between = operator.audit()
    assert outcomes(between) == {"raw": 3, "delivered": 0, "dead_lettered": 2, "undecided": 1}
    operator.delivered(healed)
    assert operator("replay", "--all").exit_code == 0
    operator.dead("raw", event_id=hopeless.event_id)

    report = operator.audit()
    assert outcomes(report) == {"raw": 4, "delivered": 2, "dead_lettered": 2, "undecided": 0}
    assert report.balanced
