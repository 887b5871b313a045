"""The application, without a network and on a Kafka that fails and hangs on demand."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import structlog
import yaml

from attendance.errors import ConfigurationError, KafkaUnavailable, Reason
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.device_status import DeviceStatus
from attendance.records.raw_event import RawEvent
from attendance.registry import Registry, hash_token
from attendance.settings import PushSettings
from attendance.times import now
from attendance.topics import Topics
from producers.devices.contract import Sender
from producers.devices.generic.json_v1 import JsonV1
from producers.publisher import Publisher
from producers.push.app import create_app
from producers.push.fleet import Fleet
from producers.push.server import listen
from producers.status import Statuses
from producers.terminals import Terminals

TOPICS = Topics("t")
TOKEN = "gate-token-7f3a"
SHARED = "shared-token-91bc"
OLD = "old-token-55ce"
PULLED = "pulled-token-02ad"
TYPO = "typo-token-44aa"

GATE: dict[str, object] = {
    "device_id": "GATE-1",
    "site": "riyadh",
    "timezone": "Asia/Riyadh",
    "token_sha256": hash_token(TOKEN),
}
DEVICES = [
    GATE,
    {"device_id": "DOOR-1", "site": "berlin", "timezone": "Europe/Berlin", "token_sha256": hash_token(SHARED)},
    {"device_id": "DOOR-2", "site": "berlin", "timezone": "Europe/Berlin", "token_sha256": hash_token(SHARED)},
    GATE | {"device_id": "OLD", "token_sha256": hash_token(OLD), "disabled": True},
    GATE | {"device_id": "PULLED", "token_sha256": hash_token(PULLED), "mode": "pull"},
    GATE | {"device_id": "NO-TOKEN", "token_sha256": hash_token("")},
    GATE | {"device_id": "TYPO", "token_sha256": hash_token(TYPO), "adapter": "jsn"},
    {"device_id": "ADMS-1", "site": "riyadh", "timezone": "Asia/Riyadh", "adapter": "zkteco_adms", "serial": "SN1"},
]
PUNCH = {"user_id": "1042", "time": "2026-03-02 08:00:00", "type": "IN"}


@dataclass
class FakeProducer:
    """Keeps what it acknowledges, where there is a `release` not before that.

    Away, it acknowledges nothing; full, so much waits that nothing more may.
    """

    away: bool = False
    full: bool = False
    release: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    records: list[OutRecord] = field(default_factory=list)
    sends: int = 0
    stopped: bool = False

    @property
    def in_flight_bytes(self) -> int:
        return 10**9 if self.full else 0

    async def send(self, *records: OutRecord) -> None:
        self.asked.set()
        if self.release is not None:
            await self.release.wait()
        if self.away:
            raise KafkaUnavailable("no brokers")
        self.sends += 1
        self.records.extend(records)

    async def stop(self) -> None:
        self.stopped = True

    def events(self) -> list[RawEvent]:
        return [RawEvent.decode(each.value) for each in self.records if each.topic == TOPICS["raw"]]

    def dead_letters(self) -> list[DeadLetter]:
        return [
            DeadLetter.decode(each.key, each.value, each.headers)
            for each in self.records
            if each.topic == TOPICS["dead_letters"]
        ]


class Bench:
    """The application with its fleet, its Kafka and its metrics."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.file = directory / "devices.yaml"
        self.write(DEVICES)
        self.kafka = FakeProducer()
        self.metrics = Metrics()
        self.registry = Registry(self.file)
        self.settings = PushSettings.load(**settings)
        publisher = Publisher(self.kafka, TOPICS, self.metrics, self.settings.max_in_flight)  # type: ignore[arg-type]
        terminals = Terminals(TOPICS["terminals"], self.kafka.send)
        self.app = create_app(self.settings, self.registry, publisher, terminals, Statuses(publisher), self.metrics)

    def write(self, devices: object) -> None:
        # A file of its own each time, as an editor saves it: the same second and length are a change all the same.
        new = self.file.with_suffix(".new")
        new.write_text(yaml.safe_dump(devices))
        new.replace(self.file)

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://push") as client:
            return await client.request(method, path, **options)

    async def send(
        self, body: bytes | AsyncIterator[bytes], token: str | None = TOKEN, path: str = "/v1/events", **headers: str
    ) -> httpx.Response:
        if token is not None:
            headers["X-Device-Token"] = token
        return await self.request("POST", path, content=body, headers=headers)

    def post(self, body: bytes, **options: Any) -> tuple[int, Any]:
        response = asyncio.run(self.send(body, **options))
        return response.status_code, response.json()

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self.request("GET", path))

    def refused(self, reason: str) -> bool:
        return f'punchstream_requests_refused_total{{reason="{reason}"}} 1.0' in self.get("/metrics").text


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """Whatever is logged by the push stage."""
    entries: list[Mapping[str, Any]] = []
    capture = structlog.testing.LogCapture()
    capture.entries = entries  # type: ignore[assignment]
    for module in (
        "producers.push.endpoint",
        "producers.push.fleet",
        "producers.intake",
        "producers.publisher",
        "attendance.registry",
    ):
        monkeypatch.setattr(f"{module}.log", structlog.wrap_logger(None, [capture]))
    return entries


def batch(*events: object, device_id: object = "GATE-1") -> bytes:
    return orjson.dumps({"device_id": device_id, "events": events})


def refusal(reason: str) -> dict[str, object]:
    return {"ok": False, "error": reason}


def test_a_batch_is_answered_ok_and_kafka_has_its_events(bench: Bench) -> None:
    assert bench.post(batch(PUNCH, PUNCH | {"user_id": "7"})) == (200, {"ok": True, "inserted": 2, "rejected": []})
    assert [(event.device_id, event.device_user_id) for event in bench.kafka.events()] == [
        ("GATE-1", "1042"),
        ("GATE-1", "7"),
    ]
    assert not bench.kafka.dead_letters()


def test_the_answer_to_a_terminal_waits_for_its_punches_and_for_nothing_else(bench: Bench) -> None:
    line = b"417\t2026-03-02 08:00:00\t0\t15\n"

    async def story() -> None:
        answer = await bench.request("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", content=line * 500)
        assert answer.text == "OK: 500"
        assert bench.kafka.sends == 1
        assert "ATTLOGStamp=7\n" in (await bench.request("GET", "/iclock/cdata?SN=SN1")).text

    asyncio.run(story())
    assert len(bench.kafka.events()) == 500


def test_a_stamp_is_on_its_topic_when_push_has_stopped(bench: Bench) -> None:
    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            await bench.request("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", content=b"")

    asyncio.run(story())
    assert [each.value for each in bench.kafka.records if each.topic == TOPICS["terminals"]] == [b'{"ATTLOGStamp":"7"}']


def test_a_stamp_is_not_moved_by_an_upload_that_kafka_did_not_take(bench: Bench) -> None:
    bench.kafka.away = True

    async def story() -> None:
        line = b"417\t2026-03-02 08:00:00\t0\t15\n"
        answer = await bench.request("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", content=line)
        assert answer.status_code == 503
        bench.kafka.away = False
        assert "ATTLOGStamp=0\n" in (await bench.request("GET", "/iclock/cdata?SN=SN1")).text

    asyncio.run(story())


def test_head_is_answered_as_get_is(bench: Bench) -> None:
    answer = asyncio.run(bench.request("HEAD", "/iclock/ping?SN=SN1"))
    assert answer.status_code == 200
    assert not bench.kafka.dead_letters()


def test_an_empty_batch_inserts_nothing(bench: Bench) -> None:
    assert bench.post(batch()) == (200, {"ok": True, "inserted": 0, "rejected": []})


def test_a_batch_with_a_bad_event_stores_the_others_and_keeps_the_bad_one(bench: Bench) -> None:
    bad = {"user_id": "", "time": "2026-03-02 08:00:01", "photo": "secret", "verify_mode": "FACE"}
    answer = {"ok": True, "inserted": 2, "rejected": [{"index": 1, "reason": "invalid_event"}]}
    assert bench.post(batch(PUNCH, bad, PUNCH)) == (200, answer)
    [letter] = bench.kafka.dead_letters()
    assert (letter.stage, letter.reason, letter.where) == ("push", Reason.INVALID_EVENT, "http:/v1/events")
    assert letter.message.startswith("events[1]: user_id")
    assert letter.key == b"GATE-1"
    assert letter.value == b'{"user_id":"","time":"2026-03-02 08:00:01","verify_mode":"FACE"}'


def heartbeat(**fields: object) -> bytes:
    return orjson.dumps({"device_id": "GATE-1", "time": "2026-03-02 08:00:00", "pending": 0} | fields)


def statuses(bench: Bench) -> list[DeviceStatus]:
    return [DeviceStatus.decode(each.value) for each in bench.kafka.records if each.topic == TOPICS["device_status"]]


def test_a_heartbeat_with_nothing_pending_claims_all_that_is_dated_before_it(bench: Bench) -> None:
    assert bench.post(heartbeat(last_sequence=17), path="/v1/heartbeat") == (200, {"ok": True})
    [status] = statuses(bench)
    assert (status.device_id, status.pending, status.last_sequence) == ("GATE-1", 0, 17)
    assert status.complete_until == datetime(2026, 3, 2, 5, tzinfo=UTC)
    assert [each.key for each in bench.kafka.records] == [b"GATE-1"]


def test_a_sign_of_life_takes_back_nothing_and_is_not_written_each_time(bench: Bench) -> None:
    told = "/iclock/cdata?SN=SN1&table=options"
    assert asyncio.run(bench.request("POST", told, content=b"FWVersion=8.0,UserCount=97")).text == "OK"
    for _ in range(5):
        assert asyncio.run(bench.request("GET", "/iclock/getrequest?SN=SN1")).text == "OK"
    assert len(statuses(bench)) == 1
    asyncio.run(bench.request("GET", "/iclock/getrequest?SN=SN1&INFO=8.1"))
    assert [status.details for status in statuses(bench)][1:] == [{"FWVersion": "8.1", "UserCount": "97"}]


def test_a_device_that_says_nothing_of_itself_is_seen_to_live_by_its_punches(bench: Bench) -> None:
    head = {"X-Device-Token": TOKEN}

    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            for second in ("07", "09", "08"):
                response = await bench.request(
                    "POST", "/v1/events", content=batch(PUNCH | {"time": f"2026-03-02 08:00:{second}"}), headers=head
                )
                assert response.json()["inserted"] == 1
            assert not statuses(bench)  # no terminal waits for it
            while not statuses(bench):  # noqa: ASYNC110 - what writes them is not ours to tell us
                await asyncio.sleep(0.05)
            response = await bench.request("POST", "/v1/heartbeat", content=heartbeat(), headers=head)
            assert response.json() == {"ok": True}

    asyncio.run(story())
    lives, report = statuses(bench)
    assert (lives.complete_until, lives.pending, report.pending) == (None, None, 0)
    assert report.last_event == datetime(2026, 3, 2, 5, 0, 9, tzinfo=UTC)
    assert lives.last_event is not None


@pytest.mark.parametrize("pending", [3, None])
def test_a_heartbeat_of_a_device_that_has_punches_or_does_not_say_claims_nothing(
    bench: Bench, pending: int | None
) -> None:
    assert bench.post(heartbeat(pending=pending), path="/v1/heartbeat") == (200, {"ok": True})
    [status] = statuses(bench)
    assert (status.pending, status.complete_until) == (pending, None)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (heartbeat(device_id="DOOR-1"), (401, refusal("unknown_device"))),
        (heartbeat(device_id=7), (401, refusal("unknown_device"))),
        (heartbeat(time="noon"), (400, refusal("unreadable_body"))),
        (heartbeat(pending=-1), (400, refusal("unreadable_body"))),
        (heartbeat(pending=True), (400, refusal("unreadable_body"))),
        (heartbeat(last_sequence="17"), (400, refusal("unreadable_body"))),
        (b'{"device_id": "GATE-1", "pending": 3, "pending": 0}', (400, refusal("unreadable_body"))),
        (b"[]", (400, refusal("unreadable_body"))),
        (b"\xff", (400, refusal("unreadable_body"))),
        (b"[" * 100_000, (400, refusal("unreadable_body"))),
    ],
)
def test_a_heartbeat_that_is_refused_claims_nothing(bench: Bench, body: bytes, answer: object) -> None:
    assert bench.post(body, path="/v1/heartbeat") == answer
    assert not statuses(bench)


def test_a_heartbeat_with_a_wrong_token_is_refused(bench: Bench) -> None:
    assert bench.post(heartbeat(), path="/v1/heartbeat", token="wrong") == (401, refusal("unknown_device"))


def test_a_heartbeat_that_kafka_does_not_take_is_to_be_sent_again(bench: Bench) -> None:
    bench.kafka.away = True
    assert bench.post(heartbeat(), path="/v1/heartbeat") == (503, refusal("kafka_unavailable"))


def test_ok_is_not_said_before_kafka_has_acknowledged(bench: Bench) -> None:
    async def story() -> None:
        bench.kafka.release = asyncio.Event()
        posting = asyncio.create_task(bench.send(batch(PUNCH)))
        await bench.kafka.asked.wait()
        assert not posting.done()
        bench.kafka.release.set()
        assert (await posting).status_code == 200

    asyncio.run(story())


def test_a_terminal_set_up_for_a_frappe_app_gets_the_answer_it_knows(bench: Bench) -> None:
    path = "/api/method/my_app.api.attendance_ingest"
    answer = {"ok": True, "inserted": 1, "rejected": []}
    assert bench.post(batch(PUNCH), path=path) == (200, answer | {"message": answer})
    failure = refusal("unknown_device")
    assert bench.post(batch(PUNCH), path=path, token="wrong") == (401, failure | {"message": failure})
    bench.post(b"{", path=path)
    assert [letter.where for letter in bench.kafka.dead_letters()] == ["http:/api/method/{app}.api.attendance_ingest"]


@pytest.mark.parametrize(
    ("device_id", "token"),
    [
        ("GATE-1", None),
        ("GATE-1", "wrong"),
        ("GATE-1", TOKEN[:-1]),
        ("GATE-1", "\xff"),
        ("GATE-1", hash_token(TOKEN)),
        ("NO-TOKEN", ""),
        ("OLD", OLD),
        ("PULLED", PULLED),
        ("TYPO", TYPO),
    ],
)
def test_a_token_of_no_enabled_push_device_is_refused(bench: Bench, device_id: str, token: str | None) -> None:
    raw = None if token is None else token.encode("latin-1")
    assert bench.post(batch(PUNCH, device_id=device_id), token=raw) == (401, refusal("unknown_device"))
    assert bench.refused("unknown_device")
    assert not bench.kafka.records


@pytest.mark.parametrize("token", [TOKEN + " ", TOKEN[:-1], "ключ", "", None])
def test_only_its_own_token_opens_a_device(bench: Bench, token: str | None) -> None:
    fleet = Fleet(bench.registry)
    assert list(fleet.of("json", Sender(token=TOKEN))) == ["GATE-1"]
    for adapter in ("json", "zkteco_adms"):  # the entry of the second has no token
        assert not fleet.of(adapter, Sender(token=token))


@pytest.mark.parametrize("length", [None, "5", "999999999"])
def test_the_body_of_a_stranger_is_not_read(bench: Bench, length: str | None) -> None:
    async def receive() -> dict[str, Any]:
        return pytest.fail("the body was read")

    headers = [] if length is None else [(b"content-length", length.encode())]
    assert asyncio.run(call(bench, receive, *headers)) == (401, refusal("unknown_device"))


async def call(
    bench: Bench, receive: Callable[[], Awaitable[dict[str, Any]]], *headers: tuple[bytes, bytes]
) -> tuple[int, Any]:
    """One request at the level of ASGI, where the other side decides when its bytes come."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.7", 4370),
        "server": ("push", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    await bench.app(scope, receive, send)
    return sent[0]["status"], orjson.loads(sent[1]["body"] or b"null")


def test_a_token_opens_its_own_devices_only(bench: Bench) -> None:
    for device_id in ("DOOR-1", "OLD", "NOBODY"):
        assert bench.post(batch(PUNCH, device_id=device_id)) == (401, refusal("unknown_device"))
    assert not bench.kafka.records


def test_devices_that_share_a_token_are_told_apart_by_the_body(bench: Bench) -> None:
    for device_id in ("DOOR-2", "DOOR-1"):
        assert bench.post(batch(PUNCH, device_id=device_id), token=SHARED)[0] == 200
    assert [event.device_id for event in bench.kafka.events()] == ["DOOR-2", "DOOR-1"]


def test_an_unreadable_body_is_kept_and_refused(bench: Bench) -> None:
    body = batch(PUNCH, PUNCH)[:-20]
    assert bench.post(body) == (400, refusal("unreadable_body"))
    [letter] = bench.kafka.dead_letters()
    assert (letter.stage, letter.reason, letter.where) == ("push", Reason.UNREADABLE_BODY, "http:/v1/events")
    assert (letter.key, letter.value) == (b"GATE-1", body)
    assert bench.refused("unreadable_body")


def test_an_unreadable_body_of_one_of_several_devices_is_kept_without_a_key(bench: Bench) -> None:
    bench.post(b"{", token=SHARED)
    assert [letter.key for letter in bench.kafka.dead_letters()] == [None]


def test_a_photograph_in_an_unreadable_body_does_not_reach_kafka(bench: Bench) -> None:
    bench.post(b'{"device_id": "GATE-1", "photo": "' + b"A1b2" * 1000)
    [letter] = bench.kafka.dead_letters()
    assert letter.value == b'{"device_id": "GATE-1", "photo": "[4000 bytes redacted]'


@pytest.mark.parametrize("body", [batch(PUNCH), batch(PUNCH, None), batch(None), b"{"])
def test_what_kafka_does_not_acknowledge_has_to_be_sent_again(bench: Bench, body: bytes) -> None:
    bench.kafka.away = True
    response = asyncio.run(bench.send(body))
    assert (response.status_code, response.json()) == (503, refusal("kafka_unavailable"))
    assert response.headers["Retry-After"] == "5"
    assert bench.refused("kafka_unavailable")


def test_what_was_sent_again_is_the_same_punch(bench: Bench) -> None:
    bench.kafka.away = True
    bench.post(batch(PUNCH))
    bench.kafka.away = False
    bench.post(batch(PUNCH))
    bench.post(batch(PUNCH))
    assert len({event.event_id for event in bench.kafka.events()}) == 1


def test_when_too_much_waits_for_kafka_requests_have_to_come_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path, retry_after=9)
    bench.kafka.full = True
    response = asyncio.run(bench.send(batch(PUNCH)))
    assert (response.status_code, response.json()) == (503, refusal("overloaded"))
    assert response.headers["Retry-After"] == "9"
    assert bench.refused("overloaded")


async def chunks(body: bytes, size: int = 100) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def padded(length: int) -> bytes:
    body = batch(PUNCH)
    return body + b" " * (length - len(body))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_not(tmp_path: Path, chunked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    bench = Bench(tmp_path, max_body=1024)

    async def send(body: bytes) -> httpx.Response:
        return await bench.send(chunks(body) if chunked else body)

    assert asyncio.run(send(padded(1024))).status_code == 200
    refused = asyncio.run(send(padded(1025)))
    assert (refused.status_code, refused.json()) == (413, refusal("body_too_large"))
    assert len(bench.kafka.records) == 1


def test_a_body_that_says_it_is_too_large_is_not_read(bench: Bench) -> None:
    async def receive() -> dict[str, Any]:
        return pytest.fail("the body was read")

    headers = [(b"x-device-token", TOKEN.encode()), (b"content-length", b"1048577")]
    assert asyncio.run(call(bench, receive, *headers)) == (413, refusal("body_too_large"))


def test_a_body_without_end_is_not_read_beyond_the_limit(bench: Bench) -> None:
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 60_000
        return {"type": "http.request", "body": b" " * 60_000, "more_body": True}

    answer = asyncio.run(call(bench, receive, (b"x-device-token", TOKEN.encode())))
    assert answer == (413, refusal("body_too_large"))
    assert received < bench.settings.max_body + 2 * 60_000


def test_a_body_that_drips_is_given_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, body_timeout=0.02)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b" ", "more_body": True}

    answer = asyncio.run(call(bench, receive, (b"x-device-token", TOKEN.encode())))
    assert answer == (408, refusal("body_too_slow"))
    assert not bench.kafka.records


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(bench: Bench, logged: list[Mapping[str, Any]]) -> None:
    messages = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": batch(PUNCH), "more_body": True},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop()

    asyncio.run(call(bench, receive, (b"x-device-token", TOKEN.encode())))
    assert not bench.kafka.records
    assert {entry["log_level"] for entry in logged} == {"debug"}


def test_an_adapter_that_fails_does_not_hold_up_the_terminal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, logged: list[Mapping[str, Any]]
) -> None:
    def parse(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(JsonV1, "parse", parse)
    assert bench.post(batch(PUNCH)) == (400, refusal("internal_error"))
    [letter] = bench.kafka.dead_letters()
    assert (letter.reason, letter.value) == (Reason.INTERNAL_ERROR, batch(PUNCH))
    assert "error" in {entry["log_level"] for entry in logged}


def test_a_fault_of_our_own_is_never_an_ok(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.kafka, "send", send)
    assert bench.post(batch(PUNCH)) == (500, refusal("internal_error"))


def test_no_token_is_ever_logged(bench: Bench, logged: list[Mapping[str, Any]]) -> None:
    bench.post(batch(PUNCH, None))
    bench.post(b"{")
    bench.post(batch(PUNCH), token="wrong-token-6d")
    bench.post(batch(PUNCH, device_id="DOOR-1"))
    assert len(logged) >= 4
    assert not [entry for entry in logged if TOKEN in str(entry) or "wrong-token-6d" in str(entry)]
    assert not [entry for entry in logged if hash_token(TOKEN) in str(entry)]


def test_an_outage_is_logged_once_and_not_for_each_request(bench: Bench, logged: list[Mapping[str, Any]]) -> None:
    bench.kafka.away = True
    for _ in range(3):
        bench.post(batch(PUNCH))
    bench.kafka.away = False
    bench.post(batch(PUNCH))
    assert [entry["log_level"] for entry in logged] == ["warning", "info"]


def test_ready_means_that_kafka_has_just_taken_a_record(bench: Bench) -> None:
    response = bench.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"ok": True})
    assert [record.topic for record in bench.kafka.records] == [TOPICS["probe"]]


def test_without_kafka_it_is_alive_but_not_ready(bench: Bench) -> None:
    bench.kafka.away = True
    assert bench.get("/healthz").json() == {"ok": True}
    response = bench.get("/readyz")
    assert (response.status_code, response.json()) == (503, refusal("kafka_unavailable"))
    assert "Retry-After" in response.headers


def test_the_metrics_count_what_was_taken_in(bench: Bench) -> None:
    bench.post(batch(PUNCH, PUNCH, None))
    response = bench.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert 'punchstream_events_received_total{adapter="json",site="riyadh",transport="push"} 2.0' in lines
    assert 'punchstream_dead_letters_total{reason="invalid_event",stage="push"} 1.0' in lines
    assert "punchstream_request_seconds_count 1.0" in lines


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
        ("GET", "/v1/events", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_said_in_the_same_form(
    bench: Bench, method: str, path: str, status: int, error: str
) -> None:
    response = asyncio.run(bench.request(method, path))
    assert (response.status_code, response.json()) == (status, refusal(error))


def test_a_changed_registry_file_opens_and_closes_the_door(bench: Bench) -> None:
    fleet = Fleet(bench.registry)
    assert set(fleet.of("json", Sender(TOKEN))) == {"GATE-1"}
    bench.write([GATE | {"token_sha256": hash_token("new")}])
    asyncio.run(fleet.refresh())
    assert not fleet.of("json", Sender(TOKEN))
    assert set(fleet.of("json", Sender("new"))) == {"GATE-1"}


def test_a_serial_number_opens_a_device_without_a_token_of_its_adapter_only(bench: Bench) -> None:
    bare = {name: value for name, value in GATE.items() if name != "token_sha256"}
    bench.write([bare | {"serial": "SN1"}, GATE | {"device_id": "GATE-2", "serial": "SN2"}])
    fleet = Fleet(bench.registry)
    asyncio.run(fleet.refresh())
    assert set(fleet.of("json", Sender(serial="SN1"))) == {"GATE-1"}
    assert not fleet.of("json", Sender(serial="SN2"))
    assert not fleet.of("hfsecurity", Sender(serial="SN1"))
    assert not fleet.of("json", Sender(serial=""))


def test_punches_of_a_device_whose_clock_is_off_are_marked_until_it_is_right_again(bench: Bench) -> None:
    for ahead, skew in ((7200, 7200), (0, None)):
        told = (now() + timedelta(seconds=ahead)).isoformat()
        assert bench.post(heartbeat(time=told), path="/v1/heartbeat")[0] == 200
        bench.post(batch(PUNCH))
        marked = bench.kafka.events()[-1].clock_skew
        assert marked is None if skew is None else abs(marked - skew) <= 2


def test_a_wrong_registry_file_leaves_the_fleet_as_it_is(bench: Bench) -> None:
    fleet = Fleet(bench.registry)
    bench.write([{"device_id": "?"}])
    asyncio.run(fleet.refresh())
    assert set(fleet.of("json", Sender(TOKEN))) == {"GATE-1"}


def test_wrong_options_stop_the_start_and_leave_a_running_fleet_as_it_is(bench: Bench) -> None:
    fleet = Fleet(bench.registry)
    bench.write([GATE | {"options": {"colour": "red"}}])
    asyncio.run(fleet.refresh())
    assert set(fleet.of("json", Sender(TOKEN))) == {"GATE-1"}
    with pytest.raises(ConfigurationError, match=r"GATE-1: options\.colour: there is no such option"):
        Fleet(bench.registry)


def test_the_registry_file_is_followed_by_itself_even_after_a_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, logged: list[Mapping[str, Any]]
) -> None:
    looked_again = threading.Event()
    faults = [ZeroDivisionError()]

    def refresh() -> bool:
        if faults:
            raise faults.pop()
        looked_again.set()
        return False

    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            assert await asyncio.to_thread(looked_again.wait, timeout=10)

    monkeypatch.setattr(bench.registry, "refresh", refresh)
    monkeypatch.setattr("producers.push.fleet.REFRESH_SECONDS", 0)
    asyncio.run(story())
    assert [entry["log_level"] for entry in logged] == ["error"]


def test_a_device_whose_adapter_does_not_exist_is_reported(bench: Bench, logged: list[Mapping[str, Any]]) -> None:
    Fleet(bench.registry)
    assert [(entry["log_level"], entry["device_id"]) for entry in logged] == [("error", "TYPO")]


def test_the_publisher_is_stopped_with_the_application(bench: Bench) -> None:
    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            assert not bench.kafka.stopped

    asyncio.run(story())
    assert bench.kafka.stopped


def test_port_0_listens_on_a_free_port() -> None:
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1] != 0


def test_an_address_that_is_taken_is_a_wrong_setting() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigurationError, match="PUSH_PORT"):
        listen("127.0.0.1", taken.getsockname()[1])
