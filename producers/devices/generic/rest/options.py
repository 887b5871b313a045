"""The options of an entry, which describe an interface."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from attendance.fleet import ZoneName
from producers.devices.common.options import HttpOptions, check_time_format
from producers.devices.generic.rest.templates import PLACEHOLDERS, placeholders_in


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


def _whole_path(path: str) -> str:
    if path and not all(map(str.strip, path.split("."))):
        raise ValueError("a name, or names joined by dots")
    return path


Path = Annotated[str, AfterValidator(_whole_path)]
"""A name, or names joined by dots."""


class FieldNames(_Model):
    """Where a record has what."""

    user: Path
    time: Path
    direction: Path | None = None
    sequence: Path | None = None
    serial: Path | None = None


class CursorBy(_Model):
    """What is new: by time, with an overlap in seconds; or by an increasing number, with an overlap in numbers."""

    by: Literal["time", "number"] = "time"
    overlap: int | None = Field(None, ge=0)

    @property
    def seconds(self) -> timedelta:
        """The overlap by time."""
        return timedelta(seconds=600 if self.overlap is None else self.overlap)

    @property
    def numbers(self) -> int:
        """The overlap by number: a database may show a number before a smaller one."""
        return 100 if self.overlap is None else self.overlap


class Paging(_Model):
    """How an answer goes on: not at all, by page, by offset, or where the answer's own link leads.

    `most` is how many answers are read one after the other, so that an interface that always has more is not read for
    ever.
    """

    by: Literal["none", "page", "offset", "next"] = "none"
    first: int = Field(1, ge=0)
    size: int = Field(500, ge=1, le=10_000)
    next: Path | None = None
    most: int = Field(10_000, ge=1, le=1_000_000)


def _strptime(text: str) -> str:
    if text in ("iso", "epoch", "epoch_ms"):
        return text
    try:
        return check_time_format(text)
    except ValueError as error:
        raise ValueError(f"iso, epoch, epoch_ms or a format such as %d/%m/%Y %H:%M:%S: {error}") from error


class RestOptions(HttpOptions):
    """The entry's `options`.

    Strings in `query` and `body` may hold `{from}`, `{to}`, `{cursor}`, `{page}`, `{offset}` and `{size}`. In `body`
    one that is nothing but a placeholder becomes a number where that is one. `records` is where the answer has the
    list, empty where it is the list; `total` where it says how many there are in all. `complete` says that what the
    other side has is all that was punched until now: true of a terminal, not of a server that terminals upload to.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    path: str = Field(pattern=r"^/([^/?#][^?#]*)?$")
    method: Literal["GET", "POST"] = "GET"
    query: dict[str, str] = Field(default_factory=dict)
    body: dict[str, Any] | None = None
    records: Path = ""
    total: Path | None = None
    fields: FieldNames
    directions: dict[str, Literal["IN", "OUT"]] = Field(default_factory=dict)
    time_format: Annotated[str, AfterValidator(_strptime)] = "iso"
    timezone: ZoneName | None = None
    cursor: CursorBy = CursorBy()
    paging: Paging = Paging()
    auth: Literal["none", "basic", "bearer", "header"] = "none"
    auth_header: str = Field("X-Api-Key", pattern=r"^[A-Za-z0-9-]+$")
    complete: bool = False

    @property
    def placeholders(self) -> set[str]:
        """Those that query and body have."""
        return placeholders_in([self.query, self.body])

    @model_validator(mode="after")
    def _fits(self) -> Self:
        used = self.placeholders
        if unknown := used - PLACEHOLDERS:
            raise ValueError(f"no such placeholder: {', '.join(sorted(unknown))}")
        needed = {"time": "from", "number": "cursor"}[self.cursor.by]
        if needed not in used:
            raise ValueError(f"a cursor by {self.cursor.by} needs {{{needed}}} in query or body")
        if self.cursor.by == "number" and self.fields.sequence is None:
            raise ValueError("a cursor by number needs fields.sequence")
        if self.paging.by in ("page", "offset") and self.paging.by not in used:
            raise ValueError(f"paging by {self.paging.by} needs {{{self.paging.by}}} in query or body")
        if (self.paging.by == "next") != (self.paging.next is not None):
            raise ValueError("paging by next, and only that, needs paging.next: where the answer has the link")
        if self.total is not None and (self.cursor.by, self.paging.by) == ("number", "none"):
            raise ValueError("a total has no meaning where each answer goes on after the largest number of the last")
        if self.body is not None and self.method == "GET":
            raise ValueError("a body needs method POST")
        return self
