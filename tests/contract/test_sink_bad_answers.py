"""Every bad answer of ERPNext, and of what stands in front of it, given to the real sink target over HTTP."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from site_zones import RecordedZones

from attendance.erpnext import ErpnextClient
from attendance.errors import (
    AccessDenied,
    InvalidRecord,
    PermissionDenied,
    Reason,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
)
from attendance.records.checkin import Checkin
from attendance.settings import ErpnextSettings
from attendance.times import now
from operations.site.setup import EVENT_ID
from sandbox.erpnext.server import ErpnextStandIn
from sinks.targets.base import Delivered, FailedTogether, Result, SentBack
from sinks.targets.erpnext.target import ErpnextTarget
from sinks.targets.erpnext.uniqueness import Field, try_uniqueness

EMPLOYEES = [f"HR-EMP-{number:05}" for number in range(200)]
WRITES = ("POST /api/method/frappe.client.insert_many", "POST /api/resource/Employee Checkin")
REPAIRED = {"maintenance": "off", "database_down": False, "faults": [], "failing_employees": {}, "max_body": None}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path_factory.mktemp("erpnext") / "stand-in.log") as stand_in:
        yield stand_in


@pytest.fixture
def site(server: ErpnextStandIn) -> ErpnextStandIn:
    """The stand-in with its employees and the unique field, and nothing else."""
    server.reset()
    server.employees([{"name": name} for name in EMPLOYEES])
    client = ErpnextClient(settings_of(server))
    client.insert(EVENT_ID)
    client.close()
    return server


@pytest.fixture
def plain_site(server: ErpnextStandIn) -> ErpnextStandIn:
    """The stand-in without the unique field."""
    server.reset()
    server.employees([{"name": name} for name in EMPLOYEES])
    return server


@pytest.fixture(params=["site", "plain_site"])
def either(request: pytest.FixtureRequest) -> ErpnextStandIn:
    site = request.getfixturevalue(request.param)
    assert isinstance(site, ErpnextStandIn)
    return site


@pytest.fixture(params=["with tracebacks", "without tracebacks, in German"])
def telling(request: pytest.FixtureRequest) -> dict[str, Any]:
    quiet = request.param != "with tracebacks"
    return {"allow_error_traceback": not quiet, "language": "de" if quiet else "en"}


def settings_of(site: ErpnextStandIn, timeout: float = 5) -> ErpnextSettings:
    return ErpnextSettings(
        url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=timeout, _env_file=None
    )


def checkins(count: int) -> list[Checkin]:
    return [
        Checkin(
            event_id=f"{number:032x}",
            employee=EMPLOYEES[number],
            event_time=datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(minutes=number),
            log_type="IN",
            device_id="D1",
            device_user_id="7",
            site="HQ",
            device_timezone="Asia/Riyadh",
        )
        for number in range(count)
    ]


def deliver(
    site: ErpnextStandIn, batch: Sequence[Checkin], *between: Callable[[], object], timeout: float = 5
) -> list[list[Result]]:
    """What an open target says to the batch after each of these."""

    async def run() -> list[list[Result]]:
        target = ErpnextTarget(lambda: ErpnextClient(settings_of(site, timeout)), concurrency=2, batch=200)
        target.use_zones(RecordedZones("Asia/Riyadh"), lambda _: None)
        try:
            await target.open()
            results = []
            for turn in between:
                turn()
                results.append(await target.deliver(batch))
            return results
        finally:
            await target.close()

    return asyncio.run(run())


def requests(site: ErpnextStandIn) -> int:
    return sum(sum(outcomes.values()) for outcomes in site.stats()["requests"].values())


def on_writes(**fault: Any) -> dict[str, Any]:
    return {"faults": [{"times": None, **fault, "match": match} for match in WRITES]}


def status(status: int, exc_type: str, **more: Any) -> dict[str, Any]:
    return on_writes(action="status", status=status, exc_type=exc_type, **more)


@pytest.mark.parametrize(
    ("knobs", "kind"),
    [
        (status(401, "AuthenticationError"), AccessDenied),
        (status(403, "PermissionError"), PermissionDenied),
        (status(409, "DuplicateEntryError"), ServerError),
        (status(429, "TooManyRequestsError"), TargetUnavailable),
        (status(500, "QueryTimeoutError"), RequestAbandoned),
        (status(500, "AttributeError"), ServerError),
        ({"maintenance": "on"}, TargetUnavailable),
        ({"maintenance": "read_only"}, TargetUnavailable),
        ({"database_down": True}, RequestAbandoned),
        (on_writes(action="html_500"), RequestAbandoned),
        (on_writes(action="html_502"), RequestAbandoned),
        (on_writes(action="empty"), RequestAbandoned),
        (on_writes(action="truncated"), RequestAbandoned),
        (on_writes(action="close_before"), RequestAbandoned),
        (on_writes(action="close_after_write"), RequestAbandoned),
        (on_writes(action="slow_answer", delay_ms=900), RequestAbandoned),
    ],
    ids=[
        *("401", "403", "series behind", "429", "lock wait", "500 as JSON", "maintenance", "read only", "no database"),
        *("500 as HTML", "502 as HTML", "empty", "truncated", "closed before", "closed after", "too slow"),
    ],
)
def test_a_site_that_gives_everything_a_bad_answer_is_tried_again_and_holds_each_check_in_once(
    either: ErpnextStandIn, telling: dict[str, Any], knobs: dict[str, Any], kind: type[Exception]
) -> None:
    batch = checkins(8)
    in_trouble, repaired = deliver(
        either,
        batch,
        lambda: either.knobs(**telling, **knobs),
        lambda: either.knobs(**REPAIRED),
        timeout=0.3 if "slow_answer" in str(knobs) else 5,
    )
    # What could not be divided in time is given back as a whole, and what was not tried, as None.
    found = [each.error if isinstance(each, FailedTogether) else each for each in in_trouble]
    assert {type(each) for each in found if each is not None} <= {kind, TargetUnavailable}
    assert found[0] is not None
    assert all(isinstance(result, Delivered) for result in repaired)
    assert [row["time"][14:16] for row in either.checkins()] == [f"{number:02}" for number in range(8)]


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, None),
        ("57", 57),
        ("a date", pytest.approx(600, abs=300)),
        ("soon", None),
    ],
)
def test_a_rate_limit_is_heard_with_and_without_a_time_to_come_back(
    site: ErpnextStandIn, retry_after: str | None, seconds: float | None
) -> None:
    if retry_after == "a date":
        retry_after = format_datetime(now() + timedelta(seconds=600), usegmt=True)
    knobs = status(429, "TooManyRequestsError", retry_after=retry_after)
    [results] = deliver(site, checkins(3), lambda: site.knobs(**knobs))
    assert [result.retry_after for result in results if isinstance(result, TargetUnavailable)] == [seconds] * 3


ONE_BAD_DOCUMENT = [
    (403, "PermissionError", PermissionDenied, None),
    (404, "DoesNotExistError", InvalidRecord, Reason.TARGET_REJECTED),
    (409, "DuplicateEntryError", ServerError, None),
    (413, "RequestEntityTooLarge", InvalidRecord, Reason.TARGET_REJECTED),
    (417, "ValidationError", InvalidRecord, Reason.TARGET_REJECTED),
    (417, "UniqueValidationError", InvalidRecord, Reason.TARGET_REJECTED),
    (417, "MandatoryError", InvalidRecord, Reason.TARGET_REJECTED),
    (417, "LinkValidationError", InvalidRecord, Reason.TARGET_REJECTED),
    (417, "CharacterLengthExceededError", InvalidRecord, Reason.TARGET_REJECTED),
    (417, "DataError", InvalidRecord, Reason.TARGET_REJECTED),
    (417, "InactiveEmployeeStatusError", SentBack, Reason.EMPLOYEE_INACTIVE),
    (500, "AttributeError", ServerError, None),
    (500, "OperationalError", ServerError, None),
    (500, "QueryTimeoutError", RequestAbandoned, None),
    (500, "QueryDeadlockError", RequestAbandoned, None),
]


@pytest.mark.parametrize(("code", "exc_type", "kind", "reason"), ONE_BAD_DOCUMENT)
def test_one_bad_document_in_a_batch_of_200_costs_few_requests_and_no_other_document(
    site: ErpnextStandIn,
    telling: dict[str, Any],
    code: int,
    exc_type: str,
    kind: type[Exception],
    reason: Reason | None,
) -> None:
    failing = {EMPLOYEES[137]: {"status": code, "exc_type": exc_type}}
    asked: list[int] = []

    def begin() -> None:
        site.knobs(**telling, failing_employees=failing)
        asked.append(requests(site))

    [results] = deliver(site, checkins(200), begin)
    # 3 look-ups, and 2 for each halving of 200 down to 1; 2 more at the end, 1 for the rule of coordinates and 1
    # for the ids of what was stored.
    assert requests(site) - asked[0] <= 24
    bad = results.pop(137)
    assert type(bad) is kind
    assert not isinstance(bad, InvalidRecord | SentBack) or bad.reason == reason
    assert all(isinstance(result, Delivered) for result in results)
    assert len(site.checkins()) == 199


@pytest.mark.parametrize(("code", "exc_type", "kind", "reason"), ONE_BAD_DOCUMENT)
def test_one_bad_document_is_found_without_the_field_too(
    plain_site: ErpnextStandIn, code: int, exc_type: str, kind: type[Exception], reason: Reason | None
) -> None:
    plain_site.knobs(failing_employees={EMPLOYEES[7]: {"status": code, "exc_type": exc_type}})
    [results] = deliver(plain_site, checkins(20), lambda: None)
    bad = results.pop(7)
    assert type(bad) is kind
    assert not isinstance(bad, InvalidRecord | SentBack) or bad.reason == reason
    assert all(isinstance(result, Delivered) for result in results)


def test_a_batch_that_is_too_large_for_what_stands_in_front_is_halved_until_it_fits(site: ErpnextStandIn) -> None:
    asked: list[int] = []

    def begin() -> None:
        site.knobs(max_body=3_000)
        asked.append(requests(site))

    first, second = deliver(site, checkins(200), begin, lambda: asked.append(requests(site)))
    assert {result.status for result in first if isinstance(result, Delivered)} == {"created"}
    assert {result.status for result in second if isinstance(result, Delivered)} == {"already_there"}
    assert len(site.checkins()) == len(first) == 200
    shifts = 1  # asked for once in each call, because the punches are old
    employees = 3  # 200 names do not fit, 100 do
    # 200, 2 of 100, 4 of 50 and 8 of 25 documents do not fit; 16 of 12 or 13 do.
    assert asked[1] - asked[0] == 31 + employees + shifts + 2  # one document proves the zone; one look at the ids
    assert requests(site) - asked[1] == 31 + 16 + employees + shifts


def test_many_forbidden_documents_one_after_the_other_end_the_call_and_what_was_stored_before_stays(
    site: ErpnextStandIn,
) -> None:
    hidden = {name: {"status": 403, "exc_type": "PermissionError"} for name in EMPLOYEES[40:50]}
    [results] = deliver(site, checkins(100), lambda: site.knobs(failing_employees=hidden))
    assert [type(result) for result in results[40:48]] == [PermissionDenied] * 8
    assert results[48:50] == [None] * 2  # one after the other: the site itself may be the cause
    assert all(isinstance(result, Delivered) for result in results[:40])


def test_where_nothing_may_be_stored_few_requests_find_out(site: ErpnextStandIn) -> None:
    asked: list[int] = []

    def begin() -> None:
        site.knobs(**status(403, "PermissionError"))
        asked.append(requests(site))

    [results] = deliver(site, checkins(200), begin)
    assert [type(result) for result in results[:8]] == [PermissionDenied] * 8
    assert results[8:] == [None] * 192
    assert requests(site) - asked[0] <= 24


def test_a_target_that_is_closed_in_the_middle_of_a_divided_batch_sends_nothing_more(site: ErpnextStandIn) -> None:
    async def run() -> None:
        target = ErpnextTarget(lambda: ErpnextClient(settings_of(site)), concurrency=2, batch=200)
        target.use_zones(RecordedZones("Asia/Riyadh"), lambda _: None)
        await target.open()
        site.knobs(latency_ms=100, failing_employees={EMPLOYEES[137]: {"status": 417, "exc_type": "MandatoryError"}})
        under_way = asyncio.create_task(target.deliver(checkins(200)))
        await asyncio.sleep(0.25)
        await target.close()
        results = await under_way
        assert {type(result) for result in results[100:]} == {TargetUnavailable}

    asyncio.run(run())
    stored = len(site.checkins())
    assert stored < 199
    site.knobs(latency_ms=0, failing_employees={})
    [results] = deliver(site, checkins(200), lambda: None)
    assert all(isinstance(result, Delivered) for result in results)
    assert len(site.checkins()) == 200


def test_unique_that_is_switched_off_or_a_field_that_is_deleted_is_noticed_while_running(site: ErpnextStandIn) -> None:
    field = "/api/resource/Custom%20Field/Employee%20Checkin-event_id"

    async def run() -> list[int]:
        client = ErpnextClient(settings_of(site))
        target = ErpnextTarget(lambda: ErpnextClient(settings_of(site)), concurrency=2, batch=200)
        target.use_zones(RecordedZones("Asia/Riyadh"), lambda _: None)
        try:
            assert try_uniqueness(client).field is Field.UNIQUE
            await target.open()
            sizes = [target.max_batch]
            client.call("PUT", field, {"unique": 0})
            assert try_uniqueness(client).field is Field.NOT_UNIQUE
            await target.open()
            sizes.append(target.max_batch)
            client.call("PUT", field, {"unique": 1})
            await target.open()
            sizes.append(target.max_batch)
            client.call("DELETE", field)
            assert all(isinstance(result, Delivered) for result in await target.deliver(checkins(8)))
            sizes.append(target.max_batch)
            assert try_uniqueness(client).field is Field.MISSING
            assert all(isinstance(result, Delivered) for result in await target.deliver(checkins(8)))
            return sizes
        finally:
            await target.close()
            client.close()

    assert asyncio.run(run()) == [200, 20, 200, 20]
    assert len(site.checkins()) == 8
