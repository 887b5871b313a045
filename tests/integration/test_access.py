"""On a cluster that refuses what no rule allows, each stage and command with exactly the rights that the page lists."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, time, timedelta
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete
from secured_kafka import Right, SecuredKafka, run
from secured_site import DEADLINE, DEVICE, Site, know_employee
from sqlalchemy import text

from attendance.accounts import digest
from attendance.errors import Reason
from attendance.kafka.admin import create_topics
from attendance.kafka.clients import create_admin, create_consumer
from attendance.kafka.extents import extents
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.records import OutRecord
from attendance.records.account import Account, Fingerprint
from attendance.records.checkin import Checkin
from attendance.records.device_status import DeviceStatus
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RAW_RECORD
from attendance.records.user_map import UserMapping
from attendance.settings import KafkaSettings
from attendance.times import now
from ledger.database import Database, LedgerUnavailable
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.ports import free_port
from sandbox.terminals.base import Punch
from sandbox.terminals.rest import NumberedRest
from stream_process import punch
from streams.dedup import Kept
from streams.dedup import Punch as KeptPunch
from streams.pipeline import user_key
from streams.state import FLOOR_KEY, encode

pytestmark = pytest.mark.timeout(600)  # many processes, on a machine that may do other things

ABSENCE = 6  # seconds: that something does not come is seen only over a time


@pytest.fixture
def site(secured_kafka: SecuredKafka, tmp_path: Path) -> Iterator[Site]:
    site = Site(secured_kafka, tmp_path)
    yield site
    site.stop()


async def delete_records(kafka: KafkaSettings, topic: str, number: int) -> None:
    """What is in a partition, and not what comes."""
    _, end = (await extents(kafka, topic, "test"))[number]
    admin = create_admin(kafka, "test")
    await admin.start()
    await admin.delete_records({TopicPartition(topic, number): RecordsToDelete(end)})
    await admin.close()


async def add_a_partition(kafka: KafkaSettings) -> None:
    """One that nobody wants, with a mapping in it."""
    topic = kafka.topics["user_map"]
    admin = create_admin(kafka, "test")
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(2)})
    await admin.close()
    mapping = UserMapping("*", "3", "EMP-1", "csv")
    await send_until_acknowledged(
        producer := Producer(kafka, "test", compares=False),
        [OutRecord(topic, mapping.key, mapping.encode(), partition=1)],
    )
    await producer.stop()


async def send(kafka: KafkaSettings, *records: OutRecord) -> None:
    producer = Producer(kafka, "test")
    await producer.send(*records)
    await producer.stop()


async def restored(kafka: KafkaSettings) -> None:
    """A punch and its check-in, once at offset 0, as the stages have accounted for, are at offset 1 now."""
    raw, checkins = kafka.topics["raw"], kafka.topics["checkins"]
    await send(kafka, *(OutRecord(topic, b"x", b"x", partition=0) for topic in (raw, checkins)))
    for topic in (raw, checkins):
        await delete_records(kafka, topic, 0)
    event = punch(0)
    assert event.event_time is not None
    checkin = Checkin(event.event_id, "EMP-1", event.event_time, "IN", event.device_id, "1", "s", "UTC")
    records = [
        OutRecord(raw, event.key, event.encode(), partition=0),
        OutRecord(checkins, checkin.key, checkin.encode(), [(RAW_RECORD, b"0:0")], partition=0),
    ]
    accounts = [
        Account(stage, each.topic, 0, 0, 1, now(), Fingerprint(0, -1, digest(each.key, each.value)), 1)
        for stage, each in zip(("stream", "sink"), records, strict=True)
    ]
    of_accounts = [OutRecord(kafka.topics["accounts"], each.key, each.encode()) for each in accounts]
    await send(kafka, *records, *of_accounts)


async def complete(kafka: KafkaSettings, *devices: str) -> None:
    """These devices say that they have sent everything."""
    statuses = [DeviceStatus(each, now(), complete_until=now().replace(microsecond=0), pending=0) for each in devices]
    await send(kafka, *(OutRecord(kafka.topics["device_status"], each.key, each.encode()) for each in statuses))


async def known_to_the_stream(kafka: KafkaSettings) -> None:
    """What it keeps of that punch, and another that waits."""
    event, waiting = punch(0), Waiting(punch(1), Reason.EMPLOYEE_INACTIVE, "EMP-1")
    assert event.event_time is not None
    kept = [
        Kept(FLOOR_KEY, KeptPunch(0, 0, 0).pack()),
        Kept(user_key(event), KeptPunch.of(event.event_time, "IN", 1).pack()),
    ]
    await send(
        kafka,
        OutRecord(kafka.topics["dedup_state"], b"random", encode(kept), partition=0),
        OutRecord(kafka.topics["unmapped"], waiting.key, waiting.encode(), partition=0),
    )


def use_the_console(site: Site, operator: KafkaSettings) -> None:
    """Whatever an administrator does there that writes to a topic, or reads one."""
    port = free_port()
    site.more |= {"CONSOLE_PORT": str(port), "METRICS_PORT": "0"}
    line = site.command(operator, "console", "token", "add", "a test", "--role", "administrator")
    (token,) = re.findall(r"[A-Za-z0-9_-]{20,}", line)
    site.start("console")
    header = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", headers=header, timeout=DEADLINE) as caller:

        def call(method: str, path: str, **options: Any) -> Any:
            response = caller.request(method, path, **options)
            assert response.is_success, (method, path, response.text, site.log("console").read_text()[-3000:])
            return response.json() if response.content else None

        def answers() -> bool:
            with suppress(httpx.TransportError):
                return caller.get("/devices").is_success
            return False

        def until(path: str, expected: Callable[[Any], object]) -> None:
            site.until(lambda: bool(expected(call("GET", path))), "console")

        site.until(answers, "console")
        assert site.post("3", 3) == site.post("4", 4) == 200
        until("/people/unmapped", lambda found: len(found["numbers"]) == 2)
        call("POST", "/people/mappings", json={"number": "3", "site": "s", "employee": "EMP-1"})
        site.until(lambda: len(site.values("deliveries")) == 2, "sink")
        visitor = {"number": "4", "site": "s"}
        call("POST", "/people/ignored", json={**visitor, "note": "a visitor"})
        site.until(lambda: len(site.values("dead_letters")) == 1, "stream")
        call("DELETE", "/people/ignored", params=visitor)
        call("DELETE", "/people/mappings", params={"number": "3", "site": "s"})

        assert site.post("1", 5, day="2099-03-02") == 200
        done: list[str] = []
        for action in ("replay", "discard"):
            # The stream refuses what was replayed again, by another letter.
            until("/letters?reason=implausible_time", lambda found: {each["id"] for each in found["letters"]} - {*done})
            listed = call("GET", "/letters?reason=implausible_time")["letters"]
            (id_,) = {each["id"] for each in listed} - {*done}
            wrong = call("GET", f"/letters/{id_}")["event_id"]
            job = call("POST", f"/letters/{action}", json={"ids": [id_], "note": "a test"})
            done.append(id_)
            until(f"/jobs/{job['id']}", lambda found: found["state"] not in {"queued", "running"})
            ended = call("GET", f"/jobs/{job['id']}")
            assert (ended["state"], ended["done"]) == ("done", 1), ended
        call("POST", f"/punches/{wrong}/time", json={"time": "2026-03-02 05:06", "note": "a test"})
        site.until(lambda: len(site.values("deliveries")) == 3, "sink")

        of_device = {"device_id": "NEW-1", "site": "s", "timezone": "UTC", "mode": "push", "adapter": "json"}
        assert call("POST", "/devices", json=of_device)["key"]
        until("/devices", lambda found: "NEW-1" in [each["device_id"] for each in found["devices"]])
        call("POST", "/devices/NEW-1/pause", json={"why": "a test"})
        until("/devices/NEW-1", lambda found: found["paused"] is not None)
        call("POST", "/devices/NEW-1/resume")
        until("/devices/NEW-1", lambda found: found["paused"] is None)
        call("POST", "/devices/NEW-1/test")
        call("DELETE", "/devices/NEW-1")
        file = b"1\t2026-03-02 05:40:00\t1\t0\t1\t0\n"
        assert call("POST", "/imports?device=USB-1&file_name=a.dat", content=file)["taken_in"]
        assert call("GET", f"/reconcile?day={now().date()}")["devices"]
        call("GET", "/pending-devices")
        call("POST", "/accounts", json={"name": "somebody", "role": "hr"})
    log = site.log("console").read_text()
    assert "not authorized" not in log
    assert " needs " not in log


def test_stages_and_commands_work_with_the_rights_of_the_page(site: Site, tmp_path: Path) -> None:
    creator = site.principal("whoever runs topics create")
    site.command(creator, "topics", "create")
    know_employee(site.all)
    site.start("push")
    site.start("stream")
    site.start("sink")
    site.until(lambda: site.post("1", 1) == 200, "push")
    site.until(lambda: len(site.values("checkins")) == 1, "stream")
    site.until(lambda: len(site.values("deliveries")) == 1, "sink")

    site.start("ledger")
    ledger = Database(f"sqlite:///{tmp_path}/ledger.sqlite")

    def is_in_the_ledger() -> bool:
        try:
            with ledger.transaction() as connection:
                return [each.outcome for each in connection.execute(text("select outcome from punches"))] == [
                    "delivered"
                ]
        except LedgerUnavailable:
            return False

    site.until(lambda: (tmp_path / "ledger.sqlite").exists() and is_in_the_ledger(), "ledger")
    ledger.close()
    assert "not authorized" not in site.log("ledger").read_text()

    operator = site.principal("an operator")
    use_the_console(site, operator)
    (tmp_path / "users.csv").write_text("device_user_id,employee\n2,EMP-1\n")
    (tmp_path / "day.dat").write_text("2\t2026-03-02 05:30:00\t1\t0\t1\t0\n")
    site.command(operator, "users", "import", "users.csv")
    known = len(site.values("checkins")) + 1
    site.command(operator, "import", "day.dat", "--device", "USB-1")
    site.until(lambda: len(site.values("checkins")) == known, "stream")
    before = {each["id"] for each in json.loads(site.command(operator, "dead-letters", "list", "--each", "--json"))}
    lettered = len(site.values("dead_letters")) + 2
    assert site.post("", 1) == site.post("1", 2, day="2099-03-02") == 200
    site.until(lambda: len(site.values("dead_letters")) == lettered, "stream")
    letters = json.loads(site.command(operator, "dead-letters", "list", "--each", "--json"))
    ids = {letter["stage"]: letter["id"] for letter in letters if letter["id"] not in before}
    site.command(operator, "dead-letters", "replay", ids["stream"])
    site.command(operator, "dead-letters", "discard", ids["push"], "--note", "nobody's")
    for argv in ("topics describe", "users list", "users unmapped", "devices list", "devices pending"):
        site.command(operator, *argv.split())
    site.command(operator, "replay", "--since", "2026-01-01")
    site.command(operator, "audit")
    topic, _, number = f"{site.all.topics['dead_letters']}:{ids['push']}".rpartition(":")[0].rpartition(":")
    # The audit has accounted for those before.
    assert site.post("", 3) == 200
    run(delete_records(site.all, topic, int(number)))
    assert f"{topic}:{number}" in site.command(operator, "audit", status=1)
    through = str(run(extents(site.all, topic, "test"))[int(number)][0])
    site.command(operator, "topics", "accept-loss", f"{topic}:{number}", "--through", through, "--note", "a test")
    site.command(operator, "audit")

    entries = len(site.values("user_map"))
    run(add_a_partition(site.all))
    assert f"needs AlterConfigs on the topic {site.all.topics['user_map']}" in site.command(
        operator, "topics", "repair", status=2
    )
    site.command(site.principal("whoever runs topics repair"), "topics", "repair")
    assert len(site.values("user_map")) == entries + 1, "the mapping is in the one partition now, and nowhere else"

    team = site.principal("a data team")

    async def read_as_a_team() -> bytes:
        consumer = create_consumer(team, team.topics["raw"], client_id="team", group=f"{site.prefix}-own")
        await consumer.start()
        try:
            record = await asyncio.wait_for(consumer.getone(), DEADLINE)
            await consumer.commit()
            return bytes(record.value)
        finally:
            await consumer.stop()

    assert run(read_as_a_team()) in site.values("raw")


def test_stages_with_certificates_and_what_asks_erpnext_work_with_the_rights_of_the_page(
    site: Site, tmp_path: Path
) -> None:
    run(create_topics(site.all))
    day = now().date() - timedelta(days=3)
    terminal = NumberedRest("S1", "UTC", "right")
    terminal.memory += [Punch("1", datetime.combine(day, time(hour)), "IN") for hour in (8, 17)]
    asked = {"device_id": "D1", "site": "s", "timezone": "UTC", "interval": 1, "credentials": {"token": "REST_TOKEN"}}
    direct = {"attendance": "direct", "half_day_below": "4 h", "attendance_from": str(day)}
    shifts = [{"shift_type": "Day", "sites": ["s"], **direct}]
    fleet = {"devices": [DEVICE, asked | terminal.registry_entry()], "shifts": shifts}
    (tmp_path / "devices.yaml").write_text(json.dumps(fleet))

    def play() -> None:
        with ErpnextStandIn(log_file=tmp_path / "erpnext.log", time_zone="UTC") as erpnext:
            erpnext.shift_types([{"name": "Day", "enable_auto_attendance": 0, "holiday_list": None}])
            employee = {"attendance_device_id": "1", "default_shift": "Day", "date_of_joining": str(day)}
            erpnext.employees([{"name": "EMP-1", **employee}])
            site.more = {
                "ERPNEXT_URL": erpnext.url,
                "ERPNEXT_API_KEY": erpnext.api_key,
                "ERPNEXT_API_SECRET": erpnext.api_secret,
                "REST_TOKEN": "right",
                "COMPLETENESS_INTERVAL": "0.5",
                "SINK_TARGET": "erpnext",
            }
            operator = site.principal("an operator")
            site.command(operator, "erpnext", "setup")
            site.command(operator, "erpnext", "zone", "--accept", "UTC")
            site.login = "certificate"
            stages = ("pull", "directory", "stream", "sink", "completeness")
            for stage in stages:
                site.start(stage)
            site.until(lambda: bool(site.values("cursors")) and len(site.values("raw")) == 2, "pull")
            site.until(lambda: bool(site.values("user_map")), "directory")
            site.until(lambda: len(erpnext.checkins()) == 2, "sink")
            # It has read the status topic, and what the groups of stream and sink have committed.
            site.until(lambda: "Devices hold a shift back." in site.log("completeness").read_text(), "completeness")
            for stage in stages:
                assert "not authorized" not in site.log(stage).read_text()
            days, progress = (
                Right("topic", site.all.topics[name], "write") for name in ("attendance_days", "attendance_progress")
            )
            completeness = f"{site.prefix}-completeness"
            site.broker.forbid(completeness, days, progress)
            run(complete(site.all, "GATE-1", "D1"))
            log = site.log("completeness")
            # What became of a day is recorded first.
            for right in (days, progress):
                said = f"needs Write on the topic {right.name}"
                site.until(partial(lambda said: said in log.read_text(), said), "completeness")
                assert not site.values("attendance_progress")
                site.broker.allow(completeness, [right])
            site.until(lambda: bool(site.values("attendance_progress")), "completeness")
            (row,) = json.loads(site.command(operator, "audit", "--attendance", "--against-erpnext", "--json"))
            assert (row["employee"], row["in_erpnext"]) == ("EMP-1", "as it should be")
            assert len(erpnext.attendance()) == 1
            erpnext.remove("Employee Checkin", erpnext.checkins()[0]["name"])
            site.command(operator, "audit", "--against-erpnext", "--repair", status=1)
            site.until(lambda: len(erpnext.checkins()) == 2, "sink")
            site.command(operator, "replay", "--since", "2026-01-01", "--correct")

    async def beside_the_terminal() -> None:
        async with terminal.serving():
            await asyncio.to_thread(play)

    asyncio.run(beside_the_terminal())


def test_adopting_a_restore_and_erasing_a_person_work_with_the_rights_of_the_page_and_name_each_that_is_missing(
    site: Site, tmp_path: Path
) -> None:
    run(create_topics(site.all))
    know_employee(site.all)
    run(restored(site.all))
    operator = site.principal("an operator")
    user = operator.sasl_username or ""
    waiting = Right("group", f"{site.prefix}.waiting", "describe")
    stream, sink = (Right("group", f"{site.prefix}.{name}", "read") for name in ("stream", "sink"))
    deletes = Right("topic", site.all.topics["dedup_state"], "delete")
    assert site.beyond("whoever runs topics adopt", "an operator") == {waiting, stream, sink}
    assert site.beyond("whoever runs privacy erase", "an operator") == {deletes}

    def refused(right: str, *argv: str) -> str:
        said = site.command(operator, *argv, status=2)
        assert f"needs {right}; see" in said
        return said

    adopt = "topics", "adopt", "--note", "a test"
    refused(f"Describe on the group {waiting.name}", *adopt, "--dry-run")
    site.broker.allow(user, [waiting])
    site.command(operator, *adopt, "--dry-run")
    site.broker.allow(user, [stream])
    refused(f"Read on the group {sink.name}", *adopt)
    site.broker.allow(user, [sink])
    assert f"{site.all.topics['checkins']}:0: sink goes on at offset 2" in site.command(operator, *adopt)
    site.broker.forbid(user, waiting, stream, sink)

    run(known_to_the_stream(site.all))
    person = "--employee", "EMP-1"
    site.command(operator, "privacy", "export", *person, "--to", "person.json")
    found = {each["topic"] for each in json.loads((tmp_path / "person.json").read_text())["records"]}
    assert found >= {site.all.topics[name] for name in ("raw", "checkins", "user_map", "unmapped", "dedup_state")}
    configs = Right("topic", f"{site.prefix}.", "describe_configs", prefixed=True)
    site.broker.forbid(user, configs)
    first = site.all.topics["raw"]
    refused(f"DescribeConfigs on the topic {first}", "privacy", "export", *person, "--to", "-")
    site.broker.allow(user, [configs])
    # What it says first is all that a dry run says.
    assert "1 waiting punches" in refused(f"Delete on the topic {deletes.name}", "privacy", "erase", *person)
    assert None not in site.values("unmapped"), "nothing was changed"
    site.broker.allow(user, [deletes])
    assert "Erased." in site.command(operator, "privacy", "erase", *person)
    assert site.values("unmapped")[-1] is None
    site.broker.forbid(user, deletes)
    site.command(operator, "privacy", "readmit", *person)


def test_push_is_ready_where_it_can_answer_every_post_and_only_there(site: Site) -> None:
    run(create_topics(site.all))
    push = site.start("push")
    site.until(lambda: site.ready() == 200, "push")
    user = push.sasl_username or ""
    letters, probe = (Right("topic", site.all.topics[name], "write") for name in ("dead_letters", "probe"))
    site.broker.forbid(user, letters)
    site.until(lambda: site.ready() == 503, "push")
    assert site.post("", 1) == 503, "it would be a dead letter"
    site.broker.allow(user, [letters])
    site.until(lambda: site.ready() == 200, "push")
    assert site.post("", 1) == 200
    site.broker.forbid(user, probe)
    site.until(lambda: probe.name in site.log("push").read_text(), "push")
    assert site.ready() == site.post("1", 1) == 200
    assert site.values("raw")


def test_a_right_to_write_that_is_taken_away_is_named_and_adds_no_copies_while_it_is_missing(site: Site) -> None:
    run(create_topics(site.all))
    know_employee(site.all)
    stream = site.start("stream")
    unmapped = Right("topic", site.all.topics["unmapped"], "write")
    site.start("push")
    site.until(lambda: site.post("1", 1) == 200, "push")
    site.until(lambda: len(site.values("checkins")) == 1, "stream")
    site.broker.forbid(stream.sasl_username or "", unmapped)
    # One that waits, for the topic that is refused, and one that flows, in the same step or not.
    assert site.post("2", 5) == site.post("1", 9) == 200
    site.until(lambda: f"Write on the topic {unmapped.name}" in site.log("stream").read_text(), "stream")
    before = len(site.values("checkins"))
    sleep(ABSENCE)
    assert len(site.values("checkins")) == before <= 2
    site.broker.allow(stream.sasl_username or "", [unmapped])
    site.until(lambda: len(site.values("unmapped")) == 1 and len(site.values("checkins")) >= 2, "stream")
    assert len(site.values("checkins")) == 2
    assert len(site.values("raw")) == 3
