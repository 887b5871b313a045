"""The devices of ERPNext's desk, as they become entries of the fleet."""

import asyncio
from typing import Any

import pytest
import structlog
from memory_log import MemoryLog

from attendance.errors import (
    AccessDenied,
    ConfigurationError,
    DocumentRejected,
    KafkaUnavailable,
    PermissionDenied,
    TargetUnavailable,
)
from attendance.fleet import hash_token
from attendance.fleet_topic import COMMAND, ERPNEXT
from attendance.records.fleet import FleetKey
from attendance.settings import DirectorySettings
from attendance.topics import Name
from attendance.wire import encode_json
from operations.desk_fleet import DEVICE, FIELDS, DeskFleet, read_device
from operations.desk_shifts import SHIFTS, DeskShifts
from operations.fleet import read_fleet, write
from operations.fleet_plan import Wanted
from producers.directory.desk import DeskList
from producers.directory.documents import SUMMARY, DocumentReader

EMPTY: dict[str, Any] = (
    dict.fromkeys(FIELDS)
    | {"mode": "PUSH", "disabled": 0, "port": 0, "latitude": 0.0}
    | {
        "longitude": 0.0,
        "direction": "",
        "adapter": "json",
    }
)
MINUTE, HOUR = 60.0, 3600.0


class FakeDesk:
    """An ERPNext with devices, or without the app."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Any]] | None = {}
        # None in a release of the app that knows nothing of shifts.
        self.shifts: dict[str, dict[str, Any]] | None = {}
        self.shifts_failure: Exception | None = None
        self.answer: dict[str, object] | None = None
        self.changes = 0
        self.requests = 0
        self.failure: Exception | None = None

    def save(self, name: str, **fields: Any) -> None:
        assert self.devices is not None
        self.changes += 1
        stamp = f"2026-03-01 08:{self.changes:02}:00.000000"
        known = self.devices.get(name, EMPTY | {"site": "riyadh", "timezone": "Asia/Riyadh", "serial": f"SN-{name}"})
        self.devices[name] = known | fields | {"name": name, "modified": stamp}

    def remove(self, name: str) -> None:
        assert self.devices is not None
        self.changes += 1
        del self.devices[name]

    def call(self, method: str, path: str) -> dict[str, Any]:
        self.requests += 1
        if self.devices is None:
            raise DocumentRejected(417, "ValidationError", f"{method} {path}")
        if path != SHIFTS:
            return {"message": "0.1.0"}
        if self.shifts_failure is not None:
            raise self.shifts_failure
        if self.shifts is None:
            raise DocumentRejected(417, "ValidationError", "Failed to get method for command")
        if self.answer is not None:
            return self.answer
        return {"message": [{"shift_type": name, **fields} for name, fields in self.shifts.items()]}

    def get_list(self, doctype: str, fields: Any, **_: Any) -> list[dict[str, Any]]:
        assert doctype == DEVICE
        self.requests += 1
        if self.failure is not None:
            raise self.failure
        assert self.devices is not None
        if fields == SUMMARY:
            return [{"n": len(self.devices), "names": self.changes, "modified": self.changes}]
        return list(self.devices.values())

    def count(self, doctype: str) -> int:
        return len(self.get_list(doctype, FIELDS))


class CountedLog(MemoryLog):
    """Counts how often the topic of the fleet is read."""

    reads = 0

    def read(self, topic: Name, **options: Any) -> Any:
        self.reads += topic == "fleet"
        return super().read(topic, **options)


class Bench:
    def __init__(self) -> None:
        self.desk = FakeDesk()
        self.log = CountedLog()
        self.time = 0.0
        self.restart()

    def restart(self, *, force: bool = False) -> None:
        reader = DocumentReader(self.desk, DEVICE, FIELDS, read_device)  # type: ignore[arg-type]
        devices = DeskList(self.desk, DEVICE, reader)  # type: ignore[arg-type]
        shifts = DeskShifts(self.desk)  # type: ignore[arg-type]
        self.fleet = DeskFleet(devices, shifts, self.log, DirectorySettings(), force=force, clock=lambda: self.time)

    def look(self, seconds: float = MINUTE) -> float:
        self.time += seconds
        return asyncio.run(self.fleet.run_once())

    def entries(self) -> dict[str, Any]:
        """What counts of each device: its source, and what the entry says."""
        owned = asyncio.run(read_fleet(self.log)).owned()
        return {each.entry.name: (each.entry.source, dict(each.entry.fields)) for each in owned.values()}

    def shift(self, name: str, **fields: Any) -> None:
        """Save a Shift Type."""
        assert self.desk.shifts is not None
        self.desk.shifts[name] = {"sites": [], "devices": [], "attendance": "erpnext"} | fields

    def write(self, kind: Any, name: str, **fields: Any) -> None:
        async def story() -> None:
            await write(self.log, Wanted(COMMAND, "fatima", {(kind, name): fields}), await read_fleet(self.log))

        asyncio.run(story())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_device_of_the_desk_is_an_entry_of_the_fleet(bench: Bench) -> None:
    bench.desk.save(
        "riyadh-01",
        device_name="Main gate",
        serial=None,
        token_sha256=hash_token("t"),
        direction="From device",
        latitude=24.7136,
        longitude=46.6753,
        more_settings='{"interval": "5 min", "installed_on": "2025-05-01"}',
    )
    bench.look()
    said = {
        "name": "Main gate",
        "site": "riyadh",
        "timezone": "Asia/Riyadh",
        "mode": "push",
        "adapter": "json",
        "token_sha256": hash_token("t"),
        "direction": "from_device",
        "latitude": 24.7136,
        "longitude": 46.6753,
        "disabled": False,
        "interval": 300.0,
        "installed_on": "2025-05-01",
    }
    assert bench.entries() == {"riyadh-01": (ERPNEXT, said)}


def test_what_nobody_filled_in_is_left_to_the_site(bench: Bench) -> None:
    bench.desk.save("riyadh-01")
    bench.look()
    fields = bench.entries()["riyadh-01"][1]
    assert fields.keys() == {"name", "site", "timezone", "mode", "adapter", "serial", "disabled"}


def test_changes_and_removals_are_written_at_the_next_look(bench: Bench) -> None:
    for number in range(3):
        bench.desk.save(f"d-{number}")
    bench.look()
    bench.desk.save("d-0", direction="IN")
    bench.desk.remove("d-1")
    bench.look()
    assert bench.entries().keys() == {"d-0", "d-2"}
    assert bench.entries()["d-0"][1]["direction"] == "in"


def test_a_look_that_finds_nothing_new_costs_two_requests_and_does_not_read_the_topic(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.look()
    reads, requests = bench.log.reads, bench.desk.requests
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert (bench.log.reads, bench.desk.requests, logs) == (reads, requests + 2, [])


def test_what_others_did_to_its_entries_is_repaired_within_the_hour(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.desk.save("d-1")
    bench.look()
    bench.log.add("fleet", encode_json(FleetKey("device", "d-0", ERPNEXT)), None)
    bench.look()
    assert bench.entries().keys() == {"d-1"}
    bench.look(HOUR)
    assert bench.entries().keys() == {"d-0", "d-1"}


def test_where_the_app_is_not_installed_nothing_is_said_read_or_removed(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.look()
    bench.desk.devices = None
    bench.restart()
    reads = bench.log.reads
    with structlog.testing.capture_logs() as logs:
        bench.look()
        requests = bench.desk.requests
        bench.look()
        assert bench.desk.requests == requests
        bench.look(HOUR)
    assert (logs, bench.log.reads) == ([], reads)
    assert bench.entries().keys() == {"d-0"}


def test_a_device_of_another_source_stays_as_it_is_and_holds_up_no_other(bench: Bench) -> None:
    bench.write("device", "d-0", site="hq", timezone="UTC", adapter="zkteco_adms", serial="SN1")
    bench.desk.save("d-0")
    bench.desk.save("d-1")
    with structlog.testing.capture_logs() as logs:
        bench.look()
        bench.look(HOUR)
    assert bench.entries()["d-0"][0] == COMMAND
    assert bench.entries()["d-1"][0] == ERPNEXT
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [(entry["device_id"], "belongs to" in entry["error"]) for entry in warnings] == [("d-0", True)]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"adapter": "no_such"}, "no_such"),
        ({"timezone": "Riyadh"}, "Riyadh"),
        ({"serial": None}, "token_sha256"),
        ({"serial": "SN-d-0"}, "d-0"),
        ({"more_settings": '{"colour": "red"}'}, "colour"),
    ],
)
def test_a_device_that_is_wrong_stays_as_it_was_and_holds_up_no_other(
    bench: Bench, wrong: dict[str, Any], why: str
) -> None:
    bench.desk.save("d-0")
    bench.desk.save("d-1", device_name="before")
    bench.look()
    bench.desk.save("d-1", device_name="after", **wrong)
    bench.desk.save("d-2")
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert bench.entries().keys() == {"d-0", "d-1", "d-2"}
    assert bench.entries()["d-1"][1]["name"] == "before"
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warning["device_id"] == "d-1"
    assert why in warning["error"]


def test_a_removal_that_a_shift_forbids_is_an_error_until_the_shift_is_changed(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.desk.save("d-1")
    bench.desk.save("d-2")
    bench.look()
    bench.write("shift", "Day", devices=["d-0"])
    bench.desk.remove("d-0")
    with structlog.testing.capture_logs() as logs:
        assert bench.look() > MINUTE
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert "d-0" in bench.entries()
    bench.write("shift", "Day", devices=["d-1"])
    bench.look()
    assert "d-0" not in bench.entries()


def test_most_devices_go_only_if_that_is_forced(bench: Bench) -> None:
    for number in range(3):
        bench.desk.save(f"d-{number}")
    bench.look()
    for number in range(3):
        bench.desk.remove(f"d-{number}")
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert "--force" in logs[0]["error"]
    assert len(bench.entries()) == 3
    bench.restart(force=True)
    bench.look()
    assert bench.entries() == {}


@pytest.mark.parametrize(
    ("failure", "level"),
    [
        (TargetUnavailable("503"), "warning"),
        (AccessDenied("401"), "error"),
        (PermissionDenied("403"), "error"),
    ],
)
def test_while_erpnext_does_not_show_the_devices_the_fleet_stays_and_the_next_look_reads_them(
    bench: Bench, failure: Exception, level: str
) -> None:
    bench.desk.save("d-0")
    bench.look()
    bench.desk.save("d-1")
    bench.desk.failure = failure
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert [entry["log_level"] for entry in logs] == [level]
    assert bench.entries().keys() == {"d-0"}
    bench.desk.failure = None
    bench.look()
    assert bench.entries().keys() == {"d-0", "d-1"}


def test_what_kafka_did_not_take_is_written_by_the_next_look(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.log.refuses = KafkaUnavailable("away")
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert [entry["log_level"] for entry in logs] == ["warning"]
    bench.log.refuses = None
    bench.look()
    assert bench.entries().keys() == {"d-0"}


@pytest.mark.parametrize("wrong", [{"modified": None}, {"mode": None}, {"more_settings": "{"}])
def test_a_device_that_cannot_be_read_stops_the_look_and_not_the_stage(bench: Bench, wrong: dict[str, Any]) -> None:
    bench.desk.save("d-0")
    bench.look()
    bench.desk.save("d-1")
    assert bench.desk.devices is not None
    bench.desk.devices["d-1"] |= wrong
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert bench.entries().keys() == {"d-0"}


def test_only_it_may_change_its_entries(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.look()
    with pytest.raises(ConfigurationError, match="ERPNext"):
        bench.write("device", "d-0", site="hq", timezone="UTC", adapter="zkteco_adms", serial="SN1")


DIRECT = {"attendance": "direct", "half_day_below": 14400, "one_punch": "half_day", "attendance_from": "2026-03-01"}


def warnings(logs: Any) -> list[tuple[str, str]]:
    return [(each["shift_type"], each["error"]) for each in logs if each["log_level"] == "warning"]


def test_a_shift_of_the_desk_is_an_entry_of_the_fleet(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.shift("Day", sites=["riyadh"], **DIRECT)
    bench.shift("Night", devices=["d-0"], colour="what a later release says")
    bench.look()
    entries = bench.entries()
    assert entries["Day"] == (ERPNEXT, {"sites": ["riyadh"], "devices": []} | DIRECT | {"half_day_below": 14400.0})
    assert entries["Night"] == (ERPNEXT, {"sites": [], "devices": ["d-0"], "attendance": "erpnext"})


def test_a_shift_is_changed_and_removed_at_the_next_look(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.shift("Day", sites=["riyadh"], **DIRECT)
    bench.look()
    bench.shift("Day", sites=["riyadh"])
    bench.look()
    assert bench.entries()["Day"][1]["attendance"] == "erpnext"
    bench.desk.shifts = {}
    bench.look()
    assert bench.entries().keys() == {"d-0"}


def test_of_a_device_and_a_shift_that_come_and_go_together_neither_waits_for_the_other(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.desk.save("d-1", site="jeddah")
    bench.shift("Day", sites=["jeddah"])
    bench.look()
    assert bench.entries().keys() == {"d-0", "d-1", "Day"}
    bench.desk.remove("d-1")
    bench.desk.shifts = {}
    bench.look()
    assert bench.entries().keys() == {"d-0"}


def test_a_shift_of_another_source_stays_as_it_is_and_holds_up_no_other(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.look()
    bench.write("shift", "Day", devices=["d-0"])
    bench.shift("Day", sites=["riyadh"], **DIRECT)
    bench.shift("Night", sites=["riyadh"])
    with structlog.testing.capture_logs() as logs:
        bench.look()
        bench.look(HOUR)
    assert bench.entries()["Day"] == (COMMAND, {"devices": ["d-0"]})
    assert bench.entries()["Night"][0] == ERPNEXT
    ((name, why),) = warnings(logs)
    assert (name, "belongs to the source command" in why) == ("Day", True)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"sites": ["tabuk"]}, "tabuk"),
        ({"half_day_below": 60}, "half_day_below"),
        ({"one_punch": "perhaps"}, "one_punch"),
        ({"attendance": "erpnext"}, "only for a shift with attendance: direct"),
    ],
)
def test_a_shift_that_is_wrong_stays_as_it_was_and_holds_up_no_other(
    bench: Bench, wrong: dict[str, Any], why: str
) -> None:
    bench.desk.save("d-0")
    bench.shift("Day", sites=["riyadh"], **DIRECT)
    bench.look()
    before = bench.entries()["Day"]
    bench.shift("Day", **{"sites": ["riyadh"]} | DIRECT | wrong)
    bench.shift("Night", sites=["riyadh"])
    bench.desk.save("d-1")
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert bench.entries().keys() == {"d-0", "d-1", "Day", "Night"}
    assert bench.entries()["Day"] == before
    ((name, said),) = warnings(logs)
    assert (name, why in said) == ("Day", True)


@pytest.mark.parametrize("change", ["removed", "disabled", "moved"])
def test_a_shift_goes_that_has_no_device_any_more_and_comes_back_with_one(bench: Bench, change: str) -> None:
    bench.desk.save("d-0")
    bench.desk.save("d-1", site="jeddah")
    bench.shift("Day", sites=["jeddah"], **DIRECT)
    bench.look()
    match change:
        case "removed":
            bench.desk.remove("d-1")
        case "disabled":
            bench.desk.save("d-1", disabled=1)
        case "moved":
            bench.desk.save("d-1", site="riyadh")
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert "Day" not in bench.entries()
    ((name, why),) = warnings(logs)
    assert (name, "out of the fleet" in why) == ("Day", True)
    bench.desk.save("d-2", site="jeddah")
    bench.look()
    assert bench.entries()["Day"][0] == ERPNEXT


def test_an_earlier_release_of_the_app_says_no_shifts_and_those_that_are_known_stay(bench: Bench) -> None:
    bench.desk.save("d-0")
    bench.shift("Day", sites=["riyadh"])
    bench.look()
    bench.desk.shifts = None
    bench.restart()
    bench.desk.save("d-1")
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert {each["log_level"] for each in logs} == {"info"}
    assert bench.entries().keys() == {"d-0", "d-1", "Day"}


@pytest.mark.parametrize(
    ("failure", "level"),
    [
        (TargetUnavailable("503"), "warning"),
        (PermissionDenied("403"), "error"),
        (DocumentRejected(417, "OperationalError", "Unknown column"), "error"),
    ],
)
def test_while_erpnext_does_not_show_the_shifts_they_stay_and_devices_go_on(
    bench: Bench, failure: Exception, level: str
) -> None:
    bench.desk.save("d-0")
    bench.shift("Day", sites=["riyadh"])
    bench.look()
    bench.desk.shifts_failure = failure
    bench.desk.shifts = {}
    bench.desk.save("d-1")
    with structlog.testing.capture_logs() as logs:
        bench.look()
        bench.look()
    assert [each["log_level"] for each in logs if each["log_level"] != "info"] == [level]
    assert bench.entries().keys() == {"d-0", "d-1", "Day"}
    bench.desk.shifts_failure = None
    bench.look()
    assert bench.entries().keys() == {"d-0", "d-1"}


@pytest.mark.parametrize(
    "answer",
    [{"message": [{"sites": ["riyadh"]}]}, {"message": ["Day"]}, {"message": {"Day": {}}}, {"message": None}, {}],
)
def test_an_answer_that_is_no_list_of_shifts_changes_none(bench: Bench, answer: dict[str, object]) -> None:
    bench.desk.save("d-0")
    bench.shift("Day", sites=["riyadh"])
    bench.look()
    bench.desk.answer = answer
    with structlog.testing.capture_logs() as logs:
        bench.look()
    assert [each["log_level"] for each in logs] == ["warning"]
    assert bench.entries().keys() == {"d-0", "Day"}
