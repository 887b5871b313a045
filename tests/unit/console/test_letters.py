"""What failed: seen by reason, device and one by one; replayed and discarded by jobs; and who may do that."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from console_site import NAME, Browser, ConsoleSite, csrf_of, text_of
from httpx import Response
from ledger_story import START, Story, event
from passwords import QUICK

from attendance.errors import KafkaUnavailable, Reason
from attendance.records.activity import Activity
from attendance.records.console_user import ConsoleUser, Role
from attendance.records.job import JobAsked, JobProgress, decode
from console.words import JOB_KINDS, JOB_STATES, LETTER_STATES, REASONS
from operations.dead_letters import State
from operations.job_runner import JobRunner
from operations.jobs import read_jobs
from operations.reading_again import NotUnderstood
from virtual_time import run_in_virtual_time

SKEW, CHECKIN, SECOND, DONE, REJECTED = "0:0", "0:1", "0:2", "0:3", "0:4"
"""The letters of the story, in the order in which they failed."""


def failures() -> Story:
    """Two letters of HR, one of IT, one that is dealt with, and one of a device that is not in the fleet."""
    story = Story()
    story.fail(story.raw(event("1", 8)), Reason.CLOCK_SKEW)
    story.fail(story.checkin(story.raw(event("2", 9)), "EMP-2"), Reason.TARGET_ERROR, "sink")
    story.fail(story.raw(event("2", 10, "D2")), Reason.CLOCK_SKEW)
    story.act(story.fail(story.raw(event("2", 11)), Reason.CLOCK_SKEW), "replayed")
    story.reject("<b>D9</b>\u202e")
    return story


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ConsoleSite]:
    story = failures()
    console = ConsoleSite(tmp_path, story)
    console.log.put("dead_letters", *story.log["dead_letters", 0])
    yield console
    console.database.close()


def signed_in(site: ConsoleSite, role: Role, sites: tuple[str, ...] | None = None) -> Browser:
    site.put(ConsoleUser("omar", QUICK.hash("a password of his"), START, "root", role=role, sites=sites))
    browser = site.browser()
    assert browser.post("/sign-in", data={"name": "omar", "password": "a password of his"}).status_code == 200
    return browser


def hidden(page: Response) -> dict[str, str]:
    """What the form of a page sends by itself."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text.split("<footer>")[0]))


def asked(site: ConsoleSite) -> list[JobAsked]:
    said = [decode(each.key, each.value) for each in site.log.records("jobs")]
    return [each for each in said if isinstance(each, JobAsked)]


def said(page: Response) -> str:
    return text_of(page.text).replace("&#39;", "'")


def token(site: ConsoleSite, role: Role = "administrator") -> dict[str, str]:
    browser = site.signed_in()
    form = {**hidden(browser.get("/accounts")), "name": "payroll", "role": role, "days": "2", "every": "true"}
    (text,) = re.findall(r"said once: (\S+)", text_of(browser.post("/accounts/tokens/add", data=form).text))
    return {"authorization": f"Bearer {text}"}


def test_what_failed_is_grouped_by_reason_and_device_and_a_sample_is_opened(site: ConsoleSite) -> None:
    page = site.signed_in().get("/attention")
    skew = REASONS[Reason.CLOCK_SKEW]
    assert f"{skew.what} 2 {skew.to_do} HR" in said(page)
    assert f"{REASONS[Reason.TARGET_ERROR].what} 1" in said(page)
    assert f'href="/attention/letters/{SECOND.replace(":", "%3A")}"' in page.text
    assert "D1 2" in said(page)
    assert "&lt;b&gt;D9&lt;/b&gt;\\u202e" in page.text
    assert "<b>D9" not in page.text


@pytest.mark.parametrize("address", ["/attention", "/attention/letters", "/attention/letters/0:0", "/jobs"])
def test_the_pages_are_whole_in_arabic_too(site: ConsoleSite, address: str) -> None:
    browser = site.signed_in()
    browser.post("/language", data={"language": "ar", "back": "/"})
    page = browser.get(address)
    assert page.status_code == 200
    assert 'dir="rtl"' in page.text
    assert len(re.findall("<h1", page.text)) == 1


def test_a_list_has_its_letters_the_newest_first_and_says_how_many_are_replayed(site: ConsoleSite) -> None:
    page = site.signed_in().get("/attention/letters?reason=clock_skew&stage=stream")
    assert re.findall(r'name="ids" value="([^"]+)"', page.text) == [SECOND, SKEW]
    assert "Replay all 2" in page.text
    assert "Discard all 2" in page.text
    assert hidden(page)["ends"] == "0:5"


def test_all_that_were_counted_are_replayed_by_a_stored_job_and_none_that_come_later(site: ConsoleSite) -> None:
    browser = site.signed_in()
    form = {**hidden(browser.get("/attention/letters?reason=clock_skew")), "which": "all", "note": "the clock is set"}
    page = browser.post("/attention/replay", data=form)
    (job,) = asked(site)
    assert page.url.path == f"/jobs/{job.job_id}"
    assert "2 are replayed." in said(page)
    assert (job.kind, job.by, job.note, job.counted) == ("replay_letters", NAME, "the clock is set", 2)
    assert (job.wanted.reasons, job.wanted.ends, job.wanted.devices) == ((Reason.CLOCK_SKEW,), {0: 5}, None)
    done = [Activity.decode(each.value) for each in site.log.records("console_activity")]
    assert [(each.action, each.state, each.note) for each in done] == [
        ("letters.replay", "begun", "the clock is set"),
        ("letters.replay", "done", "the clock is set"),
    ]
    assert done[0].about == {"reason": "clock_skew", "count": "2"}
    assert done[1].result == job.job_id


def test_what_is_counted_is_what_the_job_does(site: ConsoleSite) -> None:
    browser = site.signed_in()
    form = {**hidden(browser.get("/attention/letters?reason=clock_skew")), "which": "all"}
    later = Story()
    site.log.put("dead_letters", *[later.fail(later.raw(event("1", 1)), Reason.CLOCK_SKEW) for _ in range(9)][5:])
    browser.post("/attention/replay", data=form)

    def not_understood(_: object) -> Any:
        raise NotUnderstood("no")

    (over,) = run_in_virtual_time(JobRunner(site.log, not_understood).run_all())
    assert over.progress is not None
    # Of the three of the topic one was replayed before, which the ledger knows, and this topic of actions does not.
    assert (over.progress.total, over.progress.done) == (3, 3)
    assert {each.topic for each in site.log.sent} >= {site.log.topics["raw"], site.log.topics["dead_letter_actions"]}


def test_those_that_are_ticked_are_discarded_with_a_note(site: ConsoleSite) -> None:
    browser = site.signed_in()
    form = {**hidden(browser.get("/attention/letters")), "which": "selected", "ids": [SKEW, CHECKIN], "note": "a trial"}
    browser.post("/attention/discard", data=form)
    (job,) = asked(site)
    assert (job.kind, job.wanted.ids, job.note) == ("discard_letters", (SKEW, CHECKIN), "a trial")


@pytest.mark.parametrize(
    ("path", "form", "problem"),
    [
        ("discard", {"which": "all", "note": "  "}, "Say why nothing is to be done."),
        ("discard", {"which": "selected", "ids": [SKEW], "note": ""}, "Say why nothing is to be done."),
        ("replay", {"which": "selected", "note": "kept <i>"}, "Nothing is ticked."),
        ("replay", {"which": "selected", "ids": [SKEW, DONE], "note": "kept <i>"}, "dealt with already"),
        ("replay", {"which": "all", "device": "D3", "note": "kept <i>"}, "There is nothing left to do here."),
    ],
)
def test_what_cannot_be_done_is_said_and_what_was_typed_is_kept(
    site: ConsoleSite, path: str, form: dict[str, Any], problem: str
) -> None:
    browser = site.signed_in()
    page = browser.post(f"/attention/{path}", data={**hidden(browser.get("/attention/letters")), **form})
    assert page.status_code == 409
    assert problem in said(page)
    assert not asked(site)
    if form["note"].strip() and "device" not in form:
        assert 'value="kept &lt;i&gt;"' in page.text
    if SKEW in form.get("ids", ()):
        assert re.search(rf'value="{SKEW}"[^>]* checked', page.text)


@pytest.mark.parametrize(
    "form",
    [
        {"which": "selected", "ids": ["0:x"]},
        {"which": "selected", "ids": [f"0:{10**30}"]},
        {"which": "all", "ends": "0:1,"},
        {"which": "all", "ends": ""},
        {"which": "some"},
        {"which": "all", "reason": "no reason"},
    ],
)
def test_a_form_that_no_page_has_is_refused(site: ConsoleSite, form: dict[str, Any]) -> None:
    browser = site.signed_in()
    page = browser.post("/attention/replay", data={**hidden(browser.get("/attention/letters")), **form})
    assert page.status_code == 422
    assert not asked(site)


def test_a_letter_says_what_failed_what_the_device_sent_and_what_was_done(site: ConsoleSite) -> None:
    browser = site.signed_in()
    page = browser.get(f"/attention/letters/{SKEW}")
    assert REASONS[Reason.CLOCK_SKEW].what in said(page)
    assert "Number on the device 1" in said(page)
    assert "8 o&#39;clock" in page.text
    done = said(browser.get(f"/attention/letters/{DONE}"))
    assert "Replayed · fatima" in done
    assert "Mend it" not in done
    rejected = browser.get(f"/attention/letters/{REJECTED}").text
    assert "1,2" in rejected
    assert "<b>D9" not in rejected
    for address in ("0:99", "7:1"):
        assert browser.get(f"/attention/letters/{address}").status_code == 404
    assert browser.get("/attention/letters/x").status_code == 422


def test_one_letter_is_replayed_from_its_page_which_keeps_what_was_typed(site: ConsoleSite) -> None:
    browser = site.signed_in()
    form = hidden(browser.get(f"/attention/letters/{CHECKIN}"))
    refused = browser.post("/attention/discard", data={**form, "note": " "})
    assert (refused.status_code, "Mend it" in refused.text) == (409, True)
    browser.post("/attention/replay", data=form)
    assert asked(site)[0].wanted.ids == (CHECKIN,)


def test_without_kafka_a_letter_is_shown_by_what_the_ledger_has(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> None:
        raise KafkaUnavailable("no answer")

    browser = site.signed_in()
    monkeypatch.setattr(site.log, "at", unavailable)
    monkeypatch.setattr(site.log, "committed", unavailable)
    page = browser.get(f"/attention/letters/{SKEW}")
    assert page.status_code == 200
    assert "cannot be read now" in said(page)
    assert "not known now" in said(browser.get("/attention/erpnext"))


def test_what_waits_for_erpnext_is_counted_with_when_it_is_tried_again(site: ConsoleSite) -> None:
    browser = site.signed_in()
    assert "Nothing waits for ERPNext." in said(browser.get("/attention/erpnext"))
    at = round(START.timestamp() * 1000)
    for number in range(3):
        site.log.add("checkins", b"EMP-1", b"{}", timestamp=at + 60_000 * number)
    site.log.groups["sink", "checkins"] = {0: 1}
    found = said(browser.get("/attention/erpnext"))
    assert "2 punches wait for ERPNext at most. The oldest waits since Mon, Mar 2, 2026 00:01:00." in found
    assert "within 10 seconds" in found
    assert "<html" in browser.get("/attention/erpnext").text
    part = browser.get("/attention/erpnext", headers={"hx-request": "true"}).text
    assert "<html" not in part
    assert "2 punches wait" in part


def test_hr_mends_what_hr_can_and_it_all(site: ConsoleSite) -> None:
    hr = signed_in(site, "hr")
    page = hr.get("/attention/letters")
    assert "2 of these are yours to mend." in said(page)
    hr.post("/attention/replay", data={**hidden(page), "which": "all"})
    (job,) = asked(site)
    assert job.wanted.reasons is not None
    assert Reason.CLOCK_SKEW in job.wanted.reasons
    assert all(REASONS[each].who == "hr" for each in job.wanted.reasons)
    refused = hr.post("/attention/replay", data={**hidden(page), "which": "selected", "ids": [CHECKIN]})
    assert (refused.status_code, "not yours to mend" in said(refused)) == (409, True)
    assert "None of these is yours" in said(hr.get("/attention/letters?reason=target_error"))
    it = signed_in(site, "it")
    it.post("/attention/replay", data={**hidden(it.get("/attention/letters?reason=target_error")), "which": "all"})
    assert len(asked(site)) == 2


def test_a_viewer_looks_and_mends_nothing(site: ConsoleSite) -> None:
    viewer = signed_in(site, "viewer")
    page = viewer.get("/attention/letters")
    assert "Replay all" not in page.text
    assert "8 o" not in viewer.get(f"/attention/letters/{SKEW}").text
    form = {"csrf": csrf_of(page), "which": "selected", "ids": [SKEW]}
    assert viewer.post("/attention/replay", data=form).status_code == 403
    assert not asked(site)


def test_somebody_with_sites_sees_and_mends_what_is_of_these(site: ConsoleSite) -> None:
    theirs = signed_in(site, "hr", ("s",))
    page = theirs.get("/attention/letters")
    assert "&lt;b&gt;D9" not in page.text
    assert theirs.get(f"/attention/letters/{REJECTED}").status_code == 404
    theirs.post("/attention/replay", data={**hidden(page), "which": "all"})
    (job,) = asked(site)
    assert job.wanted.devices == ("D1", "D2", "D3")
    assert theirs.get(f"/jobs/{job.job_id}").status_code == 200
    others = signed_in(site, "it", ("elsewhere",))
    assert "Nothing needs anybody." in said(others.get("/attention"))
    assert others.get(f"/attention/letters/{SKEW}").status_code == 404
    form = {**hidden(others.get("/jobs")), "which": "selected", "ids": [SKEW]}
    form["csrf"] = csrf_of(others.get("/jobs"))
    assert others.post("/attention/replay", data=form).status_code == 409
    # The account is the same, and so are its jobs.
    site.put(ConsoleUser("lina", QUICK.hash("a password of hers"), START, "root", role="it", sites=("s",)))
    lina = site.browser()
    lina.post("/sign-in", data={"name": "lina", "password": "a password of hers"})
    assert lina.get(f"/jobs/{job.job_id}").status_code == 404
    assert job.job_id not in lina.get("/jobs").text


@pytest.mark.parametrize("path", ["/attention/replay", "/attention/discard", "/jobs/5e/cancel"])
def test_a_form_without_the_token_of_the_session_is_refused(site: ConsoleSite, path: str) -> None:
    answer = site.signed_in().post(path, data={"csrf": "guessed", "which": "all", "ends": "0:5", "note": "x"})
    assert answer.status_code == 403
    assert not asked(site)


def job(site: ConsoleSite, browser: Browser) -> str:
    browser.post("/attention/replay", data={**hidden(browser.get("/attention/letters")), "which": "all"})
    return asked(site)[-1].job_id


def test_a_job_shows_how_far_it_is_and_is_looked_at_again_until_it_is_over(site: ConsoleSite) -> None:
    browser = site.signed_in()
    first, second = job(site, browser), job(site, browser)
    assert "1 job is done before it." in said(browser.get(f"/jobs/{second}"))
    part = browser.get(f"/jobs/{first}/progress").text
    assert "<html" not in part
    assert f'hx-get="/jobs/{first}/progress"' in part
    assert f'href="/jobs/{first}"' in part
    progress = JobProgress(first, "w", "running", site.clock(), 4, 1, 1, 1, ("0:4: <i>no</i>",))
    site.context.jobs.learn(
        site.log.add("jobs", progress.key, progress.encode(), timestamp=round(site.clock().timestamp() * 1000))
    )
    page = browser.get(f"/jobs/{first}")
    assert "In progress 1 of 4" in said(page)
    assert "0:4: &lt;i&gt;no" in page.text
    assert "Nobody works on it" not in page.text
    site.clock.at += timedelta(minutes=5)
    assert "Nobody works on it at the moment." in said(browser.get(f"/jobs/{first}"))
    over = JobProgress(first, "w", "done", site.clock(), 4, 3, 1, 1)
    site.context.jobs.learn(site.log.add("jobs", over.key, over.encode()))
    assert "hx-get" not in browser.get(f"/jobs/{first}/progress").text
    assert "Done 3 of 4" in said(browser.get("/jobs"))
    assert browser.get("/jobs/5e").status_code == 404


def test_a_job_is_cancelled_once_and_only_by_who_may(site: ConsoleSite) -> None:
    browser = site.signed_in()
    job_id = job(site, browser)
    form = hidden(browser.get(f"/jobs/{job_id}"))
    hr = signed_in(site, "hr")
    page = hr.get(f"/jobs/{job_id}")
    assert "Cancel the job" not in page.text
    its = {"csrf": csrf_of(page)}
    assert hr.post(f"/jobs/{job_id}/cancel", data=its).status_code == 409
    assert "What it has done stays done." in said(browser.post(f"/jobs/{job_id}/cancel", data=form))
    assert "Cancelled" in said(browser.get(f"/jobs/{job_id}"))
    assert browser.post(f"/jobs/{job_id}/cancel", data=form).status_code == 409
    stored = run_in_virtual_time(read_jobs(site.log)).get(job_id)
    assert stored is not None
    assert stored.state == "cancelled"
    assert stored.cancel is not None
    assert stored.cancel.by == NAME


def test_a_job_that_ended_meanwhile_cannot_be_cancelled(site: ConsoleSite) -> None:
    browser = site.signed_in()
    job_id = job(site, browser)
    form = hidden(browser.get(f"/jobs/{job_id}"))
    over = JobProgress(job_id, "w", "done", site.clock(), 1, 1)
    site.log.add("jobs", over.key, over.encode())
    assert "The job is over already." in said(browser.post(f"/jobs/{job_id}/cancel", data=form))


def test_the_api_lists_counts_and_opens_letters(site: ConsoleSite) -> None:
    program, headers = site.browser(), token(site, "viewer")
    first = program.get("/api/v1/letters?most=2", headers=headers).json()
    rest = program.get(f"/api/v1/letters?most=2&after={first['next']}", headers=headers).json()
    assert [each["id"] for each in first["letters"] + rest["letters"]][-1] != first["letters"][0]["id"]
    assert {each["id"] for each in first["letters"] + rest["letters"]} == {SKEW, CHECKIN, SECOND, REJECTED}
    count = program.get("/api/v1/letters/count?reason=clock_skew", headers=headers).json()
    assert count == {"letters": 2, "parked": 0, "mendable": 0, "ends": {"0": 5}}
    letter = program.get(f"/api/v1/letters/{DONE}", headers=headers).json()
    assert (letter["state"], letter["who"], letter["number"], letter["history"][0]["by"]) == (
        *("replayed", "hr", "2"),
        "fatima",
    )
    assert program.get("/api/v1/letters/0:99", headers=headers).status_code == 404
    for address in ("letters/x", "letters?after=x", "letters?most=0", "letters?reason=none"):
        assert program.get(f"/api/v1/{address}", headers=headers).status_code == 422
    refused = program.post("/api/v1/letters/replay", json={"reason": "clock_skew"}, headers=headers)
    assert refused.status_code == 403


def test_the_api_replays_discards_and_cancels_as_the_pages_do(site: ConsoleSite) -> None:
    program, headers = site.browser(), token(site, "hr")
    count = program.get("/api/v1/letters/count", headers=headers).json()
    made = program.post("/api/v1/letters/replay", json={"ends": count["ends"]}, headers=headers)
    assert (made.status_code, made.json()["state"], made.json()["counted"]) == (202, "queued", count["mendable"])
    job_id = made.json()["id"]
    assert asked(site)[0].by == "payroll"
    assert [each["id"] for each in program.get("/api/v1/jobs", headers=headers).json()] == [job_id]
    assert program.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers).json()["state"] == "cancelled"
    assert program.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers).status_code == 409
    assert program.get("/api/v1/jobs/none", headers=headers).status_code == 404
    assert program.post("/api/v1/letters/discard", json={"ids": [SKEW]}, headers=headers).status_code == 422
    discard = {"ids": [SKEW], "note": "a trial"}
    assert program.post("/api/v1/letters/discard", json=discard, headers=headers).status_code == 202
    other = {"ids": [CHECKIN], "note": "a trial"}
    assert program.post("/api/v1/letters/discard", json=other, headers=headers).status_code == 409
    via = {Activity.decode(each.value).via for each in site.log.records("console_activity")[2:]}
    assert via == {"api"}


def test_every_state_has_words() -> None:
    assert set(LETTER_STATES) == set(State)
    assert set(JOB_STATES) == {"queued", "running", "done", "cancelled", "failed"}
    assert set(JOB_KINDS) == {"replay_letters", "discard_letters", "repair_days", "correct_checkins"}
