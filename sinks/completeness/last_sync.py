"""LastSync: `Shift Type.last_sync_of_checkin`, moved on as far as devices claim, and watched: others may move it too.

hrms moves it by itself, hourly, for a Shift Type with `auto_update_last_sync`: to the end of the last shift by the
clock, whatever devices have sent. Other apps and people write it as well. Whoever has no check-in yet in a day that is
closed so is Absent.
"""

from datetime import datetime
from typing import Final

import structlog

from attendance.erpnext import SHIFT_TYPE, Document, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, TargetUnavailable
from attendance.metrics import Metrics
from attendance.site import CLOCKS_DIFFER

log = structlog.get_logger(__name__)

SERIES: Final = "punchstream_shift_last_sync_ahead"


class LastSync:
    """Writes the last sync of Shift Types, and notices what others do to it. Not safe for threads."""

    def __init__(self, client: ErpnextClient, metrics: Metrics) -> None:
        """Nothing is asked yet.

        Args:
            client: The site whose shifts are moved on.
            metrics: Shows which shifts others move.
        """
        self._client = client
        self._metrics = metrics
        self._user: str | None = None
        self._ours: dict[str, datetime] = {}
        self._noticed: dict[str, datetime | None] = {}
        self._shown: set[str] = set()

    def advance(self, shift_type: str, sync: datetime | None, site_now: datetime) -> None:
        """Write the time into ERPNext, unless it has that time or a later one. Does not raise.

        A later one that we wrote ourselves, and that lies in the site's future, was written in a wrong zone. It is
        moved back.

        Args:
            shift_type: Its name in ERPNext.
            sync: Up to when its devices have claimed to be complete, in the naive time of the site; None if one of them
                has claimed nothing. Then ERPNext is only looked at.
            site_now: The site's wall clock.
        """
        try:
            document = self._client.get(SHIFT_TYPE, shift_type)
            value = document.get("last_sync_of_checkin")
            known = datetime.fromisoformat(str(value)) if value else None
            self._look(shift_type, document, known, sync)
            if sync is None:
                return
            if known and sync <= known:
                if known <= site_now + CLOCKS_DIFFER or not self._is_ours(shift_type, document, known):
                    return
                log.warning(
                    "The last sync of this shift lies in ERPNext's future, so days are closed before they end. Moving "
                    "it back.",
                    shift_type=shift_type,
                    last_sync_of_checkin=str(known),
                )
            # With `modified` the site refuses if somebody else was faster, who may have gone further.
            fields = {"last_sync_of_checkin": str(sync), "modified": document.get("modified")}
            self._client.update(SHIFT_TYPE, shift_type, fields)
        except TargetUnavailable as error:
            log.warning("Waiting for ERPNext.", shift_type=shift_type, error=str(error))
        except (AccessDenied, DocumentRejected) as error:
            log.error("ERPNext refused to advance this shift.", shift_type=shift_type, error=str(error))
        else:
            self._ours[shift_type] = sync
            log.info("Shift advanced.", shift_type=shift_type, last_sync_of_checkin=str(sync))

    def forget(self, shift_type: str) -> None:
        """The fleet does not list this shift any more."""
        self._ours.pop(shift_type, None)
        self._noticed.pop(shift_type, None)
        if shift_type in self._shown:
            self._shown.remove(shift_type)
            self._metrics.forget(SERIES, shift_type=shift_type)

    def _look(self, shift_type: str, document: Document, known: datetime | None, sync: datetime | None) -> None:
        """Say, once for each time, that something else moves the last sync further than the devices have claimed."""
        by_itself = bool(document.get("auto_update_last_sync"))
        # Devices may fall back behind what we wrote: one was added to the shift.
        ahead = known is not None and (sync is None or known > sync) and not self._is_ours(shift_type, document, known)
        self._metrics.gauge(SERIES, float(by_itself or ahead), shift_type=shift_type)
        self._shown.add(shift_type)
        if not by_itself and not ahead:
            self._noticed.pop(shift_type, None)
            return
        moved_to = known if ahead else None
        if shift_type in self._noticed and self._noticed[shift_type] == moved_to:
            return
        self._noticed[shift_type] = moved_to
        if ahead:
            log.warning(
                "Something else moved the last sync of this shift further than its devices have claimed. Days that it "
                "closed may have people Absent whose punches are still to come.",
                shift_type=shift_type,
                last_sync_of_checkin=str(known),
                devices_until=str(sync) if sync else None,
                modified_by=document.get("modified_by"),
            )
        if by_itself:
            log.warning(
                "ERPNext moves the last sync of this shift by the clock, whether its devices are complete or not. "
                "Switch off Automatically update Last Sync of Checkin.",
                shift_type=shift_type,
            )

    def _is_ours(self, shift_type: str, document: Document, known: datetime) -> bool:
        """Whether we wrote that time: in this process or, if nobody else has changed the document since, before."""
        if shift_type in self._ours:
            return self._ours[shift_type] == known
        if self._user is None:
            self._user = self._client.logged_user()
        if document.get("modified_by") != self._user:
            return False
        self._ours[shift_type] = known
        return True
