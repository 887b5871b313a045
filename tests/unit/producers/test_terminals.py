"""What is known of terminals: stamps, commands, and serial numbers that wait for approval."""

import asyncio
from dataclasses import dataclass, field

import orjson
import pytest

from attendance.errors import KafkaUnavailable
from attendance.kafka.records import OutRecord
from producers.devices.contract import Command, Result
from producers.terminals import (
    AGAIN,
    MOST_PENDING,
    NOTED,
    SILENT,
    Terminals,
    approved_record,
    new_order,
    order_record,
)

TOPIC = "t.terminals.v1"


@dataclass
class House:
    """The topic, two push processes that follow it, and their clock."""

    away: bool = False
    time: float = 1000.0
    records: list[OutRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.one, self.other = (Terminals(TOPIC, self.send, lambda: self.time) for _ in range(2))

    async def send(self, *records: OutRecord) -> None:
        if self.away:
            raise KafkaUnavailable("no brokers")
        for record in records:
            self.records.append(record)
            for each in (self.one, self.other):
                each.apply(record)

    def seen(self, serial: str) -> None:
        asyncio.run(self.one.seen("zkteco_adms", serial, "10.0.0.9", {"DeviceType": "att"}))


def test_a_stamp_is_known_to_every_process_and_written_once() -> None:
    house = House()
    for stamp in ("6", "7", "7"):
        house.one.mark("GATE", {"ATTLOGStamp": stamp})
        assert house.one.marks("GATE") == {"ATTLOGStamp": stamp}
    for _ in range(2):
        asyncio.run(house.one.write())
    assert house.other.marks("GATE") == {"ATTLOGStamp": "7"}
    assert len(house.records) == 1
    assert house.other.marks("DOOR") == {}


def test_a_stamp_that_kafka_did_not_take_is_written_later() -> None:
    house = House(away=True)
    house.one.mark("GATE", {"ATTLOGStamp": "7"})
    with pytest.raises(KafkaUnavailable):
        asyncio.run(house.one.write())
    house.away = False
    asyncio.run(house.one.write())
    assert house.other.marks("GATE") == {"ATTLOGStamp": "7"}


def test_an_older_stamp_that_comes_back_from_the_topic_does_not_replace_a_newer_one() -> None:
    house = House()
    house.one.mark("GATE", {"ATTLOGStamp": "7"})
    asyncio.run(house.one.write())
    house.one.mark("GATE", {"ATTLOGStamp": "8"})
    house.one.apply(house.records[0])
    asyncio.run(house.one.write())
    assert house.other.marks("GATE") == house.one.marks("GATE") == {"ATTLOGStamp": "8"}


def test_a_command_waits_until_it_is_answered_and_is_given_again_after_a_while() -> None:
    house = House()
    order = new_order("GATE", "INFO")
    house.one.apply(order_record(TOPIC, order))
    [command] = house.one.waiting("GATE")
    assert command == Command(order.id, "INFO")
    assert house.one.waiting("DOOR") == []
    house.one.handed_out("GATE", [command])
    assert house.one.waiting("GATE") == []
    house.time += AGAIN
    assert house.one.waiting("GATE") == [command]
    asyncio.run(house.one.answered("GATE", [Result(order.id, "0"), Result("99", "0")]))
    house.time += AGAIN
    assert house.one.waiting("GATE") == []
    assert [each.returned for each in house.one.orders()] == ["0"]


def test_a_stranger_is_written_once_a_minute_with_all_its_requests() -> None:
    house = House()
    for _ in range(5):
        house.seen("SN1")
    assert len(house.records) == 1
    house.time += NOTED
    house.seen("SN1")
    assert [orjson.loads(record.value or b"")["requests"] for record in house.records] == [1, 6]
    [stranger] = house.other.pending()
    assert (stranger.serial, stranger.client, stranger.facts) == ("SN1", "10.0.0.9", {"DeviceType": "att"})


def test_made_up_serial_numbers_fill_neither_memory_nor_kafka() -> None:
    house = House()
    for number in range(MOST_PENDING + 50):
        house.seen(f"SN{number}")
    assert len(house.one.pending()) == len(house.other.pending()) == len(house.records) == MOST_PENDING


def test_a_serial_number_that_fell_silent_makes_room_and_a_terminal_that_knocks_stays() -> None:
    house = House()
    house.seen("REAL")
    for number in range(MOST_PENDING - 1):
        house.seen(f"SN{number}")
    house.time += SILENT
    house.seen("REAL")
    asyncio.run(house.other.seen("zkteco_adms", "NEW", None, {}))
    shown = [stranger.serial for stranger in house.one.pending()]
    assert len(shown) == MOST_PENDING
    assert {"REAL", "NEW"} <= set(shown)
    assert "SN0" not in shown


def test_while_kafka_is_away_a_stranger_is_noted_by_a_later_request() -> None:
    house = House(away=True)
    house.seen("SN1")
    house.away = False
    house.seen("SN1")
    assert len(house.records) == 1


def test_an_approved_terminal_waits_no_more() -> None:
    house = House()
    house.seen("SN1")
    [stranger] = house.other.pending()
    house.other.apply(approved_record(TOPIC, stranger))
    assert house.other.pending() == []


def test_a_record_that_cannot_be_read_is_left_out() -> None:
    house = House()
    for key, value in [(b"", b"{}"), (b"[]", b"{}"), (b'["command","D","1"]', b'{"x":1}'), (b'["marks","D"]', b"{")]:
        house.one.learn(OutRecord(TOPIC, key, value))
    assert house.one.orders() == []
    assert house.one.marks("D") == {}
