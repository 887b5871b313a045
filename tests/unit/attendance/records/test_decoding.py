"""What every record holds in common: later fields are ignored, and a wrong type is refused and never another error."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from example_records import EXAMPLES, golden
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from attendance.errors import InvalidRecord, Reason
from attendance.records.account import AcceptedLoss, Account, Adoption
from attendance.records.account import decode as decode_account
from attendance.records.account import decode_key as decode_account_key
from attendance.records.console_user import ApiToken, ConsoleUser
from attendance.records.console_user import decode_key as decode_user_key
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action
from attendance.records.fleet import DevicePause, FleetEntry
from attendance.records.fleet import decode_key as decode_fleet_key
from attendance.records.sequences import Sequences
from attendance.records.site import SiteZone
from attendance.records.terminals import Stamps, StampsKey, decode_stamps
from attendance.records.terminals import decode_key as decode_terminal_key
from attendance.records.user_map import Employee, ErasedEmployee, IgnoredUser, UserMapping, decode, decode_key

BY_NAME = {name: record for name, (_, record) in EXAMPLES.items() if not isinstance(record, Stamps)}
WRONG: Any = [{"neither": ["text", "number"]}]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def decoder(name: str) -> Callable[[bytes | None], Any]:
    """Decodes a value as the record of that golden file, with the key of that."""
    record, key = BY_NAME[name], golden(name).key
    match record:
        case UserMapping() | IgnoredUser() | Employee() | ErasedEmployee():
            return lambda value: decode(decode_key(key), value)
        case Account() | AcceptedLoss() | Adoption():
            return lambda value: decode_account(key, value)
        case Action() | ApiToken() | ConsoleUser() | DevicePause() | FleetEntry() | Sequences() | SiteZone():
            return lambda value: type(record).decode(key, value)
    return type(record).decode


@pytest.mark.parametrize("name", BY_NAME)
def test_a_field_of_a_later_version_is_ignored(name: str) -> None:
    data = orjson.loads(golden(name).value)
    assert decoder(name)(orjson.dumps(data | {"added_in_version_9": WRONG})) == BY_NAME[name]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field.name)
        for name, record in BY_NAME.items()
        for field in fields(type(record))
        if field.name not in type(record).in_key
    ],
)
def test_a_field_of_a_wrong_type_is_refused(name: str, field: str) -> None:
    data = orjson.loads(golden(name).value)
    with pytest.raises(InvalidRecord) as caught:
        decoder(name)(orjson.dumps(data | {field: WRONG}))
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


@given(name=st.sampled_from(sorted(BY_NAME)), value=json_values, data=st.data())
@settings(deadline=None)
def test_a_value_of_any_type_is_decoded_or_refused_and_what_is_decoded_can_be_written(
    name: str, value: Any, data: st.DataObject
) -> None:
    known = orjson.loads(golden(name).value)
    field = data.draw(st.sampled_from(sorted(known)))
    decode_value = decoder(name)
    try:
        record = decode_value(orjson.dumps(known | {field: value}, option=orjson.OPT_PASSTHROUGH_SUBCLASS))
    except (InvalidRecord, orjson.JSONEncodeError):
        return
    assert decode_value(record.encode()) == record


@pytest.mark.parametrize("name", BY_NAME)
@given(value=st.none() | st.binary(max_size=40) | json_values.filter(lambda each: not isinstance(each, dict)).map(repr))
@settings(deadline=None, max_examples=20)
def test_a_value_of_somebody_else_is_refused(name: str, value: bytes | str | None) -> None:
    with pytest.raises(InvalidRecord):
        decoder(name)(value.encode(errors="replace") if isinstance(value, str) else value)


@given(key=st.none() | st.binary(max_size=40) | json_values.map(repr).map(str.encode))
def test_a_key_of_somebody_else_is_refused(key: bytes | None) -> None:
    for decode_any in (
        decode_key,
        decode_terminal_key,
        decode_account_key,
        decode_fleet_key,
        decode_user_key,
        lambda each: Action.decode(each, golden("dead-letter-replay").value),
    ):
        with pytest.raises(InvalidRecord):
            decode_any(key)


@pytest.mark.parametrize("value", [b"[]", b'{"stamp":7}', b"7", b"{", b""])
def test_stamps_of_a_wrong_type_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidRecord):
        decode_stamps(StampsKey("D1"), value)


@given(header=st.sampled_from([name for name, _ in golden("dead-letter").headers]), content=st.binary(max_size=30))
def test_a_dead_letter_with_any_header_is_read_or_refused(header: str, content: bytes) -> None:
    written = golden("dead-letter")
    headers = [(name, content if name == header else data) for name, data in written.headers]
    try:
        letter = DeadLetter.decode(written.key, written.value, headers)
    except InvalidRecord:
        return
    assert DeadLetter.decode(letter.key, letter.value, letter.encode_headers()) == letter


@pytest.mark.parametrize(
    ("name", "field", "written", "read"),
    [
        ("raw", "event_time", "2026-01-01T08:00:00+03:00", "2026-01-01T05:00:00Z"),
        ("raw", "received_at", "2026-01-01T00:00:02.345-05:00", "2026-01-01T05:00:02.345Z"),
        ("cursor", "swept_at", "2026-01-01T08:00:00.9+03:00", "2026-01-01T05:00:00Z"),
        ("dropped", "event_time", "2026-01-01T08:00:00.9+03:00", "2026-01-01T05:00:00Z"),
        ("account", "at", "2026-01-01T08:00:02.345+03:00", "2026-01-01T05:00:02.345Z"),
        ("dead-letter-replay", "at", "2026-01-01T08:00:02.345+03:00", "2026-01-01T05:00:02.345Z"),
    ],
)
def test_a_time_of_another_offset_is_in_utc_from_then_on(name: str, field: str, written: str, read: str) -> None:
    data = orjson.loads(golden(name).value)
    record = decoder(name)(orjson.dumps(data | {field: written}))
    assert str(getattr(record, field).tzinfo) == "UTC"
    assert orjson.loads(record.encode())[field] == read


def test_the_event_that_waits_is_in_utc_as_well() -> None:
    data = orjson.loads(golden("waiting").value)
    data["event"]["event_time"] = "2026-01-01T08:00:00+03:00"
    assert decoder("waiting")(orjson.dumps(data)) == BY_NAME["waiting"]
