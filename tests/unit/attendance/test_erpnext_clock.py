"""ERPNext's clock, read from whatever it answers."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from attendance import erpnext_clock as module
from attendance.erpnext_clock import erpnext_clock
from attendance.server_clock import Clock
from attendance.settings import ErpnextSettings


class Site:
    """An ERPNext that answers anything with a date."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response_only(403)
                self.send_header("Date", format_datetime(datetime.now(UTC) + site.ahead, usegmt=True))
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def read(url: str) -> Clock | None:
    settings = ErpnextSettings(url=url, api_key="key", api_secret="secret", timeout=5, _env_file=None)
    return asyncio.run(erpnext_clock(settings)())


@pytest.mark.parametrize("ahead", [timedelta(), timedelta(hours=1), timedelta(hours=-1)])
def test_the_clock_of_erpnext_is_the_date_of_its_answers_whatever_they_are(
    monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    site = Site()
    site.ahead = ahead
    assert read(site.url) is None, "it is on this machine"

    async def elsewhere(_host: str) -> bool:
        return False

    monkeypatch.setattr(module, "is_here", elsewhere)
    try:
        found = read(site.url)
    finally:
        site.stop()
    assert found is not None
    assert not Clock("", found.ahead - ahead.total_seconds(), found.uncertainty).is_off(0.1)
    assert read(site.url) is None, "it does not answer"
