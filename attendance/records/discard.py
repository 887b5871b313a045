"""Discards of waiting punches: a person said that nothing more is to come of them.

Such a record stands on the topic of what waits, under a key of its own, and stays there. The raw records are not
touched: a replay has the punches decided again.
"""

from typing import ClassVar, Final

from attendance.wire import JsonRecord, Milliseconds, Text

_KEY: Final = b"discard:"
MOST_EVENTS: Final = 1000  # of one record


class DiscardedWaiting(JsonRecord, frozen=True):
    """Punches that one person discarded at one time.

    `discard_id` is random. `events` are their `event_id`s, `device_id` is the device of all of them, `by` the operating
    system's user. What arrived after this record, such as a replay copy, is not discarded.
    """

    what: ClassVar[str] = "a discard of waiting punches"

    discard_id: Text
    events: tuple[Text, ...]
    device_id: Text
    at: Milliseconds
    by: Text
    note: Text

    @property
    def key(self) -> bytes:
        """The record key. No other record has it, so compaction keeps all of them."""
        return _KEY + self.discard_id.encode()


def is_discard_key(key: bytes | None) -> bool:
    """Whether a record of the unmapped topic is a discard, by its key."""
    return (key or b"").startswith(_KEY)
