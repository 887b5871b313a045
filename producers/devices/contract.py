"""What an adapter is: a vendor's words in, raw events out. It knows no Kafka, and only the entries that it is given.

A push adapter reads what a terminal sends, a pull adapter asks a device, a file adapter reads rows. Each puts all that
it read into one of three: events, which are punches; others, which were never meant to be one; and rejected, which may
have been meant as one and can be none.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import httpx
from msgspec import Struct
from pydantic import BaseModel, ConfigDict

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent

MAX_EVENTS: Final = 20_000
"""Records that one request may hold: each takes far more room in memory and in Kafka than it may take in a body."""

STATUS: Final[Mapping[Reason, HTTPStatus]] = {
    Reason.UNREADABLE_BODY: HTTPStatus.BAD_REQUEST,
    # Whoever sends it again fails on the same fault of ours; its bytes are kept, so it need not be sent again.
    Reason.INTERNAL_ERROR: HTTPStatus.BAD_REQUEST,
    Reason.UNKNOWN_DEVICE: HTTPStatus.UNAUTHORIZED,
    Reason.BODY_TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Reason.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.CANNOT_BE_KEPT: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.KAFKA_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.STANDING_STILL: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.DEVICE_PAUSED: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of a refusal, where a protocol has no form of its own for it."""

Cursor = Mapping[str, Any]
"""Where a pull adapter goes on: JSON, understood by the adapter that wrote it alone."""


class Options(BaseModel):
    """What an entry's `options` may hold: nothing but the fields of the subclass.

    An entry of an adapter that `needs_host` cannot be asked without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs_host: ClassVar[bool] = False


class Rejected(Struct, frozen=True):
    """A record that can never become a punch. It becomes a dead letter.

    `index` is its place in the body, page or file, from 0. `value` is what a dead letter keeps of it: the record as the
    device wrote it, without the fields that may not be kept.

    `raw` is what a later release needs to read it again. Of a page: the record as `PullAdapter.read_again` takes it. Of
    a file: the row as `FileAdapter.read_again` takes it. Of a request: its own bytes; as the whole request is kept
    wherever something of it is rejected, they only tell which part it was.
    """

    index: int
    reason: Reason
    message: str
    value: bytes
    raw: bytes | None = None


class Other(Struct, frozen=True):
    """A record that is no punch and was never meant as one: a stranger's face, a door, an operator's action.

    `kind` is one lower-case word for the metric; `value` is the record as JSON, reduced to the fields that may be kept.
    """

    kind: str
    value: bytes


class Head(Struct, frozen=True):
    """A request without its body. Names of headers are in lower case; `params` are those of the route's path."""

    method: str
    route: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]


class Command(Struct, frozen=True):
    """Something that a terminal is to do when it asks, in the protocol's own words."""

    id: str
    text: str


class Result(Struct, frozen=True):
    """What a terminal answered to the command of that id."""

    id: str
    returned: str


class PushRequest(Struct, frozen=True):
    """A request with its body, and when that had arrived: the server's clock, UTC.

    `stamps` are what earlier requests of the device left in `Parsed.stamps`; `commands` are those that wait for it.
    Both are empty where the sender may be one of several devices. `most` is how many records it may hold: what is read
    again is not refused for its size.
    """

    head: Head
    body: bytes
    received_at: datetime
    stamps: Mapping[str, str] = {}
    commands: Sequence[Command] = ()
    most: int = MAX_EVENTS


class Answer(Struct, frozen=True):
    """What a terminal hears."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/plain"
    headers: Mapping[str, str] = {}


class Sender(Struct, frozen=True):
    """Who a request says it is from: a token, or the vendor's serial number where the protocol has nothing better.

    `facts` are what it tells of itself, to show to whoever has to approve an unknown serial number.
    """

    token: str | None = None
    serial: str | None = None
    facts: Mapping[str, str] = {}


class DeviceReport(Struct, frozen=True):
    """What a device says of itself beside its punches; None where it does not say.

    `device_time` is its clock, UTC. `pending` is how many punches it has not handed over, `last_sequence` the number of
    its newest record. `details` are further facts to show: firmware, counts, free storage.
    """

    device_time: datetime | None = None
    pending: int | None = None
    last_sequence: int | None = None
    details: Mapping[str, str | int | float] = {}


class Parsed(Struct, frozen=True):
    """All that a request holds, events and the rest each in its order, and what to answer once Kafka has it.

    `stamps` are kept, once Kafka has the events, for the device's next requests. `given` are the commands that the
    answer hands out, `results` what the device says became of earlier ones.
    """

    device_id: str
    answer: Answer
    events: Sequence[RawEvent] = ()
    rejected: Sequence[Rejected] = ()
    others: Sequence[Other] = ()
    report: DeviceReport | None = None
    stamps: Mapping[str, str] = {}
    given: Sequence[Command] = ()
    results: Sequence[Result] = ()


class Route(Struct, frozen=True):
    """A path that an adapter answers, such as `/iclock/cdata` or `/hik/{token}`, and its method."""

    method: str
    path: str


class Adapter(Protocol):
    """What every adapter says of itself, whichever way punches come in."""

    @property
    def name(self) -> str:
        """Its name in the fleet file, and that of a file adapter for `--profile`."""

    @property
    def version(self) -> str:
        """Of what the adapter makes of a request, an answer or a row. Stands in each event's source."""

    @property
    def verified_on(self) -> str:
        """What it was tried on: `none`, `simulator`, or a model with its firmware and the date."""

    @property
    def options(self) -> type[Options]:
        """What the `options` of an entry may hold. No entry is used before `check_entry` has accepted its options."""


class PushAdapter(Adapter, Protocol):
    """Speaks one vendor's push protocol. Safe for use by several requests at once."""

    @property
    def routes(self) -> Sequence[Route]:
        """What it answers. No two adapters share a route."""

    def sender(self, head: Head) -> Sender:
        """Who sends this, before its body is read.

        Raises:
            InvalidRecord: no token or serial number that could be one (`unknown_device`).
        """

    def parse(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        """Read one request.

        Args:
            request: As it arrived.
            devices: The devices that the sender's token or serial number stands for, by id; never empty.

        Raises:
            InvalidRecord: nothing of the body can be used: `unreadable_body`; `body_too_large`, where it holds more
                records than one request may; `unknown_device`, where it speaks for a device that is not in `devices`.
        """

    def refuse(self, head: Head, reason: Reason, retry_after: int) -> Answer:
        """What to answer where nothing was stored, or only as a dead letter (`unreadable_body`, `internal_error`).

        For `kafka_unavailable`, `overloaded`, `cannot_be_kept`, `device_paused` and `body_too_slow` it is the
        protocol's "send it again", after `retry_after` seconds where it can say so; for `unknown_device` its "you are
        unknown", which makes the device keep its punches.

        Args:
            head: The head of the request.
            reason: Why it is refused.
            retry_after: Seconds.
        """


@runtime_checkable
class LineAdapter(Protocol):
    """A push adapter some of whose bodies are lines, each a record of its own. Those may be of nearly any length."""

    def reads_lines(self, head: Head) -> bool:
        """Whether the body of a request is lines, so that `parse` may be given it in parts, one after the other.

        Args:
            head: The head of the request.
        """

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The answer to a body that was read in parts, once Kafka has all of them.

        Args:
            answers: Those to the parts, at least one.
        """


class Page(Struct, frozen=True):
    """A part of what a pull adapter fetched.

    `cursor` is where to go on once Kafka has this page. `complete_until` claims, in the device's own time as UTC, that
    every punch dated before it is in Kafka when this page is; None claims nothing.
    """

    cursor: Cursor
    events: Sequence[RawEvent] = ()
    rejected: Sequence[Rejected] = ()
    others: Sequence[Other] = ()
    report: DeviceReport | None = None
    complete_until: datetime | None = None


class Fetch(Struct, frozen=True):
    """What is asked of a pull adapter.

    `source` is the entry to ask; `terminals` are the entries whose records it holds, by serial number: those
    whose `via` it is, disabled ones too (see `terminal_of`). `cursor` is what the last page said, None at the first
    fetch. `since`, UTC, asks for all from that time on whatever the cursor says, as a sweep for late records does; the
    cursor of its pages must not fall behind `cursor`. `now` is the server's clock, UTC.
    """

    source: Device
    terminals: Mapping[str, Device]
    cursor: Cursor | None
    since: datetime | None
    now: datetime


def terminal_of(serial: str, terminals: Mapping[str, Device], source: Device) -> Device:
    """Whose a record is: the terminal's with that serial number; the source's own where no entry has it.

    Args:
        serial: The serial number that the record has; empty where it has none.
        terminals: The entries by serial number, disabled ones too.
        source: The entry that was asked, or to which the file belongs.

    Raises:
        InvalidRecord: the terminal's entry is disabled (`unknown_device`).
    """
    device = terminals.get(serial, source)
    if device.disabled:
        raise InvalidRecord(Reason.UNKNOWN_DEVICE, f"{device.device_id} is disabled")
    return device


class Probed(Struct, frozen=True):
    """What a device answered when it was only asked who it is. `serial` is what its entry should have."""

    serial: str | None
    report: DeviceReport


class Tools(Struct, frozen=True):
    """What a pull adapter works with. `secret` returns the value of a name in the entry's `credentials`.

    `secret` raises `DeviceRefused` where the entry or the environment has no such name.
    """

    http: httpx.AsyncClient
    secret: Callable[[Device, str], str]
    payload_fields: Collection[str]


class PullAdapter(Adapter, Protocol):
    """Asks devices of one kind. Safe for use with several devices at once, never twice with the same."""

    def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The pages since the cursor, oldest first; the caller may stop after any and close the iterator.

        A record that is handed over twice is harmless. One that is left out is lost: an answer that cannot be right (a
        count that does not fit, a page that is cut off) raises.

        Raises:
            DeviceUnavailable: it does not answer, or not now.
            DeviceRefused: it refuses the credentials, or the entry cannot work. Asked again only after a long while.
            UnreadableAnswer: what it says cannot be understood, or cannot be right.
        """

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a record that was once rejected comes to today, by the code that reads the records of a page.

        Args:
            raw: As `Rejected.raw` had it.
            wanted: The entries of today, without a cursor; `now` is when the record had come.

        Returns:
            A page of that one record, whose cursor says nothing.

        Raises:
            InvalidRecord: the bytes are no such record (`undecodable_record`).
        """

    async def probe(self, source: Device) -> Probed:
        """Who the device says it is, changing nothing. Raises what `fetch` raises."""


class Ignored(Struct, frozen=True):
    """A row that is certainly no punch, such as a sum; `what` it is. Nothing is kept of it."""

    what: str


class Row(Struct, frozen=True):
    """One punch of a file's row, or why it has none. `line` is that of the row, counted from 1.

    `is_further` says that a row before is of the same row of the file, which has several punches.
    """

    line: int
    outcome: RawEvent | Rejected | Ignored
    is_further: bool = False


class Reading(Struct, frozen=True):
    """How a table of a file is read, to be shown to whoever decides.

    `place` is the file or its sheet, `profile` what it was taken for. `columns` say which of them is taken for what,
    `dates` in which order day, month and year are, empty where each date says it by itself. `notes` are sentences.
    """

    place: str
    profile: str
    columns: Mapping[str, str]
    dates: str = ""
    notes: Sequence[str] = ()


class FileAdapter(Adapter, Protocol):
    """Reads files of one format."""

    def readings(self, path: Path, device: Device) -> Sequence[Reading]:
        """Which column of each table of a file is taken for what.

        Args:
            path: The file.
            device: The entry that the file belongs to.

        Raises:
            UnreadableFile: see `rows`.
        """

    def rows(self, path: Path, device: Device, terminals: Mapping[str, Device]) -> Iterator[Row]:
        """Every row that holds data, in the order of the file, in bounded memory.

        Args:
            path: The file.
            device: The entry that the file belongs to.
            terminals: The entries that the file's own serial numbers stand for.

        Raises:
            UnreadableFile: it is not of this format, or cannot be read to its end. Rows before that were handed over.
        """

    def read_again(
        self, raw: bytes, device: Device, terminals: Mapping[str, Device], received_at: datetime
    ) -> Iterator[Row]:
        """What a row that was once rejected comes to today, by the code that reads the rows of a file.

        Args:
            raw: As `Rejected.raw` had it.
            device: The entry that the file belongs to, with the options of today.
            terminals: As in `rows`.
            received_at: When the file was read: the server's clock, UTC.

        Raises:
            InvalidRecord: the bytes are no such row (`undecodable_record`).
            UnreadableFile: what of a file had this row alone, `rows` would refuse.
        """


CreatePushAdapter = Callable[[Collection[str]], PushAdapter]
CreatePullAdapter = Callable[[Tools], PullAdapter]
CreateFileAdapter = Callable[[Collection[str]], FileAdapter]
