"""`python -m sandbox.erpnext --port N`: the stand-in on 127.0.0.1."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.erpnext.app import CLOSE_CONNECTION, create_app
from sandbox.erpnext.doctypes import EMPLOYEE
from sandbox.erpnext.knobs import Knobs
from sandbox.erpnext.query import Row
from sandbox.erpnext.site import Site

FIRST_DEVICE_USER = 1001


class ClosingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with the means to close a connection without an answer."""

    def on_message_begin(self) -> None:
        """A request begins, and its scope is made."""
        super().on_message_begin()
        self.scope["extensions"] = {CLOSE_CONNECTION: {"close": self._close}}

    def _close(self) -> None:
        self.transport.close()
        # Tells uvicorn not to answer 500 for the application that did not.
        self.cycle.disconnected = True


def sample_employees(count: int) -> Iterator[Row]:
    """As many active employees on the day shift, with the users 1001, 1002 and so on of their terminals."""
    for number in range(count):
        yield {
            "name": f"HR-EMP-{number + 1:05}",
            "attendance_device_id": str(FIRST_DEVICE_USER + number),
            "default_shift": "Day Shift",
        }


@contextmanager
def open_site(arguments: argparse.Namespace) -> Iterator[Site]:
    """The site of these arguments; a journal that holds employees is taken as it is."""
    site = Site(time_zone=arguments.time_zone, journal=arguments.journal, url=f"http://127.0.0.1:{arguments.port}")
    try:
        if not any(site.rows(EMPLOYEE)):
            site.put_employees(sample_employees(arguments.employees))
        yield site
    finally:
        site.close()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.erpnext", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--employees", type=int, default=300, help="sample employees to begin with (%(default)s)")
    parser.add_argument("--time-zone", default="Asia/Riyadh", help="the site's IANA zone (%(default)s)")
    parser.add_argument("--latency-ms", type=float, default=0, help="before each request (%(default)s)")
    parser.add_argument("--latency-per-document-ms", type=float, default=0, help="for each insert (%(default)s)")
    parser.add_argument("--journal", type=Path, help="a file that keeps what is committed, for the next start")
    arguments = parser.parse_args()
    knobs = Knobs(latency_ms=arguments.latency_ms, latency_per_document_ms=arguments.latency_per_document_ms)
    with open_site(arguments) as site:
        uvicorn.run(
            create_app(site, knobs),
            host="127.0.0.1",
            port=arguments.port,
            http=ClosingProtocol,
            lifespan="off",
            access_log=False,
            log_level="warning",
            # An answer that is being held back is no reason to stay.
            timeout_graceful_shutdown=1,
        )


if __name__ == "__main__":
    main()
