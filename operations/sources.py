"""Sources: where the answer to a question comes from. Operations read the topics; a ledger answers the same."""

from datetime import datetime
from typing import Protocol


class Source(Protocol):
    """The topics or a ledger."""

    @property
    def name(self) -> str:
        """What it is and, once it has answered, as of when: it is printed."""

    @property
    def as_of(self) -> datetime | None:
        """As of when the answer knows all that the topics had, UTC. None where it is theirs, or nobody knows when."""


class FromTopics:
    """The topics themselves, which know all. See `Source`."""

    name = "the topics"
    as_of: datetime | None = None
