"""What a device says of itself: what a heartbeat may claim, what its punches show, and the record."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import orjson
import pytest
from structlog.testing import capture_logs

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.device_status import DeviceStatus, read_status
from attendance.records.raw_event import RawEvent, Source
from producers.devices.common.clocks import ASSUMED_LAG
from producers.devices.contract import DeviceReport
from producers.publisher import Publisher
from producers.status import Statuses, heartbeat, newest
from virtual_time import run_in_virtual_time

HEARD = datetime(2026, 3, 2, 5, 0, 0, 900_000, tzinfo=UTC)
SECOND = HEARD.replace(microsecond=0)


@pytest.mark.parametrize(
    ("ahead", "until"),
    [
        (timedelta(minutes=-10), SECOND - timedelta(minutes=10)),
        (timedelta(minutes=10), SECOND),
    ],
    ids=["its clock is behind", "its clock is ahead"],
)
def test_the_earlier_of_the_two_clocks_counts(ahead: timedelta, until: datetime) -> None:
    assert heartbeat("D1", HEARD, DeviceReport(HEARD + ahead, pending=0)).complete_until == until


def test_a_device_that_does_not_tell_its_time_may_be_behind() -> None:
    assert heartbeat("D1", HEARD, DeviceReport(pending=0)).complete_until == SECOND - ASSUMED_LAG


def test_a_claim_is_of_whole_seconds_because_punches_of_the_same_second_may_follow() -> None:
    [until] = {
        heartbeat("D1", HEARD, DeviceReport(HEARD - timedelta(microseconds=n), pending=0)).complete_until
        for n in range(3)
    }
    assert until == SECOND


@pytest.mark.parametrize(
    "status",
    [
        DeviceStatus("D1", SECOND),
        DeviceStatus("D1", SECOND, SECOND - timedelta(hours=1), pending=0, last_sequence=17),
        DeviceStatus("D1", SECOND, clock_skew=-75, details={"firmware": "3.2.4", "faces": 812}),
        DeviceStatus("D1", SECOND, last_event=SECOND - timedelta(hours=1)),
    ],
)
def test_a_status_decodes_to_what_was_encoded(status: DeviceStatus) -> None:
    assert DeviceStatus.decode(status.encode()) == status
    assert status.key == b"D1"


def test_a_status_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    data = orjson.loads(DeviceStatus("D1", SECOND).encode())
    assert DeviceStatus.decode(orjson.dumps(data | {"storage": 0.3})) == DeviceStatus("D1", SECOND)


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b"{}", b'{"device_id": "", "heard_at": "x", "complete_until": null}']
)
def test_what_is_no_status_is_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord):
        DeviceStatus.decode(value)


def test_a_record_that_is_no_status_is_logged_and_tells_nothing() -> None:
    status = DeviceStatus("D1", SECOND)
    values = (None, b"[]", status.encode())
    with capture_logs() as logs:
        found = [read_status(record(value)) for value in values]
    assert found == [None, None, status]
    assert [(entry["log_level"], entry["key"]) for entry in logs] == [("error", b"D1")]


def event(made: datetime | None) -> RawEvent:
    return RawEvent("D1", "hq", "7", "IN", made, None, "UTC", HEARD, Source("push", "json"))


@pytest.mark.parametrize(
    ("made", "before", "last"),
    [
        ([SECOND - timedelta(hours=2), SECOND - timedelta(hours=1)], None, SECOND - timedelta(hours=1)),
        ([SECOND - timedelta(hours=2)], SECOND - timedelta(hours=1), SECOND - timedelta(hours=1)),
        ([SECOND + timedelta(days=900)], None, SECOND),
        ([None], None, SECOND),
        ([], None, None),
        ([], SECOND, SECOND),
    ],
    ids=["the newest", "an old one comes late", "its clock is ahead", "no time", "none", "none now"],
)
def test_the_last_event_is_the_newest_and_never_in_the_future(
    made: list[datetime | None], before: datetime | None, last: datetime | None
) -> None:
    assert newest([event(each) for each in made], before) == last


class Wire:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.reported: list[DeviceStatus] = []

    async def report(self, *statuses: DeviceStatus) -> None:
        self.reported += statuses


def record(value: bytes | None) -> Record:
    return cast("Record", SimpleNamespace(key=b"D1", value=value))


def test_a_process_that_begins_anew_knows_what_the_device_told_another_one() -> None:
    wire = Wire()
    statuses = Statuses(cast("Publisher", wire))
    newest = DeviceStatus("D1", SECOND, SECOND, 0, 17, 3, {"firmware": "3.2.4"}, SECOND - timedelta(hours=1))
    statuses.apply(record(newest.encode()))
    statuses.apply(record(None))
    statuses.apply(record(b"{}"))
    statuses.apply(record(DeviceStatus("D1", SECOND - timedelta(days=1)).encode()))
    statuses.punched("D1", SECOND + timedelta(seconds=59), [])
    asyncio.run(statuses.report("D1", SECOND + timedelta(seconds=59), DeviceReport()))
    assert wire.reported == []
    asyncio.run(statuses.report("D1", SECOND + timedelta(seconds=60), DeviceReport()))
    (status,) = wire.reported
    assert (status.details, status.clock_skew, status.last_event) == (newest.details, 3, newest.last_event)


def test_what_a_device_said_to_us_stands_beside_what_another_process_was_answered() -> None:
    wire = Wire()
    statuses = Statuses(cast("Publisher", wire))
    asyncio.run(statuses.report("D1", SECOND, DeviceReport(details={"zone": "differs", "settings": "differs"})))
    asked = DeviceStatus("D1", SECOND + timedelta(seconds=30), details={"settings": "as wanted"})
    statuses.apply(record(asked.encode()))
    asyncio.run(statuses.report("D1", SECOND + timedelta(seconds=95), DeviceReport()))
    assert wire.reported[-1].details == {"zone": "differs", "settings": "as wanted"}


def test_the_last_punches_before_a_device_is_silent_are_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would be said for the whole night that it was heard from, and had its last punch, before them."""
    wire = Wire()

    async def evening() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("producers.status.now", lambda: HEARD + timedelta(seconds=loop.time()))
        statuses = Statuses(cast("Publisher", wire))
        keeping = asyncio.ensure_future(statuses.keep())
        for second in (0, 5, 20):
            await asyncio.sleep(second - loop.time())
            arrived = HEARD + timedelta(seconds=second)
            statuses.punched("D1", arrived, [event(SECOND - timedelta(seconds=60 - second))])
        await asyncio.sleep(600)
        keeping.cancel()

    run_in_virtual_time(evening())
    assert [(each.heard_at, each.last_event) for each in wire.reported] == [
        (HEARD, SECOND - timedelta(seconds=60)),
        (HEARD + timedelta(seconds=20), SECOND - timedelta(seconds=40)),
    ]
