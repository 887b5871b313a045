"""Window: between which naive times of ERPNext's own clock lies what was changed since the last look."""

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

# A transaction's `modified` is older than its commit, and clocks differ by minutes.
OVERLAP: Final = timedelta(minutes=5)
WESTERNMOST: Final = timedelta(hours=-12)
EASTERNMOST: Final = timedelta(hours=14)


def window(last: datetime, now: datetime, site_zone: ZoneInfo | None) -> tuple[datetime, datetime]:
    """The first and the last `modified` that a change between two instants can have.

    Args:
        last: When the last look began.
        now: When this one begins.
        site_zone: That of the site; None while it is in doubt, so that any may be it.

    Returns:
        Naive, in the site's zone. Where its clocks went back in between, the hour that came twice is inside.
    """
    if site_zone is None:
        first, latest = (instant.astimezone(UTC).replace(tzinfo=None) for instant in (last, now))
        return first + WESTERNMOST - OVERLAP, latest + EASTERNMOST + OVERLAP
    begin, end = last.astimezone(site_zone), now.astimezone(site_zone)
    shift = abs((end.utcoffset() or timedelta()) - (begin.utcoffset() or timedelta()))
    return begin.replace(tzinfo=None) - shift - OVERLAP, end.replace(tzinfo=None) + shift + OVERLAP
