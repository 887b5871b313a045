"""Of a record that was asked for, and of a row of a file, only listed fields are kept; it is read again as it was."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from attendance.errors import InvalidRecord
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from producers.devices import create_file_adapter, create_pull_adapter
from producers.devices.contract import Fetch, Page, PullAdapter, Rejected, Row, Tools
from producers.devices.zkteco.attendance_log import WIDTHS, Log, Users

NOW: Final = datetime(2026, 3, 2, 5, 1, tzinfo=UTC)
HIDDEN: Final = ("Yasmin", "hunter2-4711", "784-1984-1234567-1", "70,77,82,0,134,9")
LONG: Final = "9" * 300  # no user id is as long, so that the record is rejected

REST: Final = {
    "path": "/",
    "query": {"since": "{from}"},
    "fields": {"user": "who.person.no", "time": "at.time", "direction": "way", "serial": "at.door", "sequence": "id"},
}
SQL: Final = {
    "query": 'SELECT id AS sequence, a AS "user", b AS "time" FROM t WHERE id > :cursor',
    "read_database": True,
}
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "rest": REST,
    "sql": SQL,
    "biotime_sql": {"read_database": True},
    "etimetracklite": {"read_database": True},
}


def entry(name: str, mode: str, **more: object) -> Device:
    options = dict(OPTIONS.get(name, {}))
    return Device.model_validate(
        {"device_id": "D", "site": "s", "timezone": "Asia/Riyadh", "mode": mode, "adapter": name, "host": "192.0.2.4"}
        | {"options": options}
        | more
    )


def rest(user: object, extra: Mapping[str, object]) -> object:
    at = {"time": "2026-03-02T08:00:00", "door": "T9", **extra}
    return {"who": {"person": {"no": user, **extra}, **extra}, "at": at, "way": "IN", "id": 5, **extra}


def row_of(user: str, **columns: object) -> Any:
    def row(value: object, extra: Mapping[str, object]) -> object:
        return {"row": {user: value, **columns, **extra}, "serials": {}}

    return row


RECORDS: Final[Mapping[str, Any]] = {
    "rest": rest,
    "sql": row_of("user", time="2026-03-02 08:00:00", direction="in", sequence=5, serial=None),
    "biotime_sql": row_of(
        "emp_code", punch_time="2026-03-02 08:00:00", punch_state="0", id=5, terminal_sn="T9", verify_type=1
    ),
    "etimetracklite": row_of("UserId", LogDate="2026-03-02 08:00:00", Direction="in", DeviceLogId=5, DeviceId=3),
    "zkbiotime": lambda user, extra: {
        "id": 5,
        "emp_code": user,
        "punch_time": "2026-03-02 08:00:00",
        "punch_state": "0",
        "terminal_sn": "T9",
        "verify_type": 15,
        **extra,
    },
}
TERMINAL: Final = entry("sql", "pull", device_id="T", serial="T9", via="D", host=None)


@cache
def adapter_of(name: str) -> PullAdapter:
    return create_pull_adapter(name, Tools(httpx.AsyncClient(verify=False), lambda *_: "", ()))


def pulled(name: str, raw: bytes) -> Page:
    return adapter_of(name).read_again(raw, Fetch(entry(name, "pull"), {"T9": TERMINAL}, None, None, NOW))


def said(page: Page) -> object:
    return (
        [(each.event_id, each.device_id, each.sequence, dict(each.payload)) for each in page.events],
        [(each.reason, each.message) for each in page.rejected],
    )


def left_of(page: Page) -> bytes:
    """All that Kafka would have."""
    kept = [event.encode() for event in page.events]
    kept += [each.value + (each.raw or b"") + each.message.encode() for each in page.rejected]
    return b"\n".join(kept)


ADDED: Final = st.dictionaries(
    st.sampled_from(("p1", "Full Name", "x y", "zz", "modelData", "remark", "Yasmin Zuleikha")),
    st.recursive(
        st.sampled_from(HIDDEN),
        lambda inner: st.lists(inner, min_size=1) | st.dictionaries(st.just("k"), inner, min_size=1),
        max_leaves=4,
    ),
    min_size=1,
)


@pytest.mark.parametrize("name", RECORDS)
@given(extra=ADDED, user=st.sampled_from([LONG, "", None, "7\N{REPLACEMENT CHARACTER}", "000417"]))
def test_whatever_field_is_added_to_a_record_is_not_kept(name: str, extra: dict[str, object], user: object) -> None:
    page = pulled(name, orjson.dumps(RECORDS[name](user, extra)))

    assert len(page.events) == (user == "000417")
    for hidden in HIDDEN:
        assert hidden.encode() not in left_of(page)
    for each in page.rejected:
        assert each.raw is not None
        again = pulled(name, each.raw)
        assert said(again) == said(page)
        assert again.rejected[0].raw == each.raw


@pytest.mark.parametrize("name", sorted(RECORDS.keys() - {"sql", "etimetracklite"}))  # their rows have no serial number
def test_a_record_that_was_rejected_for_its_terminal_is_read_with_all_it_says_once_that_is_enabled(name: str) -> None:
    raw = orjson.dumps(RECORDS[name]("000417", {"remark": "Yasmin"}))
    disabled = TERMINAL.model_copy(update={"disabled": True})
    page = adapter_of(name).read_again(raw, Fetch(entry(name, "pull"), {"T9": disabled}, None, None, NOW))
    [rejected] = page.rejected
    assert rejected.raw is not None
    assert said(pulled(name, rejected.raw)) == said(pulled(name, raw))


def test_a_record_without_the_field_of_the_user_is_kept_as_it_came_until_the_entry_says_where_it_is() -> None:
    record = {"who": {"badge": "000417"}, "at": {"time": "2026-03-02T08:00:00", "door": "T9"}}
    [rejected] = pulled("rest", orjson.dumps(record)).rejected
    assert orjson.loads(rejected.raw or b"") == record


def test_of_a_record_without_a_time_what_may_be_one_is_kept() -> None:
    record = {"id": 5, "emp_code": LONG, "clock": "2026-03-02 08:00:00", "birth": "1990-01-01", "note": "Yasmin"}
    [rejected] = pulled("zkbiotime", orjson.dumps(record)).rejected
    kept = orjson.loads(rejected.raw or b"")
    assert (kept["clock"], kept["birth"], kept["note"]) == ("2026-03-02 08:00:00", None, None)


@pytest.mark.parametrize("record", ["Yasmin", ["Yasmin"], 7, None])
def test_the_letter_of_a_record_that_is_no_object_holds_nothing_of_it(record: object) -> None:
    for name in ("rest", "zkbiotime"):
        [rejected] = pulled(name, orjson.dumps(record)).rejected
        assert rejected.value == b"null"


def file_rows(name: str, path: Path, **options: object) -> list[Row]:
    device = entry(name, "file", host=None, options=options)
    return list(create_file_adapter(name, ()).rows(path, device, {}))


def row_again(name: str, raw: bytes, **options: object) -> list[Row]:
    device = entry(name, "file", host=None, options=options)
    return list(create_file_adapter(name, ()).read_again(raw, device, {}, NOW))


def outcome(row: Row) -> object:
    each = row.outcome
    if isinstance(each, RawEvent):
        return each.event_id, dict(each.payload)
    return (each.reason, each.message, each.value) if isinstance(each, Rejected) else each


def check(name: str, path: Path, **options: object) -> list[Rejected]:
    """Those rows of a file that are rejected, none of which has what is hidden, and each of which is read as it was."""
    rows = file_rows(name, path, **options)
    rejected = [row for row in rows if isinstance(row.outcome, Rejected)]
    for row in rows:
        assert isinstance(row.outcome, RawEvent | Rejected)
        left = row.outcome.encode() if isinstance(row.outcome, RawEvent) else row.outcome.value
        if isinstance(row.outcome, Rejected):
            assert row.outcome.raw is not None
            left += row.outcome.raw
            assert [outcome(each) for each in row_again(name, row.outcome.raw, **options)] == [outcome(row)]
        for hidden in HIDDEN:
            assert hidden.encode() not in left
    return [row.outcome for row in rejected if isinstance(row.outcome, Rejected)]


GOOD: Final = ["000417", "2026-03-02 08:00:00", "in"]


def table(*extra: str) -> list[list[str]]:
    """A table with cells that nobody asked for, and a row that is rejected for each reason."""
    names = ["note", "x y", "Full Name", "Zuleikha Yasmin"][: len(extra)]
    return [
        ["user", *names, "time", "direction"],
        ["000417", *extra, *GOOD[1:]],
        [LONG, *extra, *GOOD[1:]],
        ["", *extra, *GOOD[1:]],
        ["000418", *extra, *extra, *extra, *GOOD[1:]],
    ]


def test_cells_that_nobody_asked_for_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "punches.csv"
    path.write_text("\n".join("\t".join(row) for row in table(*HIDDEN)), encoding="utf-8")
    rejected = check("csv", path)
    assert len(rejected) == 3
    # Its cells are elsewhere than those of the others: what can be the user and the time is there.
    shifted = orjson.loads(rejected[-1].raw or b"")
    assert shifted["cells"] == ["000418", *["-"] * 12, "2026-03-02 08:00:00", "-"]
    assert shifted["names"] == ["user", "note", "column_3", "column_4", "column_5", "time", "direction"]


def test_cells_of_a_table_without_a_header_that_nobody_asked_for_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "punches.csv"
    path.write_text("\n".join("\t".join(row) for row in table(*HIDDEN)[1:4]), encoding="utf-8")
    assert len(check("csv", path, columns={"user": 1, "time": 6}, delimiter="\t")) == 2


def test_cells_of_a_workbook_that_nobody_asked_for_are_not_kept(tmp_path: Path) -> None:
    book = Workbook()
    for row in table(*HIDDEN)[:4]:
        book.active.append(row)
    book.save(tmp_path / "punches.xlsx")
    assert len(check("xlsx", tmp_path / "punches.xlsx")) == 2


def test_what_the_columns_of_a_log_are_not_for_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "attlog.dat"
    usual = "000417\t2026-03-02 08:00:00\t0\t1\t0"
    for columns, lines in (
        (None, [f"{usual}\t0\t0", *(f"{LONG}\t2026-03-02 08:00:00\t0\t1\t0\t{each}\t{each}" for each in HIDDEN)]),
        (("user", "time", "state", "ignored"), [f"{each}\t2026-03-02 08:00:00\t0\tYasmin" for each in ("1", LONG)]),
        (None, ["1\t2026-03-02 08:00:00\t0", *(f"2\t{each}\t2026-03-02 08:00:00\t{each}\t0" for each in HIDDEN)]),
    ):
        path.write_text("\n".join(lines), encoding="utf-8")
        options = {} if columns is None else {"columns": columns}
        assert len(check("attlog", path, **options)) == len(lines) - 1


def test_a_row_of_a_grid_is_kept_with_its_user_and_its_times(tmp_path: Path) -> None:
    path = tmp_path / "2026-03.csv"
    days = ",".join(str(day) for day in range(1, 32))
    times = ",".join(["08:00"] + [""] * 30)
    path.write_text(f"user,name,{days}\n1,Yasmin,{times}\n{LONG},Yasmin,{times}\n", encoding="utf-8")
    [rejected] = check("csv", path, profile="grid", month="2026-03")
    kept = orjson.loads(rejected.raw or b"")
    assert kept.keys() == {"line", "user", "times"}


def test_times_that_take_more_room_than_a_user_are_kept_whole(tmp_path: Path) -> None:
    times = " ".join(f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 20, 40))
    path = tmp_path / "punches.csv"
    path.write_text(f"user,date,time\n7,2026-03-02,08:00\n{LONG},2026-03-02,{times}\n", encoding="utf-8")
    options = {"several_times": True}
    rejected = [row.outcome for row in file_rows("csv", path, **options) if isinstance(row.outcome, Rejected)]
    assert len(rejected) == 72
    assert orjson.loads(rejected[0].raw or b"")["cells"][2] == times


@given(data=st.binary(min_size=40, max_size=40), width=st.sampled_from(WIDTHS))
def test_of_the_bytes_of_a_terminals_record_those_that_say_nothing_are_not_kept(data: bytes, width: int) -> None:
    log = Log(data[:width], width)
    kept = Log(log.kept(0), width)
    assert kept.record(0, Users()) == log.record(0, Users())
    assert kept.kept(0) == kept.data
    hidden = Log(b"\x01\0" + b"7\0" + b"Yasmin".ljust(22) + bytes(6) + b"hunter2!", 40)
    assert not any(word in hidden.kept(0) for word in (b"Yasmin", b"hunter2"))


def test_a_record_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRecord):
        pulled("sql", b"[]")
