"""`python -m bench.load ORDER TIMES`: posts prepared requests over kept-alive connections, from a process of its own.

Takes two files: one JSON object with host, port, connections, rate (a second, 0 for as fast as answers come) and
requests, each a whole HTTP request in base64; and where to write when each was sent and answered, in seconds since the
epoch.
"""

import asyncio
import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import uvloop


class Connection:
    """One connection; a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, request: bytes) -> None:
        """Send one request and read its answer.

        Raises:
            RuntimeError: the answer is not 200.
        """
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self._reader.readexactly(int(length.partition(b":")[2]))


async def post_all(order: dict[str, Any]) -> list[tuple[float, float]]:
    """Post every request; the connections take them in turns."""
    requests = enumerate(base64.b64decode(each) for each in order["requests"])
    times: list[tuple[float, float]] = [(0.0, 0.0)] * len(order["requests"])
    started = time.monotonic()

    async def work(queue: Iterator[tuple[int, bytes]]) -> None:
        connection = Connection(*await asyncio.open_connection(order["host"], order["port"]))
        for index, request in queue:
            if order["rate"]:
                await asyncio.sleep(max(0.0, started + index / order["rate"] - time.monotonic()))
            sent = time.time()
            await connection.post(request)
            times[index] = (sent, time.time())

    await asyncio.gather(*(work(requests) for _ in range(order["connections"])))
    return times


if __name__ == "__main__":
    order, times = map(Path, sys.argv[1:])
    times.write_bytes(orjson.dumps(uvloop.run(post_all(orjson.loads(order.read_bytes())))))
