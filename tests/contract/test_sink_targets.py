"""What every target promises to the runner, asked of each of them."""

import asyncio
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from ingest_site import statuses
from msgspec.structs import replace

from attendance.erpnext import ErpnextClient
from attendance.errors import Reason, RequestAbandoned, TargetUnavailable
from attendance.records.checkin import Checkin
from attendance.settings import ErpnextSettings
from operations.site.setup import EVENT_ID
from sandbox.erpnext.server import ErpnextStandIn
from sinks.targets.base import Delivered, FailedTogether, InvalidRecord, Result, SentBack, Target
from sinks.targets.erpnext.target import ErpnextTarget
from sinks.targets.jsonl import JsonlTarget


class Subject(ABC):
    """A place to deliver to: `create` makes a target as a new process does, `stored` is what the place holds."""

    @abstractmethod
    def create(self) -> Target: ...

    @abstractmethod
    def stored(self) -> list[dict[str, Any]]:
        """Employee, direction and device of each row, in the order in which they were stored."""


class Jsonl(Subject):
    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> Target:
        return JsonlTarget(self.path)

    def stored(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.path.read_bytes().splitlines()]


class Erpnext(Subject):
    def __init__(self, site: ErpnextStandIn, *, unique: bool, fast: bool = False) -> None:
        self.site = site
        self.settings = ErpnextSettings(
            url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=5, _env_file=None
        )
        site.reset()
        site.knobs(desk=fast)
        site.employees([{"name": f"HR-EMP-{number:05}"} for number in range(1, 60)])
        if unique:
            client = ErpnextClient(self.settings)
            client.insert(EVENT_ID)
            client.close()

    def create(self) -> Target:
        return ErpnextTarget(lambda: ErpnextClient(self.settings), concurrency=4, batch=50)

    def stored(self) -> list[dict[str, Any]]:
        return self.site.checkins()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path_factory.mktemp("erpnext") / "stand-in.log") as stand_in:
        yield stand_in


@pytest.fixture(params=["jsonl", "erpnext", "erpnext with fast ingest", "erpnext without the field"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    if request.param == "jsonl":
        return Jsonl(tmp_path / "checkins.jsonl")
    return Erpnext(request.getfixturevalue("site"), unique="without" not in request.param, fast="fast" in request.param)


@pytest.fixture(params=["erpnext", "erpnext with fast ingest", "erpnext without the field"])
def erpnext(request: pytest.FixtureRequest, site: ErpnextStandIn) -> Erpnext:
    return Erpnext(site, unique="without" not in request.param, fast="fast" in request.param)


def checkin(number: int, employee: int | str | None = None, **changes: Any) -> Checkin:
    fields: dict[str, Any] = {
        "event_id": f"{number:032x}",
        "employee": employee if isinstance(employee, str) else f"HR-EMP-{employee or number:05}",
        "event_time": datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(minutes=number),
        "log_type": "IN",
        "device_id": "D1",
        "device_user_id": str(number),
        "site": "HQ",
        "device_timezone": "Asia/Riyadh",
    }
    return Checkin(**fields | changes)


def deliver(subject: Subject, *calls: Sequence[Checkin]) -> list[list[Result]]:
    """The results of calls to one target, one after the other."""

    async def run() -> list[list[Result]]:
        target = subject.create()
        try:
            await target.open()
            assert all(len(call) <= target.max_batch for call in calls)
            return [await target.deliver(call) for call in calls]
        finally:
            await target.close()

    return asyncio.run(run())


def test_each_check_in_is_stored_once_and_its_document_is_named(subject: Subject) -> None:
    [results] = deliver(subject, [checkin(number) for number in range(1, 21)])
    assert statuses(results) == ["created"] * 20
    assert len({result.document for result in results if isinstance(result, Delivered)}) == 20
    assert len(subject.stored()) == 20


def test_a_batch_of_one_is_stored(subject: Subject) -> None:
    [[result]] = deliver(subject, [checkin(1)])
    assert isinstance(result, Delivered)
    assert len(subject.stored()) == 1


def test_the_same_check_in_again_is_already_there_under_the_same_name(subject: Subject) -> None:
    first, second = deliver(subject, [checkin(1)], [checkin(1)])
    assert statuses(first + second) == ["created", "already_there"]
    assert first[0].document == second[0].document
    assert len(subject.stored()) == 1


def test_a_later_process_knows_what_an_earlier_one_stored(subject: Subject) -> None:
    deliver(subject, [checkin(1), checkin(2)])
    [results] = deliver(subject, [checkin(1), checkin(2), checkin(3)])
    assert statuses(results) == ["already_there", "already_there", "created"]
    assert len(subject.stored()) == 3


def test_the_same_check_in_twice_in_a_batch_is_one_row(subject: Subject) -> None:
    [results] = deliver(subject, [checkin(1), checkin(2), checkin(1)])
    assert statuses(results) == ["created", "created", "already_there"]
    assert len(subject.stored()) == 2


def test_some_that_are_there_and_some_that_are_new_get_each_their_own_answer(subject: Subject) -> None:
    _, results = deliver(
        subject,
        [checkin(number) for number in (2, 4, 6)],
        [checkin(number) for number in range(1, 8)],
    )
    assert statuses(results) == [
        "created",
        "already_there",
        "created",
        "already_there",
        "created",
        "already_there",
        "created",
    ]
    assert len(subject.stored()) == 7


def test_the_check_ins_of_an_employee_are_stored_in_their_order(subject: Subject) -> None:
    numbers = [5, 3, 9, 1, 7]
    deliver(subject, [checkin(number, employee=1) for number in numbers[:3]], [checkin(number, 1) for number in (1, 7)])
    devices = [row["time"] if "time" in row else row["event_time"] for row in subject.stored()]
    assert [int(time[14:16]) for time in devices] == numbers


def test_in_out_and_no_direction_at_the_same_second_are_three(subject: Subject) -> None:
    time = datetime(2026, 1, 1, 5, tzinfo=UTC)
    batch = [
        checkin(number, employee=1, event_time=time, log_type=log_type)
        for number, log_type in enumerate(("IN", "OUT", ""))
    ]
    deliver(subject, batch, batch)
    assert [row.get("log_type") or "" for row in subject.stored()] == ["IN", "OUT", ""]


def test_letters_of_every_script_come_through(subject: Subject) -> None:
    device = "بوابة-٣ · Tür “Süd” 🚪 'a' \\ \"b\""
    [results] = deliver(subject, [checkin(1, device_id=device)])
    assert statuses(results) == ["created"]
    assert [row["device_id"] for row in subject.stored()] == [device]


def test_calls_for_different_employees_may_run_at_the_same_time(subject: Subject) -> None:
    async def run() -> list[list[Result]]:
        target = subject.create()
        try:
            await target.open()
            calls = [[checkin(10 * call + number) for number in range(1, 6)] for call in range(4)]
            return await asyncio.gather(*(target.deliver(call) for call in calls), target.deliver([checkin(50)]))
        finally:
            await target.close()

    results = asyncio.run(run())
    assert [statuses(each) for each in results] == [["created"] * 5] * 4 + [["created"]]
    assert len(subject.stored()) == 21


def test_opening_again_while_it_is_in_use_changes_nothing(subject: Subject) -> None:
    async def run() -> None:
        target = subject.create()
        try:
            await target.open()
            await asyncio.gather(target.deliver([checkin(1), checkin(2)]), target.open())
            await target.open()
            assert statuses(await target.deliver([checkin(1)])) == ["already_there"]
        finally:
            await target.close()

    asyncio.run(run())
    assert len(subject.stored()) == 2


def test_nothing_is_stored_before_it_is_opened_and_closing_does_not_need_it(subject: Subject) -> None:
    async def run() -> None:
        target = subject.create()
        with pytest.raises(TargetUnavailable):
            await target.deliver([checkin(1)])
        await target.close()

    asyncio.run(run())


def test_erpnext_stores_the_neighbours_of_a_bad_document(erpnext: Erpnext) -> None:
    bad = checkin(7, device_id="D" * 141)
    [results] = deliver(erpnext, [*(checkin(number) for number in range(1, 7)), bad, *map(checkin, range(8, 16))])
    assert isinstance(results[6], InvalidRecord)
    assert statuses(results[:6] + results[7:]) == ["created"] * 14
    assert len(erpnext.site.checkins()) == 14


def test_erpnext_gets_nothing_for_whom_it_does_not_have_or_not_on_that_day(erpnext: Erpnext) -> None:
    client = ErpnextClient(erpnext.settings)
    created = {row["name"]: row["creation"] for row in client.get_list("Employee", ["name", "creation"])}
    client.close()
    site = erpnext.site
    site.rename_employee("HR-EMP-00001", "ACME-1")
    site.rename_employee("HR-EMP-00002", "HR-EMP-00009", merge=True)
    for number in (3, 4):
        site.delete_employee(f"HR-EMP-{number:05}")
    site.employees(
        [
            {"name": "HR-EMP-00004"},
            {"name": "HR-EMP-00005", "status": "Left", "relieving_date": "2025-12-31"},
            {"name": "HR-EMP-00006", "status": "Left", "relieving_date": "2026-01-01"},
            {"name": "HR-EMP-00007", "date_of_joining": "2026-01-02"},
            {"name": "HR-EMP-00008", "date_of_joining": "2026-01-01"},
            {"name": "HR-EMP-00010", "status": "Inactive"},
        ]
    )
    sent = [checkin(number, employee_created=created[f"HR-EMP-{number:05}"]) for number in range(1, 11)]

    [results] = deliver(erpnext, sent)

    assert {number: result.reason for number, result in enumerate(results, 1) if isinstance(result, SentBack)} == {
        **dict.fromkeys((1, 2, 3, 4), Reason.UNKNOWN_EMPLOYEE),
        5: Reason.EMPLOYEE_INACTIVE,
        7: Reason.BEFORE_JOINING,
        10: Reason.EMPLOYEE_INACTIVE,
    }
    assert [row["employee"] for row in site.checkins()] == ["HR-EMP-00006", "HR-EMP-00008", "HR-EMP-00009"]


def test_what_a_merge_took_along_is_already_there(site: ErpnextStandIn) -> None:
    erpnext = Erpnext(site, unique=True)
    [[first]] = deliver(erpnext, [checkin(1)])
    site.rename_employee("HR-EMP-00001", "HR-EMP-00002", merge=True)

    [[again]] = deliver(erpnext, [checkin(1)])

    assert isinstance(first, Delivered)
    assert again == Delivered(first.document, "already_there")


def test_erpnext_is_not_asked_for_a_second_row_after_an_answer_that_was_cut_off(erpnext: Erpnext) -> None:
    async def run() -> tuple[list[Result], list[Result]]:
        target = erpnext.create()
        try:
            await target.open()
            erpnext.site.knobs(faults=[{"match": "POST /api/resource", "action": "close_after_write"}])
            first = await target.deliver([checkin(1)])
            return first, await target.deliver([checkin(1)])
        finally:
            await target.close()

    first, second = asyncio.run(run())
    assert statuses(first + second) == ["RequestAbandoned", "already_there"]
    assert len(erpnext.site.checkins()) == 1


@pytest.mark.parametrize("traceback", [True, False])
def test_erpnext_is_understood_with_and_without_tracebacks_and_in_another_language(
    erpnext: Erpnext, *, traceback: bool
) -> None:
    erpnext.site.knobs(allow_error_traceback=traceback, language="de")
    deliver(erpnext, [checkin(1), checkin(2)])
    [results] = deliver(erpnext, [checkin(1), checkin(2), checkin(3, device_id="D" * 141)])
    assert statuses(results) == ["already_there", "already_there", "InvalidRecord"]


@pytest.mark.parametrize(
    "knobs",
    [
        {"maintenance": "on"},
        {"maintenance": "read_only"},
        {"database_down": True},
        {"rate_limit": {"remaining": 0, "retry_after": 60}},
        {"faults": [{"action": "html_502", "times": None}]},
        {"faults": [{"action": "close_before", "times": None}]},
        {"faults": [{"action": "empty", "times": None}]},
    ],
    ids=["maintenance", "read only", "no database", "rate limit", "bad gateway", "cut off", "empty answers"],
)
def test_erpnext_in_trouble_leaves_everything_to_be_tried_again(erpnext: Erpnext, knobs: dict[str, Any]) -> None:
    async def run() -> tuple[list[Result], list[Result]]:
        target = erpnext.create()
        batch = [checkin(number) for number in range(1, 6)]
        try:
            await target.open()
            erpnext.site.knobs(**knobs)
            in_trouble = await target.deliver(batch)
            erpnext.site.knobs(maintenance="off", database_down=False, rate_limit=None, faults=[])
            return in_trouble, await target.deliver(batch)
        finally:
            await target.close()

    in_trouble, afterwards = asyncio.run(run())
    assert {type(each) for each in in_trouble if each} <= {TargetUnavailable, RequestAbandoned, FailedTogether}
    assert all(isinstance(result, Delivered) for result in afterwards)
    assert len(erpnext.site.checkins()) == 5


@pytest.mark.parametrize(
    "changes",
    [{"employee": "HR-EMP-00002"}, {"event_id": "f" * 32, "event_time": datetime(2026, 1, 1, 2, 1, tzinfo=UTC)}],
    ids=["another employee", "another time"],
)
def test_erpnext_has_the_document_of_a_superseded_check_in_become_the_new_one(
    site: ErpnextStandIn, changes: dict[str, Any]
) -> None:
    subject = Erpnext(site, unique=True)
    correction = checkin(1, supersedes=checkin(1).event_id, **changes)
    first, second, again = deliver(subject, [checkin(1)], [correction, checkin(7)], [correction])
    assert statuses(first + second + again) == ["created", "replaced", "created", "already_there"]
    assert first[0] == dataclasses.replace(second[0], status="created")  # type: ignore[type-var]
    row = site.checkins()[0]
    assert (row["event_id"], row["employee"]) == (correction.event_id, correction.employee)
    assert row["time"] == str(correction.event_time.replace(tzinfo=None) + timedelta(hours=3))


@pytest.mark.parametrize("action", ["close_before", "close_after_write"])
def test_erpnext_has_the_old_or_the_new_document_when_it_is_cut_off(site: ErpnextStandIn, action: str) -> None:
    correction = checkin(1, supersedes=checkin(1).event_id, event_id="f" * 32, employee="HR-EMP-00002")

    async def run() -> list[list[Result]]:
        target = Erpnext(site, unique=True).create()
        try:
            await target.open()
            await target.deliver([checkin(1)])
            site.knobs(faults=[{"match": "PUT /api/resource", "action": action}])
            first = await target.deliver([correction])
            [row] = site.checkins()
            assert row["event_id"] in (checkin(1).event_id, correction.event_id)
            return [first, await target.deliver([correction])]
        finally:
            await target.close()

    first, second = asyncio.run(run())
    assert statuses(first) == ["RequestAbandoned"]
    assert all(isinstance(result, Delivered) for result in second)
    assert [row["event_id"] for row in site.checkins()] == [correction.event_id]


def test_erpnext_keeps_one_document_where_the_new_check_in_came_by_another_way_too(site: ErpnextStandIn) -> None:
    right = checkin(1, event_id="f" * 32, event_time=datetime(2026, 1, 1, 2, tzinfo=UTC))
    correction = replace(right, supersedes=checkin(1).event_id)
    _, [result] = deliver(Erpnext(site, unique=True), [checkin(1), right], [correction])
    assert statuses([result]) == ["replaced"]
    assert [row["event_id"] for row in site.checkins()] == [right.event_id]


def test_a_file_has_the_correction_after_what_it_supersedes_once(tmp_path: Path) -> None:
    subject = Jsonl(tmp_path / "checkins.jsonl")
    correction = checkin(1, employee=2, supersedes=checkin(1).event_id)
    *_, results = deliver(subject, [checkin(1), correction, correction], [correction])
    assert statuses(results) == ["already_there"]
    assert deliver(subject, [correction, checkin(1)]) == [[Delivered("line 2", "already_there")] * 2]
    assert [row["employee"] for row in subject.stored()] == ["HR-EMP-00001", "HR-EMP-00002"]


def test_erpnext_stores_a_batch_once_that_is_sent_again_while_it_still_works_on_it(site: ErpnextStandIn) -> None:
    subject = Erpnext(site, unique=True)
    subject.settings = subject.settings.model_copy(update={"timeout": 0.3})

    async def run() -> list[Result]:
        target = subject.create()
        batch = [checkin(number) for number in range(1, 21)]
        try:
            await target.open()
            site.knobs(latency_per_document_ms=20)
            assert statuses(await target.deliver(batch))[1:] == ["FailedTogether"] * 19  # the first proves the zone
            await target.deliver(batch)
            site.knobs(latency_per_document_ms=0)
            results: list[Result] = []
            while not results or not all(isinstance(result, Delivered) for result in results):
                results = await target.deliver(batch)
            return results
        finally:
            await target.close()

    assert statuses(asyncio.run(run())) == ["already_there"] * 20
    assert len(site.checkins()) == 20
