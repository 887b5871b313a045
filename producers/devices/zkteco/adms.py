"""ZKTeco terminals that push by ADMS ("iclock"): attendance terminals, and access terminals with their own records.

After "Attendance PUSH Communication Protocol" 4.8 and "Security PUSH Communication Protocol" 3.1.2. A terminal is known
by nothing but its serial number. It keeps what is not answered 200 and sends it again after `ErrorDelay`.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_hex
from typing import Final

from attendance.errors import InvalidRecord, Reason
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.registry import Device
from attendance.times import zone
from attendance.wire import encode_json
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.punch import MAX_TEXT, invalid, punch
from producers.devices.contract import (
    MAX_EVENTS,
    Answer,
    DeviceReport,
    Head,
    Options,
    Other,
    Parsed,
    PushRequest,
    Rejected,
    Result,
    Route,
    Sender,
)

NAME: Final = "zkteco_adms"
CDATA: Final = "/iclock/cdata"
MAX_POST: Final = 512 * 1024
"""Bytes that a terminal is asked to send at most: well below the default limit, beyond which it would try for ever."""
STAMP: Final = "ATTLOGStamp"

_SERIAL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FACTS: Final = ("DeviceType", "pushver", "language")
_DETAILS: Final = frozenset(
    {"FWVersion", "UserCount", "TransactionCount", "FaceCount", "FPCount", "AttLogCount", "DeviceName", "IPAddress"}
)
_INFO: Final = ("FWVersion", "UserCount", "FPCount", "TransactionCount", "IPAddress")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_LOG: Final = ("PIN", "DateTime", "State", "Verify", "WorkCode")
# What a body of one of these holds is counted and not kept: templates, photographs, names.
_PRIVATE: Final = frozenset({"BIODATA", "BIOPHOTO", "ATTPHOTO", "USERINFO", "USERPIC", "FINGERTMP", "FACE"})
# Of "Security PUSH", appendix on real-time events: up to 19 somebody was let in, up to 99 refused, then alarms, doors.
_LET_IN: Final = range(20)
_REFUSED: Final = range(20, 100)
_ALARM: Final = range(100, 200)

# What may ever be sent to a terminal: questions. Nothing that clears, writes, or runs on it.
_TIME: Final = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
ALLOWED: Final = re.compile(
    rf"INFO|CHECK|LOG|DATA QUERY ATTLOG StartTime={_TIME}\tEndTime={_TIME}"
    r"|GET OPTION FROM (AttLogCount|MaxAttLogCount|UserCount|FWVersion|IPAddress|DeviceName)"
)


def backfill(since: datetime, until: datetime) -> str:
    """The command that has a terminal send its punches of a time again; both are its own wall clock, naive.

    Args:
        since: From when, by the terminal's own wall clock.
        until: Until when, by the same.
    """
    return f"DATA QUERY ATTLOG StartTime={since:%Y-%m-%d %H:%M:%S}\tEndTime={until:%Y-%m-%d %H:%M:%S}"


@dataclass(slots=True)
class _Found:
    """What the lines of a body turned out to be."""

    events: list[RawEvent] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)


class ZktecoAdms:
    """The push adapter."""

    name: Final = NAME
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = Options

    def __init__(self, payload_fields: Collection[str]) -> None:  # noqa: ARG002 - the protocol has no further fields
        self._answers: Mapping[tuple[str, str], Callable[[PushRequest, Device], Parsed]] = {
            ("GET", CDATA): self._handshake,
            ("POST", CDATA): self._upload,
            ("GET", "/iclock/getrequest"): self._request,
            ("POST", "/iclock/devicecmd"): self._results,
            ("GET", "/iclock/ping"): self._ping,
            ("POST", "/iclock/registry"): self._registry,
            ("POST", "/iclock/push"): self._configuration,
            ("GET", "/iclock/push"): self._configuration,
            ("GET", "/iclock/rtdata"): self._time,
            ("POST", "/iclock/querydata"): self._upload,
            ("POST", "/iclock/exchange"): self._exchange,
        }

    @property
    def routes(self) -> Sequence[Route]:
        """Both protocols have the same prefix."""
        return [Route(method, path) for method, path in self._answers]

    def sender(self, head: Head) -> Sender:
        """The serial number in `SN`."""
        serial = head.query.get("SN", "")
        if not _SERIAL.fullmatch(serial):
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "no serial number")
        return Sender(serial=serial, facts={name: head.query[name] for name in _FACTS if name in head.query})

    def parse(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        """Read one request. See `PushAdapter.parse`."""
        (device,) = devices.values()  # no two have one serial number
        return self._answers[request.head.method, request.head.route](request, device)

    def refuse(self, head: Head, reason: Reason, retry_after: int) -> Answer:
        """Anything but 200 has the terminal keep its records and come again. See `PushAdapter.refuse`."""
        match reason:
            case Reason.UNREADABLE_BODY | Reason.INTERNAL_ERROR:
                return _text("OK")  # kept as a dead letter; it would be sent again for ever
            case Reason.UNKNOWN_DEVICE:
                return _text("", 406 if head.route == "/iclock/registry" else 403)
            case Reason.BODY_TOO_LARGE:
                return _text("", 413)
            case _:
                return Answer(b"", 503, headers={"Retry-After": str(retry_after)})

    def _handshake(self, request: PushRequest, device: Device) -> Parsed:
        """What a terminal is to do from now on, and from which record on it is to send."""
        query = request.head.query
        report = DeviceReport(details={name: query[name][:MAX_TEXT] for name in _FACTS if name in query})
        if query.get("DeviceType") == "acc":
            return Parsed(device.device_id, _text(_access_options(device, registered=True)), report=report)
        # None known: 0, by which it sends all that it has.
        stamp = request.stamps.get(STAMP, "0")
        options = {
            STAMP: stamp,
            "OPERLOGStamp": "9999",
            "ATTPHOTOStamp": "None",
            # As older firmware calls the first two.
            "Stamp": stamp,
            "OpStamp": "9999",
            "ErrorDelay": "30",
            "Delay": "10",
            "TransTimes": "00:00;14:05",
            "TransInterval": "1",
            # Neither photographs nor templates: those do not even leave the terminal.
            "TransFlag": "TransData AttLog\tOpLog",
            "TimeZone": _zone_option(device, request.received_at),
            "Realtime": "1",
            "Encrypt": "None",
            "ServerVer": "2.4.1",
            "PushProtVer": "2.4.1",
            "PushOptionsFlag": "1",
            "PushOptions": "UserCount,TransactionCount,FPCount,FaceCount,FWVersion",
            "SupportPing": "1",
            "MaxPostSize": str(MAX_POST),
        }
        lines = [f"GET OPTION FROM: {device.serial}", *(f"{name}={value}" for name, value in options.items())]
        return Parsed(device.device_id, _text("\n".join(lines) + "\n"), report=report)

    def _upload(self, request: PushRequest, device: Device) -> Parsed:
        query = request.head.query
        table = query.get("table") or query.get("type") or ""
        lines = _lines(request.body)
        if len(lines) > MAX_EVENTS:
            raise InvalidRecord(Reason.BODY_TOO_LARGE, f"{len(lines)} records, more than {MAX_EVENTS}")
        match table:
            case "ATTLOG":
                stamp = query.get("Stamp", "")
                stamps = {STAMP: stamp} if re.fullmatch(r"[0-9A-Za-z]{1,32}", stamp) else {}
                parsed = _parsed(device, f"OK: {len(lines)}", self._read(lines, device, request, _attendance), stamps)
            case "rtlog":
                parsed = _parsed(device, "OK", self._read(lines, device, request, _access))
            case "tabledata":
                punches = query.get("tablename") == "transaction"
                found = self._read(lines, device, request, _access) if punches else _counted("biometric", table, lines)
                # A count that is not theirs has the terminal send it for ever.
                parsed = _parsed(device, f"{query.get('tablename', '')}={query.get('count') or len(lines)}", found)
            case "options" | "INFO":
                # Just that: a count has some firmware send it again for ever.
                parsed = Parsed(device.device_id, _text("OK"), report=DeviceReport(details=_options(request.body)))
            case "rtstate":
                parsed = Parsed(device.device_id, _text("OK"), report=DeviceReport())
            case "OPERLOG":
                parsed = _parsed(device, f"OK: {len(lines)}", _counted("operation", table, lines))
            case _ if table.upper() in _PRIVATE:
                parsed = _parsed(device, f"OK: {len(lines)}", _counted("biometric", table, lines))
            case _:
                raise InvalidRecord(Reason.UNREADABLE_BODY, f"table {table[:MAX_TEXT]!r} is none of the protocol's")
        return parsed

    def _read(
        self,
        lines: Sequence[str],
        device: Device,
        request: PushRequest,
        read: "Callable[[str, Device, datetime, Source], RawEvent | Other]",
    ) -> _Found:
        found = _Found()
        batch_id = token_hex(16)
        for number, line in enumerate(lines):
            source = Source("push", self.name, self.version, batch_id, number)
            try:
                match read(line, device, request.received_at, source):
                    case RawEvent() as event:
                        found.events.append(event)
                    case other:
                        found.others.append(other)
            except InvalidRecord as error:
                found.rejected.append(Rejected(number, error.reason, error.message, line[:MAX_TEXT].encode()))
        return found

    def _request(self, request: PushRequest, device: Device) -> Parsed:
        """A terminal asks whether there is something to do, and may tell how it is."""
        values = request.head.query.get("INFO", "").split(",")
        details = {name: value[:MAX_TEXT] for name, value in zip(_INFO, values, strict=False) if value}
        given = [command for command in request.commands if ALLOWED.fullmatch(command.text)]
        answer = "".join(f"C:{command.id}:{command.text}\n" for command in given) or "OK"
        return Parsed(device.device_id, _text(answer), report=DeviceReport(details=details), given=given)

    def _results(self, request: PushRequest, device: Device) -> Parsed:
        found = re.findall(r"(?m)^ID=([0-9]{1,16})&Return=(-?[0-9]{1,10})\b", _decoded(request.body))
        results = [Result(id_, returned) for id_, returned in found]
        return Parsed(device.device_id, _text("OK"), results=results)

    def _ping(self, request: PushRequest, device: Device) -> Parsed:  # noqa: ARG002 - it says nothing
        return Parsed(device.device_id, _text("OK"), report=DeviceReport())

    def _registry(self, request: PushRequest, device: Device) -> Parsed:
        details = _options(request.body.replace(b"~", b""))
        return Parsed(device.device_id, _text(f"RegistryCode={_code(device)}"), report=DeviceReport(details=details))

    def _configuration(self, request: PushRequest, device: Device) -> Parsed:  # noqa: ARG002 - the same for all
        return Parsed(device.device_id, _text(_access_options(device, registered=False)))

    def _time(self, request: PushRequest, device: Device) -> Parsed:
        """The server's time, in the protocol's own count of seconds, and the zone to show it in."""
        moment = request.received_at.astimezone(UTC)
        days = (moment.year - 2000) * 372 + (moment.month - 1) * 31 + moment.day - 1
        seconds = ((days * 24 + moment.hour) * 60 + moment.minute) * 60 + moment.second
        offset = _offset(device, request.received_at)
        sign, minutes = "-" if offset < timedelta() else "+", abs(offset) // timedelta(minutes=1)
        return Parsed(device.device_id, _text(f"DateTime={seconds},ServerTZ={sign}{minutes // 60:02}{minutes % 60:02}"))

    def _exchange(self, request: PushRequest, device: Device) -> Parsed:  # noqa: ARG002 - whoever asks
        """Keys are not exchanged: encryption has to be switched off on the terminal."""
        return Parsed(device.device_id, _text("", 406))


def _attendance(line: str, device: Device, received_at: datetime, source: Source) -> RawEvent:
    """A line of ATTLOG: by position, or as `PIN=…` pairs on some firmware."""
    fields = _pairs(line) if line.startswith("PIN=") else dict(zip(_LOG, line.split("\t"), strict=False))
    if len(fields) < 2:
        raise invalid("not a line of an attendance log")
    payload = {
        name: fields[key][:MAX_TEXT]
        for name, key in (("state", "State"), ("verify_mode", "Verify"), ("work_code", "WorkCode"))
        if fields.get(key)
    }
    return punch(
        device,
        # Padded to a width by some firmware.
        user=fields.get("PIN", "").strip(" "),
        time=fields.get("DateTime"),
        event_type=direction_of_state(fields.get("State")),
        received_at=received_at,
        source=source,
        payload=payload,
    )


def _access(line: str, device: Device, received_at: datetime, source: Source) -> RawEvent | Other:
    """A record of an access terminal: a punch where somebody was let in."""
    fields = _pairs(line)
    event = fields.get("event", fields.get("eventtype", ""))
    time = fields["time"] if "time" in fields else _counted_time(fields.get("time_second"))
    if not _NUMBER.fullmatch(event) or time is None:
        raise invalid("not a record of an access log")
    pin, index = fields.get("pin", ""), fields.get("index", "")
    if pin in ("", "0") or int(event) not in _LET_IN:
        kept = {name: fields[name][:MAX_TEXT] for name in ("time", "event", "eventaddr", "index") if name in fields}
        return Other(_kind(int(event)), encode_json(kept))
    names = ("event", "eventaddr", "inoutstatus", "verifytype", "eventtype", "inoutstate", "verified", "time_second")
    return punch(
        device,
        user=pin,
        time=time,
        event_type=_reader(fields.get("inoutstatus", fields.get("inoutstate", ""))),
        received_at=received_at,
        source=source,
        sequence=int(index) if _NUMBER.fullmatch(index) else None,
        payload={name: fields[name][:MAX_TEXT] for name in names if name in fields},
    )


def _counted_time(text: str | None) -> str | None:
    """The wall-clock time of a stored record. It is the protocol's own count of seconds, which no epoch's is."""
    if text is None or not _NUMBER.fullmatch(text):
        return text
    days, seconds = divmod(int(text), 86400)
    months, day = divmod(days, 31)
    year, month = divmod(months, 12)
    minutes, second = divmod(seconds, 60)
    return f"{year + 2000:04}-{month + 1:02}-{day + 1:02} {minutes // 60:02}:{minutes % 60:02}:{second:02}"


def _reader(side: str) -> EventType:
    """The direction of a reader's side: 0 is in, 1 is out."""
    return "IN" if side == "0" else "OUT" if side == "1" else "UNKNOWN"


def _kind(event: int) -> str:
    if event in _REFUSED:
        return "denied"
    return "alarm" if event in _ALARM else "door"


def _counted(kind: str, table: str, lines: Sequence[str]) -> _Found:
    """That lines of these kinds came, and nothing of what is in them."""
    counts = Counter(re.split(r"[\s=]", line, maxsplit=1)[0][:16] for line in lines)
    return _Found(others=[Other(kind, encode_json({"table": table[:MAX_TEXT], "lines": counts}))] if lines else [])


def _parsed(device: Device, answer: str, found: _Found, stamps: Mapping[str, str] | None = None) -> Parsed:
    return Parsed(device.device_id, _text(answer), found.events, found.rejected, found.others, stamps=stamps or {})


def _options(body: bytes) -> dict[str, str]:
    """The facts among comma separated `name=value`, of which a value may hold commas too."""
    found = re.findall(r"(?:^|,)\s*(\w+)=([^=]*?)(?=,\s*\w+=|\s*$)", _decoded(body))
    return {name: value.strip()[:MAX_TEXT] for name, value in found if name in _DETAILS}


def _pairs(line: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.split("\t") if "=" in part)


def _lines(body: bytes) -> list[str]:
    return [line for line in re.split(r"\r\n|\n|\r", _decoded(body)) if line.strip(" \t\0")]


def _decoded(body: bytes) -> str:
    """The text; bytes of another encoding stand as such, for nothing of a body may be lost for one name in it."""
    return body.decode("utf-8", errors="backslashreplace")


def _offset(device: Device, moment: datetime) -> timedelta:
    return moment.astimezone(zone(device.timezone)).utcoffset() or timedelta()


def _zone_option(device: Device, moment: datetime) -> str:
    """Whole hours, or minutes where it is none: the terminal takes a number beyond 60 for minutes."""
    minutes = _offset(device, moment) // timedelta(minutes=1)
    return str(minutes // 60 if minutes % 60 == 0 else minutes)


def _access_options(device: Device, *, registered: bool) -> str:
    code = _code(device)
    head = ["registry=ok", f"RegistryCode={code}"] if registered else []
    return "\n".join(
        [
            *head,
            "ServerVersion=3.1.2",
            "ServerName=Punchstream",
            "PushProtVer=3.1.2",
            "ErrorDelay=30",
            "RequestDelay=10",
            "TransTimes=00:00;14:05",
            "TransInterval=1",
            "TransTables=Transaction",
            "Realtime=1",
            f"SessionID={code}",
            "TimeoutSec=10\n",
        ]
    )


def _code(device: Device) -> str:
    """No secret, but the same for a terminal whenever it asks."""
    return sha256(f"punchstream {device.device_id}".encode()).hexdigest()[:32]


def _text(body: str, status: int = 200) -> Answer:
    return Answer(body.encode(), status)
