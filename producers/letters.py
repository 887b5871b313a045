"""How many dead letters one sender can make: of many rejected records of a request, some share one letter.

Whoever knows a serial number may send lines that are none, two bytes each. A letter for each would fill the topic, and
hide the letters of others. The request itself is kept whole beside them, so no record is lost by that.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from attendance.errors import Reason
from attendance.kafka.records import MAX_VALUE_BYTES
from attendance.records.dead_letter import MAX_MESSAGE, DeadLetter
from producers.pictures import redact

OWN: Final = 20
"""Records of one request that have a letter of their own."""
OWN_AN_HOUR: Final = 200
"""Records of one device that have, before only the first of each request and reason is named."""
_HOUR: Final = 3600.0
_ROOM: Final = 100  # characters of a message, for how many more there are


class Letters:
    """Bounds the dead letters of each device.

    Args:
        clock: Seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, float] = {}
        self._asked_at: dict[str, float] = {}

    def bounded(self, device_id: str, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        """The letters of one request that is kept whole, as `shared` has them.

        Args:
            device_id: Whose request it is, by the fleet file.
            letters: One for each rejected record, in the order of the request.
        """
        moment = self._clock()
        passed = moment - self._asked_at.get(device_id, moment)
        left = min(OWN_AN_HOUR, self._left.get(device_id, OWN_AN_HOUR) + passed * OWN_AN_HOUR / _HOUR)
        own = min(OWN, int(left), len(letters))
        self._asked_at[device_id], self._left[device_id] = moment, left - own
        return shared(letters, own)


def shared(letters: Sequence[DeadLetter], own: int = OWN) -> Sequence[DeadLetter]:
    """The first letters as they are, and of the others one for each reason, which names the first and counts the rest.

    Args:
        letters: One for each rejected record of one request that is kept whole, in the order of the request.
        own: How many of them stay as they are.
    """
    if len(letters) <= own:
        return letters
    others: dict[Reason, list[DeadLetter]] = defaultdict(list)
    for each in letters[own:]:
        others[each.reason].append(each)
    return [*letters[:own], *map(_one_for, others.values())]


def _one_for(letters: Sequence[DeadLetter]) -> DeadLetter:
    first, further = letters[0], len(letters) - 1
    if not further:
        return first
    return replace(
        first,
        message=f"{first.message[: MAX_MESSAGE - _ROOM]} (and {further:,} more of the same request)",
        # Each without pictures before they stand together: no record is to be cut for what stands beside it.
        value=b"\n".join(redact(each.value or b"") for each in letters)[:MAX_VALUE_BYTES],
        further=further,
    )
