"""HTTP as uvicorn speaks it, where a head that cannot be read is seen, and none is read without end."""

import asyncio
import re
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from producers.knocks import BROKEN_HEAD, HEAD_TOO_LARGE, HEAD_TOO_SLOW
from producers.push.knocking import Knocking
from producers.push.senders import broken_head

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request line and headers, about. The longest that a terminal sends are a few hundred."""

HEAD_SECONDS: Final = 60.0
"""How long a head may take. A terminal that lost its power in the middle of one never closes its connection."""

_LINE: Final = re.compile(rb"([A-Za-z]{1,16}) +([^\s?]*)")
_REFUSAL: Final = "HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
_NO_HTTP: Final = "Invalid HTTP request received."
_HTTP_2: Final = b"PRI * HTTP/2.0"
_ONLY_HTTP_1: Final = "HTTP/2 without an upgrade, and this port speaks HTTP/1.1 only"


class SeenHeads(HttpToolsProtocol):
    """One connection. A subclass has `knocking`, where the heads that cannot be read are noted."""

    knocking: Knocking

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._data = b""
        self._in_head = True
        self._head_bytes = 0
        self._broken = False
        self._offers_upgrade = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what arrived."""
        if self._broken:
            return
        self._unset_keepalive_if_required()
        self._data = data
        self._feed(data)
        if self._broken or not self._in_head:
            self._stop_waiting()
            return
        self._wait_for_head()
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD:
            why = f"more than {MAX_HEAD} bytes of headers"
            self._refuse(HEAD_TOO_LARGE, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, why)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._in_head = False
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            # The parser would take the body for the other protocol. `_feed` gives it the head again without the offer.
            self._offers_upgrade = True
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is there."""
        if not self._offers_upgrade:
            super().on_message_complete()

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
            before.keep_alive = False
            self._note(cause, 0, sender, why)
            return
        self._note(cause, 400, sender, why)
        super().send_400_response(msg)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as behind:
                if not self._offers_upgrade:
                    self.send_400_response(_NO_HTTP)
                    return
                self._offers_upgrade = False
                data = self._plain_head() + data[behind.args[0] :]
                self.parser = _new_parser(self)
            except httptools.HttpParserError:
                self.send_400_response(_NO_HTTP)
                return
            else:
                return

    def _plain_head(self) -> bytes:
        """The head that was just read, without the offer of another protocol."""
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        self._timer = None
        if self._head_bytes:
            self._refuse(HEAD_TOO_SLOW, HTTPStatus.REQUEST_TIMEOUT, f"no whole head within {HEAD_SECONDS:g} s")
        else:
            self.transport.close()

    def _refuse(self, cause: str, status: HTTPStatus, why: str) -> None:
        self._broken = True
        self._stop_waiting()
        self._note(cause, status, None, why)
        self._answer(status, why)

    def _answer(self, status: HTTPStatus, why: str) -> None:
        self.transport.write((_REFUSAL % (status, status.phrase, len(why), why)).encode())
        self.transport.close()

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
        self.knocking.note(cause, scope, status, why=why, body=self._data, sender=known)


def _new_parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    # As uvicorn has it: what follows a request that closes is no fault of the request.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def seen_heads(knocking: Knocking) -> type[SeenHeads]:
    """The protocol for uvicorn.

    Args:
        knocking: Where the heads that cannot be read are noted.
    """
    return type("SeenHeads", (SeenHeads,), {"knocking": knocking})
