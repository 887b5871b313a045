"""The audit finds every raw record that has no outcome, and every outcome that is not right."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from attendance.checkin import Checkin
from attendance.dead_letter import DeadLetter, Headers
from attendance.erpnext import ErpnextClient
from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.event import RawEvent, Source
from attendance.outcomes import Delivery, Dropped, Waiting
from attendance.settings import KafkaSettings
from attendance.topics import Name
from punchstream import audit
from punchstream.audit import Ledger, Report, instant

NOW = datetime(2026, 3, 2, 5, tzinfo=UTC)
KAFKA = KafkaSettings.load(topic_prefix="t")


@dataclass
class Record:
    topic: str
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int = 0
    timestamp: int = 0


class Topics:
    """What the topics hold, read as `attendance.kafka.read` reads it."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = defaultdict(list)

    def add(self, topic: Name, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Record:
        name = KAFKA.topics[topic]
        record = Record(name, len(self.records[name]), key, value, headers)
        self.records[name].append(record)
        return record

    async def read(self, _kafka: KafkaSettings, topic: str, *_: object, **__: object) -> AsyncIterator[list[Record]]:
        yield self.records[topic]

    def punch(self, user: str = "1", device: str = "D1") -> tuple[RawEvent, Record]:
        event = RawEvent(device, "s", user, "IN", NOW, None, "UTC", NOW, Source("push", "json"))
        return event, self.add("raw", event.key, event.encode())

    def checkin(self, event: RawEvent) -> Record:
        checkin = Checkin(event.event_id, "E1", NOW, "IN", event.device_id, event.device_user_id, "s", "UTC")
        return self.add("checkins", checkin.key, checkin.encode())

    def delivery(self, event: RawEvent, document: str = "EMP-1") -> None:
        delivery = Delivery(event.event_id, "E1", document, "created", "erpnext", NOW)
        self.add("deliveries", delivery.key, delivery.encode())

    def dropped(self, record: Record, event: RawEvent, kept: str) -> None:
        dropped = Dropped(event.event_id, kept, Reason.DUPLICATE, "D1", "1", NOW, record.partition, record.offset)
        self.add("dropped", dropped.key, dropped.encode())

    def waiting(self, event: RawEvent) -> bytes:
        waiting = Waiting(event, Reason.UNMAPPED_USER)
        self.add("unmapped", waiting.key, waiting.encode())
        return waiting.key

    def dead_letter(self, record: Record, event: RawEvent | None = None) -> None:
        error = InvalidRecord(Reason.UNREADABLE_TIME, "no")
        letter = DeadLetter.of(record, "stream", error, NOW, event_id=event.event_id if event else None)
        self.add("dead_letters", letter.key, letter.value, letter.encode_headers())


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Topics:
    topics = Topics()
    monkeypatch.setattr(audit, "read", topics.read)
    return topics


def report(tmp_path: Path, device: str | None = None, site: "Site | None" = None) -> Report:
    with Ledger(tmp_path / "audit.sqlite") as ledger:
        asyncio.run(ledger.fill(KAFKA, None, device))
        if site is not None:
            ledger.look_up(cast("ErpnextClient", site))
        return ledger.report(target_was_asked=site is not None)


class Site:
    """An ERPNext that holds these documents: name to event_id."""

    def __init__(self, **documents: str | None) -> None:
        self.documents = documents

    def get_list(self, _doctype: str, _fields: list[str], filters: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
        ((field, _, values),) = filters
        rows = [{"name": name, "event_id": event_id} for name, event_id in self.documents.items()]
        return [row for row in rows if row[field] in values]


def test_each_outcome_is_counted_and_all_of_them_balance(topics: Topics, tmp_path: Path) -> None:
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

    found = report(tmp_path)

    assert found == Report(raw=5, delivered=1, dropped=1, waiting=1, dead_lettered=2)
    assert found.balanced


def test_a_raw_record_without_any_outcome_is_named(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch()
    topics.add("raw", b"D1", b"poison")

    found = report(tmp_path)

    assert (found.undecided, sorted(found.without_outcome)) == (2, sorted([event.event_id, "0:1"]))
    assert not found.balanced


def test_a_checkin_that_is_not_delivered_yet_does_not_balance(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch()
    topics.checkin(event)

    found = report(tmp_path)

    assert (found.undelivered, found.without_outcome, found.balanced) == (1, [event.event_id], False)


def test_a_punch_that_the_sink_dead_lettered_has_its_outcome(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch()
    topics.dead_letter(topics.checkin(event), event)

    assert report(tmp_path) == Report(raw=1, dead_lettered=1)


def test_a_dead_letter_that_was_sent_again_and_delivered_counts_as_delivered(topics: Topics, tmp_path: Path) -> None:
    event, record = topics.punch()
    topics.dead_letter(record, event)
    topics.checkin(event)
    topics.delivery(event)

    assert report(tmp_path) == Report(raw=1, delivered=1)


def test_a_punch_that_no_longer_waits_and_is_nowhere_else_is_missing(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch()
    topics.add("unmapped", topics.waiting(event), None)

    assert report(tmp_path).undecided == 1


def test_one_event_delivered_as_two_documents_is_named(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch()
    topics.checkin(event)
    topics.delivery(event, "EMP-1")
    topics.delivery(event, "EMP-2")

    found = report(tmp_path)

    assert (found.delivered_twice, found.balanced) == ([event.event_id], False)


def test_a_delivery_that_is_recorded_twice_is_one_delivery(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch()
    topics.delivery(event)
    topics.delivery(event)

    assert report(tmp_path).balanced


def test_a_record_dropped_as_the_copy_of_nothing_is_named(topics: Topics, tmp_path: Path) -> None:
    event, record = topics.punch()
    topics.dropped(record, event, event.event_id)

    found = report(tmp_path)

    assert (found.dropped_for_nothing, found.balanced) == ([event.event_id], False)


def test_what_never_became_a_raw_event_is_counted_apart(topics: Topics, tmp_path: Path) -> None:
    letter = DeadLetter("push", Reason.UNREADABLE_BODY, "no", NOW, None, b"{", where="http:/v1/events")
    topics.add("dead_letters", None, letter.value, letter.encode_headers())

    assert report(tmp_path) == Report(refused=1)


def test_one_device_can_be_looked_at_alone(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch(device="D1")
    topics.delivery(event)
    topics.punch(device="D2")

    assert report(tmp_path, device="D1") == Report(raw=1, delivered=1)


def test_what_was_delivered_and_is_not_in_erpnext_is_named(topics: Topics, tmp_path: Path) -> None:
    there, gone = topics.punch("1")[0], topics.punch("2")[0]
    topics.delivery(there, "A")
    topics.delivery(gone, "B")

    found = report(tmp_path, site=Site(A=there.event_id))

    assert (found.missing_in_target, found.balanced) == ([gone.event_id], False)


def test_a_checkin_that_erpnext_had_before_is_found_by_its_name(topics: Topics, tmp_path: Path) -> None:
    event, _ = topics.punch()
    topics.delivery(event, "OLD")

    assert report(tmp_path, site=Site(OLD=None)) == replace(Report(raw=1, delivered=1), missing_in_target=[])


def test_a_date_is_midnight_utc_and_a_time_needs_an_offset() -> None:
    assert instant("2026-03-02") == datetime(2026, 3, 2, tzinfo=UTC)
    assert instant("2026-03-02T08:00:00+03:00") == NOW
    with pytest.raises(ConfigurationError, match="--since"):
        instant("2026-03-02T08:00:00")
    with pytest.raises(ConfigurationError, match="--since"):
        instant("yesterday")
