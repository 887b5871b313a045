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
from operations.fleet import edit, move, read_fleet, write, write_planned
from operations.fleet_plan import About, Change, Wanted, plan_source, removes_most
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
        ConfigurationError,
        match=r"GATE: it belongs to the source console .the console.; .*fleet move --source file GATE",
    ):
        do(log, wanted("file", direction="in"))
    assert owned(log) == {"GATE": ("console", None)}


def test_who_comes_second_at_the_same_moment_takes_its_entry_back_and_says_who_was_first() -> None:
    log = Overtaken(lambda log: theirs(log, "console"))
    with pytest.raises(
        ConfigurationError, match=r"GATE: the source console .the console. has just written it; it was not written"
    ):
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
    named = asyncio.run(edit(log, [("device", "GATE")], "command", "fatima", lambda _, has: {**has, "name": "Main"}))
    assert list(map(str, named)) == ["~ device GATE: name: unset -> Main"]
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

    def apply(*kinds: tuple[Any, dict[str, Any]]) -> None:
        entries = [GivenEntry(kind, fields, "f:1", kind) for kind, fields in kinds]
        before = asyncio.run(read_fleet(log))
        what, found = plan_source(entries, before, "file", "fatima")
        asyncio.run(write_planned(log, what, before, found))

    shift = {"shift_type": "Day", "sites": ["hq"]}
    apply(("shift", shift), ("device", GATE | {"device_id": "GATE"}), ("site", {"site": "hq"}))
    apply()
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
    _, found = plan_source(given, before, "file", "fatima")
    assert removes_most(found, before, "file") is (expected == "most")


def test_a_device_that_was_handed_over_is_the_other_sources_and_can_be_changed_by_it_alone() -> None:
    log = MemoryLog()
    do(log, wanted("file"))
    gate: list[About] = [("device", "GATE")]
    moved = Change("moved", "device", "GATE", (("source", "file", "console"),))
    assert asyncio.run(move(log, gate, "console", "fatima")) == [moved]
    assert asyncio.run(move(log, gate, "console", "fatima")) == []
    do(log, wanted("console", direction="in"))
    with pytest.raises(ConfigurationError, match="belongs to the source console"):
        do(log, wanted("file", direction="out"))
    asyncio.run(move(log, gate, "file", "fatima"))
    assert owned(log) == {"GATE": ("file", "in")}
    with pytest.raises(ConfigurationError, match="no such device"):
        asyncio.run(move(log, [("device", "NOWHERE")], "console", "fatima"))


def test_a_site_that_devices_name_stays_and_of_two_at_the_same_moment_too() -> None:
    site: dict[About, Any] = {("site", "hq"): {"timezone": "UTC", "direction": "in"}}
    gone = Wanted("command", "fatima", {("site", "hq"): None})
    log = MemoryLog()
    do(log, Wanted("command", "fatima", site))
    do(log, wanted("approval"))
    with pytest.raises(ConfigurationError, match="site hq: devices still name it: GATE"):
        do(log, gone)
    overtaken = Overtaken(lambda log: theirs(log, "approval"))
    entry = FleetEntry("site", "hq", "command", site["site", "hq"], "fatima")
    overtaken.add("fleet", entry.key, entry.encode())
    with pytest.raises(ConfigurationError, match="site hq: devices still name it: GATE; it was not removed"):
        do(overtaken, gone)
    assert owned(overtaken)["hq"] == ("command", "in")


def test_a_site_goes_with_its_devices_and_where_they_have_its_fields_themselves() -> None:
    log = MemoryLog()
    do(log, Wanted("file", "fatima", {("site", "hq"): {"direction": "in"}}))
    do(log, wanted("file"))
    before = asyncio.run(read_fleet(log))
    given = [GivenEntry("device", GATE | {"device_id": "GATE", "direction": "in"}, "f:1", "device 1")]
    _, found = plan_source(given, before, "file", "fatima")
    assert list(map(str, found)) == ["- site hq", "~ device GATE: direction: unset -> in"]


def test_everything_that_is_wrong_with_the_entries_of_a_source_is_said_at_once_with_its_place() -> None:
    log = MemoryLog()
    do(log, Wanted("central", "zoe", {("site", "hq"): {"timezone": "UTC"}}))
    do(log, wanted("erpnext", "TAKEN", serial="SN9"))
    rows: list[dict[str, Any]] = [
        {"device_id": "GOOD", "site": "hq", "adapter": "zkteco_adms", "serial": "SN2"},
        GATE | {"device_id": "TAKEN"},
        GATE | {"device_id": "LIKE-TAKEN", "serial": "SN9"},
        GATE | {"device_id": "ZONE", "serial": "SN3", "timezone": "Mars", "port": 0},
        GATE | {"device_id": "OPTION", "serial": "SN4", "options": {"colour": 1}},
        GATE | {"device_id": "GOOD", "serial": "SN5"},
        GATE | {"device_id": 7},
    ]
    entries = [GivenEntry("device", row, f"f:{line}", f"device {line}") for line, row in enumerate(rows, start=1)]
    with pytest.raises(ConfigurationError) as caught:
        plan_source(entries, asyncio.run(read_fleet(log)), "file", "fatima", ["g.csv: not CSV in UTF-8"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "g.csv: not CSV in UTF-8"
    assert sorted((line.split(": ")[:3]) for line in lines[1:]) == [
        [
            "f:2",
            "TAKEN",
            "it belongs to the source erpnext (ERPNext); `punchstream fleet move --source file TAKEN` hands it over",
        ],
        ["f:3", "LIKE-TAKEN", "serial SN9 is TAKEN's already"],
        ["f:4", "ZONE", "port"],
        ["f:4", "ZONE", "timezone"],
        ["f:5", "OPTION", "options.colour"],
        ["f:6", "GOOD", "GOOD is there twice; first"],
        ["f:7", "device 7", "device_id"],
    ]
