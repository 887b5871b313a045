"""`punchstream devices`: what it prints, and what it writes."""

import csv
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from example_records import ARRIVED, AT, EVENT, KNOCK
from ledger_story import Story, kept_ledger
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.errors import ConfigurationError
from attendance.records.device_status import DeviceStatus
from attendance.records.fleet import FleetEntry
from attendance.records.terminals import RESET, Order, PendingDevice, Stamps
from attendance.registry import Registry
from attendance.times import format_seconds, now
from attendance.working_hours import WEEKDAYS
from producers.devices.zkteco.adms_handshake import ACCESS, KIND, STAMP
from punchstream.commands.devices import OTHERS_SHOWN, PENDING_SHOWN, app

FLEET = """
- {device_id: GATE-1, site: hq, timezone: UTC, mode: push, adapter: zkteco_adms, serial: S1}
- {device_id: OFFICE, site: hq, timezone: UTC, mode: file, adapter: csv}
"""


@pytest.fixture
def log(log: MemoryLog, fleet_file: Path) -> MemoryLog:
    """A device that was heard, one that was not, and two terminals that ask to be let in."""
    fleet_file.write_text(FLEET)
    status = DeviceStatus("GATE-1", ARRIVED, AT, 3, details={"firmware": "3.2"})
    log.add("device_status", status.key, status.encode())
    for adapter, serial in (("zkteco_adms", "S1"), ("zkteco_adms", "S9"), ("hikvision_push", "S9")):
        pending = PendingDevice(adapter, serial, "2026-01-01T05:00:00Z", "2026-01-01T05:01:00Z", 7, None, {})
        log.add("terminals", pending.key, pending.encode())
    return log


def run(*command: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    return result.exit_code, result.stdout


def rows(*command: str) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = orjson.loads(run(*command, "--json")[1])
    return listed


def test_each_device_is_listed_with_what_it_last_said(log: MemoryLog) -> None:
    assert [(row["device_id"], row["adapter"]) for row in rows("list")] == [
        ("GATE-1", "zkteco_adms"),
        ("OFFICE", "csv"),
    ]
    spoken, silent = rows("list", "--status")
    assert (spoken["heard_at"], spoken["pending"], spoken["details"]) == ("2026-01-01T05:00:02Z", 3, "firmware: 3.2")
    assert (silent["device_id"], silent["heard_at"]) == ("OFFICE", None)


def test_what_a_device_says_by_push_stands_beside_what_it_says_when_it_is_asked(log: MemoryLog) -> None:
    log.add("device_status", b"GATE-1", DeviceStatus("GATE-1", ARRIVED, details={"firmware": "4", "rows": 7}).encode())
    log.add("device_status", b"GATE-1", DeviceStatus("GATE-1", ARRIVED, details={"settings": "as wanted"}).encode())
    assert rows("list", "--status")[0]["details"] == "firmware: 4, rows: 7, settings: as wanted"


def test_a_number_of_more_than_64_bits_is_printed_as_it_is(log: MemoryLog) -> None:
    log.add("device_status", b"OFFICE", DeviceStatus("OFFICE", ARRIVED, pending=2**64).encode())
    assert f'"pending": {2**64}' in run("list", "--status", "--json")[1]


def test_the_list_is_narrowed_sorted_and_exported(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [row["device_id"] for row in rows("list", "--adapter", "csv")] == ["OFFICE"]
    assert [row["device_id"] for row in rows("list", "--status", "--sort", "heard_at")] == ["OFFICE", "GATE-1"]
    exported = list(csv.DictReader(run("list", "--status", "--csv")[1].splitlines()))
    assert [(row["device_id"], row["pending"], row["adapter"]) for row in exported] == [
        ("GATE-1", "3", "zkteco_adms"),
        ("OFFICE", "", "csv"),
    ]
    status = DeviceStatus("OFFICE", now(), clock_skew=-75)
    log.add("device_status", status.key, status.encode())
    silent = run("list", "--status", "--silent", "1h", "--csv")
    assert (silent[0], [line.partition(",")[0] for line in silent[1].splitlines()]) == (1, ["device_id", "GATE-1"])
    assert run("list", "--status", "--silent", "9000 days") == (0, "")
    monkeypatch.setenv("COLUMNS", "300")
    assert "1.25 min" not in run("list", "--status")[1]
    assert "1 min behind" in run("list", "--status")[1]
    assert " s ago)" in run("list", "--status")[1]


def test_outside_of_the_working_hours_of_its_site_a_device_is_said_to_be_so(
    log: MemoryLog, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard_at = now() - timedelta(days=1)
    hours = f"{WEEKDAYS[(heard_at.weekday() + 3) % 7]} 07:00-19:00"
    sites = [{"site": "hq", "working_hours": hours}]
    fleet_file.write_text(yaml.safe_dump({"sites": sites, "devices": yaml.safe_load(FLEET)}))
    log.add("device_status", b"GATE-1", DeviceStatus("GATE-1", heard_at).encode())
    monkeypatch.setenv("COLUMNS", "300")
    assert "(24.0 h ago, outside working hours)" in run("list", "--status")[1]
    assert [row["device_id"] for row in rows("list", "--status", "--silent", "1h")] == ["OFFICE"], "it never spoke"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["--site", "X"], "--site: no device is of X"),
        (["--adapter", "X"], "--adapter: there is no adapter X"),
        (["--sort", "X"], "--sort: 'X' is none of"),
        (["--status", "--sort", "X"], "--sort: 'X' is none of"),
        (["--silent", "1h"], "--silent needs --status"),
        (["--status", "--silent", "soon"], "--silent: a duration such as"),
    ],
)
def test_what_cannot_be_listed_is_said(log: MemoryLog, command: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        run("list", *command)


def test_the_ledger_is_asked_where_there_is_one(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    story = Story()
    story.report("GATE-1", 9, firmware="5")
    story.garbage("device_status")
    kept_ledger(url, story)
    monkeypatch.setenv("LEDGER_URL", url)
    result = CliRunner().invoke(app, ["list", "--status", "--json"], catch_exceptions=False)
    assert [(row["pending"], row["details"]) for row in orjson.loads(result.stdout)] == [
        (9, "firmware: 5"),
        (None, None),
    ]
    assert "Skipped 1 record of device-status.v1 that cannot be read" in result.stderr
    assert "From the ledger, as of 2026-03-02T00:00:00.000Z." in result.stderr
    assert "does not run, or does not keep up" in result.stderr
    assert rows("list", "--status", "--from-topics")[0]["pending"] == 3


def test_a_device_that_cannot_be_asked_is_tested_by_when_it_was_last_heard(log: MemoryLog) -> None:
    assert rows("test", "GATE-1")[-1] == {"check": "last heard", "ok": True, "detail": "2026-01-01T05:00:02Z"}
    assert run("test", "GATE-1")[0] == 0
    assert run("test", "OFFICE")[0] == 1


def test_only_those_that_no_device_is_yet_are_pending(log: MemoryLog) -> None:
    assert {(row["adapter"], row["serial"]) for row in rows("pending")} == {
        ("zkteco_adms", "S9"),
        ("hikvision_push", "S9"),
    }


def test_what_is_said_of_a_pending_terminal_is_shown_whole_on_a_terminal_of_any_width(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"firmware": "Ver 8.0.4.3-20200812", "model": "SpeedFace-V5L"}
    pending = PendingDevice(
        "hikvision_push",
        "ABC1234567890123",
        "2026-01-01T05:00:00Z",
        "2026-01-01T05:01:00Z",
        7,
        "192.168.100.200",
        facts,
    )
    log.add("terminals", pending.key, pending.encode())
    for columns in ("60", "80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        words = run("pending")[1].split()
        assert {"ABC1234567890123", "192.168.100.200", "8.0.4.3-20200812", "model:"} <= set(words)


def test_what_push_turned_away_is_shown_beside_them(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = format_seconds(now())
    knock = replace(KNOCK, first_seen=moment, last_seen=moment)
    log.add("terminals", knock.key, knock.encode())
    for number in range(OTHERS_SHOWN + 5):
        scanner = replace(knock, client=f"192.0.2.{number}", sender="scanner")
        log.add("terminals", scanner.key, scanner.encode())
    shown = rows("pending")
    assert len(shown) == 2 + 1 + OTHERS_SHOWN + 5
    assert (shown[0]["serial"], shown[0]["cause"]) == ("S9", "unknown_serial")
    assert {name: shown[2][name] for name in ("serial", "cause", "sender", "client", "path", "requests")} == {
        "serial": None,
        "cause": "not_found",
        "sender": "zkteco",
        "client": "10.0.0.9",
        "path": "/iclock/cdata.php?SN&options",
        "requests": 7,
    }
    for columns in ("60", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        table = run("pending")[1]
        assert {"10.0.0.9", "ZKTeco", "not_found", "/iclock/cdata.php?SN&options"} <= set(table.split())
        assert table.count("192.0.2.") == OTHERS_SHOWN
        assert "And 5 earlier ones" in table


def test_where_no_terminal_waits_that_is_said(log: MemoryLog, fleet_file: Path) -> None:
    log.add("terminals", b'["stranger","zkteco_adms","S9"]', None)
    log.add("terminals", b'["stranger","hikvision_push","S9"]', None)
    assert run("pending") == (0, "No terminal waits.\n")
    assert run("commands") == (0, "")


def approved(log: MemoryLog) -> dict[str, Any]:
    """The fields of the entries that the source `approval` has on the topic."""
    written = [FleetEntry.decode(record.key, record.value) for record in log.records("fleet") if record.value]
    return {each.name: each.fields for each in written if each.source == "approval"}


def approve(*options: str) -> tuple[int, str]:
    return run("approve", "S9", "--device-id", "GATE-2", "--site", "hq", "--timezone", "UTC", *options)


def test_a_terminal_is_let_in_by_its_adapter_where_several_ask_with_its_number(
    log: MemoryLog, fleet_file: Path
) -> None:
    with pytest.raises(ConfigurationError, match="2 terminals with S9"):
        approve()
    with pytest.raises(ConfigurationError, match="none of"):
        approve("--adapter", "nosuch")

    assert approve("--adapter", "zkteco_adms")[0] == 0

    device = approved(log)["GATE-2"]
    assert (device["adapter"], device["serial"]) == ("zkteco_adms", "S9")
    assert [(record.key, record.value) for record in log.sent] == [(b'["stranger","zkteco_adms","S9"]', None)]


def asks(log: MemoryLog, serial: str, **fields: Any) -> None:
    pending = PendingDevice("zkteco_adms", serial, "2026-01-01T05:00:00Z", "2026-01-01T05:01:00Z", 7, "10.2.0.9", {})
    log.add("terminals", pending.key, replace(pending, **fields).encode())


def test_an_approval_may_record_from_where_it_was_heard_or_may_push(log: MemoryLog, fleet_file: Path) -> None:
    asks(log, "S10", clients={"10.2.0.9": 7})
    asks(log, "S11", clients={"10.2.0.9": 7, "10.6.6.6": 1})
    entry = ("--site", "hq", "--timezone", "UTC", "--adapter", "zkteco_adms")

    run("approve", "S10", "--device-id", "A", *entry, "--address", "heard", "--address", "2001:db8::/64")
    run("approve", "S9", "--device-id", "C", *entry, "--address", "10.2.0.7/16")
    with pytest.raises(ConfigurationError, match=r"heard from 10\.2\.0\.9, 10\.6\.6\.6; say which"):
        run("approve", "S11", "--device-id", "B", *entry, "--address", "heard")
    with pytest.raises(ConfigurationError, match="'nowhere' is no address"):
        run("approve", "S11", "--device-id", "B", *entry, "--address", "nowhere")

    addresses = {name: fields["addresses"] for name, fields in approved(log).items()}
    assert addresses == {"A": ["10.2.0.9/32", "2001:db8::/64"], "C": ["10.2.0.0/16"]}


def test_a_terminal_that_moved_is_shown_first_and_let_in_from_its_new_address(
    log: MemoryLog, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = "- device_id: GATE-1\n  site: hq  # the gate\n  timezone: UTC\n  adapter: zkteco_adms\n  serial: S1\n"
    fleet_file.write_text(f"{gate}  addresses: [10.1.0.0/16]\n")
    asks(log, "S1", device_id="GATE-1", clients={"10.2.0.9": 7}, client="10.2.0.9")

    first, *_ = rows("pending")
    assert (first["serial"], first["cause"], first["device_id"]) == ("S1", "wrong_address", "GATE-1")
    monkeypatch.setenv("COLUMNS", "200")
    assert "GATE-1 may not push from there" in run("pending")[1]
    with pytest.raises(ConfigurationError, match="--address says from where"):
        run("approve", "S1")
    assert run("approve", "S1", "--address", "heard")[1].startswith("GATE-1 is let in")

    assert fleet_file.read_text() == f"{gate}  addresses: ['10.2.0.9/32']\n"
    assert [device.addresses for device in Registry(fleet_file)] == [("10.2.0.9/32",)]
    assert "S1" not in [row["serial"] for row in rows("pending")]


def test_several_terminals_are_let_in_at_once_by_their_serial_numbers(log: MemoryLog) -> None:
    asks(log, "S10")
    asks(log, "S11")
    status, said = run("approve", "S10", "S11", "--site", "hq", "--timezone", "UTC")
    assert (status, said.count("is let in")) == (0, 2)
    assert {name: fields["serial"] for name, fields in approved(log).items()} == {"S10": "S10", "S11": "S11"}
    with pytest.raises(ConfigurationError, match="--device-id: for one terminal"):
        run("approve", "S10", "S11", "--device-id", "X", "--site", "hq", "--timezone", "UTC")


def test_of_several_terminals_none_is_let_in_where_one_cannot_be(log: MemoryLog) -> None:
    asks(log, "S10")
    for wrong in (["S404"], ["S10", "--timezone", "Mars"]):
        with pytest.raises(ConfigurationError):
            run("approve", "S10", "--site", "hq", "--timezone", "UTC", *wrong)
    with pytest.raises(ConfigurationError, match="--site is needed"):
        run("approve", "S10")
    with pytest.raises(ConfigurationError, match="there is GATE-1 already"):
        run("approve", "S10", "--device-id", "GATE-1", "--site", "hq", "--timezone", "UTC")
    assert not log.records("fleet")


def test_an_entry_of_the_topic_gets_its_new_address_there_if_an_approval_made_it(log: MemoryLog) -> None:
    asks(log, "S10")
    run("approve", "S10", "--device-id", "A", "--site", "hq", "--timezone", "UTC", "--address", "10.1.0.1")
    run("approve", "S10", "--address", "10.2.0.9")
    assert approved(log)["A"]["addresses"] == ["10.2.0.9/32"]
    other = FleetEntry("device", "B", "console", {"site": "hq", "timezone": "UTC", "adapter": "zkteco_adms"}, "fatima")
    other = replace(other, fields={**other.fields, "serial": "S11"})
    log.add("fleet", other.key, other.encode())
    asks(log, "S11")
    with pytest.raises(ConfigurationError, match="belongs to the source console"):
        run("approve", "S11", "--address", "10.2.0.9")


def test_what_waits_is_searched_cut_off_and_exported(log: MemoryLog) -> None:
    for number in range(PENDING_SHOWN + 10):
        asks(log, f"MADE-UP-{number}")
    asks(log, "REAL-1", visits=9, client="10.2.0.77", facts={"model": "=SpeedFace"})

    table = run("pending")[1]
    assert table.index("REAL-1") < table.index("MADE-UP-")
    assert "And 13 less likely ones" in table
    assert [row["serial"] for row in rows("pending", "--search", "real-")] == ["REAL-1"]
    assert [row["serial"] for row in rows("pending", "--limit", "1")] == ["REAL-1"]
    assert len(rows("pending")) == PENDING_SHOWN + 10 + 1 + 2
    assert orjson.loads(run("pending", "--json", "--search", "10.2.0.77")[1])[0]["serial"] == "REAL-1"
    exported = list(csv.DictReader(run("pending", "--csv")[1].splitlines()))
    assert len(exported) == PENDING_SHOWN + 10 + 1 + 2
    assert (exported[0]["serial"], exported[0]["facts"]) == ("REAL-1", "model: =SpeedFace")


def test_a_backfill_waits_as_a_command_for_a_terminal_that_takes_one(log: MemoryLog) -> None:
    status, said = run("backfill", "GATE-1", "--since", "2026-01-01", "--until", "2026-01-02")
    assert (status, "waits for GATE-1" in said) == (0, True)
    [order] = log.sent
    log.add("terminals", order.key, order.value)
    assert [(row["device_id"], row["returned"]) for row in rows("commands")] == [("GATE-1", None)]
    with pytest.raises(ConfigurationError, match="has adapter csv"):
        run("backfill", "OFFICE", "--since", "2026-01-01")
    with pytest.raises(ConfigurationError, match="before --until"):
        run("backfill", "GATE-1", "--since", "2026-01-02", "--until", "2026-01-01")


def test_stamps_are_reset_beside_a_command_that_has_the_terminal_connect(log: MemoryLog) -> None:
    stamps = Stamps("GATE-1", {STAMP: "812", KIND: "att"})
    log.add("terminals", stamps.key, stamps.encode())

    said = run("reset-stamps", "GATE-1")[1]

    anew, order = log.sent
    assert "CHECK waits for it" in said
    reset = orjson.loads(anew.value or b"")
    assert (reset[STAMP], reset[KIND], bool(reset[RESET])) == ("0", "att", True)
    assert Order.decode(order.value).command == "CHECK"
    with pytest.raises(ConfigurationError, match="has adapter csv"):
        run("reset-stamps", "OFFICE")
    with pytest.raises(ConfigurationError, match="in the future"):
        run("reset-stamps", "GATE-1", "--since", "2999-01-01")
    access = Stamps("GATE-1", {KIND: ACCESS})
    log.add("terminals", access.key, access.encode())
    with pytest.raises(ConfigurationError, match="an access terminal, which has no stamp"):
        run("reset-stamps", "GATE-1")


def test_an_access_terminal_is_asked_in_its_own_words_and_does_not_count(log: MemoryLog) -> None:
    stamps = Stamps("GATE-1", {KIND: ACCESS})
    log.add("terminals", stamps.key, stamps.encode())
    run("backfill", "GATE-1", "--since", "2026-01-01", "--until", "2026-01-02")
    assert Order.decode(log.sent[0].value).command.startswith("DATA QUERY tablename=transaction,")
    with pytest.raises(ConfigurationError, match="an access terminal, and those do not count"):
        run("verify", "GATE-1", "--since", "2026-01-01")


class TestVerify:
    """A terminal in Riyadh, three of whose punches of a day are in Kafka, one of them twice."""

    DAY = ("GATE-1", "--since", "2026-01-01", "--until", "2026-01-01T23:59:59")

    @pytest.fixture
    def log(self, log: MemoryLog, fleet_file: Path) -> MemoryLog:
        fleet_file.write_text(FLEET.replace("timezone: UTC", "timezone: Asia/Riyadh"))
        times = ("2025-12-31T20:59:59", "2025-12-31T21:00:00", "2026-01-01T05:00:00", "2026-01-01T20:59:59")
        for text in (*times, times[2], "2026-01-01T21:00:00"):
            moment = datetime.fromisoformat(f"{text}Z")
            event = replace(EVENT, device_id="GATE-1", event_time=moment)
            log.add("raw", *event.record()[:2], timestamp=int(moment.timestamp() * 1000))
        return log

    def answers(self, log: MemoryLog, returned: str) -> None:
        order = replace(Order.decode(log.sent[-1].value), returned=returned)
        log.add("terminals", order.key, order.encode())

    @pytest.mark.parametrize(("counted", "status"), [(2, 0), (3, 0), (4, 1)])
    def test_what_a_terminal_counts_is_compared_with_kafka(self, log: MemoryLog, counted: int, status: int) -> None:
        assert run("verify", *self.DAY)[0] == 1
        assert Order.decode(log.sent[0].value).command == (
            "VERIFY SUM ATTLOG StartTime=2026-01-01 00:00:00\tEndTime=2026-01-01 23:59:59"
        )
        self.answers(log, f"0, {counted} records")
        assert run("verify", *self.DAY)[0] == status
        assert f"has {counted} records of that time, and Kafka has 3 punches" in run("verify", *self.DAY)[1]
        assert len(log.sent) == 1
        run("verify", *self.DAY, "--again")
        assert len(log.sent) == 2

    def test_until_it_has_answered_it_is_asked_once(self, log: MemoryLog) -> None:
        run("verify", *self.DAY)
        log.add("terminals", log.sent[0].key, log.sent[0].value)
        for again in ((), ("--again",)):
            status, said = run("verify", *self.DAY, *again)
            assert (status, "waits for GATE-1" in said) == (1, True)
        assert len(log.sent) == 1

    def test_a_terminal_that_does_not_count_is_said_to_have_refused(self, log: MemoryLog) -> None:
        run("verify", *self.DAY)
        self.answers(log, "-1002")
        assert "returned -1002, which is no count" in run("verify", *self.DAY)[1]

    @pytest.mark.usefixtures("log")
    def test_only_a_terminal_that_takes_commands_counts(self) -> None:
        with pytest.raises(ConfigurationError, match="zkteco_adms"):
            run("verify", "OFFICE", "--since", "2026-01-01")
        with pytest.raises(ConfigurationError, match="--since"):
            run("verify", "GATE-1", "--since", "2026-01-02", "--until", "2026-01-01")
