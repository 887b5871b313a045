"""ZKTeco terminals that are asked over TCP 4370, by pyzk.

pyzk is GPL-2.0. A program of its own, `zkreader`, runs it and hands over what the terminal sent, which is decoded here.
"""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from importlib.util import find_spec
from secrets import token_hex
from typing import Any, ClassVar, Final

import orjson
import structlog

from attendance.errors import (
    ConfigurationError,
    DeviceRefused,
    DeviceUnavailable,
    InvalidRecord,
    Reason,
    UnreadableAnswer,
)
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Source
from attendance.times import from_wall_clock, read_device_time
from attendance.wire import encode_json
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.punch import invalid, punch
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.contract import Cursor, DeviceReport, Fetch, Options, Other, Page, Probed, Rejected, Tools
from producers.devices.zkteco.attendance_log import NOBODY, WIDTHS, Log, Record, Users, clock, read_log

log = structlog.get_logger(__name__)

PORT: Final = 4370
TIMEOUT: Final = 20
"""Seconds for each answer of a terminal."""
DEADLINE: Final = 300
"""Seconds for a whole log. A full memory takes minutes."""
MAX_ANSWER: Final = 64 << 20
"""Bytes of the program's answer. A memory of a million records takes 54 MB."""
PAGE_RECORDS: Final = 1_000

_PROGRAM: Final = (sys.executable, "-P", "-m", "zkreader")
# The rest of the environment holds secrets that are none of the program's business.
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a terminal said: `at` is what its clock showed before its log was read."""

    serial: str | None
    at: datetime | None
    records: int
    capacity: int
    log: Log
    users: Users

    def report(self, source: Device) -> DeviceReport:
        at = None if self.at is None else from_wall_clock(self.at, source.timezone)
        return DeviceReport(at, details={"records": self.records, "capacity": self.capacity})


class TcpOptions(Options):
    """The options of an entry, which has none."""

    needs_host: ClassVar[bool] = True


class ZktecoTcp:
    """The adapter.

    A terminal hands over its whole log each time and knows no cursor. It only ever adds to its log, until a person
    clears it. So the cursor is how many records were read and a digest of their bytes: where the log still begins by
    those very bytes, they are in Kafka, each of them, and the rest is new. Where it begins otherwise, because it was
    cleared or its memory is full and the oldest records gave way, all of it is handed over. Nothing is ever skipped
    by its time, which a clock that was set back would make wrong.

    A record whose user the terminal does not know any more has the user id `uid:` and its place in memory: its user
    waits for a mapping, and is not taken for the one whose id is that number.
    """

    name: Final = "zkteco_tcp"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = TcpOptions

    def __init__(self, tools: Tools) -> None:
        """Nothing is started yet.

        Raises:
            ConfigurationError: pyzk is not installed.
        """
        if find_spec("zk") is None:
            raise ConfigurationError("adapter 'zkteco_tcp' needs pyzk: pip install 'punchstream[zk-tcp]'")
        self._secret = tools.secret

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The pages since the cursor. See `PullAdapter.fetch`."""
        source = wanted.source
        answer = await self._ask(source, with_log=True)
        records = answer.log
        if not records:
            log.warning("The terminal holds no record. One in access mode never does.", device_id=source.device_id)
        read = _still_there(records, wanted.cursor)
        report = answer.report(source)
        digest = sha256()
        batch_id = token_hex(16)
        for start in range(0, max(len(records), 1), PAGE_RECORDS):
            end = min(start + PAGE_RECORDS, len(records))
            digest.update(records.data[start * records.width : end * records.width])
            last = end == len(records)
            events: list[RawEvent] = []
            rejected: list[Rejected] = []
            others: list[Other] = []
            for index in range(start, end):
                if index < read and wanted.since is None:
                    continue
                record = records.record(index, answer.users)
                if index < read and _is_before(record, wanted):
                    continue
                if record.user == NOBODY:
                    others.append(_nobody(record))
                    continue
                try:
                    events.append(self._event(wanted, record, Source("pull", self.name, self.version, batch_id, index)))
                except InvalidRecord as error:
                    data = records.kept(index).hex()
                    kept, raw = encode_json({"record": data}), encode_json({"record": data, "user": record.user})
                    rejected.append(Rejected(index, error.reason, error.message, kept, raw))
            if not (events or rejected or others or last):
                continue
            # What was read before stays read.
            cursor = wanted.cursor if end < read and wanted.cursor is not None else _cursor(end, digest.hexdigest())
            # The log was read after the clock, so it has all that is dated before. An empty one proves nothing.
            complete_until = report.device_time if last and records else None
            yield Page(cursor, events, rejected, others, report if last else None, complete_until)

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a record comes to today. See `PullAdapter.read_again`."""
        data, user = _record_and_user(raw)
        source = Source("pull", self.name, self.version, token_hex(16), 0)
        try:
            record = Log(data, len(data)).record(0, Users())
            # Only the terminal knew then whose a short record is.
            record = record if user is None else replace(record, user=user)
            if record.user == NOBODY:
                return Page({}, others=[_nobody(record)])
            event = self._event(wanted, record, source)
        except InvalidRecord as error:
            return Page(
                {}, rejected=[Rejected(0, error.reason, error.message, encode_json({"record": data.hex()}), raw)]
            )
        return Page({}, [event])

    async def probe(self, source: Device) -> Probed:
        """Who the terminal is. See `PullAdapter.probe`."""
        answer = await self._ask(source, with_log=False)
        return Probed(answer.serial, answer.report(source))

    def _event(self, wanted: Fetch, record: Record, source: Source) -> RawEvent:
        if record.user is None:
            raise invalid("the record has no user that can be read")
        return punch(
            wanted.source,
            user=record.user,
            time=record.time,
            event_type=direction_of_state(record.state),
            received_at=wanted.now,
            source=source,
            payload={"state": record.state, "verify": record.verify},
        )

    async def _ask(self, source: Device, *, with_log: bool) -> _Answer:
        """Ask the terminal by the program. Raises what `PullAdapter.fetch` raises."""
        if source.host is None:
            raise DeviceRefused("host is missing")
        question = {
            "host": source.host,
            "port": source.port or PORT,
            "comm_key": self._comm_key(source),
            "timeout": TIMEOUT,
            "deadline": DEADLINE,
            "log": with_log,
        }
        content = _understood(await _run(orjson.dumps(question) + b"\n"))
        answer = _read(content, with_log=with_log)
        wanted, found = source.serial, answer.serial
        if wanted is not None and found is not None and not is_serial_of_entry(found, wanted):
            raise DeviceRefused(f"the terminal at {source.host} is {found}, not {wanted}")
        return answer

    def _comm_key(self, source: Device) -> int:
        if "comm_key" not in source.credentials:
            return 0
        key = self._secret(source, "comm_key")
        if not (key.isascii() and key.isdecimal() and int(key) < 1 << 32):
            raise DeviceRefused("credentials: comm_key must be a number")
        return int(key)


async def _run(question: bytes) -> bytes:
    """What the program prints. However this ends, nothing of it is left running."""
    process = await asyncio.create_subprocess_exec(
        *_PROGRAM,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionError):
                process.stdin.write(question)
                await process.stdin.drain()
            process.stdin.close()
            answer = bytearray()
            while part := await process.stdout.read(1 << 16):
                answer += part
                if len(answer) > MAX_ANSWER:
                    raise UnreadableAnswer(f"the terminal's log is longer than {MAX_ANSWER} bytes")
    except TimeoutError:
        raise DeviceUnavailable(f"the terminal was not read within {DEADLINE} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return bytes(answer)


def _understood(answer: bytes) -> Mapping[str, Any]:
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise DeviceUnavailable("zkreader ended without an answer") from None
    if not isinstance(content, dict):
        raise UnreadableAnswer("zkreader answered something else")
    message = content.get("message")
    match content.get("error"):
        case None:
            return content
        case "refused":
            raise DeviceRefused(f"the terminal refuses the comm key: {message}")
        case "unavailable":
            raise DeviceUnavailable(f"the terminal does not answer, or broke off: {message}")
        case _:
            raise UnreadableAnswer(f"the terminal's answer cannot be understood: {message}")


def _read(content: Mapping[str, Any], *, with_log: bool) -> _Answer:
    before, after = content["records"]
    users = Users.of((uid, user) for uid, user in content["users"])
    counts = (before, after) if with_log and before else (0, 0)
    records = read_log(base64.b64decode(content["log"]), content["size"], counts, users)
    at = None if content["time"] is None else clock(content["time"])
    return _Answer(content["serial"], at, before, content["capacity"], records, users)


def _record_and_user(raw: bytes) -> tuple[bytes, str | None]:
    """The bytes of a record that was rejected, and its user as the terminal knew it.

    Raises:
        InvalidRecord: they are no such record (`undecodable_record`).
    """
    try:
        content = orjson.loads(raw)
        data, user = bytes.fromhex(content["record"]), content["user"]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a record of a terminal: {error}") from error
    if len(data) not in WIDTHS or not isinstance(user, str | None):
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, "not a record of a terminal")
    return data, user


def _nobody(record: Record) -> Other:
    return Other("stranger", encode_json({"time": record.time, "state": record.state}))


def _still_there(records: Log, cursor: Cursor | None) -> int:
    """How many records at the log's beginning are in Kafka."""
    if cursor is None:
        return 0
    count = cursor["records"]
    known = count <= len(records) and sha256(records.data[: count * records.width]).hexdigest() == cursor["digest"]
    return count if known else 0


def _is_before(record: Record, wanted: Fetch) -> bool:
    """Whether it is dated before what a sweep asks for."""
    at = read_device_time(record.time, wanted.source.timezone)
    return at is not None and wanted.since is not None and at < wanted.since.replace(microsecond=0)


def _cursor(records: int, digest: str) -> Cursor:
    return {"records": records, "digest": digest}
