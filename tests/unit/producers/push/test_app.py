"""The application: routes, health, metrics, and what runs beside its requests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from fake_guard import WRONG, FakeGuard
from pushing import (
    IN_THE_PATH,
    PUNCH,
    TOKEN,
    TOPICS,
    Bench,
    batch,
    heartbeat,
    refusal,
    statuses,
)
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from attendance.guards import Guards
from producers.devices import PUSH_ADAPTERS, create_push_adapter
from producers.devices.contract import Route
from producers.push.app import PushApp, plain_path
from producers.push.endpoint import Endpoint
from producers.push.fleet import Fleet
from producers.push.knocking import Knocking
from producers.push.receiving import Receiving
from producers.push.turns import Turns
from producers.status import WRITE_SECONDS
from virtual_time import run_in_virtual_time


def test_a_stamp_is_on_its_topic_when_push_has_stopped(bench: Bench) -> None:
    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            line = b"417\t2026-03-02 08:00:00\t0\t15\n"
            await bench.request("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", content=line)

    asyncio.run(story())
    assert [each.value for each in bench.kafka.records if each.topic == TOPICS["terminals"]] == [b'{"ATTLOGStamp":"7"}']


def test_head_is_answered_as_get_is(bench: Bench) -> None:
    answer = asyncio.run(bench.request("HEAD", "/iclock/ping?SN=SN1"))
    assert answer.status_code == 200
    assert not bench.kafka.dead_letters()


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


@pytest.mark.parametrize(("away", "reasons"), [(False, []), (True, ["no brokers"])])
def test_the_port_of_the_metrics_says_whether_kafka_takes_records_now(
    bench: Bench, *, away: bool, reasons: list[str]
) -> None:
    async def ask() -> list[str]:
        bench.metrics.health.watch_loop()
        return await asyncio.to_thread(bench.metrics.health.reasons)

    bench.kafka.away = away
    assert asyncio.run(ask()) == reasons


def test_the_port_of_the_terminals_shows_no_metrics(bench: Bench) -> None:
    assert bench.get("/metrics").status_code == 404


def test_the_metrics_count_what_was_taken_in(bench: Bench) -> None:
    bench.post(batch(PUNCH, PUNCH, None))
    lines = bench.exposition().splitlines()
    assert 'punchstream_events_received_total{adapter="json",site="riyadh",transport="push"} 2.0' in lines
    assert 'punchstream_dead_letters_total{reason="invalid_event",stage="push"} 1.0' in lines
    assert "punchstream_request_seconds_count 1.0" in lines


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "//iclock/ping?SN=SN1"),
        ("GET", "/iclock//ping/?SN=SN1"),
        ("GET", "/ICLOCK/Ping?SN=SN1"),
        ("HEAD", "/iclock/ping/?SN=SN1"),
        ("GET", "/iclock/ping%20?SN=SN1"),
        ("POST", f"/hf/{IN_THE_PATH}/"),
        ("POST", f"//hf//{IN_THE_PATH}//"),
        ("POST", f"/HF/{IN_THE_PATH}/Heartbeat/"),
        ("GET", "/healthz/"),
    ],
)
def test_a_path_in_another_spelling_is_answered_as_itself(bench: Bench, method: str, path: str) -> None:
    answer = asyncio.run(bench.request(method, f"http://push{path}", content=b"" if method == "POST" else None))
    assert answer.status_code == 200


@dataclass
class Called:
    """In the place of an endpoint: notes how it was called."""

    route: Route
    calls: list[tuple[Route, dict[str, str]]]

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        self.calls.append((self.route, scope.get("path_params", {})))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "its own": str,
    "capitals": str.upper,
    "a capital": lambda path: path[:-1] + path[-1].upper(),
    "a slash at the end": lambda path: f"{path}/",
    "doubled slashes": lambda path: path.replace("/", "//"),
    "a space at the end": lambda path: f"{path} ",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_path_in_any_spelling_goes_where_the_list_of_routes_sends_it(spelling: str) -> None:
    calls: list[tuple[Route, dict[str, str]]] = []
    routes = [route for name in PUSH_ADAPTERS for route in create_push_adapter(name, ()).routes]
    endpoints = [cast("Endpoint", Called(route, calls)) for route in routes]
    app = PushApp(endpoints, cast("Knocking", None), cast("Fleet", None), Receiving(1, 1), Turns())

    async def call(served: ASGIApp, scope: dict[str, object]) -> list[tuple[Route, dict[str, str]]]:
        calls.clear()
        await served(scope, cast("Receive", None), cast("Send", None))
        return calls.copy()

    async def story() -> None:
        for route in routes:
            path = SPELLINGS[spelling](route.path.format(token="Tok-En", call="newcall", app="hr"))
            scope: dict[str, object] = {"type": "http", "method": route.method, "path": path, "headers": []}
            by_the_list = await call(app.router, scope | {"path": plain_path(path)})
            assert await call(app, dict(scope)) == by_the_list, path
            assert len(by_the_list) == 1

    asyncio.run(story())


def test_a_token_in_capitals_is_another_token(bench: Bench) -> None:
    answer = asyncio.run(bench.request("POST", f"/hf/{IN_THE_PATH.upper()}/"))
    assert answer.status_code == 403


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


def test_the_publisher_is_stopped_with_the_application(bench: Bench) -> None:
    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            assert not bench.kafka.stopped

    asyncio.run(story())
    assert bench.kafka.stopped


def test_a_device_that_says_nothing_of_itself_is_seen_to_live_by_its_punches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = {"X-Device-Token": TOKEN}

    async def unchanged() -> bool:
        return False

    # Virtual time does not wait for the thread that looks at the file.
    monkeypatch.setattr(bench.registry, "refreshed", unchanged)

    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            for second in ("07", "09", "08"):
                response = await bench.request(
                    "POST", "/v1/events", content=batch(PUNCH | {"time": f"2026-03-02 08:00:{second}"}), headers=head
                )
                assert response.json()["inserted"] == 1
            assert not statuses(bench)  # no terminal waits for it
            await asyncio.sleep(2 * WRITE_SECONDS)
            assert len(statuses(bench)) == 1
            response = await bench.request("POST", "/v1/heartbeat", content=heartbeat(), headers=head)
            assert response.json() == {"ok": True}

    run_in_virtual_time(story())
    lives, report = statuses(bench)
    assert (lives.complete_until, lives.pending, report.pending) == (None, None, 0)
    assert report.last_event == datetime(2026, 3, 2, 5, 0, 9, tzinfo=UTC)
    assert lives.last_event is not None


def test_while_a_guard_stands_nothing_is_taken_in_and_a_stranger_is_not_told_why(tmp_path: Path) -> None:
    guard = FakeGuard(answer=WRONG)
    bench = Bench(tmp_path, guards=[guard])
    assert bench.post(batch(PUNCH)) == (503, refusal("kafka_unavailable")), "nobody has looked yet"
    asyncio.run(bench.guards.ask())
    answer = asyncio.run(bench.send(batch(PUNCH)))
    assert (answer.status_code, answer.json()) == (503, refusal("standing_still"))
    assert answer.headers["Retry-After"] == str(bench.settings.retry_after)
    # Neither a handshake, by which a terminal may set its clock, nor a note of a stranger.
    for path in ("/iclock/cdata?SN=SN1&options=all", "/iclock/cdata?SN=STRANGER&options=all"):
        assert bench.get(path).status_code == 503
    response = bench.get("/readyz")
    assert (response.status_code, response.json()) == (503, refusal("standing_still"))
    assert WRONG in bench.metrics.health.reasons()
    assert bench.get("/healthz").status_code == 200
    assert bench.kafka.records == []
    guard.answer = None
    asyncio.run(bench.guards.ask())
    assert bench.get("/readyz").status_code == 200
    assert bench.post(batch(PUNCH))[0] == 200


def test_guards_are_asked_beside_the_application(tmp_path: Path) -> None:
    bench = Bench(tmp_path, guards=[FakeGuard()])

    async def story() -> None:
        assert bench.guards.standing
        async with bench.app.router.lifespan_context(bench.app), asyncio.timeout(10):
            await bench.guards.until_clear()

    asyncio.run(story())


def test_what_runs_beside_requests_is_begun_anew_when_it_dies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[None] = []

    async def die_once(_guards: Guards) -> None:
        begun.append(None)
        if len(begun) == 1:
            raise ZeroDivisionError
        await asyncio.Event().wait()

    async def at_once(_fleet: Fleet) -> None: ...

    monkeypatch.setattr(Guards, "keep", die_once)
    monkeypatch.setattr(Fleet, "refresh", at_once)  # virtual time waits for no thread

    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            await asyncio.sleep(10)

    with capture_logs() as logged:
        run_in_virtual_time(story())
    assert len(begun) == 2
    assert [each["event"] for each in logged if each["log_level"] == "critical"] == [
        "A part of this process has died; it is begun anew."
    ]
