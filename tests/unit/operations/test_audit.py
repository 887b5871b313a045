"""The audit finds every raw record that has no outcome, and every outcome that is not right."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from checkin_site import CheckinSite
from memory_log import MemoryLog, StoredRecord
from msgspec import structs

from attendance.erpnext import ErpnextClient
from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import Headers
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, Done, LetterId
from attendance.records.discard import DiscardedWaiting
from attendance.records.outcomes import Delivery, Dropped, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.topics import Name
from operations.audit_report import NAMED, Report
from operations.audit_tables import AuditTables
from operations.origin import copy_of
from streams.dedup import Kept, Punch
from streams.pipeline import user_key
from streams.state import encode

NOW = datetime(2026, 3, 2, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


class Topics(MemoryLog):
    """What the topics hold."""

    def punch(self, user: str = "1", device: str = "D1", at: datetime = NOW) -> tuple[RawEvent, StoredRecord]:
        event = RawEvent(device, "s", user, "IN", at, None, "UTC", NOW, Source("push", "json"))
        return event, self.add("raw", event.key, event.encode())

    def checkin(self, event: RawEvent, headers: Headers = ()) -> StoredRecord:
        at = event.event_time or NOW
        checkin = Checkin(event.event_id, "E1", at, "IN", event.device_id, event.device_user_id, "s", "UTC")
        return self.add("checkins", checkin.key, checkin.encode(), headers)

    def delivery(self, event: RawEvent, document: str = "EMP-1") -> None:
        delivery = Delivery(event.event_id, "E1", document, "created", "erpnext", NOW, supersedes=event.supersedes)
        self.add("deliveries", delivery.key, delivery.encode())

    def dropped(self, record: StoredRecord, event: RawEvent, kept: str) -> None:
        dropped = Dropped(event.event_id, kept, Reason.DUPLICATE, "D1", "1", NOW, record.partition, record.offset)
        self.add("dropped", dropped.key, dropped.encode())

    def waiting(self, event: RawEvent) -> bytes:
        waiting = Waiting(event, Reason.UNMAPPED_USER)
        self.add("unmapped", waiting.key, waiting.encode())
        return waiting.key

    def dead_letter(self, record: StoredRecord, event: RawEvent | None = None) -> None:
        error = InvalidRecord(Reason.UNREADABLE_TIME, "no")
        letter = DeadLetter.of(record, "stream", error, NOW, event_id=event.event_id if event else None)
        self.add("dead_letters", letter.key, letter.value, letter.encode_headers())


@pytest.fixture
def topics() -> Topics:
    return Topics()


def in_order(raw: int, delivered: int) -> Report:
    """The report of an ERPNext that has what was delivered."""
    kinds = ("surplus", "of_nobody", "different", "off_shift")
    found: dict[str, Any] = {"found": dict.fromkeys(kinds, 0), **{kind: [] for kind in kinds}}
    return Report(
        raw, delivered, missing_in_target=[], deleted_in_target={}, times_compared=True, deletions_known=True, **found
    )


def report(topics: Topics, device: str | None = None, site: CheckinSite | None = None) -> Report:
    with AuditTables() as tables:
        asyncio.run(tables.fill(topics, None, device))
        if site is not None:
            tables.rows.look_up(cast("ErpnextClient", site), "UTC")
        return tables.report()


def test_each_outcome_is_counted_and_all_of_them_balance(topics: Topics) -> None:
    delivered, _ = topics.punch("1")
    topics.checkin(delivered)
    topics.delivery(delivered)
    copy, record = topics.punch("1")
    topics.dropped(record, copy, delivered.event_id)
    waiting, _ = topics.punch("2")
    topics.waiting(waiting)
    dead, record = topics.punch("3")
    topics.dead_letter(record, dead)
    topics.dead_letter(topics.add("raw", b"D1", b"poison"))

    found = report(topics)

    assert found == Report(raw=5, delivered=1, dropped=1, waiting=1, dead_lettered=2)
    assert found.balanced


def test_what_never_became_a_raw_event_is_named_until_somebody_has_read_it_again_or_discarded_it(
    topics: Topics,
) -> None:
    for device in (b"D1", b"D1", b"D2", b"D2"):
        letter = DeadLetter("push", Reason.UNREADABLE_BODY, "no", NOW, device, b"", where="http:/hf", unread="0" * 64)
        topics.add("dead_letters", letter.key, letter.value, letter.encode_headers())
    for offset, done in ((0, "discarded"), (0, "replayed"), (1, "discarded")):
        action = Action(LetterId(0, offset), cast("Done", done), NOW, "root")
        topics.add("dead_letter_actions", action.key, action.encode())

    assert report(topics) == Report(refused=4, read_again=1, discarded=1, unread=["0:2", "0:3"])
    assert report(topics).balanced
    assert report(topics, "D1") == Report(refused=2, read_again=1, discarded=1)


def test_a_raw_record_without_any_outcome_is_named(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.add("raw", b"D1", b"poison")

    found = report(topics)

    assert (found.undecided, sorted(found.without_outcome)) == (2, sorted([event.event_id, "0:1"]))
    assert not found.balanced


def test_a_checkin_that_is_not_delivered_yet_does_not_balance(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.checkin(event)

    found = report(topics)

    assert (found.undelivered, found.without_outcome, found.balanced) == (1, [event.event_id], False)


def test_a_punch_that_the_sink_dead_lettered_has_its_outcome(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.dead_letter(topics.checkin(event), event)

    assert report(topics) == Report(raw=1, dead_lettered=1)


def test_a_dead_letter_that_was_sent_again_and_delivered_counts_as_delivered(topics: Topics) -> None:
    event, record = topics.punch()
    topics.dead_letter(record, event)
    topics.checkin(event)
    topics.delivery(event)

    assert report(topics) == Report(raw=1, delivered=1)


def test_a_punch_that_no_longer_waits_and_is_nowhere_else_is_missing(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.add("unmapped", topics.waiting(event), None)

    assert report(topics).undecided == 1


def sent_back(topics: Topics, event: RawEvent, checkin: StoredRecord) -> bytes:
    place = f"{checkin.partition}:{checkin.offset}"
    waiting = Waiting(event, Reason.UNKNOWN_EMPLOYEE, "E1", 1, NOW, checkin=place)
    topics.add("unmapped", waiting.key, waiting.encode())
    return waiting.key


def test_a_punch_that_the_sink_sent_back_waits_and_so_does_what_its_copies_name(topics: Topics) -> None:
    event, _ = topics.punch()
    waited = topics.waiting(event)
    sent_back(topics, event, topics.checkin(event))
    topics.add("unmapped", waited, None)
    copy, record = topics.punch()
    topics.dropped(record, copy, event.event_id)

    assert report(topics) == Report(raw=2, waiting=1, dropped=1)
    assert report(topics).balanced


def test_a_dead_letter_that_was_replayed_and_waits_now_counts_as_waiting(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.dead_letter(topics.checkin(event), event)
    topics.waiting(event)

    assert report(topics) == Report(raw=1, waiting=1)


def discard(topics: Topics, event: RawEvent, waited: bytes, at: int = 0) -> None:
    said = DiscardedWaiting(f"d{at}", (event.event_id,), "D1", NOW, "fatima", "made up")
    topics.add("unmapped", said.key, said.encode(), timestamp=at)
    topics.add("unmapped", waited, None)


def test_what_was_discarded_while_it_waited_is_counted_as_that_and_so_is_what_its_copies_name(topics: Topics) -> None:
    event, _ = topics.punch()
    discard(topics, event, topics.waiting(event))
    copy, record = topics.punch()
    topics.dropped(record, copy, event.event_id)

    assert report(topics) == Report(raw=2, discarded_waiting=1, dropped=1)
    assert report(topics).balanced


def test_what_the_sink_sent_back_and_somebody_discarded_then_is_not_undelivered(topics: Topics) -> None:
    event, _ = topics.punch()
    discard(topics, event, sent_back(topics, event, topics.checkin(event)))

    assert report(topics) == Report(raw=1, discarded_waiting=1)


def test_a_discard_that_was_cut_off_before_the_removal_has_the_punch_wait(topics: Topics) -> None:
    event, _ = topics.punch()
    discard(topics, event, topics.waiting(event))
    topics.waiting(event)

    assert report(topics) == Report(raw=1, waiting=1)


def test_what_was_discarded_and_replayed_has_the_outcome_of_the_replay(topics: Topics) -> None:
    event, record = topics.punch()
    discard(topics, event, topics.waiting(event), at=5)
    copy = copy_of(record)
    topics.add("raw", copy.key, copy.value, copy.headers, timestamp=9)
    assert report(topics) == Report(raw=2, discarded_waiting=1, undecided=1, without_outcome=[event.event_id])

    checkin = topics.checkin(event)
    checkin.timestamp = 9
    assert report(topics) == Report(raw=2, undelivered=2, without_outcome=[event.event_id] * 2)
    topics.delivery(event)
    assert report(topics) == Report(raw=2, delivered=2)


def test_what_is_sent_back_while_the_audit_reads_has_its_outcome(topics: Topics) -> None:
    event, _ = topics.punch()
    checkin = topics.checkin(event)
    read = topics.read

    async def meanwhile(topic: Name, **options: Any) -> AsyncIterator[list[StoredRecord]]:
        async for batch in read(topic, **options):
            yield batch
        if topic == "deliveries":
            sent_back(topics, event, checkin)

    topics.read = meanwhile  # type: ignore[method-assign]

    assert report(topics) == Report(raw=1, waiting=1)


def test_one_event_delivered_as_two_documents_is_named(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.checkin(event)
    topics.delivery(event, "EMP-1")
    topics.delivery(event, "EMP-2")

    found = report(topics)

    assert (found.delivered_twice, found.balanced) == ([event.event_id], False)


def test_a_delivery_that_is_recorded_twice_is_one_delivery(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.delivery(event)
    topics.delivery(event)

    assert report(topics).balanced


@pytest.mark.parametrize(("offset", "balances"), [(6, True), (7, False)])
def test_what_was_kept_of_a_raw_record_that_is_gone_is_known_by_the_changelog(
    topics: Topics, *, offset: int, balances: bool
) -> None:
    """One that is there needs an outcome of its own, whatever the changelog says."""
    event, _ = Topics().punch()
    record = topics.add("raw", event.key, event.encode(), offset=7)
    topics.dropped(record, event, event.event_id)
    assert event.event_time is not None
    punch = Punch.of(event.event_time, event.event_type, offset)
    topics.add("dedup_state", b"any", encode([Kept(user_key(event), punch.pack())]))

    assert report(topics).balanced is balances


def test_a_record_dropped_as_the_copy_of_nothing_is_named(topics: Topics) -> None:
    event, record = topics.punch()
    topics.dropped(record, event, event.event_id)

    found = report(topics)

    assert (found.dropped_for_nothing, found.balanced) == ([event.event_id], False)


def test_what_never_became_a_raw_event_is_counted_apart(topics: Topics) -> None:
    letter = DeadLetter("push", Reason.UNREADABLE_BODY, "no", NOW, None, b"{", where="http:/v1/events")
    topics.add("dead_letters", None, letter.value, letter.encode_headers())

    assert report(topics) == Report(refused=1, unread=["0:0"])


def test_one_device_can_be_looked_at_alone(topics: Topics) -> None:
    event, _ = topics.punch(device="D1")
    topics.delivery(event)
    topics.punch(device="D2")

    assert report(topics, device="D1") == Report(raw=1, delivered=1)


def test_what_was_delivered_and_is_not_in_erpnext_is_named(topics: Topics) -> None:
    there, gone = topics.punch("1")[0], topics.punch("2")[0]
    topics.delivery(there, "A")
    topics.delivery(gone, "B")

    found = report(topics, site=CheckinSite(A=there.event_id))

    assert (found.missing_in_target, found.balanced) == ([gone.event_id], False)


def test_a_checkin_that_erpnext_had_before_is_found_by_its_name(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.delivery(event, "OLD")

    assert report(topics, site=CheckinSite(OLD=None)) == in_order(1, 1)


def replayed(topics: Topics, record: StoredRecord) -> StoredRecord:
    assert record.topic == topics.topics["raw"]
    return topics.add("raw", record.key, record.value, [("x-replay-of", f"0:{record.offset}".encode())])


def corrected(topics: Topics, event: RawEvent, **changes: Any) -> RawEvent:
    correction = structs.replace(event, supersedes=event.event_id, **changes)
    topics.add("raw", correction.key, correction.encode())
    return correction


def test_what_a_correction_took_the_place_of_is_not_missing_and_the_correction_is_where_it_is(topics: Topics) -> None:
    wrong, _ = topics.punch()
    topics.delivery(wrong, "A")
    right = corrected(topics, wrong, event_time=NOW - timedelta(hours=3))
    topics.delivery(right, "A")

    assert report(topics, site=CheckinSite(A=right.event_id)) == in_order(2, 2)
    assert report(topics, site=CheckinSite()).missing_in_target == [right.event_id]


def test_a_document_that_a_correction_removed_is_not_missing(topics: Topics) -> None:
    wrong, _ = topics.punch()
    topics.delivery(wrong, "A")
    right = corrected(topics, wrong, event_time=NOW - timedelta(hours=3))
    topics.delivery(right, "B")

    assert report(topics, site=CheckinSite(B=right.event_id)).balanced


def test_a_corrected_punch_that_stands_where_a_wrong_one_stood_is_not_delivered_twice(topics: Topics) -> None:
    early, _ = topics.punch()
    late = structs.replace(early, event_time=NOW + timedelta(hours=3))
    topics.add("raw", late.key, late.encode())
    topics.delivery(early, "A")
    topics.delivery(late, "B")
    first = corrected(topics, early, event_time=NOW - timedelta(hours=3))
    second = corrected(topics, late, event_time=NOW)
    topics.delivery(first, "A")
    topics.delivery(second, "B")
    assert second.event_id == early.event_id

    assert report(topics, site=CheckinSite(A=first.event_id, B=second.event_id)).balanced


def test_what_was_lost_and_sent_again_is_delivered_once_under_its_new_name(topics: Topics) -> None:
    event, record = topics.punch()
    topics.delivery(event, "A")
    replayed(topics, record)
    topics.delivery(event, "B")

    assert report(topics).balanced
    assert report(topics, site=CheckinSite(B=event.event_id)).balanced
    assert report(topics, site=CheckinSite(A=event.event_id, B=event.event_id)).delivered_twice == [event.event_id]


def test_a_name_that_erpnext_gave_again_to_another_punch_is_no_second_delivery(topics: Topics) -> None:
    event, record = topics.punch()
    topics.delivery(event, "A")
    replayed(topics, record)
    topics.delivery(event, "B")
    other, _ = topics.punch("2")
    topics.delivery(other, "A")

    assert report(topics, site=CheckinSite(A=other.event_id, B=event.event_id)).balanced


def test_a_record_without_an_outcome_has_that_of_its_copy(topics: Topics) -> None:
    kept, _ = topics.punch()
    topics.delivery(kept)
    tap = structs.replace(kept, event_time=NOW + timedelta(seconds=9))
    lost = topics.add("raw", tap.key, tap.encode())
    poison = topics.add("raw", b"D1", b"poison")
    assert report(topics).undecided == 2

    topics.dropped(replayed(topics, lost), tap, kept.event_id)
    topics.dead_letter(replayed(topics, poison))

    assert report(topics) == Report(raw=5, delivered=1, dropped=2, dead_lettered=2)


def test_a_repair_sends_what_is_missing_and_nothing_else(topics: Topics) -> None:
    undecided, _ = topics.punch("1")
    undelivered, there = (topics.punch(user)[0] for user in "24")
    gone, _ = topics.punch("3", at=LATER)
    for each in (undelivered, gone, there):
        topics.checkin(each)
    topics.delivery(gone, "A")
    topics.delivery(there, "B")

    with AuditTables() as tables:
        asyncio.run(tables.fill(topics, None, None))
        tables.rows.look_up(cast("ErpnextClient", CheckinSite(B=there.event_id)), "UTC")
        counts = asyncio.run(tables.repair(topics, None))

    assert counts == {"t.raw.v1": 1, "t.checkins.v1": 2}
    assert topics.sent[0].value == undecided.encode()
    assert {Checkin.decode(each.value).event_id for each in topics.sent[1:]} == {
        undelivered.event_id,
        gone.event_id,
    }
    assert [dict(each.headers)["x-replay-of"] for each in topics.sent] == [b"0:0", b"0:0", b"0:1"]


def test_a_repair_begins_at_the_raw_record_where_the_map_says_that_the_check_in_is_for_somebody_else(
    topics: Topics,
) -> None:
    moved, record = topics.punch("1")
    topics.checkin(moved, [(RAW_RECORD, b"%d:%d" % (record.partition, record.offset))])
    same, other = topics.punch("2")
    still = topics.checkin(same, [(RAW_RECORD, b"%d:%d" % (other.partition, other.offset))])
    for entry in (
        UserMapping("*", "1", "E2", "erpnext"),
        UserMapping("*", "2", "E1", "erpnext"),
        Employee("E1", "Active"),
        Employee("E2", "Active"),
    ):
        topics.add("user_map", entry.key, entry.encode())

    with AuditTables() as tables:
        asyncio.run(tables.fill(topics, None, None))
        counts = asyncio.run(tables.repair(topics, None))

    assert counts == {"t.raw.v1": 1, "t.checkins.v1": 1}
    assert {(each.topic, each.value) for each in topics.sent} == {
        ("t.raw.v1", moved.encode()),
        ("t.checkins.v1", still.value),
    }


def test_what_waits_again_is_not_missing_in_erpnext(topics: Topics) -> None:
    event, _ = topics.punch()
    topics.delivery(event, "A")
    topics.waiting(event)

    assert report(topics, site=CheckinSite()).missing_in_target == []


def test_a_repair_sends_nothing_that_somebody_deleted_or_may_have_deleted_unless_asked_to(topics: Topics) -> None:
    deleted, lost = (topics.punch(user)[0] for user in "12")
    for event, document in ((deleted, "A"), (lost, "B")):
        topics.checkin(event)
        topics.delivery(event, document)

    def sent(*, forbidden: bool, **options: bool) -> set[str]:
        site = CheckinSite(A=deleted.event_id)
        site.delete("Employee Checkin", "A", by="hr@example.com")
        site.forbidden = {"Deleted Document"} if forbidden else set()
        topics.sent.clear()
        with AuditTables() as tables:
            asyncio.run(tables.fill(topics, None, None))
            tables.rows.look_up(cast("ErpnextClient", site), "UTC")
            assert set(tables.report().missing_in_target or ()) == {deleted.event_id, lost.event_id}
            asyncio.run(tables.repair(topics, None, **options))
        return {Checkin.decode(each.value).event_id for each in topics.sent}

    assert sent(forbidden=False) == {lost.event_id}
    assert sent(forbidden=True) == set()
    for forbidden in (False, True):
        assert sent(forbidden=forbidden, including_deleted=True) == {deleted.event_id, lost.event_id}


def test_the_report_and_the_repair_of_one_device_leave_the_others_alone(topics: Topics) -> None:
    undecided, undelivered, gone, twice = (
        {device: topics.punch(user, device, NOW if user == "4" else LATER)[0] for device in ("D1", "D2")}
        for user in "1234"
    )
    for device in ("D1", "D2"):
        for event in (undelivered[device], gone[device]):
            topics.checkin(event)
        topics.delivery(gone[device], f"GONE-{device}")
        for document in ("A", "B"):
            topics.delivery(twice[device], f"{document}-{device}")
    # Of before the time that is looked at, but for its check-in.
    before = structs.replace(gone["D1"], device_user_id="9")
    topics.checkin(before)
    topics.delivery(before, "BEFORE")
    documents = {f"{document}-{device}": twice[device].event_id for document in ("A", "B") for device in ("D1", "D2")}

    with AuditTables() as tables:
        asyncio.run(tables.fill(topics, None, "D1"))
        tables.rows.look_up(cast("ErpnextClient", CheckinSite(**documents)), "UTC")
        found = tables.report()
        counts = asyncio.run(tables.repair(topics, None))

    missing = {gone["D1"].event_id, before.event_id}
    assert set(found.without_outcome) == {undecided["D1"].event_id, undelivered["D1"].event_id}
    assert (set(found.missing_in_target or ()), found.delivered_twice) == (missing, [twice["D1"].event_id])
    assert counts == {"t.raw.v1": 1, "t.checkins.v1": 3}
    assert topics.sent[0].value == undecided["D1"].encode()
    assert {Checkin.decode(each.value).event_id for each in topics.sent[1:]} == missing | {undelivered["D1"].event_id}


def shared(topics: Topics, document: str = "A") -> list[RawEvent]:
    """Three terminals that one person passed in one second: ERPNext keeps one document."""
    events = [topics.punch(device=device)[0] for device in ("D1", "D2", "D3")]
    for event in events:
        topics.checkin(event)
        topics.delivery(event, document)
    return events


def test_a_document_that_three_terminals_share_is_no_alarm_and_nothing_is_sent_again(topics: Topics) -> None:
    first, *_ = shared(topics)
    for named in (first.event_id, None):
        with AuditTables() as tables:
            asyncio.run(tables.fill(topics, None, None))
            tables.rows.look_up(cast("ErpnextClient", CheckinSite(A=named)), "UTC")
            assert tables.report() == in_order(3, 3)
            assert asyncio.run(tables.repair(topics, None)) == {"t.raw.v1": 0, "t.checkins.v1": 0}


def test_somebody_who_deleted_a_shared_document_deleted_it_for_all_who_share_it(topics: Topics) -> None:
    events = shared(topics)
    site = CheckinSite(A=events[1].event_id)
    site.delete("Employee Checkin", "A", by="hr@example.com")

    found = report(topics, site=site)

    assert found.deleted_in_target == {each.event_id: "hr@example.com" for each in events}


def test_when_a_correction_took_a_shared_document_the_others_are_missing_until_they_have_one(topics: Topics) -> None:
    first, *others = shared(topics)
    right = corrected(topics, first, event_time=NOW - timedelta(hours=3))
    topics.delivery(right, "A")
    site = CheckinSite()
    site.store("A", right.event_id, time="2026-03-02 02:00:00")

    assert set(report(topics, site=site).missing_in_target or ()) == {each.event_id for each in others}

    for each in others:
        topics.delivery(each, "B")
    site.store("B", others[0].event_id)
    assert report(topics, site=site).balanced
    assert report(topics).balanced


def test_every_id_can_be_listed(topics: Topics) -> None:
    for user in range(50):
        topics.punch(str(user))

    with AuditTables() as tables:
        asyncio.run(tables.fill(topics, None, None))
        assert len(tables.report().without_outcome) == NAMED
        assert len(tables.report(named=-1).without_outcome) == 50
