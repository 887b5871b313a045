"""EmployeeQueues: fetched check-ins in one queue for each employee, of which one batch at a time is in flight."""

from collections import deque
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from attendance.kafka.records import Record
from attendance.records.checkin import Checkin

QUICK: Final = 16  # suspects who go before one that holds the target up


@dataclass(eq=False, slots=True)
class QueuedCheckin:
    """One fetched check-in and what its tries have shown. Two are equal only where they are the same object.

    Attributes:
        record: The record that it was fetched from.
        checkin: What is to be delivered.
        epoch: The assignment of partitions under which it was fetched.
        attempts: How often the target was asked to store it.
        employee_missing: The directory did not know its employee when it was first to be delivered.
    """

    record: Record
    checkin: Checkin
    epoch: int = 0
    attempts: int = 0
    employee_missing: bool = False


@dataclass(slots=True)
class _Queue:
    checkins: deque[QueuedCheckin] = field(default_factory=deque)
    in_flight: bool = False


class EmployeeQueues:
    """Hands out batches in which each employee's check-ins are in order, and never two batches of one employee.

    Employees take turns. Those whose requests failed share smaller ones, and a suspect shares none: see `divide` and
    `suspect`. Suspects who hold the target up let others go before them, who may be suspects for their sake alone.
    Pure: the time is what the caller says.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._ready: deque[str] = deque()
        self._divided: deque[str] = deque()  # ready too, and before the others: they have waited already
        self._ready_suspects: deque[str] = deque()
        self._ready_holders: deque[str] = deque()  # suspects too, who hold the target up
        self._quick = 0  # how many suspects went before those since the last of them
        self._waiting: list[tuple[float, str]] = []  # a heap
        self._shares: dict[str, int] = {}
        self._suspects: set[str] = set()
        self._holders: set[str] = set()
        self.in_flight = 0
        self.queued = 0

    def __len__(self) -> int:
        return self.in_flight + self.queued

    @property
    def suspects(self) -> frozenset[str]:
        """The employees whose check-ins are tried alone."""
        return frozenset(self._suspects)

    @property
    def queued_of_suspects(self) -> int:
        """How many check-ins wait for a suspect's turn."""
        return sum(len(queue.checkins) for name in self._suspects if (queue := self._queues.get(name)))

    def divide(self, employee: str, share: int) -> None:
        """From its next turn on, an employee shares a request with at most so many check-ins, its own included."""
        self._shares[employee] = max(1, min(share, self._shares.get(employee, share)))

    def suspect(self, employee: str, *, holds_up: bool = False) -> None:
        """From its next turn on, an employee's check-ins are tried one by one, each alone.

        Args:
            employee: Who.
            holds_up: It was alone in its request, and the target took long for it.
        """
        self._suspects.add(employee)
        if holds_up:
            self._holders.add(employee)

    def clear_suspicion(self, employee: str) -> None:
        """From its next turn on, an employee shares requests as all do."""
        self._suspects.discard(employee)
        self._holders.discard(employee)
        self._shares.pop(employee, None)

    def reconsider(self, employees: Container[str]) -> None:
        """The target was the cause of these failures: those that wait for a retry go on now.

        They are clear of suspicion, but for those that hold the target up, which may be the cause of that themselves.
        Each of them is still tried alone.
        """
        for name in [each for each in self._suspects if each in employees and each not in self._holders]:
            self.clear_suspicion(name)
        again = [each for _, each in self._waiting if each in employees]
        again += [each for each in self._ready_suspects if each in employees]
        self._waiting = [each for each in self._waiting if each[1] not in employees]
        heapify(self._waiting)
        self._ready_suspects = deque(each for each in self._ready_suspects if each not in employees)
        self._ready.extendleft(each for each in reversed(again) if each not in self._holders)
        self._ready_holders.extend(each for each in again if each in self._holders)

    def add(self, queued: QueuedCheckin) -> None:
        """Put a check-in at the end of its employee's queue."""
        employee = queued.checkin.employee
        queue = self._queues.get(employee)
        if queue is None:
            queue = self._queues[employee] = _Queue()
            self._make_ready(employee)
        queue.checkins.append(queued)
        self.queued += 1

    def take(self, most: int, now: float) -> list[QueuedCheckin]:
        """Take a batch from queues that have nothing in flight. They stay closed until `give_back` gets the batch.

        Args:
            most: The most check-ins in the batch.
            now: The time, in the seconds of `give_back`.

        Returns:
            The check-ins, each employee's in order, none of a suspect. Empty if there are none.
        """
        self._advance(now)
        ready = self._divided or self._ready
        batch: list[QueuedCheckin] = []
        while ready and len(batch) < most:
            share = self._shares.get(ready[0], most)
            if batch and len(batch) >= share:
                break
            most = min(most, share)
            queue = self._queues[ready.popleft()]
            queue.in_flight = True
            while queue.checkins and len(batch) < most:
                batch.append(queue.checkins.popleft())
        self._taken(len(batch))
        return batch

    def take_suspect(self, now: float, *, trial: bool = False) -> list[QueuedCheckin]:
        """Take the first check-in of the suspect whose turn it is, as `take` does. Empty if no suspect is due.

        Args:
            now: The time, in the seconds of `give_back`.
            trial: Nothing else is sent until the target has answered this. Suspects who hold it up are left out, if
                others wait.
        """
        self._advance(now)
        ready = self._ready_suspects
        wanted = not trial or self._holders.issuperset(self._queues)
        if self._ready_holders and wanted and (not ready or self._quick >= QUICK):
            ready = self._ready_holders
            self._quick = 0
        if not ready:
            return []
        self._quick += ready is self._ready_suspects
        queue = self._queues[ready.popleft()]
        queue.in_flight = True
        self._taken(1)
        return [queue.checkins.popleft()]

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
                self._make_ready(employee)
            else:
                heappush(self._waiting, (when, employee))

    def next_due(self, now: float) -> float:
        """When the next queue that waits for a retry may go on, after now; infinity if none waits."""
        self._advance(now)
        return self._waiting[0][0] if self._waiting else inf

    def clear(self) -> None:
        """Drop what is queued, and all suspicion. What is in flight stays, its queues closed until it is given back."""
        self._queues = {employee: queue for employee, queue in self._queues.items() if queue.in_flight}
        for queue in self._queues.values():
            queue.checkins.clear()
        for ready in (self._ready, self._divided, self._ready_suspects, self._ready_holders):
            ready.clear()
        self._waiting.clear()
        self._shares.clear()
        self._suspects.clear()
        self._holders.clear()
        self.queued = 0

    def _advance(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._make_ready(heappop(self._waiting)[1])

    def _make_ready(self, employee: str) -> None:
        if employee in self._holders:
            self._ready_holders.append(employee)
        elif employee in self._suspects:
            self._ready_suspects.append(employee)
        elif employee in self._shares:
            self._divided.append(employee)
        else:
            self._ready.append(employee)

    def _taken(self, count: int) -> None:
        self.queued -= count
        self.in_flight += count
