"""Monthly grids: a row a person, a column a day, several times in a cell."""

import calendar
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import device, rows, workbook

from attendance.errors import ConfigurationError, InvalidRecord, UnreadableFile
from attendance.records.raw_event import RawEvent
from producers.devices import create_file_adapter
from producers.devices.common.tables.month import day_of, find_evidence
from producers.devices.contract import Reading, Rejected

TITLE = "Attendance of March 2026\n"
Found = list[tuple[str, str]]


def punches(path: Path, **options: Any) -> Found:
    """User and wall-clock time of each punch."""
    adapter = "xlsx" if path.suffix == ".xlsx" else "csv"
    found = rows(adapter, path, device(options={"profile": "grid", **options}))
    return [
        (row.outcome.device_user_id, (row.outcome.device_time or "").removesuffix(":00"))
        for row in found
        if isinstance(row.outcome, RawEvent)
    ]


def reading(path: Path, **options: Any) -> Reading:
    (found,) = create_file_adapter("csv", ()).readings(path, device(options={"profile": "grid", **options}))
    return found


def refused(path: Path, said: str, **options: Any) -> None:
    with pytest.raises(UnreadableFile, match=said):
        punches(path, **options)


class TestCells:
    @pytest.mark.parametrize(
        "cell",
        [
            "08:00 17:00",
            '"08:00\n17:00"',
            "08:0017:00",
            "08:00;17:00",
            "08:00 / 17:00",
            "08:00-17:00",
            "8:00 AM 5:00 PM",
        ],
    )
    def test_each_time_of_a_cell_is_a_punch_of_its_person_and_day(self, cell: str, write: Any) -> None:
        path = write(f"{TITLE}ID\tName\t1\t2\t3\n417\tZoe\t\t{cell}\t\n")
        assert punches(path) == [("417", "2026-03-02 08:00"), ("417", "2026-03-02 17:00")]

    def test_words_are_no_punches(self, write: Any) -> None:
        path = write(f"{TITLE}ID,Name,1,2,3\n417,Zoe,A,WO,--\n5,Al,Absent,08:00 --,-\n")
        assert punches(path) == [("5", "2026-03-02 08:00")]

    @pytest.mark.parametrize("cell", ["8.5", "8", "0", "1", "08:00*", "08:00 (2)", "25:00", "08:60", "8h30", "2026"])
    def test_what_has_digits_and_is_no_time_refuses_the_grid(self, cell: str, write: Any) -> None:
        refused(write(f"{TITLE}ID,Name,1,2\n417,Zoe,08:00 17:00,{cell}\n"), "line 3, column '2'")

    def test_a_sum_of_the_month_is_in_a_column_with_a_name_and_no_punch(self, write: Any) -> None:
        path = write(f"{TITLE}ID,1,2,Total,Hours\n417,08:00 17:00,,2,09:00\nTotal,1,0,1,09:00\n")
        assert punches(path) == [("417", "2026-03-01 08:00"), ("417", "2026-03-01 17:00")]

    def test_times_where_the_header_has_no_day_refuse_the_grid(self, write: Any) -> None:
        refused(write(f"{TITLE}ID,1,,2\n417,08:00,17:00,08:00\n"), "times in column 3, which has no day")

    def test_cells_of_hours_are_suspected_by_their_title(self, write: Any) -> None:
        refused(write("Working hours March 2026\nID,1,2\n417,08:30,07:45\n"), "it is of hours")

    def test_a_sheet_of_hours_beside_that_of_times_is_refused(self, tmp_path: Path) -> None:
        times = [["March 2026"], ["ID", 1, 2], [417, "08:00 17:00", None]]
        hours = [["March 2026"], ["ID", 1, 2], [417, "08:30", "01:00"]]
        path = workbook(tmp_path / "a.xlsx", times, hours)
        refused(path, r"persons whom .*'Page 1' has on the same days; options\.sheet")
        assert len(punches(path, sheet="Page 1")) == 2
        other = [["March 2026"], ["ID", 1, 2], [5, "08:30 17:00", None]]
        assert len(punches(workbook(tmp_path / "b.xlsx", times, other))) == 4

    def test_midnight_alone_is_a_punch_or_none_by_an_option(self, write: Any) -> None:
        path = write(f"{TITLE}ID,1,2\n417,00:00,08:00 17:00\n")
        refused(path, r"00:00 and nothing else; options\.midnight")
        assert len(punches(path, midnight="punch")) == 3
        assert len(punches(path, midnight="nothing")) == 2

    def test_a_workbook_has_times_as_times_and_as_text(self, tmp_path: Path) -> None:
        days = [datetime(2026, 3, day) for day in (1, 2, 3)]  # noqa: DTZ001 - a wall clock
        table = [["Emp ID", "Name", *days], [417, "Zoe", time(8), "08:00\n17:00", None]]
        assert punches(workbook(tmp_path / "a.xlsx", table)) == [
            ("417", "2026-03-01 08:00"),
            ("417", "2026-03-02 08:00"),
            ("417", "2026-03-02 17:00"),
        ]

    @pytest.mark.parametrize("cell", [0.5, 1, timedelta(hours=9), datetime(2026, 3, 9, 8)])  # noqa: DTZ001 - a wall clock
    def test_a_number_or_a_duration_in_a_workbook_is_no_time(self, cell: Any, tmp_path: Path) -> None:
        table = [["March 2026"], ["ID", 1, 2], [417, "08:00 17:00", cell]]
        refused(workbook(tmp_path / "a.xlsx", table), "no time of day")


class TestPersons:
    @pytest.mark.parametrize("header", ["No.,Emp ID,1,2", "ID,Badge,1,2", "User,Employee Code,1,2"])
    def test_two_columns_that_can_be_the_user_refuse_the_grid_and_the_option_decides(
        self, header: str, write: Any
    ) -> None:
        path = write(f"{TITLE}{header}\n1,417,08:00,\n")
        refused(path, r"could be the user; options\.columns\.user")
        assert punches(path, columns={"user": header.split(",")[1]}) == [("417", "2026-03-01 08:00")]
        assert punches(path, columns={"user": 2}) == [("417", "2026-03-01 08:00")]

    def test_a_running_number_beside_is_no_user(self, write: Any) -> None:
        assert punches(write(f"{TITLE}S.No,Emp Code,1,2\n1,417,08:00,\n")) == [("417", "2026-03-01 08:00")]

    def test_no_column_of_users_is_refused(self, write: Any) -> None:
        refused(write(f"{TITLE}Name,1,2\nZoe,08:00,\n"), r"options\.columns\.user names it")

    def test_times_without_a_user_are_nobody_s(self, write: Any) -> None:
        refused(write(f"{TITLE}ID,Name,1,2\n417,Zoe,08:00,\n,,17:00,\n"), "line 4: it has times and no user")

    def test_a_second_row_of_a_person_may_hold_hours(self, write: Any) -> None:
        refused(write(f"{TITLE}ID,Type,1,2\n417,In,08:00,\n417,Worked,09:00,\n"), "the row 3 already")

    @pytest.mark.parametrize("row", ["417,Zoe,08:00", "417,Zoe,08:00,,17:00", '417,"Zoe\n418,Al",08:00,'])
    def test_a_row_that_is_shifted_or_cut_off_refuses_the_grid(self, row: str, write: Any) -> None:
        refused(write(f"{TITLE}ID,Name,1,2\n5,Al,08:00,\n{row}\n"), "line 4")

    def test_a_stray_quotation_mark_swallows_nothing(self, write: Any) -> None:
        refused(write(f'{TITLE}ID,Name,1,2\n417,"Zoe,08:00,\n5,Al,08:00,\n'), "line")

    def test_a_user_id_that_a_spreadsheet_rounded_rejects_its_row(self, write: Any) -> None:
        path = write(f"{TITLE}ID,1,2\n4.17E+11,08:00 17:00,\n5,08:00,\n")
        found = rows("csv", path, device(options={"profile": "grid"}))
        assert [type(each.outcome).__name__ for each in found] == ["Rejected", "RawEvent"]

    @pytest.mark.parametrize("adapter", ["csv", "xlsx"])
    def test_a_row_that_was_rejected_is_read_again_with_the_times_that_its_grid_decided(
        self, adapter: str, tmp_path: Path
    ) -> None:
        user = "7" * 300
        path = tmp_path / f"2026-03.{adapter}"
        if adapter == "csv":
            path.write_text(f"ID,1,2\n{user},22:00 06:00,\n")
        else:
            workbook(path, [["ID", 1, 2], [user, "22:00 06:00", None]])
        entry = device(options={"profile": "grid", "after_midnight": "next_day"})
        (row,) = rows(adapter, path, entry)
        assert isinstance(row.outcome, Rejected)
        assert row.outcome.raw is not None
        raw = row.outcome.raw.replace(user.encode(), b"417")
        again = list(create_file_adapter(adapter, ()).read_again(raw, entry, {}, datetime(2026, 4, 1, tzinfo=UTC)))
        found = [(each.line, each.outcome.device_time) for each in again if isinstance(each.outcome, RawEvent)]
        assert found == [(2, "2026-03-01 22:00:00"), (2, "2026-03-02 06:00:00")]
        with pytest.raises(InvalidRecord):
            list(create_file_adapter(adapter, ()).read_again(b"{}", entry, {}, datetime(2026, 4, 1, tzinfo=UTC)))

    def test_pages_repeat_the_header_and_end_in_a_sentence(self, write: Any) -> None:
        page = "ID,Name,1,2\n{},Zoe,08:00,\n"
        path = write(TITLE + page.format(1) + page.format(2) + "Printed by the office on 2026-04-02\n")
        assert [user for user, _ in punches(path)] == ["1", "2"]


class TestMonth:
    GRID = "ID,Name,1,2\n417,Zoe,,08:00\n"
    FOUND = (("417", "2026-03-02 08:00"),)

    @pytest.mark.parametrize(
        "above",
        [
            "March 2026",
            "Month: Mar-2026",
            "Month:,March,Year:,2026",
            "2026-03",
            "Report 03/2026",
            "شهر مارس 2026",
            "2026年3月",
            "Period: 2026-03-01 ~ 2026-03-31",
            "From 01/03/2026 to 31/03/2026",
            "1 March 2026 - 31 March 2026",
            "Month 2026-03-01 00:00:00",
            "March 2026\nPrinted 2026-04-02 10:00",
        ],
    )
    def test_a_title_says_it(self, above: str, write: Any) -> None:
        days = ",".join(map(str, range(1, 32)))
        path = write(f"{above}\nID,{days}\n417,,08:00{',' * 29}\n")
        assert punches(path) == list(self.FOUND)

    @pytest.mark.parametrize("name", ["2026-03.csv", "attendance_2026_03.csv", "Grid March 2026.csv", "03-2026.csv"])
    def test_the_name_of_the_file_says_it(self, name: str, write: Any) -> None:
        assert punches(write(self.GRID, name)) == list(self.FOUND)

    @pytest.mark.parametrize("header", ["2026-03-01,2026-03-02", "01/03/2026,02/03/2026", "03/01/2026,03/02/2026"])
    def test_the_header_says_it(self, header: str, write: Any) -> None:
        assert punches(write(f"ID,{header}\n417,,08:00\n")) == list(self.FOUND)

    @pytest.mark.parametrize(
        "header", ["1-Mar,2-Mar", "Mar 1,Mar 2", "01/03,02/03", "03/01,03/02", "1 Sun,2 Mon", "Day 1,Day 2"]
    )
    def test_the_header_says_a_part_and_the_title_the_rest(self, header: str, write: Any) -> None:
        assert punches(write(f"{TITLE}ID,{header}\n417,,08:00\n")) == list(self.FOUND)

    @pytest.mark.parametrize("name", ["grid.csv", "2026-04-02.csv", "20260402.csv", "grid 2026.csv", "March.csv"])
    def test_what_nothing_says_is_refused_and_an_option_says_it(self, name: str, write: Any) -> None:
        path = write(self.GRID, name)
        refused(path, r"which month it is of .*options\.month")
        assert punches(path, month="2026-03") == list(self.FOUND)

    @pytest.mark.parametrize(
        ("content", "name", "options"),
        [
            ("April 2026\n" + GRID, "2026-03.csv", {}),
            ("March 2026\nApril 2026\n" + GRID, "a.csv", {}),
            ("April 2026\n" + GRID, "a.csv", {"month": "2026-03"}),
            ("ID,2026-04-01,2026-04-02\n417,,08:00\n", "a.csv", {"month": "2026-03"}),
            ("March 2026\nID,1-Apr,2-Apr\n417,,08:00\n", "a.csv", {}),
            ("March 2026\nID,1 Mon,2 Tue\n417,,08:00\n", "a.csv", {}),
            ("March 2026\nID,1,2\n,Mon,Tue\n417,,08:00\n", "a.csv", {}),
            ("April 2026\nID,30,31\n417,,08:00\n", "a.csv", {}),
            ("March 2026\nID,1,1\n417,,08:00\n", "a.csv", {}),
            ("From 01/02/2026 to 31/03/2026\n" + GRID, "a.csv", {}),
        ],
    )
    def test_two_that_say_it_differently_are_refused(
        self, content: str, name: str, options: dict[str, Any], write: Any
    ) -> None:
        refused(write(content, name), r"\w", **options)

    def test_a_month_that_begins_on_another_day_needs_its_first_date(self, write: Any) -> None:
        path = write("ID,30,31,1,2\n417,08:00,,17:00,\n")
        refused(path, "which month", month=None)
        refused(path, "into the next", month="2026-03")
        found = [("417", "2026-03-30 08:00"), ("417", "2026-04-01 17:00")]
        assert punches(path, month="2026-03-30") == found
        assert punches(path, month=date(2026, 3, 30)) == found

    def test_a_period_over_two_months_says_the_date_of_each_column(self, write: Any) -> None:
        days = [*range(26, 29), *range(1, 26)]
        header = ",".join(map(str, days))
        path = write(f"26/02/2026 - 25/03/2026\nID,{header}\n417,08:00,,,17:00{',' * 24}\n")
        assert punches(path) == [("417", "2026-02-26 08:00"), ("417", "2026-03-01 17:00")]

    @pytest.mark.parametrize("month", ["2026", "2026-13", "March", "2026-02-30", "1404-12"])
    def test_a_month_that_is_none_is_refused(self, month: str, write: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"options\.month"):
            punches(write(self.GRID), month=month)


class TestNights:
    GRID = f"{TITLE}ID,1,2\n417,22:00 06:00,06:00 22:00\n"

    def test_times_after_midnight_stay_on_the_day_of_their_column_and_this_is_said(self, write: Any) -> None:
        path = write(self.GRID)
        assert [when for _, when in punches(path)][:2] == ["2026-03-01 22:00", "2026-03-01 06:00"]
        assert any("options.after_midnight" in each for each in reading(path).notes)

    def test_by_an_option_a_time_before_the_one_above_it_is_of_the_next_day(self, write: Any) -> None:
        assert [when for _, when in punches(write(self.GRID), after_midnight="next_day")] == [
            "2026-03-01 22:00",
            "2026-03-02 06:00",
            "2026-03-02 06:00",
            "2026-03-02 22:00",
        ]

    @pytest.mark.parametrize("limit", ["07:00", 7 * 60])
    def test_by_an_option_a_time_before_the_day_s_begin_is_of_the_next_day(self, limit: Any, write: Any) -> None:
        found = [when for _, when in punches(write(self.GRID), after_midnight=limit)]
        assert found == ["2026-03-01 22:00", "2026-03-02 06:00", "2026-03-03 06:00", "2026-03-02 22:00"]

    def test_any_other_value_is_refused(self, write: Any) -> None:
        with pytest.raises(ConfigurationError, match="after_midnight"):
            punches(write(self.GRID), after_midnight="tomorrow")


class TestShown:
    def test_which_column_is_the_user_and_which_dates_the_days_are(self, write: Any) -> None:
        found = reading(write(TestMonth.GRID, "2026-03.csv"))
        assert found.columns == {"user": "ID (column 1)", "days": "2026-03-01 to 2026-03-02 (columns 3 to 4)"}
        assert "The month is from the name '2026-03'." in found.notes

    @pytest.mark.parametrize("adapter", ["csv", "xlsx"])
    def test_a_grid_that_nobody_called_one_is_refused_with_the_profile_that_reads_it(
        self, adapter: str, write: Any, tmp_path: Path
    ) -> None:
        path = write(TITLE + TestMonth.GRID)
        if adapter == "xlsx":
            path = workbook(tmp_path / "a.xlsx", [["ID", "Name", 1, 2], [417, "Zoe", None, "08:00"]])
        with pytest.raises(UnreadableFile, match="--profile grid"):
            rows(adapter, path)

    def test_a_table_that_is_no_grid_is_refused_as_one(self, write: Any) -> None:
        refused(write("user,time\n1,2026-03-04 08:00\n"), "has a column for each day")


times_of_a_day = st.lists(st.integers(1, 24 * 60 - 1), max_size=5, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(
    st.dates(date(2020, 1, 1), date(2030, 12, 31)),
    st.dictionaries(st.integers(1, 9999).map(str), st.lists(times_of_a_day, min_size=31, max_size=31), max_size=5),
    st.sampled_from([" ", "\n", "; ", ""]),
    st.sampled_from(["title", "option", "header", "name"]),
)
def test_every_punch_that_was_written_is_read_for_its_person_and_minute(
    tmp_path_factory: Any, month: date, people: dict[str, Sequence[Sequence[int]]], between: str, says: str
) -> None:
    length = calendar.monthrange(month.year, month.month)[1]
    days = [date(month.year, month.month, day) for day in range(1, length + 1)]
    lines = [f"{month:%B %Y}"] if says == "title" else []
    lines.append(";".join(["ID", "Name", *(str(day) if says == "header" else str(day.day) for day in days)]))
    written: Found = []
    for user, minutes in people.items():
        cells = []
        for day, each in zip(days, minutes, strict=False):
            cells.append('"' + between.join(f"{minute // 60:02}:{minute % 60:02}" for minute in each) + '"')
            written += [(user, f"{day} {minute // 60:02}:{minute % 60:02}") for minute in each]
        lines.append(";".join([user, "Zoe", *(each.replace(";", ",") for each in cells)]))
    path = tmp_path_factory.mktemp("grid") / (f"{month:%Y-%m}.csv" if says == "name" else "grid.csv")
    path.write_text("\n".join(lines) + "\n")
    options = {"month": f"{month:%Y-%m}"} if says == "option" else {}
    if not written:
        refused(path, "no cell of its days holds a time", **options)
    else:
        assert punches(path, **options) == written


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text(max_size=8), max_size=6), max_size=6))
def test_any_table_is_read_or_refused(tmp_path_factory: Any, table: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("grid") / "2026-03.csv"
    path.write_text("ID,1,2,3\n" + "\n".join(",".join(row) for row in table), encoding="utf-8", errors="replace")
    with suppress(UnreadableFile):
        assert all(when.startswith("2026-03-0") for _, when in punches(path))


@given(st.text(max_size=30))
def test_any_text_says_a_month_or_nothing(text: str) -> None:
    assert all(each.texts or each.month for each in find_evidence("it", text))
    day_of(text, "dmy")
