"""The code of `docs/reading-the-raw-topic.md`, as it stands there, with records of golden files."""

import asyncio
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import aiokafka
import orjson
import pytest
from example_records import golden

PAGE = Path(__file__).parents[3] / "docs" / "reading-the-raw-topic.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
VALUES = [golden(name).value for name in ("raw", "raw-unreadable-time", "raw")]
EXPECTED = {orjson.loads(value)["event_id"] for value in VALUES}


class Enough(Exception):
    """Ends a program that reads for ever."""


class Record:
    """A record as both clients have it: of one the value is an attribute, of the other a method."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def error(self) -> None:
        return None


class Client:
    """Has three records, and then ends the program. Knows whether rows were there when it was asked to commit."""

    def __init__(self, database: sqlite3.Connection, value: Callable[[bytes], Any]) -> None:
        self.database, self.records = database, [Record(value(each)) for each in VALUES]
        self.committed = 0
        self.settings: dict[str, Any] = {}

    def next(self) -> list[Record]:
        if self.committed:
            raise Enough
        return self.records

    def has_committed(self) -> None:
        assert not self.database.in_transaction
        self.committed = self.database.execute("SELECT count(*) FROM punches").fetchone()[0]


class Aiokafka(Client):
    def __call__(self, topic: str, **settings: Any) -> Self:
        self.settings = {"topic": topic, **settings}
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def getmany(self, **_: int) -> dict[int, list[Record]]:
        return {0: self.next()}

    async def commit(self) -> None:
        self.has_committed()


class Confluent(Client):
    def __call__(self, settings: dict[str, Any]) -> Self:
        self.settings = {name.replace(".", "_"): value for name, value in settings.items()}
        return self

    def subscribe(self, topics: Sequence[str]) -> None:
        self.settings["topic"], *_ = topics

    def consume(self, _: int, **__: float) -> list[Record]:
        return self.next()

    def commit(self, **_: bool) -> None:
        self.has_committed()


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE punches (event_id TEXT PRIMARY KEY, event BLOB)")
        yield connection


def block(containing: str) -> dict[str, Any]:
    """What a block of the page defines."""
    (code,) = [each for each in BLOCKS if containing in each]
    defined: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), defined)
    return defined


def assert_counted_once(client: Client) -> None:
    assert {row[0] for row in client.database.execute("SELECT event_id FROM punches")} == EXPECTED
    assert client.committed == len(EXPECTED)
    assert client.settings["topic"] == "attendance.raw.v1"
    assert client.settings["enable_auto_commit"] is False
    assert client.settings["isolation_level"] == "read_committed"


def test_the_page_has_no_other_code() -> None:
    assert len(BLOCKS) == 3


def test_the_identity_is_computed_as_the_page_does() -> None:
    compute = block("def event_id")["event_id"]
    for value in VALUES:
        event = orjson.loads(value)
        assert compute(event) == event["event_id"]


def test_the_consumer_with_aiokafka_counts_each_punch_once(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Aiokafka(database, lambda value: value)
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", client)
    with pytest.raises(Enough):
        asyncio.run(block("from aiokafka")["consume"]("kafka:9092", database))
    assert_counted_once(client)


def test_the_consumer_with_confluent_kafka_counts_each_punch_once(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Confluent(database, lambda value: lambda: value)
    module = ModuleType("confluent_kafka")
    module.Consumer, module.KafkaException = client, RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "confluent_kafka", module)
    with pytest.raises(Enough):
        block("from confluent_kafka")["consume"]("kafka:9092", database)
    assert_counted_once(client)
