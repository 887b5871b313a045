"""What became of a raw event: the wire formats."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.records.outcomes import Delivery, Dropped, Late, Waiting
from attendance.records.raw_event import RawEvent, Source

AT = datetime(2026, 1, 1, 5, tzinfo=UTC)

EVENT = RawEvent(
    device_id="riyadh-01",
    site="riyadh",
    device_user_id="001042",
    event_type="IN",
    event_time=AT,
    device_time="2026-01-01 08:00:00",
    device_timezone="Asia/Riyadh",
    received_at=AT + timedelta(milliseconds=345),
    source=Source("push", "json", "1", "b-1", 0),
    payload={"verify_mode": "FACE"},
)
DROPPED = Dropped("b" * 32, "a" * 32, Reason.REPEAT, "riyadh-01", "001042", AT, 3, 78)
WAITING = Waiting(EVENT, Reason.EMPLOYEE_INACTIVE, "HR-EMP-00042")
DELIVERY = Delivery("a" * 32, "HR-EMP-00042", "EMP-CKIN-000001", "created", "erpnext", AT, 2)

Outcome = Dropped | Waiting | Delivery


@pytest.mark.parametrize("outcome", [DROPPED, WAITING, Waiting(EVENT, Reason.UNMAPPED_USER), DELIVERY])
def test_an_outcome_decodes_to_what_was_encoded(outcome: Outcome) -> None:
    assert type(outcome).decode(outcome.encode()) == outcome


def test_a_dropped_record_names_the_one_kept_and_where_it_stood_itself() -> None:
    assert orjson.loads(DROPPED.encode()) == {
        "event_id": "b" * 32,
        "kept_event_id": "a" * 32,
        "reason": "repeat",
        "device_id": "riyadh-01",
        "device_user_id": "001042",
        "event_time": "2026-01-01T05:00:00Z",
        "partition": 3,
        "offset": 78,
    }


def test_a_waiting_record_keeps_the_raw_event_whole() -> None:
    assert orjson.loads(WAITING.encode()) == {
        "reason": "employee_inactive",
        "employee": "HR-EMP-00042",
        "event": orjson.loads(EVENT.encode()),
    }


def test_a_delivery_says_what_the_target_holds() -> None:
    assert orjson.loads(DELIVERY.encode()) == {
        "event_id": "a" * 32,
        "employee": "HR-EMP-00042",
        "document": "EMP-CKIN-000001",
        "status": "created",
        "target": "erpnext",
        "delivered_at": "2026-01-01T05:00:00.000Z",
        "attempts": 2,
        "late": None,
        "supersedes": None,
    }


def test_a_late_delivery_names_device_shift_and_day() -> None:
    late = replace(DELIVERY, late=Late("riyadh-01", "Day Shift", date(2026, 1, 1)))
    assert orjson.loads(late.encode())["late"] == {
        "device_id": "riyadh-01",
        "shift_type": "Day Shift",
        "attendance_date": "2026-01-01",
    }
    assert Delivery.decode(late.encode()) == late


def test_a_delivery_that_may_be_late_names_the_device_alone() -> None:
    late = replace(DELIVERY, late=Late("riyadh-01"))
    assert Delivery.decode(late.encode()) == late


def test_a_delivery_from_before_lateness_was_marked_is_not_late() -> None:
    data = orjson.loads(DELIVERY.encode())
    del data["late"]
    assert Delivery.decode(orjson.dumps(data)).late is None


def test_the_keys_keep_order_by_device_and_let_a_redelivery_replace_itself() -> None:
    assert DROPPED.key == b"riyadh-01"
    assert WAITING.key == EVENT.event_id.encode()
    assert DELIVERY.key == b"a" * 32


@pytest.mark.parametrize(
    ("outcome", "wrong"),
    [
        (DROPPED, {"event_id": ""}),
        (DROPPED, {"kept_event_id": None}),
        (DROPPED, {"reason": "boredom"}),
        (DROPPED, {"reason": []}),
        (DROPPED, {"event_time": "2026-01-01"}),
        (DROPPED, {"partition": "many"}),
        (DROPPED, {"offset": None}),
        (WAITING, {"reason": "boredom"}),
        (WAITING, {"event": {}}),
        (WAITING, {"event": None}),
        (DELIVERY, {"document": ""}),
        (DELIVERY, {"delivered_at": 5}),
        (DELIVERY, {"attempts": []}),
    ],
)
def test_what_is_not_such_an_outcome_is_refused(outcome: Outcome, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord) as caught:
        type(outcome).decode(orjson.dumps(orjson.loads(outcome.encode()) | wrong))
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


@pytest.mark.parametrize("kind", [Dropped, Waiting, Delivery])
@pytest.mark.parametrize("value", [None, b"", b"{}", b"[]", b"\xff"])
def test_bytes_that_hold_no_outcome_are_refused(kind: type[Outcome], value: bytes | None) -> None:
    with pytest.raises(InvalidRecord):
        kind.decode(value)


@pytest.mark.parametrize("raw", [[], [("ce_source", b"")], [("ce_source", None)]])
def test_where_the_raw_record_names_no_source_a_dropped_one_is_its_devices(raw: Any) -> None:
    assert dict(DROPPED.headers(raw))["ce_source"] == b"/devices/riyadh-01"


def test_a_waiting_punch_whose_time_is_out_of_range_in_utc_is_refused() -> None:
    value = WAITING.encode().replace(b'"2026-01-01T05:00:00Z"', b'"0001-01-01T00:00:00+14:00"')
    with pytest.raises(InvalidRecord, match="not a waiting record"):
        Waiting.decode(value)
