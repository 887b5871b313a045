"""Whose entry of the fleet counts, for whoever reads the topic: all of it, or what compaction left."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from memory_log import MemoryLog

from attendance.errors import ConfigurationError
from attendance.fleet_topic import FILE, FleetTopicEntries
from attendance.records.fleet import DevicePause, FleetEntry
from attendance.registry import Registry
from attendance.times import now
from attendance.working_hours import WorkingHours, parse_spans

SHIFT = {"shift_type": "Day", "sites": ["hq"]}
GATE: dict[str, Any] = {"site": "hq", "timezone": "UTC", "serial": "SN1", "adapter": "zkteco_adms"}


def entry(source: str, name: str = "GATE", **fields: Any) -> FleetEntry:
    claim = {each: fields.pop(each) for each in ("claimed", "handed_over") if each in fields}
    return FleetEntry("device", name, source, GATE | fields, "fatima", **claim)


def learned(log: MemoryLog, *, compacted: bool = False) -> FleetTopicEntries:
    entries = FleetTopicEntries()
    records = log.records("fleet")
    newest = {record.key: record.offset for record in records}
    for record in records:
        if not compacted or newest[record.key] == record.offset:
            entries.learn(record)
    return entries


def put(log: MemoryLog, *written: FleetEntry) -> None:
    for each in written:
        log.add("fleet", each.key, each.encode())


def owner(log: MemoryLog, *, compacted: bool = False) -> str | None:
    found = learned(log, compacted=compacted).owned().get(("device", "GATE"))
    return None if found is None else found.entry.source


def test_an_entry_belongs_to_the_source_that_wrote_it_first_also_after_compaction() -> None:
    log = MemoryLog()
    put(log, entry("a"), entry("b"), entry("a", claimed=0, name="GATE"))
    assert [owner(log), owner(log, compacted=True)] == ["a", "a"]


def test_what_was_removed_is_the_next_ones() -> None:
    log = MemoryLog()
    put(log, entry("a"), entry("b"))
    log.add("fleet", entry("a").key, None)
    assert owner(log) == "b"
    put(log, entry("a"))
    assert owner(log) == "b"


def test_the_former_owner_does_not_get_back_what_was_handed_over() -> None:
    log = MemoryLog()
    put(log, entry("a"), entry("b", claimed=0, handed_over=1))
    log.add("fleet", entry("a").key, None)
    put(log, entry("a", claimed=0))  # had read the topic before
    assert [owner(log), owner(log, compacted=True)] == ["b", "b"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
def test_every_reader_ends_with_the_same_whatever_compaction_took(story: list[tuple[str, bool]]) -> None:
    log = MemoryLog()
    for source, removes in story:
        if removes:
            log.add("fleet", entry(source).key, None)
            continue
        before = {each.entry.source: each for each in learned(log).all()}.get(source)
        put(log, entry(source, claimed=None if before is None else before.claimed))
    assert owner(log) == owner(log, compacted=True)


def test_a_record_that_cannot_be_read_changes_nothing() -> None:
    log = MemoryLog()
    put(log, entry("a"))
    log.add("fleet", entry("a").key, b"{")
    log.add("fleet", b"[]", b"{}")
    assert owner(log) == "a"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices.yaml"


def registry(path: Path, log: MemoryLog) -> Registry:
    found = Registry(path, may_be_missing=True)
    for record in log.records("fleet"):
        found.topic.learn(record)
    found.topic.caught_up.set()
    found.refresh()
    return found


def of_file(path: Path, *devices: dict[str, Any], **lists: Any) -> None:
    path.write_text(yaml.safe_dump({"devices": list(devices), **lists}))


def test_with_an_empty_topic_the_file_counts(path: Path) -> None:
    of_file(path, GATE | {"device_id": "GATE"})
    assert [each.device_id for each in registry(path, MemoryLog())] == ["GATE"]


def test_without_a_file_the_topic_counts(path: Path) -> None:
    log = MemoryLog()
    put(log, entry(FILE), entry("approval", "OTHER", serial="SN2"))
    assert [each.device_id for each in registry(path, log)] == ["GATE", "OTHER"]


def test_a_file_is_what_its_process_has_of_the_source_file_and_the_topic_has_the_rest(path: Path) -> None:
    log = MemoryLog()
    put(log, entry(FILE), entry(FILE, "GONE", serial="SN3"), entry("approval", "OTHER", serial="SN2"))
    of_file(path, GATE | {"device_id": "GATE", "direction": "in"}, GATE | {"device_id": "NEW", "serial": "SN4"})
    found = registry(path, log)
    assert {each.device_id: each.direction for each in found} == {
        "GATE": "in",
        "OTHER": "from_device",
        "NEW": "from_device",
    }


def test_what_belongs_to_another_source_is_not_the_files(path: Path) -> None:
    log = MemoryLog()
    put(log, entry("console", direction="out"))
    of_file(path, GATE | {"device_id": "GATE", "direction": "in"})
    found = registry(path, log)
    assert [each.direction for each in found] == ["out"]
    assert found.fleet.problems == (f"{path}:2: GATE: it belongs to the source console, which counts",)


def test_a_shift_waits_for_the_devices_of_the_file_too_where_another_source_has_it(path: Path) -> None:
    log = MemoryLog()
    shift = FleetEntry("shift", "Day", "erpnext", {"sites": ["north"], "attendance": "direct"}, "fatima")
    put(log, entry("erpnext", "NORTH", serial="SN2", site="north"), shift)
    of_file(path, GATE | {"device_id": "GATE"}, shifts=[SHIFT])
    found = registry(path, log)
    assert {each.device_id for each in found.shifts["Day"]} == {"GATE", "NORTH"}
    assert found.direct_shifts.keys() == {"Day"}
    assert found.fleet.problems == (f"{path}:8: Day: it belongs to the source erpnext, which counts",)


def test_a_reading_that_is_not_whole_is_not_taken_up(path: Path) -> None:
    log = MemoryLog()
    put(log, entry("a"))
    found = Registry(path, may_be_missing=True)
    found.topic.learn(log.records("fleet")[0])
    assert not found.refresh()
    found.topic.caught_up.set()
    assert found.refresh()
    assert not found.refresh()
    assert len(found) == 1


@pytest.mark.parametrize("order", [*permutations(["A", "B", "C"])])
def test_of_two_devices_with_one_serial_number_the_first_counts(path: Path, order: tuple[str, ...]) -> None:
    log = MemoryLog()
    put(log, *(entry("approval", name) for name in order))
    assert [each.device_id for each in registry(path, log)] == [order[0]]


def test_a_device_has_the_defaults_of_its_site_and_what_it_says_itself(path: Path) -> None:
    of_file(
        path,
        {"device_id": "A", "site": "hq", "serial": "S1"},
        {"device_id": "B", "site": "hq", "serial": "S2", "direction": "out", "latitude": 1.5, "longitude": 2.5},
        {"device_id": "C", "site": "other", "serial": "S3", "timezone": "UTC"},
        sites=[{"site": "hq", "timezone": "Asia/Riyadh", "direction": "in", "latitude": 24.7, "longitude": 46.6}],
    )
    found = {each.device_id: each for each in Registry(path)}
    assert [(each.timezone, each.direction, each.latitude) for each in found.values()] == [
        ("Asia/Riyadh", "in", 24.7),
        ("Asia/Riyadh", "out", 1.5),
        ("UTC", "from_device", None),
    ]


@pytest.mark.parametrize(
    ("site", "shifts", "hours"),
    [
        ({"working_hours": "sun-thu 07:00-19:00"}, [{"working_hours": "fri 08:00-12:00"}], "sun-thu 07:00-19:00"),
        ({}, [{"working_hours": "fri 08:00-12:00"}, {"working_hours": "sat 08:00-12:00"}], "fri,sat 08:00-12:00"),
        ({}, [{"working_hours": "fri 08:00-12:00"}, {}], None),
        ({}, [], None),
    ],
    ids=["of the site", "of all its shifts", "a shift says none", "nobody says any"],
)
def test_the_working_hours_of_a_device_are_those_of_its_site_or_of_its_shifts(
    path: Path, site: dict[str, Any], shifts: list[dict[str, Any]], hours: str | None
) -> None:
    of_file(
        path,
        {"device_id": "A", "site": "hq", "serial": "S1", "timezone": "Asia/Aden"},
        sites=[{"site": "hq", **site}],
        shifts=[{"shift_type": f"Shift {number}", "devices": ["A"], **each} for number, each in enumerate(shifts)],
    )
    wanted = {} if hours is None else {"A": WorkingHours("Asia/Aden", parse_spans(hours))}
    assert Registry(path).fleet.hours == wanted


def test_working_hours_are_those_of_the_clock_of_the_site(path: Path) -> None:
    of_file(
        path,
        {"device_id": "A", "site": "hq", "serial": "S1", "timezone": "UTC"},
        sites=[{"site": "hq", "timezone": "Asia/Riyadh", "working_hours": "mon  08:00-12:00"}],
    )
    assert Registry(path).fleet.hours["A"].zone == "Asia/Riyadh"
    assert Registry(path).fleet.sites["hq"].working_hours == "mon 08:00-12:00"


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        ("every day", "'every' is none of mon, tue"),
        ({"mon": "07:00-19:00"}, "a text such as sun-thu 07:00-12:00"),
        (420, "a text such as sun-thu 07:00-12:00"),
    ],
)
def test_wrong_working_hours_are_said_with_file_line_and_entry(path: Path, hours: object, said: str) -> None:
    device = {"device_id": "A", "site": "hq", "serial": "S1", "timezone": "UTC"}
    shift = {"shift_type": "Day", "devices": ["A"], "working_hours": hours}
    of_file(path, device, sites=[{"site": "hq", "working_hours": hours}], shifts=[shift])
    with pytest.raises(ConfigurationError) as caught:
        Registry(path)
    for problem, name in zip(str(caught.value).splitlines(), ("hq", "Day"), strict=True):
        assert problem.startswith(f"{path}:")
        assert f": {name}: working_hours: {said}" in problem


def test_a_field_of_a_later_release_is_left_out_and_a_wrong_entry_with_what_needs_it(path: Path) -> None:
    log = MemoryLog()
    shift = FleetEntry("shift", "Day", "a", {"devices": ["WRONG"]}, "fatima")
    put(log, entry("a", colour="red"), entry("a", "WRONG", serial="S2", timezone="Mars"), shift)
    found = registry(path, log)
    assert [each.device_id for each in found] == ["GATE"]
    assert not found.shifts
    assert len(found.fleet.problems) == 2


def pauses(log: MemoryLog, *device_ids: str) -> None:
    for each in device_ids:
        pause = DevicePause(each, now(), "fatima", "moved")
        log.add("fleet", pause.key, pause.encode())


def test_a_device_is_paused_whoever_wrote_its_entry_and_its_shift_waits_for_it(path: Path) -> None:
    log = MemoryLog()
    put(log, entry("a", "TOPIC"))
    pauses(log, "TOPIC", "FILE", "NOWHERE")
    of_file(path, *(GATE | {"device_id": each, "serial": each} for each in ("FILE", "GATE")), shifts=[SHIFT])
    found = registry(path, log)
    assert [each.device_id for each in found if each.paused] == ["TOPIC", "FILE"]
    assert [(each.device_id, bool(each.paused)) for each in found.shifts["Day"]] == [
        ("TOPIC", True),
        ("FILE", True),
        ("GATE", False),
    ]


def test_a_pause_ends_with_a_record_without_a_value(path: Path) -> None:
    log = MemoryLog()
    put(log, entry("a"))
    pauses(log, "GATE")
    log.add("fleet", log.records("fleet")[-1].key, None)
    assert [each.paused for each in registry(path, log)] == [None]


def test_the_terminals_of_a_server_are_paused_with_it_and_not_without_it(path: Path) -> None:
    log = MemoryLog()
    put(log, entry("a", "SERVER", mode="pull"), entry("a", "T1", via="SERVER"), entry("a", "T2", via="OTHER"))
    put(log, entry("a", "OTHER", mode="pull", serial="SN7"))
    pauses(log, "SERVER", "T2")
    assert [each.device_id for each in registry(path, log) if each.paused] == ["SERVER", "T1"]


@pytest.mark.parametrize("given", [True, {"why": "moved"}, "yes"])
def test_no_entry_says_that_its_device_is_paused(path: Path, given: object) -> None:
    of_file(path, GATE | {"device_id": "GATE", "paused": given})
    with pytest.raises(ConfigurationError, match=r"GATE: paused: .*`punchstream fleet pause` does"):
        Registry(path)
