"""What a terminal that pushes by ADMS writes in a body: a line a record, and the tables that the lines belong to.

After "Attendance PUSH Communication Protocol" 4.8 and "Security PUSH Communication Protocol" 3.1.2 with its appendix on
real-time events.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.registry import Device
from attendance.wire import encode_json
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.options import EventOptions, read_options
from producers.devices.common.punch import MAX_TEXT, invalid, punch
from producers.devices.contract import Other
from producers.devices.zkteco.attendance_log import NOBODY

Table = Literal["attendance", "access", "operation", "biometric", "options", "state", "table"]
"""What a table holds; None where nothing is known of it."""

_TABLES: Final[Mapping[str, Table]] = {
    "attlog": "attendance",
    "attlogs": "attendance",
    "rtlog": "access",
    "transaction": "access",
    "transactions": "access",
    "operlog": "operation",
    "oplog": "operation",
    "errorlog": "operation",
    "options": "options",
    "info": "options",
    "rtstate": "state",
    # What a body of one of these holds is counted and not kept: templates, photographs, names.
    "user": "biometric",
    "userinfo": "biometric",
    "biodata": "biometric",
    "biophoto": "biometric",
    "attphoto": "biometric",
    "userpic": "biometric",
    "fingertmp": "biometric",
    "templatev10": "biometric",
    "face": "biometric",
    "facev7": "biometric",
    "fvein": "biometric",
    "idcard": "biometric",
    # What an access terminal is set to: who may enter where, and when. There is no punch in them.
    **dict.fromkeys(("timezone", "holiday", "firstcard", "multimcard", "inoutfun", "userauthorize"), "table"),
}
# The word that a line of theirs begins with, where it is no punch.
_OPERATIONS: Final = frozenset({"OPLOG", "ERRORLOG", "WORKCODE", "SMS", "USER_SMS", "ENROLL_USER", "ENROLL_FP"})
_PERSONAL: Final = frozenset(
    {"USER", "FP", "FACE", "FVEIN", "USERPIC", "BIODATA", "BIOPHOTO", "IDCARD"}
    | {"user", "userauthorize", "templatev10", "biophoto", "biodata", "userpic", "facev7", "identitycard"}
)
_WORDS: Final = _OPERATIONS | _PERSONAL
_PHOTOGRAPH: Final = re.compile(rb"\bCMD=(uploadphoto|realupload)\b")

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_LOG: Final = ("pin", "datetime", "state", "verify", "workcode", "reserved1", "reserved2", "idnum", "type")
_LOG_NAMES: Final = {"time": "datetime", "status": "state", "verifytype": "verify", "verified": "verify"}
_DATED: Final = re.compile(r"\s*\S+\s+\d{4}[-/]\d{1,2}[-/]\d{1,2}[ T]+\d{1,2}:\d\d(:\d\d)?\b")
_COUNTED: Final = re.compile(r"\s*\S+\t\s*\d{9,10}\s*(\t|$)")
# The number of an identity card, which is where other terminals tell of a mask.
_ID_CARD: Final = re.compile(r"[0-9]{14,17}[0-9Xx]")
_VERIFICATION: Final = "1"

# Of "Security PUSH", appendix on real-time events. Up to 19 and from 200 to 253 it is normal, up to 99 refused, then an
# alarm. Normal is not yet somebody who was let in: of those that follow, none is.
_NORMAL: Final = frozenset((*range(20), *range(200, 254)))
_REFUSED: Final = range(20, 100)
_ALARM: Final = range(100, 200)
_NOBODY_CAME: Final = frozenset(
    (
        # An emergency password, passage hours, a linkage, an alarm that was cancelled, a remote command, an output.
        *range(4, 14),
        # The door opened or closed, the exit button, the end of passage hours, a remote command, the start.
        *(200, 201, 202, 204, 205, 206, 209),
        # Fire, the superuser closes, the lift control, the connection to the controller.
        *(210, 211, 212, 213, 217),
        # An input, a verification that still waits for the server's answer, the bell, inputs again, an output, a lock.
        *(220, 221, 223, 224, 225, 226, 227, 228, 229, 230, 233, 234),
    )
)


class AdmsOptions(EventOptions):
    """The options of an entry. The numbers of events are those of access terminals."""


@dataclass(frozen=True, slots=True)
class Line:
    """Whose line it is, and how it came."""

    device: Device
    options: AdmsOptions
    received_at: datetime
    source: Source


Read = Callable[[str, Line], RawEvent | Other]


def options_of(device: Device) -> AdmsOptions:
    """The entry's options."""
    return read_options(device, AdmsOptions)


def table_of(name: str) -> Table | None:
    """What the table of that name holds, however it is spelled; None for a name that the protocol does not have.

    Args:
        name: As the query has it, not empty.
    """
    return _TABLES.get(re.sub(r"[\s_-]", "", name).casefold())


def is_photograph(body: bytes) -> bool:
    """Whether a body is one photograph, with its head in front."""
    return _PHOTOGRAPH.search(body, 0, 1024) is not None


def reader_of(line: str) -> Read | None:
    """How a line is read whose table is not said; None where it can be none of the protocol's."""
    if _word(line) in _WORDS:
        return _operation
    if _DATED.match(line) or _COUNTED.match(line):
        return attendance
    names = {name.casefold() for name in re.findall(r"(?:^|[\s])(\w+)=", line)}
    if names & {"event", "eventtype"} and names & {"time", "time_second"}:
        return access
    return attendance if "pin" in names and names & {"datetime", "time"} else None


def attendance(line: str, at: Line) -> RawEvent | Other:
    """A line of an attendance log: by position, or as `PIN=…` pairs on some firmware.

    Args:
        line: The line.
        at: Whose it is.

    Returns:
        The punch; or what is none: a face that nobody has, and a comparison with an identity card that failed.

    Raises:
        InvalidRecord: it is no such line, or names no user.
    """
    by_name = re.match(r"\s*pin=", line, re.IGNORECASE)
    if by_name:
        fields = {_LOG_NAMES.get(name, name): value for name, value in _pairs(line).items()}
    else:
        fields = dict(zip(_LOG, _cells(line), strict=False))
    if len(fields) < 2:
        raise invalid("not a line of an attendance log")
    # Padded to a width by some firmware.
    user, state = fields.get("pin", "").strip(), fields.get("state", "").strip()
    verification = _is_verification(fields, named=by_name is not None, width=line.count("\t") + 1)
    if verification and state != "0":
        return _other("denied", fields, ("datetime", "state"))
    if user == NOBODY:
        return _other("stranger", fields, ("datetime", "state"))
    payload = {
        name: fields[key][:MAX_TEXT]
        for name, key in (("state", "state"), ("verify_mode", "verify"), ("work_code", "workcode"))
        if fields.get(key)
    }
    return punch(
        at.device,
        user=user,
        time=fields.get("datetime"),
        # Of a comparison it is what came of it, and no direction.
        event_type="UNKNOWN" if verification else direction_of_state(state),
        received_at=at.received_at,
        source=at.source,
        payload=payload,
    )


def access(line: str, at: Line) -> RawEvent | Other:
    """A record of an access terminal: a punch where somebody was let in.

    Args:
        line: The line.
        at: Whose it is.

    Raises:
        InvalidRecord: it is no such record.
    """
    fields = _pairs(line)
    event = fields.get("event", fields.get("eventtype", "")).strip()
    time = fields["time"] if "time" in fields else _counted_time(fields.get("time_second"))
    if not _NUMBER.fullmatch(event) or time is None:
        raise invalid("not a record of an access log")
    pin, index = fields.get("pin", "").strip(), fields.get("index", "").strip()
    if pin in ("", NOBODY) or not _came(int(event), at.options):
        return _other(_kind(int(event)), fields, ("time", "event", "eventaddr", "index"))
    names = ("event", "eventaddr", "inoutstatus", "verifytype", "eventtype", "inoutstate", "verified", "time_second")
    return punch(
        at.device,
        user=pin,
        time=time,
        event_type=_side(fields.get("inoutstatus", fields.get("inoutstate", "")).strip()),
        received_at=at.received_at,
        source=at.source,
        sequence=int(index) if _NUMBER.fullmatch(index) else None,
        payload={name: fields[name][:MAX_TEXT] for name in names if name in fields},
    )


def counted(kind: str, table: str, lines: Sequence[str]) -> Other:
    """That lines of a table came, and nothing of what is in them.

    Args:
        kind: As of `Other`.
        table: Its name.
        lines: All of them.
    """
    words = Counter(_word(line) for line in lines)
    return Other(kind, encode_json({"table": table[:MAX_TEXT], "lines": words}))


def _operation(line: str, at: Line) -> Other:  # noqa: ARG001 - the same for all
    return counted("operation" if _word(line) in _OPERATIONS else "biometric", "", [line])


def _word(line: str) -> str:
    """The word that a line begins with, where it is one of the protocol's: anything else could be part of a name."""
    word = re.split(r"[\s=]", line, maxsplit=1)[0]
    return word if word in _WORDS else "line"


def _is_verification(fields: Mapping[str, str], *, named: bool, width: int) -> bool:
    """Whether a face was compared with an identity card. Other lines as long have a mask and a temperature there."""
    if fields.get("type", "").strip() != _VERIFICATION:
        return False
    return named or width == len(_LOG) or _ID_CARD.fullmatch(fields.get("idnum", "").strip()) is not None


def _came(event: int, options: AdmsOptions) -> bool:
    """Whether somebody was let in. What is normal and not known to be something else is believed."""
    if event in options.punch_events:
        return True
    return event in _NORMAL and event not in _NOBODY_CAME and event not in options.other_events


def _counted_time(text: str | None) -> str | None:
    """The wall-clock time of a stored record. It is the protocol's own count of seconds, which no epoch's is."""
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return text
    days, seconds = divmod(int(text), 86400)
    months, day = divmod(days, 31)
    year, month = divmod(months, 12)
    minutes, second = divmod(seconds, 60)
    return f"{year + 2000:04}-{month + 1:02}-{day + 1:02} {minutes // 60:02}:{minutes % 60:02}:{second:02}"


def _side(side: str) -> EventType:
    """The direction of a reader's side: 0 is in, 1 is out."""
    return "IN" if side == "0" else "OUT" if side == "1" else "UNKNOWN"


def _kind(event: int) -> str:
    if event in _REFUSED:
        return "denied"
    return "alarm" if event in _ALARM else "door"


def _other(kind: str, fields: Mapping[str, str], names: Sequence[str]) -> Other:
    return Other(kind, encode_json({name: fields[name][:MAX_TEXT] for name in names if name in fields}))


def _cells(line: str) -> list[str]:
    """The cells of a line, which spaces keep apart on some firmware."""
    if "\t" in line or not _DATED.match(line):
        return line.split("\t")
    user, date, time, *rest = line.split()
    return [user, f"{date} {time}", *rest]


def _pairs(line: str) -> dict[str, str]:
    """The fields of a line by their names in lower case, without the name of the table in front.

    Raises:
        InvalidRecord: it has one twice with two values, of which nobody knows which counts.
    """
    pairs: dict[str, str] = {}
    for part in re.sub(r"^\s*\w+\s+(?=\w+=)", "", line).split("\t"):
        name, equals, value = part.partition("=")
        if not equals:
            continue
        name = name.strip().casefold()
        if pairs.setdefault(name, value) != value:
            raise invalid(f"{name[:MAX_TEXT]} stands there twice")
    return pairs
