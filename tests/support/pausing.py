"""Pauses of devices, as the fleet topic would have them."""

from memory_log import StoredRecord

from attendance.records.fleet import DevicePause, PauseKey
from attendance.registry import Registry
from attendance.times import now
from attendance.wire import encode_json


def pause(registry: Registry, *device_ids: str) -> None:
    """Have these devices paused and no others. The registry takes that up when it is next looked at."""
    paused = [DevicePause(each, now(), "fatima", "moved") for each in device_ids]
    ended = [(PauseKey(each), None) for each in registry.topic.pauses()]
    for key, value in [*ended, *((PauseKey(each.device_id), each.encode()) for each in paused)]:
        registry.topic.take(StoredRecord("t.fleet.v1", 0, 0, 0, encode_json(key), value))
    registry.topic.caught_up.set()
