"""What failed: which of it somebody sees and may mend, and the jobs that replay or discard it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from attendance.errors import ConfigurationError, Reason
from attendance.records.dead_letter_action import LetterId
from attendance.records.job import JobAsked, LettersKind
from console.acting import Refused, recorded
from console.context import Context
from console.language import marked as _
from console.rights import Actor, Right
from console.words import REASONS
from ledger.open_letters import OpenLetters
from operations import jobs
from operations.activity import Act
from operations.dead_letters import Selection
from operations.jobs import MOST_IDS, Job

_ACTS: Final[Mapping[LettersKind, Act]] = {"replay_letters": "letters.replay", "discard_letters": "letters.discard"}
_OF_HR: Final = frozenset(reason for reason, plain in REASONS.items() if plain.who == "hr")


@dataclass(frozen=True, slots=True)
class WhichLetters:
    """Which open letters somebody means: those named, or those of a filter. None is any."""

    ids: frozenset[LetterId] = frozenset()
    reason: Reason | None = None
    stage: str | None = None
    device: str | None = None

    @property
    def about(self) -> dict[str, str]:
        """For the topic of the console's activity."""
        said = {"reason": self.reason, "stage": self.stage, "device": self.device}
        about = {name: str(value) for name, value in said.items() if value is not None}
        return about | ({"letters": ", ".join(map(str, sorted(self.ids)))} if self.ids else {})


def visible(context: Context, actor: Actor, which: WhichLetters) -> Selection:
    """Those of some letters that somebody sees.

    Args:
        context: Of the console.
        actor: Who asks. Of somebody with sites, it is only about devices that are there now.
        which: Of which letters.
    """
    reasons = None if which.reason is None else frozenset((which.reason,))
    devices = None if which.device is None else frozenset((which.device,))
    if actor.sites is not None:
        theirs = frozenset(each.device_id for each in context.registry if actor.sees(each.site))
        devices = theirs if devices is None else devices & theirs
    return Selection(which.ids, reasons, which.stage, devices)


def is_visible(context: Context, actor: Actor, device_id: str | None) -> bool:
    """Whether somebody sees what is about a device; None is about none that is known."""
    device = None if device_id is None else context.registry.get(device_id)
    return actor.sees(None if device is None else device.site)


def mendable(context: Context, actor: Actor, which: WhichLetters) -> Selection:
    """Those of some letters that somebody may mend: HR what HR can mend, IT and administrators all that they see.

    Takes what `visible` takes.
    """
    seen = visible(context, actor, which)
    if not actor.may(Right.LETTERS):
        return replace(seen, reasons=frozenset())
    if actor.role != "hr":
        return seen
    return replace(seen, reasons=_OF_HR if seen.reasons is None else seen.reasons & _OF_HR)


async def ask(
    context: Context,
    actor: Actor,
    kind: LettersKind,
    which: WhichLetters,
    note: str,
    ends: Mapping[int, int] | None = None,
) -> JobAsked:
    """Store a job that replays or discards letters.

    Args:
        context: Of the console.
        actor: Who asks.
        kind: What is to be done.
        which: With which letters. Those of them that the actor may not mend are left alone.
        note: Why. A discard needs one.
        ends: By partition where the letters end that were counted before; None for those that are there now.

    Raises:
        Refused: a discard has no note, or there is nothing to do.
        KafkaUnavailable: Kafka does not answer; it may be stored or not.
    """
    note = note.strip()
    if kind == "discard_letters" and not note:
        raise Refused(_("Say why nothing is to be done. It is kept with each."))
    if len(which.ids) > MOST_IDS:
        raise Refused(_("These are too many to be named one by one. Choose them by reason or device."))
    wanted = replace(mendable(context, actor, which), ends=ends)
    counted = await asyncio.to_thread(OpenLetters(context.database).count, wanted)
    if which.ids and counted.letters < len(which.ids):
        raise Refused(_("Some of these are dealt with already, or are not yours to mend. Look at the list again."))
    letters = counted.letters - (counted.parked if kind == "replay_letters" else 0)
    if not letters:
        raise Refused(_("There is nothing left to do here."))
    wanted = replace(wanted, ends=counted.ends if ends is None else ends)
    about = which.about | {"count": f"{letters}"}
    async with recorded(context, actor, _ACTS[kind], about, note or None) as ending:
        asked = await jobs.new_job(context.log, kind, wanted, actor.name, note or None, letters)
        await jobs.store(context.log, asked)
        ending.result = asked.job_id
    context.jobs.put(Job(asked))
    return asked


def job_of(context: Context, actor: Actor, job_id: str) -> Job | None:
    """A job; None where there is none, or not for this actor.

    Args:
        context: Of the console.
        actor: Who asks. Somebody with sites sees their own jobs.
        job_id: Of which job.
    """
    job = context.jobs.get(job_id)
    return job if job is not None and sees(actor, job) else None


def sees(actor: Actor, job: Job) -> bool:
    """Whether somebody sees a job. Its note and its problems may be about people of any site."""
    return actor.sites is None or job.asked.by == actor.name


def may_cancel(actor: Actor, job: Job) -> bool:
    """Whether somebody may cancel a job that is not over: HR their own."""
    is_theirs = job.asked.by == actor.name or (actor.role != "hr" and actor.sites is None)
    return actor.may(Right.LETTERS) and is_theirs and not job.is_over and job.cancel is None


async def cancel(context: Context, actor: Actor, job: Job) -> None:
    """Have a job do no more.

    Args:
        context: Of the console.
        actor: Who says so.
        job: One that they see.

    Raises:
        Refused: it is over, or not theirs.
        KafkaUnavailable: Kafka does not answer; it may be cancelled or not.
    """
    if not may_cancel(actor, job):
        raise Refused(_("The job is over already, or is to stop already, or is not yours."))
    async with recorded(context, actor, "job.cancel", {"job": job.asked.job_id}):
        try:
            now = await jobs.cancel(context.log, job.asked.job_id, actor.name)
        except ConfigurationError as error:
            raise Refused(_("The job is over already.")) from error
    context.jobs.put(now)
