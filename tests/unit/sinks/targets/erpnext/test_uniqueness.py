"""Whether event_id is unique is tried: what each answer proves, and when it is tried again."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import structlog

from attendance.errors import DocumentRejected, PermissionDenied, RequestAbandoned, ServerError, TargetUnavailable
from sinks.targets.erpnext.uniqueness import TRIAL_EMPLOYEE, TRIAL_SECONDS, Field, UniquenessGuard, try_uniqueness


class Site:
    """ERPNext as far as the trial goes: documents one after the other, all or none."""

    def __init__(self) -> None:
        self.field = True
        self.unique = True
        self.other_field_is_unique = False
        self.employees: list[str] = []
        self.refuses: dict[str, Exception] = {}
        self.refuses_bad_ones = True
        self.fills_in_direction = False
        self.stored = 0
        self.rows: list[dict[str, Any]] = []
        self.requests = 0
        self.away: Exception | None = None

    def has_event_id_field(self) -> bool:
        return self.field

    def get_list(self, doctype: str, _fields: object, filters: Any = (), **_: object) -> list[dict[str, Any]]:
        if self.away:
            raise self.away
        if doctype == "Employee":
            return [{"name": name} for name in self.employees]
        if not self.field:
            raise DocumentRejected(417, "DataError", "Field not permitted in query: event_id")
        [(_, _, ids)] = filters
        return [row for row in self.rows if row.get("event_id") in ids]

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        self.requests += 1
        if self.away:
            raise self.away
        ids: set[str] = set()
        for number, document in enumerate(documents):
            if error := self.refuses.get(str(document["employee"])):
                raise error
            if self.refuses_bad_ones and not document["employee"]:
                raise DocumentRejected(417, "MandatoryError", "Value missing")
            if self.refuses_bad_ones and document.get("log_type") and not self.fills_in_direction:
                raise DocumentRejected(417, "ValidationError", "Log Type cannot be PROBE")
            if (self.unique and document.get("event_id") in ids) or (self.other_field_is_unique and number):
                raise DocumentRejected(417, "UniqueValidationError", "must be unique")
            ids.add(document.get("event_id", ""))
        self.rows += [dict(document) for document in documents]
        self.stored += len(documents)
        return [str(number) for number in range(len(documents))]

    def delete(self, _doctype: str, _name: str) -> None:
        self.rows.pop()


def found(site: Site) -> Field:
    return try_uniqueness(site).field  # type: ignore[arg-type]


def test_a_second_document_that_is_refused_proves_it_on_an_empty_site_too() -> None:
    site = Site()
    assert found(site) is Field.UNIQUE
    assert site.rows == []


def test_a_third_document_that_is_reached_proves_the_contrary() -> None:
    site = Site()
    site.unique = False
    assert found(site) is Field.NOT_UNIQUE
    assert site.rows == []


def test_without_the_field_nothing_is_sent() -> None:
    site = Site()
    site.field = False
    assert found(site) is Field.MISSING
    assert site.requests == 0


def test_another_field_that_is_unique_proves_nothing() -> None:
    site = Site()
    site.unique, site.other_field_is_unique = False, True
    assert found(site) is Field.UNKNOWN


@pytest.mark.parametrize(
    "refusal",
    [
        PermissionDenied("403 PermissionError"),
        DocumentRejected(417, "ValidationError", "a rule of the site"),
        DocumentRejected(417, "MandatoryError", "Gate"),
        DocumentRejected(409, "DuplicateEntryError", "EMP-CKIN-1"),
        ServerError("500 NameError: hook"),
        RequestAbandoned("500 QueryTimeoutError", answered=True),
    ],
    ids=["forbidden", "a rule", "mandatory", "series", "hook", "lock"],
)
@pytest.mark.parametrize("unique", [True, False])
def test_an_answer_to_the_first_document_proves_nothing_and_another_employee_is_tried(
    refusal: Exception, *, unique: bool
) -> None:
    site = Site()
    site.unique = unique
    site.refuses = {TRIAL_EMPLOYEE: refusal}
    assert found(site) is Field.UNKNOWN
    site.employees = ["HR-EMP-00001"]
    assert found(site) is (Field.UNIQUE if unique else Field.NOT_UNIQUE)


def test_what_a_site_stores_in_spite_of_all_is_removed_again() -> None:
    site = Site()
    site.unique = site.refuses_bad_ones = False
    site.employees = ["HR-EMP-00001"]
    assert found(site) is Field.NOT_UNIQUE
    assert site.rows == []
    assert site.stored == 3  # nothing in the name of a person who exists


def test_on_a_site_that_fills_in_the_direction_nothing_is_stored_where_it_is_unique() -> None:
    site = Site()
    site.fills_in_direction = True
    assert found(site) is Field.UNIQUE
    assert site.stored == 0


@pytest.mark.parametrize("away", [TargetUnavailable("503"), RequestAbandoned("ReadTimeout")])
def test_a_site_that_does_not_answer_is_no_answer(away: TargetUnavailable) -> None:
    site = Site()
    site.away = away
    with pytest.raises(TargetUnavailable):
        found(site)


class Guarded:
    """A guard on a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.site = Site()
        self.guard = UniquenessGuard(lambda: self.now)
        self.look()

    def look(self) -> None:
        self.guard.look(self.site)  # type: ignore[arg-type]

    def verify(self, *ids: str) -> None:
        self.guard.verify(self.site, [{"event_id": each} for each in ids])  # type: ignore[arg-type]


def test_it_is_tried_again_at_intervals_and_what_changed_is_said_once() -> None:
    guarded = Guarded()
    guarded.site.unique = False
    guarded.look()
    assert guarded.guard.proven
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            guarded.now += TRIAL_SECONDS
            guarded.look()
    assert not guarded.guard.proven
    assert guarded.guard.has_field
    assert len(logs) == 1
    assert "sent one at a time" in logs[0]["event"]


def test_it_is_tried_before_anything_is_sent_again_that_may_have_been_stored() -> None:
    guarded = Guarded()
    guarded.site.unique = False
    guarded.guard.doubt()
    guarded.look()
    assert not guarded.guard.proven


def test_documents_that_have_their_ids_cost_one_look() -> None:
    guarded = Guarded()
    guarded.site.rows = [{"event_id": "a"}, {"event_id": "b"}]
    guarded.verify("a", "b")
    assert guarded.guard.proven


@pytest.mark.parametrize("field", [True, False])
def test_documents_that_lost_their_ids_are_noticed_at_once(*, field: bool) -> None:
    guarded = Guarded()
    guarded.site.field = field
    with structlog.testing.capture_logs() as logs:
        guarded.verify("a", "b")
    assert not guarded.guard.proven
    assert logs[0]["documents"] == 2
    guarded.look()
    assert guarded.guard.proven is field
    assert guarded.guard.has_field is field


def test_a_look_that_fails_is_no_proof_and_tried_again() -> None:
    guarded = Guarded()
    guarded.site.away = TargetUnavailable("503")
    guarded.verify("a")
    assert guarded.guard.proven
    with pytest.raises(TargetUnavailable):
        guarded.look()
