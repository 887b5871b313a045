"""HTTP as uvicorn speaks it, where a head that cannot be read is seen, and none is read without end."""

import logging
import re
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from producers.knocks import HEAD_TOO_LARGE
from producers.push.knocking import Knocking
from producers.push.senders import broken_head

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request line and headers, about. The longest that a terminal sends are a few hundred."""

_LINE: Final = re.compile(rb"([A-Za-z]{1,16}) +([^\s?]*)")
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
# Both are knocks here, once a minute, and whoever sends them could fill a log with them.
_NOT_LOGGED: Final = ("Invalid HTTP request received.", "Unsupported upgrade request.")


class SeenHeads(HttpToolsProtocol):
    """One connection. A subclass has `knocking`, where the heads that cannot be read are noted."""

    knocking: Knocking

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._data = b""
        self._in_head = True
        self._head_bytes = 0
        self._broken = False

    def data_received(self, data: bytes) -> None:
        """Take in what arrived."""
        if self._broken:
            return
        self._data = data
        super().data_received(data)
        if self._in_head and not self._broken:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._broken = True
                self._note(HEAD_TOO_LARGE, 431, None, f"more than {MAX_HEAD} bytes of headers")
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, after the answer to the request that it follows."""
        self._broken = True
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


def seen_heads(knocking: Knocking) -> type[SeenHeads]:
    """The protocol for uvicorn.

    Args:
        knocking: Where the heads that cannot be read are noted.
    """
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg not in _NOT_LOGGED)
    return type("SeenHeads", (SeenHeads,), {"knocking": knocking})
