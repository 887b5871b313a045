"""Files as they are in offices: what a spreadsheet has made of them, and what people wrote by hand."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from importing import device, outcomes, rows, workbook

from attendance.errors import ConfigurationError, UnreadableFile
from attendance.records.raw_event import RawEvent
from producers.devices.common.tables.dates import to_moment

EIGHT = datetime(2026, 3, 4, 5, 0, tzinfo=UTC)  # in Riyadh
WALL = datetime(2026, 3, 4, 8, 0)  # noqa: DTZ001 - a cell has no zone
MARCH = ["Attendance of March 2026"]


def arabic(text: str) -> str:
    """With the digits that Arabic has."""
    return "".join(chr(0x660 + int(each)) if each.isdigit() else each for each in text)


def grid(path: Path) -> list[tuple[str, str | None]]:
    found = rows("xlsx" if path.suffix == ".xlsx" else "csv", path, device(options={"profile": "grid"}))
    return [(row.outcome.device_user_id, row.outcome.device_time) for row in found if isinstance(row.outcome, RawEvent)]


class TestDatesThatASpreadsheetTookForOthers:
    """Of 03/04 and 13/04 a spreadsheet that has the month first makes the 4th of March and a text."""

    @pytest.mark.parametrize(
        "table",
        [
            [["user", "time"], [417, datetime(2026, 3, 4, 8)], [417, "13/04/2026 08:00"]],  # noqa: DTZ001
            [["user", "time"], [417, "13/04/2026 08:00"], [417, 46085.25]],
            [["user", "date", "time"], [417, datetime(2026, 3, 4), "08:00"], [417, "13/04/2026", "08:00"]],  # noqa: DTZ001
        ],
    )
    def test_a_table_of_both_is_refused(self, table: Any, tmp_path: Path) -> None:
        path = workbook(tmp_path / "a.xlsx", table)
        for options in ({}, {"date_format": "dmy"}):
            with pytest.raises(UnreadableFile, match="it has taken days for months"):
                outcomes("xlsx", path, **options)

    def test_a_date_after_the_twelfth_shows_that_it_did_not(self, tmp_path: Path) -> None:
        table = [["user", "time"], [417, WALL], [417, datetime(2026, 3, 14, 8)], [417, "13/03/2026 08:00"]]  # noqa: DTZ001
        assert outcomes("xlsx", workbook(tmp_path / "a.xlsx", table))[0] == ("417", EIGHT, "UNKNOWN")

    def test_a_text_with_the_year_first_was_never_in_doubt(self, tmp_path: Path) -> None:
        table = [["user", "time"], [417, WALL], [417, "2026-03-05 08:00"]]
        assert len(outcomes("xlsx", workbook(tmp_path / "a.xlsx", table))) == 2

    @pytest.mark.parametrize("last", [[], ["13/01/2026"]])
    def test_columns_of_a_grid_that_are_a_month_from_each_other_are_refused(self, last: Any, tmp_path: Path) -> None:
        header = ["ID", *(datetime(2026, month, 1) for month in (1, 2)), *last]  # noqa: DTZ001
        with pytest.raises(UnreadableFile, match="days and months are exchanged"):
            grid(workbook(tmp_path / "a.xlsx", [header, [417, "08:00", "08:00"]]))

    def test_a_column_with_a_date_of_no_month_is_not_left_out(self, write: Any) -> None:
        path = write("ID,2026-03-01,2026-03-02,2026-03-32\n417,08:00,08:00,08:00\n")
        with pytest.raises(UnreadableFile, match="'2026-03-32' is no date as the other columns have them"):
            grid(path)


class TestCellsWithoutAValue:
    @pytest.mark.parametrize("user", ["#N/A", "#REF!", "#NAME?", "#NV", "#¡VALOR!", "######"])
    def test_an_error_is_nobody_s_user_id(self, user: str, write: Any) -> None:
        path = write(f"user,time\n{user},2026-03-04 08:00\n#417,2026-03-04 08:00\n")
        error, other = outcomes("csv", path)
        assert "an error of a spreadsheet's formula" in error
        assert other == ("#417", EIGHT, "UNKNOWN")

    @pytest.mark.parametrize("cell", ["#N/A", "#VALUE!", "#####", "Err:502"])
    def test_an_error_among_the_days_of_a_grid_is_no_absence(self, cell: str, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="line 3, column '2'"):
            grid(write(f"{MARCH[0]}\nID,1,2\n417,08:00,{cell}\n"))


class TestUsers:
    @pytest.mark.parametrize(
        ("adapter", "content"),
        [
            ("csv", "user,time\n" + arabic("417,2026-03-04 08:00:00")),
            ("csv", "user,time\n\u06f417\u200b,2026-03-04 08:00:00\n"),
            ("attlog", "\u200f" + arabic("417") + "\u200f\t2026-03-04 08:00:00\u200f\n"),
        ],
    )
    def test_a_user_has_one_id_in_whatever_digits_and_marks(self, adapter: str, content: str, write: Any) -> None:
        assert outcomes(adapter, write(content)) == [("417", EIGHT, "UNKNOWN")]

    @pytest.mark.parametrize(
        ("adapter", "row"),
        [
            ("attlog", "        {user}\t2026-03-04 08:00:00\t1\t255\t1\t0\n"),
            ("csv", "No\tMchn\tEnNo\tName\tMode\tIOMd\tDateTime\n1\t1\t{user}\t\t1\t0\t2026-03-04  08:00:00\n"),
            ("csv", "No\tTMNo\tEnNo\tName\tMode\tIN/OUT\tDateTime\n1\t1\t{user}\t\t1\tF\t2026-03-04  08:00:00\n"),
        ],
    )
    def test_in_the_log_of_a_terminal_a_zero_is_nobody(self, adapter: str, row: str, write: Any) -> None:
        assert outcomes(adapter, write(row.format(user="0"))) == ["a record of nobody"]
        assert outcomes(adapter, write(row.format(user="000000000"))) == ["a record of nobody"]
        assert outcomes(adapter, write(row.format(user="00000100"))) == [("00000100", EIGHT, "UNKNOWN")]

    def test_a_person_has_one_row_of_a_grid_also_where_the_zeros_of_an_id_were_lost(self, write: Any) -> None:
        path = write(f"{MARCH[0]}\nID,1,2\n417,08:00,\n0417,05:00,\n")
        options = {"profile": "grid", "user_width": 4}
        with pytest.raises(UnreadableFile, match="its user has the row 3 already"):
            rows("csv", path, device(options=options))


class TestTimes:
    @pytest.mark.parametrize(
        ("morning", "afternoon"),
        [
            ("AM", "PM"),
            ("a. m.", "p.\u00a0m."),
            ("ص", "م"),
            ("ص.", "م."),
            ("صباحًا", "مساءً"),
            ("صباحاً", "مساءا"),
            ("صباح", "ظهراً"),
            ("ق.ظ", "ب.ظ"),
            ("قبل از ظهر", "بعدازظهر"),
            ("پ.ن", "د.ن"),
            ("ÖÖ", "ös"),
            ("π.μ.", "μμ"),
            ("SA", "CH"),
            ("de.", "du."),
        ],
    )
    def test_each_half_of_the_day_has_its_word(self, morning: str, afternoon: str) -> None:
        assert to_moment(f"2026-03-04 8:00 {morning}", None) == WALL
        assert to_moment(f"2026-03-04 08:00:00 {afternoon}", None) == WALL.replace(hour=20)
        assert to_moment(f"2026-03-04 08:00 {afternoon}x", None) is None

    @pytest.mark.parametrize("given", ["%d/%m/%Y", "%d/%m/%Y %I:%M"])
    def test_a_format_that_leaves_the_hour_open_is_refused(self, given: str, write: Any) -> None:
        with pytest.raises(ConfigurationError, match="leaves out a part of the time"):
            outcomes("csv", write("user,time\n417,04/03/2026 05:00\n"), date_format=given)


class TestMonths:
    def test_the_title_may_have_any_digits(self, write: Any) -> None:
        path = write(arabic("مارس 2026\nرقم الموظف,1,2\n417,08:00,\n"))
        assert grid(path) == [("417", "2026-03-01 08:00:00")]

    @pytest.mark.parametrize("table", [",Sun,Mon\nID,1,2\n", "ID,1,2\n,Sun,Mon\n"])
    def test_days_of_the_week_above_or_below_the_header_must_fit(self, table: str, write: Any) -> None:
        path = write(f"{MARCH[0]}\n{table}417,08:00,\n")
        assert grid(path) == [("417", "2026-03-01 08:00:00")]
        with pytest.raises(UnreadableFile, match="another day of the week"):
            grid(write(f"Attendance of April 2026\n{table}417,08:00,\n"))

    def test_columns_of_another_calendar_are_refused(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="of another calendar"):
            grid(write("ID,1405/01/01,1405/01/02\n417,08:00,08:00\n"))
