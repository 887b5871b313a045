"""`punchstream users`: how the user map and the waiting are printed."""

import csv
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import orjson
import pytest
from ledger_story import Story, event, kept_ledger
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from attendance.errors import Reason
from attendance.records.discard import DiscardedWaiting
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, site_scope
from operations.paging import InvalidPageToken
from operations.user_decisions import CannotDecide
from producers.directory.csv_files import InvalidUserMapFile
from punchstream.commands import users

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


@pytest.fixture
def log(log: MemoryLog) -> MemoryLog:
    """A log with a user map."""
    for entry in (
        UserMapping(EVERYWHERE, "007", "E1", "erpnext"),
        UserMapping(EVERYWHERE, "007", "E2", "csv"),
        UserMapping(site_scope("riyadh"), "007", "E1", "csv"),
        Employee("E1", "Left", date(2026, 1, 31)),
    ):
        log.add("user_map", entry.key, entry.encode())
    return log


def wait(log: MemoryLog) -> None:
    waiting = Waiting(PUNCH, Reason.UNMAPPED_USER)
    log.add("unmapped", waiting.key, waiting.encode())


def test_the_lists_are_printed_as_json(log: MemoryLog) -> None:
    wait(log)
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


def test_the_lists_are_printed_as_tables(log: MemoryLog) -> None:
    wait(log)
    assert "1 punch of 1 user waits" in CliRunner().invoke(users.app, ["unmapped"]).stdout
    assert "3 mappings" in CliRunner().invoke(users.app, ["list"]).stdout


def test_every_wrong_row_of_a_file_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("device_user_id,employee\n1,\n,E2\n")
    result = CliRunner().invoke(users.app, ["import", str(file)])
    assert isinstance(result.exception, InvalidUserMapFile)
    assert result.stderr.splitlines() == [f"{file}: line 2: no employee", f"{file}: line 3: no device_user_id"]


def test_the_waiting_are_shown_by_page_and_by_device(log: MemoryLog) -> None:
    for user in range(5):
        waiting = Waiting(replace(PUNCH, device_user_id=str(user)), Reason.UNMAPPED_USER)
        log.add("unmapped", waiting.key, waiting.encode())
    wait(log)

    def shown(*options: str) -> str:
        return CliRunner().invoke(users.app, ["unmapped", *options]).stdout

    pages: list[list[str]] = []
    after: list[str] = []
    while len(pages) < 9:
        page = CliRunner().invoke(users.app, ["unmapped", "--limit", "2", *after])
        assert page.stdout.splitlines()[-1] == "6 punches of 6 users wait"
        pages.append([line.split()[1] for line in page.stdout.splitlines()[1:-1]])
        if "--after" not in page.stderr:
            break
        after = page.stderr.split()[-2:]
    assert pages == [["0", "007"], ["1", "2"], ["3", "4"]]
    of_another = CliRunner().invoke(users.app, ["unmapped", "--json", "--after", "WzFd"])
    assert isinstance(of_another.exception, InvalidPageToken)
    assert not of_another.stdout
    assert shown("--user", "007").splitlines()[-1] == "1 punch of 1 user waits"
    assert [row["device_user_id"] for row in orjson.loads(shown("--json"))] == ["0", "007", "1", "2", "3", "4"]
    assert list(csv.DictReader(shown("--csv", "--user", "007").splitlines())) == [
        {
            "site": "riyadh",
            "device_user_id": "007",
            "reason": "unmapped_user",
            "employee": "",
            "punches": "1",
            "since": "2026-03-02T05:00:00Z",
            "devices": "gate-1",
        }
    ]
    assert orjson.loads(shown("--by-device", "--json")) == [
        {"device_id": "gate-1", "users": 6, "punches": 6, "since": "2026-03-02T05:00:00Z"}
    ]


@pytest.mark.parametrize("url", [None, "sqlite:///{}/ledger.sqlite"])
def test_whoever_nobody_has_heard_of_is_an_error_and_whoever_does_not_wait_is_none(
    log: MemoryLog, fleet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    fleet_file.write_text("- {device_id: silent, site: hq, timezone: UTC, mode: file, adapter: csv}\n")
    story = Story()
    story.raw(event("1", 0))
    log.put("raw", *story.log["raw", 0])
    if url is not None:
        kept_ledger(url.format(tmp_path), story)
        monkeypatch.setenv("LEDGER_URL", url.format(tmp_path))
    for asked, said in (
        ("--device gate-9", "There is no device gate-9"),
        ("--site x", "There is no site x"),
        ("--user 7", "There is no user 7"),
    ):
        result = CliRunner().invoke(users.app, ["unmapped", *asked.split()])
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr
    for asked in ("--device silent", "--device D1", "--site hq", "--user 007", ""):
        result = CliRunner().invoke(users.app, ["unmapped", *asked.split()])
        assert (result.exit_code, result.stdout) == (0, "0 punches of 0 users wait\n")


def test_the_ledger_says_who_waits_where_there_is_one(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story()
    story.wait(story.raw(event("1", 0)))
    kept_ledger(f"sqlite:///{tmp_path}/ledger.sqlite", story)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.sqlite")
    result = CliRunner().invoke(users.app, ["unmapped"], catch_exceptions=False)
    assert result.stdout.splitlines()[-1] == "1 punch of 1 user waits"
    assert "From the ledger, as of 2026-03-02T00:00:00.000Z." in result.stderr
    wait(log)
    result = CliRunner().invoke(users.app, ["unmapped", "--from-topics", "--json"], catch_exceptions=False)
    assert [row["device_user_id"] for row in orjson.loads(result.stdout)] == ["007"]
    assert "ledger" not in result.stderr


def test_what_waits_is_discarded_with_a_note_and_not_without(log: MemoryLog) -> None:
    wait(log)

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(users.app, ["discard", *options])
        return result.exit_code, result.output

    assert run("--device", "gate-1", "--note", " ")[0] == 2
    assert run("--device", "gate-2", "--note", "x") == (1, "Nothing of gate-2 waits that is meant.\n")
    assert run("--device", "gate-1", "--user", "7", "--note", "x")[0] == 1
    assert run("--device", "gate-1", "--reason", "employee_inactive", "--note", "x")[0] == 1
    assert run("--device", "gate-1", "--note", "x", "--dry-run") == (0, "1 punch of 1 user would be discarded\n")
    assert log.sent == []
    assert run("--device", "gate-1", "--user", "007", "--note", "x") == (0, "1 punch of 1 user discarded\n")
    said, removal = log.sent
    assert (DiscardedWaiting.decode(said.value).note, removal.key) == ("x", PUNCH.event_id.encode())
    nothing = CliRunner().invoke(users.app, ["discarded"]).stdout
    assert nothing.splitlines()[-1] == "0 punches in 0 discards"
    log.add("unmapped", said.key, said.value)
    shown = CliRunner().invoke(users.app, ["discarded"]).stdout
    assert shown.splitlines()[-1] == "1 punch in 1 discard"
    [row] = orjson.loads(CliRunner().invoke(users.app, ["discarded", "--device", "gate-1", "--json"]).stdout)
    assert (row["device_id"], row["punches"], row["event_ids"]) == ("gate-1", 1, [PUNCH.event_id])
    assert (row["note"], row["at"][-1]) == ("x", "Z")
    unknown = CliRunner().invoke(users.app, ["discarded", "--device", "gate-2"])
    assert unknown.exit_code == 1
    assert "There is no device gate-2" in unknown.stderr


@pytest.fixture
def run(log: MemoryLog, fleet_file: Path) -> Callable[..., Result]:
    """`punchstream users`, where the fleet has gate-1 of riyadh."""
    fleet_file.write_text(
        "- {device_id: gate-1, site: riyadh, timezone: Asia/Riyadh, token_sha256: '" + "0" * 64 + "'}"
    )

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(users.app, list(arguments))
        for record in log.sent:
            log.add("user_map", record.key, record.value)
        log.sent.clear()
        return result

    return run


def test_a_number_is_mapped_and_unmapped_by_hand(run: Callable[..., Result]) -> None:
    said = run("map", "7", "--employee", "E1", "--site", "riyadh", "--note", "the guard").stdout
    assert said == "Number 7 of site riyadh is E1 now.\n"
    (row,) = (each for each in orjson.loads(run("list", "--json").stdout) if each["source"] == "console")
    assert (row["scope"], row["employee"], row["note"], row["overridden"]) == ("site:riyadh", "E1", "the guard", False)
    assert run("unmap", "7", "--site", "riyadh").stdout == "Number 7 of site riyadh is E1 no more.\n"
    assert isinstance(run("unmap", "7", "--site", "riyadh").exception, CannotDecide)


def test_the_list_says_which_mapping_of_a_number_counts(log: MemoryLog, run: Callable[..., Result]) -> None:
    run("map", "7", "--employee", "E1", "--device", "gate-1")
    listed = UserMapping(site_scope("riyadh"), "7", "E2", "csv")
    log.add("user_map", listed.key, listed.encode())
    rows = orjson.loads(run("list", "--json").stdout)
    assert [(each["source"], each["overridden"]) for each in rows if each["device_user_id"] == "7"] == [
        ("console", True),
        ("csv", False),
    ]


def test_a_number_is_ignored_with_a_note_and_that_is_taken_back(log: MemoryLog, run: Callable[..., Result]) -> None:
    waiting = Waiting(replace(PUNCH, device_user_id="7"), Reason.UNMAPPED_USER)
    log.add("unmapped", waiting.key, waiting.encode())
    ignore = ("ignore", "7", "--device", "gate-1", "--note", "a visitor")
    assert run(*ignore, "--dry-run").stdout == "Number 7 of device gate-1 would be ignored; 1 punch of it waits.\n"
    assert orjson.loads(run("ignored", "--json").stdout) == []
    assert run(*ignore).stdout == "Number 7 of device gate-1 is ignored now; 1 punch of it waits.\n"
    (row,) = orjson.loads(run("ignored", "--json").stdout)
    assert (row["scope"], row["note"], row["punches"], row["in_force"]) == ("device:gate-1", "a visitor", 0, True)
    assert "a visitor" in run("ignored").stdout
    said = run("stop-ignoring", "7", "--device", "gate-1").stdout
    assert said == "Number 7 of device gate-1 is ignored no more; 0 punches sent again.\n"


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ((), "give one of them"),
        (("--site", "riyadh", "--device", "gate-1"), "give one of them"),
        (("--site", "jeddah"), "no device of the fleet is of site jeddah"),
        (("--device", "gate-9"), "the fleet has no device gate-9"),
    ],
)
def test_a_number_is_only_decided_about_where_the_fleet_has_it(
    log: MemoryLog, run: Callable[..., Result], where: Sequence[str], error: str
) -> None:
    result = run("ignore", "7", "--note", "a visitor", *where)
    assert result.exit_code == 2
    assert error in " ".join(result.stderr.split())
    assert len(log.records("user_map")) == 4
