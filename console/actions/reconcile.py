"""A day of devices, compared: what they, the ledger and ERPNext have of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from console.acting import Refused
from console.actions.fresh import lacking
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from ledger.behind import refuse_days_gone
from ledger.settings import LedgerSettings
from ledger.trace import LedgerTrace
from operations.day_in_erpnext import Erpnext
from operations.log import Skipped
from operations.reconcile import DeviceDay, Reconciliation, is_over, reconcile

UNKNOWN_ERPNEXT: Final = "ERPNext was not asked: "


@dataclass(frozen=True, slots=True)
class DayAnswer:
    """A day of devices.

    Attributes:
        day: Which.
        found: What was found.
        source: The ledger, which says as of when that is.
        lacking: How many records the ledger lacks: with any, nothing is said to be whole.
        erpnext_problem: Why ERPNext did not answer; None where it did, or is not asked.
        is_over: Whether the day has ended where each of the devices is.
    """

    day: date
    found: Reconciliation
    source: LedgerTrace
    lacking: int
    erpnext_problem: str | None
    is_over: bool

    @property
    def is_whole(self) -> bool:
        """Whether there is no gap, and nothing that could hide one."""
        return self.found.is_whole and not self.lacking

    @property
    def with_gap(self) -> Sequence[DeviceDay]:
        """The devices that have a gap."""
        return [each for each in self.found.devices if each.gaps]


def devices_of(context: Context, actor: Actor, site: str, device: str) -> Sequence[Device]:
    """The devices of a site, or one, as far as somebody sees them.

    Args:
        context: Of the console.
        actor: Who asks.
        site: Its name; empty for every site.
        device: Of one device, which counts before the site; empty for all of the site.
    """
    if device:
        found = context.registry.get(device)
        return [found] if found is not None and actor.sees(found.site) else []
    return [each for each in context.registry if site in ("", each.site) and actor.sees(each.site)]


async def reconcile_day(context: Context, devices: Sequence[Device], day: date) -> DayAnswer:
    """Compare a day. ERPNext is asked where the console knows it; devices are not.

    Args:
        context: Of the console.
        devices: Which ones.
        day: On the clock of each.

    Raises:
        Refused: the ledger has let go of the rows of that day.
        RetriableError: Kafka or the ledger does not answer.
    """
    try:
        await asyncio.to_thread(refuse_days_gone, context.database, day, LedgerSettings.load().days)
    except ConfigurationError as error:
        raise Refused(_("The ledger does not have that day any more.")) from error
    behind = await lacking(context)
    source, at = LedgerTrace(context.database), context.clock()
    ask = None if context.erpnext is None else Erpnext(context.erpnext).which
    found = await reconcile(source, context.log, devices, day, Skipped(), now=at, in_erpnext=ask)
    problem = next((each for each in found.problems if each.startswith(UNKNOWN_ERPNEXT)), None)
    over = all(is_over(each, day, at) for each in devices)
    return DayAnswer(day, found, source, behind, problem and problem.removeprefix(UNKNOWN_ERPNEXT), over)
