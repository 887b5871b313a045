"""The lines of ADMS: who came, who did not, and tables that are spelled otherwise or not at all."""

import gzip
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from producers.devices.contract import Head, Parsed, PushRequest
from producers.devices.zkteco.adms import ZktecoAdms
from producers.devices.zkteco.adms_records import reader_of, table_of

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
LINE = "417\t2026-11-28 08:00:02\t0\t15\t0\t0\t0"
RECORD = "time=2026-11-28 19:50:28\tpin=9208\tcardno=0\teventaddr=1\tevent={}\tinoutstatus=0\tverifytype=3\tindex=1208"
NUMBER = "210218199105072345"


def post(query: dict[str, str], body: str | bytes, call: str = "cdata", **options: object) -> Parsed:
    device = Device(
        device_id="GATE", site="hq", timezone="Asia/Riyadh", adapter="zkteco_adms", serial="SN1", options=options
    )
    head = Head("POST", f"/iclock/{call}", {}, {"SN": "SN1", **query}, {})
    body = body.encode() if isinstance(body, str) else body
    return ZktecoAdms(()).parse(PushRequest(head, body, NOON), {"GATE": device})


def read(event: object, **options: object) -> Parsed:
    return post({"table": "rtlog"}, RECORD.format(event), **options)


def kinds(parsed: Parsed) -> list[str]:
    assert not parsed.events
    assert not parsed.rejected
    return [other.kind for other in parsed.others]


@pytest.mark.parametrize(
    "event", [0, 1, 2, 3, 14, 15, 16, 17, 18, 19, 203, 207, 208, 214, 215, 216, 218, 219, 222, 232, 240, 253, "00"]
)
def test_who_was_let_in_has_punched(event: int) -> None:
    [punch] = read(event).events
    assert (punch.device_user_id, punch.event_type, punch.sequence) == ("9208", "IN", 1208)
    assert punch.event_time == datetime(2026, 11, 28, 16, 50, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    "event", [*range(4, 14), 200, 201, 202, 204, 205, 206, 209, 211, 217, 220, 221, 223, 224, 233, 254, 255, 500, 700]
)
def test_a_door_a_linkage_or_a_remote_command_is_no_punch_of_whoever_it_names(event: int) -> None:
    assert kinds(read(event)) == ["door"]


def test_a_terminal_that_asks_whom_to_let_in_has_let_nobody_in_yet() -> None:
    assert kinds(post({"AuthType": "device", "table": "rtlog"}, RECORD.format(0))) == ["verification"]
    assert kinds(post({"AuthType": "device"}, RECORD.format(0))) == ["verification"]
    assert len(post({}, RECORD.format(0)).events) == 1


def test_a_refusal_and_an_alarm_are_no_punch() -> None:
    assert [kinds(read(event)) for event in (20, 27, 99, 100, 199)] == [["denied"]] * 3 + [["alarm"]] * 2


def test_nobody_is_let_in_under_the_number_0() -> None:
    for pin in ("", "0", " 0 "):
        assert kinds(post({"table": "rtlog"}, RECORD.format(0).replace("9208", pin))) == ["door"]


def test_an_entry_says_what_a_number_means_on_its_terminal() -> None:
    assert [event.device_user_id for event in read(27, punch_events=[27]).events] == ["9208"]
    assert kinds(read(208, other_events=[208])) == ["door"]


def test_a_stored_record_is_read_whatever_the_case_of_its_names() -> None:
    counted = ((26 * 372) + 10 * 31 + 27) * 86400 + 19 * 3600 + 50 * 60 + 28
    line = f"transaction Pin=9208\tCardno=0\tEventType=207\tInOutState=0\tTime_second={counted}\tIndex=1208"
    for table in ("transaction", "Transaction"):
        parsed = post({"type": "tabledata", "tablename": table, "count": "1"}, line, "querydata")
        assert [event.event_id for event in parsed.events] == [read(207).events[0].event_id]
        assert parsed.answer.body == f"{table}=1".encode()


@pytest.mark.parametrize("query", [{"table": "rtlog"}, {}])
def test_a_field_that_stands_there_twice_is_nobodys(query: dict[str, str]) -> None:
    parsed = post(query, RECORD.format(0) + "\tpin=9209")
    assert (parsed.events, [each.reason for each in parsed.rejected]) == ([], [Reason.INVALID_EVENT])


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"9008\t2026-11-28 22:06:10\t2\t1\t0\t0\t0\t{NUMBER}\t1", "denied"),
        (f"9008\t2026-11-28 22:06:10\t1\t1\t0\t0\t0\t{NUMBER}\t1", "denied"),
        ("9008\t2026-11-28 22:06:10\t1\t1\t0\t0\t0\tH10293\t1", "denied"),
        (f"9008\t2026-11-28 22:06:10\t1\t1\t0\t0\t0\t{NUMBER}\t1\t0\t+10800", "denied"),
        (f"PIN=9008\tTime=2026-11-28 22:06:10\tStatus=2\tIDNum={NUMBER}\tType=1", "denied"),
        (f"0\t2026-11-28 22:06:10\t0\t1\t0\t0\t0\t{NUMBER}\t1", "stranger"),
        (f"0\t2026-11-28 22:06:10\t0\t1\t0\t0\t0\t{NUMBER}\t0", "stranger"),
        ("0\t2026-11-28 22:06:10\t0\t1\t0\t0\t0", "stranger"),
    ],
)
def test_a_comparison_with_an_identity_card_that_failed_is_no_punch(line: str, kind: str) -> None:
    parsed = post({"table": "ATTLOG"}, line)
    assert kinds(parsed) == [kind]
    assert NUMBER.encode() not in parsed.others[0].value


@pytest.mark.parametrize(
    ("line", "direction"),
    [
        (f"9008\t2026-11-28 22:06:10\t0\t1\t0\t0\t0\t{NUMBER}\t1", "UNKNOWN"),
        (f"9008\t2026-11-28 22:06:10\t1\t1\t0\t0\t0\t{NUMBER}\t0", "OUT"),
        # A mask, and what was measured: no type.
        ("9008\t2026-11-28 22:06:10\t1\t15\t0\t0\t0\t1\t36.4\t97.5", "OUT"),
        ("9008\t2026-11-28 22:06:10\t1\t15\t0\t0\t0\t0\t1\t0", "OUT"),
        ("9008\t2026-11-28 22:06:10\t1\t15\t0\t0\t0\t55123", "OUT"),
        # A one where the type would be, and no card.
        ("9008\t2026-11-28 22:06:10\t1\t15\t0\t0\t0\t0\t1", "OUT"),
        ("9008\t2026-11-28 22:06:10\t1\t15\t0\t0\t0\t\t1", "OUT"),
        ("9008\t2026-11-28 22:06:10\t1\t15\t0\t0\t0\t255\t1", "OUT"),
        ("9008\t2026-11-28 22:06:10\t1\t15\t0\t0\t0\t36.4\t1", "OUT"),
        ("9008 2026-11-28 22:06:10 1 15 0", "OUT"),
        ("9008\t2026-11-28 22:06:10\t1\0", "OUT"),
    ],
)
def test_other_lines_are_punches(line: str, direction: str) -> None:
    [event] = post({"table": "ATTLOG"}, line).events
    assert (event.device_user_id, event.event_type) == ("9008", direction)
    assert event.event_time == datetime(2026, 11, 28, 19, 6, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"table": ""},
        {"table": "attlog"},
        {"Table": "AttLog"},
        {"TABLE": "ATT_LOG"},
        {"table": " ATTLOG"},
        {"table": "ATTLOG Stamp=9999"},
        {"table": "ATTLOG?Stamp=9999"},
        {"table": "ATTLOG;Stamp=9999"},
        {"type": "ATTLOG"},
    ],
)
def test_a_log_is_read_however_its_table_is_named(query: dict[str, str]) -> None:
    parsed = post(query, LINE)
    assert [event.device_user_id for event in parsed.events] == ["417"]
    assert parsed.answer.body == b"OK: 1"


@pytest.mark.parametrize(
    "line",
    [
        "417\t2026-11-28 8:0:2\t0\t15",
        "417\t2026/11/28 8:00:02\t0\t15",
        "417\t2026-11-28  08:00:02\t0\t15",
        "417\t2026-11-28T08:00:02\t0\t15",
        "417\t2026-11-28\t08:00:02\t0\t15",
        "417\t\t2026-11-28 08:00:02\t0\t15",
        "\t417\t2026-11-28 08:00:02\t0\t15",
        "417 2026-11-28 08:00:02\t0\t15",
        "417,2026-11-28 08:00:02,0,15",
        "417;2026-11-28 08:00:02;0;15",
        "417|2026-11-28 08:00:02|0|15",
        "417\0\0\0\t2026-11-28 08:00:02\0\t0\0\t15\0",
        "DateTime=2026-11-28 08:00:02\tPIN=417\tStatus=0\tVerify=15",
        "PIN=417 DateTime=2026-11-28 08:00:02 Status=0 Verify=15",
        "Pin = 417\tTime = 2026-11-28 08:00:02\tState= 0\tVerify=15",
        "PIN=417,Time=2026-11-28 08:00:02,Status=0,Verify=15",
        "PIN=417&Time=2026-11-28 08:00:02&Status=0&Verify=15",
        "ATTLOG PIN=417\tDateTime=2026-11-28 08:00:02\tStatus=0\tVerify=15",
        f"{LINE}\t\t\t\t",
        f"{LINE}\t1\t36.5\t97.7\t+10800",
    ],
)
def test_a_line_is_read_however_its_parts_are_kept_apart(line: str) -> None:
    [usual] = post({"table": "ATTLOG"}, LINE).events
    for query in ({"table": "ATTLOG"}, {}, {"table": "rtlog"}):
        if query.get("table") != "rtlog" or "=" not in line:
            [event] = post(query, line).events
            assert (event.event_id, event.payload["verify_mode"]) == (usual.event_id, "15")


@pytest.mark.parametrize(
    ("time", "hour"),
    [
        ("2026-11-28 08:00:02+05:00", 3),
        ("2026-11-28T08:00:02Z", 8),
        ("2026-11-28 08:00:02.900", 5),
        ("2026-11-28 08:00:02 PM", None),
        ("2026-11-28 8:00:02 a.m.", None),
        ("2026-11-28 24:00:00", None),
        ("28/11/2026 08:00:02", None),
    ],
)
def test_nothing_of_a_time_is_passed_over(time: str, hour: int | None) -> None:
    [event] = post({"table": "ATTLOG"}, f"417\t{time}\t0\t15").events
    assert (event.event_time and event.event_time.hour) == hour
    by_spaces = post({"table": "ATTLOG"}, f"417 {time} 0 15").events
    assert [each.event_time for each in by_spaces] in ([], [event.event_time])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk"])
def test_a_log_is_read_in_any_encoding(encoding: str) -> None:
    parsed = post({"table": "ATTLOG"}, f"{LINE}\r\n{LINE.replace('417', '000418')}\r\n".encode(encoding))
    assert [(event.device_user_id, event.event_time is None) for event in parsed.events] == [
        ("417", False),
        ("000418", False),
    ]


def test_a_compressed_body_is_kept_whole() -> None:
    with pytest.raises(InvalidRecord) as caught:
        post({"table": "ATTLOG"}, gzip.compress(LINE.encode()))
    assert caught.value.reason is Reason.UNREADABLE_BODY


@pytest.mark.parametrize("table", ["ATTLOG", "rtlog", "OPERLOG"])
def test_a_line_of_another_table_is_read_as_what_it_is(table: str) -> None:
    lines = [LINE, RECORD.format(0), RECORD.format(27), "OPLOG 4\t0\t2026-11-28 06:00:00"]
    parsed = post({"table": table}, "\n".join(lines if table != "rtlog" else lines[:3]))
    assert [event.device_user_id for event in parsed.events] == ["417", "9208"]
    assert [other.kind for other in parsed.others][:1] == ["denied"]
    assert not parsed.rejected


@pytest.mark.parametrize(
    "line",
    [
        "USER PIN=417\tName=Zoe\tPri=0\tPasswd=1234\tCard=99",
        "FP PIN=417\tFID=1\tSize=1024\tValid=1\tTMP=Zoe1234",
        "417\tZoe\t1234",
        "PIN=417\tName=Zoe\tPasswd=1234",
        "UserID=417\tName=Zoe\tPasswd=1234",
    ],
)
def test_no_name_and_no_template_becomes_a_part_of_a_punch(line: str) -> None:
    parsed = post({"table": "ATTLOG"}, line)
    assert not parsed.events
    assert len(parsed.others) + len(parsed.rejected) == 1
    assert not any(word in other.value for other in parsed.others for word in (b"Zoe", b"1234"))


def test_a_card_that_was_let_in_and_is_nobodys_is_kept() -> None:
    for pin in ("0", ""):
        record = RECORD.format(0).replace("pin=9208\tcardno=0", f"pin={pin}\tcardno=1A2B")
        assert [each.reason for each in post({"table": "rtlog"}, record).rejected] == [Reason.INVALID_EVENT]
        assert kinds(post({"table": "rtlog"}, record.replace("event=0", "event=27"))) == ["denied"]
        assert kinds(post({"table": "rtlog"}, record.replace("event=0", "event=200"))) == ["door"]


def test_the_state_of_a_door_among_records_is_a_door() -> None:
    state = "time=2026-11-28 12:09:11\tsensor=02\trelay=00\talarm=0100000000000000\tdoor=01"
    parsed = post({"table": "rtlog"}, f"{RECORD.format(0)}\r\n{state}\r\n")
    assert (len(parsed.events), [other.kind for other in parsed.others], parsed.rejected) == (1, ["door"], [])


@pytest.mark.parametrize("table", [{"table": "rtlog"}, {}])
@pytest.mark.parametrize("sign", [" ", "&", ",", ";"])
def test_a_record_is_read_whichever_sign_keeps_its_fields_apart(table: dict[str, str], sign: str) -> None:
    [event] = post(table, RECORD.format(0).replace("\t", sign)).events
    assert event.event_id == read(0).events[0].event_id


def test_the_zeros_that_an_access_terminal_leaves_out_are_put_back() -> None:
    [event] = post({"table": "rtlog"}, RECORD.format(0).replace("2026-11-28 19:50:28", "2026-2-3 4:5:6")).events
    assert event.event_time == datetime(2026, 2, 3, 1, 5, 6, tzinfo=UTC)


def test_lines_without_a_table_are_read_one_by_one() -> None:
    lines = [
        LINE,
        "PIN=418\tTime=2026-11-28 08:00:03",
        RECORD.format(0),
        "OPLOG 4\t0\t2026-11-28 06:00:00",
        "419\t1795852800",
    ]
    parsed = post({}, "\n".join([*lines, "USER PIN=417\tName=Zoë", "x"]))
    assert [event.device_user_id for event in parsed.events] == ["417", "418", "9208", "419"]
    assert [other.kind for other in parsed.others] == ["operation", "biometric"]
    assert [each.index for each in parsed.rejected] == [6]
    assert parsed.answer.body == b"OK: 7"


def test_facts_without_a_table_are_facts() -> None:
    parsed = post({}, "FWVersion=Ver 8,UserCount=97")
    assert parsed.report is not None
    assert parsed.report.details == {"FWVersion": "Ver 8", "UserCount": "97"}
    assert post({}, "").answer.body == b"OK"


@pytest.mark.parametrize("query", [{"table": "NEWTABLE"}, {"table": "ATTSTATE"}, {"type": "PostVerifyData"}, {}])
def test_what_is_of_no_table_is_kept_whole(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRecord) as caught:
        post(query, "something: else" if not query else LINE)
    assert caught.value.reason is Reason.UNREADABLE_BODY


@pytest.mark.parametrize("call", ["fdata", "cdata", "edata"])
@pytest.mark.parametrize("query", [{}, {"table": "ATTPHOTO"}, {"table": "anything"}])
def test_nothing_of_a_photograph_is_kept(call: str, query: dict[str, str]) -> None:
    photograph = b"\xff\xd8Zoe\nMueller\n" + bytes(range(256))
    parsed = post(query, b"PIN=20261128-417.jpg\nSN=SN1\nsize=300\nCMD=uploadphoto\0" + photograph, call)
    assert kinds(parsed) == ["biometric"]
    assert not any(word in parsed.others[0].value for word in (b"417", b"Mueller", b"Zoe"))
    assert parsed.answer.body == b"OK"


def test_of_a_table_with_people_only_how_many_came_is_kept() -> None:
    for table in ("USERINFO", "biodata", "IDCARD", "identitycard", "extuser"):
        parsed = post({"table": table}, "Zoe=1\tMueller\nUSER PIN=1")
        assert kinds(parsed) == ["biometric"]
        assert b"Zoe" not in parsed.others[0].value
    parsed = post({"table": "tabledata", "tablename": "multimcard", "count": "3"}, "multimcard id=1\tpin=2")
    assert (kinds(parsed), parsed.answer.body) == (["table"], b"multimcard=3")


@given(st.text(max_size=120), st.sampled_from(["pin=", "417\t2026-11-28 08:00:02\t", "event=0\ttime=1\tpin=", ""]))
@settings(deadline=None, max_examples=200)
def test_any_line_of_any_table_becomes_one_thing(text: str, start: str) -> None:
    table_of(text)
    line = start + text.replace("\r", "").replace("\n", "")
    for query in ({}, {"table": "ATTLOG"}, {"table": "rtlog"}, {"table": text}):
        with suppress(InvalidRecord):
            parsed = post(query, line)
            assert len(parsed.events) + len(parsed.others) + len(parsed.rejected) <= 1


def test_a_line_says_itself_what_it_is() -> None:
    assert [reader_of(line) is not None for line in (LINE, RECORD.format(0), "FP PIN=1", "hello", "417\t12345")] == [
        True,
        True,
        True,
        False,
        False,
    ]
