"""What becomes of a batch is the same for push, pull and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from example_records import UNREAD
from structlog.testing import capture_logs

from attendance.errors import Reason
from attendance.fleet import Device
from attendance.kafka.records import MAX_RECORD_BYTES, RECORD_OVERHEAD
from attendance.logs import Seldom
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent, Source
from producers.clocks import Clocks
from producers.devices.contract import DeviceReport, Other, Rejected
from producers.devices.generic.json_v1 import JsonV1
from producers.intake import Intake, Place, log_rejected
from producers.letters import OWN, Letters

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
GATE = Device.model_validate(
    {"device_id": "GATE", "site": "riyadh", "timezone": "Asia/Riyadh", "adapter": "json", "serial": "S1"}
)

JSON = JsonV1(())
NOT_UNDERSTOOD = (Reason.INVALID_EVENT, Reason.UNREADABLE_BODY)


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
    [letter] = intake.to_records(batch, GATE, JSON, NOON, place_of).dead_letters
    assert (letter.stage, letter.reason, letter.message) == ("push", Reason.INVALID_EVENT, "row 3: no user")
    assert (letter.key, letter.value, letter.at, letter.where) == (b"GATE", b"{}", NOON, "test:3")


def test_an_other_event_is_of_the_device_and_the_adapter(intake: Intake) -> None:
    [other] = intake.to_records(Batch(others=[Other("door", b"{}")]), GATE, JSON, NOON, place_of).other_events
    assert (other.device_id, other.site, other.adapter) == ("GATE", "riyadh", "json")
    assert (other.kind, other.received_at, other.value) == ("door", NOON, b"{}")


def test_kafka_takes_a_rejected_record_and_an_other_event_of_any_size(intake: Intake) -> None:
    huge = b"\xfe" * 5_000_000
    batch = Batch(rejected=[Rejected(0, Reason.INVALID_EVENT, "x" * 5_000_000, huge)], others=[Other("door", huge)])
    _, [letter], [other], _ = intake.to_records(batch, GATE, JSON, NOON, place_of)
    for record in (letter.to_record("dead-letters"), other.to_record("other-events")):
        assert 1_000_000 < record.size < MAX_RECORD_BYTES - RECORD_OVERHEAD
        assert sum(len(value) for _, value in record.headers) < 2_000


def test_what_a_batch_says_of_the_clock_counts_for_its_own_events(intake: Intake) -> None:
    ahead = DeviceReport(device_time=NOON + timedelta(hours=1))
    records = intake.to_records(Batch([event("1"), event("2", of="DOOR")], report=ahead), GATE, JSON, NOON, place_of)
    assert [each.clock_skew for each in records.events] == [3600, None]
    later = intake.to_records(Batch([event("3")]), GATE, JSON, NOON, place_of)
    assert [each.clock_skew for each in later.events] == [3600]
    right = Batch([event("4")], report=DeviceReport(device_time=NOON))
    assert [each.clock_skew for each in intake.to_records(right, GATE, JSON, NOON, place_of).events] == [None]


def test_a_batch_without_clocks_is_taken_in_as_it_is() -> None:
    events = [event()]
    assert Intake("import").to_records(Batch(events), GATE, JSON, NOON, place_of).events is events


def test_rejected_records_are_logged_once_a_minute_for_a_device_and_a_reason(intake: Intake) -> None:
    moment = [0.0]
    seldom = Seldom(seconds=60, clock=lambda: moment[0])

    def rejected(device_id: str, reason: Reason) -> None:
        batch = Batch(rejected=[Rejected(0, reason, "no", b"")])
        letters = intake.to_records(batch, GATE, JSON, NOON, place_of).dead_letters
        log_rejected(device_id, letters, seldom)

    with capture_logs() as logs:
        for _ in range(1000):
            rejected("GATE", Reason.INVALID_EVENT)
        rejected("GATE", Reason.UNKNOWN_DEVICE)
        rejected("DOOR", Reason.INVALID_EVENT)
        assert [each["device_id"] for each in logs] == ["GATE", "GATE", "DOOR"]
        moment[0] = 60.0
        seldom.flush()
    assert [(each["device_id"], each["left_out"]) for each in logs[3:]] == [("GATE", 999)]


def test_rejected_records_are_logged_once_for_a_batch(intake: Intake) -> None:
    batch = Batch(rejected=[Rejected(number, Reason.INVALID_EVENT, "no user", b"") for number in range(3)])
    with capture_logs() as logs:
        log_rejected("GATE", intake.to_records(Batch(), GATE, JSON, NOON, place_of).dead_letters, Seldom())
        log_rejected("GATE", intake.to_records(batch, GATE, JSON, NOON, place_of).dead_letters, Seldom())
    assert [(each["device_id"], each["rejected"], each["first"]) for each in logs] == [("GATE", 3, "row 0: no user")]


def test_a_rejected_record_that_can_be_read_again_is_kept_as_it_is(intake: Intake) -> None:
    raw = b'{"user":"","photo":"%b"}' % (b"QUJD" * 100)
    batch = Batch(rejected=[Rejected(3, Reason.INVALID_EVENT, "no user", b"{}", raw)])
    records = Intake("pull").to_records(batch, GATE, JSON, NOON, place_of)
    [letter], [unread] = records.dead_letters, records.unread
    assert (letter.unread, letter.value) == (unread.unread_id, b"{}")
    assert (unread.device_id, unread.adapter, unread.transport) == ("GATE", "json", "pull")
    assert (unread.received_at, unread.place) == (NOON, "row 3")
    assert unread.body == b'{"user":"","photo":""}'
    assert unread.removed == ("encoded data, 400 bytes",)


def test_a_row_of_a_file_is_kept_with_the_options_by_which_it_was_read() -> None:
    gate = GATE.model_copy(update={"options": {"date_format": "dmy"}})
    batch = Batch(rejected=[Rejected(3, Reason.INVALID_EVENT, "no user", b"{}", b"user,time\n,now")])
    [unread] = Intake("import").to_records(batch, gate, JSON, NOON, place_of).unread
    assert (unread.transport, unread.place, unread.options) == ("file", "test:3", {"date_format": "dmy"})


def test_records_of_a_request_that_is_kept_whole_name_it(intake: Intake) -> None:
    rejected = [Rejected(n, reason, "", b"all of it", b"its bytes") for n, reason in enumerate(NOT_UNDERSTOOD)]
    records = intake.to_records(Batch(rejected=rejected), GATE, JSON, NOON, place_of, UNREAD)
    assert records.unread == [UNREAD]
    assert {letter.unread for letter in records.dead_letters} == {UNREAD.unread_id}
    assert [letter.value for letter in records.dead_letters] == [b"all of it", b""]


def test_of_a_request_that_is_kept_whole_many_rejected_records_share_a_letter_and_are_counted_in_the_log() -> None:
    batch = Batch(rejected=[Rejected(n, Reason.INVALID_EVENT, "no user", b"{}", b"{}") for n in range(1000)])
    bounded = Intake("push", letters=Letters())
    records = bounded.to_records(batch, GATE, JSON, NOON, place_of, UNREAD)
    assert (len(records.dead_letters), records.dead_letters[-1].further) == (OWN + 1, 1000 - OWN - 1)
    assert records.unread == [UNREAD]
    with capture_logs() as logs:
        log_rejected("GATE", records.dead_letters, Seldom())
    assert [each["rejected"] for each in logs] == [1000]
    # Where each record is kept by itself, each letter names another.
    assert len(bounded.to_records(batch, GATE, JSON, NOON, place_of).dead_letters) == 1000
