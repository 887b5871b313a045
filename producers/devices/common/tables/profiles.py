"""What the tables of other software call their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """What another software calls its columns.

    Of `time`, which has date and time of day, and the pair `date` and `clock` a table needs one. `states` says that a
    number in the direction's column is an attendance state of ZKTeco. `payload` are columns that an event keeps.
    """

    user: str
    time: str = ""
    date: str = ""
    clock: str = ""
    direction: str = ""
    serial: str = ""
    states: bool = False
    payload: Sequence[str] = ()

    @property
    def needed(self) -> Sequence[str]:
        """The columns without which a table is not of this profile."""
        return [name for name in (self.user, self.time, self.date, self.clock) if name]


_BIOTIME: Final = ("Work Code",)
PROFILES: Final[Mapping[str, Profile]] = {
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
    "zktime5": Profile("No.", "Date/Time", direction="Status", states=True, payload=("Location ID", "VerifyCode")),
    "ivms": Profile("Person ID", "Time", direction="Attendance Status", payload=("Attendance Check Point",)),
    "etimetracklite": Profile(
        "Employee Code", "Log Date", direction="Direction", serial="Serial Number", payload=("Device Name",)
    ),
    "generic": Profile("user", "time", direction="direction", serial="serial"),
}
"""Every table that is known, by the name that `options.profile` may give it. The first that fits is taken."""
