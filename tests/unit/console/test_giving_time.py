"""The right time of a punch, by page and by API: who may give it, what is said, and what is written down."""

from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest
from console_site import PASSWORD, Browser, ConsoleSite, csrf_of, text_of
from ledger_story import START, START_MS, Story, event
from msgspec.structs import replace
from passwords import QUICK

from attendance.errors import Reason
from attendance.records.activity import Activity
from attendance.records.console_user import ApiToken, ConsoleUser, Role
from attendance.records.raw_event import RawEvent
from console.record_words import TIME_REFUSALS
from operations.console_users import TOKEN_MARK
from operations.right_time import Why

NUMBER = "<b>2</b>"
WRONG = replace(
    event("2", 8), device_user_id=NUMBER, device_timezone="Asia/Riyadh", received_at=START + timedelta(hours=12)
)
LOOKS_AGAIN = 'hx-trigger="every 2s"'
GIVEN = {"event_id": WRONG.event_id, "time": "2026-03-02T12:30:00", "note": "the <guard> saw her"}


@pytest.fixture
def site(tmp_path: Path) -> Any:
    story = Story()
    story.fail(story.raw(WRONG), Reason.CLOCK_SKEW)
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    story.wait(story.raw(event("77", 9)))
    console = ConsoleSite(tmp_path, story)
    for (name, _), records in story.log.items():
        console.log.put(name, *records)
    yield console
    console.database.close()


def signed_in(site: ConsoleSite, role: Role, *sites: str) -> Browser:
    site.put(ConsoleUser("omar", QUICK.hash(PASSWORD), START, "root", role=role, sites=sites or None))
    browser = site.browser()
    browser.post("/sign-in", data={"name": "omar", "password": PASSWORD})
    return browser


def raw(site: ConsoleSite) -> list[RawEvent]:
    return [RawEvent.decode(each.value) for each in site.log.sent if each.topic == site.log.topics["raw"]]


def test_what_will_be_done_is_shown_first_and_then_it_is_done(site: ConsoleSite) -> None:
    browser = signed_in(site, "hr")
    form = browser.get(f"/right-time?event_id={WRONG.event_id}")

    shown = browser.post("/right-time/look", data={"csrf": csrf_of(form), **GIVEN})
    said = text_of(shown.text)
    assert "11:00:00" in said
    assert "12:30:00" in said
    assert "This punch failed for its time." in said
    assert "&lt;b&gt;2&lt;/b&gt;" in shown.text
    assert NUMBER not in shown.text
    assert raw(site) == []

    after = browser.post("/right-time/give", data={"csrf": csrf_of(shown), **GIVEN})
    assert after.url.path == "/trace"
    assert "The punch counts at" in text_of(after.text)
    (sent,) = raw(site)
    assert sent.event_time == START + timedelta(hours=9, minutes=30)
    assert sent.given_time is not None
    assert (sent.given_time.by, sent.given_time.note) == ("omar", GIVEN["note"])
    begun, done = (Activity.decode(each.value) for each in site.log.records("console_activity"))
    assert (begun.action, begun.state, done.state, done.result) == ("time.give", "begun", "done", sent.event_id)
    assert begun.about["wrong_time"] == "2026-03-02T08:00:00Z"
    assert begun.note == GIVEN["note"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"time": ""}, TIME_REFUSALS["no_time"]),
        ({"time": "2026-03-02T19:00"}, "This one arrived at 2026-03-02T12:00:00Z"),
        ({"note": " "}, TIME_REFUSALS["no_note"]),
        ({"event_id": "nothing"}, TIME_REFUSALS["unknown"]),
        ({"event_id": event("77", 9).event_id}, TIME_REFUSALS["waits"]),
    ],
)
@pytest.mark.parametrize("path", ["look", "give"])
def test_what_cannot_be_is_said_and_what_was_typed_stays(
    site: ConsoleSite, path: str, changed: dict[str, str], said: str
) -> None:
    browser = signed_in(site, "hr")
    given = {**GIVEN, **changed}
    answer = browser.post(f"/right-time/{path}", data={"csrf": csrf_of(browser.get("/right-time")), **given})
    assert answer.status_code == 409
    assert said in text_of(answer.text)
    assert f'value="{given["event_id"]}"' in answer.text
    assert raw(site) == []


def test_only_who_may_correct_and_sees_the_site_gives_a_time(site: ConsoleSite) -> None:
    for role in ("viewer", "it"):
        assert signed_in(site, role).get("/right-time").status_code == 403  # type: ignore[arg-type]
    elsewhere = signed_in(site, "hr", "t")
    form = csrf_of(elsewhere.get("/right-time"))
    refused = elsewhere.post("/right-time/give", data={"csrf": form, **GIVEN})
    assert TIME_REFUSALS["unknown"] in text_of(refused.text)
    there = signed_in(site, "hr", "s")
    assert there.post("/right-time/give", data={"csrf": "none", **GIVEN}).status_code == 403
    assert raw(site) == []
    assert (
        there.post("/right-time/give", data={"csrf": csrf_of(there.get("/right-time")), **GIVEN}).url.path == "/trace"
    )


def test_while_the_ledger_is_behind_nobody_gives_a_time(site: ConsoleSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.actions.fresh.SECONDS", 0.0)
    site.log.add("raw", b"D1", event("3", 9).encode(), timestamp=START_MS)
    browser = signed_in(site, "hr")
    answer = browser.post("/right-time/give", data={"csrf": csrf_of(browser.get("/right-time")), **GIVEN})
    assert "The ledger is behind" in text_of(answer.text)
    assert raw(site) == []


def test_a_trace_offers_to_give_a_time_to_who_may(site: ConsoleSite) -> None:
    address = f"/trace?event_id={WRONG.event_id}"
    assert f"/right-time?event_id={WRONG.event_id}" in signed_in(site, "hr").get(address).text
    assert "/right-time?" not in signed_in(site, "viewer").get(address).text


def test_a_punch_that_was_just_given_its_time_is_looked_for(site: ConsoleSite) -> None:
    browser = signed_in(site, "hr")
    page = browser.post("/right-time/give", data={"csrf": csrf_of(browser.get("/right-time")), **GIVEN})
    assert LOOKS_AGAIN in page.text
    assert "Nobody has heard" not in page.text
    (sent,) = raw(site)
    assert "Nobody has heard" in browser.get(f"/trace?event_id={sent.event_id}").text


@pytest.mark.parametrize("is_delivered", [False, True])
def test_it_is_looked_for_until_it_is_through(tmp_path: Path, is_delivered: bool) -> None:  # noqa: FBT001
    story = Story()
    checkin = story.checkin(story.raw(WRONG), "EMP-1")
    if is_delivered:
        story.deliver(checkin, "CHK-9")
    console = ConsoleSite(tmp_path, story)
    page = console.signed_in().get(f"/trace?event_id={WRONG.event_id}&sent=yes").text
    assert ("CHK-9" in page, LOOKS_AGAIN in page) == (is_delivered, not is_delivered)
    console.database.close()


def api(site: ConsoleSite, role: Role = "hr", *sites: str) -> dict[str, str]:
    """The headers of a program."""
    text = f"{TOKEN_MARK}t1_secret"
    digest = sha256(text.encode()).hexdigest()
    site.users.put(ApiToken("t1", "payroll", digest, START, "root", role=role, sites=sites or None))
    return {"authorization": f"Bearer {text}"}


def test_a_program_gives_a_time_and_a_dry_run_sends_nothing(site: ConsoleSite) -> None:
    address, browser = f"/api/v1/punches/{WRONG.event_id}/time", site.browser()
    given = {"time": "2026-03-02 12:30", "note": "the guard saw her"}
    tried = browser.post(address, json={**given, "dry_run": True}, headers=api(site))
    assert tried.json()["right_time"] == "2026-03-02T09:30:00Z"
    assert not tried.json()["sent"]
    assert raw(site) == []
    assert browser.post(address, json=given, headers=api(site)).json()["sent"]
    (sent,) = raw(site)
    assert sent.given_time is not None
    assert sent.given_time.by == "payroll"


def test_a_program_without_the_right_or_the_site_is_refused(site: ConsoleSite) -> None:
    address, browser = f"/api/v1/punches/{WRONG.event_id}/time", site.browser()
    given = {"time": "2026-03-02 12:30", "note": "n"}
    assert browser.post(address, json=given).status_code == 401
    assert browser.post(address, json=given, headers=api(site, "it")).status_code == 403
    assert browser.post(address, json=given, headers=api(site, "hr", "t")).status_code == 409
    assert browser.post(address, json={"time": "x"}, headers=api(site)).status_code == 422
    assert raw(site) == []


def test_every_refusal_has_words_of_its_own() -> None:
    assert set(TIME_REFUSALS) == set(get_args(Why))
    assert len(set(TIME_REFUSALS.values())) == len(TIME_REFUSALS)


def test_the_trace_of_a_corrected_punch_says_who_gave_its_time(tmp_path: Path) -> None:
    story = Story()
    wrong = story.raw(WRONG)
    story.fail(wrong, Reason.CLOCK_SKEW)
    right = story.give(wrong)
    story.deliver(story.checkin(right, "EMP-2", WRONG.event_id), "CHK-2")
    console = ConsoleSite(tmp_path, story)

    said = text_of(console.signed_in().get(f"/trace?event_id={WRONG.event_id}").text)

    assert "2 records" in said
    assert "The right time was given by fatima" in said
    assert "the clock was off" in said
    console.database.close()
