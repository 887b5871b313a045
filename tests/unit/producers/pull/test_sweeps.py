"""When a device is swept."""

from datetime import timedelta

import pytest

from producers.pull.sweeps import last_night
from pulling import (
    BEGIN,
    device,
)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Pacific/Kiritimati", "America/New_York", "Pacific/Pago_Pago"])
def test_the_last_night_is_over_and_not_a_day_ago(zone: str) -> None:
    for hours in range(0, 24 * 400, 7):  # over every change of clocks
        now = BEGIN + timedelta(hours=hours)
        night = last_night(device(timezone=zone), now)
        assert timedelta() <= now - night <= timedelta(hours=25)


def test_devices_have_nights_of_their_own() -> None:
    nights = {last_night(device(f"D{number}"), BEGIN) for number in range(100)}
    assert len(nights) > 90
    assert {night.hour for night in nights} == {1, 2, 3, 4}
