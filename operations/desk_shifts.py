"""The shifts of ERPNext's desk: Shift Types that say where their people punch, and who makes their Attendance."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from attendance.erpnext import ErpnextClient
from attendance.errors import DocumentRejected, PermissionDenied, RetriableError, TargetUnavailable
from attendance.fleet import Shift
from attendance.fleet_entries import GivenEntry
from producers.directory.desk import NO_METHOD

log = structlog.get_logger(__name__)

SHIFTS: Final = "/api/method/biometric_integration.sync.shifts"


def read_shift(given: object) -> GivenEntry:
    """The entry of one shift. A field that only a later release knows is left out.

    Args:
        given: What the app says of it.

    Raises:
        TargetUnavailable: it names no shift, so the answer it came with is not to be trusted.
    """
    name = given.get("shift_type") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(name, str) or not name:
        raise TargetUnavailable(f"a shift that cannot be read: {given!r}")
    fields: dict[str, Any] = {field: value for field, value in given.items() if field in Shift.model_fields}
    return GivenEntry("shift", fields, "ERPNext", f"shift {name}")


class DeskShifts:
    """The shifts of one site. What fails is logged once, and holds up nothing else."""

    def __init__(self, site: ErpnextClient) -> None:
        """Nothing is asked yet.

        Args:
            site: The ERPNext.
        """
        self._site = site
        self._problem = ""

    async def look(self) -> Sequence[GivenEntry] | None:
        """All shifts that name a site or a device, by one request.

        Returns:
            None where the app does not say, as an earlier release of it, or ERPNext does not answer: nobody knows then
            which there are.

        Raises:
            AccessDenied: the credentials are refused.
        """
        try:
            answer = await asyncio.to_thread(self._site.call, "GET", SHIFTS)
            rows = answer.get("message")
            if not isinstance(rows, list):
                raise TargetUnavailable("no list of shifts")
            found = [read_shift(each) for each in rows]
        except RetriableError as error:
            self._say(log.warning, "Could not read the shifts of ERPNext's desk; what is known of them stays.", error)
        except (DocumentRejected, PermissionDenied) as error:
            # An earlier release of the app does not have it.
            if not isinstance(error, DocumentRejected) or error.kind != NO_METHOD:
                self._say(
                    log.error,
                    "ERPNext does not show the shifts of its desk; what is known of them stays. "
                    "Give the API user the role Biometric Sync.",
                    error,
                )
        else:
            self._problem = ""
            return found
        return None

    def _say(self, level: Callable[..., object], sentence: str, error: Exception) -> None:
        if str(error) != self._problem:
            level(sentence, error=str(error))
        self._problem = str(error)
