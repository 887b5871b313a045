"""Words for what records of punches lack: gaps of a day, why a time cannot be given, and why a day is left alone."""

from collections.abc import Mapping
from typing import Final

from console.language import marked as _
from console.words import Plain
from operations.late import Why as LeftAlone
from operations.reconcile import Kind
from operations.right_time import Why

GAPS: Final[Mapping[Kind, Plain]] = {
    "not_in_kafka": Plain(
        _("The device counts more than arrived"), _("Have the device send the day again: on its page, backfill."), "it"
    ),
    "numbers_missing": Plain(
        _("Numbers are missing in what the device sent"),
        _("Have the device send the day again: on its page, backfill."),
        "it",
    ),
    "not_complete": Plain(
        _("The device has not sent everything yet"), _("Is it switched on? Does the network of the site work?"), "it"
    ),
    "undecided": Plain(_("Arrived, and not looked at yet"), _("Wait a minute. If it stays so, call IT."), "it"),
    "undelivered": Plain(
        _("On its way to ERPNext"), _("Wait a minute. If it stays so, see whether ERPNext answers."), "it"
    ),
    "waiting": Plain(
        _("Waiting for an employee"), _("Say whose number it is, under unmapped people. Or discard it."), "hr"
    ),
    "dead_letters": Plain(_("Failed"), _("See needs attention: mend the cause, then replay. Or discard it."), "hr"),
    "rejected": Plain(
        _("What the device sent is not a complete punch"),
        _("See needs attention: correct the device or its entry, then replay. Or discard it."),
        "it",
    ),
    "not_in_erpnext": Plain(
        _("Delivered, and not in ERPNext any more"),
        _("Somebody may have deleted it. IT can send it again: punchstream audit --against-erpnext --repair."),
        "it",
    ),
}
"""By kind of gap what is missing and what to do."""

TIME_REFUSALS: Final[Mapping[Why, str]] = {
    "unknown": _("There is no such punch."),
    "gone": _("What the device sent of this punch is not kept any more."),
    "no_note": _("Say why, in at most 500 letters."),
    "no_time": _("Enter a date and a time of day, such as 2026-03-02 08:00."),
    "same": _("That is the time which the punch has."),
    "ahead": _("No punch is made after it arrived. This one arrived at %(about)s (UTC)."),
    "before_installed": _("The device was not there yet at that time."),
    "corrected": _("This punch was corrected already. Give the one in its place another time: %(about)s"),
    "correction_failed": _(
        "This correction failed. Mend its cause and replay it, or give the first one its time: %(about)s"
    ),
    "on_its_way": _("This punch is on its way to ERPNext. Try again in a minute."),
    "waits": _("This punch waits for an employee. Say whose number it is first."),
    "dropped": _("This is a repeat of another punch, which was counted. Give that one its time."),
    "other_reason": _("This punch did not fail for its time. Mend its cause, then replay it."),
}
"""By cause why a punch cannot be given a time."""

DAYS_LEFT_ALONE: Final[Mapping[LeftAlone, str]] = {
    "no_checkin": _("ERPNext has no check-in of that day."),
    "not_closed": _("ERPNext has not closed that day yet, and will count it by itself."),
    "no_attendance": _("ERPNext has no attendance of that day, and it was no repair that cancelled one."),
    "several": _("There are several attendances of that day: a person has to decide."),
    "other_status": _("It is not Absent in ERPNext, but %(about)s."),
    "draft": _("Its Absent is a draft: a person has to decide."),
    "by_a_person": _("Its Absent was not made by ERPNext itself for this shift: a person has to decide."),
    "changed": _("%(about)s has changed its Absent, and has to decide."),
    "all_counted": _("It is Absent with all its check-ins counted: they are too few hours."),
}
"""By reason why a day that has a late punch is left alone."""
