"""The sink between a real broker and the ERPNext stand-in."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attendance.erpnext import ErpnextClient
from attendance.errors import Reason
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery
from attendance.records.user_map import Employee
from attendance.settings import ErpnextSettings, KafkaSettings, SinkSettings
from operations.site.setup import EVENT_ID
from sandbox.erpnext.server import ErpnextStandIn
from sinks.delivery.runner import run
from sinks.delivery.timings import SinkTimings
from sinks.targets.base import Result, Target
from sinks.targets.erpnext.target import ErpnextTarget

pytestmark = pytest.mark.broker

EMPLOYEES = [f"HR-EMP-{number:05}" for number in range(1, 41)]
SETTINGS = SinkSettings(batch=20, retry_max=0.5, max_in_flight=50, _env_file=None)
TIMINGS = SinkTimings(recheck=0.5, unknown=0.5, commit=0.2, stop=10)


@pytest.fixture  # of its own for each test: what one left hanging there is stored later
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path_factory.mktemp("erpnext") / "stand-in.log") as stand_in:
        yield stand_in


@pytest.fixture
def site(server: ErpnextStandIn) -> ErpnextStandIn:
    """The stand-in with its employees and the unique field, and nothing else."""
    server.reset()
    server.employees([{"name": name} for name in EMPLOYEES])
    client = ErpnextClient(settings_of(server))
    client.insert(EVENT_ID)
    client.close()
    return server


def settings_of(site: ErpnextStandIn) -> ErpnextSettings:
    return ErpnextSettings(url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=5, _env_file=None)


def target_of(site: ErpnextStandIn) -> ErpnextTarget:
    return ErpnextTarget(lambda: ErpnextClient(settings_of(site)), SETTINGS.concurrency, SETTINGS.batch)


def checkins(count: int, *, first: int = 0) -> list[Checkin]:
    """Check-ins of all employees in turn, a minute apart."""
    return [
        Checkin(
            event_id=f"{number:032x}",
            employee=EMPLOYEES[number % len(EMPLOYEES)],
            event_time=datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(minutes=number),
            log_type="IN",
            device_id="D1",
            device_user_id="7",
            site="HQ",
            device_timezone="Asia/Riyadh",
        )
        for number in range(first, first + count)
    ]


class Sinks:
    """Sinks that run here, and what goes into and comes out of the topics."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.metrics = Metrics()

    async def produce(self, records: Sequence[Checkin | bytes], *, directory: bool = True) -> None:
        producer = Producer(self.kafka, "test")
        if directory:
            employees = [Employee(name, "Active") for name in EMPLOYEES]
            await producer.send(
                *(OutRecord(self.kafka.topics["user_map"], each.key, each.encode()) for each in employees)
            )
        topic = self.kafka.topics["checkins"]
        await producer.send(
            *(
                OutRecord(topic, b"?", each) if isinstance(each, bytes) else OutRecord(topic, each.key, each.encode())
                for each in records
            )
        )
        await producer.stop()

    @asynccontextmanager
    async def running(self, target: Target, settings: SinkSettings = SETTINGS) -> AsyncIterator[None]:
        stop = asyncio.Event()
        sink = asyncio.create_task(run(self.kafka, settings, target, self.metrics, stop, timings=TIMINGS))
        try:
            yield
        finally:
            stop.set()
            await sink

    async def deliveries(self) -> list[Delivery]:
        return [Delivery.decode(each.value) for each in await self._read("deliveries")]

    async def dead_letters(self) -> list[DeadLetter]:
        return [DeadLetter.decode(each.key, each.value, each.headers) for each in await self._read("dead_letters")]

    async def _read(self, name: Any) -> list[Any]:
        return await snapshot(self.kafka, self.kafka.topics[name], "test")

    async def until(self, outcomes: int) -> None:
        """Return when so many check-ins have a delivery or a dead letter in Kafka."""
        async with asyncio.timeout(60):
            while True:
                delivered = {each.event_id for each in await self.deliveries()}
                if len(delivered) + len(await self.dead_letters()) >= outcomes:
                    return
                await asyncio.sleep(0.1)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.1)


def play(kafka: KafkaSettings, scene: Callable[[Sinks], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene(Sinks(kafka)))


def event_ids(site: ErpnextStandIn) -> list[str]:
    return sorted(row["event_id"] for row in site.checkins())


def test_every_check_in_becomes_one_row_and_one_delivery(kafka: KafkaSettings, site: ErpnextStandIn) -> None:
    async def scene(sinks: Sinks) -> None:
        sent = checkins(200)
        await sinks.produce(sent)
        async with sinks.running(target_of(site)):
            await sinks.until(200)
        assert event_ids(site) == [each.event_id for each in sent]
        deliveries = {each.event_id: each for each in await sinks.deliveries()}
        documents = {row["event_id"]: row["name"] for row in site.checkins()}
        assert {event_id: each.document for event_id, each in deliveries.items()} == documents
        assert {each.status for each in deliveries.values()} == {"created"}
        times = {row["event_id"]: row["time"] for row in site.checkins()}
        assert times[sent[0].event_id] == "2026-01-01 08:00:00"

    play(kafka, scene)


def test_a_sink_that_was_stopped_has_committed_and_its_successor_goes_on_from_there(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        await sinks.produce(checkins(40))
        async with sinks.running(target_of(site)):
            await sinks.until(40)
        await sinks.produce(checkins(10, first=40))
        async with sinks.running(target_of(site)):
            await sinks.until(50)
        assert Counter(each.status for each in await sinks.deliveries()) == {"created": 50}

    play(kafka, scene)


class PowerCut(ErpnextTarget):
    """Stores its first batch, and the process ends before it can say so."""

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        await super().deliver(checkins)
        raise RuntimeError("power cut")


def test_a_sink_that_dies_between_delivery_and_commit_leads_to_no_second_row(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        sent = checkins(60)
        await sinks.produce(sent)
        cut = PowerCut(lambda: ErpnextClient(settings_of(site)), SETTINGS.concurrency, SETTINGS.batch)
        with pytest.raises(RuntimeError, match="power cut"):
            await run(sinks.kafka, SETTINGS, cut, sinks.metrics, asyncio.Event(), timings=TIMINGS)
        assert site.checkins()
        assert await sinks.deliveries() == []
        async with sinks.running(target_of(site)):
            await sinks.until(60)
        assert event_ids(site) == [each.event_id for each in sent]
        assert {each.status for each in await sinks.deliveries()} == {"created", "already_there"}

    play(kafka, scene)


def test_what_cannot_be_delivered_is_dead_lettered_each_with_its_reason_and_the_others_are_delivered(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        site.employees([{"name": EMPLOYEES[7], "status": "Inactive"}])
        sent = checkins(40)
        stranger = Checkin.decode(
            sent[0].encode().replace(EMPLOYEES[0].encode(), b"NOBODY").replace(b"00000", b"fffff")
        )
        await sinks.produce([*sent, stranger, b"\xffnot a check-in"])
        async with sinks.running(target_of(site)):
            await sinks.until(42)
        assert len(site.checkins()) == 39
        letters = {each.reason: each for each in await sinks.dead_letters()}
        assert set(letters) == {Reason.EMPLOYEE_INACTIVE, Reason.UNKNOWN_EMPLOYEE, Reason.UNDECODABLE_RECORD}
        assert letters[Reason.EMPLOYEE_INACTIVE].event_id == sent[7].event_id
        assert letters[Reason.EMPLOYEE_INACTIVE].value == sent[7].encode()
        assert letters[Reason.UNKNOWN_EMPLOYEE].event_id == stranger.event_id
        assert letters[Reason.UNDECODABLE_RECORD].value == b"\xffnot a check-in"
        assert letters[Reason.UNDECODABLE_RECORD].topic == kafka.topics["checkins"]

    play(kafka, scene)


def test_an_outage_delays_check_ins_and_dead_letters_none(kafka: KafkaSettings, site: ErpnextStandIn) -> None:
    async def scene(sinks: Sinks) -> None:
        site.knobs(maintenance="on")
        sent = checkins(120)
        await sinks.produce(sent)
        async with sinks.running(target_of(site)):
            await asyncio.sleep(2)
            assert b"punchstream_target_available 0.0" in sinks.metrics.exposition()
            site.knobs(maintenance="off")
            await sinks.until(60)
            site.knobs(faults=[{"match": "insert_many", "action": "html_502", "times": 3}])
            await sinks.until(120)
            assert b"punchstream_target_available 1.0" in sinks.metrics.exposition()
        assert event_ids(site) == [each.event_id for each in sent]
        assert await sinks.dead_letters() == []

    play(kafka, scene)


def test_a_sink_that_is_not_let_in_goes_on_when_it_is(kafka: KafkaSettings, site: ErpnextStandIn) -> None:
    async def scene(sinks: Sinks) -> None:
        refused = {"action": "status", "status": 403, "exc_type": "PermissionError", "times": None}
        site.knobs(faults=[{**refused, "match": "insert_many"}, {**refused, "match": "/api/resource"}])
        await sinks.produce(checkins(40))
        async with sinks.running(target_of(site)):
            await asyncio.sleep(2)
            assert site.checkins() == []
            site.knobs(faults=[])
            await sinks.until(40)
        assert len(site.checkins()) == 40
        assert await sinks.dead_letters() == []

    play(kafka, scene)


def test_an_employee_who_is_hidden_from_the_sink_holds_up_nobody_and_is_dead_lettered(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        site.knobs(failing_employees={EMPLOYEES[7]: {"status": 403, "exc_type": "PermissionError"}})
        settings = SETTINGS.model_copy(update={"error_attempts": 2, "retry_max": 0.2})
        await sinks.produce(checkins(40))
        async with sinks.running(target_of(site), settings):
            await sinks.until(39)
            await sinks.produce(checkins(7, first=40))
            await sinks.until(47)
        assert len(site.checkins()) == 46
        [letter] = await sinks.dead_letters()
        assert (letter.reason, letter.event_id) == (Reason.TARGET_FORBIDDEN, checkins(40)[7].event_id)

    play(kafka, scene)


def test_a_topic_that_something_else_writes_to_makes_few_dead_letters_and_loses_nothing(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        settings = SETTINGS.model_copy(update={"dead_letter_run": 5})
        await sinks.produce([b"\xffnot a check-in"] * 20)
        async with sinks.running(target_of(site), settings):
            await sinks.until(5)
            await asyncio.sleep(1)
            assert len(await sinks.dead_letters()) == 5
            assert b"punchstream_sink_stopped 1.0" in sinks.metrics.exposition()
            assert b"punchstream_sink_in_flight 15.0" in sinks.metrics.exposition()
        # What was withheld was not committed: it comes again.
        async with sinks.running(target_of(site)):
            await sinks.until(20)
        assert {each.reason for each in await sinks.dead_letters()} == {Reason.UNDECODABLE_RECORD}
        assert len(await sinks.dead_letters()) == 20

    play(kafka, scene)


def test_a_sink_that_is_stopped_while_erpnext_hangs_gives_up_in_time_and_nothing_is_stored_twice(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        site.knobs(latency_per_document_ms=100)
        sent = checkins(60)
        await sinks.produce(sent)
        timings = replace(TIMINGS, stop=0.5)
        stop = asyncio.Event()
        sink = asyncio.create_task(run(kafka, SETTINGS, target_of(site), sinks.metrics, stop, timings=timings))
        await eventually(lambda: b"punchstream_target_available 1.0" in sinks.metrics.exposition())
        await eventually(lambda: b"punchstream_sink_in_flight 0.0" not in sinks.metrics.exposition())
        await asyncio.sleep(0.3)
        site.pause()  # with a request of two seconds under way, which it finishes after nobody waits for it
        stop.set()
        try:
            await asyncio.wait_for(sink, 15)
        finally:
            site.resume()
        site.knobs(latency_per_document_ms=0)
        async with sinks.running(target_of(site)):
            await sinks.until(60)
        # The batch that was given up has met the same one sent again: one of the two came second.
        await eventually(lambda: "417" in site.stats()["requests"]["POST /api/method/frappe.client.insert_many"])
        assert event_ids(site) == [each.event_id for each in sent]

    play(kafka, scene)


def test_a_process_that_gets_sigterm_while_erpnext_hangs_ends_by_itself_and_nothing_is_stored_twice(
    kafka: KafkaSettings, site: ErpnextStandIn, tmp_path: Path
) -> None:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_SESSION_TIMEOUT": str(kafka.session_timeout),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "ERPNEXT_URL": site.url,
        "ERPNEXT_API_KEY": site.api_key,
        "ERPNEXT_API_SECRET": site.api_secret,
        "ERPNEXT_TIMEOUT": "3",
        "SINK_BATCH": "20",
    }
    log = tmp_path / "sink.log"

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            command = [sys.executable, "-m", "punchstream", "sink"]
            return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=file, stderr=file)

    async def scene(sinks: Sinks) -> None:
        sent = checkins(60)
        await sinks.produce(sent[:1])
        process = start()
        try:
            await eventually(lambda: len(site.checkins()) == 1)  # the one that proves the site's zone
            slow = {"action": "slow_answer", "delay_ms": 60_000, "times": None}
            inserts = ("insert_many", "POST /api/resource/Employee Checkin")  # of several, of one
            site.knobs(faults=[{"match": each, **slow} for each in inserts])
            await sinks.produce(sent[1:])
            await eventually(lambda: len(site.checkins()) > 1)  # stored, and not answered
            process.terminate()
            assert await asyncio.to_thread(process.wait, 30) == 0
            assert len(await sinks.deliveries()) < len(site.checkins())
            site.knobs(faults=[])
            process = start()
            await sinks.until(60)
            process.terminate()
            assert await asyncio.to_thread(process.wait, 30) == 0
        finally:
            process.kill()
            process.wait()
        assert event_ids(site) == [each.event_id for each in sent]
        assert await sinks.dead_letters() == []

    play(kafka, scene)


def test_where_the_directory_never_ran_check_ins_wait_for_it(kafka: KafkaSettings, site: ErpnextStandIn) -> None:
    async def scene(sinks: Sinks) -> None:
        await sinks.produce(checkins(20), directory=False)
        async with sinks.running(target_of(site)):
            await asyncio.sleep(3)
            assert site.checkins() == []
            await sinks.produce([])
            await sinks.until(20)
        assert len(site.checkins()) == 20
        assert await sinks.dead_letters() == []

    play(kafka, scene)


def test_two_sinks_share_the_work_and_one_takes_over_what_the_other_leaves(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        site.knobs(latency_per_document_ms=5)
        sent = checkins(400)
        await sinks.produce(sent[:200])
        async with sinks.running(target_of(site)):
            async with sinks.running(target_of(site)):
                await sinks.until(100)
                await sinks.produce(sent[200:])
            await sinks.until(400)
        assert event_ids(site) == [each.event_id for each in sent]
        assert await sinks.dead_letters() == []

    play(kafka, scene)


def test_each_employees_check_ins_arrive_in_the_order_of_their_records(
    kafka: KafkaSettings, site: ErpnextStandIn
) -> None:
    async def scene(sinks: Sinks) -> None:
        site.knobs(faults=[{"match": "insert_many", "action": "close_before", "probability": 0.3, "times": None}])
        sent = checkins(400)
        await sinks.produce(sent)
        async with sinks.running(target_of(site), SETTINGS.model_copy(update={"batch": 7})):
            await sinks.until(400)
        for employee in EMPLOYEES:
            stored = [row["event_id"] for row in site.checkins() if row["employee"] == employee]
            assert stored == [each.event_id for each in sent if each.employee == employee]

    play(kafka, scene)
