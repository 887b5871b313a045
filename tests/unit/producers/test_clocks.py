"""What is known of devices' clocks, by whichever process; and what they say together of the server's."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from attendance.metrics import Metrics
from attendance.records.device_status import DeviceStatus
from attendance.records.raw_event import RawEvent, Source
from attendance.server_clock import Clock
from producers import clocks as module
from producers.clocks import FEWEST, FRESH_SECONDS, Clocks

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
RIGHT = timedelta()
MOST = [RIGHT] * FEWEST


class Server:
    """A process whose clock may be wrong, and be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.wrong_by = RIGHT
        self.clocks = Clocks(Metrics(), monotonic=lambda: self.seconds)
        monkeypatch.setattr(module, "now", self.now)

    def true(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def now(self) -> datetime:
        return self.true() + self.wrong_by

    def hear(self, *wrong_by: timedelta) -> None:
        """What terminals say, each wrong by so much."""
        for number, wrong in enumerate(wrong_by):
            self.clocks.measured(f"T{number}", self.true() + wrong, self.now())

    def read(self) -> Clock | None:
        return asyncio.run(self.clocks.read())

    def ahead(self) -> float:
        found = self.read()
        assert found is not None
        return found.ahead


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_terminals_that_are_right_say_that_the_server_is_wrong(server: Server) -> None:
    server.wrong_by = -HOUR
    server.hear(*MOST)
    assert server.read() == Clock(f"the median of {FEWEST} terminals", 3600, 5)


def test_no_outlier_changes_what_most_terminals_say(server: Server) -> None:
    server.hear(*MOST, HOUR * 24 * 365 * 20, -HOUR)
    assert server.ahead() == 0


def test_few_terminals_say_nothing(server: Server) -> None:
    server.hear(*[HOUR] * (FEWEST - 1))
    assert server.read() is None


def test_a_clock_of_the_server_that_is_set_is_right_at_once(server: Server) -> None:
    server.wrong_by = HOUR
    server.hear(*MOST)
    server.seconds += 600
    assert server.ahead() == -3600
    server.wrong_by = RIGHT
    assert server.ahead() == 0


def test_what_terminals_said_long_ago_counts_no_more(server: Server) -> None:
    server.hear(*[HOUR] * FEWEST)
    server.seconds += FRESH_SECONDS
    assert server.read() is None


def skews(clocks: Clocks) -> list[int | None]:
    punch = RawEvent("T0", "hq", "7", "IN", NOON, None, "UTC", NOON, Source("push", "json"))
    return [event.clock_skew for event in clocks.with_skew([punch])]


def test_what_another_process_measured_holds_until_something_newer_is_measured(server: Server) -> None:
    clocks = server.clocks
    clocks.learn(DeviceStatus("T0", NOON, clock_skew=3600, clock_measured_at=NOON))
    assert skews(clocks) == [3600]
    # A status that only carries on what was measured before is no news, however new it is.
    clocks.measured("T0", NOON + 2 * SECOND, NOON + 2 * SECOND)
    clocks.learn(DeviceStatus("T0", NOON + 9 * SECOND, clock_skew=3600, clock_measured_at=NOON))
    assert skews(clocks) == [None]
    clocks.learn(DeviceStatus("T0", NOON + 9 * SECOND, clock_skew=-90, clock_measured_at=NOON + 9 * SECOND))
    assert skews(clocks) == [-90]
    clocks.learn(DeviceStatus("T0", NOON + 99 * SECOND))
    assert skews(clocks) == [-90]


def test_a_status_of_an_older_version_was_measured_when_it_was_heard(server: Server) -> None:
    server.clocks.learn(DeviceStatus("T0", NOON, clock_skew=3600))
    assert skews(server.clocks) == [3600]
    server.clocks.learn(DeviceStatus("T0", NOON - SECOND, clock_skew=0))
    assert skews(server.clocks) == [3600]


def test_a_clock_that_is_another_with_every_request_is_logged_once_a_minute_as_it_is(server: Server) -> None:
    with capture_logs() as logs:
        for number in range(1001):
            server.hear(HOUR if number % 2 else -HOUR)
            server.hear(RIGHT)
        server.seconds = 60.0
        server.hear(RIGHT)
    assert [(each["event"], each.get("left_out")) for each in logs] == [
        ("A device's clock is off.", None),
        ("A device's clock is right again.", 2001),
    ]
