import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.settings import PushSettings
from producers.devices.contract import Head, Parsed, PushRequest
from producers.devices.hikvision.push import Hikvision
from producers.pictures import cut
from sandbox.terminals.base import PHOTO, HttpAnswer, HttpRequest, Punch, Quirks
from sandbox.terminals.hikvision import Form, PushingTerminal

FIXTURES = Path(__file__).parents[4] / "fixtures" / "hikvision"
FIELDS = PushSettings.model_fields["payload_fields"].default
RECEIVED = datetime(2026, 1, 1, 5, 0, 3, tzinfo=UTC)
GATE = Device(device_id="GATE-2", site="riyadh", timezone="Asia/Riyadh", adapter="hikvision", token_sha256="0" * 64)
TOKEN = "a-token-of-the-gate"
HEAD = Head("POST", "/hik/{token}", {"token": TOKEN}, {}, {})
PUNCH = json.loads((FIXTURES / "punch.json").read_bytes())


def parse(body: bytes, adapter: Hikvision | None = None, device: Device = GATE) -> Parsed:
    return (adapter or Hikvision(FIELDS)).parse(PushRequest(HEAD, body, RECEIVED), {device.device_id: device})


def alert(**fields: object) -> bytes:
    return json.dumps(PUNCH | {"AccessControllerEvent": PUNCH["AccessControllerEvent"] | fields}).encode()


def read(body: bytes, device: Device = GATE) -> RawEvent:
    parsed = parse(body, device=device)
    [event] = parsed.events
    assert not parsed.others
    assert not parsed.rejected
    return event


def form(*parts: tuple[str, bytes], end: bytes = b"--MIME_boundary--\r\n") -> bytes:
    written = (
        b'--MIME_boundary\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), content)
        for name, content in parts
    )
    return b"".join(written) + end


def test_a_punch_is_read_with_the_offset_of_its_time() -> None:
    event = read((FIXTURES / "punch.json").read_bytes())
    assert (event.device_id, event.device_user_id, event.event_type) == ("GATE-2", "000417", "IN")
    assert event.device_time == "2026-01-01T08:00:02+03:00"
    assert event.event_time == datetime(2026, 1, 1, 5, 0, 2, tzinfo=UTC)
    assert (event.sequence, event.replayed, event.source.transport) == (90211, False, "push")
    assert event.payload["currentVerifyMode"] == "faceOrFpOrCardOrPw"
    assert "Zoë".encode() not in event.encode()
    assert "name" not in event.payload


@pytest.mark.parametrize(
    "body",
    [
        (FIXTURES / "punch.xml").read_bytes(),
        json.dumps({"EventNotificationAlert": PUNCH}).encode(),
        form(("event_log", alert())),
        form(("AccessControllerEvent", alert()), ("Picture", PHOTO)),
        form(("Picture", PHOTO), ("anything", (FIXTURES / "punch.xml").read_bytes())),
        form(("event_log", alert()), ("Picture", PHOTO), end=b""),
        form(("event_log", alert()), ("Picture", PHOTO))[:-400],
        form(("event_log", alert()), ("Picture", PHOTO + b"\r\n--MIME_boundary" + PHOTO)),
        b"\xef\xbb\xbf" + alert(),
        b"\xef\xbb\xbf" + form(("Picture", PHOTO), ("event_log", b"\xef\xbb\xbf" + alert())),
        alert(time=""),
        alert(employeeNoString="", employeeNo="000417"),
        alert(employeeNoString=" ", employeeNo="000417"),
        alert(employeeNo=0),
    ],
    ids=[
        *("xml", "wrapped", "form", "picture", "xml in a form", "no end", "cut off", "picture with a boundary", "BOM"),
        *("BOM in a form", "no time of its own", "no text number", "a blank text number", "a number of nobody"),
    ],
)
def test_every_form_of_a_punch_is_the_same_punch(body: bytes) -> None:
    event = read(body)
    assert event.event_id == read(alert()).event_id
    assert event.sequence == 90211
    assert PHOTO[:40] not in event.encode()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *[("checkIn", "IN"), ("breakIn", "IN"), ("overtimeIn", "IN")],
        *[("checkOut", "OUT"), ("breakOut", "OUT"), ("overtimeOut", "OUT")],
        *[("CheckIn", "IN"), ("Check In", "IN"), ("checkin", "IN"), ("overTimeIn", "IN"), ("CHECK_OUT", "OUT")],
        *[("break-out", "OUT"), ("Overtime out", "OUT"), ("checkInOut", "UNKNOWN"), ("breaking", "UNKNOWN")],
        *[("undefined", "UNKNOWN"), ("", "UNKNOWN"), (None, "UNKNOWN"), ([], "UNKNOWN"), ("lunch", "UNKNOWN")],
    ],
)
def test_a_direction_that_is_not_known_is_no_reason_to_drop_a_punch(said: object, meant: str) -> None:
    assert read(alert(attendanceStatus=said, label=None)).event_type == meant


@pytest.mark.parametrize(("label", "meant"), [("Check In", "IN"), ("overtimeOut", "OUT"), ("Lunch", "UNKNOWN")])
def test_a_label_says_the_direction_where_there_is_no_status(label: str, meant: str) -> None:
    event = {name: value for name, value in PUNCH["AccessControllerEvent"].items() if name != "attendanceStatus"}
    assert read(json.dumps(PUNCH | {"AccessControllerEvent": event | {"label": label}}).encode()).event_type == meant
    assert read(alert(attendanceStatus="", label=label)).event_type == meant
    assert read(alert(attendanceStatus="checkOut", label=label)).event_type == "OUT"


@pytest.mark.parametrize("minor", [1, 2, 38, 40, 69, 75, 77, 101, 153, 181, "75", "0x4b"])
def test_card_finger_face_and_password_are_punches_alike(minor: object) -> None:
    assert read(alert(subEventType=minor)).device_user_id == "000417"


@pytest.mark.parametrize("minor", [6, 8, 9, 21, 39, 76, 80, 112, 151])
def test_a_refused_access_is_no_punch(minor: int) -> None:
    parsed = parse(alert(subEventType=minor))
    assert not parsed.events
    assert not parsed.rejected
    [other] = parsed.others
    assert other.kind == "refused"
    assert b"000417" in other.value
    assert "Zoë".encode() not in other.value


def test_an_unknown_event_of_an_employee_is_neither_paid_nor_passed_over() -> None:
    parsed = parse(alert(subEventType=250))
    assert not parsed.events
    [rejected] = parsed.rejected
    assert rejected.reason is Reason.INVALID_EVENT
    assert "5/250" in rejected.message
    assert json.loads(rejected.value)["employeeNoString"] == "000417"


def test_the_entry_says_what_an_unknown_event_is() -> None:
    paid = GATE.model_copy(update={"options": {"punch_events": [250]}})
    assert read(alert(subEventType=250), paid).device_user_id == "000417"
    unpaid = GATE.model_copy(update={"options": {"other_events": [250]}})
    parsed = parse(alert(subEventType=250), device=unpaid)
    assert [other.kind for other in parsed.others] == ["refused"]
    parsed = parse(alert(subEventType=75), device=GATE.model_copy(update={"options": {"other_events": [75]}}))
    assert [other.kind for other in parsed.others] == ["refused"]


def test_somebody_who_was_let_in_and_has_no_number_is_rejected_and_not_passed_over() -> None:
    for absent in ({"employeeNoString": ""}, {"employeeNoString": None, "employeeNo": 0}):
        [rejected] = parse(alert(**absent)).rejected
        assert rejected.reason is Reason.INVALID_EVENT


def test_old_firmware_that_has_the_number_as_an_integer_is_understood() -> None:
    assert read(alert(employeeNoString="", employeeNo=417)).device_user_id == "417"


@pytest.mark.parametrize("fields", [{"majorEventType": 3}, {"employeeNoString": None, "subEventType": 21}])
def test_operations_and_doors_are_no_punches(fields: dict[str, Any]) -> None:
    parsed = parse(alert(**fields))
    assert len(parsed.others) == 1
    assert not parsed.events
    assert not parsed.rejected


def test_an_alarm_of_another_kind_is_a_notice() -> None:
    parsed = parse(b'{"eventType": "videoloss", "eventState": "inactive", "dateTime": "2026-01-01T08:00:30+03:00"}')
    assert [other.kind for other in parsed.others] == ["notice"]


@pytest.mark.parametrize("name", ["AccessControllerEventList", "accessControllerEvent"])
def test_an_access_event_without_its_event_is_rejected_and_not_passed_over(name: str) -> None:
    alert = {name: value for name, value in PUNCH.items() if name != "AccessControllerEvent"}
    parsed = parse(json.dumps(alert | {name: [PUNCH["AccessControllerEvent"]]}).encode())
    assert [each.reason for each in parsed.rejected] == [Reason.INVALID_EVENT]
    assert not parsed.others


def test_the_number_of_nobody_is_no_user_in_xml_either() -> None:
    said = (FIXTURES / "punch.xml").read_bytes().replace(b"employeeNoString>", b"employeeNo>").replace(b"000417", b"0")
    parsed = parse(said)
    assert not parsed.events
    assert [each.reason for each in parsed.rejected] == [Reason.INVALID_EVENT]


def test_a_heartbeat_tells_the_clock_and_nothing_else() -> None:
    parsed = parse((FIXTURES / "heartbeat.json").read_bytes())
    assert parsed.report is not None
    assert parsed.report.device_time == datetime(2026, 1, 1, 5, 0, 30, tzinfo=UTC)
    assert (parsed.events, parsed.others, parsed.rejected) == ([], [], [])


@pytest.mark.parametrize(("said", "replayed"), [(False, True), (True, False), (None, False)])
def test_what_is_not_current_is_history(said: object, replayed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert read(alert(currentEvent=said)).replayed is replayed
    assert read((FIXTURES / "punch.xml").read_bytes().replace(b">true<", b">false<")).replayed is True


def test_a_number_that_was_never_seen_before_an_event_is_a_gap() -> None:
    adapter = Hikvision(FIELDS)
    assert parse(alert(serialNo=10, frontSerialNo=9), adapter).report is None
    assert parse(alert(serialNo=11, frontSerialNo=10), adapter).report is None
    report = parse(alert(serialNo=15, frontSerialNo=14), adapter).report
    assert report is not None
    assert report.details == {"missing_after": 11, "missing_through": 14}
    assert parse(alert(serialNo=12, frontSerialNo=11, currentEvent=False), adapter).report is None
    assert parse(alert(serialNo=16, frontSerialNo=15), adapter).report is None


def test_gaps_in_every_request_are_logged_once() -> None:
    adapter = Hikvision(FIELDS)
    with capture_logs() as logs:
        for number in range(10, 1000, 5):
            parse(alert(serialNo=number, frontSerialNo=number - 1), adapter)
    assert [each["after"] for each in logs] == [10]


def test_numbers_that_begin_again_are_a_reset_and_no_gap() -> None:
    adapter = Hikvision(FIELDS)
    parse(alert(serialNo=90_000, frontSerialNo=89_999), adapter)
    assert parse(alert(serialNo=1, frontSerialNo=0), adapter).report is None
    report = parse(alert(serialNo=4, frontSerialNo=3), adapter).report
    assert report is not None
    assert report.details == {"missing_after": 1, "missing_through": 3}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"{",
        b"[]",
        b"5",
        b"{}",
        b'{"AccessControllerEvent": 5}',
        b'{"EventNotificationAlert": []}',
        b"<a",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY e "x">]><a><eventType>&e;</eventType></a>',
        b"--",
        b"--b\r\n",
        form(("Picture", PHOTO), end=b""),
        form(("event_log", alert()[:200])),
        b"[" * 5000,
        b"<a>" * 5000,
    ],
)
def test_a_body_that_is_no_event_is_unreadable(body: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        parse(body)
    assert caught.value.reason is Reason.UNREADABLE_BODY


@pytest.mark.parametrize("unreadable", [b'{"eventType": "Access', b"<EventNotificationAlert>", b"hello", b"[]", b"7"])
def test_an_unreadable_part_keeps_its_bytes_and_leaves_the_others(unreadable: bytes) -> None:
    parsed = parse(form(("a", alert()), ("b", unreadable), ("c", alert(employeeNoString="2")), ("Picture", PHOTO)))
    assert [event.device_user_id for event in parsed.events] == ["000417", "2"]
    [rejected] = parsed.rejected
    assert (rejected.index, rejected.reason) == (1, Reason.UNREADABLE_BODY)
    assert rejected.raw == unreadable


SECOND = alert(employeeNoString="2", serialNo=90212)
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 photograph"
PART = b'Content-Disposition: form-data; name="event_log"\r\n'


@pytest.mark.parametrize(
    "body",
    [
        form(("a", alert()), ("b", SECOND)).replace(b"\r\n--MIME", b"\r\n--MIME_boundary\r\n--MIME"),
        form(("a", alert()), ("b", SECOND)).replace(
            b"--MIME_boundary\r\n", b"--MIME_boundary\r\n\r\n--MIME_boundary\r\n"
        ),
        form(("a", alert()), ("b", SECOND)).replace(b"\r\n", b"\n"),
        form(("a", alert()), ("b", SECOND)).replace(b"Content-Disposition:", b"Content Disposition"),
        form(("a", alert()), ("b", SECOND)).replace(b'"b"\r\n\r\n', b'"b"\r\n'),
        form(("a", alert()), ("b", SECOND)).replace(PART.replace(b"event_log", b"b"), b""),
        form(("a", alert()), ("b", SECOND)).removeprefix(b"--MIME_boundary\r\n"),
        form(("a", alert()), ("b", SECOND)).replace(b"}\r\n--MIME_boundary\r\n", b"}\r\n--MIME_boundary--\r\n"),
        form(("a", alert()), ("b", SECOND), ("Picture", WEBP)),
        form(("Picture", WEBP), ("a", alert()), ("b", SECOND)) + b"\0\0",
        form(("a", b"[" + alert() + b"," + SECOND + b"]")),
    ],
    ids=[
        "doubled between events",
        "doubled at first",
        "LF alone",
        "bad header",
        "no empty line",
        "no header",
        "no first boundary",
        "the last one in the middle",
        "WebP",
        "WebP first, NUL at the end",
        "a list in a part",
    ],
)
def test_every_part_is_read_however_a_multipart_body_is_written(body: bytes) -> None:
    head = Head("POST", "/hik/{token}", {}, {}, {"content-type": "multipart/form-data; boundary=MIME_boundary"})
    parsed = Hikvision(FIELDS).parse(PushRequest(head, body, RECEIVED), {"GATE-2": GATE})
    assert [event.device_user_id for event in parsed.events] == ["000417", "2"]
    assert not parsed.rejected


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("picture", [PHOTO, WEBP + bytes(200)])
def test_a_request_that_was_kept_without_its_pictures_is_read_again_as_it_was(picture: bytes, line_end: bytes) -> None:
    body = form(("Picture", picture), ("a", alert()), ("b", b'{"eventType": "Access'), ("Picture", picture))
    body = body.replace(b"\r\n", line_end)
    as_kept = cut(body).data
    assert picture not in as_kept
    then, again = parse(body), parse(as_kept)
    assert [event.event_id for event in then.events] == [event.event_id for event in again.events]
    assert len(again.events) == 1
    assert [each.raw for each in then.rejected] == [each.raw for each in again.rejected] == [b'{"eventType": "Access']


def test_a_body_of_pictures_alone_holds_no_punch() -> None:
    parsed = parse(form(("Picture", PHOTO), ("Picture", WEBP)))
    assert [other.kind for other in parsed.others] == ["picture"]
    assert parsed.others[0].value == b"{}"


@pytest.mark.parametrize(
    "body",
    [
        b"[" + alert() + b"," + SECOND + b"]",
        b'[{"EventNotificationAlert": ' + alert() + b"}, " + SECOND + b"]",
        b'{"EventNotificationAlert": [' + alert() + b"," + SECOND + b"]}",
        json.dumps(
            PUNCH | {"AccessControllerEvent": [json.loads(each)["AccessControllerEvent"] for each in (alert(), SECOND)]}
        ).encode(),
        b"<EventNotificationAlertList>"
        + (FIXTURES / "punch.xml").read_bytes().partition(b"?>")[2]
        + (FIXTURES / "punch.xml").read_bytes().partition(b"?>")[2].replace(b">000417<", b">2<")
        + b"</EventNotificationAlertList>",
    ],
    ids=["list", "list of wrappers", "wrapped list", "list of events", "XML"],
)
def test_each_event_of_a_list_is_read(body: bytes) -> None:
    parsed = parse(body)
    assert [event.device_user_id for event in parsed.events] == ["000417", "2"]
    assert not parsed.rejected


def test_what_is_no_event_in_a_list_is_kept_and_leaves_the_others() -> None:
    body = b"[" + alert() + b", null, {}, " + SECOND + b"]"
    parsed = parse(body)
    assert [event.device_user_id for event in parsed.events] == ["000417", "2"]
    assert [(each.index, each.reason, each.raw) for each in parsed.rejected] == [
        (1, Reason.UNREADABLE_BODY, body),
        (2, Reason.UNREADABLE_BODY, body),
    ]


@pytest.mark.parametrize(
    "body",
    [
        alert().replace(b'"employeeNoString"', b'"employeeNoString": "2", "employeeNoString"'),
        alert().replace(b'"eventType"', b'"eventType": "heartBeat", "eventType"'),
        alert()
        .replace(b'{"', b'{"eventType": "a", "', 1)
        .replace(b'"eventType": "AccessControllerEvent"', b'"eventType": "heartBeat"'),
        alert().replace(b'"AccessControllerEvent":', b'"AccessControllerEvent": {}, "AccessControllerEvent":'),
        (FIXTURES / "punch.xml")
        .read_bytes()
        .replace(b"<employeeNoString>", b"<employeeNoString>2</employeeNoString><employeeNoString>"),
    ],
    ids=["two users", "punch or heartbeat", "heartbeat or something else", "two events", "two users in XML"],
)
def test_an_event_that_says_two_things_is_rejected(body: bytes) -> None:
    parsed = parse(body)
    assert not parsed.events
    assert parsed.report is None
    [rejected] = parsed.rejected
    assert (rejected.reason, rejected.message.endswith("is given twice")) == (Reason.INVALID_EVENT, True)


def test_a_name_in_another_encoding_does_not_hide_a_punch() -> None:
    assert read(json.dumps(PUNCH, ensure_ascii=False).encode("cp1252")).device_user_id == "000417"


def test_a_token_that_several_devices_have_names_none_of_them() -> None:
    other = GATE.model_copy(update={"device_id": "GATE-3"})
    with pytest.raises(InvalidRecord) as caught:
        Hikvision(FIELDS).parse(PushRequest(HEAD, alert(), RECEIVED), {"GATE-2": GATE, "GATE-3": other})
    assert caught.value.reason is Reason.UNKNOWN_DEVICE


@pytest.mark.parametrize("token", ["", "short", "with space!", "x" * 201, "ünïcödé-token"])
def test_what_can_be_no_token_is_nobodys(token: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        Hikvision(FIELDS).sender(Head("POST", "/hik/{token}", {"token": token}, {}, {}))
    assert caught.value.reason is Reason.UNKNOWN_DEVICE


def test_only_what_kafka_has_is_accepted() -> None:
    adapter, terminal = Hikvision(FIELDS), PushingTerminal("S1", TOKEN, "Asia/Riyadh")
    assert adapter.sender(HEAD).token == TOKEN
    accepted = set()
    for reason in Reason:
        answer = adapter.refuse(HEAD, reason, 5)
        if terminal.accepts(HttpAnswer(answer.status, answer.headers, answer.body), 1):
            accepted.add(reason)
    assert accepted == {Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR}
    assert adapter.refuse(HEAD, Reason.KAFKA_UNAVAILABLE, 5).headers == {"Retry-After": "5"}


@pytest.mark.parametrize("form", ["multipart", "json", "xml"])
@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_a_terminal_that_sends_is_understood_in_every_form(form: Form, line_end: str) -> None:
    terminal = PushingTerminal("S1", TOKEN, "Asia/Riyadh", form)
    at = datetime.fromisoformat("2026-01-01T08:00:00")
    punches = [Punch("007", at, "OUT", photo=PHOTO), Punch("8", at, "", 17), Punch("سارة", at.replace(2000), "IN")]
    requests = terminal.upload(punches, Quirks(line_end, final_line_end=False, garbage_at=1))
    assert len(requests) == 4
    with pytest.raises(InvalidRecord):
        send(requests[1])
    events = [event for request in (requests[0], *requests[2:]) for event in send(request).events]
    assert [(event.device_user_id, event.event_type) for event in events] == [
        ("007", "OUT"),
        ("8", "UNKNOWN"),
        ("سارة", "IN"),
    ]
    assert events[0].event_time == datetime(2026, 1, 1, 5, tzinfo=UTC)
    assert not any(send(request).events or send(request).rejected for request in terminal.strangers())
    assert all(len(send(request).others) == 1 for request in terminal.strangers())
    [hello] = terminal.hello()
    assert send(hello).report is not None


def send(request: HttpRequest) -> Parsed:
    assert request.path == f"/hik/{TOKEN}"
    return parse(request.body)


values = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)
names = st.sampled_from([*PUNCH["AccessControllerEvent"], "eventType", "dateTime", "major", "minor", "time"])
events = st.dictionaries(names, values, max_size=8)
line_ends = st.sampled_from([b"\r\n", b"\n", b"", b"\r\n\r\n", b" \r\n"])
lines = st.sampled_from(
    [b"--b", b"--b--", b"Content-Type: image/jpeg", b"Content Type", alert(), PHOTO, b"{", b"\0", b"x: y"]
)
bodies = (
    st.binary(max_size=200)
    | st.lists(st.tuples(lines, line_ends), max_size=8).map(
        lambda written: b"--b\r\n" + b"".join(line + end for line, end in written)
    )
    | events.flatmap(
        lambda fields: st.sampled_from(["gbk", "big5", "shift-jis", "utf-16", "latin-1"]).map(
            lambda encoding: json.dumps(fields | {"eventType": "誠"}, ensure_ascii=False).encode(encoding, "ignore")
        )
    )
    | events.map(lambda fields: json.dumps(fields).encode())
    | events.map(lambda fields: alert(**fields))
    | st.lists(st.tuples(st.just("p"), st.binary(max_size=60) | events.map(lambda f: alert(**f))), max_size=4).map(
        lambda parts: form(*parts)
    )
    | st.integers(0, 700).map(lambda size: (FIXTURES / "punch.xml").read_bytes()[:size])
)


@given(bodies)
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    try:
        parsed = parse(body)
    except InvalidRecord as error:
        reason = error.reason
    else:
        reason = Reason.UNREADABLE_BODY
        account_for(parsed)
    assert reason is Reason.UNREADABLE_BODY


def account_for(parsed: Parsed) -> None:
    assert parsed.events or parsed.others or parsed.rejected or parsed.report
    for event in parsed.events:
        assert RawEvent.decode(event.encode()) == event
    for kept in (*parsed.others, *parsed.rejected):
        json.loads(kept.value)
