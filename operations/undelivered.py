"""What waits for ERPNext: check-ins that the sink has not committed, and how soon it tries again by itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attendance.times import from_milliseconds
from operations.log import Log
from sinks.delivery.timings import SinkTimings

RETRY_SECONDS: Final = SinkTimings().recovery
"""The longest pause before an ERPNext that does not answer is tried again: when, only the sink's process knows."""
RECHECK_SECONDS: Final = SinkTimings().recheck
"""The pause before an ERPNext that refused the API user is asked again."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Check-ins that the sink has not committed.

    Attributes:
        checkins: How many, at most: what is committed is a contiguous beginning.
        oldest: Since when the first of them is on the topic, UTC; None where there is none, or nobody knows.
    """

    checkins: int
    oldest: datetime | None = None


async def read_undelivered(log: Log) -> Undelivered:
    """What waits now.

    Args:
        log: The topics.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    committed = await log.committed("checkins", "sink")
    first = {}
    count = 0
    for number, (begin, end) in (await log.extents("checkins")).items():
        at = max(committed.get(number) or begin, begin)
        if at < end:
            first[number] = at
            count += end - at
    records = await log.at("checkins", list(first.items()))
    times = [record.timestamp for record in records.values() if record.timestamp > 0]
    return Undelivered(count, from_milliseconds(min(times)) if times else None)
