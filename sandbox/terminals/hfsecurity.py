"""Terminals of the HFSECURITY family that speak the LAN API, and one with an app of one's own. HeyStar is elsewhere."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from attendance.fleet import hash_token
from sandbox.ports import free_port
from sandbox.terminals.base import Faults, HttpAnswer, HttpRequest, Punch, Quirks

_ATTENDANCE: Final = {"IN": "1", "OUT": "2", "": "0"}
_OPTIONS: Final = {"attendance": {1: "IN", 2: "OUT"}}
_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_WALL_CLOCK: Final = "%Y-%m-%d %H:%M:%S"


def _milliseconds(at: datetime, zone: str) -> int:
    return int(at.replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


@dataclass(slots=True)
class _Terminal:
    serial: str
    token: str
    zone: str

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PushTerminal`."""
        return {
            "mode": "push",
            "adapter": "hfsecurity",
            "serial": self.serial,
            "token_sha256": hash_token(self.token),
            "options": _OPTIONS,
        }

    def _now(self) -> str:
        return str(int(datetime.now(UTC).timestamp() * 1000))


class LanTerminal(_Terminal):
    """The callbacks of the LAN API: one JSON object each, values as strings, the type in the query as well."""

    def hello(self) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        heartbeat = {
            "deviceKey": self.serial,
            "time": self._now(),
            "ip": "10.20.3.41",
            "personCount": "815",
            "faceCount": "812",
            "fingerCount": "0",
            "version": "5.1.14",
            "freeDiskSpace": "4546.56",
            "cpuUsageRate": "46.2",
            "cpuTemperature": "61.0",
            "memoryUsageRate": "70.1",
            "deviceName": "Gate 3",
            "companyName": "Example Mills",
        }
        return [self._post("heartbeat", json.dumps(heartbeat).encode())]

    def upload(self, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        end = quirks.line_end.encode() if quirks.final_line_end else b""
        requests = []
        for index, punch in enumerate(punches):
            if index == quirks.garbage_at:
                requests.append(self._post("identify", b'{"deviceKey":"' + self.serial.encode() + b'","personId":'))
            requests.append(self._identify(self._record(punch), end))
        return requests

    def strangers(self) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        base = self._record(Punch("000417", datetime(2026, 3, 2, 8)))  # noqa: DTZ001 - a wall clock
        alarm = {"deviceKey": self.serial, "time": self._now(), "event": {"eventType": 2, "signalSource": 2}}
        return [
            self._identify(base | {"personId": "STRANGERBABY", "type": "face_2", "identifyType": "2"}),
            self._identify(base | {"type": "face_1", "passTimeType": "2"}),
            self._identify(base | {"personId": "", "type": "openDoor_0", "model": "4", "identifyType": "3"}),
            self._post("event", json.dumps(alarm).encode()),
        ]

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:  # noqa: ARG002 - each request holds one
        """See `PushTerminal`."""
        return answer.status == 200 and json.loads(answer.body).get("success") is True

    def _record(self, punch: Punch) -> dict[str, object]:
        record: dict[str, object] = {
            "deviceKey": self.serial,
            "personId": punch.user,
            "idcardNum": "",
            "time": str(_milliseconds(punch.at, self.zone)),
            "dstOffset": 0,
            "ip": "10.20.3.41",
            "type": "face_0",
            "model": "0",
            "identifyType": "1",
            "aliveType": "1",
            "attendance": _ATTENDANCE[punch.direction],
            "recType": 1,
            "path": "/data/record/IdentifyRecords/2026-03-02/8/080000_rgb.jpg",
        }
        if punch.photo is not None:
            record |= {"base64": b64encode(punch.photo).decode(), "data": json.dumps({"Name": punch.name})}
        return record

    def _identify(self, record: Mapping[str, object], end: bytes = b"") -> HttpRequest:
        return self._post(f"identify?type={record['type']}", json.dumps(record).encode() + end)

    def _post(self, purpose: str, body: bytes) -> HttpRequest:
        return HttpRequest("POST", f"/hf/{quote(self.token, safe='')}/{purpose}", _JSON, body)


class AppTerminal(_Terminal):
    """An app of one's own on the terminal: JSON batches, a bearer token, and an answer for each record."""

    def hello(self) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        query = urlencode({"deviceId": self.serial, "deviceTime": datetime.now(ZoneInfo(self.zone)).isoformat()})
        return [HttpRequest("GET", f"/hf/app/time?{query}", self._headers())]

    def upload(self, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        events: list[object] = [self._record(number, punch) for number, punch in enumerate(punches, start=1)]
        if quirks.garbage_at is not None:
            events.insert(quirks.garbage_at, "not a record")
        return [self._post(events, quirks.line_end if quirks.final_line_end else "")]

    def strangers(self) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        record = self._record(1, Punch("000417", datetime(2026, 3, 2, 8)))  # noqa: DTZ001 - a wall clock
        return [self._post([record | {"userId": "STRANGERBABY"}])]

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:
        """See `PushTerminal`."""
        if answer.status != 200:
            return False
        results = [result["status"] for result in json.loads(answer.body)["results"]]
        return len(results) >= punches and set(results) <= {"RECORDED", "ALREADY_RECORDED", "REJECTED"}

    def _record(self, number: int, punch: Punch) -> dict[str, object]:
        instant = datetime.fromtimestamp(_milliseconds(punch.at, self.zone) // 1000, ZoneInfo(self.zone))
        record: dict[str, object] = {
            "attendanceEventId": str(uuid5(NAMESPACE_URL, f"{self.serial}/{number}")),
            "clientSequence": number,
            "userId": punch.user,
            "employeeName": punch.name,
            "deviceTimestamp": instant.isoformat(),
            "biometricType": "FACE",
        }
        if punch.direction:
            record["action"] = f"CHECK_{punch.direction}"
        return record | ({} if punch.photo is None else {"photo": b64encode(punch.photo).decode()})

    def _post(self, events: Sequence[object], end: str = "") -> HttpRequest:
        body = json.dumps({"deviceId": self.serial, "events": events}, ensure_ascii=False) + end
        return HttpRequest("POST", "/hf/app/events", self._headers() | _JSON, body.encode())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class _LanError(Exception):
    """An answer other than success, by the number of its code."""


@dataclass(slots=True)
class LanDevice:
    """A terminal that answers on the LAN API, by the "Device LAN Version Interface Document" V5.1.

    `extra` are records, each with its wall clock, that stand in its memory beside the punches, exactly as they are
    given. `callbacks` are the addresses that it posts to now; `writes` is every setting that was written to it.
    `clock_off` is how far its clock is ahead.
    """

    serial: str
    zone: str
    password: str
    memory: list[Punch] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    logins_refused: int = 0
    requests: int = 0
    extra: list[tuple[datetime, object]] = field(default_factory=list)
    callbacks: dict[str, str] = field(default_factory=dict)
    writes: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    clock_off: timedelta = timedelta()
    port: int = field(default_factory=free_port)

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PullTerminal`."""
        return {
            "mode": "pull",
            "adapter": "hfsecurity",
            "serial": self.serial,
            "host": "127.0.0.1",
            "port": self.port,
            "options": _OPTIONS,
        }

    def credentials(self) -> Mapping[str, str]:
        """See `PullTerminal`."""
        return {"password": self.password}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """See `PullTerminal`."""
        async with await asyncio.start_server(self._connected, "127.0.0.1", self.port):
            yield

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request_line, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, target, _ = request_line.split(" ")
            writer.write(await self._answer(method, target, body.decode()))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side went away
        finally:
            writer.close()

    async def _answer(self, method: str, target: str, body: str) -> bytes:
        self.requests += 1
        await asyncio.sleep(self.faults.delay)
        if self.faults.unavailable > 0:
            self.faults.unavailable -= 1
            # By turns an error and nothing at all, as from a device that is starting.
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n" if self.requests % 2 else b""
        url = urlsplit(target)
        given = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        given |= dict(parse_qsl(body, keep_blank_values=True))
        cut_after = None
        try:
            answer: dict[str, object] = {"data": self._do(method, url.path, given), "msg": "", "code": "LAN_SUS-0"}
            answer |= {"result": 1, "success": True}
            cut_after = self.faults.cut_after if url.path == "/newFindRecords" else None
        except _LanError as error:
            answer = {"code": f"LAN_EXP-{error}", "msg": "failed", "result": 1, "success": False}
        content = json.dumps(answer, ensure_ascii=False).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        if cut_after is not None:
            content = b"},".join(
                content.split(b"},")[: cut_after + 1]
            )  # where the page says what it is, and where a record ends
        return head + content

    def _do(self, method: str, path: str, given: Mapping[str, str]) -> object:
        if path == "/getDeviceKey":
            return self.serial
        if self.faults.password_wrong or given.get("pass") != self.password:
            self.logins_refused += 1
            raise _LanError(1001)
        match method, path:
            case "GET", "/device/information":
                return {
                    "deviceKey": self.serial,
                    "time": str(int((datetime.now(UTC) + self.clock_off).timestamp() * 1000)),
                    "personCount": "815",
                    "faceCount": "812",
                    "fingerCount": "0",
                    "version": "5.1.14",
                    "freeDiskSpace": "4546.56",
                }
            case "GET", "/device/callback":
                return {
                    "identifyCallBack": self.callbacks.get("identify", ""),
                    "deviceHeartBeat": self.callbacks.get("heartbeat", ""),
                }
            case "POST", "/setIdentifyCallBack":
                return self._set("identify", path, given, given.get("callbackUrl", ""))
            case "POST", "/setDeviceHeartBeat":
                return self._set("heartbeat", path, given, given.get("url", ""))
            case "GET", "/newFindRecords":
                return self._records(given)
        raise _LanError(1006)

    def _set(self, which: str, path: str, given: Mapping[str, str], url: str) -> str:
        if not url.startswith("http://"):
            raise _LanError(2063)
        self.writes.append((path, dict(given)))
        self.callbacks[which] = url
        return url

    def _records(self, given: Mapping[str, str]) -> object:
        if given["startTime"] == given["endTime"] == "0":
            raise _LanError(1006)
        try:
            start, end = (datetime.strptime(given[name], _WALL_CLOCK) for name in ("startTime", "endTime"))  # noqa: DTZ007 - wall clocks
        except ValueError as error:
            raise _LanError(3031) from error
        index, length = int(given["index"]), int(given["length"])
        if not 0 < length <= 1000:
            raise _LanError(3018)
        stored = [(punch.at, self._record(number, punch)) for number, punch in enumerate(self.memory, start=1)]
        found = sorted(
            (each for each in [*stored, *self.extra] if start <= each[0] <= end),
            key=lambda each: each[0],
            reverse=given.get("order") != "1",
        )
        if index and index * length >= len(found):
            raise _LanError(3019)
        page = [record for _, record in found[index * length : (index + 1) * length]]
        if self.faults.grows:
            self.memory.append(self.faults.grows.pop(0))
        total = len(found) + self.faults.count_off
        return {"pageInfo": {"index": index, "length": length, "size": len(page), "total": total}, "records": page}

    def _record(self, number: int, punch: Punch) -> dict[str, object]:
        return {
            "id": punch.number or number,
            "personId": punch.user,
            "name": punch.name,
            "idcardNum": "",
            "time": _milliseconds(punch.at, self.zone),
            "type": "face_0",
            "model": 0,
            "identifyType": "1",
            "isPass": True,
            "isImgDeleted": 0,
            "aliveType": "1",
            "attendance": _ATTENDANCE[punch.direction],
            "workCode": "",
            "passTimeType": "1",
            "permissionTimeType": "1",
            "recType": 1,
            "dstOffset": 0,
            "state": 1,
            "path": "/data/record/IdentifyRecords/2026-03-02/8/080000_rgb.jpg",
            **({} if punch.photo is None else {"base64": b64encode(punch.photo).decode()}),
        }
