"""The check-in's wire format."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.records.checkin import Checkin, CheckinTime, LogType

GOLDEN = Path(__file__).parents[3] / "golden" / "checkin-v1.json"
CORRECTION = GOLDEN.with_name("checkin-v1-correction.json")
PLACE = GOLDEN.with_name("checkin-v1-place.json")

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
checkins = st.builds(
    Checkin,
    event_id=words,
    employee=words,
    event_time=st.datetimes(timezones=st.just(UTC)).map(lambda instant: instant.replace(microsecond=0)),
    log_type=st.sampled_from(get_args(LogType)),
    device_id=words,
    device_user_id=words,
    site=words,
    device_timezone=words,
    checkin_time=st.sampled_from(get_args(CheckinTime)),
)


def a_checkin() -> Checkin:
    return Checkin(
        event_id="c1aefb07d8932fa0fb01ba9d5924b5a2",
        employee="HR-EMP-00042",
        event_time=datetime(2026, 1, 1, 5, tzinfo=UTC),
        log_type="IN",
        device_id="riyadh-01",
        device_user_id="001042",
        site="riyadh",
        device_timezone="Asia/Riyadh",
    )


def changed(**fields: Any) -> bytes:
    """The golden check-in with other fields; `...` leaves one out."""
    data = orjson.loads(GOLDEN.read_bytes()) | fields
    return orjson.dumps({name: value for name, value in data.items() if value is not ...})


def test_the_check_in_of_version_1_decodes_for_ever() -> None:
    assert Checkin.decode(GOLDEN.read_bytes()) == a_checkin()


def test_a_check_in_is_encoded_as_version_1_has_it() -> None:
    assert orjson.loads(a_checkin().encode()) == orjson.loads(GOLDEN.read_bytes())


@given(checkins)
@settings(deadline=None)
def test_what_was_encoded_decodes_to_the_same(checkin: Checkin) -> None:
    assert Checkin.decode(checkin.encode()) == checkin


def test_unknown_fields_are_ignored_and_the_wall_clock_has_a_default() -> None:
    assert Checkin.decode(changed(added_in_version_9=1, checkin_time=...)) == a_checkin()


@pytest.mark.parametrize(
    "fields",
    [
        {"employee": ...},
        {"employee": ""},
        {"employee": None},
        {"event_time": ...},
        {"event_time": None},
        {"event_time": ""},
        {"event_time": "2026-01-01 05:00:00"},
        {"event_id": ""},
        {"log_type": "in"},
        {"log_type": None},
        {"log_type": []},
        {"checkin_time": "utc"},
        {"checkin_time": {}},
        {"device_timezone": ...},
    ],
)
def test_what_erpnext_would_store_wrongly_never_passes(fields: dict[str, Any]) -> None:
    # ERPNext stores "now" for a missing time, and a row for an employee who does not exist.
    with pytest.raises(InvalidRecord) as caught:
        Checkin.decode(changed(**fields))
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


def test_the_key_is_the_employee_so_that_their_order_is_kept() -> None:
    assert a_checkin().key == b"HR-EMP-00042"


def test_the_headers_are_cloudevents_in_binary_mode() -> None:
    headers = dict(a_checkin().headers())
    assert headers["ce_id"] == a_checkin().event_id.encode()
    assert headers["ce_type"] == b"punchstream.attendance.checkin.v1"
    assert headers["ce_source"] == b"/sites/riyadh/devices/riyadh-01"


def test_the_place_of_the_device_is_read_and_written() -> None:
    with_place = replace(a_checkin(), latitude=24.7136, longitude=-46.5)
    assert Checkin.decode(PLACE.read_bytes()) == with_place
    assert orjson.loads(with_place.encode()) == orjson.loads(PLACE.read_bytes())


def test_a_correction_is_read_and_written_with_what_it_supersedes() -> None:
    correction = replace(a_checkin(), supersedes="0f" * 16, superseded_document="EMP-CKIN-03-2026-000017")
    assert Checkin.decode(CORRECTION.read_bytes()) == correction
    assert orjson.loads(correction.encode()) == orjson.loads(CORRECTION.read_bytes())
