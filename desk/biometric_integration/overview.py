"""The numbers and the chart of the workspace: how things are, as Punchstream's console says it."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import frappe
from frappe import _
from frappe.permissions import get_user_permissions
from frappe.utils import formatdate, get_system_timezone

from biometric_integration import console, visible_people

KEPT: Final = 60
"""Seconds for which an answer is shown again."""
AWAY: Final = 10
"""Seconds for which the console is not asked again after it did not answer."""
DAYS: Final = 7
"""Of the chart."""
UNKNOWN: Final = "—"
"""What a card shows that knows no number. 0 would say that all is well."""
OUTCOMES: Final = ("delivered", "undelivered", "undecided", "waiting", "dropped", "dead_lettered", "discarded_waiting")
_KEY: Final = "punchstream_overview"
Shown: TypeAlias = int | str


@frappe.whitelist()
def silent_devices() -> Shown:
    """How many devices are silent, or were never heard."""
    return _number(lambda said: said["devices"].get("silent", 0) + said["devices"].get("never", 0))


@frappe.whitelist()
def unmapped_people() -> Shown:
    """How many numbers of device users wait for whose they are."""
    return _number(lambda said: said["numbers"])


@frappe.whitelist()
def punches_today() -> Shown:
    """How many punches are of today, whatever became of them."""
    return _number(lambda said: sum(said["days"][-1]["outcomes"].values()))


@frappe.whitelist()
def needs_attention() -> Shown:
    """How much failed that nobody has dealt with."""
    return _number(lambda said: said["letters"])


def punches_by_day() -> dict[str, Any]:
    """The chart: the punches of each of the last days, by what became of them.

    Raises:
        ConsoleProblem: the console does not say.
    """
    if not _sees_totals():
        # A message would come up each time that the workspace is opened.
        reason = _("These numbers are for those who may see every employee")
        return {"labels": [reason], "datasets": [{"name": UNKNOWN, "values": [0]}]}
    with console.understood():
        days = _asked()["days"]
        return {
            "labels": [formatdate(each["day"], "d MMM") for each in days],
            "datasets": [
                {"name": _(outcome), "values": [each["outcomes"].get(outcome, 0) for each in days]}
                for outcome in OUTCOMES
                if any(each["outcomes"].get(outcome) for each in days)
            ],
        }


def _number(of: Callable[[console.Json], int]) -> Shown:
    if not _sees_totals():
        return UNKNOWN
    try:
        with console.understood():
            return int(of(_asked()))
    except console.ConsoleProblem:
        # Four cards would show the same message four times; the raw log says it.
        frappe.clear_last_message()
        return UNKNOWN


def _asked() -> console.Json:
    """What the console says, asked once a minute at most."""
    kept = frappe.cache.get_value(_KEY, expires=True)
    if kept is None:
        try:
            kept = {"said": console.get("overview", days=DAYS, zone=get_system_timezone())}
        except console.ConsoleProblem as error:
            frappe.cache.set_value(_KEY, {"problem": str(error)}, expires_in_sec=AWAY)
            raise
        frappe.cache.set_value(_KEY, kept, expires_in_sec=KEPT)
    if "problem" in kept:
        raise console.problem(kept["problem"])
    return kept["said"]


def _sees_totals() -> bool:
    """Whether numbers of everybody are for the user: not for whoever may see some employees only."""
    if "System Manager" in frappe.get_roles():
        return not get_user_permissions(frappe.session.user) or frappe.session.user == "Administrator"
    return frappe.has_permission("Attendance Raw Log", "read") and visible_people.sees_everybody()


def forget() -> None:
    """Ask the console anew, as after its address has changed."""
    frappe.cache.delete_value(_KEY)
