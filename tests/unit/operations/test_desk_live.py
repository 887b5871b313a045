"""What devices last said, as it is written into the live fields of ERPNext's desk."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from memory_log import MemoryLog

from attendance.errors import DocumentRejected, PermissionDenied, TargetUnavailable
from attendance.records.cursor import SavedCursor
from attendance.records.device_status import DeviceStatus
from attendance.settings import DirectorySettings
from operations.desk_live import LONGEST, MOST, WRITE_LIVE, DeskLive, live_fields

EIGHT = datetime(2026, 3, 1, 8, tzinfo=UTC)
NINE = EIGHT + timedelta(hours=1)
NOTHING = dict.fromkeys(("last_sync_at", "last_heard_at", "last_cursor", "clock", "backlog"))


class FakeDesk:
    """An ERPNext with devices, or without the app."""

    def __init__(self, *names: str) -> None:
        self.names: list[str] | None = list(names)
        self.calls: list[list[dict[str, Any]]] = []
        self.failure: Exception | None = None

    def get_list(self, doctype: str, fields: Any) -> list[dict[str, Any]]:
        assert (doctype, fields) == ("Biometric Device", ["name"])
        return [{"name": name} for name in self.names or ()]

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if self.names is None:
            raise DocumentRejected(417, "ValidationError", "App biometric_integration is not installed")
        if body is None:
            return {"message": "0.1.0"}
        assert (method, path) == ("POST", WRITE_LIVE)
        if self.failure is not None:
            raise self.failure
        self.calls.append(body["devices"])
        return {"message": {"written": len(body["devices"]), "unknown": []}}


class Bench:
    def __init__(self, *names: str) -> None:
        self.desk = FakeDesk(*names)
        self.log = MemoryLog()
        self.live = DeskLive(self.desk, self.log, DirectorySettings())  # type: ignore[arg-type]

    def report(self, device_id: str, at: datetime = EIGHT, **fields: Any) -> None:
        status = DeviceStatus(device_id, at, **fields)
        self.log.add("device_status", status.key, status.encode())

    def asked(self, device_id: str, at: datetime = EIGHT, **cursor: Any) -> None:
        saved = SavedCursor(device_id, "rest", "1", None, cursor, at)
        self.log.add("cursors", saved.key, saved.encode())

    def look(self) -> float:
        return asyncio.run(self.live.run_once())


def test_a_device_has_when_it_was_heard_its_clock_and_its_backlog() -> None:
    bench = Bench("d-0", "d-1")
    bench.report("d-0", clock_skew=-2, pending=0)
    bench.report("d-1", clock_skew=3)
    bench.look()
    assert bench.desk.calls == [
        [
            NOTHING
            | {"device_id": "d-0", "last_sync_at": "2026-03-01T08:00:00+00:00", "clock": "-2 s", "backlog": "0"}
            | {"last_heard_at": "2026-03-01T08:00:00+00:00"},
            NOTHING
            | {"device_id": "d-1", "last_sync_at": "2026-03-01T08:00:00+00:00", "clock": "+3 s"}
            | {"last_heard_at": "2026-03-01T08:00:00+00:00"},
        ]
    ]


def test_a_device_that_is_asked_has_its_cursor_and_when_it_was_asked() -> None:
    bench = Bench("d-0")
    bench.report("d-0", EIGHT)
    bench.asked("d-0", EIGHT, after=41)
    bench.asked("d-0", NINE, after=42)
    bench.look()
    ((fields,),) = bench.desk.calls
    assert fields["last_cursor"] == '{"after":42}'
    assert fields["last_sync_at"] == "2026-03-01T09:00:00+00:00"
    assert fields["last_heard_at"] == "2026-03-01T08:00:00+00:00"


def test_a_cursor_that_was_taken_back_or_is_too_long_for_the_field() -> None:
    bench = Bench("d-0", "d-1")
    bench.asked("d-0", after=41)
    bench.log.add("cursors", b"d-0", None)
    bench.asked("d-1", page="x" * LONGEST)
    bench.look()
    taken_back, shown = (each["last_cursor"] for each in bench.desk.calls[0])
    assert taken_back is None
    assert shown.startswith('{"page":"xxx')
    assert shown.endswith("…")
    assert len(shown) == LONGEST


def test_only_what_has_changed_is_written_again() -> None:
    bench = Bench("d-0", "d-1")
    bench.report("d-0")
    bench.report("d-1")
    bench.look()
    bench.look()
    assert len(bench.desk.calls) == 1
    bench.report("d-1", NINE)
    bench.look()
    assert [each["device_id"] for each in bench.desk.calls[1]] == ["d-1"]


def test_a_device_of_which_nothing_is_known_is_written_once_and_emptied() -> None:
    bench = Bench("d-0")
    bench.report("elsewhere")
    bench.look()
    bench.look()
    assert bench.desk.calls == [[NOTHING | {"device_id": "d-0"}]]


def test_a_device_that_is_made_anew_is_written_anew() -> None:
    bench = Bench("d-0")
    bench.report("d-0")
    bench.look()
    bench.desk.names = []
    bench.look()
    bench.desk.names = ["d-0"]
    bench.look()
    assert len(bench.desk.calls) == 2


def test_many_devices_are_written_in_several_requests() -> None:
    bench = Bench(*(f"d-{number:04}" for number in range(MOST + 1)))
    bench.look()
    assert [len(each) for each in bench.desk.calls] == [MOST, 1]


def test_the_setting_bounds_how_often_it_is_written() -> None:
    bench = Bench("d-0")
    assert bench.look() == DirectorySettings().live_interval == 300


def test_where_the_app_is_not_installed_no_topic_is_read_and_nothing_is_said() -> None:
    bench = Bench()
    bench.desk.names = None
    with structlog.testing.capture_logs() as logs:
        assert bench.look() == 3600
    assert (logs, bench.log.begins) == ([], {})


@pytest.mark.parametrize(
    ("failure", "level", "pause"),
    [(TargetUnavailable("503"), "warning", 300), (PermissionDenied("403"), "error", 3600)],
)
def test_what_erpnext_did_not_take_is_written_the_next_time(failure: Exception, level: str, pause: float) -> None:
    bench = Bench("d-0")
    bench.desk.failure = failure
    with structlog.testing.capture_logs() as logs:
        assert bench.look() == pause
    assert [entry["log_level"] for entry in logs] == [level]
    bench.desk.failure = None
    bench.look()
    assert len(bench.desk.calls) == 1


def test_a_record_that_cannot_be_read_is_left_out() -> None:
    bench = Bench("d-0")
    bench.log.add("cursors", b"d-0", b"{")
    bench.log.add("device_status", b"d-0", b"{")
    bench.look()
    assert bench.desk.calls == [[NOTHING | {"device_id": "d-0"}]]


def test_nothing_is_known_of_a_device_that_said_nothing() -> None:
    assert live_fields(None, None) == NOTHING
