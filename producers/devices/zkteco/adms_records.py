"""What a terminal that pushes by ADMS writes in a body: a line a record, and the tables that the lines belong to.

After "Attendance PUSH Communication Protocol" 4.8 and "Security PUSH Communication Protocol" 3.1.2 with its appendix on
real-time events.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Scalar, Source
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
    "workcode": "operation",
    "sms": "operation",
    "usersms": "operation",
    "options": "options",
    "info": "options",
    "rtstate": "state",
    # What a body of one of these holds is counted and not kept: templates, photographs, names.
    "user": "biometric",
    "extuser": "biometric",
    "mulcarduser": "biometric",
    "identitycard": "biometric",
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
# What other firmware calls a table of these, such as USERINFO2 or facetmpv10.
_OF_PERSONS: Final = re.compile(
    r"(?:(?:ext|extend|mulcard)?user(?:info|pic|photo|face|fp|finger|card)?|template|facetmp|face|fvein|fp|finger(?:tmp|print|vein)?"
    r"|palm(?:vein|tmp)?|bio(?:data|photo|template|key)?|att(?:photo|pic)|photo|pic|picture|idcard|identitycard"
    r"|card(?:user|info)?|person(?:nel)?|employee)(?:info|data|v?\d+)*"
)
# The word that a line of theirs begins with, where it is no punch.
_OPERATIONS: Final = frozenset({"OPLOG", "ERRORLOG", "WORKCODE", "SMS", "USER_SMS", "ENROLL_USER", "ENROLL_FP"})
_PERSONAL: Final = frozenset(
    {"USER", "FP", "FACE", "FVEIN", "USERPIC", "BIODATA", "BIOPHOTO", "IDCARD"}
    | {"user", "userauthorize", "templatev10", "biophoto", "biodata", "userpic", "facev7", "identitycard"}
)
WORDS: Final = _OPERATIONS | _PERSONAL
_PHOTOGRAPH: Final = re.compile(rb"\bCMD=(uploadphoto|realupload)\b")

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
LOG: Final = ("pin", "datetime", "state", "verify", "workcode", "reserved1", "reserved2", "idnum", "type")
LOG_NAMES: Final = {"time": "datetime", "status": "state", "verifytype": "verify", "verified": "verify"}
_NAMES: Final = re.compile(r"(?:^|[\s&,;])(\w+)\s*=")
NAMED: Final = re.compile(r"(?:^|\s)pin\s*=", re.IGNORECASE)
# A user and a time, however they are kept apart.
DATED: Final = re.compile(
    r"\s*([^\s,;|=]+)[\s,;|]+(\d{4}[-/]\d{1,2}[-/]\d{1,2})[ T\t]+(\d{1,2}:\d{1,2}(?::\d{1,2})?)(?!\d)"
)
# What may stand behind such a time: no offset, no fraction, and neither AM nor PM.
BEHIND: Final = re.compile(r"\s*$|[\t,;|]|\s+(?!\s|[ap]\.?m)", re.IGNORECASE)
_COUNTED: Final = re.compile(r"\s*\S+\t\s*\d{9,10}\s*(\t|$)")
# `2026-01-01 08:00:00`, as nearly all firmware writes it, by its length and by the characters 4, 7 and 10 of it.
_USUAL_LENGTH: Final = 19
_USUAL_SIGNS: Final = "-- "
_UNPADDED: Final = re.compile(r"\s*(\d{4})[-/](\d{1,2})[-/](\d{1,2})[ T]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?\s*")
# The number of an identity card, which is where other terminals tell of a mask.
ID_CARD: Final = re.compile(r"[0-9]{14,17}[0-9Xx]")
# In the place of which others have a flag or a temperature.
ANY_CARD: Final = re.compile(r"[0-9A-Za-z]{5,}")
_VERIFICATION: Final = "1"
# Where no tabs keep the pairs of a line apart. A run of signs is looked at once, not from each of them.
SEPARATED: Final = re.compile(r"(?<![\s&,;])[\s&,;]++(?=\w+\s*=)")
DOOR: Final = ("sensor", "relay", "alarm", "door")
ACCESS_PAYLOAD: Final = (
    *("event", "eventaddr", "inoutstatus", "verifytype"),
    *("eventtype", "inoutstate", "verified", "time_second"),
)

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


class Line(Struct, frozen=True):
    """Whose line it is, and how it came."""

    device: Device
    options: AdmsOptions
    received_at: datetime
    source: Source


Read = Callable[[str, Line], RawEvent | Other]


def options_of(device: Device) -> AdmsOptions:
    """The entry's options."""
    return read_options(device, AdmsOptions)


def table_of(name: str, lines: Sequence[str] = ()) -> Table | None:
    """What the table of that name holds, however it is spelled; None for a name that the protocol does not have.

    A name that is only like those of persons and templates is one of them if none of its lines is a punch.

    Args:
        name: As the query has it, not empty.
        lines: What stands in it.
    """
    plain = re.sub(r"[\s_-]", "", name).casefold()
    known = _TABLES.get(plain)
    if known is None and _OF_PERSONS.fullmatch(plain) and not any(map(is_record, lines)):
        return "biometric"
    return known


def is_record(line: str) -> bool:
    """Whether a line is read as one of a log of attendance or access."""
    return reader_of(line) in (attendance, access)


def is_photograph(body: bytes) -> bool:
    """Whether a body is one photograph, with its head in front."""
    return _PHOTOGRAPH.search(body, 0, 1024) is not None


def reader_of(line: str) -> Read | None:
    """How a line is read whose table is not said; None where it can be none of the protocol's."""
    if _word(line) in WORDS:
        return operation
    if DATED.match(line) or _COUNTED.match(line):
        return attendance
    names = {name.casefold() for name in _NAMES.findall(line)}
    if names & {"event", "eventtype"} and names & {"time", "time_second"}:
        return access
    return attendance if "pin" in names and names & {"datetime", "time"} else None


def attendance(line: str, at: Line) -> RawEvent | Other:
    """A line of an attendance log: by position, or as `PIN=…` pairs on some firmware.

    A line of another table that stands among them is read as what it is.

    Args:
        line: The line.
        at: Whose it is.

    Returns:
        The punch; or what is none: a face that nobody has, and a comparison with an identity card that failed.

    Raises:
        InvalidRecord: it is no such line, or names no user.
    """
    cells = line.split("\t")
    if len(cells) > 1 and is_usual(cells[1]):
        return _entry(cells, cells[1], at)
    read = reader_of(line)
    if read is not None and read is not attendance:
        return read(line, at)
    if NAMED.search(line):
        fields = {LOG_NAMES.get(name, name): value for name, value in _pairs(line).items()}
        if "datetime" in fields:
            cells = [fields.get(name, "") for name in LOG]
            return _entry(cells, _padded(cells[1]), at, named=True)
    dated = DATED.match(line)
    if dated is not None and BEHIND.match(line, dated.end()):
        time = f"{dated[2]} {dated[3]}"
        return _entry([dated[1], time, *rest_of(line[dated.end() :])], _padded(time), at)
    if len(cells) > 1 and cells[1].lstrip()[:1].isdecimal() and "=" not in cells[0]:
        return _entry(cells, cells[1], at)
    # What stands where a time should be may be a name.
    raise invalid("not a line of an attendance log")


def _entry(cells: Sequence[str], time: str, at: Line, *, named: bool = False) -> RawEvent | Other:
    """What the cells of a line say, in the order of `LOG`; `time` is the second of them as it is to be read."""
    # Padded to a width by some firmware.
    user, state = cells[0].strip(), cells[2].strip() if len(cells) > 2 else ""
    verification = len(cells) > 8 and _is_verification(cells, named=named)
    if (verification and state != "0") or user == NOBODY:
        kind = "denied" if verification and state != "0" else "stranger"
        return _other(kind, dict(zip(LOG, cells, strict=False)), ("datetime", "state"))
    payload: dict[str, Scalar] = {}
    if state:
        payload["state"] = state[:MAX_TEXT]
    if len(cells) > 3 and cells[3]:
        payload["verify_mode"] = cells[3][:MAX_TEXT]
    if len(cells) > 4 and cells[4]:
        payload["work_code"] = cells[4][:MAX_TEXT]
    return punch(
        at.device,
        user=user,
        time=time or None,
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
        if DATED.match(line):
            return attendance(line, at)
        if time is not None and "pin" not in fields and fields.keys() & DOOR:
            return _other("door", fields, ("time", *DOOR))
        raise invalid("not a record of an access log")
    pin, index = fields.get("pin", "").strip(), fields.get("index", "").strip()
    came = _came(int(event), at.options)
    if not came or pin in ("", NOBODY):
        if came and fields.get("cardno", "").strip() not in ("", "0"):
            raise invalid("somebody was let in of whom it says a card and no user")
        return _other(_kind(int(event)), fields, ("time", "event", "eventaddr", "index"))
    return punch(
        at.device,
        user=pin,
        time=_padded(time),
        event_type=_side(fields.get("inoutstatus", fields.get("inoutstate", "")).strip()),
        received_at=at.received_at,
        source=at.source,
        sequence=int(index) if _NUMBER.fullmatch(index) else None,
        payload={name: fields[name][:MAX_TEXT] for name in ACCESS_PAYLOAD if name in fields},
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


def operation(line: str, at: Line) -> Other:  # noqa: ARG001 - the same for all
    """A line of what an operator did, or of users and templates: that it came."""
    return counted("operation" if _word(line) in _OPERATIONS else "biometric", "", [line])


def _word(line: str) -> str:
    """The word that a line begins with, where it is one of the protocol's: anything else could be part of a name."""
    word = first_word(line)
    return word if word in WORDS else "line"


def first_word(text: str) -> str:
    """The word that a text begins with.

    Args:
        text: A line, or a part of one.
    """
    return re.split(r"[\s=]", text, maxsplit=1)[0]


def _is_verification(cells: Sequence[str], *, named: bool) -> bool:
    """Whether a face was compared with an identity card. Other lines as long have a mask and a temperature there."""
    if cells[8].strip() != _VERIFICATION:
        return False
    number = ANY_CARD if len(cells) == len(LOG) else ID_CARD
    return named or number.fullmatch(cells[7].strip()) is not None


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


def is_usual(time: str) -> bool:
    """Whether a time is as nearly all firmware writes it.

    Args:
        time: A cell.
    """
    return len(time) == _USUAL_LENGTH and time[4:11:3] == _USUAL_SIGNS


def _padded(time: str) -> str:
    """A time as it is read everywhere, where firmware left zeros out; anything else as it is."""
    if is_usual(time):
        return time
    found = _UNPADDED.fullmatch(time)
    if found is None:
        return time
    year, month, day, hour, minute, second = (int(number or 0) for number in found.groups())
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"


def rest_of(text: str) -> list[str]:
    """The cells behind the time of a line that tabs may not keep apart."""
    for sign in "\t,;|":
        if sign in text:
            return text.split(sign)[1:]
    return text.split()


@lru_cache(maxsize=1024)
def field_of(name: str) -> str:
    """The name of a field as it stands in a line: there are few, and each stands in every line."""
    return name.strip().casefold().rpartition(" ")[2]


def _parts(line: str) -> Sequence[str]:
    """The pairs of a line."""
    return line.split("\t") if "\t" in line else SEPARATED.split(line)


def _pairs(line: str) -> dict[str, str]:
    """The fields of a line by their names in lower case, without the name of the table in front.

    Raises:
        InvalidRecord: it has one twice with two values, of which nobody knows which counts.
    """
    pairs: dict[str, str] = {}
    for part in _parts(line):
        name, equals, value = part.partition("=")
        if not equals:
            continue
        name = field_of(name[:MAX_TEXT])
        if pairs.setdefault(name, value) != value:
            raise invalid(f"{name[:MAX_TEXT]} stands there twice")
    return pairs
