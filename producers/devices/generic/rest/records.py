"""From the records of an answer to raw events."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from secrets import token_hex
from typing import Final

from msgspec import structs

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Scalar, Source
from attendance.times import from_wall_clock, read_device_time
from attendance.wire import encode_json
from producers.devices.common.bodies import check_unambiguous, write_record
from producers.devices.common.listed import Keeper
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.contract import Fetch, Page, Rejected, terminal_of
from producers.devices.generic.rest.options import RestOptions

NAME: Final = "rest"
VERSION: Final = "1"
_Tree = dict[str, "_Tree"]
"""The names that paths have, each with those below it."""

_MILLISECONDS: Final = 10**11  # an epoch from here on is in milliseconds; in seconds it is the year 5138


class RecordReader:
    """Makes events of records."""

    def __init__(self, options: RestOptions, wanted: Fetch, payload_fields: Collection[str]) -> None:
        self._options = options
        self._wanted = wanted
        self._payload = tuple(payload_fields)
        names = options.fields
        self._paths = [path for path in (names.user, names.time, names.direction, names.sequence, names.serial) if path]
        self._zone = options.timezone

    def read(self, records: Sequence[object]) -> tuple[Page, list[int]]:
        """A page without its cursor, and the numbers of all its records that have one."""
        events, rejected, numbers = [], [], []
        batch_id = token_hex(16)
        for index, record in enumerate(records):
            try:
                number = self._number(record)
                if number is not None:
                    numbers.append(number)
                events.append(self._event(record, number, Source("pull", NAME, VERSION, batch_id, index)))
            except InvalidRecord as error:
                raw = write_record(self._listed(record))
                rejected.append(Rejected(index, error.reason, error.message, self._kept(record), raw))
        return Page({}, events, rejected), numbers

    def _number(self, record: object) -> int | None:
        path = self._options.fields.sequence
        number = dig(record, path) if path else None
        if isinstance(number, str) and re.fullmatch(r"[0-9]{1,18}", number):
            return int(number)
        return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None

    def _event(self, record: object, number: int | None, source: Source) -> RawEvent:
        if not isinstance(record, dict):
            raise invalid(f"a record must be an object, not {type(record).__name__}")
        names = self._options.fields
        device = self._device(record)
        time = dig(record, names.time)
        event = punch(
            device,
            user=dig(record, names.user),
            time=time,
            event_type=self._direction(dig(record, names.direction) if names.direction else None),
            received_at=self._wanted.now,
            source=source,
            sequence=number,
            payload=scalars(record, self._payload),
        )
        return structs.replace(event, event_time=self._instant(time, device.timezone))

    def _device(self, record: Mapping[str, object]) -> Device:
        device = self._wanted.source
        path = self._options.fields.serial
        if path is not None:
            serial = str(dig(record, path))
            if serial not in self._wanted.terminals:
                raise InvalidRecord(Reason.UNKNOWN_DEVICE, "no device with this serial is asked by way of this")
            device = terminal_of(serial, self._wanted.terminals, device)
        return device if self._zone is None else device.model_copy(update={"timezone": self._zone})

    def _direction(self, word: object) -> EventType:
        return "UNKNOWN" if word is None else self._options.directions.get(str(word), "UNKNOWN")

    def _instant(self, written: object, zone_name: str) -> datetime | None:
        """The instant that a record tells; None where it cannot be derived."""
        form = self._options.time_format
        try:
            match written:
                case bool() | None:
                    return None
                case int() | float() | str() if form.startswith("epoch"):
                    number = float(written)
                    seconds = number / 1000 if abs(number) >= _MILLISECONDS else number
                    return datetime.fromtimestamp(math.floor(seconds), UTC)
                case str() if form == "iso":
                    return read_device_time(written, zone_name)
                case str() | int() if not form.startswith("epoch") and form != "iso":
                    parsed = datetime.strptime(str(written), form)  # noqa: DTZ007 - a wall clock, or it has an offset
                    aware = from_wall_clock(parsed, zone_name) if parsed.tzinfo is None else parsed.astimezone(UTC)
                    return aware.replace(microsecond=0)
        except (ValueError, OverflowError, OSError):
            pass
        return None

    def _kept(self, record: object) -> bytes:
        """What a dead letter keeps of a record: the fields that the entry names."""
        if not isinstance(record, Mapping):
            return encode_json(None)
        kept: dict[str, Scalar] = {}
        for path in self._paths:
            with suppress(InvalidRecord):
                kept[path] = cut(dig(record, path))
        return encode_json(kept | scalars(record, self._payload))

    def _listed(self, record: object) -> object:
        """What is kept of a record to be read again; the record itself where nothing is at the path of the user."""
        names = self._options.fields
        if not isinstance(record, dict) or not _is_there(record, names.user):
            return record
        tree: _Tree = {}
        for path in (*self._paths, *self._payload):
            inner = tree
            for name in path.split(".") if path in self._paths else (path,):
                inner = inner.setdefault(name, {})
        try:
            is_dated = dig(record, names.time) not in (None, "")
        except InvalidRecord:
            is_dated = True
        return _at_paths(record, tree, names.time, is_dated=is_dated)


def _is_there(record: object, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(record, Mapping) or name not in record:
            return False
        record = record[name]
    return True


def _at_paths(fields: Mapping[str, object], tree: _Tree, time: str, *, is_dated: bool) -> dict[str, object]:
    """What stands at the paths of a tree; `time` is that of the time below these fields."""
    first, _, rest = time.partition(".")
    found = Keeper(tree, () if rest else (first,), has_bytes=False).fields(fields, is_dated=is_dated)
    for name, below in tree.items():
        inner = fields.get(name)
        if below and isinstance(inner, dict):
            found[name] = _at_paths(inner, below, rest if name == first else "", is_dated=is_dated)
    return found


def dig(value: object, path: str) -> object:
    """What stands at a dotted path, None where nothing does.

    Args:
        value: An answer, or a part of it.
        path: Names joined by dots; empty for the whole.

    Raises:
        InvalidRecord: a name on the way is given several values (`invalid_event`).
    """
    for name in path.split(".") if path else ():
        if not isinstance(value, Mapping):
            return None
        check_unambiguous(value, (name,))
        value = value.get(name)
    return value
