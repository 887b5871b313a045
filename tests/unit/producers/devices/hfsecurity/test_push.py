import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import compile_path

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device, hash_token
from attendance.records.raw_event import RawEvent
from attendance.settings import PushSettings
from attendance.times import from_wall_clock
from producers.devices.contract import Answer, Head, Parsed, PushRequest
from producers.devices.hfsecurity.push import HfSecurity
from sandbox.terminals import PUSH_TERMINALS, simulator
from sandbox.terminals.base import NAME, PHOTO, HttpAnswer, HttpRequest, Punch, PushTerminal, Quirks

BODIES = Path(__file__).parents[4] / "fixtures" / "hfsecurity"
SERIAL, TOKEN, ZONE = "84E0F42AFFFF0001", "t-ö ken?", "Asia/Riyadh"
RECEIVED = datetime(2026, 3, 2, 5, 1, 0, 123_000, tzinfo=UTC)
OPTIONS = {"attendance": {1: "IN", "2": "out"}, "direction": {1: "IN", "4": "out"}}
GATE = Device(device_id="GATE-3", site="riyadh", timezone=ZONE, serial=SERIAL, options=OPTIONS)
DIALECTS = [name for name in PUSH_TERMINALS if name.partition(":")[0] == "hfsecurity"]
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
ADAPTER = HfSecurity(PushSettings.model_fields["payload_fields"].default)


wall = datetime.fromisoformat


def parse(
    body: bytes,
    content_type: str = JSON,
    *,
    route: str = "/hf/{token}/identify",
    query: Mapping[str, str] | None = None,
    devices: Mapping[str, Device] | None = None,
) -> Parsed:
    head = Head("POST", route, {"token": TOKEN}, query or {}, {"content-type": content_type})
    return ADAPTER.parse(PushRequest(head, body, RECEIVED), {"GATE-3": GATE} if devices is None else devices)


def identified(**fields: object) -> Parsed:
    return parse(json.dumps(orjson.loads(body("lan-identify.json")) | fields).encode())


def body(name: str) -> bytes:
    return (BODIES / name).read_bytes()


def only(parsed: Parsed) -> RawEvent:
    [event] = parsed.events
    assert not parsed.rejected
    assert not parsed.others
    return event


def refusal(content: bytes, content_type: str = JSON, **request: Any) -> InvalidRecord:
    with pytest.raises(InvalidRecord) as caught:
        parse(content, content_type, **request)
    return caught.value


def served(request: HttpRequest) -> PushRequest:
    """The request as the server hands it to the adapter, matched with the first of its routes that fits."""
    url = urlsplit(request.path)
    for route in ADAPTER.routes:
        matched = compile_path(route.path)[0].match(unquote(url.path))
        if matched and route.method == request.method:
            headers = {name.lower(): value for name, value in request.headers.items()}
            head = Head(request.method, route.path, matched.groupdict(), dict(parse_qsl(url.query)), headers)
            return PushRequest(head, request.body, RECEIVED)
    raise AssertionError(f"no route for {request.path}")


def terminal(dialect: str) -> PushTerminal:
    made: PushTerminal = simulator(PUSH_TERMINALS[dialect])(SERIAL, TOKEN, ZONE)
    return made


def taken_in(request: HttpRequest) -> Parsed:
    arrived = served(request)
    assert ADAPTER.sender(arrived.head).token == TOKEN
    return ADAPTER.parse(arrived, {"GATE-3": GATE})


def said(answer: Answer) -> HttpAnswer:
    return HttpAnswer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body)


def test_a_recognition_is_a_punch_at_the_devices_second() -> None:
    event = only(parse(body("lan-identify.json")))
    assert (event.device_id, event.site, event.device_user_id) == ("GATE-3", "riyadh", "000417")
    assert (event.event_time, event.device_time) == (datetime(2026, 3, 2, 5, 0, 2, tzinfo=UTC), "1772427602731")
    assert (event.event_type, event.source.transport, event.source.adapter) == ("IN", "push", "hfsecurity")


def test_the_dialects_report_one_punch_by_one_id() -> None:
    ids = {
        only(parse(body("lan-identify.json"))).event_id,
        only(parse(body("heystar-record.json"), route="/hf/{token}/record")).event_id,
        parse(body("app-events.json"), route="/hf/app/events").events[0].event_id,
    }
    assert len(ids) == 1
    old_form = only(parse(body("hfims-eventlog.txt"), FORM, route="/hfsecurity/eventlog"))
    without_choice = only(identified(attendance="0"))
    assert old_form.event_id == without_choice.event_id


def test_a_recognition_keeps_how_it_was_made_and_neither_card_number_nor_the_path_of_a_photograph() -> None:
    event = only(identified(idcardNum="2087654321"))
    assert event.payload["type"] == "face_0"
    assert event.payload["maskState"] == 3
    assert not {"idcardNum", "path", "ip", "deviceKey"} & event.payload.keys()
    score = only(parse(body("hfims-eventlog.txt"), FORM))
    assert (score.payload["searchScore"], score.payload["mask"]) == ("91.3", "-1")


@pytest.mark.parametrize("field", ["base64", "imgBase64", "data"])
def test_a_photograph_is_never_kept_even_where_its_field_is_configured(field: str) -> None:
    photo = b64encode(PHOTO).decode()
    adapter = HfSecurity((field,))
    record = {"deviceKey": SERIAL, "time": "1772427602000", "type": "face_0", field: photo}
    for user in ("000417", "STRANGERBABY", ["no user"]):
        content = json.dumps(record | {"personId": user}).encode()
        head = Head("POST", "/hf/{token}", {}, {}, {"content-type": JSON})
        parsed = adapter.parse(PushRequest(head, content, RECEIVED), {"GATE-3": GATE})
        values = [event.encode() for event in parsed.events]
        values += [each.value for each in (*parsed.others, *parsed.rejected)]
        assert len(values) == 1
        assert photo[:64].encode() not in values[0]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"personId": "STRANGERBABY"}, "stranger"),
        ({"personId": "", "idcardNum": "2087654321"}, "stranger"),
        ({"personId": None}, "stranger"),
        ({"personId": "IDCARD", "idcardNum": "2087654321"}, "id_card"),
        ({"identifyType": "2"}, "denied"),
        ({"identifyType": 2}, "denied"),
        ({"type": "face_1"}, "denied"),
        ({"type": "card_2"}, "denied"),
        ({"model": "4"}, "door"),
        ({"model": 5}, "door"),
        ({"type": "remoteDoor_0"}, "door"),
    ],
)
def test_what_is_no_punch_is_kept_as_what_it_is(fields: dict[str, object], kind: str) -> None:
    parsed = identified(**fields)
    [other] = parsed.others
    assert other.kind == kind
    assert not parsed.events
    assert not parsed.rejected
    assert orjson.loads(other.value)["time"] == "1772427602731"
    assert orjson.loads(parsed.answer.body) == {"result": 1, "code": "000", "success": True}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("lan-stranger.json", "stranger"),
        ("lan-event.json", "tamper"),
        ("lan-card-enrolled.json", "enrolment"),
    ],
)
def test_other_callbacks_that_reach_the_same_address_are_no_punches(content: str, kind: str) -> None:
    assert [other.kind for other in parse(body(content)).others] == [kind]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"personId": "7", "time": "1772427602000", "faceId": "f1", "newImgPath": "ftp://10.0.0.9/f"}', "enrolment"),
        (b'{"id": "7", "name": "x", "idcardNum": "1", "time": "1772427602000", "role": "1"}', "enrolment"),
        (b'{"time": "1772427602000", "QRdata": "123456"}', "qr_code"),
        (b'{"personId": "7", "time": "1772427602000", "eventType": 5, "result": 1}', "recognition"),
        (b'{"time": "1772427602000", "event": [1]}', "event"),
    ],
)
def test_a_person_who_is_enrolled_has_not_punched(content: bytes, kind: str) -> None:
    assert [other.kind for other in parse(content).others] == [kind]


@pytest.mark.parametrize(
    ("status", "meant"), [("1", "IN"), (1, "IN"), ("2", "OUT"), ("3", "UNKNOWN"), ("", "UNKNOWN"), (None, "UNKNOWN")]
)
def test_a_state_chosen_on_the_screen_means_what_the_entry_says(status: object, meant: str) -> None:
    event = only(identified(attendance=status))
    assert event.event_type == meant
    assert event.payload["attendance"] == status


@pytest.mark.parametrize("options", [{}, {"attendance": None}, {"attendance": {"2": "IN"}}])
def test_without_a_meaning_in_the_entry_a_direction_is_unknown(options: dict[str, object]) -> None:
    device = GATE.model_copy(update={"options": options})
    assert only(parse(body("lan-identify.json"), devices={"GATE-3": device})).event_type == "UNKNOWN"


@pytest.mark.parametrize("user", ["000417", "A-17", "7 8", "سارة", "1|2"])
def test_a_user_id_is_kept_exactly(user: str) -> None:
    assert only(identified(personId=user)).device_user_id == user
    form = urlencode({"deviceKey": SERIAL, "personId": user, "time": "1772427602000", "type": "face_0"})
    assert only(parse(form.encode(), FORM)).device_user_id == user


@pytest.mark.parametrize(
    "time", ["1772427602731", 1772427602731, 1772427602, "2026-03-02 08:00:02", "2026/03/02 08:00:02"]
)
def test_a_time_may_be_an_epoch_or_the_devices_wall_clock_and_is_the_same_punch(time: object) -> None:
    assert only(identified(time=time)).event_id == only(parse(body("lan-identify.json"))).event_id


def test_a_time_that_cannot_be_read_is_kept_as_it_was() -> None:
    event = only(identified(time="02.03.2026"))
    assert (event.event_time, event.device_time) == (None, "02.03.2026")


@pytest.mark.parametrize("device_name", ["deviceKey", "deviceId", "device_id", "sn", "SN", "deviceNo"])
@pytest.mark.parametrize("user_name", ["personId", "userId", "employeeNo", "customId", "person_id", "idcardNum"])
@pytest.mark.parametrize("time_name", ["time", "recordTime", "createTime", "captureTime", "identifyTime"])
def test_other_firmware_calls_the_same_things_by_other_names(device_name: str, user_name: str, time_name: str) -> None:
    record = {device_name: SERIAL, user_name: "000417", time_name: "1772427602000", "attendance": "1", "type": "face_0"}
    assert only(parse(json.dumps(record).encode())).event_id == only(parse(body("lan-identify.json"))).event_id


def multipart(fields: Mapping[str, str], photo: bytes) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    picture = (
        b'--b\r\nContent-Disposition: form-data; name="photo"; filename="x.jpg"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    )
    return "".join(parts).encode() + picture


def test_one_record_is_read_from_whatever_form_of_body_it_comes_in() -> None:
    fields = dict(parse_qsl(body("hfims-eventlog.txt").decode()))
    written = json.dumps(fields).encode()
    bodies = [
        (written, JSON),
        (written, "text/plain"),
        (b"\xef\xbb\xbf" + written + b"\r\n", ""),
        (written, FORM),
        (body("hfims-eventlog.txt"), JSON),
        (body("hfims-eventlog.txt") + b"\r\n", FORM),
        (multipart(fields, PHOTO), "multipart/form-data; boundary=b"),
    ]
    events = [only(parse(*each)) for each in bodies]
    assert {event.event_id for event in events} == {events[0].event_id}
    assert len({orjson.dumps(event.payload, option=orjson.OPT_SORT_KEYS) for event in events}) == 1


def test_the_query_fills_what_the_body_leaves_out_and_the_body_counts() -> None:
    record = {"personId": "000417", "time": "1772427602000", "type": "face_0"}
    query = {"deviceKey": SERIAL, "type": "face_2", "attendance": "1", "token": TOKEN}
    event = only(parse(json.dumps(record).encode(), query=query))
    assert (event.payload["type"], event.event_type) == ("face_0", "IN")
    assert TOKEN.encode() not in event.encode()


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"deviceKey": "84E0F42AFFFF0001", "personId": "1", "personId": "2", "type": "face_0"}', JSON),
        (b"deviceKey=84E0F42AFFFF0001&personId=1&personId=2&type=face_0", FORM),
    ],
)
def test_a_record_that_names_two_users_is_nobodys_and_is_rejected(content: bytes, content_type: str) -> None:
    [rejected] = parse(content, content_type).rejected
    assert (rejected.reason, rejected.message) == (Reason.INVALID_EVENT, "personId is given twice")


def test_what_is_said_twice_and_decides_nothing_does_no_harm() -> None:
    content = b"deviceKey=84E0F42AFFFF0001&personId=1&type=face_0&ip=10.0.0.1&ip=10.0.0.2&personId=1"
    assert only(parse(content, FORM)).device_user_id == "1"


def test_a_batch_that_gives_its_events_or_its_device_twice_is_unreadable() -> None:
    for content in (b'{"events": [{"userId": "1"}], "events": []}', b'{"sn": "A", "sn": "B", "events": []}'):
        [rejected] = parse(content, devices={"GATE-3": GATE.model_copy(update={"serial": None})}).rejected
        assert rejected.reason is Reason.UNREADABLE_BODY


def test_a_user_id_whose_bytes_are_lost_is_rejected_and_a_name_in_another_encoding_does_no_harm() -> None:
    content = b"deviceKey=84E0F42AFFFF0001&type=face_0&time=1772427602000&personId="
    [rejected] = parse(content + b"\xd5\xc5", FORM).rejected
    assert rejected.reason is Reason.INVALID_EVENT
    assert only(parse(content + b"7&name=\xd5\xc5", FORM)).device_user_id == "7"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", JSON),
        (b"{", JSON),
        (b"\x00\xff", "application/octet-stream"),
        (b'"text"', JSON),
        (b"null", JSON),
        (b'{"personId": NaN}', JSON),
        (b'{"personId": "\\ud800"}', JSON),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", JSON),
        (b'{"greeting": "hello"}', JSON),
        (b"a=b", FORM),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
        (b"--b--", "multipart/form-data"),
    ],
)
def test_a_body_of_no_known_shape_is_kept_as_it_is_and_may_be_forgotten(content: bytes, content_type: str) -> None:
    parsed = parse(content, content_type)
    [rejected] = parsed.rejected
    assert (parsed.device_id, rejected.reason, rejected.value) == ("GATE-3", Reason.UNREADABLE_BODY, content)
    assert terminal("hfsecurity").accepts(said(parsed.answer), 1)


def test_a_body_of_no_known_shape_is_refused_where_nobody_or_an_app_can_be_told() -> None:
    devices = {"GATE-3": GATE, "GATE-4": GATE.model_copy(update={"device_id": "GATE-4"})}
    assert refusal(b"{", devices=devices).reason is Reason.UNREADABLE_BODY
    assert refusal(b"{", route="/hf/app/events").reason is Reason.UNREADABLE_BODY


def test_why_a_body_cannot_be_read_tells_its_names_and_none_of_its_content() -> None:
    [photo] = parse(b64encode(PHOTO * 20) + b"=", FORM).rejected
    assert len(photo.message) < 100
    [greeting] = parse(b'{"greeting": "hello"}').rejected
    assert greeting.message == "no field says what it is: greeting"


def test_what_cannot_be_read_and_is_kept_may_be_forgotten_by_the_terminal() -> None:
    head = Head("POST", "/hf/{token}/identify", {"token": TOKEN}, {}, {})
    for reason in (Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR):
        assert terminal("hfsecurity").accepts(said(ADAPTER.refuse(head, reason, 5)), 1)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("reason", "statuses"),
    [
        (Reason.KAFKA_UNAVAILABLE, {503}),
        (Reason.OVERLOADED, {503}),
        (Reason.BODY_TOO_SLOW, {408, 503}),
        (Reason.UNKNOWN_DEVICE, {401, 403}),
        (Reason.BODY_TOO_LARGE, {413}),
    ],
)
def test_what_was_not_taken_in_is_kept_by_the_terminal(dialect: str, reason: Reason, statuses: set[int]) -> None:
    sender = terminal(dialect)
    [request] = sender.upload([Punch("7", wall("2026-03-02 08:00:00"))])
    answer = ADAPTER.refuse(served(request).head, reason, 5)
    assert answer.status in statuses
    assert not sender.accepts(said(answer), 1)
    assert answer.headers == ({"Retry-After": "5"} if answer.status == 503 else {})


def test_an_app_hears_whether_it_should_send_again() -> None:
    head = Head("POST", "/hf/app/events", {}, {}, {"authorization": "Bearer x"})
    again = orjson.loads(ADAPTER.refuse(head, Reason.KAFKA_UNAVAILABLE, 5).body)
    assert again == {"status": "FAILED", "code": "kafka_unavailable", "retryable": True}
    never = orjson.loads(ADAPTER.refuse(head, Reason.UNREADABLE_BODY, 5).body)
    assert never == {"status": "REJECTED", "code": "unreadable_body", "retryable": False}


def test_an_app_hears_of_each_record_what_became_of_it() -> None:
    parsed = parse(body("app-events.json"), route="/hf/app/events")
    assert [(event.device_user_id, event.event_type, event.sequence) for event in parsed.events] == [
        ("000417", "IN", 41),
        ("E-77", "OUT", 43),
    ]
    [rejected] = parsed.rejected
    assert (rejected.index, rejected.reason) == (1, Reason.INVALID_EVENT)
    assert orjson.loads(parsed.answer.body)["results"] == [
        {"attendanceEventId": "6b1f7f4e-52d1-4f0c-9d4e-0b8a6f3f0001", "status": "RECORDED"},
        {"attendanceEventId": "6b1f7f4e-52d1-4f0c-9d4e-0b8a6f3f0002", "status": "REJECTED", "code": "invalid_event"},
        {"attendanceEventId": "6b1f7f4e-52d1-4f0c-9d4e-0b8a6f3f0003", "status": "RECORDED"},
    ]
    assert parsed.report is not None
    assert parsed.report.device_time == datetime(2026, 3, 2, 5, 1, tzinfo=UTC)


def test_a_single_record_of_an_app_needs_no_list() -> None:
    record = orjson.loads(body("app-events.json"))["events"][0] | {"deviceId": SERIAL}
    parsed = parse(orjson.dumps(record), route="/hf/app/events")
    assert only(parsed).device_user_id == "000417"
    assert len(orjson.loads(parsed.answer.body)["results"]) == 1


@pytest.mark.parametrize("order", [(SERIAL, "OTHER", None), ("OTHER", SERIAL, None)])
def test_a_record_of_another_device_in_a_batch_is_rejected_alone(order: tuple[str | None, ...]) -> None:
    record = {"userId": "7", "deviceTimestamp": "2026-03-02T08:00:02+03:00"}
    events = [record | ({} if named is None else {"deviceId": named}) for named in order]
    parsed = parse(orjson.dumps({"events": events}), route="/hf/app/events")
    assert len(parsed.events) == 2
    assert [(each.index, each.reason) for each in parsed.rejected] == [(order.index("OTHER"), Reason.UNKNOWN_DEVICE)]


def test_a_batch_of_another_device_is_refused() -> None:
    record = {"userId": "7", "deviceTimestamp": "2026-03-02T08:00:02+03:00"}
    for batch in ({"deviceId": "OTHER", "events": [record]}, {"events": [record | {"sn": "OTHER"}]}):
        assert refusal(orjson.dumps(batch), route="/hf/app/events").reason is Reason.UNKNOWN_DEVICE


def test_an_app_learns_the_servers_time_and_tells_its_own() -> None:
    query = {"deviceTime": "2026-03-02T07:59:00+03:00", "deviceId": SERIAL}
    parsed = parse(b"", route="/hf/app/time", query=query)
    assert orjson.loads(parsed.answer.body)["timestamp"] == 1772427660123
    assert parsed.report is not None
    assert parsed.report.device_time == datetime(2026, 3, 2, 4, 59, tzinfo=UTC)


@pytest.mark.parametrize(("content", "content_type"), [("lan-heartbeat.json", JSON), ("hfims-heartbeat.txt", FORM)])
def test_a_heartbeat_tells_the_devices_clock_and_counts(content: str, content_type: str) -> None:
    parsed = parse(body(content), content_type, route="/hf/{token}/heartbeat")
    assert parsed.report is not None
    assert parsed.report.device_time == datetime(2026, 3, 2, 5, 1, tzinfo=UTC)
    assert parsed.report.details["personCount"] == 815
    assert not {"deviceName", "companyName"} & parsed.report.details.keys()
    assert orjson.loads(parsed.answer.body) == {"result": 1, "code": "000", "success": True}


def test_a_heartbeat_may_tell_no_more_than_the_time() -> None:
    content = b'{"deviceKey": "84E0F42AFFFF0001", "time": "1772427660000"}'
    for route in ("/hf/{token}/heartbeat", "/hf/{token}"):
        report = parse(content, route=route).report
        assert report is not None
        assert report.device_time == datetime(2026, 3, 2, 5, 1, tzinfo=UTC)


def test_free_storage_is_a_number_in_a_heartbeat() -> None:
    report = parse(body("lan-heartbeat.json")).report
    assert report is not None
    assert report.details["freeDiskSpace"] == 4546.56


def test_a_punch_at_the_address_for_heartbeats_is_a_punch() -> None:
    assert only(parse(body("lan-identify.json"), route="/hf/{token}/heartbeat")).device_user_id == "000417"


def test_a_body_of_another_device_than_the_tokens_is_refused() -> None:
    content = body("lan-identify.json").replace(b"0001", b"0002")
    assert refusal(content).reason is Reason.UNKNOWN_DEVICE


def test_devices_that_share_a_token_are_told_apart_by_serial_number_or_by_id() -> None:
    other = Device(device_id="GATE-4", site="jeddah", timezone=ZONE)
    devices = {"GATE-3": GATE, "GATE-4": other}
    record = {"personId": "7", "time": "1772427602000", "type": "face_0"}
    assert only(parse(body("lan-identify.json"), devices=devices)).device_id == "GATE-3"
    assert only(parse(orjson.dumps(record | {"sn": "GATE-4"}), devices=devices)).device_id == "GATE-4"
    for named in ({}, {"sn": "GATE-3"}, {"sn": "GATE-5"}):
        with pytest.raises(InvalidRecord) as caught:
            parse(orjson.dumps(record | named), devices=devices)
        assert caught.value.reason is Reason.UNKNOWN_DEVICE


def test_a_device_that_does_not_say_who_it_is_is_known_by_its_token() -> None:
    content = b"personId=7&time=1772427602000&type=face_0"
    assert only(parse(content, FORM)).device_id == "GATE-3"


@pytest.mark.parametrize(
    ("params", "query", "headers"),
    [
        ({"token": "t"}, {}, {}),
        ({}, {"token": "t"}, {}),
        ({}, {}, {"authorization": "Bearer t"}),
        ({"token": "other"}, {}, {"authorization": "bearer t"}),
    ],
)
def test_the_token_is_in_the_address_or_is_the_bearers(
    params: dict[str, str], query: dict[str, str], headers: dict[str, str]
) -> None:
    assert ADAPTER.sender(Head("POST", "/hf/{token}", params, query, headers)).token == "t"


@pytest.mark.parametrize("head", [{}, {"authorization": "Basic eA=="}, {"authorization": "Bearer "}])
def test_a_request_without_a_token_is_of_nobody(head: dict[str, str]) -> None:
    with pytest.raises(InvalidRecord) as caught:
        ADAPTER.sender(Head("POST", "/hfsecurity/eventlog", {}, {"token": "x" * 257}, head))
    assert caught.value.reason is Reason.UNKNOWN_DEVICE


PUNCHES = [
    Punch("007", wall("2026-03-02 08:00:00"), "IN", photo=PHOTO),
    Punch("A-17", wall("2026-03-02 08:00:01"), "OUT"),
    Punch("8", wall("2000-01-01 00:00:05")),
    Punch("8", wall("2031-07-01 12:00:00")),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("quirks", [Quirks(), Quirks(line_end="\n", final_line_end=False), Quirks(garbage_at=1)])
def test_what_a_terminal_sends_comes_out_as_it_was_punched(dialect: str, quirks: Quirks) -> None:
    sender = terminal(dialect)
    events: list[RawEvent] = []
    rejected = 0
    for request in sender.upload(PUNCHES, quirks):
        parsed = taken_in(request)
        events += parsed.events
        rejected += len(parsed.rejected)
        assert sender.accepts(said(parsed.answer), len(parsed.events))
    assert rejected == (quirks.garbage_at is not None)
    assert [(event.device_user_id, event.event_time, event.event_type) for event in events] == [
        (punch.user, from_wall_clock(punch.at, ZONE), punch.direction or "UNKNOWN") for punch in PUNCHES
    ]
    for event in events:
        assert NAME not in event.encode().decode()
        assert b64encode(PHOTO)[:40] not in event.encode()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_terminal_says_beside_its_punches_is_heard_and_is_no_punch(dialect: str) -> None:
    sender = terminal(dialect)
    for request in sender.hello():
        report = taken_in(request).report
        assert report is not None
        assert report.device_time is not None
    for request in sender.strangers():
        parsed = taken_in(request)
        assert not parsed.events
        assert len(parsed.others) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_terminals_entry_is_one_that_the_registry_takes(dialect: str) -> None:
    entry = Device.model_validate(
        {"device_id": "D", "site": "s", "timezone": ZONE} | dict(terminal(dialect).registry_entry())
    )
    assert entry.token_sha256 == hash_token(TOKEN)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [
        *("personId", "userId", "idcardNum", "time", "type", "model", "identifyType", "attendance", "action"),
        *("deviceKey", "event", "eventType", "version", "clientSequence", "base64", "role", "searchScore", "QRdata"),
    ]
)
records = st.dictionaries(names, values, max_size=8)
bodies = (
    st.binary(max_size=200)
    | records.map(json.dumps).map(str.encode)
    | st.lists(records | values, max_size=4).map(json.dumps).map(str.encode)
    | st.lists(records | values, max_size=4).map(lambda events: json.dumps({"events": events}).encode())
    | st.dictionaries(names, st.text(max_size=20), max_size=8).map(lambda fields: urlencode(fields).encode())
)


BATCH = {"events", "deviceTime", "deviceKey", "deviceId", "device_id", "sn", "SN", "deviceNo"}


@given(
    bodies,
    st.sampled_from([JSON, FORM, "multipart/form-data; boundary=b", "text/plain", ""]),
    st.sampled_from([route.path for route in HfSecurity.routes if route.method == "POST"]),
)
@settings(deadline=None, max_examples=250)
def test_any_body_is_accounted_for(content: bytes, content_type: str, route: str) -> None:
    device = GATE.model_copy(update={"serial": None})
    try:
        parsed = parse(content, content_type, route=route, devices={"GATE-3": device})
    except InvalidRecord:
        return
    orjson.loads(parsed.answer.body)
    count = len(parsed.events) + len(parsed.others) + len(parsed.rejected)
    if any(each.reason is Reason.UNREADABLE_BODY for each in parsed.rejected):
        assert [each.value for each in parsed.rejected] == [content]
        return
    if content.lstrip()[:1] == b"[":
        assert count == len(orjson.loads(content))
    else:
        fields = {} if count or parsed.report else orjson.loads(content)
        assert fields == {} or (fields["events"] == [] and (route == "/hf/app/events" or fields.keys() <= BATCH))
    for event in parsed.events:
        assert RawEvent.decode(event.encode()).event_id == event.event_id
    for value in (each.value for each in (*parsed.others, *parsed.rejected)):
        orjson.loads(value)
