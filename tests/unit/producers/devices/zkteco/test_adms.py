"""ADMS beyond what every adapter has in common."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.settings import PushSettings
from producers.devices.contract import Command, Head, Parsed, PushRequest, Result
from producers.devices.zkteco.adms import ZktecoAdms
from producers.devices.zkteco.adms_commands import ALLOWED, backfill, count
from producers.devices.zkteco.adms_handshake import STAMP

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ADAPTER = ZktecoAdms(())


def device(zone: str = "Asia/Riyadh") -> Device:
    return Device(device_id="GATE", site="hq", timezone=zone, adapter="zkteco_adms", serial="SN1")


def ask(
    path: str,
    body: bytes = b"",
    *,
    method: str = "GET",
    zone: str = "Asia/Riyadh",
    stamps: dict[str, str] | None = None,
    commands: tuple[Command, ...] = (),
) -> Parsed:
    url = urlsplit(path)
    head = Head(method, url.path, {}, dict(parse_qsl(url.query, keep_blank_values=True)), {})
    return ADAPTER.parse(PushRequest(head, body, NOON, stamps or {}, commands), {"GATE": device(zone)})


def post(path: str, body: bytes) -> Parsed:
    return ask(path, body, method="POST")


def options(parsed: Parsed) -> dict[str, str]:
    return dict(line.split("=", 1) for line in parsed.answer.body.decode().splitlines() if "=" in line)


def test_a_terminal_that_is_not_known_yet_sends_all_it_has() -> None:
    assert options(ask("/iclock/cdata?SN=SN1&options=all"))[STAMP] == "0"


def test_a_terminal_goes_on_from_the_stamp_of_its_last_upload() -> None:
    line = b"417\t2026-01-01 08:00:02\t0\t15\t0\t0\t0\r\n"
    stamped = post("/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=1767243602", line)
    assert stamped.stamps == {STAMP: "1767243602"}
    assert stamped.answer.body == b"OK: 1"
    answered = options(ask("/iclock/cdata?SN=SN1", stamps=dict(stamped.stamps)))
    assert answered[STAMP] == answered["Stamp"] == "1767243602"


@pytest.mark.parametrize("stamp", ["", "7\n8", "x" * 40])
def test_what_is_no_stamp_is_not_given_back(stamp: str) -> None:
    head = Head("POST", "/iclock/cdata", {}, {"SN": "SN1", "table": "ATTLOG", "Stamp": stamp}, {})
    assert not ADAPTER.parse(PushRequest(head, b"", NOON), {"GATE": device()}).stamps


@pytest.mark.parametrize(
    ("zone", "option"),
    [
        ("Asia/Riyadh", "3"),
        ("Asia/Kolkata", "330"),
        ("Europe/Berlin", "2"),
        ("America/New_York", "-4"),
        ("America/St_Johns", "-150"),
    ],
)
def test_the_zone_is_that_of_the_device_as_it_is_now(zone: str, option: str) -> None:
    assert options(ask("/iclock/cdata?SN=SN1", zone=zone))["TimeZone"] == option


def test_photographs_and_templates_are_not_asked_for() -> None:
    assert options(ask("/iclock/cdata?SN=SN1"))["TransFlag"] == "TransData AttLog\tOpLog"


def test_a_terminal_is_asked_for_bodies_that_push_takes() -> None:
    assert int(options(ask("/iclock/cdata?SN=SN1"))["MaxPostSize"]) < PushSettings.model_fields["max_body"].default


def test_a_handshake_is_answered_by_any_method_and_may_bring_facts() -> None:
    parsed = post("/iclock/cdata?SN=SN1&options=all&pushver=2.4.1", b"FWVersion=Ver 8,UserCount=97")
    assert STAMP in options(parsed)
    assert parsed.report is not None
    assert parsed.report.details == {"pushver": "2.4.1", "FWVersion": "Ver 8", "UserCount": "97"}


CALLS = ["getrequest", "ping", "devicecmd", "registry", "push", "rtdata", "cdata?options=all", "cdata?table=options"]


@pytest.mark.parametrize("call", [*CALLS, "cdata?table=rtstate", "querydata?type=count&tablename=transaction"])
def test_what_a_call_brings_beside_its_own_is_read_or_kept_and_never_only_acknowledged(call: str) -> None:
    line = b"417\t2026-01-01 08:00:02\t0\n"
    path = f"/iclock/{call}{'&' if '?' in call else '?'}SN=SN1"
    usual = post(path, b"")
    assert not usual.rejected
    parsed = post(path, line)
    assert ([event.device_user_id for event in parsed.events], parsed.rejected) == (["417"], [])
    assert parsed.answer.status == usual.answer.status == 200
    for body in (b"hello\nworld", b"PIN=417,Status=1", line + b"<Punch user='418'/>"):
        assert [each.reason for each in post(path, body).rejected] == [Reason.UNREADABLE_BODY]
    for body in (line * 20_001, b"hello\n" + line * 20_001):
        with pytest.raises(InvalidRecord) as caught:
            post(path, body)
        assert caught.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize("call", [*CALLS, "querydata?type=options&cmdid=3"])
def test_what_a_terminal_says_of_itself_is_no_record(call: str) -> None:
    path = f"/iclock/{call}{'&' if '?' in call else '?'}SN=SN1"
    for body in (b"~DeviceName=X,~PIN2Width=9,Time=2026-01-01 08:00:00", b"ID=1&Return=0&CMD=INFO\nFWVersion=Ver 8\n"):
        parsed = post(path, body)
        assert (parsed.events, parsed.rejected) == ([], [])


@pytest.mark.parametrize(
    ("line", "user", "direction"),
    [
        (b"000418\t2026-01-01 08:00:09\t255\t1\t\t0\t0", "000418", "UNKNOWN"),
        (b"      417\t2026-01-01 08:00:09\t3", "417", "IN"),
        (b"417\t2026-01-01 08:00:09", "417", "UNKNOWN"),
        (b"417\t1767243609\t1\t1", "417", "OUT"),
        (b"PIN=417\tDateTime=2026-01-01 08:00:09\tState=5", "417", "OUT"),
    ],
)
def test_forms_of_a_line(line: bytes, user: str, direction: str) -> None:
    [event] = post("/iclock/cdata?SN=SN1&table=ATTLOG", line).events
    assert (event.device_user_id, event.event_type) == (user, direction)
    assert event.event_time is not None


def test_a_time_that_cannot_be_read_is_kept_for_the_stream_to_report() -> None:
    [event] = post("/iclock/cdata?SN=SN1&table=ATTLOG", b"417\t0000-00-00 00:00:00\t0").events
    assert (event.event_time, event.device_time) == (None, "0000-00-00 00:00:00")


def test_facts_of_a_terminal_are_shown_and_answered_by_ok_alone() -> None:
    parsed = post("/iclock/cdata?SN=SN1&table=options", b"~DeviceName=X,FWVersion=Ver 8,Vendor=ZK, Inc.,UserCount=97")
    assert parsed.answer.body == b"OK"
    assert parsed.report is not None
    assert parsed.report.details == {"DeviceName": "X", "FWVersion": "Ver 8", "UserCount": "97"}


def test_every_record_of_an_access_terminal_is_read() -> None:
    lines = "\n".join(
        f"time=2026-01-01 08:00:0{n}\tpin=41{n}\tevent=0\tinoutstatus={n % 2}\tindex={n}" for n in range(9)
    )
    parsed = post("/iclock/cdata?SN=SN1&table=rtlog", lines.encode())
    assert [event.sequence for event in parsed.events] == list(range(9))
    assert [event.event_type for event in parsed.events][:2] == ["IN", "OUT"]


def test_a_stored_record_of_an_access_terminal_has_the_id_of_the_one_that_came_at_once() -> None:
    [live] = post(
        "/iclock/cdata?SN=SN1&table=rtlog", b"time=2026-11-20 08:00:02\tpin=417\tevent=0\tinoutstatus=1"
    ).events
    counted = ((26 * 372) + 10 * 31 + 19) * 86400 + 8 * 3600 + 2
    stored = f"transaction cardno=0\tpin=417\tverified=15\teventtype=0\tinoutstate=1\ttime_second={counted}\tindex=3"
    table = "type=tabledata&tablename=transaction&count=1"
    parsed = post(f"/iclock/querydata?SN=SN1&{table}", stored.encode())
    [event] = parsed.events
    assert event.event_id == live.event_id
    assert event.payload["time_second"] == str(counted)
    assert parsed.answer.body == b"transaction=1"


@pytest.mark.parametrize("number", ["9" * 5000, "\u0663", "-1", ""])
def test_a_number_that_is_none_costs_its_own_record_only(number: str) -> None:
    lines = [f"time=2026-01-01 08:00:00\tpin=417\tevent={event}\tindex=1" for event in ("0", number, "0")]
    parsed = post("/iclock/cdata?SN=SN1&table=rtlog", "\n".join(lines).encode())
    assert (len(parsed.events), [each.index for each in parsed.rejected]) == (2, [1])


@pytest.mark.parametrize(("event", "kind"), [(27, "denied"), (101, "alarm"), (204, "door")])
def test_who_was_not_let_in_has_not_punched(event: int, kind: str) -> None:
    parsed = post("/iclock/cdata?SN=SN1&table=rtlog", f"time=2026-01-01 08:00:00\tpin=417\tevent={event}".encode())
    assert not parsed.events
    assert [other.kind for other in parsed.others] == [kind]


def test_an_access_terminal_is_registered_and_told_the_time() -> None:
    assert options(ask("/iclock/cdata?SN=SN1&DeviceType=acc"))["registry"] == "ok"
    code = options(post("/iclock/registry?SN=SN1", b"~DeviceType=acc"))["RegistryCode"]
    assert options(ask("/iclock/cdata?SN=SN1&DeviceType=acc"))["RegistryCode"] == code
    answered = ask("/iclock/rtdata?SN=SN1&type=time").answer.body.decode()
    days = (26 * 372) + 6 * 31
    assert answered == f"DateTime={days * 86400 + 12 * 3600},ServerTZ=+0300"
    assert post("/iclock/exchange?SN=SN1&type=publickey", b"x").answer.status == 406


def test_a_count_is_answered_as_it_was_told() -> None:
    assert post("/iclock/cdata?SN=SN1&table=tabledata&tablename=user&count=2", b"user uid=1\n").answer.body == b"user=2"


def test_a_table_whose_name_is_not_known_is_rejected_and_answered_by_its_count() -> None:
    parsed = post("/iclock/cdata?SN=SN1&table=tabledata&tablename=transaction2&count=1", b"transaction2 pin=417\n")
    assert [each.reason for each in parsed.rejected] == [Reason.UNREADABLE_BODY]
    assert not parsed.others
    assert parsed.answer.body == b"transaction2=1"
    assert not post("/iclock/cdata?SN=SN1&table=tabledata&tablename=holiday&count=0", b"").rejected


def test_a_command_is_handed_out_when_the_terminal_asks() -> None:
    since, until = (datetime(2026, 1, day) for day in (1, 2))  # noqa: DTZ001 - the terminal's own clock
    wanted = Command("12", backfill(since, until))
    parsed = ask("/iclock/getrequest?SN=SN1", commands=(wanted,))
    assert parsed.answer.body == (
        b"C:12:DATA QUERY ATTLOG StartTime=2026-01-01 00:00:00\tEndTime=2026-01-02 00:00:00\n"
    )
    assert parsed.given == [wanted]
    assert ask("/iclock/getrequest?SN=SN1").answer.body == b"OK"
    of_access = Command("13", backfill(since, until, access=True))
    assert ask("/iclock/getrequest?SN=SN1", commands=(of_access,)).answer.body == (
        b"C:13:DATA QUERY tablename=transaction,fielddesc=*,filter="
        b"StartTime=2026-01-01 00:00:00\tEndTime=2026-01-02 00:00:00\n"
    )


ALL = "DATA QUERY tablename=transaction,fielddesc=*,filter=*"


@pytest.mark.parametrize(
    "text", ["CLEAR LOG", "CLEAR DATA", "REBOOT", "Shell ls", "INFO\nC:1:CLEAR DATA", "DATA QUERY ATTLOG", "INFO ", ALL]
)
def test_nothing_but_questions_ever_reaches_a_terminal(text: str) -> None:
    assert not ALLOWED.fullmatch(text)
    parsed = ask("/iclock/getrequest?SN=SN1", commands=(Command("1", text),))
    assert parsed.answer.body == b"OK"
    assert not parsed.given


def test_results_of_several_commands_are_read() -> None:
    body = b"ID=12&Return=0&CMD=DATA\nID=13&Return=-1002&CMD=Shell\nContent=ID\n"
    assert post("/iclock/devicecmd?SN=SN1", body).results == [Result("12", "0"), Result("13", "-1002")]


@pytest.mark.parametrize(
    ("said", "returned"),
    [
        ("VERIFY SUM&StartTime=2026-01-01 00:00:00&EndTime=2026-01-02 00:00:00&AttlogSum=12", "0, 12 records"),
        ("VERIFY SUM ATTLOG&StartTime=2026-01-01 00:00:00&EndTime=2026-01-02 00:00:00&AttlogCount=12", "0, 12 records"),
        ("VERIFY SUM", "0"),
    ],
)
def test_what_a_terminal_counts_is_read_from_its_answer(said: str, returned: str) -> None:
    wanted = Command("12", count(datetime(2026, 1, 1), datetime(2026, 1, 2)))  # noqa: DTZ001 - the terminal's own clock
    answer = ask("/iclock/getrequest?SN=SN1", commands=(wanted,)).answer.body
    assert answer == b"C:12:VERIFY SUM ATTLOG StartTime=2026-01-01 00:00:00\tEndTime=2026-01-02 00:00:00\n"
    body = f"ID=12&Return=0&CMD={said}\nID=13&Return=-1&CMD=DATA\n"
    assert post("/iclock/devicecmd?SN=SN1", body.encode()).results == [Result("12", returned), Result("13", "-1")]


@pytest.mark.parametrize(
    "body",
    [
        b"id=12&return=0&cmd=DATA",
        b"ID=12&SN=SN1&Return=0&CMD=DATA\r\n",
        b" ID=12&Return=0",
        b"Return=0&ID=12&CMD=DATA\0",
    ],
)
def test_a_result_is_read_however_it_is_spelled(body: bytes) -> None:
    parsed = post("/iclock/devicecmd?SN=SN1", body)
    assert (parsed.results, parsed.rejected) == ([Result("12", "0")], [])


def test_a_result_of_no_command_of_ours_is_none_and_nothing_unread() -> None:
    parsed = post("/iclock/devicecmd?SN=SN1", b"ID=zone1796000000&Return=0&CMD=CHECK\nID=1&Return=\n")
    assert (parsed.results, parsed.rejected) == ([], [])


@pytest.mark.parametrize("serial", ["", "a b", "x" * 65, "../x", "é"])
def test_what_is_no_serial_number_is_nobodys(serial: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        ADAPTER.sender(Head("GET", "/iclock/cdata", {}, {"SN": serial}, {}))
    assert caught.value.reason is Reason.UNKNOWN_DEVICE


def test_a_table_that_the_protocol_does_not_have_is_kept_as_a_dead_letter_and_not_sent_again() -> None:
    with pytest.raises(InvalidRecord) as caught:
        post("/iclock/cdata?SN=SN1&table=NEWTABLE", b"x=1")
    assert caught.value.reason is Reason.UNREADABLE_BODY
    head = Head("POST", "/iclock/cdata", {}, {"SN": "SN1"}, {})
    assert ADAPTER.refuse(head, Reason.UNREADABLE_BODY, 5).body == b"OK"


@given(st.binary(max_size=300), st.sampled_from(["ATTLOG", "rtlog"]))
@settings(deadline=None, max_examples=150)
def test_every_line_of_any_body_is_accounted_for(body: bytes, table: str) -> None:
    assume(not body.startswith(b"\x1f\x8b"))  # compressed
    parsed = post(f"/iclock/cdata?SN=SN1&table={table}", body)
    text = body.decode("utf-8", errors="backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.replace("\0", "").replace("\ufeff", "").strip(" \t")]
    assert len(parsed.events) + len(parsed.others) + len(parsed.rejected) == len(lines)
    for event in parsed.events:
        event.encode()


@given(
    st.binary(max_size=200), st.sampled_from(["registry", "devicecmd", "querydata?table=options", "cdata?table=INFO"])
)
@settings(deadline=None, max_examples=100)
def test_any_other_body_is_answered(body: bytes, path: str) -> None:
    join = "&" if "?" in path else "?"
    assert post(f"/iclock/{path}{join}SN=SN1", body).answer.status == 200
