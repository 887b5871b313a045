"""JobRunner: does what jobs ask for, as one process of perhaps several, and goes on with what another has left.

What was done already is known by the dead-letter actions, so whoever goes on with a job does the rest of it, and that
only. A process stops between two letters where it is told to, or where it has not heard for too long that the job is
still its own.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, NoReturn

import structlog
from msgspec.structs import replace

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.records.job import JobAsked, JobKind, JobProgress, Running
from attendance.times import now
from operations.correction_plans import correct_agreed
from operations.dead_letter_actions import AT_ONCE, REPLAYS_PER_SECOND, discard, replay
from operations.jobs import LEASE, Job, Jobs, plan_job, read_jobs, send
from operations.late_plans import repair_agreed
from operations.log import Log
from operations.plan_jobs import DoPlan, PlanSource
from operations.unread import Read

log = structlog.get_logger(__name__)

PROGRESS_SECONDS: Final = 5.0
"""A job that runs says so this often, and looks this often whether it is to stop."""
SURE_SECONDS: Final = LEASE.total_seconds() - 10
"""So long after it began to say so a process does not doubt that a job is its own."""
STOP_SECONDS: Final = 5.0
"""So long the letter in hand may take when a job is to stop."""
LOOK_SECONDS: Final = 1.0
"""A process that runs jobs for ever looks this often whether there is one."""
MOST_PROBLEMS: Final = 20
"""Sentences that the progress of a job has at most."""


class _Stopped(Exception):
    """A job is to do no more, or may be another process's."""


@dataclass(slots=True)
class _Work:
    """What a process does of a job.

    Attributes:
        asked: The job.
        earlier: What was last said of it before this process claimed it.
        total: How many letters or things of a plan the job takes; None until it is planned.
        before: How many of these were done before.
        is_to_stop: Whether no further letter is to be taken in hand.
        sure_until: Up to then the job is this process's, by the loop's clock.
    """

    asked: JobAsked
    earlier: JobProgress | None
    total: int | None = None
    before: int = 0
    done: int = 0
    refused: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    is_to_stop: bool = False
    sure_until: float = 0.0

    @property
    def is_resumed(self) -> bool:
        """Whether a process that is gone had planned it."""
        return self.earlier is not None and self.earlier.total is not None

    def plan(self, planned: int, refused: Mapping[Any, str]) -> None:
        """Take in how much there is to do. Of a job that goes on, what is planned no more was done before."""
        if self.earlier is None or self.earlier.total is None:
            self.total, self.refused = planned, len(refused)
            for id_, why in refused.items():
                self.say(f"{id_}: {why}")
        else:
            self.total, self.refused = self.earlier.total, self.earlier.refused
            self.problems = list(self.earlier.problems)
            self.before = max(self.earlier.total - planned, 0)

    def count(self, id_: object, problem: str | None) -> None:
        """Count a letter or thing of the plan: it is done, or `problem` says why not. Raises `_Stopped`."""
        if problem is None:
            self.done += 1
        else:
            self.failed += 1
            self.say(f"{id_}: {problem}")
        self.go_on()

    def go_on(self) -> None:
        """Raise `_Stopped` where no further letter is to be taken in hand."""
        if self.is_to_stop or asyncio.get_running_loop().time() > self.sure_until:
            raise _Stopped

    def say(self, problem: str) -> None:
        """Keep a sentence, if there is room."""
        if len(self.problems) < MOST_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)

    def progress(self, owner: str, state: Running) -> JobProgress:
        """How far the job is."""
        if self.total is None and self.earlier is not None:
            # Until it is planned anew it is as far as it was.
            problems = tuple([*self.problems, *self.earlier.problems][:MOST_PROBLEMS])
            return replace(self.earlier, owner=owner, state=state, at=now(), problems=problems)
        return JobProgress(
            self.asked.job_id,
            owner,
            state,
            now(),
            total=self.total,
            done=self.before + self.done,
            refused=self.refused,
            failed=self.failed,
            problems=tuple(self.problems),
        )


@dataclass(frozen=True, slots=True)
class _Counts:
    """How far a job over a plan is. See `operations.plan_jobs.Counts`."""

    work: _Work
    write: Callable[[], Awaitable[Job | None]]

    @property
    def is_resumed(self) -> bool:
        return self.work.is_resumed

    async def begin(self, planned: int, refused: Mapping[Any, str]) -> None:
        self.work.plan(planned, refused)
        # Before anything is done: whoever goes on with it has less to do, and would not know the total.
        if await self.write() is None:
            raise _Stopped

    def did(self, count: int) -> None:
        self.work.done += count
        self.work.go_on()

    def failed(self, what: str, why: str) -> None:
        self.work.count(what, why)


class JobRunner:
    """Runs jobs, one at a time."""

    def __init__(
        self,
        log_: Log,
        read: Read,
        plans: Mapping[JobKind, DoPlan] | None = None,
        *,
        per_second: float = REPLAYS_PER_SECOND,
        progress_seconds: float = PROGRESS_SECONDS,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Nothing is claimed yet.

        Args:
            log_: The topics.
            read: What today's adapter makes of a request.
            plans: Does what is agreed to, by kind; None where ERPNext is not known, and no such job can be done.
            per_second: At most so many dead letters are replayed in a second.
            progress_seconds: How often a job that runs says so; well below `LEASE`.
            clock: Says when it is worth while to claim a job of somebody else. What counts, the broker's says.
        """
        self._log = log_
        self._read = read
        self._plans = plans or {}
        self._per_second = per_second
        self._progress_seconds = progress_seconds
        self._clock = clock
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def run_all(self) -> list[Job]:
        """Run every job that nobody runs, in the order in which they were asked for.

        Returns:
            Those that are over now.

        Raises:
            KafkaUnavailable: Kafka does not answer. The job that runs then goes on once somebody claims it.
        """
        over: list[Job] = []
        while (free := (await read_jobs(self._log)).free(self._clock())) is not None:
            job = await self.run(free)
            if job is None:
                return over
            over.append(job)
        return over

    async def keep(self, jobs: Jobs) -> NoReturn:
        """Run jobs for ever, soon after they are asked for.

        Args:
            jobs: Those of the topic, which this process follows. It reads the topic only where there is one to run.
        """
        while True:
            if jobs.free(self._clock()) is not None:
                try:
                    await self.run_all()
                except KafkaUnavailable as error:
                    log.warning("Waiting for Kafka, to run jobs.", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def run(self, job: Job) -> Job | None:
        """Claim a job and do what is left of it. Raises what `run_all` does.

        Args:
            job: One that may be claimed.

        Returns:
            The job as it is now; None where somebody else has it, or may have it.
        """
        work = _Work(job.asked, job.progress)
        ours = await self._write(work, "running")
        if ours is None or ours.cancel is not None:
            return None if ours is None else await self._write(work, "cancelled")
        task = asyncio.create_task(self._do(work))
        try:
            while not task.done():
                await asyncio.wait([task], timeout=self._progress_seconds)
                if not task.done() and (ours := await self._write(work, "running")) is None:
                    return None
                if ours is not None and ours.cancel is not None and not task.done():
                    await _stop(work, task)
                    return await self._write(work, "cancelled")
        finally:
            await _stop(work, task)
        state = _ending(task, work)
        return None if state is None else await self._write(work, state)

    async def _do(self, work: _Work) -> None:
        asked, counts = work.asked, _Counts(work, lambda: self._write(work, "running"))
        if asked.plan is not None:
            do = self._plans.get(asked.kind)
            if do is None:
                raise ConfigurationError("the process that ran this job does not know ERPNext: set ERPNEXT_URL for it")
            await do(asked.plan, counts)
            return
        plan = await plan_job(self._log, asked, self._read)
        await counts.begin(len(plan.ids), plan.refused)
        if asked.kind == "replay_letters":
            await replay(self._log, plan, per_second=self._per_second, by=asked.by, report=work.count)
            return
        for start in range(0, len(plan.ids), AT_ONCE):
            work.go_on()
            part = plan.ids[start : start + AT_ONCE]
            await discard(self._log, part, note=asked.note or "", by=asked.by)
            work.done += len(part)

    async def _write(self, work: _Work, state: Running) -> Job | None:
        """Say how far a job is. Returns the job as the topic has it then; None where it is not this process's."""
        began = asyncio.get_running_loop().time()
        await send(self._log, work.progress(self.owner, state))
        known = (await read_jobs(self._log)).get(work.asked.job_id)
        if known is None or known.progress is None or known.progress.owner != self.owner:
            log.info("Another process runs this job.", job=work.asked.job_id)
            return None
        work.sure_until = began + SURE_SECONDS
        return known


def plan_doers(source: PlanSource) -> Mapping[JobKind, DoPlan]:
    """Who does the jobs over a plan.

    Args:
        source: What their plans are made of.
    """
    return {"repair_days": partial(repair_agreed, source), "correct_checkins": partial(correct_agreed, source)}


async def _stop(work: _Work, task: asyncio.Task[None]) -> None:
    """Have the work end after the letter in hand, so that what was sent is also recorded."""
    work.is_to_stop = True
    if not task.done():
        await asyncio.wait([task], timeout=STOP_SECONDS)
    task.cancel()
    # What it raises, `_ending` sees, or nobody needs.
    with suppress(asyncio.CancelledError, Exception):
        await task


def _ending(task: asyncio.Task[None], work: _Work) -> Running | None:
    """How a job ended; None where it goes on once somebody claims it.

    Raises:
        KafkaUnavailable: it did not: Kafka did not answer.
    """
    error = task.exception()
    if error is None:
        return "done"
    if isinstance(error, _Stopped):
        log.warning("Leaving a job that may be another process's by now.", job=work.asked.job_id)
        return None
    if isinstance(error, KafkaUnavailable):
        raise error
    # Whatever it is: run again it would fail again, and hold up the jobs after it.
    log.error("A job has failed.", job=work.asked.job_id, exc_info=error)
    work.problems.insert(0, f"{type(error).__name__}: {error}")
    return "failed"
