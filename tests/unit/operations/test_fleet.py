"""Changes of the fleet topic: the difference, whose an entry is, and what several writers at once come to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from memory_log import MemoryLog

from attendance.errors import ConfigurationError
from attendance.fleet_entries import GivenEntry
from attendance.kafka.records import OutRecord
from attendance.records.fleet import FleetEntry
from operations.fleet import Wanted, changes, edit, move, read_fleet, removes_most, whole_source, write
from operations.log import Send

GATE: dict[str, Any] = {"site": "hq", "timezone": "UTC", "adapter": "zkteco_adms", "serial": "SN1"}


def wanted(source: str, name: str = "GATE", **fields: Any) -> Wanted:
    return Wanted(source, "fatima", {("device", name): GATE | fields})


def do(log: MemoryLog, what: Wanted) -> list[str]:
    async def story() -> list[str]:
        return [str(each) for each in await write(log, what, await read_fleet(log))]

    return asyncio.run(story())


def owned(log: MemoryLog) -> dict[str, tuple[str, Any]]:
    found = asyncio.run(read_fleet(log)).owned().values()
    return {each.entry.name: (each.entry.source, each.entry.fields.get("direction")) for each in found}


class Overtaken(MemoryLog):
    """A log to which somebody else writes right before the first record of a command."""

    def __init__(self, other: Callable[[MemoryLog], object]) -> None:
        super().__init__()
        self._other: Callable[[MemoryLog], object] | None = other

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        async with super().sending() as send:

            async def sent(*records: OutRecord) -> None:
                other, self._other = self._other, None
                if other is not None:
                    other(self)
                await send(*records)

            yield sent


def theirs(log: MemoryLog, source: str, name: str = "GATE", **fields: Any) -> None:
    entry = FleetEntry("device", name, source, GATE | fields, "zoe")
    log.add("fleet", entry.key, entry.encode())


def test_what_is_different_is_said_and_only_that_is_written() -> None:
    log = MemoryLog()
    assert do(log, wanted("file")) == ["+ device GATE"]
    assert do(log, wanted("file", direction="in")) == ["~ device GATE: direction: unset -> in"]
    assert do(log, wanted("file", direction="in")) == []
    assert do(log, Wanted("file", "fatima", {("device", "GATE"): None})) == ["- device GATE"]
    assert (len(log.records("fleet")), owned(log)) == (3, {})


def test_an_entry_of_another_source_is_refused_and_the_source_named() -> None:
    log = MemoryLog()
    do(log, wanted("console"))
    with pytest.raises(
        ConfigurationError, match=r"GATE .*belongs to the source console.*fleet move --source file GATE"
    ):
        do(log, wanted("file", direction="in"))
    assert owned(log) == {"GATE": ("console", None)}


def test_who_comes_second_at_the_same_moment_takes_its_entry_back_and_says_who_was_first() -> None:
    log = Overtaken(lambda log: theirs(log, "console"))
    with pytest.raises(ConfigurationError, match="GATE: the source console has just written it; it was not written"):
        do(log, wanted("file"))
    assert owned(log) == {"GATE": ("console", None)}
    assert [each.entry.source for each in asyncio.run(read_fleet(log)).all()] == ["console"]


def test_of_two_devices_with_one_serial_number_at_the_same_moment_the_second_is_taken_back() -> None:
    log = Overtaken(lambda log: theirs(log, "approval", "OTHER"))
    with pytest.raises(ConfigurationError, match=r"GATE: .*serial SN1 is OTHER's already"):
        do(log, wanted("approval"))
    assert owned(log) == {"OTHER": ("approval", None)}


def test_two_changes_of_one_entry_at_the_same_moment_both_count() -> None:
    log = Overtaken(lambda log: theirs(log, "command", direction="in"))
    theirs(log, "command")
    change = asyncio.run(edit(log, ("device", "GATE"), "command", "fatima", lambda has: {**has, "name": "Main"}))
    assert str(change) == "~ device GATE: name: unset -> Main"
    [entry] = asyncio.run(read_fleet(log)).all()
    assert entry.entry.fields == GATE | {"direction": "in", "name": "Main"}


def test_what_would_make_the_fleet_wrong_is_not_written() -> None:
    log = MemoryLog()
    for what, named in (
        (wanted("file", timezone="Mars"), "timezone"),
        (wanted("file", adapter="abacus"), "abacus"),
        (wanted("file", options={"colour": 1}), "colour"),
        (Wanted("file", "fatima", {("shift", "Day"): {"sites": ["nowhere"]}}), "nowhere"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            do(log, what)
    assert not log.records("fleet")


def test_what_a_source_does_not_have_any_more_goes_in_an_order_that_leaves_no_shift_without_its_devices() -> None:
    log = MemoryLog()

    def given(*kinds: tuple[Any, dict[str, Any]]) -> Wanted:
        entries = [GivenEntry(kind, fields, "f:1", kind) for kind, fields in kinds]
        return whole_source(entries, asyncio.run(read_fleet(log)), "file", "fatima")

    shift = {"shift_type": "Day", "sites": ["hq"]}
    do(log, given(("shift", shift), ("device", GATE | {"device_id": "GATE"}), ("site", {"site": "hq"})))
    do(log, given())
    kinds = [orjson.loads(each.key or b"")[0] for each in log.records("fleet")]
    assert kinds[:4] == ["site", "device", "shift", "shift"]
    assert sorted(kinds[4:]) == ["device", "site"]


@pytest.mark.parametrize(("left", "expected"), [(1, "most"), (2, "half")])
def test_that_more_than_half_would_go_is_noticed(left: int, expected: str) -> None:
    log = MemoryLog()
    for number in range(4):
        do(log, wanted("file", f"GATE-{number}", serial=f"SN{number}"))
    before = asyncio.run(read_fleet(log))
    given = [
        GivenEntry("device", GATE | {"device_id": f"GATE-{each}", "serial": f"SN{each}"}, "f:1", "device 1")
        for each in range(left)
    ]
    found = changes(whole_source(given, before, "file", "fatima"), before)
    assert removes_most(found, before, "file") is (expected == "most")


def test_a_device_that_was_handed_over_is_the_other_sources_and_can_be_changed_by_it_alone() -> None:
    log = MemoryLog()
    do(log, wanted("file"))
    assert asyncio.run(move(log, ["GATE"], "console", "fatima")) == ["GATE"]
    assert asyncio.run(move(log, ["GATE"], "console", "fatima")) == []
    do(log, wanted("console", direction="in"))
    with pytest.raises(ConfigurationError, match="belongs to the source console"):
        do(log, wanted("file", direction="out"))
    asyncio.run(move(log, ["GATE"], "file", "fatima"))
    assert owned(log) == {"GATE": ("file", "in")}
    with pytest.raises(ConfigurationError, match="no such device"):
        asyncio.run(move(log, ["NOWHERE"], "console", "fatima"))
