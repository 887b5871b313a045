"""HeyStar terminals that are asked: one that answers itself, and one behind the HF-IMS middleware."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from sandbox.ports import free_port
from sandbox.terminals.base import Faults, Punch
from sandbox.terminals.served import Asked, Said, serve

_DIRECTIONS: Final = {"IN": 1, "OUT": 4, "": 0}
_ADDRESSES: Final = {1: "sevUploadDevHeartbeatUrl", 2: "sevUploadRecRecordUrl", 3: "sevUploadRegPersonUrl"}


@dataclass(slots=True)
class HeyStarDevice:
    """A terminal. The number of a record is its place in `memory`, from 1, where its punch has none.

    `extra` are records, each with its instant in milliseconds, that stand in its memory beside the punches. `most` is
    how many records it gives in a page, whatever it is asked for. It gives the newest first where `newest_first`,
    whatever it is asked for; and the same page again and again where `without_pages`. A page with a record whose number
    is in `broken` is no JSON. Behind the last page there is null, and no list, where `null_at_the_end`. One record
    stands without a list around it where `one_bare`, and the whole as text where `as_text`. `server` and `recognition`
    are its settings, `writes` all that was written to it, `asked` the verbs in their order.
    """

    way: ClassVar[str] = "cgi"
    prefix: ClassVar[str] = "/cgi-bin/js/"

    serial: str
    zone: str
    password: str
    memory: list[Punch] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    logins_refused: int = 0
    requests: int = 0
    extra: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    most: int = 1000
    newest_first: bool = False
    without_pages: bool = False
    broken: set[int] = field(default_factory=set)
    null_at_the_end: bool = False
    one_bare: bool = False
    as_text: bool = False
    clock_off_minutes: int = 0
    connected: bool = True
    server: dict[str, Any] = field(default_factory=dict)
    recognition: dict[str, Any] = field(default_factory=dict)
    writes: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        """Settings as they leave the factory."""
        self._set_to_defaults()

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PullTerminal`."""
        return {
            "mode": "pull",
            "adapter": "hfsecurity",
            "serial": self.serial,
            "host": "127.0.0.1",
            "port": self.port,
            "options": {"api": self.way, "direction": {1: "IN", 4: "OUT"}},
        }

    def credentials(self) -> Mapping[str, str]:
        """See `PullTerminal`."""
        return {"password": self.password}

    def serving(self) -> AbstractAsyncContextManager[None]:
        """See `PullTerminal`."""
        return serve(self, self._answer)

    def reset(self) -> None:
        """What a factory reset does: settings and addresses go, and the memory with its numbers."""
        self.memory.clear()
        self.extra.clear()
        self._set_to_defaults()

    def _set_to_defaults(self) -> None:
        self.server = {
            **dict.fromkeys(_ADDRESSES.values()),
            "sevUploadDevHeartbeatInterval": 60,
            "sevUploadRecStrangerDataEnable": 1,
            "sevUploadRecSnapshotEnable": 1,
            "sevUploadRecQrcodeDataEnable": 0,
        }
        self.recognition = {
            "recRecordUploadMode": 1,
            "recRecordSave": 1,
            "recRecordSaveDays": 7,
            "recInterval": 3,
            "recStrangerEnable": 1,
        }

    def _answer(self, asked: Asked) -> Said:
        if asked.method != "POST" or not asked.path.startswith(self.prefix):
            return Said(404, b"<html>not found</html>")
        verb = asked.path.removeprefix(self.prefix)
        self.asked.append(verb)
        given, refusal = self._given(asked)
        if refusal is None and not self.connected:
            refusal = _said("1002")
        return refusal or self._do(verb, given)

    def _do(self, verb: str, given: Any) -> Said:  # noqa: ANN401 - as JSON has it
        match verb:
            case "device/get":
                return _said("000", {"deviceInfo": {"deviceKey": self.serial, "version": "1.42.0.2", "model": "X05"}})
            case "device/getConfig":
                return _said("000", {1: self.recognition, 5: self.server}.get(int(given["type"]), {}))
            case "device/setSevConfig" | "device/setRecConfig":
                (self.server if verb == "device/setSevConfig" else self.recognition).update(given)
            case "device/setUploadUrl":
                self.server.update({_ADDRESSES[each["type"]]: each["url"] for each in given})
            case "record/findList":
                return self._records(given)
            case _:
                return _said("100", None)
        self.writes.append((verb, given))
        return _said("000")

    def _given(self, asked: Asked) -> tuple[Any, Said | None]:
        """What it is given, and how it refuses who does not know the password."""
        header = asked.headers.get("authorization")
        if header is None:
            return {}, Said(401, b"", {"WWW-Authenticate": 'Basic realm="admin"'})
        right = b64encode(f"admin:{self.password}".encode()).decode()
        if self.faults.password_wrong or header != f"Basic {right}":
            self.logins_refused += 1
            return {}, _said("401")
        return json.loads(asked.body), None

    def _records(self, given: Mapping[str, Any]) -> Said:
        start, end, index, length = (int(given[name]) for name in ("startTime", "endTime", "index", "length"))
        if index < 1 or length < 1:
            return _said("400")
        rows = [self._row(number, punch) for number, punch in enumerate(self.memory, start=1)]
        found = sorted([*rows, *self.extra], key=lambda each: each[0])
        found = [each for each in found if start <= each[0] <= end]
        if self.newest_first or str(given.get("order")) != "1":
            found.reverse()
        size = min(length, self.most)
        first = 0 if self.without_pages else (index - 1) * length
        page: Any = [row for _, row in found[first : first + size]]
        if self.broken.intersection(row["id"] for row in page):
            return Said(body=json.dumps(page).replace('"personSn": ', '"personSn" ').encode())
        if not page and self.null_at_the_end:
            return _said("000", {"total": 0, "records": None})
        if page and self.faults.grows:
            self.memory.append(self.faults.grows.pop(0))
        if self.one_bare and len(page) == 1:
            (page,) = page
        return _said("000", json.dumps(page) if self.as_text else page, self.faults.cut_after)

    def _row(self, number: int, punch: Punch) -> tuple[int, dict[str, Any]]:
        instant = int(punch.at.replace(tzinfo=ZoneInfo(self.zone)).timestamp()) * 1000
        row: dict[str, Any] = {
            "id": punch.number or number,
            "personSn": punch.user,
            "personName": punch.name,
            "personType": 1,
            "createTime": instant,
            "resultFlag": 1,
            "strangerFlag": 0,
            "openDoorFlag": 1,
            "cardNo": "",
            "direction": _DIRECTIONS[punch.direction],
            "faceFlag": 1,
            "checkImgUrl": "/sdcard/img/1.jpg",
        }
        if punch.photo is not None:
            row["checkImgBase64"] = b64encode(punch.photo).decode()
        return instant, row


class HeyStarMiddleware(HeyStarDevice):
    """The same terminal, asked by the middleware that it is connected to, or not where `connected` is False."""

    way: ClassVar[str] = "middleware"
    prefix: ClassVar[str] = "/api/"

    def credentials(self) -> Mapping[str, str]:
        """See `PullTerminal`."""
        return {"secret": self.password}

    def _given(self, asked: Asked) -> tuple[Any, Said | None]:
        given = dict(parse_qsl(asked.body.decode(), keep_blank_values=True))
        if given.pop("deviceKey", None) != self.serial:
            return {}, _said("404")
        if given.pop("secret", None) != self.password or self.faults.password_wrong:
            self.logins_refused += 1
            return {}, _said("401")
        return given, None


def _said(code: str, data: object = None, cut_after: int | None = None) -> Said:
    answer = {"code": code, "msg": "", "result": 1 if code == "000" else 0, "success": code == "000", "data": data}
    body = json.dumps(answer, ensure_ascii=False).encode()
    sent = None
    if cut_after is not None:
        ends = [body.index(b'"data"'), *(each.end() for each in re.finditer(rb"\}", body))]
        sent = ends[min(cut_after, len(ends) - 2)]
    return Said(body=body, headers={"Content-Type": "application/json"}, sent=sent)
