"""Jobs: what somebody asked to be done, how far it is, and that it is to stop; the wire format of the jobs topic.

Three kinds of records, told apart by their key, so that who asks, who runs and who cancels never write over each other.
The topic has one partition: `operations.jobs` says by the order of its records who runs a job.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct
from msgspec.json import Decoder

from attendance.errors import Reason
from attendance.wire import JsonRecord, Milliseconds, Offset, Partition, Text, decode_json, encode_json

LettersKind = Literal["replay_letters", "discard_letters"]
PlanKind = Literal["repair_days", "correct_checkins"]
JobKind = LettersKind | PlanKind
Running = Literal["running", "done", "cancelled", "failed"]

_Part = Literal["asked", "progress", "cancel"]
_Count = Annotated[int, Meta(ge=0)]


class LettersWanted(Struct, frozen=True):
    """Which dead letters a job is about: those of `ids` (`partition:offset`), or else those of a filter.

    `ends` has for each partition of the dead-letter topic where it ended when the letters were counted: what comes
    later, also from the job itself, is not part of it. Offsets are those after so many `adoptions`. None of `reasons`,
    `stage` or `devices` is any.
    """

    ends: Mapping[Partition, Offset]
    ids: tuple[Text, ...] = ()
    reasons: tuple[Reason, ...] | None = None
    stage: str | None = None
    devices: tuple[Text, ...] | None = None
    adoptions: _Count = 0


class AgreedPlan(Struct, frozen=True):
    """What somebody was shown would be done, and agreed to.

    It is of the records from `since` on and before `until`, of these `devices`; of all where they are empty or None.
    `agreed` has a digest of each thing that is to be done, in the order in which it is done: it names nobody.
    """

    since: Milliseconds
    agreed: tuple[Text, ...]
    until: Milliseconds | None = None
    devices: tuple[Text, ...] = ()


class JobAsked(JsonRecord, frozen=True):
    """Somebody asked for a job. `by` is who, `note` why; a discard has a note.

    `counted` is how many dead letters or things of a plan they were shown before they asked; None where nobody counted.
    A job has a `plan`, or is about the letters `wanted`, which are none where there is a plan.
    """

    what: ClassVar[str] = "a job"

    job_id: Text
    kind: JobKind
    wanted: LettersWanted
    asked_at: Milliseconds
    by: Text
    note: str | None = None
    counted: _Count | None = None
    plan: AgreedPlan | None = None

    @property
    def key(self) -> bytes:
        """The record key: `["asked", job_id]`."""
        return _key("asked", self.job_id)

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8. The field that came later is left out where there is no plan."""
        value = super().encode()
        return value if self.plan is not None else value.removesuffix(b',"plan":null}') + b"}"


class JobProgress(JsonRecord, frozen=True):
    """How far a job is, by the process that runs it. The first one of a process is its claim to the job.

    `total` is how many dead letters or things of a plan the job takes, None until that is known; `refused` how many it
    leaves alone, `failed` how many could not be done. `problems` says why, of some of them. `at` is the clock of the
    process, UTC.
    """

    what: ClassVar[str] = "the progress of a job"

    job_id: Text
    owner: Text
    state: Running
    at: Milliseconds
    total: _Count | None = None
    done: _Count = 0
    refused: _Count = 0
    failed: _Count = 0
    problems: tuple[str, ...] = ()

    @property
    def key(self) -> bytes:
        """The record key: `["progress", job_id]`."""
        return _key("progress", self.job_id)


class JobCancel(JsonRecord, frozen=True):
    """Somebody asked that a job does no more."""

    what: ClassVar[str] = "the cancelling of a job"

    job_id: Text
    at: Milliseconds
    by: Text

    @property
    def key(self) -> bytes:
        """The record key: `["cancel", job_id]`."""
        return _key("cancel", self.job_id)


def decode(key: bytes | None, value: bytes | None) -> JobAsked | JobProgress | JobCancel:
    """What a record of the topic says, as `key` and `encode` wrote it.

    Raises:
        InvalidRecord: It is something else (`undecodable_record`).
    """
    part, _ = decode_json(_KEY, key, "a key of the jobs topic")
    match part:
        case "asked":
            return JobAsked.decode(value)
        case "progress":
            return JobProgress.decode(value)
        case "cancel":
            return JobCancel.decode(value)


def _key(part: _Part, job_id: str) -> bytes:
    return encode_json((part, job_id))


_KEY: Final = Decoder(tuple[_Part, Text])
