"""What the form of a file shows: for whom a row is, how its times are written, and what is refused before any row."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import device, outcomes, rows, workbook

from attendance.errors import UnreadableFile
from attendance.records.raw_event import RawEvent
from producers.devices import create_file_adapter
from producers.devices.common.tables.dates import split_times, to_moment
from producers.devices.common.tables.profiles import PROFILES
from producers.devices.contract import Ignored

EIGHT = datetime(2026, 3, 4, 5, 0, tzinfo=UTC)  # in Riyadh
FIVE = datetime(2026, 3, 4, 14, 0, tzinfo=UTC)
AGL = "No\tTMNo\tEnNo\tName\t\tGMNo\tMode\tIN/OUT\tAntipass\tDaiGong\tDateTime\tTR\r\n"
GLG = "No\tMchn\tEnNo\t\tName\t\tMode\tIOMd\tDateTime\t\r\n"


def columns(adapter: str, path: Path, **options: Any) -> dict[str, str]:
    (reading,) = create_file_adapter(adapter, ()).readings(path, device(options=options))
    return dict(reading.columns)


class TestForWhomARowIs:
    AGL_ROW = "1001\t1\t13\terick\t\t1\t1\tF\t0\t0\t2026-03-04  08:00:00\tJob Out\r\n"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
    def test_the_log_of_a_usb_stick_is_of_the_number_enrolled_and_not_of_the_record(
        self, encoding: str, write: Any
    ) -> None:
        path = write((AGL + self.AGL_ROW).encode(encoding), "AGL_001.TXT")
        assert outcomes("csv", path) == [("13", EIGHT, "UNKNOWN")]
        assert columns("csv", path)["user"] == "EnNo (column 3)"

    def test_the_same_as_a_workbook(self, tmp_path: Path) -> None:
        table = [line.split("\t") for line in (AGL + self.AGL_ROW).split("\r\n") if line]
        assert outcomes("xlsx", workbook(tmp_path / "a.xlsx", table)) == [("13", EIGHT, "UNKNOWN")]

    def test_what_stands_above_the_header_of_such_a_log_changes_nothing(self, write: Any) -> None:
        path = write("# DeviceModel = X\r\n# DeviceUID = 1\r\n" + AGL + self.AGL_ROW)
        assert outcomes("csv", path) == [("13", EIGHT, "UNKNOWN")]

    @pytest.mark.parametrize(
        "row",
        [
            "000001\t1\t000000013\t          \t1\t0\t2026/03/04  08:00:00\r\n",
            "000001\t1\t000000013\tJohn      \t1\t0\t2026/03/04  08:00:00\t\r\n",
        ],
    )
    def test_a_header_that_only_stands_above_its_columns_is_read_as_the_rows_are(self, row: str, write: Any) -> None:
        assert outcomes("csv", write(GLG + row * 2)) == [("000000013", EIGHT, "UNKNOWN")] * 2

    @pytest.mark.parametrize(
        ("word", "direction"),
        [("DutyOn", "IN"), ("DutyOff", "OUT"), ("OverTimeOn", "IN"), ("I", "IN"), ("F", "UNKNOWN")],
    )
    def test_words_of_the_log_s_direction_are_read(self, word: str, direction: str, write: Any) -> None:
        header = "No\tTMNo\tEnNo\tName\tGMNo\tMode\tIn/Out\tAntipass\tProxyWork\tDateTime"
        table = f"{header}\n1\t1\t13\ta\t1\tFP\t{word}\t0\t0\t2026-03-04 08:00:00\n"
        assert outcomes("csv", write(table)) == [("13", EIGHT, direction)]

    @pytest.mark.parametrize(
        "header",
        [
            "No,User ID,Name,Date Time,Status",
            "No.,ID Number,Name,Date/Time,Status",
            "S/N,No.,AC-No.,Date/Time,Status",
            "ID,Name,Employee ID,Punch Time,Punch State",
            "Employee ID,Employee Code,Name,Punch Time,Punch State",
            "Badge,Name,Person ID,Time,Attendance Status",
            "PIN,Name,user,time,direction",
            "No.,Name,الرقم الوظيفي,Date/Time,Status",
        ],
    )
    def test_two_columns_that_can_be_the_user_are_refused_with_both_named(self, header: str, write: Any) -> None:
        row = "1,2,3,2026-03-04 08:00:00,x\n"
        with pytest.raises(UnreadableFile, match=r"could be the user, and so could .*--profile \w+.*options\.columns"):
            rows("csv", write(f"{header}\n{row}"))

    def test_a_named_profile_decides_between_them(self, write: Any) -> None:
        path = write("No.,User ID,Name,Date/Time,Status\n1,13,Z,2026-03-04 08:00:00,C/In\n")
        assert outcomes("csv", path, profile="zktime5") == [("1", EIGHT, "IN")]
        named = {"user": "User ID", "time": "Date/Time"}
        assert outcomes("csv", path, columns=named) == [("13", EIGHT, "UNKNOWN")]

    def test_a_profile_that_would_take_a_record_number_for_the_user_is_refused_even_by_name(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="'No' counts the records and 'EnNo' is the user"):
            outcomes("csv", write(AGL + self.AGL_ROW), profile="zktime5")

    def test_the_whole_header_of_zktime5_leaves_no_doubt(self, write: Any) -> None:
        header = "Department,Name,No.,Date/Time,Status,Location ID,ID Number,VerifyCode,CardNo"
        path = write(f"{header}\nR,Z,417,2026-03-04 08:00:00,C/In,1,,FP,\n")
        assert outcomes("csv", path) == [("417", EIGHT, "IN")]

    def test_a_column_that_counts_the_rows_is_not_the_user(self, write: Any) -> None:
        lines = "".join(f"{number},Z,2026-03-04 08:00:0{number},C/In\n" for number in range(7, 10))
        with pytest.raises(UnreadableFile, match=r"'No\.' counts the rows"):
            rows("csv", write("No.,Name,Date/Time,Status\n" + lines))

    def test_two_rows_are_enough_where_the_count_begins_with_one(self, write: Any) -> None:
        path = write("No,Name,DateTime\n1,z,2026-03-04 08:00:00\n2,y,2026-03-04 08:00:00\n")
        with pytest.raises(UnreadableFile, match="'No' counts the rows"):
            rows("csv", path)

    def test_two_columns_of_one_name_are_refused_where_they_count(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="two columns are called"):
            rows("csv", write("user,time,Time\n1,2026-03-04 08:00,2026-03-04 09:00\n"))
        named = {"user": "A", "time": "T"}
        with pytest.raises(UnreadableFile, match="two columns are called"):
            outcomes("csv", write("A,a,T\n1,2,2026-03-04 08:00\n"), columns=named)

    @pytest.mark.parametrize("header", ["user,time,Record Time", "Employee ID,Date,Time,Punch Time"])
    def test_two_columns_that_can_be_the_time_are_refused(self, header: str, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="could be the time"):
            rows("csv", write(f"{header}\n1,2026-03-04 08:00,2026-03-04 09:00,1\n"))

    def test_a_column_that_was_asked_for_must_be_there(self, write: Any) -> None:
        named = {"user": "user", "time": "time", "serial": "Terminal"}
        with pytest.raises(UnreadableFile, match=r"has the columns that options\.columns names: user, time, Terminal$"):
            outcomes("csv", write("user,time\n1,2026-03-04 08:00\n"), columns=named)

    @pytest.mark.parametrize(
        ("profile", "said"),
        [
            (None, "call the column of the number user and that of date and time time"),
            ("ivms", "has the columns of the profile ivms: Person ID, Time"),
        ],
    )
    def test_where_no_header_is_known_it_is_said_how_one_is(self, profile: str | None, said: str, write: Any) -> None:
        with pytest.raises(UnreadableFile, match=said):
            outcomes("csv", write("wer,wann\n1,2026-03-04 08:00\n"), profile=profile)

    def test_names_of_columns_above_a_table_that_is_read_by_places_are_no_punch(self, write: Any) -> None:
        path = write("Legajo,Hora\n417,2026-03-04 08:00\n")
        assert outcomes("csv", path, columns={"user": 1, "time": 2}) == ["a header", ("417", EIGHT, "UNKNOWN")]

    @settings(max_examples=60, deadline=None)
    @given(st.permutations(["No", "TMNo", "EnNo", "Name", "Mode", "IN/OUT", "DateTime"]), st.integers(1, 10**6))
    def test_in_whatever_order_the_columns_are_the_number_enrolled_is_the_user(
        self, tmp_path_factory: Any, names: Sequence[str], user: int
    ) -> None:
        path = tmp_path_factory.mktemp("agl") / "AGL_001.TXT"
        values = {"No": "7", "TMNo": "1", "EnNo": str(user), "Name": "Z", "Mode": "1", "IN/OUT": "F"}
        values["DateTime"] = "2026-03-04  08:00:00"
        path.write_text("\t".join(names) + "\n" + "\t".join(values[name] for name in names) + "\n")
        assert outcomes("csv", path) == [(str(user), EIGHT, "UNKNOWN")]


class TestHowARowIsLaidOut:
    def test_a_last_column_without_a_name_rejects_no_row(self, write: Any) -> None:
        path = write("user\ttime\tdirection\t\n1\t2026-03-04 08:00:00\tin\tJob Out\n2\t2026-03-04 08:00:00\tout\t\n")
        assert outcomes("csv", path) == [("1", EIGHT, "IN"), ("2", EIGHT, "OUT")]

    def test_a_header_with_a_tab_at_its_end_and_rows_without_are_read(self, write: Any) -> None:
        path = write("user\ttime\t\n1\t2026-03-04 08:00:00\n2\t2026-03-04 08:00:00\t \n")
        assert outcomes("csv", path) == [("1", EIGHT, "UNKNOWN"), ("2", EIGHT, "UNKNOWN")]

    def test_a_row_that_is_longer_than_the_others_may_be_shifted_and_is_rejected(self, write: Any) -> None:
        path = write("time,name,user,\n2026-03-04 08:00,Zoe,1\n2026-03-04 08:00,Doe, Al,1\n")
        assert outcomes("csv", path)[1] == "4 columns, but the header has 3"

    def test_a_table_of_which_no_row_fits_the_header_is_refused(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="no row has as many cells as the header, which has 3: line 2 has 2"):
            rows("csv", write("user,time,direction\n" + "1,2026-03-04 08:00\n" * 2))

    @pytest.mark.parametrize("adapter", ["csv", "attlog"])
    @pytest.mark.parametrize("end", [b"\0" * 5, b"\r\n" + b"\0" * 300_000, b"\r\n\x1a"])
    def test_nul_bytes_at_the_end_are_no_part_of_a_file(self, adapter: str, end: bytes, write: Any) -> None:
        start = "user\ttime\n" if adapter == "csv" else ""
        path = write(f"{start}1\t2026-03-04 08:00:00".encode() + end)
        assert outcomes(adapter, path) == [("1", EIGHT, "UNKNOWN")]

    @pytest.mark.parametrize("gap", [b"\0" * 3, b"\0" * 2_000_000])
    def test_nul_bytes_among_the_lines_are_a_broken_file(self, gap: bytes, write: Any) -> None:
        row = b"1\t2026-03-04 08:00:00\n"
        with pytest.raises(UnreadableFile, match=r"binary|broken"):
            rows("attlog", write(row + gap + row))

    @pytest.mark.parametrize(
        "row", ["Total,2,", "Total", "Grand Total:,,", ",Total,2", "الإجمالي,2,", "total punches 2,,", "Subtotal,-,"]
    )
    def test_a_sum_below_the_rows_is_no_punch(self, row: str, write: Any) -> None:
        path = write(f"user,time,direction\n1,2026-03-04 08:00,in\n{row}\n2,2026-03-04 08:00,in\n")
        found = rows("csv", path)
        assert [type(each.outcome) for each in found] == [RawEvent, Ignored, RawEvent]

    def test_a_user_of_that_name_punches(self, write: Any) -> None:
        assert outcomes("csv", write("user,time\nTotal,2026-03-04 08:00\n")) == [("Total", EIGHT, "UNKNOWN")]


class TestHowATimeIsWritten:
    @pytest.mark.parametrize(
        "time",
        [
            "2026-03-04 8:00:00 ص",
            "2026-03-04 08:00 صباحًا",
            "\u200f04/03/2026\u200f 08:00:00 ص",
            "04/03/2026 8:00 a. m.",
            "04/03/2026 08.00.00",
            "04.03.26 08:00",
            "2026/3/4 上午 8:00",
            "2026-03-04 오전 8:00:00",
            "04.03.2026 8:00 ÖÖ",
            "".join(chr(0x660 + int(each)) if each.isdigit() else each for each in "2026-03-04 08:00:00"),
            "2026-03-04 08:00:00,000",
        ],
    )
    def test_other_languages_write_the_same_time(self, time: str, write: Any) -> None:
        path = write(f'user;time\n1;{time}\n1;"13/03/2026 08:00"\n')
        assert outcomes("csv", path, date_format="dmy")[0] == ("1", EIGHT, "UNKNOWN")

    @pytest.mark.parametrize(
        "time", ["2026-03-04 05:00 م", "2026-03-04 5:00 مساءً", "2026-03-04 下午 05:00", "2026-03-04 5:00p"]
    )
    def test_the_afternoon_is_known_by_its_word(self, time: str, write: Any) -> None:
        assert outcomes("csv", write(f"user,time\n1,{time}\n")) == [("1", FIVE, "UNKNOWN")]

    def test_a_clock_with_dots_is_read_in_a_column_of_its_own(self, write: Any) -> None:
        path = write("user,date,time\n1,2026-03-04,08.00.00\n")
        assert outcomes("csv", path) == [("1", EIGHT, "UNKNOWN")]

    @pytest.mark.parametrize(
        ("header", "row"),
        [
            ("user;time", "1;46085.33333"),
            ("user;time", "1;46085,333333"),
            ("user;date;time", "1;46085;0.333333"),
            ("user;date;time", "1;46085;,333333"),
            ("user;date;time", "1;2026-03-04;0.333333"),
        ],
    )
    def test_a_spreadsheet_s_numbers_are_read_by_an_option_and_refused_without(
        self, header: str, row: str, write: Any
    ) -> None:
        path = write(f"{header}\n{row}\n")
        with pytest.raises(UnreadableFile, match=r"line 2: .*number of a day.*options\.date_format excel"):
            rows("csv", path)
        assert outcomes("csv", path, date_format="excel") == [("1", EIGHT, "UNKNOWN")]

    def test_the_other_spreadsheet_counts_from_1904(self, write: Any) -> None:
        path = write("user,time\n1,44623.333333\n")
        assert outcomes("csv", path, date_format="excel1904") == [("1", EIGHT, "UNKNOWN")]

    @pytest.mark.parametrize(
        "time", ["1404-12-13 08:00:00", "1447/09/15 08:00", "15/09/1447 08:00", "2569-03-04 08:00:00"]
    )
    @pytest.mark.parametrize("adapter", ["csv", "attlog"])
    def test_another_calendar_is_refused(self, adapter: str, time: str, write: Any) -> None:
        start = "user\ttime\n" if adapter == "csv" else ""
        with pytest.raises(UnreadableFile, match="of another calendar"):
            rows(adapter, write(f"{start}1\t{time}\n2\t{time}\n"))

    def test_one_year_of_another_calendar_is_a_broken_row_among_others(self, write: Any) -> None:
        path = write("user,time\n1,2026-03-04 08:00\n1,2026-03-04 17:00\n1,1404-12-13 08:00\n")
        assert len(rows("csv", path)) == 3

    @pytest.mark.parametrize(
        "time", ["08:00", "2026-03-04", "04/03/2026", "08.01.11", "20260304080000", "yesterday", "-"]
    )
    def test_a_table_without_any_time_that_can_be_read_is_refused(self, time: str, write: Any) -> None:
        path = write(f"user,time\n1,{time}\n2,{time}\n")
        with pytest.raises(UnreadableFile, match=r"line 2: .* is no date with a time of day.*options\.date_format"):
            outcomes("csv", path, date_format="dmy")

    def test_a_year_of_two_digits_may_be_first(self, write: Any) -> None:
        assert outcomes("csv", write("user,time\n1,26.03.04 08:00\n1,26.03.14 08:00\n"))[0] == ("1", EIGHT, "UNKNOWN")

    @pytest.mark.parametrize("date", ["16.03.17", "17.03.16"])
    def test_a_year_and_a_day_that_could_be_exchanged_are_refused_and_the_option_decides(
        self, date: str, write: Any
    ) -> None:
        path = write(f"user,time\n1,{date} 08:00\n")
        with pytest.raises(UnreadableFile, match=r"year and day could be exchanged.*dmy, mdy or ymd"):
            rows("csv", path)
        (found,) = outcomes("csv", path, date_format="ymd")
        assert f"{found[1]:%y.%m.%d}" == date

    def test_years_of_two_digits_that_contradict_each_other_are_refused(self, write: Any) -> None:
        path = write("user,time\n1,31.12.25 08:00\n1,26.01.31 08:00\n")
        with pytest.raises(
            UnreadableFile, match="dates of two orders: line 2 with the day first and line 3 with the year"
        ):
            rows("csv", path)


class TestSeveralTimesInACell:
    CELLS = ("08:00 17:00", "08:00:00;17:00:00", "08:0017:00", "08:00-17:00", "8:00 AM / 5:00 PM", "08:00,17:00")

    @pytest.mark.parametrize("cell", CELLS)
    @pytest.mark.parametrize("header", ["user\tdate\ttime", "user\ttime"])
    def test_they_are_refused_before_any_row_and_read_by_an_option(self, header: str, cell: str, write: Any) -> None:
        day = "2026-03-04\t" if "date" in header else "2026-03-04 "
        path = write(f"{header}\n7\t{day}08:00\n1\t{day}{cell}\n")
        with pytest.raises(UnreadableFile, match=r"line 3: .* is more than one time; with options\.several_times"):
            next(iter(create_file_adapter("csv", ()).rows(path, device(), {})))
        found = outcomes("csv", path, several_times=True)
        assert found == [("7", EIGHT, "UNKNOWN"), ("1", EIGHT, "UNKNOWN"), ("1", FIVE, "UNKNOWN")]

    def test_each_may_have_its_date(self, write: Any) -> None:
        path = write('user,time\n1,"04/03/2026 08:00, 13/03/2026 17:00"\n')
        found = outcomes("csv", path, several_times=True)
        assert found == [("1", EIGHT, "UNKNOWN"), ("1", FIVE + timedelta(days=9), "UNKNOWN")]

    def test_they_are_one_row_of_the_file(self, write: Any) -> None:
        path = write("user,time\n1,2026-03-04 08:00 17:00\n")
        found = rows("csv", path, device(options={"several_times": True}))
        assert [(each.line, each.is_further) for each in found] == [(2, False), (2, True)]

    @pytest.mark.parametrize("time", ["2026-03-04 08:00:00+03:00", "2026-03-04T00:00:00-05:00", "2026-03-04T05:00:00Z"])
    def test_an_offset_from_utc_is_no_second_time(self, time: str, write: Any) -> None:
        assert outcomes("csv", write(f"user,time\n1,{time}\n")) == [("1", EIGHT, "UNKNOWN")]

    @given(st.lists(st.times(), min_size=1, max_size=6), st.sampled_from([" ", "; ", ",", "\n", "/"]))
    def test_any_times_are_found_again_each_with_its_date(self, times: list[Any], between: str) -> None:
        written = "2026-03-04 " + between.join(f"{each:%H:%M:%S}" for each in times)
        found = [to_moment(each, None) for each in split_times(written)]
        assert found == [datetime(2026, 3, 4, each.hour, each.minute, each.second) for each in times]  # noqa: DTZ001 - a wall clock

    @given(st.text(max_size=40))
    def test_any_text_is_taken_apart_or_left_as_it_is(self, text: str) -> None:
        found = split_times(text)
        assert found == [text] or len(found) > 1


class TestAttlog:
    def test_spaces_may_stand_for_tabs(self, write: Any) -> None:
        path = write("        417 2026-03-04 08:00:00 1  0  1 0\n          5  2026-03-04 08:00:00 1 1 1 0\n")
        assert outcomes("attlog", path) == [("417", EIGHT, "IN"), ("5", EIGHT, "OUT")]

    @pytest.mark.parametrize(
        "time", ["04/03/2026 08:00:00", "04-03-2026 08:00", "4/3/2026 8:00:00 AM", "04.03.26 08:00"]
    )
    def test_the_day_may_be_first(self, time: str, write: Any) -> None:
        path = write(f"1\t{time}\t0\n1\t14/03/2026 08:00:00\t0\n")
        assert outcomes("attlog", path)[0] == ("1", EIGHT, "IN")

    def test_days_and_months_that_could_be_exchanged_are_refused_and_the_option_decides(self, write: Any) -> None:
        path = write("1\t04/03/2026 08:00:00\t0\n")
        with pytest.raises(UnreadableFile, match=r"exchanged.*options\.date_format"):
            rows("attlog", path)
        assert outcomes("attlog", path, date_format="dmy") == [("1", EIGHT, "IN")]

    @pytest.mark.parametrize("more", [6, 7, 8, 10])
    def test_a_number_of_columns_that_is_not_known_is_refused_with_the_option_that_names_them(
        self, more: int, write: Any
    ) -> None:
        path = write("1\t2026-03-04 08:00:00" + "\t0" * more + "\n")
        ignored = ["ignored"] * (more - 1)
        with pytest.raises(
            UnreadableFile, match=rf"{more + 2} columns are not known, options\.columns names them: \[user"
        ):
            rows("attlog", path)
        assert outcomes("attlog", path, columns=["user", "time", "state", *ignored]) == [("1", EIGHT, "IN")]

    def test_what_is_another_table_is_refused_with_what_reads_it(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match=r"options\.columns.*--profile csv"):
            rows("attlog", write("1,2026-03-04 08:00:00,0\n"))

    def test_columns_that_were_named_and_do_not_fit_are_refused(self, write: Any) -> None:
        with pytest.raises(UnreadableFile, match="is no time that is known"):
            outcomes("attlog", write("1\tx\t2026-03-04 08:00:00\n"), columns=["user", "time", "ignored"])


def test_every_profile_reads_a_table_of_its_own_columns(write: Any) -> None:
    for name, profile in PROFILES.items():
        values = {profile.user: "417"}
        if profile.time:
            values[profile.time] = "2026-03-04 08:00:00"
        else:
            values |= {profile.date: "2026-03-04", profile.clock: "08:00:00"}
        values |= dict.fromkeys(profile.also, "1")
        path = write(",".join(values) + "\n" + ",".join(values.values()) + "\n")
        (reading,) = create_file_adapter("csv", ()).readings(path, device())
        assert reading.profile == name
        assert outcomes("csv", path)[0][:2] == ("417", EIGHT)
