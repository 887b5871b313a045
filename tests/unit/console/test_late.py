"""Late punches: shown with what a repair would do, and put right by a job once somebody of HR agreed to it."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import planning_console
import pytest
from console_site import Browser, sign_in, story, text_of
from httpx import Response
from late_site import AT, LateSite, delivery
from planning_console import PlanningConsole

from attendance.errors import KafkaUnavailable, TargetUnavailable
from console.plans import AT_ONCE, LIFE, MOST, Plan, TooManyPlans
from console.record_words import DAYS_LEFT_ALONE
from console.words import JOB_KINDS
from operations import late_plans
from operations.late import Why

FROM = (AT - timedelta(days=1)).date().isoformat()
NOTE = "the gate was <offline>"


class Site(PlanningConsole):
    """ERPNext has closed a day of three people; the third has punched at another site."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, story())
        self.clock.at = AT + timedelta(hours=1)
        self.erpnext = LateSite("E1", "E2", "<b>E3</b>")
        for employee, device in (("E1", "D1"), ("E2", "D2"), ("<b>E3</b>", "E1")):
            said = delivery(employee, device)
            self.log.add("deliveries", said.key, said.encode(), timestamp=int(AT.timestamp() * 1000))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    console = Site(tmp_path)
    # A request has an event loop of its own here, in which a plan is worked out to its end.
    monkeypatch.setattr("console.pages.late.SECONDS", None)
    monkeypatch.setattr(late_plans, "ErpnextClient", lambda _: console.erpnext)
    return console


def look(browser: Browser, **wanted: str) -> Response:
    return planning_console.look(browser, "/late", **{"first": FROM, **wanted})


def agree(browser: Browser, plan: Response, note: str = NOTE) -> Response:
    return planning_console.agree(browser, plan, "repair", note)


def test_what_would_be_done_is_shown_and_then_done_by_a_job(site: Site) -> None:
    site.erpnext.absent["E2"] |= {"status": "On Leave"}
    browser = sign_in(site, "hr")
    shown = look(browser)
    said = text_of(shown.text)
    assert "2 of 3 days can be put right" in said
    assert "Put 2 days right" in said
    assert "Absent until now: counted again with these check-ins" in said
    assert "Left alone: It is not Absent in ERPNext, but On Leave." in said
    assert "&lt;b&gt;E3&lt;/b&gt;" in shown.text
    assert "<b>E3" not in shown.text
    assert site.erpnext.processed == 0

    job = agree(browser, shown)
    (asked,) = site.asked()
    assert job.url.path == f"/jobs/{asked.job_id}"
    assert (asked.kind, asked.by, asked.note, asked.counted) == ("repair_days", "hr", NOTE, 2)
    assert JOB_KINDS["repair_days"] in text_of(job.text)
    about = {"days": FROM, "count": "2"}
    assert site.acts() == [
        ("late.repair", "begun", about, NOTE, None),
        ("late.repair", "done", about, NOTE, asked.job_id),
    ]

    site.run_jobs()
    assert "2 of 2" in text_of(browser.get(job.url.path).text)
    assert site.erpnext.made == {"E1": "Present", "<b>E3</b>": "Present"}


def test_what_changed_since_it_was_agreed_to_is_left_alone_and_the_job_says_so(site: Site) -> None:
    browser = sign_in(site, "hr")
    job = agree(browser, look(browser, device="D1"))
    site.erpnext.absent["E1"] |= {"modified_by": "boss@example.com"}
    site.run_jobs()
    said = text_of(browser.get(job.url.path).text)
    assert "boss@example.com has changed the Absent" in said
    assert "What is late now" in said
    assert site.erpnext.made == {}


def test_it_is_agreed_to_once_with_a_note(site: Site) -> None:
    browser = sign_in(site, "hr")
    shown = look(browser)
    refused = agree(browser, shown, "  ")
    assert (refused.status_code, "Say why." in text_of(refused.text)) == (409, True)
    assert not site.asked()
    assert agree(browser, shown).status_code == 200
    assert agree(browser, shown).status_code == 404
    assert len(site.asked()) == 1


def test_a_plan_is_kept_where_kafka_does_not_take_the_job(site: Site) -> None:
    browser = sign_in(site, "hr")
    shown = look(browser)
    site.log.refuses = KafkaUnavailable("away")
    assert agree(browser, shown).status_code == 503
    site.log.refuses = None
    assert agree(browser, shown).status_code == 200


def test_somebody_with_sites_sees_and_repairs_only_those(site: Site) -> None:
    browser = sign_in(site, "hr", ("jeddah",))
    shown = look(browser)
    assert "1 of 1 days can be put right" in text_of(shown.text)
    assert " D1 " not in text_of(shown.text)
    assert look(browser, device="D1").status_code == 409
    assert look(browser, site="s").status_code == 409
    agree(browser, shown)
    (asked,) = site.asked()
    assert asked.plan is not None
    assert asked.plan.devices == ("E1",)
    site.run_jobs()
    assert site.erpnext.made == {"<b>E3</b>": "Present"}


def test_a_plan_is_of_whoever_asked_for_it(site: Site) -> None:
    shown = look(sign_in(site, "hr"))
    assert site.signed_in().get(shown.url.path).status_code == 404
    for role in ("it", "viewer"):
        assert sign_in(site, role).get("/late").status_code == 403
        assert "/late" not in sign_in(site, role).get("/trace").text


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"first": "yesterday"}, "That day is no date"),
        ({"first": "9999-12-31", "site": "nowhere"}, "No device is like that."),
        ({"device": "D9"}, "No device is like that."),
    ],
)
def test_a_question_that_cannot_be_answered_is_said_to_be_so(site: Site, wanted: dict[str, str], said: str) -> None:
    answer = look(sign_in(site, "hr"), **wanted)
    assert (answer.status_code, said in text_of(answer.text)) == (409, True)


def test_the_first_day_of_all_time_is_a_day(site: Site) -> None:
    assert "What came late" in look(sign_in(site, "hr"), first="0001-01-01").text


def test_where_nothing_came_late_or_erpnext_is_not_there_that_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in(site, "hr")
    assert "Nothing came late." in text_of(look(browser, first="2026-03-05").text)

    def unavailable() -> str:
        raise TargetUnavailable("ERPNext is away")

    monkeypatch.setattr(site.erpnext, "logged_user", unavailable)
    assert "ERPNext or Kafka does not answer." in text_of(look(browser).text)
    assert site.browser().get(f"/api/v1/late?first={FROM}", headers=site.token("hr")).status_code == 503
    site.app.context = replace(site.context, erpnext=None)
    assert "IT has to set ERPNEXT_URL" in text_of(look(browser).text)


def test_a_program_does_the_same(site: Site) -> None:
    browser, headers = site.browser(), site.token("hr", ("s",))
    found = browser.get(f"/api/v1/late?first={FROM}", headers=headers).json()
    assert (found["repairable"], found["more_days"]) == (2, 0)
    assert [(each["employee"], each["checkins"], each["left_alone"]) for each in found["days"]] == [
        ("E1", 1, None),
        ("E2", 1, None),
    ]
    assert [(each["device_id"], each["attendance"]) for each in found["punches"]] == [
        ("D1", "Absent"),
        ("D2", "Absent"),
    ]
    address = f"/api/v1/late/{found['plan']}/repair"
    assert browser.post(address, json={"note": ""}, headers=headers).status_code == 422
    assert browser.post(address, json={"note": NOTE}, headers=site.token("hr")).status_code == 404
    job = browser.post(address, json={"note": NOTE}, headers=headers).json()
    assert (job["kind"], job["state"], job["counted"]) == ("repair_days", "queued", 2)
    site.run_jobs()
    job = browser.get(f"/api/v1/jobs/{job['id']}", headers=headers).json()
    assert (job["state"], job["done"]) == ("done", 2)
    assert site.erpnext.made == {"E1": "Present", "E2": "Present"}
    for role in ("it", "viewer"):
        assert browser.get(f"/api/v1/late?first={FROM}", headers=site.token(role)).status_code == 403


def test_the_pages_are_whole_in_arabic_too(site: Site) -> None:
    browser = sign_in(site, "hr")
    browser.post("/language", data={"language": "ar", "back": "/"})
    page = look(browser)
    assert 'dir="rtl"' in page.text
    assert len(re.findall("<h1", page.text)) == 1


def test_every_reason_has_words_of_its_own() -> None:
    assert set(DAYS_LEFT_ALONE) == set(get_args(Why))
    assert len(set(DAYS_LEFT_ALONE.values())) == len(DAYS_LEFT_ALONE)


def test_a_plan_is_waited_for_no_longer_than_a_browser_waits_and_no_more_are_begun_than_are_good(site: Site) -> None:
    async def scene() -> None:
        plans, gate = site.context.plans, asyncio.Event()

        async def slow() -> str:
            await gate.wait()
            return "known"

        first = [Plan("late", "hr", None, AT) for _ in range(AT_ONCE)]
        for each in first:
            await plans.begin(each, slow, 0)
        assert not any(each.is_over for each in first)
        with pytest.raises(TooManyPlans):
            await plans.begin(Plan("late", "hr", None, AT), slow, 0)
        gate.set()
        last = Plan("late", "hr", None, AT + LIFE)
        await asyncio.sleep(0)  # each of them goes on once
        await plans.begin(last, slow, None)
        assert last.found == "known"
        assert plans.find("late", last.id, "hr", AT + LIFE) is last
        assert plans.find("late", first[0].id, "hr", AT + LIFE + timedelta(seconds=1)) is None

    asyncio.run(scene())
    assert MOST > AT_ONCE
