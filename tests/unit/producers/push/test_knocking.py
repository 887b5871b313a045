"""Knocking at a wrong door: what is counted, logged and shown of it, and what never is."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pushing import IN_THE_PATH, OLD, PULLED, PUNCH, SHARED, TOKEN, TOPICS, Bench, batch, call

from attendance.metrics import Metrics
from attendance.records.terminals import Knock
from producers.devices.contract import Route
from producers.knocks import SENDERS, Knocks
from producers.push.app import PushApp
from producers.push.knocking import Knocking
from producers.push.senders import broken_head
from producers.terminals import WRITE_SECONDS
from virtual_time import run_in_virtual_time


def knocks(bench: Bench) -> list[Knock]:
    return bench.terminals.knocks.all()


def counted(bench: Bench, cause: str, sender: str) -> bool:
    return f'punchstream_knocks_total{{cause="{cause}",sender="{sender}"}} 1.0' in bench.exposition()


def knock(bench: Bench, method: str, path: str, **options: Any) -> int:
    return asyncio.run(bench.request(method, f"http://push{path}", **options)).status_code


@pytest.mark.parametrize(
    ("method", "path", "options", "cause", "sender"),
    [
        ("GET", "/iclock/service/cdata?SN=SN1&options=all", {}, "not_found", "zkteco"),
        ("POST", "/att/upload?SN=SN1&table=ATTLOG", {}, "not_found", "zkteco"),
        ("POST", "/somewhere", {"content": b"417\t2026-03-02 08:00:00\t0\t1\n"}, "not_found", "zkteco"),
        ("GET", "/", {"headers": {"User-Agent": "iClock Proxy/1.09"}}, "not_found", "zkteco"),
        ("PUT", "/iclock/cdata?SN=SN1", {}, "method_not_allowed", "zkteco"),
        ("POST", "/", {"json": {"personSn": "7", "recordTime": "1795881000000"}}, "not_found", "hfsecurity"),
        ("POST", "/upload", {"data": {"deviceKey": "HF1", "personId": "7"}}, "not_found", "hfsecurity"),
        ("GET", "/hf/some-token", {}, "method_not_allowed", "hfsecurity"),
        ("POST", "/", {"content": b"--MIME_boundary\r\n\r\n<EventNotificationAlert/>"}, "not_found", "hikvision"),
        ("GET", "/ISAPI/Event/notification/alertStream", {}, "not_found", "hikvision"),
        ("POST", "/hdata.aspx", {"headers": {"request_code": "realtime_glog"}}, "not_found", "fk"),
        ("GET", "/pub/chat", {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}, "not_found", "aiface"),
        ("POST", "/LAPI/V1.0/System/Event/Notification/PersonVerification", {}, "not_found", "uniview"),
        ("POST", "/Subscribe/Verify", {"json": {"operator": "VerifyPush"}}, "not_found", "subscribe"),
        ("GET", "/v1/events", {}, "method_not_allowed", "json"),
        ("GET", "/favicon.ico", {"headers": {"User-Agent": "Mozilla/5.0 (X11) Firefox/130"}}, "not_found", "browser"),
        ("POST", "/x", {"headers": {"User-Agent": "okhttp/3.12.0"}}, "not_found", "android"),
        ("GET", "/wp-login.php", {"headers": {"User-Agent": "Mozilla/5.0"}}, "not_found", "scanner"),
        ("GET", "/health", {"headers": {"User-Agent": "kube-probe/1.30"}}, "not_found", "monitor"),
        ("GET", "/x", {"headers": {"User-Agent": "curl/8.1"}}, "not_found", "program"),
        ("GET", "/x", {"headers": {"User-Agent": ""}}, "not_found", "unknown"),
    ],
)
def test_a_request_that_nobody_serves_is_kept_with_what_most_likely_sent_it(
    bench: Bench, method: str, path: str, options: Any, cause: str, sender: str
) -> None:
    assert knock(bench, method, path, **options) == {"not_found": 404, "method_not_allowed": 405}[cause]
    [kept] = knocks(bench)
    assert (kept.cause, kept.sender, kept.method, kept.client, kept.requests) == (cause, sender, method, "127.0.0.1", 1)
    assert counted(bench, cause, sender)


def test_a_refused_request_is_kept_with_the_device_whose_token_it_has(bench: Bench) -> None:
    bench.post(b"{")
    bench.post(batch(PUNCH), token="wrong-token")
    assert knock(bench, "POST", "/hf/no-such-token", content=b"{}") == 403
    assert {(each.cause, each.status, each.sender, each.device_id) for each in knocks(bench)} == {
        ("unreadable_body", 400, "json", "GATE-1"),
        ("unknown_device", 401, "json", None),
        ("unknown_device", 403, "hfsecurity", None),
    }


def test_a_body_that_is_too_large_is_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_body=1024)
    assert bench.post(batch(*[PUNCH] * 100))[0] == 413
    assert [(each.cause, each.device_id) for each in knocks(bench)] == [("body_too_large", "GATE-1")]


def test_a_serial_number_that_waits_for_approval_is_no_knock_and_is_counted(bench: Bench) -> None:
    knock(bench, "GET", "/iclock/cdata?SN=NEW1&options=all")
    assert (knocks(bench), [each.serial for each in bench.terminals.pending()]) == ([], ["NEW1"])
    assert counted(bench, "unknown_device", "zkteco")


def test_a_call_that_the_protocol_of_a_known_terminal_does_not_have_is_kept(bench: Bench) -> None:
    assert knock(bench, "GET", "/iclock/nonsense?SN=SN1") == 404
    assert [(each.cause, each.path, each.device_id) for each in knocks(bench)] == [
        ("not_found", "/iclock/nonsense?SN", "ADMS-1")
    ]


def test_what_is_no_fault_of_the_sender_is_no_knock(bench: Bench) -> None:
    bench.kafka.away = True
    assert bench.post(batch(PUNCH))[0] == 503
    bench.kafka.away = False
    assert bench.post(batch(PUNCH))[0] == 200
    assert knocks(bench) == []


@pytest.mark.parametrize(
    "token", [TOKEN, SHARED, OLD, PULLED, IN_THE_PATH, "mistyped-token", "Zb3x_9-QqL0aTTe1uYw2", "7"]
)
@pytest.mark.parametrize(
    "path",
    ["/hf/{}", "/hik/{}/", "/HF//{}/nowhere", "/nowhere/{}", "/{}", "/nowhere?{}", "/nowhere?token={}", "/hf/{}?{}=1"],
)
def test_no_token_is_shown_wherever_it_stands(
    bench: Bench, logged: list[Mapping[str, Any]], path: str, token: str
) -> None:
    knock(bench, "DELETE", path.format(*[token] * 2))
    [kept] = knocks(bench)
    assert token not in kept.path
    assert len(logged) == 1
    assert token not in str({name: value for name, value in logged[0].items() if name not in ("status", "client")})


def test_a_path_is_shown_with_the_names_of_its_query_and_no_value(bench: Bench) -> None:
    knock(bench, "GET", "/iclock/other/Other.aspx?SN=ABC1234500017&table=ATTLOG&%00=1")
    assert [each.path for each in knocks(bench)] == ["/iclock/other/Other.aspx?SN&table&***"]


def test_nothing_of_a_path_or_a_user_agent_writes_a_line_of_its_own(
    bench: Bench, logged: list[Mapping[str, Any]]
) -> None:
    knock(bench, "GET", "/a%0Ab%1b[31m/" + "longlong/" * 100, headers={"User-Agent": "x\x7f" + "y" * 1000})
    [kept] = knocks(bench)
    assert kept.path.startswith("/***/longlong/longlong")
    assert (len(kept.path), kept.user_agent) == (120, "x" + "y" * 63)
    assert logged[0]["event"] == "Refused a request."


@given(
    path=st.text(max_size=300) | st.lists(st.sampled_from([TOKEN, "hf", "iclock", "", "x\n"])).map("/".join),
    query=st.binary(max_size=200),
    headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=100)), max_size=5),
    body=st.binary(max_size=500),
)
def test_whatever_is_sent_can_be_noted_and_shows_no_token(
    path: str,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    kept = Knocks()
    knocking = Knocking(kept, Metrics(), [Route("POST", "/hf/{token}")], lambda word: word == TOKEN)
    scope = {"client": ("192.0.2.7", 1), "path": path, "query_string": query + TOKEN.encode(), "headers": headers}
    knocking.note("not_found", scope, 404, body=body)
    knocking.note(broken_head(body)[0], {**scope, "path": body.decode("latin-1")}, 400, body=body)
    for each in kept.all():
        assert each.sender in SENDERS
        assert TOKEN not in each.path
        assert each.path.isprintable()
        assert Knock.decode(each.encode()) == each


def test_of_a_body_that_does_not_come_nobody_waits_for_long(bench: Bench) -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    async def story() -> None:
        status, _ = await call(bench, never, path="/nowhere")
        assert status == 404

    run_in_virtual_time(story())
    assert len(knocks(bench)) == 1


def test_a_running_push_writes_its_knocks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unchanged() -> bool:
        return False

    monkeypatch.setattr(bench.registry, "refreshed", unchanged)

    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            await bench.request("GET", "/nowhere")
            await asyncio.sleep(2 * WRITE_SECONDS)

    run_in_virtual_time(story())
    [written] = [each for each in bench.kafka.records if each.topic == TOPICS["terminals"]]
    assert Knock.decode(written.value).path == "/nowhere"


def test_the_application_shows_the_protocol_where_to_note_what_is_no_http(bench: Bench) -> None:
    assert isinstance(bench.app, PushApp)
    bench.app.knocking.note("broken_head", {"client": ("192.0.2.7", 1)}, 400)
    assert [(each.client, each.cause) for each in knocks(bench)] == [("192.0.2.7", "broken_head")]
