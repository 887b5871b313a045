"""What is known of terminals: stamps, commands, and serial numbers that wait for approval."""

import asyncio
from dataclasses import dataclass, field

import orjson
import pytest
from structlog.testing import capture_logs

from attendance.errors import KafkaUnavailable
from attendance.kafka.records import OutRecord
from attendance.records.terminals import RESET, Stamps
from producers.devices.contract import Command, Result
from producers.pending import AT_ONCE, WRITE_AGAIN
from producers.terminals import (
    AGAIN,
    WRITE_SECONDS,
    Terminals,
    approved_record,
    new_order,
    order_record,
)

TOPIC = "t.terminals.v1"


@dataclass
class Processes:
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

    def connects(self, serial: str) -> None:
        asyncio.run(self.one.note_unknown("zkteco_adms", serial, "10.0.0.9", {"DeviceType": "att"}))


def test_a_stamp_is_known_to_every_process_and_written_once() -> None:
    processes = Processes()
    for stamp in ("6", "7", "7"):
        processes.one.set_stamps("GATE", {"ATTLOGStamp": stamp})
        assert processes.one.stamps("GATE") == {"ATTLOGStamp": stamp}
    for _ in range(2):
        asyncio.run(processes.one.write())
    assert processes.other.stamps("GATE") == {"ATTLOGStamp": "7"}
    assert len(processes.records) == 1
    assert processes.other.stamps("DOOR") == {}


def test_a_stamp_that_kafka_did_not_take_is_written_later() -> None:
    processes = Processes(away=True)
    processes.one.set_stamps("GATE", {"ATTLOGStamp": "7"})
    with pytest.raises(KafkaUnavailable):
        asyncio.run(processes.one.write())
    processes.away = False
    asyncio.run(processes.one.write())
    assert processes.other.stamps("GATE") == {"ATTLOGStamp": "7"}


def test_an_older_stamp_that_comes_back_from_the_topic_does_not_replace_a_newer_one() -> None:
    processes = Processes()
    processes.one.set_stamps("GATE", {"ATTLOGStamp": "7"})
    asyncio.run(processes.one.write())
    processes.one.set_stamps("GATE", {"ATTLOGStamp": "8"})
    processes.one.apply(processes.records[0])
    asyncio.run(processes.one.write())
    assert processes.other.stamps("GATE") == processes.one.stamps("GATE") == {"ATTLOGStamp": "8"}


def test_stamps_that_a_person_had_reset_are_not_undone_by_what_is_not_written_yet() -> None:
    processes = Processes()
    processes.one.set_stamps("GATE", {"ATTLOGStamp": "7", "Kind": "att"})
    asyncio.run(processes.one.write())
    processes.one.set_stamps("GATE", {"ATTLOGStamp": "8"})
    anew = Stamps("GATE", {"ATTLOGStamp": "0", "Kind": "att", RESET: "2026-01-01T05:00:00Z"})
    asyncio.run(processes.send(OutRecord(TOPIC, anew.key, anew.encode())))
    asyncio.run(processes.one.write())
    assert processes.one.stamps("GATE") == processes.other.stamps("GATE") == anew.stamps


def test_a_command_waits_until_it_is_answered_and_is_given_again_after_a_while() -> None:
    processes = Processes()
    order = new_order("GATE", "INFO")
    processes.one.apply(order_record(TOPIC, order))
    [command] = processes.one.waiting("GATE")
    assert command == Command(order.id, "INFO")
    assert processes.one.waiting("DOOR") == []
    processes.one.handed_out("GATE", [command])
    assert processes.one.waiting("GATE") == []
    processes.time += AGAIN
    assert processes.one.waiting("GATE") == [command]
    asyncio.run(processes.one.answered("GATE", [Result(order.id, "0"), Result("99", "0")]))
    processes.time += AGAIN
    assert processes.one.waiting("GATE") == []
    assert [each.returned for each in processes.one.orders()] == ["0"]


def test_a_pending_device_is_written_once_a_minute_with_all_its_requests() -> None:
    processes = Processes()
    for _ in range(5):
        processes.connects("SN1")
    assert len(processes.records) == 1
    processes.time += WRITE_AGAIN
    processes.connects("SN1")
    assert [orjson.loads(record.value or b"")["requests"] for record in processes.records] == [1, 6]
    [device] = processes.other.pending()
    assert (device.serial, device.client, device.facts) == ("SN1", "10.0.0.9", {"DeviceType": "att"})


def test_while_kafka_is_away_a_pending_device_is_written_at_a_later_request() -> None:
    processes = Processes(away=True)
    processes.connects("SN1")
    processes.away = False
    processes.time += WRITE_SECONDS
    processes.connects("SN1")
    assert len(processes.records) == 1


def test_however_many_serial_numbers_come_kafka_gets_a_hundred_records_a_second() -> None:
    processes = Processes()
    for number in range(3000):
        processes.connects(f"SN{number}")
        processes.time += 0.001
    assert sum(record.value is not None for record in processes.records) <= 3 * AT_ONCE + 1


def test_an_approved_terminal_waits_no_more() -> None:
    processes = Processes()
    processes.connects("SN1")
    [device] = processes.other.pending()
    processes.other.apply(approved_record(TOPIC, device))
    assert processes.other.pending() == []


def test_a_record_that_cannot_be_read_is_left_out() -> None:
    processes = Processes()
    for key, value in [(b"", b"{}"), (b"[]", b"{}"), (b'["command","D","1"]', b'{"x":1}'), (b'["marks","D"]', b"{")]:
        processes.one.learn(OutRecord(TOPIC, key, value))
    assert processes.one.orders() == []
    assert processes.one.stamps("D") == {}


def test_answers_to_commands_that_were_not_given_do_not_fill_the_log() -> None:
    processes = Processes()
    with capture_logs() as lines:
        asyncio.run(processes.one.answered("GATE", [Result(str(number), "0") for number in range(70_000)]))
        asyncio.run(processes.one.answered("DOOR", [Result("1", "0")]))
    assert [line["device_id"] for line in lines] == ["GATE", "DOOR"]


def test_an_answer_that_comes_again_and_again_is_logged_once() -> None:
    processes = Processes()
    with capture_logs() as lines:
        for word in ("INFO", "LOG"):
            order = new_order("GATE", word)
            processes.one.apply(order_record(TOPIC, order))
            for returned in range(100):
                asyncio.run(processes.one.answered("GATE", [Result(order.id, str(returned))]))
    assert [(line["command"], line["result"]) for line in lines] == [("INFO", "0"), ("LOG", "0")]
