"""HTTP as uvicorn speaks it, where a head that cannot be read is seen, and nothing is received without end.

Who sends half of something, or nothing, or does not read its answers, costs a bounded room for a bounded time, and
gives it up where others need it.
"""

import asyncio
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from attendance.errors import Overloaded
from attendance.logs import Seldom
from attendance.metrics import Metrics
from attendance.proxies import Proxies
from attendance.settings import PushSettings
from producers.knocks import BROKEN_HEAD, HEAD_TOO_LARGE, HEAD_TOO_SLOW
from producers.push.connections import Connections, Seat
from producers.push.knocking import Knocking
from producers.push.receiving import Receiving, Share
from producers.push.senders import broken_head
from producers.push.turns import Turns

log = structlog.get_logger(__name__)

MOST_HEADERS: Final = 128
"""A terminal sends ten, and a proxy adds a few. Each costs far more memory than it has bytes."""
MOST_PIPELINED: Final = 16
"""Requests that may be sent before the answer to the first. No terminal is known to send two."""
FRAMING: Final = 8
"""So many times as many bytes as a body may stand around it, as where each byte is a chunk of its own."""

_LINE: Final = re.compile(rb"([A-Za-z]{1,16}) +([^\s?]*)")
_REFUSAL: Final = "HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n%s\r\n%s"
_NO_HTTP: Final = "Invalid HTTP request received."
_HTTP_2: Final = b"PRI * HTTP/2.0"
_ONLY_HTTP_1: Final = "HTTP/2 without an upgrade, and this port speaks HTTP/1.1 only"
_MAPPED: Final = "::ffff:"


class _TooManyAtOnce(Exception):
    """Too many requests came before the answer to the first."""


@dataclass(frozen=True)
class Shared:
    """What all connections share.

    Attributes:
        settings: The limits of one connection.
        knocking: Where the heads that cannot be read are noted.
        connections: The room for connections.
        receiving: The room for heads that are not whole.
        turns: Told who connects.
        proxies: Those that are believed.
        metrics: Where connections that gave up their room are counted.
        seldom: Where that is logged.
    """

    settings: PushSettings
    knocking: Knocking
    connections: Connections
    receiving: Receiving
    turns: Turns
    proxies: Proxies
    metrics: Metrics
    seldom: Seldom = field(default_factory=Seldom)


class SeenHeads(HttpToolsProtocol):
    """One connection. A subclass has what all of them share."""

    shared: Shared

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._data = b""
        # Of the request that is being received; whole is also what has not begun.
        self._is_whole = True
        self._in_head = False
        self._came = 0
        self._ended = False
        self._body_bytes = 0
        self._offers_upgrade = False
        self._share: Share | None = None
        self._broken = False
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._seat: Seat | None = None
        self._is_proxy = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self.shared.turns.connected()
        if self.client is not None and self.client[0].startswith(_MAPPED):
            self.client = (self.client[0].removeprefix(_MAPPED), self.client[1])
        self._is_proxy = self.shared.proxies.are_at(self._address)
        self._seat = self.shared.connections.take(self._address, self._give_up, shared=self._is_proxy)
        if self._seat is None:
            self._broken = True
            self._say_closed("refused")
            self._ask_again("too many connections are open")
            return
        self._wait(self.shared.settings.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_waiting()
        if self._reading is not None:
            self._reading.cancel()
        self._release_head()
        if self._seat is not None:
            self._seat.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what arrived."""
        if self._broken:
            return
        self._unset_keepalive_if_required()
        self._data, self._ended = data, False
        if not self._feed(data):
            self._stop_waiting()
            self._release_head()
            return
        self._came += len(data)
        if not self._is_whole and self._in_head:
            self._wait(self.shared.settings.head_timeout)
            self._count_head(len(data))
        elif not self._is_whole:
            self._count_framing()
        else:
            self._stop_waiting()
            if not self._is_answering:
                # A line end between two requests: it is no head, and yet somebody waits.
                self._wait(self.shared.settings.head_timeout)
                self._count_head(0)
        self._sit()

    def on_message_begin(self) -> None:
        """A head begins."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _TooManyAtOnce
        # What is before it in these bytes is no part of it.
        self._is_whole, self._in_head, self._came = False, True, -len(self._data) if self._ended else 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._in_head = False
        self._stop_waiting()
        if self._share is not None:
            self._release_head()
        # What stands around the body is counted from the next bytes on.
        self._came, self._body_bytes = -len(self._data), 0
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            # The parser would take the body for the other protocol. `_feed` gives it the head again without the offer.
            self._offers_upgrade = True
            return
        if self._is_proxy:
            self.scope["client"] = (self.shared.proxies.client(self._address, self.headers), 0)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is there."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there."""
        if not self._offers_upgrade:
            self._is_whole, self._ended, self._came = True, True, -len(self._data)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request has its answer."""
        super().on_response_complete()
        if not self._is_whole and not self._in_head and not self._is_answering:
            # The rest of its body is passed over. Were the connection closed now, the answer might not arrive.
            self._wait(self.shared.settings.body_timeout)
        self._sit()

    def pause_writing(self) -> None:
        """The client does not read its answers."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.shared.settings.body_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, after the answer to the request that it follows."""
        self._broken = True
        if self._data.startswith(_HTTP_2):
            self._note(BROKEN_HEAD, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, None, _ONLY_HTTP_1)
            self._answer(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, _ONLY_HTTP_1)
            return
        cause, sender, why = broken_head(self._data)
        before = self.cycle
        if before is not None and not before.more_body and not before.response_complete:
            # More came than Content-Length says. The request is whole; were its answer lost, it would come for ever.
            why = "it follows a request whose Content-Length is too small, or which it does not belong to"
            if len(self.pipeline) >= MOST_PIPELINED:
                why = f"more than {MOST_PIPELINED} requests came before the answer to the first"
            before.keep_alive = False
            self._note(cause, 0, sender, why)
            return
        self._note(cause, 400, sender, why)
        super().send_400_response(msg)

    @property
    def _address(self) -> str:
        return self.client[0] if self.client is not None else ""

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _feed(self, data: bytes) -> bool:
        """Have bytes read. Returns whether more may be read."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as behind:
                if not self._offers_upgrade:
                    self.send_400_response(_NO_HTTP)
                    return False
                self._offers_upgrade = False
                data = self._plain_head() + data[behind.args[0] :]
                self.parser = _new_parser(self)
            except httptools.HttpParserError:
                self.send_400_response(_NO_HTTP)
                return False
            else:
                return True

    def _plain_head(self) -> bytes:
        """The head that was just read, without the offer of another protocol."""
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _count_head(self, size: int) -> None:
        """Hold so many bytes more of a head, and refuse one that is too large."""
        most = self.shared.settings.max_head
        if self._came > most or (size and len(self.headers) > MOST_HEADERS):
            why = f"more than {most} bytes or {MOST_HEADERS} lines of headers"
            self._refuse(HEAD_TOO_LARGE, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, why)
            return
        if size:
            if self._share is None:
                self._share = self.shared.receiving.begin(self._address)
                self._share.interrupt = self._give_up
            try:
                self._share.take(size)
            except Overloaded:
                self._give_up()

    def _count_framing(self) -> None:
        """Refuse a body around which far more is sent than it has."""
        most = self.shared.settings.max_head + FRAMING * self._body_bytes
        if self._came - self._body_bytes > most or len(self.headers) > 2 * MOST_HEADERS:
            why = "more stands around its body than belongs there"
            self._refuse(HEAD_TOO_LARGE, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, why)

    def _sit(self) -> None:
        """Tell whether push waits for this connection, which then may have to give up its room."""
        if self._seat is None:
            return
        if not self._is_answering:
            if self._is_whole or self._in_head:
                self._seat.waits()
            else:
                self._seat.receives()
        elif self._is_whole or self._in_head or self.pipeline:
            self._seat.works()
        else:
            self._seat.receives()

    def _give_up(self) -> None:
        """Close the connection, so that others have its room."""
        if self._is_whole and not self._is_answering:
            self._broken = True
            self._say_closed("idle")
            self.transport.close()
        else:
            self._say_closed("head" if self._in_head else "body")
            self._broken = True
            self._ask_again("others need the room")

    def _wait(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_late(self) -> None:
        self._timer = None
        if self._is_whole or not self._in_head:
            self.transport.close()
        else:
            seconds = self.shared.settings.head_timeout
            self._refuse(HEAD_TOO_SLOW, HTTPStatus.REQUEST_TIMEOUT, f"no whole head within {seconds:g} s")

    def _release_head(self) -> None:
        if self._share is not None:
            self._share.release()
            self._share = None

    def _refuse(self, cause: str, status: HTTPStatus, why: str) -> None:
        self._broken = True
        self._note(cause, status, None, why)
        self._answer(status, why)

    def _ask_again(self, why: str) -> None:
        retry = f"retry-after: {self.shared.settings.retry_after}\r\n"
        self._answer(HTTPStatus.SERVICE_UNAVAILABLE, why, retry)

    def _answer(self, status: HTTPStatus, why: str, headers: str = "") -> None:
        """Write the last answer of this connection, unless another one is still to be written or was begun."""
        self._stop_waiting()
        self._release_head()
        if self._is_answering:
            if self._in_head or self.pipeline:
                # It is about what follows a whole request, whose answer must not be lost.
                self.cycle.keep_alive = False
                return
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write((_REFUSAL % (status, status.phrase, len(why), headers, why)).encode())
        self.transport.close()

    def _say_closed(self, cause: str) -> None:
        self.shared.metrics.count("punchstream_connections_closed_total", cause=cause)
        self.shared.seldom.say(
            cause,
            log.warning,
            "Closed a connection to make room for others.",
            cause=cause,
            client=self._address,
            connections=len(self.shared.connections),
        )

    def _note(self, cause: str, status: int, sender: str | None, why: str) -> None:
        url = getattr(self, "url", b"")
        line = _LINE.match(self._data)
        path, _, query = (url or (line[2] if line else b"")).partition(b"?")
        scope = {
            "client": self.client,
            "method": line[1].decode("latin-1") if line else "",
            "path": path.decode("latin-1"),
            "query_string": query,
            "headers": self.headers or (),
        }
        known = None if sender == "unknown" else sender
        self.shared.knocking.note(cause, scope, int(status), why=why, body=self._data, sender=known)


def _new_parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    # As uvicorn has it: what follows a request that closes is no fault of the request.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def seen_heads(shared: Shared) -> type[SeenHeads]:
    """The protocol for uvicorn.

    Args:
        shared: What all connections share.
    """
    return type("SeenHeads", (SeenHeads,), {"shared": shared})
