"""What becomes of a batch is the same for push, pull and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from attendance.errors import Reason
from attendance.kafka.records import MAX_RECORD_BYTES, RECORD_OVERHEAD
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent, Source
from attendance.registry import Device
from producers.clocks import Clocks
from producers.devices.contract import DeviceReport, Other, Rejected
from producers.intake import Intake, Place, log_rejected

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
GATE = Device.model_validate(
    {"device_id": "GATE", "site": "riyadh", "timezone": "Asia/Riyadh", "adapter": "json", "serial": "S1"}
)


@dataclass
class Batch:
    events: Sequence[RawEvent] = ()
    rejected: Sequence[Rejected] = ()
    others: Sequence[Other] = ()
    report: DeviceReport | None = None


def event(user: str = "7", of: str = "GATE") -> RawEvent:
    return RawEvent(of, "riyadh", user, "IN", NOON, str(NOON), "Asia/Riyadh", NOON, Source("push", "json"))


def place_of(rejected: Rejected) -> Place:
    return Place(f"row {rejected.index}", f"test:{rejected.index}")


@pytest.fixture
def intake() -> Intake:
    return Intake("push", Clocks(Metrics()))


def test_a_rejected_record_becomes_a_dead_letter_that_says_where_it_stood(intake: Intake) -> None:
    batch = Batch(rejected=[Rejected(3, Reason.INVALID_EVENT, "no user", b"{}")])
    [letter] = intake.to_records(batch, GATE, "json", NOON, place_of).dead_letters
    assert (letter.stage, letter.reason, letter.message) == ("push", Reason.INVALID_EVENT, "row 3: no user")
    assert (letter.key, letter.value, letter.at, letter.where) == (b"GATE", b"{}", NOON, "test:3")


def test_an_other_event_is_of_the_device_and_the_adapter(intake: Intake) -> None:
    [other] = intake.to_records(Batch(others=[Other("door", b"{}")]), GATE, "json", NOON, place_of).other_events
    assert (other.device_id, other.site, other.adapter) == ("GATE", "riyadh", "json")
    assert (other.kind, other.received_at, other.value) == ("door", NOON, b"{}")


def test_kafka_takes_a_rejected_record_and_an_other_event_of_any_size(intake: Intake) -> None:
    huge = b"\xfe" * 5_000_000
    batch = Batch(rejected=[Rejected(0, Reason.INVALID_EVENT, "x" * 5_000_000, huge)], others=[Other("door", huge)])
    _, [letter], [other] = intake.to_records(batch, GATE, "json", NOON, place_of)
    for record in (letter.to_record("dead-letters"), other.to_record("other-events")):
        assert 1_000_000 < record.size < MAX_RECORD_BYTES - RECORD_OVERHEAD
        assert sum(len(value) for _, value in record.headers) < 2_000


def test_what_a_batch_says_of_the_clock_counts_for_its_own_events(intake: Intake) -> None:
    ahead = DeviceReport(device_time=NOON + timedelta(hours=1))
    records = intake.to_records(Batch([event("1"), event("2", of="DOOR")], report=ahead), GATE, "json", NOON, place_of)
    assert [each.clock_skew for each in records.events] == [3600, None]
    later = intake.to_records(Batch([event("3")]), GATE, "json", NOON, place_of)
    assert [each.clock_skew for each in later.events] == [3600]
    right = Batch([event("4")], report=DeviceReport(device_time=NOON))
    assert [each.clock_skew for each in intake.to_records(right, GATE, "json", NOON, place_of).events] == [None]


def test_a_batch_without_clocks_is_taken_in_as_it_is() -> None:
    events = [event()]
    assert Intake("import").to_records(Batch(events), GATE, "csv", NOON, place_of).events is events


def test_rejected_records_are_logged_once_for_a_batch(intake: Intake) -> None:
    batch = Batch(rejected=[Rejected(number, Reason.INVALID_EVENT, "no user", b"") for number in range(3)])
    with capture_logs() as logs:
        log_rejected("GATE", intake.to_records(Batch(), GATE, "json", NOON, place_of).dead_letters)
        log_rejected("GATE", intake.to_records(batch, GATE, "json", NOON, place_of).dead_letters)
    assert [(each["device_id"], each["rejected"], each["first"]) for each in logs] == [("GATE", 3, "row 0: no user")]
