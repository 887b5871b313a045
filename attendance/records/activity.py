"""Activity: what somebody had the console do, and how it ended; the wire format of the topic of the console's activity.

An action is written when it begins, and once more when it ends: one that has no end was broken off, and may be done or
not.
"""

from typing import ClassVar, Literal

from msgspec import field

from attendance.wire import JsonRecord, Milliseconds, Text

ActivityState = Literal["begun", "done", "failed"]


class Activity(JsonRecord, frozen=True):
    """The beginning or the end of one action, both with the same `id`.

    `via` is `console` or `api`. `action` is a word of `operations.activity.Act`. `about` says of what, such as
    `{"device": "D1", "number": "77", "employee": "HR-EMP-00001"}`. `note` is why, as they wrote it. `result` is said at
    the end: what came of it, or why it failed.
    """

    what: ClassVar[str] = "an activity of the console"

    id: Text
    at: Milliseconds
    by: Text
    via: Text
    action: Text
    state: ActivityState
    about: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    result: str | None = None

    @property
    def key(self) -> bytes:
        """The record key: beginning and end of an action stand in the same partition."""
        return self.id.encode()
