"""ERPNext's clock, beside which a process lays its own."""

import asyncio
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from attendance.server_clock import Clock, ClockReader, is_here
from attendance.settings import ErpnextSettings
from attendance.times import now


def erpnext_clock(settings: ErpnextSettings) -> ClockReader:
    """Reads ERPNext's clock, by the header `Date` of any answer.

    Args:
        settings: Where it is.
    """

    async def read() -> Clock | None:
        if await is_here(urlsplit(settings.url).hostname or ""):
            return None
        return await asyncio.to_thread(_ask, settings)

    return read


def _ask(settings: ErpnextSettings) -> Clock | None:
    began = time.monotonic()
    try:
        # Whatever it answers, and without credentials: only its clock is asked for.
        answer = requests.head(
            settings.url.rstrip("/") + "/api/method/ping",
            timeout=settings.timeout,
            verify=settings.verify_tls,
            allow_redirects=False,
        )
        at, seconds = now(), time.monotonic() - began
        ahead = (parsedate_to_datetime(answer.headers.get("Date", "")) - at).total_seconds()
    except (requests.RequestException, ValueError, TypeError):  # a date without a zone is none
        return None
    # It leaves out the parts of a second, and was written some time between the question and its answer.
    return Clock("that of ERPNext", ahead + 0.5 + seconds / 2, 0.5 + seconds / 2)
