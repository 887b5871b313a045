"""`punchstream fleet`: what it prints, writes and refuses."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from memory_log import MemoryLog
from openpyxl import Workbook
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.fleet import hash_token
from attendance.records.device_status import DeviceStatus
from attendance.times import now
from attendance.working_hours import WEEKDAYS
from operations.fleet import edit
from operations.fleet_plan import About, Fields
from operations.log import Log
from punchstream.cli import app
from punchstream.commands import fleet_edit
from punchstream.commands.arguments import who

GATE: dict[str, Any] = {"site": "riyadh", "timezone": "Asia/Riyadh", "adapter": "zkteco_adms"}


@pytest.fixture(autouse=True)
def _settings(log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody names a fleet file, and there is none."""
    assert not log.records("fleet")
    monkeypatch.delenv("PUNCHSTREAM_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")


def test_a_fleet_file_that_somebody_named_has_to_be_there(fleet_file: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"PUNCHSTREAM_DEVICES: {fleet_file}"):
        run("list")


def run(*command: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["fleet", *(str(each) for each in command)], catch_exceptions=False)
    return result.exit_code, result.stdout


def rows(*command: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(run("list", *command, "--json")[1])
    return found


def a_file(path: Path, *names: str, **fields: Any) -> Path:
    path.write_text(yaml.safe_dump([GATE | {"device_id": each, "serial": f"S{each}"} | fields for each in names]))
    return path


def test_files_are_written_as_the_difference_to_what_is_there(tmp_path: Path, log: MemoryLog) -> None:
    path = a_file(tmp_path / "fleet.yaml", "A", "B", "C")
    assert run("apply", path, "--dry-run")[1].splitlines()[-1] == "3 changes would be written, of the source file."
    assert not log.records("fleet")
    assert run("apply", path)[1].splitlines() == [
        "+ device A",
        "+ device B",
        "+ device C",
        "3 changes written, of the source file.",
    ]
    a_file(path, "A", "B", direction="in")
    assert run("apply", path)[1].splitlines()[:3] == [
        "~ device A: direction: unset -> in",
        "~ device B: direction: unset -> in",
        "- device C",
    ]
    assert [(each["device_id"], each["source"]) for each in rows()] == [("A", "file"), ("B", "file")]


def test_more_than_half_goes_only_by_force(tmp_path: Path) -> None:
    path = a_file(tmp_path / "fleet.yaml", "A", "B", "C")
    run("apply", path)
    a_file(path, "A")
    with pytest.raises(ConfigurationError, match="2 devices of the source file would go, more than half; --force"):
        run("apply", path)
    assert run("apply", path, "--force")[0] == 0
    assert len(rows()) == 1


def test_a_folder_has_tables_by_site_and_every_fault_is_said_with_file_line_and_device(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    jeddah, riyadh, more = folder / "jeddah.csv", folder / "riyadh.xlsx", folder / "more.yaml"
    jeddah.write_text(
        "\ufeffdevice_id;timezone;adapter;serial;latitude;longitude;addresses\nJ1;Mars;zkteco_adms;7;1;2;x y\n\n"
    )
    book = Workbook()
    book.active.append(["device_id", "timezone", "mode", "adapter", "host", "options.port"])  # type: ignore[union-attr]
    book.active.append(["R1", "Asia/Riyadh", "pull", "csv", None, 7])  # type: ignore[union-attr]
    book.save(riyadh)
    a_file(more, "J1")
    with pytest.raises(ConfigurationError) as caught:
        run("apply", folder)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{jeddah}:2", "J1"],
        [f"{jeddah}:2", "J1"],
        [f"{jeddah}:2", "J1"],
        [f"{riyadh}:2", "R1"],
    ]
    jeddah.write_text(
        "device_id,timezone,adapter,serial,latitude,longitude,addresses\n"
        "J2,UTC,zkteco_adms,07,1,2.5,10.0.0.1 10.1.0.0/16\n"
    )
    book.active["C2"], book.active["F2"] = "file", None  # type: ignore[index]
    book.save(riyadh)
    assert run("apply", folder)[0] == 0
    places = [(each["device_id"], each["site"]) for each in rows()]
    assert places == [("J1", "riyadh"), ("J2", "jeddah"), ("R1", "riyadh")]
    shown = orjson.loads(run("show", "J2", "--json")[1])
    assert (shown["serial"], shown["longitude"], shown["addresses"]) == ("07", 2.5, ["10.0.0.1/32", "10.1.0.0/16"])


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.csv", "device_id,colour\nA,red\n", "no such column: 'colour'"),
        ("a.csv", "name\nA\n", "no column device_id"),
        ("a.csv", b"device_id\n\xff\n", "not CSV in UTF-8"),
        ("a.xlsx", "no workbook", "cannot be read"),
        ("a.yaml", "- [", "not YAML"),
        ("a.txt", "", "no .yaml, .csv or .xlsx file"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, name: str, content: str | bytes, named: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError, match=named):
        run("apply", path)


def test_two_sources_keep_their_own_and_one_hands_over_to_the_other(tmp_path: Path) -> None:
    run("apply", a_file(tmp_path / "a.yaml", "A", "B", "C"))
    other = a_file(tmp_path / "b.yaml", "C", "D", serial=None, token_sha256="0f" * 32, adapter="json")
    with pytest.raises(ConfigurationError, match="C: it belongs to the source file"):
        run("apply", other, "--source", "jeddah")
    assert (
        run("move", "C", "--source", "jeddah")[1]
        == "> device C: source: file -> jeddah\n1 change written, of the source jeddah.\n"
    )
    assert run("apply", other, "--source", "jeddah")[0] == 0
    assert {each["device_id"]: each["source"] for each in rows()} == {
        "A": "file",
        "B": "file",
        "C": "jeddah",
        "D": "jeddah",
    }
    assert [each["device_id"] for each in rows("--source", "jeddah", "--sort", "device_id")] == ["C", "D"]


def test_sites_and_shifts_are_listed_with_their_devices_and_who_wrote_them(tmp_path: Path, log: MemoryLog) -> None:
    run("apply", a_file(tmp_path / "a.yaml", "A", "B"), "--source", "jeddah")
    run("add", "office", "--kind", "site", "timezone=Asia/Riyadh", "working_hours=sun-thu 07:00-19:00")
    run("add", "Day Shift", "--kind", "shift", "sites=riyadh", "devices=A")

    def listed(*command: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = orjson.loads(run(*command, "--json")[1])
        return found

    office, riyadh = listed("sites")
    assert (office["site"], office["timezone"], office["has_devices"]) == ("office", "Asia/Riyadh", 0)
    assert (office["working_hours"], office["source"]) == ("sun-thu 07:00-19:00", "command")
    assert (riyadh["site"], riyadh["has_devices"], riyadh["source"]) == ("riyadh", 2, None)
    [shift] = listed("shifts")
    assert (shift["shift_type"], shift["sites"], shift["devices"]) == ("Day Shift", ["riyadh"], ["A"])
    assert (shift["has_devices"], shift["source"]) == (2, "command")
    assert listed("sites", "--source", "command") == [office]
    assert listed("shifts", "--source", "nobody") == []
    header, line = run("shifts", "--csv")[1].splitlines()
    assert {("shift_type", "Day Shift"), ("devices", "A"), ("sites", "riyadh"), ("has_devices", "2")} <= {
        *zip(header.split(","), line.split(","), strict=True)
    }
    assert "riyadh" in run("sites")[1]


def test_what_a_fleet_file_says_is_of_the_source_file(fleet_file: Path) -> None:
    fleet_file.write_text(
        yaml.safe_dump({"sites": [{"site": "riyadh"}], "devices": [GATE | {"device_id": "A", "serial": "S"}]})
    )
    found = orjson.loads(run("sites", "--json")[1])
    assert [(each["site"], each["source"]) for each in found] == [("riyadh", "file")]


def test_silent_devices_are_listed_with_exit_status_1(tmp_path: Path, log: MemoryLog) -> None:
    run("apply", a_file(tmp_path / "a.yaml", "A", "B"))
    status = DeviceStatus("A", now())
    log.add("device_status", status.key, status.encode())
    status, listed = run("list", "--silent", "30m", "--csv")
    assert (status, [line.partition(",")[0] for line in listed.splitlines()]) == (1, ["device_id", "B"])
    assert run("list", "--silent", "30m", "--site", "riyadh", "--adapter", "json") == (0, "")


def test_outside_of_the_working_hours_of_its_site_a_device_is_not_silent(tmp_path: Path, log: MemoryLog) -> None:
    yesterday = now() - timedelta(days=1)
    others = ",".join(WEEKDAYS[(yesterday.weekday() + each) % 7] for each in (3, 4))
    run("apply", a_file(tmp_path / "a.yaml", "A"))
    status = DeviceStatus("A", yesterday)
    log.add("device_status", status.key, status.encode())
    assert run("list", "--silent", "30m")[0] == 1
    with pytest.raises(ConfigurationError, match=r"riyadh: working_hours: 'always' is none of"):
        run("add", "riyadh", "--kind", "site", "working_hours=always")
    run("add", "riyadh", "--kind", "site", f"working_hours={others} 07:00-19:00")
    assert run("list", "--silent", "30m", "--json") == (0, "[]\n")
    said = run("set", "riyadh", "--kind", "site", "working_hours=mon-sun 00:00-24:00")[1]
    assert f"working_hours: {others} 07:00-19:00 -> mon-sun 00:00-24:00" in said
    assert run("list", "--silent", "30m")[0] == 1


@pytest.mark.parametrize(
    "command", [["show", "X"], ["list", "--site", "X"], ["list", "--sort", "X"], ["move", "X", "--source", "y"]]
)
def test_what_does_not_exist_is_an_error(tmp_path: Path, command: list[str]) -> None:
    run("apply", a_file(tmp_path / "a.yaml", "A"))
    with pytest.raises(ConfigurationError, match="X"):
        run(*command)


@pytest.mark.parametrize("columns", ["20", "80", "400"])
def test_a_table_cuts_no_identifier_at_any_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name = "GATE-" + "x" * 95
    run("apply", a_file(tmp_path / "a.yaml", name, serial="S1"))
    for forced in ("", "1"):
        monkeypatch.setenv("FORCE_COLOR", forced)  # which has rich take a pipe for a terminal
        assert name in run("list")[1]


def test_what_does_not_count_is_named_with_exit_status_1(tmp_path: Path) -> None:
    run("apply", a_file(tmp_path / "a.yaml", "A"), "--source", "north")
    assert run("check") == (0, "1 device, 0 faults.\n")
    a_file(tmp_path / "devices.yaml", "A")
    status, said = run("check")
    assert status == 1
    assert "A: it belongs to the source north, which counts" in said


def test_a_device_is_added_changed_disabled_and_removed(log: MemoryLog) -> None:
    run("add", "A", "site=hq", "timezone=UTC", "adapter=zkteco_adms", "serial=007", "addresses=10.0.0.1 10.0.0.2")
    with pytest.raises(ConfigurationError, match="A is there already"):
        run("add", "A", "site=hq")
    assert run("set", "A", "direction=in", "serial=8")[1].splitlines() == [
        "~ device A: serial: 007 -> 8, direction: unset -> in",
        "1 change written, of the source command.",
    ]
    run("set", "A", "direction=")
    run("disable", "A")
    [shown] = rows()
    assert (shown["disabled"], shown["source"]) == (True, "command")
    assert run("disable", "A", "--undo")[0] == 0
    assert run("set", "A", "disabled=false") == (0, "0 changes written, of the source command.\n")
    fields = orjson.loads(run("show", "A", "--json")[1])
    assert (fields["serial"], fields["direction"], fields["addresses"]) == (
        "8",
        "from_device",
        ["10.0.0.1/32", "10.0.0.2/32"],
    )
    for wrong in (
        ["set", "A", "timezone=Mars"],
        ["set", "A", "colour=red"],
        ["set", "A", "direction"],
        ["set", "B", "name=x"],
    ):
        with pytest.raises(ConfigurationError):
            run(*wrong)
    run("remove", "A")
    with pytest.raises(ConfigurationError, match="no such device"):
        run("remove", "A")
    assert log.records("fleet")[-1].value is None


def test_what_another_source_has_is_not_changed(tmp_path: Path) -> None:
    run("apply", a_file(tmp_path / "a.yaml", "A"))
    for command in (["set", "A", "name=x"], ["disable", "A"], ["remove", "A"], ["tokens", "--site", "riyadh"]):
        with pytest.raises(ConfigurationError, match="belongs to the source file"):
            run(*command)
    assert run("set", "A", "name=x", "--source", "file")[0] == 0


def test_what_is_exported_is_what_can_be_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    shift = {"shift_type": "Day", "sites": ["hq"]}
    device = {"device_id": "A", "site": "hq", "adapter": "zkteco_adms", "serial": "007", "installed_on": "2025-01-01"}
    path.write_text(
        yaml.safe_dump({"sites": [{"site": "hq", "timezone": "UTC"}], "devices": [device], "shifts": [shift]})
    )
    run("apply", path)
    path.write_text(run("export")[1])
    assert run("apply", path)[1] == "0 changes written, of the source file.\n"
    assert run("export", "--source", "console")[1].strip() == "devices: []"


def test_sites_and_shifts_are_added_changed_shown_moved_and_removed_as_devices_are() -> None:
    assert run("add", "hq", "timezone=UTC", "direction=in", "--kind", "site")[1].splitlines()[0] == "+ site hq"
    run("add", "A", "site=hq", "adapter=zkteco_adms", "serial=1")
    run("add", "Day Shift", "sites=hq", "devices=A", "--kind", "shift")
    change = "~ shift Day Shift: sites: ['hq'] -> unset, half_day_below: unset -> 14400.0, attendance: unset -> direct"
    said = run("set", "Day Shift", "attendance=direct", "half_day_below=4 h", "sites=", "--kind", "shift")[1]
    assert sorted(said.splitlines()[0].split(", ")) == sorted(change.split(", "))
    assert run("set", "hq", "direction=out", "--kind", "site")[0] == 0
    assert orjson.loads(run("show", "A", "--json")[1])["direction"] == "out"
    shown = orjson.loads(run("show", "Day Shift", "--kind", "shift", "--json")[1])
    assert (shown["half_day_below"], shown["has_devices"], shown["source"]) == (14400.0, ["A"], "command")
    assert run("show", "hq", "--kind", "site", "--csv")[1].splitlines() == [
        "site,timezone,direction,checkin_time,latitude,longitude,working_hours,source,written_by",
        f"hq,UTC,out,,,,,command,{who()}",
    ]
    assert "source: command -> north" in run("move", "hq", "--kind", "site", "--source", "north")[1]
    with pytest.raises(ConfigurationError, match="belongs to the source north"):
        run("set", "hq", "direction=in", "--kind", "site")
    run("move", "hq", "--kind", "site", "--source", "command")
    for command, named in (
        (["remove", "hq", "--kind", "site"], "site hq: devices still name it: A"),
        (["remove", "A"], "no such device or site: A"),
        (["add", "hq", "--kind", "site", "timezone=UTC"], "the site hq is there already, of the source command"),
        (["add", "Night", "sites=nowhere", "--kind", "shift"], "no such device or site: nowhere"),
        (["add", "x", "colour=red", "--kind", "site"], "colour"),
        (["set", "A", "addresses.x=1"], "addresses has no parts"),
        (["set", "A", "name=x", "name=y"], "name is given twice"),
        (["remove", "B", "C"], "B: the fleet topic has no such device\nC: the fleet topic has no such device"),
        (["show", "nowhere", "--kind", "site"], "nowhere: the fleet has no such site"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            run(*command)
    run("remove", "Day Shift", "--kind", "shift")
    run("remove", "A")
    assert run("remove", "hq", "--kind", "site")[1].splitlines()[0] == "- site hq"


def test_of_several_devices_none_is_changed_where_one_cannot_be(tmp_path: Path, log: MemoryLog) -> None:
    run("add", "A", "site=hq", "timezone=UTC", "adapter=zkteco_adms", "serial=1")
    run("apply", a_file(tmp_path / "a.yaml", "B"))
    written = len(log.records("fleet"))
    with pytest.raises(ConfigurationError, match="B: it belongs to the source file"):
        run("disable", "A", "B")
    assert len(log.records("fleet")) == written


def test_what_was_changed_can_be_read_by_programs(tmp_path: Path) -> None:
    path = a_file(tmp_path / "a.yaml", "A", "B")
    added = {"what": "added", "kind": "device", "source": "file", "fields": []}
    assert orjson.loads(run("apply", path, "--dry-run", "--json")[1]) == [added | {"name": name} for name in "AB"]
    assert run("apply", path, "--csv")[1].splitlines() == [
        "what,kind,name,source,field,before,after",
        "added,device,A,file,,,",
        "added,device,B,file,,,",
    ]
    assert orjson.loads(run("set", "A", "addresses=10.0.0.1", "--source", "file", "--json")[1]) == [
        {
            "what": "changed",
            "kind": "device",
            "name": "A",
            "source": "file",
            "fields": [{"name": "addresses", "before": None, "after": ["10.0.0.1/32"]}],
        }
    ]
    assert run("disable", "A", "--source", "file", "--csv")[1].splitlines()[1] == (
        "changed,device,A,file,disabled,,true"
    )
    assert orjson.loads(run("move", "A", "--source", "north", "--json")[1])[0]["what"] == "moved"
    assert orjson.loads(run("remove", "A", "--source", "north", "--json")[1])[0]["what"] == "removed"
    assert orjson.loads(run("check", "--json")[1]) == []
    a_file(tmp_path / "devices.yaml", "A", "B", options={"colour": 1})
    run("add", "A", "site=hq", "timezone=UTC", "adapter=zkteco_adms", "serial=1")
    status, said = run("check", "--csv")
    assert status == 1
    assert [line.partition(",")[0] for line in said.splitlines()] == ["what", "wrong", "wrong"]


@pytest.mark.parametrize("source", ["erpnext", "console"])
def test_an_entry_of_a_program_is_changed_by_it_alone_until_it_is_handed_over(source: str, tmp_path: Path) -> None:
    run("add", "A", "site=hq", "timezone=UTC", "adapter=zkteco_adms", "serial=1")
    run("move", "A", "--source", source)
    writer = {"erpnext": "ERPNext", "console": "the console"}[source]
    with pytest.raises(ConfigurationError, match=rf"A: it belongs to the source {source} \({writer}\)"):
        run("set", "A", "name=x")
    with pytest.raises(ConfigurationError, match=rf"A: it belongs to the source {source} \({writer}\)"):
        run("apply", a_file(tmp_path / "a.yaml", "A"))
    for command in (
        ["set", "A", "name=x"],
        ["add", "B", "site=hq"],
        ["disable", "A"],
        ["remove", "A"],
        ["apply", tmp_path / "a.yaml"],
        ["tokens", "--site", "hq"],
    ):
        with pytest.raises(ConfigurationError, match=f"only {writer} writes as {source}"):
            run(*command, "--source", source)
    assert rows("--source", source)[0]["device_id"] == "A"
    run("move", "A", "--source", "command")
    assert run("set", "A", "name=x")[0] == 0


def test_tokens_of_a_site_are_made_once_and_only_their_hashes_are_kept(log: MemoryLog) -> None:
    run("add", "A", "site=hq", "timezone=UTC", "adapter=zkteco_adms", "serial=1")
    run("add", "B", "site=hq", "timezone=UTC", "adapter=zkteco_adms", "serial=2")
    made = {each["device_id"]: each["token"] for each in orjson.loads(run("tokens", "--site", "hq", "--json")[1])}
    assert made.keys() == {"A", "B"}
    assert orjson.loads(run("show", "A", "--json")[1])["token_sha256"] == hash_token(made["A"])
    assert not [each for each in log.records("fleet") if made["A"].encode() in (each.value or b"")]
    assert orjson.loads(run("tokens", "--site", "hq", "--json")[1]) == []
    assert len(orjson.loads(run("tokens", "--site", "hq", "--renew", "--json")[1])) == 2
    with pytest.raises(ConfigurationError, match="no device of nowhere"):
        run("tokens", "--site", "nowhere")


def test_tokens_are_where_they_were_asked_for_and_nowhere_else(
    tmp_path: Path, log: MemoryLog, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in "AB":
        run("add", number, "site=hq", "timezone=UTC", "adapter=zkteco_adms", f"serial={number}")
    path = tmp_path / "tokens.csv"
    before = sorted(tmp_path.iterdir())
    status, said = run("tokens", "--site", "hq", "--output", path)
    header, *lines = path.read_text().splitlines()
    made = [line.split(",")[1] for line in lines]
    assert (status, header, len(made)) == (0, "device_id,token", 2)
    assert said == f"2 tokens written to {path}.\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == sorted([*before, path])
    everything = (
        said + "".join(capfd.readouterr()) + "".join(str((each.key, each.value)) for each in log.records("fleet"))
    )
    everything += run("show", "A", "--json")[1] + run("list", "--json")[1] + run("export")[1]
    assert not [token for token in made if token in everything]
    assert hash_token(made[0]) in everything
    with pytest.raises(ConfigurationError, match=f"--output: {path}: File exists"):
        run("tokens", "--site", "hq", "--renew", "--output", path)
    assert run("export")[1].count(hash_token(made[0])) == 1, "a token ends only where the new one can be kept"


def test_of_tokens_only_those_that_count_are_shown(
    tmp_path: Path, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in "AB":
        run("add", number, "site=hq", "timezone=UTC", "adapter=zkteco_adms", f"serial={number}")
    path, shown = tmp_path / "tokens.csv", ["tokens", "--site", "hq", "--output", tmp_path / "tokens.csv"]
    log.refuses = KafkaUnavailable("nobody knows whether it has them")
    with pytest.raises(KafkaUnavailable):
        run(*shown)
    assert len(path.read_text().splitlines()) == 3, "Kafka may have the hashes"
    path.unlink()
    log.refuses = None
    monkeypatch.setattr(fleet_edit, "edit", _half_of_it)
    with pytest.raises(ConfigurationError, match="B: the source north has just written it"):
        run(*shown)
    [_, line] = path.read_text().splitlines()
    device_id, token = line.split(",")
    assert device_id == "A"
    assert hash_token(token) in run("export")[1]


async def _half_of_it(log: Log, abouts: list[About], source: str, by: str, changed: Callable[..., Fields]) -> None:
    """Somebody else is first with all but the first."""
    await edit(log, abouts[:1], source, by, changed)
    raise ConfigurationError(f"{abouts[1][1]}: the source north has just written it; it was not written")


def test_a_device_of_a_file_is_paused_and_resumed_by_whoever_looks_after_it(tmp_path: Path, log: MemoryLog) -> None:
    run("apply", a_file(tmp_path / "fleet.yaml", "A", "B"))
    assert run("pause", "A", "B", "--why", "painted")[1].startswith("2 devices paused;")
    assert run("pause", "A", "--why", "again")[1].startswith("0 devices paused;")
    assert [each["paused"] for each in rows()] == [True, True]
    assert run("resume", "A")[1].startswith("1 pause ended;")
    assert {each["device_id"]: each["paused"] for each in rows()} == {"A": False, "B": True}
    pause = orjson.loads(run("show", "B", "--json")[1])["paused"]
    assert (pause["by"], pause["why"]) == (who(), "painted")
    assert run("apply", tmp_path / "fleet.yaml")[1].splitlines()[-1] == "0 changes written, of the source file."


def test_a_paused_device_is_not_silent(tmp_path: Path, log: MemoryLog) -> None:
    run("apply", a_file(tmp_path / "fleet.yaml", "A", "B"))
    run("pause", "A", "--why", "painted")
    assert [each["device_id"] for each in rows("--silent", "30m", "--from-topics")] == ["B"]
