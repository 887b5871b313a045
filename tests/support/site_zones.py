"""What is recorded of an ERPNext site's zone, for tests that are of something else."""

from datetime import UTC, datetime

from attendance.records.site import SiteZone, ZoneState


class RecordedZones:
    """An `attendance.site.ZoneStore` with the same record for every site, until another is put."""

    def __init__(self, zone: str, state: ZoneState = "accepted") -> None:
        self.zone = zone
        self.state: ZoneState = state
        self.put_ones: list[SiteZone] = []

    def get(self, site: str) -> SiteZone | None:
        if self.put_ones:
            return self.put_ones[-1]
        return SiteZone(site, self.zone, self.state, datetime(2026, 1, 1, tzinfo=UTC), "fatima", self.zone)

    async def put(self, zone: SiteZone) -> None:
        self.put_ones.append(zone)
