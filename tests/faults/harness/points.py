"""A stage that is struck at a chosen point: `points.py POINT COUNT SIGNAL STAGE` runs the stage in this process.

When it gets to the point for the COUNTth time the process sends itself the signal. SIGSTOP stops it there and then,
all threads; whoever started it lets it go on.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from attendance.erpnext import ErpnextClient
from attendance.errors import TargetUnavailable
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from punchstream.cli import main
from streams.dedup import Kept

Strike = Callable[[int], None]


def acknowledged(suffix: str) -> Callable[[Strike], None]:
    """Kafka has acknowledged records of the topic, and the stage has done nothing yet on the strength of it."""

    def install(strike: Strike) -> None:
        send = Producer.send

        @functools.wraps(send)
        async def send_then_strike(self: Producer, *records: OutRecord) -> Any:
            acknowledged = await send(self, *records)
            strike(sum(record.topic.endswith(suffix) for record in records))
            return acknowledged

        Producer.send = send_then_strike  # type: ignore[method-assign]

    return install


def before(owner: type, method: str, strike: Strike) -> None:
    """Strike before a coroutine method runs."""
    original = getattr(owner, method)

    @functools.wraps(original)
    async def strike_then_run(*args: Any, **kwargs: Any) -> Any:
        strike(1)
        return await original(*args, **kwargs)

    setattr(owner, method, strike_then_run)


def stream_rebalance(strike: Strike) -> None:
    """The group has given the process partitions, and it has done nothing about them yet."""
    from streams.transport import Consumer

    before(Consumer, "on_partitions_assigned", strike)


def stream_recovery(strike: Strike) -> None:
    """Some of the deduplication state has been restored from the changelog."""
    from streams import state

    decode = state.decode

    def decode_then_strike(value: bytes | None) -> list[Kept]:
        punches = decode(value)
        strike(1)
        return punches

    state.decode = decode_then_strike


def sink_rebalance(strike: Strike) -> None:
    """The group has given the process partitions, and it has done nothing about them yet."""
    from sinks.delivery.runner import _Runner

    before(_Runner, "on_partitions_assigned", strike)


def erpnext_wrote(strike: Strike) -> None:
    """ERPNext has committed documents and its answer did not arrive. The stand-in has to be told to answer so."""
    for name in ("insert", "insert_many"):

        def install(insert: Callable[..., Any], name: str) -> None:
            @functools.wraps(insert)
            def insert_or_strike(*args: Any) -> Any:
                try:
                    return insert(*args)
                except TargetUnavailable:
                    strike(1)
                    raise

            setattr(ErpnextClient, name, insert_or_strike)

        install(getattr(ErpnextClient, name), name)


def ledger_writes(strike: Strike) -> None:
    """The rows of a batch are written, and their transaction is open."""
    from ledger.store import Store

    write = Store._write

    @functools.wraps(write)
    def write_then_strike(self: Store, *args: Any) -> None:
        write(self, *args)
        strike(1)

    Store._write = write_then_strike  # type: ignore[method-assign]


def ledger_committed(strike: Strike) -> None:
    """The database has committed rows and positions, and the process does not know that yet."""
    from ledger.store import Store

    apply = Store.apply

    @functools.wraps(apply)
    def apply_then_strike(self: Store, *args: Any) -> Any:
        positions = apply(self, *args)
        strike(1)
        return positions

    Store.apply = apply_then_strike  # type: ignore[method-assign]


POINTS: dict[str, Callable[[Strike], None]] = {
    "after Kafka has the raw events": acknowledged("raw.v1"),
    "after output, before state": acknowledged("checkins.v1"),
    "after state, before commit": acknowledged("dedup-state.v1"),
    "stream: during a rebalance": stream_rebalance,
    "stream: during recovery": stream_recovery,
    "sink: during a rebalance": sink_rebalance,
    "after ERPNext wrote, before it answered": erpnext_wrote,
    "after the delivery record, before commit": acknowledged("deliveries.v1"),
    "ledger: rows written, not committed": ledger_writes,
    "ledger: after the commit": ledger_committed,
}


def run(point: str, count: int, number: signal.Signals, stage: str) -> None:
    """Run the stage with the point armed."""
    left = count

    def strike(times: int) -> None:
        nonlocal left
        if left > 0:
            left -= times
            if left <= 0:
                os.kill(os.getpid(), number)

    POINTS[point](strike)
    sys.argv = ["punchstream", stage]
    main()


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), signal.Signals[sys.argv[3]], sys.argv[4])
