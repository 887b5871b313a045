"""What `punchstream erpnext check` says of the site's zone."""

from datetime import UTC, datetime

import pytest

from attendance.errors import AccessDenied, KafkaUnavailable, TargetUnavailable, ZoneInDoubt
from attendance.records.site import SiteZone, ZoneState
from operations.site.zone import look_at_zone


class Site:
    def __init__(self, says: str | Exception) -> None:
        self.says = says

    def site_zone(self) -> str:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def recorded(state: ZoneState) -> SiteZone:
    return SiteZone("s", "Asia/Riyadh", state, datetime(2026, 3, 2, 5, tzinfo=UTC), "fatima", None, "C1", "it differs")


@pytest.mark.parametrize(
    ("says", "record", "state", "detail"),
    [
        ("Asia/Riyadh", recorded("proven"), "ok", "Asia/Riyadh, proven at 2026-03-02 05:00 UTC by fatima"),
        ("Asia/Riyadh", recorded("accepted"), "ok", "Asia/Riyadh, accepted at"),
        ("Asia/Riyadh", None, "ok", "not proven yet"),
        ("Asia/Tokyo", recorded("proven"), "failed", "was Asia/Riyadh"),
        ("Asia/Riyadh", recorded("in_doubt"), "failed", "it differs"),
        ("Mars/Base", None, "failed", "The time zone in ERPNext's System Settings"),
        (ZoneInDoubt("a proxy"), None, "failed", "a proxy"),
        (AccessDenied("401"), None, "failed", "401"),
        (TargetUnavailable("503"), None, "not checked", "503"),
        ("Asia/Riyadh", KafkaUnavailable("away"), "not checked", "ERPNext says Asia/Riyadh; what is recorded"),
    ],
)
def test_the_zone_is_certain_or_it_is_said_why_not(
    says: str | Exception, record: SiteZone | KafkaUnavailable | None, state: str, detail: str
) -> None:
    check, zone = look_at_zone(Site(says), record)
    assert (check.state, zone.key if zone else None) == (
        state,
        says if says in ("Asia/Riyadh", "Asia/Tokyo") else None,
    )
    assert detail in check.detail
    assert (check.remedy is None) == (state == "ok")
