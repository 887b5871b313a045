"""SavedCursor: up to where a device was asked, and the wire format of the cursors topic."""

from collections.abc import Mapping
from typing import Any, ClassVar

from attendance.wire import JsonRecord, Milliseconds, Seconds, Text


class SavedCursor(JsonRecord, frozen=True):
    """Where to go on with one device. Times are UTC.

    `cursor` is the adapter's own; `adapter`, `version` and `serial` say whose and of which device it is.
    `complete_until` is the newest claim that came with a page, `last_event` that of `DeviceStatus`. `swept_at` is when
    the nightly sweep last began that went through, or the first fetch of all. `at` is the server's clock.
    """

    what: ClassVar[str] = "a cursor"

    device_id: Text
    adapter: Text
    version: Text
    serial: str | None
    cursor: Mapping[str, Any]
    at: Milliseconds
    complete_until: Seconds | None = None
    swept_at: Seconds | None = None
    last_event: Seconds | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return cursor_key(self.device_id)


def cursor_key(device_id: str) -> bytes:
    """The key of a device's records, which also decides which process asks it."""
    return device_id.encode()
