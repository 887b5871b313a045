"""A small HTTP/1.1 server for simulated devices: it can break off an answer in the middle, as no library's would."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from sandbox.terminals.base import Faults


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `target` is the path with its query, as it was sent; names of headers are in lower case."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. `sent` is how much of the body the other side gets, in bytes, before the connection breaks."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None


class Served(Protocol):
    """What `serve` needs of a device."""

    faults: Faults
    requests: int
    port: int


@asynccontextmanager
async def serve(device: Served, answer: Callable[[Asked], Said]) -> AsyncIterator[None]:
    """Answer on 127.0.0.1 while entered, one request a connection, with the faults that any device may have."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await respond(await _read(reader)))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side went away
        finally:
            writer.close()

    async def respond(asked: Asked) -> bytes:
        device.requests += 1
        await asyncio.sleep(device.faults.delay)
        if device.faults.unavailable > 0:
            device.faults.unavailable -= 1
            # By turns an error and nothing at all, as from a device that is starting.
            return _written(Said(503)) if device.faults.unavailable % 2 else b""
        return _written(answer(asked))

    async with await asyncio.start_server(connected, "127.0.0.1", device.port):
        yield


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    url = urlsplit(target)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, url.path, dict(parse_qsl(url.query)), headers, body)


def _written(said: Said) -> bytes:
    lines = [f"HTTP/1.1 {said.status} {HTTPStatus(said.status).phrase}"]
    headers = {"Content-Length": str(len(said.body)), "Connection": "close", **said.headers}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + said.body[: said.sent]
