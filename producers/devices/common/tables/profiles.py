"""What the tables of other software call their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """What another software calls its columns.

    Of `time`, which has date and time of day, and the pair `date` and `clock` a table needs one. `states` says that a
    number in the direction's column is an attendance state of ZKTeco. `payload` are columns that an event keeps.

    A table is of the profile only with the columns `also`. The columns `beside` could name the user, and do not in a
    table that has all of `signature`. With `aligned`, the header may have empty cells that the rows do not have.
    """

    user: str
    time: str = ""
    date: str = ""
    clock: str = ""
    direction: str = ""
    serial: str = ""
    states: bool = False
    payload: Sequence[str] = ()
    also: Sequence[str] = ()
    beside: Sequence[str] = ()
    signature: Sequence[str] = ()
    aligned: bool = False

    @property
    def needed(self) -> Sequence[str]:
        """The columns without which a table is not of this profile."""
        return [name for name in (self.user, self.time, self.date, self.clock, *self.also) if name]


_BIOTIME: Final = ("Work Code",)
PROFILES: Final[Mapping[str, Profile]] = {
    "glg": Profile(
        "EnNo", "DateTime", direction="IOMd", payload=("Mode",), also=("IOMd",), beside=("No",), aligned=True
    ),
    "agl": Profile("EnNo", "DateTime", direction="IN/OUT", payload=("Mode", "TR"), beside=("No",), aligned=True),
    "biotime": Profile(
        "Employee ID",
        date="Date",
        clock="Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=_BIOTIME,
    ),
    "biotime-report": Profile(
        "Employee ID",
        date="Date",
        clock="Punch Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=_BIOTIME,
    ),
    "biotime-time": Profile(
        "Employee ID",
        "Punch Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=_BIOTIME,
    ),
    "easytime": Profile(
        "Employee Code",
        "Punch Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=("Terminal Alias",),
    ),
    "zktime5": Profile(
        "No.",
        "Date/Time",
        direction="Status",
        states=True,
        payload=("Location ID", "VerifyCode"),
        beside=("ID Number",),
        signature=("Location ID", "VerifyCode"),
    ),
    "ivms": Profile("Person ID", "Time", direction="Attendance Status", payload=("Attendance Check Point",)),
    "etimetracklite": Profile(
        "Employee Code", "Log Date", direction="Direction", serial="Serial Number", payload=("Device Name",)
    ),
    "generic-date": Profile("user", date="date", clock="time", direction="direction", serial="serial"),
    "generic": Profile("user", "time", direction="direction", serial="serial"),
}
"""The tables with a row for each punch, by the name that `options.profile` may give. The first that fits is taken."""
GRID: Final = "grid"
"""Names the tables with a row for each person and a column for each day. See `grid.py`."""
TABLES: Final = (*PROFILES, GRID)
"""Every name that `options.profile` may give."""
