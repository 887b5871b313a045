"""The fleet file is changed by commands, and keeps what it has."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from attendance.errors import ConfigurationError
from attendance.fleet_file import load
from attendance.registry import Registry
from operations import fleet_file
from operations.fleet_file import add_entry, set_addresses

ENTRY: dict[str, Any] = {
    "device_id": "GATE-2",
    "site": "hq",
    "timezone": "UTC",
    "mode": "push",
    "adapter": "zkteco_adms",
    "serial": "SN2",
}
GATE = "device_id: GATE-1\n  site: hq  # the old one\n  timezone: UTC\n  serial: SN1\n  adapter: zkteco_adms\n"


@pytest.mark.parametrize(
    "before",
    [
        "",
        f"# Our fleet\n- {GATE}",
        f"- {GATE}".rstrip(),
        "devices:\n- " + GATE,
        "devices:\n  - " + GATE.replace("\n", "\n  ").rstrip() + "\n",
        "shifts: []\ndevices:\n# all\n- " + GATE,
    ],
)
def test_an_entry_is_added_and_the_file_keeps_what_it_has(tmp_path: Path, before: str) -> None:
    file = tmp_path / "devices.yaml"
    if before:
        file.write_text(before)
    add_entry(file, ENTRY)
    assert file.read_text().startswith(before)
    assert load(file)["GATE-2"].serial == "SN2"
    assert len(Registry(file)) == (2 if before else 1)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_linked_to_stays_where_it_is(tmp_path: Path) -> None:
    file, link = tmp_path / "shared" / "fleet.yaml", tmp_path / "devices.yaml"
    file.parent.mkdir()
    file.write_text(f"# Größe\n- {GATE}", encoding="utf-8")
    link.symlink_to(file)
    add_entry(link, ENTRY)
    assert link.is_symlink()
    assert set(load(file)) == {"GATE-1", "GATE-2"}


@pytest.mark.parametrize(
    ("before", "entry"),
    [
        (f"- {GATE}", {"device_id": "GATE-1"}),
        (f"- {GATE}", {"serial": "SN1"}),
        (f"- {GATE}", {"timezone": "Mars/Olympus"}),
        ("devices:\n- " + GATE + "shifts: []\n", {}),
    ],
)
def test_a_file_that_would_be_wrong_is_left_as_it_is(tmp_path: Path, before: str, entry: dict[str, str]) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(before)
    with pytest.raises(ConfigurationError, match=r"devices\.yaml"):
        add_entry(file, ENTRY | entry)
    assert file.read_text() == before
    assert list(tmp_path.iterdir()) == [file]


def test_commands_that_run_at_once_lose_no_entry(tmp_path: Path) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(f"- {GATE}")

    def add(number: int) -> None:
        add_entry(file, ENTRY | {"device_id": f"D{number}", "serial": f"S{number}"})

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(add, range(24)))

    assert load(file).keys() == {"GATE-1", *(f"D{number}" for number in range(24))}


def test_the_file_keeps_its_owner_and_its_rights(tmp_path: Path) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(f"- {GATE}")
    file.chmod(0o640)
    owner = (1234, 2345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *owner)

    add_entry(file, ENTRY)

    status = file.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (*owner, 0o640)


def test_a_file_whose_owner_cannot_be_kept_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(f"- {GATE}")

    def not_permitted(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    made_by_another = os.stat_result((0o100600, 1, 1, 1, 4321, 4321, 9, 1, 1, 1))
    monkeypatch.setattr(fleet_file.os, "fstat", lambda _: made_by_another)
    monkeypatch.setattr(fleet_file.os, "fchown", not_permitted)

    with pytest.raises(ConfigurationError, match=r"devices\.yaml: cannot be written: Operation not permitted"):
        add_entry(file, ENTRY)
    assert file.read_text() == f"- {GATE}"
    assert list(tmp_path.iterdir()) == [file]


def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(f"- {GATE}")

    def read_only(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(fleet_file, "_write", read_only)

    with pytest.raises(ConfigurationError) as caught:
        add_entry(file, ENTRY)
    assert str(caught.value) == f"{file}: cannot be written: Read-only file system"
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        add_entry(tmp_path / "no" / "devices.yaml", ENTRY)


def test_what_an_editor_saves_meanwhile_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(f"- {GATE}")
    write = fleet_file._write

    def slow(new: Path, *given: Any) -> None:
        write(new, *given)
        file.write_text(f"- {GATE}  disabled: true\n")

    monkeypatch.setattr(fleet_file, "_write", slow)

    with pytest.raises(ConfigurationError, match="somebody else has just changed it"):
        add_entry(file, ENTRY)
    assert load(file)["GATE-1"].disabled


OTHER = "- device_id: GATE-10\n  site: hq\n  timezone: UTC\n  serial: SN10\n  adapter: zkteco_adms\n"


@pytest.mark.parametrize(
    "before",
    [
        f"- {GATE}{OTHER}",
        f"{OTHER}- {GATE}".rstrip(),
        f"{OTHER}- {GATE}  addresses: 10.9.0.0/16  # old\n  name: Gate\n",
        f"- {GATE}  addresses:\n    - 10.9.0.0/16\n    - 10.8.0.0/16\n  name: Gate\n{OTHER}",
        f"- {GATE}  addresses:\n  - 10.9.0.0/16\n  - 10.8.0.0/16\n  name: Gate\n{OTHER}",
        "devices:\n  - " + GATE.replace("\n", "\n  ").rstrip() + "\n\n  # the next\n  - device_id: B\n    site: hq\n"
        "    timezone: UTC\n    serial: B1\nshifts: []\n",
    ],
)
def test_the_addresses_of_an_entry_are_set_and_nothing_else_changes(tmp_path: Path, before: str) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(before)
    devices = load(file)

    set_addresses(file, devices["GATE-1"], ["10.2.0.7/32", "2001:db8::/64"])

    gate = devices["GATE-1"].model_copy(update={"addresses": ("10.2.0.7/32", "2001:db8::/64")})
    assert load(file) == devices | {"GATE-1": gate}
    assert "# the old one" in file.read_text()
    assert ("# the next" in before) == ("# the next" in file.read_text())


def test_an_entry_in_a_form_that_cannot_be_changed_is_left_to_a_person(tmp_path: Path) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text("- {device_id: GATE-1, site: hq, timezone: UTC, serial: SN1, adapter: zkteco_adms}\n")

    with pytest.raises(
        ConfigurationError, match=r"GATE-1: write into its entry by hand: addresses: \['10\.2\.0\.7/32'\]"
    ):
        set_addresses(file, load(file)["GATE-1"], ["10.2.0.7/32"])
