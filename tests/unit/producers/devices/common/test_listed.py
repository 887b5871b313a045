"""Of a message that is known, only the fields of the list are kept, and it is read again as what it was."""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, Final
from urllib.parse import quote_plus, urlencode
from xml.sax.saxutils import escape

import orjson
import pytest
from hidden_forms import FORMS, is_left
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.logs import Seldom
from attendance.records.raw_event import RawEvent
from producers.devices.common.listed import ListingAdapter
from producers.devices.contract import Head, Parsed, PushAdapter, PushRequest, Sender
from producers.devices.generic.json_v1 import EVENTS, HEARTBEAT, JsonV1
from producers.devices.hfsecurity.push import HfSecurity
from producers.devices.hikvision.push import Hikvision
from producers.push.unread import Came, unread_request
from producers.unread import ready, request_of

PRINT: Final = b"\x46\x4d\x52\x00" + Random(18).randbytes(896)
NAME, PASSWORD, ID_CARD = "Yasmin Zuleikha", "hunter2-4711", "784-1984-1234567-1"
NOW: Final = datetime(2026, 3, 2, 5, 1, tzinfo=UTC)
BYTES: Final = list(PRINT)

DISGUISES: Final[Mapping[str, object]] = {
    **{name: form(PRINT) for name, form in FORMS.items() if name != "letters"},
    "a short list": BYTES[:20],
    "short hex with signs": PRINT[:24].hex(":"),
    "short hex": PRINT[:24].hex(),
    "a short vector": [each / 251 - 0.5 for each in BYTES[:7]],
    "bytes under numbers": {str(at): each for at, each in enumerate(BYTES[:20])},
    "nested under other names": {"p": {"q": [{"r": BYTES[:20]}, {"s": NAME}]}},
    "a document in a string": json.dumps({"p": {"q": BYTES[:20], "r": NAME, "code": PASSWORD}}),
    "a list of objects": [{"k": at, "v": each} for at, each in enumerate(BYTES[:20])],
    "a name": NAME,
    "a password": PASSWORD,
    "an identity card": ID_CARD,
}
"""Templates and the like, also so short that nothing but a list of fields tells them from a number."""
UNLISTED: Final = ("p1", "extInfo", "FaceRect", "zz", "modelData", "cardNo", "userName", "verifyCode", "remark2")


def device(adapter: str) -> Device:
    return Device.model_validate(
        {"device_id": "D", "site": "s", "timezone": "Asia/Riyadh", "adapter": adapter, "token_sha256": "0" * 64}
    )


def heystar(**more: object) -> dict[str, object]:
    return {
        "deviceKey": "D",
        "personSn": "000417",
        "recordTime": "1772427600000",
        "recordId": "7",
        "resultFlag": "9",
    } | more


def lan(**more: object) -> dict[str, object]:
    return {"deviceKey": "D", "personId": "", "idcardNum": "", "time": "1772427600000", "action": "CHECK_IN"} | more


def hik_event(**more: object) -> dict[str, object]:
    return {"majorEventType": 5, "subEventType": 250, "employeeNoString": "000417", "serialNo": 7} | more


def hik_alert(event: object, **more: object) -> dict[str, object]:
    return {
        "eventType": "AccessControllerEvent",
        "dateTime": "2026-03-02T08:00:00+03:00",
        "AccessControllerEvent": event,
    } | more


def json_body(*events: object, **more: object) -> bytes:
    return orjson.dumps({"device_id": "D", "events": list(events)} | more)


def json_event(**more: object) -> dict[str, object]:
    return {"user_id": "000417", "time": "2026-03-02 08:00:00", "type": "IN", "sequence": 7} | more


def text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def in_xml(value: object) -> str:
    return escape("".join(each for each in text(value) if each.isprintable() or each in "\n\t"))


def multipart(document: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="event_log"\r\n\r\n' + document + b"\r\n--b--\r\n"


Body = Callable[[Mapping[str, object]], bytes]
BODIES: Final[Mapping[str, tuple[str, Body]]] = {
    "JSON": ("json", lambda more: json_body(json_event(**more), json_event(user_id="", **more), **more)),
    "JSON, an event that is none": ("json", lambda more: json_body(7, json_event(time=None), **more)),
    "HeyStar": ("hfsecurity", lambda more: orjson.dumps(heystar(**more))),
    "HeyStar as a form": (
        "hfsecurity",
        lambda more: urlencode(heystar(**{n: text(v) for n, v in more.items()})).encode(),
    ),
    "LAN API, several": (
        "hfsecurity",
        lambda more: orjson.dumps({"deviceKey": "D", "events": [lan(**more), lan(personId="8", **more)], **more}),
    ),
    "LAN API, a list": (
        "hfsecurity",
        lambda more: orjson.dumps([lan(personId=[7], **more), lan(personId="8", **more)]),
    ),
    "Hikvision": ("hikvision", lambda more: orjson.dumps(hik_alert(hik_event(**more), **more))),
    "Hikvision, flat": ("hikvision", lambda more: orjson.dumps(hik_event(time="2026-03-02 08:00:00", **more))),
    "Hikvision, wrapped": (
        "hikvision",
        lambda more: orjson.dumps({"EventNotificationAlert": hik_alert([hik_event(**more), hik_event()], **more)}),
    ),
    "Hikvision, a part": ("hikvision", lambda more: multipart(orjson.dumps(hik_alert(hik_event(**more), **more)))),
    "Hikvision as XML": (
        "hikvision",
        lambda more: (
            "<EventNotificationAlert><dateTime>2026-03-02T08:00:00+03:00</dateTime>"
            "<eventType>AccessControllerEvent</eventType><AccessControllerEvent><majorEventType>5</majorEventType>"
            "<subEventType>250</subEventType><employeeNoString>000417</employeeNoString>"
            + "".join(f"<{name}>{in_xml(value)}</{name}>" for name, value in more.items())
            + "</AccessControllerEvent></EventNotificationAlert>"
        ).encode(),
    ),
}


ADAPTERS: Final[Mapping[str, tuple[PushAdapter, str]]] = {
    "json": (JsonV1(()), EVENTS),
    "hfsecurity": (HfSecurity(()), "/hf/{token}"),
    "hikvision": (Hikvision(()), "/hik/{token}"),
}


def adapter_of(name: str) -> PushAdapter:
    return ADAPTERS[name][0]


def head(name: str, query: str = "", content_type: str = "") -> Head:
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in query.split("&")) if key}
    headers = {"content-type": content_type} if content_type else {}
    return Head("POST", ADAPTERS[name][1], {"token": "secret-token"}, pairs, headers)


def request(name: str, body: bytes, query: str = "") -> PushRequest:
    return PushRequest(head(name, query), body, NOW)


def kept(name: str, body: bytes, query: str = "") -> Any:
    """The request as Kafka has it."""
    entry = device(name)
    came = Came("/x/secret-token", query, request(name, body, query), Sender("secret-token"), {"D": entry})
    why = InvalidRecord(Reason.INVALID_EVENT, "why")
    return ready(unread_request(adapter_of(name), came, entry, why, Seldom()))


def outcome(name: str, asked: PushRequest) -> object:
    """What today's adapter makes of a request, as far as it says the same each time."""
    try:
        found: Parsed = adapter_of(name).parse(asked, {"D": device(name)})
    except InvalidRecord as error:
        return error.reason
    events: list[RawEvent] = list(found.events)
    return (
        [(each.event_id, each.event_time, each.sequence, each.payload) for each in events],
        [(each.index, each.reason, each.message) for each in found.rejected],
        [each.kind for each in found.others],
    )


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("dialect", BODIES)
def test_nothing_that_is_not_on_the_list_is_left_in_a_message_that_is_known(dialect: str, disguise: str) -> None:
    name, body = BODIES[dialect]
    hidden = DISGUISES[disguise]
    whole = body(dict.fromkeys(UNLISTED, hidden))

    found = kept(name, whole)

    assert not is_left(text(hidden), found.body)
    for short in (
        NAME,
        NAME.replace(" ", "+"),
        PASSWORD,
        ID_CARD,
        PRINT[:24].hex(":"),
        quote_plus(PRINT[:24].hex(":")),
    ):
        assert short.encode() not in found.body
    for numbers in (BYTES[:20], BYTES[:6]):
        assert orjson.dumps(numbers)[1:-1] not in found.body.replace(b" ", b"")
    assert b"zz" in found.body  # that it was there
    assert b"417" in found.body or b'"8"' in found.body
    assert any("not on the list" in each for each in found.removed)


@pytest.mark.parametrize("dialect", BODIES)
def test_a_message_is_read_again_as_what_it_was(dialect: str) -> None:
    name, body = BODIES[dialect]
    whole = body(dict.fromkeys(UNLISTED, base64.b64encode(PRINT).decode()))

    again = request_of(kept(name, whole))

    first = outcome(name, request(name, whole))
    assert first not in (Reason.UNREADABLE_BODY, Reason.UNKNOWN_DEVICE)
    assert outcome(name, again) == first


TEXTS: Final = (
    *("", " ", "0", "1", "2", "3", "000417", "face_0", "face_2", "STRANGERBABY", "1772427600000"),
    *("x" * 300 + "_2", " " * 300 + "7", "7 " * 200),
)
VALUES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(TEXTS),
    st.lists(st.integers(0, 255), max_size=10),
    st.dictionaries(st.sampled_from(("eventType", "x")), st.just("1")),
)
NAMES: Final = st.sampled_from(
    (
        *("deviceKey", "personSn", "personId", "idcardNum", "time", "recordTime", "type", "model", "resultFlag"),
        *("strangerFlag", "personType", "sn", "name", "imgBase64", "feature", "role", "ip", "event", "eventType"),
        *(
            "action",
            "attendance",
            "identifyType",
            "QRdata",
            "recordId",
            "direction",
            "cardFlag",
            "nobody knows it",
            "x",
        ),
    )
)


@given(records=st.lists(st.dictionaries(NAMES, VALUES, max_size=9), min_size=1, max_size=3), is_batch=st.booleans())
def test_whatever_a_terminal_writes_is_read_again_as_what_it_was(
    *, records: list[dict[str, object]], is_batch: bool
) -> None:
    whole = orjson.dumps({"events": records} if is_batch else records[0])
    adapter = adapter_of("hfsecurity")
    assert isinstance(adapter, ListingAdapter)

    found = adapter.kept_request(head("hfsecurity"), whole, "")

    if found is not None:
        again = outcome("hfsecurity", request("hfsecurity", found.body))
        assert _without_payload(again) == _without_payload(outcome("hfsecurity", request("hfsecurity", whole)))


@given(
    events=st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from(("user_id", "time", "type", "sequence", "x", "name")), VALUES), VALUES
        ),
        min_size=1,
        max_size=4,
    ),
    beside=st.dictionaries(st.sampled_from(("device_id", "time", "pending", "x", "name")), VALUES),
)
def test_whatever_is_pushed_as_json_is_read_again_as_what_it_was(
    *, events: list[object], beside: dict[str, object]
) -> None:
    whole = json_body(*events, **beside)
    adapter = adapter_of("json")
    assert isinstance(adapter, ListingAdapter)

    found = adapter.kept_request(head("json"), whole, "")

    if found is not None:
        again = outcome("json", request("json", found.body))
        assert _without_payload(again) == _without_payload(outcome("json", request("json", whole)))


KNOWN: Final = frozenset(
    {"device_id", "events", "user_id", "time", "type", "sequence", "replayed", "pending", "last_sequence"}
)
ADDED: Final[st.SearchStrategy[dict[str, Any]]] = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=24).filter(lambda name: name not in KNOWN),
    st.recursive(
        st.one_of(st.just("Yasmin"), st.just(4711_0815)),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1), st.dictionaries(st.text(min_size=1, max_size=8), inner, min_size=1)
        ),
        max_leaves=8,
    ),
    min_size=1,
    max_size=5,
)


@given(around=ADDED, within=ADDED)
def test_whatever_field_is_added_to_a_message_is_not_kept(around: dict[str, Any], within: dict[str, Any]) -> None:
    for body in (
        json_body(json_event(user_id="", **within), json_event(**within), **around),
        json_body(json_event(user_id=within, time=[within]), **around),
    ):
        written = b"".join([kept("json", body).encode(), *letters("json", body)])
        assert b"Yasmin" not in written
        assert b"47110815" not in written


def letters(name: str, body: bytes) -> list[bytes]:
    """What the dead letters of a request hold, and its events."""
    found = adapter_of(name).parse(request(name, body), {"D": device(name)})
    return [*(each.value for each in found.rejected), *(each.encode() for each in found.events)]


def test_a_heartbeat_is_kept_by_its_list() -> None:
    body = orjson.dumps({"device_id": "D", "time": "never", "pending": 3, "operator": NAME, "picture": "x"})
    adapter = adapter_of("json")
    assert isinstance(adapter, ListingAdapter)
    asked = Head("POST", HEARTBEAT, {}, {}, {})
    found = adapter.kept_request(asked, body, "")
    assert found is not None
    assert orjson.loads(found.body) == {
        "device_id": "D",
        "time": "never",
        "pending": 3,
        "operator": None,
        "picture": None,
    }
    assert found.left_out == 2


def test_a_time_in_parts_is_kept_with_the_id_that_its_event_had() -> None:
    for time in ({"date": "2026-03-02", "clock": "08:00:00"}, [2026, 3, 2, 8, 0], ["2026-03-02", "08:00"]):
        body = json_body(json_event(time=time, note=NAME), json_event(user_id=""))
        again = request_of(kept("json", body))
        assert outcome("json", again) == outcome("json", request("json", body))
        assert NAME.encode() not in again.body


def _without_payload(found: object) -> object:
    """A time that is a list or an object is none, and its words may be shorter than they were."""
    if not isinstance(found, tuple):
        return found
    events, rejected, others = found
    return [(when, number) for _, when, number, _ in events], rejected, others


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("hfsecurity", b'{"deviceKey": "D", "staffNo": "000417", "resultFlag": "1", "recordTime": "1772427600000"}'),
        ("hfsecurity", b'{"deviceKey": "D", "who": {"number": "000417"}}'),
        ("json", b'{"device_id": "D", "events": [{"userId": "000417", "time": "2026-03-02 08:00:00"}]}'),
        ("json", b'{"deviceId": "D", "events": [{"user_id": "000417", "time": "2026-03-02 08:00:00"}]}'),
        ("json", b'{"device_id": "D", "user": "000417", "time": "2026-03-02 08:00:00"}'),
        ("hikvision", b'{"eventType": "AccessControllerEvent", "major": 5, "minor": 75, "cardNo": "4711"}'),
        ("hikvision", b'{"eventType": "AccessControllerEvent", "staffNo": "000417", "when": "2026-03-02 08:00:00"}'),
    ],
)
def test_who_was_let_in_and_stands_under_no_known_name_is_kept(name: str, body: bytes) -> None:
    assert kept(name, body).body == body


def test_a_time_under_a_name_that_is_not_known_is_kept_where_no_known_one_says_it() -> None:
    body = orjson.dumps(
        {
            "personSn": "7",
            "resultFlag": "9",
            "punchedAt": "2026-03-02 08:00:00",
            "ts": 1772427600000,
            "mobile": "1772427600",
        }
    )
    found = orjson.loads(kept("hfsecurity", body).body)
    assert (found["punchedAt"], found["ts"], found["mobile"]) == ("2026-03-02 08:00:00", 1772427600000, None)


def test_a_time_that_is_a_list_of_numbers_is_kept() -> None:
    body = b'{"personSn":"7","resultFlag":"9","recordTime":[2026,3,2,8,0,0]}'
    assert kept("hfsecurity", body).body == body


def test_a_name_that_is_given_twice_keeps_both_values() -> None:
    body = b'{"personSn":"7","personSn":"8","recordTime":"1772427600000","resultFlag":"1","x":1,"x":"Yasmin"}'
    found = kept("hfsecurity", body).body
    assert b'"personSn":"7"' in found
    assert b'"personSn":"8"' in found
    assert b"Yasmin" not in found


def test_a_value_on_the_list_that_is_too_long_for_any_user_stays_too_long() -> None:
    whole = orjson.dumps(heystar(personSn="000417 " * 50, resultFlag="1"))
    first = outcome("hfsecurity", request("hfsecurity", whole))
    assert outcome("hfsecurity", request_of(kept("hfsecurity", whole))) == first
    assert "longer than 256" in str(first)


def test_a_card_stays_where_it_is_the_user_and_only_there() -> None:
    alone = orjson.loads(kept("hfsecurity", b'{"idcardNum": "4711", "time": "1772427600000"}').body)
    beside = orjson.loads(kept("hfsecurity", b'{"idcardNum": "4711", "personId": "7", "time": "1772427600000"}').body)
    assert (alone["idcardNum"], beside["idcardNum"]) == ("4711", "-")


def test_what_the_query_says_is_kept_by_the_same_list() -> None:
    query = f"personSn=7&recordTime=1772427600000&resultFlag=9&remark={quote_plus(NAME)}&token=secret-token&a b=1"
    found = kept("hfsecurity", b"", query)
    assert found.query == "personSn=7&recordTime=1772427600000&resultFlag=9&remark=&token=D&field="
    assert found.body == b""


def test_the_name_of_a_field_may_be_no_name() -> None:
    found = kept("hfsecurity", orjson.dumps(heystar(**{NAME: 1, PRINT.hex(): 2}))).body
    assert NAME.encode() not in found
    assert not is_left(PRINT.hex(), found)


def test_bytes_that_cannot_be_read_in_a_user_stay_as_they_came() -> None:
    body = '{"personSn":"工7","recordTime":"1772427600000","resultFlag":"1"}'.encode("gbk")
    assert kept("hfsecurity", body).body == body


def test_a_message_that_has_only_fields_of_the_list_is_kept_as_it_came() -> None:
    for body in (
        b'{ "personSn": "7", "recordTime": "1772427600000", "resultFlag": "9" }',
        b"personSn=7&time=1&resultFlag=9",
    ):
        assert kept("hfsecurity", body).body == body


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("hfsecurity", b'{"personSn":"7","resultFlag":"9","x":"Yasmin","x":""}'),
        ("hfsecurity", b'{"personSn":"7","resultFlag":"9"}\0\0Yasmin'),
        ("hfsecurity", (b'--b\r\nContent-Disposition: form-data; name="personSn"\r\n\r\n7\r\n--b\r\n'
         b'Content-Disposition: form-data; name="resultFlag"\r\n\r\n9\r\n--b\r\n'
         b'Content-Disposition: form-data; name="x"; filename="x"\r\n\r\nYasmin\r\n--b--\r\n')),
        ("hikvision", (b"<Alert><major>5</major><minor>250</minor><employeeNo>7</employeeNo>"
         b"<a><b><c>Yasmin</c></b></a><!-- Yasmin --></Alert>")),
        ("hikvision", b'<Alert><major a="Yasmin">5</major><minor>250</minor><employeeNo>7</employeeNo></Alert>'),
    ],
)  # fmt: skip
def test_what_the_reader_passes_over_is_not_kept(name: str, body: bytes) -> None:
    content_type = "multipart/form-data; boundary=b" if body.startswith(b"--") else ""
    adapter = adapter_of(name)
    assert isinstance(adapter, ListingAdapter)
    found = adapter.kept_request(head(name, content_type=content_type), body, "")
    assert found is not None
    assert b"Yasmin" not in found.body
    assert b"7" in found.body


def test_of_several_parts_each_that_is_known_is_kept_by_the_list() -> None:
    event = orjson.dumps(hik_event(time="2026-03-02 08:00:00", remark="Yasmin"))
    other = b'{"eventType":"AccessControllerEvent","major":5,"minor":75,"cardNo":"4711"}'
    part = b'--b\r\nContent-Disposition: form-data; name="event_log"\r\n\r\n%b\r\n'
    found = kept("hikvision", part % event + part % other + part % event + b"--b--\r\n").body
    known = event.replace(b'"Yasmin"', b"null")
    assert found == part % known + part % other + part % known + b"--b--\r\n"
