"""Jobs over letters, by the API: listed, opened and cancelled."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel

from attendance.records.job import JobKind
from console.actions.letters import cancel, job_of, sees
from console.api.calling import Caller, calling_with
from console.context import context_of
from console.rights import Actor, Right
from operations.jobs import Job
from operations.jobs import State as JobState

router: Final = APIRouter(tags=["jobs"])

Mender = Annotated[Actor, calling_with(Right.LETTERS)]
Most = Annotated[int, Query(ge=1, le=1_000)]


class AskedJob(BaseModel):
    """A job. `done` of `total` letters are done, `refused` are left alone, `failed` could not be sent."""

    id: str
    kind: JobKind
    state: JobState
    by: str
    asked_at: datetime
    note: str | None
    counted: int | None
    total: int | None
    done: int
    refused: int
    failed: int
    problems: list[str]


@router.get("/jobs")
async def list_jobs(request: Request, actor: Caller, most: Most = 100) -> list[AskedJob]:
    """The newest jobs first."""
    found = [each for each in reversed(context_of(request).jobs.all()) if sees(actor, each)]
    return [asked_job(each) for each in found[:most]]


@router.get("/jobs/{job_id}")
async def show_job(request: Request, actor: Caller, job_id: str) -> AskedJob:
    """One job, and how far it is."""
    return asked_job(_found(request, actor, job_id))


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(request: Request, actor: Mender, job_id: str) -> AskedJob:
    """Have a job do no more. One that runs stops within seconds; what it has done stays done."""
    await cancel(context_of(request), actor, _found(request, actor, job_id))
    return asked_job(_found(request, actor, job_id))


def _found(request: Request, actor: Actor, job_id: str) -> Job:
    found = job_of(context_of(request), actor, job_id)
    if found is None:
        raise HTTPException(404, "there is no such job")
    return found


def asked_job(job: Job) -> AskedJob:
    """A job as the API says it."""
    asked, progress = job.asked, job.progress
    return AskedJob(
        id=asked.job_id,
        kind=asked.kind,
        state=job.state,
        by=asked.by,
        asked_at=asked.asked_at,
        note=asked.note,
        counted=asked.counted,
        total=None if progress is None else progress.total,
        done=0 if progress is None else progress.done,
        refused=0 if progress is None else progress.refused,
        failed=0 if progress is None else progress.failed,
        problems=[] if progress is None else list(progress.problems),
    )
