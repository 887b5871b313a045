"""What erasing a person asks of Kafka beside its records. Loads no Kafka library."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attendance.topics import Name


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the broker keeps a record of each topic; None is for ever, or until a newer one of its key comes."""

    by_topic: Mapping[Name, timedelta | None]

    def until(self, name: Name, at: datetime) -> datetime | None:
        """When a record is certainly gone.

        Retention removes segments, not records: one stays until the newest of its segment is old enough.

        Args:
            name: The topic.
            at: When the broker took the record.
        """
        kept = self.by_topic[name]
        return None if kept is None else at + kept


class Cluster(Protocol):
    """What erasing asks of Kafka beside its records."""

    async def is_embedded(self) -> bool:
        """Whether it is the embedded broker."""

    async def retention(self) -> Retention:
        """How long records are kept, by what the broker says."""

    async def has_members(self, group: str) -> bool:
        """Whether a consumer group has members."""

    async def remove_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete the records of partitions before an offset."""
