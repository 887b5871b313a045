"""What the stream's changelog says of punches whose raw records are gone: it is kept longer than they are."""

import json
from collections.abc import Iterable, Iterator, Mapping

from attendance.adoptions import NOTHING_MOVED, Moves
from attendance.errors import ConfigurationError, InvalidRecord
from attendance.kafka.records import Record
from attendance.records.raw_event import event_id
from attendance.times import format_seconds
from streams.dedup import Punch
from streams.erased import is_erasure
from streams.state import FLOOR_KEY, decode


def ids_kept_before(
    batch: Iterable[Record], first: Mapping[int, int], raw: str = "", moves: Moves = NOTHING_MOVED
) -> Iterator[str]:
    """The events that were kept of raw records which the raw topic does not have any more.

    Args:
        batch: Records of the changelog.
        first: The first offset that each partition of the raw topic has. One that is not named has none.
        raw: Its full name.
        moves: The adoptions.
    """
    for record in batch:
        try:
            punches = decode(record.value)
        except (InvalidRecord, ConfigurationError):  # the stream says so
            continue
        end = first.get(record.partition)
        for key, entry in punches:
            punch = Punch.unpack(entry).as_it_was()
            now = moves.now(raw, (record.partition, punch.offset), record)
            if key != FLOOR_KEY and not is_erasure(key) and (end is None or now is None or now[1] < end):
                device_id, user = json.loads(key)
                yield event_id(device_id, user, format_seconds(punch.time), punch.event_type)
