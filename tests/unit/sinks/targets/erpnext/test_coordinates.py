"""A site that asks for coordinates: what has none waits, and nothing else does."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from attendance.errors import AccessDenied, DocumentRejected, InvalidRecord, Reason
from attendance.records.checkin import Checkin
from sinks.targets.base import Delivered, Result, SentBack
from sinks.targets.erpnext.coordinates import ASK_AGAIN, CoordinateRule
from sinks.targets.erpnext.documents import to_document


class FakeSite:
    """HR Settings, and what is there by event_id."""

    def __init__(self) -> None:
        self.wants = False
        self.rows: dict[str, str] = {}
        self.asked = 0
        self.refuses: Exception | None = None

    def wants_coordinates(self) -> bool:
        self.asked += 1
        if self.refuses is not None:
            raise self.refuses
        return self.wants

    def get_list(self, _doctype: str, _fields: Sequence[str], filters: Any) -> list[dict[str, Any]]:
        ((_, _, ids),) = filters
        return [{"name": self.rows[id_], "event_id": id_} for id_ in ids if id_ in self.rows]


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    def __init__(self) -> None:
        self.site = FakeSite()
        self.clock = Clock()
        self.rule = CoordinateRule(self.clock)

    def withhold(self, *checkins: Checkin) -> dict[int, Any]:
        documents = {i: to_document(each, "UTC", event_id=True) for i, each in enumerate(checkins)}
        return self.rule.withhold(self.site, dict(enumerate(checkins)), documents)  # type: ignore[arg-type,return-value]

    def explain(self, checkin: Checkin, result: Result) -> dict[int, SentBack]:
        documents = {0: to_document(checkin, "UTC", event_id=True)}
        return self.rule.explain(self.site, documents, {0: result})  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def checkin(number: int = 1, **changes: Any) -> Checkin:
    fields: dict[str, Any] = {
        "event_id": f"{number:032x}",
        "employee": "HR-EMP-00001",
        "event_time": datetime(2026, 1, 1, 5, tzinfo=UTC),
        "log_type": "IN",
        "device_id": "GATE-1",
        "device_user_id": "1",
        "site": "HQ",
        "device_timezone": "UTC",
    }
    return Checkin(**fields | changes)


PLACED = checkin(2, device_id="GATE-2", latitude=24.7, longitude=46.7)
REJECTED = InvalidRecord(Reason.TARGET_REJECTED, "417 ValidationError: Latitude and longitude values are required")


def test_only_what_has_no_coordinates_waits_and_the_device_is_named_once(bench: Bench) -> None:
    bench.site.wants = True
    with capture_logs() as said:
        withheld = bench.withhold(checkin(), PLACED, checkin(3))
        bench.withhold(checkin(4))
    assert list(withheld) == [0, 2]
    assert all(each.reason is Reason.COORDINATES_REFUSED and "GATE-1" in each.message for each in withheld.values())
    assert [entry["device_id"] for entry in said] == ["GATE-1"]


def test_where_nothing_is_asked_for_everything_is_sent_and_the_site_is_asked_once_a_minute(bench: Bench) -> None:
    for _ in range(5):
        assert bench.withhold(checkin(), PLACED) == {}
    assert bench.site.asked == 1
    bench.clock.now += ASK_AGAIN
    bench.site.wants = True
    assert list(bench.withhold(checkin())) == [0]


def test_devices_that_all_have_coordinates_cost_no_question(bench: Bench) -> None:
    assert bench.withhold(PLACED) == {}
    assert bench.site.asked == 0


def test_check_ins_flow_again_within_a_minute_after_the_site_asks_no_more(bench: Bench) -> None:
    bench.site.wants = True
    assert bench.withhold(checkin())
    bench.site.wants = False
    bench.clock.now += ASK_AGAIN
    assert bench.withhold(checkin()) == {}


def test_what_erpnext_holds_already_is_delivered_and_does_not_wait(bench: Bench) -> None:
    bench.site.wants = True
    bench.site.rows[checkin().event_id] = "CKIN-7"
    assert bench.withhold(checkin()) == {0: Delivered("CKIN-7", "already_there")}


def test_a_rejection_shows_at_once_that_the_site_has_begun_to_ask(bench: Bench) -> None:
    assert bench.withhold(checkin()) == {}
    bench.site.wants = True
    assert bench.explain(checkin(), REJECTED)[0].reason is Reason.COORDINATES_REFUSED
    assert list(bench.withhold(checkin())) == [0], "and the next ones are not sent"


@pytest.mark.parametrize(
    "result",
    [
        Delivered("CKIN-1", "created"),
        InvalidRecord(Reason.UNREADABLE_TIME, "no time"),
        SentBack(Reason.EMPLOYEE_INACTIVE, "417"),
        None,
    ],
)
def test_what_was_not_rejected_stays_as_it_is(bench: Bench, result: Result) -> None:
    bench.site.wants = True
    assert bench.explain(checkin(), result) == {}


def test_a_rejection_of_a_check_in_with_coordinates_or_at_a_site_that_asks_for_none_is_one(bench: Bench) -> None:
    assert bench.explain(checkin(), REJECTED) == {}
    bench.site.wants = True
    assert bench.explain(PLACED, REJECTED) == {}


@pytest.mark.parametrize("refusal", [AccessDenied("403"), DocumentRejected(417, "ValidationError", "")])
def test_a_site_that_does_not_say_what_it_asks_for_is_delivered_to(bench: Bench, refusal: Exception) -> None:
    bench.site.refuses = refusal
    assert bench.withhold(checkin()) == {}
    assert bench.explain(checkin(), REJECTED) == {}
