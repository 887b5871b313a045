"""The ledger as a process on Apache Kafka: killed at any moment it ends with the rows of one that was not."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.admin import NewTopic
from ledger_story import Story, event
from postgres import Postgres
from sqlalchemy import select, text

from attendance.kafka.clients import create_admin
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, topic_configs
from ledger.database import Database, LedgerUnavailable
from ledger.tables import METADATA
from sandbox.broker import Broker
from sandbox.ports import free_port

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

DEADLINE = 180
# Ends the process by SIGKILL within its nth transaction that takes records in, or right after it. A batch is small.
KILLER = """
import os, signal, sys
from attendance.kafka import several
from ledger.store import Store
from punchstream.cli import main
several.FETCHED_AT_ONCE = 300
left, within = int(sys.argv[1]), sys.argv[2] == "within"
write, apply = Store._write, Store.apply
def end(this_is_it):
    if this_is_it and not left:
        os.kill(os.getpid(), signal.SIGKILL)
def write_then_end(self, *given):
    write(self, *given)
    end(within)
def apply_then_end(self, *given):
    global left
    left -= 1
    positions = apply(self, *given)
    end(not within)
    return positions
Store._write, Store.apply = write_then_end, apply_then_end
sys.argv = ["punchstream", "ledger"]
main()
"""
PUNCHES = 2_500
TIMES = ("positions", "caught_up")
"""Tables that say when something was read."""


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    return kafka_broker


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database()
    return f"sqlite:///{tmp_path}/ledger.sqlite"


class Ledgers:
    """Processes of the ledger, and what is in the databases."""

    def __init__(self, kafka: KafkaSettings, directory: Path) -> None:
        self.kafka, self.directory = kafka, directory
        self.port = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, url: str, *arguments: object, program: tuple[str, ...] = ("-m", "punchstream", "ledger")
    ) -> "subprocess.Popen[bytes]":
        environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_PARTITIONS": str(self.kafka.partitions),
            "LEDGER_URL": url,
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": str(self.port),
        }
        command = [sys.executable, *program, *map(str, arguments)]
        with (self.directory / "ledger.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.directory, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.directory / "ledger.log").read_text()

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not reached():
            assert time.monotonic() < deadline, self.log()[-4000:]
            time.sleep(0.2)

    def rows(self, url: str, *names: str) -> dict[str, list[tuple[Any, ...]]]:
        database = Database(url)
        try:
            with database.transaction() as connection:
                return {
                    name: sorted((tuple(row) for row in connection.execute(select(METADATA.tables[name]))), key=repr)
                    for name in names or [each for each in METADATA.tables if each not in TIMES]
                }
        except LedgerUnavailable:
            return {}
        finally:
            database.close()

    def count(self, url: str) -> int:
        return sum(row[2] for row in self.rows(url, "positions").get("positions", []))


@pytest.fixture
def ledgers(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Ledgers]:
    ledgers = Ledgers(kafka, tmp_path)
    yield ledgers
    for process in ledgers.processes:
        process.kill()
        process.wait()


def send(kafka: KafkaSettings, story: Story) -> int:
    """Put what a story has onto the topics. Returns how many records."""
    records = [
        OutRecord(kafka.topics[name], each.key, each.value, each.headers, number)
        for (name, number), of_partition in story.log.items()
        for each in of_partition
    ]

    async def put() -> None:
        producer = Producer(kafka, "test")
        for begin in range(0, len(records), 500):
            await producer.send(*records[begin : begin + 500])
        await producer.stop()

    asyncio.run(put())
    return len(records)


def a_day() -> Story:
    story = Story()
    for number in range(PUNCHES):
        user = str(1 + number % 2)
        raw = story.raw(event(user, number, f"D{1 + number % 2}"))
        match number % 5:
            case 0:
                story.drop(raw, event(user, 0).event_id)
            case 1:
                story.release(story.wait(raw))
                story.discard(raw)
            case 2:
                story.act(story.fail(raw))
            case _:
                story.deliver(story.checkin(raw, f"EMP-{user}"), f"CHK-{number}")
    return story


def test_a_ledger_that_is_killed_has_the_rows_of_one_that_is_not(ledgers: Ledgers, url: str, tmp_path: Path) -> None:
    sent = send(ledgers.kafka, a_day())
    for left, when in ((1, "within"), (2, "after"), (3, "within"), (1, "after"), (2, "within"), (5, "after")):
        before = ledgers.count(url)
        assert ledgers.start(url, left, when, program=("-c", KILLER)).wait(DEADLINE) == -signal.SIGKILL
        assert before < sent
        assert ledgers.count(url) - before <= 300 * left
    process = ledgers.start(url)
    ledgers.until(lambda: ledgers.count(url) == sent and ledgers.is_ready())
    process.terminate()
    assert process.wait(DEADLINE) == 0, ledgers.log()[-4000:]

    other = f"sqlite:///{tmp_path}/in-one-pass.sqlite"
    process = ledgers.start(other)
    ledgers.until(lambda: ledgers.count(other) == sent and ledgers.is_ready())
    process.terminate()
    process.wait(DEADLINE)
    rows = ledgers.rows(url)
    assert rows == ledgers.rows(other)
    assert len(rows["raw_records"]) == PUNCHES


def test_a_topic_that_was_made_anew_stands_the_ledger_still_until_it_is_deleted(
    ledgers: Ledgers, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 0)), "EMP-1"), "CHK-1")
    sent = send(ledgers.kafka, story)
    process = ledgers.start(url)
    ledgers.until(lambda: ledgers.count(url) == sent)
    process.terminate()
    process.wait(DEADLINE)

    async def make_anew() -> None:
        topic = ledgers.kafka.topics["raw"]
        admin = create_admin(ledgers.kafka, "test")
        await admin.start()
        await admin.delete_topics([topic])
        await asyncio.sleep(2)
        configs = topic_configs(TABLE["raw"], ledgers.kafka.retention_days)
        await admin.create_topics([NewTopic(topic, ledgers.kafka.partitions, 1, topic_configs=configs)])
        await admin.close()

    asyncio.run(make_anew())
    story = Story()
    for hour in range(3):
        story.raw(event("2", hour))
    send(ledgers.kafka, story)
    process = ledgers.start(url)
    ledgers.until(lambda: "was made anew or cut short" in ledgers.log())
    assert {row[3] for row in ledgers.rows(url, "raw_records")["raw_records"]} == {"D1"}
    assert len(ledgers.rows(url, "raw_records")["raw_records"]) == 1, "nothing of the new topic was taken in"
    process.terminate()
    process.wait(DEADLINE)

    assert ledgers.start(url, "--delete").wait(DEADLINE) == 0
    process = ledgers.start(url)
    ledgers.until(lambda: len(ledgers.rows(url, "raw_records").get("raw_records", [])) == 3)
    database = Database(url)
    with database.transaction() as connection:
        found = connection.execute(text("select outcome, count(*) from punches group by outcome")).fetchall()
    database.close()
    assert [tuple(each) for each in found] == [("undecided", 3)]
