"""Raw events by number: the same seed gives the same events, whatever they are cut into."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.records.user_map import Employee, UserMapping

START: Final = datetime(2020, 1, 1, 5, tzinfo=UTC)
BETWEEN_PUNCHES: Final = timedelta(hours=6)
BLOCK: Final = 100
"""So many new punches, and then the same again: a terminal that did not hear the answer."""
_TYPES: Final[tuple[EventType, ...]] = ("IN", "OUT")


@dataclass(frozen=True, slots=True)
class Workload:
    """Users who punch in turn, each every six hours of event time; user n on the devices n, n + users and so on."""

    devices: int = 100
    users: int = 1000
    seed: int = 1

    def punch(self, number: int) -> RawEvent:
        """The nth punch of the fleet; every number is a different one, and none is a repeat of another."""
        turn, user = divmod(number, self.users)
        device = number % self.devices
        jitter = random.Random(self.seed * 1_000_003 + number).randrange(3600)
        time = START + turn * BETWEEN_PUNCHES + timedelta(seconds=jitter)
        return RawEvent(
            device_id=f"device-{device:05}",
            site=f"site-{device % 20:02}",
            device_user_id=str(1000 + user),
            event_type=_TYPES[turn % 2],
            event_time=time,
            device_time=time.strftime("%Y-%m-%d %H:%M:%S"),
            device_timezone="UTC",
            received_at=time + timedelta(seconds=2),
            source=Source("push", "json", "1", f"{number // BLOCK:032x}", number % BLOCK),
            sequence=number,
        )

    def new(self, first: int, count: int) -> Iterator[RawEvent]:
        """So many punches from the nth on, each once."""
        return (self.punch(number) for number in range(first, first + count))

    def half_repeats(self, first: int, count: int) -> Iterator[RawEvent]:
        """So many events of which half are repeats: blocks of new punches, from the nth on, each sent twice."""
        for start in range(0, count, 2 * BLOCK):
            block = list(self.new(first + start // 2, min(BLOCK, (count - start) // 2)))
            yield from block
            yield from block

    def employees(self) -> dict[str, str]:
        """Each device user's employee."""
        return {str(1000 + user): f"HR-EMP-{user + 1:05}" for user in range(self.users)}

    def user_map(self) -> Iterator[Employee | UserMapping]:
        """The same as entries of the user map."""
        for user, employee in self.employees().items():
            yield Employee(employee, "Active")
            yield UserMapping("*", user, employee, "erpnext")
