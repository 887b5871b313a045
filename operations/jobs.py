"""Jobs: work on many dead letters, or over a plan, that is stored before it begins.

The order of the jobs topic's one partition decides, and no process's clock: a process claims a job by a record, and
holds it as long as the broker has something of it within `LEASE`. Jobs are done one after the other, in the order in
which they were asked for, so that no letter is in the hands of two. `operations.job_runner` does them.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import structlog

from attendance.errors import ConfigurationError, InvalidRecord
from attendance.kafka.records import OutRecord, Record
from attendance.records.dead_letter_action import LetterId
from attendance.records.job import JobAsked, JobCancel, JobProgress, LettersKind, LettersWanted, decode
from attendance.times import from_milliseconds, now
from operations.audit_accounts import Accounts
from operations.dead_letter_actions import Plan, make_plan, make_replay_plan, objection_to_discard
from operations.dead_letters import Selection
from operations.log import Log, Skipped, take_all
from operations.unread import Read

logger = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=60)
"""So long after the last record of its process a job may be claimed by another."""
MOST_IDS: Final = 1_000
"""So many letters may be named one by one: the job is one record."""

State = Literal["queued", "running", "done", "cancelled", "failed"]


@dataclass(slots=True)
class Job:
    """A job as the topic has it.

    Attributes:
        asked: What was asked.
        progress: What counts of what processes said of it; None where none has claimed it.
        progressed_at: When the broker took that, UTC; None with it.
        cancel: That it is to stop; None where nobody said so.
    """

    asked: JobAsked
    progress: JobProgress | None = None
    progressed_at: datetime | None = None
    cancel: JobCancel | None = None

    @property
    def state(self) -> State:
        """What it is now. A job that nobody had begun is cancelled at once."""
        if self.progress is None:
            return "queued" if self.cancel is None else "cancelled"
        return self.progress.state

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come."""
        return self.state not in ("queued", "running")

    def is_held(self, at: datetime) -> bool:
        """Whether a process runs it that said so within the lease.

        Args:
            at: What time it is. A record of the topic has the broker's.
        """
        return self.progressed_at is not None and at - self.progressed_at <= LEASE


class Jobs:
    """Every job that the topic has."""

    def __init__(self) -> None:
        """None is known."""
        self._jobs: dict[str, Job] = {}

    def take(self, record: Record) -> None:
        """Take in a record. One about a job that the topic does not have any more changes nothing.

        Raises:
            InvalidRecord: it cannot be read, and changes nothing.
        """
        said = decode(record.key, record.value)
        if isinstance(said, JobAsked):
            self._jobs.setdefault(said.job_id, Job(said))
            return
        job = self._jobs.get(said.job_id)
        if job is None or job.is_over:
            return
        if isinstance(said, JobCancel):
            job.cancel = job.cancel or said
            return
        at = from_milliseconds(record.timestamp)
        is_its_own = job.progress is not None and job.progress.owner == said.owner
        if is_its_own or self.free(at) is job:
            job.progress, job.progressed_at = said, at

    def learn(self, record: Record) -> None:
        """Take in a record of the topic that is followed, or log that it cannot be read.

        One without a value says that its key is gone from the topic: so is a job that was asked for too long ago.
        """
        if record.value is None:
            for job_id in [id_ for id_, job in self._jobs.items() if job.asked.key == record.key]:
                del self._jobs[job_id]
            return
        try:
            self.take(record)
        except InvalidRecord as error:
            logger.error("A record of a job cannot be read.", error=error.message)

    def put(self, job: Job) -> None:
        """Take in what this process knows of a job, before the topic that is followed says it."""
        self._jobs[job.asked.job_id] = job

    def get(self, job_id: str) -> Job | None:
        """The job of that id; None where there is none."""
        return self._jobs.get(job_id)

    def all(self) -> list[Job]:
        """All of them, in the order in which they were asked for."""
        return list(self._jobs.values())

    def free(self, at: datetime) -> Job | None:
        """The job that may be claimed: the first that is not over, unless a process runs it.

        Args:
            at: As in `Job.is_held`.
        """
        first = next((each for each in self._jobs.values() if not each.is_over), None)
        return None if first is None or first.is_held(at) else first


async def read_jobs(log: Log, skipped: Skipped | None = None) -> Jobs:
    """What the topic says now.

    Args:
        log: The topics.
        skipped: Counts what cannot be read; None where nobody wants to know.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    jobs = Jobs()
    await take_all(log, "jobs", jobs.take, Skipped() if skipped is None else skipped)
    return jobs


async def new_job(
    log: Log, kind: LettersKind, wanted: Selection, by: str, note: str | None = None, counted: int | None = None
) -> JobAsked:
    """A job over letters that are there now. It is not stored yet.

    Args:
        log: The topics.
        kind: What is to be done.
        wanted: With which letters. Where it has no `ends`, those that are there now.
        by: Who asks for it.
        note: Why. A discard needs one.
        counted: How many letters they were shown.

    Raises:
        ConfigurationError: a discard has no note, or more than `MOST_IDS` letters are named.
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    if kind == "discard_letters" and not (note or "").strip():
        raise ConfigurationError("a discard needs a note that says why")
    if len(wanted.ids) > MOST_IDS:
        raise ConfigurationError(f"a job names at most {MOST_IDS:,} letters; more are taken by a filter")
    ends = wanted.ends
    if ends is None:
        ends = {number: end for number, (_, end) in (await log.extents("dead_letters")).items()}
    letters = LettersWanted(
        ends,
        tuple(str(each) for each in sorted(wanted.ids)),
        None if wanted.reasons is None else tuple(sorted(wanted.reasons)),
        wanted.stage,
        None if wanted.devices is None else tuple(sorted(wanted.devices)),
        await _adoptions(log),
    )
    return JobAsked(secrets.token_hex(8), kind, letters, now(), by, note, counted)


def selection(letters: LettersWanted) -> Selection:
    """The letters of a job, whatever became of them since.

    Args:
        letters: What was asked.

    Raises:
        ValueError: it names letters by something that is no id.
    """
    return Selection(
        frozenset(map(LetterId.parse, letters.ids)),
        None if letters.reasons is None else frozenset(letters.reasons),
        letters.stage,
        None if letters.devices is None else frozenset(letters.devices),
        letters.ends,
    )


async def plan_job(log: Log, asked: JobAsked, read: Read) -> Plan:
    """What a job over letters would do now, and what it would leave alone.

    Args:
        log: The topics.
        asked: The job, which need not be stored.
        read: What today's adapter makes of a request.

    Raises:
        ConfigurationError: letters have other offsets since it was asked for.
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        ValueError: the job names letters by something that is no id.
    """
    if await _adoptions(log) != asked.wanted.adoptions:
        raise ConfigurationError("the topics were restored since this was asked for; ask for it again")
    wanted = selection(asked.wanted)
    if asked.kind == "discard_letters":
        return await make_plan(log, wanted, objection_to_discard)
    return await make_replay_plan(log, wanted, read, force=False)


async def store(log: Log, asked: JobAsked) -> None:
    """Store a job: whoever runs jobs does it. Raises KafkaUnavailable: it may be stored or not."""
    await send(log, asked)


async def cancel(log: Log, job_id: str, by: str) -> Job:
    """Have a job do no more. What it has done stays done.

    Args:
        log: The topics.
        job_id: Which one.
        by: Who says so.

    Returns:
        The job as it is then. One that a process runs stops within seconds.

    Raises:
        ConfigurationError: there is no such job, or it is over.
        KafkaUnavailable: Kafka does not answer; it may be cancelled or not.
    """
    job = (await read_jobs(log)).get(job_id)
    if job is None:
        raise ConfigurationError(f"{job_id}: there is no such job; `punchstream jobs list` has all")
    if job.is_over:
        raise ConfigurationError(f"{job_id}: it is {job.state} already")
    said = JobCancel(job_id, now(), by)
    await send(log, said)
    job.cancel = said
    return job


async def send(log: Log, said: JobAsked | JobProgress | JobCancel) -> None:
    """Write a record of the jobs topic. Raises KafkaUnavailable: it may be there or not."""
    async with log.sending() as send_:
        await send_(OutRecord(log.topics["jobs"], said.key, said.encode()))


async def _adoptions(log: Log) -> int:
    accounts = Accounts()
    await accounts.read(log)
    return len(accounts.adoptions)
