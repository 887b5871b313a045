"""Fast ingest: what the sink makes of its answers, and what it does where there is none."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from ingest_site import FakeSite, checkin, deliver, statuses, target_of

from attendance.errors import (
    AccessDenied,
    DocumentRejected,
    PermissionDenied,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
)
from sinks.targets.base import Delivered, FailedTogether
from sinks.targets.erpnext.ingest import INSERT, Ingest, IngestGuard, look_for_ingest


def with_app(*slow: str) -> FakeSite:
    site = FakeSite()
    site.has_app, site.slow = True, list(slow)
    return site


def answering(change: Any) -> FakeSite:
    """A site that stores, and whose answers are changed then."""

    class Changed(FakeSite):
        def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
            answer = super().call(method, path, body)
            if path == INSERT:
                change(answer["message"]["outcomes"])
            return answer

    site = Changed()
    site.has_app = True
    return site


def test_a_batch_is_one_request_and_a_look_whether_it_has_its_ids() -> None:
    site = with_app()
    [results] = deliver(site, [checkin(number) for number in range(50)])
    assert results == [Delivered(f"CKIN-{number + 1}", "created") for number in range(50)]
    assert site.requests == ["ingest 50", "get_list"]


def test_one_alone_goes_as_ever() -> None:
    site = with_app()
    [results] = deliver(site, [checkin(1)])
    assert statuses(results) == ["created"]
    assert site.requests == ["insert", "get_list"]


def test_a_batch_that_was_stored_without_an_answer_is_found_by_one_request() -> None:
    site = with_app()
    site.lost_answers = 1
    batch = [checkin(number) for number in range(50)]
    first, second = deliver(site, batch, batch)
    assert statuses(first) == ["TargetUnavailable"] * 50
    assert statuses(second) == ["already_there"] * 50
    assert len(site.rows) == 50
    assert site.requests == ["ingest 50", "ingest 50"]


def test_a_bad_document_costs_no_second_request() -> None:
    site = with_app()
    site.inactive, site.breaking = {"HR-EMP-00007"}, {"BROKEN"}
    batch = [checkin(number, device_id="BROKEN" if number == 40 else "D1") for number in range(100)]
    [results] = deliver(site, batch)
    assert statuses([results[7], results[40]]) == ["SentBack", "ServerError"]
    assert statuses(results).count("created") == 98
    assert site.requests == ["ingest 100", "get_list"]


def test_what_fails_one_after_the_other_is_not_blamed_on_more_than_eight() -> None:
    site = with_app()
    site.breaking = {"D1"}
    [results] = deliver(site, [checkin(number) for number in range(128)])
    assert statuses(results) == ["ServerError"] * 8 + ["NoneType"] * 120


@pytest.mark.parametrize(
    "change",
    [
        lambda outcomes: outcomes.pop(),
        lambda outcomes: outcomes[1].pop("event_id"),
        lambda outcomes: outcomes.reverse(),
        lambda outcomes: outcomes[1].pop("name"),
        lambda outcomes: outcomes[1].update(outcome="perhaps"),
        lambda outcomes: outcomes.__setitem__(1, "inserted"),
    ],
)
def test_an_answer_that_leaves_one_out_is_no_success(change: Any) -> None:
    site = answering(change)
    [results] = deliver(site, [checkin(number) for number in range(3)])
    assert all(isinstance(each, FailedTogether) for each in results)
    assert len(site.rows) == 3


def test_what_could_not_be_read_is_found_again() -> None:
    site = answering(lambda outcomes: outcomes[1].pop("event_id", None))
    batch = [checkin(number) for number in range(3)]
    _, again = deliver(site, batch, batch[:1])
    assert statuses(again) == ["already_there"]
    assert len(site.rows) == 3


@pytest.mark.parametrize(
    ("status", "kind", "result"),
    [
        (403, "PermissionError", "PermissionDenied"),
        (417, "ValidationError", "InvalidRecord"),
        (417, "CheckinRadiusExceededError", "SentBack"),
        (409, "DuplicateEntryError", "ServerError"),
        (500, "QueryTimeoutError", "RequestAbandoned"),
        (503, "InReadOnlyMode", "TargetUnavailable"),
        (401, "AuthenticationError", "AccessDenied"),
    ],
)
def test_a_refusal_means_what_it_means_of_one_document(status: int, kind: str, result: str) -> None:
    def refuse(outcomes: list[dict[str, Any]]) -> None:
        outcomes[1] = {
            "event_id": outcomes[1]["event_id"],
            "outcome": "refused",
            "status": status,
            "exc_type": kind,
            "message": "<b>why</b>",
        }
        site.rows = [row for row in site.rows if row["event_id"] != outcomes[1]["event_id"]]

    site = answering(refuse)
    [results] = deliver(site, [checkin(number) for number in range(3)])
    assert statuses(results) == ["created", result, "created"]
    assert "<b>" not in str(results[1])


def test_a_site_from_which_the_app_is_taken_away_gets_batches_as_before() -> None:
    site = with_app()

    async def run() -> list[str]:
        target = target_of(site, batch=1000)
        await target.open()
        assert target.max_batch == 1000
        site.has_app = False
        site.requests.clear()
        results = await target.deliver([checkin(number) for number in range(10)])
        assert target.max_batch == 200
        results += await target.deliver([checkin(number) for number in range(10, 20)])
        await target.close()
        return statuses(results)

    assert asyncio.run(run()) == ["created"] * 20
    assert site.requests == ["insert_many 10", "get_list", "insert_many 10", "get_list"]


def test_a_site_that_stores_one_by_one_is_sent_no_more_than_by_insert_many() -> None:
    async def run() -> int:
        target = target_of(with_app("a hook of an app"), batch=1000)
        await target.open()
        await target.close()
        return target.max_batch

    assert asyncio.run(run()) == 200


class Describing:
    """A site that answers one question."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def call(self, method: str, path: str) -> dict[str, Any]:
        assert (method, path.rpartition(".")[2]) == ("GET", "describe")
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"message": self.answer}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"most": 1000, "bulk": True, "why": []}, Ingest(1000)),
        ({"most": 1000, "bulk": False, "why": ["a hook"]}, Ingest(1000, ("a hook",))),
        ({"most": 1000}, None),
        (None, None),
        ("pong", None),
        (DocumentRejected(417, "ValidationError", "App biometric_integration is not installed"), None),
        (PermissionDenied("403"), None),
        (ServerError("500"), None),
    ],
)
def test_what_a_site_says_of_its_fast_ingest(answer: object, found: Ingest | None) -> None:
    assert look_for_ingest(Describing(answer)) == found  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [TargetUnavailable("503"), RequestAbandoned("timeout"), AccessDenied("401")])
def test_a_site_that_is_away_says_nothing_of_it(error: Exception) -> None:
    with pytest.raises(type(error)):
        IngestGuard().look(Describing(error))  # type: ignore[arg-type]
