"""`python -m bench.site --port N`: the ERPNext stand-in as slow as a real one.

Modelled on a site of two cores with frappe 15, hrms 15 and MariaDB, on which were measured, in documents a second:
created one by one 17 to 22, by 8 threads 32 to 33, and by insert_many, whatever the number of threads, 63 to 77. So a
request takes a core for `REQUEST_SECONDS`, and its documents take `DOCUMENT_SECONDS` each, under a lock that all
requests share: the row from which documents get their names.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import orjson
import uvicorn

from sandbox.erpnext.app import create_app
from sandbox.erpnext.doctypes import CHECKIN, EMPLOYEE
from sandbox.erpnext.site import Site

CORES: Final = 2
REQUEST_SECONDS: Final = 0.037
DOCUMENT_SECONDS: Final = 0.014
ADD_LOG: Final = "/api/method/hrms.hr.doctype.employee_checkin.employee_checkin.add_log_based_on_employee_field"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Slow:
    """The stand-in behind a clock. It also knows the method that the usual sync tool calls."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._app = create_app(site)
        self._cores = asyncio.Semaphore(CORES)
        self._names = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, after as long as ERPNext would take."""
        if not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        content = orjson.loads(body) if body else {}
        if scope["path"] == ADD_LOG:
            scope = {**scope, "path": f"/api/resource/{CHECKIN}", "raw_path": b"/api/resource/Employee%20Checkin"}
            content = self._checkin(content)

        async def replay() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": orjson.dumps(content), "more_body": False}

        documents = len(content.get("docs", ())) or int(scope["path"].startswith(f"/api/resource/{CHECKIN}"))
        async with self._cores:
            await asyncio.sleep(REQUEST_SECONDS)
            if not documents:
                await self._app(scope, replay, send)
                return
            async with self._names:
                await asyncio.sleep(DOCUMENT_SECONDS * documents)
                await self._app(scope, replay, send)

    def _checkin(self, log: dict[str, Any]) -> dict[str, Any]:
        user = log["employee_field_value"]
        employee = next(row for row in self._site.rows(EMPLOYEE) if row["attendance_device_id"] == user)
        return {
            "doctype": CHECKIN,
            "employee": employee["name"],
            "time": log["timestamp"],
            "device_id": log["device_id"],
            "log_type": log["log_type"],
        }


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.site")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    site = Site(time_zone="UTC", journal=None, url=f"http://127.0.0.1:{port}")
    uvicorn.run(Slow(site), host="127.0.0.1", port=port, lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
