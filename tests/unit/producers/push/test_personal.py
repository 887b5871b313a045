"""Whatever a terminal sends, no topic has its photographs, templates, names and passwords, and every punch is there."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote_plus, unquote_plus
from xml.sax.saxutils import escape

import orjson
import pytest
from hidden_forms import FORMS, is_left
from pushing import DEVICES, GATE, TOKEN, Bench

from attendance.fleet import hash_token
from attendance.records.unread import UnreadRequest, joined
from producers.devices import create_push_adapter
from producers.push.unread import REFUSALS
from producers.unread import request_of

FACES, DOORS = "face-token-6b1e", "door-token-90aa"
FLEET: Final = [
    *DEVICES,
    GATE | {"device_id": "HF-1", "adapter": "hfsecurity", "token_sha256": hash_token(FACES)},
    GATE | {"device_id": "HIK-1", "adapter": "hikvision", "token_sha256": hash_token(DOORS)},
]
NAME, PASSWORD, LONG_ID = "Yasmin Zuleikha", "hunter2-4711", "0" * 40 + "1042"
PRINT: Final = b"\x46\x4d\x52\x00" + Random(18).randbytes(896)

Request = tuple[str, dict[str, str], bytes]


def json_events(form: str) -> Request:
    good = {"user_id": LONG_ID, "time": "2026-03-02 08:00:00", "type": "IN", "name": NAME, "photo": form, "mask": form}
    bad = {"user_id": None, "time": form, "Passwd": PASSWORD, "first_name": NAME, "more": {"x": form}, "type": form}
    body = {"device_id": "GATE-1", "events": [good, bad]}
    return "/v1/events", {"x-device-token": TOKEN, "x-photo": "a", "x-user-name": NAME}, orjson.dumps(body)


def heartbeat(form: str) -> Request:
    body = {"device_id": "GATE-1", "time": "never", "operator": NAME, "x": form, "code": PASSWORD, "pending": form}
    return "/v1/heartbeat", {"x-device-token": TOKEN}, orjson.dumps(body)


def json_in_json(form: str) -> Request:
    inner = json.dumps({"name": NAME, "password": PASSWORD, "template": form, "unknown": form})
    return "/v1/events", {"x-device-token": TOKEN}, json.dumps({"wrapped": inner, "user": LONG_ID}).encode()


def adms(table: str) -> Callable[[str], Request]:
    def request(form: str) -> Request:
        flat = form.replace("\t", " ").replace("\r", " ").replace("\n", " ")
        lines = [
            f"{LONG_ID}\t2026-03-02 08:00:00\t0\t15",
            f"PIN=7\tName={NAME}\tPasswd={PASSWORD}\tTMP={flat}",
            f"USER PIN=7\tName={NAME}\tPri=0\tPasswd={PASSWORD}\tCard=",
            f"FP PIN=7\tFID=0\tSize=900\tValid=1\tTMP={flat}",
            f"x={flat}",
        ]
        records = lines if table in ("ATTLOG", "OPERLOG", "NEWLOG") else lines[1:]
        return f"/iclock/cdata?SN=SN1&table={table}&Stamp=7", {}, "\n".join(records).encode()

    return request


def adms_records(form: str) -> Request:
    flat = form.replace("\t", " ").replace("\r", " ").replace("\n", " ")
    good = f"time=2026-03-02 08:00:00\tpin={LONG_ID}\tcardno=0\tevent=0\tinoutstatus=0\tindex=1\tzz={flat}"
    lines = [
        good,
        good.replace("event=0", "event=x").replace("zz=", f"name={NAME}\tcode={PASSWORD}\tzz="),
        f"\t2026-03-02 08:00:00\t0\t1\t0\t{NAME}\t{PASSWORD}\t{flat}\t{flat}",
    ]
    return "/iclock/cdata?SN=SN1&table=rtlog", {}, "\n".join(lines).encode()


def adms_call(path: str) -> Callable[[str], Request]:
    def request(form: str) -> Request:
        return f"/iclock/{path}", {}, adms("USERINFO2")(form)[2]

    return request


def adms_query(form: str) -> Request:
    return f"/iclock/cdata?SN=SN1&table=NEWLOG&Name={quote_plus(NAME)}&x={quote_plus(form)}", {}, b"7\tnothing"


def hfsecurity(form: str) -> Request:
    fields = {"personId": LONG_ID, "time": "1772427600000", "type": "face_0", "imgBase64": form, "name": NAME}
    return f"/hf/{FACES}/identify", {"content-type": "application/json"}, orjson.dumps(fields)


def hfsecurity_form(form: str) -> Request:
    inner = json.dumps({"name": NAME, "verifyPwd": PASSWORD, "feature": form})
    body = f"what={quote_plus(form)}&userName={quote_plus(NAME)}&data={quote_plus(inner)}&id={LONG_ID}"
    return f"/hf/{FACES}/record", {"content-type": "application/x-www-form-urlencoded"}, body.encode()


def hikvision(form: str) -> Request:
    event = {"majorEventType": 5, "subEventType": 75, "employeeNoString": LONG_ID, "name": NAME, "FaceRect": form}
    alert = {"eventType": "AccessControllerEvent", "dateTime": "2026-03-02T08:00:00+03:00", "picture": form}
    body = orjson.dumps(alert | {"AccessControllerEvent": event})
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return (
        f"/hik/{DOORS}",
        {"content-type": "multipart/form-data; boundary=b"},
        part % (b"event", body) + part % (b"Picture", form.encode()) + part % (b"other", form.encode()) + b"--b--\r\n",
    )


def hikvision_xml(form: str) -> Request:
    legal = "".join(each for each in form if each.isprintable() or each in "\r\n\t")
    personal = f"<name>{NAME}</name><password>{PASSWORD}</password>"
    body = f"<Alert><what>{escape(legal)}</what>{personal}<id>{LONG_ID}</id></Alert>"
    return f"/hik/{DOORS}", {"content-type": "application/xml"}, body.encode()


REQUESTS: Final[Mapping[str, tuple[Callable[[str], Request], int]]] = {
    "JSON": (json_events, 1),
    "JSON in JSON": (json_in_json, 0),
    "JSON heartbeat": (heartbeat, 0),
    "ADMS records": (adms_records, 1),
    **{f"ADMS {table}": (adms(table), 1) for table in ("ATTLOG", "OPERLOG")},
    **{
        f"ADMS {table}": (adms(table), 0)
        for table in (
            *("NEWLOG", "IDCARD", "USERINFO", "USERINFO2", "USER", "templatev10", "facetmpv10", "BIODATA", "BIOPHOTO"),
            *("ATTPHOTO", "FACE", "FINGERTMP", "userpic"),
        )
    },
    "ADMS count": (adms_call("querydata?SN=SN1&type=count&tablename=user"), 0),
    "ADMS query": (adms_call("querydata?SN=SN1&type=tabledata&tablename=user&cmdid=1"), 0),
    "ADMS options": (adms_call("querydata?SN=SN1&type=options&cmdid=1"), 0),
    "ADMS commands": (adms_call("devicecmd?SN=SN1"), 0),
    "ADMS in the address": (adms_query, 0),
    "HFSECURITY": (hfsecurity, 1),
    "HFSECURITY form": (hfsecurity_form, 0),
    "Hikvision": (hikvision, 1),
    "Hikvision XML": (hikvision_xml, 0),
}


def written(bench: Bench) -> list[bytes]:
    """All that stands on the topics, in every way to read it: each text also without its escapes."""
    found: list[bytes] = []
    for record in bench.kafka.records:
        found += [record.key or b"", record.value or b"", *(data or b"" for _, data in record.headers)]
    for unread in bench.kafka.unread():
        found += [
            unread.body,
            unread.query.encode(),
            unread.path.encode(),
            *(v.encode() for v in unread.headers.values()),
        ]
    for data in list(found):
        text = data.decode(errors="replace")
        found += [unquote_plus(text).encode(), unquote_plus(unquote_plus(text)).encode()]
        for _ in range(3):
            text = (
                text.replace("\\\\", "\\")
                .replace('\\"', '"')
                .replace("\\n", "\n")
                .replace("\\r", "\r")
                .replace("\\/", "/")
            )
            found.append(text.encode())
        found.append(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").encode())
    return list(dict.fromkeys(found))


def post(bench: Bench, request: Request) -> int:
    path, headers, body = request
    return asyncio.run(bench.request("POST", path, content=body, headers=headers)).status_code


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("name", REQUESTS)
def test_no_topic_has_a_picture_a_template_a_name_or_a_password_and_every_punch_is_there(
    bench: Bench, name: str, form: str
) -> None:
    request, punches = REQUESTS[name]
    hidden = FORMS[form](PRINT)

    # What holds something that is no text is refused at first: the next attempt may be whole.
    statuses = [post(bench, request(hidden))]
    while statuses[-1] == 503 and len(statuses) <= REFUSALS:
        statuses.append(post(bench, request(hidden)))
    assert statuses[-1] in (200, 400)

    everything = written(bench)
    assert everything, "nothing was kept at all"
    for personal in (NAME, NAME.replace(" ", "+"), PASSWORD, base64.b64encode(NAME.encode()).decode()):
        assert not [each[:300] for each in everything if personal.encode() in each], personal
    assert not is_left(hidden, *everything)
    assert [event.device_user_id for event in bench.kafka.events()] == [LONG_ID] * punches


def test_what_is_not_understood_is_read_again_with_its_long_numbers_and_texts(bench: Bench) -> None:
    text = "He came in by the north gate. " * 20
    times = [1772427600 + 60 * each for each in range(50)]
    body = {"events": [{"user_id": "9" * 120, "time": "2026-03-02 08:00:00", "note": text, "times": times}]}
    assert post(bench, ("/v1/events", {"x-device-token": TOKEN}, orjson.dumps(body))) == 400
    kept = joined(bench.kafka.unread())
    assert (kept.body, kept.removed) == (orjson.dumps(body), ())


def test_the_punches_of_a_request_that_is_kept_without_its_pictures_are_the_same_when_it_is_read_again(
    bench: Bench,
) -> None:
    path, headers, body = json_events(FORMS["base64"](PRINT))
    post(bench, (path, headers, body))
    [first] = bench.kafka.events()
    kept: UnreadRequest = joined(bench.kafka.unread())
    devices: dict[str, Any] = {name: bench.registry.get(name) for name in kept.devices}
    [again] = create_push_adapter("json", ()).parse(request_of(kept), devices).events
    assert again.event_id == first.event_id


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FLEET)
