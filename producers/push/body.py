"""Reads the body of a request, within limits of size and time."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from attendance.errors import InvalidRecord, Overloaded, Reason
from producers.push.receiving import Share

PART: Final = 256 * 1024
"""Bytes of a part at most."""
_MOST_LINES: Final = 10_000  # of a part: fewer than a request may hold records
_LINES: Final = re.compile(rb"(?:[^\r\n]*+[\r\n]){0,%d}+" % _MOST_LINES)


async def read_body(receive: Receive, length: str, limit: int, seconds: float, share: Share) -> bytes:
    """Read a request's body to its end.

    Args:
        receive: The request's own, as ASGI has it.
        length: The header Content-Length; empty where there is none.
        limit: Bytes that the body may have.
        seconds: How long the body may take to arrive.
        share: Has its bytes from then on.

    Raises:
        InvalidRecord: it is longer than `limit` bytes (`body_too_large`), or was not there in time (`body_too_slow`).
        ClientDisconnect: the other side went away before its end.
        Overloaded: there is no room for it.
    """
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds) as clock:
            share.interrupt = partial(clock.reschedule, 0)
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
                if not message.get("more_body", False):
                    share.whole()
                    share.take(len(chunk))
                    return bytes(body)
                share.take(len(chunk))
    except TimeoutError as error:
        raise _too_slow(len(body), seconds, share) from error


async def read_beginning(receive: Receive, limit: int, seconds: float, share: Share) -> tuple[bytes, int]:
    """The beginning of a body that may be of any length. All of it is awaited.

    Args:
        receive: The request's own, as ASGI has it.
        limit: Bytes of the beginning.
        seconds: How long the body may take to arrive.
        share: Has its bytes from then on.

    Returns:
        The beginning, and how many bytes came after it.

    Raises:
        InvalidRecord: it was not there in time (`body_too_slow`).
        ClientDisconnect, Overloaded: as `read_body`.
    """
    body, length = bytearray(), 0
    try:
        async with asyncio.timeout(seconds) as clock:
            share.interrupt = partial(clock.reschedule, 0)
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                kept = chunk[: limit - len(body)]
                body += kept
                length += len(chunk)
                if not message.get("more_body", False):
                    share.whole()
                    share.take(len(kept))
                    return bytes(body), length - len(body)
                share.take(len(kept))
    except TimeoutError as error:
        raise _too_slow(length, seconds, share) from error


async def read_lines(
    receive: Receive, length: str, limit: int, seconds: float, share: Share
) -> AsyncGenerator[bytes, None]:
    """Read a body of lines as it arrives, in parts that end with a line. A line that is longer than a part is cut.

    Args:
        receive: The request's own, as ASGI has it.
        length: The header Content-Length; empty where there is none.
        limit: Bytes that the body may have.
        seconds: How long the body may take to arrive; what is done between two parts does not count.
        share: Has the bytes that are not in a part yet, and those of the last part.

    Yields:
        The parts, at least one.

    Raises:
        InvalidRecord, ClientDisconnect, Overloaded: as `read_body`.
    """
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    body, came, more = bytearray(), 0, True
    while more:
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds) as clock:
                share.interrupt = partial(clock.reschedule, 0)
                message = await receive()
        except TimeoutError as error:
            raise _too_slow(came, seconds, share) from error
        share.interrupt = None
        seconds -= time.monotonic() - started
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        came += len(message.get("body", b""))
        if came > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
        if not more:
            share.whole()
        share.take(len(message.get("body", b"")))
        while len(body) > PART or (body and not more):
            part = _part(body)
            yield part
            share.give_back(len(part))
    if came == 0:
        yield b""


def _part(body: bytearray) -> bytes:
    """What the next part is, and no longer in the body."""
    whole = _LINES.match(body, 0, PART)
    end = whole.end() if whole is not None else 0
    if len(body) <= PART and body.count(b"\n") + body.count(b"\r") < _MOST_LINES:
        end = len(body)
    part = bytes(body[: end or PART])
    del body[: end or PART]
    return part


def _too_slow(came: int, seconds: float, share: Share) -> InvalidRecord | Overloaded:
    if share.lost:
        return Overloaded("given up for others")
    return InvalidRecord(Reason.BODY_TOO_SLOW, f"{came} bytes within {seconds:g} s, and no end")


def _too_large(limit: int) -> InvalidRecord:
    return InvalidRecord(Reason.BODY_TOO_LARGE, f"larger than {limit} bytes")
