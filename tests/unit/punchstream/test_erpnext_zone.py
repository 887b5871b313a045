"""`punchstream erpnext zone`: what is known of the site's zone, and a person's decision."""

from datetime import UTC, datetime

import orjson
import pytest
from memory_log import MemoryLog
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, TargetUnavailable, ZoneInDoubt
from attendance.records.site import SiteZone, ZoneState
from punchstream.cli import app

SITE = "http://erp.example.com"
AT = datetime(2026, 3, 2, 5, tzinfo=UTC)


class Site:
    """An ERPNext that says this of its zone."""

    def __init__(self, says: str | Exception = "Asia/Riyadh") -> None:
        self.says = says

    def site_zone(self) -> str:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def close(self) -> None:
        pass


@pytest.fixture
def site(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site()
    monkeypatch.setattr("attendance.erpnext.ErpnextClient", lambda _: site)
    for name, value in {"URL": f"{SITE}/", "API_KEY": "key", "API_SECRET": "secret"}.items():
        monkeypatch.setenv(f"ERPNEXT_{name}", value)
    return site


def zone(*options: str) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, ["erpnext", "zone", "--json", *options], catch_exceptions=False)
    return result.exit_code, orjson.loads(result.stdout)


def record(log: MemoryLog, name: str, state: ZoneState = "proven", site: str = SITE) -> None:
    known = SiteZone(site, name, state, AT, "sink on worker-1", name, "CKIN-1", "it was dated otherwise")
    log.add("site", known.key, known.encode())


def test_what_was_proven_is_shown_with_by_whom_and_when(log: MemoryLog, site: Site) -> None:
    assert site.says == "Asia/Riyadh"
    record(log, "Asia/Riyadh")
    status, found = zone()
    assert (status, found["state"], found["recorded"], found["document"]) == (0, "proven", "Asia/Riyadh", "CKIN-1")
    assert (found["by"], found["why"]) == ("sink on worker-1", None)
    result = CliRunner().invoke(app, ["erpnext", "zone"], catch_exceptions=False)
    assert "Asia/Riyadh" in result.stdout


def test_a_zone_that_is_not_proven_yet_is_no_doubt(site: Site) -> None:
    assert site.says == "Asia/Riyadh"
    status, found = zone()
    assert (status, found["state"], found["recorded"]) == (0, "not proven", None)


def test_what_is_recorded_of_another_address_is_not_inherited(log: MemoryLog, site: Site) -> None:
    record(log, site.says if isinstance(site.says, str) else "", site="http://old.example.com")
    assert zone()[1]["state"] == "not proven"


@pytest.mark.parametrize(
    ("says", "state", "why"),
    [
        ("Asia/Tokyo", "proven", "was Asia/Riyadh"),
        ("Asia/Riyadh", "in_doubt", "it was dated otherwise"),
        (ZoneInDoubt("a page of a proxy"), "proven", "a page of a proxy"),
        (TargetUnavailable("503"), "proven", "ERPNext could not be asked: 503"),
    ],
)
def test_a_doubt_is_said_and_is_the_exit_status(
    log: MemoryLog, site: Site, says: str | Exception, state: ZoneState, why: str
) -> None:
    site.says = says
    record(log, "Asia/Riyadh", state)
    status, found = zone()
    assert (status, found["state"]) == (1, "in doubt")
    assert why in str(found["why"])


def test_a_person_decides_and_that_is_recorded_with_what_the_site_said(log: MemoryLog, site: Site) -> None:
    site.says = "Asia/Kolkata"
    record(log, "Asia/Riyadh")
    status, found = zone("--accept", "Asia/Riyadh")
    assert (status, found["state"]) == (0, "accepted")
    [sent] = log.sent
    accepted = SiteZone.decode(sent.key, sent.value)
    assert (accepted.site, accepted.zone, accepted.state, accepted.read) == (
        *(SITE, "Asia/Riyadh", "accepted"),
        "Asia/Kolkata",
    )
    assert accepted.by


def test_a_zone_that_does_not_exist_is_refused(log: MemoryLog, site: Site) -> None:
    assert site.says == "Asia/Riyadh"
    with pytest.raises(ConfigurationError, match="Mars/Base"):
        zone("--accept", "Mars/Base")
    assert log.sent == []


def test_what_is_recorded_is_forgotten_for_the_sink_to_prove_it_again(log: MemoryLog, site: Site) -> None:
    assert site.says == "Asia/Riyadh"
    record(log, "Asia/Riyadh", "in_doubt")
    status, found = zone("--prove-again")
    assert (status, found["state"]) == (0, "not proven")
    [sent] = log.sent
    assert (sent.topic, sent.value) == (log.topics["site"], None)
