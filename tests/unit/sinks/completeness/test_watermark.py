"""Watermarks: never beyond what is there, never backwards, whatever the order in which punches arrive."""

import random
from datetime import UTC, datetime, timedelta
from itertools import product

from hypothesis import example, given, settings
from hypothesis import strategies as st

from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.records.sequences import Sequences
from attendance.times import read_device_time, to_wall_clock
from sinks.completeness.watermark import MAX_RUNS, DeviceClaims, SequenceNumbers, shift_watermark

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
MUCH_LATER = START + timedelta(days=300)


def at(number: int) -> datetime:
    """When punch `number` was made."""
    return START + timedelta(minutes=number)


def seen(*numbers: int, known: SequenceNumbers | None = None, shift: timedelta = timedelta()) -> SequenceNumbers:
    counted = known or SequenceNumbers()
    for number in numbers:
        counted.add(number, at(number) + shift, MUCH_LATER)
    return counted


def device(device_id: str = "D1", **fields: str) -> Device:
    return Device(device_id=device_id, **{"site": "hq", "timezone": "UTC"} | fields)


def status(until: datetime | None, **fields: int) -> DeviceStatus:
    return DeviceStatus("D1", MUCH_LATER, until, **fields)


def test_a_device_whose_numbers_have_no_gap_is_complete_up_to_the_newest() -> None:
    numbers = seen(17, 18, 19)
    assert (numbers.until, numbers.newest, numbers.missing) == (at(19), 19, None)


def test_a_gap_holds_back_and_is_filled_by_a_later_record() -> None:
    numbers = seen(17, 18, 20, 21, 23)
    assert (numbers.until, numbers.missing) == (at(18), 19)
    seen(19, known=numbers)
    assert (numbers.until, numbers.missing) == (at(21), 22)


def test_repeats_change_nothing() -> None:
    numbers = seen(17, 18, 20)
    before = numbers.counted
    assert seen(17, 20, 18, 3, known=numbers).counted == before


def test_a_count_that_begins_again_is_survived_although_records_of_the_old_one_are_missing() -> None:
    numbers = seen(17, 18, 20)
    later = timedelta(days=1)
    seen(2, known=numbers, shift=later)
    assert numbers.until == at(18), "record 1 of the new count is still to come"
    seen(1, known=numbers, shift=later)
    assert (numbers.until, numbers.newest, numbers.missing) == (at(2) + later, 2, None)
    seen(4, known=numbers, shift=later)
    assert (numbers.until, numbers.missing) == (at(2) + later, 3)


def test_a_count_may_begin_at_zero() -> None:
    numbers = seen(-9, 17, 18)
    later = timedelta(days=1)
    seen(-5, 0, 1, known=numbers, shift=later)
    assert (numbers.until, numbers.newest) == (at(1) + later, 1)


def test_old_records_that_are_sent_once_more_are_no_new_count() -> None:
    numbers = seen(*range(1, 30))
    seen(1, 2, known=numbers)
    assert (numbers.until, numbers.newest) == (at(29), 29)


def test_a_clock_that_is_ahead_shows_nothing_beyond_the_arrival() -> None:
    numbers = SequenceNumbers()
    numbers.add(1, START + timedelta(minutes=10), START)
    assert numbers.until == START
    numbers.add(2, START + timedelta(days=400), START + timedelta(minutes=1))
    assert numbers.until == START


def test_a_record_without_a_time_counts_and_moves_no_watermark() -> None:
    numbers = seen(1)
    numbers.add(2, None, MUCH_LATER)
    assert numbers.until == at(1)
    assert seen(3, known=numbers).until == at(3)


def test_a_record_that_says_it_arrived_at_the_end_of_time_is_counted() -> None:
    numbers = SequenceNumbers()
    numbers.add(17, at(17), datetime.max.replace(tzinfo=UTC))
    assert (numbers.newest, numbers.until) == (17, at(17))


def test_numbers_that_mean_nothing_do_not_fill_the_memory() -> None:
    numbers = seen(*range(1, 10 * MAX_RUNS, 2))
    assert len(numbers.counted.runs) == MAX_RUNS
    assert numbers.until == at(1)


def test_numbers_are_the_same_after_they_were_kept() -> None:
    numbers = seen(17, 18, 20)
    seen(2, known=numbers, shift=timedelta(days=1))
    again = SequenceNumbers(numbers.counted)
    assert again.counted == numbers.counted
    assert seen(19, known=again).until == at(20)


@settings(deadline=None)
@given(
    punches=st.integers(2, 60),
    lost=st.sets(st.integers(2, 60)),
    repeated=st.lists(st.integers(1, 60), max_size=20),
    seed=st.integers(0, 2**32),
)
def test_whatever_the_order_nothing_is_claimed_before_it_is_there_and_nothing_is_taken_back(
    punches: int, lost: set[int], repeated: list[int], seed: int
) -> None:
    numbers = seen(1)
    arrivals = [n for n in range(2, punches + 1) if n not in lost] + [n for n in repeated if n not in lost]
    arrivals = [n for n in arrivals if n <= punches]
    random.Random(seed).shuffle(arrivals)
    there = {1}
    before = numbers.until
    for number in arrivals:
        seen(number, known=numbers)
        there.add(number)
        until = numbers.until
        assert until is not None
        assert before is not None
        assert until >= before
        assert not [n for n in range(1, punches + 1) if at(n) < until and n not in there]
        before = until
    first_gap = next((n for n in range(1, punches + 2) if n not in there), None)
    assert first_gap is None or numbers.until == at(first_gap - 1), "and all that is known is claimed"


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=4), seed=st.integers(0, 2**32))
def test_counts_that_follow_one_another_are_each_complete_to_their_end(counts: list[int], seed: int) -> None:
    numbers = SequenceNumbers()
    offset = timedelta()
    for length in counts:
        first, *rest = range(1, length + 1)
        random.Random(seed).shuffle(rest)
        seen(first, *rest, known=numbers, shift=offset)
        assert numbers.until == at(length) + offset
        offset += timedelta(days=1)


def test_a_claim_counts_and_a_later_heartbeat_with_pending_punches_neither_moves_nor_withdraws_it() -> None:
    claims = DeviceClaims()
    assert claims.watermark(None) is None
    claims.add(status(at(5)))
    assert claims.watermark(None) == at(5)
    claims.add(status(None, pending=3))
    assert claims.watermark(None) == at(5)
    claims.add(status(at(2)))
    assert claims.watermark(None) == at(5)
    claims.add(status(at(9), pending=0))
    assert claims.watermark(None) == at(9)


def test_where_the_newest_number_is_told_the_claim_waits_for_that_record() -> None:
    claims, numbers = DeviceClaims(), seen(1, 2)
    claims.add(status(at(9), last_sequence=3))
    assert claims.watermark(numbers) == at(2)
    seen(3, known=numbers)
    assert claims.watermark(numbers) == at(9)


def test_a_number_below_what_was_seen_is_a_count_that_has_not_arrived_yet() -> None:
    claims = DeviceClaims()
    claims.add(status(at(900), last_sequence=1))
    assert claims.watermark(seen(17, 18)) == at(18)


def test_a_device_that_does_not_number_is_believed_whatever_number_it_told() -> None:
    claims = DeviceClaims()
    claims.add(status(at(9), last_sequence=3))
    assert claims.watermark(None) == at(9)


def test_a_shift_is_complete_up_to_the_device_that_is_furthest_behind() -> None:
    devices = [device("D1"), device("D2")]
    found = shift_watermark(devices, {"D1": at(9), "D2": at(3)}, MUCH_LATER, "Asia/Riyadh")
    assert found.until == at(3)
    assert str(found.sync) == "2026-03-02 08:03:00"


def test_a_device_that_was_never_heard_holds_its_shift_back_altogether() -> None:
    found = shift_watermark([device("D1"), device("D2")], {"D1": at(9)}, MUCH_LATER, "UTC")
    assert (found.until, found.sync) == (None, None)


def test_a_shift_never_goes_beyond_the_latest_that_it_may() -> None:
    assert shift_watermark([device()], {"D1": at(9)}, at(4), "UTC").until == at(4)


def test_each_watermark_is_read_in_the_time_in_which_erpnext_has_the_punches_of_the_device() -> None:
    devices = [
        device("D1", timezone="Asia/Tokyo", checkin_time="device_local"),
        device("D2", timezone="Europe/London", checkin_time="device_local"),
    ]
    found = shift_watermark(devices, {"D1": at(0), "D2": at(5)}, MUCH_LATER, "Asia/Riyadh")
    assert found.until == at(0)
    assert str(found.sync) == "2026-03-02 05:05:00", "what is 14:00 in Tokyo says nothing of 10:00 in London"


def test_a_device_that_is_ahead_of_the_site_completes_nothing_in_the_sites_future() -> None:
    east = device("D1", timezone="Asia/Tokyo", checkin_time="device_local")
    found = shift_watermark([east], {"D1": at(5)}, at(4), "Asia/Riyadh")
    assert found.until == at(4)
    assert found.sync == to_wall_clock(at(4), "Asia/Riyadh")


def test_a_claim_from_before_there_were_computers_holds_back_and_ends_nothing() -> None:
    west = device(timezone="America/New_York")
    found = shift_watermark([west], {"D1": datetime.min.replace(tzinfo=UTC)}, MUCH_LATER, "America/New_York")
    assert str(found.sync) == "1969-12-31 19:00:00"


ZONES = [
    ("Europe/London", "UTC", "erpnext_zone"),
    ("UTC", "Europe/London", "erpnext_zone"),
    ("Europe/London", "Europe/London", "erpnext_zone"),
    ("Europe/London", "UTC", "device_local"),
]


@settings(deadline=None)
@given(watermark=st.integers(0, 180), later=st.integers(0, 90), zones=st.sampled_from(ZONES))
@example(watermark=90, later=40, zones=ZONES[0])
@example(watermark=90, later=40, zones=ZONES[1])
@example(watermark=90, later=40, zones=ZONES[2])
@example(watermark=90, later=40, zones=ZONES[3])
def test_no_punch_is_written_before_the_last_sync_while_clocks_go_back(
    watermark: int, later: int, zones: tuple[str, str, str]
) -> None:
    of_device, of_site, written = zones
    night = datetime(2026, 10, 24, 23, tzinfo=UTC)  # London's clocks go back at 01:00 UTC
    complete = night + timedelta(minutes=watermark)
    terminal = device(timezone=of_device, checkin_time=written)
    sync = shift_watermark([terminal], {"D1": complete}, MUCH_LATER, of_site).sync
    read = read_device_time(str(to_wall_clock(complete + timedelta(minutes=later), of_device)), of_device)
    assert read is not None
    assert sync is not None
    assert to_wall_clock(read, of_device if written == "device_local" else of_site) >= sync


def test_times_that_no_clock_shows_prove_nothing_and_break_nothing() -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    numbers = SequenceNumbers()
    for made, arrived in product((first, last), repeat=2):
        numbers.add(1, made, arrived)
    sequences = Sequences(0, 1, {"D1": numbers.counted})
    assert Sequences.decode(sequences.key, sequences.encode()) == sequences

    claims = DeviceClaims()
    claims.add(status(first))
    assert claims.watermark(None) is None
