"""Requests of every dialect, changed at random: each is answered, none is an error of ours, and punches go on."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
import pytest
from attacked import DEVICES, MEGABYTE, TOKEN, Attack, Attacked

from attendance.fleet import hash_token

HF_TOKEN: Final = "hf-token-51c2"
HIK_TOKEN: Final = "hik-token-88ab"
FLEET: Final[tuple[Mapping[str, Any], ...]] = (
    *DEVICES,
    {
        "device_id": "HF-1",
        "site": "riyadh",
        "timezone": "Asia/Riyadh",
        "adapter": "hfsecurity",
        "token_sha256": hash_token(HF_TOKEN),
    },
    {
        "device_id": "HIK-1",
        "site": "riyadh",
        "timezone": "Asia/Riyadh",
        "adapter": "hikvision",
        "token_sha256": hash_token(HIK_TOKEN),
    },
)
"""A device of each dialect that is pushed."""

_EVENT: Final = {"user_id": "1", "time": "2026-03-02 08:00:00", "type": "IN", "payload": {"temperature": 36.6}}
_RECORD: Final = {
    "deviceKey": "84E0F42AFFFF0001",
    "personId": "1",
    "time": 1772427600000,
    "type": "face_0",
    "ip": "10.0.0.7",
    "data": [{"id": 7, "records": [1, 2.5, None, True]}],
}
_ALERT: Final = {
    "eventType": "AccessControllerEvent",
    "dateTime": "2026-03-02T08:00:00+03:00",
    "AccessControllerEvent": {"employeeNoString": "1", "majorEventType": 5, "subEventType": 75, "serialNo": 12},
}
_XML: Final = b"""<?xml version="1.0"?><EventNotificationAlert version="2.0">
<eventType>AccessControllerEvent</eventType><dateTime>2026-03-02T08:00:00+03:00</dateTime>
<AccessControllerEvent><employeeNoString>1</employeeNoString></AccessControllerEvent></EventNotificationAlert>"""
_PARTS: Final = (
    b'--part\r\nContent-Disposition: form-data; name="event_log"\r\nContent-Type: application/json\r\n\r\n%b\r\n'
    b'--part\r\nContent-Disposition: form-data; name="Picture"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    b"%b\r\n--part--\r\n"
)
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_TEXT: Final = "text/plain"
_HF: Final = f"/hf/{HF_TOKEN}"
_HIK: Final = f"/hik/{HIK_TOKEN}"
_LINE: Final = b"1\t2026-03-02 08:00:00\t0\t15\t0\t0\t0\n"

REQUESTS: Final[Sequence[tuple[str, str, bytes]]] = (
    ("POST /v1/events", _JSON, orjson.dumps({"device_id": "GATE-1", "events": [_EVENT, _EVENT]})),
    (f"POST {_HF}/identify", _JSON, orjson.dumps(_RECORD)),
    (f"POST {_HF}/record", _JSON, orjson.dumps({"events": [_RECORD, _RECORD]})),
    (f"POST {_HF}/heartbeat", _FORM, b"deviceKey=84E0F42AFFFF0001&time=1772427600000&ip=10.0.0.7&personCount=3"),
    (f"POST /hfsecurity/eventlog?token={HF_TOKEN}", _JSON, orjson.dumps([_RECORD])),
    (f"POST {_HIK}", _JSON, orjson.dumps(_ALERT)),
    (f"POST {_HIK}", "application/xml", _XML),
    (f"POST {_HIK}", "multipart/form-data; boundary=part", _PARTS % (orjson.dumps(_ALERT), b"\xff\xd8\xff\xe0" * 200)),
    ("POST /iclock/cdata?SN=SN1&table=ATTLOG&Stamp=9", _TEXT, _LINE * 3),
    ("POST /iclock/cdata?SN=SN1&table=OPERLOG&Stamp=9", _TEXT, b"OPLOG 4\t1\t2026-03-02 08:00:00\t0\t0\t0\t0\n"),
    ("POST /iclock/cdata?SN=SN1&table=rtlog", _TEXT, b"time=2026-03-02 08:00:00\tpin=1\tevent=0\tinoutstatus=0\n"),
    ("POST /iclock/cdata?SN=SN1&table=tabledata&tablename=user&count=1", _TEXT, b"user uid=1\tpin=1\tname=A\n"),
    ("POST /iclock/devicecmd?SN=SN1", _TEXT, b"ID=1&Return=0&CMD=DATA\n"),
    ("GET /iclock/getrequest?SN=SN1&INFO=Ver 8.0,1,2,3,10.0.0.7", _TEXT, b""),
    ("POST /iclock/registry?SN=SN1", _TEXT, b"DeviceType=acc,~DeviceName=SpeedFace,FirmVer=ZAM\n"),
)
_VALUES: Final = (
    None, True, -1, 0, 2**63, 2**200, 1e308, "", "\x00", "\u202e\x1b[2J", "9" * 500, [], {}, [[[[]]]],
    "2026-02-30 25:61:61", "-1", "0", "NaN", {"": {"": ""}}, "\ud83d\ude00", "1970-01-01 00:00:00", 1e-9, "null",
)  # fmt: skip
_BYTES: Final = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\t", b"&", b"=", b"%00", b"%", b"{", b"]", b'"', b"\\ud800",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"--part", b"1e999", b"-", b"\x1f\x8b\x08", b"\xe2\x80\xae", b" " * 300,
)  # fmt: skip
_HEADERS: Final = (
    "Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Encoding: br", "Accept: */*", "Content-Type:",
    "Content-Type: application/json; charset=utf-16", "Content-Type: text/xml; charset=nothing", "Expect: x",
    "X-Forwarded-For: 10.0.0.1", "Content-Type: multipart/form-data", "Upgrade: h2c", "X-Device-Token: x",
    "Cookie: \xff",
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*path, key))


def _with_another_value(chance: random.Random, body: bytes) -> bytes:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    place = chance.choice(list(_places(value)))
    if not place:
        return _json(chance.choice(_VALUES))
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    if isinstance(parent, dict) and chance.random() < 0.3:
        parent[str(chance.choice(_VALUES))[:50]] = parent.pop(place[-1])
    else:
        parent[place[-1]] = chance.choice(_VALUES)
    return _json(value)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()  # orjson has no numbers as large as these


def _cut(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    return body[:at] + body[at + chance.randrange(20) :]


def _with_more(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    return body[:at] + chance.choice(_BYTES) * chance.randrange(1, 4) + body[at:]


def _again(chance: random.Random, body: bytes) -> bytes:
    first, last = sorted(chance.randrange(len(body) + 1) for _ in range(2))
    return body[:last] + body[first:last] * chance.randrange(1, 30) + body[last:]


def _other(chance: random.Random, _body: bytes) -> bytes:
    return chance.choice(REQUESTS)[2]


CHANGES: Final[Sequence[Callable[[random.Random, bytes], bytes]]] = (
    _with_another_value,
    _with_another_value,
    _cut,
    _with_more,
    _again,
    _other,
)


def changed(chance: random.Random) -> bytes:
    """A request, changed in a few places: in its body, its headers, or the values of its query."""
    line, kind, body = chance.choice(REQUESTS)
    for _ in range(chance.randrange(1, 4)):
        body = chance.choice(CHANGES)(chance, body)
    if chance.random() < 0.2 and "?" in line:
        path, _, query = line.partition("?")
        pairs = query.split("&")
        pairs[chance.randrange(len(pairs))] = chance.choice(("SN=SN1", "table=", "Stamp=-1", "x", "%zz=%00", "SN=SN1"))
        line = f"{path}?{'&'.join(pairs)}"
    headers = ["Host: push", f"X-Device-Token: {TOKEN}", f"Content-Length: {len(body)}", "Connection: close"]
    headers += chance.sample(_HEADERS, chance.choice((0, 0, 1, 2))) or [f"Content-Type: {kind}"]
    head = [f"{line.replace(' 8.0', '%208.0')} HTTP/1.1", *headers]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


@pytest.fixture
def push(attacked: Attack) -> Attacked:
    return attacked(devices=FLEET, PUSH_MAX_BODY="100000")


@pytest.mark.parametrize("count", [400, pytest.param(40_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_each_is_answered_and_none_is_an_error_of_ours(push: Attacked, count: int) -> None:
    chance = random.Random(count)
    before = push.begin()
    for number in range(count):
        request = changed(chance)
        answered = push.ask(request, f"127.0.0.{2 + number % 200}")
        assert answered.status < 500 or answered.status == 503, (request, answered)
        assert b"internal_error" not in answered.body, (request, answered)
    failed = [each for each in push.logged() if "exception" in each or each["event"].startswith("An adapter failed")]
    assert not failed, failed[:3]
    assert push.is_served("after")
    assert push.cost().memory - before.memory < 100 * MEGABYTE
