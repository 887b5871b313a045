"""One request: what is stored of it, and what is answered."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_guard import WRONG, FakeGuard
from pushing import (
    OLD,
    PULLED,
    PUNCH,
    SHARED,
    TOKEN,
    TOPICS,
    TYPO,
    Bench,
    batch,
    heartbeat,
    refusal,
    statuses,
)

from attendance.errors import Reason
from attendance.fleet import hash_token
from attendance.kafka.records import OutRecord
from attendance.logs import Seldom
from attendance.records.device_status import DeviceStatus
from attendance.times import now
from producers.devices.generic.json_v1 import JsonV1


def test_a_batch_is_answered_ok_and_kafka_has_its_events(bench: Bench) -> None:
    assert bench.post(batch(PUNCH, PUNCH | {"user_id": "7"})) == (200, {"ok": True, "inserted": 2, "rejected": []})
    assert [(event.device_id, event.device_user_id) for event in bench.kafka.events()] == [
        ("GATE-1", "1042"),
        ("GATE-1", "7"),
    ]
    assert not bench.kafka.dead_letters()


@pytest.mark.parametrize(
    "nested", ['{"user_id": "7", "time": %s}', '{"user_id": %s, "time": "2026-03-02 08:00:00"}', "%s"]
)
@pytest.mark.parametrize("depth", [100, 300, 900])
def test_an_event_that_is_nested_deeply_takes_no_other_with_it(depth: int, nested: str, bench: Bench) -> None:
    deep = nested % ("[" * depth + "]" * depth)
    body = f'{{"device_id": "GATE-1", "events": [{deep}, {{"user_id": "1042", "time": "2026-03-02 08:00:00"}}]}}'
    status, answer = bench.post(body.encode())
    assert (status, answer["inserted"] + len(answer["rejected"])) == (200, 2)
    assert bench.kafka.events()[-1].device_user_id == "1042"


def test_the_answer_to_a_terminal_waits_for_its_punches_and_for_nothing_else(bench: Bench) -> None:
    line = b"417\t2026-03-02 08:00:00\t0\t15\n"

    async def story() -> None:
        answer = await bench.request("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", content=line * 500)
        assert answer.text == "OK: 500"
        assert bench.kafka.sends == 1
        assert "ATTLOGStamp=7\n" in (await bench.request("GET", "/iclock/cdata?SN=SN1")).text

    asyncio.run(story())
    assert len(bench.kafka.events()) == 500


def test_a_stamp_is_not_moved_by_an_upload_that_kafka_did_not_take(bench: Bench) -> None:
    bench.kafka.away = True

    async def story() -> None:
        line = b"417\t2026-03-02 08:00:00\t0\t15\n"
        answer = await bench.request("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", content=line)
        assert answer.status_code == 503
        bench.kafka.away = False
        assert "ATTLOGStamp=0\n" in (await bench.request("GET", "/iclock/cdata?SN=SN1")).text

    asyncio.run(story())


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
    [unread] = bench.kafka.unread()
    assert (unread.unread_id, unread.body) == (letter.unread, batch(PUNCH, bad | {"photo": ""}, PUNCH))


def test_a_heartbeat_with_nothing_pending_claims_all_that_is_dated_before_it(bench: Bench) -> None:
    assert bench.post(heartbeat(last_sequence=17), path="/v1/heartbeat") == (200, {"ok": True})
    [status] = statuses(bench)
    assert (status.device_id, status.pending, status.last_sequence) == ("GATE-1", 0, 17)
    assert status.complete_until == datetime(2026, 3, 2, 5, tzinfo=UTC)
    assert [each.key for each in bench.kafka.records] == [b"GATE-1"]


def test_a_sign_of_life_takes_back_nothing_and_is_not_written_each_time(bench: Bench) -> None:
    path = "/iclock/cdata?SN=SN1&table=options"
    assert asyncio.run(bench.request("POST", path, content=b"FWVersion=8.0,UserCount=97")).text == "OK"
    for _ in range(5):
        assert asyncio.run(bench.request("GET", "/iclock/getrequest?SN=SN1")).text == "OK"
    assert len(statuses(bench)) == 1
    asyncio.run(bench.request("GET", "/iclock/getrequest?SN=SN1&INFO=8.1"))
    assert [status.details for status in statuses(bench)][1:] == [{"FWVersion": "8.1", "UserCount": "97"}]


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
    assert (letter.key, letter.value) == (b"GATE-1", b"")
    [unread] = bench.kafka.unread()
    assert (unread.unread_id, unread.body) == (letter.unread, body)
    assert bench.refused("unreadable_body")


def test_an_unreadable_body_of_one_of_several_devices_is_kept_without_a_key(bench: Bench) -> None:
    bench.post(b"{", token=SHARED)
    assert [letter.key for letter in bench.kafka.dead_letters()] == [None]
    assert [(each.device_id, each.devices) for each in bench.kafka.unread()] == [("DOOR-1", ("DOOR-1", "DOOR-2"))]


def test_a_photograph_in_an_unreadable_body_does_not_reach_kafka(bench: Bench) -> None:
    bench.post(b'{"device_id": "GATE-1", "shot": "' + b"A1b2" * 1000)
    [unread] = bench.kafka.unread()
    assert unread.body == b'{"device_id": "GATE-1", "shot": "[4000 bytes redacted]'
    assert not any(b"A1b2" * 10 in (record.value or b"") for record in bench.kafka.records)


@pytest.mark.parametrize("body", [batch(PUNCH), batch(PUNCH, None), batch(None), b"{"])
def test_what_kafka_does_not_acknowledge_has_to_be_sent_again(bench: Bench, body: bytes) -> None:
    bench.kafka.away = True
    response = asyncio.run(bench.send(body))
    assert (response.status_code, response.json()) == (503, refusal("kafka_unavailable"))
    assert response.headers["Retry-After"] == "5"
    assert bench.refused("kafka_unavailable")


def test_what_is_larger_than_kafka_takes_is_not_acknowledged(bench: Bench) -> None:
    bench.kafka.takes = 10
    response = asyncio.run(bench.send(batch(PUNCH)))
    assert (response.status_code, response.json()) == (503, refusal("cannot_be_kept"))


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


def test_an_adapter_that_fails_does_not_hold_up_the_terminal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, logged: list[Mapping[str, Any]]
) -> None:
    def parse(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(JsonV1, "parse", parse)
    assert bench.post(batch(PUNCH)) == (400, refusal("internal_error"))
    [letter] = bench.kafka.dead_letters()
    assert (letter.reason, letter.value) == (Reason.INTERNAL_ERROR, b"")
    assert [each.body for each in bench.kafka.unread()] == [batch(PUNCH)]
    assert "error" in {entry["log_level"] for entry in logged}


def test_what_each_request_may_have_logged_is_logged_once_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, logged: list[Mapping[str, Any]]
) -> None:
    moment = [0.0]
    bench.terminals.seldom = Seldom(clock=lambda: moment[0])
    for number in range(5):
        assert bench.post(batch(PUNCH | {"user_id": "", "time": f"2026-03-02 08:00:0{number}"}))[0] == 200
    errors = iter([ZeroDivisionError, KeyError, *[ZeroDivisionError] * 4])

    def parse(*_: object) -> None:
        raise next(errors)

    monkeypatch.setattr(JsonV1, "parse", parse)
    for _ in range(6):
        assert bench.post(batch(PUNCH))[0] == 400
    said = [each for each in logged if each["event"].startswith(("A device sent", "An adapter failed"))]
    assert [each["log_level"] for each in said] == ["warning", "error", "error"]
    moment[0] = 60.0
    bench.terminals.seldom.flush()
    left_out = [(each["event"], each["left_out"]) for each in logged if "left_out" in each]
    assert ("A device sent records that cannot be punches.", 4) in left_out
    assert ("An adapter failed to read a request.", 4) in left_out


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
    assert len(logged) >= 3
    assert not [entry for entry in logged if TOKEN in str(entry) or "wrong-token-6d" in str(entry)]
    assert not [entry for entry in logged if hash_token(TOKEN) in str(entry)]


def test_an_outage_is_logged_once_and_not_for_each_request(bench: Bench, logged: list[Mapping[str, Any]]) -> None:
    bench.kafka.away = True
    for _ in range(3):
        bench.post(batch(PUNCH))
    bench.kafka.away = False
    bench.post(batch(PUNCH))
    assert [entry["log_level"] for entry in logged] == ["warning", "info"]


def test_punches_of_a_device_whose_clock_is_off_are_marked_until_it_is_right_again(bench: Bench) -> None:
    for ahead, skew in ((7200, 7200), (0, None)):
        device_time = (now() + timedelta(seconds=ahead)).isoformat()
        assert bench.post(heartbeat(time=device_time), path="/v1/heartbeat")[0] == 200
        bench.post(batch(PUNCH))
        marked = bench.kafka.events()[-1].clock_skew
        assert marked is None if skew is None else abs(marked - skew) <= 2


def test_what_one_process_knows_of_a_clock_all_know(tmp_path: Path) -> None:
    one, other = Bench(tmp_path), Bench(tmp_path)

    def outcomes() -> list[int | None]:
        """Of the same punch at either process."""
        for bench in (one, other):
            for record in (*one.kafka.records, *other.kafka.records):
                if record.topic == TOPICS["device_status"]:
                    bench.statuses.apply(record)  # type: ignore[arg-type]  # key and value are all that is read of it
            assert bench.post(batch(PUNCH))[0] == 200
        return [bench.kafka.events()[-1].clock_skew for bench in (one, other)]

    device_time = (now() + timedelta(hours=2)).isoformat()
    assert one.post(heartbeat(time=device_time), path="/v1/heartbeat")[0] == 200
    [skew, same] = outcomes()
    assert skew == same
    assert abs((skew or 0) - 7200) <= 2
    # It is set, and says so to the other process.
    assert other.post(heartbeat(time=now().isoformat()), path="/v1/heartbeat")[0] == 200
    assert outcomes() == [None, None]


def test_what_a_server_whose_clock_was_ahead_wrote_of_a_device_is_not_the_newest_for_a_day(bench: Bench) -> None:
    tomorrow = now() + timedelta(days=1)
    wrong = DeviceStatus("GATE-1", tomorrow, clock_skew=-86_400, clock_measured_at=tomorrow)
    bench.statuses.apply(OutRecord(TOPICS["device_status"], wrong.key, wrong.encode()))  # type: ignore[arg-type]  # as above
    bench.post(batch(PUNCH))
    assert bench.kafka.events()[-1].clock_skew == -86_400
    right = DeviceStatus("GATE-1", now(), clock_skew=0, clock_measured_at=now())
    bench.statuses.apply(OutRecord(TOPICS["device_status"], right.key, right.encode()))  # type: ignore[arg-type]  # as above
    bench.post(batch(PUNCH))
    assert bench.kafka.events()[-1].clock_skew is None


def test_nothing_is_taken_in_before_what_others_know_is_read(bench: Bench) -> None:
    bench.statuses.caught_up.clear()
    assert bench.post(batch(PUNCH)) == (503, refusal("kafka_unavailable"))
    assert bench.get("/readyz").status_code == 503
    bench.statuses.caught_up.set()
    assert bench.post(batch(PUNCH))[0] == 200


def test_while_the_clock_stands_in_the_way_what_terminals_say_of_the_time_is_still_heard(tmp_path: Path) -> None:
    bench = Bench(tmp_path, guards=[FakeGuard(answer=WRONG)])
    asyncio.run(bench.guards.ask())
    for _ in range(2):
        device_time = (now() + timedelta(hours=2)).isoformat()
        assert bench.post(heartbeat(time=device_time), path="/v1/heartbeat")[0] == 503
        assert bench.post(b"{", path="/v1/heartbeat")[0] == 503
    assert bench.kafka.records == []
    assert b"punchstream_clocks_off 1.0" in bench.metrics.exposition()
