"""The header of a table: which of its first rows that is, and which columns count."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from attendance.errors import UnreadableFile
from producers.devices.common.tables.cells import Cells, normalized, text_of
from producers.devices.common.tables.options import Columns, TableOptions
from producers.devices.common.tables.profiles import PROFILES, Profile

HEADER_ROWS: Final = 20
"""So many rows may stand above the header: a title, a period."""
# One row a person and day: nothing says which of its times were punched.
_SUMMARY: Final = frozenset(
    {
        "in", "out", "intime", "outtime", "firstin", "lastout", "clockin", "clockout", "checkin", "checkout",
        "firstpunch", "lastpunch", "punchrecords", "totalhours", "workhours", "workinghours", "worktime", "onduty",
        "offduty", "timetable", "workedhours", "totalduration",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """Where a table's columns are: places from 0, by what they hold. `line` is 0 for a table without a header.

    `width` is how many cells a row has, None where that tells nothing.
    """

    line: int
    width: int | None
    places: Mapping[str, int]
    payload: Mapping[str, int]
    states: bool
    user_column: str = ""


def find_header(
    rows: Iterable[tuple[int, Cells]], options: TableOptions, payload_fields: Collection[str]
) -> Header | None:
    """The header among a table's first rows, of the profile that the options name or of the first that fits.

    Args:
        rows: The number of each row, from 1, and its cells.
        options: Those of the entry.
        payload_fields: Further columns that an event keeps.

    Returns:
        The header; None where none of the first `HEADER_ROWS` rows is one.

    Raises:
        UnreadableFile: the table has a row for each person and day, and not for each punch.
    """
    if options.columns is not None and isinstance(options.columns.user, int):
        return _by_place(options.columns)
    profiles = _profiles(options)
    summary = None
    for line, cells in islice(rows, HEADER_ROWS):
        names = [normalized(text_of(each)) for each in cells]
        while names and not names[-1]:
            names.pop()
        for profile in profiles:
            if all(normalized(name) in names for name in profile.needed):
                return _header(line, names, profile, payload_fields)
        if len(_SUMMARY.intersection(names)) > 1:
            summary = line
    if summary is not None:
        raise UnreadableFile(
            f"line {summary}: the header of a report with a row for each day, which does not say what was punched; "
            "export the log of punches (transactions, original records)"
        )
    return None


def _profiles(options: TableOptions) -> Sequence[Profile]:
    if options.columns is not None:
        return [_own(options.columns)]
    if options.profile is None:
        return list(PROFILES.values())
    return [PROFILES[options.profile]]


def _header(line: int, names: Sequence[str], profile: Profile, payload_fields: Collection[str]) -> Header:
    columns = {
        "user": profile.user,
        "time": profile.time,
        "date": profile.date,
        "clock": profile.clock,
        "direction": profile.direction,
        "serial": profile.serial,
    }
    places = {key: names.index(normalized(name)) for key, name in columns.items() if name and normalized(name) in names}
    kept = {
        name: names.index(normalized(name)) for name in (*profile.payload, *payload_fields) if normalized(name) in names
    }
    payload = {name: place for name, place in kept.items() if place not in places.values()}
    return Header(line, len(names), places, payload, profile.states, normalized(profile.user))


def _own(columns: Columns) -> Profile:
    def name(value: str | int | None) -> str:
        return "" if value is None else str(value)

    return Profile(
        name(columns.user),
        name(columns.time),
        name(columns.date),
        name(columns.clock),
        name(columns.direction),
        name(columns.serial),
    )


def _by_place(columns: Columns) -> Header:
    places = {name: int(value) - 1 for name, value in columns if value is not None}
    return Header(0, None, places, {}, states=False)
