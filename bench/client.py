"""Requests as a terminal posts them, and the process that posts them."""

import asyncio
import base64
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from attendance.records.raw_event import RawEvent
from bench.results import ROOT

HEYSTAR_EMPTY: Final = (
    *("fingerFlag", "cardFlag", "palmFlag", "pwdFlag", "idCardFlag", "maskFlag", "capFlag", "cardNo", "idCard"),
    *("voucherCode", "attach", "temperature", "checkImgUrl", "checkImgBase64"),
)


def request(events: Sequence[RawEvent], token: str) -> bytes:
    """The whole HTTP request by which a terminal posts these events of its own."""
    body = orjson.dumps(
        {
            "device_id": events[0].device_id,
            "events": [
                {
                    "user_id": event.device_user_id,
                    "time": event.device_time,
                    "type": event.event_type,
                    "sequence": event.sequence,
                }
                for event in events
            ],
        }
    )
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-Device-Token: {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def adms_request(events: Sequence[RawEvent]) -> bytes:
    """The same as a ZKTeco terminal posts them, whose serial number is the device's id."""
    lines = [f"{event.device_user_id}\t{event.device_time}\t0\t15\t0\t0\t0\r\n" for event in events]
    body = "".join(lines)
    head = (
        f"POST /iclock/cdata?SN={events[0].device_id}&table=ATTLOG&Stamp={events[-1].sequence} HTTP/1.1\r\n"
        f"Host: 127.0.0.1\r\nUser-Agent: iClock Proxy/1.09\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def heystar_request(events: Sequence[RawEvent], token: str) -> bytes:
    """The same, of one event, as a HeyStar terminal posts it: all values are text, and there is no photograph."""
    [event] = events
    assert event.event_time is not None
    record = dict.fromkeys(HEYSTAR_EMPTY, "") | {
        "recordId": str(event.sequence),
        "deviceKey": event.device_id,
        "recordTime": str(int(event.event_time.timestamp()) * 1000),
        "recordTimeStr": event.device_time,
        "personSn": event.device_user_id,
        "personName": "Example",
        "personType": "1",
        "verifyStyle": "0",
        "resultFlag": "1",
        "strangerFlag": "0",
        "direction": "1",
        "faceFlag": "1",
        "openDoorFlag": "1",
    }
    body = orjson.dumps(record)
    head = (
        f"POST /hf/{token}/record HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: okhttp/3.12.0\r\n"
        f"Content-Type: application/json; charset=UTF-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def post(
    port: int, requests: Sequence[bytes], *, connections: int = 32, rate: float = 0
) -> list[tuple[float, float]]:
    """Post all from a process of its own, and return when each was sent and answered, seconds since the epoch.

    Args:
        port: On 127.0.0.1.
        requests: Whole HTTP requests.
        connections: So many at a time.
        rate: Requests a second; 0 for as fast as they are answered.

    Raises:
        RuntimeError: an answer was not 200.
    """
    order = {
        "host": "127.0.0.1",
        "port": port,
        "connections": connections,
        "rate": rate,
        "requests": [base64.b64encode(each).decode() for each in requests],
    }
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / name for name in ("order.json", "times.json")]
        files[0].write_bytes(orjson.dumps(order))
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.load", *files, cwd=ROOT)
        if await process.wait():
            raise RuntimeError("the load generator failed; its error stands above")
        return [tuple(each) for each in orjson.loads(files[1].read_bytes())]
