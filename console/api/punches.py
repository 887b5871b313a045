"""Punches by the API: listed, counted, and each with what became of it."""

from datetime import datetime, time, timedelta
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field

from attendance.errors import ConfigurationError
from attendance.kafka.records import Record
from attendance.times import from_milliseconds, from_wall_clock
from console.api.calling import Caller, calling_with
from console.api.listing import After, Asked, Day, Most, Name
from console.context import Context, context_of
from console.rights import Actor, Right
from ledger.punches import LedgerPunches, WhichPunches
from ledger.trace import LedgerTrace
from operations import trace
from operations.journeys import Journey, Outcome, journeys

router: Final = APIRouter(tags=["punches"])

Mender = Annotated[Actor, calling_with(Right.LETTERS)]
EventId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


_DAY: Final = timedelta(days=1)


class WhichAsked(Asked):
    """Which punches: those to which all of this applies."""

    employee: Name = None
    device: Name = None
    device_user_id: Name = None
    site: Name = None
    outcome: Outcome | None = None
    first_day: Day = None
    last_day: Day = None
    zone: str | None = Field(None, max_length=100, description="The IANA zone of the days; else `CONSOLE_ZONE`.")
    after: After = None

    def which(self, request: Request, actor: Actor) -> WhichPunches:
        """The punches, of those that the token sees.

        Raises:
            HTTPException: there is no such day or zone.
        """
        zone = self.zone or context_of(request).settings.zone
        first, last = (
            None if each is None else datetime.combine(each, time()) for each in (self.first_day, self.last_day)
        )
        try:
            return WhichPunches(
                self.employee,
                self.device,
                device_user=self.device_user_id,
                site=self.site,
                sites=actor.sites,
                outcome=self.outcome,
                first=None if first is None else from_wall_clock(first, zone),
                last=None if last is None else from_wall_clock(last + _DAY, zone),
            )
        except (ConfigurationError, OverflowError) as error:
            raise HTTPException(422, f"days and zone: {error}") from error


class ListAsked(WhichAsked):
    """Which punches, and how many of them."""

    most: Most = 100


class Punch(BaseModel):
    """A raw record and what became of it. The fields are those of the ledger's view `punches`."""

    kafka_partition: int
    kafka_offset: int
    event_id: str
    device_id: str
    device_user_id: str
    site: str
    event_type: str
    event_time: datetime
    received_at: datetime | None
    stored_at: datetime
    outcome: Outcome
    reason: str | None
    kept_event_id: str | None
    employee: str | None
    decided_at: datetime | None
    delivered_at: datetime | None
    document: str | None


class Punches(BaseModel):
    """Some punches, the newest first.

    With a `next` there are more: ask again with `after`. There may be more even where `items` is short or empty: each
    call looks at a bounded number of records.
    """

    items: list[Punch]
    next: str | None
    as_of: datetime | None = Field(description="How new the answer is; null while the ledger has not read everything.")


class Counted(BaseModel):
    """How many punches came to what. With a `next` there are older ones: ask again with `after`, and add them."""

    outcomes: dict[Outcome, int]
    next: str | None
    as_of: datetime | None


class Milestone(BaseModel):
    """`received`, `stored`, `decided` or `delivered`. `after` is the seconds since the milestone before."""

    name: str
    at: datetime
    after: float | None


class Traced(BaseModel):
    """One raw record of a punch, and its way."""

    kafka_partition: int
    kafka_offset: int
    event_id: str | None
    device_id: str
    device_user_id: str | None
    site: str | None
    event_type: str | None
    event_time: datetime | None
    outcome: Outcome
    reason: str | None
    kept_event_id: str | None
    employee: str | None
    document: str | None
    message: str | None
    milestones: list[Milestone]


class Sent(BaseModel):
    """One raw record of a punch, as Kafka has it: `raw_event` is described in docs/schemas/raw.v1.json."""

    kafka_partition: int
    kafka_offset: int
    raw_event: dict[str, Any]


@router.get("/punches")
async def list_punches(request: Request, actor: Caller, asked: Annotated[ListAsked, Query()]) -> Punches:
    """Punches, the newest first."""
    ledger = LedgerPunches(context_of(request).database)
    page = await ledger.page(asked.which(request, actor), asked.most, asked.after)
    items = [Punch.model_validate(each, from_attributes=True) for each in page.rows]
    return Punches(items=items, next=page.next, as_of=ledger.as_of)


@router.get("/punches/count")
async def count_punches(request: Request, actor: Caller, asked: Annotated[WhichAsked, Query()]) -> Counted:
    """How many punches came to what."""
    ledger = LedgerPunches(context_of(request).database)
    count = await ledger.count(asked.which(request, actor), asked.after)
    return Counted.model_validate({"outcomes": count.outcomes, "next": count.next, "as_of": ledger.as_of})


@router.get("/punches/{event_id}")
async def open_punch(request: Request, actor: Caller, event_id: EventId) -> list[Traced]:
    """One punch, with what became of each record of it and when."""
    return [_traced(each) for each in await _found(context_of(request), actor, event_id)]


@router.get("/punches/{event_id}/sent")
async def show_sent(request: Request, actor: Mender, event_id: EventId) -> list[Sent]:
    """What was sent of one punch, for whoever may mend what failed. What Kafka does not keep any more is left out."""
    context = context_of(request)
    places = [(each.raw.kafka_partition, each.raw.kafka_offset) for each in await _found(context, actor, event_id)]
    return [_sent(record) for _, record in sorted((await context.log.at("raw", places)).items())]


async def _found(context: Context, actor: Actor, event_id: str) -> list[Journey]:
    """The records of a punch, of those that the token sees.

    Raises:
        HTTPException: there is none.
    """
    facts = await LedgerTrace(context.database).facts(trace.Asked(event_id=event_id))
    found = [each for each in journeys(facts) if actor.sees(each.raw.site)]
    if not found:
        raise HTTPException(404, "there is no such punch, or not for this token")
    return found


def _sent(record: Record) -> Sent:
    # The ledger has read it, so it is a raw event.
    assert record.value is not None
    return Sent(
        kafka_partition=record.partition, kafka_offset=record.offset, raw_event=msgspec.json.decode(record.value)
    )


def _traced(journey: Journey) -> Traced:
    raw = journey.raw
    return Traced(
        kafka_partition=raw.kafka_partition,
        kafka_offset=raw.kafka_offset,
        event_id=raw.event_id,
        device_id=raw.device_id,
        device_user_id=raw.device_user_id,
        site=raw.site,
        event_type=raw.event_type,
        event_time=None if raw.event_time is None else from_milliseconds(raw.event_time),
        outcome=journey.outcome,
        reason=journey.reason,
        kept_event_id=journey.kept_event_id,
        employee=journey.employee,
        document=journey.document,
        message=journey.message,
        milestones=[
            Milestone(name=each.name, at=from_milliseconds(each.at), after=each.after) for each in journey.milestones
        ],
    )
