"""Words of the console for what the engine calls by a code: outcomes, reasons, milestones and states.

They are for HR and IT. Every member of a closed set has its words here, which a test holds.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from attendance.errors import Reason
from attendance.fleet_topic import APPROVAL, COMMAND, CONSOLE, ERPNEXT, FILE
from attendance.records.activity import ActivityState
from attendance.records.console_user import Role
from attendance.records.job import JobKind
from console.language import marked as _
from operations.activity import Act
from operations.dead_letters import State
from operations.jobs import State as JobState
from operations.journeys import Outcome

Who = Literal["hr", "it"]


class Plain(NamedTuple):
    """A reason in plain words.

    Attributes:
        what: What is the matter.
        to_do: What mends it.
        who: Whose job that is.
    """

    what: str
    to_do: str
    who: Who


WHO: Final[Mapping[Who, str]] = {"hr": _("HR"), "it": _("IT")}

OUTCOMES: Final[Mapping[Outcome, str]] = {
    "delivered": _("In ERPNext"),
    "undelivered": _("On its way to ERPNext"),
    "undecided": _("Just arrived"),
    "dropped": _("Repeat, not counted"),
    "waiting": _("Waiting"),
    "dead_lettered": _("Needs attention"),
    "discarded_waiting": _("Discarded"),
}

DIRECTIONS: Final[Mapping[str, str]] = {"IN": _("In"), "OUT": _("Out"), "UNKNOWN": _("Not said")}

MILESTONES: Final[Mapping[str, str]] = {
    "received": _("Received from the device"),
    "stored": _("Stored"),
    "decided": _("Checked"),
    "delivered": _("Written to ERPNext"),
}

REASONS: Final[Mapping[Reason, Plain]] = {
    Reason.UNKNOWN_DEVICE: Plain(_("The device is not in the fleet"), _("Approve the device, then replay."), "it"),
    Reason.WRONG_ADDRESS: Plain(
        _("The device came from an address that is not its own"), _("Approve its new address."), "it"
    ),
    Reason.BODY_TOO_LARGE: Plain(
        _("The device sent too much at once"), _("Have the device send fewer punches at once."), "it"
    ),
    Reason.BODY_TOO_SLOW: Plain(
        _("The device sent too slowly"), _("Look at the network of the site. The device sends again by itself."), "it"
    ),
    Reason.UNREADABLE_BODY: Plain(
        _("What the device sent cannot be read"),
        _("Look at the device's firmware and adapter. Replay after the release that can read it."),
        "it",
    ),
    Reason.INVALID_EVENT: Plain(
        _("What the device sent is not a complete punch"),
        _("Look at one of them. Correct the device or its entry, then replay; if it is no punch, discard it."),
        "it",
    ),
    Reason.CANNOT_BE_KEPT: Plain(
        _("What the device sent could not be kept"), _("Look at the log. The device sends again by itself."), "it"
    ),
    Reason.KAFKA_UNAVAILABLE: Plain(
        _("The store of punches did not answer"), _("Nothing: the device sends again by itself."), "it"
    ),
    Reason.OVERLOADED: Plain(
        _("Too many devices sent at the same time"), _("Nothing: the device sends again by itself."), "it"
    ),
    Reason.STANDING_STILL: Plain(
        _("The service had stopped for safety"), _("Look at the log. The device sends again by itself."), "it"
    ),
    Reason.DEVICE_PAUSED: Plain(
        _("The device is paused"), _("Nothing: the device keeps its punches until somebody resumes it."), "it"
    ),
    Reason.UNDECODABLE_RECORD: Plain(
        _("A stored record cannot be read"), _("Look at the record. Replay after the release that can read it."), "it"
    ),
    Reason.UNREADABLE_TIME: Plain(
        _("The time of the punch cannot be read"), _("Correct the device. Enter the punch by an import."), "it"
    ),
    Reason.IMPLAUSIBLE_TIME: Plain(
        _("The time of the punch cannot be right"),
        _("Set the device's clock. Replay where the time is right; otherwise enter the right one, then discard."),
        "hr",
    ),
    Reason.CLOCK_SKEW: Plain(
        _("The device's clock was wrong"),
        _("Set the device's clock. Replay where the time is right; otherwise enter the right one, then discard."),
        "hr",
    ),
    Reason.BEYOND_HORIZON: Plain(
        _("The punch is so old that it may have been counted already"),
        _("Replay what ERPNext does not have, and discard the rest."),
        "hr",
    ),
    Reason.ERASED: Plain(
        _("The punch is of somebody whose data was erased"), _("Discard it, unless it is somebody else's."), "hr"
    ),
    Reason.DUPLICATE: Plain(_("The same punch arrived before"), _("Nothing: it was counted once."), "hr"),
    Reason.REPEAT: Plain(
        _("The person punched twice within a short time"), _("Nothing: the first punch was counted."), "hr"
    ),
    Reason.UNMAPPED_USER: Plain(
        _("Nobody knows whose number this is"), _("Say whose number it is. The punches then flow by themselves."), "hr"
    ),
    Reason.USER_IGNORED: Plain(
        _("The number is ignored"), _("Nothing, unless it is an employee's: then take it back."), "hr"
    ),
    Reason.EMPLOYEE_INACTIVE: Plain(
        _("The employee is not active in ERPNext"),
        _("Correct the employee's status or dates in ERPNext. The punches then flow by themselves."),
        "hr",
    ),
    Reason.BEFORE_JOINING: Plain(
        _("The punch is from before the employee joined"),
        _("Correct the joining date in ERPNext, or whose number it is."),
        "hr",
    ),
    Reason.INTERNAL_ERROR: Plain(
        _("A fault of Punchstream"), _("Report it. Replay after the release that repairs it."), "it"
    ),
    Reason.UNKNOWN_EMPLOYEE: Plain(
        _("ERPNext does not have this employee"), _("Correct the employee, or whose number it is, then replay."), "hr"
    ),
    Reason.COORDINATES_REFUSED: Plain(
        _("ERPNext wants to know where the device hangs"), _("Give the device its coordinates, then replay."), "it"
    ),
    Reason.TARGET_REJECTED: Plain(
        _("ERPNext refuses the punch"), _("Read ERPNext's answer. Correct the cause, then replay."), "hr"
    ),
    Reason.TARGET_ERROR: Plain(
        _("ERPNext fails on this punch"), _("Have ERPNext's error log read. Correct the cause, then replay."), "it"
    ),
    Reason.TARGET_FORBIDDEN: Plain(
        _("ERPNext does not let Punchstream see this employee"),
        _("Let the API user see every employee, then replay."),
        "it",
    ),
    Reason.ATTENDANCE_MARKED: Plain(
        _("The day of a corrected punch is closed in ERPNext"),
        _("Cancel the Attendance, replay, and have ERPNext process the day again."),
        "hr",
    ),
}

DeviceState = Literal["silent", "never", "late", "connected", "outside", "paused", "off"]

DEVICE_STATES: Final[Mapping[DeviceState, str]] = {
    "silent": _("Silent"),
    "never": _("Never heard"),
    "late": _("Late"),
    "connected": _("Connected"),
    "outside": _("Outside working hours"),
    "paused": _("Paused"),
    "off": _("Switched off"),
}
"""Those that need somebody first."""

SOURCES: Final[Mapping[str, str]] = {
    FILE: _("the fleet files"),
    COMMAND: _("the command line"),
    APPROVAL: _("an approval by the command line"),
    ERPNEXT: "ERPNext",
    CONSOLE: _("this console"),
}
"""Who wrote the entry of a device. Any other source is a name that people gave to files of theirs."""

VERIFIED: Final[Mapping[str, str]] = {
    "none": _("not tried on anything yet"),
    "simulator": _("tried on a simulated device only"),
}
"""What an adapter was tried on. Anything else names the device."""

ROLES: Final[Mapping[Role, str]] = {
    "viewer": _("Viewer: changes nothing"),
    "hr": _("HR: people, corrections, imports, and what HR can mend"),
    "it": _("IT: devices, imports, and what failed"),
    "administrator": _("Administrator: everything, and accounts"),
}

ACTS: Final[Mapping[Act, str]] = {
    "account.add": _("Made an account"),
    "account.change": _("Changed an account"),
    "account.password": _("Gave somebody another password"),
    "account.remove": _("Removed an account"),
    "number.ignore": _("Had a number ignored"),
    "number.map": _("Said whose number it is"),
    "number.stop_ignoring": _("Took back that a number is ignored"),
    "number.unmap": _("Took back whose number it is"),
    "import.commit": _("Brought punches in by file"),
    "time.give": _("Gave a punch its right time"),
    "job.cancel": _("Cancelled a job"),
    "letters.discard": _("Discarded what failed"),
    "letters.replay": _("Replayed what failed"),
    "correction.apply": _("Had check-ins in ERPNext replaced"),
    "late.repair": _("Had ERPNext count late days again"),
    "device.add": _("Added a device"),
    "device.approve": _("Let a device in"),
    "device.backfill": _("Had a device send its punches again"),
    "device.change": _("Changed a device"),
    "device.configure": _("Changed settings of a device"),
    "device.forget": _("Took a device from the list of those that wait"),
    "device.pause": _("Paused a device"),
    "device.remove": _("Removed a device"),
    "device.resume": _("Resumed a device"),
    "device.token": _("Gave a device another key"),
    "token.add": _("Made a token"),
    "token.remove": _("Removed a token"),
}

ABOUT: Final[Mapping[str, str]] = {
    "account": _("Account"),
    "count": _("How many"),
    "days": _("Days"),
    "device": _("Device"),
    "disabled": _("Kept out"),
    "employee": _("Employee"),
    "event_id": _("Id of the punch"),
    "job": _("Job"),
    "letters": _("Which"),
    "file": _("File"),
    "number": _("Number on the device"),
    "right_time": _("Right time"),
    "reason": _("What failed"),
    "role": _("Role"),
    "serial": _("Serial number"),
    "settings": _("Settings"),
    "site": _("Site"),
    "sites": _("Sites"),
    "stage": _("Where it failed"),
    "token": _("Token"),
    "wrong_time": _("Time until now"),
}
"""What an activity is about."""

ACTIVITY_STATES: Final[Mapping[ActivityState, str]] = {
    "begun": _("Broken off: look whether it is done"),
    "done": _("Done"),
    "failed": _("Failed"),
}

LETTER_STATES: Final[Mapping[State, str]] = {
    State.OPEN: _("Nobody has dealt with it"),
    State.PARKED: _("It failed again after several replays"),
    State.REPLAYED: _("Replayed"),
    State.DISCARDED: _("Discarded"),
}

JOB_KINDS: Final[Mapping[JobKind, str]] = {
    "replay_letters": _("Replay"),
    "discard_letters": _("Discard"),
    "repair_days": _("Count late days again"),
    "correct_checkins": _("Replace check-ins"),
}

JOB_STATES: Final[Mapping[JobState, str]] = {
    "queued": _("Waits for its turn"),
    "running": _("In progress"),
    "done": _("Done"),
    "cancelled": _("Cancelled"),
    "failed": _("Failed"),
}
