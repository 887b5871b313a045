"""However many records of a request are rejected, its sender makes few dead letters of them, and none is lost."""

from datetime import UTC, datetime

from attendance.errors import Reason
from attendance.kafka.records import MAX_RECORD_BYTES, RECORD_OVERHEAD
from attendance.records.dead_letter import MAX_MESSAGE, DeadLetter
from producers.letters import OWN, OWN_AN_HOUR, Letters, shared

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def letters(count: int, reason: Reason = Reason.INVALID_EVENT, first: int = 0) -> list[DeadLetter]:
    return [
        DeadLetter("push", reason, f"events[{number}]: no user", NOON, b"GATE", b"[%d]" % number, unread="u")
        for number in range(first, first + count)
    ]


def test_few_letters_stay_as_they_are() -> None:
    few = letters(OWN)
    assert shared(few) is few
    assert shared(letters(OWN + 1)) == letters(OWN + 1)


def test_the_rest_of_a_request_has_one_letter_that_counts_it_and_holds_what_each_would_hold() -> None:
    *own, rest = shared(letters(OWN + 7))
    assert own == letters(OWN)
    assert (rest.further, rest.message) == (6, f"events[{OWN}]: no user (and 6 more of the same request)")
    assert (rest.value or b"").splitlines() == [each.value for each in letters(7, first=OWN)]
    assert (rest.key, rest.reason, rest.at, rest.unread) == (b"GATE", Reason.INVALID_EVENT, NOON, "u")


def test_the_rest_has_a_letter_for_each_reason() -> None:
    several = [*letters(OWN + 2), *letters(3, Reason.UNKNOWN_DEVICE, OWN + 2), *letters(1, Reason.INTERNAL_ERROR, 99)]
    found = shared(several)[OWN:]
    assert [(each.reason, each.further) for each in found] == [
        (Reason.INVALID_EVENT, 1),
        (Reason.UNKNOWN_DEVICE, 2),
        (Reason.INTERNAL_ERROR, None),
    ]


def test_kafka_takes_the_letter_of_the_rest_however_long_it_is() -> None:
    long = DeadLetter("push", Reason.INVALID_EVENT, "events[0]: " + "x" * 5000, NOON, b"GATE", b"{}" * 100)
    rest = shared([long] * 20_000)[-1]
    assert rest.to_record("t").size < MAX_RECORD_BYTES - RECORD_OVERHEAD
    assert len(rest.message) <= MAX_MESSAGE
    assert rest.message.endswith("(and 19,979 more of the same request)")


def test_a_picture_is_cut_out_of_one_record_and_not_of_those_beside_it() -> None:
    dated = b'["17","2026-03-02 25:00:00"]'
    several = [*letters(OWN), *(DeadLetter("push", Reason.INVALID_EVENT, "x: y", NOON, b"G", dated) for _ in range(50))]
    several[OWN] = DeadLetter("push", Reason.INVALID_EVENT, "x: y", NOON, b"G", b'["%b"]' % (b"QUJD" * 100))
    kept = (shared(several)[-1].value or b"").splitlines()
    assert b"QUJDQUJD" not in kept[0]
    assert kept[1:] == [dated] * 49


def test_a_device_has_no_more_of_its_own_in_an_hour_and_each_request_has_one_all_the_same() -> None:
    moment = [0.0]
    limit = Letters(lambda: moment[0])
    whole_requests = OWN_AN_HOUR // OWN
    for _ in range(whole_requests):
        assert len(limit.bounded("GATE", letters(OWN + 5))) == OWN + 1
    for _ in range(100):
        [only] = limit.bounded("GATE", letters(OWN + 5))
        assert only.further == OWN + 4
    assert limit.bounded("GATE", letters(1)) == letters(1)
    assert len(limit.bounded("DOOR", letters(OWN))) == OWN
    moment[0] += 3600 * OWN / OWN_AN_HOUR
    assert len(limit.bounded("GATE", letters(OWN))) == OWN
    moment[0] += 10 * 3600
    assert sum(len(limit.bounded("GATE", letters(OWN))) == OWN for _ in range(2 * whole_requests)) == whole_requests
