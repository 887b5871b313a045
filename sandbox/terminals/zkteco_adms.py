"""ZKTeco terminals that push by ADMS: one for attendance, one for access."""

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.terminals.base import HttpAnswer, HttpRequest, Punch, Quirks

_HEADERS = {"User-Agent": "iClock Proxy/1.09", "Content-Type": "text/plain"}
_STATES = {"IN": 0, "OUT": 1, "": 255}
_SIDES = {"IN": 0, "OUT": 1, "": 2}
_FACE = 15
_LET_IN = (0, 3, 203, 207, 222)
_GARBAGE = "\x7fÿ garbage"


class _Adms:
    """What both have in common."""

    def __init__(self, serial: str, token: str, zone: str) -> None:  # noqa: ARG002 - no token, and its own wall clock
        self.serial = serial

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PushTerminal`."""
        return {"mode": "push", "adapter": "zkteco_adms", "serial": self.serial}

    def get(self, path: str, query: str = "") -> HttpRequest:
        """A question."""
        return HttpRequest("GET", f"/iclock/{path}?SN={self.serial}{query}", _HEADERS)

    def post(self, path: str, query: str, body: str) -> HttpRequest:
        """Something to tell."""
        return HttpRequest("POST", f"/iclock/{path}?SN={self.serial}{query}", _HEADERS, body.encode())


class AttendanceTerminal(_Adms):
    """See `PushTerminal`."""

    def hello(self) -> Sequence[HttpRequest]:
        """The handshake, its options, and the first question."""
        options = "&options=all&language=69&pushver=2.4.1&DeviceType=att&PushOptionsFlag=1"
        details = "~DeviceName=SpeedFace,FWVersion=Ver 8.0.4,TransactionCount=812,Vendor=ZKTeco, Inc.,UserCount=97"
        info = "&INFO=Ver%208.0.4,97,12,812,10.0.0.9,10,7,12,90,11111"
        return [self.get("cdata", options), self.post("cdata", "&table=options", details), self.get("getrequest", info)]

    def upload(self, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        lines = [
            f"{punch.user}\t{punch.at:%Y-%m-%d %H:%M:%S}\t{_STATES[punch.direction]}\t{_FACE}\t0\t0\t0"
            for punch in punches
        ]
        stamp = f"{punches[-1].at:%Y%m%d%H%M%S}" if punches else "0"
        return [self.post("cdata", f"&table=ATTLOG&Stamp={stamp}", _body(lines, quirks))]

    def strangers(self) -> Sequence[HttpRequest]:
        """Comparisons with identity cards that failed, what an operator did, a name, a template, and photographs."""
        operations = [
            "OPLOG 4\t0\t2026-11-20 06:00:00\t0\t0\t0\t0",
            "USER PIN=417\tName=Zoë Müller-Østergård\tPri=0\tPasswd=\tCard=\tGrp=1\tTZ=0000000000000000",
            "FP PIN=417\tFID=1\tSize=1024\tValid=1\tTMP=" + "A1b2" * 256,
        ]
        photographs = f"PIN=20261120.jpg\tSN={self.serial}\tsize=900\tCMD=uploadphoto\n" + "\u00ff" * 900
        comparisons = [f"{user}\t2026-11-20 06:00:00\t2\t1\t0\t0\t0\t210218199105072345\t1" for user in ("417", "0")]
        return [
            self.post("cdata", "&table=ATTLOG&Stamp=9999", _body(comparisons, Quirks())),
            self.post("cdata", "&table=OPERLOG&OpStamp=9999", _body(operations, Quirks())),
            self.post("cdata", "&table=ATTPHOTO&PhotoStamp=9999", photographs),
        ]

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:  # noqa: ARG002 - the count is not looked at
        """See `PushTerminal`."""
        return answer.status == 200 and answer.body.startswith(b"OK")


class AspxTerminal(AttendanceTerminal):
    """An attendance terminal of the family whose paths end in `.aspx`, and which spells much else in its own way."""

    def get(self, path: str, query: str = "") -> HttpRequest:
        """A question."""
        return HttpRequest("GET", f"/iclock/{path}.aspx?sn={self.serial}{query}", _HEADERS)

    def post(self, path: str, query: str, body: str) -> HttpRequest:
        """Something to tell."""
        query = query.replace("&table=ATTLOG&", "&table=attlog%20").replace("&table=ATTPHOTO", "")
        call = "fdata" if "PhotoStamp" in query else path
        return HttpRequest("POST", f"/iclock/{call}.aspx?sn={self.serial}{query}", _HEADERS, body.encode())


class AccessTerminal(_Adms):
    """See `PushTerminal`."""

    def hello(self) -> Sequence[HttpRequest]:
        """The handshake, the registration, the configuration, and the time."""
        return [
            self.get("cdata", "&options=all&pushver=3.1.2&DeviceType=acc"),
            self.post("registry", "", "~DeviceType=acc,~DeviceName=ProFaceX,FirmVer=Ver 3.1,FWVersion=Ver 3.1"),
            self.post("push", "", ""),
            self.get("rtdata", "&type=time"),
            self.post(
                "cdata", "&table=rtstate", "time=2026-11-20 06:59:00\tsensor=00\trelay=00\talarm=0000000000000000"
            ),
        ]

    def upload(self, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        lines = [
            _record(
                punch.user,
                f"{punch.at:%Y-%m-%d %H:%M:%S}",
                _LET_IN[(punch.number or 0) % len(_LET_IN)],
                _SIDES[punch.direction],
                punch.number or 0,
            )
            for punch in punches
        ]
        return [self.post("cdata", "&table=rtlog", _body(lines, quirks))]

    def strangers(self) -> Sequence[HttpRequest]:
        """Somebody who was refused, a door that was forced, doors that opened, one by command; a user with a name."""
        lines = [
            _record("417", "2026-11-20 06:00:00", 27, 0, 7),
            _record("0", "2026-11-20 06:00:01", 102, 2, 8),
            _record("0", "2026-11-20 06:00:02", 200, 2, 9),
            _record("417", "2026-11-20 06:00:03", 8, 2, 10),
        ]
        user = "user uid=1\tcardno=\tpin=417\tpassword=\tgroup=1\tname=Zoë Müller-Østergård\tprivilege=0"
        return [
            self.post("cdata", "&table=rtlog", _body(lines, Quirks())),
            self.post("cdata", "&table=tabledata&tablename=user&count=1", user),
        ]

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:  # noqa: ARG002 - the answer has no count
        """See `PushTerminal`."""
        return answer.status == 200 and (answer.body == b"OK" or b"=" in answer.body)


def _record(user: str, time: str, event: int, side: int, number: int) -> str:
    return (
        f"time={time}\tpin={user}\tcardno=0\teventaddr=1\tevent={event}\tinoutstatus={side}"
        f"\tverifytype={_FACE}\tindex={number}"
    )


def _body(lines: Sequence[str], quirks: Quirks) -> str:
    written = list(lines)
    if quirks.garbage_at is not None:
        written.insert(quirks.garbage_at, _GARBAGE)
    return quirks.line_end.join(written) + (quirks.line_end if quirks.final_line_end else "")
