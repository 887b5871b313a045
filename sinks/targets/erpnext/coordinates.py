"""What ERPNext asks of coordinates. A check-in without them, from a device that has none, is the fleet's fault.

HR Settings, Allow Geolocation Tracking makes ERPNext refuse every check-in without coordinates, those of terminals too.
Its refusal is the same `ValidationError` as of many other things. So the setting is asked for.
"""

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Final

import structlog

from attendance.erpnext import Document, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, InvalidRecord, Reason
from attendance.records.checkin import Checkin
from sinks.targets.base import Delivered, Result, SentBack
from sinks.targets.erpnext.employees import already_there

log = structlog.get_logger(__name__)

ASK_AGAIN: Final = 60.0
"""Seconds for which the site is taken to ask for the same still."""


class CoordinateRule:
    """Whether the site asks for coordinates: looked up now and then, and when a check-in without them is rejected.

    Used by several threads at once; the worst that comes of it is a question too many.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known, and nothing is asked before there is a check-in without coordinates."""
        self._clock = clock
        self._holds = False
        self._asked = -inf
        self._named: set[str] = set()

    def withhold(
        self, client: ErpnextClient, checkins: Mapping[int, Checkin], documents: Mapping[int, Document]
    ) -> dict[int, SentBack | Delivered]:
        """The check-ins that the site would refuse, each with what becomes of it. The others need not be sent alone.

        Args:
            client: Asks ERPNext.
            checkins: Those of one call, by their index.
            documents: What would be sent, by the same index. A check-in without a document is left alone.

        Returns:
            By index: `SentBack`, or `Delivered` where ERPNext has it already.

        Raises:
            TargetUnavailable: The site does not answer.
            AccessDenied, DocumentRejected: It does not say what it holds.
        """
        missing = {index for index, document in documents.items() if "latitude" not in document}
        if not missing:
            return {}
        holds = self._ask(client) if self._clock() - self._asked >= ASK_AGAIN else self._holds
        if not holds:
            return {}
        found = already_there(client, {index: checkins[index] for index in missing}, documents)
        return {index: self._send_back(documents[index]) for index in missing} | found

    def explain(
        self, client: ErpnextClient, documents: Mapping[int, Document], results: Mapping[int, Result]
    ) -> dict[int, SentBack]:
        """Those rejections that are for want of coordinates, whatever else may be wrong with them.

        Args:
            client: Asks ERPNext, where a check-in without coordinates was rejected.
            documents: What was sent, by index.
            results: What became of it, by the same index.

        Returns:
            By index: what becomes of them instead.

        Raises:
            TargetUnavailable: The site does not answer.
        """
        refused = [
            index
            for index, document in documents.items()
            if "latitude" not in document
            and isinstance(result := results.get(index), InvalidRecord)
            and result.reason is Reason.TARGET_REJECTED
        ]
        if not refused or not self._ask(client):
            return {}
        return {index: self._send_back(documents[index]) for index in refused}

    def _ask(self, client: ErpnextClient) -> bool:
        try:
            self._holds = client.wants_coordinates()
        except (AccessDenied, DocumentRejected):
            self._holds = False  # then its refusals speak for themselves
        self._asked = self._clock()
        if not self._holds:
            self._named.clear()
        return self._holds

    def _send_back(self, document: Document) -> SentBack:
        device_id = document["device_id"]
        if device_id not in self._named:
            self._named.add(device_id)
            log.error(
                "ERPNext asks for coordinates, and a device has none; its check-ins wait. Give it latitude and "
                "longitude in the fleet file, or switch off Allow Geolocation Tracking in HR Settings.",
                device_id=device_id,
            )
        message = f"ERPNext asks for coordinates, and {device_id} has none in the fleet file"
        return SentBack(Reason.COORDINATES_REFUSED, message)
