from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import orjson
import pytest
import structlog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.errors import Reason
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, site_scope
from attendance.settings import KafkaSettings
from attendance.user_map import UserMap
from producers.directory import user_map as directory
from producers.directory.csv_files import InvalidUserMapFile
from punchstream.commands import users
from punchstream.commands.users import WaitingUser, by_user, user_rows, waiting_now

PUNCH = RawEvent(
    device_id="gate-1",
    site="riyadh",
    device_user_id="007",
    event_type="IN",
    event_time=datetime(2026, 3, 2, 5, tzinfo=UTC),
    device_time="2026-03-02 08:00:00",
    device_timezone="Asia/Riyadh",
    received_at=datetime(2026, 3, 2, 5, 0, 1, tzinfo=UTC),
    source=Source("push", "json"),
)


@dataclass(frozen=True)
class Record:
    key: bytes | None
    value: bytes | None


def waits(reason: Reason = Reason.UNMAPPED_USER, employee: str | None = None, **fields: object) -> Waiting:
    return Waiting(replace(PUNCH, **fields), reason, employee)  # type: ignore[arg-type]


def record_of(waiting: Waiting) -> Record:
    return Record(waiting.key, waiting.encode())


def hour(number: int) -> datetime:
    return datetime(2026, 3, 2, number, tzinfo=UTC)


def test_waiting_punches_are_counted_by_site_user_and_reason() -> None:
    assert by_user(
        [
            waits(),
            waits(event_time=hour(3)),
            waits(event_time=hour(9), device_id="gate-2"),
            waits(site="jeddah"),
            waits(Reason.EMPLOYEE_INACTIVE, "E7", event_time=hour(11)),
            waits(device_user_id="7"),
        ]
    ) == [
        WaitingUser("jeddah", "007", Reason.UNMAPPED_USER, None, 1, hour(5), ("gate-1",)),
        WaitingUser("riyadh", "007", Reason.EMPLOYEE_INACTIVE, "E7", 1, hour(11), ("gate-1",)),
        WaitingUser("riyadh", "007", Reason.UNMAPPED_USER, None, 3, hour(3), ("gate-1", "gate-2")),
        WaitingUser("riyadh", "7", Reason.UNMAPPED_USER, None, 1, hour(5), ("gate-1",)),
    ]


def test_a_punch_that_waited_and_went_on_does_not_wait() -> None:
    gone, again, still = waits(), waits(event_time=hour(6)), waits(event_time=hour(7))
    records = [
        record_of(gone),
        record_of(again),
        Record(gone.key, None),
        Record(again.key, None),
        record_of(again),
        record_of(still),
    ]
    with structlog.testing.capture_logs() as logs:
        assert waiting_now(records) == [again, still]
    assert logs == []


def test_a_punch_that_waits_twice_counts_once_with_its_last_reason() -> None:
    last = waits(Reason.EMPLOYEE_INACTIVE, "E7")
    assert waiting_now([record_of(waits()), record_of(last)]) == [last]


def test_what_cannot_be_read_does_not_hide_the_rest() -> None:
    with structlog.testing.capture_logs() as logs:
        assert waiting_now([Record(b"x", b"{"), record_of(waits())]) == [waits()]
    assert [entry["key"] for entry in logs] == [b"x"]


def user_map(*entries: UserMapping | Employee) -> UserMap:
    known = UserMap()
    for entry in entries:
        known.apply(entry.key, entry.encode())
    return known


KNOWN = user_map(
    UserMapping(EVERYWHERE, "007", "E1", "erpnext"),
    UserMapping(EVERYWHERE, "007", "E2", "csv"),
    UserMapping(site_scope("riyadh"), "007", "E1", "csv"),
    Employee("E1", "Left", date(2026, 1, 31)),
)


def test_a_listed_user_shows_what_is_known_of_the_employee_and_what_counts() -> None:
    rows = [(row.scope, row.employee, row.source, row.status, row.overridden) for row in user_rows(KNOWN)]
    assert rows == [
        ("*", "E2", "csv", None, False),
        ("*", "E1", "erpnext", "Left", True),
        ("site:riyadh", "E1", "csv", "Left", False),
    ]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The unmapped topic's records, and a user map, without a broker."""
    records: list[Record] = []

    async def snapshot(settings: KafkaSettings, topic: str, client_id: str) -> list[Record]:
        assert topic == settings.topics["unmapped"]
        return records

    async def read_user_map(settings: KafkaSettings) -> UserMap:
        return KNOWN

    monkeypatch.setattr(users, "snapshot", snapshot)
    monkeypatch.setattr(directory, "read_user_map", read_user_map)
    return records


def test_the_lists_are_printed_as_json(kafka: list[Record]) -> None:
    kafka.append(record_of(waits()))
    result = CliRunner().invoke(users.app, ["unmapped", "--json"])
    assert orjson.loads(result.stdout) == [
        {
            "site": "riyadh",
            "device_user_id": "007",
            "reason": "unmapped_user",
            "employee": None,
            "punches": 1,
            "since": "2026-03-02T05:00:00Z",
            "devices": ["gate-1"],
        }
    ]
    listed = orjson.loads(CliRunner().invoke(users.app, ["list", "--json"]).stdout)
    assert [row["relieving_date"] for row in listed] == [None, "2026-01-31", "2026-01-31"]


def test_the_lists_are_printed_as_tables(kafka: list[Record]) -> None:
    kafka.append(record_of(waits()))
    assert "1 punches of 1 users wait" in CliRunner().invoke(users.app, ["unmapped"]).stdout
    assert "3 mappings" in CliRunner().invoke(users.app, ["list"]).stdout


def test_every_wrong_row_of_a_file_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("device_user_id,employee\n1,\n,E2\n")
    result = CliRunner().invoke(users.app, ["import", str(file)])
    assert isinstance(result.exception, InvalidUserMapFile)
    assert result.stderr.splitlines() == [f"{file}: line 2: no employee", f"{file}: line 3: no device_user_id"]
