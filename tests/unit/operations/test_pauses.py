"""Pauses: who may be paused, what is written, and what ends them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from memory_log import MemoryLog

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from operations.fleet import read_fleet, write
from operations.fleet_plan import Wanted
from operations.pauses import pause, resume

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)


def device(name: str, **fields: Any) -> Device:
    return Device.model_validate({"device_id": name, "site": "hq", "timezone": "UTC", "mode": "pull", **fields})


FLEET = [device("GATE"), device("DOOR"), device("T1", via="GATE", serial="S1"), device("STICK", mode="file")]


def paused(log: MemoryLog, *names: str, why: str = "moved") -> list[str]:
    return asyncio.run(pause(log, FLEET, names, by="fatima", why=why, at=AT))


def of_topic(log: MemoryLog) -> dict[str, tuple[str, str]]:
    found = asyncio.run(read_fleet(log)).pauses()
    return {name: (each.by, each.why) for name, each in found.items()}


def test_devices_are_paused_once_and_resumed() -> None:
    log = MemoryLog()
    assert paused(log, "GATE", "GATE") == ["GATE"]
    assert paused(log, "GATE", "DOOR", why="painted ") == ["DOOR"]
    assert of_topic(log) == {"GATE": ("fatima", "moved"), "DOOR": ("fatima", "painted")}
    assert asyncio.run(resume(log, ["GATE", "T1", "GATE"])) == ["GATE"]
    assert of_topic(log).keys() == {"DOOR"}


@pytest.mark.parametrize(
    ("names", "why", "problem"),
    [
        (["GATE", "GAET"], "moved", "GAET is not in the fleet"),
        (["T1"], "moved", "GATE holds its records"),
        (["STICK"], "moved", "nothing to pause"),
        (["GATE"], " ", "needs a reason"),
    ],
)
def test_of_devices_that_cannot_all_be_paused_none_is(names: list[str], why: str, problem: str) -> None:
    log = MemoryLog()
    with pytest.raises(ConfigurationError, match=problem):
        paused(log, *names, why=why)
    assert not log.records("fleet")


def test_a_device_that_is_removed_is_not_paused_when_it_is_added_again() -> None:
    log = MemoryLog()
    entry = {"site": "hq", "timezone": "UTC", "adapter": "zkteco_adms", "serial": "S2"}

    async def written(fields: dict[str, str] | None) -> None:
        await write(log, Wanted("command", "zoe", {("device", "GATE"): fields}), await read_fleet(log))

    asyncio.run(written(entry))
    paused(log, "GATE")
    asyncio.run(written(None))
    assert not of_topic(log)
