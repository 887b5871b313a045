"""Hikvision access terminals by ISAPI: what they push, and their memory of events as it is searched."""

import json
import re
import secrets
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any, Final, Literal
from urllib.request import parse_http_list, parse_keqv_list
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from attendance.fleet import hash_token
from sandbox.ports import free_port
from sandbox.terminals.base import NAME, PHOTO, Faults, HttpAnswer, HttpRequest, Punch, Quirks
from sandbox.terminals.served import Asked, Said, serve

Form = Literal["multipart", "json", "xml"]

_STATUS: Final = {"IN": "checkIn", "OUT": "checkOut", "": "undefined"}
_FACE, _FACE_REFUSED, _CARD_REFUSED, _DOOR_OPEN = 75, 76, 6, 21
_PLAIN: Final = Quirks()
_BOUNDARY: Final = "MIME_boundary"
_SPACE: Final = "http://www.isapi.org/ver20/XMLSchema"
_REALM: Final = "IP Camera(F1234)"


@dataclass(slots=True)
class PushingTerminal:
    """Sends each event in a request of its own, in one of the forms that firmware has for it."""

    serial: str
    token: str
    zone: str
    form: Form = "multipart"
    wrapped: bool = False

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PushTerminal`."""
        return {"adapter": "hikvision", "serial": self.serial, "token_sha256": hash_token(self.token)}

    def hello(self) -> Sequence[HttpRequest]:
        """A heartbeat, which is JSON by itself in every form."""
        now = datetime.now(ZoneInfo(self.zone)).replace(microsecond=0)
        alert = self._alert(now, "heartBeat")
        return [self._post("application/json", json.dumps(alert).encode())]

    def upload(self, punches: Sequence[Punch], quirks: Quirks = _PLAIN) -> Sequence[HttpRequest]:
        """A request for each punch: the protocol knows no batch."""
        requests = []
        for index, punch in enumerate(punches):
            if index == quirks.garbage_at:
                requests.append(self._event(b'{"eventType": "AccessControllerEvent", "AccessCo', None, quirks))
            number = index + 1 if punch.number is None else punch.number
            details = {
                "employeeNoString": punch.user,
                "name": punch.name,
                "serialNo": number,
                "frontSerialNo": number - 1,
                "attendanceStatus": _STATUS[punch.direction],
                "currentVerifyMode": "faceOrFpOrCardOrPw",
                "userType": "normal",
                "currentEvent": True,
                "picturesNumber": int(punch.photo is not None),
            }
            alert = self._access(punch.at, _FACE, details)
            requests.append(self._event(self._document(alert, quirks), punch.photo, quirks))
        return requests

    def strangers(self) -> Sequence[HttpRequest]:
        """A face that nobody has, a card of somebody who is not let in, and a door."""
        at = datetime(2026, 1, 1, 8)  # noqa: DTZ001 - its wall clock
        alerts = [
            (self._access(at, _FACE_REFUSED, {"serialNo": 1, "currentEvent": True}), PHOTO),
            (self._access(at, _CARD_REFUSED, {"serialNo": 2, "employeeNoString": "000417", "name": NAME}), PHOTO),
            (self._access(at, _DOOR_OPEN, {"serialNo": 3, "doorNo": 1}), None),
        ]
        return [self._event(self._document(alert, _PLAIN), photo, _PLAIN) for alert, photo in alerts]

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:  # noqa: ARG002 - an answer is to one punch
        """Any 2xx is "stored", and nothing else is."""
        return 200 <= answer.status < 300

    def _alert(self, at: datetime, event_type: str) -> dict[str, Any]:
        return {
            "ipAddress": "192.0.2.50",
            "portNo": 443,
            "protocol": "HTTP",
            "macAddress": "00:00:5e:00:53:01",
            "channelID": 1,
            "dateTime": at.isoformat(),
            "activePostCount": 1,
            "eventType": event_type,
            "eventState": "active",
        }

    def _access(self, at: datetime, minor: int, details: Mapping[str, Any]) -> dict[str, Any]:
        alert = self._alert(at.replace(tzinfo=ZoneInfo(self.zone)), "AccessControllerEvent")
        event = {"deviceName": "Gate", "majorEventType": 5, "subEventType": minor, "cardReaderNo": 1, **details}
        return alert | {"AccessControllerEvent": event}

    def _document(self, alert: Mapping[str, Any], quirks: Quirks) -> bytes:
        if self.form == "xml":
            content = f'<EventNotificationAlert version="2.0" xmlns="{_SPACE}">{_xml(alert)}</EventNotificationAlert>'
            text = f'<?xml version="1.0" encoding="UTF-8"?>\n{content}'
        else:
            document = {"EventNotificationAlert": alert} if self.wrapped else alert
            text = json.dumps(document, indent="\t", ensure_ascii=False)
        text = text.replace("\n", quirks.line_end)
        return (text + (quirks.line_end if quirks.final_line_end else "")).encode()

    def _event(self, document: bytes, photo: bytes | None, quirks: Quirks) -> HttpRequest:
        if self.form == "multipart":
            parts = [("AccessControllerEvent", "application/json", document)]
            parts += [("Picture", "image/jpeg", photo)] if photo is not None else []
            body = b"".join(
                f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {media_type}\r\n'
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
                + b"\r\n"
                for name, media_type, content in parts
            )
            body += f"--{_BOUNDARY}--".encode() + (b"\r\n" if quirks.final_line_end else b"")
            return self._post(f"multipart/form-data; boundary={_BOUNDARY}", body)
        return self._post(f"application/{self.form}", document)

    def _post(self, media_type: str, body: bytes) -> HttpRequest:
        return HttpRequest("POST", f"/hik/{self.token}", {"Content-Type": media_type}, body)


@dataclass(slots=True)
class JsonTerminal(PushingTerminal):
    """Sends JSON by itself, in the wrapper that some firmware has around it."""

    form: Form = "json"
    wrapped: bool = True


@dataclass(slots=True)
class XmlTerminal(PushingTerminal):
    """Sends XML by itself."""

    form: Form = "xml"


def _xml(fields: Mapping[str, Any]) -> str:
    return "\n".join(f"<{name}>{_xml_value(value)}</{name}>" for name, value in fields.items())


def _xml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return _xml(value)
    return str(value).lower() if isinstance(value, bool) else escape(str(value))


@dataclass(slots=True)
class AskedTerminal:
    """Its memory is searched by `AcsEvent`.

    `extra` are records that stand in its memory before the punches, exactly as they are given. `clock_off` is how far
    its clock is ahead. `local_times` makes it refuse times that have an offset, `supported` whether it can be searched
    at all. `restarts_after` is the number of answers with records after which it forgets its searches, once;
    `nonce_uses` how often a nonce serves. `searchable` are the major and minor types by which it can be searched,
    everything where it is None, and `refusal` what it answers to another search. Paths in `missing` it does not have,
    and answers so. `scheme` is how it wants the credentials.
    """

    serial: str
    zone: str
    password: str
    memory: list[Punch] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    logins_refused: int = 0
    schemes_seen: set[str] = field(default_factory=set)
    requests: int = 0
    extra: list[Any] = field(default_factory=list)
    clock_off: timedelta = timedelta()
    local_times: bool = False
    supported: bool = True
    restarts_after: int | None = None
    nonce_uses: int = 1_000
    max_results: int = 30
    refuses_large_pages: bool = False
    searchable: Collection[tuple[int, int]] | None = None
    refusal: tuple[int, int, str, str] = (403, 4, "Invalid Operation", "invalidOperation")
    missing: Mapping[str, int] = field(default_factory=dict)
    scheme: Literal["Digest", "Basic", "NTLM"] = "Digest"
    port: int = field(default_factory=free_port)
    _searches: set[str] = field(default_factory=set)
    _nonces: dict[str, int] = field(default_factory=dict)

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PullTerminal`."""
        return {"mode": "pull", "adapter": "hikvision", "serial": self.serial, "host": "127.0.0.1", "port": self.port}

    def credentials(self) -> Mapping[str, str]:
        """See `PullTerminal`."""
        return {"username": "attendance", "password": self.password}

    def serving(self) -> AbstractAsyncContextManager[None]:
        """See `PullTerminal`."""
        return serve(self, self._answer)

    def _answer(self, asked: Asked) -> Said:
        refusal = self._challenge(asked) or self._missing(asked)
        if refusal is not None:
            return refusal
        match asked.method, asked.path:
            case "GET", "/ISAPI/System/deviceInfo":
                info = {
                    "deviceName": "Gate",
                    "model": "DS-K1T000",
                    "serialNumber": self.serial,
                    "firmwareVersion": "V0.0.0",
                }
                return Said(body=f'<DeviceInfo version="2.0" xmlns="{_SPACE}">{_xml(info)}</DeviceInfo>'.encode())
            case "GET", "/ISAPI/System/time":
                now = datetime.now(UTC) + self.clock_off
                fields = {"timeMode": "NTP", "localTime": self._written(now)}
                return Said(body=f'<Time version="2.0" xmlns="{_SPACE}">{_xml(fields)}</Time>'.encode())
            case "GET", "/ISAPI/AccessControl/AcsEvent/capabilities" if self.supported:
                limits = {"@min": 1, "@max": self.max_results}
                return Said(body=json.dumps({"AcsEvent": {"AcsEventCond": {"maxResults": limits}}}).encode())
            case "POST", "/ISAPI/AccessControl/AcsEvent" if self.supported:
                return self._search(json.loads(asked.body)["AcsEventCond"])
        return _status(403, 4, "Invalid Operation", "notSupport")

    def _missing(self, asked: Asked) -> Said | None:
        status = self.missing.get(asked.path)
        return None if status is None else _status(status, 4, "Invalid Operation", "notSupport")

    def _challenge(self, asked: Asked) -> Said | None:
        """A 401, unless the request has the password, as the scheme has it (RFC 7616, RFC 7617)."""
        scheme, _, given = asked.headers.get("authorization", "").partition(" ")
        self.schemes_seen.add(scheme)
        if self.scheme != "Digest":
            user, _, password = b64decode(given).decode().partition(":") if scheme == "Basic" else ("", "", "")
            if (user, password) == (self.credentials()["username"], self.password) and not self.faults.password_wrong:
                return None
            self.logins_refused += scheme == "Basic"
            return Said(401, headers={"WWW-Authenticate": f'{self.scheme} realm="{_REALM}"'})
        stale = ""
        if scheme == "Digest":
            credentials = parse_keqv_list(parse_http_list(given))
            uses = self._nonces.get(credentials["nonce"], 0)
            self._nonces[credentials["nonce"]] = uses - 1
            if uses <= 0:
                stale = ", stale=true"
            elif not self.faults.password_wrong and credentials["response"] == self._digest(asked, credentials):
                return None
            else:
                self.logins_refused += 1
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = self.nonce_uses
        return Said(401, headers={"WWW-Authenticate": f'Digest qop="auth", realm="{_REALM}", nonce="{nonce}"{stale}'})

    def _digest(self, asked: Asked, credentials: Mapping[str, str]) -> str:
        user = self.credentials()["username"]
        return _md5(
            _md5(user, _REALM, self.password),
            *(credentials[name] for name in ("nonce", "nc", "cnonce", "qop")),
            _md5(asked.method, asked.target),
        )

    def _search(self, wanted: Mapping[str, Any]) -> Said:
        times = [str(wanted[name]) for name in ("startTime", "endTime")]
        if self.local_times and any(re.search(r"[+-]\d\d:\d\d$", time) for time in times):
            return _status(400, 6, "Invalid Content", "badParameters")
        kind = (wanted.get("major", 0), wanted.get("minor", 0))
        if self.searchable is not None and kind not in self.searchable:
            return _status(*self.refusal)
        if self.refuses_large_pages and wanted["maxResults"] > self.max_results:
            return _status(400, 6, "Invalid Content", "badParameters")
        start, end = (self._instant(datetime.fromisoformat(time)) for time in times)
        search, position = wanted["searchID"], wanted["searchResultPosition"]
        known = position == 0 or search in self._searches
        self._searches.add(search)
        found = [each for each in self._records(start, end) if _is_of(each, *kind)] if known else []
        most = min(wanted["maxResults"], self.max_results)
        page = found[position : position + most]
        more = position + len(page) < len(found)
        answer: dict[str, Any] = {
            "searchID": search,
            "responseStatusStrg": "MORE" if more else "OK" if page else "NO MATCH",
            "numOfMatches": len(page),
            "totalMatches": len(found) + self.faults.count_off,
        }
        if page:
            answer["InfoList"] = page
            if self.faults.grows:
                self.memory.append(self.faults.grows.pop(0))
            if self.restarts_after is not None:
                self.restarts_after -= 1
                if self.restarts_after <= 0:
                    self._searches.clear()
                    self.restarts_after = None
        body = json.dumps({"AcsEvent": answer}, ensure_ascii=False).encode()
        sent = None
        if page and self.faults.cut_after is not None:
            ends = [each.end() for each in re.finditer(rb"\}", body)]
            sent = ends[min(self.faults.cut_after, len(ends)) - 1] if self.faults.cut_after else body.index(b"[") + 1
        return Said(body=body, sent=sent)

    def _records(self, start: datetime, end: datetime) -> Iterator[Any]:
        yield from self.extra
        for index, punch in enumerate(self.memory):
            instant = self._instant(punch.at)
            if start <= instant <= end:
                yield {
                    "major": 5,
                    "minor": _FACE,
                    "time": self._written(instant),
                    "employeeNoString": punch.user,
                    "name": punch.name,
                    "cardReaderNo": 1,
                    "doorNo": 1,
                    "serialNo": index + 1 if punch.number is None else punch.number,
                    "userType": "normal",
                    "currentVerifyMode": "faceOrFpOrCardOrPw",
                    "attendanceStatus": _STATUS[punch.direction],
                    "pictureURL": "https://192.0.2.50/LOCALS/pic/1.jpg",
                }

    def _instant(self, time: datetime) -> datetime:
        return (time if time.tzinfo else time.replace(tzinfo=ZoneInfo(self.zone))).astimezone(UTC)

    def _written(self, instant: datetime) -> str:
        local = instant.astimezone(ZoneInfo(self.zone)).replace(microsecond=0)
        return (local.replace(tzinfo=None) if self.local_times else local).isoformat()


def _is_of(record: Any, major: int, minor: int) -> bool:  # noqa: ANN401 - as it stands in the memory
    if not isinstance(record, dict):
        return True
    return major in (0, record.get("major")) and minor in (0, record.get("minor"))


def _status(status: int, code: int, text: str, kind: str) -> Said:
    return Said(status, json.dumps({"statusCode": code, "statusString": text, "subStatusCode": kind}).encode())


def _md5(*parts: str) -> str:
    return md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()
