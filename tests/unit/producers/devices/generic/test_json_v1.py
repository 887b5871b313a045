import json
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.settings import PushSettings
from producers.devices import PUSH_ADAPTERS, create_push_adapter
from producers.devices.contract import MAX_EVENTS, Head, Parsed, PushRequest

FIELDS = PushSettings.model_fields["payload_fields"].default
RECEIVED = datetime(2026, 3, 2, 5, 0, 0, 123_000, tzinfo=UTC)
GATE = Device(device_id="GATE-1", site="riyadh", timezone="Asia/Riyadh", installed_on=date(2025, 1, 1))
DOOR = Device(device_id="DOOR-2", site="berlin", timezone="Europe/Berlin")
DEVICES = {device.device_id: device for device in (GATE, DOOR)}

PHOTO = "/9j/4AAQSkZJRgABAQ" + "A1b2" * 300


def parse_body(body: bytes) -> Parsed:
    head = Head("POST", "/v1/events", {}, {}, {})
    return create_push_adapter("json", FIELDS).parse(PushRequest(head, body, RECEIVED), DEVICES)


def parse(*events: object, device_id: str = "GATE-1") -> Parsed:
    return parse_body(json.dumps({"device_id": device_id, "events": events}).encode())


def read(**fields: object) -> RawEvent:
    parsed = parse({"user_id": "7", "time": "2026-03-02 08:00:00", "type": "IN"} | fields)
    [event] = parsed.events
    assert not parsed.rejected
    return event


def rejection(event: object) -> tuple[Reason, str, Any]:
    parsed = parse(event)
    [rejected] = parsed.rejected
    assert not parsed.events
    assert rejected.index == 0
    return rejected.reason, rejected.message, orjson.loads(rejected.value)


def refusal(body: bytes) -> Reason:
    with pytest.raises(InvalidRecord) as caught:
        parse_body(body)
    return caught.value.reason


def test_a_punch_is_read_in_the_zone_of_its_device() -> None:
    event = read()
    assert (event.device_id, event.site, event.device_timezone) == ("GATE-1", "riyadh", "Asia/Riyadh")
    assert event.event_time == datetime(2026, 3, 2, 5, tzinfo=UTC)
    assert event.device_time == "2026-03-02 08:00:00"
    assert (event.device_user_id, event.event_type, event.received_at) == ("7", "IN", RECEIVED)


def test_the_device_is_the_one_the_body_names_among_those_of_the_token() -> None:
    [event] = parse({"user_id": "7", "time": "2026-07-01 08:00:00"}, device_id="DOOR-2").events
    assert (event.device_id, event.site) == ("DOOR-2", "berlin")
    assert event.event_time == datetime(2026, 7, 1, 6, tzinfo=UTC)


def test_an_event_says_in_which_request_and_where_in_it_it_came() -> None:
    first, second = parse({"user_id": "1"}, None, {"user_id": "2"}).events
    assert (first.source.transport, first.source.adapter, first.source.adapter_version) == ("push", "json", "1")
    assert [first.source.line, second.source.line] == [0, 2]
    assert first.source.batch_id == second.source.batch_id
    [other] = parse({"user_id": "1"}).events
    assert other.source.batch_id != first.source.batch_id


@pytest.mark.parametrize("user_id", ["007", "A-17", "7 8", "سارة", "1|2", "nul\0", "x" * 256])
def test_a_user_id_is_kept_exactly(user_id: str) -> None:
    assert read(user_id=user_id).device_user_id == user_id


@pytest.mark.parametrize("user_id", [" 621", " 532 ", "101 ", "\t7\r\n"])
def test_spaces_around_a_user_id_are_not_part_of_it(user_id: str) -> None:
    assert read(user_id=user_id).event_id == read(user_id=user_id.strip()).event_id


@pytest.mark.parametrize(
    ("number", "text"),
    [(1042, "1042"), (0, "0"), (-3, "-3"), (2**64 - 1, "18446744073709551615"), (2**64, "18446744073709551616")],
)
def test_a_user_id_that_is_an_integer_becomes_its_digits(number: int, text: str) -> None:
    assert read(user_id=number).device_user_id == text


@pytest.mark.parametrize("user_id", ["", None, True, 1.0, [], {"id": 7}, "x" * 257, "1\ufffd"])
def test_an_event_without_a_usable_user_is_rejected(user_id: object) -> None:
    reason, message, _ = rejection({"user_id": user_id, "time": "2026-03-02 08:00:00"})
    assert reason is Reason.INVALID_EVENT
    assert message.startswith("user_id")


@pytest.mark.parametrize("event", [None, "1042 2026-01-01 08:00:00 IN", 5, ["1042"], True])
def test_an_event_that_is_no_object_is_rejected(event: object) -> None:
    reason, message, _ = rejection(event)
    assert reason is Reason.INVALID_EVENT
    assert "object" in message


def test_a_bad_event_does_not_stop_the_others() -> None:
    parsed = parse({"user_id": "1"}, {"user_id": ""}, {"user_id": "3"}, None)
    assert [event.device_user_id for event in parsed.events] == ["1", "3"]
    assert [rejected.index for rejected in parsed.rejected] == [1, 3]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("IN", "IN"), ("out", "OUT"), ("In", "IN"), ("UNKNOWN", "UNKNOWN"), ("break", "UNKNOWN"), (0, "UNKNOWN")],
)
def test_a_type_that_is_neither_in_nor_out_is_unknown_and_kept_as_it_was(said: object, meant: str) -> None:
    event = read(type=said)
    assert event.event_type == meant
    assert event.payload["type"] == said


def test_a_missing_type_is_unknown() -> None:
    [event] = parse({"user_id": "7"}).events
    assert event.event_type == "UNKNOWN"
    assert "type" not in event.payload


@pytest.mark.parametrize(
    ("time", "device_time"),
    [
        (None, None),
        ("", ""),
        ("0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        ("31.12.2025 08:15:00", "31.12.2025 08:15:00"),
        (1.5, "1.5"),
        (True, "true"),
        ([], "[]"),
        (10**18, "1000000000000000000"),
        ("9" * 250, "9" * 250),
    ],
)
def test_an_event_whose_time_cannot_be_derived_is_kept_as_the_device_wrote_it(time: object, device_time: str) -> None:
    event = read(time=time)
    assert event.event_time is None
    assert event.device_time == device_time


def test_a_missing_time_is_no_reason_to_reject() -> None:
    [event] = parse({"user_id": "7"}).events
    assert (event.event_time, event.device_time) == (None, None)


def test_an_epoch_may_be_a_number_or_a_string_and_is_the_same_punch() -> None:
    seconds = int(datetime(2026, 3, 2, 5, tzinfo=UTC).timestamp())
    events = [read(time=time) for time in (seconds, str(seconds), seconds * 1000)]
    assert {event.event_id for event in events} == {read().event_id}
    assert [event.device_time for event in events] == [str(seconds), str(seconds), str(seconds * 1000)]


def test_a_time_too_long_to_be_one_is_rejected() -> None:
    reason, message, kept = rejection({"user_id": "7", "time": "9" * 257})
    assert (reason, message) == (Reason.INVALID_EVENT, "time is longer than 256 characters")
    assert kept["user_id"] == "7"


@pytest.mark.parametrize(("said", "kept"), [(12, 12), (-1, -1), ("12", None), (True, None), (1.0, None), (None, None)])
def test_a_sequence_is_an_integer_or_none(said: object, kept: int | None) -> None:
    assert read(sequence=said).sequence == kept


@pytest.mark.parametrize(("said", "kept"), [(True, True), (False, False), (1, False), ("true", False), (None, False)])
def test_only_true_says_that_an_event_is_history(said: object, kept: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert read(replayed=said).replayed is kept


def test_of_the_vendors_fields_only_the_allowed_ones_are_kept() -> None:
    event = read(verify_mode="FACE", temperature=36.6, mask=None, photo=PHOTO, name="Sara", template={"a": PHOTO})
    assert event.payload == {"type": "IN", "verify_mode": "FACE", "temperature": 36.6, "mask": None}
    assert b"Sara" not in event.encode()


def test_of_a_text_of_more_than_256_characters_only_the_beginning_is_kept() -> None:
    event = read(work_code=PHOTO, log_id={"photo": PHOTO}, mask=[PHOTO])
    assert event.payload == {"type": "IN", "work_code": PHOTO[:32]}


def test_a_rejected_event_is_kept_without_what_may_not_be_kept() -> None:
    event = {"user_id": "", "time": "t", "verify_mode": "FACE", "photo": PHOTO, "name": "Sara", "mask": {"x": PHOTO}}
    assert rejection(event)[2] == {"user_id": "", "time": "t", "verify_mode": "FACE"}
    assert rejection("line " + PHOTO)[2] is None
    assert rejection([PHOTO])[2] is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\x00\xff",
        b'{"device_id": "GATE-1"}',
        b'{"events": []}',
        b'{"device_id": 5, "events": []}',
        b'{"device_id": "GATE-1", "events": {}}',
        b'{"device_id": "GATE-1", "events": [{"user_id": NaN}]}',
        b'{"device_id": "GATE-1", "events": [{"user_id": "\\ud800"}]}',
        b'{"device_id": "GATE-1", "events": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"device_id": "GATE-1", "events": [{"user_id": ' + b"9" * 5000 + b"}]}",
    ],
)
def test_a_body_that_is_not_the_contracts_json_is_unreadable(body: bytes) -> None:
    assert refusal(body) is Reason.UNREADABLE_BODY


def test_a_body_for_a_device_that_is_not_the_tokens_is_refused() -> None:
    assert refusal(b'{"device_id": "OTHER", "events": []}') is Reason.UNKNOWN_DEVICE


def test_a_request_holds_so_many_events_and_no_more() -> None:
    most = b",".join([b"0"] * MAX_EVENTS)
    assert len(parse_body(b'{"device_id": "GATE-1", "events": [%b]}' % most).rejected) == MAX_EVENTS
    assert refusal(b'{"device_id": "GATE-1", "events": [0,%b]}' % most) is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize("second", [b"user_id", b"user\\u005fid"])
def test_an_event_that_names_two_users_is_nobodys_and_is_rejected(second: bytes) -> None:
    parsed = parse_body(
        b'{"device_id": "GATE-1", "events": [{"user_id": "1"}, {"user_id": "2", "%b": "3"}, {"user_id": "4"}]}' % second
    )
    assert [event.device_user_id for event in parsed.events] == ["1", "4"]
    [rejected] = parsed.rejected
    assert (rejected.index, rejected.message) == (1, "user_id is given twice")


def test_a_name_that_is_given_the_same_value_twice_says_one_thing() -> None:
    parsed = parse_body(b'{"device_id": "GATE-1", "device_id": "GATE-1", "events": [{"user_id": "1", "user_id": "1"}]}')
    assert [event.device_user_id for event in parsed.events] == ["1"]


def test_a_name_that_stands_elsewhere_in_the_body_is_not_given_twice() -> None:
    parsed = parse({"user_id": "user_id", "vendor": {"user_id": "8", "time": "x"}}, {"user_id": "2", "device_id": "X"})
    assert [event.device_user_id for event in parsed.events] == ["user_id", "2"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"device_id": "GATE-1", "events": [{"user_id": "1"}], "events": []}',
        b'{"device_id": "DOOR-2", "device_id": "GATE-1", "events": []}',
    ],
)
def test_a_body_that_gives_its_device_or_its_events_twice_is_unreadable(body: bytes) -> None:
    assert refusal(body) is Reason.UNREADABLE_BODY


def test_the_same_punch_by_another_request_has_the_same_id() -> None:
    assert read().event_id == read(sequence=9, verify_mode="CARD").event_id


@pytest.mark.parametrize("name", PUSH_ADAPTERS)
def test_every_adapter_of_the_table_can_be_made_and_knows_its_name(name: str) -> None:
    assert create_push_adapter(name, FIELDS).name == name


def test_an_adapter_that_is_not_there_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="'jsn'"):
        create_push_adapter("jsn", FIELDS)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.just(PHOTO)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
names = st.sampled_from([*FIELDS, "user_id", "time", "replayed", "photo", "events", "device_id"])
pairs = st.lists(st.tuples(names, values), max_size=8)


def written(event: list[tuple[str, Any]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in event) + "}"


entries = st.lists(pairs.map(written) | values.map(json.dumps), max_size=6)


def account_for(parsed: Parsed, body: bytes) -> None:
    found = [event.source.line for event in parsed.events] + [each.index for each in parsed.rejected]
    assert sorted(line for line in found if line is not None) == list(range(len(orjson.loads(body)["events"])))
    for event in parsed.events:
        assert RawEvent.decode(event.encode()) == event
        assert event.headers()
        assert PHOTO.encode() not in event.encode()
    for each in parsed.rejected:
        assert PHOTO.encode() not in each.value
        orjson.loads(each.value)


@given(st.binary() | st.text().map(str.encode) | values.map(json.dumps).map(str.encode))
@settings(deadline=None)
def test_any_bytes_that_are_no_batch_are_unreadable(body: bytes) -> None:
    assert refusal(body) is Reason.UNREADABLE_BODY


@given(entries)
@settings(deadline=None, max_examples=300)
def test_each_event_of_a_body_is_parsed_or_rejected_and_none_vanishes(entries: list[str]) -> None:
    body = f'{{"device_id": "GATE-1", "events": [{",".join(entries)}]}}'.encode()
    account_for(parse_body(body), body)
