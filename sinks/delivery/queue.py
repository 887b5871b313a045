"""EmployeeQueues: fetched check-ins in one queue for each employee, of which one batch at a time is in flight."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from attendance.kafka.records import Record
from attendance.records.checkin import Checkin


@dataclass(eq=False, slots=True)
class QueuedCheckin:
    """One fetched check-in and what its tries have shown. Two are equal only where they are the same object.

    Attributes:
        record: The record that it was fetched from.
        checkin: What is to be delivered.
        epoch: The assignment of partitions under which it was fetched.
        attempts: How often the target was asked to store it.
        alone: The target failed on it, so it shares a request with no other check-in.
        employee_missing: The directory did not know its employee when it was first to be delivered.
    """

    record: Record
    checkin: Checkin
    epoch: int = 0
    attempts: int = 0
    alone: bool = False
    employee_missing: bool = False


@dataclass(slots=True)
class _Queue:
    checkins: deque[QueuedCheckin] = field(default_factory=deque)
    in_flight: bool = False


class EmployeeQueues:
    """Hands out batches in which each employee's check-ins are in order, and never two batches of one employee.

    Employees take turns. Pure: the time is what the caller says.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._ready: deque[str] = deque()
        self._waiting: list[tuple[float, str]] = []  # a heap
        self.in_flight = 0
        self.queued = 0

    def __len__(self) -> int:
        return self.in_flight + self.queued

    def add(self, queued: QueuedCheckin) -> None:
        """Put a check-in at the end of its employee's queue."""
        employee = queued.checkin.employee
        queue = self._queues.get(employee)
        if queue is None:
            queue = self._queues[employee] = _Queue()
            self._ready.append(employee)
        queue.checkins.append(queued)
        self.queued += 1

    def take(self, most: int, now: float) -> list[QueuedCheckin]:
        """Take a batch from queues that have nothing in flight. They stay closed until `give_back` gets the batch.

        Args:
            most: The most check-ins in the batch.
            now: The time, in the seconds of `give_back`.

        Returns:
            The check-ins, each employee's in order. Empty if there are none.
        """
        while self._waiting and self._waiting[0][0] <= now:
            self._ready.append(heappop(self._waiting)[1])
        batch: list[QueuedCheckin] = []
        while self._ready and len(batch) < most:
            queue = self._queues[self._ready[0]]
            alone = queue.checkins[0].alone
            if alone and batch:
                break
            self._ready.popleft()
            queue.in_flight = True
            batch.append(queue.checkins.popleft())
            if alone:
                break
            while queue.checkins and len(batch) < most and not queue.checkins[0].alone:
                batch.append(queue.checkins.popleft())
        self.queued -= len(batch)
        self.in_flight += len(batch)
        return batch

    def give_back(self, batch: Sequence[QueuedCheckin], retries: Mapping[QueuedCheckin, float]) -> None:
        """Open the queues of a batch again.

        Args:
            batch: What `take` returned.
            retries: Those of the batch that are to be tried again, and not before which time, in seconds. They go to
                the front of their queues, in their old order.
        """
        self.in_flight -= len(batch)
        due = dict.fromkeys((queued.checkin.employee for queued in batch), -inf)
        for queued in reversed(batch):
            employee = queued.checkin.employee
            if queued in retries:
                self._queues[employee].checkins.appendleft(queued)
                self.queued += 1
                due[employee] = max(due[employee], retries[queued])
        for employee, when in due.items():
            queue = self._queues[employee]
            queue.in_flight = False
            if not queue.checkins:
                del self._queues[employee]
            elif when == -inf:
                self._ready.append(employee)
            else:
                heappush(self._waiting, (when, employee))

    def next_due(self) -> float:
        """When the next queue that waits for a retry may go on; infinity if none waits."""
        return self._waiting[0][0] if self._waiting else inf

    def clear(self) -> None:
        """Drop what is queued. What is in flight stays, and its queues stay closed until it is given back."""
        self._queues = {employee: queue for employee, queue in self._queues.items() if queue.in_flight}
        for queue in self._queues.values():
            queue.checkins.clear()
        self._ready.clear()
        self._waiting.clear()
        self.queued = 0
