"""ZKTeco terminals that push by ADMS ("iclock"): attendance terminals, and access terminals with their own records.

After "Attendance PUSH Communication Protocol" 4.8 and "Security PUSH Communication Protocol" 3.1.2. A terminal is known
by nothing but its serial number. It keeps what is not answered 200 and sends it again after `ErrorDelay`.
"""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Source
from attendance.records.terminals import RESET
from producers.devices.common.listed import KeptRequest
from producers.devices.common.punch import MAX_TEXT, invalid
from producers.devices.contract import (
    Answer,
    DeviceReport,
    Head,
    Other,
    Parsed,
    PushRequest,
    Rejected,
    Route,
    Sender,
)
from producers.devices.zkteco.adms_commands import ALLOWED, results_of
from producers.devices.zkteco.adms_handshake import (
    ACCESS,
    KIND,
    STAMP,
    ZONE,
    access_options,
    attendance_options,
    is_access,
    new_zone,
    registry_code,
    server_time,
    stamp_of,
    zone_option,
)
from producers.devices.zkteco.adms_records import (
    AdmsOptions,
    Line,
    Read,
    access,
    attendance,
    counted,
    is_photograph,
    is_record,
    operation,
    options_of,
    reader_of,
    table_of,
)
from producers.devices.zkteco.listed import kept_line, kept_request

NAME: Final = "zkteco_adms"

_SERIAL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FACTS: Final = ("DeviceType", "pushver", "language")
_DETAILS: Final = frozenset(
    {"FWVersion", "UserCount", "TransactionCount", "FaceCount", "FPCount", "AttLogCount", "DeviceName", "IPAddress"}
)
_INFO: Final = ("FWVersion", "UserCount", "FPCount", "TransactionCount", "IPAddress")
_UPLOADS: Final = frozenset({"cdata", "edata", "querydata"})
_COUNT: Final = re.compile(rb"OK: ([0-9]+)")
# What brings no table by the protocol. Its own are facts, or what became of commands.
_WITHOUT_TABLE: Final = frozenset({"getrequest", "ping", "devicecmd", "registry", "push", "rtdata"})
_PAIR: Final = re.compile(r"(?:^|[,&\s])~?(\w+)=")
# Who has one of these in it is a person, and no terminal.
_PERSON: Final = frozenset({"pin", "userid", "user_id"})
_LINE_ENDS: Final = re.compile(r"\r\n|\n|\r")
_PACKED: Final = b"\x1f\x8b"
# Name by name, and not as the table of one line: a value may hold commas too.
_PAIR_LIST: Final = re.compile(r"(?:^|,)\s*~?(\w+)=([^=]*?)(?=,\s*~?\w+=|\Z)")
# A second name and value inside of a value: another sign than & stood between the two.
_SECOND: Final = re.compile(r"(?<![\s?;&])[\s?;&]++(?=\w+=)")


@dataclass(slots=True)
class _Found:
    """What the lines of a body turned out to be."""

    events: list[RawEvent] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)


class ZktecoAdms:
    """The push adapter."""

    name: Final = NAME
    version: Final = "2"
    verified_on: Final = "simulator"
    options: Final = AdmsOptions

    def __init__(self, payload_fields: Collection[str]) -> None:  # noqa: ARG002 - the protocol has no further fields
        self._answers: Mapping[str, Callable[[PushRequest, Device], Parsed]] = {
            "cdata": self._data,
            "fdata": self._data,
            "edata": self._data,
            "querydata": self._data,
            "getrequest": self._request,
            "devicecmd": self._results,
            "ping": self._ping,
            "registry": self._registry,
            "push": self._configuration,
            "rtdata": self._time,
            "exchange": self._exchange,
        }

    @property
    def routes(self) -> Sequence[Route]:
        """Both protocols have the same prefix. `{call}` is for `.aspx`, and for calls that are not known.

        What the protocol lacks, a path may have: a token, which the terminal or a proxy in front of push puts there.
        """
        said = [Route(method, f"/iclock/{call}") for call in self._answers for method in ("GET", "POST")]
        others = [
            Route(method, f"{before}/iclock/{{call}}") for before in ("", "/adms/{token}") for method in ("GET", "POST")
        ]
        return [*said, *others]

    def sender(self, head: Head) -> Sender:
        """The serial number in `SN`, and the token of the path."""
        query = _query(head)
        serial = query.get("sn", "")
        if not _SERIAL.fullmatch(serial):
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "no serial number")
        return Sender(head.params.get("token"), serial, facts=_facts(query))

    def reads_lines(self, head: Head) -> bool:
        """A table of records is lines; a photograph is none. See `LineAdapter.reads_lines`."""
        query = _query(head)
        name = query.get("table") or query.get("type") or ""
        if name.casefold() == "tabledata":
            # Without a count, the answer has that of all lines.
            name = query.get("tablename", "") if query.get("count") else name
        packed = "content-encoding" in head.headers or "contenttype" in query
        if packed or head.method != "POST" or _call(head) not in _UPLOADS:
            return False
        return table_of(name) in ("attendance", "access") or (not name and _call(head) == "cdata")

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The parts' counts together. See `LineAdapter.joined`."""
        counts = [int(found[1]) for answer in answers if (found := _COUNT.fullmatch(answer.body))]
        return _text(f"OK: {sum(counts)}") if counts else answers[-1]

    def parse(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        """Read one request. See `PushAdapter.parse`."""
        (device,) = devices.values()  # no two have one serial number
        call = _call(request.head)
        if call in self._answers:
            parsed = self._answers[call](request, device)
            return self._with_records(parsed, request, device) if call in _WITHOUT_TABLE else parsed
        if request.body.strip():
            raise InvalidRecord(Reason.UNREADABLE_BODY, f"{call[:MAX_TEXT]!r} is none of the protocol's calls")
        return Parsed(device.device_id, _text("", 404))

    def refuse(self, head: Head, reason: Reason, retry_after: int) -> Answer:
        """Anything but 200 has the terminal keep its records and come again. See `PushAdapter.refuse`."""
        match reason:
            case Reason.UNREADABLE_BODY | Reason.INTERNAL_ERROR:
                return _text("OK")  # kept as a dead letter; it would be sent again for ever
            case Reason.UNKNOWN_DEVICE:
                return _text("", 406 if _call(head) == "registry" else 403)
            case Reason.BODY_TOO_LARGE:
                return _text("", 413)
            case _:
                return Answer(b"", 503, headers={"Retry-After": str(retry_after)})

    def kept_request(self, head: Head, body: bytes, query: str) -> KeptRequest | None:
        """A request without the fields that are not on the list. See `ListingAdapter.kept_request`."""
        asked = _query(head)
        table = asked.get("table") or asked.get("type") or ""
        if table.casefold() in ("tabledata", "count"):
            table = asked.get("tablename", "")
        return None if body.startswith(_PACKED) else kept_request(table, _lines(body), body, query)

    def _data(self, request: PushRequest, device: Device) -> Parsed:
        """Asked without a body it is the handshake; it is also what a terminal asks of somebody it does not know."""
        query, brings = _query(request.head), bool(request.body.strip())
        is_data, table = _call(request.head) == "cdata", query.get("table") or query.get("type") or ""
        if "options" in query and is_data and (not table or (not brings and table.casefold() == "options")):
            return self._with_records(self._handshake(request, device, query), request, device)
        if request.head.method == "POST" or brings or _call(request.head) == "querydata":
            return self._upload(request, device, query)
        if "table" in query or "authtype" in query:
            return Parsed(device.device_id, _text("OK"))
        return self._handshake(request, device, query)

    def _handshake(self, request: PushRequest, device: Device, query: Mapping[str, str]) -> Parsed:
        """What a terminal is to do from now on, and from which record on it is to send."""
        report = DeviceReport(details=_said(query) | _options(request.body))
        if is_access(query, request.stamps):
            answer = _text(access_options(device, registered=True))
            return Parsed(device.device_id, answer, report=report, stamps={KIND: ACCESS})
        kind = query.get("devicetype") or request.stamps.get(KIND, "")
        stamps = {ZONE: zone_option(device, request.received_at), KIND: kind[:MAX_TEXT]}
        if request.stamps.get(RESET):
            stamps[RESET] = ""
        answer = _text(attendance_options(device, request.stamps, request.received_at))
        return Parsed(device.device_id, answer, report=report, stamps=stamps)

    def _upload(self, request: PushRequest, device: Device, query: Mapping[str, str]) -> Parsed:
        """A table of records, which some firmware does not name."""
        if request.body.startswith(_PACKED):
            raise InvalidRecord(Reason.UNREADABLE_BODY, "its body is compressed")
        lines, name = _lines(request.body), query.get("table") or query.get("type") or ""
        if is_photograph(request.body):
            return _parsed(device, "OK", _Found(others=[counted("biometric", name or "photograph", [""])]))
        _check_number(lines, request)
        if "authtype" in query:  # whoever it names may still be refused; who was let in comes as a record
            return _parsed(device, "OK", _Found(others=[counted("verification", query["authtype"], lines)]))
        if name.casefold() in ("tabledata", "count"):
            table = query.get("tablename", "")
            # A count that is not theirs has the terminal send it for ever.
            answer = f"{table}={query.get('count') or len(lines)}"
            of_persons = lines and table_of(table, lines) == "biometric" and not any(map(is_record, lines))
            if name.casefold() == "count" and of_persons:
                return _parsed(device, answer, _Found(others=[counted("biometric", table, lines)]))
            if name.casefold() == "count":
                return self._with_records(_parsed(device, answer, _Found()), request, device)
            return self._table(request, device, query, table, answer, lines)
        return self._table(request, device, query, name, f"OK: {len(lines)}", lines)

    def _table(
        self,
        request: PushRequest,
        device: Device,
        query: Mapping[str, str],
        name: str,
        answer: str,
        lines: Sequence[str],
    ) -> Parsed:
        """What is in the lines of a table of that name."""
        match table_of(name, lines):
            case None if not name:
                return self._untitled(request, device, query, lines)
            case "attendance":
                found = self._read(lines, device, request, lambda _: attendance)
                return _parsed(device, answer, found, _stamps(query, found.events, device, request))
            case "access":
                found = self._read(lines, device, request, lambda _: access)
                return _parsed(device, answer if "tablename" in query else "OK", found, {KIND: ACCESS})
            case "options" | "state" as kind:
                parsed = _reported(request.body, device, {KIND: ACCESS} if kind == "state" else {})
                return self._with_records(parsed, request, device)
            case None if "tablename" not in query:
                raise InvalidRecord(Reason.UNREADABLE_BODY, f"table {name[:MAX_TEXT]!r} is none of the protocol's")
            case "operation" if any(map(is_record, lines)):
                return _parsed(device, answer, self._read(lines, device, request, _operation_or_record))
            case kind:
                return _parsed(device, answer, _of_table(kind, name, lines) if lines else _Found())

    def _untitled(self, request: PushRequest, device: Device, query: Mapping[str, str], lines: Sequence[str]) -> Parsed:
        """Each line by what it says itself."""
        if not lines:
            return Parsed(device.device_id, _text("OK"), report=DeviceReport())
        if any(map(reader_of, lines)):
            found = self._read(lines, device, request, reader_of)
            # Those of an access terminal have a number, and no stamp counts for them.
            log = [event for event in found.events if event.sequence is None]
            return _parsed(device, f"OK: {len(lines)}", found, _stamps(query, log, device, request))
        if len(lines) == 1 and "\t" not in lines[0] and _are_facts(request.body):
            return _reported(request.body, device, {})
        raise InvalidRecord(Reason.UNREADABLE_BODY, "it names no table, and its lines are of none")

    def _with_records(self, parsed: Parsed, request: PushRequest, device: Device) -> Parsed:
        """What a call brings that is not its own by the protocol: records are read, and all else is kept.

        Raises:
            InvalidRecord: it is more than a request may hold.
        """
        lines = _lines(request.body)
        records = [line for line in lines if reader_of(line)]
        _check_number(records, request)
        found = self._read(records, device, request, reader_of)
        if len(records) < len(lines) and not _are_facts(request.body):
            message = "its body is none that the protocol has for this call"
            found.rejected.append(Rejected(len(records), Reason.UNREADABLE_BODY, message, b""))
        return replace(parsed, events=found.events, rejected=found.rejected, others=found.others)

    def _read(
        self, lines: Sequence[str], device: Device, request: PushRequest, reader: Callable[[str], Read | None]
    ) -> _Found:
        found = _Found()
        batch_id, options = token_hex(16), options_of(device)
        for number, line in enumerate(lines):
            source = Source("push", self.name, self.version, batch_id, number)
            try:
                read = reader(line)
                if read is None:
                    raise invalid("a line of no table")
                match read(line, Line(device, options, request.received_at, source)):
                    case RawEvent() as event:
                        found.events.append(event)
                    case other:
                        found.others.append(other)
            except InvalidRecord as error:
                found.rejected.append(Rejected(number, error.reason, error.message, kept_line(line)))
        return found

    def _request(self, request: PushRequest, device: Device) -> Parsed:
        """A terminal asks whether there is something to do, and may tell how it is."""
        values = _query(request.head).get("info", "").split(",")
        details = {name: value[:MAX_TEXT] for name, value in zip(_INFO, values, strict=False) if value}
        given = [command for command in request.commands if ALLOWED.fullmatch(command.text)]
        check, stamps = new_zone(device, request.stamps, request.received_at)
        answer = "".join(f"C:{command.id}:{command.text}\n" for command in given) + check or "OK"
        return Parsed(device.device_id, _text(answer), report=DeviceReport(details=details), stamps=stamps, given=given)

    def _results(self, request: PushRequest, device: Device) -> Parsed:
        return Parsed(device.device_id, _text("OK"), results=results_of(_lines(request.body)))

    def _ping(self, request: PushRequest, device: Device) -> Parsed:  # noqa: ARG002 - it says nothing
        return Parsed(device.device_id, _text("OK"), report=DeviceReport())

    def _registry(self, request: PushRequest, device: Device) -> Parsed:
        report = DeviceReport(details=_options(request.body))
        answer = _text(f"RegistryCode={registry_code(device)}")
        return Parsed(device.device_id, answer, report=report, stamps={KIND: ACCESS})

    def _configuration(self, request: PushRequest, device: Device) -> Parsed:  # noqa: ARG002 - the same for all
        return Parsed(device.device_id, _text(access_options(device, registered=False)), stamps={KIND: ACCESS})

    def _time(self, request: PushRequest, device: Device) -> Parsed:
        return Parsed(device.device_id, _text(server_time(device, request.received_at)))

    def _exchange(self, request: PushRequest, device: Device) -> Parsed:  # noqa: ARG002 - whoever asks
        """Keys are not exchanged: encryption has to be switched off on the terminal."""
        return Parsed(device.device_id, _text("", 406))


def _check_number(lines: Sequence[str], request: PushRequest) -> None:
    if len(lines) > request.most:
        raise InvalidRecord(Reason.BODY_TOO_LARGE, f"{len(lines)} records, more than {request.most}")


def _of_table(kind: str | None, name: str, lines: Sequence[str]) -> _Found:
    """What a table without punches holds; rejected where the protocol does not have its name, for one has punches."""
    if kind is not None:
        return _Found(others=[counted(kind, name, lines)])
    message = f"table {name[:MAX_TEXT]!r} is none of the protocol's"
    return _Found(rejected=[Rejected(0, Reason.UNREADABLE_BODY, message, b"")])


def _call(head: Head) -> str:
    """Which of the protocol's calls it is, without the `.aspx` that a whole family of servers has behind it."""
    call = head.params.get("call") or head.route.rpartition("/")[2]
    return re.sub(r"\.[a-z]{1,5}$", "", call.strip().casefold())


def _query(head: Head) -> Mapping[str, str]:
    """The query, its names in lower case, the first of each name; however its parts are kept apart."""
    query: dict[str, str] = {}
    for name, value in head.query.items():
        first, *more = _SECOND.split(value)
        for key, each in ((name, first), *(part.split("=", 1) for part in more)):
            query.setdefault(key.strip(" ?").casefold(), each.strip())
    return query


def _said(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:MAX_TEXT] for name, value in _facts(query).items()}


def _facts(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name.casefold()] for name in _FACTS if name.casefold() in query}


def _stamps(
    query: Mapping[str, str], events: Sequence[RawEvent], device: Device, request: PushRequest
) -> Mapping[str, str]:
    posted = query.get("stamp") or query.get("attlogstamp", "")
    stamp = stamp_of(posted, events, device, request.received_at, request.stamps)
    return {} if stamp is None else {STAMP: stamp}


def _reported(body: bytes, device: Device, stamps: Mapping[str, str]) -> Parsed:
    """Answered by just that: a count has some firmware send it again for ever."""
    return Parsed(device.device_id, _text("OK"), report=DeviceReport(details=_options(body)), stamps=stamps)


def _parsed(device: Device, answer: str, found: _Found, stamps: Mapping[str, str] | None = None) -> Parsed:
    return Parsed(device.device_id, _text(answer), found.events, found.rejected, found.others, stamps=stamps or {})


def _options(body: bytes) -> dict[str, str]:
    """The facts among comma separated `name=value`."""
    found = _PAIR_LIST.findall(_decoded(body))
    return {name: value.strip()[:MAX_TEXT] for name, value in found if name in _DETAILS}


def _are_facts(body: bytes) -> bool:
    """Whether a body is what a terminal says of itself, or of a command: names and values, and nobody's."""
    text = _decoded(body).lstrip()
    names = {name.casefold() for name in _PAIR.findall(text)}
    return _PAIR.match(text) is not None and not names & _PERSON


def _operation_or_record(line: str) -> Read:
    """How a line of an operation log is read: some firmware mixes punches in."""
    read = reader_of(line)
    return read if read in (attendance, access) else operation


def _lines(body: bytes) -> list[str]:
    return [line for line in _LINE_ENDS.split(_decoded(body)) if line.strip(" \t")]


def _decoded(body: bytes) -> str:
    """The text; bytes of another encoding stand as such, for nothing of a body may be lost for one name in it.

    What has zeros between its characters, or behind them, is digits and signs of two bytes each, or padded to a width.
    """
    text = body.removeprefix(BOM_UTF16_LE).removeprefix(BOM_UTF16_BE).decode("utf-8", errors="backslashreplace")
    return text.replace("\0", "").replace("\ufeff", "")


def _text(body: str, status: int = 200) -> Answer:
    return Answer(body.encode(), status)
