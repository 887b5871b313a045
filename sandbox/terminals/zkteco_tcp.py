"""A ZKTeco terminal on TCP 4370.

Every packet is `50 50 82 7d`, its length, and then command, checksum, session and reply number (16 bits each, little
endian) and data. A long answer is prepared first (1503) and then read by the piece (1504).
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.terminals.base import Faults, Punch

USERS, OPTIONS, LOG, SIZES, TIME = 9, 11, 13, 50, 201
CONNECT, EXIT, AUTH = 1000, 1001, 1102
PREPARE, DATA, FREE, READ_PREPARED, READ_PIECE = 1500, 1501, 1502, 1503, 1504
OK, ERROR, UNAUTHORIZED = 2000, 2001, 2005

_SESSION = 0x5A17
_AT_ONCE = 1000  # bytes; what is shorter comes without being prepared
_STATE = {"IN": 0, "OUT": 1, "": 255}
_FACE = 15
_START = b"\x50\x50\x82\x7d"
_Packets = Sequence[tuple[int, bytes]]


class ZktecoTcp:
    """The terminal. `width` is that of its records; `damage` is what it does to a log before it sends it."""

    def __init__(self, serial: str, zone: str, password: str, width: int = 40) -> None:
        self.serial = serial
        self.zone = zone
        self.password = password
        self.width = width
        self.memory: list[Punch] = []
        self.faults = Faults()
        self.logins_refused = 0
        self.requests = 0
        self.commands: list[int] = []
        self.clock: int | None = None
        self.damage: Callable[[bytes], bytes] = bytes
        self.deleted: set[str] = set()
        self.port = 0

    def registry_entry(self) -> Mapping[str, Any]:
        """What the registry needs: where it is, and its serial number."""
        return {
            "mode": "pull",
            "adapter": "zkteco_tcp",
            "host": "127.0.0.1",
            "port": self.port,
            "serial": self.serial,
        }

    def credentials(self) -> Mapping[str, str]:
        """The comm key."""
        return {"comm_key": str(self.key)}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve on a free port while entered."""
        talks: set[asyncio.Task[None]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            talks.add(task)
            try:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    await _Session(self, writer).serve(reader)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
                talks.discard(task)

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in list(talks):
                task.cancel()
            await asyncio.gather(*talks, return_exceptions=True)

    @property
    def key(self) -> int:
        """The comm key: the password's first characters as a number, as a terminal takes digits alone."""
        return int.from_bytes(self.password.encode()[:3], "big")

    def sizes(self) -> bytes:
        """What it counts: users and records, and how many records it has room for."""
        counts = [0] * 20
        counts[4] = len(self._users())
        counts[8] = len(self.memory) + self.faults.count_off
        counts[16] = 100_000
        return struct.pack("<20i", *counts)

    def log(self) -> bytes:
        """The log with its length before it."""
        if self.faults.grows:
            self.memory.append(self.faults.grows.pop(0))
        users = self._users()
        log = b"".join(self._record(punch, users) for punch in self.memory)
        return struct.pack("<I", len(log)) + self.damage(log)

    def now(self) -> bytes:
        """What its clock shows."""
        code = _code(datetime.now(ZoneInfo(self.zone))) if self.clock is None else self.clock
        return struct.pack("<I", code)

    def _record(self, punch: Punch, users: Sequence[str]) -> bytes:
        state = _STATE[punch.direction]
        # A deleted user's place in memory stays in the records.
        uid = users.index(punch.user) + 1
        if self.width == 8:
            return struct.pack("<HBIB", uid, _FACE, _code(punch.at), state)
        if self.width == 16:
            return struct.pack("<IIBBHI", int(punch.user), _code(punch.at), _FACE, state, 0, 0)
        name = punch.user.encode()[:24]
        return struct.pack("<H24sBIB8s", uid % 65536, name, _FACE, _code(punch.at), state, b"").ljust(self.width, b"\0")

    def _users(self) -> list[str]:
        return list(dict.fromkeys(punch.user for punch in self.memory))

    def users(self) -> bytes:
        """Records of 72 bytes, with name and password in them."""
        records = b"".join(
            struct.pack("<HB8s24sIx7sx24s", uid, 0, b"1234", "Zoë".encode(), 0, b"1", user.encode())
            for uid, user in enumerate(self._users(), start=1)
            if user not in self.deleted
        )
        return struct.pack("<I", len(records)) + records


class _Session:
    """One connection. A handler says what is sent, as commands with their data; None closes the connection."""

    def __init__(self, terminal: ZktecoTcp, writer: asyncio.StreamWriter) -> None:
        self._terminal = terminal
        self._writer = writer
        self._allowed = False
        self._prepared = b""
        self._handlers: Mapping[int, Callable[[bytes], _Packets | None]] = {
            OPTIONS: self._option,
            TIME: lambda _: [(OK, terminal.now())],
            SIZES: lambda _: [(OK, terminal.sizes())],
            READ_PREPARED: self._prepare,
            READ_PIECE: self._piece,
            FREE: lambda _: [(OK, b"")],
            EXIT: lambda _: [(OK, b"")],
        }

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Answer until the other side has enough."""
        command = 0
        while command != EXIT:
            start, length = struct.unpack("<4sI", await reader.readexactly(8))
            assert start == _START
            packet = await reader.readexactly(length)
            command, _, _, reply = struct.unpack_from("<4H", packet)
            self._terminal.commands.append(command)
            await asyncio.sleep(self._terminal.faults.delay)
            answer = self._answer(command, packet[8:])
            for code, data in answer or ():
                self._writer.write(_packet(code, reply, data))
            await self._writer.drain()
            if answer is None:
                return

    def _answer(self, command: int, data: bytes) -> _Packets | None:
        terminal = self._terminal
        if command == CONNECT:
            terminal.requests += 1
            if terminal.faults.unavailable > 0:
                terminal.faults.unavailable -= 1
                return None
            self._allowed = not terminal.key and not terminal.faults.password_wrong
        elif command == AUTH:
            self._allowed = data == _scrambled(terminal.key) and not terminal.faults.password_wrong
            terminal.logins_refused += not self._allowed
        elif self._allowed:
            handler = self._handlers.get(command)
            return [(ERROR, b"")] if handler is None else handler(data)
        return [(OK if self._allowed else UNAUTHORIZED, b"")]

    def _option(self, data: bytes) -> _Packets:
        if not data.startswith(b"~SerialNumber"):
            return [(ERROR, b"")]
        return [(OK, b"~SerialNumber=" + self._terminal.serial.encode() + b"\0")]

    def _prepare(self, data: bytes) -> _Packets:
        _, wanted, _, _ = struct.unpack("<bhii", data)
        whole = self._terminal.log() if wanted == LOG else self._terminal.users()
        cut = self._terminal.faults.cut_after
        self._prepared = whole if cut is None or wanted != LOG else whole[: 4 + cut * self._terminal.width]
        if len(whole) <= _AT_ONCE:
            return [(DATA, self._prepared)]
        return [(OK, b"\0" + struct.pack("<I", len(whole)) + b"\0" * 8)]

    def _piece(self, data: bytes) -> _Packets | None:
        offset, size = struct.unpack("<ii", data)
        piece = self._prepared[offset : offset + size]
        sizes = struct.pack("<II", size, 0)
        if len(piece) == size:
            return [(PREPARE, sizes), (DATA, piece), (OK, b"")]
        # It was switched off in the middle of its memory.
        whole = _packet(DATA, 0, piece.ljust(size, b"\0"))
        self._writer.write(_packet(PREPARE, 0, sizes) + whole[: len(piece) - size])
        return None


def _packet(command: int, reply: int, data: bytes) -> bytes:
    head = struct.pack("<4H", command, _checksum(struct.pack("<3H", command, _SESSION, reply) + data), _SESSION, reply)
    return _START + struct.pack("<I", len(head) + len(data)) + head + data


def _code(at: datetime) -> int:
    """A time as the terminal counts it: months of 31 days."""
    days: int = ((at.year - 2000) * 12 + at.month - 1) * 31 + at.day - 1
    return ((days * 24 + at.hour) * 60 + at.minute) * 60 + at.second


def _checksum(data: bytes) -> int:
    """The complement of the sum of the 16-bit words, carries added in."""
    total: int = sum(struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])) + (
        data[-1] if len(data) % 2 else 0
    )
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _scrambled(key: int) -> bytes:
    """What a client that knows the comm key sends in this session."""
    mirrored = int(f"{key:032b}"[::-1], 2)
    _, second, third, fourth = ((mirrored + _SESSION) % (1 << 32)).to_bytes(4, "little")
    ticks = 50
    return bytes([third ^ ord("S") ^ ticks, fourth ^ ord("O") ^ ticks, ticks, second ^ ord("K") ^ ticks])
