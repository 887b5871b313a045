"""The options of entries whose files are tables."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from attendance.records.raw_event import EventType
from producers.devices.common.options import check_time_format, words
from producers.devices.common.tables.cells import normalized
from producers.devices.common.tables.profiles import GRID, TABLES
from producers.devices.contract import Options


def _of_text(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError as error:
        raise ValueError(str(error)) from error
    return encoding


def _known_profile(name: str) -> str:
    if name not in TABLES:
        raise ValueError(f"{name!r} is none of {', '.join(TABLES)}")
    return name


def _date_format(text: str) -> str:
    if text in ("ymd", "dmy", "mdy", "excel", "excel1904"):
        return text
    try:
        return check_time_format(text)
    except ValueError as error:
        raise ValueError(
            f"ymd, dmy, mdy, excel, excel1904 or a format such as %d/%m/%Y %H:%M:%S for the whole time: {error}"
        ) from error


def _delimiter(text: str) -> str:
    if len(text) != 1 or text.isalnum() or text in '"_\r\n\0':
        raise ValueError('it is one character, such as ; or a tab, which YAML has as "\\t"')
    return text


def _as_clock(value: object) -> object:
    """YAML reads `10:00` as the number of its minutes."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 60:
            raise ValueError("it is a time of day, such as 05:00")
        return f"{value // 60:02}:{value % 60:02}"
    return value


def _known_month(written: str) -> str:
    date.fromisoformat(written if len(written) > len("2026-01") else f"{written}-01")
    return written


class Columns(BaseModel):
    """What the columns of any other table are called, or their places from 1 where it has no header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str | int
    time: str | int | None = None
    date: str | int | None = None
    clock: str | int | None = None
    direction: str | int | None = None
    serial: str | int | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "Columns":
        given = [value for _, value in self if value is not None]
        if len({type(value) for value in given}) > 1:
            raise ValueError("names and places cannot be mixed")
        if any(isinstance(value, int) and value < 1 for value in given):
            raise ValueError("a column has a name, or a place from 1")
        names = [normalized(value) if isinstance(value, str) else value for value in given]
        if "" in names:
            raise ValueError("a column has a name, or a place from 1")
        if twice := [value for value, name in zip(given, names, strict=True) if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is taken for two things")
        return self


class TableOptions(Options):
    """The options of an entry whose files are tables.

    `date_format` is the order of day, month and year, a format of `strptime` for the whole time, or says that texts are
    a spreadsheet's numbers of days, counted from 1900 or 1904. With `several_times`, a cell may hold more than one.
    `directions` says what a word or number in the direction's column means. `user_width` is the length to which a user
    id that a spreadsheet has made a number is filled up with zeros again.

    Of a grid with a column for each day, `month` is the month or the date of the first column. `after_midnight` says
    which times are of the day after their column's: none; those before the one above them in their cell; or those
    before a time of day. `midnight` says whether a cell with nothing but 00:00 is a punch.
    """

    profile: Annotated[str, AfterValidator(_known_profile)] | None = None
    columns: Columns | None = None
    date_format: Annotated[str, AfterValidator(_date_format)] | None = None
    several_times: bool = False
    directions: Annotated[dict[str, EventType], words(str.strip)] = Field(default_factory=dict)
    user_width: int = Field(0, ge=0, le=24)
    encoding: Annotated[str, AfterValidator(_of_text)] | None = None
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = None
    sheet: str | None = None
    month: (
        Annotated[str, BeforeValidator(str), Field(pattern=r"^20\d{2}-\d{2}(-\d{2})?$"), AfterValidator(_known_month)]
        | None
    ) = None
    after_midnight: Annotated[
        Literal["same_day", "next_day"] | Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")],
        BeforeValidator(_as_clock),
    ] = "same_day"
    midnight: Literal["punch", "nothing"] | None = None

    @model_validator(mode="after")
    def _has_a_time(self) -> "TableOptions":
        columns = self.columns
        if columns is None or self.profile == GRID:
            return self
        if (columns.time is None) == (columns.date is None) or (columns.date is None) != (columns.clock is None):
            raise ValueError("columns: time is needed, or date and clock")
        return self
