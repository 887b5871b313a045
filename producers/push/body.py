"""Reads the body of a request, within limits of size and time."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from attendance.errors import InvalidRecord, Reason


async def read_body(receive: Receive, length: str, limit: int, seconds: float) -> bytes:
    """Read a request's body to its end.

    Args:
        receive: The request's own, as ASGI has it.
        length: The header Content-Length; empty where there is none.
        limit: Bytes that the body may have.
        seconds: How long the body may take to arrive.

    Raises:
        InvalidRecord: it is longer than `limit` bytes (`body_too_large`), or was not there in time (`body_too_slow`).
        ClientDisconnect: the other side went away before its end.
    """
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > limit:
                    raise _too_large(limit)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise InvalidRecord(Reason.BODY_TOO_SLOW, f"{len(body)} bytes within {seconds:g} s, and no end") from error


async def read_beginning(receive: Receive, limit: int, seconds: float) -> tuple[bytes, int]:
    """The beginning of a body that may be of any length. All of it is awaited.

    Args:
        receive: The request's own, as ASGI has it.
        limit: Bytes of the beginning.
        seconds: How long the body may take to arrive.

    Returns:
        The beginning, and how many bytes came after it.

    Raises:
        InvalidRecord: it was not there in time (`body_too_slow`).
        ClientDisconnect: the other side went away before its end.
    """
    body, length = bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                body += chunk[: limit - len(body)]
                length += len(chunk)
                if not message.get("more_body", False):
                    return bytes(body), length - len(body)
    except TimeoutError as error:
        raise InvalidRecord(Reason.BODY_TOO_SLOW, f"{length} bytes within {seconds:g} s, and no end") from error


def _too_large(limit: int) -> InvalidRecord:
    return InvalidRecord(Reason.BODY_TOO_LARGE, f"larger than {limit} bytes")
