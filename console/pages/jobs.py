"""Jobs: what was asked to be done about many letters, how far it is, and what came of it."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from console.acting import Reader, acting, done
from console.actions.letters import cancel, job_of, may_cancel, sees
from console.context import context_of, language_of, page, part
from console.language import marked as _
from console.rights import Actor, Right
from console.words import JOB_KINDS, JOB_STATES, REASONS
from operations.jobs import Job
from operations.plan_jobs import PlanChanged

router: Final = APIRouter()

AT_ONCE: Final = 100
"""Jobs of the page: the newest."""

Mender = Annotated[Actor, acting(Right.LETTERS)]


@router.get("/jobs")
async def jobs(request: Request, actor: Reader) -> Response:
    """The newest first."""
    found = [each for each in reversed(context_of(request).jobs.all()) if sees(actor, each)]
    return page(request, "jobs.html", jobs=found[:AT_ONCE], kinds=JOB_KINDS, states=JOB_STATES, reasons=REASONS)


@router.get("/jobs/{job_id}")
async def job(request: Request, actor: Reader, job_id: str) -> Response:
    """One job."""
    return page(request, "job.html", **_shown(request, actor, job_id))


@router.get("/jobs/{job_id}/progress")
async def progress(request: Request, actor: Reader, job_id: str) -> Response:
    """How far it is: the part of its page that is asked for again while it runs."""
    return part(request, "job_progress.html", **_shown(request, actor, job_id))


def _shown(request: Request, actor: Actor, job_id: str) -> dict[str, Any]:
    context = context_of(request)
    found = _found(request, actor, job_id)
    return {
        "job": found,
        "before": _before(context.jobs.all(), found),
        "is_run": found.is_held(context.clock()),
        "may_cancel": may_cancel(actor, found),
        "kinds": JOB_KINDS,
        "states": JOB_STATES,
        "reasons": REASONS,
        "changed": PlanChanged.__name__,
    }


def _before(every: list[Job], found: Job) -> int:
    """How many jobs have to be over before this one begins."""
    if found.state != "queued":
        return 0
    return sum(not each.is_over for each in every[: every.index(found)])


@router.post("/jobs/{job_id}/cancel")
async def stop(request: Request, actor: Mender, job_id: str) -> Response:
    """Have it do no more."""
    found = _found(request, actor, job_id)
    await cancel(context_of(request), actor, found)
    message = language_of(request).say(_("The job stops within a few seconds. What it has done stays done."))
    return done(request, message, f"/jobs/{job_id}")


def _found(request: Request, actor: Actor, job_id: str) -> Job:
    found = job_of(context_of(request), actor, job_id)
    if found is None:
        raise HTTPException(404)
    return found
