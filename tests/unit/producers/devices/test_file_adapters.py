"""The adapters that read files: attlog.dat, CSV and XLSX."""

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import device, outcomes, rows, workbook

from attendance.errors import ConfigurationError, Reason, UnreadableFile
from attendance.records.raw_event import RawEvent
from producers.devices.common.tables.profiles import PROFILES
from producers.devices.contract import Rejected

EIGHT = datetime(2026, 3, 4, 5, 0, tzinfo=UTC)  # in Riyadh
BIOTIME = "Employee ID,First Name,Department,Date,Time,Punch State,Work Code,Area Name,Serial Number\n"


class TestAttlog:
    @pytest.mark.parametrize(
        ("columns", "direction"),
        [
            ("", "UNKNOWN"),
            ("\t1", "OUT"),
            ("\t1\t15", "OUT"),
            ("\t1\t15\t0", "OUT"),
            ("\t7\t1\t15\t0", "OUT"),
            ("\t1\t15\t0\t0\t0", "OUT"),
        ],
        ids=["2", "3", "4", "5", "6", "7"],
    )
    def test_the_number_of_columns_tells_their_order(self, columns: str, direction: str, write: Any) -> None:
        path = write(f"    00417\t2026-03-04 08:00:00{columns}\r\n")
        assert outcomes("attlog", path) == [("00417", EIGHT, direction)]

    @pytest.mark.parametrize(
        ("columns", "direction"),
        [
            # Of a terminal on which nobody presses a key: with its number third, and without.
            ("\t1\t0\t15", "IN"),
            ("\t1\t0\t1\t0", "IN"),
            ("\t0\t1\t0", "IN"),
            ("\t0\t1\t0\t0", "IN"),
            ("\t0\t15\t0\t0", "IN"),
            ("\t255\t1\t0\t0", "UNKNOWN"),
            ("\t3\t255\t1\t0", "UNKNOWN"),
        ],
    )
    def test_what_can_stand_in_a_column_tells_a_terminal_from_a_state(
        self, columns: str, direction: str, write: Any
    ) -> None:
        path = write(f"1\t2026-03-04 08:00:00{columns}\n" * 2)
        assert outcomes("attlog", path) == [("1", EIGHT, direction)] * 2

    def test_states_that_change_are_told_from_a_terminal_s_number(self, write: Any) -> None:
        path = write("1\t2026-03-04 08:00:00\t1\t1\t0\t0\n2\t2026-03-04 08:00:00\t0\t1\t0\t0\n")
        assert outcomes("attlog", path) == [("1", EIGHT, "OUT"), ("2", EIGHT, "IN")]

    def test_columns_of_which_none_can_be_the_state_are_refused(self, write: Any) -> None:
        path = write("1\t2026-03-04 08:00:00\t7\t15\t0\n2\t2026-03-04 08:00:00\t9\t1\t0\n")
        with pytest.raises(UnreadableFile, match=r"options\.columns"):
            rows("attlog", path)

    def test_another_order_is_said_by_the_entry(self, write: Any) -> None:
        path = write("1\t2026-03-04 08:00:00\t1\t15\t0\t7\n")
        order = ["user", "time", "state", "verify", "work_code", "terminal"]
        assert outcomes("attlog", path, columns=order) == [("1", EIGHT, "OUT")]

    def test_an_order_without_a_user_is_refused(self, write: Any) -> None:
        with pytest.raises(ConfigurationError, match="user and time"):
            outcomes("attlog", write("1\t2\n"), columns=["time", "state"])

    def test_a_line_unlike_the_first_record_is_rejected_because_its_columns_may_mean_something_else(
        self, write: Any
    ) -> None:
        path = write("1\t2026-03-04 08:00:00\t1\t0\t1\t0\n2\t2026-03-04 08:00:00\t1\t0\n")
        assert outcomes("attlog", path) == [("1", EIGHT, "IN"), "4 columns, unlike the first record"]

    def test_lines_before_the_first_record_are_rejected_in_their_place(self, write: Any) -> None:
        path = write("\ufeffgarbage\n\n1\t2026-03-04 08:00:00\t1\t0\t1\t0\n")
        found = rows("attlog", path)
        assert [(row.line, type(row.outcome)) for row in found] == [(1, Rejected), (3, RawEvent)]

    def test_a_mark_of_the_encoding_is_no_part_of_the_first_user_id(self, write: Any) -> None:
        assert outcomes("attlog", write("\ufeff1\t2026-03-04 08:00:00\n")) == [("1", EIGHT, "UNKNOWN")]

    def test_a_time_that_cannot_be_read_is_kept_for_the_stream_to_judge(self, write: Any) -> None:
        path = write("1\t2026-03-04 08:00:00\t1\t0\t1\t0\n2\t2026-13-04 08:00:00\t1\t0\t1\t0\n")
        assert outcomes("attlog", path)[1] == ("2", None, "IN")

    @pytest.mark.parametrize(
        "content",
        [b"user,time\n1,2026-03-04 08:00:00\n", b"garbage\n" * 5000, b"\x01\x00\x00\x00\x12\x34\x56\x00" * 50],
        ids=["csv", "text", "binary"],
    )
    def test_what_is_no_attlog_is_refused_before_any_row(self, content: bytes, write: Any) -> None:
        with pytest.raises(UnreadableFile, match=r"file\.csv"):
            rows("attlog", write(content))

    def test_a_line_without_end_is_refused_and_not_held_in_memory(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="line 2"):
            rows("attlog", write(b"1\t2026-03-04 08:00:00\n" + b"9" * 200_000))

    def test_a_rejected_line_keeps_no_words(self, write: Any) -> None:
        path = write("1\t2026-03-04 08:00:00\n2\tZoe\t2026-03-04 08:00:00\n")
        outcome = rows("attlog", path)[1].outcome
        assert isinstance(outcome, Rejected)
        assert orjson.loads(outcome.value) == ["2", None, "2026-03-04 08:00:00"]


class TestCsv:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_encoding_and_delimiter_are_recognised(self, encoding: str, delimiter: str, write: Any) -> None:
        text = BIOTIME + "00417,Zoë,R/D,2026-03-04,08:00:00,Check In,0,HQ,S1\n"
        path = write(text.replace(",", delimiter).encode(encoding))
        assert outcomes("csv", path) == [("00417", EIGHT, "IN")]

    def test_arabic_in_its_code_page_is_read(self, write: Any) -> None:
        text = BIOTIME + "417,عبد الرحمن,الإدارة,2026-03-04,08:00:00,Check Out,0,الرياض,S1\n" * 20
        assert outcomes("csv", write(text.encode("cp1256"))) == [("417", EIGHT, "OUT")] * 20

    @pytest.mark.parametrize(
        ("table", "direction"),
        [
            ("Employee ID,First Name,Date,Punch Time,Punch State\n417,Z,2026-03-04,08:00:00,Check Out", "OUT"),
            ("Employee ID,First Name,Punch Time,Punch State\n417,Z,2026-03-04 08:00:00,3", "IN"),
            ("Employee Code,Punch Time,Punch State,Terminal Alias\n417,2026-03-04 08:00:00,Break Out,Gate", "OUT"),
            ("Department,Name,No.,Date/Time,Status\nR,Z,417,2026/3/4 8:00:00 AM,C/In", "IN"),
            ("Person ID,Name,Time,Attendance Status\n'417,Z,2026-03-04 08:00:00,Check-out", "OUT"),
            ("Employee Code,Employee Name,Log Date,Direction\n417,Z,04-Mar-2026 08:00:00,in", "IN"),
            ('User,Time,Direction\n="417",2026-03-04T08:00:00,out', "OUT"),
            ("user;time\n417;2026-03-04 05:00:00+00:00", "UNKNOWN"),
        ],
    )
    def test_tables_of_other_software_are_known(self, table: str, direction: str, write: Any) -> None:
        assert outcomes("csv", write(table)) == [("417", EIGHT, direction)]

    def test_any_other_table_is_described_by_the_entry(self, write: Any) -> None:
        path = write("Legajo,Fecha,Hora,Sentido\n417,04.03.2026,08:00,Entrada\n")
        columns = {"user": "Legajo", "date": "Fecha", "clock": "Hora", "direction": "Sentido"}
        found = outcomes("csv", path, columns=columns, date_format="dmy", directions={"Entrada": "IN"})
        assert found == [("417", EIGHT, "IN")]

    def test_a_table_without_a_header_is_described_by_places(self, write: Any) -> None:
        path = write("x,20260304 080000,417,1\ny,20260304 080000,418,2\n")
        options = {"columns": {"user": 3, "time": 2, "direction": 4}, "directions": {1: "IN", 2: "OUT"}}
        found = outcomes("csv", path, date_format="%Y%m%d %H%M%S", **options)
        assert found == [("417", EIGHT, "IN"), ("418", EIGHT, "OUT")]

    def test_a_number_is_no_direction_where_nothing_says_what_it_means(self, write: Any) -> None:
        assert outcomes("csv", write("user,time,direction\n1,2026-03-04 08:00,0\n")) == [("1", EIGHT, "UNKNOWN")]

    @pytest.mark.parametrize(
        ("dates", "first"),
        [
            (["04/03/2026 08:00", "13/03/2026 08:00"], EIGHT),
            (["03/04/2026 08:00", "03/13/2026 08:00"], EIGHT),
            (["3/4/2026 8:00:00 AM", "3/13/2026 8:00:00 PM"], EIGHT),
        ],
        ids=["day first", "month first", "twelve hours"],
    )
    def test_one_date_that_leaves_no_choice_decides_for_the_file(
        self, dates: Sequence[str], first: datetime, write: Any
    ) -> None:
        found = outcomes("csv", write("user,time\n" + "".join(f"1,{date}\n" for date in dates)))
        assert found[0] == ("1", first, "UNKNOWN")

    def test_dates_in_which_day_and_month_could_be_exchanged_are_refused(self, write: Any) -> None:
        path = write("user,time\n1,04/03/2026 08:00\n1,05/03/2026 08:00\n")
        with pytest.raises(UnreadableFile, match=r"file.csv, line 2: day and month could be exchanged.*date_format"):
            outcomes("csv", path)
        assert outcomes("csv", path, date_format="dmy")[0] == ("1", EIGHT, "UNKNOWN")

    def test_dates_that_contradict_each_other_are_refused(self, write: Any) -> None:
        path = write("user,time\n1,13/03/2026 08:00\n1,03/14/2026 08:00\n")
        with pytest.raises(UnreadableFile, match="line 2 with the day first and line 3 with the month first"):
            outcomes("csv", path)

    @pytest.mark.parametrize("time", ["04/03/2026 13:00 PM", "04/03/2026", "31/02/2026 08:00", "04/03/2026 25:00", "-"])
    def test_a_time_that_cannot_be_read_is_kept_for_the_stream_to_judge(self, time: str, write: Any) -> None:
        path = write(f"user,time\n1,{time}\n1,05/03/2026 08:00\n")
        row, _ = rows("csv", path, device(options={"date_format": "dmy"}))
        assert isinstance(row.outcome, RawEvent)
        assert (row.outcome.event_time, row.outcome.device_time) == (None, time)

    @pytest.mark.parametrize(
        "header",
        [
            "Employee ID,First Name,Date,Clock In,Clock Out",
            "E. Code,Name,In Time,Out Time,Status",
            "No.,Date,First In,Last Out",
        ],
    )
    def test_a_report_by_day_is_refused(self, header: str, write: Any) -> None:
        with pytest.raises(UnreadableFile, match=r"file.csv: line 2: .*a row for each day"):
            rows("csv", write(f"Monthly report\n{header}\n1,Z,2026-03-04,08:00,17:00\n"))

    def test_a_table_that_is_not_known_is_refused(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match=r"options\.columns"):
            rows("csv", write("a,b\n1,2\n"))

    def test_rows_above_the_header_and_headers_in_between_are_no_punches(self, write: Any) -> None:
        path = write("Report of March\n\nuser,time\n1,2026-03-04 08:00\nUser,Time\n2,2026-03-04 08:00\n")
        assert [row.line for row in rows("csv", path)] == [4, 6]

    def test_an_unclosed_quotation_mark_swallows_its_own_row_only(self, write: Any) -> None:
        path = write('user,name,time\n1,"Zoe,2026-03-04 08:00\n2,Al,2026-03-04 08:00\n')
        assert outcomes("csv", path) == ["2 columns, but the header has 3", ("2", EIGHT, "UNKNOWN")]

    def test_a_row_that_is_cut_off_is_rejected_and_nothing_of_it_is_kept(self, write: Any) -> None:
        (row,) = rows("csv", write("name,user,time\nZoe,1"))
        assert isinstance(row.outcome, Rejected)
        assert row.outcome.value == b'{"columns":2}'

    def test_a_row_of_a_terminal_that_is_known_is_that_terminals(self, write: Any) -> None:
        path = write(BIOTIME + "1,Z,R,2026-03-04,08:00:00,0,0,HQ,S1\n1,Z,R,2026-03-04,08:00:00,0,0,HQ,S2\n")
        found = [row.outcome for row in rows("csv", path, S1=device("DOOR-1"))]
        assert all(isinstance(event, RawEvent) for event in found)
        assert [event.device_id for event in found if isinstance(event, RawEvent)] == ["DOOR-1", "GATE-1"]
        assert [event.payload["serial"] for event in found if isinstance(event, RawEvent)] == ["S1", "S2"]

    def test_a_row_of_another_terminal_is_not_that_of_the_terminal_that_was_named(self, write: Any) -> None:
        path = write(BIOTIME + "1,Z,R,2026-03-04,08:00:00,0,0,HQ,S9\n1,Z,R,2026-03-04,08:00:00,0,0,HQ,S1\n")
        gate = device(serial="S1")
        other, own = (row.outcome for row in rows("csv", path, gate, S1=gate))
        assert isinstance(other, Rejected)
        assert other.reason is Reason.UNKNOWN_DEVICE
        assert isinstance(own, RawEvent)

    def test_what_is_a_date_in_no_order_decides_nothing(self, write: Any) -> None:
        path = write("user,time\n1,99/01/2026 08:00\n2,02/01/2026 08:00\n")
        with pytest.raises(UnreadableFile, match="exchanged"):
            rows("csv", path)

    @pytest.mark.parametrize("user", ["4.17E+11", "1.5", "", "9" * 300])
    def test_a_user_id_that_is_none_is_rejected(self, user: str, write: Any) -> None:
        (found,) = outcomes("csv", write(f"user,time\n{user},2026-03-04 08:00\n"))
        assert isinstance(found, str)

    def test_zeros_that_a_spreadsheet_lost_are_put_back_where_the_entry_says_so(self, write: Any) -> None:
        path = write("user,time\n417,2026-03-04 08:00\nA1,2026-03-04 08:00\n")
        assert [found[0] for found in outcomes("csv", path, user_width=6)] == ["000417", "A1"]

    @pytest.mark.parametrize(
        "options",
        [
            {"profile": "nobody's"},
            {"colour": "red"},
            {"columns": {"user": 1, "time": "time"}},
            {"columns": {"user": "a"}},
            {"columns": {"user": 0, "time": 1}},
            {"date_format": "dd/mm"},
            {"encoding": "klingon"},
        ],
    )
    def test_wrong_options_are_said(self, options: dict[str, Any], write: Any) -> None:
        with pytest.raises(ConfigurationError, match="options"):
            outcomes("csv", write("user,time\n1,2026-03-04 08:00\n"), **options)

    def test_every_profile_has_a_user_and_a_time(self) -> None:
        assert all(profile.user and (profile.time or (profile.date and profile.clock)) for profile in PROFILES.values())

    def test_where_an_event_stood_is_in_its_source(self, write: Any) -> None:
        path = write("user,time\n\n1,2026-03-04 08:00\n")
        (row,) = rows("csv", path)
        assert isinstance(row.outcome, RawEvent)
        source = row.outcome.source
        assert (source.transport, source.adapter, source.line, row.line) == ("file", "csv", 3, 3)
        assert source.batch_id is not None


class TestXlsx:
    def test_cells_of_every_kind_are_read(self, tmp_path: Path) -> None:
        moment = datetime.fromisoformat("2026-03-04 08:00")
        path = workbook(
            tmp_path / "a.xlsx",
            [
                ["Employee ID", "Punch Time", "Punch State"],
                ["00417", moment, "Check In"],
                [417, "2026-03-04 08:00:00", 1],
                [417.0, 46085 + 1 / 3, None],
            ],
        )
        assert outcomes("xlsx", path) == [("00417", EIGHT, "IN"), ("417", EIGHT, "OUT"), ("417", EIGHT, "UNKNOWN")]

    def test_date_and_time_of_day_in_cells_of_their_own_are_read(self, tmp_path: Path) -> None:
        day = datetime.fromisoformat("2026-03-04")
        path = workbook(
            tmp_path / "a.xlsx",
            [["Employee ID", "Date", "Time"], [1, day, time(8)], [1, day.date(), 1 / 3], [1, "2026-03-04", "08:00"]],
        )
        assert outcomes("xlsx", path) == [("1", EIGHT, "UNKNOWN")] * 3

    def test_every_sheet_is_read_and_one_that_is_no_table_is_refused(self, tmp_path: Path) -> None:
        table = [["user", "time"], [1, "2026-03-04 08:00"]]
        assert len(rows("xlsx", workbook(tmp_path / "a.xlsx", table, table, []))) == 2
        with pytest.raises(UnreadableFile, match="no sheet holds anything"):
            rows("xlsx", workbook(tmp_path / "empty.xlsx", []))
        path = workbook(tmp_path / "b.xlsx", table, [["something", "else"]])
        with pytest.raises(UnreadableFile, match="sheet 'Page 2'"):
            rows("xlsx", path)
        assert len(rows("xlsx", path, device(options={"sheet": "Page 1"}))) == 1

    def test_a_sheet_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        path = workbook(tmp_path / "a.xlsx", [["user", "time"]])
        with pytest.raises(UnreadableFile, match="no sheet is called 'Two'"):
            rows("xlsx", path, device(options={"sheet": "Two"}))

    def test_a_bomb_is_refused_by_what_its_directory_says(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.xlsx"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("xl/worksheets/sheet1.xml", b"0" * 20_000_000)
        with pytest.raises(UnreadableFile, match="too large"):
            rows("xlsx", path)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512, "old format"),
            (b"\n<html><table><tr><td>Person ID</td></tr></table></html>", "web page"),
            (b"PK\x03\x04 cut off", "not an .xlsx"),
            (b"", "not an .xlsx"),
        ],
    )
    def test_what_is_no_workbook_is_refused(self, content: bytes, said: str, write: Any) -> None:
        with pytest.raises(UnreadableFile, match=said):
            rows("xlsx", write(content, "a.xls"))

    def test_macros_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xlsm"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("xl/vbaProject.bin", b"")
        with pytest.raises(UnreadableFile, match="macros"):
            rows("xlsx", path)

    @pytest.mark.parametrize(
        ("part", "said"), [("xl/macrosheets/sheet1.xml", "macros"), ("xl/externalLinks/externalLink1.xml", "links")]
    )
    def test_a_workbook_that_does_more_than_hold_values_is_refused(self, part: str, said: str, tmp_path: Path) -> None:
        path = workbook(tmp_path / "a.xlsx", [["user", "time"], [1, "2026-03-04 08:00"]])
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(part, b"")
        with pytest.raises(UnreadableFile, match=said):
            rows("xlsx", path)

    def test_a_formula_that_nobody_computed_rejects_its_row_where_it_counts(self, tmp_path: Path) -> None:
        table = [
            ["user", "time", "direction", "hours"],
            [1, "2026-03-04 08:00", "in", "=1+1"],
            ["=A2", "=B2", "=C2"],
            [2, "2026-03-04 08:00", "=C2"],
        ]
        uncomputed = "a formula of this row was never computed"
        assert outcomes("xlsx", workbook(tmp_path / "a.xlsx", table)) == [("1", EIGHT, "IN"), uncomputed, uncomputed]

    def test_days_without_a_time_are_no_punches(self, tmp_path: Path) -> None:
        table = [["user", "time"], *([1, datetime(2026, 3, day)] for day in (4, 5))]  # noqa: DTZ001 - a wall clock
        with pytest.raises(UnreadableFile, match="no time of day"):
            rows("xlsx", workbook(tmp_path / "a.xlsx", table))

    def test_a_row_beyond_every_sheet_ends_the_reading(self, tmp_path: Path) -> None:
        path = workbook(tmp_path / "a.xlsx", [["user", "time"], [1, "2026-03-04 08:00"]])
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"].replace(
            b'<row r="2">', b'<row r="99999999999">'
        )
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in parts.items():
                file.writestr(name, content)
        with pytest.raises(UnreadableFile, match="more rows"):
            rows("xlsx", path)

    def test_a_workbook_that_lacks_a_sheet_is_unreadable(self, tmp_path: Path) -> None:
        table = [["user", "time"], [1, "2026-03-04 08:00"]]
        whole = workbook(tmp_path / "a.xlsx", table, table)
        path = tmp_path / "broken.xlsx"
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
            for part in source.infolist():
                if "sheet2.xml" not in part.filename:
                    target.writestr(part.filename, source.read(part))
        with pytest.raises(UnreadableFile, match="lacks one of its sheets"):
            rows("xlsx", path)

    def test_a_workbook_with_a_broken_sheet_is_unreadable(self, tmp_path: Path) -> None:
        whole = workbook(tmp_path / "a.xlsx", [["user", "time"], [1, "2026-03-04 08:00"]])
        path = tmp_path / "broken.xlsx"
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
            for part in source.infolist():
                content = source.read(part)
                target.writestr(part.filename, content[:-40] if "sheet1" in part.filename else content)
        with pytest.raises(UnreadableFile, match=r"broken\.xlsx"):
            rows("xlsx", path)


class TestAnything:
    @pytest.mark.parametrize("adapter", ["attlog", "csv", "xlsx"])
    def test_a_file_that_is_not_there_is_unreadable(self, adapter: str, tmp_path: Path) -> None:
        with pytest.raises(UnreadableFile, match="No such file"):
            rows(adapter, tmp_path / "missing")

    @pytest.mark.parametrize(
        ("adapter", "start", "record"),
        [
            ("attlog", "", r"[0-9 ]{1,4}\t[0-9: -]{19}(\t[0-9]){0,3}"),
            ("attlog", "1\t2026-03-04 08:00:00\n", r"[0-9 ]{1,4}\t[0-9: -]{19}(\t[0-9]){0,3}"),
            ("csv", "", r"[0-9]{1,4},[0-9:/ -]{10,19},[a-z]{0,3}"),
            ("csv", "user,time,direction\n", r"[0-9]{1,4},[0-9:/ -]{10,19},[a-z]{0,3}"),
        ],
    )
    def test_any_bytes_are_read_row_by_row_or_refused(
        self, adapter: str, start: str, record: str, tmp_path: Path
    ) -> None:
        line = st.one_of(st.binary(max_size=30), st.from_regex(record, fullmatch=True).map(str.encode))

        @settings(max_examples=60, deadline=None)
        @given(st.lists(line, max_size=6), st.sampled_from([b"\n", b"\r\n"]))
        def check(lines: list[bytes], end: bytes) -> None:
            path = tmp_path / "a.txt"
            path.write_bytes(start.encode() + end.join(lines))
            try:
                numbers = [row.line for row in rows(adapter, path)]
            except UnreadableFile:
                return
            assert numbers == sorted(set(numbers))

        check()

    @pytest.mark.parametrize(
        ("adapter", "start", "rows_above"),
        [("attlog", "1\t2026-03-04 08:00:00\n", 1), ("csv", "user,time\n1,2026-03-13 08:00:00\n", 1)],
    )
    def test_no_line_is_left_out(self, adapter: str, start: str, rows_above: int, tmp_path: Path) -> None:
        line = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)

        def is_row(text: str) -> bool:
            is_header_again = "user" in "".join(filter(str.isalpha, text.lower()))
            return bool(text.strip('",')) and not is_header_again

        @settings(max_examples=60, deadline=None)
        @given(st.lists(line.filter(is_row), max_size=6))
        def check(lines: list[str]) -> None:
            path = tmp_path / "a.txt"
            path.write_text(start + "\n".join(lines))
            assert len(rows(adapter, path, device(options={"delimiter": ","} if adapter == "csv" else {}))) == (
                rows_above + len(lines)
            )

        check()

    def test_any_damage_to_a_workbook_is_seen_or_harmless(self, tmp_path: Path) -> None:
        whole = workbook(tmp_path / "a.xlsx", [["user", "time"], [1, "2026-03-04 08:00"]]).read_bytes()

        @settings(max_examples=40, deadline=None)
        @given(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=8))
        def check(place: int, damage: bytes) -> None:
            path = tmp_path / "b.xlsx"
            path.write_bytes(whole[:place] + damage + whole[place + len(damage) :])
            with suppress(UnreadableFile):
                assert [row.line for row in rows("xlsx", path)] == [2]

        check()
