# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Read one terminal: `python -m zkreader`, one line of JSON in, one out.

In: `{"host": "10.0.0.5", "port": 4370, "comm_key": 0, "timeout": 20, "deadline": 300, "log": true}`, times in seconds;
`log` false asks only who the terminal is.

Out: `{"serial": "...", "time": 823421234, "records": [before, after], "capacity": n, "size": n, "log": "...",
"users": [[1, "417"], ...]}`, where the log is its bytes in base64 as the terminal sent them, without the length before
them, which is `size`; `time` is the terminal's own number for its clock. Or `{"error": "refused" | "unavailable" |
"unreadable", "message": "..."}`.

It reads. It never disables a terminal, never sets its clock and never clears its memory.
"""

import base64
import contextlib
import json
import resource
import signal
import socket
import struct
import sys
from typing import Any

from zk import ZK, const
from zk.exception import ZKError, ZKErrorResponse

_MOST_MEMORY = 1 << 30  # bytes; a terminal says itself how much it is about to send
_LENGTH = struct.Struct("<I")


class _Socket(socket.socket):
    """A socket that says when the other side has gone. pyzk would wait for the rest for ever, at full speed."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """At least one byte."""
        data = super().recv(size, flags)
        if not data:
            raise ConnectionResetError("the terminal closed the connection")
        return data


class _Terminal(ZK):  # type: ignore[misc]
    """pyzk's client on such a socket, without its ping, its decoding of times and its text on standard output."""

    def __init__(self, host: str, port: int, comm_key: int, timeout: float) -> None:
        super().__init__(host, port=port, timeout=timeout, password=comm_key, ommit_ping=True)
        self._place = (host, port)
        self._timeout = timeout

    def _ZK__create_socket(self) -> None:  # noqa: N802 - pyzk's name
        connection = _Socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        connection.connect(self._place)
        self._ZK__sock = connection

    def _ZK__decode_time(self, code: bytes) -> int:  # noqa: N802 - pyzk's name
        # A clock that is out of order gives a number that is no time, which is for the reader of the answer to see.
        number: int = _LENGTH.unpack(code)[0]
        return number


def read(terminal: _Terminal, *, log: bool) -> dict[str, Any]:
    """What a connected terminal answers."""
    answer: dict[str, Any] = {"serial": _serial(terminal), "time": _time(terminal)}
    terminal.read_sizes()
    records = terminal.records
    answer["capacity"] = terminal.rec_cap
    data, users = b"", []
    if log and records:
        data, _ = terminal.read_with_buffer(const.CMD_ATTLOG_RRQ)
        # A punch may have come in between.
        terminal.read_sizes()
        # Records of 40 bytes hold the user's id itself.
        if len(data) < 40 * records:
            users = [[user.uid, user.user_id] for user in terminal.get_users()]
    answer["records"] = [records, max(records, terminal.records)]
    answer["size"] = _LENGTH.unpack(data[:4])[0] if len(data) >= _LENGTH.size else 0
    answer["log"] = base64.b64encode(data[4:]).decode()
    answer["users"] = users
    return answer


def _serial(terminal: _Terminal) -> str | None:
    with contextlib.suppress(ZKErrorResponse, UnicodeDecodeError):
        return str(terminal.get_serialnumber()) or None
    return None


def _time(terminal: _Terminal) -> int | None:
    with contextlib.suppress(ZKErrorResponse, struct.error):
        return terminal.get_time()  # type: ignore[no-any-return]
    return None


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """What to print."""
    terminal = _Terminal(asked["host"], asked["port"], asked["comm_key"], asked["timeout"])
    try:
        terminal.connect()
        try:
            return read(terminal, log=asked["log"])
        finally:
            with contextlib.suppress(ZKError, OSError):
                terminal.disconnect()
    except ZKErrorResponse as error:
        refused = str(error) == "Unauthenticated"
        return {"error": "refused" if refused else "unreadable", "message": str(error)}
    except (ZKError, OSError) as error:
        return {"error": "unavailable", "message": str(error)}
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, MemoryError, RecursionError) as error:
        # What pyzk raises on bytes that it did not expect.
        return {"error": "unreadable", "message": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Read a line, answer it, end."""
    asked = json.loads(sys.stdin.readline())
    # Whoever started this may be gone.
    signal.alarm(asked["deadline"])
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    out = sys.stdout
    # pyzk prints warnings.
    with contextlib.redirect_stdout(sys.stderr):
        response = answer(asked)
    json.dump(response, out)
    out.write("\n")


if __name__ == "__main__":
    main()
