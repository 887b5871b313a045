"""What each topic holds of a person, and how that goes. A topic that does not say so here fails a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from attendance.topics import Name

Goes = Literal["nothing", "expires", "removed", "rewritten"]
"""How what a topic holds of a person goes:

nothing    it holds nothing of a person
expires    with the record, once its retention is over; `punchstream privacy erase` names the day
removed    `punchstream privacy erase` writes tombstones, and compaction removes the values
rewritten  `punchstream privacy erase` writes the topic anew without the person, and deletes what was before
"""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a topic holds of a person.

    Attributes:
        holds: In words, for whoever has to answer to that person.
        goes: How it goes.
    """

    holds: str
    goes: Goes


HOLDINGS: Final[Mapping[Name, Holding]] = {
    "raw": Holding(
        "device, number, time and direction of each punch, allowed fields of the vendor, and why somebody gave it its"
        " right time",
        "expires",
    ),
    "user_map": Holding(
        "which employee a number is, or that it is ignored, by whom and why; the employee's status and dates, company"
        " and branch",
        "removed",
    ),
    "checkins": Holding("employee, device, number and time of each punch", "expires"),
    "dropped": Holding("device, number and time of each punch that was there already", "expires"),
    "unmapped": Holding("the punches that wait, with their employee where one is known", "removed"),
    "dead_letters": Holding("what failed, whole: punches, check-ins, rejected events", "expires"),
    "dead_letter_actions": Holding("what an operator wrote about a dead letter", "expires"),
    "jobs": Holding(
        "what an operator wrote about a job, of which device or letters it is, and what could not be done for whom",
        "expires",
    ),
    "deliveries": Holding("employee, and the name of the document in ERPNext", "expires"),
    "attendance_days": Holding("employee, day, times and hours", "expires"),
    "attendance_progress": Holding("dates of a shift", "nothing"),
    "dedup_state": Holding("device, number and time of each punch that was kept", "rewritten"),
    "device_status": Holding("what a device says of itself", "nothing"),
    "sequences": Holding("record numbers of devices", "nothing"),
    "other_events": Holding("what a device sent that is no punch, with a number where it named one", "expires"),
    "unread": Holding(
        "what no adapter understood, without what is cut out; may be sealed",
        "expires",
    ),
    "cursors": Holding("times and record numbers of devices", "nothing"),
    "terminals": Holding("stamps, commands and serial numbers of devices; addresses that were turned away", "nothing"),
    "site": Holding("facts of ERPNext, and which operator decided", "nothing"),
    "fleet": Holding("devices, sites and shifts, and which operator wrote them", "nothing"),
    "accounts": Holding("offsets, and which operator accepted a loss", "nothing"),
    "console_users": Holding(
        "names by which people sign in to the console, and what argon2 made of their passwords", "nothing"
    ),
    "console_activity": Holding(
        "what HR and IT had the console do, with employee, device, number, and what they wrote about it", "expires"
    ),
    "probe": Holding("trials", "nothing"),
}
"""By topic."""
