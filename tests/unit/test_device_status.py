"""What a heartbeat may claim, and its record."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from attendance.device_status import DeviceStatus
from attendance.errors import InvalidRecord
from producers.devices.base import Heard
from producers.status import UNTOLD_CLOCK, heartbeat

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
    assert heartbeat("D1", HEARD, Heard(HEARD + ahead, pending=0)).complete_until == until


def test_a_device_that_does_not_tell_its_time_may_be_behind() -> None:
    assert heartbeat("D1", HEARD, Heard(pending=0)).complete_until == SECOND - UNTOLD_CLOCK


def test_a_claim_is_of_whole_seconds_because_punches_of_the_same_second_may_follow() -> None:
    [until] = {
        heartbeat("D1", HEARD, Heard(HEARD - timedelta(microseconds=n), pending=0)).complete_until for n in range(3)
    }
    assert until == SECOND


@pytest.mark.parametrize(
    "status",
    [
        DeviceStatus("D1", SECOND),
        DeviceStatus("D1", SECOND, SECOND - timedelta(hours=1), pending=0, last_sequence=17),
        DeviceStatus("D1", SECOND, clock_skew=-75, details={"firmware": "3.2.4", "faces": 812}),
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
