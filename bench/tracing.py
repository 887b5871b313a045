"""What tracing costs in CPU, in one process and without Kafka: `python -m bench.tracing`."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from attendance.kafka.records import Headers, OutRecord
from attendance.open_telemetry import OpenTelemetry
from attendance.tracing import OFF, Tracing

NOWHERE: Final = "http://127.0.0.1:9/v1/traces"  # what is traced is dropped
ROUNDS: Final = 7
HEADERS: Final = [(name, b"x" * 36) for name in ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "type")]
OUTCOME: Final = OutRecord("outcomes", b"key", b"value", HEADERS)


class _Consumed(NamedTuple):
    topic: str = "raw"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = b"key"
    value: bytes | None = b"value"
    headers: Headers = HEADERS


def requests(tracing: Tracing, count: int) -> None:
    """So many requests with a punch each."""
    for _ in range(count):
        with tracing.taken_in("push", adapter="json", route="/v1/events"), tracing.published([OUTCOME]):
            pass


def records(tracing: Tracing, headers: Headers, count: int) -> None:
    """A step with so many records."""
    pairs = [(_Consumed(headers=headers), OUTCOME)] * count
    with tracing.carried("decide", pairs):
        pass


def microseconds(work: Callable[[int], None], count: int) -> float:
    """CPU for one of so many, in the best of the rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work(count)
        best = min(best, time.process_time() - began)
    return best / count * 1e6


def main() -> None:
    """Print what a request and a record cost."""
    never, always = (OpenTelemetry.to(NOWHERE, ratio, "bench") for ratio in (0.0, 1.0))
    with always.published([OUTCOME]) as published:
        traced: Sequence[tuple[str, bytes]] = published[0].headers
    rows = {
        "request, tracing off": microseconds(lambda count: requests(OFF, count), 5_000),
        "request, not drawn": microseconds(lambda count: requests(never, count), 5_000),
        "request, traced": microseconds(lambda count: requests(always, count), 500),
        "record, tracing off": microseconds(lambda count: records(OFF, HEADERS, count), 5_000),
        "record, not traced": microseconds(lambda count: records(always, HEADERS, count), 5_000),
        "record, traced": microseconds(lambda count: records(always, traced, count), 500),
    }
    for what, cost in rows.items():
        print(f"{what:22} {cost:8.2f} µs of CPU")
    sys.stdout.flush()
    os._exit(0)  # nobody takes what is left


if __name__ == "__main__":
    main()
