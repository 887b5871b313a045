"""The raw event: its identity and its wire format."""

import hashlib
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.records.raw_event import EVENT_TYPES, TRANSPORTS, GivenTime, RawEvent, Source, event_id

GOLDEN = Path(__file__).parents[3] / "golden" / "raw-event-v1.json"
CLOCK = GOLDEN.with_name("raw-event-v1-clock.json")
CORRECTION = GOLDEN.with_name("raw-event-v1-correction.json")
GIVEN_TIME = GOLDEN.with_name("raw-event-v1-given-time.json")

AN_EVENT = RawEvent(
    device_id="riyadh-01",
    site="riyadh",
    device_user_id="001042",
    event_type="IN",
    event_time=datetime(2026, 1, 1, 5, tzinfo=UTC),
    device_time="2026-01-01 08:00:00",
    device_timezone="Asia/Riyadh",
    received_at=datetime(2026, 1, 1, 5, 0, 2, 345_000, tzinfo=UTC),
    source=Source("push", "json", "1", "b-1", 0),
    sequence=77,
    payload={"verify_mode": "FACE", "temperature": 36.6},
)

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
integers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
instants = st.datetimes(timezones=st.just(UTC))
events = st.builds(
    RawEvent,
    device_id=words,
    site=words,
    device_user_id=words,
    event_type=st.sampled_from(sorted(EVENT_TYPES)),
    event_time=st.none() | instants.map(lambda instant: instant.replace(microsecond=0)),
    device_time=st.none() | words,
    device_timezone=words,
    received_at=instants.map(lambda instant: instant.replace(microsecond=instant.microsecond // 1000 * 1000)),
    source=st.builds(
        Source,
        transport=st.sampled_from(sorted(TRANSPORTS)),
        adapter=words,
        adapter_version=words,
        batch_id=st.none() | words,
        line=st.none() | integers,
    ),
    sequence=st.none() | integers,
    replayed=st.booleans(),
    payload=st.dictionaries(
        words, words | integers | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
    ),
    clock_skew=st.none() | integers,
    given_time=st.none()
    | st.builds(
        GivenTime,
        by=words,
        at=instants.map(lambda instant: instant.replace(microsecond=0)),
        note=words,
        instead_of=st.none() | instants.map(lambda instant: instant.replace(microsecond=0)),
    ),
)


def changed(**fields: Any) -> bytes:
    """The golden event with other fields; `...` leaves one out."""
    data = orjson.loads(GOLDEN.read_bytes()) | fields
    return orjson.dumps({name: value for name, value in data.items() if value is not ...})


def test_the_event_of_version_1_decodes_for_ever() -> None:
    assert RawEvent.decode(GOLDEN.read_bytes()) == AN_EVENT


def test_an_event_is_encoded_as_version_1_has_it() -> None:
    assert orjson.loads(AN_EVENT.encode()) == orjson.loads(GOLDEN.read_bytes())


@given(events)
@settings(deadline=None)
def test_what_was_encoded_decodes_to_the_same(event: RawEvent) -> None:
    assert RawEvent.decode(event.encode()) == event


@given(events)
@settings(deadline=None)
def test_anyone_can_recompute_the_id_from_the_encoded_fields(event: RawEvent) -> None:
    data = orjson.loads(event.encode())
    when = data["event_time"] if data["event_time"] is not None else data["device_time"] or ""
    material = f"{data['device_id']}|{data['device_user_id']}|{when}|{data['event_type']}"
    assert data["event_id"] == hashlib.sha256(material.encode()).hexdigest()[:32] == event.event_id


def test_the_id_is_a_known_one() -> None:
    # printf 'riyadh-01|001042|2026-01-01T05:00:00Z|IN' | sha256sum | cut -c1-32
    assert event_id("riyadh-01", "001042", "2026-01-01T05:00:00Z", "IN") == "c1aefb07d8932fa0fb01ba9d5924b5a2"


def test_the_id_does_not_depend_on_the_way_in_or_the_zone_it_is_written_in() -> None:
    by_file = RawEvent(
        device_id="riyadh-01",
        site="elsewhere",
        device_user_id="001042",
        event_type="IN",
        event_time=datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=3))),
        device_time="1767243600",
        device_timezone="UTC",
        received_at=datetime(2026, 2, 1, tzinfo=UTC),
        source=Source("file", "csv", line=9),
    )
    assert by_file.event_id == AN_EVENT.event_id


def test_leading_zeros_make_another_person() -> None:
    when = "2026-01-01T05:00:00Z"
    assert event_id("riyadh-01", "1042", when, "IN") != event_id("riyadh-01", "001042", when, "IN")


def test_without_an_event_time_the_device_time_identifies() -> None:
    unreadable = RawEvent.decode(changed(event_time=None, device_time="no battery", event_type="UNKNOWN"))
    assert unreadable.event_id == "aa248592881c768e59416951922f92d2"


def test_unknown_fields_are_ignored() -> None:
    assert RawEvent.decode(changed(added_in_version_9={"some": "thing"})) == AN_EVENT


def test_fields_with_a_default_may_be_absent() -> None:
    event = RawEvent.decode(
        changed(sequence=..., replayed=..., payload=..., source={"transport": "sql", "adapter": "biotime"})
    )
    assert (event.sequence, event.replayed, event.payload) == (None, False, {})
    assert event.source == Source("sql", "biotime", "1", None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"device_id": ...},
        {"device_id": ""},
        {"device_id": 7},
        {"device_user_id": 1042},
        {"device_user_id": None},
        {"site": []},
        {"event_type": "BREAK"},
        {"event_type": []},
        {"event_time": ...},
        {"event_time": "2026-01-01T05:00:00"},
        {"event_time": "yesterday"},
        {"event_time": 1767243600},
        {"event_time": "0001-01-01T00:00:00+05:00"},
        {"received_at": None},
        {"source": ...},
        {"source": "push"},
        {"source": None},
        {"source": {"transport": "pigeon", "adapter": "json"}},
        {"source": {"transport": {}, "adapter": "json"}},
    ],
)
def test_what_is_not_a_raw_event_is_refused_with_the_reason(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord) as caught:
        RawEvent.decode(changed(**fields))
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"7"])
def test_what_is_no_json_object_is_refused_with_the_reason(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as caught:
        RawEvent.decode(value)
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


@given(st.binary())
@settings(deadline=None)
def test_no_bytes_raise_anything_else(value: bytes) -> None:
    with pytest.raises(InvalidRecord):
        RawEvent.decode(value)


json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(orjson.loads(GOLDEN.read_bytes()))), json_values)
@settings(deadline=None)
def test_no_field_of_whatever_type_raises_anything_else(name: str, value: Any) -> None:
    try:
        event = RawEvent.decode(changed(**{name: value}))
    except InvalidRecord:
        return
    assert len(event.event_id) == 32


def test_the_key_is_the_device_so_that_its_order_is_kept() -> None:
    assert AN_EVENT.key == b"riyadh-01"


def test_the_headers_are_cloudevents_in_binary_mode() -> None:
    assert dict(AN_EVENT.headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": AN_EVENT.event_id.encode(),
        "ce_type": b"punchstream.attendance.raw.v1",
        "ce_source": b"/sites/riyadh/devices/riyadh-01",
        "ce_time": b"2026-01-01T05:00:00.000Z",
        "content-type": b"application/json",
    }


def test_an_event_without_a_time_has_its_arrival_in_the_headers() -> None:
    unreadable = RawEvent.decode(changed(event_time=None))
    assert dict(unreadable.headers())["ce_time"] == b"2026-01-01T05:00:02.345Z"


def test_a_number_that_json_cannot_hold_becomes_null() -> None:
    event = RawEvent.decode(AN_EVENT.encode())
    encoded = RawEvent(**{**{name: getattr(event, name) for name in event.__slots__}, "payload": {"heat": math.nan}})
    assert orjson.loads(encoded.encode())["payload"] == {"heat": None}


def test_a_clock_that_was_off_is_read_and_written() -> None:
    off = replace(AN_EVENT, clock_skew=-4200)
    assert RawEvent.decode(CLOCK.read_bytes()) == off
    assert orjson.loads(off.encode()) == orjson.loads(CLOCK.read_bytes())


def test_a_correction_is_read_and_written_with_what_it_supersedes() -> None:
    correction = replace(AN_EVENT, supersedes="0f" * 16, superseded_document="EMP-CKIN-03-2026-000017")
    assert RawEvent.decode(CORRECTION.read_bytes()) == correction
    assert orjson.loads(correction.encode()) == orjson.loads(CORRECTION.read_bytes())


def test_who_gave_a_time_stands_in_the_event_and_is_no_part_of_its_id() -> None:
    said = GivenTime(
        "fatima",
        datetime(2026, 1, 2, 9, tzinfo=UTC),
        "the terminal's battery was empty",
        datetime(2026, 1, 1, 2, tzinfo=UTC),
    )
    given = replace(AN_EVENT, supersedes="0f" * 16, superseded_document="EMP-CKIN-03-2026-000017", given_time=said)
    assert RawEvent.decode(GIVEN_TIME.read_bytes()) == given
    assert orjson.loads(given.encode()) == orjson.loads(GIVEN_TIME.read_bytes())
    assert given.event_id == AN_EVENT.event_id
