"""A terminal that asks to be let in is seen, whatever else asks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from attendance.kafka.records import OutRecord
from attendance.records.terminals import PendingDevice, PendingKey, decode_key
from producers.pending import AT_ONCE, MOST, MOST_CLIENTS, VISIT, PendingDevices

TOPIC = "t.terminals.v1"
AGAIN = 30.0


@dataclass
class Net:
    """A push process, its topic, its clock, and somebody who asks `devices pending`."""

    time: float = 1000.0
    records: list[OutRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pending_devices = PendingDevices(lambda: self.time)

    def connects(self, serial: str, client: str | None = "10.0.0.9", device_id: str | None = None) -> None:
        self.pending_devices.note("zkteco_adms", serial, client, {}, device_id)

    def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.time += 1
            self.records += self.pending_devices.due(TOPIC)

    def shown(self) -> list[PendingDevice]:
        """What a command has read from the topic."""
        self.pass_seconds(60)
        view = PendingDevices(lambda: self.time)
        for record in self.records:
            about = decode_key(record.key)
            assert isinstance(about, PendingKey)
            view.apply(about, record.value)
        return view.all()


def one_address(_: int) -> str:
    return "10.0.0.9"


def many_addresses(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def one_network(number: int) -> str:
    return f"2001:db8::{number:x}"


def many_networks(number: int) -> str:
    return f"2001:db8:{number & 0xFFFF:x}:{number >> 16:x}::1"


ATTACKS = [one_address, many_addresses, one_network, many_networks]


@pytest.mark.parametrize("address", ATTACKS)
@pytest.mark.parametrize("when", ["before", "after", "amid"])
def test_a_terminal_is_shown_that_came_once_beside_a_thousand_made_up_numbers(
    address: Callable[[int], str], when: str
) -> None:
    net = Net()
    if when == "before":
        net.connects("REAL")
        net.time += 2
    for number in range(1005):
        if when == "amid" and number == 5:
            net.connects("REAL")
        net.connects(f"MADE-UP-{number}", address(number))
    if when == "after":
        net.time += 2
        net.connects("REAL")

    assert "REAL" in [each.serial for each in net.shown()]
    assert len(net.shown()) <= MOST


@pytest.mark.parametrize("address", ATTACKS)
def test_a_terminal_that_comes_every_half_minute_stands_at_the_top_whatever_else_comes(
    address: Callable[[int], str],
) -> None:
    net, made_up = Net(), iter(range(10_000))
    for _ in range(4):
        for _ in range(1100):
            net.connects(f"MADE-UP-{(number := next(made_up))}", address(number))
        net.connects("REAL", "10.0.0.9")
        for _ in range(1100):
            net.connects(f"MADE-UP-{(number := next(made_up))}", address(number))
        net.pass_seconds(int(AGAIN))

    top, *others = net.shown()

    assert (top.serial, top.visits >= 4) == ("REAL", True)
    assert len(others) < MOST


def test_numbers_that_come_as_regularly_from_one_address_push_out_none_from_another() -> None:
    net = Net()
    for _ in range(3):
        for number in range(MOST + 50):
            net.connects(f"MADE-UP-{number}", "10.6.6.6")
        for number in range(40):
            net.connects(f"REAL-{number}", f"10.0.0.{number}")
        net.pass_seconds(int(AGAIN))

    assert {each.serial for each in net.shown()[:40]} == {f"REAL-{number}" for number in range(40)}


def test_five_hundred_terminals_behind_one_address_are_all_shown() -> None:
    net = Net()
    for _ in range(3):
        for number in range(500):
            net.connects(f"REAL-{number}")
            net.time += 0.05
        net.pass_seconds(5)

    assert len(net.shown()) == 500


def test_a_terminal_that_moved_is_shown_first_with_the_addresses_that_it_came_from() -> None:
    net = Net()
    for number in range(MOST + 50):
        net.connects(f"MADE-UP-{number}")
    for number in range(MOST_CLIENTS + 5):
        net.connects("SN1", f"10.0.1.{number}", "GATE-1")
    net.connects("SN1", "10.0.1.0", "GATE-1")

    moved, *_ = net.shown()

    assert (moved.serial, moved.device_id, moved.requests) == ("SN1", "GATE-1", MOST_CLIENTS + 6)
    assert (len(moved.clients), moved.clients["10.0.1.0"]) == (MOST_CLIENTS, 2)


def test_what_makes_room_leaves_the_topic_too_and_neither_grows() -> None:
    net = Net()
    for number in range(3000):
        net.connects(f"MADE-UP-{number}", many_addresses(number))
        if number % 100 == 0:
            net.pass_seconds(1)
    net.pass_seconds(60)

    kept: dict[bytes | None, bytes | None] = {record.key: record.value for record in net.records}
    assert sum(value is not None for value in kept.values()) <= MOST
    assert len(net.pending_devices.all()) == MOST
    assert len(net.records) <= 2 * AT_ONCE * 91


def test_half_a_minute_counts_as_one_visit() -> None:
    net = Net(time=VISIT * 10)
    for seconds in (0, 5, 29, 31, 59, 61):
        net.time = VISIT * 10 + seconds
        net.connects("REAL")

    assert [(each.visits, each.requests) for each in net.pending_devices.all()] == [(3, 6)]
