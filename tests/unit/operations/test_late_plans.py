"""Repairs of late days as a job: what was agreed to is done, what changed since is left alone, and it goes on."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from late_site import AT, DAY, ERPNEXT, SHIFT, ZONE, LateSite, delivery
from memory_log import MemoryLog

from attendance.errors import ConfigurationError, TargetUnavailable
from attendance.records.job import AgreedPlan, JobProgress
from attendance.records.unread import UnreadRequest
from attendance.registry import Registry
from operations import late_plans
from operations.job_runner import JobRunner, plan_doers
from operations.jobs import Job, cancel, read_jobs, store
from operations.late import Day
from operations.late_plans import LatePlan, digest_of, plan_late, repair_agreed
from operations.plan_jobs import MOST_AGREED, PlanRange, PlanSource, new_plan_job
from operations.reading_again import NotUnderstood, Reading

EVERYTHING = PlanRange(AT - timedelta(days=1))


class Scene:
    """Late punches of some people, and whoever runs jobs."""

    def __init__(self, *employees: str) -> None:
        self.site = LateSite(*employees)
        self.log = MemoryLog()
        self.log.add("site", ZONE.key, ZONE.encode())
        for name in employees:
            self.deliver(name)
        self.source = PlanSource(self.log, ERPNEXT, Registry)

    def deliver(self, employee: str, device: str = "D1", at: Any = AT) -> None:
        said = delivery(employee, device, at)
        self.log.add("deliveries", said.key, said.encode(), timestamp=int(at.timestamp() * 1000))

    def plan(self, wanted: PlanRange = EVERYTHING) -> LatePlan:
        return asyncio.run(plan_late(self.source, wanted))

    def ask(self, plan: LatePlan) -> str:
        asked = new_plan_job("repair_days", EVERYTHING, plan.digests, "fatima", "the gate was offline")
        asyncio.run(store(self.log, asked))
        return asked.job_id

    def run(self, *, knows_erpnext: bool = True) -> Job:
        plans = plan_doers(self.source) if knows_erpnext else None
        (over,) = asyncio.run(JobRunner(self.log, not_understood, plans).run_all())
        return over

    def statuses(self) -> Mapping[str, str]:
        return {name: self.site.made.get(name, row["status"]) for name, row in self.site.absent.items()}


def not_understood(_request: UnreadRequest) -> Reading:
    raise NotUnderstood("json: not JSON")


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene("E1", "E2", "E3")
    monkeypatch.setattr(late_plans, "ErpnextClient", lambda _: scene.site)
    return scene


def counted(job: Job) -> tuple[str, int | None, int, int, int]:
    assert job.progress is not None
    return job.state, job.progress.total, job.progress.done, job.progress.refused, job.progress.failed


def test_a_plan_is_of_a_range_and_changes_nothing(scene: Scene) -> None:
    scene.deliver("E9", "D2", AT + timedelta(days=2))
    scene.site.absent["E2"] |= {"status": "On Leave"}
    plan = scene.plan()
    assert [(each.employee, each.attendance) for each in plan.deliveries] == [
        ("E1", "Absent"),
        ("E2", "On Leave"),
        ("E3", "Absent"),
    ], "of E9 ERPNext has no document"
    assert [each.day.employee for each in plan.repairable] == ["E1", "E3"]
    assert scene.plan(PlanRange(AT - timedelta(1), AT)).deliveries == []
    assert scene.plan(PlanRange(AT - timedelta(1), devices=["D2"])).deliveries == []
    assert scene.site.processed == 0


def test_of_more_days_than_are_looked_at_the_others_are_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_plans, "MOST_DAYS", 2)
    plan = scene.plan()
    assert (len(plan.days), plan.more) == (2, 1)


def test_a_job_puts_right_the_days_that_were_agreed_to_and_no_other(scene: Scene) -> None:
    scene.site.absent["E2"] |= {"status": "On Leave"}
    scene.ask(scene.plan())
    scene.site.absent["E2"] |= {"status": "Absent"}
    assert counted(scene.run()) == ("done", 2, 2, 0, 0)
    assert scene.statuses() == {"E1": "Present", "E2": "Absent", "E3": "Present"}
    assert scene.plan().digests == [digest_of(Day(SHIFT, DAY, "E2"))]


def test_what_changed_since_it_was_agreed_to_is_left_alone_with_the_reason(scene: Scene) -> None:
    scene.ask(scene.plan())
    scene.site.absent["E1"] |= {"modified_by": "hr@example.com"}
    scene.log.remove("deliveries", lambda record: record.key == b"id-E2")
    job = scene.run()
    assert counted(job) == ("done", 1, 1, 2, 0)
    assert scene.statuses() == {"E1": "Absent", "E2": "Absent", "E3": "Present"}
    assert job.progress is not None
    assert job.progress.problems == (
        f"E1 {DAY} {SHIFT}: hr@example.com has changed the Absent",
        f"one day (1): {late_plans.GONE}",
    )


def test_a_day_that_erpnext_does_not_take_is_counted_as_failed(scene: Scene) -> None:
    scene.site.broken = {"E2"}
    scene.ask(scene.plan())
    job = scene.run()
    assert counted(job) == ("done", 3, 2, 0, 1)
    assert job.progress is not None
    assert job.progress.problems[0].startswith(f"E2 {DAY} {SHIFT}: ERPNext refuses")


def test_a_job_goes_on_with_what_a_process_that_is_gone_has_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = scene.ask(scene.plan())
    began = JobProgress(job_id, "gone", "running", AT, total=3)
    scene.log.add("jobs", began.key, began.encode())
    monkeypatch.setattr("operations.jobs.LEASE", timedelta(seconds=-1))
    list(late_plans.repair(scene.site, scene.plan(PlanRange(AT)).deliveries[:1]))
    assert scene.statuses()["E1"] == "Present"
    assert counted(scene.run()) == ("done", 3, 3, 0, 0)
    assert set(scene.statuses().values()) == {"Present"}


class Cancelled:
    """Counts of a job that somebody cancels after its first day."""

    is_resumed = False

    async def begin(self, planned: int, refused: Mapping[str, str]) -> None:
        assert (planned, refused) == (3, {})

    def did(self, count: int) -> None:
        assert count == 1
        raise InterruptedError

    def failed(self, what: str, why: str) -> None:
        raise AssertionError(f"{what}: {why}")


def test_a_job_stops_between_two_groups_of_days(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_plans, "AT_ONCE", 1)
    agreed = AgreedPlan(EVERYTHING.since, tuple(scene.plan().digests))
    with pytest.raises(InterruptedError):
        asyncio.run(repair_agreed(scene.source, agreed, Cancelled()))
    assert scene.statuses() == {"E1": "Present", "E2": "Absent", "E3": "Absent"}


def test_a_job_that_was_cancelled_before_it_began_changes_nothing(scene: Scene) -> None:
    job_id = scene.ask(scene.plan())
    asyncio.run(cancel(scene.log, job_id, "omar"))
    assert asyncio.run(JobRunner(scene.log, not_understood, plan_doers(scene.source)).run_all()) == []
    assert set(scene.statuses().values()) == {"Absent"}


def test_no_day_is_touched_while_the_zone_of_erpnext_is_in_doubt(scene: Scene) -> None:
    scene.ask(scene.plan())
    scene.site.zone = "Asia/Kolkata"
    job = scene.run()
    assert counted(job)[:1] == ("failed",)
    assert set(scene.statuses().values()) == {"Absent"}


def test_where_erpnext_is_not_known_or_does_not_answer_the_job_fails_and_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.ask(scene.plan())
    job = scene.run(knows_erpnext=False)
    assert job.progress is not None
    assert "does not know ERPNext: set ERPNEXT_URL" in job.progress.problems[0]

    def unavailable() -> str:
        raise TargetUnavailable("ERPNext is away")

    scene.ask(scene.plan())
    monkeypatch.setattr(scene.site, "logged_user", unavailable)
    job = scene.run()
    assert job.progress is not None
    assert (job.state, job.progress.problems) == ("failed", ("TargetUnavailable: ERPNext is away",))
    assert len(asyncio.run(read_jobs(scene.log)).all()) == 2


@pytest.mark.parametrize(
    ("agreed", "note", "why"),
    [(["a"], " ", "say why"), ([], "n", "nothing that can be done"), (["a"] * (MOST_AGREED + 1), "n", "at most")],
)
def test_a_job_over_a_plan_has_a_note_and_something_to_do(agreed: list[str], note: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        new_plan_job("repair_days", EVERYTHING, agreed, "fatima", note)
