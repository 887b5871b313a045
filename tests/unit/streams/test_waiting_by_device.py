"""Whose users are unknown is shown by device, a bounded number of them, and said once in the log."""

from datetime import UTC, datetime

import pytest
import structlog

from attendance.errors import Reason
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent, Source
from streams import waiting_by_device
from streams.waiting_by_device import WaitingByDevice
from streams.waiting_table import Origin, WaitingTable

TIME = datetime(2026, 3, 2, 5, tzinfo=UTC)


class World:
    """What waits, and what is shown of it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.waiting = WaitingTable()
        self.by_device = WaitingByDevice(self.metrics, self.waiting, warn_users=2)

    def add(self, device: str, user: str) -> None:
        event = RawEvent(device, "s", user, "IN", TIME, None, "UTC", TIME, Source("push", "json"))
        self.waiting.add(
            event.event_id.encode(),
            0,
            b"{}",
            Origin(),
            event=event,
            reason=Reason.UNMAPPED_USER,
            due=None,
            undecided=False,
        )

    def shown(self) -> dict[str, float]:
        lines = self.metrics.exposition().decode().splitlines()
        return {
            line.split('"')[1]: float(line.split()[-1])
            for line in lines
            if line.startswith("punchstream_waiting_users{")
        }

    def warned(self) -> list[tuple[str, int]]:
        with structlog.testing.capture_logs() as logs:
            self.by_device.show()
        return [(line["device_id"], line["users"]) for line in logs]


@pytest.fixture
def world() -> World:
    return World()


def test_a_device_with_more_unknown_users_than_it_should_have_is_named_once_until_that_is_over(world: World) -> None:
    for user in ("1", "2"):
        world.add("D1", user)
    assert world.warned() == []
    world.add("D1", "3")
    assert world.warned() == [("D1", 3)]
    world.add("D1", "4")
    assert (world.warned(), world.shown()) == ([], {"D1": 4})
    world.waiting.clear()
    assert (world.warned(), world.shown()) == ([], {})
    for user in ("1", "2", "3"):
        world.add("D1", user)
    assert world.warned() == [("D1", 3)]


def test_the_metrics_name_the_devices_with_most_unknown_users_and_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_by_device, "SHOWN", 2)
    for device, users in (("D1", 1), ("D2", 2), ("D3", 1)):
        for user in range(users):
            world.add(device, str(user))
    world.by_device.show()
    assert world.shown() == {"D2": 2, "D1": 1}
    for user in ("8", "9"):
        world.add("D3", user)
    world.by_device.show()
    assert world.shown() == {"D3": 3, "D2": 2}
