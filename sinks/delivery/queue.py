"""Lanes: fetched check-ins in one queue for each employee, of which one batch at a time is in flight."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from attendance.kafka.records import Record
from attendance.records.checkin import Checkin


@dataclass(eq=False, slots=True)
class Entry:
    """One fetched check-in and what its tries have shown. Two entries are equal only where they are the same one.

    `epoch` is the assignment of partitions under which it was fetched. `alone`: the target failed on it, so it travels
    in no batch. `faults` are those failures that count against it; `stored` is how many check-ins the target had stored
    at the last of its failures, and `others_stored` whether it stored any between two of them.
    """

    record: Record
    checkin: Checkin
    epoch: int = 0
    attempts: int = 0
    alone: bool = False
    faults: int = 0
    stored: int = 0
    others_stored: bool = False
    unknown: bool = False


@dataclass(slots=True)
class _Lane:
    queue: deque[Entry] = field(default_factory=deque)
    in_flight: bool = False


class Lanes:
    """Hands out batches in which each employee's check-ins are in order, and never two batches of one employee.

    Employees take turns. Pure: the time is what the caller says.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[str] = deque()
        self._waiting: list[tuple[float, str]] = []  # a heap
        self.in_flight = 0
        self.queued = 0

    def __len__(self) -> int:
        return self.in_flight + self.queued

    def add(self, entry: Entry) -> None:
        """Put a check-in at the end of its employee's lane."""
        employee = entry.checkin.employee
        lane = self._lanes.get(employee)
        if lane is None:
            lane = self._lanes[employee] = _Lane()
            self._ready.append(employee)
        lane.queue.append(entry)
        self.queued += 1

    def take(self, most: int, now: float) -> list[Entry]:
        """A batch of at most so many check-ins, from lanes that have nothing in flight; empty when there are none.

        The lanes it came from are closed until `settle` gets the same batch.
        """
        while self._waiting and self._waiting[0][0] <= now:
            self._ready.append(heappop(self._waiting)[1])
        batch: list[Entry] = []
        while self._ready and len(batch) < most:
            lane = self._lanes[self._ready[0]]
            alone = lane.queue[0].alone
            if alone and batch:
                break
            self._ready.popleft()
            lane.in_flight = True
            batch.append(lane.queue.popleft())
            if alone:
                break
            while lane.queue and len(batch) < most and not lane.queue[0].alone:
                batch.append(lane.queue.popleft())
        self.queued -= len(batch)
        self.in_flight += len(batch)
        return batch

    def settle(self, batch: Sequence[Entry], again: Mapping[Entry, float]) -> None:
        """A batch is back. Those in `again` go to the front of their lanes, in order, until the time beside them."""
        self.in_flight -= len(batch)
        due = dict.fromkeys((entry.checkin.employee for entry in batch), -inf)
        for entry in reversed(batch):
            employee = entry.checkin.employee
            if entry in again:
                self._lanes[employee].queue.appendleft(entry)
                self.queued += 1
                due[employee] = max(due[employee], again[entry])
        for employee, when in due.items():
            lane = self._lanes[employee]
            lane.in_flight = False
            if not lane.queue:
                del self._lanes[employee]
            elif when == -inf:
                self._ready.append(employee)
            else:
                heappush(self._waiting, (when, employee))

    def next_due(self) -> float:
        """When the next waiting lane may go on; infinity when none waits."""
        return self._waiting[0][0] if self._waiting else inf

    def clear(self) -> None:
        """Drop what is queued. What is in flight is not touched; its lanes stay closed until it is settled."""
        self._lanes = {employee: lane for employee, lane in self._lanes.items() if lane.in_flight}
        for lane in self._lanes.values():
            lane.queue.clear()
        self._ready.clear()
        self._waiting.clear()
        self.queued = 0
