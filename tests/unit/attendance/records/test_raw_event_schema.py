"""The published schema against the code."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import fields

from attendance.records.raw_event import EVENT_TYPES, TRANSPORTS, GivenTime, RawEvent, Source

ROOT = Path(__file__).parents[4]
SCHEMA: dict[str, Any] = orjson.loads((ROOT / "docs" / "schemas" / "raw.v1.json").read_bytes())
GOLDEN: dict[str, Any] = orjson.loads((ROOT / "tests" / "golden" / "raw-event-v1.json").read_bytes())
VALIDATOR = Draft202012Validator(SCHEMA)

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
integers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
events = st.builds(
    RawEvent,
    device_id=words,
    site=words,
    device_user_id=words,
    event_type=st.sampled_from(sorted(EVENT_TYPES)),
    event_time=st.none() | st.datetimes(timezones=st.timezones()),
    device_time=st.none() | words,
    device_timezone=words,
    received_at=st.datetimes(timezones=st.timezones()),
    source=st.builds(Source, transport=st.sampled_from(sorted(TRANSPORTS)), adapter=words, line=st.none() | integers),
    sequence=st.none() | integers,
    replayed=st.booleans(),
    payload=st.dictionaries(words, words | integers | st.floats() | st.booleans() | st.none()),
    given_time=st.none()
    | st.builds(
        GivenTime,
        by=words,
        at=st.datetimes(timezones=st.timezones()),
        note=words,
        instead_of=st.none() | st.datetimes(timezones=st.timezones()),
    ),
)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@given(events)
@settings(deadline=None)
def test_every_event_that_is_encoded_is_valid(event: RawEvent) -> None:
    VALIDATOR.validate(orjson.loads(event.encode()))


def test_the_fields_are_those_of_the_code() -> None:
    assert set(SCHEMA["properties"]) == {field.name for field in fields(RawEvent)} | {"event_id"}
    assert set(SCHEMA["$defs"]["Source"]["properties"]) == {field.name for field in fields(Source)}
    assert set(SCHEMA["$defs"]["GivenTime"]["properties"]) == {field.name for field in fields(GivenTime)}


def test_the_choices_are_those_of_the_code() -> None:
    assert set(SCHEMA["properties"]["event_type"]["enum"]) == EVENT_TYPES
    assert set(SCHEMA["$defs"]["Source"]["properties"]["transport"]["enum"]) == TRANSPORTS


def test_required_is_what_every_record_since_version_1_has() -> None:
    assert set(SCHEMA["required"]) == set(GOLDEN)
    assert set(SCHEMA["$defs"]["Source"]["required"]) == set(GOLDEN["source"])


def test_every_field_says_what_it_means() -> None:
    source = SCHEMA["$defs"]["Source"]["properties"]
    assert all(field["description"] for field in (*SCHEMA["properties"].values(), *source.values()))


def test_a_field_that_is_added_later_does_not_make_an_event_invalid() -> None:
    VALIDATOR.validate(GOLDEN | {"added_in_version_9": [1]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": "short"},
        {"event_type": "BREAK"},
        {"event_time": "2026-01-01 05:00:00"},
        {"device_user_id": 1042},
        {"payload": {"photo": ["nested"]}},
        {"source": {"transport": "pigeon"}},
    ],
)
def test_what_is_not_an_event_is_not_valid(wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(GOLDEN | wrong)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_an_event_that_lacks_a_field_is_not_valid(name: str) -> None:
    assert not VALIDATOR.is_valid({other: value for other, value in GOLDEN.items() if other != name})
