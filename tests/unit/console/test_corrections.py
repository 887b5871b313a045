"""Corrections: what would be different in ERPNext, as a table, and replaced by a job once somebody agreed to it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import planning_console
import pytest
from console_site import Browser, sign_in, text_of
from different_site import DifferentSite
from httpx import Response
from ledger_story import Story, event
from msgspec.structs import replace
from planning_console import PlanningConsole

from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import ErpnextSettings
from console.words import JOB_KINDS
from operations import correction_plans

DAYS = {"first": "2026-03-01", "last": "2026-03-03"}
NOTE = "the number was <hers>"
THEIRS = replace(event("2", 9, "E1"), site="jeddah")


class Site(PlanningConsole):
    """ERPNext has three punches as somebody else's; the third was made at another site."""

    def __init__(self, directory: Path) -> None:
        written = Story()
        self.events = [event("1", 8), event("1", 17), THEIRS]
        records = [written.raw(each) for each in self.events]
        super().__init__(directory, written)
        self.log.put("raw", *records)
        self.clock.at = datetime(2026, 3, 4, tzinfo=UTC)
        self.erpnext = DifferentSite(*self.events, employee="<i>E1</i>")
        self.erpnext.zone = "Asia/Riyadh"
        for row, each in zip(self.erpnext.rows, self.events, strict=True):
            assert each.event_time is not None
            row["time"] = str(each.event_time + timedelta(hours=3))[:19]
        self.map_to("E2")

    def map_to(self, employee: str) -> None:
        for user in ("1", "2"):
            for entry in (UserMapping("*", user, employee, "csv"), Employee(employee, "Active")):
                self.log.add("user_map", entry.key, entry.encode())

    def sent(self) -> list[str | None]:
        raw = self.log.topics["raw"]
        return [RawEvent.decode(each.value).supersedes for each in self.log.sent if each.topic == raw]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    console = Site(tmp_path)
    # A request has an event loop of its own here, in which a plan is worked out to its end.
    monkeypatch.setattr("console.pages.corrections.SECONDS", None)

    def client(_: ErpnextSettings) -> DifferentSite:
        return console.erpnext

    monkeypatch.setattr(correction_plans, "ErpnextClient", client)
    return console


def look(browser: Browser, **wanted: str) -> Response:
    return planning_console.look(browser, "/corrections", **{**DAYS, **wanted})


def agree(browser: Browser, plan: Response, note: str = NOTE) -> Response:
    return planning_console.agree(browser, plan, "apply", note)


def test_what_would_be_different_is_a_table_and_then_replaced_by_a_job(site: Site) -> None:
    site.erpnext.rows[1]["attendance"] = "ATT-7"
    browser = sign_in(site, "hr")
    shown = look(browser)
    said = text_of(shown.text)
    assert "3 check-ins in ERPNext would be different; 2 of them can be replaced." in said
    assert "Replace 2 check-ins" in said
    assert "C0 &lt;i&gt;E1&lt;/i&gt; → E2 2026-03-02" in said
    assert "An Attendance was made from it: cancel that first. ATT-7" in said
    assert "E2 2026-03-02" in said
    assert "<i>E1" not in shown.text
    assert site.sent() == []

    job = agree(browser, shown)
    (asked,) = site.asked()
    assert job.url.path == f"/jobs/{asked.job_id}"
    assert (asked.kind, asked.by, asked.note, asked.counted) == ("correct_checkins", "hr", NOTE, 2)
    assert JOB_KINDS["correct_checkins"] in text_of(job.text)
    about = {"days": "2026-03-01, 2026-03-03", "count": "2"}
    assert site.acts() == [
        ("correction.apply", "begun", about, NOTE, None),
        ("correction.apply", "done", about, NOTE, asked.job_id),
    ]
    site.run_jobs()
    assert "2 of 2" in text_of(browser.get(job.url.path).text)
    assert site.sent() == [site.events[0].event_id, THEIRS.event_id]


def test_where_something_changed_since_nothing_is_sent_and_it_is_asked_again(site: Site) -> None:
    browser = sign_in(site, "hr")
    job = agree(browser, look(browser))
    site.map_to("E3")
    site.run_jobs()
    page = browser.get(job.url.path)
    assert "Something changed since somebody agreed to this, so nothing was sent." in text_of(page.text)
    assert 'href="/corrections"' in page.text
    assert site.sent() == []


def test_somebody_with_sites_sees_and_replaces_only_those(site: Site) -> None:
    browser = sign_in(site, "hr", ("jeddah",))
    shown = look(browser)
    assert "1 check-in in ERPNext would be different" in text_of(shown.text)
    assert " C0 " not in text_of(shown.text)
    assert look(browser, device="D1").status_code == 409
    agree(browser, shown)
    (asked,) = site.asked()
    assert asked.plan is not None
    assert asked.plan.devices == ("E1",)
    site.run_jobs()
    assert site.sent() == [THEIRS.event_id]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"last": "2026-02-01"}, "The last day is before the first."),
        ({"last": ""}, "That day is no date"),
        ({"last": "9999-12-31"}, "That day is no date"),
        ({"device": "D9"}, "No device is like that."),
    ],
)
def test_a_question_that_cannot_be_answered_is_said_to_be_so(site: Site, wanted: dict[str, str], said: str) -> None:
    answer = look(sign_in(site, "hr"), **wanted)
    assert (answer.status_code, said in text_of(answer.text)) == (409, True)


def test_where_nothing_is_different_or_erpnext_is_not_ready_that_is_said(site: Site) -> None:
    browser = sign_in(site, "hr")
    assert "ERPNext has nothing that would be different." in text_of(look(browser, device="D3").text)
    site.erpnext.unique = False
    answer = look(browser)
    assert "Show this to IT: Employee Checkin has no field event_id" in text_of(answer.text)
    assert agree(browser, answer).status_code == 409
    assert site.asked() == []


def test_only_who_may_correct_sees_the_page(site: Site) -> None:
    for role in ("it", "viewer"):
        assert sign_in(site, role).get("/corrections").status_code == 403


def test_a_program_does_the_same(site: Site) -> None:
    browser, headers = site.browser(), site.token("hr", ("s",))
    days = "first=2026-03-01&last=2026-03-03"
    found = browser.get(f"/api/v1/corrections?{days}", headers=headers).json()
    assert (found["different"], found["replaceable"], found["agreed_at_once"]) == (2, 2, 2)
    assert [(each["stored"]["employee"], each["expected"]["employee"]) for each in found["differences"]] == [
        ("<i>E1</i>", "E2")
    ] * 2
    address = f"/api/v1/corrections/{found['plan']}/apply"
    assert browser.post(address, json={}, headers=headers).status_code == 422
    assert browser.post(address, json={"note": " "}, headers=headers).status_code == 409
    job = browser.post(address, json={"note": NOTE}, headers=headers).json()
    assert (job["kind"], job["state"], job["counted"]) == ("correct_checkins", "queued", 2)
    assert browser.post(address, json={"note": NOTE}, headers=headers).status_code == 404
    site.run_jobs()
    assert len(site.sent()) == 2
    for query in ("first=2026-03-03&last=2026-03-01", f"{days}&device=E1"):
        assert browser.get(f"/api/v1/corrections?{query}", headers=headers).status_code == 409
    assert browser.get(f"/api/v1/corrections?{days}", headers=site.token("it")).status_code == 403


def test_the_pages_are_whole_in_arabic_too(site: Site) -> None:
    browser = sign_in(site, "hr")
    browser.post("/language", data={"language": "ar", "back": "/"})
    page = look(browser)
    assert 'dir="rtl"' in page.text
    assert len(re.findall("<h1", page.text)) == 1
