"""Devices that punch nothing and are there all the same: a fleet of thousands is mostly silent at any moment."""

import asyncio
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from types import TracebackType
from typing import Any, Self

import httpx

from attendance.fleet import hash_token

TOKEN = "of-all-bystanders"
SITE = "bystanders"
SHIFT = "Bystanders"
ASKED_PART = 0.1  # of the devices; the others push
INTERVAL = 20  # seconds between two questions to one device
HEARTBEATS = 20  # a second


class Bystanders:
    """Devices, some of which say that they live, and the others of which are asked and have nothing new."""

    def __init__(self, devices: int) -> None:
        """Nobody is there yet.

        Args:
            devices: How many.
        """
        names = [f"bystander-{number:04}" for number in range(devices)]
        asked = round(devices * ASKED_PART)
        self._asked, self._pushing = names[:asked], names[asked:]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bystanders", daemon=True)
        self._server: asyncio.Server | None = None
        self._heartbeats: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(asyncio.start_server(_answer, "127.0.0.1", 0, backlog=1024))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def end() -> None:
            if self._heartbeats is not None:
                self._heartbeats.cancel()
                await asyncio.wait({self._heartbeats})

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def fleet(self, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The fleet file with these devices beside others. All belong to shifts, one of which becomes Attendance."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        common = {"site": SITE, "timezone": "Asia/Riyadh"}
        options = {"path": "/", "records": "rows", "fields": {"user": "user", "time": "time", "sequence": "id"}}
        options |= {"query": {"after": "{cursor}"}, "cursor": {"by": "number", "overlap": 0}}
        asked = {"mode": "pull", "adapter": "rest", "host": "127.0.0.1", "port": port, "interval": INTERVAL}
        devices = [{"device_id": name, **common, **asked, "options": options} for name in self._asked]
        devices += [{"device_id": name, **common, "token_sha256": hash_token(TOKEN)} for name in self._pushing]
        shifts = [
            {"shift_type": SHIFT, "sites": [SITE], "attendance": "direct"},
            {"shift_type": "Day", "devices": [each["device_id"] for each in others]},
        ]
        return {"devices": [*others, *devices], "shifts": shifts}

    def live(self, doors: Sequence[int]) -> None:
        """Begin to send heartbeats to these ports of push processes."""

        async def begin() -> None:
            self._heartbeats = asyncio.create_task(self._live(doors))

        self._call(begin())

    async def _live(self, doors: Sequence[int]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            for name, door in zip(cycle(self._pushing), cycle(doors), strict=False):
                with suppress(httpx.HTTPError):  # one that got no answer says so again in its turn
                    await http.post(
                        f"http://127.0.0.1:{door}/v1/heartbeat",
                        headers={"X-Device-Token": TOKEN},
                        json={"device_id": name, "pending": 0},
                    )
                await asyncio.sleep(1 / HEARTBEATS)

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        content = json.dumps({"rows": []}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + content)
        await writer.drain()
    writer.close()
