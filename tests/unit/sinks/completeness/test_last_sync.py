"""The last sync of a shift that others move as well."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from attendance.metrics import Metrics
from sinks.completeness import last_sync
from sinks.completeness.last_sync import LastSync

NOW = datetime.fromisoformat("2026-03-09 00:00")
US = "api@example.com"


class Site:
    """One Shift Type of an ERPNext in which others write as well."""

    def __init__(self, **fields: Any) -> None:
        self.row: dict[str, Any] = {"last_sync_of_checkin": None, "modified": "0", "modified_by": "hr@example.com"}
        self.row |= fields
        self.written: list[str] = []

    def logged_user(self) -> str:
        return US

    def get(self, _doctype: str, _name: str) -> dict[str, Any]:
        return dict(self.row)

    def update(self, _doctype: str, _name: str, fields: Mapping[str, Any]) -> None:
        self.row |= {**fields, "modified_by": US}
        self.written.append(fields["last_sync_of_checkin"])

    def hourly_job(self, until: str, by: str = "Administrator") -> None:
        self.row |= {"last_sync_of_checkin": until, "modified_by": by}


class Watch:
    """One process that watches the site."""

    def __init__(self, site: Site) -> None:
        self.metrics = Metrics()
        self.last_sync = LastSync(site, self.metrics)  # type: ignore[arg-type]

    def advance(self, until: str | None) -> float | None:
        """Advance the shift, and return what the metric says of it."""
        self.last_sync.advance("Day", datetime.fromisoformat(until) if until else None, NOW)
        return self.shown()

    def shown(self) -> float | None:
        lines = self.metrics.exposition().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{last_sync.SERIES}{{shift")), None)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    capture = LogCapture()
    monkeypatch.setattr(last_sync, "log", structlog.wrap_logger(None, [capture]))
    return capture


def warnings(said: LogCapture) -> list[dict[str, Any]]:
    return [dict(entry) for entry in said.entries if entry["log_level"] == "warning"]


def test_our_own_moves_are_nothing_to_speak_of(said: LogCapture) -> None:
    watch = Watch(Site())
    assert [watch.advance("2026-03-02 17:00"), watch.advance("2026-03-02 17:30")] == [0, 0]
    assert not warnings(said)


def test_a_move_beyond_what_devices_claim_is_said_once_and_shown_until_they_have_caught_up(said: LogCapture) -> None:
    site = Site()
    watch = Watch(site)
    watch.advance("2026-03-02 12:00")
    site.hourly_job("2026-03-02 18:01:00")
    assert [watch.advance("2026-03-02 13:00"), watch.advance("2026-03-02 14:00")] == [1, 1]
    [warning] = warnings(said)
    assert warning["event"].startswith("Something else moved the last sync of this shift further")
    assert (warning["last_sync_of_checkin"], warning["devices_until"]) == ("2026-03-02 18:01:00", "2026-03-02 13:00:00")
    assert warning["modified_by"] == "Administrator"
    assert site.written == ["2026-03-02 12:00:00"], "and nothing moves it back"

    assert watch.advance("2026-03-02 18:30") == 0
    site.hourly_job("2026-03-03 18:01:00")
    assert watch.advance("2026-03-02 18:40") == 1
    assert len(warnings(said)) == 2, "the next move is said again"


def test_a_move_within_what_devices_claim_harms_nobody(said: LogCapture) -> None:
    site = Site()
    site.hourly_job("2026-03-02 12:00:00")
    assert Watch(site).advance("2026-03-02 17:00") == 0
    assert not warnings(said)


def test_a_move_of_a_shift_whose_devices_have_claimed_nothing_is_noticed(said: LogCapture) -> None:
    site = Site()
    watch = Watch(site)
    assert watch.advance(None) == 0
    site.hourly_job("2026-03-02 18:01:00")
    assert watch.advance(None) == 1
    assert [warning["devices_until"] for warning in warnings(said)] == [None]


def test_a_move_that_left_no_trace_in_the_document_is_noticed_by_whoever_wrote_before(said: LogCapture) -> None:
    site = Site()
    watch = Watch(site)
    watch.advance("2026-03-02 12:00")
    site.hourly_job("2026-03-02 18:01:00", by=US)
    assert watch.advance("2026-03-02 12:05") == 1
    assert len(warnings(said)) == 1


def test_what_we_wrote_ourselves_is_ours_also_after_a_restart_and_where_a_device_was_added(said: LogCapture) -> None:
    site = Site()
    Watch(site).advance("2026-03-02 17:00")
    watch = Watch(site)
    assert [watch.advance("2026-03-02 15:00"), watch.advance(None)] == [0, 0]
    assert not warnings(said)


def test_a_shift_that_erpnext_moves_by_itself_is_warned_of_once_and_shown(said: LogCapture) -> None:
    site = Site(auto_update_last_sync=1)
    watch = Watch(site)
    assert [watch.advance("2026-03-02 17:00"), watch.advance("2026-03-02 17:30")] == [1, 1]
    [warning] = warnings(said)
    assert warning["event"].endswith("Switch off Automatically update Last Sync of Checkin.")
    site.row["auto_update_last_sync"] = 0
    assert watch.advance("2026-03-02 17:40") == 0


def test_a_shift_that_is_not_listed_any_more_is_not_shown(said: LogCapture) -> None:
    watch = Watch(Site())
    watch.advance("2026-03-02 17:00")
    watch.last_sync.forget("Day")
    watch.last_sync.forget("Night")
    assert watch.shown() is None


def test_a_time_in_the_sites_future_that_we_wrote_in_a_wrong_zone_is_moved_back(said: LogCapture) -> None:
    site = Site(last_sync_of_checkin="2026-03-09 06:00:00", modified_by=US)
    Watch(site).advance("2026-03-08 23:50")
    assert site.written == ["2026-03-08 23:50:00"]
    assert any("future" in warning["event"] for warning in warnings(said))


@pytest.mark.parametrize(
    ("written", "by"),
    [
        ("2026-03-09 06:00:00", "hr@example.com"),  # theirs to decide
        ("2026-03-09 00:05:00", US),  # the two clocks may differ
    ],
)
def test_any_other_time_ahead_is_left_where_it_is(written: str, by: str) -> None:
    site = Site(last_sync_of_checkin=written, modified_by=by)
    Watch(site).advance("2026-03-08 23:50")
    assert site.written == []
