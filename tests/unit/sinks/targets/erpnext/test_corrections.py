"""A check-in that supersedes another: ERPNext ends with exactly the new document, wherever it is interrupted."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from site_zones import RecordedZones
from uniqueness_trial import answer_trial

from attendance.errors import Conflict, DocumentRejected, InvalidRecord, Reason, TargetUnavailable
from attendance.records.checkin import Checkin
from sinks.targets.base import Delivered, Result
from sinks.targets.erpnext.target import ErpnextTarget

WRONG = Checkin("a" * 32, "E1", datetime(2026, 1, 1, 5, tzinfo=UTC), "IN", "D1", "7", "HQ", "Asia/Riyadh")
MOVED = replace(WRONG, event_id="b" * 32, event_time=WRONG.event_time + timedelta(hours=3), supersedes=WRONG.event_id)
REASSIGNED = replace(WRONG, employee="E2", supersedes=WRONG.event_id)
BOTH = replace(MOVED, employee="E2")


class FakeSite:
    """ERPNext with the unique field. `interruptions` cuts off requests by number, after their work where it is True."""

    def __init__(self, interruptions: Mapping[int, bool] | None = None) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.requests = 0
        self.named = 0
        self.clock = 0
        self.interruptions = interruptions or {}
        self.read_only: tuple[str, ...] = ()

    def wants_coordinates(self) -> bool:
        return False

    def call(self, *_: object) -> dict[str, Any]:
        raise DocumentRejected(417, "ValidationError", "App biometric_integration is not installed")

    def logged_user(self) -> str:
        return "api"

    def site_zone(self) -> str:
        return "UTC"

    def has_event_id_field(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def get_list(
        self, doctype: str, fields: Sequence[str], filters: Any = (), *, limit: int = 0
    ) -> list[dict[str, Any]]:
        if doctype == "Shift Type":
            return []
        if doctype == "Employee":
            dates = {"date_of_joining": None, "relieving_date": None}
            return [{"name": name, "status": "Active", "creation": "c", **dates} for name in filters[0][2]]
        self._arrive()
        rows = [row for row in self.rows.values() if all(row.get(name) in values for name, _, values in filters)]
        found = [{name: row.get(name) for name in fields} for row in rows[: limit or None]]
        self._answer()
        return found

    def insert(self, document: Mapping[str, Any]) -> str:
        self._arrive()
        self.named += 1
        name = f"C{self.named}"
        self._store(name, document)
        self._answer()
        return name

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        answer_trial(documents, unique=True)
        self._arrive()
        before = dict(self.rows)
        names = []
        try:
            for document in documents:
                self.named += 1
                self._store(f"C{self.named}", document)
                names.append(f"C{self.named}")
        except DocumentRejected:
            self.rows = before
            raise
        self._answer()
        return names

    def update(self, _: str, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        self._arrive()
        if name not in self.rows:
            raise DocumentRejected(404, "DoesNotExistError", "")
        if values["modified"] != self.rows[name]["modified"]:
            raise Conflict("417 TimestampMismatchError")
        kept = {field: self.rows[name][field] for field in self.read_only}
        self._store(name, self.rows[name] | values | kept)
        self._answer()
        return self.rows[name]

    def delete(self, _: str, name: str) -> None:
        self._arrive()
        if self.rows.pop(name, None) is None:
            raise DocumentRejected(404, "DoesNotExistError", "")
        self._answer()

    def _store(self, name: str, document: Mapping[str, Any]) -> None:
        for other, row in self.rows.items():
            if other == name:
                continue
            if row["event_id"] == document["event_id"]:
                raise DocumentRejected(417, "UniqueValidationError", "")
            if all(row[field] == document.get(field, "") for field in ("employee", "time", "log_type")):
                raise DocumentRejected(417, "ValidationError", "")
        self.clock += 1
        row = {"attendance": None, "log_type": "", "skip_auto_attendance": 0, **document}
        self.rows[name] = row | {"name": name, "modified": self.clock}

    def _arrive(self) -> None:
        self.requests += 1
        if self.interruptions.get(self.requests) is False:
            raise TargetUnavailable("cut off before")

    def _answer(self) -> None:
        if self.interruptions.get(self.requests) is True:
            raise TargetUnavailable("cut off after")

    def contents(self) -> list[tuple[str, str, str]]:
        return sorted((row["event_id"], row["employee"], row["time"]) for row in self.rows.values())


def deliver(site: FakeSite, *checkins: Checkin) -> list[Result]:
    async def run() -> list[Result]:
        target = ErpnextTarget(lambda: site)  # type: ignore[arg-type,return-value]
        target.use_zones(RecordedZones("UTC"), lambda _: None)
        try:
            while True:
                try:
                    await target.open()
                    break
                except TargetUnavailable:
                    continue
            return await target.deliver(checkins)
        finally:
            await target.close()

    return asyncio.run(run())


def content(checkin: Checkin) -> tuple[str, str, str]:
    return checkin.event_id, checkin.employee, str(checkin.event_time.replace(tzinfo=None))


interruptions = st.dictionaries(st.integers(1, 25), st.booleans(), max_size=8)


there = st.sets(st.sampled_from(["old", "new"]))


@given(interruptions, st.sampled_from([MOVED, REASSIGNED, BOTH]), there)
def test_interrupted_at_any_request_and_repeated_it_ends_with_exactly_the_new_document(
    interruptions: dict[int, bool], correction: Checkin, there: set[str]
) -> None:
    site = FakeSite(interruptions)
    before = [WRONG] if "old" in there else []
    before += [replace(correction, supersedes=None)] if "new" in there and correction is not REASSIGNED else []
    for checkin in before:
        while not isinstance(deliver(site, checkin)[0], Delivered):
            pass

    # Whoever takes over begins anew, also with what was done before.
    while not all(isinstance(result, Delivered) for result in deliver(site, correction)):
        assert len(site.contents()) in (len(before), 1)
    deliver(site, correction)

    assert site.contents() == [content(correction)]


@given(interruptions)
def test_a_history_that_is_delivered_again_from_its_beginning_ends_the_same(interruptions: dict[int, bool]) -> None:
    site = FakeSite(interruptions)
    again = replace(MOVED, employee="E2", supersedes=MOVED.event_id)
    for _ in range(2):
        while not all(isinstance(result, Delivered) for result in deliver(site, WRONG, MOVED, again)):
            pass
    assert site.contents() == [content(again)]


def test_the_document_stays_the_same_and_auto_attendance_may_look_at_it_again() -> None:
    site = FakeSite()
    deliver(site, WRONG)
    site.rows["C1"]["skip_auto_attendance"] = 1

    assert deliver(site, MOVED) == [Delivered("C1", "replaced")]
    assert site.rows["C1"]["skip_auto_attendance"] == 0


def test_times_that_move_to_where_others_stood_are_moved_in_their_order() -> None:
    site = FakeSite()
    wrong = [replace(WRONG, event_id=f"{n:032x}", event_time=WRONG.event_time + timedelta(hours=n)) for n in range(4)]
    deliver(site, *wrong)
    corrections = [
        replace(wrong[n], event_id=f"{n - 1 + 10 * (n == 0):032x}", supersedes=wrong[n].event_id) for n in range(4)
    ]
    corrections = [replace(each, event_time=each.event_time - timedelta(hours=1)) for each in corrections]

    deliver(site, *corrections)

    assert site.contents() == sorted(map(content, corrections))


def test_a_document_that_an_attendance_was_made_from_is_left_and_named() -> None:
    site = FakeSite()
    deliver(site, WRONG)
    site.rows["C1"]["attendance"] = "HR-ATT-1"

    [result] = deliver(site, MOVED)

    assert isinstance(result, InvalidRecord)
    assert result.reason is Reason.ATTENDANCE_MARKED
    assert "C1" in result.message
    assert "HR-ATT-1" in result.message
    assert site.contents() == [content(WRONG)]


def test_where_another_punch_stands_already_the_old_document_stays() -> None:
    site = FakeSite()
    other = replace(MOVED, event_id="c" * 32, device_id="D2", supersedes=None)
    deliver(site, WRONG, other)

    [result] = deliver(site, MOVED)

    assert isinstance(result, InvalidRecord)
    assert result.reason is Reason.TARGET_REJECTED
    assert site.contents() == sorted([content(WRONG), content(other)])


def test_a_correction_of_what_shared_a_document_shares_the_one_that_stands_where_it_would_be_put() -> None:
    site = FakeSite()
    deliver(site, replace(MOVED, event_id="c" * 32, device_id="D2", supersedes=None))

    assert deliver(site, MOVED) == [Delivered("C1", "already_there")]
    assert len(site.rows) == 1


def test_without_the_field_it_is_refused_and_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    site = FakeSite()
    monkeypatch.setattr(site, "has_event_id_field", lambda: False)

    [result] = deliver(site, MOVED)

    assert isinstance(result, InvalidRecord)
    assert site.contents() == []


def test_a_correction_that_comes_again_leaves_the_punch_alone_that_has_the_wrong_ones_id_by_now() -> None:
    site = FakeSite()
    late = replace(WRONG, event_id="b" * 32, event_time=MOVED.event_time)
    deliver(site, WRONG, late)
    first = replace(WRONG, event_id="c" * 32, event_time=WRONG.event_time - timedelta(hours=3))
    first = replace(first, supersedes=WRONG.event_id, superseded_document="C1")
    second = replace(WRONG, supersedes=late.event_id, superseded_document="C2")
    deliver(site, first, second)
    both = sorted([content(first), content(second)])
    assert site.contents() == both

    assert deliver(site, first) == [Delivered("C1", "already_there")]
    assert site.contents() == both
    del site.rows["C1"]
    assert deliver(site, first) == [Delivered("C3", "created")]
    assert site.contents() == both


def test_a_time_that_erpnext_keeps_without_a_word_is_not_taken_for_replaced() -> None:
    site = FakeSite()
    deliver(site, WRONG)
    site.read_only = ("time",)

    [result] = deliver(site, MOVED)

    assert isinstance(result, InvalidRecord)
    assert result.reason is Reason.TARGET_REJECTED
    assert "2026-01-01 05:00:00" in result.message
