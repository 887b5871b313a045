"""Push as its own process, on real brokers and real sockets."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml
from process_log import DEADLINE, until

from attendance.errors import Reason
from attendance.fleet import hash_token
from attendance.kafka.readers import snapshot
from attendance.records.dead_letter import DeadLetter
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest
from attendance.settings import KafkaSettings
from attendance.topics import Name
from sandbox.broker import Broker
from sandbox.ports import free_port
from sandbox.terminals.base import HttpRequest, Punch
from sandbox.terminals.zkteco_adms import AttendanceTerminal

pytestmark = pytest.mark.broker

TOKEN = "gate-token-7f3a"
DEVICE = {"device_id": "GATE-1", "site": "riyadh", "timezone": "Asia/Riyadh", "token_sha256": hash_token(TOKEN)}


class Push:
    """The push process and its topics."""

    def __init__(self, kafka: KafkaSettings, directory: Path, *devices: Mapping[str, Any]) -> None:
        self.kafka = kafka
        self.registry = directory / "devices.yaml"
        self.write(DEVICE, *devices)
        self.log = directory / "push.log"
        self.env = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
            "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
            "KAFKA_PARTITIONS": str(kafka.partitions),
            "KAFKA_REQUEST_TIMEOUT": "3",
            "PUNCHSTREAM_DEVICES": str(self.registry),
            "PUSH_HOST": "127.0.0.1",
            "PUSH_PORT": "0",
            "METRICS_PORT": str(metrics_port := free_port()),
            "PUSH_MAX_BODY": "100000",
            "PUSH_BODY_TIMEOUT": "1",
        }
        self.metrics_port = metrics_port
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "punchstream", "push"], env=self.env, cwd=directory, stdout=log, stderr=log
            )
        self.port: int = until(self._port, self.log)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"X-Device-Token": TOKEN}, timeout=DEADLINE
        )
        until(lambda: self.client.get("/readyz").status_code == 200, self.log)

    def write(self, *devices: Mapping[str, Any]) -> None:
        new = self.registry.with_suffix(".new")
        new.write_text(yaml.safe_dump([dict(device) for device in devices]))
        new.replace(self.registry)

    def _port(self) -> int | None:
        return next((entry["port"] for entry in self.logged() if entry["event"] == "Listening."), None)

    def logged(self) -> list[dict[str, Any]]:
        """Every complete line of the log; whatever is not one of ours would fail here."""
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def post(self, *users: str | None) -> httpx.Response:
        return self.client.post("/v1/events", content=batch(*users))

    def records(self, topic: Name) -> list[Any]:
        return asyncio.run(snapshot(self.kafka, self.kafka.topics[topic], "test"))

    def events(self) -> list[RawEvent]:
        return [RawEvent.decode(record.value) for record in self.records("raw")]

    def users(self) -> list[str]:
        return [event.device_user_id for event in self.events()]

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=DEADLINE).text

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def batch(*users: str | None) -> bytes:
    events = [{"user_id": user, "time": "2026-03-02 08:00:00", "type": "IN"} for user in users]
    return orjson.dumps({"device_id": "GATE-1", "events": events})


@pytest.fixture
def push(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Push]:
    push = Push(kafka, tmp_path)
    yield push
    push.client.close()
    push.process.kill()
    push.process.wait()


@contextmanager
def paused(broker: Broker) -> Iterator[None]:
    broker.pause()
    try:
        yield
    finally:
        broker.resume()


def head(*more: str) -> bytes:
    lines = ["POST /v1/events HTTP/1.1", "Host: push", f"X-Device-Token: {TOKEN}", *more, "", ""]
    return "\r\n".join(lines).encode()


def status_of(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as answer:
        return answer.readline().split(b" ")[1]


def test_what_was_answered_ok_is_on_the_raw_topic_in_order(push: Push) -> None:
    users = [str(number) for number in range(200)]
    for start in range(0, 200, 50):
        response = push.post(*users[start : start + 50])
        assert (response.status_code, response.json()) == (200, {"ok": True, "inserted": 50, "rejected": []})
    assert push.users() == users
    assert {record.key for record in push.records("raw")} == {b"GATE-1"}


def test_what_cannot_become_an_event_is_a_dead_letter(push: Push) -> None:
    assert push.post("1", None, "3").json() == {
        "ok": True,
        "inserted": 2,
        "rejected": [{"index": 1, "reason": "invalid_event"}],
    }
    unreadable = batch("4")[:-9]
    assert push.client.post("/v1/events", content=unreadable).status_code == 400
    letters = [DeadLetter.decode(each.key, each.value, each.headers) for each in push.records("dead_letters")]
    assert {letter.reason for letter in letters} == {Reason.INVALID_EVENT, Reason.UNREADABLE_BODY}
    unread = [UnreadRequest.decode(each.value) for each in push.records("unread")]
    assert unreadable in {each.body for each in unread}
    assert {each.unread_id for each in unread} <= {letter.unread for letter in letters}
    assert push.users() == ["1", "3"]


def test_while_the_broker_hangs_nothing_is_acknowledged_and_a_retry_is_the_same_event(
    push: Push, broker: Broker
) -> None:
    assert push.post("1").status_code == 200
    with paused(broker):
        started = time.monotonic()
        response = push.post("2")
        assert (response.status_code, response.json()) == (503, {"ok": False, "error": "kafka_unavailable"})
        assert int(response.headers["Retry-After"]) > 0
        assert time.monotonic() - started < 10
        assert push.client.get("/readyz").status_code == 503
        assert push.client.get("/healthz").status_code == 200
    until(lambda: push.post("2").status_code == 200, push.log)
    until(lambda: push.client.get("/readyz").status_code == 200, push.log)
    # The first try may have arrived after all: then the same event is there twice, under one id.
    ids = {event.event_id for event in push.events() if event.device_user_id == "2"}
    assert len(ids) == 1
    assert set(push.users()) == {"1", "2"}


def test_sigterm_finishes_the_request_at_hand_and_takes_no_other(push: Push, broker: Broker) -> None:
    with ThreadPoolExecutor() as threads:
        with paused(broker):
            posting = threads.submit(push.post, "1")
            until(lambda: "punchstream_in_flight_bytes 0.0" not in push.metrics(), push.log)
            push.process.send_signal(signal.SIGTERM)
            until(lambda: refuses(push.port), push.log)
            assert push.process.poll() is None
        assert posting.result().status_code == 200
    assert push.process.wait(DEADLINE) == 0
    assert push.users() == ["1"]


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigint_ends_it_in_good_order_too(push: Push) -> None:
    assert push.end(signal.SIGINT) == 0
    assert not [entry for entry in push.logged() if entry["level"] in {"error", "critical"}]


def test_bodies_that_are_too_large_or_drip_or_break_off_are_not_stored(push: Push) -> None:
    whole = batch("1")

    def stream() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    assert push.client.post("/v1/events", content=stream()).status_code == 413
    assert push.client.post("/v1/events", content=b" " * 5_000_000).status_code == 413

    with push.connect() as dripping:
        dripping.sendall(head(f"Content-Length: {len(whole)}") + whole[:10])
        assert status_of(dripping) == b"408"

    for _ in range(20):
        with push.connect() as broken:
            broken.sendall(head(f"Content-Length: {len(whole)}") + whole[:-1])
    with push.connect() as broken:
        broken.sendall(head("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(whole), whole))

    with push.connect() as chunked:
        chunked.sendall(head("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole))
        assert status_of(chunked) == b"200"

    assert push.users() == ["1"]
    assert not push.records("dead_letters")
    bad = [entry for entry in push.logged() if entry["level"] in {"warning", "error", "critical"}]
    assert {(entry["event"], entry["cause"]) for entry in bad} == {
        ("Refused a request.", "body_too_large"),
        ("Refused a request.", "body_too_slow"),
    }


def test_a_stranger_is_answered_before_its_body_is_asked_for(push: Push) -> None:
    with push.connect() as stranger:
        request = head("Content-Length: 50", "Expect: 100-continue").replace(TOKEN.encode(), b"wrong")
        stranger.sendall(request)
        assert status_of(stranger) == b"401"


def test_a_device_that_is_added_to_the_registry_file_can_push_soon(push: Push) -> None:
    push.client.headers["X-Device-Token"] = "new-token"
    assert push.post("1").status_code == 401
    push.write(DEVICE | {"token_sha256": hash_token("new-token")})
    until(lambda: push.post("1").status_code == 200, push.log)


def test_many_terminals_at_once_are_all_served(push: Push) -> None:
    start = threading.Barrier(20)

    def terminal(number: int) -> list[int]:
        start.wait(DEADLINE)
        return [push.post(f"{number}-{turn}").status_code for turn in range(10)]

    with ThreadPoolExecutor(20) as threads:
        answers = [status for statuses in threads.map(terminal, range(20)) for status in statuses]
    assert set(answers) == {200}
    assert sorted(push.users()) == sorted(f"{number}-{turn}" for number in range(20) for turn in range(10))


def test_no_token_is_in_the_log(push: Push) -> None:
    push.post("1", None)
    push.client.post("/v1/events", content=b"{", headers={"X-Device-Token": "wrong-token"})
    push.end()
    log = push.log.read_text()
    assert "A device sent records that cannot be punches." in log
    assert TOKEN not in log
    assert "wrong-token" not in log


def test_an_address_that_is_taken_stops_the_start_with_one_line(push: Push, tmp_path: Path) -> None:
    env = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": push.kafka.bootstrap_servers,
        "PUNCHSTREAM_DEVICES": str(push.registry),
        "PUSH_HOST": "127.0.0.1",
        "PUSH_PORT": str(push.port),
    }
    second = subprocess.run(
        [sys.executable, "-m", "punchstream", "push"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert second.returncode == 2
    assert b"PUSH_PORT" in second.stderr
    assert b"Traceback" not in second.stderr


def test_a_terminal_at_a_wrong_door_is_shown_beside_those_that_wait(push: Push) -> None:
    for _ in range(3):
        assert push.client.get("/att/cdata", params={"SN": "SN-1", "options": "all"}).status_code == 404
    with push.connect() as tls:
        tls.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert status_of(tls) == b"400"
    with push.connect() as surplus:
        body = batch("1")
        surplus.sendall(head(f"Content-Length: {len(body)}") + body + b"\0")
        assert status_of(surplus) == b"200"
    shown = until(
        lambda: found if len(found := orjson.loads(command(push, "pending", "--json"))) == 3 else None, push.log
    )
    assert {(each["cause"], each["sender"], each["path"]) for each in shown} == {
        ("not_found", "zkteco", "/att/cdata?SN&options"),
        ("tls", "unknown", ""),
        ("broken_head", "json", "/v1/events"),
    }
    refused = [entry for entry in push.logged() if entry["event"] == "Refused a request."]
    assert sorted(entry["cause"] for entry in refused) == ["broken_head", "not_found", "tls"]
    assert "SN-1" not in push.log.read_text()
    assert 'punchstream_knocks_total{cause="not_found",sender="zkteco"} 3.0' in push.metrics()


def test_a_terminal_is_let_in_and_after_a_restart_goes_on_from_its_stamp(kafka: KafkaSettings, tmp_path: Path) -> None:
    terminal = AttendanceTerminal(serial="SN-1", token="", zone="Asia/Riyadh")
    begin = datetime.fromisoformat("2026-03-02 08:00:00")
    punches = [Punch(f"{number:06}", begin + timedelta(seconds=number), "IN") for number in range(1, 501)]
    first, second = Push(kafka, tmp_path), None
    try:
        [upload] = terminal.upload(punches)
        assert send(first, upload).status_code == 403
        [waiting] = until(lambda: orjson.loads(command(first, "pending", "--json")), first.log)
        assert (waiting["serial"], waiting["adapter"]) == ("SN-1", "zkteco_adms")
        command(first, "approve", "SN-1", "--device-id", "GATE-2", "--site", "hq", "--timezone", "Asia/Riyadh")
        until(lambda: send(first, upload).content == b"OK: 500", first.log)
        assert send(first, upload).content == b"OK: 500"
        assert first.users()[:500] == [punch.user for punch in punches]
        assert len({event.event_id for event in first.events()}) == 500
        first.end()
        command(first, "backfill", "GATE-2", "--since", "2026-03-01T00:00:00", "--until", "2026-03-02T00:00:00")

        second = Push(
            kafka, tmp_path, terminal.registry_entry() | {"device_id": "GATE-2", "site": "hq", "timezone": "UTC"}
        )
        again = second
        until(lambda: f"ATTLOGStamp={punches[-1].at:%Y%m%d%H%M%S}" in send(again, terminal.hello()[0]).text, again.log)
        query = until(
            lambda: re.match(r"C:(\d+):DATA QUERY ATTLOG ", send(again, terminal.hello()[-1]).text), again.log
        )
        send(again, terminal.post("devicecmd", "", f"ID={query[1]}&Return=0&CMD=DATA\n"))
        [order] = orjson.loads(command(again, "commands", "--json"))
        assert (order["device_id"], order["returned"]) == ("GATE-2", "0")
    finally:
        for push in filter(None, (first, second)):
            push.client.close()
            push.process.kill()
            push.process.wait()


def send(push: Push, request: HttpRequest) -> httpx.Response:
    return push.client.request(request.method, request.path, headers=dict(request.headers), content=request.body)


def command(push: Push, *words: str) -> str:
    """What `punchstream devices` prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "punchstream", "devices", *words],
        env=push.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout
