"""The codec of every record: one JSON object in UTF-8, and the headers that records carry beside it."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

from msgspec import Meta, MsgspecError, Struct, convert, inspect
from msgspec.json import Decoder, Encoder
from msgspec.structs import asdict, replace

from attendance.errors import InvalidRecord, Reason
from attendance.times import encode_milliseconds, format_milliseconds, format_seconds

Text = Annotated[str, Meta(min_length=1)]
_TO_THE_SECOND: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
Seconds = Annotated[
    datetime, Meta(tz=True, extra={"format": format_seconds}, extra_json_schema={"pattern": _TO_THE_SECOND + "Z$"})
]
"""An instant that is written in whole seconds."""
Milliseconds = Annotated[
    datetime,
    Meta(
        tz=True,
        extra={"format": format_milliseconds},
        extra_json_schema={"pattern": _TO_THE_SECOND + r"\.[0-9]{3}Z$"},
    ),
]
"""An instant that is written in milliseconds."""

Partition = Annotated[int, Meta(ge=0, lt=2**31)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]

MAX_SOURCE: Final = 1000
"""Bytes of a CloudEvents source. A record that nobody checked may name a site of any length."""
SOURCE: Final = "ce_source"

TimeFormat = Callable[[datetime], str]

_T = TypeVar("_T")
_Record = TypeVar("_Record", bound="KeyedRecord")

_SAME: Final = (("ce_specversion", b"1.0"), ("content-type", b"application/json"))
REFUSALS: Final = (MsgspecError, ValueError, OverflowError, RecursionError)

encode_json: Final = Encoder().encode
"""A value as JSON in UTF-8, in bytes that take no more memory than they need.

Those that `orjson.dumps` returns hold 4 KB or more each, however short they are, for as long as they are kept; and to
fill memory by the page for what is soon let go takes longer than to write the JSON.
"""


def decode_json(decoder: Decoder[_T], data: bytes | None, what: str) -> _T:
    """What JSON holds.

    Args:
        decoder: Of the type that it must have.
        data: A record's key or value.
        what: The name of such data in the error, such as `a user map key`.

    Returns:
        The decoded data. Unknown fields are ignored.

    Raises:
        InvalidRecord: it is something else (`undecodable_record`).
    """
    try:
        return decoder.decode(data or b"")
    except REFUSALS as error:
        raise _refused(what, error) from error


class KeyedRecord(Struct, frozen=True):
    """A record whose value is a JSON object; the fields of `in_key` stand in its key instead.

    The annotations of its fields are its format: `Text` is never empty, `Seconds` and `Milliseconds` are instants, in
    UTC once they are decoded. Fields are only ever added, with a default.
    """

    what: ClassVar[str]
    """The record in an error, such as `a delivery`."""
    in_key: ClassVar[Sequence[str]] = ()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return _codec(type(self)).encode(self)

    @classmethod
    def decode_value(cls, value: bytes | None, **key: object) -> Self:
        """What `encode` wrote, in this version, an older or a newer one.

        Args:
            value: The record value.
            key: The fields that stand in the record key, already decoded.

        Raises:
            InvalidRecord: it is something else (`undecodable_record`).
        """
        codec = _codec(cls)
        try:
            return codec.in_utc(convert({**codec.decode_fields(value or b""), **key}, cls))
        except REFUSALS as error:
            raise _refused(cls.what, error) from error


class JsonRecord(KeyedRecord, frozen=True):
    """A record all of whose fields stand in its value."""

    @classmethod
    def decode(cls, value: bytes | None) -> Self:
        """What `encode` wrote, in this version, an older or a newer one.

        Raises:
            InvalidRecord: it is something else (`undecodable_record`).
        """
        # In one function: the stream decodes every punch here.
        try:
            codec = _CODECS[cls]
        except KeyError:
            codec = _codec(cls)
        try:
            record: Self = codec.decode(value or b"")
            for name in codec.times:
                time = getattr(record, name)
                if time is not None and time.tzinfo is not UTC:
                    return codec.in_utc(record)
            return codec.in_utc(record) if codec.nested else record
        except REFUSALS as error:
            raise _refused(cls.what, error) from error


class _Codec:
    """What is known of one type of records, found out once."""

    def __init__(self, type_: type[KeyedRecord]) -> None:
        self.decode: Callable[[bytes], Any] = Decoder(type_).decode
        self.decode_fields = Decoder(dict[str, Any]).decode
        self.in_key = type_.in_key
        self.times: dict[str, TimeFormat] = {}
        self.nested: dict[str, _Codec] = {}
        for name, field_type in _field_types(type_):
            if isinstance(field_type, inspect.Metadata) and field_type.extra and "format" in field_type.extra:
                self.times[name] = field_type.extra["format"]
            elif isinstance(field_type, inspect.StructType) and issubclass(field_type.cls, KeyedRecord):
                self.nested[name] = _codec(field_type.cls)
        self.is_written_as_it_is = not self.in_key and all(each is format_seconds for each in self.times.values())

    def encode(self, record: KeyedRecord) -> bytes:
        """The record value."""
        if self.is_written_as_it_is:
            # Half of what it takes by way of a dict. So msgspec writes an instant of whole seconds in UTC.
            for name in self.times:
                time = getattr(record, name)
                if time is not None and (time.microsecond or time.tzinfo is not UTC):
                    record = replace(record, **{name: time.astimezone(UTC).replace(microsecond=0)})
            return encode_json(record)
        data = asdict(record)
        for name, format_time in self.times.items():
            if data[name] is not None:
                data[name] = format_time(data[name])
        for name in self.in_key:
            del data[name]
        return encode_json(data)

    def in_utc(self, record: _Record) -> _Record:
        """The record with its times in UTC. Raises OverflowError where that is out of range."""
        changes: dict[str, object] = {}
        for name in self.times:
            time = getattr(record, name)
            if time is not None and time.tzinfo is not UTC:
                changes[name] = time.astimezone(UTC)
        for name, codec in self.nested.items():
            inner = getattr(record, name)
            inner_in_utc = codec.in_utc(inner)
            if inner_in_utc is not inner:
                changes[name] = inner_in_utc
        return replace(record, **changes) if changes else record


_CODECS: Final[dict[type[KeyedRecord], _Codec]] = {}


def _codec(type_: type[KeyedRecord]) -> _Codec:
    if type_ not in _CODECS:
        _CODECS[type_] = _Codec(type_)
    return _CODECS[type_]


def _refused(what: str, error: Exception) -> InvalidRecord:
    return InvalidRecord(Reason.UNDECODABLE_RECORD, f"not {what}: {error}")


def _field_types(type_: type[Struct]) -> Iterable[tuple[str, inspect.Type]]:
    """The name and type of each field, or each of its types where it may be of several."""
    described = inspect.type_info(type_)
    assert isinstance(described, inspect.StructType)
    for field in described.fields:
        types = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        yield from ((field.name, each) for each in types)


def cloudevents_headers(id_: str, type_: bytes, source: bytes, time: datetime) -> list[tuple[str, bytes]]:
    """The headers that every event record carries, in CloudEvents' Kafka binary mode.

    Args:
        id_: What the event is about: the `event_id` of a punch.
        type_: Such as `punchstream.attendance.raw.v1`.
        source: Where it comes from: `/sites/SITE/devices/DEVICE_ID`.
        time: When it happened.
    """
    return [
        *_SAME,
        ("ce_id", id_.encode()),
        ("ce_type", type_),
        (SOURCE, source[:MAX_SOURCE]),
        ("ce_time", encode_milliseconds(time)),
    ]


Place = tuple[int, int]
"""Partition and offset of a record."""
_PLACE: Final = re.compile(rb"(\d{1,9}):(\d{1,18})")


def position(headers: Sequence[tuple[str, bytes]], name: str) -> Place | None:
    """Partition and offset in the header of that name, None where it is missing or is something else."""
    for each, data in headers:
        if each == name and (match := _PLACE.fullmatch(data or b"")) is not None:
            return int(match[1]), int(match[2])
    return None
