"""Connections that bring what is no HTTP, or more of it than belongs there."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pushing import PUNCH, TOKEN, Bench, batch
from uvicorn.server import ServerState

from attendance.proxies import Proxies
from attendance.records.terminals import Knock
from producers.push.connections import Connections
from producers.push.protocol import SeenHeads, Shared, seen_heads
from virtual_time import run_in_virtual_time

HEAD_SECONDS = 60
MAX_HEAD = 65_536


class Wire(asyncio.Transport):
    """What the server wrote to a terminal, and whether it has closed the connection."""

    def __init__(self, client: str = "192.0.2.7") -> None:
        super().__init__({"peername": (client, 4370), "sockname": ("192.0.2.1", 80)})
        self.written = b""
        self.closed = False
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def shared(bench: Bench, most: int = 100, most_of_one: int = 100) -> Shared:
    room = Connections(most, most_of_one)
    proxies = Proxies(bench.settings.trusted_proxies)
    return Shared(
        bench.settings, bench.app.knocking, room, bench.app.receiving, bench.app.turns, proxies, bench.metrics
    )


def connect(bench: Bench, its: Shared | None = None, client: str = "192.0.2.7") -> tuple[SeenHeads, Wire]:
    protocol, wire = seen_heads(its or shared(bench)), Wire(client)
    config = uvicorn.Config(bench.app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False)
    connection = protocol(config, ServerState(), {})
    connection.connection_made(wire)
    return connection, wire


def exchange(bench: Bench, *chunks: bytes) -> Wire:
    """Send chunks over one connection, and return when the server has done with them."""

    async def story() -> Wire:
        connection, wire = connect(bench)
        for chunk in chunks:
            connection.data_received(chunk)
        await asyncio.gather(*connection.tasks)
        connection.connection_lost(None)
        return wire

    return asyncio.run(story())


def knocks(bench: Bench) -> list[Knock]:
    return bench.terminals.knocks.all()


def post(body: bytes, length: int | None = None) -> bytes:
    head = f"POST /v1/events HTTP/1.1\r\nHost: push\r\nX-Device-Token: {TOKEN}\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("sent", "cause", "sender", "path"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "tls", "unknown", ""),
        (b"PP\x82\x7d\x08\x00\x00\x00\xe8\x03\x17\xfc\x00\x00\x00\x00", "broken_head", "zkteco", ""),
        (b"SSH-2.0-Go\r\n", "broken_head", "scanner", ""),
        (b"\x10\xff\x00", "broken_head", "unknown", ""),
        (
            b"GET /iclock/cdata?SN=SN1&table=ATTLOG Stamp=7 HTTP/1.1\r\n",
            "broken_head",
            "zkteco",
            "/iclock/cdata?SN&table",
        ),
        (b"GET /hf/secret-token-1 FTP/1.1\r\n\r\n", "broken_head", "hfsecurity", "/hf/***"),
        ("GET /Größe HTTP/1.1\r\n\r\n".encode(), "broken_head", "unknown", "/***"),
        (b"GET http://[broken/iclock/ping HTTP/1.1\r\n\r\n", "broken_head", "zkteco", None),
        (b"GET /v1/events HTTP/1.1\r\nbad header\r\n\r\n", "broken_head", "json", "/v1/events"),
        (b"POST /v1/events HTTP/1.1\r\nContent-Length: many\r\n\r\n", "broken_head", "json", "/v1/events"),
        (b"CONNECT push:443 HTTP/1.1\r\n\r\n", "broken_head", "unknown", None),
    ],
)
def test_what_is_no_http_is_answered_400_and_kept(
    bench: Bench, sent: bytes, cause: str, sender: str, path: str | None
) -> None:
    wire = exchange(bench, sent)
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert wire.closed
    [kept] = knocks(bench)
    assert (kept.cause, kept.sender, kept.client, kept.status) == (cause, sender, "192.0.2.7", 400)
    assert path in (kept.path, None)
    assert "secret-token" not in kept.path
    assert f'cause="{cause}",sender="{sender}"' in bench.exposition()


def test_http_2_without_an_upgrade_is_refused_in_words(bench: Bench) -> None:
    wire = exchange(bench, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert wire.written.startswith(b"HTTP/1.1 505 ")
    assert b"speaks HTTP/1.1" in wire.written
    assert [(each.cause, each.status) for each in knocks(bench)] == [("broken_head", 505)]


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0, h2c", "anything"])
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_an_offered_upgrade_is_passed_over(bench: Bench, protocol: str, size: int) -> None:
    offer = b"Host: push\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol.encode()
    request = post(batch(PUNCH)).replace(b"Host: push", offer)
    wire = exchange(bench, *(request[index : index + size] for index in range(0, len(request), size)), request)
    assert wire.written.count(b"HTTP/1.1 200 ") == 2
    assert [event.device_user_id for event in bench.kafka.events()] == ["1042"] * 2
    assert knocks(bench) == []


def test_a_head_that_comes_in_pieces_is_a_head(bench: Bench) -> None:
    request = post(batch(PUNCH))
    wire = exchange(bench, *(request[index : index + 1] for index in range(len(request))))
    assert wire.written.startswith(b"HTTP/1.1 200 ")
    assert knocks(bench) == []


@pytest.mark.parametrize("begin", [b"GET /iclock/ping HTTP/1.1\r\nX: ", b"GET /iclock/ping?SN=", b"\r\n\r\n"])
def test_a_head_without_end_is_refused_before_it_fills_memory(bench: Bench, begin: bytes) -> None:
    chunk = (begin[-1:] if begin.isspace() else b"x") * 8192
    wire = exchange(bench, begin, *[chunk] * (MAX_HEAD // 8192 + 3))
    assert wire.written.startswith(b"HTTP/1.1 431 ")
    assert wire.closed
    assert [(each.cause, each.requests) for each in knocks(bench)] == [("head_too_large", 1)]


def test_a_long_body_is_no_long_head(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    body = batch(*[PUNCH] * 2000)
    assert len(body) > MAX_HEAD
    request = post(body)
    wire = exchange(bench, *(request[index : index + 4096] for index in range(0, len(request), 4096)))
    assert wire.written.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("surplus", [b"\x00", b"}", b"\xff\xff rubbish"])
def test_what_follows_a_whole_request_does_not_take_its_answer_away(bench: Bench, surplus: bytes) -> None:
    wire = exchange(bench, post(batch(PUNCH)) + surplus, b"more of it")
    assert wire.written.startswith(b"HTTP/1.1 200 ")
    assert wire.written.count(b"HTTP/1.1 ") == 1
    assert wire.closed
    assert len(bench.kafka.events()) == 1
    assert [(each.cause, each.requests) for each in knocks(bench)] == [("broken_head", 1)]


def test_a_line_end_after_a_request_is_nothing(bench: Bench) -> None:
    wire = exchange(bench, post(batch(PUNCH)) + b"\r\n", post(batch(PUNCH)))
    assert wire.written.count(b"HTTP/1.1 200 ") == 2
    assert knocks(bench) == []


@pytest.mark.parametrize(("sent", "cause"), [(b"GET /iclock/ping?SN=SN1 HTTP/1.1\r\nHo", "head_too_slow"), (b"", None)])
def test_a_connection_on_which_no_head_comes_is_closed(bench: Bench, sent: bytes, cause: str | None) -> None:
    async def story() -> Wire:
        connection, wire = connect(bench)
        if sent:
            connection.data_received(post(batch(PUNCH)))
            await asyncio.sleep(1)
            connection.data_received(sent)
            connection.data_received(b"st")
        await asyncio.sleep(HEAD_SECONDS - 1)
        assert not wire.closed
        await asyncio.sleep(2)
        return wire

    wire = run_in_virtual_time(story())
    assert wire.closed
    assert [each.cause for each in knocks(bench)] == ([cause] if cause else [])
    assert (b"HTTP/1.1 408 Request Timeout\r\n" in wire.written) == bool(cause)


def test_a_body_may_take_longer_than_a_head(tmp_path: Path) -> None:
    bench = Bench(tmp_path, body_timeout=3 * HEAD_SECONDS)

    async def story() -> Wire:
        connection, wire = connect(bench)
        request = post(batch(PUNCH))
        connection.data_received(request[:-1])
        await asyncio.sleep(2 * HEAD_SECONDS)
        connection.data_received(request[-1:])
        await asyncio.sleep(1)
        return wire

    assert run_in_virtual_time(story()).written.startswith(b"HTTP/1.1 200 ")


def test_nobody_fills_the_log_with_what_is_no_http(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            exchange(bench, b"\x00")
            exchange(bench, b"GET /healthz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


HALF = b"POST /v1/events HTTP/1.1\r\nHost: pu"


def test_where_there_is_no_room_the_oldest_silent_connection_is_closed(bench: Bench) -> None:
    async def story() -> tuple[Wire, Wire, Wire, Wire]:
        its = shared(bench, most=3)
        idle = connect(bench, its)[1]
        half, half_wire = connect(bench, its)
        half.data_received(HALF)
        body, body_wire = connect(bench, its)
        body.data_received(post(batch(PUNCH))[:-1])
        await asyncio.sleep(0)
        for _ in range(3):
            last, last_wire = connect(bench, its, "192.0.2.8")
            last.data_received(post(batch(PUNCH)))
        await asyncio.gather(*last.tasks, *body.tasks)
        return idle, half_wire, body_wire, last_wire

    idle, half, body, served = asyncio.run(story())
    assert (idle.closed, idle.written) == (True, b"")
    assert half.closed
    assert half.written.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5\r\n" in half.written
    assert body.closed
    assert body.written.count(b"HTTP/1.1 503 ") == body.written.count(b"HTTP/1.1 ") == 1
    assert served.written.startswith(b"HTTP/1.1 200 ")
    for cause in ("idle", "head", "body"):
        assert f'punchstream_connections_closed_total{{cause="{cause}"}} 1.0' in bench.exposition()


def test_where_everybody_is_being_answered_one_more_is_asked_to_come_again(bench: Bench) -> None:
    async def story() -> tuple[Wire, Wire]:
        its = shared(bench, most=1)
        bench.kafka.release = asyncio.Event()
        first, first_wire = connect(bench, its)
        first.data_received(post(batch(PUNCH)))
        refused = connect(bench, its)[1]
        bench.kafka.release.set()
        await asyncio.gather(*first.tasks)
        return first_wire, refused

    first, refused = asyncio.run(story())
    assert first.written.startswith(b"HTTP/1.1 200 ")
    assert refused.written.startswith(b"HTTP/1.1 503 ")
    assert refused.closed


@pytest.mark.parametrize(("proxies", "client"), [((), "192.0.2.7"), (("192.0.2.0/24",), "203.0.113.9")])
def test_only_a_proxy_that_is_named_says_whom_a_request_is_from(
    tmp_path: Path, proxies: tuple[str, ...], client: str
) -> None:
    bench = Bench(tmp_path, trusted_proxies=proxies)
    exchange(bench, b"GET /nothing HTTP/1.1\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n\r\n")
    assert [each.client for each in knocks(bench)] == [client]


def test_whoever_reads_no_answers_is_given_up(bench: Bench) -> None:
    async def story() -> list[bool]:
        connection, wire = connect(bench)
        connection.pause_writing()
        connection.resume_writing()
        await asyncio.sleep(100)
        reads = wire.aborted
        connection.pause_writing()
        await asyncio.sleep(31)
        return [reads, wire.aborted]

    assert run_in_virtual_time(story()) == [False, True]


def test_the_body_of_an_answered_request_is_passed_over_for_a_while(bench: Bench) -> None:
    async def story() -> tuple[Wire, bool]:
        connection, wire = connect(bench)
        request = post(batch(PUNCH), length=10_000).replace(TOKEN.encode(), b"nobody")
        connection.data_received(request)
        await asyncio.sleep(1)
        closed = wire.closed
        for _ in range(60):
            connection.data_received(b" ")
            await asyncio.sleep(1)
        return wire, closed

    wire, closed = run_in_virtual_time(story())
    assert wire.written.startswith(b"HTTP/1.1 401 ")
    assert (closed, wire.closed) == (False, True)


@pytest.mark.parametrize("begins", ["", "0\r\n", "1"])
def test_what_stands_around_a_body_is_bounded(bench: Bench, begins: str) -> None:
    head = f"POST /v1/events HTTP/1.1\r\nX-Device-Token: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n{begins}"
    more = {"": b"1;%b\r\nx\r\n" % (b"y" * 4000), "0\r\n": b"a: %b\r\n" % (b"y" * 4000), "1": b";" + b"y" * 4000}
    wire = exchange(bench, head.encode(), *[more[begins]] * 20)
    assert wire.written.startswith(b"HTTP/1.1 431 ")
    assert wire.closed
    wire = exchange(bench, *post(batch(*[PUNCH] * 50)).partition(b"\r\n\r\n"))
    assert wire.written.startswith(b"HTTP/1.1 200 ")


def test_more_requests_than_belong_there_get_the_answers_that_they_were_promised(bench: Bench) -> None:
    wire = exchange(bench, b"GET /healthz HTTP/1.1\r\n\r\n" * 5000)
    assert 1 < wire.written.count(b"HTTP/1.1 200 ") <= 17
    assert wire.closed
