"""The fleet file: the fleet as every stage reads it."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from itertools import count
from pathlib import Path

import pytest
import yaml

from attendance.errors import ConfigurationError
from attendance.fleet import Device, hash_token
from attendance.fleet_file import load
from attendance.registry import Registry

TOKEN = "a token of some length"

ENTRY = {"device_id": "riyadh-01", "site": "riyadh", "timezone": "Asia/Riyadh", "token_sha256": hash_token(TOKEN)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices.yaml"


def write(path: Path, *entries: object) -> Path:
    path.write_text(yaml.safe_dump(list(entries)))
    return path


def test_an_entry_with_no_more_than_it_needs_has_the_documented_defaults(path: Path) -> None:
    device = load(write(path, ENTRY))["riyadh-01"]
    assert (device.mode, device.adapter, device.direction, device.checkin_time) == (
        "push",
        "json",
        "from_device",
        "erpnext_zone",
    )
    assert (device.installed_on, device.disabled) == (None, False)


def test_every_field_is_read(path: Path) -> None:
    entry = ENTRY | {
        "name": "Main gate",
        "mode": "pull",
        "adapter": "zk",
        "host": "10.0.0.7",
        "port": 4370,
        "credentials": {"password": "ZK_PASSWORD"},
        "direction": "in",
        "checkin_time": "device_local",
        "latitude": -33.4569,
        "longitude": -70,
        "installed_on": date(2025, 5, 1),
        "disabled": True,
    }
    assert load(write(path, entry)) == {"riyadh-01": Device.model_validate(entry)}


def test_an_interval_is_a_number_of_seconds_or_has_a_unit(path: Path) -> None:
    plain = ENTRY | {"interval": 300}
    with_unit = ENTRY | {"device_id": "riyadh-02", "token_sha256": hash_token("another"), "interval": "5 min"}
    assert [device.interval for device in load(write(path, plain, with_unit)).values()] == [300, 300]


def test_the_list_may_stand_under_the_word_devices(path: Path) -> None:
    path.write_text(yaml.safe_dump({"devices": [ENTRY]}))
    assert list(load(path)) == ["riyadh-01"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"device_id": "with a space"}, "device_id"),
        ({"device_id": "x" * 101}, "device_id"),
        ({"device_id": "a|b"}, "device_id"),
        ({"device_id": 1042}, "device_id"),
        ({"site": ""}, "site"),
        ({"timezone": "Riyadh"}, "timezone"),
        ({"mode": "carrier pigeon"}, "mode"),
        ({"port": 0}, "port"),
        ({"port": True}, "port"),
        ({"interval": True}, "interval"),
        ({"interval": -60}, "interval"),
        ({"interval": 0}, "interval"),
        *[
            ({"host": host}, "host")
            for host in ("", " ", "http://10.0.0.7", "10.0.0.7:80", "10.0.0.7/", "10.0.0.777", "a b", "user@gate", "-")
        ],
        ({"token_sha256": TOKEN}, "token_sha256"),
        ({"token_sha256": None}, "token_sha256"),
        ({"direction": "sideways"}, "direction"),
        ({"checkin_time": "utc"}, "checkin_time"),
        ({"installed_on": "once"}, "installed_on"),
        ({"latitude": 24.7}, "longitude"),
        ({"longitude": 46.7}, "latitude"),
        ({"latitude": 90.5, "longitude": 46.7}, "latitude"),
        ({"latitude": 24.7, "longitude": -180.1}, "longitude"),
        ({"latitude": float("nan"), "longitude": 46.7}, "latitude"),
        ({"latitude": True, "longitude": 46.7}, "latitude"),
        ({"latitude": 0, "longitude": 0.0}, "0, 0"),
        ({"token": TOKEN}, "token"),
    ],
)
def test_a_wrong_entry_is_named_by_file_line_device_and_field(
    path: Path, change: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(path, ENTRY | {"device_id": "other"}, ENTRY | change))
    [line] = [number for number, text in enumerate(path.read_text().splitlines(), start=1) if text[0] == "-"][1:]
    assert str(caught.value).startswith(f"{path}:{line}: ")
    entry = ENTRY | change
    assert (entry["device_id"] if isinstance(entry["device_id"], str) else "device 2") in str(caught.value)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("host", ["10.0.0.7", "fe80::1", "gate", "gate-2.example", "GATE_2", "4.gates", "بوابة"])
def test_a_host_is_a_name_or_an_address(path: Path, host: str) -> None:
    assert load(write(path, ENTRY | {"host": host}))["riyadh-01"].host == host


@pytest.mark.parametrize(
    "twice", ["  timezone: UTC", "  options: {tls: true, tls: false}", "  options: {a: {1: x, 1: y}}"]
)
def test_a_key_that_is_given_twice_is_refused(path: Path, twice: str) -> None:
    path.write_text(f"- device_id: a\n  site: hq\n  timezone: Asia/Riyadh\n  serial: A1\n{twice}\n")
    with pytest.raises(ConfigurationError, match="is given twice"):
        load(path)


def test_an_entry_may_have_what_another_has_and_say_some_of_it_otherwise(path: Path) -> None:
    path.write_text(
        "- &a {device_id: a, site: hq, timezone: UTC, serial: A1}\n- &b {<<: *a, device_id: b, serial: B1}\n"
        "- {<<: *b, device_id: c, timezone: Asia/Riyadh, serial: C1}\n"
    )
    assert {each.device_id: each.timezone for each in load(path).values()} == {
        "a": "UTC",
        "b": "UTC",
        "c": "Asia/Riyadh",
    }


def test_a_device_that_is_there_twice_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="riyadh-01: riyadh-01 is there twice"):
        load(write(path, ENTRY, ENTRY))


@pytest.mark.parametrize(
    "content",
    [b"", b"devices:", b"a: b", b"- [", b"'text'", b"\xff\xfe\x00", b"- installed_on: 2026-02-30", b"- a"],
)
def test_a_file_that_is_no_list_of_devices_is_refused_in_one_line_that_names_it(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_is_refused_by_the_name_of_the_setting(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PUNCHSTREAM_DEVICES"):
        Registry(path)


def minutes() -> Callable[[], float]:
    """A clock that is minutes further each time it is looked at."""
    return count(0, 100).__next__


def take_up(registry: Registry) -> bool:
    """Look twice."""
    return registry.refresh() or registry.refresh()


def test_a_changed_file_is_taken_up(path: Path) -> None:
    registry = Registry(write(path, ENTRY), minutes())
    assert not registry.refresh()
    write(path, ENTRY, ENTRY | {"device_id": "riyadh-02"})
    assert take_up(registry)
    assert [device.device_id for device in registry] == ["riyadh-01", "riyadh-02"]
    assert len(registry) == 2
    assert registry.get("riyadh-02") is not None
    assert registry.get("riyadh-03") is None


@pytest.mark.parametrize("content", ["- [", "- {}", "", "- installed_on: 2026-02-30"])
def test_while_the_file_is_wrong_the_last_good_fleet_stays(path: Path, content: str) -> None:
    registry = Registry(write(path, ENTRY), minutes())
    path.write_text(content)
    assert not take_up(registry)
    assert registry.get("riyadh-01") is not None
    write(path, ENTRY | {"device_id": "riyadh-02"})
    assert take_up(registry)
    assert [device.device_id for device in registry] == ["riyadh-02"]


def test_while_the_file_is_gone_the_last_good_fleet_stays(path: Path) -> None:
    registry = Registry(write(path, ENTRY), minutes())
    path.unlink()
    assert not take_up(registry)
    assert len(registry) == 1
    write(path, ENTRY)
    assert take_up(registry)


def with_shifts(path: Path, *shifts: object) -> Path:
    other = ENTRY | {"device_id": "jeddah-01", "site": "jeddah"}
    devices = [ENTRY, other, other | {"device_id": "jeddah-02", "disabled": True}]
    path.write_text(yaml.safe_dump({"devices": devices, "shifts": list(shifts)}))
    return path


def test_a_shift_has_the_devices_that_it_names_and_those_of_its_sites_without_the_disabled_ones(path: Path) -> None:
    registry = Registry(
        with_shifts(
            path,
            {"shift_type": "Day Shift", "devices": ["riyadh-01"], "sites": ["jeddah"]},
            {"shift_type": "Night Shift", "sites": ["jeddah"]},
        )
    )
    members = {shift: [device.device_id for device in devices] for shift, devices in registry.shifts.items()}
    assert members == {"Day Shift": ["riyadh-01", "jeddah-01"], "Night Shift": ["jeddah-01"]}


def test_a_shift_may_ask_for_attendance_directly(path: Path) -> None:
    entry = {"shift_type": "Day", "sites": ["jeddah"], "attendance": "direct", "half_day_below": "4 h"}
    registry = Registry(with_shifts(path, entry, {"shift_type": "Night", "sites": ["jeddah"]}))
    assert registry.shifts.keys() == {"Day", "Night"}
    assert registry.direct_shifts.keys() == {"Day"}
    assert (registry.direct_shifts["Day"].half_day_below, registry.direct_shifts["Day"].one_punch) == (4 * 3600, "none")


def test_a_file_without_shifts_has_none(path: Path) -> None:
    assert not Registry(write(path, ENTRY)).shifts


@pytest.mark.parametrize(
    ("shift", "named"),
    [
        ({"shift_type": "Day", "devices": ["riyadh-99"]}, "no such device or site: riyadh-99"),
        ({"shift_type": "Day", "sites": ["mecca"]}, "no such device or site: mecca"),
        ({"shift_type": "Day"}, "Day has no device"),
        ({"shift_type": "Day", "devices": ["jeddah-02"]}, "Day has no device"),
        ({"shift_type": "Night", "sites": ["jeddah"]}, "Night is there twice"),
        ({"sites": ["jeddah"]}, "shift_type"),
        ({"shift_type": "Day", "site": "jeddah"}, "site"),
        ("Day", "shift 2"),
        ({"shift_type": "Day", "sites": ["jeddah"], "attendance": "both"}, ": Day: attendance"),
        (
            {"shift_type": "Day", "sites": ["jeddah"], "half_day_below": "4 h"},
            ": Day: half_day_below",
        ),
        *(
            ({"shift_type": "Day", "sites": ["jeddah"], "attendance": "direct", **wrong}, f": Day: {field}")
            for field, wrong in (
                # YAML reads 4:00 as 240: minutes, or seconds.
                ("half_day_below", {"half_day_below": 240}),
                ("half_day_below", {"half_day_below": "25 h"}),
                ("one_punch", {"one_punch": "absent"}),
                ("attendance_from", {"attendance_from": "soon"}),
            )
        ),
    ],
)
def test_a_wrong_shift_is_named_by_file_line_name_and_cause(path: Path, shift: object, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Registry(with_shifts(path, {"shift_type": "Night", "sites": ["jeddah"]}, shift))
    assert re.match(rf"{path}:\d+: (Day|Night|shift 2): ", str(caught.value))
    assert named in str(caught.value)


def test_shifts_are_taken_up_with_a_changed_file_and_stay_while_it_is_wrong(path: Path) -> None:
    registry = Registry(write(path, ENTRY), minutes())
    with_shifts(path, {"shift_type": "Day", "sites": ["jeddah"]})
    assert take_up(registry)
    with_shifts(path, {"shift_type": "Day", "sites": []})
    assert not take_up(registry)
    assert list(registry.shifts) == ["Day"]


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def fleet_of(number: int) -> list[dict[str, object]]:
    return [ENTRY | {"device_id": f"gate-{each:02}", "direction": "in"} for each in range(number)]


def writers(path: Path, content: bytes) -> Iterator[bytes]:
    """What a file has at each look while it is written in three parts, or over a link that stops at each."""
    for part in (len(content) // 3, 2 * len(content) // 3, len(content)):
        with path.open("wb") as file:
            file.write(content[:part])
        yield content[:part]


def test_a_file_that_is_written_in_parts_is_taken_up_when_all_of_it_is_there(path: Path) -> None:
    registry = Registry(write(path, *fleet_of(6)), Clock())
    content = yaml.safe_dump(fleet_of(9)).encode()

    seen = []
    for _ in writers(path, content):
        registry.refresh()
        seen.append(len(registry))
    registry.refresh()

    assert (seen, len(registry)) == ([6, 6, 6], 9)


@pytest.mark.parametrize("size", range(1, 40))
def test_whatever_part_of_a_file_is_there_for_some_seconds_no_device_and_no_word_of_an_entry_is_lost(
    path: Path, size: int
) -> None:
    clock = Clock()
    registry = Registry(write(path, *fleet_of(9)), clock)
    before, content = list(registry), path.read_bytes()

    path.write_bytes(content[: size * len(content) // 40])
    for clock.seconds in range(9):
        registry.refresh()

    assert list(registry) == before
    path.write_bytes(content)
    assert take_up(registry)
    assert list(registry) == before


def test_devices_that_are_missing_for_long_are_gone_the_sooner_the_fewer_they_are(path: Path) -> None:
    clock = Clock()
    registry = Registry(write(path, *fleet_of(9)), clock)

    found = []
    for left in (8, 1):
        write(path, *fleet_of(9)[-left:])
        for _ in range(120):
            clock.seconds += 1
            if registry.refresh():
                break
        found.append((clock.seconds, len(registry)))

    assert found == [(11, 8), (72, 1)]


def test_a_device_that_is_disabled_or_changed_is_so_at_the_second_look(path: Path) -> None:
    registry = Registry(write(path, *fleet_of(9)), Clock())
    entries = fleet_of(9)
    entries[3] |= {"disabled": True}

    write(path, *entries)

    assert [registry.refresh(), registry.refresh()] == [False, True]
    assert [each.device_id for each in registry if each.disabled] == ["gate-03"]


def test_a_file_that_was_put_there_by_rename_or_by_a_link_is_taken_up(path: Path, tmp_path: Path) -> None:
    registry = Registry(write(path, ENTRY), Clock())

    beside = write(tmp_path / "new.yaml", ENTRY, ENTRY | {"device_id": "b"})
    beside.replace(path)
    assert take_up(registry)
    write(tmp_path / "third.yaml", ENTRY, ENTRY | {"device_id": "b"}, ENTRY | {"device_id": "c"})
    with suppress(FileNotFoundError):
        path.unlink()
    path.symlink_to(tmp_path / "third.yaml")
    assert take_up(registry)
    assert len(registry) == 3
