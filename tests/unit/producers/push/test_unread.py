"""What no adapter understood is kept whole before it is acknowledged, and what cannot be kept blocks no terminal."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pushing import DEVICES, GATE, PUNCH, SHARED, TOKEN, Bench, batch, refusal
from structlog.testing import capture_logs

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import hash_token
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest, joined
from producers.devices import create_push_adapter
from producers.devices.generic.json_v1 import JsonV1
from producers.devices.hfsecurity.push import HfSecurity
from producers.devices.hikvision.push import Hikvision
from producers.devices.zkteco.adms import ZktecoAdms
from producers.push.unread import MOST_REFUSALS, REFUSALS, Refusals
from producers.unread import request_of

FACES: Final = "face-token-6b1e"
DOORS: Final = "door-token-90aa"
FLEET: Final = [
    *DEVICES,
    GATE | {"device_id": "HF-1", "adapter": "hfsecurity", "token_sha256": hash_token(FACES)},
    GATE | {"device_id": "HIK-1", "adapter": "hikvision", "token_sha256": hash_token(DOORS)},
]
NO_TEXT: Final = Random(5).randbytes(3_000)
EVENT: Final = orjson.dumps(
    {
        "eventType": "AccessControllerEvent",
        "dateTime": "2026-03-02T08:00:00+03:00",
        "AccessControllerEvent": {
            "majorEventType": 5,
            "subEventType": 75,
            "employeeNoString": "417",
            "attendanceStatus": "checkIn",
        },
    }
)
REQUESTS: Final[dict[str, tuple[type, str, dict[str, str], bytes, int]]] = {
    "json": (JsonV1, "/v1/events", {"X-Device-Token": TOKEN}, batch(PUNCH, PUNCH | {"user_id": "7"}), 2),
    "zkteco": (
        ZktecoAdms,
        "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7",
        {"content-type": "text/plain"},
        b"".join(b"%d\t2026-03-02 08:00:00\t0\t15\n" % user for user in range(1, 41)),
        40,
    ),
    "hikvision": (Hikvision, f"/hik/{DOORS}", {"content-type": "application/json"}, EVENT, 1),
    "hfsecurity": (
        HfSecurity,
        f"/hf/{FACES}/identify?device={FACES}",
        {"content-type": "application/x-www-form-urlencoded", "authorization": "Bearer " + FACES},
        b"personId=417&time=1772427600000&type=face_0&deviceKey=HF-1",
        1,
    ),
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FLEET)


def not_understood(*_: object) -> None:
    raise InvalidRecord(Reason.UNREADABLE_BODY, "a dialect that is not known yet")


def whole(bench: Bench) -> UnreadRequest:
    return joined(bench.kafka.unread())


def post(bench: Bench, path: str, body: bytes | AsyncIterator[bytes], headers: dict[str, str]) -> httpx.Response:
    return asyncio.run(bench.request("POST", path, content=body, headers=headers))


def read_again(bench: Bench, unread: UnreadRequest) -> list[RawEvent]:
    devices = {name: device for name in unread.devices if (device := bench.registry.get(name)) is not None}
    return list(create_push_adapter(unread.adapter, ()).parse(request_of(unread), devices).events)


@pytest.mark.parametrize("name", REQUESTS)
def test_what_was_not_understood_is_there_with_all_that_it_takes_to_understand_it_later(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, path, headers, body, count = REQUESTS[name]
    with monkeypatch.context() as without:
        without.setattr(adapter, "parse", not_understood)
        answer = post(bench, path, body, headers)
    assert answer.status_code == (400 if name == "json" else 200)
    assert not bench.kafka.events()
    [letter] = bench.kafka.dead_letters()
    kept = whole(bench)
    assert (letter.unread, letter.value, letter.reason) == (kept.unread_id, b"", Reason.UNREADABLE_BODY)
    assert kept.body == body
    now_understood = read_again(bench, kept)
    assert post(bench, path, body, headers).status_code == 200
    assert [event.event_id for event in now_understood] == [event.event_id for event in bench.kafka.events()]
    assert [event.received_at for event in now_understood] == [letter.at] * count


@pytest.mark.parametrize("name", REQUESTS)
def test_what_was_not_understood_is_not_acknowledged_before_kafka_has_it(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, path, headers, body, _ = REQUESTS[name]
    monkeypatch.setattr(adapter, "parse", not_understood)
    bench.kafka.away = True
    assert post(bench, path, body, headers).status_code == 503
    assert not bench.kafka.records


def test_no_token_is_kept_in_path_query_headers_or_body(bench: Bench) -> None:
    body = b'{"callback":"http://push/hf/%b/identify"' % FACES.encode()
    headers = {"authorization": "Bearer " + FACES, "x-api-key": FACES, "cookie": "a", "x-url": f"/hf/{FACES}"}
    escaped = "".join(f"%{ord(letter):02x}" for letter in FACES)
    post(bench, f"/hf/{FACES}/identify?token={FACES}&also={escaped}&time=1", body, headers)
    kept = whole(bench)
    assert (kept.path, kept.route, kept.params) == ("/hf/HF-1/identify", kept.route, {"token": "HF-1"})
    assert kept.query == "token=HF-1&also=HF-1&time=1"
    assert kept.body == b'{"callback":"http://push/hf/HF-1/identify"'
    assert kept.headers["x-url"] == "/hf/HF-1"
    assert not {"authorization", "x-api-key", "cookie", "host"} & kept.headers.keys()
    assert not any(FACES.encode() in (record.value or b"") for record in bench.kafka.records)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(b'{"url":"/hf/%b/identify"' % FACES.encode()), {"content-encoding": "gzip"}),
        (f'{{"url":"/hf/{FACES}/identify"'.encode("utf-16"), {}),
        (f'{{"url":"/hf/{FACES}/identify"'.encode("utf-16-be"), {}),
        (b'{"url":"\\/hf\\/' + FACES.replace("-", "\\u002D").encode() + b'"', {}),
        (b"url=%2Fhf%2F" + FACES.replace("-", "%252d").encode() + b"%2Fidentify", {}),
        (b"{", {"x-original-url": "/hf/" + FACES.replace("-", "%2d")}),
        (b"{", {"authorization": "Bearer " + FACES}),
        (b"{", {"authorization": "Bearer " + FACES, "x-url": "/hf/former-token"}),
    ],
    ids=["compressed", "UTF-16", "UTF-16 without a mark", "JSON", "form", "header", "name in the query", "two tokens"],
)
def test_a_token_is_hidden_however_it_is_spelled(bench: Bench, body: bytes, headers: dict[str, str]) -> None:
    in_path = "former-token" if "authorization" in headers else FACES
    assert post(bench, f"/hf/{in_path}/identify?{FACES}&token={in_path}", body, headers).status_code == 200
    kept = whole(bench)
    shown = f"{kept.path} {kept.query} {kept.params} {kept.headers} {kept.message}".encode()
    shown += kept.body + kept.body.replace(b"\0", b"")
    assert b"HF-1" in shown
    for token in (b"face", b"6b1e", b"former"):
        assert token not in shown


def test_a_request_of_which_one_line_is_wrong_is_kept_with_its_other_lines(bench: Bench) -> None:
    body = b"417\t2026-03-02 08:00:00\t0\t15\nthis is no record\n418\t2026-03-02 08:00:01\t0\t15\n"
    assert post(bench, "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", body, {}).status_code == 200
    [letter] = bench.kafka.dead_letters()
    kept = whole(bench)
    # Of the line that is none, nothing that could be a name.
    assert letter.unread == kept.unread_id
    assert kept.body == b"417\t2026-03-02 08:00:00\t0\t15\n- - - -\n418\t2026-03-02 08:00:01\t0\t15"
    assert [event.device_user_id for event in read_again(bench, kept)] == ["417", "418"]


def test_devices_that_share_a_token_are_told_apart_again(bench: Bench) -> None:
    bench.post(batch(PUNCH, None, device_id="DOOR-2"), token=SHARED)
    assert [event.device_id for event in read_again(bench, whole(bench))] == ["DOOR-2"]


def test_the_same_bytes_that_come_again_have_the_same_id(bench: Bench) -> None:
    for _ in range(2):
        bench.post(b"{")
    first, second = bench.kafka.unread()
    assert first.unread_id == second.unread_id
    assert {letter.unread for letter in bench.kafka.dead_letters()} == {first.unread_id}


def test_a_body_that_is_larger_than_a_record_is_kept_in_several(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FLEET, max_body=2_000_000)
    body = b"{" + b"a photograph is something else. " * 60_000
    assert bench.post(body) == (400, refusal("unreadable_body"))
    assert len(bench.kafka.unread()) == 2
    assert whole(bench).body == body


def test_a_compressed_body_is_kept_unpacked(bench: Bench) -> None:
    bench.post(gzip.compress(batch(PUNCH)), **{"content-encoding": "gzip"})
    kept = whole(bench)
    assert kept.body == batch(PUNCH)
    assert "content-encoding" not in kept.headers
    assert len(read_again(bench, kept)) == 1


def test_what_is_neither_text_nor_a_known_picture_is_not_acknowledged(bench: Bench) -> None:
    answer = post(bench, "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", b"417" + NO_TEXT, {})
    assert answer.status_code == 503
    assert bench.refused("cannot_be_kept")
    assert not bench.kafka.records


def test_a_terminal_that_sends_the_same_again_and_again_is_let_go_and_the_rest_is_kept(bench: Bench) -> None:
    body = b'{"user":"417","face":"' + NO_TEXT + b'","time":"2026-03-02 08:00:00"}'
    answers = [bench.post(body)[0] for _ in range(REFUSALS + 1)]
    assert answers == [503] * REFUSALS + [400]
    kept = whole(bench)
    assert kept.body.startswith(b'{"user":"417","face":"')
    assert kept.body.endswith(b'"time":"2026-03-02 08:00:00"}')
    assert len(kept.body) < 400
    assert any("no text" in each for each in kept.removed)
    assert 'punchstream_unread_shortened_total{adapter="json",part="no_text"} 1.0' in bench.exposition()


def test_refusals_of_one_body_do_not_count_for_another(bench: Bench) -> None:
    for number in range(2 * REFUSALS):
        assert bench.post(b"%d" % number + NO_TEXT)[0] == 503


def test_a_terminal_that_never_sends_the_same_bytes_twice_is_let_go_too(bench: Bench) -> None:
    answers = [bench.post(b"%d" % number + NO_TEXT)[0] for number in range(MOST_REFUSALS + 2)]
    assert answers == [503] * MOST_REFUSALS + [400] * 2
    assert len(bench.kafka.unread()) == 2


def test_a_body_that_is_too_large_is_read_when_it_came_often_enough(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FLEET, max_body=1024)
    body = batch(*(PUNCH | {"user_id": str(user)} for user in range(50)))
    answers = [bench.post(body)[0] for _ in range(REFUSALS + 1)]
    assert answers == [413] * REFUSALS + [200]
    assert len(bench.kafka.events()) == 50


def test_the_beginning_is_kept_of_a_body_that_is_larger_than_can_ever_be_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FLEET, max_body=1024)
    body = b"1042\t2026-03-02 08:00:00\t0\t15\n" * 400
    path = "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7"
    answers = [post(bench, path, body, {}).status_code for _ in range(REFUSALS + 1)]
    assert answers == [413] * REFUSALS + [200]
    kept = whole(bench)
    assert kept.body == body[: 8 * 1024]
    assert kept.removed == (f"the end, {len(body) - 8 * 1024} bytes",)
    assert 'punchstream_unread_shortened_total{adapter="zkteco_adms",part="too_large"} 1.0' in bench.exposition()


def test_a_body_of_too_many_records_is_kept_whole_when_it_came_often_enough(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(*_: object) -> None:
        raise InvalidRecord(Reason.BODY_TOO_LARGE, "more records than one request may have")

    monkeypatch.setattr(JsonV1, "parse", too_many)
    answers = [bench.post(batch(PUNCH))[0] for _ in range(REFUSALS + 1)]
    assert answers == [413] * REFUSALS + [400]
    assert whole(bench).body == batch(PUNCH)


def test_only_so_many_refusals_are_remembered() -> None:
    refusals = Refusals(enough=2, most=3)
    assert [refusals.add("a"), refusals.add("a")] == [1, 2]
    assert refusals.are_enough("a")
    for other in "bcd":
        refusals.add(other)
    assert not refusals.are_enough("a")


BODIES: Final = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.lists(st.sampled_from([each for *_, each, _ in REQUESTS.values()]), max_size=2).map(b"\n".join),
    st.tuples(st.sampled_from([each for *_, each, _ in REQUESTS.values()]), st.integers(0, 80)).map(
        lambda cut_off: cut_off[0][: cut_off[1]]
    ),
)
PATHS: Final = [
    *("/v1/events", "/v1/heartbeat", "/api/method/my_app.api.attendance_ingest", f"/hik/{DOORS}"),
    *(f"/hf/{FACES}", f"/hf/{FACES}/record", f"/hf/{FACES}/identify?personId=417&time=1772427600000"),
    *(f"/iclock/cdata?SN=SN1&{rest}" for rest in ("table=ATTLOG&Stamp=7", "table=rtlog", "table=OPERLOG", "Stamp=1")),
    *("/iclock/fdata.aspx?sn=SN1", "/iclock/querydata?SN=SN1&type=tabledata&tablename=other&count=1"),
]


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("fleet"), FLEET)


@given(
    path=st.sampled_from(PATHS),
    body=BODIES,
    kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_kept_is_read_again_as_it_was_read(shared_bench: Bench, path: str, body: bytes, kind: str) -> None:
    bench = shared_bench
    bench.kafka.records.clear()
    answer = post(bench, path, body, {"content-type": kind, "X-Device-Token": TOKEN})
    letters = bench.kafka.dead_letters()
    if not letters:
        assert not bench.kafka.unread()
        return
    assert answer.status_code < 500
    kept = whole(bench)
    assert {letter.unread for letter in letters} == {kept.unread_id}
    devices = {name: device for name in kept.devices if (device := bench.registry.get(name)) is not None}
    why, ids = [letter.reason for letter in letters], [each.event_id for each in bench.kafka.events()]
    try:
        again = create_push_adapter(kept.adapter, ()).parse(request_of(kept), devices)
        found = ([each.reason for each in again.rejected], [each.event_id for each in again.events])
    except InvalidRecord as refused:
        found = ([refused.reason], [])
    assert found == (why, ids)


PACKED: Final = b"\x0b\x20\x80" + batch(PUNCH) + b"\x03"  # as brotli has a short text


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "x-vendor", "base64"])
def test_of_a_body_whose_encoding_is_not_known_only_its_length_is_kept(bench: Bench, encoding: str) -> None:
    body = base64.b64encode(batch(PUNCH)) if encoding == "base64" else PACKED
    answers = [bench.post(body, **{"content-encoding": encoding}) for _ in range(REFUSALS + 1)]
    assert [status for status, _ in answers] == [503] * REFUSALS + [400]
    kept = whole(bench)
    assert kept.body == b"[%d bytes redacted]" % len(body)
    assert kept.removed == (f"what is encoded as {encoding!r}, {len(body)} bytes",)
    assert kept.headers["content-encoding"] == encoding


@pytest.mark.parametrize("encoding", ["identity", "utf-8", "GBK", "br", "gzip"])
def test_a_body_that_can_be_read_is_kept_whatever_encoding_its_header_says(bench: Bench, encoding: str) -> None:
    for body in (b'{"a dialect": "that is not known yet"}', b"staff=417&at=2026-03-02+08:00:00"):
        bench.kafka.records.clear()
        assert bench.post(body, **{"content-encoding": encoding})[0] == 400
        assert whole(bench).body == body


def test_the_punches_beside_a_rejected_one_are_taken_in_whatever_encoding_the_header_says(bench: Bench) -> None:
    assert bench.post(batch(PUNCH, {"user_id": ""}), **{"content-encoding": "br"})[0] == 200
    assert len(bench.kafka.events()) == 1
    assert "content-encoding" not in whole(bench).headers


def test_what_is_no_text_is_in_no_header_path_or_parameter(bench: Bench) -> None:
    binary = Random(6).randbytes(300).translate(None, b"\0\r\n/?%#").decode("latin-1")
    arabic = ("الاسم " * 20).encode().decode("latin-1")
    headers = {"X-Device-Token": TOKEN, "x-vendor": binary, "x-gate": arabic, "content-type": "text/plain"}
    path = "/iclock/" + quote(binary) + "?SN=SN1"
    post(bench, path, b"{", {name: value.encode("latin-1") for name, value in headers.items()})  # type: ignore[misc]
    kept = whole(bench)
    assert kept.headers["x-gate"] == arabic
    for text in (*kept.headers.values(), kept.path, *kept.params.values(), kept.message):
        assert not any(binary[at : at + 20] in text for at in range(0, len(binary) - 20, 5)), text


def test_an_adapter_that_fails_to_list_fields_is_logged_once_and_the_request_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(JsonV1, "kept_request", fails)
    with capture_logs() as logs:
        for number in range(5):
            bench.post(b'{"device_id": "GATE-1", "events": [%d]}' % number)
    found = [each for each in logs if each["event"] == "An adapter failed to list the fields of a request."]
    assert len(found) == 1
    assert len(bench.kafka.unread()) == 5
