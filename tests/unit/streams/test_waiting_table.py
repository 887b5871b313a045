"""What waits takes no memory of the process, however many users a sender makes up, and is counted by device."""

import tracemalloc
from datetime import UTC, datetime

from attendance.errors import Reason
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from streams.waiting_table import OfDevice, Origin, WaitingTable

TIME = datetime(2026, 3, 2, 5, tzinfo=UTC)


def add(table: WaitingTable, user: str, device: str = "D1", minute: int = 0) -> bytes:
    event = RawEvent(device, "s", user, "IN", TIME.replace(minute=minute), None, "UTC", TIME, Source("push", "json"))
    waiting = Waiting(event, Reason.UNMAPPED_USER)
    table.add(
        waiting.key, 0, waiting.encode(), Origin(b"0:1"), event=event, reason=waiting.reason, due=None, undecided=False
    )
    return waiting.key


def test_however_many_users_wait_python_keeps_nothing_of_them() -> None:
    table = WaitingTable()
    add(table, "first")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(3000):
            add(table, f"made-up-{number}")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == 3001
    assert (after - before) / 3000 < 20  # bytes; one waiting record has 500


def test_users_and_punches_are_counted_by_device_until_the_last_one_is_gone() -> None:
    table = WaitingTable()
    keys = [add(table, "1"), add(table, "1", minute=1), add(table, "2"), add(table, "1", device="D2")]
    assert table.of_devices(2) == [OfDevice("D1", 2, 3), OfDevice("D2", 1, 1)]
    assert (table.of_devices(1), list(table.devices_above(1))) == ([OfDevice("D1", 2, 3)],) * 2
    table.forget(keys[0])
    assert table.of_devices(1) == [OfDevice("D1", 2, 2)]
    for key in [*keys, b"unknown"]:
        table.forget(key)
    assert (table.of_devices(2), len(table), table.reasons.total()) == ([], 0, 0)


def test_what_is_cleared_begins_anew() -> None:
    table = WaitingTable()
    key = add(table, "1")
    table.replace(b"older", 3)
    table.clear()
    assert (len(table), table.of_devices(1), table.replaced(1)) == (0, [], [])
    assert add(table, "1") == key
