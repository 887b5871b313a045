"""Fleet files, tables and folders: what people and table programs make of them, and that nothing of it is lost."""

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from attendance.errors import ConfigurationError
from attendance.fleet_entries import compiled
from operations import fleet_sources
from operations.fleet_sources import files_of, read_all

HEADER = "device_id,site,timezone,adapter,serial"
ROW = "A,hq,UTC,zkteco_adms,S1"


def found(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries of a path and what is wrong, without the path before it."""
    read = read_all(files_of([path]))
    problems = [*read.problems, *compiled(read.entries).problems]
    where = path if path.is_dir() else path.parent
    return [dict(each.fields) for each in read.entries], [each.replace(f"{where}/", "") for each in problems]  # type: ignore[call-overload]


def a_table(path: Path, *rows: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    path.write_bytes(end.join(rows).encode(encoding))
    return path


def a_book(path: Path, *rows: list[Any], change: Callable[[Worksheet], object] = lambda _: None) -> Path:
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    for row in rows:
        sheet.append(row)
    change(sheet)
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("rows", "end", "encoding"),
    [
        pytest.param([HEADER, ROW], "\r\n", "utf-8", id="lines end with CR LF"),
        pytest.param([HEADER, ROW], "\r", "utf-8", id="lines end with CR"),
        pytest.param([HEADER, ROW, ""], "\n", "utf-8-sig", id="byte order mark"),
        pytest.param(["", " , ", HEADER, "", ",,,,", ROW, ",", ""], "\n", "utf-8", id="empty rows"),
        pytest.param([HEADER.replace(",", ";"), ROW.replace(",", ";")], "\n", "utf-8", id="semicolons"),
        pytest.param([HEADER.replace(",", "\t"), ROW.replace(",", "\t")], "\n", "utf-8", id="tabs"),
        pytest.param([f" {HEADER} ,", '"A", hq,"UTC",zkteco_adms,S1,'], "\n", "utf-8", id="spaces and an empty column"),
    ],
)
def test_a_table_says_the_same_in_any_form(tmp_path: Path, rows: list[str], end: str, encoding: str) -> None:
    entries, problems = found(a_table(tmp_path / "hq.csv", *rows, end=end, encoding=encoding))
    assert (entries, problems) == (
        [{"device_id": "A", "site": "hq", "timezone": "UTC", "adapter": "zkteco_adms", "serial": "S1"}],
        [],
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param(
            [f"{HEADER},serial", f"{ROW},S2"], "hq.csv:1: the column 'serial' is there twice", id="header twice"
        ),
        pytest.param([f"{HEADER},site.x", f"{ROW},S2"], "hq.csv:1: no such column: 'site.x'", id="no part"),
        pytest.param(
            [f"{HEADER},options.", f"{ROW},S2"], "hq.csv:1: no such column: 'options.'", id="no name of a part"
        ),
        pytest.param([HEADER, f"{ROW},lost"], "hq.csv:2: A: a value stands under no column", id="longer row"),
        pytest.param(
            [f"{HEADER},,name", f"{ROW},lost,"], "hq.csv:2: A: a value stands under no column", id="no header"
        ),
        pytest.param([HEADER, "", ROW, ROW], "hq.csv:4: A: A is there twice; first: hq.csv:3", id="device twice"),
        pytest.param(
            [HEADER, "A,hq,UTC,zkteco_adms,12345.0"],
            "hq.csv:2: A: serial: 12345.0: a table program has made a number of it; write it as text",
            id="number with a fraction",
        ),
        pytest.param(
            [HEADER, "A,hq,UTC,zkteco_adms,1.2E+11"],
            "hq.csv:2: A: serial: 1.2E+11: a table program has made a number of it; write it as text",
            id="number with an exponent",
        ),
        pytest.param(
            [HEADER, "A,hq,UTC,zkteco_adms,#REF!"], "hq.csv:2: A: serial: a formula that failed: #REF!", id="failed"
        ),
        pytest.param([HEADER, f'"A,{"x" * 200_000}'], "hq.csv: not CSV in UTF-8: ", id="a quote without end"),
    ],
)
def test_what_a_table_program_or_a_slip_has_made_is_said_with_line_and_device(
    tmp_path: Path, rows: list[str], said: str
) -> None:
    _, problems = found(a_table(tmp_path / "hq.csv", *rows))
    assert any(each.startswith(said) for each in problems), problems


def test_the_cells_of_a_workbook_are_what_its_table_program_shows(tmp_path: Path) -> None:
    names = ["device_id", "timezone", "adapter", "serial", "installed_on", "disabled", "latitude", "longitude"]
    rows = [["A", "UTC", "zkteco_adms", 12345.0, date(2025, 5, 1), False, 24.5, 46], [7, "UTC", "zkteco_adms", "007"]]
    entries, problems = found(a_book(tmp_path / "hq.xlsx", [], names, [None] * 8, *rows))
    assert problems == []
    assert entries == [
        {
            "device_id": "A",
            "site": "hq",
            "timezone": "UTC",
            "adapter": "zkteco_adms",
            "serial": "12345",
            "installed_on": "2025-05-01",
            "disabled": "False",
            "latitude": 24.5,
            "longitude": 46.0,
        },
        {"device_id": "7", "site": "hq", "timezone": "UTC", "adapter": "zkteco_adms", "serial": "007"},
    ]


SITES = ["site", "timezone", "working_hours", "latitude", "longitude"]
HQ = ["hq", "Asia/Riyadh", "sun-thu 07:00-12:00 13:00-19:00; sat 22:00-06:00", 24.5, 46]


def test_a_table_of_sites_has_a_site_in_each_row(tmp_path: Path) -> None:
    wanted = dict(zip(SITES, HQ, strict=True))
    assert found(a_book(tmp_path / "sites.xlsx", SITES, HQ)) == ([wanted], [])
    row = ",".join(str(each) for each in HQ)
    assert found(a_table(tmp_path / "sites.csv", ",".join(SITES), row, row))[1] == [
        "sites.csv:3: hq: hq is there twice; first: sites.csv:2"
    ]


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (SITES[:3], ["hq", "UTC", "friday"], "sites.csv:2: hq: working_hours: 'friday' is none of mon"),
        (SITES[:3], ["", "UTC", "fri 8:00-9:00"], "sites.csv:2: site 1: site: "),
        (["site", "hours"], ["hq", ""], "sites.csv:1: no such column: 'hours'\nsites.csv:1: the header has no column "),
        (["device_id", "site", "working_hours"], ["A", "hq", "x"], "sites.csv:1: no such column: 'working_hours'"),
    ],
)
def test_what_is_wrong_in_a_table_of_sites_is_said(
    tmp_path: Path, header: list[str], row: list[str], said: str
) -> None:
    _, problems = found(a_table(tmp_path / "sites.csv", ",".join(header), ",".join(row)))
    assert problems[0].startswith(said), problems


@pytest.mark.parametrize(
    ("serial", "said"),
    [
        ("=CONCAT(A2,1)", "hq.xlsx:2: A: serial: a formula without a value"),
        (1234567890123456, "hq.xlsx:2: A: serial: a number of more than 15 digits, which is not exact"),
        (12.5, "hq.xlsx:2: A: serial: 12.5: not a whole number"),
        ("#N/A", "hq.xlsx:2: A: serial: a formula that failed: #N/A"),
    ],
)
def test_a_cell_of_a_workbook_that_holds_no_value_is_said(tmp_path: Path, serial: object, said: str) -> None:
    names: list[Any] = ["device_id", "timezone", "adapter", "serial"]
    _, problems = found(a_book(tmp_path / "hq.xlsx", names, ["A", "UTC", "zkteco_adms", serial]))
    assert any(each.startswith(said) for each in problems), problems


def test_merged_cells_are_refused_because_all_but_one_are_empty(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["device_id", "direction"], ["A", "in"], ["B", None]]
    path = a_book(tmp_path / "hq.xlsx", *rows, change=lambda sheet: sheet.merge_cells("B2:B3"))
    assert found(path)[1] == ["hq.xlsx: it has merged cells, of which only the first has a value; unmerge them"]


def test_a_workbook_that_would_fill_memory_is_refused(tmp_path: Path) -> None:
    path = a_book(tmp_path / "hq.xlsx", ["device_id"])
    with ZipFile(path, "a", compression=8) as book:
        book.writestr("xl/more.xml", b" " * 2**26)
    [problem] = found(path)[1]
    assert problem.endswith("too large for a table")


def test_a_file_that_is_far_larger_than_a_fleet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_sources, "LARGEST", 2**20)
    path = tmp_path / "hq.csv"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert found(path)[1] == ["hq.csv: larger than 1 MiB"]


def test_all_that_is_wrong_in_a_folder_is_said_at_once(tmp_path: Path) -> None:
    a_table(tmp_path / "a.csv", HEADER, ROW, "B,hq,Mars,zkteco_adms,S2")
    a_table(tmp_path / "b.csv", "device_id,colour", "C,red")
    a_table(tmp_path / "c.csv", HEADER, "A,hq,UTC,zkteco_adms,S3")
    a_table(tmp_path / "d.yaml", "- {device_id: D, device_id: E}")
    (tmp_path / "e.xlsx").write_bytes(b"no workbook")
    problems = found(tmp_path)[1]
    assert [each.split(": ")[0] for each in problems] == ["b.csv:1", "d.yaml", "e.xlsx", "a.csv:3", "c.csv:2"]
    assert problems[-1].endswith(f"A is there twice; first: {tmp_path}/a.csv:2".replace(f"{tmp_path}/", ""))


def test_what_programs_put_beside_files_is_left_out(tmp_path: Path) -> None:
    for name in (".hidden.yaml", "~$hq.xlsx", "README.md", "hq.yaml~"):
        (tmp_path / name).write_text("no fleet")
    (tmp_path / "within").mkdir()
    a_table(tmp_path / "HQ.CSV", HEADER, ROW)
    assert files_of([tmp_path, tmp_path / "HQ.CSV"]) == [tmp_path / "HQ.CSV"]


def test_a_link_that_leads_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "hq.csv").symlink_to(a_table(tmp_path / "real.csv", HEADER, ROW))
    assert found(tmp_path / "fleet") == ([dict(zip(HEADER.split(","), ROW.split(","), strict=True))], [])


def a_loop(folder: Path) -> None:
    (folder / "hq.yaml").symlink_to(folder / "hq.yaml")


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "hq.yaml")


def a_broken_link(folder: Path) -> None:
    (folder / "hq.yaml").symlink_to(folder / "gone.yaml")


def a_folder(folder: Path) -> None:
    (folder / "hq.yaml").mkdir()


@pytest.mark.parametrize("make", [a_loop, a_pipe, a_broken_link, a_folder])
def test_what_stands_where_a_file_should_is_said_because_its_devices_would_go(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    a_table(tmp_path / "more.csv", HEADER, ROW)
    make(tmp_path)
    with pytest.raises(ConfigurationError, match=f"PATH: {tmp_path}/hq.yaml: there is no such file, or a link to none"):
        files_of([tmp_path])


def test_a_table_in_a_format_that_is_not_read_is_said(tmp_path: Path) -> None:
    a_table(tmp_path / "hq.csv", HEADER, ROW)
    for name in ("a.xls", "b.ods"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigurationError) as caught:
        files_of([tmp_path, tmp_path / "gone.yaml", tmp_path / "a.xls"])
    assert str(caught.value).splitlines() == [
        f"PATH: {tmp_path}/a.xls cannot be read; save it as .csv or .xlsx",
        f"PATH: {tmp_path}/b.ods cannot be read; save it as .csv or .xlsx",
        f"PATH: {tmp_path}/gone.yaml: there is no such file, or a link to none",
        f"PATH: {tmp_path}/a.xls cannot be read; save it as .csv or .xlsx",
    ]
