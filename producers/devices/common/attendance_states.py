"""The attendance states that ZKTeco defined, and that much other software exports.

Source: ZKTeco, "Attendance PUSH Communication Protocol": 0 check-in, 1 check-out, 2 break-out, 3 break-in,
4 overtime-in, 5 overtime-out, 255 none.
"""

from collections.abc import Mapping
from typing import Final

from attendance.records.raw_event import EventType

_DIRECTIONS: Final[Mapping[str, EventType]] = {"0": "IN", "3": "IN", "4": "IN", "1": "OUT", "2": "OUT", "5": "OUT"}


def direction_of_state(state: object) -> EventType:
    """The direction of a state, written as a number or as its digits; UNKNOWN for every other one."""
    return _DIRECTIONS.get(str(state), "UNKNOWN")
