"""HeyStar terminals that send: one posts JSON and one posts forms, each record on its own."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from attendance.fleet import hash_token
from sandbox.terminals.base import HttpAnswer, HttpRequest, Punch, Quirks

_DIRECTIONS: Final = {"IN": "1", "OUT": "4", "": ""}
_PURPOSES: Final = ("record", "heartbeat", "person")
_EMPTY: Final = (
    *("fingerFlag", "cardFlag", "palmFlag", "pwdFlag", "idCardFlag", "maskFlag", "capFlag", "cardNo", "idCard"),
    *("voucherCode", "attach", "temperature", "checkImgUrl", "checkImgBase64"),
)


@dataclass(slots=True)
class HfImsTerminal:
    """Posts JSON whose values are text, the absent ones empty.

    `addresses` are the paths that it posts to, by purpose. With `upload_mode` 2 it keeps a record that was not taken,
    in `unsent`; with 1, which is the factory's setting, that record is lost. `records` is how many it has numbered.
    """

    serial: str
    token: str
    zone: str
    upload_mode: int = 2
    addresses: dict[str, str] = field(default_factory=dict)
    unsent: list[HttpRequest] = field(default_factory=list)
    records: int = 0

    def __post_init__(self) -> None:
        """As somebody has set it up."""
        token = quote(self.token, safe="")
        self.addresses = {purpose: f"/hf/{token}/{purpose}" for purpose in _PURPOSES}

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PushTerminal`."""
        return {
            "mode": "push",
            "adapter": "hfsecurity",
            "serial": self.serial,
            "token_sha256": hash_token(self.token),
            "options": {"direction": {1: "IN", 4: "OUT"}},
        }

    def hello(self) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        heartbeat = {
            "deviceKey": self.serial,
            "ip": "10.20.3.43",
            "time": str(int(datetime.now(UTC).timestamp() * 1000)),
            "personCount": "815",
            "faceCount": "812",
            "version": "1.42.0.2",
            "freeDiskSpace": "4546.56",
        }
        return self._post("heartbeat", heartbeat)

    def upload(self, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        end = quirks.line_end if quirks.final_line_end else ""
        requests: list[HttpRequest] = []
        for index, punch in enumerate(punches):
            if index == quirks.garbage_at:
                requests += self._broken()
            requests += self._post("record", self.record(punch), end)
        return requests

    def strangers(self) -> Sequence[HttpRequest]:
        """A stranger, those who were refused, a blacklisted person, a visitor, an unknown card and an enrolment."""
        base = self.record(Punch("000417", datetime(2026, 3, 2, 8)))  # noqa: DTZ001 - a wall clock
        nobody = {"personSn": "", "personName": "", "personType": "0", "resultFlag": "2", "openDoorFlag": "0"}
        person = {"deviceKey": self.serial, "personSn": "000900", "name": base["personName"], "type": "3"}
        others = (
            {**nobody, "strangerFlag": "1"},
            {**nobody, "faceFlag": "", "cardFlag": "1", "cardNo": "04A1B2C3"},
            {"resultFlag": "2", "openDoorFlag": "0"},
            {"resultFlag": "3", "openDoorFlag": "0"},
            {"personSn": "000900", "personType": "3"},
            {"personSn": "V12", "personType": "2"},
        )
        records = [request for other in others for request in self._post("record", base | other)]
        return [*records, *self._post("person", person)]

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:  # noqa: ARG002 - each request holds one
        """See `PushTerminal`."""
        if answer.status != 200:
            return False
        said = json.loads(answer.body)
        return (said.get("result"), said.get("code")) == (1, "000")

    def hear(self, request: HttpRequest, answer: HttpAnswer | None) -> None:
        """Take in what was answered to a record; None where nothing was. Keep it or lose it by `upload_mode`."""
        if self.upload_mode == 2 and (answer is None or not self.accepts(answer, 1)):
            self.unsent.append(request)

    def resume(self) -> Sequence[HttpRequest]:
        """What it sends again when the network is back."""
        unsent, self.unsent = self.unsent, []
        return unsent

    def reset(self) -> None:
        """What a factory reset does: it forgets where to post, and what it has not sent, and numbers from 1."""
        self.addresses.clear()
        self.unsent.clear()
        self.upload_mode = 1
        self.records = 0

    def record(self, punch: Punch) -> dict[str, str]:
        """The record of a punch, as it posts it."""
        self.records += 1
        instant = int(punch.at.replace(tzinfo=ZoneInfo(self.zone)).timestamp()) * 1000
        record = dict.fromkeys(_EMPTY, "") | {
            "recordId": str(punch.number or self.records),
            "deviceKey": self.serial,
            "recordTime": str(instant),
            "recordTimeStr": str(punch.at),
            "personSn": punch.user,
            "personName": self._name(punch.name),
            "personType": "1",
            "verifyStyle": "0",
            "resultFlag": "1",
            "strangerFlag": "0",
            "direction": _DIRECTIONS[punch.direction],
            "faceFlag": "1",
            "openDoorFlag": "1",
        }
        if punch.photo is not None:
            record |= {
                "checkImgUrl": "http://10.20.3.43:8090/img/114.jpg",
                "checkImgBase64": b64encode(punch.photo).decode(),
            }
        return record

    def _post(self, purpose: str, fields: Mapping[str, str], end: str = "") -> Sequence[HttpRequest]:
        """Nothing where it has no address."""
        if purpose not in self.addresses:
            return []
        content_type, body = self._written(fields)
        return [HttpRequest("POST", self.addresses[purpose], {"Content-Type": content_type}, body + end.encode())]

    def _broken(self) -> Sequence[HttpRequest]:
        content_type, body = self._written({"deviceKey": self.serial, "greeting": "hello"})
        return [HttpRequest("POST", self.addresses["record"], {"Content-Type": content_type}, body)]

    def _written(self, fields: Mapping[str, str]) -> tuple[str, bytes]:
        """The content type, and the body."""
        return "application/json; charset=UTF-8", json.dumps(fields, ensure_ascii=False).encode()

    def _name(self, name: str) -> str:
        return name


class HfImsFormTerminal(HfImsTerminal):
    """Posts forms, in which names are percent-encoded twice."""

    def _written(self, fields: Mapping[str, str]) -> tuple[str, bytes]:
        return "application/x-www-form-urlencoded", urlencode(fields).encode()

    def _name(self, name: str) -> str:
        return quote(name)
