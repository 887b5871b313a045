"""Two REST interfaces of nobody's in particular: by time and page, and by number where each answer goes on."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sandbox.ports import free_port
from sandbox.terminals.base import Faults, Punch
from sandbox.terminals.served import Asked, Said, serve

_WALL_CLOCK: Final = "%d/%m/%Y %H:%M:%S"
_MOST: Final = 40  # records in an answer, whatever is asked for
_USER: Final = "reader"


@dataclass(slots=True)
class _Device:
    """What both have in common.

    `records` are further ones that stand in its memory after the punches, exactly as they are given.
    """

    serial: str
    zone: str
    password: str
    memory: list[Punch] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    logins_refused: int = 0
    requests: int = 0
    records: list[object] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    def _entry(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"mode": "pull", "adapter": "rest", "host": "127.0.0.1", "port": self.port, "options": options}

    def _said(self, content: Mapping[str, object], records: str) -> Said:
        """An answer, of which only so many records arrive as the faults say."""
        body = json.dumps(content, ensure_ascii=False).encode()
        sent = None
        if self.faults.cut_after is not None:
            listed = json.dumps(content[records], ensure_ascii=False).encode()
            kept = json.dumps(content[records][: self.faults.cut_after], ensure_ascii=False).encode()  # type: ignore[index]
            sent = body.index(listed) + len(kept) - 1 if kept != listed else None
        if self.faults.grows:
            self.memory.append(self.faults.grows.pop(0))
        return Said(200, body, {"Content-Type": "application/json"}, sent)

    def _lets_in(self, *, right: bool) -> bool:
        if right and not self.faults.password_wrong:
            return True
        self.logins_refused += 1
        return False


class PagedRest(_Device):
    """Punches between two wall-clock times, newest first, by page; basic authentication."""

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PullTerminal`."""
        return self._entry(
            {
                "path": "/api/attendance",
                "query": {"since": "{from}", "until": "{to}", "page": "{page}", "per_page": "{size}"},
                "records": "items",
                "total": "total",
                "fields": {
                    "user": "employee.code",
                    "time": "at",
                    "direction": "state",
                    "sequence": "id",
                    "serial": "terminal",
                },
                "directions": {"0": "IN", "1": "OUT"},
                "time_format": _WALL_CLOCK,
                "timezone": self.zone,
                "paging": {"by": "page", "first": 1, "size": 100},
                "auth": "basic",
                "complete": True,
            }
        ) | {"serial": self.serial}

    def credentials(self) -> Mapping[str, str]:
        """See `PullTerminal`."""
        return {"user": _USER, "password": self.password}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """See `PullTerminal`."""
        async with serve(self, self._answer):
            yield

    def _answer(self, asked: Asked) -> Said:
        kind, _, encoded = asked.headers.get("authorization", "").partition(" ")
        given = b64decode(encoded) if kind == "Basic" else b""
        if not self._lets_in(right=given == f"{_USER}:{self.password}".encode()):
            return Said(401)
        if (asked.method, asked.path) != ("GET", "/api/attendance"):
            return Said(404)
        since, until = (datetime.strptime(asked.query[name], _WALL_CLOCK) for name in ("since", "until"))  # noqa: DTZ007
        found = [
            *(self._record(number, punch) for number, punch in enumerate(self.memory, 1) if since <= punch.at <= until),
            *self.records,
        ][::-1]
        size = min(int(asked.query["per_page"]), _MOST)
        start = (int(asked.query["page"]) - 1) * size
        total = len(found) + self.faults.count_off
        return self._said({"total": total, "items": found[start : start + size]}, "items")

    def _record(self, number: int, punch: Punch) -> dict[str, object]:
        record: dict[str, object] = {
            "id": punch.number or number,
            "employee": {"code": punch.user, "name": punch.name},
            "at": punch.at.strftime(_WALL_CLOCK),
            "state": {"IN": 0, "OUT": 1, "": 255}[punch.direction],
            "terminal": self.serial,
        }
        return record | ({} if punch.photo is None else {"photo": b64encode(punch.photo).decode()})


class NumberedRest(_Device):
    """Records after a number, oldest first, asked for by POST with a key in a header; times as epochs."""

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PullTerminal`."""
        return self._entry(
            {
                "path": "/v2/log",
                "method": "POST",
                "body": {"filter": {"after": "{cursor}", "from": "{from}"}, "limit": "{size}"},
                "records": "data.rows",
                "fields": {"user": "pin", "time": "ts", "direction": "dir", "sequence": "seq"},
                "directions": {"in": "IN", "out": "OUT"},
                "time_format": "epoch_ms",
                "cursor": {"by": "number", "overlap": 20},
                "paging": {"by": "none", "size": 100},
                "auth": "header",
                "auth_header": "X-Api-Key",
            }
        )

    def credentials(self) -> Mapping[str, str]:
        """See `PullTerminal`."""
        return {"token": self.password}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """See `PullTerminal`."""
        async with serve(self, self._answer):
            yield

    def _answer(self, asked: Asked) -> Said:
        if not self._lets_in(right=asked.headers.get("x-api-key") == self.password):
            return Said(403)
        if (asked.method, asked.path) != ("POST", "/v2/log"):
            return Said(404)
        wanted = json.loads(asked.body)
        after, begin = wanted["filter"]["after"], wanted["filter"]["from"]
        # What comes into its memory gets the next number, whatever it is dated.
        stored = [self._record(number, punch) for number, punch in enumerate(self.memory, 1)]
        found = [record for record in stored if record["seq"] > after and record["ts"] >= begin]
        rows = [*found, *self.records][: min(wanted["limit"], _MOST)]
        answer = self._said({"rows": rows}, "rows")
        head, tail = b'{"data": ', b"}"
        sent = None if answer.sent is None else answer.sent + len(head)
        return Said(answer.status, head + answer.body + tail, answer.headers, sent)

    def _record(self, number: int, punch: Punch) -> dict[str, Any]:
        at = punch.at.replace(tzinfo=ZoneInfo(self.zone), fold=0)
        record = {
            "seq": number,
            "pin": punch.user,
            "ts": int(at.timestamp()) * 1000,
            "dir": punch.direction.lower() or None,
            "fullName": punch.name,
        }
        return record | ({} if punch.photo is None else {"photo": b64encode(punch.photo).decode()})
