"""Fleets of pulled devices that note when they were asked. One server on 127.0.0.1 answers for all of one fleet."""

import asyncio
import base64
import json
import random
import re
import socket
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

BACKLOG: Final = 4096
ANSWER_SECONDS: Final = 0.05
NEW_PART: Final = 0.1
"""Of the answers, that have a new punch in them."""
_HEADERS: Final = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length"
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BASIC: Final = re.compile(rb"authorization: *basic (\S+)", re.IGNORECASE)


class Fleet(ABC):
    """Devices that note when they were asked for punches.

    Half of the dead ones refuse connections; the other half take one and say nothing.
    """

    def __init__(self, devices: int, dead: int, seed: int) -> None:
        self.names = [f"device-{number:05}" for number in range(devices)]
        self.asked: dict[str, list[float]] = defaultdict(list)
        self._random = random.Random(seed)
        self._dead = set(self._random.sample(self.names, dead))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[int, int]]:
        """Serve on two ports of 127.0.0.1 while entered; at the second one nobody answers."""
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as silent:
            async with await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=BACKLOG) as server:
                yield server.sockets[0].getsockname()[1], silent.getsockname()[1]

    def registry(self, port: int, silent: int, refusing: int, interval: int) -> list[dict[str, Any]]:
        """The entries of the fleet file."""
        ports = dict.fromkeys(self.names, port)
        ports |= {name: (silent, refusing)[number % 2] for number, name in enumerate(sorted(self._dead))}
        return [
            {
                "device_id": name,
                "site": f"site-{number % 20}",
                "timezone": "UTC",
                "mode": "pull",
                "host": "127.0.0.1",
                "port": ports[name],
                "interval": interval,
                **self.entry(name),
            }
            for number, name in enumerate(self.names)
        ]

    def environment(self) -> dict[str, str]:
        """What the credentials of the entries name."""
        return {}

    @property
    def live(self) -> int:
        """Devices that answer."""
        return len(self.names) - len(self._dead)

    def gaps(self, since: float) -> list[float]:
        """Seconds between two times that a live device was asked, of those after a moment."""
        return [after - before for times in self.asked.values() for before, after in pairwise(times) if before >= since]

    @abstractmethod
    def entry(self, name: str) -> dict[str, Any]:
        """What the entry of a device has beside what all have: its adapter and options."""

    @abstractmethod
    def answer(self, head: bytes, body: bytes) -> object:
        """What a device says to a request, which is noted where it asks for punches anew. Sent as JSON."""

    def is_punched(self) -> bool:
        """Whether somebody has punched before this answer."""
        return self._random.random() < NEW_PART

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            content = json.dumps(self.answer(head, body)).encode()
            await asyncio.sleep(ANSWER_SECONDS)
            writer.write(f"{_HEADERS}: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Rest(Fleet):
    """Devices with a REST interface, each on a path of its own."""

    def __init__(self, devices: int, dead: int, seed: int) -> None:
        super().__init__(devices, dead, seed)
        self._begin = datetime(2026, 1, 1, tzinfo=UTC)
        self._punches: dict[str, int] = defaultdict(int)

    def entry(self, name: str) -> dict[str, Any]:
        """See `Fleet.entry`."""
        options = {
            "path": f"/{name}",
            "query": {"after": "{cursor}", "page": "{page}"},
            "records": "rows",
            "total": "total",
            "fields": {"user": "user", "time": "time", "sequence": "id"},
            "cursor": {"by": "number", "overlap": 10},
            "paging": {"by": "page"},
        }
        return {"adapter": "rest", "options": options}

    def answer(self, head: bytes, body: bytes) -> object:  # noqa: ARG002 - it asks by the path
        """See `Fleet.answer`."""
        url = urlsplit(head.split(b" ", 2)[1].decode())
        name = url.path.removeprefix("/")
        self.asked[name].append(time.monotonic())
        self._punches[name] += self.is_punched()
        rows = [
            {"id": number, "user": f"{number % 50:04}", "time": (self._begin + timedelta(minutes=number)).isoformat()}
            for number in range(int(parse_qs(url.query)["after"][0]) + 1, self._punches[name] + 1)
        ]
        return {"total": len(rows), "rows": rows}


class HeyStar(Fleet):
    """HeyStar terminals, each with a password of its own. They punch now, and say what they have to every question."""

    _SETTINGS: Final = {
        "recRecordUploadMode": "2",
        "recRecordSave": "1",
        "recRecordSaveDays": "90",
        "sevUploadRecSnapshotEnable": "0",
        "sevUploadRecStrangerDataEnable": "0",
    }

    def __init__(self, devices: int, dead: int, seed: int) -> None:
        super().__init__(devices, dead, seed)
        self._records: dict[str, list[dict[str, str]]] = defaultdict(list)

    def entry(self, name: str) -> dict[str, Any]:
        """See `Fleet.entry`."""
        return {
            "adapter": "hfsecurity",
            "serial": name,
            "credentials": {"password": _variable(name)},
            "options": {"api": "cgi"},
        }

    def environment(self) -> dict[str, str]:
        """See `Fleet.environment`."""
        return {_variable(name): name for name in self.names}

    def answer(self, head: bytes, body: bytes) -> object:
        """See `Fleet.answer`."""
        password = _BASIC.search(head)
        assert password is not None
        name = base64.b64decode(password[1]).decode().partition(":")[2]
        return {"code": "000", "success": True, "data": self._data(head.split(b" ", 2)[1], name, json.loads(body))}

    def _data(self, path: bytes, name: str, asked: Mapping[str, int]) -> object:
        if not path.endswith(b"/findList"):
            return {**self._SETTINGS, "deviceKey": name, "version": "1"}
        if asked["index"] == 1:
            self.asked[name].append(time.monotonic())
            if self.is_punched():
                self._punch(name)
        found = [each for each in self._records[name] if asked["startTime"] <= int(each["createTime"])]
        first = (asked["index"] - 1) * asked["length"]
        return {"records": found[first : first + asked["length"]]}

    def _punch(self, name: str) -> None:
        number, now = len(self._records[name]) + 1, datetime.now(UTC)
        self._records[name].append(
            {
                "id": str(number),
                "deviceKey": name,
                "personSn": f"{number % 50:04}",
                "personType": "1",
                "resultFlag": "1",
                "strangerFlag": "0",
                "createTime": str(int(now.timestamp() * 1000)),
                "createTimeStr": f"{now:%Y-%m-%d %H:%M:%S}",
            }
        )


def _variable(name: str) -> str:
    return f"PASSWORD_OF_{name.replace('-', '_').upper()}"


FLEETS: Final[Mapping[str, type[Fleet]]] = {"REST": Rest, "HeyStar": HeyStar}
