"""Corrections as a job: what was agreed to is what is sent, or nothing is; and it goes on after its process is gone."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from different_site import DifferentSite
from late_site import AT, ERPNEXT, ZONE
from memory_log import MemoryLog
from msgspec.structs import replace
from punches import START, event, record

from attendance.fleet import Device
from attendance.records.job import JobProgress
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest
from attendance.records.user_map import Employee, UserMapping
from operations import correction_plans
from operations.correction_plans import CHANGED, CorrectionPlan, plan_corrections
from operations.job_runner import JobRunner, plan_doers
from operations.jobs import Job, store
from operations.plan_jobs import PlanRange, PlanSource, new_plan_job
from operations.reading_again import NotUnderstood, Reading

EVERYTHING = PlanRange(START)
EVENTS = [event(hour) for hour in (8, 12, 17)]


class Scene:
    """Three punches of one number, whom ERPNext has as somebody else's; and whoever runs jobs."""

    def __init__(self) -> None:
        self.site = DifferentSite(*EVENTS)
        self.log = MemoryLog()
        zone = replace(ZONE, zone="UTC")
        self.log.add("site", zone.key, zone.encode())
        self.log.put("raw", *(record(offset, each) for offset, each in enumerate(EVENTS)))
        self.map_to("E2")
        device = Device.model_validate({"device_id": "D1", "site": "s", "timezone": "UTC", "mode": "file"})
        fleet = SimpleNamespace(get={"D1": device}.get)
        self.source = PlanSource(self.log, ERPNEXT, lambda: cast("Any", fleet))

    def map_to(self, employee: str) -> None:
        for entry in (UserMapping("*", "1", employee, "csv"), Employee(employee, "Active")):
            self.log.add("user_map", entry.key, entry.encode())

    def plan(self) -> CorrectionPlan:
        return asyncio.run(plan_corrections(self.source, EVERYTHING))

    def ask(self) -> str:
        asked = new_plan_job("correct_checkins", EVERYTHING, self.plan().digests, "fatima", "the number was hers")
        asyncio.run(store(self.log, asked))
        return asked.job_id

    def run(self) -> Job:
        (over,) = asyncio.run(JobRunner(self.log, not_understood, plan_doers(self.source)).run_all())
        return over

    def sent(self) -> list[str | None]:
        """What is superseded by what was sent."""
        return [RawEvent.decode(each.value).supersedes for each in self.log.sent]


def not_understood(_request: UnreadRequest) -> Reading:
    raise NotUnderstood("json: not JSON")


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    monkeypatch.setattr(correction_plans, "ErpnextClient", lambda _: scene.site)
    return scene


def counted(job: Job) -> tuple[str, int | None, int, int]:
    assert job.progress is not None
    return job.state, job.progress.total, job.progress.done, job.progress.failed


def test_a_plan_says_from_what_to_what_and_sends_nothing(scene: Scene) -> None:
    scene.site.rows[0]["attendance"] = "ATT-1"
    plan = scene.plan()
    assert (plan.different, plan.correctable, plan.unassigned, len(plan.digests)) == (3, 2, 0, 2)
    assert {(each.stored.employee, each.expected.employee) for each in plan.differences} == {("E1", "E2")}
    assert plan.stay == {EVENTS[0].event_id}
    assert ("E1", "2026-03-02") in plan.days
    assert scene.sent() == []


def test_a_job_sends_what_was_agreed_to(scene: Scene) -> None:
    scene.ask()
    assert counted(scene.run()) == ("done", 3, 3, 0)
    assert scene.sent() == [each.event_id for each in EVENTS]


@pytest.mark.parametrize("change", ["employee", "attendance", "edit", "new"])
def test_where_anything_changed_since_nothing_is_sent_and_the_job_says_so(scene: Scene, change: str) -> None:
    if change == "new":
        new = scene.site.rows.pop()
    scene.ask()
    match change:
        case "employee":
            scene.map_to("E3")
        case "attendance":
            scene.site.rows[0]["attendance"] = "ATT-1"
        case "edit":
            scene.site.rows[0]["employee"] = "E7"
        case "new":
            scene.site.rows.append(new)
    job = scene.run()
    assert job.progress is not None
    assert (job.state, job.progress.problems) == ("failed", (f"PlanChanged: {CHANGED}",))
    assert scene.sent() == []


def test_a_job_goes_on_with_what_is_left_of_what_was_agreed_to(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    new = scene.site.rows.pop()
    job_id = scene.ask()
    began = JobProgress(job_id, "gone", "running", AT, total=2)
    scene.log.add("jobs", began.key, began.encode())
    monkeypatch.setattr("operations.jobs.LEASE", timedelta(seconds=-1))
    scene.site.rows[0]["employee"] = "E2"  # the sink has this one
    scene.site.rows.append(new)
    assert counted(scene.run()) == ("done", 2, 2, 0)
    assert scene.sent() == [EVENTS[1].event_id], "nobody agreed to the new one"


def test_while_the_sink_has_others_to_deliver_nothing_is_sent(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    scene.ask()
    monkeypatch.setattr(correction_plans, "SINK_SECONDS", 0.0)
    monkeypatch.setattr(scene.log, "until_delivered", for_ever)
    job = scene.run()
    assert job.progress is not None
    assert job.progress.problems[0].startswith("TargetUnavailable: the sink is still busy")
    assert (job.state, scene.sent()) == ("failed", [])


def test_of_more_than_one_job_does_the_first_are_agreed_to(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correction_plans, "MOST_AGREED", 2)
    plan = scene.plan()
    assert (plan.correctable, len(plan.digests), plan.stay) == (3, 2, frozenset())
    scene.ask()
    assert counted(scene.run()) == ("done", 2, 2, 0)
