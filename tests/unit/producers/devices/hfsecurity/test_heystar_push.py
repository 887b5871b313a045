"""The bodies E1 to E14 are examples of what a terminal posts and of what must come of it."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Source
from attendance.settings import PushSettings
from producers.devices import check_entry
from producers.devices.common.bodies import read_query
from producers.devices.common.options import read_options
from producers.devices.contract import STATUS, Head, Other, Parsed, PushRequest, Route
from producers.devices.hfsecurity.heystar_records import read_heystar_record, record_payload_names
from producers.devices.hfsecurity.push import APP_EVENTS, HfSecurity
from producers.devices.hfsecurity.recognition import DEVICE_NAMES, HfSecurityOptions
from sandbox.terminals.base import NAME, PHOTO, HttpAnswer, Punch
from sandbox.terminals.heystar import HfImsFormTerminal, HfImsTerminal

SERIAL, ZONE = "00aa11bb22cc33dd44", "Asia/Riyadh"
RECEIVED = datetime(2026, 3, 2, 5, 1, tzinfo=UTC)
GATE = Device(device_id="GATE-3", site="riyadh", timezone=ZONE, adapter="hfsecurity", serial=SERIAL)
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
ACCEPTED = {"result": 1, "code": "000", "success": True}
REFUSED = {"result": 0, "code": "500", "success": False}
RECORD_PATHS = ("", "/record", "/identify", "/heartbeat", "/person", "/event")
EMPTY = ("fingerFlag", "cardFlag", "palmFlag", "pwdFlag", "idCardFlag", "maskFlag", "capFlag", "cardNo", "idCard")
E1 = dict.fromkeys(EMPTY, "") | {
    "recordId": "114",
    "deviceKey": SERIAL,
    "recordTime": "1772427602000",
    "recordTimeStr": "2026-03-02 08:00:02",
    "personSn": "000417",
    "personName": NAME,
    "personType": "1",
    "resultFlag": "1",
    "strangerFlag": "0",
    "direction": "1",
    "faceFlag": "1",
    "openDoorFlag": "1",
}
IDS = {"personSn": "000417"}


def post(
    fields: object,
    route: str = "/hf/{token}/record",
    *,
    content_type: str = JSON,
    query: Mapping[str, str] | None = None,
    device: Device = GATE,
    payload_fields: Sequence[str] = PushSettings.model_fields["payload_fields"].default,
) -> Parsed:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    head = Head("POST", route, {"token": "t"}, query or {}, {"content-type": content_type})
    parsed = HfSecurity(payload_fields).parse(PushRequest(head, body, RECEIVED), {device.device_id: device})
    assert (parsed.answer.status, orjson.loads(parsed.answer.body)) == (200, ACCEPTED)
    return parsed


def form(fields: Mapping[str, object]) -> bytes:
    return urlencode(fields).encode()


def punch_of(parsed: Parsed) -> RawEvent:
    assert not parsed.others
    assert not parsed.rejected
    [event] = parsed.events
    return event


def kind_of(parsed: Parsed) -> str:
    assert not parsed.events
    assert not parsed.rejected
    [other] = parsed.others
    return other.kind


def gate(**options: object) -> Device:
    device = GATE.model_copy(update={"options": options})
    check_entry("push", device)
    return device


def test_e1_a_record_is_a_punch_with_its_number_at_the_instant_that_the_terminal_says() -> None:
    event = punch_of(post(E1))
    assert (event.device_user_id, event.event_time) == ("000417", datetime(2026, 3, 2, 5, 0, 2, tzinfo=UTC))
    assert (event.sequence, event.event_type, event.device_time) == (114, "UNKNOWN", "1772427602000")
    assert event.payload == {
        "personType": "1",
        "resultFlag": "1",
        "strangerFlag": "0",
        "direction": "1",
        "openDoorFlag": "1",
        "recordTimeStr": "2026-03-02 08:00:02",
        "faceFlag": "1",
    }


@pytest.mark.parametrize("content_type", [FORM, JSON, "text/plain", ""])
def test_e2_a_form_is_the_same_punch_whatever_it_is_called(content_type: str) -> None:
    twice_encoded = form(E1 | {"personName": urlencode({"": NAME})[1:]})
    event = punch_of(post(twice_encoded, content_type=content_type))
    wanted = punch_of(post(E1))
    assert (event.event_id, event.sequence, event.payload) == (wanted.event_id, 114, wanted.payload)


@pytest.mark.parametrize("path", RECORD_PATHS)
def test_a_record_is_one_at_whichever_address_it_arrives(path: str) -> None:
    assert punch_of(post(E1, f"/hf/{{token}}{path}")).event_id == punch_of(post(E1)).event_id


@pytest.mark.parametrize("purpose", ["eventlog", "record", "heartbeat", "person"])
def test_a_record_is_one_where_the_token_is_in_the_query(purpose: str) -> None:
    parsed = post(form(E1), f"/hfsecurity/{purpose}", content_type=FORM, query={"token": "t"})
    assert punch_of(parsed).event_id == punch_of(post(E1)).event_id


@pytest.mark.parametrize(
    ("example", "fields", "kind"),
    [
        ("E3", {"resultFlag": "3", "openDoorFlag": "0"}, "denied"),
        ("E3", {"resultFlag": "2"}, "denied"),
        ("E4", {"personSn": "", "personType": "0", "resultFlag": "2", "strangerFlag": "1"}, "stranger"),
        ("E5", {"personSn": "000900", "personType": "3"}, "blacklist"),
        ("E6", {"personSn": "V12", "personType": "2"}, "visitor"),
        ("E7", {"personSn": "", "cardFlag": "1", "cardNo": "04A1B2C3", "resultFlag": "2"}, "unknown_card"),
        ("a stranger who has a number", {"strangerFlag": "1"}, "stranger"),
        ("a blacklisted person who was refused", {"personType": "3", "resultFlag": "3"}, "blacklist"),
        ("a blacklisted person without a number", {"personSn": "", "personType": "3"}, "blacklist"),
        ("a blacklisted person without a verdict", {"personType": "3", "resultFlag": ""}, "blacklist"),
        ("nobody, and the door opened", {"personSn": "  ", "resultFlag": "1"}, "stranger"),
        ("a card that passed and is nobody's", {"personSn": None, "cardFlag": "1"}, "unknown_card"),
        ("a visitor who was refused", {"personType": "2", "resultFlag": "2"}, "denied"),
        ("a word in the place of a person", {"personSn": "strangerbaby"}, "stranger"),
        ("a word in the place of a person", {"personSn": " NOMASK "}, "no_mask"),
        ("the LAN API's refusal beside", {"type": "face_2"}, "denied"),
    ],
)
def test_what_is_no_punch_is_kept_as_what_it_is_in_text_and_numbers_and_forms(
    example: str, fields: Mapping[str, object], kind: str
) -> None:
    record = E1 | fields
    numbers = {name: int(value) if str(value).isdecimal() and name.endswith(("Flag", "Type")) else value
               for name, value in record.items()}  # fmt: skip
    assert kind_of(post(record)) == kind, example
    assert kind_of(post(numbers)) == kind, example
    assert kind_of(post(form({name: "" if value is None else value for name, value in record.items()}))) == kind
    assert kind_of(post([record])) == kind


def test_e6_a_visitor_punches_where_the_entry_says_so() -> None:
    record = E1 | {"personSn": "V12", "personType": "2"}
    assert punch_of(post(record, device=gate(visitors="punches"))).device_user_id == "V12"
    assert kind_of(post(record, device=gate(visitors="others"))) == "visitor"
    assert kind_of(post(record | {"personType": "3"}, device=gate(visitors="punches"))) == "blacklist"


def test_e7_no_card_becomes_a_user() -> None:
    [other] = post(E1 | {"personSn": "", "cardFlag": "1", "cardNo": "04A1B2C3"}).others
    assert b"04A1B2C3" not in other.value


@pytest.mark.parametrize(
    "configured", [(), ("checkImgBase64", "CHECKIMGURL", "personName", "idCard", "cardNo", "name")]
)
@pytest.mark.parametrize("person", ["000417", "", ["no person"]])
def test_e8_neither_a_photograph_nor_who_somebody_is_gets_out(configured: tuple[str, ...], person: object) -> None:
    photo = b64encode(PHOTO * 70).decode()
    private = {"checkImgBase64": photo, "checkImgUrl": "/photo/1.jpg", "idCard": "2087654321", "cardNo": "04A1B2C3"}
    parsed = post(E1 | private | {"personSn": person}, payload_fields=configured)
    kept = [event.encode() for event in parsed.events]
    kept += [each.value for each in (*parsed.others, *parsed.rejected)]
    assert len(kept) == 1
    for secret in (*private.values(), NAME, photo[:64], "2087654321"):
        assert json.dumps(secret)[1:-1].encode() not in kept[0]


@pytest.mark.parametrize("written", [json.dumps, form])
def test_e9_a_heartbeat_is_heard_at_its_address_and_at_the_bare_one(written: object) -> None:
    write = form if written is form else lambda fields: json.dumps(fields).encode()
    heartbeat = {"deviceKey": SERIAL, "ip": "10.0.0.9"}
    assert post(write(heartbeat), "/hf/{token}/heartbeat").report is not None
    assert post(write({"deviceKey": SERIAL}), "/hf/{token}/heartbeat").report is not None
    for fields in (heartbeat, {"deviceKey": SERIAL}):
        report = post(write(fields | {"time": "1772427660000"}), "/hf/{token}").report
        assert report is not None
        assert report.device_time == datetime(2026, 3, 2, 5, 1, tzinfo=UTC)


def test_e10_the_words_of_a_mips_server_are_read_as_before() -> None:
    body = f"personId=E417&type=face_0&time=1772427602000&deviceKey={SERIAL}&imgUri=/x.jpg".encode()
    event = punch_of(post(body, "/hf/{token}", content_type=FORM))
    assert (event.device_user_id, event.event_time) == ("E417", datetime(2026, 3, 2, 5, 0, 2, tzinfo=UTC))
    assert b"/x.jpg" not in event.encode()
    renamed = body.replace(b"personId", b"personSn")
    assert punch_of(post(renamed, "/hf/{token}", content_type=FORM)).event_id == event.event_id
    assert kind_of(post(renamed.replace(b"face_0", b"face_1"), "/hf/{token}", content_type=FORM)) == "denied"


@pytest.mark.parametrize("path", RECORD_PATHS)
@pytest.mark.parametrize("kind_of_person", [1, 2, 3, "1", "2", "3"])
@pytest.mark.parametrize("name_of_person", ["personSn", "sn"])
def test_e11_somebody_who_is_enrolled_has_not_punched(path: str, kind_of_person: object, name_of_person: str) -> None:
    person = {"deviceKey": SERIAL, "name": NAME, "type": kind_of_person, "createTime": "1772427602000"}
    parsed = post(person | {name_of_person: "000900"}, f"/hf/{{token}}{path}")
    assert kind_of(parsed) == "enrolment"
    assert NAME.encode() not in parsed.others[0].value


@pytest.mark.parametrize(
    "person",
    [
        {"deviceKey": SERIAL, "sn": "000900"},
        {"sn": "000900", "imgBase64": b64encode(PHOTO).decode()},
        {"deviceKey": SERIAL, "personSn": "000900", "createTime": "1772427602000"},
        {"deviceKey": SERIAL, "personId": "000900", "time": "1772427602000"},
        {"deviceKey": SERIAL, "result": 1, "msg": "ok"},
    ],
)
def test_at_the_address_for_persons_the_path_counts_before_the_content(person: Mapping[str, object]) -> None:
    assert kind_of(post(person, "/hf/{token}/person")) == "enrolment"


def test_e12_numbers_say_the_same_as_text() -> None:
    numbers = {name: int(value) if value.isdecimal() and name != "personSn" else value for name, value in E1.items()}
    event = punch_of(post(numbers | {"direction": 4}))
    wanted = punch_of(post(E1))
    assert (event.event_id, event.sequence) == (wanted.event_id, 114)


def test_e13_a_row_that_was_asked_for_is_the_same_punch() -> None:
    row = {"id": 116, "personSn": "000417", "personType": 1, "createTime": 1772427604000, "resultFlag": 1}
    event = read_heystar_record(
        row | {"strangerFlag": 0},
        GATE,
        read_options(GATE, HfSecurityOptions),
        received_at=RECEIVED,
        source=Source("pull", "hfsecurity"),
        payload=record_payload_names(()),
    )
    assert isinstance(event, RawEvent)
    pushed = punch_of(post(E1 | {"recordId": "116", "recordTime": "1772427604000"}))
    assert (event.event_id, event.sequence, event.event_type) == (pushed.event_id, pushed.sequence, "UNKNOWN")


def test_e14_a_second_record_a_second_later_is_another_record() -> None:
    first = punch_of(post(E1))
    second = punch_of(post(E1 | {"recordId": "115", "recordTime": "1772427603000"}))
    assert (second.sequence, second.event_id != first.event_id) == (115, True)


@pytest.mark.parametrize(
    ("direction", "meant"), [("1", "IN"), (1, "IN"), (4.0, "OUT"), ("2", "UNKNOWN"), ("", "UNKNOWN"), (None, "UNKNOWN")]
)
def test_a_direction_is_what_the_entry_says_and_stands_in_the_payload(direction: object, meant: str) -> None:
    record = E1 | {"direction": direction}
    assert punch_of(post(record, device=gate(direction={1: "IN", "4": "out"}))).event_type == meant
    assert punch_of(post(record)).event_type == "UNKNOWN"
    assert punch_of(post(record)).payload.get("direction", "") == (direction or "")


def test_somebody_who_was_let_in_and_has_no_field_for_a_name_is_no_stranger() -> None:
    without = {name: value for name, value in E1.items() if name != "personSn"}
    [rejected] = post(without | {"badgeNo": "000417"}).rejected
    assert rejected.reason is Reason.INVALID_EVENT
    assert kind_of(post(without | {"resultFlag": "2"})) == "stranger"
    assert kind_of(post(E1 | {"personSn": ""})) == "stranger"


@pytest.mark.parametrize(
    "options",
    [
        {"direction": {5: "IN"}},
        {"direction": {"in": "IN"}},
        {"direction": {1: "INWARD"}},
        {"direction": {1: "IN", "1": "OUT"}},
        {"attendance": {1: "IN", "1": "OUT"}},
        {"attendance": {1: "IN", "1 ": "OUT"}},
        {"attendance": {True: "IN"}},
        {"attendance": {None: "IN"}},
        {"attendance": {"": "IN"}},
        {"visitors": True},
        *(
            {"callback_url": url}
            for url in (
                "ftp://punchstream.example/hf/{token}",
                "punchstream.example/hf/{token}",
                "http:///hf/{token}",
                "http://punchstream.example:80800/hf/{token}",
                "http://punchstream.example:0/hf/{token}",
                "http://punchstream.example:port/hf/{token}",
                "http://{token}.punchstream.example/hf",
                "http://punchstream.example/hf/{serial}",
                "http://punchstream.example/hf/{token",
                "http://punchstream.example/hf?token={token}",
                "http://punchstream.example/hf/{token}#x",
                "http://admin@punchstream.example/hf/{token}",
                "http://punchstream.example/hf /{token}",
                "http://punchstream.example/hf/{token}\n",
            )
        ),
    ],
)
def test_an_option_that_means_nothing_is_refused(options: Mapping[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="options"):
        gate(**options)


@pytest.mark.parametrize("url", ["http://10.0.0.9:8080/hf/{token}", "HTTPS://[fd00::1]/hf/{token}/", "http://proxy"])
def test_an_address_to_post_to_is_taken_as_it_is(url: str) -> None:
    assert read_options(gate(callback_url=url), HfSecurityOptions).callback_url == url


def test_every_answer_has_a_word_for_each_dialect() -> None:
    head = Head("POST", "/hf/{token}/record", {"token": "t"}, {}, {})
    for reason in STATUS:
        answer = HfSecurity(()).refuse(head, reason, 5)
        assert orjson.loads(answer.body) == (ACCEPTED if answer.status == 200 else REFUSED)


@pytest.mark.parametrize("result", ["", "0", 0, None])
def test_a_record_without_a_verdict_is_a_punch_that_says_so(result: object) -> None:
    event = punch_of(post(E1 | {"resultFlag": result}))
    assert event.payload["resultFlag"] == (None if result in ("", None) else result)
    without = {name: value for name, value in E1.items() if name not in ("resultFlag", "strangerFlag", "personType")}
    assert punch_of(post(without)).payload["resultFlag"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"resultFlag": "4"},
        {"resultFlag": "passed"},
        {"strangerFlag": "2"},
        {"personType": "4"},
        {"personType": "0"},
        {"resultFlag": {"value": "1"}},
        {"strangerFlag": ["1"]},
        {"personType": [3]},
        {"personSn": ["1"]},
        {"personSn": True},
        {"personSn": "x" * 257},
    ],
)
def test_a_verdict_that_nobody_has_written_down_is_no_punch_and_is_not_lost(fields: Mapping[str, object]) -> None:
    parsed = post(E1 | fields)
    assert not parsed.events
    assert not parsed.others
    [rejected] = parsed.rejected
    assert rejected.reason is Reason.INVALID_EVENT
    assert orjson.loads(rejected.value)["recordId"] == "114"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(E1)[:-1].encode() + b', "personSn": "000418"}',
        form(E1) + b"&personSn=000418",
        json.dumps(E1)[:-1].encode() + b', "resultFlag": "3"}',
        form(E1) + b"&strangerFlag=1",
    ],
)
def test_a_record_that_says_two_things_is_nobodys_punch(body: bytes) -> None:
    parsed = post(body)
    assert not parsed.events
    assert "is given twice" in parsed.rejected[0].message


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        ({"recordTime": ""}, "2026-03-02 08:00:02"),
        ({"recordTime": "0"}, "2026-03-02 08:00:02"),
        ({"recordTime": 1772427602000.0}, "1772427602000"),
        ({"recordTime": "1772427602"}, "1772427602"),
    ],
)
def test_the_first_time_that_can_be_read_counts(fields: Mapping[str, object], time: str) -> None:
    event = punch_of(post(E1 | fields))
    assert (event.event_id, event.device_time) == (punch_of(post(E1)).event_id, time)


def test_a_record_without_a_time_that_can_be_read_is_kept_as_it_was() -> None:
    event = punch_of(post(E1 | {"recordTime": "0", "recordTimeStr": ""}))
    assert (event.event_time, event.device_time) == (None, "0")


@pytest.mark.parametrize("number", ["", "x", "9" * 40, "-1", None, {}])
def test_a_number_that_is_none_counts_for_nothing(number: object) -> None:
    assert punch_of(post(E1 | {"recordId": number})).sequence is None


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}"])
def test_what_stands_in_the_query_counts_where_the_body_is_empty(body: bytes) -> None:
    query = {name: str(value) for name, value in E1.items()} | {"token": "t"}
    assert punch_of(post(body, query=query)).event_id == punch_of(post(E1)).event_id
    lan = {"deviceKey": SERIAL, "personId": "605", "time": "1795881000000", "type": "face_0"}
    assert punch_of(post(body, "/hf/{token}/identify", query=lan)).device_user_id == "605"
    assert kind_of(post(body, "/hf/{token}/identify", query=lan | {"type": "face_2"})) == "denied"


@pytest.mark.parametrize(
    ("query", "body"),
    [
        (urlencode(E1) + "&personSn=000418", b""),
        ("personSn=000417&personSn=000418", json.dumps({n: v for n, v in E1.items() if n != "personSn"}).encode()),
    ],
)
def test_a_query_that_says_two_things_is_nobodys_punch(query: str, body: bytes) -> None:
    parsed = post(body, query=read_query(query))
    assert not parsed.events
    assert parsed.rejected[0].message == "personSn is given twice"
    assert punch_of(post(E1, query=read_query("personSn=1&personSn=2"))).device_user_id == "000417"


def test_one_address_for_all_may_say_in_its_query_what_comes() -> None:
    assert punch_of(post(E1, "/hf/{token}", query={"event": "record"})).sequence == 114
    heartbeat = {"deviceKey": SERIAL, "ip": "10.0.0.9"}
    assert post(heartbeat, "/hf/{token}", query={"event": "heartbeat"}).report is not None
    assert (
        kind_of(post({"deviceKey": SERIAL, "sn": "000900"}, "/hf/{token}", query={"event": "regPerson"})) == "enrolment"
    )


@pytest.mark.parametrize("body", [json.dumps(E1)[:-1].encode() + b",}", json.dumps(E1 | {"attach": "a"}).encode()])
def test_a_comma_too_many_and_a_raw_tab_hide_no_punch(body: bytes) -> None:
    assert (
        punch_of(post(body.replace(b'"attach": "a"', b'"attach": "a\t\x01b"'))).event_id == punch_of(post(E1)).event_id
    )


def test_a_record_of_another_terminal_than_the_tokens_is_refused() -> None:
    with pytest.raises(InvalidRecord) as caught:
        post(E1 | {"deviceKey": "ffaa11bb22cc33dd44"})
    assert caught.value.reason is Reason.UNKNOWN_DEVICE


def test_a_name_of_a_person_beside_nothing_else_is_kept_to_be_read_another_time() -> None:
    for fields in (IDS, IDS | {"time": "1772427602000", "ip": "10.0.0.9"}):
        parsed = post(fields | {"deviceKey": SERIAL}, "/hf/{token}")
        assert not parsed.events
        assert len(parsed.rejected) == 1


def test_what_is_in_a_list_is_told_apart_as_where_it_stands_alone() -> None:
    person = {"deviceKey": SERIAL, "personSn": "000900", "name": NAME, "type": 1}
    lan = {"deviceKey": SERIAL, "personId": "7", "time": "1772427602000", "faceId": "f1"}
    parsed = post([person, E1, lan, IDS])
    assert [event.device_user_id for event in parsed.events] == ["000417"]
    assert [other.kind for other in parsed.others] == ["enrolment", "enrolment"]
    assert [each.index for each in parsed.rejected] == [3]


@pytest.mark.parametrize("terminal", [HfImsTerminal, HfImsFormTerminal])
def test_what_was_not_stored_comes_again_in_resume_mode_and_is_lost_without_it(terminal: type[HfImsTerminal]) -> None:
    sender = terminal(SERIAL, "t", ZONE)
    adapter = HfSecurity(())
    punches = [Punch("000417", datetime(2026, 3, 2, 8, 0, second)) for second in range(3)]  # noqa: DTZ001 - a wall clock
    for mode, lost in ((2, 0), (1, 3)):
        sender.upload_mode = mode
        for request in sender.upload(punches):
            head = Head("POST", "/hf/{token}/record", {"token": "t"}, {}, {})
            refusal = adapter.refuse(head, Reason.KAFKA_UNAVAILABLE, 5)
            assert refusal.status == HTTPStatus.SERVICE_UNAVAILABLE
            sender.hear(request, HttpAnswer(refusal.status, refusal.headers, refusal.body))
        again = [punch_of(post(request.body)).event_time for request in sender.resume()]
        assert len(again) == len(punches) - lost
        assert again == sorted(again)
        assert not sender.resume()


def test_after_a_reset_a_terminal_posts_nowhere() -> None:
    sender = HfImsTerminal(SERIAL, "t", ZONE)
    sender.reset()
    assert not [*sender.hello(), *sender.upload([Punch("7", datetime(2026, 3, 2, 8))]), *sender.strangers()]  # noqa: DTZ001 - a wall clock


FLAGS = st.sampled_from(["", "0", "1", "2", "3", "4", "x", 0, 1, 2, 3, 1.0, True, False, None])
PEOPLE = st.sampled_from(["000417", " 7 ", "0", "", "  ", None, 417, "STRANGERBABY", "nomask", "!@#$%"])


@given(FLAGS, FLAGS, FLAGS, PEOPLE, FLAGS, st.sampled_from(["punches", "others"]), st.sampled_from([json.dumps, form]))
@settings(deadline=None, max_examples=500)
def test_only_a_person_who_was_let_in_has_punched(
    result: object,
    unknown: object,
    person_type: object,
    person: object,
    card: object,
    visitors: str,
    write: Callable[[Mapping[str, object]], str | bytes],
) -> None:
    verdict = {"resultFlag": result, "strangerFlag": unknown, "personType": person_type, "cardFlag": card}
    written = write(E1 | verdict | {"personSn": person})
    body = written if isinstance(written, bytes) else written.encode()
    parsed = post(body, device=gate(visitors=visitors))
    assert len(parsed.events) + len(parsed.others) + len(parsed.rejected) == 1
    if parsed.events:
        said = {name: text_of(value) for name, value in verdict.items()}
        assert said["resultFlag"] in ("", "0", "1")
        assert said["strangerFlag"] in ("", "0")
        assert said["personType"] in ("", "1", *(["2"] if visitors == "punches" else []))
        assert parsed.events[0].device_user_id == str(person).strip() not in ("", "STRANGERBABY", "nomask")


def text_of(value: object) -> str:
    """As a form has it, and JSON's numbers and truth values beside it."""
    return {"None": "", "True": "1", "False": "0", "1.0": "1"}.get(str(value), str(value))


names = st.sampled_from(
    [
        *("recordId", "deviceKey", "recordTime", "recordTimeStr", "createTime", "personSn", "sn", "personId", "name"),
        *("personType", "resultFlag", "strangerFlag", "direction", "cardFlag", "cardNo", "type", "id", "time", "ip"),
        *("checkImgBase64", "personName", "idCard", "result", "msg", "event", "events", "faceId", "QRdata"),
    ]
)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12) | FLAGS
records = st.dictionaries(names, values | st.lists(values, max_size=2), max_size=10)
bodies = (
    st.builds(json.dumps, records | st.lists(records, max_size=3)).map(str.encode)
    | records.map(form)
    | st.builds(lambda base, more: json.dumps({**base, **more}).encode(), st.just(E1), records)
    | st.tuples(st.integers(0, 400), st.binary(max_size=3)).map(lambda cut: mutilated(*cut))
)


def mutilated(at: int, bytes_there: bytes) -> bytes:
    """The example with other bytes somewhere in it."""
    written = json.dumps(E1).encode()
    return written[:at] + bytes_there + written[at + 1 :]


@given(bodies, st.sampled_from([route for route in HfSecurity.routes if route.method == "POST"]))
@settings(deadline=None, max_examples=500)
def test_any_body_is_accounted_for_and_no_name_gets_out(body: bytes, route: Route) -> None:
    device = GATE.model_copy(update={"serial": None})
    head = Head("POST", route.path, {"token": "t"}, {}, {"content-type": JSON})
    try:
        parsed = HfSecurity(("personName", "name")).parse(PushRequest(head, body, RECEIVED), {"GATE-3": device})
    except InvalidRecord:
        return
    if not (parsed.events or parsed.others or parsed.rejected or parsed.report):
        batch = orjson.loads(body)
        names = {"events", *DEVICE_NAMES}
        assert batch == [] or (batch["events"] == [] and (route.path == APP_EVENTS or batch.keys() <= names))
    for event in parsed.events:
        assert RawEvent.decode(event.encode()).event_id == event.event_id
        assert not {"personName", "name"} & event.payload.keys()


def test_a_list_of_events_beside_a_record_hides_neither() -> None:
    assert punch_of(post(E1 | {"events": []})).sequence == 114
    [rejected] = post(E1 | {"events": [{"personId": "8", "time": "1772427602000"}]}).rejected
    assert rejected.reason is Reason.UNREADABLE_BODY


def test_another_kind_is_never_a_punch_by_the_reader_alone() -> None:
    outcome = read_heystar_record(
        E1 | {"personType": "3"},
        GATE,
        HfSecurityOptions(),
        received_at=RECEIVED,
        source=Source("pull", "hfsecurity"),
        payload=(),
    )
    assert isinstance(outcome, Other)
