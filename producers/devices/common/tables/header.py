"""The header of a table: which of its first rows that is, and which columns count."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from attendance.errors import UnreadableFile
from producers.devices.common.tables.cells import Cells, normalized, text_of
from producers.devices.common.tables.names import SUMMARY, TIMES, USERS, VAGUE
from producers.devices.common.tables.options import Columns, TableOptions
from producers.devices.common.tables.profiles import PROFILES, Profile

HEADER_ROWS: Final = 20
"""So many rows may stand above the header: a title, a period."""
OWN: Final = "options.columns"
_NEVER_THE_USER: Final = {"No.": "enno"}


@dataclass(frozen=True, slots=True)
class Header:
    """Where a table's columns are: places from 0, by what they hold. `line` is 0 for a table without a header.

    `width` is how many cells a row has at least, `most` how many it may have, None where that tells nothing. `names`
    has what the columns are called there, `profile` which table it was taken for, or `options.columns`. With `is_vague`
    the user's column may as well count the rows.
    """

    line: int
    width: int | None
    places: Mapping[str, int]
    payload: Mapping[str, int]
    states: bool
    user_column: str = ""
    profile: str = OWN
    names: Sequence[str] = ()
    most: int | None = None
    is_vague: bool = False
    aligned: bool = False


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
        UnreadableFile: two columns could be the user or the time, or the table has a row for each person and day, and
            not for each punch.
    """
    if options.columns is not None and isinstance(options.columns.user, int):
        return _by_place(options.columns)
    profiles = _profiles(options)
    is_named = options.columns is not None or options.profile is not None
    summary = None
    for line, cells in islice(rows, HEADER_ROWS):
        written = [text_of(each) for each in cells]
        names = [normalized(each) for each in written]
        if len(SUMMARY.intersection(names)) > 1 and options.columns is None:
            summary = line
            continue
        for key, profile in profiles.items():
            if _has(names, profile.needed):
                header = _header(line, written, key, profile, payload_fields)
                _check(header, names, profile, is_named=is_named)
                return header
    if summary is not None:
        raise UnreadableFile(
            f"line {summary}: the header of a report with a row for each day, which does not say what was punched; "
            "export the log of punches (transactions, original records)"
        )
    return None


def missing_header(place: str, rows: str, options: TableOptions, *, is_grid: bool) -> str:
    """What to say of a table none of whose first rows is a header.

    Args:
        place: The file, and of a workbook the sheet.
        rows: What its rows are called.
        options: Those of the entry.
        is_grid: Whether it looks as a grid.
    """
    none = f"{place}: none of the first {HEADER_ROWS} {rows}"
    if is_grid:
        return (
            f"{none} is a header that is known; it looks as a grid with a column for each day: --profile grid reads it"
        )
    if options.columns is not None:
        return f"{none} has the columns that options.columns names: {', '.join(_own(options.columns).needed)}"
    if options.profile is not None:
        columns = ", ".join(PROFILES[options.profile].needed)
        return f"{none} has the columns of the profile {options.profile}: {columns}"
    return (
        f"{none} is a header that is known: call the column of the number user and that of date and time time, or have "
        "options.columns of the device's entry name them"
    )


def _profiles(options: TableOptions) -> Mapping[str, Profile]:
    if options.columns is not None:
        return {OWN: _own(options.columns)}
    if options.profile is None:
        return PROFILES
    return {options.profile: PROFILES[options.profile]}


def _check(header: Header, names: Sequence[str], profile: Profile, *, is_named: bool) -> None:
    """See that no other column of the header could hold what one was found for.

    Raises:
        UnreadableFile: one could.
    """
    called = {key: header.names[place] for key, place in header.places.items()}
    for key, name in called.items():
        if names.count(normalized(name)) > 1:
            raise UnreadableFile(
                f"line {header.line}: two columns are called {name!r}, either of which could be the {key}; "
                "options.columns says by place which it is"
            )
    if header.profile == OWN:
        return
    never = _NEVER_THE_USER.get(profile.user)
    if never in names:
        raise UnreadableFile(
            f"line {header.line}: {called['user']!r} counts the records and {header.names[names.index(never)]!r} is "
            "the user: not a table of this profile; the profiles agl and glg take it so"
        )
    if is_named:
        return
    beside = set(map(normalized, profile.beside)) if _has(names, profile.signature) else set()
    taken = {normalized(name) for name in called.values()}
    for kind, known in (("user", USERS), ("time", TIMES)):
        others = [header.names[place] for place, name in enumerate(names) if name in known - taken - beside]
        if others:
            column = called["user"] if kind == "user" else called.get("time", called.get("clock", ""))
            raise UnreadableFile(
                f"line {header.line}: {column!r} could be the {kind}, and so could {' and '.join(map(repr, others))}; "
                f"--profile {header.profile} takes {column!r}, options.columns names any other"
            )


def _header(line: int, written: Sequence[str], key: str, profile: Profile, payload_fields: Collection[str]) -> Header:
    columns = {
        "user": profile.user,
        "time": profile.time,
        "date": profile.date,
        "clock": profile.clock,
        "direction": profile.direction,
        "serial": profile.serial,
    }
    names = [normalized(each) for each in written]
    places = {key: names.index(normalized(name)) for key, name in columns.items() if name and normalized(name) in names}
    kept = {
        name: names.index(normalized(name)) for name in (*profile.payload, *payload_fields) if normalized(name) in names
    }
    payload = {name: place for name, place in kept.items() if place not in places.values()}
    width = len(names)
    while not written[width - 1]:
        width -= 1
    user = normalized(profile.user)
    return Header(
        line,
        width,
        places,
        payload,
        profile.states,
        user,
        key,
        written,
        len(written),
        is_vague=key != OWN and user in VAGUE and not (profile.signature and _has(names, profile.signature)),
        aligned=profile.aligned,
    )


def aligned(header: Header) -> Header:
    """The header without its empty cells, which some terminals put in so that it stands above its columns.

    Args:
        header: As it was found.
    """
    kept = [place for place, name in enumerate(header.names) if name]
    return replace(
        header,
        width=len(kept),
        most=len(kept),
        places={key: kept.index(place) for key, place in header.places.items()},
        payload={key: kept.index(place) for key, place in header.payload.items()},
        names=[header.names[place] for place in kept],
    )


def _has(names: Collection[str], wanted: Iterable[str]) -> bool:
    return all(normalized(each) in names for each in wanted)


def _own(columns: Columns) -> Profile:
    def name(value: str | int | None) -> str:
        return "" if value is None else str(value)

    # Without a column that was asked for, a punch would be that of another terminal, or have no direction.
    return Profile(
        name(columns.user),
        name(columns.time),
        name(columns.date),
        name(columns.clock),
        name(columns.direction),
        name(columns.serial),
        also=[name(each) for each in (columns.direction, columns.serial) if each is not None],
    )


def _by_place(columns: Columns) -> Header:
    places = {name: int(value) - 1 for name, value in columns if value is not None}
    return Header(0, None, places, {}, states=False)
